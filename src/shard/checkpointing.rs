//! Checkpoints, without blocking writers: every core writes what a snapshot at K sees, then one manifest makes the files the
//! new starting point, then log that only holds timestamps up to K is recycled.
//!
//! Tablets may split while a checkpoint runs, but none moves: a core's file holds its tablets as of the start, and the routes
//! recorded in the manifest say where to find their ranges again.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thiserror::Error;

use crate::base::{CommitTs, CoreId, StorageId};
use crate::checkpoint::{
    CheckpointError, CheckpointId, CheckpointWriter, DataFile, EntryRef, Manifest, discard_attempts, remove_old_checkpoints,
};
use crate::error::{SqlError, SqlState};
use crate::runtime;
use crate::shard::engine::{Engine, join_calls};
use crate::shard::messages::{Reply, Request};
use crate::shard::routes::encode_all_routes;
use crate::shard::state::CATALOG_STORAGE;
use crate::storage::Key;
use crate::wal::remove_logs_of_absent_cores;

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// How long the next attempt waits for a full disk to be cleared.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointReport {
    /// Everything up to it is in the files.
    pub through: CommitTs,
    /// Rows written.
    pub rows: u64,
    /// Bytes written.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// Why there is no new checkpoint. The one before counts, and the log since it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointFailure {
    /// The disk is full: it is tried again later.
    #[error("{0}")]
    DiskFull(String),
    /// The server is not ready for one, or stops.
    #[error("{0}")]
    NotNow(&'static str),
    /// The disk has failed, and the server stops.
    #[error("{0}")]
    Disk(String),
}

impl From<CheckpointError> for CheckpointFailure {
    fn from(error: CheckpointError) -> Self {
        let text = error.to_string();
        if error.is_disk_full() { Self::DiskFull(text) } else { Self::Disk(text) }
    }
}

impl From<CheckpointFailure> for SqlError {
    fn from(failure: CheckpointFailure) -> Self {
        let state = match &failure {
            CheckpointFailure::DiskFull(_) => SqlState::DISK_FULL,
            CheckpointFailure::NotNow(_) => SqlState::CANNOT_CONNECT_NOW,
            CheckpointFailure::Disk(_) => SqlState::IO_ERROR,
        };
        SqlError::new(state, format!("checkpoint failed: {failure}"))
    }
}

/// Freezes tablet moves while it lives.
struct MovesFrozen<'a>(&'a Engine);

impl<'a> MovesFrozen<'a> {
    fn new(engine: &'a Engine) -> Self {
        engine.0.shared.moves_frozen.fetch_add(1, Ordering::AcqRel);
        Self(engine)
    }
}

impl Drop for MovesFrozen<'_> {
    fn drop(&mut self) {
        self.0.0.shared.moves_frozen.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The turn to take a checkpoint, for as long as it lives.
pub(super) struct CheckpointTurn(Engine);

impl Drop for CheckpointTurn {
    fn drop(&mut self) {
        self.0.0.checkpointing.set(false);
    }
}

impl Engine {
    /// Has core 0 take a checkpoint of all cores, after one that may be under way.
    pub async fn request_checkpoint(&self) -> Result<CheckpointReport, CheckpointFailure> {
        if self.0.core == CoreId(0) {
            return self.checkpoint_in_turn().await;
        }
        match self.ask(CoreId(0), Request::TakeCheckpoint).await {
            Reply::CheckpointTaken(result) => result,
            _ => Err(CheckpointFailure::NotNow("the server stops")),
        }
    }

    /// Takes a checkpoint when none is under way any more, in the directory the server has recovered from.
    pub(super) async fn checkpoint_in_turn(&self) -> Result<CheckpointReport, CheckpointFailure> {
        let not_ready = CheckpointFailure::NotNow("the server has not recovered yet");
        let root = self.0.shared.root.get().cloned().ok_or(not_ready)?;
        let _turn = self.checkpoint_turn().await;
        self.measured_checkpoint(&root).await
    }

    /// Waits until no checkpoint is under way; none begins as long as what is returned lives.
    pub(super) async fn checkpoint_turn(&self) -> CheckpointTurn {
        while self.0.checkpointing.replace(true) {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        CheckpointTurn(self.clone())
    }

    /// Takes a checkpoint, which has its turn, and counts it.
    pub(super) async fn measured_checkpoint(&self, root: &Path) -> Result<CheckpointReport, CheckpointFailure> {
        let metrics = &self.0.metrics.checkpoint;
        metrics.running.set(1);
        let report = self.checkpoint(root).await;
        metrics.running.set(0);
        match &report {
            Ok(done) => {
                metrics.finished.inc();
                self.0.shared.checkpointed_at.store(runtime::now().as_nanos(), Ordering::Relaxed);
                metrics.last_ts.set(i64::try_from(done.through.0).unwrap_or(i64::MAX));
                metrics.duration_ns.record(done.millis.saturating_mul(1_000_000));
            }
            Err(_) => metrics.failed.inc(),
        }
        report
    }

    /// Takes checkpoints on core 0 as the log grows and time passes; ends when the server stops.
    pub async fn checkpoint_regularly(&self) {
        let limits = self.0.shared.limits.clone();
        let mut last = runtime::now();
        let mut last_ts = self.0.shared.clock.now();
        while !self.is_stopping() {
            runtime::sleep(Duration::from_millis(200)).await;
            let written = self.0.shared.log_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum::<u64>();
            let due = written >= limits.checkpoint_log_bytes
                || last.elapsed() >= limits.checkpoint_interval && self.0.shared.clock.now() > last_ts;
            if !due {
                continue;
            }
            if let Err(failure) = self.checkpoint_in_turn().await {
                tracing::error!(%failure, "there is no new checkpoint; the log is kept");
                runtime::sleep(PAUSE_AFTER_FAILURE).await;
            }
            last = runtime::now();
            last_ts = self.0.shared.clock.now();
        }
    }

    /// Takes a checkpoint of all cores. Called on core 0, one at a time. A failure other than for want of room stops the server.
    pub async fn checkpoint(&self, root: &Path) -> Result<CheckpointReport, CheckpointFailure> {
        let mut outcome = self.write_checkpoint(root).await;
        if let Err(CheckpointFailure::DiskFull(_)) = outcome
            && let Err(worse) = self.discard_attempt(root).await
        {
            outcome = Err(worse);
        }
        if let Err(CheckpointFailure::Disk(problem)) = &outcome {
            self.stop_for_failure(&format!("a checkpoint failed: {problem}"));
        }
        outcome
    }

    /// Gives back the room that a checkpoint without a manifest takes.
    async fn discard_attempt(&self, root: &Path) -> Result<(), CheckpointFailure> {
        let manifest = Manifest::read(root).await?;
        discard_attempts(root, &manifest).await?;
        Ok(())
    }

    async fn write_checkpoint(&self, root: &Path) -> Result<CheckpointReport, CheckpointFailure> {
        assert_eq!(self.0.core, CoreId(0), "core 0 directs checkpoints");
        let started = runtime::now();
        let freezes = true;
        #[cfg(test)]
        let freezes = freezes && !sabotage::is(Sabotage::CheckpointDuringMoves);
        let _frozen = freezes.then(|| MovesFrozen::new(self));
        self.finish_moves().await;
        let through = self.0.shared.clock.durable();
        let _pin = self.pin_snapshot(through);
        let manifest = Manifest::read(root).await?;
        let id = manifest.next_checkpoint();
        let cores = (0..self.0.shared.cores).map(|core| CoreId(core as u16));
        let calls = cores.map(|core| (core, self.checkpoint_on(core, id, through, root))).collect();
        let mut files: Vec<DataFile> = Vec::new();
        for (_, written) in join_calls(calls).await {
            files.extend(written?);
        }
        let (rows, bytes) = files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.entries, bytes + file.bytes));
        let routes = encode_all_routes(&self.0.shared.ranges.load());
        let next = Manifest { engine: routes, ..manifest.checkpointed(id, through, files) };
        next.write(root).await?;
        for bytes in &self.0.shared.log_bytes {
            bytes.store(0, Ordering::Relaxed);
        }
        remove_old_checkpoints(root, &next).await?;
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)) {
            if core == self.0.core {
                self.recycle_log_here(through).await;
            } else {
                self.ask(core, Request::CheckpointDone(through)).await;
            }
        }
        // The checkpoint contains all that was recovered, so logs of cores that this server does not have are of no more use.
        let removed = remove_logs_of_absent_cores(root, self.0.shared.cores).await;
        removed.map_err(|error| CheckpointFailure::Disk(error.to_string()))?;
        let millis = started.elapsed().as_millis() as u64;
        let report = CheckpointReport { through, rows, bytes, millis };
        tracing::info!(through = through.0, rows, bytes, millis, "checkpoint is complete");
        Ok(report)
    }

    /// Waits for a tablet move that began before moves were frozen. Moves are directed by core 0's balancer, one at a time.
    async fn finish_moves(&self) {
        while self.0.moving.get() {
            runtime::yield_now().await;
        }
    }

    async fn checkpoint_on(
        &self,
        core: CoreId,
        id: CheckpointId,
        through: CommitTs,
        root: &Path,
    ) -> Result<Option<DataFile>, CheckpointFailure> {
        if core == self.0.core {
            return self.checkpoint_here(id, through, root).await;
        }
        match self.ask(core, Request::Checkpoint { id, through, root: root.to_owned() }).await {
            Reply::Checkpointed(result) => result,
            _ => Err(CheckpointFailure::NotNow("the server stops")),
        }
    }

    /// Writes this core's file.
    pub(super) async fn checkpoint_here(
        &self,
        id: CheckpointId,
        through: CommitTs,
        root: &Path,
    ) -> Result<Option<DataFile>, CheckpointFailure> {
        let _pin = self.pin_snapshot(through);
        let mut writer = CheckpointWriter::create(root, id, self.0.core, through).await?;
        let storages = self.0.shard.borrow().storages();
        if self.0.core == CoreId(0) {
            self.write_storage(&mut writer, CATALOG_STORAGE, through).await?;
        }
        for storage in storages.into_iter().filter(|storage| *storage != CATALOG_STORAGE) {
            #[cfg(test)]
            if sabotage::is(Sabotage::CheckpointForgetsPrepared) && storage == crate::shard::state::PREPARED_STORAGE {
                continue;
            }
            self.write_storage(&mut writer, storage, through).await?;
        }
        let file = writer.finish().await?;
        self.0.metrics.checkpoint.bytes.add(file.bytes);
        self.0.metrics.checkpoint.rows.add(file.entries);
        Ok(Some(file))
    }

    async fn write_storage(
        &self,
        writer: &mut CheckpointWriter,
        storage: StorageId,
        through: CommitTs,
    ) -> Result<(), CheckpointError> {
        let mut from: Bound<Key> = Bound::Unbounded;
        let mut slice: Vec<(Key, CommitTs, Vec<u8>)> = Vec::new();
        loop {
            slice.clear();
            let next = self.0.shard.borrow().snapshot_slice(storage, from.as_ref(), through, |key, ts, row| {
                slice.push((key.clone(), ts, row.to_vec()));
            });
            for (key, ts, row) in &slice {
                writer.push(EntryRef { storage, key: key.into(), ts: *ts, value: row }).await?;
            }
            let Some(next) = next else { return Ok(()) };
            from = next;
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
        }
    }
}
