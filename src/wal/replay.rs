//! Recovery's second pass: hands out the writes of one log that the cut has kept.

use super::cursor::SegmentCursor;
use super::damage::{Dropped, DroppedTally, OnDamage};
use super::error::WalError;
use super::reader::{LogDirectory, LogScan, Relevance};
use super::record::BodyRef;
use super::write_set::Writes;
use crate::base::CommitTs;

/// Replays one log. The writes come in the order they were appended; across logs, and for a key that has moved between cores,
/// the higher timestamp wins.
pub struct LogReplay<'a> {
    log: &'a LogDirectory,
    scan: &'a LogScan,
    relevance: Relevance<'a>,
    recovered: CommitTs,
    /// The next of `log.segments`.
    next_segment: usize,
    cursor: Option<SegmentCursor>,
    current: Option<CommitTs>,
    dropped: DroppedTally,
}

impl<'a> LogReplay<'a> {
    /// Replays what `log` has in (K, `recovered`], where K is the checkpoint of `relevance`. `scan` is the first pass's result.
    pub fn new(log: &'a LogDirectory, scan: &'a LogScan, relevance: Relevance<'a>, recovered: CommitTs) -> Self {
        Self { log, scan, relevance, recovered, next_segment: 0, cursor: None, current: None, dropped: DroppedTally::default() }
    }

    /// Moves to the next record with writes that are kept; its timestamp, or `None` at the end of the log.
    pub async fn advance(&mut self) -> Result<Option<CommitTs>, WalError> {
        self.current = None;
        loop {
            let Some(cursor) = &mut self.cursor else {
                let Some(segment) = self.log.segments.get(self.next_segment) else { return Ok(None) };
                let path = self.log.segment_path(*segment);
                self.next_segment += 1;
                let passes_over = self.relevance.on_damage == OnDamage::PassOver;
                let mut cursor = match SegmentCursor::open(&path, self.log.core, *segment).await {
                    // The scan has noted that it is unreadable.
                    Err(WalError::Corrupt { .. }) if passes_over => continue,
                    opened => opened?,
                };
                if passes_over {
                    cursor.pass_over_damage();
                } else {
                    // The scan has judged it.
                    cursor.trust_end();
                }
                self.cursor = Some(cursor);
                continue;
            };
            if !cursor.advance().await? {
                self.cursor = None;
                continue;
            }
            let incarnation = cursor.header().incarnation;
            let record = cursor.record()?;
            let ts = match record.body {
                BodyRef::Commit(commit) => Some(commit.ts),
                BodyRef::Chunk(chunk) => self.scan.chunked.get(&(incarnation, chunk.txn)).copied(),
                BodyRef::SegmentStart { .. } => None,
            };
            let counting = ts.filter(|ts| self.relevance.counts(incarnation, *ts));
            if counting.is_some_and(|ts| ts <= self.recovered) {
                self.current = counting;
                return Ok(counting);
            }
            if let Some(ts) = counting {
                let bytes = record.bytes as u64;
                self.dropped.add(self.log.core, ts, bytes, || (cursor.path().to_owned(), cursor.offset()));
            }
        }
    }

    /// The records passed so far that lie beyond the cut.
    pub fn dropped(&self) -> Option<&Dropped> {
        self.dropped.get()
    }

    /// The current record's writes, after [`Self::advance`] has answered with a timestamp.
    pub fn writes(&self) -> Result<Writes<'_>, WalError> {
        assert!(self.current.is_some(), "advance has answered with a timestamp");
        let cursor = self.cursor.as_ref().expect("a current record has a cursor");
        match cursor.record()?.body {
            BodyRef::Commit(commit) => Ok(commit.writes()),
            BodyRef::Chunk(chunk) => Ok(chunk.writes()),
            BodyRef::SegmentStart { .. } => unreachable!("never made current"),
        }
    }
}
