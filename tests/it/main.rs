//! Tests of the whole crate from outside: house rules, configuration, and the server end to end.

mod activity;
mod additions;
mod advisory;
mod authentication;
mod backup;
mod config;
mod damage;
mod garbage;
mod hop;
mod layering;
mod limits;
mod locks;
mod malformed;
mod mesh_stress;
mod offline;
mod protocol;
mod roles;
mod runtime_soak;
mod server;
mod signals;
mod source;
mod tidy;
mod transactions;
mod tuning;
mod two_phase;
mod values;
