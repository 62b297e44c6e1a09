//! Core 0's part of recovery: directing the steps of `recovery` and publishing the range map they need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{CommitTs, CoreId, StorageId};
use crate::checkpoint::{CheckpointId, CheckpointReader, Manifest, finish_setting_aside};
use crate::runtime;
use crate::shard::engine::Engine;
use crate::shard::maintenance::MovedGarbage;
use crate::shard::range_map::{Route, StorageMap};
use crate::shard::recovery::{
    BootReply, BootStep, RecoveredWrites, RecoveryOptions, RecoveryReport, StorageKinds, checkpoint_error,
};
use crate::shard::routes::{Placed, decode_all_routes};
use crate::shard::salvage::starting_point;
use crate::shard::state::{CATALOG_STORAGE, FIRST_USER_STORAGE, PREPARED_STORAGE};
use crate::shard::storages::{ROW_ID_RANGE_BITS, empty_map};
use crate::storage::{Key, KeyKind, Tablet};
use crate::wal::cut::CommitList;
use crate::wal::reader::{SetAside, list_logs};
use crate::wal::{Dropped, IncarnationHistory};

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// The catalog and the tablets as a checkpoint has them.
#[derive(Default)]
struct CheckpointHead {
    catalog: Vec<(i64, Vec<u8>)>,
    /// By storage: lower ends and owners, in key order.
    routes: BTreeMap<StorageId, Vec<Placed>>,
}

/// What is known while recovery runs.
pub(super) struct Boot<'a> {
    pub(super) engine: &'a Engine,
    pub(super) options: &'a RecoveryOptions,
    pub(super) report: RecoveryReport,
    phase_started: crate::runtime::MonoTime,
}

impl Engine {
    /// Recovers the data directory and opens the logs, on every core. Called on core 0, once; writes are accepted when it
    /// returns.
    pub async fn recover(&self, options: &RecoveryOptions) -> Result<RecoveryReport, String> {
        assert_eq!(self.0.core, CoreId(0), "core 0 directs recovery");
        let mut boot = Boot { engine: self, options, report: RecoveryReport::default(), phase_started: runtime::now() };
        boot.run().await?;
        self.0.shared.root.set(options.root.clone()).map_err(|_| "a server recovers once")?;
        tracing::info!(
            fresh = boot.report.fresh,
            checkpoint = boot.report.checkpoint.0,
            recovered = boot.report.recovered.0,
            rows = boot.report.rows,
            replayed = boot.report.replayed,
            dropped = boot.report.dropped,
            prepared = boot.report.prepared,
            phases_ms = ?boot.report.phases_ms,
            "recovery is complete"
        );
        Ok(boot.report)
    }
}

impl Boot<'_> {
    async fn run(&mut self) -> Result<(), String> {
        let manifest = Manifest::read(&self.options.root).await.map_err(|error| error.to_string())?;
        self.report.fresh = manifest.checkpoint == CheckpointId(0) && manifest.history.cuts().is_empty();
        finish_setting_aside(&self.options.root, &manifest).await.map_err(|error| error.to_string())?;
        let start = starting_point(&self.options.root, &manifest, self.options.on_damage).await;
        let start = start.map_err(|error| error.to_string())?;
        self.report.damage.extend(start.damage.clone());
        let checkpoint = start.base.through;
        self.report.checkpoint = checkpoint;
        let head = self.read_head(&start.base).await?;
        self.phase("manifest");

        let history = Arc::new(manifest.history.clone());
        let (logs, catalog) = self.scan(&history, checkpoint).await?;
        let cut = start.cut(self.options.on_damage, &logs)?;
        self.report.recovered = cut.recovered;
        #[cfg(test)]
        if sabotage::is(Sabotage::CutOffByOne) && !cut.dropped.is_empty() {
            self.report.recovered.0 += 1;
        }
        self.report.dropped = cut.dropped.len();
        self.phase("scan logs");

        self.recover_catalog(&head, &catalog)?;
        let mut kinds = (self.options.storage_kinds)(&self.report.catalog)?;
        kinds.push((PREPARED_STORAGE, KeyKind::Int));
        self.publish_ranges(&kinds, &head)?;
        self.make_tablets(&kinds).await?;
        self.phase("catalog");

        let live: Arc<BTreeSet<StorageId>> = Arc::new(kinds.iter().map(|(storage, _)| *storage).collect());
        self.report.rows = self.load(&start.base, &live).await?;
        self.phase("load checkpoint");
        let (replayed, dropped) = self.replay(&history, &live).await?;
        self.report.replayed += replayed;
        self.phase("replay logs");
        self.tell_losses(&manifest, &dropped);

        self.finish(manifest, &kinds).await
    }

    fn phase(&mut self, name: &'static str) {
        let millis = self.phase_started.elapsed().as_millis() as u64;
        self.phase_started = runtime::now();
        self.report.phases_ms.push((name, millis));
    }

    fn cores(&self) -> usize {
        self.engine.0.shared.cores
    }

    /// Reads the catalog, the first storage of the checkpoint files, and the routes.
    async fn read_head(&self, manifest: &Manifest) -> Result<CheckpointHead, String> {
        let mut head = CheckpointHead { catalog: Vec::new(), routes: decode_all_routes(&manifest.engine)? };
        for file in &manifest.files {
            let reader = CheckpointReader::open(&self.options.root, manifest, file).await;
            let mut reader = reader.map_err(checkpoint_error)?;
            'file: while let Some(block) = reader.next_block().await.map_err(checkpoint_error)? {
                for entry in block.entries() {
                    match (entry.storage, entry.key.to_key()) {
                        (CATALOG_STORAGE, Key::Int(oid)) => head.catalog.push((oid, entry.value.to_vec())),
                        _ => break 'file,
                    }
                }
            }
        }
        Ok(head)
    }

    /// What the logs hold, and the catalog's writes among it.
    async fn scan(
        &mut self,
        history: &Arc<IncarnationHistory>,
        checkpoint: CommitTs,
    ) -> Result<(Vec<CommitList>, Vec<SetAside>), String> {
        let logs = list_logs(&self.options.root).await.map_err(|error| error.to_string())?;
        let replies = self
            .engine
            .ask_all(|core| {
                let share = logs.iter().filter(|log| log.core.index() % self.cores() == core.index()).cloned().collect();
                let on_damage = self.options.on_damage;
                BootStep::Scan { logs: share, history: history.clone(), checkpoint, on_damage }
            })
            .await?;
        let (mut scans, mut catalog) = (Vec::new(), Vec::new());
        for reply in replies {
            if let BootReply::Scanned(contents) = reply {
                for mut log in contents {
                    scans.push(log.commits);
                    catalog.append(&mut log.catalog);
                    self.report.damage.append(&mut log.damage);
                }
            }
        }
        Ok((scans, catalog))
    }

    /// Brings back the catalog alone: from the checkpoint's head and what the scan has set aside.
    fn recover_catalog(&mut self, head: &CheckpointHead, logged: &[SetAside]) -> Result<(), String> {
        let engine = self.engine;
        let id = engine.0.shared.new_tablet_id();
        let tablet = Tablet::new(id, CATALOG_STORAGE, None, None, empty_map(KeyKind::Int));
        engine.0.shard.borrow_mut().adopt(tablet, MovedGarbage::default());
        let route = Route { lower: None, tablet: id, core: CoreId(0) };
        engine.0.shared.ranges.put(CATALOG_STORAGE, StorageMap::new(KeyKind::Int, vec![route]));
        let checkpoint = self.report.checkpoint;
        let mut rows = RecoveredWrites::default();
        for (oid, bytes) in &head.catalog {
            rows.push(CATALOG_STORAGE, Key::Int(*oid), checkpoint, Some(bytes));
        }
        for write in logged.iter().filter(|write| write.ts <= self.report.recovered) {
            rows.push(CATALOG_STORAGE, write.key.clone(), write.ts, write.value.as_deref());
            self.report.replayed += 1;
        }
        engine.0.shard.borrow_mut().replay(&rows).map_err(|error| format!("{error:?}"))?;
        self.report.catalog = engine.newest_rows_of(CATALOG_STORAGE);
        Ok(())
    }

    /// Publishes the tablets that each live storage starts with, and where: as the checkpoint has them, dealt anew if the
    /// number of cores has changed.
    fn publish_ranges(&self, kinds: &[(StorageId, KeyKind)], head: &CheckpointHead) -> Result<(), String> {
        let shared = &self.engine.0.shared;
        let mut highest = FIRST_USER_STORAGE;
        for (storage, kind) in kinds {
            highest = highest.max(storage.0 + 1);
            let known = head.routes.get(storage).filter(|routes| !routes.is_empty());
            let lowers: Vec<Placed> = match known {
                Some(routes) if routes.iter().all(|(_, core)| core.index() < self.cores()) && self.all_cores_used(routes) => {
                    routes.clone()
                }
                Some(routes) => {
                    let share = routes.len().div_ceil(self.cores());
                    routes.iter().enumerate().map(|(i, (lower, _))| (lower.clone(), CoreId((i / share) as u16))).collect()
                }
                None => vec![(None, self.engine.0.shard.borrow().home_of(*storage))],
            };
            let routes = lowers.into_iter().map(|(lower, core)| Route { lower, tablet: shared.new_tablet_id(), core }).collect();
            shared.ranges.put(*storage, StorageMap::new(*kind, routes));
        }
        shared.next_storage.fetch_max(highest, Ordering::Relaxed);
        Ok(())
    }

    /// Whether a storage with enough tablets is spread over all cores: if not, cores were added.
    fn all_cores_used(&self, routes: &[Placed]) -> bool {
        let used: BTreeSet<CoreId> = routes.iter().map(|(_, core)| *core).collect();
        used.len() >= self.cores().min(routes.len())
    }

    /// Makes the published tablets on their owners.
    async fn make_tablets(&self, kinds: &[(StorageId, KeyKind)]) -> Result<(), String> {
        let ranges = self.engine.0.shared.ranges.load();
        for (storage, kind) in kinds {
            let map = ranges.storage(*storage).expect("it was published in the step before");
            let uppers = map.routes().iter().skip(1).map(|route| route.lower.clone()).chain([None]);
            for (route, upper) in map.routes().iter().zip(uppers) {
                let tablet = Tablet::new(route.tablet, *storage, route.lower.clone(), upper, empty_map(*kind));
                self.engine.adopt_on(route.core, Box::new(tablet)).await.map_err(|error| format!("{error:?}"))?;
            }
        }
        Ok(())
    }

    async fn load(&self, manifest: &Manifest, live: &Arc<BTreeSet<StorageId>>) -> Result<u64, String> {
        let manifest = Arc::new(manifest.clone());
        self.total(self.engine.ask_all(|core| {
            let share = (0..manifest.files.len()).filter(|i| i % self.cores() == core.index());
            BootStep::Load {
                root: self.options.root.clone(),
                manifest: manifest.clone(),
                files: share.collect(),
                live: live.clone(),
            }
        }))
        .await
    }

    /// Replays the logs: how many writes, and what lies beyond the cut.
    async fn replay(
        &self,
        history: &Arc<IncarnationHistory>,
        live: &Arc<BTreeSet<StorageId>>,
    ) -> Result<(u64, Vec<Dropped>), String> {
        let step = |_| BootStep::Replay {
            history: history.clone(),
            checkpoint: self.report.checkpoint,
            on_damage: self.options.on_damage,
            recovered: self.report.recovered,
            live: live.clone(),
        };
        let (mut total, mut all) = (0, Vec::new());
        for reply in self.engine.ask_all(step).await? {
            if let BootReply::Replayed(count, dropped) = reply {
                total += count;
                all.extend(dropped);
            }
        }
        Ok((total, all))
    }

    async fn total(&self, replies: impl Future<Output = Result<Vec<BootReply>, String>>) -> Result<u64, String> {
        let count = |reply: &BootReply| if let BootReply::Done(count) = reply { *count } else { 0 };
        Ok(replies.await?.iter().map(count).sum())
    }

    /// Makes the cut durable under a new incarnation, then opens the logs.
    async fn finish(&mut self, manifest: Manifest, kinds: &[(StorageId, KeyKind)]) -> Result<(), String> {
        let recovered = self.report.recovered;
        self.engine.0.shared.clock.restart(recovered);
        let is_salvage = self.is_salvage(&manifest);
        let mut next = if is_salvage { manifest } else { manifest.recovered(recovered) };
        if !is_salvage {
            next.write(&self.options.root).await.map_err(|error| error.to_string())?;
        }
        self.total(self.engine.ask_all(|_| BootStep::Settle)).await?;
        // Before fresh ranges of hidden keys are opened: prepared rows have such keys, too.
        self.report.prepared = self.engine.restore_prepared().await?;
        self.open_row_id_ranges(kinds).await?;
        self.phase("settle");
        if is_salvage {
            next = self.start_afresh(&next).await?;
            self.phase("start afresh");
        }
        let log_options = self.options.log_options.clone();
        self.engine
            .ask_all(|core| BootStep::OpenLog { options: Box::new(log_options(core, next.history.current())), recovered })
            .await?;
        self.phase("open logs");
        Ok(())
    }

    /// Gives every core a fresh range of hidden keys above all that exist, in each storage without a primary key.
    async fn open_row_id_ranges(&self, kinds: &[(StorageId, KeyKind)]) -> Result<(), String> {
        for (storage, _) in kinds.iter().filter(|(_, kind)| *kind == KeyKind::RowId) {
            let map = self.engine.0.shared.ranges.load().storage(*storage).cloned().expect("it was published");
            let last = map.routes().last().expect("a storage has a tablet").clone();
            let cut = self.engine.cut_row_ids_on(last.core, *storage).await.map_err(|error| format!("{error:?}"))?;
            let mut lower = cut;
            for core in (0..self.cores()).map(|core| CoreId(core as u16)) {
                let next = lower + (1 << ROW_ID_RANGE_BITS);
                let upper = (core.index() + 1 < self.cores()).then_some(Key::Int(next));
                let id = self.engine.0.shared.new_tablet_id();
                let tablet = Tablet::new(id, *storage, Some(Key::Int(lower)), upper, empty_map(KeyKind::RowId));
                self.engine.adopt_on(core, Box::new(tablet)).await.map_err(|error| format!("{error:?}"))?;
                self.engine.0.shared.ranges.split(*storage, &Key::Int(lower), id, core);
                lower = next;
            }
        }
        Ok(())
    }
}

/// What the catalog's rows say, for callers that have no catalog layer (tests of the engine alone).
pub fn no_tables() -> Arc<StorageKinds> {
    Arc::new(|_| Ok(Vec::new()))
}
