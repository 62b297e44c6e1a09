//! Statements: how many, how long, how many rows, which errors, which way through the engine.

use std::cell::RefCell;

use super::{Group, label_enum, one};
use crate::error::SqlState;
use crate::metrics::cell::Counter;
use crate::metrics::distribution::Distribution;
use crate::metrics::families;
use crate::metrics::finished::FinishedStatement;
use crate::metrics::snapshot::Collector;

label_enum! {
    /// What kind of statement it was.
    QueryType {
        /// SELECT, VALUES, TABLE.
        Select = "select",
        /// INSERT.
        Insert = "insert",
        /// UPDATE.
        Update = "update",
        /// DELETE.
        Delete = "delete",
        /// COPY in either direction.
        Copy = "copy",
        /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT and their kin.
        Transaction = "transaction",
        /// CREATE, ALTER, DROP, TRUNCATE and the like.
        Ddl = "ddl",
        /// SET, SHOW, VACUUM, ANALYZE, EXPLAIN and everything else that is understood.
        Utility = "utility",
        /// Text that could not be parsed or bound.
        Invalid = "invalid",
    }
}

label_enum! {
    /// The way a statement took. One statement counts once.
    QueryPath {
        /// One key, on the session's own core.
        PointLocal = "point_local",
        /// One key, on another core.
        PointRemote = "point_remote",
        /// One of several reads that went to a core as one message.
        PointBatched = "point_batched",
        /// Anything else that reads or writes tables, or computes: the executor.
        Executor = "executor",
        /// What the session does itself: BEGIN, COMMIT, SET, PREPARE and their kin.
        Session = "session",
    }
}

/// The first two characters of a SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorClass(pub [u8; 2]);

impl From<SqlState> for ErrorClass {
    fn from(state: SqlState) -> Self {
        Self([state.0[0], state.0[1]])
    }
}

/// Classes that are exported from the start, so that the first error of one is seen as an increase.
const USUAL_CLASSES: [&[u8; 2]; 16] =
    [b"08", b"0A", b"21", b"22", b"23", b"25", b"26", b"28", b"40", b"42", b"53", b"54", b"55", b"57", b"58", b"XX"];

/// Statement figures of one core.
#[derive(Debug)]
pub struct SqlMetrics {
    finished: [Counter; QueryType::COUNT],
    durations: [Distribution; QueryType::COUNT],
    rows: Distribution,
    paths: [Counter; QueryPath::COUNT],
    /// Few classes and no hot path: a short list searched from the front.
    errors: RefCell<Vec<(ErrorClass, u64)>>,
}

impl Default for SqlMetrics {
    fn default() -> Self {
        Self {
            finished: std::array::from_fn(|_| Counter::default()),
            durations: std::array::from_fn(|_| Distribution::of_times()),
            rows: Distribution::of_amounts(),
            paths: std::array::from_fn(|_| Counter::default()),
            errors: RefCell::new(USUAL_CLASSES.iter().map(|class| (ErrorClass(**class), 0)).collect()),
        }
    }
}

impl SqlMetrics {
    /// Statements finished, well or not.
    #[inline]
    pub(in crate::metrics) fn finished(&self, statements: &[FinishedStatement]) {
        for of in statements {
            self.finished[of.query_type as usize].add(of.count);
            self.durations[of.query_type as usize].record_n(of.duration_ns, of.count);
            self.paths[of.path as usize].add(of.count);
        }
        self.rows.record_all(statements.iter().map(|of| (of.rows, of.count)));
    }

    /// How long statements of a kind took.
    pub(in crate::metrics) fn durations(&self, query_type: QueryType) -> &Distribution {
        &self.durations[query_type as usize]
    }

    /// An error was sent to a client.
    pub fn failed(&self, state: SqlState) {
        let class = ErrorClass::from(state);
        let mut errors = self.errors.borrow_mut();
        match errors.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => errors.push((class, 1)),
        }
    }
}

impl Group for SqlMetrics {
    fn collect(&self, out: &mut Collector) {
        for &query_type in QueryType::ALL {
            let labels = || one("query_type", query_type.label());
            out.counter(&families::SQL_QUERIES, labels(), self.finished[query_type as usize].get());
            out.distribution(&families::SQL_DURATION, labels(), &self.durations[query_type as usize]);
        }
        out.distribution(&families::SQL_ROWS, super::none(), &self.rows);
        for &path in QueryPath::ALL {
            out.counter(&families::QUERY_PATH, one("path", path.label()), self.paths[path as usize].get());
        }
        for (class, count) in self.errors.borrow().iter() {
            let text = String::from_utf8_lossy(&class.0).into_owned();
            out.counter(&families::SQL_ERRORS, vec![("error_type", text.into())], *count);
        }
    }
}
