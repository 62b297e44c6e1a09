//! One validated [`Config`] out of flags, environment, a TOML file and defaults, in this order of precedence.
//!
//! **Idea.** Every setting is one row of [`SETTINGS`]: key, default, help. Flag (`--data-dir`), environment variable
//! (`OMENDB_DATA_DIR`) and file key (`data_dir`) follow from the key, and all three carry the same text, which is parsed in one
//! place. So a value means the same wherever it comes from, and a refusal names the key and where the value came from.
//!
//! **Invariants.** A `Config` that exists is valid: addresses resolve, that of the control plane is on the loopback or has TLS, cores are CPUs of this machine,
//! sizes are within their limits. Unknown keys are refused, in the file and in the environment; all refusals are reported at once.
//!
//! Nothing here touches the data directory or a socket; `server::preflight` does.

mod connections;
mod machine;
mod resolve;
mod settings;
mod typed;
mod units;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Secret;

pub use connections::{Connections, Keepalive, PoolMode};
pub use machine::Machine;
pub use resolve::{Command, Invocation, LatencyOptions, Source};
pub use settings::{SETTINGS, Setting};

/// The largest number of cores one server runs on.
pub const CORES_MAX: usize = 256;

/// The largest `max_connections`.
pub const CONNECTIONS_MAX: usize = 20_000;

/// The largest `max_prepared_transactions`.
pub const PREPARED_MAX: usize = 20_000;

/// Everything the server may be told. See [`SETTINGS`] for the keys, defaults and meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// TCP addresses of the PostgreSQL protocol, at least one. Port 0 lets the kernel choose.
    pub listen: Vec<SocketAddr>,
    /// Directory of a Unix socket `.s.PGSQL.<port of the first address>`.
    pub unix_socket_dir: Option<PathBuf>,
    /// Address of the HTTP control plane, unless off.
    pub http: Option<SocketAddr>,
    /// Certificate chain and private key of the control plane, as PEM files.
    pub http_tls: Option<TlsFiles>,
    /// What the PostgreSQL protocol is encrypted with, if it is.
    pub ssl: Option<SslConfig>,
    /// The CPU of each core: core `i` runs on CPU `cpus[i]`. Repeats only when more cores than CPUs were asked for.
    pub cpus: Vec<usize>,
    /// How long a core looks for work before it parks.
    pub spin: Duration,
    /// Clients: who is let in, how many at once, and for how long.
    pub connections: Connections,
    /// Prepared transactions at once.
    pub prepared_max: usize,
    /// How long a client's snapshot keeps old versions of rows; `None`: as long as it is in use.
    pub old_snapshot: Option<Duration>,
    /// Memory the server may use for data before writes are refused with 53200.
    pub memory_limit_bytes: u64,
    /// What is logged and how.
    pub log: LogConfig,
    /// Size of one preallocated log segment; a multiple of 1 MiB.
    pub wal_segment_bytes: u64,
    /// Log written, over all cores, after which a checkpoint starts.
    pub checkpoint_volume_bytes: u64,
    /// Time after which a checkpoint starts if anything was written; `None`: by volume only.
    pub checkpoint_interval: Option<Duration>,
    /// The largest message a client may send after login.
    pub statement_bytes_max: usize,
    /// The largest message a client may send before login.
    pub startup_bytes_max: usize,
    /// Who may connect, if not `hba.conf` in the data directory says it.
    pub hba_file: Option<PathBuf>,
    /// How long a client may take to log in.
    pub authentication_timeout: Duration,
    /// The superuser that the first start creates.
    pub superuser: String,
    /// Its password, for as long as it has none.
    pub superuser_password: Option<Secret>,
    /// A file whose first line is that password.
    pub superuser_password_file: Option<PathBuf>,
    /// Iterations with which new passwords are hashed.
    pub scram_iterations: u32,
    /// How a session reaches keys of other cores.
    pub session_mobility: SessionMobility,
}

impl Config {
    /// The number of cores.
    pub fn cores(&self) -> usize {
        self.cpus.len()
    }
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or a comma-separated list of levels and `module=level`, as tracing's `Targets` reads it.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
    /// Log statements that take at least so long.
    pub min_duration: Option<Duration>,
    /// Log who comes and goes, and what changes tables and roles.
    pub audit: bool,
}

/// Encryption of the PostgreSQL protocol. Relative paths begin at the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SslConfig {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities whose certificates of clients are believed.
    pub ca: Option<PathBuf>,
    /// The lowest version.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

impl TlsVersion {
    /// As PostgreSQL writes it.
    pub const fn name(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        }
    }
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How a session reaches keys that another core owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMobility {
    /// It stays and sends messages.
    Call,
    /// It moves to the owner between statements when its statements keep going there.
    Hop,
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as it is written in the file; empty when the whole command line or file is meant.
    pub key: String,
    /// Where the value came from.
    pub source: Source,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.source, self.message),
            key => write!(f, "{key} ({}): {}", self.source, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why the program does not go on to run: refusals, or clap's own answer (`--help`, `--version`, an unknown flag).
#[derive(Debug)]
pub enum Refusal {
    /// To be printed by clap, which also knows the exit code.
    Clap(Box<clap::Error>),
    /// One or more refused settings.
    Settings(Vec<ConfigError>),
}

impl Refusal {
    /// Print it as its kind demands and give the process's exit code.
    pub fn report(&self) -> i32 {
        match self {
            Refusal::Clap(error) => {
                // A closed stdout is no reason for another exit code.
                let _ = error.print();
                error.exit_code()
            }
            Refusal::Settings(errors) => {
                for error in errors {
                    eprintln!("omendb: {error}");
                }
                2
            }
        }
    }
}

/// Read the process's own arguments and environment, the file they name, and the machine.
pub fn from_process() -> Result<Invocation, Refusal> {
    let environment = std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value))).collect();
    resolve::resolve(std::env::args_os().collect(), environment, &Machine::this())
}

/// The same with everything given, for tests and tools. `arguments` starts with the program's name.
pub fn from_parts(
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    machine: &Machine,
) -> Result<Invocation, Refusal> {
    resolve::resolve(arguments, environment, machine)
}
