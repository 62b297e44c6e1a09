//! The log on a real core and a real file system: what the simulator cannot show is that the kernel takes these writes.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::reader::{self, Relevance};
use super::*;
use crate::base::{CommitTs, CoreId, StorageId};
use crate::runtime::{QueueClass, RuntimeConfig, host, spawn_joinable, start};
use crate::storage::KeyRef;

const CLIENTS: u64 = 8;
const COMMITS: u64 = 120;

fn options(root: &Path, incarnation: u64) -> WalOptions {
    WalOptions { segment_bytes: 128 << 10, ..WalOptions::new(root, CoreId(0), Incarnation(incarnation)) }
}

/// Commits from several tasks, waiting for durability each time; the highest timestamp.
async fn load(wal: &Wal, clock: u64) -> u64 {
    let clock = Rc::new(RefCell::new(clock));
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let (wal, clock) = (wal.clone(), Rc::clone(&clock));
        clients.push(spawn_joinable(QueueClass::Interactive, async move {
            for round in 0..COMMITS {
                let mut writes = WriteSet::new();
                let value = vec![client as u8; 700];
                writes.push(WriteRef { storage: StorageId(1), key: KeyRef::Int(round as i64), value: Some(&value) });
                let body = |ts| Body::Commit { ts, participants: &[], chunked: None, writes: &writes };
                let reservation = wal.reserve_wait(body(CommitTs(1)).encoded_bytes()).await.expect("there is room");
                let ts = {
                    let mut clock = clock.borrow_mut();
                    *clock += 1;
                    CommitTs(*clock)
                };
                let lsn = wal.append(reservation, &body(ts));
                wal.flushed(lsn).await.expect("a sound disk");
            }
        }));
    }
    for client in clients {
        client.await.expect("no panic");
    }
    clock.take()
}

async fn recovered(root: &Path, history: &IncarnationHistory, checkpoint: u64) -> CommitTs {
    let logs = reader::list_logs(root).await.expect("listing");
    let relevance = Relevance { history, checkpoint: CommitTs(checkpoint), on_damage: OnDamage::Refuse };
    let scan = reader::scan_log(&logs[0], &relevance, StorageId(1), &|_| {}).await.expect("sound");
    let cut = cut::compute(CommitTs(checkpoint), history.last_cut(), std::slice::from_ref(&scan.commits)).expect("sound");
    let mut replay = LogReplay::new(&logs[0], &scan, relevance, cut.recovered);
    let mut replayed = 0;
    while replay.advance().await.expect("sound").is_some() {
        replayed += replay.writes().expect("sound").len() as u64;
    }
    assert_eq!(replayed, cut.recovered.0 - checkpoint, "one write a commit");
    cut.recovered
}

async fn commit_restart_recycle(root: &Path) {
    let stop = |error: &WalError| panic!("the log failed: {error}");
    let wal = Wal::open(options(root, 1), CommitTs(0)).await.expect("opening");
    wal.start(|report| assert!(report.records > 0 && report.duration > Duration::ZERO), stop);
    let first = load(&wal, 0).await;
    assert!(wal.counters().flushes.get() < CLIENTS * COMMITS, "clients share flushes");
    wal.shutdown().await.expect("a sound disk");
    drop(wal);

    let history = IncarnationHistory::first();
    assert_eq!(recovered(root, &history, 0).await, CommitTs(first));
    let history = history.next(CommitTs(first));
    let wal = Wal::open(options(root, 2), CommitTs(first)).await.expect("opening again");
    wal.start(|_| {}, stop);
    assert!(wal.recycle(CommitTs(first), None).await.expect("a sound disk") > 3, "the first incarnation's segments are free");
    let second = load(&wal, first).await;
    assert!(wal.counters().segments_reused.get() > 3, "and used again");
    drop(wal);
    assert_eq!(recovered(root, &history, first).await, CommitTs(second));
}

#[test]
fn the_kernel_takes_what_the_log_does() {
    // Not in the memory file system that the default temporary directory may be: direct I/O is to be tested.
    let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary directory");
    let root = directory.path().to_owned();
    let config = RuntimeConfig { spin: Duration::ZERO, ..RuntimeConfig::on_cpus(vec![host::cpus()[0]]) };
    let main = move |_| {
        let root = root.clone();
        async move { commit_restart_recycle(&root).await }
    };
    assert_eq!(start(&config, main).expect("the core starts").join(), vec![Ok(())]);
}
