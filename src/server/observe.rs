//! Figures that somebody else keeps, taken over into the core's metrics when a snapshot is asked for.

use crate::base::CommitTs;
use crate::mesh::MeshStats;
use crate::metrics::{CoreMetrics, MemoryKind};
use crate::runtime::CoreTimes;
use crate::shard::stats::ShardStats;
use crate::wal::FlushReport;

/// Take over the engine's figures of this core. `clock` is the commit clock now.
pub fn observe_engine(metrics: &CoreMetrics, stats: &ShardStats, clock: CommitTs) {
    assert_eq!(metrics.core(), stats.core, "a core's figures go into its own metrics");
    let storage = &metrics.storage;
    storage.tablets.set(signed(stats.tablets));
    storage.rows.set(signed(stats.keys));
    storage.stored_bytes.set(signed(stats.index_bytes + stats.heap_bytes));
    storage.memory(MemoryKind::Index).set(signed(stats.index_bytes));
    storage.memory(MemoryKind::Rows).set(signed(stats.heap_bytes));
    storage.tablet_splits.set_total(stats.splits);
    storage.tablet_moves.set_total(stats.moves);
    storage.memory(MemoryKind::Intents).set(signed(stats.transaction_bytes));
    metrics.txn.versions_pruned.set_total(stats.collected);
    metrics.txn.versions_waiting.set(signed(stats.garbage));
    metrics.txn.versions_held.set(signed(stats.held));
    metrics.txn.snapshots_expired.set_total(stats.snapshots_expired);
    metrics.txn.lock_waiters.set(signed(stats.waiting));
    let age = stats.oldest_snapshot.map_or(0, |oldest| clock.0.saturating_sub(oldest.0));
    metrics.txn.snapshot_age.set(i64::try_from(age).unwrap_or(i64::MAX));
}

/// Take over how the core has spent its time, and what the mesh has counted.
pub fn observe_core(metrics: &CoreMetrics, times: Option<CoreTimes>, mesh: &MeshStats) {
    if let Some(times) = times {
        let executor = &metrics.executor;
        executor.busy_ns.set_total(times.busy_nanos);
        executor.parked_ns.set_total(times.parked_nanos);
        executor.parks.set_total(times.parks);
        executor.tasks.set_total(times.polls);
        executor.stalls.set_total(times.stalls);
        executor.stall_max_ns.set(i64::try_from(times.stall_nanos_max).unwrap_or(i64::MAX));
    }
    metrics.mesh.wakeups.set_total(mesh.wakes_sent);
    metrics.mesh.credit_waits.set_total(mesh.credit_waits);
}

/// Record one flush of this core's log.
pub fn observe_flush(metrics: &CoreMetrics, report: &FlushReport) {
    let duration_ns = u64::try_from(report.duration.as_nanos()).unwrap_or(u64::MAX);
    metrics.wal.records.add(report.records);
    metrics.wal.flushed(report.records, report.bytes, duration_ns);
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("counts of things in memory are far below 2^63")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::{CoreId, Lsn};

    #[test]
    fn engine_figures_arrive() {
        let metrics = CoreMetrics::new(CoreId(1), 2);
        let stats = ShardStats {
            core: CoreId(1),
            tablets: 3,
            keys: 400,
            index_bytes: 1_000,
            heap_bytes: 2_000,
            splits: 2,
            oldest_snapshot: Some(CommitTs(90)),
            ..ShardStats::default()
        };
        observe_engine(&metrics, &stats, CommitTs(100));
        let snapshot = metrics.snapshot();
        for (name, value) in [
            ("omendb_tablets", 3),
            ("omendb_rows", 400),
            ("omendb_database_size_bytes", 3_000),
            ("omendb_memory_usage_bytes", 3_000),
            ("omendb_tablet_splits_total", 2),
            ("omendb_snapshot_age_timestamps", 10),
        ] {
            assert_eq!(snapshot.total(name), value, "{name}");
        }
    }

    #[test]
    fn flushes_arrive() {
        let metrics = CoreMetrics::new(CoreId(0), 1);
        let report = FlushReport {
            durable_lsn: Lsn(8_192),
            records: 5,
            bytes: 8_192,
            duration: Duration::from_micros(90),
            lowest_unflushed_ts: None,
        };
        observe_flush(&metrics, &report);
        observe_flush(&metrics, &report);
        let snapshot = metrics.snapshot();
        for (name, value) in [
            ("omendb_wal_writes_total", 2),
            ("omendb_wal_records_total", 10),
            ("omendb_wal_bytes_total", 16_384),
            ("omendb_wal_sync_duration_seconds", 2),
            ("omendb_wal_group_size", 2),
        ] {
            assert_eq!(snapshot.total(name), value, "{name}");
        }
    }
}
