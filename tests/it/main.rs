//! Tests of the whole crate from outside: house rules, configuration, and the server end to end.

mod config;
mod layering;
mod mesh_stress;
mod runtime_soak;
mod source;
mod tidy;
mod tuning;
