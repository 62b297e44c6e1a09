//! The names: every metric family the server exports, with its help text, kind and unit.
//!
//! Names follow the Prometheus conventions: base units (seconds, bytes), `_total` on counters.

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket, a sum and a count.
    Histogram,
}

/// What the recorded integers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Exported as recorded: a count, rows, bytes.
    One,
    /// Recorded in nanoseconds, exported in seconds.
    Nanoseconds,
}

impl Unit {
    /// A recorded integer as the exported number.
    pub fn exported(self, recorded: f64) -> f64 {
        match self {
            Unit::One => recorded,
            Unit::Nanoseconds => recorded / 1e9,
        }
    }
}

/// One metric family.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The exported name.
    pub name: &'static str,
    /// The help text.
    pub help: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The unit of the recorded integers.
    pub unit: Unit,
    /// Whether each core is exported on its own, under a label `core`, rather than summed.
    pub per_core: bool,
}

macro_rules! families {
    ($($name:ident = $kind:ident $unit:ident $scope:ident $text:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $name: Family = Family {
                name: $text,
                help: $help,
                kind: Kind::$kind,
                unit: Unit::$unit,
                per_core: scope!($scope),
            };
        )*

        /// Every family, in the order of export.
        pub static ALL: &[&Family] = &[$(&$name),*];
    };
}

macro_rules! scope {
    (per_core) => {
        true
    };
    (summed) => {
        false
    };
}

families! {
    SQL_QUERIES = Counter One summed "omendb_sql_queries_total" "Statements finished, failed ones included, by type.";
    SQL_DURATION = Histogram Nanoseconds summed "omendb_sql_query_duration_seconds" "Time from a statement's first byte read until its result was handed to the kernel, its commit included, by type.";
    SQL_ROWS = Histogram One summed "omendb_sql_query_rows_returned" "Rows a statement returned or affected.";
    SQL_ERRORS = Counter One summed "omendb_sql_query_errors_total" "Errors sent to clients, by SQLSTATE class.";
    QUERY_PATH = Counter One summed "omendb_query_path_total" "Statements by the way they took through the engine.";
    STAGE_DURATION = Histogram Nanoseconds per_core "omendb_stage_duration_seconds" "Where a statement's time goes, by stage.";
    SLOW_STATEMENTS = Counter One per_core "omendb_slow_statements_total" "Statements that took at least log_min_duration_ms.";

    TXN_COMMITS = Counter One summed "omendb_transactions_committed_total" "Writing transactions committed, by the number of cores that took part.";
    TXN_ROLLBACKS = Counter One summed "omendb_transactions_rolled_back_total" "Transactions rolled back.";
    TXN_RETRIES = Counter One summed "omendb_transaction_retries_total" "Statements evaluated again on a newer version of a row after a wait.";
    TXN_PUT_OFF = Counter One summed "omendb_additions_put_off_total" "Updates that only add to a row others add to as well, put off to the end of their transaction.";
    TXN_CONFLICTS = Counter One summed "omendb_serialization_failures_total" "Transactions refused with 40001.";
    TXN_DEADLOCKS = Counter One summed "omendb_deadlocks_total" "Transactions refused with 40P01.";
    LOCK_WAITS = Counter One summed "omendb_lock_waits_total" "Waits for a row held by another transaction.";
    TXN_PREPARED = Gauge One summed "omendb_prepared_transactions" "Transactions that PREPARE TRANSACTION has left to be decided.";
    LOCK_WAITERS = Gauge One summed "omendb_lock_waiters" "Statements waiting for a row at this moment.";
    LOCKED_ROWS = Gauge One per_core "omendb_locked_rows" "Rows locked without being changed, or waited for.";
    LOCK_WAIT_DURATION = Histogram Nanoseconds summed "omendb_lock_wait_duration_seconds" "Time waited for rows held by other transactions.";
    SNAPSHOT_AGE = Gauge One per_core "omendb_snapshot_age_timestamps" "How far the oldest snapshot of a core lies behind the commit clock, in timestamps.";
    SNAPSHOTS_EXPIRED = Counter One summed "omendb_snapshots_expired_total" "Snapshots that were in use for longer than old_snapshot_threshold.";
    GARBAGE_WAITING = Gauge One per_core "omendb_garbage_versions_waiting" "Superseded row versions that wait for the next round of collection.";
    GARBAGE_HELD = Gauge One per_core "omendb_garbage_versions_held" "Superseded row versions that an old snapshot keeps.";
    GARBAGE_VERSIONS = Counter One summed "omendb_garbage_versions_pruned_total" "Row versions freed because no snapshot could see them.";

    CONNECTIONS_ACTIVE = Gauge One per_core "omendb_connections_active" "Client connections open, by the core they live on.";
    CONNECTIONS_LIMIT = Gauge One summed "omendb_connections_limit" "Client connections that are let in at once (max_connections).";
    CONNECTIONS_OPENED = Counter One summed "omendb_connections_opened_total" "Client connections accepted.";
    CONNECTIONS_REFUSED = Counter One summed "omendb_connections_refused_total" "Client connections turned away at a limit or before they were logged in.";
    LOGIN_FAILURES = Counter One summed "omendb_login_failures_total" "Clients that could not prove who they are.";
    TLS_HANDSHAKES = Counter One summed "omendb_tls_handshakes_total" "Client connections of PostgreSQL's protocol that were encrypted.";
    TLS_FAILURES = Counter One summed "omendb_tls_handshake_failures_total" "TLS handshakes of PostgreSQL's protocol that failed.";
    SESSION_HOPS = Counter One per_core "omendb_session_hops_total" "Sessions that moved to a core between statements.";
    PANICS = Counter One per_core "omendb_panics_total" "Panics caught; each closed one connection only.";
    RECEIVED_BYTES = Counter One per_core "omendb_received_bytes_total" "Bytes received from clients.";
    SENT_BYTES = Counter One per_core "omendb_sent_bytes_total" "Bytes sent to clients.";

    POOL_CLIENTS = Gauge One per_core "omendb_pool_clients" "Clients by what they do: starting (not logged in), queued (waits for a place), waiting (for a pooled session), active, idle.";
    POOL_WAIT = Histogram Nanoseconds per_core "omendb_pool_wait_seconds" "Time clients have waited for a place among the connections, or for a pooled session.";
    POOL_TIMEOUTS = Counter One per_core "omendb_pool_timeouts_total" "Waits given up after acquire_timeout.";
    POOL_SESSIONS_LIMIT = Gauge One per_core "omendb_pool_sessions_limit" "Sessions of a core that clients share (pool_size); 0 where each client has its own.";
    POOL_SESSIONS = Gauge One per_core "omendb_pool_sessions" "Sessions there are, those of clients and those that wait for one.";
    POOL_CREATED = Counter One per_core "omendb_pool_sessions_created_total" "Sessions made.";
    POOL_CLOSED = Counter One per_core "omendb_pool_sessions_closed_total" "Sessions ended.";
    POOL_STATEMENTS = Gauge One per_core "omendb_pool_prepared_statements" "Prepared statements of clients that have no session at the moment.";
    POOL_SWEPT = Counter One per_core "omendb_pool_swept_total" "Sessions that the clean-up has found registered without a connection; 0 unless there is a bug.";

    WAL_WRITES = Counter One per_core "omendb_wal_writes_total" "Writes issued to a core's log.";
    WAL_RECORDS = Counter One per_core "omendb_wal_records_total" "Records appended to a core's log.";
    WAL_BYTES = Counter One per_core "omendb_wal_bytes_total" "Bytes written to a core's log, padding included.";
    WAL_SYNC_DURATION = Histogram Nanoseconds per_core "omendb_wal_sync_duration_seconds" "Time of one durable write of a core's log.";
    WAL_GROUP_SIZE = Histogram One per_core "omendb_wal_group_size" "Records made durable by one write.";
    WAL_BACKLOG = Gauge One per_core "omendb_wal_backlog_bytes" "Bytes appended to a core's log and not yet durable.";
    WAL_HELD = Gauge One per_core "omendb_wal_held_bytes" "Bytes of a core's log that a restart would read.";
    WAL_DISK_FULL = Counter One per_core "omendb_wal_disk_full_total" "Attempts to extend a core's log that found the disk full.";

    CHECKPOINTS = Counter One per_core "omendb_checkpoints_total" "Checkpoints finished.";
    CHECKPOINT_FAILURES = Counter One per_core "omendb_checkpoint_failures_total" "Checkpoints given up.";
    CHECKPOINT_RUNNING = Gauge One per_core "omendb_checkpoint_running" "1 while a checkpoint runs.";
    CHECKPOINT_LAST_TS = Gauge One per_core "omendb_checkpoint_last_timestamp" "Commit timestamp up to which the last checkpoint holds everything.";
    CHECKPOINT_AGE = Gauge Nanoseconds per_core "omendb_checkpoint_age_seconds" "Time since the last checkpoint ended, or since the start; 0 while a core has written nothing since.";
    CHECKPOINT_DURATION = Histogram Nanoseconds per_core "omendb_checkpoint_duration_seconds" "Time a checkpoint took.";
    CHECKPOINT_BYTES = Counter One per_core "omendb_checkpoint_bytes_total" "Bytes written by checkpoints.";
    CHECKPOINT_ROWS = Counter One per_core "omendb_checkpoint_rows_total" "Rows written by checkpoints.";

    INDEX_HITS = Counter One per_core "omendb_learned_index_hits_total" "Lookups whose key lay where the model predicted, within a cache line.";
    INDEX_MISSES = Counter One per_core "omendb_learned_index_misses_total" "Lookups that had to search beyond that cache line.";
    INDEX_ERROR = Histogram One per_core "omendb_learned_index_prediction_error_positions" "Distance between predicted and true position (recorded for a sample of lookups).";
    INDEX_CHANGES = Counter One per_core "omendb_learned_index_structural_changes_total" "Leaves split, expanded, retrained or merged.";

    TABLETS = Gauge One per_core "omendb_tablets" "Tablets a core owns.";
    ROWS = Gauge One per_core "omendb_rows" "Live keys in a core's tablets, index entries included.";
    DATABASE_SIZE = Gauge One summed "omendb_database_size_bytes" "Bytes of rows and index entries stored.";
    MEMORY_USAGE = Gauge One per_core "omendb_memory_usage_bytes" "Memory accounted for, by kind.";
    MEMORY_LIMIT = Gauge One summed "omendb_memory_limit_bytes" "Memory for data from which writes are refused (memory_limit).";
    TABLET_MOVES = Counter One per_core "omendb_tablet_moves_total" "Tablets handed to another core.";
    TABLET_SPLITS = Counter One per_core "omendb_tablet_splits_total" "Tablets split.";

    MESH_MESSAGES = Counter One per_core "omendb_mesh_messages_total" "Requests sent to another core.";
    MESH_BATCHES = Counter One per_core "omendb_mesh_batches_total" "Requests that carried several reads or writes at once.";
    MESH_WAKEUPS = Counter One per_core "omendb_mesh_wakeups_total" "Times a parked core had to be woken.";
    MESH_CREDIT_WAITS = Counter One per_core "omendb_mesh_credit_waits_total" "Sends that had to wait for room in the queue.";
    MESH_DEPTH = Gauge One per_core "omendb_mesh_queue_depth" "Requests sent to another core and not yet answered.";
    MESH_ROUND_TRIP = Histogram Nanoseconds per_core "omendb_mesh_round_trip_seconds" "Time from sending a request to another core to its reply.";

    EXECUTOR_BUSY = Counter Nanoseconds per_core "omendb_executor_busy_seconds_total" "Time a core was not parked: running tasks, or looking for work.";
    EXECUTOR_PARKED = Counter Nanoseconds per_core "omendb_executor_parked_seconds_total" "Time a core slept.";
    EXECUTOR_PARKS = Counter One per_core "omendb_executor_parks_total" "Times a core went to sleep.";
    EXECUTOR_TASKS = Counter One per_core "omendb_executor_tasks_total" "Task polls.";
    EXECUTOR_STALLS = Counter One per_core "omendb_executor_stalls_total" "Turns of a core's loop that took longer than two milliseconds, in which nobody else on it got on.";
    EXECUTOR_STALL_MAX = Gauge Nanoseconds per_core "omendb_executor_stall_max_seconds" "The longest turn since start.";

    RING_SUBMISSIONS = Counter One per_core "omendb_io_uring_submissions_total" "Requests that a core has put into its io_uring, those of its executor aside.";
    RING_COMPLETIONS = Counter One per_core "omendb_io_uring_completions_total" "Requests that its io_uring has answered.";
    RING_ENTERS = Counter One per_core "omendb_io_uring_enters_total" "System calls that handed requests over or collected answers.";
    RING_IN_FLIGHT = Gauge One per_core "omendb_io_uring_in_flight" "Requests not yet answered.";

    BUILD_INFO = Gauge One summed "omendb_build_info" "1, with the version as a label.";
    CORES = Gauge One summed "omendb_cores" "Cores this server runs on.";
    UPTIME = Gauge One summed "omendb_uptime_seconds" "Seconds since start.";
    PROCESS_CPU = Counter Nanoseconds summed "process_cpu_seconds_total" "User and system CPU time of the process.";
    PROCESS_RSS = Gauge One summed "process_resident_memory_bytes" "Resident memory of the process.";
    PROCESS_VSIZE = Gauge One summed "process_virtual_memory_bytes" "Virtual memory of the process.";
    PROCESS_FDS = Gauge One summed "process_open_fds" "Open file descriptors.";
    PROCESS_FDS_MAX = Gauge One summed "process_max_fds" "Limit of open file descriptors.";
    PROCESS_THREADS = Gauge One summed "process_threads" "Threads of the process.";
    PROCESS_START = Gauge One summed "process_start_time_seconds" "Start of the process, in seconds since 1970.";
}
