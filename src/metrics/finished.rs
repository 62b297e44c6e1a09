//! Statements that are over and have not been counted yet.
//!
//! A statement goes into a dozen counters and histograms. One statement at a time, in the middle of the work on the next, finds neither
//! their code nor their memory in the nearest caches; so what is to be counted is put down, and counted when there is enough of
//! it, or when somebody looks.

use std::cell::RefCell;

use super::CoreMetrics;
use super::cell::RECORDED;
use super::groups::{QueryPath, QueryType, Stage, StageTimes};

/// As many as stay in the first-level cache until they are counted.
const WAITING_MAX: usize = 64;

/// A statement that is over, well or not, or several of one kind that were answered together.
#[derive(Clone, Copy, Debug)]
pub struct FinishedStatement {
    /// What it was.
    pub query_type: QueryType,
    /// Which way it took.
    pub path: QueryPath,
    /// Nanoseconds from its first byte to its result.
    pub duration_ns: u64,
    /// Rows it returned or affected.
    pub rows: u64,
    /// Nanoseconds of each stage; 0: it did not go through that one.
    pub stages: StageTimes,
    /// How many they are; all of the above is true of each.
    pub count: u64,
}

impl FinishedStatement {
    /// One whose time is not told apart by stages.
    pub fn whole(query_type: QueryType, path: QueryPath, duration_ns: u64, rows: u64) -> Self {
        Self { query_type, path, duration_ns, rows, stages: [0; Stage::COUNT], count: 1 }
    }
}

/// Those that wait to be counted.
#[derive(Debug)]
pub(super) struct Waiting(RefCell<Vec<FinishedStatement>>);

impl Default for Waiting {
    fn default() -> Self {
        Self(RefCell::new(Vec::with_capacity(WAITING_MAX)))
    }
}

impl CoreMetrics {
    /// A statement finished. Whoever looks from now on finds it counted.
    #[inline]
    pub fn finished(&self, statement: FinishedStatement) {
        if !RECORDED {
            return;
        }
        let full = {
            let mut waiting = self.waiting.0.borrow_mut();
            waiting.push(statement);
            waiting.len() == WAITING_MAX
        };
        if full {
            self.count_finished();
        }
    }

    /// Counts those that wait; to be called before anything of theirs is looked at.
    #[inline(never)]
    pub(super) fn count_finished(&self) {
        let mut waiting = self.waiting.0.borrow_mut();
        if waiting.is_empty() {
            return;
        }
        self.stages.passed(waiting.iter().map(|statement| (&statement.stages, statement.count)));
        self.sql.finished(&waiting);
        waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::CoreId;

    #[test]
    fn whoever_looks_finds_every_statement_counted() {
        let metrics = CoreMetrics::new(CoreId(0), 1);
        let mut stages = [0; Stage::COUNT];
        stages[Stage::Execute as usize] = 700;
        let (query_type, path) = (QueryType::Select, QueryPath::PointBatched);
        let statements = FinishedStatement { query_type, path, duration_ns: 900, rows: 1, stages, count: 3 };
        for count in (3..=3 * 3 * WAITING_MAX as i64).step_by(3) {
            metrics.finished(statements);
            let snapshot = metrics.snapshot();
            let names = ["sql_queries", "query_path"].map(|name| snapshot.total(&format!("omendb_{name}_total")));
            assert_eq!(names, [count; 2]);
            assert_eq!(snapshot.total("omendb_sql_query_duration_seconds"), count);
            let latencies = metrics.latencies().latencies;
            assert_eq!(latencies.iter().map(|of| of.histogram.len()).collect::<Vec<_>>(), [count as u64; 2]);
        }
    }

    #[test]
    fn a_reset_takes_those_that_wait_with_it() {
        let metrics = CoreMetrics::new(CoreId(0), 1);
        metrics.finished(FinishedStatement::whole(QueryType::Update, QueryPath::PointRemote, 5, 0));
        metrics.reset_latencies();
        assert!(metrics.latencies().latencies.is_empty());
    }
}
