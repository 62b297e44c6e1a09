//! Where segments come from and where they go: opening a log's directory, making segments ahead of need, recycling them.
//!
//! Every step leaves a directory that recovery understands. A new file is filled with zeros under a name that is removed at the next
//! start; a file gets its header while its name still says that it is not in use, and its segment name afterwards; a
//! recycled file loses its segment name, durably, before anything in it changes. Space can run out only here, never in a flush.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::counters::add;
use super::error::WalError;
use super::incarnation::Incarnation;
use super::record::RecordRef;
use super::segment::{
    SEGMENT_HEADER_BYTES, SegmentHeader, is_spare_file_name, is_unfinished_file_name, logs_directory, parse_segment_file_name,
    segment_file_name, spare_file_name, unfinished_file_name,
};
use super::state::{FullSegment, Segment, State};
use super::writer::{Inner, WalOptions};
use crate::base::{CommitTs, CoreId, Lsn};
use crate::runtime::fs::{self, File, OpenMode};
use crate::runtime::{BLOCK, IoBuf};

/// Makes segments ahead of need until the log fails or is closed.
pub(super) async fn run(inner: Rc<Inner>) {
    loop {
        {
            let state = inner.state.borrow();
            if state.closing || state.failure.is_some() {
                break;
            }
        }
        if !inner.wants_segment() {
            inner.supply.notified().await;
            continue;
        }
        let outcome = make_ready(&inner).await;
        inner.supply_attempts.set(inner.supply_attempts.get() + 1);
        match outcome {
            Ok(()) => {
                if inner.supply_error.take().is_some() {
                    tracing::info!(core = %inner.options.core, "there is room for the log again: writes go on");
                }
                inner.room.wake_all();
            }
            Err(full @ WalError::DiskFull(_)) => {
                add(&inner.counters.disk_full, 1);
                if inner.supply_error.replace(Some(full)).is_none() {
                    tracing::warn!(
                        core = %inner.options.core, directory = %inner.directory.display(),
                        "no room for another segment of the log: writes fail when the last one is full, and go on once there is room"
                    );
                }
                inner.room.wake_all();
                // Tried again when a reservation asks, or a recycled segment arrives.
                inner.supply.notified().await;
            }
            Err(error) => inner.poison(error),
        }
    }
    inner.supplier_ended.set();
}

/// Makes the next segment from a spare file or a new one.
async fn make_ready(inner: &Inner) -> Result<(), WalError> {
    let (header, spare) = {
        let mut state = inner.state.borrow_mut();
        (state.next_header, state.spares.pop())
    };
    let reused = spare.is_some();
    let made = make_segment(&inner.directory, &header, spare.as_deref()).await;
    if made.is_err()
        && let Some(spare) = spare
    {
        inner.state.borrow_mut().spares.push(spare);
    }
    inner.state.borrow_mut().add_ready(made?);
    add(if reused { &inner.counters.segments_reused } else { &inner.counters.segments_created }, 1);
    Ok(())
}

/// Makes a segment: its blocks allocated, its header and its name durable.
async fn make_segment(directory: &Path, header: &SegmentHeader, spare: Option<&Path>) -> Result<Segment, WalError> {
    let unfinished = directory.join(unfinished_file_name(header.segment));
    let source = match spare {
        Some(spare) => spare,
        None => {
            if let Err(error) = create_zeroed(&unfinished, header.segment_bytes).await {
                if fs::exists(&unfinished).await.unwrap_or(false) {
                    // Its blocks may be what somebody else needs; a failure here changes nothing, the next start removes it.
                    let _unremoved = fs::remove(&unfinished).await;
                }
                return Err(classify("creating", &unfinished, error));
            }
            &unfinished
        }
    };
    let path = directory.join(segment_file_name(header.segment));
    let file = write_header(directory, source, &path, header).await.map_err(|error| classify("preparing", &path, error))?;
    Ok(Segment::empty(*header, path, file))
}

async fn create_zeroed(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::open(path, OpenMode::CREATE).await?;
    file.preallocate_zeroed(bytes).await
}

async fn write_header(directory: &Path, source: &Path, target: &Path, header: &SegmentHeader) -> io::Result<File> {
    let file = File::open(source, OpenMode::WRITE).await?;
    file.write_at(&IoBuf::padded(&header.encode()), 0).await?;
    file.sync_data().await?;
    fs::rename(source, target).await?;
    fs::sync_dir(directory).await?;
    Ok(file)
}

/// A full disk is for the client to hear of; everything else in the log's directory is as bad as a failed write of the log.
fn classify(doing: &'static str, path: &Path, error: io::Error) -> WalError {
    if fs::is_disk_full(&error) { WalError::DiskFull(Rc::new(error)) } else { WalError::io(doing, path, error) }
}

/// Opens a log's directory for a new incarnation: what is found, and an empty segment to go on at.
pub(super) async fn open(options: &WalOptions, directory: &Path, recovered: CommitTs) -> Result<State, WalError> {
    let io = |doing| move |error| WalError::io(doing, directory, error);
    let logs = logs_directory(&options.root);
    fs::create_dir_all(directory).await.map_err(io("creating"))?;
    for parent in [options.root.as_path(), &logs, directory] {
        fs::sync_dir(parent).await.map_err(io("syncing"))?;
    }
    let mut found = Found {
        full: VecDeque::new(),
        spares: Vec::new(),
        next_segment: 0,
        next_lsn: Lsn(0),
        ended_in: None,
        unwritten: Vec::new(),
    };
    for name in fs::list_dir(directory).await.map_err(io("listing"))? {
        let path = directory.join(&name);
        if is_unfinished_file_name(&name) {
            fs::remove(&path).await.map_err(io("clearing"))?;
        } else if is_spare_file_name(&name) {
            found.add_spare(options, path).await?;
        } else if let Some(segment) = parse_segment_file_name(&name) {
            found.add_segment(options, directory, segment, recovered).await?;
        }
    }
    found.free_unwritten(options, directory).await?;
    fs::sync_dir(directory).await.map_err(io("syncing"))?;
    let header = SegmentHeader {
        segment: found.next_segment,
        incarnation: options.incarnation,
        base_lsn: found.next_lsn,
        segment_bytes: options.segment_bytes,
        core: options.core,
    };
    let spare = found.spares.pop();
    let current = make_segment(directory, &header, spare.as_deref()).await?;
    Ok(State::new(current, found.full, found.spares))
}

/// What a log's directory holds when it is opened.
struct Found {
    full: VecDeque<FullSegment>,
    spares: Vec<PathBuf>,
    next_segment: u64,
    next_lsn: Lsn,
    /// The incarnation whose log has ended with a segment that was never written.
    ended_in: Option<Incarnation>,
    /// Segments that hold nothing, ascending.
    unwritten: Vec<u64>,
}

impl Found {
    async fn add_spare(&mut self, options: &WalOptions, path: PathBuf) -> Result<(), WalError> {
        let wrap = |error| WalError::io("opening", &path, error);
        let file = File::open(&path, OpenMode::READ).await.map_err(wrap)?;
        let same_size = file.len().await.map_err(wrap)? == options.segment_bytes;
        drop(file);
        // One more than is kept for reuse: the first segment is made from it.
        if same_size && self.spares.len() < options.spares + options.recycled_max {
            self.spares.push(path);
        } else {
            fs::remove(&path).await.map_err(wrap)?;
        }
        Ok(())
    }

    async fn add_segment(
        &mut self,
        options: &WalOptions,
        directory: &Path,
        segment: u64,
        recovered: CommitTs,
    ) -> Result<(), WalError> {
        let path = directory.join(segment_file_name(segment));
        let wrap = |error| WalError::io("reading", &path, error);
        let file = File::open(&path, OpenMode::READ).await.map_err(wrap)?;
        let bytes = file.len().await.map_err(wrap)?;
        let front = file.read_at(0, 2 * BLOCK).await.map_err(wrap)?;
        drop(file);
        let header = SegmentHeader::decode(&front).map_err(|what| WalError::Corrupt {
            path: path.clone(),
            offset: 0,
            what: super::error::Corruption::Header(what),
        })?;
        assert!(header.incarnation < options.incarnation, "an incarnation opens its logs once");
        self.next_lsn = self.next_lsn.max(header.end_lsn());
        // A segment that was opened and never written becomes a spare, and so do those that its incarnation opened after it: a
        // flush that spans segments may have left torn bytes in a later one and none in this. Kept, they would read as a log
        // with a hole at the next start.
        if has_record(&header, &front) && self.ended_in != Some(header.incarnation) {
            self.next_segment = self.next_segment.max(segment + 1);
            self.full.push_back(FullSegment { segment, path, bytes, end: Lsn(0), ts_max: recovered });
            return Ok(());
        }
        self.ended_in = Some(header.incarnation);
        self.unwritten.push(segment);
        Ok(())
    }

    /// Makes spares of the segments that hold nothing, highest first: a crash in between leaves no hole either.
    async fn free_unwritten(&mut self, options: &WalOptions, directory: &Path) -> Result<(), WalError> {
        for segment in std::mem::take(&mut self.unwritten).into_iter().rev() {
            let path = directory.join(segment_file_name(segment));
            let spare = directory.join(spare_file_name(segment));
            let wrap = |error| WalError::io("clearing", &path, error);
            // A spare of that number may be there already; the rename replaces it.
            self.spares.retain(|other| *other != spare);
            fs::rename(&path, &spare).await.map_err(wrap)?;
            fs::sync_dir(directory).await.map_err(wrap)?;
            self.add_spare(options, spare).await?;
        }
        Ok(())
    }
}

/// Whether a segment has anything that recovery may have read: its first record is valid and belongs there.
fn has_record(header: &SegmentHeader, front: &[u8]) -> bool {
    let start = usize::try_from(SEGMENT_HEADER_BYTES).expect("one block");
    let Some(position) = front.get(start..).and_then(RecordRef::claimed_position) else { return false };
    position.segment == header.segment
        && position.incarnation == header.incarnation
        && position.lsn == Lsn(header.base_lsn.0 + SEGMENT_HEADER_BYTES)
}

/// See [`super::Wal::recycle`].
pub(super) async fn recycle(inner: &Inner, through: CommitTs, hold: Option<Lsn>) -> Result<usize, WalError> {
    if inner.recycling.replace(true) {
        return Ok(0);
    }
    let mut freed = 0;
    let outcome = loop {
        let Some(full) = inner.state.borrow_mut().take_recyclable(through, hold) else { break Ok(freed) };
        if let Err(error) = release_file(inner, &full).await {
            let error = classify("recycling", &full.path, error);
            if let WalError::DiskFull(_) = error {
                // Back to where it was: freeing a later one first would leave a hole in the log.
                inner.state.borrow_mut().full.push_front(full);
            } else {
                // What its name is after a crash is not known any more, so it can neither be kept nor used.
                inner.poison(error.clone());
            }
            break Err(error);
        }
        freed += 1;
    };
    inner.recycling.set(false);
    if freed > 0 {
        inner.supply.notify();
    }
    outcome
}

/// Turns a segment's file into a spare, or removes it if there are enough; durable before the next one is touched.
async fn release_file(inner: &Inner, full: &FullSegment) -> io::Result<()> {
    let keep = {
        let state = inner.state.borrow();
        full.bytes == inner.options.segment_bytes && state.spares.len() < inner.options.recycled_max
    };
    if keep {
        let spare = inner.directory.join(spare_file_name(full.segment));
        fs::rename(&full.path, &spare).await?;
        fs::sync_dir(&inner.directory).await?;
        inner.state.borrow_mut().spares.push(spare);
    } else {
        fs::remove(&full.path).await?;
        fs::sync_dir(&inner.directory).await?;
        add(&inner.counters.segments_removed, 1);
    }
    Ok(())
}

/// Removes the logs of cores that this server does not have (it ran with more before). Only after a checkpoint that contains
/// all that was recovered.
pub async fn remove_logs_of_absent_cores(root: &Path, cores: usize) -> Result<usize, WalError> {
    let logs = logs_directory(root);
    let mut removed = 0;
    for name in fs::list_dir(&logs).await.map_err(|error| WalError::io("listing", &logs, error))? {
        let Ok(core) = name.parse::<u16>() else { continue };
        if CoreId(core).index() < cores {
            continue;
        }
        let directory = logs.join(&name);
        let wrap = |error| WalError::io("clearing", &directory, error);
        // In the order of names, oldest segment first: a crash in between leaves no hole.
        for file in fs::list_dir(&directory).await.map_err(wrap)? {
            fs::remove(directory.join(file)).await.map_err(wrap)?;
            fs::sync_dir(&directory).await.map_err(wrap)?;
            removed += 1;
        }
    }
    Ok(removed)
}
