//! Where a statement's time goes, from its first byte to the last of its result.
//!
//! One [`Stopwatch`] a session, which holds the stages of the statement at hand. A statement *opens* with the first of its messages that is
//! looked at, *laps* give the time since the last lap to a stage, and it *settles*, which is when everything is recorded, when the next
//! statement opens or the client is waited for, whichever comes first. So what its commit (at Sync) and its result's way to the kernel
//! take belongs to it, and what a client thinks between two messages belongs to nobody.
//!
//! A stage ends where the next begins: they add up to the duration. A message counts as received when the core's loop gives the word to
//! the tasks for which something has come, which is a look at the clock that the loop takes anyway. How long it was in the kernel before
//! is seen by no clock here, and neither is the way of the answer from the ring's queue into the kernel at the end of the turn.

use crate::metrics::{FinishedStatement, QueryPath, QueryType, RECORDED, SlowStatement, Stage, StageTimes};
use crate::runtime::{self, MonoTime};
use crate::session::Session;
use crate::session::backend::Backend;
use crate::session::environment::clock_micros;

/// The stages of the statement at hand.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    /// When the first bytes came of what was read last.
    first_byte: MonoTime,
    /// When the last ones came.
    last_byte: MonoTime,
    /// Since when the statement at hand has been there; `None` between statements.
    opened: Option<MonoTime>,
    /// Up to where its time has been given to stages.
    lap: MonoTime,
    stages: StageTimes,
    /// What it is, once that is known.
    kind: Option<(QueryType, QueryPath)>,
    /// How many rows it had, once it is done.
    rows: Option<u64>,
}

impl Stopwatch {
    /// Something was received by then; `more` if a message that had begun goes on with it.
    pub(super) fn received(&mut self, more: bool, at: MonoTime) {
        self.last_byte = at;
        if !more {
            self.first_byte = self.last_byte;
        }
    }

    /// Opens a statement.
    fn open(&mut self, now: MonoTime) {
        self.stages = [0; Stage::COUNT];
        self.kind = None;
        self.rows = None;
        self.opened = Some(self.first_byte);
        self.stages[Stage::Receive as usize] = nanos(self.first_byte, self.last_byte);
        self.stages[Stage::Queue as usize] = nanos(self.last_byte, now);
        // What follows in the same buffer was not received over again.
        self.first_byte = self.last_byte;
        self.lap = now;
    }

    /// Gives the time since the last lap to a stage.
    #[inline]
    fn lap_at(&mut self, stage: Stage, now: MonoTime) {
        self.stages[stage as usize] += nanos(self.lap, now);
        self.lap = now;
    }

    /// Of the time since the last lap, so many nanoseconds were spent waiting.
    fn waited(&mut self, stage: Stage, waited_ns: u64) {
        let now = now();
        let waited_ns = waited_ns.min(nanos(self.lap, now));
        self.stages[stage as usize] += waited_ns;
        self.lap = self.lap + std::time::Duration::from_nanos(waited_ns);
    }
}

/// The clock, where anybody looks at it.
#[inline]
pub(super) fn now() -> MonoTime {
    if RECORDED { runtime::now() } else { MonoTime::default() }
}

fn nanos(from: MonoTime, to: MonoTime) -> u64 {
    to.as_nanos().saturating_sub(from.as_nanos())
}

impl<B: Backend> Session<B> {
    /// The client had sent something by then; `more` if a message that had begun goes on with it.
    pub fn received(&mut self, more: bool, at: MonoTime) {
        self.watch.received(more, at);
    }

    /// The message at hand belongs to a statement: to the one that is open, or to a new one if that is done.
    #[inline]
    pub(super) fn open_statement(&mut self, backend: &B) {
        if self.watch.opened.is_none() || self.watch.rows.is_some() {
            self.settle(backend);
            self.watch.open(now());
        }
    }

    /// What has gone on since the last lap was this stage.
    #[inline]
    pub(super) fn lap(&mut self, stage: Stage) {
        self.watch.lap_at(stage, now());
    }

    /// Running has come to a stop: what of it was spent waiting for locks is told apart.
    pub(super) fn lap_execution(&mut self, backend: &B) {
        self.lap_waits(backend);
        self.lap(Stage::Execute);
    }

    /// The end of a commit that had something to wait for.
    pub(super) fn lap_commit(&mut self, backend: &B) {
        self.lap_waits(backend);
        self.lap(Stage::LogWait);
    }

    fn lap_waits(&mut self, backend: &B) {
        let waited_ns = backend.lock_waits(self.cancel_key().pid);
        if waited_ns > 0 {
            self.watch.waited(Stage::LockWait, waited_ns);
        }
    }

    /// The statement at hand begins to run.
    #[inline]
    pub(super) fn statement_begins(&mut self, query_type: QueryType, path: QueryPath) {
        self.watch.kind = Some((query_type, path));
    }

    /// It is done. It may still have a commit and the sending of its result before it.
    #[inline]
    pub(super) fn statement_done(&mut self, rows: u64) {
        self.watch.rows = Some(rows);
    }

    /// It has failed.
    pub(super) fn statement_failed(&mut self, backend: &B) {
        if self.watch.opened.is_none() {
            return;
        }
        self.lap_execution(backend);
        let (query_type, path) = self.watch.kind.unwrap_or((QueryType::Invalid, QueryPath::Session));
        self.statement_begins(query_type, path);
        self.statement_done(0);
    }

    /// A lookup is opened and done in one go: it is looked for since `started`, and was answered until now.
    #[inline]
    pub(super) fn lookup_done(&mut self, backend: &B, started: MonoTime) {
        if !RECORDED {
            return;
        }
        let before = if self.watch.rows.is_some() { self.watch.lap } else { MonoTime::default() };
        self.settle(backend);
        // One that comes right after another was waited for until then.
        self.watch.open(before.max(self.watch.last_byte));
        self.watch.lap_at(Stage::Plan, started);
        self.watch.lap_at(Stage::Execute, now());
        self.statement_begins(QueryType::Select, QueryPath::PointLocal);
        self.statement_done(1);
    }

    /// `count` lookups were read together since `since`, and answered just now.
    pub(super) fn lookups_done(&mut self, backend: &B, count: u64, since: MonoTime) {
        self.settle(backend);
        if !RECORDED {
            return;
        }
        let (since, now) = (since.max(self.watch.last_byte), now());
        let arrived = self.watch.last_byte;
        let mut stages = [0; Stage::COUNT];
        stages[Stage::Queue as usize] = nanos(arrived, since);
        stages[Stage::Execute as usize] = nanos(since, now);
        let (query_type, duration_ns) = (QueryType::Select, nanos(arrived, now));
        let path = if count > 1 { QueryPath::PointBatched } else { QueryPath::PointRemote };
        backend.metrics().finished(FinishedStatement { query_type, path, duration_ns, rows: 1, stages, count });
        self.look_at_slowness(backend, duration_ns, &stages, 1);
    }

    /// The client is waited for from now on: what has been handed to the kernel since the last lap was the end of the statement.
    pub fn sent(&mut self, backend: &B, now: MonoTime) {
        if self.watch.rows.is_some() {
            self.watch.lap_at(Stage::Send, now);
        }
        self.settle(backend);
        self.watch.opened = None;
    }

    /// Records the statement at hand.
    #[inline]
    fn settle(&mut self, backend: &B) {
        let Some(opened) = self.watch.opened.take() else { return };
        if !RECORDED {
            return;
        }
        let stages = self.watch.stages;
        let (Some(rows), Some((query_type, path))) = (self.watch.rows.take(), self.watch.kind) else {
            // One that was only prepared has gone through stages and is none that was finished.
            backend.metrics().stages.passed(std::iter::once((&stages, 1)));
            return;
        };
        let duration_ns = nanos(opened, self.watch.lap);
        backend.metrics().finished(FinishedStatement { query_type, path, duration_ns, rows, stages, count: 1 });
        self.look_at_slowness(backend, duration_ns, &stages, rows);
    }

    #[inline]
    fn look_at_slowness(&self, backend: &B, duration_ns: u64, stages: &StageTimes, rows: u64) {
        let known = &backend.metrics().stages;
        if known.is_slow(duration_ns) || known.is_logged(duration_ns) {
            self.tell_slow(backend, duration_ns, stages, rows);
        }
    }

    #[cold]
    fn tell_slow(&self, backend: &B, duration_ns: u64, stages: &StageTimes, rows: u64) {
        let Some(activity) = self.ticket.told().get() else { return };
        let query = self.last_query().unwrap_or(activity.query);
        let known = &backend.metrics().stages;
        if known.is_logged(duration_ns) {
            known.logged.inc();
            let ms = |nanos: u64| nanos as f64 / 1e6;
            let by_stage: Vec<String> = Stage::ALL
                .iter()
                .zip(stages)
                .filter(|(_, nanos)| **nanos > 0)
                .map(|(stage, nanos)| format!("{}={:.3}", stage.label(), ms(*nanos)))
                .collect();
            tracing::warn!(
                target: "omendb::slow",
                pid = activity.pid,
                user = activity.user,
                duration_ms = ms(duration_ns),
                rows,
                stages_ms = by_stage.join(" "),
                query = &*query,
                "slow statement"
            );
        }
        if known.is_slow(duration_ns) {
            known.keep(SlowStatement {
                pid: activity.pid,
                role: activity.role,
                user: activity.user.as_str().into(),
                finished_micros: clock_micros(),
                duration_ns,
                stages: *stages,
                rows,
                query,
            });
        }
    }
}
