//! The engine as `exec` and `session` see it: one [`Engine`] a core, which runs what is local at once and sends what is not to
//! the owning core. Below it, `storage` holds rows, `txn` decides visibility and conflicts, `wal` makes commits durable.
//!
//! Architecture Invariant: ONE OWNER. A tablet, its index, its locks and its log are touched by one core only; everything
//! else goes through the mesh.
//!
//! [`state::Shard`] is what a core owns, plain data that never awaits; `engine` and its companions are the asynchronous part
//! around it: they split work by owner, send it, wait for rows, for log space and for durability.

mod additions;
#[cfg(test)]
mod additions_tests;
mod advisory;
#[cfg(test)]
mod advisory_tests;
pub mod api;
pub mod backup;
mod boot;
pub mod checkpointing;
mod commit;
pub mod cursor;
mod durable;
mod effects;
pub mod engine;
pub mod error;
pub mod lock_waits;
mod locking;
mod logging;
mod looking;
mod maintenance;
pub mod messages;
pub mod observing;
pub mod prepared;
pub mod range_map;
mod read;
pub mod recovery;
mod routes;
pub mod salvage;
pub mod sample;
mod serve;
#[cfg(test)]
pub(crate) mod sim;
pub mod sizes;
pub mod state;
pub mod stats;
mod storages;
mod tasks;
mod transactions;
pub mod two_phase;
#[cfg(test)]
mod two_phase_tests;
pub mod txn_handle;
mod validation;
mod write;
mod writes;

pub use additions::ADDERS_MAX;
pub use advisory::SessionLocks;
pub use api::{KeyRange, ReadView, RowAction, RowBatch, RowFilter, RowOutput, RowUpdate, ScanSpec};
pub use boot::no_tables;
pub use cursor::ScanCursor;
pub use engine::{Engine, SnapshotPin, engine, try_engine};
pub use error::{EngineError, EngineResult};
pub use messages::{Inserted, Modified, OnExisting};
pub use recovery::{RecoveryOptions, RecoveryReport};
pub use sample::TableSample;
pub use sizes::{Sizes, StorageSize};
pub use state::{CATALOG_STORAGE, EngineLimits, PREPARED_STORAGE, Shared};
pub use two_phase::PrepareAs;
pub use txn_handle::{Savepoint, Txn};
