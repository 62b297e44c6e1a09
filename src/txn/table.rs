//! The transactions that have intents or row locks on this core.
//!
//! An intent names its transaction's *slot* here instead of carrying a timestamp, so committing or aborting any number of
//! writes is one store: readers that meet the intent ask the slot. Stamping the timestamp onto the versions (or unlinking
//! them) happens afterwards, at once for a few and in the background for millions; then the slot is free for another.
//!
//! One core owns the table; nothing here is awaited.

use rustc_hash::FxHashMap;

use crate::base::{CommitTs, StorageId, TxnId};
use crate::storage::Key;
use crate::txn::reads::ReadSet;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnState {
    /// It may still write.
    Active,
    /// It promised to commit at a timestamp its coordinator will draw; its log space is reserved.
    Prepared,
    /// It committed; its intents are as good as stamped.
    Committed(CommitTs),
    /// It aborted; its intents are as good as gone.
    Aborted,
}

/// One intent: where, and by which command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRef {
    /// Storage.
    pub storage: StorageId,
    /// Key.
    pub key: Key,
    /// Command.
    pub command: u32,
}

/// A row lock: where, and by which command it was taken.
pub type LockRef = WriteRef;

/// A transaction on this core.
#[derive(Debug)]
pub struct TxnSlot {
    /// Who.
    pub id: TxnId,
    /// State.
    pub state: TxnState,
    /// Its intents in the order they were placed. A key may occur more than once.
    pub writes: Vec<WriteRef>,
    /// Its row locks.
    pub locks: Vec<LockRef>,
    /// Bytes its writes will take in the log.
    pub log_bytes: usize,
    /// What it has read here, if that has to be validated.
    pub reads: Option<Box<ReadSet>>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct TxnTable {
    slots: Vec<Option<TxnSlot>>,
    vacant: Vec<u32>,
    by_id: FxHashMap<TxnId, u32>,
}

impl TxnTable {
    /// The slot of a transaction, created on its first write or lock here.
    pub fn slot_of(&mut self, id: TxnId) -> u32 {
        if let Some(&slot) = self.by_id.get(&id) {
            return slot;
        }
        let entry =
            Some(TxnSlot { id, state: TxnState::Active, writes: Vec::new(), locks: Vec::new(), log_bytes: 0, reads: None });
        let slot = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                u32::try_from(self.slots.len() - 1).expect("transactions at once are bounded by connections")
            }
        };
        self.by_id.insert(id, slot);
        slot
    }

    /// The slot of a transaction that has one and is not resolved yet.
    pub fn find(&self, id: TxnId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The slot's transaction.
    #[inline]
    pub fn get(&self, slot: u32) -> &TxnSlot {
        self.slots[slot as usize].as_ref().expect("an intent's slot lives until the intent is resolved")
    }

    /// The slot's transaction, to change.
    pub fn get_mut(&mut self, slot: u32) -> &mut TxnSlot {
        self.slots[slot as usize].as_mut().expect("an intent's slot lives until the intent is resolved")
    }

    /// Decides a transaction. From here on it cannot be found by its id; its slot lives until [`TxnTable::release`].
    pub fn decide(&mut self, slot: u32, state: TxnState) {
        assert!(matches!(state, TxnState::Committed(_) | TxnState::Aborted), "a decision is final");
        let entry = self.slots[slot as usize].as_mut().expect("only a live slot is decided");
        assert!(matches!(entry.state, TxnState::Active | TxnState::Prepared), "a transaction is decided once");
        entry.state = state;
        let removed = self.by_id.remove(&entry.id);
        assert_eq!(removed, Some(slot), "the id pointed to this slot");
    }

    /// Frees a decided slot whose intents are all resolved.
    pub fn release(&mut self, slot: u32) -> TxnSlot {
        let entry = self.slots[slot as usize].take().expect("a slot is released once");
        assert!(matches!(entry.state, TxnState::Committed(_) | TxnState::Aborted), "only decided transactions are released");
        self.vacant.push(slot);
        entry
    }

    /// Those that have written or locked rows and are not decided.
    pub fn undecided(&self) -> impl Iterator<Item = TxnId> {
        let open = |slot: &&TxnSlot| matches!(slot.state, TxnState::Active | TxnState::Prepared);
        let has_any = |slot: &&TxnSlot| !slot.writes.is_empty() || !slot.locks.is_empty();
        self.slots.iter().flatten().filter(open).filter(has_any).map(|slot| slot.id)
    }

    /// What undecided transactions have read.
    pub fn read_sets(&self) -> impl Iterator<Item = &ReadSet> {
        self.slots.iter().flatten().filter_map(|slot| slot.reads.as_deref())
    }

    /// Bytes of bookkeeping.
    pub fn bytes(&self) -> usize {
        let refs = |list: &Vec<WriteRef>| list.capacity() * size_of::<WriteRef>();
        self.slots.capacity() * size_of::<Option<TxnSlot>>()
            + self.slots.iter().flatten().map(|slot| refs(&slot.writes) + refs(&slot.locks)).sum::<usize>()
            + self.read_sets().map(ReadSet::bytes).sum::<usize>()
    }

    /// Live slots, decided or not.
    pub fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
