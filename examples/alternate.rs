//! Drives two servers in turn, in slices of a fraction of a second, for `scripts/bench --overhead` and its like:
//! `alternate PORT PID PORT PID CLIENTS JOBS SLICE_MS PAIRS KEYS select|update [HTTP_PORT]`.
//!
//! Whatever else a machine does lasts longer than a slice as a rule, so that it hits both of a pair; rounds of seconds by two runs of
//! pgbench have it hit one of them. The statements are those that pgbench sends with `-M prepared`, over connections that stay open.
//! With an HTTP port, the first server's metrics are read once in each of its slices. Prints one line a slice: `@`, which of the two,
//! transactions, seconds, and its CPU seconds.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{PollFd, PollFlags, poll};

/// What is asked, by pgbench's names.
const STATEMENTS: [(&str, &str); 2] = [
    ("select", "SELECT abalance FROM pgbench_accounts WHERE aid = $1"),
    ("update", "UPDATE pgbench_accounts SET abalance = abalance + $2 WHERE aid = $1"),
];

/// One connection, with one statement prepared.
struct Connection {
    stream: TcpStream,
    /// Of the answer that is being received: what has come and was not looked at yet.
    unread: Vec<u8>,
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("messages are short");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

impl Connection {
    /// Connects without a password and prepares the statement under the name `s`.
    fn open(port: u16, statement: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, unread: Vec::new() };
        let startup = message(0, &[&196_608_u32.to_be_bytes(), &b"user\0postgres\0database\0postgres\0\0"[..]].concat());
        // The first packet has no tag.
        connection.stream.write_all(&startup[1..])?;
        while !connection.receive()? {}
        let parse = message(b'P', &[b"s\0", statement.as_bytes(), b"\0\0\0"].concat());
        connection.stream.write_all(&[parse, message(b'S', b"")].concat())?;
        while !connection.receive()? {}
        Ok(connection)
    }

    /// Sends the statement with these parameters as texts.
    fn ask(&mut self, parameters: &[i64]) -> std::io::Result<()> {
        let mut bind = b"\0s\0\0\0".to_vec();
        bind.extend(u16::try_from(parameters.len()).expect("one or two").to_be_bytes());
        for parameter in parameters {
            let text = parameter.to_string();
            bind.extend(u32::try_from(text.len()).expect("a number is short").to_be_bytes());
            bind.extend(text.as_bytes());
        }
        bind.extend([0, 0]);
        let messages = [message(b'B', &bind), message(b'D', b"P\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")];
        self.stream.write_all(&messages.concat())
    }

    /// Receives once; whether the server is ready for the next statement.
    fn receive(&mut self) -> std::io::Result<bool> {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&bytes[..count]);
        let mut ready = false;
        while let Some((header, rest)) = self.unread.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize - 4;
            if rest.len() < length {
                break;
            }
            if header[0] == b'E' {
                return Err(std::io::Error::other(String::from_utf8_lossy(&rest[..length]).replace('\0', " ")));
            }
            ready = header[0] == b'Z';
            self.unread.drain(..5 + length);
        }
        Ok(ready)
    }
}

/// What all threads know.
struct Plan {
    statement: usize,
    keys: i64,
    slice: Duration,
    pairs: usize,
    transactions: AtomicU64,
    failed: AtomicBool,
    /// All threads and the one that counts.
    barrier: Barrier,
}

/// Which of the two has its slices when: the order changes from pair to pair.
fn order(pairs: usize) -> impl Iterator<Item = usize> {
    (0..pairs).flat_map(|pair| [pair % 2, 1 - pair % 2])
}

impl Plan {
    /// Runs all slices over a thread's connections, by server.
    fn drive(&self, mut connections: [Vec<Connection>; 2], seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        for side in order(self.pairs) {
            self.barrier.wait();
            match self.slice(&mut connections[side], &mut random) {
                Ok(transactions) => _ = self.transactions.fetch_add(transactions, Ordering::Relaxed),
                Err(error) => {
                    eprintln!("{error}");
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
            self.barrier.wait();
        }
    }

    /// Keeps every connection asking until the slice is over; how many statements were answered.
    fn slice(&self, connections: &mut [Connection], random: &mut SmallRng) -> std::io::Result<u64> {
        let mut ask = |connection: &mut Connection| {
            let parameters = [random.random_range(1..=self.keys), random.random_range(-5000..=5000)];
            connection.ask(&parameters[..=self.statement])
        };
        let until = Instant::now() + self.slice;
        let (mut done, mut waiting) = (0, connections.len());
        connections.iter_mut().try_for_each(&mut ask)?;
        while waiting > 0 {
            let mut polled: Vec<PollFd<'_>> = connections.iter().map(|of| PollFd::new(&of.stream, PollFlags::IN)).collect();
            poll(&mut polled, None)?;
            let readable: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
            let over = Instant::now() >= until;
            for (connection, _) in connections.iter_mut().zip(readable).filter(|(_, readable)| *readable) {
                if connection.receive()? {
                    done += 1;
                    if over { waiting -= 1 } else { ask(connection)? }
                }
            }
        }
        Ok(done)
    }
}

/// CPU time that each thread of a process has had so far, in nanoseconds, by its number.
fn cpu_nanos(pid: &str) -> HashMap<OsString, u64> {
    // What a thread that sleeps has had is exact.
    thread::sleep(Duration::from_millis(2));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the server runs");
    let told = threads.filter_map(|thread| {
        let thread = thread.ok()?;
        // It may end meanwhile.
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some((thread.file_name(), told.split_whitespace().next()?.parse().ok()?))
    });
    told.collect()
}

/// CPU seconds between two of [`cpu_nanos`], without those of threads that have ended.
fn cpu_seconds(before: &HashMap<OsString, u64>, after: &HashMap<OsString, u64>) -> f64 {
    let nanos: u64 = after.iter().map(|(thread, nanos)| nanos - before.get(thread).unwrap_or(&0)).sum();
    nanos as f64 / 1e9
}

/// Reads a server's metrics, as Prometheus does.
fn scrape(port: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(std::io::Error::other("the metrics were not told")) }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    assert!(arguments.len() >= 10, "PORT PID PORT PID CLIENTS JOBS SLICE_MS PAIRS KEYS select|update [HTTP_PORT]");
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let statement = STATEMENTS.iter().position(|(name, _)| *name == arguments[9]).expect("select or update");
    let (clients, jobs) = (number(4), number(5));
    let plan = Arc::new(Plan {
        statement,
        keys: i64::try_from(number(8)).expect("a number of rows"),
        slice: Duration::from_millis(number(6) as u64),
        pairs: number(7),
        transactions: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        barrier: Barrier::new(jobs + 1),
    });
    for job in 0..jobs {
        let connect = |port: &String| {
            let open = |_| {
                Connection::open(port.parse().expect("a port"), STATEMENTS[statement].1).expect("the server lets everybody in")
            };
            (0..clients / jobs).map(open).collect::<Vec<_>>()
        };
        let connections = [connect(&arguments[0]), connect(&arguments[2])];
        let plan = Arc::clone(&plan);
        thread::spawn(move || plan.drive(connections, job as u64));
    }
    for side in order(plan.pairs) {
        let before = cpu_nanos(&arguments[2 * side + 1]);
        let began = Instant::now();
        plan.barrier.wait();
        let scraped = match arguments.get(10) {
            Some(port) if side == 0 => scrape(port),
            _ => Ok(()),
        };
        plan.barrier.wait();
        let seconds = began.elapsed().as_secs_f64();
        if plan.failed.load(Ordering::Relaxed) || scraped.is_err() {
            scraped.unwrap_or_else(|error| eprintln!("{error}"));
            exit(1);
        }
        let cpu = cpu_seconds(&before, &cpu_nanos(&arguments[2 * side + 1]));
        println!("@ {side} {} {seconds:.6} {cpu:.6}", plan.transactions.swap(0, Ordering::Relaxed));
    }
}
