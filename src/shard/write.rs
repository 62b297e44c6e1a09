//! Writes on the owner: placing intents and taking row locks, one key at a time.
//!
//! A [`WriteTask`] works through the keys of one job until it is done, meets a key this core does not own, fails, or finds a
//! row that another transaction holds. It never awaits; whoever drives it awaits the row's signal and calls it again.
//!
//! READ COMMITTED re-evaluates on the newest version after waiting (PostgreSQL 15 documentation, 13.2.1); the other levels
//! answer 40001 when the newest version is newer than the snapshot.

use std::cell::Cell;
use std::sync::Arc;

use crate::base::{CommitTs, StorageId, TxnId};
use crate::runtime::signal::Receiver;
use crate::shard::api::{ReadView, RowAction, RowBatch, RowFilter, RowOutput, RowUpdate};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Inserted, Modified, OnExisting, WriteJob, WriteOutcome, WriteReply, Writer};
use crate::shard::state::{CATALOG_STORAGE, Need, Shard};
use crate::storage::{Head, Key, View};
use crate::txn::row_locks::{Ticket, Wake};
use crate::txn::{Asker, Isolation, LockStrength, LockWait, TxnState, WriteRef};
use crate::wal::WriteRef as LogWrite;

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// Bytes a write's bookkeeping takes beyond key and row: the reference, the version header, the log entry's head.
pub(super) const WRITE_OVERHEAD: usize = size_of::<WriteRef>() + 24 + 32;

/// What trying one key came to.
enum Attempt<T> {
    Done(T),
    /// Somebody holds the row; the strength we want.
    Wait(LockStrength),
    /// Another core owns the key.
    Moved,
}

/// Where a task stands.
pub enum Step {
    /// All keys are done, or the rest belongs elsewhere.
    Done,
    /// Await this, then step again.
    Wait(Receiver<Wake>),
}

/// A write job in progress.
pub struct WriteTask {
    writer: Writer,
    storage: StorageId,
    job: WriteJob,
    outcome: WriteOutcome,
    next: usize,
    moved_at: Option<usize>,
    ticket: Option<Ticket>,
    output: RowOutput,
    /// Who had the rows so far before has committed no later.
    held_until: CommitTs,
}

impl WriteTask {
    /// A task at its first key.
    pub fn new(writer: Writer, storage: StorageId, job: WriteJob) -> Self {
        let outcome = match &job {
            WriteJob::Insert { selection, .. } => WriteOutcome::Inserted(Vec::with_capacity(selection.len())),
            WriteJob::Modify { keys, .. } => WriteOutcome::Modified(Vec::with_capacity(keys.len())),
            WriteJob::Lock { .. } => WriteOutcome::Locked(RowBatch::default()),
            WriteJob::Settle { .. } => WriteOutcome::Modified(Vec::new()),
        };
        Self {
            writer,
            storage,
            job,
            outcome,
            next: 0,
            moved_at: None,
            ticket: None,
            output: RowOutput::default(),
            held_until: CommitTs(0),
        }
    }

    /// What was done, in answer to whoever asked.
    pub fn finish(self) -> WriteReply {
        WriteReply { outcome: self.outcome, moved_at: self.moved_at, held_until: self.held_until }
    }

    /// For whom.
    pub fn asker(&self) -> &Asker {
        &self.writer.asker
    }

    fn keys(&self) -> usize {
        match &self.job {
            WriteJob::Insert { selection, .. } => selection.len(),
            WriteJob::Modify { keys, .. } | WriteJob::Lock { keys, .. } | WriteJob::Settle { keys, .. } => keys.len(),
        }
    }

    /// The key at the task's position.
    fn key(&self) -> &Key {
        match &self.job {
            WriteJob::Insert { rows, selection, .. } => &rows[selection[self.next] as usize].0,
            WriteJob::Modify { keys, .. } | WriteJob::Lock { keys, .. } | WriteJob::Settle { keys, .. } => &keys[self.next],
        }
    }

    /// Goes on as far as it can.
    pub fn step(&mut self, shard: &mut Shard) -> EngineResult<Step> {
        let step = self.step_on(shard);
        self.held_until = self.held_until.max(shard.locks_held_until);
        step
    }

    fn step_on(&mut self, shard: &mut Shard) -> EngineResult<Step> {
        while self.next < self.keys() {
            match self.try_next(shard) {
                Ok(Attempt::Done(())) => {
                    self.leave_queue(shard);
                    self.next += 1;
                }
                Ok(Attempt::Moved) => {
                    self.leave_queue(shard);
                    self.moved_at = Some(self.next);
                    return Ok(Step::Done);
                }
                Ok(Attempt::Wait(strength)) => {
                    let key = self.key().clone();
                    let (asker, has_intent) = (self.writer.asker, shard.has_intent(self.writer.asker.txn, self.storage, &key));
                    let (ticket, receiver) = shard.row_locks.wait(self.storage, &key, asker, strength, self.ticket, has_intent);
                    self.ticket = Some(ticket);
                    return Ok(Step::Wait(receiver));
                }
                Err(error) => {
                    self.leave_queue(shard);
                    return Err(error);
                }
            }
        }
        Ok(Step::Done)
    }

    /// Gives up a place in a row's queue, if the task has one.
    pub fn leave_queue(&mut self, shard: &mut Shard) {
        if let Some(ticket) = self.ticket.take() {
            shard.row_locks.leave(self.storage, self.key(), ticket);
        }
    }

    fn try_next(&mut self, shard: &mut Shard) -> EngineResult<Attempt<()>> {
        let Self { writer, storage, job, outcome, next, ticket, output, held_until, .. } = self;
        let alone = matches!(job, WriteJob::Modify { alone: true, .. });
        let at = Target { writer, storage: *storage, ticket: *ticket, alone, held_until: Cell::new(*held_until) };
        let attempt = match (job, outcome) {
            (WriteJob::Insert { rows, selection, on_existing }, WriteOutcome::Inserted(done)) => {
                let (key, row) = &rows[selection[*next] as usize];
                Ok(shard.try_insert(&at, key, row, on_existing, output)?.map(|inserted| done.push(inserted)))
            }
            (WriteJob::Modify { keys, program, .. }, WriteOutcome::Modified(done)) => {
                let key = &keys[*next];
                Ok(shard.try_modify(&at, key, program, output)?.map(|modified| done.push(modified)))
            }
            (WriteJob::Lock { keys, strength, wait, filter }, WriteOutcome::Locked(batch)) => {
                shard.try_lock_row(&at, &keys[*next], *strength, *wait, filter.as_deref(), batch)
            }
            (WriteJob::Settle { keys, alone }, _) => shard.try_settle(&at, &keys[*next], *alone),
            _ => unreachable!("the outcome was made for the job"),
        };
        *held_until = at.held_until.get();
        attempt
    }
}

impl<T> Attempt<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Attempt::Done(value) => Attempt::Done(f(value)),
            Attempt::Wait(strength) => Attempt::Wait(strength),
            Attempt::Moved => Attempt::Moved,
        }
    }
}

/// For whom and where a key is tried.
pub(super) struct Target<'a> {
    pub writer: &'a Writer,
    pub storage: StorageId,
    pub ticket: Option<Ticket>,
    /// It is the only key of an UPDATE.
    pub alone: bool,
    /// Raised to the commits of who had the row before.
    pub held_until: Cell<CommitTs>,
}

/// Whose intent is placed, and where.
pub(super) struct Place {
    pub slot: u32,
    pub storage: StorageId,
    pub command: u32,
    pub need: Need,
}

/// A key's state once it is known that its owner is this core and no other undecided transaction is in the way.
enum Free {
    Moved,
    Wait,
    Head(Head),
}

impl Shard {
    /// Looks at a key for a writer that wants it with `strength`.
    fn free_for(&mut self, at: &Target<'_>, key: &Key, strength: LockStrength) -> EngineResult<Free> {
        let Some(position) = self.tablet_position(at.storage, key) else {
            return if self.ranges().storage(at.storage).is_some() {
                Ok(Free::Moved)
            } else {
                Err(EngineError::StorageGone(at.storage))
            };
        };
        self.track_write(at.writer, at.storage, key);
        if self.locks_make_wait(at, key, strength) {
            return Ok(Free::Wait);
        }
        self.resolve_leftover(at.storage, position, key);
        let txns = &self.txns;
        let tablet = &self.tablets[&at.storage][position];
        let head = tablet.head(key, txns, |slot| txns.get(slot).state == TxnState::Aborted);
        match head {
            Head::Intent { slot, tombstone, .. } if txns.get(slot).id != at.writer.asker.txn => {
                let held = if tombstone { LockStrength::Update } else { LockStrength::NoKeyUpdate };
                if crate::txn::row_locks::conflict(held, strength) { Ok(Free::Wait) } else { Ok(Free::Head(head)) }
            }
            Head::Committed(ts, _) => {
                at.held_until.set(at.held_until.get().max(ts));
                Ok(Free::Head(head))
            }
            _ => Ok(Free::Head(head)),
        }
    }

    /// Whether others' locks on a row, or their places in its queue, are in a writer's way.
    fn locks_make_wait(&self, at: &Target<'_>, key: &Key, strength: LockStrength) -> bool {
        let txn = at.writer.asker.txn;
        !self.row_locks.is_empty()
            && self.row_locks.must_wait(at.storage, key, txn, strength, at.ticket, || self.has_intent(txn, at.storage, key))
    }

    /// Whether a transaction has an intent on a row.
    pub(super) fn has_intent(&self, txn: TxnId, storage: StorageId, key: &Key) -> bool {
        let intent = |slot| self.tablet(storage, key).is_some_and(|tablet| tablet.intent(key, slot).is_some());
        self.txns.find(txn).is_some_and(intent)
    }

    /// Resolves the intents that a large, already decided transaction has left on a key.
    pub(super) fn resolve_leftover(&mut self, storage: StorageId, position: usize, key: &Key) {
        if self.unresolved.is_empty() {
            return;
        }
        let watermark = self.shared.clock.watermark();
        let tablet = &mut self.tablets.get_mut(&storage).expect("the position was found in it")[position];
        let Some(slot) = tablet.head_slot(key) else { return };
        match self.txns.get(slot).state {
            TxnState::Committed(ts) => {
                if tablet.stamp(key, slot, ts, watermark) {
                    self.garbage.push_back(super::state::Garbage { ts, storage, key: key.clone() });
                }
            }
            TxnState::Aborted => tablet.undo(key, slot, 0),
            TxnState::Active | TxnState::Prepared => {}
        }
    }

    /// Places an intent of the writer; `row` is `None` for a deletion.
    fn place_for(&mut self, at: &Target<'_>, key: &Key, row: Option<&[u8]>) -> EngineResult<()> {
        let makes_room = row.is_none() || at.storage == CATALOG_STORAGE;
        let need = if makes_room { Need::MakesRoom } else { Need::Data };
        let slot = self.txns.slot_of(at.writer.asker.txn);
        self.place(&Place { slot, storage: at.storage, command: at.writer.command, need }, key, row)
    }

    /// Places an intent; `row` is `None` for a deletion.
    pub(super) fn place(&mut self, at: &Place, key: &Key, row: Option<&[u8]>) -> EngineResult<()> {
        let &Place { slot, storage, command, need } = at;
        let bytes = key.heap_bytes() * 2 + row.map_or(0, <[u8]>::len) + WRITE_OVERHEAD;
        self.check_memory(bytes, need)?;
        let log_bytes = LogWrite { storage, key: key.as_ref(), value: row }.encoded_bytes();
        self.check_log_bytes(log_bytes)?;
        let tablet = self.tablet_mut(storage, key).expect("the caller found the tablet in this poll");
        tablet.place_intent(key, slot, command, row)?;
        let entry = self.txns.get_mut(slot);
        entry.log_bytes += log_bytes;
        // What was put off is of an earlier command than what was written since.
        let position = entry.writes.iter().rposition(|write| write.command <= command).map_or(0, |last| last + 1);
        entry.writes.insert(position, WriteRef { storage, key: key.clone(), command });
        Ok(())
    }

    fn try_insert(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        row: &[u8],
        on_existing: &OnExisting,
        output: &mut RowOutput,
    ) -> EngineResult<Attempt<Inserted>> {
        let head = match self.free_for(at, key, LockStrength::Update)? {
            Free::Moved => return Ok(Attempt::Moved),
            Free::Wait => return Ok(Attempt::Wait(LockStrength::Update)),
            Free::Head(head) => head,
        };
        match head {
            Head::Absent | Head::Committed(_, true) | Head::Intent { tombstone: true, .. } => {
                self.place_for(at, key, Some(row))?;
                self.split_if_large(at.storage, key);
                Ok(Attempt::Done(Inserted::New))
            }
            Head::Committed(_, false) | Head::Intent { .. } => match on_existing {
                OnExisting::Fail => Err(EngineError::DuplicateKey { storage: at.storage, key: key.clone() }),
                OnExisting::Skip => Ok(Attempt::Done(Inserted::Skipped)),
                OnExisting::Update(program) => self.update_existing(at, key, head, program.as_ref(), output),
            },
        }
    }

    /// ON CONFLICT DO UPDATE works on the newest row, visible to the snapshot or not, but not twice in one command.
    fn update_existing(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        head: Head,
        program: &dyn RowUpdate,
        output: &mut RowOutput,
    ) -> EngineResult<Attempt<Inserted>> {
        match head {
            Head::Committed(ts, _) if at.writer.isolation != Isolation::ReadCommitted && ts > at.writer.view.snapshot => {
                return Err(EngineError::SerializationFailure);
            }
            Head::Intent { command, .. } if command >= at.writer.command => {
                return Err(EngineError::Program(
                    crate::error::SqlError::new(
                        crate::error::SqlState::CARDINALITY_VIOLATION,
                        "ON CONFLICT DO UPDATE command cannot affect row a second time",
                    )
                    .hint(
                        "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
                    ),
                ));
            }
            _ => {}
        }
        Ok(self.apply_to_newest(at, key, program, output)?.map(Inserted::Updated))
    }

    fn try_modify(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        program: &Arc<dyn RowUpdate>,
        output: &mut RowOutput,
    ) -> EngineResult<Attempt<Modified>> {
        const SKIP: Modified = Modified { action: RowAction::Skip, reply: Vec::new(), put_off: false };
        let strength = self.strength_of_update(at, key, program.as_ref())?;
        let head = match self.free_for(at, key, strength)? {
            Free::Moved => return Ok(Attempt::Moved),
            Free::Wait => return Ok(Attempt::Wait(self.strength_to_wait_in(at, key, program.as_ref(), strength))),
            Free::Head(head) => head,
        };
        match head {
            Head::Absent => return Ok(Attempt::Done(SKIP)),
            // Written by this very command: a statement changes a row once.
            Head::Intent { command, .. } if command >= at.writer.command => return Ok(Attempt::Done(SKIP)),
            Head::Intent { tombstone: true, .. } => return Ok(Attempt::Done(SKIP)),
            Head::Intent { .. } => {}
            Head::Committed(ts, tombstone) => {
                if ts > at.writer.view.snapshot {
                    match self.recheck_old_version(at, key, program.as_ref(), output)? {
                        false => return Ok(Attempt::Done(SKIP)),
                        true if at.writer.isolation != Isolation::ReadCommitted => return Err(EngineError::SerializationFailure),
                        #[cfg(test)]
                        true if sabotage::is(Sabotage::StaleUpdate) && !tombstone => {
                            self.place_for(at, key, Some(&output.row))?;
                            return Ok(Attempt::Done(Modified { action: RowAction::Replace, reply: Vec::new(), put_off: false }));
                        }
                        true => self.metrics.txn.retries.inc(),
                    }
                }
                if tombstone {
                    return Ok(Attempt::Done(SKIP));
                }
            }
        }
        if strength == LockStrength::Add {
            self.put_off(at, key, program)?;
            return Ok(Attempt::Done(Modified { action: RowAction::Replace, reply: Vec::new(), put_off: true }));
        }
        self.apply_to_newest(at, key, program.as_ref(), output)
    }

    /// Waits until a row is free for what was put off on it.
    fn try_settle(&mut self, at: &Target<'_>, key: &Key, alone: bool) -> EngineResult<Attempt<()>> {
        let strength = if alone { LockStrength::NoKeyUpdate } else { LockStrength::Add };
        match self.free_for(at, key, strength)? {
            Free::Moved => Ok(Attempt::Moved),
            Free::Wait => {
                if alone {
                    self.take_turns(at.storage);
                }
                Ok(Attempt::Wait(strength))
            }
            Free::Head(_) => {
                if alone {
                    self.settle_row(at.writer.asker.txn, at.storage, key)?;
                }
                Ok(Attempt::Done(()))
            }
        }
    }

    /// Whether the statement's snapshot has a version of the row that qualifies: only then is the newest one its business.
    fn recheck_old_version(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        program: &dyn RowUpdate,
        output: &mut RowOutput,
    ) -> EngineResult<bool> {
        let view = View::from(&at.writer.view);
        let tablet = self.tablet(at.storage, key).expect("the caller found the tablet in this poll");
        let Some(old) = tablet.read(key, &view, &self.txns) else { return Ok(false) };
        output.row.clear();
        output.reply.clear();
        Ok(program.apply(old, output)? != RowAction::Skip)
    }

    /// Runs a program on a row's newest version and places what it decides.
    fn apply_to_newest(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        program: &dyn RowUpdate,
        output: &mut RowOutput,
    ) -> EngineResult<Attempt<Modified>> {
        let tablet = self.tablet(at.storage, key).expect("the caller found the tablet in this poll");
        let row = tablet.newest_row(key).expect("the caller saw a live row");
        output.row.clear();
        output.reply.clear();
        let action = program.apply(row, output)?;
        match action {
            RowAction::Skip => {}
            RowAction::Replace => self.place_for(at, key, Some(&output.row))?,
            RowAction::Delete => {
                // A deletion is the stronger lock: somebody with KEY SHARE is in its way, though not in an update's.
                if self.locks_make_wait(at, key, LockStrength::Update) {
                    return Ok(Attempt::Wait(LockStrength::Update));
                }
                self.place_for(at, key, None)?;
            }
        }
        Ok(Attempt::Done(Modified { action, reply: std::mem::take(&mut output.reply), put_off: false }))
    }

    fn try_lock_row(
        &mut self,
        at: &Target<'_>,
        key: &Key,
        strength: LockStrength,
        wait: LockWait,
        filter: Option<&dyn RowFilter>,
        batch: &mut RowBatch,
    ) -> EngineResult<Attempt<()>> {
        let head = match self.free_for(at, key, strength)? {
            Free::Moved => return Ok(Attempt::Moved),
            Free::Wait => {
                return match wait {
                    LockWait::Block => Ok(Attempt::Wait(strength)),
                    LockWait::NoWait => Err(EngineError::LockNotAvailable),
                    LockWait::SkipLocked => {
                        batch.push_missing();
                        Ok(Attempt::Done(()))
                    }
                };
            }
            Free::Head(head) => head,
        };
        let newer = matches!(head, Head::Committed(ts, _) if ts > at.writer.view.snapshot);
        if newer && at.writer.isolation != Isolation::ReadCommitted {
            return Err(EngineError::SerializationFailure);
        }
        if matches!(head, Head::Absent | Head::Committed(_, true)) {
            batch.push_missing();
            return Ok(Attempt::Done(()));
        }
        let latest = ReadView { snapshot: CommitTs(u64::MAX >> 1), ..at.writer.view };
        let tablet = self.tablet(at.storage, key).expect("the caller found the tablet in this poll");
        let qualifies = match tablet.read(key, &View::from(&latest), &self.txns) {
            None => false,
            Some(row) => match filter {
                Some(filter) if !filter.matches(row)? => false,
                _ => {
                    batch.push_keyed(key.clone(), row);
                    true
                }
            },
        };
        if !qualifies {
            batch.push_missing();
            return Ok(Attempt::Done(()));
        }
        self.check_memory(key.heap_bytes() + WRITE_OVERHEAD, Need::MakesRoom)?;
        let slot = self.txns.slot_of(at.writer.asker.txn);
        self.row_locks.grant(at.storage, key, (slot, at.writer.asker.txn), strength, at.writer.command);
        let reference = WriteRef { storage: at.storage, key: key.clone(), command: at.writer.command };
        self.txns.get_mut(slot).locks.push(reference);
        Ok(Attempt::Done(()))
    }
}
