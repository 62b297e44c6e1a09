//! Recovery: from checkpoint and logs to a serving engine, on any number of cores.
//!
//! Architecture Invariant: CUT, NOT GUESS. Every timestamp up to the first missing or torn one is kept, nothing after it.
//!
//! Core 0 directs; every core does its share of each step, as a request it answers when done:
//!
//! 1. The manifest names the last checkpoint (through timestamp K) and the cuts of earlier starts.
//! 2. *Catalog and routes*: the first storage of core 0's checkpoint file is the catalog, and the manifest has the tablets as
//!    they were; they are dealt to the cores there are now.
//! 3. *Load*: each core reads its checkpoint files and gives every row to its owner.
//! 4. *Scan*: each core reads its logs and reports which timestamps they hold, and the catalog's writes; core 0 computes the
//!    cut R and brings back the catalog, so that rows of storages that no longer exist are left out below.
//! 5. *Replay*: each core syncs its logs, for what is read may have been written and not synced when the process was killed, reads
//!    them again and gives every write in (K, R] to its owner, where the newest timestamp wins,
//!    so the order of replay does not matter.
//! 6. The cut and a new incarnation are made durable; then each core opens its log and the server serves.
//!
//! Damaged files stop it, unless it was asked to go on without what they held: see `salvage`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{CommitTs, CoreId, StorageId};
use crate::checkpoint::{CheckpointError, CheckpointId, CheckpointReader, DataFile, Manifest};
use crate::runtime::{self, JoinHandle, MonoTime, QueueClass, spawn_joinable};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Reply, Request};
use crate::shard::state::{CATALOG_STORAGE, Shard};
use crate::storage::{Key, KeyKind};
use crate::wal::cut::CommitList;
use crate::wal::reader::{LogDirectory, LogScan, Relevance, SetAside, scan_log, sync_log};
use crate::wal::{Damage, Dropped, IncarnationHistory, LogReplay, OnDamage, Wal, WalError, WalOptions};

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// Rows given to an owner in one message.
const REPLAY_BATCH: usize = 512;
/// Bytes of rows after which a message leaves earlier.
const REPLAY_BATCH_BYTES: usize = 128 << 10;

/// Rows on their way to their owner.
#[derive(Debug, Default)]
pub struct RecoveredWrites {
    entries: Vec<(StorageId, Key, CommitTs, Option<Range<usize>>)>,
    rows: Vec<u8>,
}

impl RecoveredWrites {
    /// Adds a write; a row of `None` deletes.
    pub(super) fn push(&mut self, storage: StorageId, key: Key, ts: CommitTs, row: Option<&[u8]>) {
        let row = row.map(|row| {
            let start = self.rows.len();
            self.rows.extend_from_slice(row);
            start..self.rows.len()
        });
        self.entries.push((storage, key, ts, row));
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= REPLAY_BATCH || self.rows.len() >= REPLAY_BATCH_BYTES
    }
}

/// What the catalog says about the storages of live tables. The catalog's encoding belongs to a higher layer, so the server
/// passes in how to read it.
pub type StorageKinds = dyn Fn(&[(i64, Vec<u8>)]) -> Result<Vec<(StorageId, KeyKind)>, String> + Send + Sync;

/// A step of recovery that core 0 asks of a core.
pub enum BootStep {
    /// Read checkpoint files.
    Load { root: PathBuf, manifest: Arc<Manifest>, files: Vec<usize>, live: Arc<BTreeSet<StorageId>> },
    /// Verify logs and report what they hold.
    Scan { logs: Vec<LogDirectory>, history: Arc<IncarnationHistory>, checkpoint: CommitTs, on_damage: OnDamage },
    /// Replay the scanned logs between the checkpoint and the cut.
    Replay {
        history: Arc<IncarnationHistory>,
        checkpoint: CommitTs,
        on_damage: OnDamage,
        recovered: CommitTs,
        live: Arc<BTreeSet<StorageId>>,
    },
    /// Write a checkpoint file, before there is a log.
    Checkpoint { id: CheckpointId, through: CommitTs, root: PathBuf },
    /// Collect what replay left behind and count memory.
    Settle,
    /// Open the log and accept writes.
    OpenLog { options: Box<WalOptions>, recovered: CommitTs },
}

/// What a step came to.
pub enum BootReply {
    /// Done; how many rows or writes were handled.
    Done(u64),
    /// What the logs hold.
    Scanned(Vec<LogContents>),
    /// How many writes were replayed, and what lies beyond the cut.
    Replayed(u64, Vec<Dropped>),
    /// The checkpoint file.
    Checkpointed(Option<DataFile>),
}

/// What recovery has to know of one log before it replays it.
pub struct LogContents {
    /// The commits.
    pub(super) commits: CommitList,
    /// The catalog's writes.
    pub(super) catalog: Vec<SetAside>,
    /// What could not be read and was passed over.
    pub(super) damage: Vec<Damage>,
}

/// What a core keeps between two steps.
#[derive(Default)]
pub struct BootState {
    scanned: Vec<(LogDirectory, LogScan)>,
}

/// What recovery needs to know.
pub struct RecoveryOptions {
    /// The data directory, locked by the caller.
    pub root: PathBuf,
    /// How each core's log is to be opened.
    pub log_options: Arc<dyn Fn(CoreId, crate::wal::Incarnation) -> WalOptions + Send + Sync>,
    /// How to read the catalog.
    pub storage_kinds: Arc<StorageKinds>,
    /// What to do about damaged files.
    pub on_damage: OnDamage,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Whether the directory was new.
    pub fresh: bool,
    /// The checkpoint's timestamp.
    pub checkpoint: CommitTs,
    /// The last timestamp kept.
    pub recovered: CommitTs,
    /// Rows loaded from the checkpoint.
    pub rows: u64,
    /// Writes replayed from the logs.
    pub replayed: u64,
    /// Timestamps found in a log beyond the cut and dropped.
    pub dropped: usize,
    /// Prepared transactions that are not decided.
    pub prepared: usize,
    /// What was damaged, if that was passed over.
    pub damage: Vec<Damage>,
    /// Where the files are that had to be put aside for it.
    pub set_aside: Option<PathBuf>,
    /// The catalog's rows after recovery.
    pub catalog: Vec<(i64, Vec<u8>)>,
    /// Milliseconds of each phase.
    pub phases_ms: Vec<(&'static str, u64)>,
}

impl Shard {
    /// Applies recovered writes; the newest timestamp of a key wins.
    pub(super) fn replay(&mut self, writes: &RecoveredWrites) -> EngineResult<()> {
        for (storage, key, ts, row) in &writes.entries {
            let Some(tablet) = self.tablet_mut(*storage, key) else { return Err(EngineError::StorageGone(*storage)) };
            let row = row.clone().map(|range| &writes.rows[range]);
            tablet.replay(key, *ts, row)?;
            if row.is_none() {
                self.garbage.push_back(super::state::Garbage { ts: *ts, storage: *storage, key: key.clone() });
            }
            self.split_if_large(*storage, key);
        }
        Ok(())
    }
}

/// Says every few seconds how far a long step has come.
struct Progress {
    core: CoreId,
    /// What is counted.
    what: &'static str,
    done: Cell<u64>,
    told: Cell<MonoTime>,
}

/// How often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

impl Progress {
    fn new(core: CoreId, what: &'static str) -> Self {
        Self { core, what, done: Cell::new(0), told: Cell::new(runtime::now()) }
    }

    fn add(&self, count: u64) {
        self.done.set(self.done.get() + count);
        if self.told.get().elapsed() >= PROGRESS_INTERVAL {
            self.told.set(runtime::now());
            tracing::info!(core = %self.core, done = self.done.get(), "recovering: {}", self.what);
        }
    }
}

/// Sends recovered writes to their owners in batches.
struct Distributor<'a> {
    engine: &'a Engine,
    batches: Vec<RecoveredWrites>,
    /// The last batch that each owner has been given: it works on that while the next is gathered.
    working: Vec<Option<JoinHandle<EngineResult<()>>>>,
    handled: u64,
    progress: Progress,
}

impl<'a> Distributor<'a> {
    fn new(engine: &'a Engine, what: &'static str) -> Self {
        let cores = engine.0.shared.cores;
        let batches = (0..cores).map(|_| RecoveredWrites::default()).collect();
        let working = (0..cores).map(|_| None).collect();
        Self { engine, batches, working, handled: 0, progress: Progress::new(engine.0.core, what) }
    }

    /// Adds a write; says which core's batch is full.
    fn add(&mut self, storage: StorageId, key: Key, ts: CommitTs, row: Option<&[u8]>) -> Option<usize> {
        let owner = self.engine.owner(storage, &key)?.index();
        self.handled += 1;
        self.batches[owner].push(storage, key, ts, row);
        self.batches[owner].is_full().then_some(owner)
    }

    async fn send(&mut self, owner: usize) -> EngineResult<()> {
        let batch = std::mem::take(&mut self.batches[owner]);
        if batch.entries.is_empty() {
            return Ok(());
        }
        self.progress.add(batch.entries.len() as u64);
        let core = CoreId(owner as u16);
        if core == self.engine.0.core {
            self.engine.0.shard.borrow_mut().replay(&batch)?;
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
            return Ok(());
        }
        self.settle(owner).await?;
        let engine = self.engine.clone();
        let request = async move { engine.ask(core, Request::Replay(Box::new(batch))).await.done() };
        self.working[owner] = Some(spawn_joinable(QueueClass::Interactive, request));
        Ok(())
    }

    /// Waits until the owner has done what it was given.
    async fn settle(&mut self, owner: usize) -> EngineResult<()> {
        match self.working[owner].take() {
            Some(working) => working.await.unwrap_or(Err(EngineError::Aborted)),
            None => Ok(()),
        }
    }

    async fn finish(mut self) -> EngineResult<u64> {
        for owner in 0..self.batches.len() {
            self.send(owner).await?;
        }
        for owner in 0..self.working.len() {
            self.settle(owner).await?;
        }
        Ok(self.handled)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What to do about damaged files, for whoever is told of them.
pub(super) const DAMAGE_HINT: &str =
    "\"omendb check\" tells what \"omendb serve --recover-until-corruption\" would keep and what it would drop";

/// The error, and what can be done where files are damaged.
fn hinted(error: impl std::fmt::Display, is_damage: bool) -> String {
    if is_damage { format!("{error} ({DAMAGE_HINT})") } else { error.to_string() }
}

/// A failed reading of the log.
fn log_error(error: WalError) -> String {
    hinted(&error, error.is_damage())
}

/// A failed reading of a checkpoint.
pub(super) fn checkpoint_error(error: CheckpointError) -> String {
    hinted(&error, error.is_damage())
}

fn engine_text(error: EngineError) -> String {
    crate::error::SqlError::from(error).to_string()
}

impl Engine {
    /// Carries out one step on this core.
    pub(super) async fn boot_step(&self, step: BootStep) -> Reply {
        let result = match step {
            BootStep::Load { root, manifest, files, live } => {
                self.load_files(&root, &manifest, &files, &live).await.map(BootReply::Done)
            }
            BootStep::Scan { logs, history, checkpoint, on_damage } => {
                self.scan_logs(logs, Relevance { history: &history, checkpoint, on_damage }).await
            }
            BootStep::Checkpoint { id, through, root } => {
                self.checkpoint_here(id, through, &root).await.map(BootReply::Checkpointed).map_err(text)
            }
            BootStep::Replay { history, checkpoint, on_damage, recovered, live } => {
                let relevance = Relevance { history: &history, checkpoint, on_damage };
                self.replay_logs(relevance, recovered, &live).await
            }
            BootStep::Settle => self.settle().await.map(BootReply::Done),
            BootStep::OpenLog { options, recovered } => match Wal::open(*options, recovered).await {
                Ok(wal) => {
                    self.adopt_log(wal);
                    Ok(BootReply::Done(0))
                }
                Err(error) => Err(text(error)),
            },
        };
        Reply::Booted(result)
    }

    async fn load_files(
        &self,
        root: &Path,
        manifest: &Manifest,
        files: &[usize],
        live: &BTreeSet<StorageId>,
    ) -> Result<u64, String> {
        let mut rows = Distributor::new(self, "rows of the checkpoint loaded");
        for file in files.iter().map(|i| &manifest.files[*i]) {
            let mut reader = CheckpointReader::open(root, manifest, file).await.map_err(checkpoint_error)?;
            while let Some(block) = reader.next_block().await.map_err(checkpoint_error)? {
                let mut full = Vec::new();
                for entry in block.entries() {
                    if live.contains(&entry.storage) {
                        full.extend(rows.add(entry.storage, entry.key.to_key(), entry.ts, Some(entry.value)));
                    }
                }
                for owner in full {
                    rows.send(owner).await.map_err(engine_text)?;
                }
            }
        }
        rows.finish().await.map_err(engine_text)
    }

    async fn scan_logs(&self, logs: Vec<LogDirectory>, relevance: Relevance<'_>) -> Result<BootReply, String> {
        let mut contents = Vec::new();
        let progress = Progress::new(self.0.core, "bytes of log verified");
        for log in logs {
            let scanned = scan_log(&log, &relevance, CATALOG_STORAGE, &|bytes| progress.add(bytes)).await;
            let mut scan = scanned.map_err(log_error)?;
            let (catalog, damage) = (std::mem::take(&mut scan.set_aside), scan.damage.clone());
            contents.push(LogContents { commits: scan.commits.clone(), catalog, damage });
            self.0.boot.borrow_mut().scanned.push((log, scan));
        }
        Ok(BootReply::Scanned(contents))
    }

    async fn replay_logs(
        &self,
        relevance: Relevance<'_>,
        recovered: CommitTs,
        live: &BTreeSet<StorageId>,
    ) -> Result<BootReply, String> {
        let scanned = std::mem::take(&mut self.0.boot.borrow_mut().scanned);
        let (mut total, mut dropped) = (0, Vec::new());
        for (log, scan) in &scanned {
            let syncs = true;
            #[cfg(test)]
            let syncs = syncs && !sabotage::is(Sabotage::KeepUnsynced);
            if syncs {
                sync_log(log).await.map_err(log_error)?;
            }
            let mut replay = LogReplay::new(log, scan, relevance, recovered);
            total += self.replay_one(&mut replay, live).await?;
            dropped.extend(replay.dropped().cloned());
        }
        Ok(BootReply::Replayed(total, dropped))
    }

    async fn replay_one(&self, replay: &mut LogReplay<'_>, live: &BTreeSet<StorageId>) -> Result<u64, String> {
        let mut writes = Distributor::new(self, "writes of the log replayed");
        let mut full = Vec::new();
        while let Some(ts) = replay.advance().await.map_err(text)? {
            for write in replay.writes().map_err(text)? {
                if live.contains(&write.storage) {
                    full.extend(writes.add(write.storage, write.key.to_key(), ts, write.value));
                }
            }
            for owner in full.drain(..) {
                writes.send(owner).await.map_err(engine_text)?;
            }
        }
        writes.finish().await.map_err(engine_text)
    }

    async fn settle(&self) -> Result<u64, String> {
        self.0.shard.borrow_mut().publish_floor();
        self.collect_garbage_here().await;
        let mut shard = self.0.shard.borrow_mut();
        shard.count_memory();
        Ok(shard.stats().keys as u64)
    }

    async fn ask_boot(&self, core: CoreId, step: BootStep) -> Result<BootReply, String> {
        let reply = if core == self.0.core { self.boot_step(step).await } else { self.ask(core, Request::Boot(step)).await };
        match reply {
            Reply::Booted(result) => result,
            _ => Err(format!("core {core} gave up during recovery")),
        }
    }

    pub(super) async fn ask_all(&self, mut step: impl FnMut(CoreId) -> BootStep) -> Result<Vec<BootReply>, String> {
        let cores = (0..self.0.shared.cores).map(|core| CoreId(core as u16));
        let calls = cores.map(|core| (core, self.ask_boot(core, step(core)))).collect();
        join_calls(calls).await.into_iter().map(|(_, reply)| reply).collect()
    }
}
