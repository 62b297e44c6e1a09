//! The engine as `exec` and `session` see it: one [`Engine`] a core, which runs what is local at once and sends what is not to
//! the owning core. Below it, `storage` holds rows, `txn` decides visibility and conflicts, `wal` makes commits durable.
//!
//! Architecture Invariant: ONE OWNER. A tablet, its index, its locks and its log are touched by one core only; everything
//! else goes through the mesh.

pub mod api;
pub mod error;
pub mod txn_handle;

pub use api::{KeyRange, ReadView, RowAction, RowBatch, RowFilter, RowOutput, RowUpdate, ScanSpec};
pub use error::{EngineError, EngineResult};
pub use txn_handle::{Savepoint, Txn};
