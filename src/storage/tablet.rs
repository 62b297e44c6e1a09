//! A tablet: one key range of one storage, its learned index and its version heap.
//!
//! A key's versions form a chain, newest first. At most one transaction has intents on a key at a time, and they are the head
//! of the chain. Only inserting and removing keys touches the index's models; a new version of a known key changes one value.
//!
//! One core owns a tablet; a move hands over the whole value. Nothing here is awaited.

mod collect;
mod figures;

use std::cell::Cell;
use std::ops::{Bound, ControlFlow};

use crate::base::{CommitTs, StorageId, TabletId, TxnId};
use crate::index::IndexStats;
use crate::storage::heap::{Header, Heap, HeapFull, INTENT, VersionRef};
use crate::storage::key::{Key, KeyRef};
use crate::storage::key_map::KeyMap;

pub use collect::Horizon;
pub use figures::{CurvePoint, TabletFigures};

/// What a reader asks about an intent it meets.
pub trait IntentStatus {
    /// The commit timestamp, if the slot's transaction has committed.
    fn committed(&self, slot: u32) -> Option<CommitTs>;
    /// Whether the slot's transaction is this one and undecided.
    fn is_own(&self, slot: u32, txn: TxnId) -> bool;
}

/// What a statement sees (see `shard::ReadView`).
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Commits at or before it are seen.
    pub snapshot: CommitTs,
    /// Own writes …
    pub txn: Option<TxnId>,
    /// … of commands below it are seen.
    pub command: u32,
}

/// The state of a key's newest version, as a writer needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// No such key.
    Absent,
    /// Committed at a timestamp (0: before every snapshot); the flag: deleted.
    Committed(CommitTs, bool),
    /// An undecided transaction's intent; the flag: a deletion; then the command.
    Intent {
        /// The transaction's slot.
        slot: u32,
        /// A deletion.
        tombstone: bool,
        /// By this command.
        command: u32,
    },
}

/// What a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Committed at a timestamp.
    Committed(CommitTs),
    /// The intent of a slot's transaction, decided or not.
    Intent(u32),
}

/// The versions of a key, newest first.
pub struct VersionStates<'a> {
    heap: &'a Heap,
    at: VersionRef,
}

impl Iterator for VersionStates<'_> {
    type Item = VersionState;

    fn next(&mut self) -> Option<VersionState> {
        if self.at.is_none() {
            return None;
        }
        let header = self.heap.header(self.at);
        self.at = header.prev;
        Some(header.intent().map_or(VersionState::Committed(CommitTs(header.begin)), VersionState::Intent))
    }
}

/// A key range of a storage.
pub struct Tablet {
    /// Identity.
    pub id: TabletId,
    /// Storage.
    pub storage: StorageId,
    /// Inclusive lower end; `None` is unbounded.
    pub lower: Option<Key>,
    /// Exclusive upper end; `None` is unbounded.
    pub upper: Option<Key>,
    map: KeyMap,
    heap: Heap,
    /// Keys whose head is an unresolved intent: a tablet moves only when there is none.
    intents: usize,
    /// What the index had counted when it was last asked.
    reported: IndexStats,
    measured: Cell<Measured>,
    /// Of the last inserts, how many were above every key: an append pattern splits at the end.
    appends: u32,
    inserts: u32,
}

/// The memory of an index when it was last counted.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    keys: usize,
    /// Structural changes up to then.
    changes: u64,
    bytes: usize,
}

impl Tablet {
    /// An empty tablet.
    pub fn new(id: TabletId, storage: StorageId, lower: Option<Key>, upper: Option<Key>, map: KeyMap) -> Self {
        Self {
            id,
            storage,
            lower,
            upper,
            map,
            heap: Heap::new(),
            intents: 0,
            reported: IndexStats::default(),
            measured: Cell::default(),
            appends: 0,
            inserts: 0,
        }
    }

    /// Whether a key belongs here.
    pub fn covers(&self, key: &Key) -> bool {
        self.lower.as_ref().is_none_or(|lower| lower <= key) && self.upper.as_ref().is_none_or(|upper| key < upper)
    }

    /// Number of keys, deleted ones that are not collected yet included.
    pub fn keys(&self) -> usize {
        self.map.len()
    }

    /// Memory of the index: counted anew when it has changed by an eighth, since counting visits every leaf and every key that is a
    /// byte string, and in proportion to the keys until then.
    pub fn index_bytes(&self) -> usize {
        let (keys, counts) = (self.map.len(), self.map.counts());
        let changes = counts.splits + counts.merges + counts.retrains + counts.appends;
        let mut measured = self.measured.get();
        let grown = keys.abs_diff(measured.keys) > measured.keys / 8 || (keys == 0) != (measured.keys == 0);
        // A block holds some forty entries, so this many changes are an eighth of the blocks.
        let reshaped = changes.abs_diff(measured.changes) > 16 + keys as u64 / 320;
        if measured.bytes == 0 || grown || reshaped {
            measured = Measured { keys, changes, bytes: self.map.bytes() };
            self.measured.set(measured);
        }
        measured.bytes * keys.max(1) / measured.keys.max(1)
    }

    /// Memory of the heap.
    pub fn heap_bytes(&self) -> usize {
        self.heap.bytes()
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.index_bytes() + self.heap.bytes()
    }

    /// Versions held.
    pub fn versions(&self) -> usize {
        self.heap.versions()
    }

    /// Keys with unresolved intents.
    pub fn intents(&self) -> usize {
        self.intents
    }

    /// What the index has counted before the last call of this, and until now.
    pub fn take_index_counts(&mut self) -> (IndexStats, IndexStats) {
        let now = self.map.counts();
        (std::mem::replace(&mut self.reported, now.clone()), now)
    }

    /// The index.
    pub fn map(&self) -> &KeyMap {
        &self.map
    }

    fn sees(header: &Header, view: &View, status: &impl IntentStatus) -> bool {
        match header.intent() {
            None => header.begin <= view.snapshot.0,
            Some(slot) => match status.committed(slot) {
                Some(ts) => ts <= view.snapshot,
                None => view.txn.is_some_and(|txn| status.is_own(slot, txn)) && header.command < view.command,
            },
        }
    }

    /// The row of the version chain that starts at `head`, as the view sees it.
    #[inline]
    fn visible_from(&self, head: VersionRef, view: &View, status: &impl IntentStatus) -> Option<&[u8]> {
        let mut at = head;
        while !at.is_none() {
            let header = self.heap.header(at);
            if Self::sees(&header, view, status) {
                return (!header.tombstone).then(|| self.heap.row(at));
            }
            at = header.prev;
        }
        None
    }

    /// The row of a key as the view sees it.
    #[inline]
    pub fn read(&self, key: &Key, view: &View, status: &impl IntentStatus) -> Option<&[u8]> {
        debug_assert!(self.covers(key));
        self.visible_from(self.map.get(key)?, view, status)
    }

    /// The rows of integer keys, which must all belong here, in order.
    pub fn read_ints<'a>(
        &'a self,
        keys: &[i64],
        found: &mut Vec<Option<VersionRef>>,
        view: &View,
        status: &impl IntentStatus,
        mut each: impl FnMut(usize, Option<&'a [u8]>),
    ) {
        found.clear();
        found.resize(keys.len(), None);
        self.map.get_ints(keys, found);
        for (i, at) in found.iter().enumerate() {
            each(i, at.and_then(|at| self.visible_from(at, view, status)));
        }
    }

    /// Visits visible rows of a range in order (or in reverse) until told to stop.
    pub fn scan(
        &self,
        lower: Bound<&Key>,
        upper: Bound<&Key>,
        reverse: bool,
        view: &View,
        status: &impl IntentStatus,
        mut each: impl FnMut(KeyRef<'_>, Option<&[u8]>) -> ControlFlow<()>,
    ) {
        self.map.visit(lower, upper, reverse, |key, at| each(key, self.visible_from(at, view, status)));
    }

    /// Visits, in key order, the commit timestamp and row of what is visible at `snapshot`, until told to stop (checkpoints).
    pub fn scan_committed(
        &self,
        lower: Bound<&Key>,
        snapshot: CommitTs,
        status: &impl IntentStatus,
        mut each: impl FnMut(KeyRef<'_>, CommitTs, Option<&[u8]>) -> ControlFlow<()>,
    ) {
        let view = View { snapshot, txn: None, command: 0 };
        self.map.visit(lower, Bound::Unbounded, false, |key, head| {
            let mut at = head;
            while !at.is_none() {
                let header = self.heap.header(at);
                if Self::sees(&header, &view, status) {
                    let ts = header.intent().map_or(Some(CommitTs(header.begin)), |slot| status.committed(slot));
                    let ts = ts.expect("a visible intent without a reader's transaction is committed");
                    return each(key, ts, (!header.tombstone).then(|| self.heap.row(at)));
                }
                at = header.prev;
            }
            each(key, CommitTs(0), None)
        });
    }

    /// Visits the keys of a range with their versions, newest first, until told to stop.
    pub fn visit_states(
        &self,
        lower: Bound<&Key>,
        upper: Bound<&Key>,
        mut each: impl FnMut(KeyRef<'_>, VersionStates<'_>) -> ControlFlow<()>,
    ) {
        self.map.visit(lower, upper, false, |key, at| each(key, VersionStates { heap: &self.heap, at }));
    }

    /// The state of a key's newest version. Intents of decided transactions count as what they were decided to be.
    pub fn head(&self, key: &Key, status: &impl IntentStatus, aborted: impl Fn(u32) -> bool) -> Head {
        let Some(mut at) = self.map.get(key) else { return Head::Absent };
        while !at.is_none() {
            let header = self.heap.header(at);
            match header.intent() {
                None => return Head::Committed(CommitTs(header.begin), header.tombstone),
                Some(slot) => {
                    if let Some(ts) = status.committed(slot) {
                        return Head::Committed(ts, header.tombstone);
                    }
                    if !aborted(slot) {
                        return Head::Intent { slot, tombstone: header.tombstone, command: header.command };
                    }
                }
            }
            at = header.prev;
        }
        Head::Absent
    }

    /// The slot of the intent at the head of a key's chain, decided or not.
    pub fn head_slot(&self, key: &Key) -> Option<u32> {
        self.heap.header(self.map.get(key)?).intent()
    }

    /// The newest intent of a slot on a key: its command and its row (`None` for a deletion).
    pub fn intent(&self, key: &Key, slot: u32) -> Option<(u32, Option<&[u8]>)> {
        let at = self.map.get(key)?;
        let header = self.heap.header(at);
        (header.intent() == Some(slot)).then(|| (header.command, (!header.tombstone).then(|| self.heap.row(at))))
    }

    /// The newest row of a key: the caller has seen that its head is committed or its own.
    pub fn newest_row(&self, key: &Key) -> Option<&[u8]> {
        let at = self.map.get(key)?;
        (!self.heap.header(at).tombstone).then(|| self.heap.row(at))
    }

    /// Places an intent; `row` is `None` for a deletion. The caller has seen that no other transaction has one on the key and
    /// that no decided transaction's intent is unresolved there.
    pub fn place_intent(&mut self, key: &Key, slot: u32, command: u32, row: Option<&[u8]>) -> Result<(), HeapFull> {
        debug_assert!(self.covers(key));
        let begin = INTENT | u64::from(slot);
        if let Some(at) = self.map.get_mut(key) {
            let head = self.heap.header(*at);
            assert!(head.intent().is_none_or(|other| other == slot), "one transaction's intents on a key at a time");
            let was_intent = head.intent().is_some();
            *at = self.heap.push(begin, *at, command, row)?;
            self.intents += usize::from(!was_intent);
            return Ok(());
        }
        let at = self.heap.push(begin, VersionRef::NONE, command, row)?;
        self.count_insert(key);
        let before = self.map.insert(key.as_ref(), at);
        assert!(before.is_none(), "the key was looked up and absent");
        self.intents += 1;
        Ok(())
    }

    fn count_insert(&mut self, key: &Key) {
        // Forget slowly, so that the pattern is that of the last few hundred inserts.
        if self.inserts >= 1024 {
            self.inserts /= 2;
            self.appends /= 2;
        }
        self.inserts += 1;
        if self.map.last_key().is_none_or(|last| last < *key) {
            self.appends += 1;
        }
    }

    /// Whether recent inserts went to the end.
    pub fn is_appending(&self) -> bool {
        self.inserts > 64 && self.appends * 10 > self.inserts * 9
    }

    /// Stamps a committed transaction's intents on a key: the newest stays, its own earlier ones go, and so does what the
    /// watermark no longer protects. Returns whether something is left to collect once the watermark reaches `ts`.
    pub fn stamp(&mut self, key: &Key, slot: u32, ts: CommitTs, watermark: CommitTs) -> bool {
        let Some(at) = self.map.get(key) else { return false };
        let header = self.heap.header(at);
        if header.intent() != Some(slot) {
            // Stamped already: the key occurs more than once in the transaction's writes.
            return false;
        }
        self.intents -= 1;
        self.heap.set_begin(at, ts.0);
        let mut older = header.prev;
        while !older.is_none() {
            let below = self.heap.header(older);
            if below.intent() != Some(slot) {
                break;
            }
            self.heap.free(older);
            older = below.prev;
        }
        self.heap.set_prev(at, older);
        if older.is_none() {
            if header.tombstone {
                // Inserted and deleted by the same transaction, or deleted before: nobody can see a difference.
                self.heap.free(at);
                self.map.remove(key);
            }
            return false;
        }
        self.prune_below(older, watermark);
        true
    }

    /// Frees what lies behind the newest version, from `at` on, that is at or below the watermark.
    fn prune_below(&mut self, mut at: VersionRef, watermark: CommitTs) {
        while !at.is_none() {
            let header = self.heap.header(at);
            if header.begin <= watermark.0 {
                self.heap.set_prev(at, VersionRef::NONE);
                let mut dead = header.prev;
                while !dead.is_none() {
                    let next = self.heap.header(dead).prev;
                    self.heap.free(dead);
                    dead = next;
                }
                return;
            }
            at = header.prev;
        }
    }

    /// Takes back a transaction's intents on a key written by commands from `from_command` on.
    pub fn undo(&mut self, key: &Key, slot: u32, from_command: u32) {
        let Some(head) = self.map.get(key) else { return };
        let mut at = head;
        while !at.is_none() {
            let header = self.heap.header(at);
            if header.intent() != Some(slot) || header.command < from_command {
                break;
            }
            self.heap.free(at);
            at = header.prev;
        }
        if at == head {
            return;
        }
        if at.is_none() {
            self.intents -= 1;
            self.map.remove(key);
            return;
        }
        if self.heap.header(at).intent() != Some(slot) {
            self.intents -= 1;
        }
        *self.map.get_mut(key).expect("the key is there") = at;
    }

    /// Applies a recovered write, unless a newer one is there. Deletions stay as tombstones until [`Tablet::collect`], so that
    /// the order in which logs are replayed does not matter.
    pub fn replay(&mut self, key: &Key, ts: CommitTs, row: Option<&[u8]>) -> Result<(), HeapFull> {
        debug_assert!(self.covers(key));
        if let Some(at) = self.map.get_mut(key) {
            let old = self.heap.header(*at);
            assert!(old.intent().is_none(), "recovery meets no intents");
            if old.begin >= ts.0 {
                return Ok(());
            }
            let dead = *at;
            *at = self.heap.push(ts.0, VersionRef::NONE, 0, row)?;
            self.heap.free(dead);
            return Ok(());
        }
        let at = self.heap.push(ts.0, VersionRef::NONE, 0, row)?;
        self.map.insert(key.as_ref(), at);
        Ok(())
    }

    /// Moves the `count` highest keys to `right`, the neighbour above, and lowers the boundary between the two. Splitting in
    /// such steps keeps the owner responsive; both tablets are on one core meanwhile.
    pub fn shift_up(&mut self, right: &mut Tablet, count: usize) -> Result<(), HeapFull> {
        assert!(self.upper == right.lower && self.storage == right.storage, "neighbours");
        let from = self.map.len().saturating_sub(count);
        let Some(boundary) = self.map.nth_key(from) else { return Ok(()) };
        let mut moved = Vec::with_capacity(count);
        self.map.visit(Bound::Included(&boundary), Bound::Unbounded, false, |key, at| {
            moved.push((key.to_key(), at));
            ControlFlow::Continue(())
        });
        for (key, head) in moved.into_iter().rev() {
            let (copied, intents) = right.copy_chain(&self.heap, head)?;
            right.map.insert(key.as_ref(), copied);
            right.intents += usize::from(intents);
            self.intents -= usize::from(intents);
            let mut at = head;
            while !at.is_none() {
                let next = self.heap.header(at).prev;
                self.heap.free(at);
                at = next;
            }
            self.map.remove(&key);
        }
        self.upper = Some(boundary.clone());
        right.lower = Some(boundary);
        Ok(())
    }

    /// Copies a chain from another heap; returns its head and whether that is an intent.
    fn copy_chain(&mut self, from: &Heap, head: VersionRef) -> Result<(VersionRef, bool), HeapFull> {
        let mut copied_head = VersionRef::NONE;
        let mut newer = VersionRef::NONE;
        let mut at = head;
        while !at.is_none() {
            let header = from.header(at);
            let row = (!header.tombstone).then(|| from.row(at));
            let copy = self.heap.push(header.begin, VersionRef::NONE, header.command, row)?;
            if header.held {
                self.heap.set_held(copy);
            }
            if newer.is_none() {
                copied_head = copy;
            } else {
                self.heap.set_prev(newer, copy);
            }
            newer = copy;
            at = header.prev;
        }
        Ok((copied_head, from.header(head).intent().is_some()))
    }

    /// Splits off an empty tablet above every key: what an append pattern wants. The highest key stays.
    pub fn split_end(&mut self, id: TabletId) -> Option<Tablet> {
        let boundary = self.map.last_key()?.successor()?;
        if self.upper.as_ref().is_some_and(|upper| *upper <= boundary) {
            return None;
        }
        let right = Tablet::new(id, self.storage, Some(boundary.clone()), self.upper.take(), self.map.new_like());
        self.upper = Some(boundary);
        Some(right)
    }

    /// A neighbour above with an empty range, for [`Tablet::shift_up`] to fill; it covers nothing until the first shift.
    pub fn split_for_shift(&self, id: TabletId) -> Tablet {
        Tablet::new(id, self.storage, self.upper.clone(), self.upper.clone(), self.map.new_like())
    }
}
