//! The ordered map under every table and index: an adaptive learned index owned by one core.
//!
//! It needs no locks because only its owner touches it; it is `Send`, so that a tablet can be handed to another core.

mod block;
mod cursor;
mod digest;
mod entry;
mod fit;
mod key;
mod key_bytes;
mod leaf;
mod map;
mod node;
mod range;
mod router;
mod search;
mod seek;
mod stats;
mod structure;
mod whole;

#[cfg(test)]
mod tests;

pub use cursor::Cursor;
pub use digest::Digest;
pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use key::IndexKey;
pub use key_bytes::KeyBytes;
pub use map::LearnedIndex;
pub use range::Range;
pub use stats::IndexStats;
