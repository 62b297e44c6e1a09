//! What the core tells whoever looks: its metrics, with the figures that somebody else keeps taken over at that moment, latencies, tablets.
//!
//! A look must not hold up the core: whatever visits tablets or copies histograms yields in between, so what is told is consistent in its
//! parts and not as a whole.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::{CommitTs, CoreId};
use crate::catalog::system::cores::{CURVE_POINTS, CoreFigures, Look};
use crate::index::IndexStats;
use crate::metrics::export::ServerFigures;
use crate::metrics::{CoreMetrics, MemoryKind, process_figures};
use crate::runtime::{self, CoreTimes};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::messages::{Reply, Request};
use crate::shard::stats::ShardStats;
use crate::storage::Tablet;
use crate::wal::FlushReport;

/// Storages whose tablets are counted between two yields.
const STORAGES_AT_ONCE: usize = 64;

/// How long tablets are looked at between two yields.
const SLICE: Duration = Duration::from_micros(200);

/// Tablets and their curves that are told at most.
const TABLETS_MAX: usize = 10_000;

impl Engine {
    /// What every core has to tell.
    pub async fn look_at_all(&self, look: Look) -> Vec<CoreFigures> {
        let others = (0..self.shared().cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.core());
        let calls: Vec<_> = others.map(|core| (core, self.ask(core, Request::Look(look)))).collect();
        let mut found = vec![self.look_here(look).await];
        for (_, reply) in join_calls(calls).await {
            if let Reply::Figures(figures) = reply {
                found.push(*figures);
            }
        }
        found.sort_by_key(|figures| figures.core);
        found
    }

    /// What this core has to tell.
    pub(super) async fn look_here(&self, look: Look) -> CoreFigures {
        let mut figures = CoreFigures { core: self.core(), metrics: None, pool: None, latencies: None, tablets: Vec::new() };
        let metrics = self.metrics().clone();
        match look {
            Look::Metrics => {
                self.observe().await;
                figures.metrics = Some(metrics.snapshot_paced(async || runtime::yield_now().await).await);
            }
            Look::Pools => figures.pool = Some(metrics.pool.figures()),
            Look::Latencies => figures.latencies = Some(metrics.latencies()),
            Look::ResetLatencies => metrics.reset_latencies(),
            Look::Tablets => self.each_tablet(|tablet| figures.tablets.push((tablet.figures(), Vec::new()))).await,
            Look::Curves => {
                self.each_tablet(|tablet| figures.tablets.push((tablet.figures(), tablet.curve(CURVE_POINTS)))).await;
            }
        }
        figures
    }

    /// Looks at the tablets one by one.
    async fn each_tablet(&self, mut look: impl FnMut(&Tablet)) {
        let storages: Vec<_> = self.0.shard.borrow().tablets.keys().copied().collect();
        let (mut left, mut since) = (TABLETS_MAX, runtime::now());
        for storage in storages {
            let mut number = 0;
            loop {
                {
                    let shard = self.0.shard.borrow();
                    let Some(tablet) = shard.tablets.get(&storage).and_then(|tablets| tablets.get(number)) else { break };
                    look(tablet);
                }
                left -= 1;
                if left == 0 {
                    return;
                }
                number += 1;
                if since.elapsed() > SLICE {
                    runtime::yield_now().await;
                    since = runtime::now();
                }
            }
        }
    }

    /// Takes over into this core's metrics what others count.
    async fn observe(&self) {
        let metrics = self.metrics();
        let mut stats = self.0.shard.borrow().stats_without_tablets();
        let storages: Vec<_> = self.0.shard.borrow().tablets.keys().copied().collect();
        for some in storages.chunks(STORAGES_AT_ONCE) {
            {
                let mut shard = self.0.shard.borrow_mut();
                for storage in some {
                    let Some(tablets) = shard.tablets.get_mut(storage) else { continue };
                    stats.add_storage(*storage, tablets);
                    for tablet in tablets {
                        let (before, now) = tablet.take_index_counts();
                        count_index(metrics, &before, &now);
                    }
                }
            }
            runtime::yield_now().await;
        }
        observe_engine(metrics, &stats, self.shared().clock.now());
        self.observe_log();
        let mesh = self.mesh_stats();
        metrics.mesh.wakeups.set_total(mesh.wakes_sent);
        metrics.mesh.credit_waits.set_total(mesh.credit_waits);
        if let Some(times) = runtime::core_times() {
            observe_times(metrics, &times);
        }
        if self.core() == CoreId(0) {
            let prepared = self.shared().prepared.list().len();
            metrics.txn.prepared.set(i64::try_from(prepared).expect("there is a limit to them"));
        }
    }

    fn observe_log(&self) {
        let (metrics, shard) = (self.metrics(), self.0.shard.borrow());
        let Some(wal) = &shard.wal else { return };
        let backlog = wal.appended_lsn().0.saturating_sub(wal.durable_lsn().0);
        metrics.wal.backlog_bytes.set(i64::try_from(backlog).unwrap_or(i64::MAX));
        metrics.wal.disk_full.set_total(wal.counters().disk_full.get());
        metrics.wal.held_bytes.set(i64::try_from(wal.bytes_held()).unwrap_or(i64::MAX));
        let written = self.shared().log_bytes[self.core().index()].load(Ordering::Relaxed);
        let since = self.shared().checkpointed_at.load(Ordering::Relaxed);
        let age = if written == 0 { 0 } else { runtime::now().as_nanos().saturating_sub(since) };
        metrics.checkpoint.age_ns.set(i64::try_from(age).unwrap_or(i64::MAX));
    }

    /// What the server as a whole has to tell.
    pub fn server_figures(&self) -> ServerFigures {
        self.shared().server_figures()
    }
}

impl super::Shared {
    /// What the server as a whole has to tell.
    pub fn server_figures(&self) -> ServerFigures {
        ServerFigures {
            version: env!("CARGO_PKG_VERSION"),
            cores: self.cores,
            uptime_s: runtime::now().since(self.started).as_secs(),
            connections_max: self.limits.connections_max,
            memory_limit_bytes: self.limits.memory_bytes,
            process: process_figures(),
        }
    }
}

fn count_index(metrics: &CoreMetrics, before: &IndexStats, now: &IndexStats) {
    let index = &metrics.index;
    index.hits.add(now.hits - before.hits);
    index.misses.add(now.misses - before.misses);
    let errors = now.prediction_error_positions.iter().zip(before.prediction_error_positions);
    for (bucket, (now, before)) in errors.enumerate() {
        // By the upper end of the bucket: 0, 1, 2, 4, 8 …
        let positions = if bucket == 0 { 0 } else { 1 << (bucket - 1) };
        index.prediction_error.record_n(positions, now - before);
    }
    let changes = |stats: &IndexStats| stats.splits + stats.merges + stats.retrains + stats.appends;
    index.structural_changes.add(changes(now) - changes(before));
}

/// Takes over the engine's figures. `clock` is the commit clock now.
fn observe_engine(metrics: &CoreMetrics, stats: &ShardStats, clock: CommitTs) {
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
    let txn = &metrics.txn;
    txn.versions_pruned.set_total(stats.collected);
    txn.versions_waiting.set(signed(stats.garbage));
    txn.versions_held.set(signed(stats.held));
    txn.snapshots_expired.set_total(stats.snapshots_expired);
    txn.lock_waiters.set(signed(stats.waiting));
    txn.locked_rows.set(signed(stats.locked_rows));
    let age = stats.oldest_snapshot.map_or(0, |oldest| clock.0.saturating_sub(oldest.0));
    txn.snapshot_age.set(i64::try_from(age).unwrap_or(i64::MAX));
}

/// Takes over how the core has spent its time.
fn observe_times(metrics: &CoreMetrics, times: &CoreTimes) {
    let executor = &metrics.executor;
    executor.busy_ns.set_total(times.busy_nanos);
    executor.parked_ns.set_total(times.parked_nanos);
    executor.parks.set_total(times.parks);
    executor.tasks.set_total(times.polls);
    executor.stalls.set_total(times.stalls);
    executor.stall_max_ns.set(i64::try_from(times.stall_nanos_max).unwrap_or(i64::MAX));
    executor.ring_submissions.set_total(times.ring.submissions);
    executor.ring_completions.set_total(times.ring.completions);
    executor.ring_enters.set_total(times.ring.enters);
    executor.ring_in_flight.set(i64::try_from(times.ring.in_flight).unwrap_or(i64::MAX));
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
    use super::*;
    use crate::base::Lsn;

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
