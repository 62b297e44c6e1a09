//! A core's background tasks: housekeeping on every core, balancing tablets on core 0.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::base::{CoreId, StorageId};
use crate::mesh::MeshStats;
use crate::runtime::{self, QueueClass};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::maintenance::Slice;
use crate::shard::messages::{Reply, Request};
use crate::shard::stats::ShardStats;
use crate::storage::KeyKind;

/// Pause between two rounds of housekeeping. It bounds how far the snapshot floor, and so garbage collection, lags.
const ROUND: Duration = Duration::from_millis(20);
/// Rounds between two exact counts of memory.
const ROUNDS_PER_COUNT: u32 = 25;
/// Rounds between two looks at the balance of tablets.
const ROUNDS_PER_BALANCE: u32 = 25;

impl Engine {
    /// Starts this core's housekeeping; it ends when the server stops.
    pub fn start_maintenance(&self) {
        let engine = self.clone();
        runtime::spawn(QueueClass::Background, async move {
            let mut round = 0u32;
            while !engine.is_stopping() {
                runtime::sleep(ROUND).await;
                round = round.wrapping_add(1);
                engine.housekeeping().await;
                if round.is_multiple_of(ROUNDS_PER_COUNT) {
                    engine.0.shard.borrow_mut().count_memory();
                }
                if engine.0.core == CoreId(0) && round.is_multiple_of(ROUNDS_PER_BALANCE) {
                    engine.balance().await;
                }
            }
        });
    }

    /// One round of it.
    async fn housekeeping(&self) {
        self.0.shard.borrow_mut().publish_floor();
        self.resolve_intents_here().await;
        self.collect_garbage_here().await;
        self.split_tablets_here().await;
    }

    async fn resolve_intents_here(&self) {
        while self.0.shard.borrow_mut().resolve_slice() == Slice::More {
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
        }
    }

    /// Collects what the watermark has passed.
    pub(super) async fn collect_garbage_here(&self) {
        self.0.shard.borrow_mut().publish_floor();
        while self.0.shard.borrow_mut().collect_slice() == Slice::More {
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
        }
    }

    /// Collects garbage on every core now: VACUUM.
    pub async fn vacuum(&self) {
        self.collect_garbage_here().await;
        let mut calls = Vec::new();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            calls.push((core, self.ask(core, Request::CollectGarbage)));
        }
        join_calls(calls).await;
    }

    /// Runs something on a core: how the server places connections.
    pub async fn run_on<T: Send + 'static>(&self, core: CoreId, run: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        if core == self.0.core {
            return Some(run());
        }
        match self.ask(core, Request::Run(Box::new(move || Box::new(run())))).await {
            Reply::Ran(result) => result.downcast().ok().map(|result| *result),
            _ => None,
        }
    }

    /// Writes out and closes every core's log. Called on one core, when no transaction is left.
    pub async fn close(&self) {
        self.0.shared.stopping.store(true, Ordering::SeqCst);
        let mut calls = Vec::new();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            calls.push((core, self.ask(core, Request::Shutdown)));
        }
        self.close_log_here().await;
        join_calls(calls).await;
    }

    async fn split_tablets_here(&self) {
        loop {
            let begun = self.0.shard.borrow_mut().begin_split();
            let Some((storage, inside, fresh)) = begun else { return };
            let mut fresh = Some(fresh);
            loop {
                let halved = self.0.shard.borrow_mut().shift_slice(storage, &inside, &mut fresh);
                match halved {
                    Ok(false) => runtime::yield_now().await,
                    Ok(true) => break,
                    Err(error) => {
                        tracing::error!(core = %self.0.core, ?error, "a tablet could not be split");
                        break;
                    }
                }
            }
            self.0.shard.borrow_mut().finish_split(storage, &inside, fresh.is_none());
        }
    }

    /// What the mesh has counted on this core.
    pub fn mesh_stats(&self) -> MeshStats {
        self.0.mesh.stats()
    }

    /// The figures of every core.
    pub async fn stats_of_all(&self) -> Vec<ShardStats> {
        let mut all = vec![self.0.shard.borrow().stats()];
        let mut calls = Vec::new();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            calls.push((core, self.ask(core, Request::Stats)));
        }
        for (_, reply) in join_calls(calls).await {
            if let Reply::Stats(stats) = reply {
                all.push(*stats);
            }
        }
        all.sort_by_key(|stats| stats.core);
        all
    }

    /// Evens out how many keys of each storage the cores own, by moving whole tablets.
    pub async fn balance(&self) {
        if self.0.shared.cores == 1 || self.0.shared.moves_frozen.load(Ordering::Acquire) > 0 {
            return;
        }
        let mut keys: FxHashMap<StorageId, Vec<usize>> = FxHashMap::default();
        for stats in self.stats_of_all().await {
            for (storage, count) in stats.storages {
                let by_core = keys.entry(storage).or_insert_with(|| vec![0; self.0.shared.cores]);
                by_core[stats.core.index()] = count;
            }
        }
        for (storage, mut by_core) in keys {
            if by_core.iter().sum::<usize>() < self.0.shared.limits.tablet_keys {
                continue;
            }
            // Each move lowers the imbalance, so there are at most as many as tablets; the bound is for the reader.
            for _ in 0..4096 {
                let most = (0..by_core.len()).max_by_key(|core| by_core[*core]).expect("there is a core");
                let least = (0..by_core.len()).min_by_key(|core| by_core[*core]).expect("there is a core");
                let surplus = by_core[most] - by_core[least];
                let moved = self.give_tablet(CoreId(most as u16), storage, surplus, CoreId(least as u16)).await;
                if moved == 0 {
                    break;
                }
                by_core[most] -= moved;
                by_core[least] += moved;
            }
        }
    }

    async fn give_tablet(&self, from: CoreId, storage: StorageId, surplus: usize, to: CoreId) -> usize {
        if from == to || surplus < 2 || self.0.shared.moves_frozen.load(Ordering::Acquire) > 0 {
            return 0;
        }
        // A checkpoint waits for the move that is under way before it reads the routes.
        self.0.moving.set(true);
        let given = if from == self.0.core {
            self.give_tablet_here(storage, surplus, to).await
        } else {
            match self.ask(from, Request::GiveTablet { storage, surplus, to }).await {
                Reply::Given(keys) => keys,
                _ => 0,
            }
        };
        self.0.moving.set(false);
        given
    }

    /// Gives a tablet of a storage to another core; returns how many keys went with it.
    pub(super) async fn give_tablet_here(&self, storage: StorageId, surplus: usize, to: CoreId) -> usize {
        let taken = {
            let mut shard = self.0.shard.borrow_mut();
            let kind = shard.ranges().storage(storage).map(|map| map.kind);
            let candidate = shard.tablet_to_give(storage, surplus, kind == Some(KeyKind::RowId));
            candidate.and_then(|id| shard.take_tablet(storage, id))
        };
        let Some((tablet, garbage)) = taken else { return 0 };
        let (id, keys) = (tablet.id, tablet.keys());
        // The map still names this core: until it is changed, requests for the range are sent in circles, and wait.
        match self.ask(to, Request::Adopt { tablet, garbage }).await.done() {
            Ok(()) => {
                self.0.shared.ranges.move_tablet(storage, id, to);
                keys
            }
            Err(error) => {
                // The handler panicked with the tablet in its hands: rows would be missing from here on.
                tracing::error!(?error, %storage, "a tablet was lost in a move");
                self.stop_for_failure("a tablet was lost in a move between cores");
                0
            }
        }
    }
}
