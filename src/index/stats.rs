//! What the index reports about itself.

use std::time::Duration;

/// Number of buckets of the prediction-error histogram: 0, 1, 2, 3–4, 5–8, 9–16, 17–32, 33 and more positions.
pub const ERROR_BUCKETS: usize = 8;

/// A snapshot of an index's counters and shape. Counters run from the creation of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Look-ups that ended inside the predicted cache line.
    pub hits: u64,
    /// Look-ups that ended outside it.
    pub misses: u64,
    /// Look-ups by distance between predicted and actual position: 0, 1, 2, 3–4, 5–8, 9–16, 17–32, more.
    pub prediction_error_positions: [u64; ERROR_BUCKETS],
    /// Key comparisons made after the prediction, summed over the counted look-ups.
    pub search_steps: u64,
    /// Levels from the root to a leaf, the leaf included. 0 when empty.
    pub depth: usize,
    /// Leaves in use.
    pub leaves: usize,
    /// Inner nodes in use.
    pub inner_nodes: usize,
    /// Entries held ÷ slots allocated in leaves, in parts per thousand.
    pub leaf_fill_per_mille: u64,
    /// Bytes of leaves, gaps included.
    pub leaf_bytes: usize,
    /// Bytes of inner nodes.
    pub inner_bytes: usize,
    /// Bytes that keys own on the heap.
    pub key_heap_bytes: usize,
    /// Leaves split.
    pub splits: u64,
    /// Leaves merged into a neighbour or removed.
    pub merges: u64,
    /// Models fitted anew.
    pub retrains: u64,
    /// Time spent in structural changes.
    pub structural_time: Duration,
    /// The longest single structural change.
    pub structural_time_max: Duration,
}
