//! Damage that is passed over: bytes flipped anywhere in the logs of two cores, also in commits of both and in chunks.
//!
//! What is kept is a prefix of what was committed, byte for byte, and it ends only where the damage has taken a record.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::reader::{self, Relevance};
use super::record::BodyRef;
use super::sim_tests::{History, Shared, commit, complete, model, open_logs};
use super::*;
use crate::base::{CommitTs, StorageId};
use crate::runtime::random_u64;
use crate::runtime::sim::Sim;
use crate::storage::KeyRef;

/// Where a commit has a record or a chunk.
struct Place {
    ts: CommitTs,
    path: PathBuf,
    offset: u64,
    end: u64,
}

/// What a reading found.
#[derive(Default)]
struct Found {
    recovered: CommitTs,
    writes: History,
    places: Vec<Place>,
    damage: Vec<Damage>,
    dropped: Vec<Dropped>,
}

async fn read(on_damage: OnDamage) -> Result<Found, WalError> {
    let history = IncarnationHistory::first();
    let relevance = Relevance { history: &history, checkpoint: CommitTs(0), on_damage };
    let logs = reader::list_logs(Path::new("data")).await?;
    let mut scans = Vec::new();
    for log in &logs {
        scans.push(reader::scan_log(log, &relevance, StorageId(1), &|_| {}).await?);
    }
    let lists: Vec<_> = scans.iter().map(|scan| scan.commits.clone()).collect();
    let mut found = Found {
        recovered: cut::compute(CommitTs(0), CommitTs(0), &lists).expect("no bug in the logs").recovered,
        damage: scans.iter().flat_map(|scan| scan.damage.clone()).collect(),
        ..Found::default()
    };
    for (log, scan) in logs.iter().zip(&scans) {
        let mut replay = LogReplay::new(log, scan, relevance, found.recovered);
        while let Some(ts) = replay.advance().await? {
            let writes = found.writes.entry(ts.0).or_default().entry(log.core.0).or_default();
            for write in replay.writes()? {
                let KeyRef::Int(key) = write.key else { panic!("only integers were written") };
                writes.push((write.storage.0, key, write.value.map(<[u8]>::to_vec)));
            }
        }
        found.dropped.extend(replay.dropped().cloned());
        if on_damage == OnDamage::PassOver {
            continue;
        }
        for segment in &log.segments {
            let mut cursor = SegmentCursor::open(&log.segment_path(*segment), log.core, *segment).await?;
            while cursor.advance().await? {
                let incarnation = cursor.header().incarnation;
                let ts = match cursor.record()?.body {
                    BodyRef::Commit(commit) => Some(commit.ts),
                    BodyRef::Chunk(chunk) => scan.chunked.get(&(incarnation, chunk.txn)).copied(),
                    BodyRef::SegmentStart { .. } => None,
                };
                let (path, offset, end) = (cursor.path().to_owned(), cursor.offset(), cursor.end_offset());
                found.places.extend(ts.map(|ts| Place { ts, path, offset, end }));
            }
        }
    }
    Ok(found)
}

fn read_all(sim: &mut Sim, on_damage: OnDamage) -> Result<Found, WalError> {
    let found = Rc::new(RefCell::new(None));
    complete(sim, || {
        let found = Rc::clone(&found);
        async move { *found.borrow_mut() = Some(read(on_damage).await) }
    });
    found.take().expect("the reading has ended")
}

/// The logs of two cores, of several segments each, all of it durable.
fn written(seed: u64) -> (Sim, Shared) {
    let mut sim = Sim::new(seed);
    let model = model(2);
    complete(&mut sim, || {
        let model = Rc::clone(&model);
        async move {
            let wals = open_logs(&model, CommitTs(0)).await;
            while wals.iter().any(|wal| wal.bytes_held() < 2 * SEGMENT_BYTES_MIN + 20_000) {
                commit(&wals, &model).await.expect("a sound disk");
                if random_u64().is_multiple_of(5) {
                    wals[(random_u64() % 2) as usize].flushed(Default::default()).await.expect("a sound disk");
                }
            }
            for wal in &wals {
                wal.shutdown().await.expect("a sound disk");
            }
        }
    });
    (sim, model)
}

/// How often the test met what it is about.
#[derive(Debug, Default)]
struct Met {
    harmless: u32,
    cut: u32,
    headers: u32,
    several: u32,
}

fn check(whole: &Found, found: &Found, damaged: &Path, position: u64, met: &mut Met) {
    let kept: History = whole.writes.range(..=found.recovered.0).map(|(ts, parts)| (*ts, parts.clone())).collect();
    assert_eq!(found.writes, kept, "what is kept is a prefix, byte for byte");
    assert!(found.damage.iter().all(|damage| damage.path == damaged || damage.what.contains("chunks")), "{:?}", found.damage);
    if found.recovered == whole.recovered {
        met.harmless += 1;
        assert!(found.dropped.is_empty());
        return;
    }
    met.cut += 1;
    met.headers += u32::from(position < 64);
    met.several += u32::from(found.dropped.len() > 1);
    // In the last flush of a log nothing tells damage from a torn end; before it, its place was noted.
    let ranges =
        found.damage.iter().filter(|damage| damage.path == damaged).map(|damage| damage.offset..damage.offset + damage.bytes);
    let mut ranges: Vec<_> = ranges.collect();
    if ranges.is_empty() {
        ranges.push(position..u64::MAX);
    }
    let lost =
        |place: &Place| place.path == damaged && ranges.iter().any(|range| place.offset < range.end && range.start < place.end);
    let first_missing = CommitTs(found.recovered.0 + 1);
    assert!(whole.places.iter().any(|place| place.ts == first_missing && lost(place)), "{first_missing} was in the damage");
    for dropped in &found.dropped {
        let of_log =
            whole.places.iter().filter(|place| place.path.parent() == dropped.path.parent() && place.ts > found.recovered);
        assert!(dropped.lowest > found.recovered && dropped.records <= of_log.count() as u64 && dropped.bytes > 0, "{dropped}");
    }
}

#[test]
fn what_is_passed_over_costs_what_it_held_and_what_came_after() {
    let mut met = Met::default();
    for seed in 0..10 {
        let (mut sim, _model) = written(seed);
        let whole = read_all(&mut sim, OnDamage::Refuse).expect("sound logs");
        assert!(whole.damage.is_empty() && whole.dropped.is_empty());
        let paths = sim.with_disk(|disk| disk.paths());
        let segments: Vec<_> = paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
        for round in 0..40 {
            let path = &segments[sim.random_u64() as usize % segments.len()];
            let area = if round % 8 == 0 { 64 } else { SEGMENT_BYTES_MIN };
            let position = sim.random_u64() % area;
            assert!(sim.with_disk(|disk| disk.corrupt(path, position as usize)));
            let found = read_all(&mut sim, OnDamage::PassOver).expect("damage is passed over");
            check(&whole, &found, path, position, &mut met);
            // The damage is an exclusive or: done twice, it is undone.
            assert!(sim.with_disk(|disk| disk.corrupt(path, position as usize)));
        }
    }
    assert!(met.harmless > 20 && met.cut > 150 && met.headers > 20 && met.several > 50, "{met:?}");
}

#[test]
fn a_missing_segment_is_passed_over() {
    let (mut sim, _model) = written(1);
    let whole = read_all(&mut sim, OnDamage::Refuse).expect("sound logs");
    complete(&mut sim, || async {
        let path = log_directory(Path::new("data"), crate::base::CoreId(0)).join(segment_file_name(1));
        crate::runtime::fs::remove(path).await.expect("it exists");
    });
    let found = read_all(&mut sim, OnDamage::PassOver).expect("damage is passed over");
    assert!(found.recovered > CommitTs(0) && found.recovered < whole.recovered, "{}", found.recovered);
    assert!(found.damage.iter().any(|damage| damage.what == "segment 1 is missing"), "{:?}", found.damage);
}
