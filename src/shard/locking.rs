//! Table locks over cores, and the deadlock detector.

use std::cmp::Reverse;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::base::{CoreId, Oid, TxnId};
use crate::catalog::system::DATABASE;
use crate::runtime::{self, QueueClass};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Request, TableLockRequest};
use crate::shard::txn_handle::Txn;
use crate::txn::lock_view::LockTarget;
use crate::txn::row_locks::{Party, WaitEdge};
use crate::txn::{LockWait, TableLock};

impl Engine {
    /// Locks a table until the transaction ends.
    pub async fn lock_table(&self, txn: &mut Txn, table: Oid, mode: TableLock, wait: LockWait) -> EngineResult<()> {
        if txn.table_locks.iter().any(|(locked, held)| *locked == table && held.covers(mode)) {
            return Ok(());
        }
        // Recorded first: whatever part of it was taken is released with the rest if the wait is cut short.
        txn.table_locks.push((table, mode));
        let request = TableLockRequest { asker: txn.asker(), table, mode, wait };
        if mode.is_weak() {
            return self.lock_table_here(request).await;
        }
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)) {
            if core == self.0.core {
                self.lock_table_here(request).await?;
            } else {
                self.ask(core, Request::LockTable(request)).await.done()?;
            }
        }
        txn.locks_held_until = self.0.shared.clock.now();
        Ok(())
    }

    /// Takes a table lock on this core.
    pub(super) async fn lock_table_here(&self, request: TableLockRequest) -> EngineResult<()> {
        let TableLockRequest { asker, table, mode, wait } = request;
        let txn = asker.txn;
        let mut place = QueuePlace { engine: self, txn, table, queued: false };
        loop {
            let receiver = {
                let locks = &mut self.0.shard.borrow_mut().table_locks;
                if locks.try_lock(table, &asker, mode) {
                    break;
                }
                if wait == LockWait::NoWait {
                    return Err(EngineError::LockNotAvailable);
                }
                place.queued = true;
                locks.wait(table, asker, mode)
            };
            self.wait_for_lock(&asker, receiver).await?;
        }
        Ok(())
    }

    /// Releases a finished transaction's table locks.
    pub(super) fn release_table_locks(&self, txn: &mut Txn) {
        if txn.table_locks.is_empty() {
            return;
        }
        let strong = txn.table_locks.iter().any(|(_, mode)| !mode.is_weak());
        let tables: Vec<Oid> = txn.table_locks.drain(..).map(|(table, _)| table).collect();
        self.unlock_tables_here(txn.id, &tables);
        if !strong {
            return;
        }
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            let (engine, txn, tables) = (self.clone(), txn.id, tables.clone());
            runtime::spawn(QueueClass::Interactive, async move {
                engine.ask(core, Request::UnlockTables { txn, tables }).await;
            });
        }
    }

    /// Releases a transaction's table locks on this core and ends its waits for any.
    pub(super) fn unlock_tables_here(&self, txn: TxnId, tables: &[Oid]) {
        let mut shard = self.0.shard.borrow_mut();
        for table in tables {
            shard.table_locks.release(*table, txn);
        }
        shard.table_locks.abort_waits(txn, crate::txn::row_locks::Wake::Aborted);
    }

    /// Who waits for whom on this core.
    pub(super) fn wait_edges_here(&self) -> Vec<WaitEdge> {
        let shard = self.0.shard.borrow();
        let mut edges = shard.row_locks.edges(|storage, key| shard.intent_holder(storage, key));
        edges.extend(shard.table_locks.edges());
        edges.extend(shard.advisory_locks.edges());
        edges
    }

    async fn wait_edges(&self) -> Vec<WaitEdge> {
        let mut edges = self.wait_edges_here();
        let mut calls = Vec::new();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            calls.push((core, self.ask(core, Request::WaitEdges)));
        }
        for (_, reply) in join_calls(calls).await {
            edges.extend(reply.edges());
        }
        edges
    }

    /// Looks for a cycle of waits through `txn`. The least patient of a cycle gives way (who has the shortest deadlock_timeout,
    /// so that it is the one that looks first), of several the youngest; for it, this returns the DETAIL of its error. Edges are
    /// gathered core by core, so a cycle counts only if it is there twice.
    pub(super) async fn find_deadlock(&self, txn: TxnId) -> Option<String> {
        let edges = self.wait_edges().await;
        let first = cycle_through(&edges, Party::Txn(txn))?;
        if victim(&first, &edges) != txn {
            return None;
        }
        let second = cycle_through(&self.wait_edges().await, Party::Txn(txn))?;
        if first != second {
            return None;
        }
        let txns: Vec<TxnId> = txns_of(&first).collect();
        let lines: Vec<String> = txns
            .iter()
            .zip(txns.iter().cycle().skip(1))
            .map(|(waiter, holder)| wait_text(*waiter, *holder, &first, &edges))
            .collect();
        Some(lines.join("\n"))
    }
}

/// The transactions of a cycle.
fn txns_of(cycle: &[Party]) -> impl Iterator<Item = TxnId> + '_ {
    cycle.iter().filter_map(|party| match party {
        Party::Txn(txn) => Some(*txn),
        Party::Session(_) => None,
    })
}

/// A wait of a cycle as PostgreSQL tells of it; rows have no numbers here.
fn wait_text(waiter: TxnId, holder: TxnId, cycle: &[Party], edges: &[WaitEdge]) -> String {
    let pid = |txn: TxnId| {
        let own = |edge: &&WaitEdge| edge.holder == Party::Txn(txn) && matches!(edge.waiter, Party::Session(_));
        match edges.iter().find(own).map(|edge| edge.waiter) {
            Some(Party::Session(pid)) => pid,
            _ => 0,
        }
    };
    let at = cycle.iter().position(|party| *party == Party::Txn(waiter)).expect("the waiter is of the cycle");
    let next = cycle[(at + 1) % cycle.len()];
    let edge = edges.iter().find(|edge| edge.waiter == Party::Txn(waiter) && edge.holder == next);
    let (mode, target) = edge.expect("a cycle is made of edges").wanted;
    let what = match target {
        LockTarget::Relation(table) => format!("relation {table} of database {DATABASE}"),
        LockTarget::Row(storage) => format!("a tuple of storage {storage} of database {DATABASE}"),
        LockTarget::Transaction(txn) => format!("transaction {}", txn.xid()),
        LockTarget::Advisory(key) => {
            let (class, object, form) = key.parts();
            format!("advisory lock [{DATABASE},{class},{object},{form}]")
        }
    };
    format!("Process {} waits for {} on {what}; blocked by process {}.", pid(waiter), mode.name(), pid(holder))
}

/// Who of a cycle gives way.
fn victim(cycle: &[Party], edges: &[WaitEdge]) -> TxnId {
    let patience = |txn: TxnId| {
        let own = edges.iter().filter(|edge| edge.waiter == Party::Txn(txn));
        own.map(|edge| edge.deadlock_timeout_ms).min()
    };
    txns_of(cycle).min_by_key(|txn| (patience(*txn), Reverse(*txn))).expect("sessions wait through their transactions")
}

/// A place in a table's queue, given up when the wait ends in whatever way.
struct QueuePlace<'a> {
    engine: &'a Engine,
    txn: TxnId,
    table: Oid,
    queued: bool,
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        if self.queued
            && let Ok(mut shard) = self.engine.0.shard.try_borrow_mut()
        {
            shard.table_locks.leave(self.table, self.txn);
        }
    }
}

/// The members of a shortest cycle that starts and ends at `start`, in order of waiting.
fn cycle_through(edges: &[WaitEdge], start: Party) -> Option<Vec<Party>> {
    let mut waits: FxHashMap<Party, Vec<Party>> = FxHashMap::default();
    for edge in edges {
        waits.entry(edge.waiter).or_default().push(edge.holder);
    }
    for holders in waits.values_mut() {
        holders.sort_unstable();
    }
    let mut seen = FxHashSet::default();
    let mut paths = std::collections::VecDeque::from([vec![start]]);
    while let Some(path) = paths.pop_front() {
        let last = path.last().expect("paths start with the start");
        for holder in waits.get(last).into_iter().flatten() {
            if *holder == start {
                return Some(path);
            }
            if seen.insert(*holder) {
                let mut longer = path.clone();
                longer.push(*holder);
                paths.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::{AdvisoryKey, Asker};

    const WANTED: (TableLock, LockTarget) = (TableLock::Exclusive, LockTarget::Advisory(AdvisoryKey::Big(-1)));

    fn edges(pairs: &[(Party, Party)]) -> Vec<WaitEdge> {
        pairs.iter().map(|&(waiter, holder)| WaitEdge { waiter, holder, wanted: WANTED, deadlock_timeout_ms: 1_000 }).collect()
    }

    fn txn(number: u64) -> Party {
        Party::Txn(TxnId(number))
    }

    #[test]
    fn cycles_are_found_only_through_the_asker() {
        let found = |pairs: &[(u64, u64)], start| {
            let pairs: Vec<_> = pairs.iter().map(|(waiter, holder)| (txn(*waiter), txn(*holder))).collect();
            cycle_through(&edges(&pairs), txn(start)).map(|cycle| txns_of(&cycle).map(|txn| txn.0).collect())
        };
        assert_eq!(found(&[(1, 2), (2, 1)], 1), Some(vec![1, 2]));
        assert_eq!(found(&[(1, 2), (2, 3), (3, 1), (2, 4)], 3), Some(vec![3, 1, 2]));
        assert_eq!(found(&[(1, 2), (2, 3), (3, 2)], 1), None::<Vec<u64>>, "a cycle ahead is not the asker's");
        assert_eq!(found(&[(1, 2), (2, 3)], 1), None);
    }

    #[test]
    fn what_a_session_holds_closes_a_cycle_through_its_transaction() {
        let asker = Asker { pid: 7, ..Asker::of(TxnId(2)) };
        let wait = || WaitEdge::of(&asker, txn(1), (TableLock::Share, LockTarget::Relation(Oid(9))));
        let mut edges = edges(&[(txn(1), Party::Session(7))]);
        edges.extend(wait().take(1));
        assert_eq!(cycle_through(&edges, txn(1)), None, "whose session that is, is not known");
        edges.extend(wait());
        let cycle = cycle_through(&edges, txn(1)).expect("it is closed");
        assert_eq!(cycle, [txn(1), Party::Session(7), txn(2)]);
        assert_eq!(victim(&cycle, &edges), TxnId(2));
        let lock = "ExclusiveLock on advisory lock [5,4294967295,4294967295,1]";
        assert_eq!(wait_text(TxnId(1), TxnId(2), &cycle, &edges), format!("Process 0 waits for {lock}; blocked by process 7."));
        assert_eq!(
            wait_text(TxnId(2), TxnId(1), &cycle, &edges),
            "Process 7 waits for ShareLock on relation 9 of database 5; blocked by process 0."
        );
    }

    #[test]
    fn the_least_patient_gives_way_and_of_several_the_youngest() {
        let mut edges = edges(&[(txn(1), txn(2)), (txn(2), txn(3)), (txn(3), txn(1)), (txn(9), txn(1))]);
        let cycle = [txn(1), txn(2), txn(3)];
        assert_eq!(victim(&cycle, &edges), TxnId(3));
        edges[1].deadlock_timeout_ms = 10;
        assert_eq!(victim(&cycle, &edges), TxnId(2));
        edges[3].deadlock_timeout_ms = 1;
        assert_eq!(victim(&cycle, &edges), TxnId(2), "who is not in the cycle has no part in it");
    }
}
