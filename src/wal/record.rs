//! The log record: one committed transaction's part on one core, or a chunk of a transaction too large for one record.
//!
//! Header and bodies are drawn in `docs/storage-format.md`. What the header is for:
//! - `crc` covers everything after itself, the length included: a torn record is recognised.
//! - `segment`, `incarnation` and `lsn` say where the record belongs: bytes left over in a recycled segment are recognised.
//! - `group_lsn` is where the flush that carried the record began. One flush is in flight at a time, so a valid record proves
//!   that everything before its `group_lsn` was durable: this tells a torn tail from corruption (see `reader`).
//!
//! Encoding and decoding check the same rules, in [`check_participants`] and the size limits; a record whose checksum is right and whose
//! contents are not is an error of its own kind, never taken for a tail.

use thiserror::Error;

use super::bytes::Fields;
use super::incarnation::Incarnation;
use super::write_set::{WriteSet, Writes};
use crate::base::{CommitTs, CoreId, Lsn, TxnId};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 40;
/// No record is longer, whatever the segment size.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// The most writes that one chunk of a large transaction carries, in encoded bytes, unless a single write is larger.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// No commit names more cores.
pub const PARTICIPANTS_MAX: usize = 1024;

const KIND_COMMIT: u8 = 1;
const KIND_CHUNK: u8 = 2;
const KIND_SEGMENT_START: u8 = 3;
const FLAG_CHUNKED: u16 = 1;

/// Where a record lies. Everything in it but the length is known before encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The segment's number within its log.
    pub segment: u64,
    /// The start of the server that wrote the record.
    pub incarnation: Incarnation,
    /// The record's first byte.
    pub lsn: Lsn,
    /// The first byte of the flush that carried the record. Everything before it was durable when this record was written.
    pub group_lsn: Lsn,
    /// How far into its last block the flush before this one reached (0: exactly full, or none in this segment). A flush whose
    /// end was overwritten with zeros would otherwise look like one that ended earlier.
    pub previous_tail: u16,
}

/// A commit's reference to chunks logged before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkedTxn {
    /// The transaction whose chunks belong to the commit.
    pub txn: TxnId,
    /// How many there are, numbered from 0; at least 1.
    pub chunks: u32,
}

/// What to log.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A transaction is committed at `ts` if every participant logs this (invariant 5).
    Commit {
        /// Its timestamp, above 0.
        ts: CommitTs,
        /// Empty: this core alone. Otherwise ascending and without duplicates, and the same on every participant.
        participants: &'a [CoreId],
        /// Chunks of the transaction in this log.
        chunked: Option<ChunkedTxn>,
        /// The writes on this core that are not in chunks.
        writes: &'a WriteSet,
    },
    /// Part of a large transaction. Means nothing unless a commit in the same log names it.
    Chunk {
        /// The transaction.
        txn: TxnId,
        /// 0, 1, 2, … within the transaction on this core.
        sequence: u32,
        /// The writes.
        writes: &'a WriteSet,
    },
    /// The first record of every segment that has any; written by the log itself.
    SegmentStart {
        /// Where the last record of the segment before it ended; 0 for an incarnation's first segment.
        previous_end: Lsn,
    },
}

/// The rule for a commit's participants, checked on encode and on decode.
fn check_participants(participants: impl ExactSizeIterator<Item = CoreId>) -> bool {
    let few = participants.len() <= PARTICIPANTS_MAX;
    let mut last = None;
    let mut ascending = true;
    for core in participants {
        ascending &= last.is_none_or(|last| last < core);
        last = Some(core);
    }
    few && ascending
}

impl Body<'_> {
    /// Bytes of the whole record, header included: what to reserve.
    pub fn encoded_bytes(&self) -> usize {
        match self {
            Body::Commit { participants, chunked, writes, .. } => {
                Self::commit_bytes(participants.len(), chunked.is_some(), writes.bytes())
            }
            Body::Chunk { writes, .. } => Self::chunk_bytes(writes.bytes()),
            Body::SegmentStart { .. } => HEADER_BYTES + 8,
        }
    }

    /// Bytes of a commit record whose writes take `writes` bytes.
    pub fn commit_bytes(participants: usize, chunked: bool, writes: usize) -> usize {
        HEADER_BYTES + 16 + if chunked { 12 } else { 0 } + 2 * participants + writes
    }

    /// Bytes of a chunk whose writes take `writes` bytes.
    pub fn chunk_bytes(writes: usize) -> usize {
        HEADER_BYTES + 16 + writes
    }

    fn kind(&self) -> u8 {
        match self {
            Body::Commit { .. } => KIND_COMMIT,
            Body::Chunk { .. } => KIND_CHUNK,
            Body::SegmentStart { .. } => KIND_SEGMENT_START,
        }
    }

    /// Appends the record to `out`.
    ///
    /// # Panics
    /// On a body that decoding would refuse: no participants rule, no timestamp, no chunk, longer than [`RECORD_BYTES_MAX`].
    pub fn encode(&self, position: &Position, out: &mut Vec<u8>) {
        let start = out.len();
        let bytes = self.encoded_bytes();
        assert!(bytes <= RECORD_BYTES_MAX, "larger transactions are logged in chunks");
        let group_offset = position.lsn.0.checked_sub(position.group_lsn.0).expect("a record lies in its flush");
        let group_offset = u32::try_from(group_offset).expect("a flush is far below 4 GiB");
        out.reserve(bytes);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&u32::try_from(bytes).expect("limited above").to_le_bytes());
        out.extend_from_slice(&position.segment.to_le_bytes());
        out.extend_from_slice(&position.incarnation.0.to_le_bytes());
        out.extend_from_slice(&position.lsn.0.to_le_bytes());
        out.extend_from_slice(&group_offset.to_le_bytes());
        out.extend_from_slice(&[self.kind(), 0]);
        out.extend_from_slice(&position.previous_tail.to_le_bytes());
        self.encode_body(out);
        assert_eq!(out.len() - start, bytes, "encoded_bytes is what reservations rest on");
        let crc = crc32fast::hash(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match *self {
            Body::Commit { ts, participants, chunked, writes } => {
                assert!(ts.0 > 0, "0 means before every commit");
                assert!(check_participants(participants.iter().copied()), "ascending, unique, limited");
                assert!(chunked.is_none_or(|chunked| chunked.chunks > 0), "a chunked commit has chunks");
                let flags = if chunked.is_some() { FLAG_CHUNKED } else { 0 };
                out.extend_from_slice(&ts.0.to_le_bytes());
                out.extend_from_slice(&u16::try_from(participants.len()).expect("checked above").to_le_bytes());
                out.extend_from_slice(&flags.to_le_bytes());
                out.extend_from_slice(&u32::try_from(writes.len()).expect("a WriteSet counts in u32").to_le_bytes());
                if let Some(chunked) = chunked {
                    out.extend_from_slice(&chunked.txn.0.to_le_bytes());
                    out.extend_from_slice(&chunked.chunks.to_le_bytes());
                }
                for core in participants {
                    out.extend_from_slice(&core.0.to_le_bytes());
                }
                out.extend_from_slice(writes.encoded());
            }
            Body::Chunk { txn, sequence, writes } => {
                assert!(!writes.is_empty(), "a chunk carries something");
                out.extend_from_slice(&txn.0.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&u32::try_from(writes.len()).expect("a WriteSet counts in u32").to_le_bytes());
                out.extend_from_slice(writes.encoded());
            }
            Body::SegmentStart { previous_end } => out.extend_from_slice(&previous_end.0.to_le_bytes()),
        }
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The input ends before the record does.
    #[error("the record is cut off")]
    Truncated,
    /// No record has this length.
    #[error("no record has a length of {0} bytes")]
    Length(u32),
    /// The checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// A record of an earlier use of the same bytes.
    #[error("the bytes are left over from an earlier use of the file")]
    Stale,
    /// The checksum matches and the kind is none of this version's.
    #[error("the record is of unknown kind {0}: written by a later version?")]
    Kind(u8),
    /// The checksum matches and the contents break a rule.
    #[error("the record is malformed: {0}")]
    Malformed(&'static str),
}

impl RecordError {
    /// Whether the bytes may be something that was never completely written. The other errors come with a valid checksum.
    pub fn is_unwritten(self) -> bool {
        matches!(self, RecordError::Truncated | RecordError::Length(_) | RecordError::Checksum | RecordError::Stale)
    }
}

/// A decoded record, borrowing from the log's bytes.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    /// Where it says it belongs. The caller compares this with where it was found.
    pub position: Position,
    /// Its whole length in bytes.
    pub bytes: usize,
    /// What it says.
    pub body: BodyRef<'a>,
}

/// The decoded twin of [`Body`].
#[derive(Clone, Debug)]
pub enum BodyRef<'a> {
    /// A commit.
    Commit(CommitRef<'a>),
    /// A chunk of a large transaction.
    Chunk(ChunkRef<'a>),
    /// The start of a segment's records.
    SegmentStart {
        /// Where the segment before it ended.
        previous_end: Lsn,
    },
}

/// A decoded commit.
#[derive(Clone, Debug)]
pub struct CommitRef<'a> {
    /// Its timestamp.
    pub ts: CommitTs,
    /// Chunks that belong to it.
    pub chunked: Option<ChunkedTxn>,
    participants: &'a [u8],
    writes: Writes<'a>,
}

impl<'a> CommitRef<'a> {
    /// The cores that log this commit, ascending; empty when it is the one whose log this is.
    pub fn participants(&self) -> impl ExactSizeIterator<Item = CoreId> + Clone + use<'a> {
        cores(self.participants)
    }

    /// The writes of this record (not those of its chunks).
    pub fn writes(&self) -> Writes<'a> {
        self.writes.clone()
    }
}

/// A decoded chunk.
#[derive(Clone, Debug)]
pub struct ChunkRef<'a> {
    /// The transaction.
    pub txn: TxnId,
    /// Its number within the transaction on this core.
    pub sequence: u32,
    writes: Writes<'a>,
}

impl<'a> ChunkRef<'a> {
    /// The writes of the chunk.
    pub fn writes(&self) -> Writes<'a> {
        self.writes.clone()
    }
}

fn cores(encoded: &[u8]) -> impl ExactSizeIterator<Item = CoreId> + Clone + use<'_> {
    let (pairs, rest) = encoded.as_chunks::<2>();
    assert!(rest.is_empty(), "taken as pairs of bytes");
    pairs.iter().map(|pair| CoreId(u16::from_le_bytes(*pair)))
}

impl<'a> RecordRef<'a> {
    /// The length that the record at the front of `input` claims, from its first eight bytes; verified by nothing but the limits.
    pub fn claimed_bytes(input: &[u8]) -> Result<usize, RecordError> {
        let mut fields = Fields::new(input);
        fields.u32().ok_or(RecordError::Truncated)?;
        let length = fields.u32().ok_or(RecordError::Truncated)?;
        let bytes = length as usize;
        if (HEADER_BYTES..=RECORD_BYTES_MAX).contains(&bytes) { Ok(bytes) } else { Err(RecordError::Length(length)) }
    }

    /// Checks the length and the checksum of the record at the front of `input`; its length in bytes.
    pub fn verify(input: &[u8]) -> Result<usize, RecordError> {
        let bytes = Self::claimed_bytes(input)?;
        let record = input.get(..bytes).ok_or(RecordError::Truncated)?;
        let (crc, contents) = record.split_first_chunk::<4>().ok_or(RecordError::Truncated)?;
        if crc32fast::hash(contents) == u32::from_le_bytes(*crc) { Ok(bytes) } else { Err(RecordError::Checksum) }
    }

    /// Verifies and decodes the record at the front of `input`.
    pub fn decode(input: &'a [u8]) -> Result<Self, RecordError> {
        let bytes = Self::verify(input)?;
        Self::decode_verified(input.get(..bytes).ok_or(RecordError::Truncated)?)
    }

    /// Decodes a record of which [`Self::verify`] has found the length and approved the checksum.
    pub(super) fn decode_verified(record: &'a [u8]) -> Result<Self, RecordError> {
        const SHORT: RecordError = RecordError::Malformed("the header is cut off");
        let mut fields = Fields::new(record);
        fields.take(8).ok_or(SHORT)?;
        let (position, kind, reserved) = decode_position(&mut fields).ok_or(SHORT)?;
        let position = position.ok_or(RecordError::Malformed("the flush began before position 0"))?;
        if reserved != 0 {
            return Err(RecordError::Malformed("a reserved byte is set"));
        }
        let body = match kind {
            KIND_COMMIT => BodyRef::Commit(decode_commit(fields)?),
            KIND_CHUNK => BodyRef::Chunk(decode_chunk(fields)?),
            KIND_SEGMENT_START => decode_segment_start(fields)?,
            other => return Err(RecordError::Kind(other)),
        };
        Ok(Self { position, bytes: record.len(), body })
    }

    /// Where the record at the front of `input` says it belongs, without looking at its checksum or contents.
    pub fn claimed_position(input: &[u8]) -> Option<Position> {
        let mut fields = Fields::new(input);
        fields.take(8)?;
        decode_position(&mut fields)?.0
    }
}

/// The rest of a header after its length: position (`None` if it contradicts itself), kind, reserved byte.
fn decode_position(fields: &mut Fields<'_>) -> Option<(Option<Position>, u8, u8)> {
    let segment = fields.u64()?;
    let incarnation = Incarnation(fields.u64()?);
    let lsn = Lsn(fields.u64()?);
    let group_offset = u64::from(fields.u32()?);
    let kind = fields.u8()?;
    let reserved = fields.u8()?;
    let previous_tail = fields.u16()?;
    let group_lsn = lsn.0.checked_sub(group_offset).map(Lsn);
    let position = group_lsn.map(|group_lsn| Position { segment, incarnation, lsn, group_lsn, previous_tail });
    Some((position, kind, reserved))
}

fn decode_commit(mut fields: Fields<'_>) -> Result<CommitRef<'_>, RecordError> {
    const SHORT: RecordError = RecordError::Malformed("the commit is cut off");
    let ts = CommitTs(fields.u64().ok_or(SHORT)?);
    let participant_count = usize::from(fields.u16().ok_or(SHORT)?);
    let flags = fields.u16().ok_or(SHORT)?;
    let write_count = fields.u32().ok_or(SHORT)?;
    if ts.0 == 0 {
        return Err(RecordError::Malformed("the commit has no timestamp"));
    }
    if flags & !FLAG_CHUNKED != 0 {
        return Err(RecordError::Malformed("unknown flags are set"));
    }
    let chunked = if flags & FLAG_CHUNKED == 0 {
        None
    } else {
        let txn = TxnId(fields.u64().ok_or(SHORT)?);
        let chunks = fields.u32().ok_or(SHORT)?;
        Some(ChunkedTxn { txn, chunks })
    };
    if chunked.is_some_and(|chunked| chunked.chunks == 0) {
        return Err(RecordError::Malformed("a chunked commit has no chunks"));
    }
    let participants = fields.take(2 * participant_count).ok_or(SHORT)?;
    if !check_participants(cores(participants)) {
        return Err(RecordError::Malformed("the participants are not ascending, or too many"));
    }
    let writes = Writes::verified(fields.rest(), write_count).ok_or(RecordError::Malformed("the writes do not add up"))?;
    Ok(CommitRef { ts, chunked, participants, writes })
}

fn decode_chunk(mut fields: Fields<'_>) -> Result<ChunkRef<'_>, RecordError> {
    const SHORT: RecordError = RecordError::Malformed("the chunk is cut off");
    let txn = TxnId(fields.u64().ok_or(SHORT)?);
    let sequence = fields.u32().ok_or(SHORT)?;
    let write_count = fields.u32().ok_or(SHORT)?;
    if write_count == 0 {
        return Err(RecordError::Malformed("a chunk carries nothing"));
    }
    let writes = Writes::verified(fields.rest(), write_count).ok_or(RecordError::Malformed("the writes do not add up"))?;
    Ok(ChunkRef { txn, sequence, writes })
}

fn decode_segment_start(mut fields: Fields<'_>) -> Result<BodyRef<'_>, RecordError> {
    const SHORT: RecordError = RecordError::Malformed("the segment start is cut off");
    let previous_end = Lsn(fields.u64().ok_or(SHORT)?);
    if !fields.is_empty() {
        return Err(RecordError::Malformed("the segment start is too long"));
    }
    Ok(BodyRef::SegmentStart { previous_end })
}
