//! What the index reports about itself.
//!
//! Look-ups are counted by sample, one in [`SAMPLE`], so that the hot path pays for a counter and a branch that is nearly
//! never taken. Structural changes are all counted; those of leaves and nodes are timed in thread CPU time, those of blocks
//! one in [`SAMPLE`].

use std::cell::Cell;
use std::time::Duration;

use super::key::IndexKey;
use super::lanes::Plain;
use super::leaf::Leaf;
use super::search;

/// Number of buckets of the prediction-error histogram: 0, 1, 2, 3–4, 5–8, 9–16, 17–32, 33 and more positions.
pub const ERROR_BUCKETS: usize = 8;
/// One look-up in so many is examined, and stands for all of them.
const SAMPLE: u32 = 64;
/// One look-up outside the window outweighs so many inside it: a mispredicted branch on fetched data costs more than
/// fetching a whole block.
const DOUBT_RISE: i8 = 4;
/// How much evidence for or against the model of a leaf counts at most.
const DOUBT_MAX: i8 = 16;
/// Slots in a cache line of 64-bit digests.
const LINE_SLOTS: usize = 8;

/// A snapshot of an index's counters and shape. Counters run from the creation of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Look-ups that ended inside the predicted cache line. Sampled and scaled.
    pub hits: u64,
    /// Look-ups that ended outside it. Sampled and scaled.
    pub misses: u64,
    /// Look-ups by distance between predicted and actual position: 0, 1, 2, 3–4, 5–8, 9–16, 17–32, more. Sampled and scaled.
    pub prediction_error_positions: [u64; ERROR_BUCKETS],
    /// Steps of the search within a block that an exponential search from the prediction would have needed, summed over the
    /// counted look-ups. Sampled and scaled.
    pub search_steps: u64,
    /// Levels from the root to the entries: list of nodes aside, node, leaf and block. 0 when empty.
    pub depth: usize,
    /// Blocks in use.
    pub blocks: usize,
    /// Leaves in use.
    pub leaves: usize,
    /// Inner nodes in use.
    pub inner_nodes: usize,
    /// Entries held ÷ slots allocated in blocks, in parts per thousand.
    pub leaf_fill_per_mille: u64,
    /// Bytes of leaves, gaps included.
    pub leaf_bytes: usize,
    /// Bytes of inner nodes.
    pub inner_bytes: usize,
    /// Bytes that keys own on the heap.
    pub key_heap_bytes: usize,
    /// Blocks, leaves and nodes split, and blocks evened out with a neighbour.
    pub splits: u64,
    /// Blocks and leaves merged into a neighbour or removed.
    pub merges: u64,
    /// Models fitted anew.
    pub retrains: u64,
    /// Blocks and leaves started for appended keys.
    pub appends: u64,
    /// Thread CPU time spent in structural changes of leaves and nodes.
    pub structural_time: Duration,
    /// The longest single structural change that was timed.
    pub structural_time_max: Duration,
}

/// Kinds of structural change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A full block was split or evened out.
    Block,
    /// A leaf was split.
    Leaf,
    /// A leaf was fitted anew.
    Fit,
    /// A node was split.
    Node,
    /// A block or leaf was started for an appended key.
    Append,
    /// Blocks, leaves or nodes were merged or removed.
    Merge,
}

/// A change that began; `None` when it is not timed.
#[derive(Debug)]
#[must_use]
pub(super) struct Watch(Option<Duration>);

/// The counters of one index.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    tick: Cell<u32>,
    hits: Cell<u64>,
    misses: Cell<u64>,
    errors: Cell<[u64; ERROR_BUCKETS]>,
    search_steps: Cell<u64>,
    changes: [u64; 6],
    structural_time: Duration,
    structural_time_max: Duration,
}

impl Counters {
    /// Counts a look-up; whether it must be [examined](Self::examine).
    #[inline(always)]
    #[must_use]
    pub(super) fn looked_up(&self) -> bool {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        tick.is_multiple_of(SAMPLE)
    }

    /// Counts look-ups of several keys, of which one goes on in `leaf`.
    #[inline(always)]
    pub(super) fn looked_up_batch<K: IndexKey, V: Copy + Send>(&self, count: usize, leaf: &Leaf<K, V>, key: &K::View) {
        let before = self.tick.get();
        let tick = before.wrapping_add(count as u32);
        self.tick.set(tick);
        if tick / SAMPLE != before / SAMPLE {
            self.examine(leaf, key);
        }
    }

    /// Notes how far in `leaf` the model was off.
    #[cold]
    pub(super) fn examine<K: IndexKey, V: Copy + Send>(&self, leaf: &Leaf<K, V>, key: &K::View) {
        let (Ok(place) | Err(place)) = leaf.find::<Plain>(key, false);
        let (block, slot) = (place.at, place.slot);
        let predicted = leaf.predict(block, key);
        let error = predicted.abs_diff(slot);
        let counter = if predicted / LINE_SLOTS == slot / LINE_SLOTS { &self.hits } else { &self.misses };
        counter.set(counter.get() + u64::from(SAMPLE));
        let bucket = match error {
            0..=2 => error,
            _ => (usize::BITS - (error - 1).leading_zeros()) as usize + 1,
        };
        let mut errors = self.errors.get();
        errors[bucket.min(ERROR_BUCKETS - 1)] += u64::from(SAMPLE);
        self.errors.set(errors);
        let outside = error > search::WINDOW * 3 / 2;
        let doubt = leaf.doubt.get() + if outside { DOUBT_RISE } else { -1 };
        leaf.doubt.set(doubt.clamp(-DOUBT_MAX, DOUBT_MAX));
        let steps = 1 + 2 * u64::from((error + 1).ilog2());
        self.search_steps.set(self.search_steps.get() + steps * u64::from(SAMPLE));
    }

    /// Counts a structural change that begins now.
    pub(super) fn begin(&mut self, change: Change) -> Watch {
        let count = &mut self.changes[change as usize];
        *count += 1;
        let often = matches!(change, Change::Block | Change::Append | Change::Merge);
        Watch((!often || count.is_multiple_of(u64::from(SAMPLE))).then(thread_time))
    }

    /// Times a structural change that ends now.
    pub(super) fn end(&mut self, watch: Watch) {
        if let Watch(Some(began)) = watch {
            let took = thread_time().saturating_sub(began);
            self.structural_time += took;
            self.structural_time_max = self.structural_time_max.max(took);
        }
    }

    /// Adds the counters to a description of the shape.
    pub(super) fn add_to(&self, shape: IndexStats) -> IndexStats {
        let count = |change: Change| self.changes[change as usize];
        IndexStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            prediction_error_positions: self.errors.get(),
            search_steps: self.search_steps.get(),
            splits: count(Change::Block) + count(Change::Leaf) + count(Change::Node),
            merges: count(Change::Merge),
            retrains: count(Change::Fit),
            appends: count(Change::Append),
            structural_time: self.structural_time,
            structural_time_max: self.structural_time_max,
            ..shape
        }
    }
}

/// CPU time of this thread, so that what other processes do is left out.
fn thread_time() -> Duration {
    #[cfg(not(miri))]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes one `timespec`, which is ours.
        let outcome = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(outcome, 0, "every Linux has a clock of thread CPU time");
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
    #[cfg(miri)]
    Duration::ZERO
}
