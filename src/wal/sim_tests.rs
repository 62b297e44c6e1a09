//! The log under a simulated disk: crashes at any poll with torn, lost and reordered writes; recycling; a full disk; failing
//! writes; flipped bytes.
//!
//! The model is the list of everything committed, by timestamp. After every crash: what was reported durable is there, what is
//! there is a prefix of the list, byte for byte.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::reader::{self, LogScan, Relevance};
use super::record::{Body, ChunkedTxn};
use super::*;
use crate::base::{CommitTs, CoreId, StorageId, TxnId};
use crate::runtime::sim::{Sim, crash_now};
use crate::runtime::{QueueClass, random_u64, sleep, spawn_joinable, yield_now};
use crate::storage::KeyRef;

pub(super) type Write = (u32, i64, Option<Vec<u8>>);

/// What every log must hold, by timestamp: the writes of each participant.
pub(super) type History = BTreeMap<u64, BTreeMap<u16, Vec<Write>>>;

pub(super) struct Model {
    logs: u16,
    incarnations: IncarnationHistory,
    pub(super) history: History,
    clock: u64,
    reported_durable: u64,
    checkpoint: u64,
    dropped: u64,
    reused: u64,
    chunked: u64,
    sequence: u64,
}

pub(super) type Shared = Rc<RefCell<Model>>;

pub(super) fn model(logs: u16) -> Shared {
    Rc::new(RefCell::new(Model {
        logs,
        incarnations: IncarnationHistory::first(),
        history: History::new(),
        clock: 0,
        reported_durable: 0,
        checkpoint: 0,
        dropped: 0,
        reused: 0,
        chunked: 0,
        sequence: 0,
    }))
}

fn options(core: u16, incarnation: Incarnation) -> WalOptions {
    WalOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        spares: 1,
        recycled_max: 2,
        backlog_bytes_max: 100_000,
        ..WalOptions::new("data", CoreId(core), incarnation)
    }
}

fn random_writes(count: u64) -> Vec<Write> {
    let write = |_| {
        let bytes = random_u64() % if random_u64().is_multiple_of(10) { 3000 } else { 60 };
        let value = (!random_u64().is_multiple_of(5)).then(|| vec![random_u64() as u8; bytes as usize]);
        (random_u64() as u32 % 3, random_u64() as i64 % 50, value)
    };
    (0..count).map(write).collect()
}

fn set(writes: &[Write]) -> WriteSet {
    let mut set = WriteSet::new();
    for (storage, key, value) in writes {
        set.push(WriteRef { storage: StorageId(*storage), key: KeyRef::Int(*key), value: value.as_deref() });
    }
    set
}

/// Reads all logs back, checks them against the model, and cuts the model where recovery cuts the logs.
async fn recover(model: &Shared) -> CommitTs {
    let (incarnations, checkpoint) = {
        let model = model.borrow();
        (model.incarnations.clone(), CommitTs(model.checkpoint))
    };
    let relevance = Relevance { history: &incarnations, checkpoint, on_damage: OnDamage::Refuse };
    let logs = reader::list_logs(Path::new("data")).await.expect("listing");
    let mut scans: Vec<LogScan> = Vec::new();
    for log in &logs {
        scans.push(reader::scan_log(log, &relevance, StorageId(1), &|_| {}).await.expect("a crash is not corruption"));
    }
    let lists: Vec<_> = scans.iter().map(|scan| scan.commits.clone()).collect();
    let cut = cut::compute(checkpoint, incarnations.last_cut(), &lists).expect("sound logs");
    let mut found = History::new();
    for (log, scan) in logs.iter().zip(&scans) {
        let mut replay = LogReplay::new(log, scan, relevance, cut.recovered);
        while let Some(ts) = replay.advance().await.expect("verified by the scan") {
            let writes = found.entry(ts.0).or_default().entry(log.core.0).or_default();
            for write in replay.writes().expect("verified by the scan") {
                let KeyRef::Int(key) = write.key else { panic!("only integers were written") };
                writes.push((write.storage.0, key, write.value.map(<[u8]>::to_vec)));
            }
        }
    }
    let mut model = model.borrow_mut();
    assert!(cut.recovered.0 >= model.reported_durable, "lost {} of {}", cut.recovered.0, model.reported_durable);
    model.dropped += model.history.split_off(&(cut.recovered.0 + 1)).len() as u64;
    let expected: History = model.history.range(model.checkpoint + 1..).map(|(ts, parts)| (*ts, parts.clone())).collect();
    assert_eq!(found, expected, "what is recovered is the prefix of what was committed");
    model.clock = cut.recovered.0;
    model.incarnations = model.incarnations.next(cut.recovered);
    cut.recovered
}

/// A transaction: reserve on every participant, then draw, record, append, without a wait in between (invariant 2).
pub(super) async fn commit(wals: &[Wal], model: &Shared) -> Result<u64, WalError> {
    let participants: Vec<u16> = (0..wals.len() as u16).filter(|_| random_u64().is_multiple_of(2)).collect();
    let participants = if participants.is_empty() { vec![0] } else { participants };
    let mut parts: BTreeMap<u16, Vec<Write>> = BTreeMap::new();
    let mut ready = Vec::new();
    for core in &participants {
        let wal = &wals[usize::from(*core)];
        let mut all = Vec::new();
        let chunked = if random_u64().is_multiple_of(8) { append_chunks(wal, model, &mut all).await } else { Ok(None) };
        let chunked = chunked.inspect_err(|_| abandon(&ready))?;
        let writes = random_writes(random_u64() % 4);
        all.extend(writes.iter().cloned());
        parts.insert(*core, all);
        ready.push((wal, chunked, set(&writes)));
    }
    let named: Vec<CoreId> = participants.iter().copied().map(CoreId).collect();
    let named = if named.len() == 1 { &[][..] } else { &named };
    let body = |ts, chunked, writes| Body::Commit { ts, participants: named, chunked, writes };
    let mut reservations = Vec::new();
    for (wal, chunked, writes) in &ready {
        let reservation = wal.reserve_wait(body_bytes(&body(CommitTs(1), *chunked, writes))).await;
        if reservation.is_err() {
            abandon(&ready);
        }
        reservations.push(reservation?);
    }
    let ts = {
        let mut model = model.borrow_mut();
        model.clock += 1;
        let ts = model.clock;
        model.history.insert(ts, parts);
        model.chunked += u64::from(ready.iter().any(|part| part.1.is_some()));
        CommitTs(ts)
    };
    for ((wal, chunked, writes), reservation) in ready.iter().zip(reservations) {
        wal.append(reservation, &body(ts, *chunked, writes));
    }
    Ok(ts.0)
}

/// What an abort does.
fn abandon(parts: &[(&Wal, Option<ChunkedTxn>, WriteSet)]) {
    for (wal, chunked, _) in parts {
        if let Some(chunked) = chunked {
            wal.abandon_chunks(chunked.txn);
        }
    }
}

fn body_bytes(body: &Body<'_>) -> usize {
    body.encoded_bytes()
}

/// Appends two chunks of a transaction; one in three of them aborts and leaves them behind.
async fn append_chunks(wal: &Wal, model: &Shared, all: &mut Vec<Write>) -> Result<Option<ChunkedTxn>, WalError> {
    let txn = {
        let mut model = model.borrow_mut();
        model.sequence += 1;
        TxnId(model.sequence)
    };
    let aborts = random_u64().is_multiple_of(3);
    for sequence in 0..2 {
        let writes = random_writes(1 + random_u64() % 3);
        let chunk = set(&writes);
        let body = Body::Chunk { txn, sequence, writes: &chunk };
        let reservation = wal.reserve_wait(body.encoded_bytes()).await;
        wal.append(reservation.inspect_err(|_| wal.abandon_chunks(txn))?, &body);
        if !aborts {
            all.extend(writes);
        }
        yield_now().await;
    }
    if aborts {
        wal.abandon_chunks(txn);
        return Ok(None);
    }
    Ok(Some(ChunkedTxn { txn, chunks: 2 }))
}

/// The durable timestamp D over all logs.
fn durable(wals: &[Wal], model: &Model) -> u64 {
    let lowest = wals.iter().filter_map(Wal::lowest_unflushed_ts).min();
    lowest.map_or(model.clock, |ts| ts.0 - 1)
}

pub(super) async fn open_logs(model: &Shared, recovered: CommitTs) -> Vec<Wal> {
    let (logs, incarnation) = (model.borrow().logs, model.borrow().incarnations.current());
    let mut wals = Vec::new();
    for core in 0..logs {
        wals.push(Wal::open(options(core, incarnation), recovered).await.expect("opening after recovery"));
    }
    for wal in &wals {
        let (all, model) = (wals.clone(), Rc::clone(model));
        let on_flush = move |_: &FlushReport| {
            let mut model = model.borrow_mut();
            model.reported_durable = model.reported_durable.max(durable(&all, &model));
        };
        wal.start(on_flush, |error| panic!("the log failed: {error}"));
    }
    wals
}

/// One life of the server: recover, then commit and checkpoint until `commits` are done or the machine crashes.
async fn live(model: Shared, commits: u64) {
    let recovered = recover(&model).await;
    let wals = Rc::new(open_logs(&model, recovered).await);
    let mut clients = Vec::new();
    for client in 0..3 {
        let (wals, model) = (Rc::clone(&wals), Rc::clone(&model));
        clients.push(spawn_joinable(QueueClass::Interactive, async move {
            for _ in 0..commits {
                commit(&wals, &model).await.expect("the disk is sound and large");
                if random_u64().is_multiple_of(4) {
                    sleep(Duration::from_micros(random_u64() % 300)).await;
                }
                if client == 0 && random_u64().is_multiple_of(40) {
                    take_checkpoint(&wals, &model).await;
                }
            }
        }));
    }
    for client in clients {
        client.await.expect("no client panics");
    }
    for wal in wals.iter() {
        wal.flushed(wal.appended_lsn()).await.expect("the disk is sound");
        model.borrow_mut().reused += wal.counters().segments_reused.get();
        if random_u64().is_multiple_of(2) {
            wal.shutdown().await.expect("the disk is sound");
        }
    }
    if random_u64().is_multiple_of(2) {
        crash_now();
    }
}

async fn take_checkpoint(wals: &[Wal], model: &Shared) {
    let through = {
        let mut model = model.borrow_mut();
        model.checkpoint = durable(wals, &model);
        model.incarnations = model.incarnations.checkpointed(CommitTs(model.checkpoint));
        CommitTs(model.checkpoint)
    };
    for wal in wals {
        wal.recycle(through, None).await.expect("the disk is sound");
    }
}

#[test]
fn crashes_lose_nothing_that_was_reported_durable() {
    let (mut dropped, mut reused, mut chunked) = (0, 0, 0);
    for seed in 0..150 {
        let mut sim = Sim::new(seed);
        let model = model(1 + (seed % 3) as u16);
        for life in 0..4 {
            sim.config.crash_one_in = (life < 3).then_some(3_000);
            let body = Rc::clone(&model);
            sim.run(1, move |_| live(Rc::clone(&body), 60)).expect_completed_or_crashed();
        }
        let model = model.borrow();
        dropped += model.dropped;
        reused += model.reused;
        chunked += model.chunked;
    }
    // The rare cases are reached: otherwise this test shows nothing.
    assert!(dropped > 50, "{dropped} commits were cut off by crashes");
    assert!(reused > 50, "{reused} segments were used again");
    assert!(chunked > 500, "{chunked} commits had chunks");
}

/// Runs `body` on a simulated core to its end.
pub(super) fn complete<F: Future<Output = ()> + 'static>(sim: &mut Sim, body: impl Fn() -> F) {
    sim.run(1, |_| body()).expect_completed();
}

async fn single_log(model: &Shared, poisoned: &Rc<Cell<u32>>) -> Wal {
    let incarnation = model.borrow().incarnations.current();
    let wal = Wal::open(options(0, incarnation), CommitTs(0)).await.expect("opening");
    let poisoned = Rc::clone(poisoned);
    wal.start(|_| {}, move |_| poisoned.set(poisoned.get() + 1));
    wal
}

#[test]
fn a_full_disk_fails_reservations_and_writing_goes_on_when_there_is_room() {
    for seed in 0..20 {
        let mut sim = Sim::new(seed);
        sim.config.faults.capacity = Some(3 * SEGMENT_BYTES_MIN + 4096);
        let model = model(1);
        let body = || {
            let model = Rc::clone(&model);
            async move {
                let poisoned = Rc::new(Cell::new(0));
                let wal = single_log(&model, &poisoned).await;
                for _ in 0..3 {
                    let full = loop {
                        match commit(std::slice::from_ref(&wal), &model).await {
                            Ok(_) => {}
                            Err(error) => break error,
                        }
                    };
                    assert!(matches!(full, WalError::DiskFull(_)), "{full}");
                    wal.flushed(wal.appended_lsn()).await.expect("what was promised is flushed");
                    let through = CommitTs(model.borrow().clock);
                    assert!(wal.recycle(through, None).await.expect("recycling needs no room") > 0);
                }
                commit(std::slice::from_ref(&wal), &model).await.expect("there is room again");
                wal.shutdown().await.expect("nothing failed");
                assert_eq!(poisoned.get(), 0);
            }
        };
        complete(&mut sim, body);
    }
}

#[test]
fn a_failed_write_poisons_the_log_once_and_for_good() {
    let reached = Rc::new(Cell::new(0));
    for seed in 0..60 {
        let mut sim = Sim::new(seed);
        sim.config.faults.write_error_one_in = if seed % 2 == 0 { 60 } else { 0 };
        sim.config.faults.sync_error_one_in = if seed % 2 == 0 { 0 } else { 20 };
        let model = model(1);
        let body = || {
            let (model, reached) = (Rc::clone(&model), Rc::clone(&reached));
            async move {
                let Ok(wal) = Wal::open(options(0, Incarnation(1)), CommitTs(0)).await else { return };
                let poisoned = Rc::new(Cell::new(0));
                let count = Rc::clone(&poisoned);
                wal.start(|_| {}, move |_| count.set(count.get() + 1));
                let error = loop {
                    if let Err(error) = commit(std::slice::from_ref(&wal), &model).await {
                        break error;
                    }
                    if let Err(error) = wal.flushed(wal.appended_lsn()).await {
                        break error;
                    }
                    take_checkpoint(std::slice::from_ref(&wal), &model).await;
                };
                assert!(matches!(error, WalError::Poisoned { .. } | WalError::Io { .. }), "{error}");
                let durable = wal.durable_lsn();
                sleep(Duration::from_secs(1)).await;
                assert_eq!(wal.durable_lsn(), durable, "nothing becomes durable after a failure");
                assert!(wal.reserve(100).is_err() && wal.reserve_wait(100).await.is_err() && wal.shutdown().await.is_err());
                assert_eq!(poisoned.get(), 1);
                reached.set(reached.get() + 1);
            }
        };
        complete(&mut sim, body);
    }
    assert!(reached.get() > 20, "{} logs failed after they were opened", reached.get());
}

/// A log of several segments, all of it durable; its scan.
fn written(seed: u64) -> (Sim, Shared) {
    let mut sim = Sim::new(seed);
    let model = model(1);
    let body = || {
        let model = Rc::clone(&model);
        async move {
            let wal = single_log(&model, &Rc::new(Cell::new(0))).await;
            while wal.bytes_held() < 2 * SEGMENT_BYTES_MIN + 20_000 {
                commit(std::slice::from_ref(&wal), &model).await.expect("sound disk");
                if random_u64().is_multiple_of(12) {
                    wal.flushed(wal.appended_lsn()).await.expect("sound disk");
                }
            }
            wal.shutdown().await.expect("sound disk");
        }
    };
    complete(&mut sim, body);
    (sim, model)
}

fn scan(sim: &mut Sim) -> Result<LogScan, WalError> {
    let result = Rc::new(RefCell::new(None));
    let body = || {
        let result = Rc::clone(&result);
        async move {
            let history = IncarnationHistory::first();
            let relevance = Relevance { history: &history, checkpoint: CommitTs(0), on_damage: OnDamage::Refuse };
            let logs = reader::list_logs(Path::new("data")).await.expect("listing");
            *result.borrow_mut() = Some(reader::scan_log(&logs[0], &relevance, StorageId(1), &|_| {}).await);
        }
    };
    complete(sim, body);
    result.take().expect("the scan has ended")
}

#[test]
fn a_flipped_byte_before_the_last_flush_is_reported_with_its_place() {
    let (mut reported, mut in_padding) = (0, 0);
    for seed in 0..8 {
        let (mut sim, _) = written(seed);
        let whole = scan(&mut sim).expect("a sound log");
        let segment = |number| log_directory(Path::new("data"), CoreId(0)).join(segment_file_name(number));
        for _ in 0..40 {
            // The first two segments are full, so a later flush proves that all of them was durable.
            let path = segment(sim.random_u64() % 2);
            let position = (sim.random_u64() % SEGMENT_BYTES_MIN) as usize;
            assert!(sim.with_disk(|disk| disk.corrupt(&path, position)));
            match scan(&mut sim) {
                Ok(scan) => {
                    assert_eq!(scan.commits, whole.commits, "byte {position} of {}", path.display());
                    in_padding += 1;
                }
                Err(WalError::Corrupt { path: named, offset, .. }) => {
                    assert_eq!(named, path);
                    assert!(offset <= position as u64, "reported at {offset}, damaged at {position}");
                    reported += 1;
                }
                Err(other) => panic!("{other}"),
            }
            // The damage is an exclusive or: done twice, it is undone.
            assert!(sim.with_disk(|disk| disk.corrupt(&path, position)));
        }
    }
    assert!(reported > 100 && in_padding > 10, "{reported} reported, {in_padding} in padding");
}

#[test]
fn a_missing_segment_is_reported() {
    let (mut sim, _) = written(1);
    let body = || async {
        let path = log_directory(Path::new("data"), CoreId(0)).join(segment_file_name(1));
        crate::runtime::fs::remove(path).await.expect("it exists");
    };
    complete(&mut sim, body);
    let error = scan(&mut sim).expect_err("segment 1 is gone");
    assert!(matches!(error, WalError::Corrupt { what: Corruption::MissingSegment(1), .. }), "{error}");
}
