//! The write-ahead log of one core, and its recovery.

mod bytes;
pub mod cut;
mod error;
mod incarnation;
pub mod record;
#[cfg(test)]
mod record_tests;
mod write_set;

pub use error::{Corruption, WalError};
pub use incarnation::{INCARNATION_CUTS_MAX, Incarnation, IncarnationHistory};
pub use record::{Body, ChunkedTxn};
pub use write_set::{KeyRef, WriteRef, WriteSet, Writes};
