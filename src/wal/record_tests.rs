//! Properties of the record codec: what is encoded is decoded, every flipped bit is noticed, no input panics.

use proptest::prelude::*;

use super::record::*;
use super::write_set::{WriteRef, WriteSet};
use super::{Incarnation, bytes};
use crate::base::{CommitTs, CoreId, Lsn, StorageId, TxnId};
use crate::storage::Key;
use crate::storage::KeyRef;

type OwnedWrite = (u32, Key, Option<Vec<u8>>);

fn owned_write() -> impl Strategy<Value = OwnedWrite> {
    let key = prop_oneof![
        any::<i64>().prop_map(Key::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Key::Bytes(bytes.into())),
    ];
    (any::<u32>(), key, prop::option::of(prop::collection::vec(any::<u8>(), 0..200)))
}

fn write_set(writes: &[OwnedWrite]) -> WriteSet {
    let mut set = WriteSet::new();
    for (storage, key, value) in writes {
        set.push(WriteRef { storage: StorageId(*storage), key: KeyRef::from(key), value: value.as_deref() });
    }
    set
}

fn owned<'a>(writes: impl Iterator<Item = WriteRef<'a>>) -> Vec<OwnedWrite> {
    writes.map(|write| (write.storage.0, write.key.to_key(), write.value.map(<[u8]>::to_vec))).collect()
}

fn position() -> Position {
    Position { segment: 7, incarnation: Incarnation(3), lsn: Lsn(12_345), group_lsn: Lsn(12_288), previous_tail: 77 }
}

proptest! {
    #[test]
    fn a_commit_is_decoded_as_it_was_encoded(
        writes in prop::collection::vec(owned_write(), 0..20),
        cores in prop::collection::btree_set(any::<u16>(), 0..5),
        ts in 1..u64::MAX,
        chunked in prop::option::of((any::<u64>(), 1..u32::MAX)),
    ) {
        let set = write_set(&writes);
        let participants: Vec<CoreId> = cores.into_iter().map(CoreId).collect();
        let chunked = chunked.map(|(txn, chunks)| ChunkedTxn { txn: TxnId(txn), chunks });
        let body = Body::Commit { ts: CommitTs(ts), participants: &participants, chunked, writes: &set };
        let mut out = vec![0xEE; 5];
        body.encode(&position(), &mut out);
        prop_assert_eq!(out.len() - 5, body.encoded_bytes());
        out.extend_from_slice(b"what follows");
        let record = RecordRef::decode(&out[5..]).expect("encoded just now");
        prop_assert_eq!(record.position, position());
        prop_assert_eq!(record.bytes, body.encoded_bytes());
        let BodyRef::Commit(commit) = record.body else { panic!("a commit was encoded") };
        prop_assert_eq!(commit.ts, CommitTs(ts));
        prop_assert_eq!(commit.chunked, chunked);
        prop_assert_eq!(commit.participants().collect::<Vec<_>>(), participants);
        prop_assert_eq!(owned(commit.writes()), writes);
    }

    #[test]
    fn a_chunk_is_decoded_as_it_was_encoded(writes in prop::collection::vec(owned_write(), 1..20), sequence: u32) {
        let set = write_set(&writes);
        let body = Body::Chunk { txn: TxnId(9), sequence, writes: &set };
        let mut out = Vec::new();
        body.encode(&position(), &mut out);
        let record = RecordRef::decode(&out).expect("encoded just now");
        let BodyRef::Chunk(chunk) = record.body else { panic!("a chunk was encoded") };
        prop_assert_eq!((chunk.txn, chunk.sequence), (TxnId(9), sequence));
        prop_assert_eq!(owned(chunk.writes()), writes);
    }

    #[test]
    fn every_flipped_bit_is_noticed(writes in prop::collection::vec(owned_write(), 0..4), at: prop::sample::Index) {
        let set = write_set(&writes);
        let mut out = Vec::new();
        Body::Commit { ts: CommitTs(1), participants: &[], chunked: None, writes: &set }.encode(&position(), &mut out);
        let bit = at.index(out.len() * 8);
        out[bit / 8] ^= 1 << (bit % 8);
        let error = RecordRef::decode(&out).expect_err("one bit is wrong");
        prop_assert!(error.is_unwritten());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = RecordRef::decode(&bytes);
    }

    /// Random contents under a valid checksum reach the body decoders, which the test above never does.
    #[test]
    fn no_checksummed_bytes_make_the_decoder_panic(
        kind in 0..5u8,
        flags in 0..3u16,
        counts in (0..4u16, 0..4u32),
        tail in prop::collection::vec(0..8u8, 0..80),
    ) {
        let mut contents = vec![0; 28];
        contents.extend_from_slice(&[kind, 0, 0, 0]);
        contents.extend_from_slice(&5u64.to_le_bytes());
        contents.extend_from_slice(&counts.0.to_le_bytes());
        contents.extend_from_slice(&flags.to_le_bytes());
        contents.extend_from_slice(&counts.1.to_le_bytes());
        contents.extend_from_slice(&tail);
        let record = checksummed(&contents);
        match RecordRef::decode(&record) {
            Ok(RecordRef { body: BodyRef::Commit(commit), .. }) => {
                prop_assert_eq!(commit.writes().count(), counts.1 as usize);
            }
            Ok(_) => {}
            Err(error) => prop_assert!(!error.is_unwritten(), "the checksum is right: {error}"),
        }
    }
}

/// A record with `contents` after its length, and the right checksum.
fn checksummed(contents: &[u8]) -> Vec<u8> {
    let mut record = vec![0; 4];
    record.extend_from_slice(&u32::try_from(contents.len() + 8).expect("small").to_le_bytes());
    record.extend_from_slice(contents);
    let crc = crc32fast::hash(&record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    record
}

fn header(kind: u8) -> Vec<u8> {
    let mut contents = vec![0; 28];
    contents.extend_from_slice(&[kind, 0, 0, 0]);
    contents
}

#[test]
fn contents_that_break_a_rule_are_not_taken_for_a_tail() {
    let commit = |ts: u64, participants: &[u16], flags: u16, writes: u32, rest: &[u8]| {
        let mut contents = header(1);
        contents.extend_from_slice(&ts.to_le_bytes());
        contents.extend_from_slice(&(participants.len() as u16).to_le_bytes());
        contents.extend_from_slice(&flags.to_le_bytes());
        contents.extend_from_slice(&writes.to_le_bytes());
        participants.iter().for_each(|core| contents.extend_from_slice(&core.to_le_bytes()));
        contents.extend_from_slice(rest);
        checksummed(&contents)
    };
    assert!(RecordRef::decode(&commit(1, &[], 0, 0, &[])).is_ok(), "the helper makes sound records");
    let malformed = [
        ("no timestamp", commit(0, &[], 0, 0, &[])),
        ("descending participants", commit(1, &[2, 1], 0, 0, &[])),
        ("a participant twice", commit(1, &[2, 2], 0, 0, &[])),
        ("an unknown flag", commit(1, &[], 2, 0, &[])),
        ("fewer writes than counted", commit(1, &[], 0, 1, &[])),
        ("bytes after the writes", commit(1, &[], 0, 0, &[0])),
        ("an unknown tag in a write", commit(1, &[], 0, 1, &[0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("a key longer than the record", commit(1, &[], 0, 1, &[0, 0, 0, 0, 1, 255, 255, 255, 255, 0])),
        ("a chunked commit without chunks", commit(1, &[], 1, 0, &[0; 12])),
    ];
    for (what, record) in malformed {
        let error = RecordRef::decode(&record).expect_err(what);
        assert!(matches!(error, RecordError::Malformed(_)), "{what}: {error}");
    }
    assert!(matches!(RecordRef::decode(&checksummed(&header(77))), Err(RecordError::Kind(77))));
}

#[test]
fn zeros_are_no_record() {
    assert_eq!(RecordRef::decode(&[0; 4096]).expect_err("zeros"), RecordError::Length(0));
    assert_eq!(RecordRef::decode(&[]).expect_err("nothing"), RecordError::Truncated);
    assert_eq!(bytes::align_up(0, 4096), 0);
}

#[test]
#[should_panic(expected = "ascending, unique, limited")]
fn encoding_refuses_what_decoding_would() {
    let participants = [CoreId(2), CoreId(1)];
    let body = Body::Commit { ts: CommitTs(1), participants: &participants, chunked: None, writes: &WriteSet::new() };
    body.encode(&position(), &mut Vec::new());
}
