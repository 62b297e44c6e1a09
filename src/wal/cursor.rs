//! Walks one segment file, record by record, and decides what its end means.
//!
//! A flush is one group of records that begins on a block; the next begins only when it is durable. So where no valid record
//! follows, there are two cases. Nothing valid of a later flush lies further on: this is the tail that a crash left, or simply
//! the end. A later flush is valid: what is unreadable here was durable once, and the log is corrupt. The same question between
//! segments is `reader`'s, with the first record of the next segment.
//!
//! A cursor that passes over damage resumes at that later flush instead: its validity proves that it belongs there.
//!
//! Bytes of a recycled file's earlier life never count: segment, incarnation and LSN of every record must be those of the place.

use std::path::{Path, PathBuf};

use super::bytes::align_up;
use super::damage::{Damage, OnDamage};
use super::error::{Corruption, WalError};
use super::record::{BodyRef, HEADER_BYTES, Position, RecordError, RecordRef};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::base::{CoreId, Lsn};
use crate::runtime::fs::{File, OpenMode};
use crate::runtime::{BLOCK, should_yield, yield_now};

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Records or blocks between two questions whether to yield.
const YIELD_INTERVAL: u32 = 64;

/// Reads one segment. Used on the core that opened it; it owns its buffer and is not shared.
#[derive(Debug)]
pub struct SegmentCursor {
    file: File,
    path: PathBuf,
    header: SegmentHeader,
    window: Vec<u8>,
    window_start: u64,
    /// The current record's place in the file.
    record: Option<(u64, usize)>,
    /// Where the last valid record ends.
    end: u64,
    group_lsn: Lsn,
    /// Why no valid record follows, once that is known.
    stopped: Option<RecordError>,
    /// Whether the end is to be told from damage.
    judges_end: bool,
    on_damage: OnDamage,
    damage: Vec<Damage>,
    /// The next flush follows damage: nobody knows where the one before it ended.
    after_damage: bool,
    steps: u32,
}

impl SegmentCursor {
    /// Opens a segment file and checks that it is what its name and place say.
    pub async fn open(path: &Path, core: CoreId, segment: u64) -> Result<Self, WalError> {
        let wrap = |error| WalError::io("opening", path, error);
        let corrupt = |what| WalError::Corrupt { path: path.to_owned(), offset: 0, what: Corruption::Header(what) };
        let file = File::open(path, OpenMode::READ).await.map_err(wrap)?;
        let len = file.len().await.map_err(wrap)?;
        let window = file.read_at(0, WINDOW_BYTES).await.map_err(wrap)?;
        let header = SegmentHeader::decode(&window).map_err(corrupt)?;
        if header.core != core || header.segment != segment {
            return Err(corrupt("belongs to another place"));
        }
        if header.segment_bytes > len {
            return Err(corrupt("says the file is longer than it is"));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            header,
            window,
            window_start: 0,
            record: None,
            end: SEGMENT_HEADER_BYTES,
            group_lsn: Lsn(0),
            stopped: None,
            judges_end: true,
            on_damage: OnDamage::Refuse,
            damage: Vec::new(),
            after_damage: false,
            steps: 0,
        })
    }

    /// Takes the first place without a valid record for the end, which somebody has judged before: what lies behind it is not
    /// read.
    pub fn trust_end(&mut self) {
        self.judges_end = false;
    }

    /// Notes damage and reads on behind it, instead of answering with an error.
    pub fn pass_over_damage(&mut self) {
        self.on_damage = OnDamage::PassOver;
    }

    /// What was passed over so far.
    pub fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }

    /// The segment's header.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The offset in the file at which the last valid record so far ends.
    pub fn end_offset(&self) -> u64 {
        self.end
    }

    /// The log position of [`Self::end_offset`].
    pub fn end_lsn(&self) -> Lsn {
        self.lsn(self.end)
    }

    /// Why the walk stopped, after [`Self::advance`] has answered false.
    pub fn stopped(&self) -> Option<RecordError> {
        self.stopped
    }

    /// The current record's offset in the file, after [`Self::advance`] has answered true.
    pub fn offset(&self) -> u64 {
        self.record.expect("advance has answered true").0
    }

    /// The current record, after [`Self::advance`] has answered true.
    pub fn record(&self) -> Result<RecordRef<'_>, WalError> {
        let (offset, bytes) = self.record.expect("advance has answered true");
        let found = &self.bytes_at(offset)[..bytes];
        let record = RecordRef::decode_verified(found).map_err(|error| self.corrupt(offset, Corruption::Record(error)))?;
        let first = offset == SEGMENT_HEADER_BYTES;
        if matches!(record.body, BodyRef::SegmentStart { .. }) == first {
            Ok(record)
        } else {
            Err(self.corrupt(offset, Corruption::OutOfPlace("the segment-start record is not the first one, or is missing")))
        }
    }

    /// Moves to the next record: false at the end of what is valid. An error if that is not the end of what was durable, unless
    /// damage is passed over.
    pub async fn advance(&mut self) -> Result<bool, WalError> {
        loop {
            let outcome = self.step().await;
            if self.on_damage == OnDamage::Refuse {
                return outcome;
            }
            // What a checksum vouches for may still make no sense.
            let outcome = outcome.and_then(|found| if found { self.record().map(|_| true) } else { Ok(false) });
            match outcome {
                Err(WalError::Corrupt { offset, what, .. }) => self.resume_behind(offset, &what).await?,
                outcome => return outcome,
            }
        }
    }

    /// Goes on at the next flush that is valid, or ends there.
    async fn resume_behind(&mut self, offset: u64, what: &Corruption) -> Result<(), WalError> {
        let mut block = align_up(self.end, BLOCK as u64);
        let resumed = loop {
            if block + HEADER_BYTES as u64 > self.header.segment_bytes {
                break None;
            }
            self.give_way().await;
            if let Ok((_, position)) = self.verify_at(block).await?
                && position.group_lsn == position.lsn
            {
                break Some(block);
            }
            block += BLOCK as u64;
        };
        let bytes = resumed.unwrap_or(self.end).saturating_sub(offset);
        self.damage.push(Damage { path: self.path.clone(), offset, bytes, what: what.to_string() });
        self.record = None;
        match resumed {
            Some(block) => {
                self.stopped = None;
                self.end = block;
                self.after_damage = true;
            }
            None => self.stopped = Some(RecordError::Truncated),
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<bool, WalError> {
        self.record = None;
        if self.stopped.is_some() {
            return Ok(false);
        }
        self.give_way().await;
        let start = self.next_start().await?;
        match self.verify_at(start).await? {
            Err(error) => self.stop(start, error).await,
            Ok((bytes, position)) => self.accept(start, bytes, position).await,
        }
    }

    fn lsn(&self, offset: u64) -> Lsn {
        Lsn(self.header.base_lsn.0 + offset)
    }

    fn corrupt(&self, offset: u64, what: Corruption) -> WalError {
        WalError::Corrupt { path: self.path.clone(), offset, what }
    }

    async fn give_way(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(YIELD_INTERVAL) && should_yield() {
            yield_now().await;
        }
    }

    /// Where a record may begin: right after the last one, or, if padding follows it, at the next block.
    async fn next_start(&mut self) -> Result<u64, WalError> {
        let boundary = align_up(self.end, BLOCK as u64);
        let rest = usize::try_from(boundary - self.end).expect("less than a block");
        self.fill(self.end, rest).await?;
        // A record begins with a checksum and a length, which are not both zero.
        let padding = self.bytes_at(self.end).iter().take(rest.min(8)).all(|byte| *byte == 0);
        Ok(if padding { boundary } else { self.end })
    }

    /// Verifies the record at `start`; the inner error says why there is none that belongs there.
    async fn verify_at(&mut self, start: u64) -> Result<Result<(usize, Position), RecordError>, WalError> {
        self.fill(start, HEADER_BYTES).await?;
        let claimed = match RecordRef::claimed_bytes(self.bytes_at(start)) {
            Ok(claimed) => claimed,
            Err(error) => return Ok(Err(error)),
        };
        let Some(position) = RecordRef::claimed_position(self.bytes_at(start)) else {
            return Ok(Err(RecordError::Checksum));
        };
        let header = &self.header;
        if position.segment != header.segment || position.incarnation != header.incarnation || position.lsn != self.lsn(start) {
            return Ok(Err(RecordError::Stale));
        }
        self.fill(start, claimed).await?;
        let verified = RecordRef::verify(self.bytes_at(start));
        Ok(verified.map(|bytes| (bytes, position)))
    }

    /// A record that belongs to this place in the file: does it belong to this place among the flushes?
    async fn accept(&mut self, start: u64, bytes: usize, position: Position) -> Result<bool, WalError> {
        let first = self.end == SEGMENT_HEADER_BYTES;
        let tail = if first { 0 } else { self.end % BLOCK as u64 };
        if position.group_lsn == position.lsn {
            if !start.is_multiple_of(BLOCK as u64) {
                return Err(self.corrupt(start, Corruption::OutOfPlace("a flush begins within a block")));
            }
            if u64::from(position.previous_tail) != tail && !self.after_damage {
                // The flush before reached further; its end reads as padding now.
                return Err(self.corrupt(self.end, self.durable_record(RecordError::Length(0), start)));
            }
            self.group_lsn = position.lsn;
        } else if start != self.end {
            // Part of the torn last flush, behind a hole in it.
            return self.stop(self.end, RecordError::Length(0)).await;
        } else if first || position.group_lsn != self.group_lsn {
            return Err(self.corrupt(start, Corruption::OutOfPlace("a record names another flush than those around it")));
        }
        self.after_damage = false;
        self.end = start + bytes as u64;
        self.record = Some((start, bytes));
        Ok(true)
    }

    /// Nothing valid at `at`: the end, unless a later flush is valid.
    async fn stop(&mut self, at: u64, error: RecordError) -> Result<bool, WalError> {
        self.stopped = Some(error);
        if !self.judges_end {
            return Ok(false);
        }
        let mut block = align_up(at + 1, BLOCK as u64);
        while block + HEADER_BYTES as u64 <= self.header.segment_bytes {
            self.give_way().await;
            if let Ok((_, position)) = self.verify_at(block).await?
                && position.group_lsn == position.lsn
            {
                return Err(self.corrupt(at, self.durable_record(error, block)));
            }
            block += BLOCK as u64;
        }
        Ok(false)
    }

    fn durable_record(&self, error: RecordError, later: u64) -> Corruption {
        Corruption::DurableRecord { error, later_path: self.path.clone(), later }
    }

    /// Makes `len` bytes from `offset` available in the window, or as many as the segment has.
    async fn fill(&mut self, offset: u64, len: usize) -> Result<(), WalError> {
        let limit = self.header.segment_bytes;
        let wanted_end = (offset + len as u64).min(limit);
        if offset >= self.window_start && wanted_end <= self.window_start + self.window.len() as u64 {
            return Ok(());
        }
        let available = usize::try_from(limit.saturating_sub(offset)).expect("a segment is at most 1 GiB");
        let read = self.file.read_at(offset, len.max(WINDOW_BYTES).min(available)).await;
        self.window = read.map_err(|error| WalError::io("reading", &self.path, error))?;
        self.window_start = offset;
        Ok(())
    }

    /// The window from `offset` on; empty when it is not there.
    fn bytes_at(&self, offset: u64) -> &[u8] {
        let from = offset.checked_sub(self.window_start).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.window.get(from..)).unwrap_or_default()
    }
}
