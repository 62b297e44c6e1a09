//! The log in memory: where the next record goes, what waits for the disk, which segments there are. No I/O and no await here.
//!
//! Groups: records appended while a flush is in flight gather in the last pending group; the flusher takes the first. A group lies in
//! one segment and begins on a fresh block, so no flush ever touches durable bytes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::bytes::align_up;
use super::error::WalError;
use super::incarnation::Incarnation;
use super::record::{Body, ChunkedTxn, Position};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::space::Promised;
use crate::base::{CommitTs, Lsn, TxnId};
use crate::runtime::BLOCK;
use crate::runtime::fs::File;

/// A group takes no more records when it has this many bytes, so that one flush stays short.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Flushed groups' buffers that are kept for the next ones.
const FREE_BUFFERS_MAX: usize = 4;
/// A buffer that has grown beyond this is given back.
const FREE_BUFFER_BYTES_MAX: usize = 1 << 20;

/// A segment that records go to, or will.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    pub(super) file: Rc<File>,
    /// Where its last record ends in the file.
    pub(super) end: u64,
    /// The highest timestamp that needs this segment.
    pub(super) ts_max: CommitTs,
}

impl Segment {
    /// A segment that has its header and nothing else.
    pub(super) fn empty(header: SegmentHeader, path: PathBuf, file: File) -> Self {
        Self { header, path, file: Rc::new(file), end: SEGMENT_HEADER_BYTES, ts_max: CommitTs(0) }
    }

    fn is_empty(&self) -> bool {
        self.end == SEGMENT_HEADER_BYTES
    }

    /// Room in whole blocks for records that may each be flushed alone. An empty one also needs its first record.
    fn free(&self) -> u64 {
        let end = align_up(self.end, BLOCK as u64);
        let start_record = if self.is_empty() { BLOCK as u64 } else { 0 };
        self.header.segment_bytes - end - start_record.min(self.header.segment_bytes - end)
    }

    fn lsn(&self, offset: u64) -> Lsn {
        Lsn(self.header.base_lsn.0 + offset)
    }
}

/// A segment that takes no more records and waits for a checkpoint.
#[derive(Debug)]
pub(super) struct FullSegment {
    pub(super) segment: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// The end of its last record; `Lsn(0)` for one of an earlier incarnation.
    pub(super) end: Lsn,
    pub(super) ts_max: CommitTs,
}

/// Records that one flush makes durable.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) file: Rc<File>,
    segment: u64,
    /// Where it goes in the file.
    pub(super) offset: u64,
    lsn: Lsn,
    previous_tail: u16,
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
    pub(super) ts_min: Option<CommitTs>,
}

impl Group {
    /// The end of its last record.
    pub(super) fn end(&self) -> Lsn {
        Lsn(self.lsn.0 + self.bytes.len() as u64)
    }
}

/// Chunks of a transaction that is still running.
#[derive(Debug)]
struct OpenChunks {
    first: Lsn,
    count: u32,
}

/// See the module's header. Borrowed for the length of a call, never across an await.
#[derive(Debug)]
pub(super) struct State {
    pub(super) incarnation: Incarnation,
    /// The incarnation's first segment.
    first_segment: u64,
    pub(super) current: Segment,
    pub(super) ready: VecDeque<Segment>,
    /// Oldest first; only taken from the front, so that the log never has a hole.
    pub(super) full: VecDeque<FullSegment>,
    /// Files of full size that wait to become segments.
    pub(super) spares: Vec<PathBuf>,
    /// The header of the segment to be made next.
    pub(super) next_header: SegmentHeader,
    pub(super) pending: VecDeque<Group>,
    /// The lowest timestamp of the group being flushed, if one is.
    in_flight: Option<Option<CommitTs>>,
    /// Bytes appended and not durable.
    pub(super) backlog: u64,
    pub(super) appended: Lsn,
    pub(super) durable: Lsn,
    pub(super) promised: Promised,
    open_chunks: FxHashMap<TxnId, OpenChunks>,
    free_buffers: Vec<Vec<u8>>,
    pub(super) failure: Option<WalError>,
    pub(super) closing: bool,
}

impl State {
    /// The state of a log that goes on at the empty segment `current`.
    pub(super) fn new(current: Segment, full: VecDeque<FullSegment>, spares: Vec<PathBuf>) -> Self {
        let next_header = following(&current.header);
        let start = current.header.base_lsn;
        Self {
            incarnation: current.header.incarnation,
            first_segment: current.header.segment,
            current,
            ready: VecDeque::new(),
            full,
            spares,
            next_header,
            pending: VecDeque::new(),
            in_flight: None,
            backlog: 0,
            appended: start,
            durable: start,
            promised: Promised::default(),
            open_chunks: FxHashMap::default(),
            free_buffers: Vec::new(),
            failure: None,
            closing: false,
        }
    }

    /// Takes a segment that is ready for records, made from `next_header`.
    pub(super) fn add_ready(&mut self, segment: Segment) {
        assert_eq!(segment.header, self.next_header, "segments are made one after the other");
        self.next_header = following(&segment.header);
        self.ready.push_back(segment);
    }

    /// Promises room for a record, if there is.
    pub(super) fn reserve(&mut self, bytes: usize) -> bool {
        let Self { promised, current, ready, .. } = self;
        promised.reserve(bytes, std::iter::once(&*current).chain(ready.iter()).map(Segment::free))
    }

    /// Appends a record for which room was promised; where it ends, and whether a ready segment was taken for it.
    pub(super) fn append(&mut self, body: &Body<'_>) -> (Lsn, bool) {
        let bytes = body.encoded_bytes();
        let moves_on = !self.fits(bytes);
        if moves_on {
            self.move_on();
        }
        let start = self.put(body);
        self.track(body, start);
        (self.appended, moves_on)
    }

    /// Whether the last pending group can take another record.
    fn group_is_open(&self, bytes: usize) -> bool {
        self.pending
            .back()
            .is_some_and(|group| group.segment == self.current.header.segment && group.bytes.len() + bytes <= GROUP_BYTES_MAX)
    }

    fn fits(&self, bytes: usize) -> bool {
        if self.current.is_empty() {
            return true;
        }
        let end = self.current.end;
        let start = if self.group_is_open(bytes) { end } else { align_up(end, BLOCK as u64) };
        align_up(start + bytes as u64, BLOCK as u64) <= self.current.header.segment_bytes
    }

    /// Moves on to the next ready segment.
    fn move_on(&mut self) {
        let next = self.ready.pop_front().expect("append follows a reservation, which counted the ready segments");
        assert!(next.is_empty() && next.header.segment == self.current.header.segment + 1);
        let full = std::mem::replace(&mut self.current, next);
        self.full.push_back(FullSegment {
            segment: full.header.segment,
            path: full.path.clone(),
            bytes: full.header.segment_bytes,
            end: full.lsn(full.end),
            ts_max: full.ts_max,
        });
    }

    /// Encodes a record at the end of the last pending group, opening one if need be; where it begins.
    fn put(&mut self, body: &Body<'_>) -> Lsn {
        if !self.group_is_open(body.encoded_bytes()) {
            self.open_group();
        }
        let was_empty = self.current.is_empty();
        if was_empty && !matches!(body, Body::SegmentStart { .. }) {
            let first_of_log = self.current.header.segment == self.first_segment;
            let previous_end = if first_of_log { Lsn(0) } else { self.appended };
            self.put(&Body::SegmentStart { previous_end });
        }
        let group = self.pending.back_mut().expect("opened above");
        let lsn = group.end();
        let position = Position {
            segment: group.segment,
            incarnation: self.incarnation,
            lsn,
            group_lsn: group.lsn,
            previous_tail: group.previous_tail,
        };
        let before = group.bytes.len();
        body.encode(&position, &mut group.bytes);
        group.records += 1;
        self.backlog += (group.bytes.len() - before) as u64;
        self.current.end = group.offset + group.bytes.len() as u64;
        assert!(self.current.end <= self.current.header.segment_bytes, "checked by fits");
        self.appended = group.end();
        lsn
    }

    fn open_group(&mut self) {
        let current = &self.current;
        let offset = align_up(current.end, BLOCK as u64);
        let tail = if current.is_empty() { 0 } else { current.end % BLOCK as u64 };
        let mut bytes = self.free_buffers.pop().unwrap_or_default();
        bytes.clear();
        self.pending.push_back(Group {
            file: Rc::clone(&current.file),
            segment: current.header.segment,
            offset,
            lsn: current.lsn(offset),
            previous_tail: u16::try_from(tail).expect("below a block"),
            bytes,
            records: 0,
            ts_min: None,
        });
    }

    /// Remembers what the record means for flushing and recycling.
    fn track(&mut self, body: &Body<'_>, start: Lsn) {
        match *body {
            Body::Commit { ts, chunked, .. } => {
                let group = self.pending.back_mut().expect("the record was put there");
                group.ts_min = Some(group.ts_min.map_or(ts, |low| low.min(ts)));
                self.current.ts_max = self.current.ts_max.max(ts);
                if let Some(ChunkedTxn { txn, chunks }) = chunked {
                    let open = self.open_chunks.remove(&txn).expect("a chunked commit follows its chunks");
                    assert_eq!(open.count, chunks, "a chunked commit counts its chunks");
                    for full in self.full.iter_mut().filter(|full| full.end > open.first) {
                        full.ts_max = full.ts_max.max(ts);
                    }
                }
            }
            Body::Chunk { txn, sequence, .. } => {
                let open = self.open_chunks.entry(txn).or_insert(OpenChunks { first: start, count: 0 });
                assert_eq!(open.count, sequence, "chunks are logged in order");
                open.count += 1;
            }
            Body::SegmentStart { .. } => {}
        }
    }

    /// An aborted transaction's chunks hold no segment any more.
    pub(super) fn abandon_chunks(&mut self, txn: TxnId) {
        self.open_chunks.remove(&txn);
    }

    /// The next group to flush. Nothing may be in flight.
    pub(super) fn begin_flush(&mut self) -> Option<Group> {
        assert!(self.in_flight.is_none(), "one flush at a time");
        let group = self.pending.pop_front()?;
        assert!(group.records > 0 && group.lsn >= self.durable, "groups are flushed in order");
        self.in_flight = Some(group.ts_min);
        Some(group)
    }

    /// The group is durable.
    pub(super) fn finish_flush(&mut self, group: Group) {
        assert!(self.in_flight.take().is_some(), "begun before");
        self.durable = group.end();
        self.backlog -= group.bytes.len() as u64;
        if self.free_buffers.len() < FREE_BUFFERS_MAX && group.bytes.capacity() <= FREE_BUFFER_BYTES_MAX {
            self.free_buffers.push(group.bytes);
        }
    }

    /// The lowest timestamp appended and not durable.
    pub(super) fn lowest_unflushed_ts(&self) -> Option<CommitTs> {
        let pending = self.pending.iter().filter_map(|group| group.ts_min);
        pending.chain(self.in_flight.flatten()).min()
    }

    /// Takes the oldest full segment if nothing above `through` needs it, it lies before `hold` and it holds no chunk of a
    /// running transaction.
    pub(super) fn take_recyclable(&mut self, through: CommitTs, hold: Option<Lsn>) -> Option<FullSegment> {
        let oldest = self.full.front()?;
        let chunk_hold = self.open_chunks.values().map(|open| open.first).min();
        let hold = hold.into_iter().chain(chunk_hold).min().unwrap_or(Lsn(u64::MAX));
        let free = oldest.ts_max <= through && oldest.end <= hold && oldest.end <= self.durable;
        if free { self.full.pop_front() } else { None }
    }
}

/// The header of the segment after `header`.
fn following(header: &SegmentHeader) -> SegmentHeader {
    SegmentHeader { segment: header.segment + 1, base_lsn: header.end_lsn(), ..*header }
}
