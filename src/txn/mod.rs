//! Time, snapshots, intents and locks: what decides visibility and conflicts on one core.

pub mod modes;

pub use modes::{Isolation, LockStrength, LockWait, TableLock};
