//! The table of settings.

/// One setting: what it is called, what it is when nobody says, what it does.
#[derive(Debug)]
pub struct Setting {
    /// The key in the file. The flag has dashes for underscores, the environment variable is `OMENDB_` and capitals.
    pub key: &'static str,
    /// The value when it is not set, as text.
    pub default: &'static str,
    /// What stands for the value in the help.
    pub placeholder: &'static str,
    /// One line of help.
    pub help: &'static str,
}

impl Setting {
    /// The flag, without its dashes in front.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.key.to_ascii_uppercase())
    }
}

/// What the environment variables of settings begin with.
pub const ENVIRONMENT_PREFIX: &str = "OMENDB_";

/// The variable that names the file.
pub const FILE_VARIABLE: &str = "OMENDB_CONFIG";

macro_rules! settings {
    ($($key:literal $placeholder:literal = $default:literal, $help:literal;)*) => {
        &[$(Setting { key: $key, default: $default, placeholder: $placeholder, help: $help }),*]
    };
}

/// Every setting.
pub static SETTINGS: &[Setting] = settings! {
    "data_dir" "DIR" = "./omendb-data", "Directory of the database; created when missing";
    "listen" "ADDRESS" = "127.0.0.1:5433", "Addresses of the PostgreSQL protocol, comma-separated";
    "unix_socket_dir" "DIR" = "off", "Directory for a Unix socket .s.PGSQL.<port>, or off";
    "http" "ADDRESS" = "127.0.0.1:9090", "Address of the HTTP control plane (console, metrics, health, queries), or off; beyond the loopback only with TLS";
    "http_tls_cert_file" "FILE" = "off", "PEM file with the certificate chain of the HTTP control plane, which then speaks HTTPS, or off";
    "http_tls_key_file" "FILE" = "off", "PEM file with its private key, or off";
    "ssl" "ON_OFF" = "off", "Encrypt the PostgreSQL protocol for clients that ask for it: on or off; hostssl lines of hba_file make them";
    "ssl_cert_file" "FILE" = "server.crt", "PEM file with the certificate chain for ssl; relative paths begin at the data directory";
    "ssl_key_file" "FILE" = "server.key", "PEM file with its private key, which nobody else may read";
    "ssl_ca_file" "FILE" = "off", "PEM file with the authorities whose certificates of clients are believed, or off";
    "ssl_min_protocol_version" "VERSION" = "TLSv1.2", "The lowest version of TLS for ssl: TLSv1.2 or TLSv1.3";
    "cores" "CORES" = "all", "Cores to run on: a count, a list of CPUs such as 0,1 or 0-3, or all";
    "spin_us" "MICROSECONDS" = "0", "How long an idle core looks for work before it sleeps; 50 saves a wake-up where cores have their CPUs to themselves";
    "max_connections" "COUNT" = "100", "Client connections at once; others wait for a place";
    "superuser_reserved_connections" "COUNT" = "3", "Places of those that only superusers may have";
    "acquire_timeout" "DURATION" = "30s", "How long a client waits for a place, or a pooled one for a session, before it is refused; off: refused at once";
    "max_queued_connections" "COUNT" = "10000", "Clients that wait for a place; further ones are refused at once";
    "max_starting_connections" "COUNT" = "5000", "Clients that have not logged in yet; at the limit the one that has taken longest has to go";
    "idle_timeout" "DURATION" = "5min", "idle_session_timeout of those who are no superusers, unless they set it themselves, or off";
    "client_connection_check_interval" "DURATION" = "off", "How often a session that runs a statement looks whether its client is still there, unless it sets it itself, or off";
    "drain_timeout" "DURATION" = "10s", "How long transactions may go on after SIGTERM, or off: they are aborted";
    "tcp_keepalives_idle" "SECONDS" = "60", "Silence after which the kernel probes whether a client is still there; 0 for the kernel's own";
    "tcp_keepalives_interval" "SECONDS" = "10", "Time between such probes; 0 for the kernel's own";
    "tcp_keepalives_count" "COUNT" = "6", "Probes without an answer after which a connection is given up; 0 for the kernel's own";
    "pool" "MODE" = "session", "Who has a session: session (a client, while it is connected) or transaction (a transaction; clients share pool_size sessions a core)";
    "pool_size" "COUNT" = "64", "Sessions of a core with pool = transaction";
    "max_client_connections" "COUNT" = "10000", "Client connections at once with pool = transaction";
    "old_snapshot_threshold" "DURATION" = "off", "Age from which a snapshot keeps no old versions of rows any more, and reading at it is refused, or off";
    "max_prepared_transactions" "COUNT" = "64", "Transactions in the prepared state at once; 0 switches two-phase commit off";
    "memory_limit" "SIZE" = "70%", "Memory for data before writes are refused: a size or a share of the machine's";
    "log_level" "FILTER" = "info", "error, warn, info, debug or trace; or a list such as info,omendb::wal=debug";
    "log_format" "FORMAT" = "text", "Form of the log: text or json";
    "log_min_duration_ms" "MILLISECONDS" = "0", "Statements that take at least so long are logged, with their stages; 0 for none";
    "audit_log" "ON_OFF" = "off", "Log who logs in and fails to, who leaves, and what changes tables and roles: on or off";
    "wal_segment_size" "SIZE" = "64MB", "Size of one preallocated log segment";
    "checkpoint_volume" "SIZE" = "1GB", "Log written after which a checkpoint starts";
    "checkpoint_interval" "DURATION" = "5min", "Time after which a checkpoint starts if anything was written, or off";
    "max_statement_size" "SIZE" = "64MB", "Largest message a client may send";
    "max_startup_size" "SIZE" = "10000B", "Largest message a client may send before it is logged in";
    "hba_file" "FILE" = "default", "Who may connect, in pg_hba.conf's format; by default hba.conf in the data directory, made when missing";
    "authentication_timeout" "DURATION" = "1min", "How long a client may take to log in, encryption included";
    "superuser" "NAME" = "postgres", "Name of the superuser that the first start creates";
    "superuser_password_file" "FILE" = "off", "File with the superuser's password, for as long as it has none, or off; OMENDB_SUPERUSER_PASSWORD can have it too";
    "scram_iterations" "COUNT" = "10000", "Iterations with which new passwords are hashed";
    "session_mobility" "MODE" = "call", "How a session reaches keys of other cores: call or hop";
};

/// The variable with the superuser's password: no setting, so that it is neither a flag, which others can see, nor printed.
pub const PASSWORD_VARIABLE: &str = "OMENDB_SUPERUSER_PASSWORD";

/// The setting with this key.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}
