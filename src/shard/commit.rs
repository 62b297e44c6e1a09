//! Commit and abort on a participant.
//!
//! Architecture Invariant: DENSE CLOCK. Log space is reserved and a bound published ([`Shard::promise`]) before the clock is
//! drawn; after the draw, [`Shard::install`] cannot fail.
//!
//! Architecture Invariant: VOTES, NOT DECISIONS. Every participant logs the same {timestamp, participants} with its own
//! writes; the transaction is committed exactly if all of them have it. There is no second record.
//!
//! A transaction with more writes than fit a record logs them in chunks first; its commit record then only names them.

use crate::base::{CommitTs, CoreId, TxnId};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::state::{CATALOG_STORAGE, Garbage, Promise, Shard};
use crate::txn::row_locks::Wake;
use crate::txn::{TxnState, WriteRef};
use crate::wal::{Body, ChunkedTxn, Reservation, WalError, WriteRef as LogWrite, WriteSet};

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// Log bytes above which a transaction's writes are logged in chunks.
const CHUNK_BYTES: usize = 512 * 1024;
/// Intents resolved within the poll that decides; more are left to the maintenance task.
const RESOLVE_INLINE: usize = 128;

impl From<WalError> for EngineError {
    fn from(error: WalError) -> Self {
        match error {
            WalError::DiskFull { .. } => EngineError::DiskFull,
            _ => EngineError::LogFailed,
        }
    }
}

impl Shard {
    /// The slot of a transaction with intents here.
    pub(super) fn writing_slot(&self, txn: TxnId) -> Option<u32> {
        self.txns.find(txn).filter(|slot| !self.txns.get(*slot).writes.is_empty() || self.additions.has_any(*slot))
    }

    /// The slot of a transaction with intents, or reads to validate, here.
    pub(super) fn participating_slot(&self, txn: TxnId) -> Option<u32> {
        self.txns.find(txn).filter(|slot| {
            let entry = self.txns.get(*slot);
            !entry.writes.is_empty() || entry.reads.is_some() || self.additions.has_any(*slot)
        })
    }

    /// Whether a transaction's writes have to be logged in chunks.
    pub(super) fn needs_chunks(&self, slot: u32) -> bool {
        self.txns.get(slot).log_bytes > self.chunk_bytes()
    }

    /// The longest record; without a log, which is before anybody writes, there is no limit.
    fn record_bytes_max(&self) -> usize {
        self.wal.as_ref().map_or(usize::MAX, |wal| wal.record_bytes_max())
    }

    /// The most that the writes of one record take, unless a single one takes more.
    pub(super) fn chunk_bytes(&self) -> usize {
        CHUNK_BYTES.min(self.record_bytes_max() - Body::commit_bytes(self.shared.cores, true, 0))
    }

    /// Refuses a write that fits no record.
    pub(super) fn check_log_bytes(&self, bytes: usize) -> EngineResult<()> {
        let limit = self.record_bytes_max() - Body::chunk_bytes(0);
        if bytes <= limit { Ok(()) } else { Err(EngineError::RowTooLarge { bytes, limit }) }
    }

    /// Bytes the commit record takes at most: of several writes to a key only the newest is logged, but all are counted.
    pub(super) fn commit_record_bytes(&self, slot: u32, chunks: u32) -> usize {
        let writes = if chunks == 0 { self.txns.get(slot).log_bytes } else { 0 };
        Body::commit_bytes(self.shared.cores, chunks > 0, writes)
    }

    /// Encodes a transaction's writes from position `from` on, at least one, as long as they take no more than `bytes_max`;
    /// returns the position reached. Of several writes to a key only the newest counts.
    pub(super) fn collect_writes(&self, slot: u32, from: usize, bytes_max: usize, set: &mut WriteSet) -> usize {
        let writes = &self.txns.get(slot).writes;
        for (i, write) in writes.iter().enumerate().skip(from) {
            let tablet = self.tablet(write.storage, &write.key).expect("a tablet with intents stays where it is");
            if let Some((command, row)) = tablet.intent(&write.key, slot)
                && command == write.command
            {
                let write = LogWrite { storage: write.storage, key: (&write.key).into(), value: row };
                if !set.is_empty() && set.bytes() + write.encoded_bytes() > bytes_max {
                    return i;
                }
                set.push(write);
            }
        }
        writes.len()
    }

    /// Promises to commit: from here on nothing can fail. The reservation covers [`Shard::commit_record_bytes`].
    pub(super) fn promise(&mut self, slot: u32, reservation: Reservation, chunks: u32) {
        let entry = self.txns.get_mut(slot);
        assert_eq!(entry.state, TxnState::Active, "a transaction promises once");
        entry.state = TxnState::Prepared;
        let bound = CommitTs(self.shared.clock.now().0 + 1);
        let before = self.promises.insert(slot, Promise { bound, reservation, chunks });
        assert!(before.is_none(), "a slot has one promise");
        self.publish_undecided();
    }

    /// Installs a promised transaction at `ts` and puts it into the log's next group. `participants` is empty for a
    /// transaction of this core alone.
    pub(super) fn install(&mut self, slot: u32, ts: CommitTs, participants: &[CoreId]) {
        let promise = self.promises.remove(&slot).expect("only a promised transaction is installed");
        assert!(ts >= promise.bound, "the clock was drawn after the bound was published");
        self.log_commit(slot, ts, participants, promise.reservation, promise.chunks);
        self.publish_catalog_changes(slot);
        match participants {
            [] => self.metrics.txn.commits_one_core.inc(),
            [first, ..] if *first == self.core => self.metrics.txn.commits_several_cores.inc(),
            _ => {}
        }
        self.decide(slot, TxnState::Committed(ts));
        // Last: from here on snapshots may include `ts`.
        self.publish_undecided();
    }

    fn log_commit(&mut self, slot: u32, ts: CommitTs, participants: &[CoreId], reservation: Reservation, chunks: u32) {
        let mut set = std::mem::take(&mut self.write_set);
        set.clear();
        if chunks == 0 {
            self.collect_writes(slot, 0, usize::MAX, &mut set);
        }
        let chunked = (chunks > 0).then(|| ChunkedTxn { txn: self.txns.get(slot).id, chunks });
        let wal = self.wal.as_ref().expect("writes are accepted only once the log is open");
        let undurable = wal.lowest_unflushed_ts().map_or(ts, |lowest| lowest.min(ts));
        self.shared.clock.set_undurable(self.core, Some(undurable));
        wal.append(reservation, &Body::Commit { ts, participants, chunked, writes: &set });
        self.write_set = set;
    }

    /// Commits a transaction of this core alone in one poll. The reservation covers its record.
    pub(super) fn commit_alone(&mut self, slot: u32, reservation: Reservation, chunks: u32) -> CommitTs {
        self.promise(slot, reservation, chunks);
        self.install_alone(slot)
    }

    /// Draws the clock for a promised transaction of this core alone, and installs it.
    pub(super) fn install_alone(&mut self, slot: u32) -> CommitTs {
        let ts = self.shared.clock.draw();
        self.install(slot, ts, &[]);
        ts
    }

    /// Carries out what the transaction has put off and reserves log space for its record, if it can promise at once.
    pub(super) fn try_reserve(&mut self, slot: u32) -> EngineResult<Option<Reservation>> {
        if !self.carry_out_all(slot)? || self.needs_chunks(slot) || self.has_to_validate(slot) {
            return Ok(None);
        }
        let bytes = self.commit_record_bytes(slot, 0);
        match self.wal.as_ref().ok_or(EngineError::LogFailed)?.reserve(bytes) {
            Ok(reservation) => Ok(Some(reservation)),
            Err(WalError::NoSpare | WalError::Backlog) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a promise back: the commit will not be, and the transaction goes on.
    pub(super) fn withdraw(&mut self, txn: TxnId) {
        if let Some(wal) = &self.wal {
            wal.abandon_chunks(txn);
        }
        let Some(slot) = self.txns.find(txn) else { return };
        if self.promises.remove(&slot).is_some() {
            self.txns.get_mut(slot).state = TxnState::Active;
            self.publish_undecided();
        }
    }

    /// Aborts whatever a transaction has here, and ends its waits.
    pub(super) fn abort(&mut self, txn: TxnId, why: Wake) {
        self.row_locks.abort_waits(txn, why);
        self.table_locks.abort_waits(txn, why);
        let Some(slot) = self.txns.find(txn) else { return };
        if self.promises.remove(&slot).is_some() {
            self.publish_undecided();
        }
        if let Some(wal) = &self.wal {
            wal.abandon_chunks(txn);
        }
        self.decide(slot, TxnState::Aborted);
    }

    /// Records a decision: readers see it at once; locks are released and waiters woken; intents are resolved here if they
    /// are few.
    fn decide(&mut self, slot: u32, state: TxnState) {
        self.txns.decide(slot, state);
        self.unguard(slot);
        self.additions.forget(slot, 0);
        self.txns.get_mut(slot).reads = None;
        let locks = std::mem::take(&mut self.txns.get_mut(slot).locks);
        let mut locked_only = false;
        for lock in &locks {
            locked_only |= self.row_locks.release(lock.storage, &lock.key, slot, 0);
        }
        if locked_only {
            // Where it has written nothing, this is all that is known of a commit.
            let end = if let TxnState::Committed(ts) = state { ts } else { self.shared.clock.now() };
            self.locks_held_until = self.locks_held_until.max(end);
        }
        if self.txns.get(slot).writes.len() > RESOLVE_INLINE {
            self.unresolved.push_back(slot);
            self.row_locks.all_freed();
            return;
        }
        let writes = std::mem::take(&mut self.txns.get_mut(slot).writes);
        for write in &writes {
            self.resolve_write(slot, state, write);
        }
        self.txns.release(slot);
        #[cfg(test)]
        if sabotage::is(Sabotage::LostWaiter) {
            return;
        }
        if !self.row_locks.is_empty() {
            for write in &writes {
                self.row_locks.freed(write.storage, &write.key);
            }
        }
    }

    /// Stamps or takes back one intent of a decided transaction.
    pub(super) fn resolve_write(&mut self, slot: u32, state: TxnState, write: &WriteRef) {
        let watermark = self.shared.clock.watermark();
        // The storage may have been dropped by the very transaction.
        let Some(tablet) = self.tablet_mut(write.storage, &write.key) else { return };
        match state {
            TxnState::Committed(ts) => {
                if tablet.stamp(&write.key, slot, ts, watermark) {
                    self.garbage.push_back(Garbage { ts, storage: write.storage, key: write.key.clone() });
                }
            }
            TxnState::Aborted => tablet.undo(&write.key, slot, 0),
            TxnState::Active | TxnState::Prepared => unreachable!("only decided transactions are resolved"),
        }
    }

    /// Undoes what a transaction wrote and locked by commands from `command` on.
    pub(super) fn rollback_to(&mut self, txn: TxnId, command: u32) {
        self.row_locks.abort_waits(txn, Wake::Aborted);
        let Some(slot) = self.txns.find(txn) else { return };
        #[cfg(test)]
        if sabotage::is(Sabotage::ForgottenSavepoint) && self.core == CoreId(0) {
            return;
        }
        let entry = self.txns.get_mut(slot);
        let keep = entry.writes.partition_point(|write| write.command < command);
        let undone = entry.writes.split_off(keep);
        let keep = entry.locks.partition_point(|lock| lock.command < command);
        let unlocked = entry.locks.split_off(keep);
        for write in undone.iter().rev() {
            if let Some(tablet) = self.tablet_mut(write.storage, &write.key) {
                tablet.undo(&write.key, slot, command);
            }
            self.row_locks.freed(write.storage, &write.key);
        }
        self.additions.forget(slot, command);
        for lock in &unlocked {
            self.row_locks.release(lock.storage, &lock.key, slot, command);
        }
    }

    /// Tells the catalog what a transaction changed in it.
    fn publish_catalog_changes(&mut self, slot: u32) {
        let writes = &self.txns.get(slot).writes;
        if !writes.iter().any(|write| write.storage == CATALOG_STORAGE) {
            return;
        }
        let mut changes = Vec::new();
        for write in writes.iter().filter(|write| write.storage == CATALOG_STORAGE) {
            let crate::storage::Key::Int(oid) = write.key else { unreachable!("catalog objects are keyed by OID") };
            let tablet = self.tablet(write.storage, &write.key).expect("a tablet with intents stays where it is");
            if let Some((command, row)) = tablet.intent(&write.key, slot)
                && command == write.command
            {
                changes.push((oid, row.map(<[u8]>::to_vec)));
            }
        }
        if let Some(hook) = self.shared.catalog_hook.get() {
            hook(&changes);
        }
    }
}
