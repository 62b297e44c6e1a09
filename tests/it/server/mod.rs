//! The assembled server as a process of its own, on a directory of its own, killed when its test ends.
//!
//! No wait decides a test: each has the same generous bound, and says what it waited for when it is over.

pub mod answer;
pub mod bystander;
pub mod raw;
pub mod tls;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before its test fails.
pub const WAIT: Duration = Duration::from_secs(30);

/// A running server.
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Where it speaks PostgreSQL's protocol.
    pub address: SocketAddr,
    http: SocketAddr,
    directory: Option<TempDir>,
}

/// What a killed server has left.
pub struct Remains {
    directory: TempDir,
}

impl Remains {
    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs a subcommand of the binary on it: whether it succeeded, and all that it printed.
    pub fn run(&self, subcommand: &[&str]) -> (bool, String) {
        self.run_on(&self.data(), subcommand)
    }

    /// The same on another directory.
    pub fn run_on(&self, data: &Path, subcommand: &[&str]) -> (bool, String) {
        printed(command().args(subcommand).arg("--data-dir").arg(data))
    }

    /// Starts a server on it.
    pub fn start(self, flags: &[&str]) -> Server {
        let data = self.data();
        Server::start_in(self.directory, &data, flags)
    }

    /// Starts a server on another directory.
    pub fn start_on(self, data: &Path, flags: &[&str]) -> Server {
        Server::start_in(self.directory, data, flags)
    }
}

/// Runs a command to its end: whether it succeeded, and all that it printed.
fn printed(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("the binary was built with this test");
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("it prints text")).concat();
    (output.status.success(), printed)
}

/// The binary under test. Only the flags decide what it does, wherever the test runs.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_omendb"));
    std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OMENDB_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command
}

impl Server {
    /// Starts one on two cores, with these flags besides, and waits until it serves.
    pub fn start(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory can be written to");
        let data = directory.path().join("data");
        Self::start_in(directory, &data, flags)
    }

    fn start_in(directory: TempDir, data: &Path, flags: &[&str]) -> Self {
        let log = directory.path().join("log");
        let stderr = std::fs::File::create(&log).expect("a fresh directory takes a file");
        let mut command = command();
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data)
            // Ports that the kernel chooses, so that tests side by side never want the same.
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--wal-segment-size", "4MB"])
            .args(if flags.contains(&"--cores") { &[][..] } else { &["--cores", "2"] })
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let child = command.spawn().expect("the binary was built with this test");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, log, address: nowhere, http: nowhere, directory: Some(directory) };
        server.http = server.announced("HTTP: http://");
        server.address = server.announced("PostgreSQL protocol: ");
        server
    }

    /// The address that the log gives behind some words.
    fn announced(&mut self, words: &str) -> SocketAddr {
        let started = Instant::now();
        loop {
            let log = self.log();
            // The line may be half written: the address ends with the word behind it.
            let line = log.split_once(words).and_then(|(_, rest)| rest.split_once(' '));
            if let Some((address, _)) = line {
                return address.parse().unwrap_or_else(|error| panic!("{address} is an address: {error}"));
            }
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                panic!("the server ended at its start with {status}:\n{log}");
            }
            assert!(started.elapsed() < WAIT, "the server does not say \"{words}\":\n{log}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Has it write a backup of itself: whether that succeeded, and all that was printed.
    pub fn backup(&self, target: &Path) -> (bool, String) {
        printed(command().arg("backup").arg(target).arg("--listen").arg(self.address.to_string()))
    }

    /// Kills it, as kill -9 does.
    pub fn kill(mut self) -> Remains {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
        Remains { directory: self.directory.take().expect("a server has its directory until it is killed") }
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.as_ref().expect("a server has its directory until it is killed").path().join("data")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is a file of text")
    }

    /// A connection that has said nothing yet.
    pub fn open(&self) -> raw::Client {
        raw::Client::open(self.address)
    }

    /// A connection that is ready for its first query.
    pub fn connect(&self) -> raw::Client {
        let mut client = self.open();
        client.send(&raw::startup(&[("user", "tester")]));
        let greeting = client.until_ready();
        assert_eq!(greeting.last().map(String::as_str), Some("Z I"), "{greeting:?}");
        client
    }

    /// A session of a user, on a server that trusts everybody.
    pub fn login(&self, user: &str) -> raw::Client {
        let mut client = self.open();
        client.send(&raw::startup(&[("user", user), ("database", "db")]));
        let greeting = client.until_ready();
        assert_eq!(greeting.last().map(String::as_str), Some("Z I"), "{user}: {greeting:?}");
        client
    }

    /// Where it speaks HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Replaces the rules of who may connect, and waits until they are in force.
    pub fn write_rules(&self, rules: &str) {
        std::fs::write(self.data().join("hba.conf"), rules).expect("the data directory is ours");
        let before = self.log().matches("was read again").count();
        self.signal(libc::SIGHUP);
        self.wait_until("the rules are read", || self.log().matches("was read again").count() > before);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) with the id of a child that has not been waited for.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0, "the child is ours");
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(started.elapsed() < WAIT, "the server does not end:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
    }

    /// What it answers to GET over HTTP.
    pub fn http_body(&self, path: &str) -> String {
        let answer = self.get(path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("an answer has a head")
    }

    /// The status of what it answers to GET over HTTP.
    pub fn http_status(&self, path: &str) -> u16 {
        let answer = self.get(path);
        answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an answer has a status")
    }

    /// A metric's samples, summed: `name`, or `name{label="value"}` for those that have it.
    pub fn metric(&self, sample: &str) -> f64 {
        self.samples(sample).unwrap_or_else(|| panic!("{sample} is exported"))
    }

    /// The same, of what may not have happened yet: a distribution without values is not exported.
    pub fn metric_so_far(&self, sample: &str) -> f64 {
        self.samples(sample).unwrap_or_default()
    }

    fn samples(&self, sample: &str) -> Option<f64> {
        let text = self.metrics();
        let (name, label) = sample.strip_suffix('}').and_then(|sample| sample.split_once('{')).unwrap_or((sample, ""));
        let samples: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(label)))
            .map(|rest| rest.rsplit(' ').next().expect("a sample has a value").parse().expect("a sample is a number"))
            .collect();
        (!samples.is_empty()).then(|| samples.iter().sum())
    }

    /// The names of all metrics.
    pub fn families(&self) -> BTreeSet<String> {
        let words = |line: &str| line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        self.metrics().lines().filter_map(words).collect()
    }

    /// Bytes of memory that are its own.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("the child runs");
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel tells");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// All metrics, as Prometheus gets them.
    pub fn metrics(&self) -> String {
        self.http_body("/metrics")
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).expect("the control plane listens");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout can be set");
        let request = format!("GET {path} HTTP/1.1\r\nHost: omendb\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request is written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the control plane answers in time");
        answer
    }

    /// It runs, lets clients in and answers them, and nothing in it has panicked.
    #[track_caller]
    pub fn assert_unharmed(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the child is ours") {
            panic!("the server ended with {status}:\n{}", self.log());
        }
        self.connect().expect_query("SELECT 40 + 2", &["T ?column?:23", "D 42", "C SELECT 1", "Z I"]);
        let panics = self.metric("omendb_panics_total");
        let logged: Vec<String> = self.log().lines().filter(|line| line.contains("omendb::panic")).map(str::to_owned).collect();
        assert!(panics == 0.0 && logged.is_empty(), "{panics} panics: {logged:#?}");
    }

    /// Waits until so many sessions wait for a lock.
    #[track_caller]
    pub fn wait_for_waiters(&self, observer: &mut raw::Client, count: usize) {
        let waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted";
        self.wait_until("the sessions that wait", || observer.column(waiting) == [count.to_string()]);
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < WAIT, "{what} does not come about; the log:\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }
}

/// Damages a file.
pub fn flip_byte(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the file is that long");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).expect("the file can be written to");
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() && self.directory.is_some() {
            let log = self.log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().fold(String::new(), |mut text, line| {
                writeln!(text, "{line}").expect("a string takes every byte");
                text
            });
            eprintln!("the end of the server's log:\n{tail}");
        }
        // A server that has ended already is what the test was about, or has made it fail.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
