//! Recovery's second pass: hands out the writes of one log that the cut has kept.

use super::cursor::SegmentCursor;
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
}

impl<'a> LogReplay<'a> {
    /// Replays what `log` has in (K, `recovered`], where K is the checkpoint of `relevance`. `scan` is the first pass's result.
    pub fn new(log: &'a LogDirectory, scan: &'a LogScan, relevance: Relevance<'a>, recovered: CommitTs) -> Self {
        Self { log, scan, relevance, recovered, next_segment: 0, cursor: None, current: None }
    }

    /// Moves to the next record with writes that are kept; its timestamp, or `None` at the end of the log.
    pub async fn advance(&mut self) -> Result<Option<CommitTs>, WalError> {
        self.current = None;
        loop {
            let Some(cursor) = &mut self.cursor else {
                let Some(segment) = self.log.segments.get(self.next_segment) else { return Ok(None) };
                let path = self.log.segment_path(*segment);
                let mut cursor = SegmentCursor::open(&path, self.log.core, *segment).await?;
                // The scan has judged it.
                cursor.trust_end();
                self.cursor = Some(cursor);
                self.next_segment += 1;
                continue;
            };
            if !cursor.advance().await? {
                self.cursor = None;
                continue;
            }
            let incarnation = cursor.header().incarnation;
            let ts = match cursor.record()?.body {
                BodyRef::Commit(commit) => Some(commit.ts),
                BodyRef::Chunk(chunk) => self.scan.chunked.get(&(incarnation, chunk.txn)).copied(),
                BodyRef::SegmentStart { .. } => None,
            };
            let kept = ts.filter(|ts| *ts <= self.recovered && self.relevance.counts(incarnation, *ts));
            if kept.is_some() {
                self.current = kept;
                return Ok(kept);
            }
        }
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
