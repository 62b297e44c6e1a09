//! The index against a plain model, `BTreeMap`, and against sequences chosen to hurt.

mod adversaries;
mod model;
