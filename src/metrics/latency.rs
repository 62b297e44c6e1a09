//! The HDR histograms of one core as somebody who tunes latency looks at them: each kind of statement and each stage on its own, since
//! the last reset.
//!
//! A reset must not make Prometheus' counters go back. So what was recorded stays, and a copy of it at the reset is taken away from what
//! is shown.

use hdrhistogram::Histogram;

use super::groups::{QueryType, Stage};
use super::{CoreMetrics, Distribution, SlowStatement};
use crate::base::CoreId;

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timed {
    /// Statements of a kind, from their first byte to their result.
    Statement(QueryType),
    /// A stage of statements of all kinds.
    Stage(Stage),
}

impl Timed {
    /// `statement` or `stage`.
    pub fn kind(self) -> &'static str {
        match self {
            Timed::Statement(_) => "statement",
            Timed::Stage(_) => "stage",
        }
    }

    /// Which of its kind.
    pub fn label(self) -> &'static str {
        match self {
            Timed::Statement(query_type) => query_type.label(),
            Timed::Stage(stage) => stage.label(),
        }
    }

    fn all() -> impl Iterator<Item = Timed> {
        let statements = QueryType::ALL.iter().copied().map(Timed::Statement);
        statements.chain(Stage::ALL.iter().copied().map(Timed::Stage))
    }
}

/// How long something took on one core: nanoseconds, at three significant digits.
#[derive(Clone, Debug)]
pub struct Latency {
    /// What.
    pub of: Timed,
    /// The counts; never empty.
    pub histogram: Box<Histogram<u64>>,
}

/// What a core has to say about latency.
#[derive(Clone, Debug)]
pub struct CoreLatencies {
    /// The core.
    pub core: CoreId,
    /// Whatever has been timed since the last reset.
    pub latencies: Vec<Latency>,
    /// The slowest statements since then, the slowest first.
    pub slowest: Vec<SlowStatement>,
}

/// What was recorded up to the last reset.
#[derive(Debug, Default)]
pub(super) struct Baseline(Vec<Latency>);

impl CoreMetrics {
    fn timed(&self, of: Timed) -> &Distribution {
        match of {
            Timed::Statement(query_type) => self.sql.durations(query_type),
            Timed::Stage(stage) => self.stages.durations(stage),
        }
    }

    fn recorded(&self) -> impl Iterator<Item = Latency> {
        self.count_finished();
        Timed::all().filter_map(|of| Some(Latency { of, histogram: self.timed(of).histogram()? }))
    }

    /// What has been recorded since the last reset.
    pub fn latencies(&self) -> CoreLatencies {
        let baseline = self.baseline.borrow();
        let since = |mut latency: Latency| {
            if let Some(before) = baseline.0.iter().find(|before| before.of == latency.of) {
                latency.histogram.subtract(&*before.histogram).expect("a histogram holds what it held before");
            }
            (!latency.histogram.is_empty()).then_some(latency)
        };
        CoreLatencies { core: self.core, latencies: self.recorded().filter_map(since).collect(), slowest: self.stages.slowest() }
    }

    /// Starts over.
    pub fn reset_latencies(&self) {
        *self.baseline.borrow_mut() = Baseline(self.recorded().collect());
        self.stages.forget_slowest();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FinishedStatement, QueryPath};
    use super::*;

    #[test]
    fn a_reset_starts_over_and_takes_nothing_from_prometheus() {
        let metrics = CoreMetrics::new(CoreId(0), 1);
        let statement = |duration_ns| FinishedStatement::whole(QueryType::Select, QueryPath::PointLocal, duration_ns, 1);
        metrics.finished(FinishedStatement { stages: [900_000; Stage::COUNT], ..statement(1_000_000) });
        assert_eq!(metrics.latencies().latencies.len(), 1 + Stage::COUNT);
        metrics.reset_latencies();
        assert!(metrics.latencies().latencies.is_empty());
        metrics.finished(statement(3_000));
        let found = metrics.latencies().latencies;
        let [latency] = &found[..] else { panic!("one thing was timed, not {found:?}") };
        assert_eq!(latency.of, Timed::Statement(QueryType::Select));
        assert_eq!((latency.histogram.len(), latency.histogram.max()), (1, latency.histogram.highest_equivalent(3_000)));
        assert_eq!(metrics.snapshot().total("omendb_sql_query_duration_seconds"), 2);
    }
}
