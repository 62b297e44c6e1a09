//! The ordered map under every table and index: an adaptive learned index owned by one core.
//!
//! It needs no locks because only its owner touches it; it is `Send`, so that a tablet can be handed to another core.

mod cursor;
mod entry;
mod key;
mod key_bytes;
mod map;
mod range;
mod stats;

#[cfg(test)]
mod tests;

pub use cursor::Cursor;
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use key::IndexKey;
pub use key_bytes::KeyBytes;
pub use map::LearnedIndex;
pub use range::Range;
pub use stats::IndexStats;
