//! Log decoders on arbitrary bytes: as they come, and under a checksum that is made to fit, so that the bodies are reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omendb::wal::SegmentHeader;
use omendb::wal::record::{BodyRef, RecordRef};

fn walk(bytes: &[u8]) {
    let Ok(record) = RecordRef::decode(bytes) else { return };
    match record.body {
        BodyRef::Commit(commit) => {
            assert!(commit.ts.0 > 0);
            commit.participants().for_each(drop);
            commit.writes().for_each(drop);
        }
        BodyRef::Chunk(chunk) => assert!(chunk.writes().count() > 0),
        BodyRef::SegmentStart { .. } => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    walk(bytes);
    let _ = SegmentHeader::decode(bytes);
    if bytes.len() >= 8 {
        let mut fitted = bytes.to_vec();
        let length = u32::try_from(fitted.len()).expect("the fuzzer's inputs are small");
        fitted[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = crc32(&fitted[4..]);
        fitted[..4].copy_from_slice(&crc.to_le_bytes());
        walk(&fitted);
    }
});

/// CRC-32 (IEEE), bit by bit: an implementation independent of the server's.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}
