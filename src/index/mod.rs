//! The ordered map under every table and index: an adaptive learned index owned by one core.
//!
//! It needs no locks because only its owner touches it; it is `Send`, so that a tablet can be handed to another core.
//!
//! The idea is ALEX's (Ding et al., SIGMOD 2020): models route and predict, gaps take inserts, comparisons correct. The shape
//! is not. ALEX keeps gapped arrays of up to 16 MiB and lets one model place every key, which is superb on smooth keys, and
//! on rough ones costs deep trees, long searches and stalls. Here the work is divided so that rough keys cost little more:
//!
//! - `node`: up to two thousand separators in one array, and a linear or logarithmic model (`router`) that says which few of
//!   them to compare. Ten million integers need two nodes.
//! - `leaf`: up to 64 blocks. A leaf maps keys linearly to 31-bit quanta, and four bytes a block route exactly.
//! - `fill`: eight more bytes a block count the entries in each eighth of its range, and so predict the slot.
//! - `block`: up to 128 sorted entries; the two lines of digests and values around the predicted slot are fetched at once, and
//!   the next ones if the key is not there. A leaf whose sampled look-ups mostly end far off stops predicting and searches
//!   whole blocks, until samples say otherwise.
//! - `lanes`: the steps that vectors make shorter, in a plain version and one for AVX-512, chosen at run time.
//! - `pool`: leaves and blocks lie on huge pages, because a look-up's fetch is to a random place of a large memory.
//!
//! Gaps are at the ends of blocks. A full block evens out with a neighbour before it is split, which keeps blocks above four
//! fifths full under random inserts; appended keys start fresh blocks and leave full ones behind.
//!
//! Invariants: a separator is not greater than any key of its leaf and greater than every key before; a bound of a block
//! falls between two quanta; digests never contradict keys, and where they tie the keys decide. No float is compared in
//! place of a key: where one is used, to predict a slot or to choose a bucket, a wrong value costs time only, or the function
//! ascends whatever its rounding.
//!
//! docs/index.md gives the layout, the bounds on work and memory, and what was measured.

mod block;
mod block_list;
mod cursor;
mod digest;
mod entry;
mod fill;
mod fit;
mod key;
mod key_bytes;
mod lanes;
mod leaf;
mod map;
mod node;
mod pool;
mod range;
mod room;
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
pub use pool::pool_bytes;
pub use range::Range;
pub use stats::{ERROR_BUCKETS, IndexStats};
