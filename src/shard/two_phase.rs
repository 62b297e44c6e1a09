//! Two-phase commit for clients: PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED over all cores, and recovery.
//!
//! Preparing gathers what the transaction has done from its participants and commits rows that describe it (`shard::prepared`).
//! Its intents and locks stay where they are, held by a transaction that has no session any more: it is active on its
//! participants, so writers wait for it, readers do not see it, and its intents keep their tablets in place. It needs no
//! snapshot, so it holds back no garbage but that of its own rows, which every intent does.
//!
//! COMMIT PREPARED goes on with that transaction: it deletes the rows and commits both at one timestamp, as any commit does.
//! Until the clock is drawn that can fail, for want of log space say; then promises are taken back, the rows stay, and the
//! transaction is prepared as before. ROLLBACK PREPARED first deletes the rows, durably, in a transaction of its own; what is left is to
//! forget the intents, which a crash does as well.
//!
//! SERIALIZABLE is refused: what such a transaction has read would have to be guarded until the decision, across restarts. So is DDL,
//! because storages that exist only if their transaction commits are not logged; and so are advisory locks, which belong to sessions.

use std::ops::Bound;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::{CoreId, Oid};
use crate::error::{SqlError, SqlResult};
use crate::runtime::{self, QueueClass};
use crate::shard::api::{KeyRange, RowAction, RowOutput, RowUpdate, ScanSpec};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Request, TableLockRequest};
use crate::shard::prepared::{Description, assemble, piece_key};
use crate::shard::state::{PREPARED_STORAGE, Shared};
use crate::shard::txn_handle::Txn;
use crate::storage::Key;
use crate::txn::prepared::{PreparedInfo, PreparedTxn};
use crate::txn::{Isolation, LockWait, TableLock};
use crate::wal::WriteSet;

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// Writes and row locks given to an owner in one message of recovery, in encoded bytes.
const RESTORE_BATCH_BYTES: usize = 128 << 10;

/// What is said of a transaction that is being prepared.
#[derive(Clone, Debug)]
pub struct PrepareAs {
    /// The client's identifier.
    pub gid: String,
    /// Who prepares it.
    pub owner: String,
    /// Connected to this database.
    pub database: String,
    /// Now, in microseconds since 2000-01-01 UTC.
    pub now_micros: i64,
}

/// An identifier that is taken while something is done about its transaction; given free unless it is kept.
struct Claim {
    shared: Arc<Shared>,
    gid: String,
    kept: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.shared.prepared.forget(&self.gid);
        }
    }
}

/// Deletes a row of a description.
struct Forget;

impl RowUpdate for Forget {
    fn apply(&self, _row: &[u8], _out: &mut RowOutput) -> SqlResult<RowAction> {
        Ok(RowAction::Delete)
    }
}

/// 0A000 for what cannot be prepared.
fn check_preparable(txn: &Txn) -> SqlResult<()> {
    let changes_catalog = txn.catalog().is_some() || !txn.created_storages.is_empty() || !txn.dropped_storages.is_empty();
    if changes_catalog {
        return Err(SqlError::unsupported("PREPARE TRANSACTION of a transaction that has executed DDL or ANALYZE"));
    }
    if !txn.advisory_locks.is_empty() {
        return Err(SqlError::unsupported("PREPARE TRANSACTION of a transaction that has taken advisory locks"));
    }
    if txn.isolation == Isolation::Serializable {
        return Err(SqlError::unsupported("PREPARE TRANSACTION at isolation level SERIALIZABLE"));
    }
    Ok(())
}

impl Engine {
    /// Prepares a transaction: when it returns, the transaction survives this session and this server, and waits for
    /// [`Engine::commit_prepared`] or [`Engine::rollback_prepared`]. After an error it is aborted.
    pub async fn prepare_transaction(&self, mut txn: Txn, said: PrepareAs) -> SqlResult<()> {
        if let Err(error) = self.settle_additions(&mut txn).await {
            self.abort(txn).await;
            return Err(error.into());
        }
        let reserved = check_preparable(&txn).and_then(|()| self.0.shared.prepared.reserve(&said.gid));
        let number = match reserved {
            Ok(number) => number,
            Err(error) => {
                self.abort(txn).await;
                return Err(error);
            }
        };
        let claim = Claim { shared: self.0.shared.clone(), gid: said.gid.clone(), kept: false };
        // What it has read does not matter any more.
        txn.pin = None;
        let engine = self.clone();
        // A task of its own, so that a session that goes away leaves it whole: prepared or aborted.
        let task =
            runtime::spawn_joinable(
                QueueClass::Interactive,
                async move { engine.prepare_claimed(txn, said, number, claim).await },
            );
        Ok(task.await.unwrap_or(Err(EngineError::LogFailed))?)
    }

    async fn prepare_claimed(self, mut txn: Txn, said: PrepareAs, number: u64, mut claim: Claim) -> EngineResult<()> {
        let PrepareAs { gid, owner, database, now_micros } = said;
        let info = Arc::new(PreparedInfo { number, gid, owner, database, prepared_micros: now_micros });
        let pieces = match self.describe(&txn, info.clone()).await {
            Ok(pieces) => pieces,
            Err(error) => {
                self.abort(txn).await;
                return Err(error);
            }
        };
        let prepared = PreparedTxn {
            info,
            txn: txn.id,
            command: txn.command,
            participants: txn.touched.clone(),
            home: self.0.core,
            table_locks: std::mem::take(&mut txn.table_locks),
            pieces,
        };
        // The handle has nothing to abort any more.
        txn.finished = true;
        claim.kept = true;
        self.0.shared.prepared.put(prepared);
        Ok(())
    }

    /// Commits the rows that describe a transaction; how many they are.
    async fn describe(&self, txn: &Txn, info: Arc<PreparedInfo>) -> EngineResult<u32> {
        let (mut writes, mut row_locks) = (WriteSet::new(), WriteSet::new());
        for &core in &txn.touched {
            let mut from = Some(0);
            while let Some(at) = from {
                let effects = if core == self.0.core {
                    self.0.shard.borrow().effects_of(txn.id, at)
                } else {
                    self.ask(core, Request::CollectEffects { txn: txn.id, from: at }).await.effects()?
                };
                effects.writes.iter().for_each(|write| writes.push(write));
                effects.row_locks.iter().for_each(|lock| row_locks.push(lock));
                from = effects.next;
                runtime::yield_now().await;
            }
        }
        let description = Description { info, table_locks: txn.table_locks.to_vec(), row_locks, writes };
        let rows = description.rows().ok_or(EngineError::Limit("a prepared transaction is too large"))?;
        let pieces = u32::try_from(rows.len()).expect("pieces are numbered in 24 bits");
        let mut describing = self.begin(Isolation::ReadCommitted, false);
        let view = self.write_view(&mut describing);
        if let Err(error) = self.insert(&mut describing, &view, PREPARED_STORAGE, rows).await {
            self.abort(describing).await;
            return Err(error);
        }
        self.commit(describing).await?;
        Ok(pieces)
    }

    /// Commits a prepared transaction; durable when it returns. After an error it is still prepared.
    pub async fn commit_prepared(&self, gid: &str) -> SqlResult<()> {
        let prepared = self.0.shared.prepared.take(gid)?;
        let engine = self.clone();
        let task = runtime::spawn_joinable(QueueClass::Interactive, async move { engine.commit_taken(prepared).await });
        Ok(task.await.unwrap_or(Err(EngineError::LogFailed))?)
    }

    async fn commit_taken(self, prepared: PreparedTxn) -> EngineResult<()> {
        let mut txn = Txn::new(prepared.txn, Isolation::ReadCommitted, false);
        // Whatever happens to this handle, the transaction is not to be aborted with it.
        txn.finished = true;
        txn.touched = prepared.participants.clone();
        txn.command = prepared.command;
        let before = self.savepoint(&mut txn);
        let decided = match self.delete_description(&mut txn, &prepared).await {
            Ok(()) => self.commit_in_place(&mut txn).await.map(drop),
            Err(error) => Err(error),
        };
        match decided {
            Ok(()) => {
                self.release_prepared(&prepared).await;
                Ok(())
            }
            // Whether it is committed is for the next start to find out.
            Err(EngineError::LogFailed) => Err(EngineError::LogFailed),
            Err(error) => {
                self.withdraw_on(&txn).await;
                self.rollback_to(&mut txn, before).await;
                // Should a deletion have reached a core that was none of them, it is one now.
                self.0.shared.prepared.put(PreparedTxn { participants: txn.touched.clone(), command: txn.command, ..prepared });
                Err(error)
            }
        }
    }

    /// Rolls a prepared transaction back; durable when it returns. After an error it is still prepared.
    pub async fn rollback_prepared(&self, gid: &str) -> SqlResult<()> {
        let prepared = self.0.shared.prepared.take(gid)?;
        let engine = self.clone();
        let task = runtime::spawn_joinable(QueueClass::Interactive, async move { engine.rollback_taken(prepared).await });
        Ok(task.await.unwrap_or(Err(EngineError::LogFailed))?)
    }

    async fn rollback_taken(self, prepared: PreparedTxn) -> EngineResult<()> {
        let mut deciding = self.begin(Isolation::ReadCommitted, false);
        let decided = match self.delete_description(&mut deciding, &prepared).await {
            Ok(()) => self.commit(deciding).await.map(drop),
            Err(error) => {
                self.abort(deciding).await;
                Err(error)
            }
        };
        match decided {
            Ok(()) => {
                self.abort_on(prepared.txn, &prepared.participants).await;
                self.release_prepared(&prepared).await;
                Ok(())
            }
            Err(EngineError::LogFailed) => Err(EngineError::LogFailed),
            Err(error) => {
                self.0.shared.prepared.put(prepared);
                Err(error)
            }
        }
    }

    async fn delete_description(&self, txn: &mut Txn, prepared: &PreparedTxn) -> EngineResult<()> {
        let keys = (0..prepared.pieces as usize).map(|piece| piece_key(prepared.info.number, piece));
        let keys: Vec<Key> = keys.map(|key| key.expect("the row was written")).collect();
        let view = self.write_view(txn);
        let done = self.modify_many(txn, &view, PREPARED_STORAGE, keys, Arc::new(Forget)).await?;
        assert!(
            done.iter().all(|row| row.action == RowAction::Delete),
            "the rows of a prepared transaction stay until it is decided"
        );
        Ok(())
    }

    /// Takes back what participants have promised to a commit that will not be.
    async fn withdraw_on(&self, txn: &Txn) {
        let mut calls = Vec::new();
        for &core in &txn.touched {
            if core == self.0.core {
                self.0.shard.borrow_mut().withdraw(txn.id);
            } else {
                calls.push((core, self.ask(core, Request::Withdraw { txn: txn.id })));
            }
        }
        join_calls(calls).await;
    }

    /// Releases what a decided transaction held besides its intents and row locks.
    async fn release_prepared(&self, prepared: &PreparedTxn) {
        let tables: Vec<Oid> = prepared.table_locks.iter().map(|(table, _)| *table).collect();
        let strong = prepared.table_locks.iter().any(|(_, mode)| !mode.is_weak());
        let cores = (0..self.0.shared.cores).map(|core| CoreId(core as u16));
        let mut calls = Vec::new();
        for core in cores.filter(|core| strong || *core == prepared.home) {
            if core == self.0.core {
                self.unlock_tables_here(prepared.txn, &tables);
            } else {
                calls.push((core, self.ask(core, Request::UnlockTables { txn: prepared.txn, tables: tables.clone() })));
            }
        }
        join_calls(calls).await;
        self.0.shared.prepared.forget(&prepared.info.gid);
    }

    /// Brings back the transactions that were prepared and not decided, with their intents and locks; how many. Part of
    /// recovery, on core 0, when all rows are there and nobody else uses the engine.
    pub(super) async fn restore_prepared(&self) -> Result<usize, String> {
        let found = assemble(self.described_rows().await.map_err(|error| format!("{error:?}"))?)?;
        let count = found.len();
        for (description, pieces) in found {
            let gid = description.info.gid.clone();
            let restored = self.restore(description, pieces).await;
            restored.map_err(|error| format!("prepared transaction \"{gid}\" cannot be brought back: {error:?}"))?;
        }
        Ok(count)
    }

    async fn described_rows(&self) -> EngineResult<Vec<(i64, Vec<u8>)>> {
        let range = KeyRange { lower: Bound::Unbounded, upper: Bound::Unbounded };
        let spec = ScanSpec { storage: PREPARED_STORAGE, range, reverse: false, filter: None, limit: None, with_keys: true };
        let mut cursor = self.scan(self.read_view(None), spec);
        let mut rows = Vec::new();
        while let Some(batch) = cursor.next().await? {
            for (key, row) in batch.keys().iter().zip(batch.iter()) {
                let (Key::Int(key), Some(row)) = (key, row) else {
                    return Err(EngineError::Internal("a prepared transaction's row has no integer key"));
                };
                rows.push((*key, row.to_vec()));
            }
        }
        Ok(rows)
    }

    async fn restore(&self, description: Description, pieces: u32) -> EngineResult<()> {
        let mut txn = self.begin(Isolation::ReadCommitted, false);
        txn.finished = true;
        for (table, mode) in &description.table_locks {
            self.restore_table_lock(&txn, *table, *mode).await?;
        }
        let cores = self.0.shared.cores;
        let mut batches: Vec<Effects> = (0..cores).map(|_| Effects::default()).collect();
        let locks = description.row_locks.iter().map(|lock| (lock, true));
        for (effect, is_lock) in description.writes.iter().map(|write| (write, false)).chain(locks) {
            let owner = self.owner(effect.storage, &effect.key.to_key()).ok_or(EngineError::StorageGone(effect.storage))?;
            txn.touch(owner);
            let batch = &mut batches[owner.index()];
            (if is_lock { &mut batch.row_locks } else { &mut batch.writes }).push(effect);
            if batch.row_locks.bytes() + batch.writes.bytes() >= RESTORE_BATCH_BYTES {
                let batch = std::mem::take(batch);
                self.restore_on(owner, &txn, batch).await?;
            }
        }
        for (core, batch) in batches.into_iter().enumerate() {
            self.restore_on(CoreId(core as u16), &txn, batch).await?;
        }
        self.0.shared.prepared.restore(PreparedTxn {
            info: description.info,
            txn: txn.id,
            command: txn.command,
            participants: txn.touched.clone(),
            home: self.0.core,
            table_locks: SmallVec::from_vec(description.table_locks),
            pieces,
        });
        Ok(())
    }

    async fn restore_on(&self, core: CoreId, txn: &Txn, effects: Effects) -> EngineResult<()> {
        #[cfg(test)]
        if sabotage::is(Sabotage::ForgottenIntents) && core.index() + 1 == self.0.shared.cores {
            return Ok(());
        }
        if effects.writes.is_empty() && effects.row_locks.is_empty() {
            return Ok(());
        }
        if core == self.0.core {
            let restored = self.0.shard.borrow_mut().restore_effects(txn.id, &effects);
            runtime::yield_now().await;
            return restored;
        }
        self.ask(core, Request::RestoreEffects { txn: txn.id, effects: Box::new(effects) }).await.done()
    }

    async fn restore_table_lock(&self, txn: &Txn, table: Oid, mode: TableLock) -> EngineResult<()> {
        let request = TableLockRequest { asker: txn.asker(), table, mode, wait: LockWait::NoWait };
        let cores = if mode.is_weak() { 1 } else { self.0.shared.cores };
        for core in (0..cores).map(|core| CoreId(core as u16)) {
            if core == self.0.core {
                self.lock_table_here(request).await?;
            } else {
                self.ask(core, Request::LockTable(request)).await.done()?;
            }
        }
        Ok(())
    }
}

/// Some of what a transaction has done on one core.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// The newest of its writes to each key.
    pub writes: WriteSet,
    /// Its row locks, with their strengths as values.
    pub row_locks: WriteSet,
    /// Where there is more of it.
    pub next: Option<usize>,
}
