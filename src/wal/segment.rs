//! Segment files: names, header, and where things lie in them.
//!
//! A log is a directory `wal/<core>/` of segments of equal size, numbered without gaps within one incarnation. A segment is one
//! header block and then flushes, each beginning on a block of its own. It gets its header and its final name before it is
//! used, so that moving on to it costs nothing; a segment without records is normal. Layout in `docs/storage-format.md`.

use std::path::{Path, PathBuf};

use super::bytes::Fields;
use super::incarnation::Incarnation;
use crate::base::{CoreId, Lsn};
use crate::runtime::BLOCK;

/// Bytes before a segment's first flush: one block.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = BLOCK as u64;
/// The version of the log's format, in every segment header.
pub const LOG_FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"OMENWAL\0";
/// Magic, version, checksum, segment, incarnation, base LSN, size, core, zeros.
const FIELDS_BYTES: usize = 64;

/// What a segment file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number within the log of its core.
    pub segment: u64,
    /// Which start of the server writes it.
    pub incarnation: Incarnation,
    /// The log position of the file's first byte.
    pub base_lsn: Lsn,
    /// The file's size.
    pub segment_bytes: u64,
    /// Whose log it belongs to.
    pub core: CoreId,
}

impl SegmentHeader {
    /// The header's fields as they lie at the front of the header block.
    pub fn encode(&self) -> [u8; FIELDS_BYTES] {
        let mut out = Vec::with_capacity(FIELDS_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&LOG_FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.incarnation.0.to_le_bytes());
        out.extend_from_slice(&self.base_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.segment_bytes.to_le_bytes());
        out.extend_from_slice(&self.core.0.to_le_bytes());
        out.resize(FIELDS_BYTES, 0);
        let crc = crc32fast::hash(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out.try_into().expect("resized to the header's size")
    }

    /// Decodes the front of a header block; the error says what the header does.
    pub fn decode(block: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "is cut off";
        let bytes = block.get(..FIELDS_BYTES).ok_or(SHORT)?;
        let mut fields = Fields::new(bytes);
        if fields.take(8).ok_or(SHORT)? != MAGIC {
            return Err("does not begin with the log's mark");
        }
        let format = fields.u32().ok_or(SHORT)?;
        let crc = fields.u32().ok_or(SHORT)?;
        let mut zeroed: [u8; FIELDS_BYTES] = bytes.try_into().expect("sliced to this size");
        zeroed[12..16].fill(0);
        if crc32fast::hash(&zeroed) != crc {
            return Err("has a wrong checksum");
        }
        if format != LOG_FORMAT {
            return Err("is of a log format this version does not know");
        }
        let header = Self {
            segment: fields.u64().ok_or(SHORT)?,
            incarnation: Incarnation(fields.u64().ok_or(SHORT)?),
            base_lsn: Lsn(fields.u64().ok_or(SHORT)?),
            segment_bytes: fields.u64().ok_or(SHORT)?,
            core: CoreId(fields.u16().ok_or(SHORT)?),
        };
        let whole = header.segment_bytes.is_multiple_of(BLOCK as u64) && header.base_lsn.0.is_multiple_of(BLOCK as u64);
        if !whole || header.segment_bytes <= SEGMENT_HEADER_BYTES || header.base_lsn.0.checked_add(header.segment_bytes).is_none()
        {
            return Err("contradicts itself");
        }
        Ok(header)
    }

    /// The position after the segment's last byte, where the next segment of the incarnation begins.
    pub fn end_lsn(&self) -> Lsn {
        Lsn(self.base_lsn.0 + self.segment_bytes)
    }
}

/// The directory of all logs below the data directory.
pub fn logs_directory(root: &Path) -> PathBuf {
    root.join("wal")
}

/// The directory of one core's log.
pub fn log_directory(root: &Path, core: CoreId) -> PathBuf {
    logs_directory(root).join(core.to_string())
}

/// The name of a segment in use.
pub fn segment_file_name(segment: u64) -> String {
    format!("{segment:016x}.wal")
}

/// The number of the segment that a file name stands for.
pub fn parse_segment_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (segment_file_name(number) == name).then_some(number)
}

/// The name of a file of full size that waits to be used again; it came from segment `segment`.
pub(crate) fn spare_file_name(segment: u64) -> String {
    format!("{segment:016x}.spare")
}

/// Whether the name is one of [`spare_file_name`].
pub(crate) fn is_spare_file_name(name: &str) -> bool {
    name.strip_suffix(".spare").is_some_and(|digits| digits.len() == 16)
}

/// The name of a file that is being filled with zeros. Found after a crash, it is removed.
pub(crate) fn unfinished_file_name(segment: u64) -> String {
    format!("{segment:016x}.new")
}

/// Whether the name is one of [`unfinished_file_name`].
pub(crate) fn is_unfinished_file_name(name: &str) -> bool {
    name.ends_with(".new")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader { segment: 5, incarnation: Incarnation(2), base_lsn: Lsn(5 << 16), segment_bytes: 1 << 16, core: CoreId(3) }
    }

    #[test]
    fn a_header_is_decoded_as_encoded_and_every_flipped_bit_is_noticed() {
        let encoded = header().encode();
        assert_eq!(SegmentHeader::decode(&encoded), Ok(header()));
        for bit in 0..encoded.len() * 8 {
            let mut damaged = encoded;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn file_names_are_told_apart() {
        assert_eq!(parse_segment_file_name(&segment_file_name(0xAB)), Some(0xAB));
        for name in ["", ".wal", "ab.wal", "00000000000000AB.wal", &spare_file_name(1), &unfinished_file_name(1)] {
            assert_eq!(parse_segment_file_name(name), None, "{name}");
        }
        assert!(is_spare_file_name(&spare_file_name(7)) && is_unfinished_file_name(&unfinished_file_name(7)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = SegmentHeader::decode(&bytes);
        }
    }
}
