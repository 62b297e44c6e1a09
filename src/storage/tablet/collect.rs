//! Garbage: the versions of a key that nobody can see any more.
//!
//! A committed version is seen by the snapshots from its timestamp up to, not including, that of the next newer one. It goes when
//! there is no such snapshot and will be none. So one old snapshot keeps one version of each key, not all that came after it.

use crate::base::CommitTs;
use crate::storage::key::Key;
use crate::storage::tablet::Tablet;

/// What is read now, and may be read later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Who reads below it reads at one of the pins.
    pub recent: CommitTs,
    /// Older snapshots in use, ascending.
    pub pins: Vec<CommitTs>,
}

impl Horizon {
    /// A horizon without old snapshots.
    pub fn at(recent: CommitTs) -> Self {
        Self { recent, pins: Vec::new() }
    }

    /// Whether a snapshot is one of the pins.
    pub fn is_pinned(&self, snapshot: CommitTs) -> bool {
        self.pins.binary_search(&snapshot).is_ok()
    }

    /// The highest pin at or above `begin` and below `end`.
    fn pin_within(&self, begin: u64, end: u64) -> Option<CommitTs> {
        let below = self.pins.partition_point(|pin| pin.0 < end);
        self.pins[..below].last().copied().filter(|pin| pin.0 >= begin)
    }
}

impl Tablet {
    /// Collects a key's garbage: superseded versions that nobody can see, and the key itself if it is deleted. Returns how
    /// many versions went.
    ///
    /// Of each superseded version that a pin keeps, `held` is told the pin and the version's timestamp, once: the caller asks again, with
    /// that timestamp as `again`, when the pin is gone.
    pub fn collect(
        &mut self,
        key: &Key,
        horizon: &Horizon,
        again: Option<CommitTs>,
        mut held: impl FnMut(CommitTs, CommitTs),
    ) -> usize {
        let Some(head) = self.map.get(key) else { return 0 };
        let before = self.heap.versions();
        let mut newer = head;
        loop {
            let above = self.heap.header(newer);
            let at = above.prev;
            if at.is_none() {
                break;
            }
            let header = self.heap.header(at);
            // An intent, decided or not, has no timestamp yet at which it supersedes what is below it.
            let is_superseded = above.intent().is_none() && above.begin <= horizon.recent.0;
            if !is_superseded {
                newer = at;
                continue;
            }
            match horizon.pin_within(header.begin, above.begin) {
                None => {
                    self.heap.set_prev(newer, header.prev);
                    self.heap.free(at);
                }
                Some(pin) => {
                    let begin = CommitTs(header.begin);
                    if !header.held || again == Some(begin) {
                        self.heap.set_held(at);
                        held(pin, begin);
                    }
                    newer = at;
                }
            }
        }
        let header = self.heap.header(head);
        if header.tombstone && header.intent().is_none() && header.prev.is_none() && header.begin <= horizon.recent.0 {
            self.heap.free(head);
            self.map.remove(key);
        }
        before - self.heap.versions()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::{StorageId, TabletId, TxnId};
    use crate::storage::tablet::{IntentStatus, View};

    struct AllStamped;

    impl IntentStatus for AllStamped {
        fn committed(&self, _slot: u32) -> Option<CommitTs> {
            None
        }

        fn is_own(&self, _slot: u32, _txn: TxnId) -> bool {
            false
        }
    }

    fn row_at(tablet: &Tablet, snapshot: u64) -> Option<Vec<u8>> {
        let view = View { snapshot: CommitTs(snapshot), txn: None, command: 0 };
        tablet.read(&Key::Int(1), &view, &AllStamped).map(<[u8]>::to_vec)
    }

    fn write(tablet: &mut Tablet, ts: u64, row: Option<&[u8]>) {
        tablet.place_intent(&Key::Int(1), 0, 0, row).expect("the heap is not full");
        tablet.stamp(&Key::Int(1), 0, CommitTs(ts), CommitTs(0));
    }

    fn empty() -> Tablet {
        let map = crate::storage::KeyMap::for_ints();
        Tablet::new(TabletId(1), StorageId(9), None, None, map)
    }

    #[test]
    fn an_old_snapshot_keeps_one_version_and_not_those_after_it() {
        let mut tablet = empty();
        for ts in 1..=100u64 {
            write(&mut tablet, ts, Some(&ts.to_le_bytes()));
        }
        let mut kept = Vec::new();
        let horizon = Horizon { recent: CommitTs(100), pins: vec![CommitTs(7)] };
        assert_eq!(tablet.collect(&Key::Int(1), &horizon, None, |pin, begin| kept.push((pin, begin))), 98);
        assert_eq!((tablet.versions(), kept.as_slice()), (2, [(CommitTs(7), CommitTs(7))].as_slice()));
        assert_eq!(row_at(&tablet, 7), Some(7u64.to_le_bytes().to_vec()));
        assert_eq!(tablet.collect(&Key::Int(1), &horizon, None, |_, _| panic!("it was told once")), 0);
        let gone = Horizon::at(CommitTs(100));
        assert_eq!(tablet.collect(&Key::Int(1), &gone, Some(CommitTs(7)), |_, _| panic!("nobody keeps it")), 1);
    }

    proptest! {
        /// Whatever is written and whenever it is collected: every pin and everybody from the horizon on reads what was written, and in
        /// the end nothing is left over.
        #[test]
        fn nobody_misses_a_version(
            deletes in prop::collection::vec(any::<bool>(), 1..40),
            pins in prop::collection::btree_set(0..40u64, 0..6),
            horizons in prop::collection::vec(0..41u64, 1..5),
        ) {
            let mut tablet = empty();
            let last = deletes.len() as u64;
            let mut rows = vec![None];
            for (ts, delete) in (1..).zip(&deletes) {
                // A deletion needs something to delete, as it has in life.
                let row = (!delete || rows.last() == Some(&None)).then(|| u64::to_le_bytes(ts).to_vec());
                write(&mut tablet, ts, row.as_deref());
                rows.push(row);
            }
            let mut kept: Vec<(CommitTs, CommitTs)> = Vec::new();
            let mut recent = 0;
            for horizon in horizons {
                recent = horizon.min(last).max(recent);
                let pins: Vec<_> = pins.iter().map(|pin| CommitTs(*pin)).collect();
                let horizon = Horizon { recent: CommitTs(recent), pins };
                tablet.collect(&Key::Int(1), &horizon, None, |pin, begin| kept.push((pin, begin)));
                for ts in pins_and_later(&horizon, last) {
                    prop_assert_eq!(&row_at(&tablet, ts), &rows[ts.min(last) as usize], "at {}", ts);
                }
            }
            let mut all = kept.clone();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), kept.len(), "each is told once");
            let end = Horizon::at(CommitTs(last));
            tablet.collect(&Key::Int(1), &end, None, |_, _| {});
            prop_assert_eq!(tablet.versions(), usize::from(rows[last as usize].is_some()));
        }
    }

    fn pins_and_later(horizon: &Horizon, last: u64) -> Vec<u64> {
        horizon.pins.iter().map(|pin| pin.0).chain(horizon.recent.0..=last).collect()
    }
}
