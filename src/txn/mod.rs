//! Time, snapshots, intents and locks: what decides visibility and conflicts on one core.
//!
//! Source of the scheme: DESIGN of this project (docs/architecture.md, "Time, snapshots, commits"); the anomalies it excludes
//! are those of Berenson et al., "A Critique of ANSI SQL Isolation Levels" (1995), at the levels PostgreSQL 15 gives them.

pub mod advisory_locks;
pub mod asker;
pub mod clock;
pub mod lock_view;
pub mod modes;
pub mod prepared;
pub mod reads;
pub mod row_locks;
pub mod snapshots;
pub mod table;
pub mod table_locks;

pub use advisory_locks::{AdvisoryKey, AdvisoryLock, AdvisoryRequest};
pub use asker::Asker;
pub use clock::Clock;
pub use modes::{Isolation, LockStrength, LockWait, TableLock};
pub use table::{TxnSlot, TxnState, TxnTable, WriteRef};
