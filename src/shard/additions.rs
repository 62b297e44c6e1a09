//! Updates that only add to a row's numbers, put off until their transaction ends, so that a hot row is not a queue.
//!
//! Additions commute: whose turn comes first makes no difference to anybody who has not seen the row in between. Where several
//! READ COMMITTED transactions are after a row to add to it, each takes it with [`LockStrength::Add`], which excludes everybody else
//! but not each other, and places no intent. When it commits, every participant carries its additions out on the rows' newest versions, in
//! the poll that reserves log space; from there on they are intents like any other (O'Neil, "The Escrow Transactional Method",
//! ACM TODS 11(4), 1986, is the general idea).
//!
//! Architecture Invariant: WHO LOOKS, TAKES TURNS. A row that an UPDATE has changed is locked until the end of the transaction, and
//! applications use such rows as mutexes. Before a transaction with additions observes anything, it is settled: it waits until it
//! has its rows for itself, as it would have had to at the update, and carries the additions out. The caller sees to that
//! ([`Engine::settle_additions`]); what is left to do without is to add, to insert and to commit.
//!
//! A commit waits only for intents of commits, which end by themselves: those with additions on several cores prepare in the order
//! of the cores, and on one core all rows are free or none is taken. A row where settling had to wait is not added to in this way for a while:
//! there, transactions look at what they have added to, and would only take their turns later than need be.

use std::time::Duration;

use rustc_hash::FxHashMap;
use std::sync::Arc;

use crate::base::{CommitTs, StorageId, TxnId};
use crate::runtime::{self, MonoTime};
use crate::shard::api::{ReadView, RowAction, RowOutput, RowUpdate};
use crate::shard::engine::Engine;
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Request, WriteJob, Writer};
use crate::shard::state::{Need, Shard};
use crate::shard::txn_handle::Txn;
use crate::shard::write::{Place, Target, WRITE_OVERHEAD, WriteTask};
use crate::storage::{Key, View};
use crate::txn::{Asker, Isolation, LockStrength, WriteRef};

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// Transactions that add to a row at once; programs promise that the sum of so many additions overflows nothing.
pub const ADDERS_MAX: usize = 1024;

/// How long a storage's rows are not added to by several at once after one of them was wanted for itself in between.
const TURNS: Duration = Duration::from_secs(30);

/// An update that is put off.
struct Addition {
    storage: StorageId,
    key: Key,
    command: u32,
    program: Arc<dyn RowUpdate>,
}

/// What transactions have put off on one core.
#[derive(Default)]
pub struct Additions {
    by_slot: FxHashMap<u32, Vec<Addition>>,
    /// Storages whose rows are updated in turns, until when.
    turns: FxHashMap<StorageId, MonoTime>,
}

impl Additions {
    /// Whether a transaction has put anything off.
    pub fn has_any(&self, slot: u32) -> bool {
        !self.by_slot.is_empty() && self.by_slot.contains_key(&slot)
    }

    fn has(&self, slot: u32, storage: StorageId, key: &Key) -> bool {
        self.by_slot.get(&slot).is_some_and(|own| own.iter().any(|addition| addition.is_on(storage, key)))
    }

    /// Forgets what commands from `command` on have put off.
    pub fn forget(&mut self, slot: u32, command: u32) {
        if let Some(own) = self.by_slot.get_mut(&slot) {
            own.retain(|addition| addition.command < command);
            if own.is_empty() {
                self.by_slot.remove(&slot);
            }
        }
    }

    fn takes_turns(&mut self, storage: StorageId) -> bool {
        let Some(until) = self.turns.get(&storage) else { return false };
        let still = runtime::now() < *until;
        if !still {
            self.turns.remove(&storage);
        }
        still
    }
}

impl Addition {
    fn is_on(&self, storage: StorageId, key: &Key) -> bool {
        self.storage == storage && self.key == *key
    }
}

impl Shard {
    /// The strength in which an update wants a row: [`LockStrength::Add`] if others are after it too and it can be put off.
    ///
    /// Errors: [`EngineError::MustSettle`] if the transaction has put off another update of the row, and this one has to see it.
    pub(super) fn strength_of_update(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        program: &dyn RowUpdate,
    ) -> EngineResult<LockStrength> {
        if self.row_locks.is_empty() || self.row_locks.adders(at.storage, key, at.ticket) == 0 && at.ticket.is_none() {
            return Ok(LockStrength::NoKeyUpdate);
        }
        let slot = self.txns.find(at.writer.asker.txn);
        let again = slot.is_some_and(|slot| self.additions.has(slot, at.storage, key));
        if self.may_put_off(at, key, program, again) {
            Ok(LockStrength::Add)
        } else if again {
            Err(EngineError::MustSettle)
        } else {
            Ok(LockStrength::NoKeyUpdate)
        }
    }

    /// The strength in which an update waits for a row that is not free for it in `wanted`: all who only add to it go on together.
    pub(super) fn strength_to_wait_in(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        program: &dyn RowUpdate,
        wanted: LockStrength,
    ) -> LockStrength {
        if self.may_put_off(at, key, program, false) { LockStrength::Add } else { wanted }
    }

    fn may_put_off(&mut self, at: &Target<'_>, key: &Key, program: &dyn RowUpdate, again: bool) -> bool {
        if at.writer.isolation != Isolation::ReadCommitted || !at.alone || !again && self.additions.takes_turns(at.storage) {
            return false;
        }
        if self.row_locks.adders(at.storage, key, at.ticket) >= ADDERS_MAX {
            return false;
        }
        // The transaction's own intent is its lock.
        if self.has_intent(at.writer.asker.txn, at.storage, key) {
            return false;
        }
        let newest = View { snapshot: CommitTs(u64::MAX >> 1), txn: None, command: 0 };
        let Some(tablet) = self.tablet(at.storage, key) else { return false };
        tablet.read(key, &newest, &self.txns).is_some_and(|row| program.commutes(row))
    }

    /// Puts an update off; the row is free for it.
    pub(super) fn put_off(&mut self, at: &Target<'_>, key: &Key, program: &Arc<dyn RowUpdate>) -> EngineResult<()> {
        self.check_memory(key.heap_bytes() * 2 + WRITE_OVERHEAD, Need::Data)?;
        let (txn, command) = (at.writer.asker.txn, at.writer.command);
        let slot = self.txns.slot_of(txn);
        self.row_locks.grant(at.storage, key, (slot, txn), LockStrength::Add, command);
        self.txns.get_mut(slot).locks.push(WriteRef { storage: at.storage, key: key.clone(), command });
        let addition = Addition { storage: at.storage, key: key.clone(), command, program: program.clone() };
        self.additions.by_slot.entry(slot).or_default().push(addition);
        self.metrics.txn.put_off.inc();
        Ok(())
    }

    /// Carries out what the transaction has put off on a row that is free for it.
    pub(super) fn settle_row(&mut self, txn: TxnId, storage: StorageId, key: &Key) -> EngineResult<()> {
        let Some(slot) = self.txns.find(txn) else { return Ok(()) };
        self.carry_out(slot, |addition| addition.is_on(storage, key))?;
        // The intent holds the row from here on.
        self.row_locks.release_adder(storage, key, slot);
        Ok(())
    }

    /// Somebody who has added to a row wants it for itself, and others have it.
    pub(super) fn take_turns(&mut self, storage: StorageId) {
        self.additions.turns.insert(storage, runtime::now() + TURNS);
    }

    /// Carries out everything that the transaction has put off here. False, and nothing is done, if another's intent is in the way.
    pub(super) fn carry_out_all(&mut self, slot: u32) -> EngineResult<bool> {
        if !self.additions.has_any(slot) {
            return Ok(true);
        }
        #[cfg(test)]
        if sabotage::is(Sabotage::LostAddition) {
            self.additions.forget(slot, 0);
            return Ok(true);
        }
        if self.rows_put_off(slot).iter().any(|(storage, key)| !self.is_free_of_intents(slot, *storage, key)) {
            return Ok(false);
        }
        self.carry_out(slot, |_| true)?;
        Ok(true)
    }

    fn rows_put_off(&self, slot: u32) -> Vec<(StorageId, Key)> {
        let mut rows: Vec<(StorageId, Key)> = Vec::new();
        for addition in self.additions.by_slot.get(&slot).into_iter().flatten() {
            if !rows.iter().any(|(storage, key)| addition.is_on(*storage, key)) {
                rows.push((addition.storage, addition.key.clone()));
            }
        }
        rows
    }

    fn is_free_of_intents(&mut self, own: u32, storage: StorageId, key: &Key) -> bool {
        let position = self.tablet_position(storage, key).expect("a tablet with locked rows stays where it is");
        self.resolve_leftover(storage, position, key);
        self.tablets[&storage][position].head_slot(key).is_none_or(|slot| slot == own)
    }

    /// Turns additions into intents, in the order of their commands. After an error those that are left are put off still: a
    /// savepoint may save the transaction.
    fn carry_out(&mut self, slot: u32, which: impl Fn(&Addition) -> bool) -> EngineResult<()> {
        let mut left = self.additions.by_slot.remove(&slot).unwrap_or_default();
        let mut outcome = Ok(());
        left.retain(|addition| {
            if outcome.is_err() || !which(addition) {
                return true;
            }
            outcome = self.carry_out_one(slot, addition);
            outcome.is_err()
        });
        if !left.is_empty() {
            self.additions.by_slot.insert(slot, left);
        }
        outcome
    }

    fn carry_out_one(&mut self, slot: u32, addition: &Addition) -> EngineResult<()> {
        let Addition { storage, key, command, program } = addition;
        let tablet = self.tablet(*storage, key).expect("a tablet with locked rows stays where it is");
        let row = tablet.newest_row(key).expect("a row that somebody adds to is not deleted");
        let mut output = RowOutput::default();
        let action = program.apply(row, &mut output)?;
        assert_eq!(action, RowAction::Replace, "a program that commutes adds to every row that it was told of");
        self.place(&Place { slot, storage: *storage, command: *command, need: Need::MakesRoom }, key, Some(&output.row))
    }
}

/// Who settles: every addition has its own command, and the newest version is its row.
fn settler(asker: Asker) -> Writer {
    let view = ReadView { snapshot: CommitTs(0), txn: Some(asker.txn), command: 0, tracked: false };
    Writer { asker, isolation: Isolation::ReadCommitted, command: 0, view }
}

impl Engine {
    /// Has a transaction's rows for itself before it observes anything: waits for others who add to them, and carries out what was
    /// put off.
    pub async fn settle_additions(&self, txn: &mut Txn) -> EngineResult<()> {
        if !txn.has_put_off() {
            return Ok(());
        }
        #[cfg(test)]
        if sabotage::is(Sabotage::LookWithoutTurn) {
            return Ok(());
        }
        let writer = settler(txn.asker());
        txn.is_settling = true;
        let mut cores = txn.put_off_on.clone();
        cores.sort_unstable();
        for core in cores {
            if core == self.0.core {
                self.settle_here(writer).await?;
            } else {
                self.ask(core, Request::Settle(writer)).await.done()?;
            }
        }
        txn.put_off_on.clear();
        txn.is_settling = false;
        txn.locks_held_until = self.0.shared.clock.now();
        Ok(())
    }

    pub(super) async fn settle_here(&self, writer: Writer) -> EngineResult<()> {
        self.visit_rows_put_off(writer, true).await
    }

    async fn visit_rows_put_off(&self, writer: Writer, alone: bool) -> EngineResult<()> {
        let rows = {
            let shard = self.0.shard.borrow();
            shard.txns.find(writer.asker.txn).map(|slot| shard.rows_put_off(slot))
        };
        for (storage, key) in rows.into_iter().flatten() {
            let job = WriteJob::Settle { keys: vec![key], alone };
            self.drive(WriteTask::new(writer, storage, job)).await?;
        }
        Ok(())
    }

    /// Carries out what a transaction that commits has put off here.
    pub(super) async fn carry_out_here(&self, slot: u32) -> EngineResult<()> {
        loop {
            let txn = {
                let mut shard = self.0.shard.borrow_mut();
                if shard.carry_out_all(slot)? {
                    return Ok(());
                }
                shard.txns.get(slot).id
            };
            self.visit_rows_put_off(settler(Asker::of(txn)), false).await?;
        }
    }
}
