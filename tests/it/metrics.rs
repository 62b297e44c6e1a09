//! Every metric moves when it should: what drives each, on the assembled server. And none is forgotten here.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::server::Server;
use crate::server::raw::{self, Client};

/// Keys that no straight line goes through, on both cores.
const ROWS: u32 = 60_000;

/// What moves a metric.
enum Drive {
    /// A client's statements, of which the last may fail.
    Run(&'static str),
    /// Two clients: the first, the second, and whoever watches the server meanwhile.
    Both(fn(&Server, &mut Client, &mut Client)),
    /// Time, and being asked.
    Nothing,
}
use Drive::{Both, Nothing, Run};

const UPDATE: Drive = Run("UPDATE t SET n = n + 1 WHERE id = 3");
const EACH_ROW: Drive = Both(|_, client, other| {
    // They are on different cores, so what is local to the one is remote to the other.
    for client in [client, other] {
        for start in (0..4_000).step_by(400) {
            let keys: Vec<String> = (start..start + 400).map(|i| key(i * 7).to_string()).collect();
            client.run(&format!("SELECT n FROM t WHERE id IN ({})", keys.join(",")));
            client.run(&format!("SELECT n FROM t WHERE id = {}", keys[0]));
        }
    }
});
/// A client that stays.
const ANOTHER: Drive = Both(|server, _, _| std::mem::forget(server.connect()));
const LOAD: Drive = Run("CREATE TABLE IF NOT EXISTS load (id int PRIMARY KEY, n int); TRUNCATE load; \
                         INSERT INTO load SELECT i * i, i FROM generate_series(1, 40000) AS i");

/// Samples by name and labels, and what moves them.
const MOVED: &[(&str, Drive)] = &[
    ("omendb_sql_queries_total{query_type=\"select\"}", Run("SELECT 1")),
    ("omendb_sql_queries_total{query_type=\"insert\"}", Run("INSERT INTO t VALUES (-1, 0)")),
    ("omendb_sql_queries_total{query_type=\"update\"}", UPDATE),
    ("omendb_sql_queries_total{query_type=\"delete\"}", Run("DELETE FROM t WHERE id = -1")),
    ("omendb_sql_queries_total{query_type=\"copy\"}", Run("COPY (SELECT 1) TO STDOUT")),
    ("omendb_sql_queries_total{query_type=\"transaction\"}", Run("BEGIN; COMMIT")),
    ("omendb_sql_queries_total{query_type=\"ddl\"}", Run("CREATE TABLE ddl (id int PRIMARY KEY); DROP TABLE ddl")),
    ("omendb_sql_queries_total{query_type=\"utility\"}", Run("SHOW TimeZone")),
    ("omendb_sql_query_duration_seconds_count{query_type=\"select\"}", Run("SELECT 1")),
    ("omendb_sql_query_duration_seconds_sum{query_type=\"update\"}", UPDATE),
    ("omendb_sql_query_rows_returned_sum", Run("SELECT * FROM generate_series(1, 10)")),
    ("omendb_sql_query_errors_total{error_type=\"22\"}", Run("SELECT 1 / 0")),
    ("omendb_sql_query_errors_total{error_type=\"23\"}", Run("INSERT INTO t SELECT id, 0 FROM t")),
    ("omendb_sql_query_errors_total{error_type=\"42\"}", Run("SELECT nothing")),
    ("omendb_query_path_total{path=\"point_local\"}", EACH_ROW),
    ("omendb_query_path_total{path=\"point_remote\"}", EACH_ROW),
    ("omendb_query_path_total{path=\"executor\"}", Run("SELECT count(*) FROM t")),
    ("omendb_query_path_total{path=\"session\"}", Run("SHOW TimeZone")),
    (
        "omendb_stage_duration_seconds_count{stage=\"receive\"}",
        Both(|_, client, _| {
            let message = raw::query("SELECT 1");
            let (first, rest) = message.split_at(9);
            client.send(first);
            thread::sleep(Duration::from_millis(20));
            client.send(rest);
            client.until_ready();
        }),
    ),
    ("omendb_stage_duration_seconds_count{stage=\"queue\"}", Run("SELECT 1")),
    ("omendb_stage_duration_seconds_count{stage=\"parse\"}", Run("SELECT 1")),
    ("omendb_stage_duration_seconds_count{stage=\"plan\"}", Run("SELECT 1")),
    ("omendb_stage_duration_seconds_count{stage=\"execute\"}", Run("SELECT count(*) FROM t")),
    ("omendb_stage_duration_seconds_count{stage=\"lock_wait\"}", Both(wait_for_a_lock)),
    ("omendb_stage_duration_seconds_count{stage=\"log_wait\"}", UPDATE),
    ("omendb_stage_duration_seconds_count{stage=\"send\"}", Run("SELECT 1")),
    ("omendb_slow_statements_total", Run("SELECT pg_sleep(0.06)")),
    ("omendb_transactions_committed_total{cores=\"one\"}", UPDATE),
    ("omendb_transactions_committed_total{cores=\"several\"}", Both(commit_on_both)),
    ("omendb_transactions_rolled_back_total", Run("BEGIN; UPDATE t SET n = 0 WHERE id = 3; ROLLBACK")),
    ("omendb_transaction_retries_total", Both(wait_for_a_lock)),
    ("omendb_serialization_failures_total", Both(conflict)),
    ("omendb_deadlocks_total", Both(deadlock)),
    ("omendb_lock_waits_total", Both(wait_for_a_lock)),
    ("omendb_lock_wait_duration_seconds_count", Both(wait_for_a_lock)),
    ("omendb_prepared_transactions", Run("BEGIN; INSERT INTO heap VALUES (3); PREPARE TRANSACTION 'left'")),
    ("omendb_locked_rows", Run("ROLLBACK; BEGIN; SELECT * FROM t WHERE id = 3 FOR UPDATE")),
    (
        "omendb_snapshot_age_timestamps",
        Both(|_, client, other| {
            client.run("ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t");
            (0..20).for_each(|_| other.run("UPDATE t SET n = n + 1 WHERE id = 8"));
        }),
    ),
    ("omendb_garbage_versions_held", Both(|_, _, other| other.run("UPDATE t SET n = n + 1 WHERE id = 13"))),
    ("omendb_garbage_versions_pruned_total", Run("ROLLBACK; UPDATE t SET n = n + 1; UPDATE t SET n = n + 1")),
    ("omendb_connections_active", Both(|server, _, _| std::mem::forget(server.connect()))),
    ("omendb_connections_opened_total", Both(|server, _, _| drop(server.connect()))),
    ("omendb_received_bytes_total", Run("SELECT 1")),
    ("omendb_sent_bytes_total", Run("SELECT 1")),
    ("omendb_wal_writes_total", UPDATE),
    ("omendb_wal_records_total", UPDATE),
    ("omendb_wal_bytes_total", UPDATE),
    ("omendb_wal_sync_duration_seconds_count", UPDATE),
    ("omendb_wal_group_size_count", UPDATE),
    ("omendb_wal_held_bytes", UPDATE),
    ("omendb_checkpoints_total", Run("UPDATE t SET n = n + 1; CHECKPOINT")),
    ("omendb_checkpoint_last_timestamp", Run("UPDATE t SET n = n + 1; CHECKPOINT")),
    ("omendb_checkpoint_duration_seconds_count", Run("UPDATE t SET n = n + 1; CHECKPOINT")),
    ("omendb_checkpoint_bytes_total", Run("UPDATE t SET n = n + 1; CHECKPOINT")),
    ("omendb_checkpoint_rows_total", Run("UPDATE t SET n = n + 1; CHECKPOINT")),
    ("omendb_checkpoint_age_seconds", UPDATE),
    ("omendb_learned_index_hits_total", EACH_ROW),
    ("omendb_learned_index_misses_total", EACH_ROW),
    ("omendb_learned_index_prediction_error_positions_count", EACH_ROW),
    ("omendb_learned_index_structural_changes_total", LOAD),
    ("omendb_tablets", Run("CREATE TABLE one_more (id int PRIMARY KEY)")),
    ("omendb_rows", Run("INSERT INTO one_more SELECT i FROM generate_series(1, 1000) AS i")),
    ("omendb_database_size_bytes", Run("INSERT INTO one_more SELECT i FROM generate_series(1001, 9000) AS i")),
    ("omendb_memory_usage_bytes{kind=\"rows\"}", Run("INSERT INTO t SELECT -i, i FROM generate_series(2, 60000) AS i")),
    ("omendb_memory_usage_bytes{kind=\"index\"}", Run("INSERT INTO t SELECT -i, i FROM generate_series(60001, 120000) AS i")),
    ("omendb_mesh_messages_total", Run("SELECT count(*) FROM t")),
    ("omendb_mesh_batches_total", EACH_ROW),
    ("omendb_mesh_round_trip_seconds_count", Run("SELECT count(*) FROM t")),
    ("omendb_mesh_wakeups_total", Run("SELECT pg_sleep(0.06); SELECT count(*) FROM t")),
    ("omendb_executor_busy_seconds_total", Run("SELECT count(*) FROM t")),
    ("omendb_executor_parked_seconds_total", Run("SELECT pg_sleep(0.06)")),
    ("omendb_executor_parks_total", Run("SELECT pg_sleep(0.06)")),
    ("omendb_executor_tasks_total", Run("SELECT 1")),
    ("omendb_io_uring_submissions_total", Run("SELECT 1")),
    ("omendb_io_uring_completions_total", Run("SELECT 1")),
    ("omendb_io_uring_enters_total", Run("SELECT 1")),
    ("omendb_pool_clients{state=\"idle\"}", ANOTHER),
    ("omendb_pool_sessions", ANOTHER),
    ("omendb_pool_sessions_created_total", ANOTHER),
    ("omendb_pool_sessions_closed_total", Both(|server, _, _| drop(server.connect()))),
    ("omendb_uptime_seconds", Nothing),
    ("process_cpu_seconds_total", Run("SELECT count(*) FROM t")),
    ("process_open_fds", ANOTHER),
];

/// Those that are there and say what is so.
const CONSTANT: &[&str] = &[
    "omendb_build_info",
    "omendb_cores",
    "omendb_connections_limit",
    "omendb_memory_limit_bytes",
    "process_max_fds",
    "process_threads",
    "process_start_time_seconds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
];

/// Those that another test drives, because it takes another server, a moment that has to be met, or a broken disk.
const ELSEWHERE: &[(&str, &str)] = &[
    ("omendb_additions_put_off_total", "additions"),
    ("omendb_lock_waiters", "hop"),
    ("omendb_snapshots_expired_total", "garbage"),
    ("omendb_login_failures_total", "authentication"),
    ("omendb_connections_refused_total", "limits"),
    ("omendb_session_hops_total", "hop"),
    ("omendb_tls_handshakes_total", "tls"),
    ("omendb_tls_handshake_failures_total", "tls"),
    ("omendb_pool_timeouts_total", "admission"),
    ("omendb_pool_sessions_limit", "pooling"),
    ("omendb_pool_prepared_statements", "pooling"),
    ("omendb_wal_disk_full_total", "scripts/disk-trouble"),
    // Only in units: a panic is a bug, a stalled turn an accident, a full queue a burst, the others last for less than a scrape.
    ("omendb_panics_total", "src/metrics/tests.rs"),
    ("omendb_pool_swept_total", "src/metrics/tests.rs"),
    ("omendb_garbage_versions_waiting", "src/metrics/tests.rs"),
    ("omendb_wal_backlog_bytes", "src/metrics/tests.rs"),
    ("omendb_checkpoint_failures_total", "src/metrics/tests.rs"),
    ("omendb_checkpoint_running", "src/metrics/tests.rs"),
    ("omendb_tablet_moves_total", "src/metrics/tests.rs"),
    ("omendb_tablet_splits_total", "src/metrics/tests.rs"),
    ("omendb_mesh_credit_waits_total", "src/metrics/tests.rs"),
    ("omendb_mesh_queue_depth", "src/metrics/tests.rs"),
    ("omendb_executor_stalls_total", "src/metrics/tests.rs"),
    ("omendb_executor_stall_max_seconds", "src/metrics/tests.rs"),
    ("omendb_io_uring_in_flight", "src/metrics/tests.rs"),
];

fn key(i: u32) -> u64 {
    u64::from(i) * u64::from(i) / 100 + u64::from(i)
}

/// The second client waits for a row that the first has changed, and looks at it again.
fn wait_for_a_lock(server: &Server, client: &mut Client, other: &mut Client) {
    client.run("BEGIN; UPDATE t SET n = 7 WHERE id = 3");
    let mut observer = server.connect();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| other.run("UPDATE t SET n = n * 2 WHERE id = 3"));
        server.wait_for_waiters(&mut observer, 1);
        client.run("COMMIT");
        waiting.join().expect("it gets its turn");
    });
}

/// A table without a primary key has the rows of each client on that client's core.
fn commit_on_both(_: &Server, client: &mut Client, other: &mut Client) {
    client.run("CREATE TABLE heap (n int); INSERT INTO heap VALUES (1)");
    other.run("INSERT INTO heap VALUES (2)");
    client.run("UPDATE heap SET n = n + 1");
}

fn conflict(_: &Server, client: &mut Client, other: &mut Client) {
    client.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT n FROM t WHERE id = 3");
    other.run("UPDATE t SET n = 8 WHERE id = 3");
    let answer = client.query("UPDATE t SET n = 9 WHERE id = 3").join(" ");
    assert!(answer.contains("E 40001"), "{answer}");
    client.run("ROLLBACK");
}

fn deadlock(server: &Server, client: &mut Client, other: &mut Client) {
    client.run("SET deadlock_timeout = '10ms'; BEGIN; UPDATE t SET n = 7 WHERE id = 3");
    other.run("BEGIN; UPDATE t SET n = 7 WHERE id = 8");
    let mut observer = server.connect();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| other.query("UPDATE t SET n = 7 WHERE id = 3"));
        server.wait_for_waiters(&mut observer, 1);
        client.query("UPDATE t SET n = 7 WHERE id = 8");
        client.query("ROLLBACK");
        waiting.join().expect("it gets its turn");
    });
    other.run("ROLLBACK");
}

#[test]
fn each_moves_when_it_should() {
    let server = Server::start(&["--log-min-duration-ms", "50", "--max-prepared-transactions", "4"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.run("CREATE TABLE t (id int PRIMARY KEY, n int)");
    client.run(&format!("INSERT INTO t SELECT i::bigint * i / 100 + i, i FROM generate_series(1, {ROWS}) AS i"));
    for (sample, drive) in MOVED {
        let before = server.metric_so_far(sample);
        match drive {
            Run(statements) => drop(client.query(statements)),
            Both(act) => act(&server, &mut client, &mut other),
            Nothing => {}
        }
        // Sizes are counted twice a second, and so is garbage.
        server.wait_until(&format!("a move of {sample}, which was {before},"), || server.metric_so_far(sample) > before);
    }
}

#[test]
fn none_is_left_out() {
    let server = Server::start(&[]);
    let name = |sample: &&str| {
        let name = sample.split('{').next().expect("a split has a first part");
        ["_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let moved = MOVED.iter().map(|(sample, _)| sample);
    let told: BTreeSet<String> = moved.chain(CONSTANT).chain(ELSEWHERE.iter().map(|(family, _)| family)).map(name).collect();
    let exported = server.families();
    let forgotten: Vec<_> = exported.difference(&told).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
    for (family, _) in ELSEWHERE {
        assert!(exported.contains(*family), "{family}");
    }
    for constant in CONSTANT {
        assert!(server.metric(constant) > 0.0, "{constant}");
    }
}
