//! Every family is named by the rules, collected, moves when driven, merges and comes out as text.

use std::collections::BTreeSet;

use super::export::{ServerFigures, openmetrics_text, prometheus_text};
use super::*;
use crate::error::SqlState;

/// Drive every metric of a core at least once.
fn driven(core: u16) -> CoreMetrics {
    let m = CoreMetrics::new(CoreId(core), 2);
    let stages = std::array::from_fn(|stage| if stage == Stage::Execute as usize { 2_000 } else { 0 });
    m.finished(FinishedStatement { stages, ..FinishedStatement::whole(QueryType::Select, QueryPath::PointLocal, 12_345, 1) });
    m.failed(SqlState::UNIQUE_VIOLATION);
    m.txn.commits_one_core.inc();
    m.txn.rollbacks.inc();
    m.txn.retries.inc();
    m.txn.put_off.inc();
    m.txn.serialization_failures.inc();
    m.txn.deadlocks.inc();
    m.txn.prepared.set(1);
    m.txn.lock_waiters.inc();
    m.txn.locked_rows.set(2);
    m.stages.logged.inc();
    m.checkpoint.age_ns.set(4_000_000_000);
    m.executor.ring_submissions.inc();
    m.executor.ring_completions.inc();
    m.executor.ring_enters.inc();
    m.executor.ring_in_flight.set(1);
    m.txn.lock_wait_ns.record(5_000);
    m.txn.snapshot_age.set(3);
    m.txn.versions_pruned.add(2);
    m.txn.versions_waiting.set(4);
    m.txn.versions_held.set(1);
    m.txn.snapshots_expired.inc();
    m.connections.active.inc();
    m.connections.opened.inc();
    m.connections.refused.inc();
    m.connections.login_failures.inc();
    m.connections.hops_in.inc();
    m.connections.panics.inc();
    m.connections.received_bytes.add(10);
    m.connections.sent_bytes.add(20);
    m.wal.records.add(3);
    m.wal.flushed(3, 4_096, 80_000);
    m.wal.backlog_bytes.set(1);
    m.wal.held_bytes.set(2);
    m.wal.disk_full.inc();
    m.checkpoint.finished.inc();
    m.checkpoint.failed.inc();
    m.checkpoint.running.set(1);
    m.checkpoint.last_ts.set(9);
    m.checkpoint.duration_ns.record(1_000_000);
    m.checkpoint.bytes.add(5);
    m.checkpoint.rows.add(6);
    m.index.hits.inc();
    m.index.misses.inc();
    m.index.prediction_error.record(5);
    m.connections.tls_handshakes.inc();
    m.connections.tls_failures.inc();
    for &state in ClientState::ALL {
        m.pool.clients(state).inc();
    }
    m.pool.waited(Awaited::Place, 1_000);
    m.pool.gave_up(Awaited::Session);
    m.pool.sessions_max.set(2);
    m.pool.sessions.set(1);
    m.pool.created.inc();
    m.pool.closed.inc();
    m.pool.statements.inc();
    m.pool.swept.inc();
    m.index.structural_changes.inc();
    m.storage.tablets.set(4);
    m.storage.rows.set(5);
    m.storage.stored_bytes.set(6);
    m.storage.tablet_moves.inc();
    m.storage.tablet_splits.inc();
    m.storage.memory(MemoryKind::Rows).set(7);
    let peer = m.mesh.peer(CoreId(1 - core));
    peer.messages.inc();
    peer.batches.inc();
    peer.outstanding.inc();
    peer.round_trip_ns.record(20_000);
    m.mesh.wakeups.inc();
    m.mesh.credit_waits.inc();
    m.executor.busy_ns.add(1_500_000_000);
    m.executor.parked_ns.add(1);
    m.executor.parks.inc();
    m.executor.tasks.inc();
    m.executor.stalls.inc();
    m.executor.stall_max_ns.set(700_000);
    m
}

fn page(snapshots: &[CoreSnapshot]) -> String {
    let server = ServerFigures {
        version: "0.1.0",
        cores: 2,
        uptime_s: 5,
        connections_max: 100,
        memory_limit_bytes: 1 << 30,
        process: process_figures(),
    };
    prometheus_text(snapshots, &server)
}

#[test]
fn every_family_is_exported_and_moves_when_driven() {
    let idle = CoreMetrics::new(CoreId(0), 2).snapshot();
    let busy = driven(0).snapshot();
    let text = page(std::slice::from_ref(&busy));
    for family in families::ALL {
        assert!(text.contains(&format!("# TYPE {} ", family.name)), "{} is exported", family.name);
        let of_server = !busy.samples.iter().any(|sample| &sample.family == family);
        assert!(of_server || busy.total(family.name) > idle.total(family.name), "{} moves", family.name);
    }
}

#[test]
fn names_follow_the_rules() {
    let mut seen = BTreeSet::new();
    for family in families::ALL {
        assert!(seen.insert(family.name), "{} is there once", family.name);
        assert!(family.name.starts_with("omendb_") || family.name.starts_with("process_"), "{}", family.name);
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.unit != Unit::Nanoseconds || family.name.contains("_seconds"), "{} has its unit", family.name);
    }
}

#[test]
fn cores_are_summed_or_labelled() {
    let text = page(&[driven(0).snapshot(), driven(1).snapshot()]);
    for line in [
        "omendb_sql_queries_total{query_type=\"select\"} 2",
        "omendb_sql_query_errors_total{error_type=\"23\"} 2",
        "omendb_sql_query_duration_seconds_count{query_type=\"select\"} 2",
        "omendb_sql_query_duration_seconds_bucket{query_type=\"select\",le=\"0.00001\"} 0",
        "omendb_sql_query_duration_seconds_bucket{query_type=\"select\",le=\"0.0000125\"} 2",
        "omendb_connections_active{core=\"0\"} 1",
        "omendb_connections_active{core=\"1\"} 1",
        "omendb_executor_busy_seconds_total{core=\"1\"} 1.5",
        "omendb_executor_stall_max_seconds{core=\"0\"} 0.0007",
        "omendb_mesh_messages_total{core=\"0\",peer=\"1\"} 1",
        "omendb_learned_index_prediction_error_positions_bucket{core=\"0\",le=\"3\"} 0",
        "omendb_learned_index_prediction_error_positions_bucket{core=\"0\",le=\"7\"} 1",
        "omendb_wal_group_size_bucket{core=\"0\",le=\"3\"} 1",
        "omendb_wal_group_size_bucket{core=\"0\",le=\"2\"} 0",
        "omendb_build_info{version=\"0.1.0\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "the page has the line {line}\n{text}");
    }
}

#[test]
fn openmetrics_names_counters_without_their_suffix_and_has_an_end() {
    let server = ServerFigures {
        version: "0.1.0",
        cores: 2,
        uptime_s: 5,
        connections_max: 100,
        memory_limit_bytes: 1 << 30,
        process: process_figures(),
    };
    let text = openmetrics_text(&[driven(0).snapshot()], &server);
    for line in [
        "# TYPE omendb_sql_queries counter",
        "omendb_sql_queries_total{query_type=\"select\"} 1",
        "# TYPE omendb_wal_group_size histogram",
        "omendb_wal_group_size_bucket{core=\"0\",le=\"3.0\"} 1",
        "omendb_wal_group_size_bucket{core=\"0\",le=\"+Inf\"} 1",
        "omendb_wal_group_size_count{core=\"0\"} 1",
        "omendb_cores 2",
    ] {
        assert!(text.lines().any(|found| found == line), "the page has the line {line}\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn powers_of_two_land_in_their_buckets() {
    let errors = Log2Distribution::default();
    for value in [0, 1, 2, 3, 4, u64::MAX >> 20] {
        errors.record(value);
    }
    let counts = errors.counts();
    assert_eq!(&counts[..4], &[1, 1, 2, 1]);
    assert_eq!(counts[31], 1);
    assert_eq!(errors.count(), 6);
}

#[test]
fn a_paced_snapshot_pauses_and_says_the_same() {
    let metrics = driven(0);
    let mut pauses = 0;
    let paced = futures_lite::future::block_on(metrics.snapshot_paced(async || pauses += 1));
    assert!(pauses >= 5, "it pauses between groups");
    assert_eq!(page(&[paced]).lines().count(), page(&[metrics.snapshot()]).lines().count());
}

#[test]
fn a_snapshot_can_be_sent() {
    fn assert_send<T: Send>(_: &T) {}
    assert_send(&CoreMetrics::new(CoreId(0), 1).snapshot());
}
