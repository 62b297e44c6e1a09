//! Blocks hold the entries: up to [`SLOTS`] of them, sorted, digests, values and kept keys each in an array of their own.
//!
//! A block is all that a look-up fetches from memory, so its arrays are fetched together and searched without a branch that
//! depends on what was fetched. Unused slots hold the greatest digest, so that searches need no length.

use std::cmp::Ordering;
use std::ops::Range;

use super::digest::Digest;
use super::key::IndexKey;
use super::lanes::Lanes;
use super::pool::Pooled;
use super::search;

/// Entries a block holds at most.
pub(super) const SLOTS: usize = 128;

/// Keys with equal digests that are compared one after the other without looking ahead.
const FEW_TIES: usize = 2;

/// Keys with the digest and the mark of one that is looked up, but other ones, that are met before the ties are searched in
/// order.
const STRANGERS_MAX: usize = 4;

/// Keys that are being fetched while digests are taken anew.
const KEYS_AHEAD: usize = 12;

/// A sorted run of entries. Its length is kept by the leaf, next to what routes to it.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Block<K: IndexKey, V> {
    /// In ascending order; greatest value behind the entries.
    digests: [K::Digest; SLOTS],
    /// Behind the entries: copies of some value.
    values: [V; SLOTS],
    /// Behind the entries: whatever.
    marks: [K::Mark; SLOTS],
    /// Behind the entries: the default.
    rests: [K::Rest; SLOTS],
}

impl<K: IndexKey, V: Copy + Send> Block<K, V> {
    /// An empty block; `filler` is never read.
    pub(super) fn new(filler: V) -> Pooled<Self> {
        Pooled::new(Self {
            digests: [K::Digest::MAX; SLOTS],
            values: [filler; SLOTS],
            marks: [K::Mark::default(); SLOTS],
            rests: std::array::from_fn(|_| K::Rest::default()),
        })
    }

    #[inline(always)]
    pub(super) fn digest(&self, slot: usize) -> K::Digest {
        self.digests[slot]
    }

    #[inline(always)]
    pub(super) fn digests(&self) -> &[K::Digest; SLOTS] {
        &self.digests
    }

    #[inline(always)]
    pub(super) fn value(&self, slot: usize) -> V {
        self.values[slot]
    }

    #[inline(always)]
    pub(super) fn value_mut(&mut self, slot: usize) -> &mut V {
        &mut self.values[slot]
    }

    pub(super) fn key(&self, slot: usize) -> K::Ref<'_> {
        K::key_ref(self.digests[slot], &self.rests[slot])
    }

    pub(super) fn entry(&self, slot: usize) -> (K::Ref<'_>, V) {
        (self.key(slot), self.values[slot])
    }

    /// Fetches all digests, and the values around `slot`, at once.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        search::prefetch_all(&self.digests);
        if !K::EXACT {
            search::prefetch_all(&self.marks);
        }
    }

    /// Fetches the first and the last key.
    pub(super) fn prefetch_ends(&self, len: usize) {
        for slot in [0, len - 1] {
            search::prefetch(&self.digests[slot]);
            if !K::EXACT {
                search::prefetch(&self.rests[slot]);
            }
        }
    }

    /// Fetches the beginning of what a scan reads; the processor sees from it where the scan goes.
    pub(super) fn prefetch_entries(&self) {
        (0..SLOTS / 2).step_by(search::WINDOW).for_each(|start| self.prefetch_window(start));
    }

    /// Digests, values and kept keys of some slots.
    #[inline(always)]
    pub(super) fn run(&self, slots: Range<usize>) -> (&[K::Digest], &[V], &[K::Rest]) {
        (&self.digests[slots.clone()], &self.values[slots.clone()], &self.rests[slots])
    }

    /// Fills an empty block with `first` and what `entries` yields; `last` is the digest before, and then of the last.
    /// Returns how many there are.
    pub(super) fn fill(&mut self, last: &mut Option<K::Digest>, first: (K, V), entries: impl Iterator<Item = (K, V)>) -> usize {
        let mut len = 0;
        for (key, value) in std::iter::once(first).chain(entries) {
            let digest = K::digest(key.view(), 0);
            if K::EXACT {
                assert!(last.is_none_or(|last| last < digest), "bulk load needs strictly ascending keys");
                *last = Some(digest);
            } else if len > 0 {
                let before = self.key(len - 1);
                assert!(K::ref_view(&before) < key.view(), "bulk load needs strictly ascending keys");
            }
            self.digests[len] = digest;
            self.values[len] = value;
            if !K::EXACT {
                self.marks[len] = K::mark(key.view());
                self.rests[len] = key.into_rest();
            }
            len += 1;
        }
        len
    }

    /// Fetches what look-ups read that end in the window from `start`.
    #[inline(always)]
    pub(super) fn prefetch_near(&self, start: usize) {
        if !K::EXACT {
            search::prefetch_all(&self.marks);
        }
        self.prefetch_window(start);
    }

    /// The same for a look-up that reads next.
    #[inline(always)]
    pub(super) fn prefetch_now<L: Lanes>(&self, start: usize) {
        if K::EXACT && L::reads_at_once::<K::Digest, V>() {
            return search::prefetch_window(&self.values, start);
        }
        self.prefetch_near(start);
    }

    #[inline(always)]
    fn prefetch_window(&self, start: usize) {
        search::prefetch_window(&self.digests, start);
        search::prefetch_window(&self.values, start);
        if !K::EXACT {
            search::prefetch_window(&self.rests, start);
        }
    }

    /// Fetches what moves when an entry in the window from `start` is put in or taken out, of `len`.
    #[inline(always)]
    pub(super) fn prefetch_behind(&self, start: usize, len: usize) {
        if !K::EXACT {
            search::prefetch_all(&self.marks);
        }
        for start in (start..len).step_by(search::WINDOW) {
            self.prefetch_window(start.min(SLOTS - search::WINDOW));
        }
    }

    /// The value of `key` among the first `len`.
    #[inline(always)]
    pub(super) fn get(&self, key: &K::View, digest: K::Digest, len: usize) -> Option<V> {
        let slot = search::lower(&self.digests, digest);
        if K::EXACT {
            return self.decide(key, digest, slot, len).ok().map(|slot| self.values[slot.min(SLOTS - 1)]);
        }
        self.get_among_equals(key, digest, slot, len)
    }

    /// The value of `key`, expected in the window from `start`.
    #[inline(always)]
    pub(super) fn get_near<L: Lanes>(
        &self,
        start: usize,
        key: &K::View,
        digest: K::Digest,
        len: impl Fn() -> usize,
    ) -> Option<V> {
        if K::EXACT
            && digest != K::Digest::MAX
            && let Some(place) = L::place_in_window(search::window(&self.digests, start), digest)
        {
            return Some(search::window(&self.values, start)[place]);
        }
        if K::EXACT {
            return self.find_near::<L>(start, key, digest, len()).ok().map(|slot| self.values[slot]);
        }
        let slot = search::lower_near::<L, _>(&self.digests, digest, start, |start| self.prefetch_window(start));
        self.get_among_equals(key, digest, slot, len())
    }

    /// The value of `key`, `slot` being that of the first digest that is not below its own. Marks tell which of the keys with
    /// this digest to compare, which as a rule is one.
    fn get_among_equals(&self, key: &K::View, digest: K::Digest, slot: usize, len: usize) -> Option<V> {
        let mark = K::mark(key);
        let alike = (slot..len).filter(|slot| self.marks[*slot] == mark);
        for (met, slot) in alike.enumerate() {
            if self.digests[slot] != digest {
                return None;
            }
            if met == STRANGERS_MAX {
                return self.find_among_equals(key, digest, slot, len).ok().map(|slot| self.values[slot]);
            }
            if K::compare_rest(&self.rests[slot], key).is_eq() {
                return Some(self.values[slot]);
            }
        }
        None
    }

    /// Fetches the digests that tell whether a key is in the window from `start`.
    #[inline(always)]
    pub(super) fn prefetch_digests(&self, start: usize) {
        search::prefetch_window(&self.digests, start);
    }

    /// Where the value of an exact `digest` is, if the window from `start` decides about it, being fetched; else the digests of the window
    /// beside it are, and where that begins is returned. The greatest digest is none that a window decides about.
    #[inline(always)]
    pub(super) fn find_in_window<L: Lanes>(&self, start: usize, digest: K::Digest) -> Result<Option<&V>, usize> {
        let window = search::window(&self.digests, start);
        if let Some(place) = L::place_in_window(window, digest) {
            let value = &search::window(&self.values, start)[place];
            search::prefetch(value);
            return Ok(Some(value));
        }
        match search::window_beside(start, L::below_in_window(window, digest)) {
            Some(beside) => {
                self.prefetch_digests(beside);
                Err(beside)
            }
            None => Ok(None),
        }
    }

    /// [`find`](Self::find) for a key expected in the window from `start`, which is being fetched.
    #[inline(always)]
    pub(super) fn find_near<L: Lanes>(&self, start: usize, key: &K::View, digest: K::Digest, len: usize) -> Result<usize, usize> {
        let slot = search::lower_near::<L, _>(&self.digests, digest, start, |start| self.prefetch_window(start));
        self.decide(key, digest, slot, len)
    }

    /// The slot of `key` among the first `len`, or the one at which it would be inserted.
    #[inline(always)]
    pub(super) fn find(&self, key: &K::View, digest: K::Digest, len: usize) -> Result<usize, usize> {
        self.decide(key, digest, search::lower(&self.digests, digest), len)
    }

    /// Whether `key` is there, `slot` being that of the first digest that is not below its own.
    #[inline(always)]
    fn decide(&self, key: &K::View, digest: K::Digest, slot: usize, len: usize) -> Result<usize, usize> {
        if K::EXACT {
            // Unused slots hold the greatest digest, which a key may have too.
            return if slot < len && self.digests[slot.min(SLOTS - 1)] == digest { Ok(slot) } else { Err(slot.min(len)) };
        }
        self.find_among_equals(key, digest, slot.min(len), len)
    }

    /// Decides by the keys themselves among entries from `slot` on whose digests are equal.
    fn find_among_equals(&self, key: &K::View, digest: K::Digest, slot: usize, len: usize) -> Result<usize, usize> {
        let mut low = slot;
        let mut high = slot + self.digests[slot..len.max(slot)].iter().take_while(|probe| **probe == digest).count();
        let mut fetched_down_to = high - low;
        while low < high {
            let ties = high - low;
            if ties > FEW_TIES && ties <= fetched_down_to {
                // Where the next three comparisons can end up: their fetches overlap.
                (1..8).for_each(|eighth| K::prefetch_rest(&self.rests[low + ties * eighth / 8]));
                fetched_down_to = ties / 8;
            }
            let middle = low.midpoint(high);
            match K::compare_rest(&self.rests[middle], key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Inserts at `slot` of a block of `len` entries. `start` is not above `slot` and known before it.
    #[inline]
    pub(super) fn insert<L: Lanes>(&mut self, start: usize, slot: usize, len: usize, digest: K::Digest, rest: K::Rest, value: V) {
        assert!(slot <= len && len < SLOTS, "the leaf makes room first");
        L::open((&mut self.digests, &mut self.values), start, slot, len, (digest, value));
        if !K::EXACT {
            self.marks.copy_within(slot..len, slot + 1);
            self.marks[slot] = K::mark(K::ref_view(&K::key_ref(digest, &rest)));
            self.rests[slot..=len].rotate_right(1);
            self.rests[slot] = rest;
        }
    }

    /// Removes the entry at `slot` of a block of `len` entries. `start` is not above `slot` and known before it.
    #[inline]
    pub(super) fn remove<L: Lanes>(&mut self, start: usize, slot: usize, len: usize) -> V {
        assert!(slot < len && len <= SLOTS, "only entries are removed");
        let value = self.values[slot];
        L::close((&mut self.digests, &mut self.values), start, slot, len);
        if !K::EXACT {
            self.marks.copy_within(slot + 1..len, slot);
            self.rests[slot] = K::Rest::default();
            self.rests[slot..len].rotate_left(1);
        }
        value
    }

    /// Moves the entries from `at` on, of `len`, to the front of `right`, which holds `right_len`.
    pub(super) fn move_to_next(&mut self, at: usize, len: usize, right: &mut Self, right_len: usize) {
        let moved = len - at;
        assert!(moved + right_len <= SLOTS, "the neighbour has room");
        right.digests.copy_within(..right_len, moved);
        right.values.copy_within(..right_len, moved);
        right.digests[..moved].copy_from_slice(&self.digests[at..len]);
        right.values[..moved].copy_from_slice(&self.values[at..len]);
        self.digests[at..len].fill(K::Digest::MAX);
        if !K::EXACT {
            right.marks.copy_within(..right_len, moved);
            right.marks[..moved].copy_from_slice(&self.marks[at..len]);
            right.rests[..right_len + moved].rotate_right(moved);
            right.rests[..moved].swap_with_slice(&mut self.rests[at..len]);
        }
    }

    /// Moves the first `count` entries, of `len`, behind the `left_len` of `left`.
    pub(super) fn move_to_previous(&mut self, count: usize, len: usize, left: &mut Self, left_len: usize) {
        assert!(count <= len && left_len + count <= SLOTS, "the neighbour has room");
        left.digests[left_len..left_len + count].copy_from_slice(&self.digests[..count]);
        left.values[left_len..left_len + count].copy_from_slice(&self.values[..count]);
        self.digests.copy_within(count..len, 0);
        self.values.copy_within(count..len, 0);
        self.digests[len - count..len].fill(K::Digest::MAX);
        if !K::EXACT {
            left.marks[left_len..left_len + count].copy_from_slice(&self.marks[..count]);
            self.marks.copy_within(count..len, 0);
            left.rests[left_len..left_len + count].swap_with_slice(&mut self.rests[..count]);
            self.rests[..len].rotate_left(count);
        }
    }

    /// Takes the digests anew behind another number of shared bytes.
    pub(super) fn redigest(&mut self, len: usize, skip: usize) {
        for slot in 0..len {
            // Of keys on the heap many are fetched at once.
            K::prefetch_rest(&self.rests[(slot + KEYS_AHEAD).min(SLOTS - 1)]);
            let (digest, rest) = (&mut self.digests[slot], &self.rests[slot]);
            let key = K::key_ref(*digest, rest);
            let fresh = K::digest(K::ref_view(&key), skip);
            *digest = fresh;
        }
    }

    /// Bytes that the keys own outside the block.
    pub(super) fn key_heap_bytes(&self, len: usize) -> usize {
        self.rests[..len].iter().map(K::rest_heap_bytes).sum()
    }

    /// Asserts what every block promises, for one of `len` entries.
    pub(super) fn check(&self, len: usize) {
        assert!(0 < len && len <= SLOTS);
        assert!(self.digests[len..].iter().all(|digest| *digest == K::Digest::MAX));
        for slot in 1..len {
            assert!(self.digests[slot - 1] <= self.digests[slot]);
            let (left, right) = (self.key(slot - 1), self.key(slot));
            assert!(K::ref_view(&left) < K::ref_view(&right), "{left:?} before {right:?}");
        }
        for slot in 0..if K::EXACT { 0 } else { len } {
            assert!(self.marks[slot] == K::mark(K::ref_view(&self.key(slot))), "a mark is its key's");
        }
    }
}
