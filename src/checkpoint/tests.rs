//! Checkpoints: what is written is read, damage is reported, no input panics, a crash leaves the old checkpoint or the new one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;

use proptest::prelude::*;

use super::format::{claimed_block_bytes, encode_block};
use super::*;
use crate::base::{CommitTs, StorageId};
use crate::runtime::random_u64;
use crate::runtime::sim::{End, Sim};
use crate::storage::Key;
use crate::storage::KeyRef;
use crate::wal::{Incarnation, IncarnationHistory};

type Rows = BTreeMap<(u32, Key), (u64, Vec<u8>)>;

const ROOT: &str = "data";

fn complete<F: Future<Output = ()> + 'static>(sim: &mut Sim, body: impl Fn() -> F) {
    sim.run(1, |_| body()).expect_completed();
}

fn random_rows(count: u64, through: u64) -> Rows {
    let mut rows = Rows::new();
    for _ in 0..count {
        let storage = (random_u64() % 3) as u32;
        let key = if storage == 2 {
            Key::Bytes(random_u64().to_be_bytes()[..(random_u64() % 8) as usize].into())
        } else {
            Key::Int(random_u64() as i64)
        };
        let bytes = if random_u64().is_multiple_of(200) { 200_000 } else { random_u64() % 300 };
        rows.insert((storage, key), (1 + random_u64() % through, vec![random_u64() as u8; bytes as usize]));
    }
    rows
}

async fn write_file(id: CheckpointId, core: u16, through: u64, rows: &Rows) -> Result<DataFile, CheckpointError> {
    let mut writer = CheckpointWriter::create(Path::new(ROOT), id, CoreId(core), CommitTs(through)).await?;
    for ((storage, key), (ts, value)) in rows {
        let entry = EntryRef { storage: StorageId(*storage), key: KeyRef::from(key), ts: CommitTs(*ts), value };
        writer.push(entry).await?;
    }
    assert_eq!(writer.entries(), rows.len() as u64);
    writer.finish().await
}

async fn read_all(manifest: &Manifest) -> Result<Rows, CheckpointError> {
    let mut rows = Rows::new();
    for file in &manifest.files {
        let mut reader = CheckpointReader::open(Path::new(ROOT), manifest, file).await?;
        let before = rows.len();
        while let Some(block) = reader.next_block().await? {
            for entry in block.entries() {
                rows.insert((entry.storage.0, entry.key.to_key()), (entry.ts.0, entry.value.to_vec()));
            }
        }
        assert_eq!((rows.len() - before) as u64, file.entries);
        assert!(reader.next_block().await?.is_none(), "the end stays the end");
    }
    Ok(rows)
}

async fn take(manifest: &Manifest, through: u64, rows: &Rows) -> Result<Manifest, CheckpointError> {
    let id = manifest.next_checkpoint();
    let file = write_file(id, 0, through, rows).await?;
    let empty = write_file(id, 1, through, &Rows::new()).await?;
    let next = manifest.checkpointed(id, CommitTs(through), vec![empty, file]);
    next.write(Path::new(ROOT)).await?;
    remove_old_checkpoints(Path::new(ROOT), &next).await?;
    Ok(next)
}

#[test]
fn a_checkpoint_is_read_as_it_was_written() {
    for (seed, count) in [(1, 0), (2, 1), (3, 3_000), (4, 20_000)] {
        let mut sim = Sim::new(seed);
        let body = || async move {
            let rows = random_rows(count, 50);
            let manifest = take(&Manifest::first(), 50, &rows).await.expect("a sound disk");
            let found = Manifest::read(Path::new(ROOT)).await.expect("written just now");
            assert_eq!(found, manifest);
            assert_eq!(read_all(&found).await.expect("written just now"), rows);
        };
        complete(&mut sim, body);
    }
}

#[test]
fn a_crash_leaves_the_old_checkpoint_or_the_new_one() {
    let (mut crashes, mut taken) = (0, 0);
    for seed in 0..60 {
        let mut sim = Sim::new(seed);
        // The rows of every checkpoint that was begun, by its number.
        let begun: Rc<RefCell<BTreeMap<u64, Rows>>> = Rc::default();
        let finished = Rc::new(Cell::new(0));
        for life in 0..5 {
            sim.config.crash_one_in = (life < 4).then_some(60);
            let body = |_| {
                let (begun, finished) = (Rc::clone(&begun), Rc::clone(&finished));
                async move {
                    let mut manifest = Manifest::read(Path::new(ROOT)).await.expect("old or new, but whole");
                    assert!(manifest.checkpoint.0 >= finished.get(), "a finished checkpoint is never lost");
                    let rows = read_all(&manifest).await.expect("old or new, but whole");
                    assert_eq!(rows, begun.borrow().get(&manifest.checkpoint.0).cloned().unwrap_or_default());
                    for _ in 0..3 {
                        let rows = random_rows(500, 10);
                        begun.borrow_mut().insert(manifest.next_checkpoint().0, rows.clone());
                        manifest = take(&manifest, 10, &rows).await.expect("a sound disk");
                        finished.set(manifest.checkpoint.0);
                    }
                }
            };
            let run = sim.run(1, body).expect_completed_or_crashed();
            crashes += u32::from(run.end == End::Crashed);
        }
        let left = sim.with_disk(|disk| disk.paths()).len();
        assert_eq!(left, 3, "the manifest and two data files: what is old is removed");
        taken += finished.get();
    }
    assert!(crashes > 100 && taken > 180, "{crashes} crashes, {taken} checkpoints");
}

#[test]
fn a_flipped_byte_anywhere_is_reported() {
    let mut sim = Sim::new(7);
    complete(&mut sim, || async {
        take(&Manifest::first(), 50, &random_rows(2_000, 50)).await.expect("a sound disk");
    });
    let paths = sim.with_disk(|disk| disk.paths());
    let mut reported = 0;
    for round in 0..200 {
        let path = paths[round % paths.len()].clone();
        let length = sim.with_disk(|disk| disk.contents(&path)).expect("it exists").len();
        // Beyond its fields, the header block of a data file is filled with zeros that mean nothing.
        let position = (sim.random_u64() % length as u64) as usize;
        let is_filling = path.extension().is_some() && (38..4096).contains(&position);
        sim.with_disk(|disk| disk.corrupt(&path, position));
        let outcome = Rc::new(RefCell::new(None));
        let body = || {
            let outcome = Rc::clone(&outcome);
            async move {
                let read = async {
                    let manifest = Manifest::read(Path::new(ROOT)).await?;
                    read_all(&manifest).await
                };
                *outcome.borrow_mut() = Some(read.await);
            }
        };
        complete(&mut sim, body);
        match outcome.take().expect("it has ended") {
            Ok(_) => assert!(is_filling, "byte {position} of {} was flipped unnoticed", path.display()),
            Err(CheckpointError::Corrupt { path: named, .. } | CheckpointError::Version { path: named, .. }) => {
                assert_eq!(named, path);
                reported += 1;
            }
            Err(other) => panic!("{other}"),
        }
        sim.with_disk(|disk| disk.corrupt(&path, position));
    }
    assert!(reported > 100, "{reported} reported");
}

#[test]
fn logs_without_a_manifest_are_refused() {
    let mut sim = Sim::new(1);
    complete(&mut sim, || async {
        let root = Path::new(ROOT);
        assert_eq!(Manifest::read(root).await.expect("a new directory"), Manifest::first());
        let options = crate::wal::WalOptions {
            segment_bytes: crate::wal::SEGMENT_BYTES_MIN,
            ..crate::wal::WalOptions::new(root, CoreId(0), Incarnation(1))
        };
        crate::wal::Wal::open(options, CommitTs(0)).await.expect("a sound disk");
        let error = Manifest::read(root).await.expect_err("the log has no manifest");
        assert!(matches!(error, CheckpointError::ManifestMissing { .. }), "{error}");
    });
}

#[test]
fn a_full_disk_fails_the_checkpoint_and_nothing_else() {
    let mut sim = Sim::new(3);
    sim.config.faults.capacity = Some(600_000);
    complete(&mut sim, || async {
        let rows = random_rows(500, 50);
        let manifest = take(&Manifest::first(), 50, &rows).await.expect("it fits");
        let larger = random_rows(20_000, 50);
        let error = take(&manifest, 50, &larger).await.expect_err("it does not fit");
        assert!(error.is_disk_full(), "{error}");
        remove_old_checkpoints(Path::new(ROOT), &manifest).await.expect("a sound disk");
        assert_eq!(read_all(&Manifest::read(Path::new(ROOT)).await.expect("whole")).await.expect("whole"), rows);
        take(&manifest, 50, &rows).await.expect("it fits again");
    });
}

#[test]
fn a_later_version_is_named() {
    let mut bytes = Manifest::first().encode();
    bytes[8] = 9;
    let error = Manifest::decode(&bytes, Path::new("MANIFEST")).expect_err("version 9");
    assert_eq!(error.to_string(), "MANIFEST has format version 9, this server reads version 2");
}

#[test]
fn the_version_before_prepared_transactions_is_read() {
    let manifest = Manifest::first();
    let mut bytes = manifest.encode();
    let contents = bytes.split_off(20);
    assert_eq!(bytes[8..12], MANIFEST_FORMAT.to_le_bytes());
    let before = super::format::envelope(*b"OMENMAN\0", 1, &contents);
    assert_eq!(Manifest::decode(&before, Path::new("MANIFEST")).expect("version 1"), manifest);
}

#[test]
#[should_panic(expected = "entries ascend by storage and key")]
fn unordered_rows_are_refused() {
    let mut sim = Sim::new(1);
    complete(&mut sim, || async {
        let mut writer =
            CheckpointWriter::create(Path::new(ROOT), CheckpointId(1), CoreId(0), CommitTs(9)).await.expect("a sound disk");
        for key in [2, 1] {
            let entry = EntryRef { storage: StorageId(1), key: KeyRef::Int(key), ts: CommitTs(1), value: &[] };
            writer.push(entry).await.expect("a sound disk");
        }
    });
}

fn arbitrary_manifest() -> impl Strategy<Value = Manifest> {
    let cuts = prop::collection::btree_map(1..1000u64, 0..50u64, 0..6);
    let files = prop::collection::btree_map(any::<u16>(), (any::<u64>(), any::<u64>()), 0..6);
    let engine = prop::collection::vec(any::<u8>(), 0..50);
    (cuts, files, engine, 1..u64::MAX, any::<u64>()).prop_map(|(cuts, files, engine, checkpoint, through)| {
        let mut ts = 0;
        let ascending = |(incarnation, step)| {
            ts += step;
            (Incarnation(incarnation), CommitTs(ts))
        };
        let cuts = cuts.into_iter().map(ascending).collect();
        Manifest {
            server_version: "1.2.3 β".to_owned(),
            checkpoint: CheckpointId(checkpoint),
            through: CommitTs(through),
            files: files.into_iter().map(|(core, (bytes, entries))| DataFile { core: CoreId(core), bytes, entries }).collect(),
            history: IncarnationHistory::from_parts(Incarnation(1000), cuts).expect("ascending"),
            engine,
        }
    })
}

proptest! {
    #[test]
    fn a_manifest_is_decoded_as_encoded(manifest in arbitrary_manifest(), at: prop::sample::Index) {
        let mut bytes = manifest.encode();
        prop_assert_eq!(&Manifest::decode(&bytes, Path::new("MANIFEST")).expect("encoded just now"), &manifest);
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Manifest::decode(&bytes, Path::new("MANIFEST")).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::decode(&bytes, Path::new("MANIFEST"));
        let _ = decode_block(&bytes, 0);
        let _ = claimed_block_bytes(&bytes);
    }

    /// Random payloads under a valid checksum reach the entries, which the test above never does.
    #[test]
    fn no_checksummed_bytes_make_the_block_decoder_panic(payload in prop::collection::vec(0..4u8, 0..120), entries in 0..6u32) {
        let mut block = Vec::new();
        encode_block(3, entries, &payload, &mut block);
        if let Ok(block) = decode_block(&block, 3) {
            prop_assert_eq!(block.entries().count(), entries as usize);
        }
        prop_assert!(decode_block(&block, 4).is_err(), "its number says that it is another block");
    }

    #[test]
    fn no_checksummed_bytes_make_the_manifest_decoder_panic(contents in prop::collection::vec(0..3u8, 0..120)) {
        let bytes = super::format::envelope(*b"OMENMAN\0", MANIFEST_FORMAT, &contents);
        let _ = Manifest::decode(&bytes, Path::new("MANIFEST"));
    }
}
