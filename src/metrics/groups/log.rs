//! The write-ahead log and checkpoints of one core.

use super::{Group, none};
use crate::metrics::cell::{Counter, Gauge};
use crate::metrics::distribution::Distribution;
use crate::metrics::families;
use crate::metrics::snapshot::Collector;

/// Log figures of one core.
#[derive(Debug)]
pub struct WalMetrics {
    /// Records appended.
    pub records: Counter,
    /// Writes issued.
    pub writes: Counter,
    /// Bytes written, padding included.
    pub bytes: Counter,
    /// Appended and not yet durable.
    pub backlog_bytes: Gauge,
    /// Bytes a restart would read.
    pub held_bytes: Gauge,
    /// Attempts to extend the log that found the disk full.
    pub disk_full: Counter,
    /// Nanoseconds a durable write took.
    pub sync_ns: Distribution,
    /// Records a durable write carried.
    pub group_size: Distribution,
}

impl Default for WalMetrics {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            writes: Counter::default(),
            bytes: Counter::default(),
            backlog_bytes: Gauge::default(),
            held_bytes: Gauge::default(),
            disk_full: Counter::default(),
            sync_ns: Distribution::of_times(),
            group_size: Distribution::of_amounts(),
        }
    }
}

impl WalMetrics {
    /// One durable write finished: how many records and bytes it carried, how long write and sync took together.
    #[inline]
    pub fn flushed(&self, records: u64, bytes: u64, duration_ns: u64) {
        self.writes.inc();
        self.bytes.add(bytes);
        self.group_size.record(records);
        self.sync_ns.record(duration_ns);
    }
}

impl Group for WalMetrics {
    fn collect(&self, out: &mut Collector) {
        out.counter(&families::WAL_WRITES, none(), self.writes.get());
        out.counter(&families::WAL_RECORDS, none(), self.records.get());
        out.counter(&families::WAL_BYTES, none(), self.bytes.get());
        out.gauge(&families::WAL_BACKLOG, none(), self.backlog_bytes.get());
        out.gauge(&families::WAL_HELD, none(), self.held_bytes.get());
        out.counter(&families::WAL_DISK_FULL, none(), self.disk_full.get());
        out.distribution(&families::WAL_SYNC_DURATION, none(), &self.sync_ns);
        out.distribution(&families::WAL_GROUP_SIZE, none(), &self.group_size);
    }
}

/// Checkpoint figures of one core.
#[derive(Debug)]
pub struct CheckpointMetrics {
    /// Finished.
    pub finished: Counter,
    /// Given up.
    pub failed: Counter,
    /// 1 while one runs.
    pub running: Gauge,
    /// The timestamp the last one holds everything up to.
    pub last_ts: Gauge,
    /// Nanoseconds since the last one ended, if there is anything since then.
    pub age_ns: Gauge,
    /// Nanoseconds one took.
    pub duration_ns: Distribution,
    /// Bytes written.
    pub bytes: Counter,
    /// Rows written.
    pub rows: Counter,
}

impl Default for CheckpointMetrics {
    fn default() -> Self {
        Self {
            finished: Counter::default(),
            failed: Counter::default(),
            running: Gauge::default(),
            last_ts: Gauge::default(),
            age_ns: Gauge::default(),
            duration_ns: Distribution::of_times_coarse(),
            bytes: Counter::default(),
            rows: Counter::default(),
        }
    }
}

impl Group for CheckpointMetrics {
    fn collect(&self, out: &mut Collector) {
        out.counter(&families::CHECKPOINTS, none(), self.finished.get());
        out.counter(&families::CHECKPOINT_FAILURES, none(), self.failed.get());
        out.gauge(&families::CHECKPOINT_RUNNING, none(), self.running.get());
        out.gauge(&families::CHECKPOINT_LAST_TS, none(), self.last_ts.get());
        out.gauge(&families::CHECKPOINT_AGE, none(), self.age_ns.get());
        out.distribution(&families::CHECKPOINT_DURATION, none(), &self.duration_ns);
        out.counter(&families::CHECKPOINT_BYTES, none(), self.bytes.get());
        out.counter(&families::CHECKPOINT_ROWS, none(), self.rows.get());
    }
}
