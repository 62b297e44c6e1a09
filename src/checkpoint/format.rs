//! The bytes of a data file: a header block, checksummed blocks of sorted entries, a footer. Drawn in `docs/storage-format.md`.
//!
//! Encoding and decoding check the same rules: entries ascend by storage and key, blocks are numbered from 0, and the footer's
//! counts are those of the blocks.

use super::CheckpointId;
use crate::base::{CommitTs, CoreId, StorageId};
use crate::storage::KeyRef;
use crate::wal::{Fields, WriteRef};

/// The version of data files.
pub(super) const DATA_FORMAT: u32 = 1;
/// Bytes before the first block.
pub(super) const HEADER_BYTES: usize = 4096;
/// Bytes of a block before its entries.
pub(super) const BLOCK_HEADER_BYTES: usize = 16;
/// A block is closed when it has reached this size; only an entry that is larger by itself makes it much longer.
pub(super) const BLOCK_BYTES_TARGET: usize = 64 << 10;
/// No block is longer: an entry is at most as long as a log record.
pub(super) const BLOCK_BYTES_MAX: usize = BLOCK_BYTES_TARGET + (17 << 20);
/// The number that the footer carries where a block has its own.
pub(super) const FOOTER_NUMBER: u32 = u32::MAX;

const MAGIC: [u8; 8] = *b"OMENCKP\0";

/// One row of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Where.
    pub storage: StorageId,
    /// Which row.
    pub key: KeyRef<'a>,
    /// The commit that wrote it, not above the checkpoint's timestamp.
    pub ts: CommitTs,
    /// The row.
    pub value: &'a [u8],
}

impl<'a> EntryRef<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ts.0.to_le_bytes());
        WriteRef { storage: self.storage, key: self.key, value: Some(self.value) }.encode(out);
    }

    fn decode(fields: &mut Fields<'a>) -> Option<Self> {
        let ts = CommitTs(fields.u64()?);
        let write = WriteRef::decode(fields)?;
        Some(Self { storage: write.storage, key: write.key, ts, value: write.value? })
    }

    /// The place in the order of a data file.
    pub fn place(&self) -> (StorageId, KeyRef<'a>) {
        (self.storage, self.key)
    }
}

/// What a data file says of itself in its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataHeader {
    pub(super) id: CheckpointId,
    pub(super) core: CoreId,
    pub(super) through: CommitTs,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Corrupt(&'static str),
    Version(u32),
}

impl DataHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&self.id.0.to_le_bytes());
        fields.extend_from_slice(&self.through.0.to_le_bytes());
        fields.extend_from_slice(&self.core.0.to_le_bytes());
        let mut out = envelope(MAGIC, DATA_FORMAT, &fields);
        out.resize(HEADER_BYTES, 0);
        out
    }

    pub(super) fn decode(block: &[u8]) -> Result<Self, HeaderError> {
        const SHORT: HeaderError = HeaderError::Corrupt("the header is cut off");
        let mut fields = open_envelope(MAGIC, DATA_FORMAT, block)?;
        let id = CheckpointId(fields.u64().ok_or(SHORT)?);
        let through = CommitTs(fields.u64().ok_or(SHORT)?);
        let core = CoreId(fields.u16().ok_or(SHORT)?);
        Ok(Self { id, core, through })
    }
}

/// `contents` behind a mark, a format version, a length and a checksum.
pub(super) fn envelope(magic: [u8; 8], format: u32, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(20 + contents.len());
    out.extend_from_slice(&magic);
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(contents.len()).expect("limited by the callers").to_le_bytes());
    out.extend_from_slice(contents);
    let crc = crc32fast::hash(&out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The contents of an [`envelope`] at the front of `input`. The version is looked at before the checksum, whose place a later
/// version may have moved.
pub(super) fn open_envelope(magic: [u8; 8], format: u32, input: &[u8]) -> Result<Fields<'_>, HeaderError> {
    const SHORT: HeaderError = HeaderError::Corrupt("it is cut off");
    let mut fields = Fields::new(input);
    if fields.take(8).ok_or(SHORT)? != magic {
        return Err(HeaderError::Corrupt("it does not begin with the file's mark"));
    }
    let found = fields.u32().ok_or(SHORT)?;
    if found != format {
        return Err(HeaderError::Version(found));
    }
    let crc = fields.u32().ok_or(SHORT)?;
    let contents = fields.take_counted().ok_or(SHORT)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&input[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&input[16..20 + contents.len()]);
    if hasher.finalize() != crc {
        return Err(HeaderError::Corrupt("the checksum does not match"));
    }
    Ok(Fields::new(contents))
}

/// Appends a block: checksum, length, number, entry count, payload.
pub(super) fn encode_block(number: u32, entries: u32, payload: &[u8], out: &mut Vec<u8>) {
    let bytes = BLOCK_HEADER_BYTES + payload.len();
    assert!(bytes <= BLOCK_BYTES_MAX, "a row is limited by the log's record size");
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(bytes).expect("limited above").to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&entries.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The length that the block at the front of `input` claims.
pub(super) fn claimed_block_bytes(input: &[u8]) -> Option<usize> {
    let mut fields = Fields::new(input);
    fields.u32()?;
    let bytes = fields.u32()? as usize;
    (BLOCK_HEADER_BYTES..=BLOCK_BYTES_MAX).contains(&bytes).then_some(bytes)
}

/// The payload and entry count of a whole block with the given number.
fn open_block(block: &[u8], number: u32) -> Result<(Fields<'_>, u32), &'static str> {
    const SHORT: &str = "a block is cut off";
    let mut fields = Fields::new(block);
    let crc = fields.u32().ok_or(SHORT)?;
    if crc32fast::hash(fields.rest()) != crc {
        return Err("a block's checksum does not match");
    }
    let bytes = fields.u32().ok_or(SHORT)?;
    if bytes as usize != block.len() {
        return Err("a block's length does not match");
    }
    if fields.u32().ok_or(SHORT)? != number {
        return Err("a block is out of place");
    }
    let entries = fields.u32().ok_or(SHORT)?;
    Ok((fields, entries))
}

/// Verifies and decodes a whole block.
pub fn decode_block(block: &[u8], number: u32) -> Result<BlockRef<'_>, &'static str> {
    let (payload, count) = open_block(block, number)?;
    let mut fields = payload;
    let mut ends: Option<(EntryRef<'_>, EntryRef<'_>)> = None;
    for _ in 0..count {
        let entry = EntryRef::decode(&mut fields).ok_or("a block's entries do not add up")?;
        ends = match ends {
            None => Some((entry, entry)),
            Some((first, last)) if last.place() < entry.place() => Some((first, entry)),
            Some(_) => return Err("a block's entries are not in order"),
        };
    }
    if !fields.is_empty() {
        return Err("a block's entries do not add up");
    }
    let (first, last) = ends.ok_or("a block is empty")?;
    Ok(BlockRef { entries: Entries { fields: payload, left: count }, first, last })
}

/// A verified block of a data file.
#[derive(Clone, Debug)]
pub struct BlockRef<'a> {
    entries: Entries<'a>,
    /// Its first entry.
    pub first: EntryRef<'a>,
    /// Its last entry.
    pub last: EntryRef<'a>,
}

impl<'a> BlockRef<'a> {
    /// Its entries in order.
    pub fn entries(&self) -> Entries<'a> {
        self.entries.clone()
    }
}

/// The entries of a verified block, without copying.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    fields: Fields<'a>,
    left: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = EntryRef<'a>;

    fn next(&mut self) -> Option<EntryRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(EntryRef::decode(&mut self.fields).expect("verified when the block was decoded"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// What a data file ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) entries: u64,
    pub(super) blocks: u32,
}

impl Footer {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(12);
        payload.extend_from_slice(&self.entries.to_le_bytes());
        payload.extend_from_slice(&self.blocks.to_le_bytes());
        encode_block(FOOTER_NUMBER, 0, &payload, out);
    }

    pub(super) fn decode(block: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "the footer is cut off";
        let (mut fields, _) = open_block(block, FOOTER_NUMBER)?;
        let entries = fields.u64().ok_or(SHORT)?;
        let blocks = fields.u32().ok_or(SHORT)?;
        if fields.is_empty() { Ok(Self { entries, blocks }) } else { Err("the footer is too long") }
    }
}
