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
    /// Takes a checkpoint of all cores. Called on core 0, one at a time.
    pub async fn checkpoint(&self, root: &Path) -> Result<CheckpointReport, String> {
        assert_eq!(self.0.core, CoreId(0), "core 0 directs checkpoints");
        let started = runtime::now();
        let _frozen = MovesFrozen::new(self);
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
            self.write_storage(&mut writer, storage, through).await?;
        }
        writer.finish().await.map(Some).map_err(|error| error.to_string())
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
