//! Access paths, predicate placement and join strategies for bound plans.
