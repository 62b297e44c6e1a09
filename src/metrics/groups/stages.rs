//! Where the time of statements goes, by stage, and which statements were the slowest.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Group, label_enum, none, one};
use crate::base::Oid;
use crate::metrics::cell::Counter;
use crate::metrics::distribution::Distribution;
use crate::metrics::families;
use crate::metrics::snapshot::Collector;

label_enum! {
    /// A part of a statement's life. They follow each other and do not overlap, so that they add up to its duration.
    Stage {
        /// From its first byte read to its last. Nothing for one that came in one piece.
        Receive = "receive",
        /// From its last byte read until it was looked at: behind others of its pipeline.
        Queue = "queue",
        /// From text to a syntax tree, or to its normal form if the plan is known.
        Parse = "parse",
        /// Names, types and the plan; or finding the plan that is known.
        Plan = "plan",
        /// Running, without the two waits below.
        Execute = "execute",
        /// Waiting for rows, tables and advisory locks held by others.
        LockWait = "lock_wait",
        /// Its commit, from the decision until it is durable.
        LogWait = "log_wait",
        /// Handing its result to the kernel.
        Send = "send",
    }
}

/// Nanoseconds by stage, in the order of [`Stage::ALL`].
pub type StageTimes = [u64; Stage::COUNT];

/// Slow statements that a core keeps.
const SLOWEST_MAX: usize = 64;

/// A statement that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowStatement {
    /// The process id of its session.
    pub pid: i32,
    /// Whose it was.
    pub role: Oid,
    /// His name.
    pub user: Arc<str>,
    /// When it ended: microseconds since 2000-01-01 UTC.
    pub finished_micros: i64,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// Where the time went.
    pub stages: StageTimes,
    /// Rows returned or affected.
    pub rows: u64,
    /// Its text.
    pub query: Arc<str>,
}

/// A slow statement in the order of how slow it was.
#[derive(Debug)]
struct BySlowness(SlowStatement);

impl PartialEq for BySlowness {
    fn eq(&self, other: &Self) -> bool {
        self.0.duration_ns == other.0.duration_ns
    }
}

impl Eq for BySlowness {}

impl PartialOrd for BySlowness {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BySlowness {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.duration_ns.cmp(&other.0.duration_ns)
    }
}

/// Where statements spend their time on one core.
#[derive(Debug)]
pub struct StageMetrics {
    durations: [Distribution; Stage::COUNT],
    /// The fastest of them is on top, to make way.
    slowest: RefCell<BinaryHeap<Reverse<BySlowness>>>,
    /// From which duration on a statement is among the slowest.
    slow_from_ns: Cell<u64>,
    /// Statements that took longer than the setting allows.
    pub logged: Counter,
    log_from_ns: Cell<u64>,
}

impl Default for StageMetrics {
    fn default() -> Self {
        Self {
            durations: std::array::from_fn(|_| Distribution::of_times()),
            slowest: RefCell::default(),
            slow_from_ns: Cell::new(0),
            logged: Counter::default(),
            log_from_ns: Cell::new(u64::MAX),
        }
    }
}

impl StageMetrics {
    /// Statements went through stages: nanoseconds of each, where it is not 0, and how many statements that is true of.
    pub fn passed<'a>(&self, statements: impl Iterator<Item = (&'a StageTimes, u64)> + Clone) {
        for (stage, durations) in self.durations.iter().enumerate() {
            if statements.clone().any(|(times, _)| times[stage] > 0) {
                // Stage by stage, and a stage that was not gone through counts as none: no branch depends on what comes next.
                durations
                    .record_all(statements.clone().map(|(times, count)| (times[stage], u64::from(times[stage] > 0) * count)));
            }
        }
    }

    /// How long a stage took.
    pub(in crate::metrics) fn durations(&self, stage: Stage) -> &Distribution {
        &self.durations[stage as usize]
    }

    /// From now on, statements that take at least so long are to be logged; `None`: none.
    pub fn log_from(&self, duration_ns: Option<u64>) {
        self.log_from_ns.set(duration_ns.unwrap_or(u64::MAX));
    }

    /// Whether a statement is slow enough to be logged.
    #[inline]
    pub fn is_logged(&self, duration_ns: u64) -> bool {
        duration_ns >= self.log_from_ns.get()
    }

    /// Whether a statement is one of the slowest so far.
    #[inline]
    pub fn is_slow(&self, duration_ns: u64) -> bool {
        duration_ns > self.slow_from_ns.get()
    }

    /// Keeps a statement that [`is_slow`](Self::is_slow).
    pub fn keep(&self, statement: SlowStatement) {
        let mut slowest = self.slowest.borrow_mut();
        slowest.push(Reverse(BySlowness(statement)));
        if slowest.len() > SLOWEST_MAX {
            slowest.pop();
        }
        if slowest.len() == SLOWEST_MAX {
            self.slow_from_ns.set(slowest.peek().map_or(0, |Reverse(fastest)| fastest.0.duration_ns));
        }
    }

    /// The slowest statements since the last reset, the slowest first.
    pub fn slowest(&self) -> Vec<SlowStatement> {
        let slowest = self.slowest.borrow();
        let mut found: Vec<SlowStatement> = slowest.iter().map(|Reverse(statement)| statement.0.clone()).collect();
        found.sort_by_key(|statement| Reverse(statement.duration_ns));
        found
    }

    /// Forgets the slowest statements.
    pub(in crate::metrics) fn forget_slowest(&self) {
        self.slowest.borrow_mut().clear();
        self.slow_from_ns.set(0);
    }
}

impl Group for StageMetrics {
    fn collect(&self, out: &mut Collector) {
        for &stage in Stage::ALL {
            out.distribution(&families::STAGE_DURATION, one("stage", stage.label()), &self.durations[stage as usize]);
        }
        out.counter(&families::SLOW_STATEMENTS, none(), self.logged.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasting(duration_ns: u64) -> SlowStatement {
        SlowStatement {
            pid: 1,
            role: Oid(10),
            user: "postgres".into(),
            finished_micros: 0,
            duration_ns,
            stages: [0; Stage::COUNT],
            rows: 1,
            query: "SELECT 1".into(),
        }
    }

    #[test]
    fn the_slowest_are_kept_and_the_others_make_way() {
        let stages = StageMetrics::default();
        // In an order that is neither rising nor falling.
        for number in 0..1_000_u64 {
            let duration = number * 617 % 1_000 + 1;
            if stages.is_slow(duration) {
                stages.keep(lasting(duration));
            }
        }
        let found: Vec<u64> = stages.slowest().iter().map(|statement| statement.duration_ns).collect();
        assert_eq!(found, (1_001 - SLOWEST_MAX as u64..=1_000).rev().collect::<Vec<_>>());
        assert!(!stages.is_slow(1_000 - SLOWEST_MAX as u64) && stages.is_slow(2_000));
        stages.forget_slowest();
        assert!(stages.slowest().is_empty() && stages.is_slow(1));
    }

    #[test]
    fn what_is_logged_follows_the_setting() {
        let stages = StageMetrics::default();
        assert!(!stages.is_logged(u64::MAX - 1));
        stages.log_from(Some(10));
        assert!(stages.is_logged(10) && !stages.is_logged(9));
    }
}
