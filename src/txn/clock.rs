//! The dense commit clock and what may be seen of it.
//!
//! Architecture Invariant: DENSE CLOCK. A timestamp is drawn only by a transaction that will certainly be logged, so the
//! logged timestamps have no holes.
//!
//! Each core publishes three padded words:
//! - `undecided`: a lower bound of the timestamps it may have drawn, or promised to install, but not yet installed;
//! - `undurable`: the lowest timestamp installed here that its log has not made durable;
//! - `floor`: no snapshot on this core, now or later, is below it.
//!
//! `visible` V = min(clock, undecided − 1): every commit up to V is installed on every core.
//! `durable` D = min(V, undurable − 1): and is on disk.
//!
//! Order matters. A bound is published before the draw, and `undurable` before `undecided` is lifted; readers load the clock,
//! then `undecided`, then `undurable`. Hence a timestamp at or below the loaded clock is either installed already or still
//! held back by a bound that the later loads see. All accesses are sequentially consistent.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::base::{CommitTs, CoreId};
use crate::storage::Horizon;

/// "Nothing" in a core's words.
const NOTHING: u64 = u64::MAX;

/// One core's words, on a cache line pair of their own.
#[repr(align(128))]
struct CoreWords {
    undecided: AtomicU64,
    undurable: AtomicU64,
    floor: AtomicU64,
    waiting: AtomicU64,
    /// Written and read by housekeeping alone, a few times a second.
    horizon: Mutex<Horizon>,
}

#[repr(align(128))]
struct Padded(AtomicU64);

/// The clock, shared by all cores.
pub struct Clock {
    now: Padded,
    cores: Box<[CoreWords]>,
}

impl Clock {
    /// A clock whose last drawn timestamp is `last`.
    pub fn new(cores: usize, last: CommitTs) -> Self {
        let words = |_| CoreWords {
            undecided: AtomicU64::new(NOTHING),
            undurable: AtomicU64::new(NOTHING),
            floor: AtomicU64::new(0),
            waiting: AtomicU64::new(NOTHING),
            horizon: Mutex::default(),
        };
        Self { now: Padded(AtomicU64::new(last.0)), cores: (0..cores).map(words).collect() }
    }

    /// Sets the clock after recovery, before anything is drawn.
    pub fn restart(&self, last: CommitTs) {
        self.now.0.store(last.0, SeqCst);
    }

    /// The last drawn timestamp.
    pub fn now(&self) -> CommitTs {
        CommitTs(self.now.0.load(SeqCst))
    }

    /// Draws the next timestamp. The caller has published a bound, or a participant has on its behalf, and cannot fail any
    /// more.
    pub fn draw(&self) -> CommitTs {
        CommitTs(self.now.0.fetch_add(1, SeqCst) + 1)
    }

    /// Publishes the lowest timestamp `core` may have drawn but not installed.
    pub fn set_undecided(&self, core: CoreId, bound: Option<CommitTs>) {
        self.cores[core.index()].undecided.store(bound.map_or(NOTHING, |ts| ts.0), SeqCst);
    }

    /// Publishes the lowest timestamp installed on `core` that is not durable.
    pub fn set_undurable(&self, core: CoreId, bound: Option<CommitTs>) {
        self.cores[core.index()].undurable.store(bound.map_or(NOTHING, |ts| ts.0), SeqCst);
    }

    /// Publishes a bound below all of `core`'s snapshots, present and future.
    pub fn set_floor(&self, core: CoreId, floor: CommitTs) {
        self.cores[core.index()].floor.store(floor.0, SeqCst);
    }

    /// Publishes the lowest timestamp whose durability somebody on `core` waits for.
    pub fn set_waiting(&self, core: CoreId, lowest: Option<CommitTs>) {
        self.cores[core.index()].waiting.store(lowest.map_or(NOTHING, |ts| ts.0), SeqCst);
    }

    /// Whether somebody on `core` waits for a timestamp that is durable at `durable`.
    pub fn has_waiter(&self, core: CoreId, durable: CommitTs) -> bool {
        self.cores[core.index()].waiting.load(SeqCst) <= durable.0
    }

    /// V: every commit up to it is installed on every core.
    pub fn visible(&self) -> CommitTs {
        let mut visible = self.now.0.load(SeqCst);
        for core in &self.cores {
            visible = visible.min(core.undecided.load(SeqCst).saturating_sub(1));
        }
        CommitTs(visible)
    }

    /// D: every commit up to it is installed and durable on every core.
    pub fn durable(&self) -> CommitTs {
        let mut durable = self.visible().0;
        for core in &self.cores {
            durable = durable.min(core.undurable.load(SeqCst).saturating_sub(1));
        }
        CommitTs(durable)
    }

    /// Publishes what is read on `core`: every snapshot taken there from now on is at or above `horizon.recent`, and those in use that are
    /// below it are its pins.
    pub fn set_horizon(&self, core: CoreId, horizon: Horizon) {
        *self.cores[core.index()].horizon.lock().expect("nothing panics while holding it") = horizon;
    }

    /// What is read on any core.
    pub fn horizon(&self) -> Horizon {
        let mut all = Horizon { recent: CommitTs(u64::MAX), pins: Vec::new() };
        for core in &self.cores {
            let horizon = core.horizon.lock().expect("nothing panics while holding it");
            all.recent = all.recent.min(horizon.recent);
            all.pins.extend_from_slice(&horizon.pins);
        }
        all.pins.sort_unstable();
        all.pins.dedup();
        all
    }

    /// The watermark: versions superseded at or before it are garbage.
    pub fn watermark(&self) -> CommitTs {
        CommitTs(self.cores.iter().map(|core| core.floor.load(SeqCst)).min().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_back_visibility_and_durability() {
        let clock = Clock::new(2, CommitTs(10));
        assert_eq!((clock.visible(), clock.durable()), (CommitTs(10), CommitTs(10)));
        clock.set_undecided(CoreId(0), Some(CommitTs(11)));
        let ts = clock.draw();
        assert_eq!(ts, CommitTs(11));
        assert_eq!(clock.visible(), CommitTs(10), "drawn, not installed");
        clock.set_undurable(CoreId(0), Some(ts));
        clock.set_undecided(CoreId(0), None);
        assert_eq!((clock.visible(), clock.durable()), (CommitTs(11), CommitTs(10)), "installed, not durable");
        clock.set_undurable(CoreId(0), None);
        assert_eq!(clock.durable(), CommitTs(11));
    }

    #[test]
    fn a_bound_of_any_core_counts() {
        let clock = Clock::new(3, CommitTs(5));
        clock.set_undecided(CoreId(2), Some(CommitTs(3)));
        assert_eq!(clock.visible(), CommitTs(2));
    }
}
