//! How long a flush of the log takes, by number of committing clients: `cargo bench --bench log_sync -- DIRECTORY`.
//!
//! The figures in docs/storage-format.md come from here. One core, commits of about 150 bytes, each awaited.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use omendb::base::{CommitTs, CoreId, StorageId};
use omendb::runtime::{QueueClass, RuntimeConfig, host, now, spawn_joinable, start};
use omendb::storage::KeyRef;
use omendb::wal::{Body, Incarnation, Wal, WalOptions, WriteRef, WriteSet};

const SECONDS: u64 = 2;

async fn client(wal: Wal, clock: Rc<Cell<u64>>, commits: Rc<Cell<u64>>) {
    let deadline = now() + Duration::from_secs(SECONDS);
    let value = [7; 100];
    let mut writes = WriteSet::new();
    while now() < deadline {
        writes.clear();
        writes.push(WriteRef { storage: StorageId(1), key: KeyRef::Int(clock.get() as i64), value: Some(&value) });
        let body = |ts| Body::Commit { ts, participants: &[], chunked: None, writes: &writes };
        let reservation = wal.reserve_wait(body(CommitTs(1)).encoded_bytes()).await.expect("there is room");
        clock.set(clock.get() + 1);
        let lsn = wal.append(reservation, &body(CommitTs(clock.get())));
        wal.flushed(lsn).await.expect("a sound disk");
        commits.set(commits.get() + 1);
    }
}

async fn measure(root: PathBuf, clients: u64, incarnation: u64) {
    let options = WalOptions::new(root, CoreId(0), Incarnation(incarnation));
    let wal = Wal::open(options, CommitTs(0)).await.expect("opening");
    let flushes = Rc::new(RefCell::new(Histogram::<u64>::new(3).expect("three digits")));
    let recorder = Rc::clone(&flushes);
    let on_flush = move |report: &omendb::wal::FlushReport| {
        recorder.borrow_mut().record(report.duration.as_micros() as u64).expect("auto-resizing");
    };
    wal.start(on_flush, |error| panic!("{error}"));
    let (clock, commits) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let tasks: Vec<_> = (0..clients)
        .map(|_| spawn_joinable(QueueClass::Interactive, client(wal.clone(), Rc::clone(&clock), Rc::clone(&commits))))
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    wal.shutdown().await.expect("a sound disk");
    wal.recycle(CommitTs(u64::MAX), None).await.expect("a sound disk");
    let flushes = flushes.borrow();
    println!(
        "{clients:4} clients: flush p50 {:5} p99 {:6} us, {:8} commits/s, {:5.1} commits a flush",
        flushes.value_at_quantile(0.5),
        flushes.value_at_quantile(0.99),
        commits.get() / SECONDS,
        commits.get() as f64 / flushes.len() as f64,
    );
}

fn main() {
    let parent = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(parent).expect("a directory to write in");
    let root = directory.path().to_owned();
    let config = RuntimeConfig::on_cpus(vec![host::cpus()[0]]);
    let run = move |_| {
        let root = root.clone();
        async move {
            let mut incarnation = 0;
            for _ in 0..2 {
                for clients in [1, 16, 256] {
                    incarnation += 1;
                    measure(root.clone(), clients, incarnation).await;
                }
            }
        }
    };
    for outcome in start(&config, run).expect("the core starts").join() {
        outcome.expect("no panic");
    }
}
