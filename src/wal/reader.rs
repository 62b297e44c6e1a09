//! Recovery's first pass: reads every log, verifies it and collects what the cut needs. Changes nothing.
//!
//! It also sets aside the writes of one storage, the catalog's, because the second pass has to know which storages there are.
//!
//! Segments can be scanned in parallel ([`scan_segment`]) and joined afterwards ([`join_segments`]); [`scan_log`] does both for one
//! log in order. Rules between segments of one incarnation: numbers and positions have no gap, and the first record of each says where the
//! one before it ended; if that is further than what is valid there, durable records are gone and the log is corrupt.

use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};

use super::cursor::SegmentCursor;
use super::cut::CommitList;
use super::damage::{Damage, OnDamage};
use super::error::{Corruption, WalError};
use super::incarnation::{Incarnation, IncarnationHistory};
use super::record::{BodyRef, ChunkedTxn, RecordError};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, logs_directory, parse_segment_file_name, segment_file_name};
use super::write_set::Writes;
use crate::base::{CommitTs, CoreId, Lsn, StorageId, TxnId};
use crate::runtime::fs::{self, File, OpenMode};
use crate::storage::Key;

/// One core's log on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirectory {
    /// Whose log. There may be more of them than the server has cores now.
    pub core: CoreId,
    /// The directory.
    pub path: PathBuf,
    /// The numbers of its segments, ascending.
    pub segments: Vec<u64>,
}

impl LogDirectory {
    /// The file of a segment.
    pub fn segment_path(&self, segment: u64) -> PathBuf {
        self.path.join(segment_file_name(segment))
    }
}

/// All logs below the data directory `root`, by core.
pub async fn list_logs(root: &Path) -> Result<Vec<LogDirectory>, WalError> {
    let logs = logs_directory(root);
    let wrap = |error| WalError::io("listing", &logs, error);
    if !fs::exists(&logs).await.map_err(wrap)? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for name in fs::list_dir(&logs).await.map_err(wrap)? {
        let Ok(core) = name.parse::<u16>() else { continue };
        let path = logs.join(&name);
        let names = fs::list_dir(&path).await.map_err(|error| WalError::io("listing", &path, error))?;
        let mut segments: Vec<u64> = names.iter().filter_map(|name| parse_segment_file_name(name)).collect();
        segments.sort_unstable();
        found.push(LogDirectory { core: CoreId(core), path, segments });
    }
    found.sort_by_key(|log| log.core);
    Ok(found)
}

/// Which records count.
#[derive(Clone, Copy, Debug)]
pub struct Relevance<'a> {
    /// The incarnations and their cuts, from the manifest.
    pub history: &'a IncarnationHistory,
    /// K: the checkpoint has everything up to here.
    pub checkpoint: CommitTs,
    /// What to do about records that cannot be read.
    pub on_damage: OnDamage,
}

/// A write that the scan has collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its transaction's.
    pub ts: CommitTs,
    /// Which row.
    pub key: Key,
    /// The new row, or `None` for a delete.
    pub value: Option<Vec<u8>>,
}

impl Relevance<'_> {
    /// Whether a commit of `incarnation` at `ts` counts.
    pub fn counts(&self, incarnation: Incarnation, ts: CommitTs) -> bool {
        ts > self.checkpoint && ts <= self.history.limit(incarnation)
    }
}

/// What a scan of one segment found.
#[derive(Clone, Debug)]
pub struct SegmentScan {
    /// The file.
    pub path: PathBuf,
    /// Its header.
    pub header: SegmentHeader,
    /// What its first record says of the segment before; `None` if it has no record.
    pub previous_end: Option<Lsn>,
    /// Where its last valid record ends.
    pub end: Lsn,
    /// Why no record follows there.
    pub stopped: RecordError,
    /// Valid records, those that do not count included.
    pub records: u64,
    /// The commits that count.
    pub commits: CommitList,
    /// What was passed over.
    damage: Vec<Damage>,
    chunked: Vec<(ChunkedTxn, CommitTs)>,
    chunks: Vec<(TxnId, u32)>,
    set_aside: Vec<SetAside>,
    /// Those of chunks, whose commit comes later.
    set_aside_chunked: Vec<(TxnId, SetAside)>,
}

/// What a scan of one log found.
#[derive(Clone, Debug)]
pub struct LogScan {
    /// The commits that count.
    pub commits: CommitList,
    /// Transactions with chunks whose commit counts.
    pub chunked: FxHashMap<(Incarnation, TxnId), CommitTs>,
    /// What was set aside of those that count.
    pub set_aside: Vec<SetAside>,
    /// Valid records.
    pub records: u64,
    /// Bytes of valid records and the padding between them.
    pub bytes: u64,
    /// What was passed over, in the log's order.
    pub damage: Vec<Damage>,
}

/// Scans one segment, collecting the writes of `set_aside`. `progress` is called with the bytes passed since its last call.
pub async fn scan_segment(
    log: &LogDirectory,
    segment: u64,
    relevance: &Relevance<'_>,
    set_aside: StorageId,
    progress: &impl Fn(u64),
) -> Result<SegmentScan, WalError> {
    let path = log.segment_path(segment);
    let mut cursor = SegmentCursor::open(&path, log.core, segment).await?;
    let header = *cursor.header();
    if header.incarnation > relevance.history.current() {
        let (found, current) = (header.incarnation.0, relevance.history.current().0);
        return Err(WalError::Corrupt { path, offset: 0, what: Corruption::FutureIncarnation { found, current } });
    }
    if relevance.on_damage == OnDamage::PassOver {
        cursor.pass_over_damage();
    } else if header.incarnation < relevance.history.current() {
        // The start after it has judged its end and made the cut durable: should a commit below that be gone now, it is missed.
        cursor.trust_end();
    }
    let mut scan = SegmentScan {
        path,
        header,
        previous_end: None,
        end: cursor.end_lsn(),
        stopped: RecordError::Truncated,
        records: 0,
        commits: CommitList::new(log.core),
        damage: Vec::new(),
        chunked: Vec::new(),
        chunks: Vec::new(),
        set_aside: Vec::new(),
        set_aside_chunked: Vec::new(),
    };
    let mut passed = 0;
    while cursor.advance().await? {
        scan.records += 1;
        scan.note(&cursor.record()?.body, relevance, set_aside);
        if cursor.end_offset() - passed > 1 << 20 {
            progress(cursor.end_offset() - passed);
            passed = cursor.end_offset();
        }
    }
    progress(cursor.end_offset() - passed);
    scan.end = cursor.end_lsn();
    scan.damage = cursor.take_damage();
    scan.stopped = cursor.stopped().expect("advance has answered false");
    Ok(scan)
}

impl SegmentScan {
    fn note(&mut self, body: &BodyRef<'_>, relevance: &Relevance<'_>, set_aside: StorageId) {
        match body {
            BodyRef::Commit(commit) => {
                if relevance.counts(self.header.incarnation, commit.ts) {
                    self.commits.push(commit.ts, commit.participants());
                    self.chunked.extend(commit.chunked.map(|chunked| (chunked, commit.ts)));
                    self.set_aside.extend(writes_of(set_aside, commit.writes(), commit.ts));
                }
            }
            BodyRef::Chunk(chunk) => {
                self.chunks.push((chunk.txn, chunk.sequence));
                let writes = writes_of(set_aside, chunk.writes(), CommitTs(0));
                self.set_aside_chunked.extend(writes.map(|write| (chunk.txn, write)));
            }
            BodyRef::SegmentStart { previous_end } => self.previous_end = Some(*previous_end),
        }
    }
}

fn writes_of(storage: StorageId, writes: Writes<'_>, ts: CommitTs) -> impl Iterator<Item = SetAside> {
    let writes = writes.filter(move |write| write.storage == storage);
    writes.map(move |write| SetAside { ts, key: write.key.to_key(), value: write.value.map(<[u8]>::to_vec) })
}

/// Joins the scans of all segments of one log, given in ascending order of segments.
///
/// Of the segments in `unreadable` it is known already that their records are gone.
pub fn join_segments(
    core: CoreId,
    scans: Vec<SegmentScan>,
    unreadable: &[u64],
    on_damage: OnDamage,
) -> Result<LogScan, WalError> {
    let mut log = LogScan {
        commits: CommitList::new(core),
        chunked: FxHashMap::default(),
        set_aside: Vec::new(),
        records: 0,
        bytes: 0,
        damage: Vec::new(),
    };
    let mut of_chunks = Vec::new();
    let mut chunks: FxHashSet<(Incarnation, TxnId, u32)> = FxHashSet::default();
    let mut before: Option<SegmentScan> = None;
    for mut scan in scans {
        if let Some(before) = &before
            && !unreadable.contains(&(before.header.segment + 1))
            && let Err(error) = check_neighbours(before, &scan)
        {
            let lost = scan.previous_end.map_or(0, |end| end.0.saturating_sub(before.end.0));
            log.note(on_damage, error, lost)?;
        }
        let incarnation = scan.header.incarnation;
        chunks.extend(scan.chunks.iter().map(|(txn, sequence)| (incarnation, *txn, *sequence)));
        log.damage.append(&mut scan.damage);
        let mut incomplete = Vec::new();
        for (chunked, ts) in &scan.chunked {
            // Chunks precede their commit, so all of them have been seen.
            let present = (0..chunked.chunks).filter(|sequence| chunks.contains(&(incarnation, chunked.txn, *sequence)));
            let found = u32::try_from(present.count()).expect("at most the number named");
            if found < chunked.chunks {
                let what = Corruption::MissingChunks { ts: ts.0, expected: chunked.chunks, found };
                let error = WalError::Corrupt { path: scan.path.clone(), offset: scan.end.0 - scan.header.base_lsn.0, what };
                log.note(on_damage, error, 0)?;
                incomplete.push(*ts);
                continue;
            }
            log.chunked.insert((incarnation, chunked.txn), *ts);
        }
        scan.commits.forget(&incomplete);
        log.set_aside.append(&mut scan.set_aside);
        of_chunks.extend(scan.set_aside_chunked.drain(..).map(|(txn, write)| ((incarnation, txn), write)));
        log.records += scan.records;
        log.bytes += scan.end.0 - scan.header.base_lsn.0;
        log.commits.extend(std::mem::replace(&mut scan.commits, CommitList::new(core)));
        before = Some(scan);
    }
    for (txn, write) in of_chunks {
        log.set_aside.extend(log.chunked.get(&txn).map(|ts| SetAside { ts: *ts, ..write }));
    }
    Ok(log)
}

impl LogScan {
    /// Passes over what is wrong, or answers with it.
    fn note(&mut self, on_damage: OnDamage, error: WalError, bytes: u64) -> Result<(), WalError> {
        match on_damage {
            OnDamage::Refuse => Err(error),
            OnDamage::PassOver => {
                self.damage.push(Damage::of(error, bytes)?);
                Ok(())
            }
        }
    }
}

/// The rules between a segment and the next one found.
fn check_neighbours(before: &SegmentScan, after: &SegmentScan) -> Result<(), WalError> {
    let (old, new) = (&before.header, &after.header);
    let corrupt = |path: &Path, offset, what| Err(WalError::Corrupt { path: path.to_owned(), offset, what });
    if new.incarnation < old.incarnation {
        return corrupt(&after.path, 0, Corruption::OutOfPlace("the segment is older than the one before it"));
    }
    if new.incarnation > old.incarnation {
        return Ok(());
    }
    if new.segment != old.segment + 1 {
        return corrupt(&after.path, 0, Corruption::MissingSegment(old.segment + 1));
    }
    if new.base_lsn != old.end_lsn() {
        return corrupt(&after.path, 0, Corruption::OutOfPlace("the segment does not begin where the one before it ends"));
    }
    match after.previous_end {
        Some(previous_end) if previous_end != before.end => {
            let later_path = after.path.clone();
            let what = Corruption::DurableRecord { error: before.stopped, later_path, later: SEGMENT_HEADER_BYTES };
            corrupt(&before.path, before.end.0 - old.base_lsn.0, what)
        }
        Some(_) | None => Ok(()),
    }
}

/// Scans one log in order: [`scan_segment`] for each segment, then [`join_segments`].
pub async fn scan_log(
    log: &LogDirectory,
    relevance: &Relevance<'_>,
    set_aside: StorageId,
    progress: &impl Fn(u64),
) -> Result<LogScan, WalError> {
    let mut scans = Vec::with_capacity(log.segments.len());
    let (mut unreadable, mut damage) = (Vec::new(), Vec::new());
    for segment in &log.segments {
        match scan_segment(log, *segment, relevance, set_aside, progress).await {
            Ok(scan) => scans.push(scan),
            Err(error) if relevance.on_damage == OnDamage::PassOver => {
                let bytes = file_bytes(&log.segment_path(*segment)).await?;
                damage.push(Damage::of(error, bytes)?);
                unreadable.push(*segment);
            }
            Err(error) => return Err(error),
        }
    }
    let mut joined = join_segments(log.core, scans, &unreadable, relevance.on_damage)?;
    joined.damage.append(&mut damage);
    Ok(joined)
}

/// Makes what can be read of a log durable. A process that was killed may have written it and never synced it: before anybody
/// promises to keep it, it has to be.
pub async fn sync_log(log: &LogDirectory) -> Result<(), WalError> {
    for segment in &log.segments {
        let path = log.segment_path(*segment);
        let wrap = |error| WalError::io("syncing", &path, error);
        File::open(&path, OpenMode::READ).await.map_err(wrap)?.sync_data().await.map_err(wrap)?;
    }
    fs::sync_dir(&log.path).await.map_err(|error| WalError::io("syncing", &log.path, error))
}

async fn file_bytes(path: &Path) -> Result<u64, WalError> {
    let wrap = |error| WalError::io("opening", path, error);
    File::open(path, OpenMode::READ).await.map_err(wrap)?.len().await.map_err(wrap)
}
