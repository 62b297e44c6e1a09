//! The index against a plain model, `BTreeMap`.

mod model;
