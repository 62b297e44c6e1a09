//! Checkpoints, without blocking writers: every core writes what a snapshot at K sees, then one manifest makes the files the
//! new starting point, then log that only holds timestamps up to K is recycled.
//!
//! Tablets may split while a checkpoint runs, but none moves: a core's file holds its tablets as of the start, and the routes
//! recorded in the manifest say where to find their ranges again.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::base::{CommitTs, CoreId, StorageId};
use crate::checkpoint::{CheckpointId, CheckpointWriter, DataFile, EntryRef, Manifest, remove_old_checkpoints};
use crate::runtime;
use crate::shard::engine::{Engine, join_calls};
use crate::shard::messages::{Reply, Request};
use crate::shard::routes::encode_all_routes;
use crate::shard::state::CATALOG_STORAGE;
use crate::storage::Key;
use crate::wal::remove_logs_of_absent_cores;

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

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

impl Engine {
    /// Has core 0 take a checkpoint of all cores, after one that may be under way.
    pub async fn request_checkpoint(&self) -> Result<CheckpointReport, String> {
        if self.0.core == CoreId(0) {
            return self.checkpoint_in_turn().await;
        }
        match self.ask(CoreId(0), Request::TakeCheckpoint).await {
            Reply::CheckpointTaken(result) => result,
            _ => Err("core 0 gave up on the checkpoint".into()),
        }
    }

    /// Takes a checkpoint when none is under way any more, in the directory the server has recovered from.
    pub(super) async fn checkpoint_in_turn(&self) -> Result<CheckpointReport, String> {
        let root = self.0.shared.root.get().cloned().ok_or("the server has not recovered yet")?;
        while self.0.checkpointing.replace(true) {
            runtime::sleep(std::time::Duration::from_millis(5)).await;
        }
        let metrics = &self.0.metrics.checkpoint;
        metrics.running.set(1);
        let report = self.checkpoint(&root).await;
        metrics.running.set(0);
        match &report {
            Ok(done) => {
                metrics.finished.inc();
                metrics.last_ts.set(i64::try_from(done.through.0).unwrap_or(i64::MAX));
                metrics.duration_ns.record(done.millis.saturating_mul(1_000_000));
            }
            Err(_) => metrics.failed.inc(),
        }
        self.0.checkpointing.set(false);
        report
    }

    /// Takes checkpoints on core 0 as the log grows and time passes; ends when the server stops.
    pub async fn checkpoint_regularly(&self) {
        let limits = self.0.shared.limits.clone();
        let mut last = runtime::now();
        let mut last_ts = self.0.shared.clock.now();
        while !self.is_stopping() {
            runtime::sleep(std::time::Duration::from_millis(200)).await;
            let written = self.0.shared.log_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum::<u64>();
            let due = written >= limits.checkpoint_log_bytes
                || last.elapsed() >= limits.checkpoint_interval && self.0.shared.clock.now() > last_ts;
            if !due {
                continue;
            }
            if let Err(problem) = self.checkpoint_in_turn().await {
                tracing::error!(problem, "a checkpoint failed; the log is kept");
            }
            last = runtime::now();
            last_ts = self.0.shared.clock.now();
        }
    }

    /// Takes a checkpoint of all cores. Called on core 0, one at a time.
    pub async fn checkpoint(&self, root: &Path) -> Result<CheckpointReport, String> {
        assert_eq!(self.0.core, CoreId(0), "core 0 directs checkpoints");
        let started = runtime::now();
        let freezes = true;
        #[cfg(test)]
        let freezes = freezes && !sabotage::is(Sabotage::CheckpointDuringMoves);
        let _frozen = freezes.then(|| MovesFrozen::new(self));
        self.finish_moves().await;
        let through = self.0.shared.clock.durable();
        let _pin = self.pin_snapshot(through);
        let manifest = Manifest::read(root).await.map_err(|error| error.to_string())?;
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
        next.write(root).await.map_err(|error| error.to_string())?;
        for bytes in &self.0.shared.log_bytes {
            bytes.store(0, Ordering::Relaxed);
        }
        remove_old_checkpoints(root, &next).await.map_err(|error| error.to_string())?;
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)) {
            if core == self.0.core {
                self.recycle_log_here(through).await;
            } else {
                self.ask(core, Request::CheckpointDone(through)).await;
            }
        }
        // The checkpoint contains all that was recovered, so logs of cores that this server does not have are of no more use.
        remove_logs_of_absent_cores(root, self.0.shared.cores).await.map_err(|error| error.to_string())?;
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
    ) -> Result<Option<DataFile>, String> {
        if core == self.0.core {
            return self.checkpoint_here(id, through, root).await;
        }
        match self.ask(core, Request::Checkpoint { id, through, root: root.to_owned() }).await {
            Reply::Checkpointed(result) => result,
            _ => Err(format!("core {core} gave up during a checkpoint")),
        }
    }

    /// Writes this core's file.
    pub(super) async fn checkpoint_here(
        &self,
        id: CheckpointId,
        through: CommitTs,
        root: &Path,
    ) -> Result<Option<DataFile>, String> {
        let _pin = self.pin_snapshot(through);
        let mut writer = CheckpointWriter::create(root, id, self.0.core, through).await.map_err(|error| error.to_string())?;
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
        let file = writer.finish().await.map_err(|error| error.to_string())?;
        self.0.metrics.checkpoint.bytes.add(file.bytes);
        self.0.metrics.checkpoint.rows.add(file.entries);
        Ok(Some(file))
    }

    async fn write_storage(&self, writer: &mut CheckpointWriter, storage: StorageId, through: CommitTs) -> Result<(), String> {
        let mut from: Bound<Key> = Bound::Unbounded;
        let mut slice: Vec<(Key, CommitTs, Vec<u8>)> = Vec::new();
        loop {
            slice.clear();
            let next = self.0.shard.borrow().snapshot_slice(storage, from.as_ref(), through, |key, ts, row| {
                slice.push((key.clone(), ts, row.to_vec()));
            });
            for (key, ts, row) in &slice {
                writer
                    .push(EntryRef { storage, key: key.into(), ts: *ts, value: row })
                    .await
                    .map_err(|error| error.to_string())?;
            }
            let Some(next) = next else { return Ok(()) };
            from = next;
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
        }
    }
}
