//! What must be true before the server starts: kernel, io_uring, limits, the data directory, free addresses.
//!
//! **Idea.** Everything that can be wrong with a machine is found here, before the first core runs, and told in a sentence that
//! says what to do. What was checked is held, so that it stays true: the locked data directory and the bound sockets are part
//! of the result ([`Preflight`]).
//!
//! **Invariant.** One server a data directory and a port: the directory is locked ([`DataDir`]); sockets are bound without
//! SO_REUSEPORT, so that a second bind fails.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::checkpoint::{DataDir, DataDirError};
use crate::config::Config;

/// The oldest kernel with everything the runtime uses: io_uring with deferred task work and provided buffer rings.
pub const KERNEL_MIN: (u32, u32) = (6, 1);

/// What a runtime executor insists on being allowed to lock.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Descriptors beside the client connections: a core's rings, eventfds, log and checkpoint files.
const FDS_PER_CORE: u64 = 64;

/// Descriptors for the process as a whole: standard streams, the control plane and its clients.
const FDS_BASE: u64 = 160;

/// A file written and removed again at start, to see that writing works.
const WRITE_PROBE: &str = ".write-probe";

/// A check that failed: what is wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightError {
    /// What is wrong.
    pub problem: String,
    /// What to do, where the problem's own text does not say it.
    pub remedy: String,
}

impl PreflightError {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for PreflightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy.as_str() {
            "" => write!(f, "{}", self.problem),
            remedy => write!(f, "{}. {remedy}", self.problem),
        }
    }
}

impl std::error::Error for PreflightError {}

type Checked<T> = Result<T, PreflightError>;

/// What was checked and is held from now on.
#[derive(Debug)]
pub struct Preflight {
    /// Sockets of the PostgreSQL protocol, bound and listening, non-blocking.
    pub listeners: Vec<TcpListener>,
    /// The port of the first, as bound: 0 in the configuration means any. 0 if there is none.
    pub port: u16,
    /// The Unix socket, if one was asked for.
    pub unix_listener: Option<UnixSocket>,
    /// The socket of the control plane, if it is on.
    pub http: Option<TcpListener>,
    /// The data directory, locked for as long as this lives.
    pub data_dir: DataDir,
    /// The kernel's release, for the banner.
    pub kernel: String,
    /// Room for clients that wait.
    pub waiters: Waiters,
}

/// Check everything, cheapest first.
pub fn check(config: &Config) -> Checked<Preflight> {
    let kernel = kernel_release();
    check_kernel(&kernel)?;
    check_io_uring(&fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default(), probe_io_uring())?;
    let memlock = raise(Resource::Memlock);
    check_memlock(memlock)?;
    let fds = raise(Resource::Nofile);
    check_fds(fds, config)?;
    let data_dir = take_directory(&config.data_dir)?;
    let listeners = config.listen.iter().map(|&address| bind(address, "listen")).collect::<Checked<Vec<_>>>()?;
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port());
    let unix_listener = config.unix_socket_dir.as_deref().map(|dir| UnixSocket::bind(dir, port)).transpose()?;
    let http = config.http.map(|address| bind(address, "http")).transpose()?;
    Ok(Preflight { listeners, port, unix_listener, http, data_dir, kernel, waiters: waiters(fds, config) })
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// `release` is like `6.1.0-18-amd64`.
fn check_kernel(release: &str) -> Checked<()> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return Ok(());
    }
    let (major, minor) = KERNEL_MIN;
    Err(PreflightError::new(
        format!("this kernel is {release}, and OmenDB needs Linux {major}.{minor} or newer"),
        "Boot a newer kernel, or run on a machine that has one",
    ))
}

/// Set up the smallest ring there is, and close it again.
fn probe_io_uring() -> io::Result<()> {
    let mut params = rustix::io_uring::io_uring_params::default();
    // SAFETY: the call is unsafe for the sake of the ATTACH_WQ flag, which takes a descriptor from the parameters. They are all
    // zero here.
    #[allow(unsafe_code)]
    let ring = unsafe { rustix::io_uring::io_uring_setup(1, &mut params) };
    ring.map(drop).map_err(io::Error::from)
}

/// `disabled` is the text of the sysctl, empty where the kernel has none.
fn check_io_uring(disabled: &str, probe: io::Result<()>) -> Checked<()> {
    let Err(error) = probe else { return Ok(()) };
    let problem = format!("the kernel refuses io_uring ({error})");
    let remedy = match disabled.trim() {
        "2" => "It is switched off for everybody: run \"sysctl kernel.io_uring_disabled=0\" as root",
        "1" => {
            "It is switched off for ordinary users: run \"sysctl kernel.io_uring_disabled=0\" as root, or add this user to the \
             group in kernel.io_uring_group"
        }
        _ if error.raw_os_error() == Some(libc::ENOSYS) => {
            "This kernel was built without it: use one with CONFIG_IO_URING. Or, in a container, the seccomp profile hides it: allow \
             io_uring_setup, io_uring_enter and io_uring_register"
        }
        _ if error.raw_os_error() == Some(libc::EPERM) => {
            "In a container, the seccomp profile forbids it: allow io_uring_setup, io_uring_enter and io_uring_register \
             (with docker: --security-opt seccomp=PROFILE.json or seccomp=unconfined)"
        }
        _ if error.raw_os_error() == Some(libc::ENOMEM) => {
            "Raise the limit of locked memory (ulimit -l, LimitMEMLOCK=) and try again"
        }
        _ => "Check the kernel log and the limits of this user",
    };
    Err(PreflightError::new(problem, remedy))
}

/// Raise a soft limit to the hard one and tell what it is now.
fn raise(resource: Resource) -> Rlimit {
    let limit = getrlimit(resource);
    if limit.current == limit.maximum {
        return limit;
    }
    // Where it may not be raised, the checks below judge what there is.
    let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(resource)
}

fn check_memlock(limit: Rlimit) -> Checked<()> {
    match limit.current {
        Some(bytes) if bytes < MEMLOCK_BYTES_MIN => Err(PreflightError::new(
            format!("this process may lock only {bytes} bytes of memory, and io_uring needs {MEMLOCK_BYTES_MIN}"),
            "Raise the limit: \"ulimit -l 65536\", \"memlock\" in /etc/security/limits.conf, or LimitMEMLOCK=64M in the systemd unit",
        )),
        _ => Ok(()),
    }
}

fn check_fds(limit: Rlimit, config: &Config) -> Checked<()> {
    let needed = fds_needed(config);
    match limit.current {
        Some(fds) if fds < needed => Err(PreflightError::new(
            format!(
                "this process may open only {fds} files, and {} connections on {} cores need {needed}",
                config.connections.clients_max(),
                config.cores()
            ),
            "Raise the limit (\"ulimit -n\", or LimitNOFILE= in the systemd unit), or lower max_connections (max_client_connections with \
             pool = transaction)",
        )),
        _ => Ok(()),
    }
}

fn fds_needed(config: &Config) -> u64 {
    config.connections.clients_max() as u64 + config.cores() as u64 * FDS_PER_CORE + FDS_BASE
}

/// Clients beside those that are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiters {
    /// That wait for a place.
    pub queued: usize,
    /// That have not logged in yet.
    pub starting: usize,
}

/// The fewest of those that have not logged in: the files of the base have room for them.
const STARTING_MIN: usize = 16;

/// As many as the settings say, or as many as the files that may be opened leave room for.
fn waiters(limit: Rlimit, config: &Config) -> Waiters {
    let wanted = Waiters { queued: config.connections.queued_max, starting: config.connections.starting_max };
    let Some(fds) = limit.current else { return wanted };
    let room = usize::try_from(fds.saturating_sub(fds_needed(config))).unwrap_or(usize::MAX);
    if room >= wanted.queued + wanted.starting {
        return wanted;
    }
    // Whoever waits has logged in, and has more to lose.
    let starting = wanted.starting.min((room / 3).max(STARTING_MIN));
    let fewer = Waiters { queued: wanted.queued.min(room.saturating_sub(starting)), starting };
    tracing::warn!(
        "this process may open only {fds} files: at most {} clients wait for a place and {} log in at once",
        fewer.queued,
        fewer.starting
    );
    fewer
}

/// Create the data directory (for this user alone), take it, and try to write in it: permissions, read-only mounts and full
/// disks show only then.
fn take_directory(path: &Path) -> Checked<DataDir> {
    let failed = |what: &str, error: io::Error| {
        PreflightError::new(
            format!("the data directory {} {what} ({error})", path.display()),
            "Choose another with --data-dir, or make it a directory that this user may write, with space left",
        )
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed("cannot be created", error))?;
    // Its errors say what to do themselves.
    let taken = patiently(|| DataDir::open(path), |error| matches!(error, DataDirError::Locked { .. }))
        .map_err(|error| PreflightError::new(error.to_string(), ""))?;
    let probe = path.join(WRITE_PROBE);
    let write = || -> io::Result<()> {
        let mut file = File::create(&probe)?;
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        fs::remove_file(&probe)
    };
    write().map_err(|error| failed("cannot be written", error))?;
    Ok(taken)
}

/// How long a directory or an address may be in use before it is refused. A killed server keeps its locks until the kernel has
/// taken its memory back, and its sockets until the kernel has taken down its io_uring, after the process is gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// Try, and try again for a while as long as the error is one that may pass.
fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>, may_pass: impl Fn(&E) -> bool) -> Result<T, E> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if may_pass(&error) && Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

/// Bind and listen without SO_REUSEPORT.
fn bind(address: SocketAddr, key: &str) -> Checked<TcpListener> {
    let refused = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => format!("Another process listens there: stop it, or choose another address with --{key}"),
            io::ErrorKind::PermissionDenied => format!("Ports below 1024 need privileges: choose another with --{key}"),
            _ => format!("Choose another address with --{key}"),
        };
        PreflightError::new(format!("{address} cannot be listened on ({error})"), remedy)
    };
    let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let listener = patiently(|| TcpListener::bind(address), in_use).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    lengthen_backlog(&listener).map_err(refused)?;
    Ok(listener)
}

/// Connections that the kernel completes before they are accepted: those of a burst, such as every pool of an application after a
/// restart. The kernel takes less if net.core.somaxconn says so.
const BACKLOG: i32 = 8192;

/// Listen again, which changes the length of the queue: the standard library's is 128.
fn lengthen_backlog(listener: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::listen(listener, BACKLOG)?)
}

/// A bound Unix socket; its file is removed when dropped.
#[derive(Debug)]
pub struct UnixSocket {
    /// The listener, non-blocking.
    pub listener: UnixListener,
    /// Where it is.
    pub path: PathBuf,
}

impl UnixSocket {
    /// Bind `.s.PGSQL.<port>` in `dir`. A file left over from a killed server is replaced; a live socket is not.
    fn bind(dir: &Path, port: u16) -> Checked<Self> {
        let path = dir.join(format!(".s.PGSQL.{port}"));
        let refused = |error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "Another server listens there: stop it, or choose another directory",
                _ => "Choose a directory that exists and that this user may write, with a path below 100 characters",
            };
            PreflightError::new(format!("the Unix socket {} cannot be listened on ({error})", path.display()), remedy)
        };
        let listener = match UnixListener::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(&path).is_err() => {
                fs::remove_file(&path).map_err(refused)?;
                UnixListener::bind(&path)
            }
            other => other,
        };
        let listener = listener.map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        lengthen_backlog(&listener).map_err(refused)?;
        Ok(Self { listener, path })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Gone already is as good as removed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;
