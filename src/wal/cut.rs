//! The cut: which commits survive a crash (invariants 5 and 6).
//!
//! The clock is dense (invariant 2), so every timestamp after the checkpoint names a commit that was drawn, and every participant
//! was to log it. Recovery keeps the longest run of timestamps that all of their participants have, and nothing after it:
//! a commit may have read, or overwritten, what a missing one wrote.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use thiserror::Error;

use crate::base::{CommitTs, CoreId};

/// A list of cores, inline when short.
pub type CoreList = SmallVec<[CoreId; 4]>;

/// The commit records found in one core's log: 8 bytes for each that touched this core alone, because a gigabyte of log holds
/// millions of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitList {
    /// Whose log.
    pub core: CoreId,
    local: Vec<CommitTs>,
    shared: Vec<(CommitTs, CoreList)>,
}

impl CommitList {
    /// The list of an empty log of `core`.
    pub fn new(core: CoreId) -> Self {
        Self { core, local: Vec::new(), shared: Vec::new() }
    }

    /// Adds a record: its timestamp and who takes part (nobody named: this core alone).
    pub fn push(&mut self, ts: CommitTs, participants: impl ExactSizeIterator<Item = CoreId>) {
        assert!(ts.0 > 0, "decoding refuses timestamp 0");
        if participants.len() == 0 {
            self.local.push(ts);
        } else {
            self.shared.push((ts, participants.collect()));
        }
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.local.len() + self.shared.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the records of a later part of the same log.
    pub fn extend(&mut self, later: CommitList) {
        assert_eq!(self.core, later.core, "one log");
        self.local.extend(later.local);
        self.shared.extend(later.shared);
    }

    /// Takes out the records of some commits: what belongs to them is not all there.
    pub(super) fn forget(&mut self, incomplete: &[CommitTs]) {
        self.local.retain(|ts| !incomplete.contains(ts));
        self.shared.retain(|(ts, _)| !incomplete.contains(ts));
    }

    fn timestamps(&self) -> impl Iterator<Item = CommitTs> {
        self.local.iter().copied().chain(self.shared.iter().map(|shared| shared.0))
    }
}

/// What recovery keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// R: every commit up to here is kept.
    pub recovered: CommitTs,
    /// Timestamps above R of which some record was found, ascending: the commits that are dropped.
    pub dropped: Vec<CommitTs>,
}

/// Why the logs cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CutError {
    /// A timestamp was drawn twice.
    #[error("there are two commits with timestamp {ts} (the second in the log of core {core})")]
    Repeated {
        /// The timestamp.
        ts: CommitTs,
        /// The log in which it was found again.
        core: CoreId,
    },
    /// Two logs disagree on who takes part, or a core logged a commit in which it does not.
    #[error("the logs disagree on the participants of commit {ts} (seen in the log of core {core})")]
    Participants {
        /// The timestamp.
        ts: CommitTs,
        /// A log that disagrees.
        core: CoreId,
    },
    /// A commit that an earlier recovery kept is gone.
    #[error("commit {missing} is missing from the logs although an earlier recovery kept everything up to {required}")]
    Lost {
        /// The first missing timestamp.
        missing: CommitTs,
        /// The earlier promise.
        required: CommitTs,
    },
}

/// What is known of one timestamp after the checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Missing,
    /// Logged by a core that was the only participant.
    Local,
    /// Logged by some of several participants: see the tallies.
    Shared,
}

struct Tally {
    participants: CoreList,
    seen: CoreList,
}

/// The timestamps that can possibly be kept, and what the logs say of each.
struct Tallies {
    checkpoint: CommitTs,
    slots: Vec<Slot>,
    shared: FxHashMap<CommitTs, Tally>,
}

impl Tallies {
    /// The slot of `ts`; `None` when it is in the checkpoint or so high that there cannot be enough records to reach it.
    fn slot(&mut self, ts: CommitTs) -> Option<&mut Slot> {
        let at = ts.0.checked_sub(self.checkpoint.0 + 1)?;
        self.slots.get_mut(usize::try_from(at).ok()?)
    }

    fn add_local(&mut self, ts: CommitTs, core: CoreId) -> Result<(), CutError> {
        match self.slot(ts) {
            None => Ok(()),
            Some(slot @ Slot::Missing) => {
                *slot = Slot::Local;
                Ok(())
            }
            Some(Slot::Local | Slot::Shared) => Err(CutError::Repeated { ts, core }),
        }
    }

    fn add_shared(&mut self, ts: CommitTs, core: CoreId, participants: &CoreList) -> Result<(), CutError> {
        if !participants.contains(&core) {
            return Err(CutError::Participants { ts, core });
        }
        match self.slot(ts) {
            None => return Ok(()),
            Some(Slot::Local) => return Err(CutError::Repeated { ts, core }),
            Some(slot @ (Slot::Missing | Slot::Shared)) => *slot = Slot::Shared,
        }
        let tally = self.shared.entry(ts).or_insert_with(|| Tally { participants: participants.clone(), seen: CoreList::new() });
        if tally.participants != *participants {
            return Err(CutError::Participants { ts, core });
        }
        if tally.seen.contains(&core) {
            return Err(CutError::Repeated { ts, core });
        }
        tally.seen.push(core);
        Ok(())
    }

    fn is_complete(&self, at: usize) -> bool {
        match self.slots[at] {
            Slot::Missing => false,
            Slot::Local => true,
            Slot::Shared => {
                let ts = CommitTs(self.checkpoint.0 + 1 + at as u64);
                let tally = self.shared.get(&ts).expect("a shared slot has a tally");
                tally.seen.len() == tally.participants.len()
            }
        }
    }
}

/// Computes the cut from the commit records that all logs hold.
///
/// `checkpoint` is K; records up to it are ignored (their segments may be recycled on one core and not on another). `required` is
/// the highest cut that an earlier recovery has persisted (0 if none): less than it must never be kept.
pub fn compute(checkpoint: CommitTs, required: CommitTs, logs: &[CommitList]) -> Result<Cut, CutError> {
    // R ≤ K + the number of records, because every kept timestamp has one.
    let records = logs.iter().map(CommitList::len).sum();
    let mut tallies = Tallies { checkpoint, slots: vec![Slot::Missing; records], shared: FxHashMap::default() };
    for log in logs {
        for ts in &log.local {
            tallies.add_local(*ts, log.core)?;
        }
        for (ts, participants) in &log.shared {
            tallies.add_shared(*ts, log.core, participants)?;
        }
    }
    let kept = (0..records).take_while(|at| tallies.is_complete(*at)).count();
    let recovered = CommitTs(checkpoint.0 + kept as u64);
    if recovered < required {
        return Err(CutError::Lost { missing: CommitTs(recovered.0 + 1), required });
    }
    let mut dropped: Vec<CommitTs> = logs.iter().flat_map(CommitList::timestamps).filter(|ts| *ts > recovered).collect();
    dropped.sort_unstable();
    dropped.dedup();
    Ok(Cut { recovered, dropped })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    type Seen = (u64, u16, Vec<u16>);

    fn seen(ts: u64, core: u16, participants: &[u16]) -> Seen {
        (ts, core, participants.to_vec())
    }

    /// The logs in which `records` lie, in this order.
    fn logs(records: &[Seen]) -> Vec<CommitList> {
        let cores: BTreeSet<u16> = records.iter().map(|record| record.1).collect();
        let mut logs: Vec<_> = cores.into_iter().map(|core| CommitList::new(CoreId(core))).collect();
        for (ts, core, participants) in records {
            let log = logs.iter_mut().find(|log| log.core == CoreId(*core)).expect("made above");
            log.push(CommitTs(*ts), participants.iter().copied().map(CoreId));
        }
        logs
    }

    fn check(checkpoint: u64, commits: Vec<Seen>, recovered: u64, dropped: &[u64]) {
        let cut = compute(CommitTs(checkpoint), CommitTs(0), &logs(&commits)).expect("sound logs");
        assert_eq!(cut.recovered, CommitTs(recovered));
        assert_eq!(cut.dropped, dropped.iter().copied().map(CommitTs).collect::<Vec<_>>());
    }

    #[test]
    fn the_cut_is_before_the_first_missing_or_incomplete_commit() {
        check(0, vec![], 0, &[]);
        check(5, vec![], 5, &[]);
        check(0, vec![seen(1, 0, &[]), seen(2, 1, &[])], 2, &[]);
        check(0, vec![seen(1, 0, &[]), seen(3, 1, &[])], 1, &[3]);
        check(0, vec![seen(1, 0, &[0, 1]), seen(2, 1, &[])], 0, &[1, 2]);
        check(0, vec![seen(1, 0, &[0, 1]), seen(1, 1, &[0, 1]), seen(2, 1, &[])], 2, &[]);
        // One core's segment of commit 1 is recycled already, the other's is not: the checkpoint has it.
        check(1, vec![seen(1, 0, &[0, 1]), seen(2, 0, &[])], 2, &[]);
    }

    #[test]
    fn logs_that_contradict_each_other_are_refused() {
        let compute = |records: &[Seen]| compute(CommitTs(0), CommitTs(0), &logs(records)).expect_err("contradiction");
        let repeated = |core| CutError::Repeated { ts: CommitTs(1), core: CoreId(core) };
        let participants = |core| CutError::Participants { ts: CommitTs(1), core: CoreId(core) };
        assert_eq!(compute(&[seen(1, 0, &[]), seen(1, 0, &[])]), repeated(0));
        assert_eq!(compute(&[seen(1, 0, &[]), seen(1, 1, &[])]), repeated(1));
        assert_eq!(compute(&[seen(1, 0, &[]), seen(1, 1, &[0, 1])]), repeated(1));
        assert_eq!(compute(&[seen(1, 0, &[0, 1]), seen(1, 0, &[0, 1])]), repeated(0));
        assert_eq!(compute(&[seen(1, 0, &[0, 1]), seen(1, 1, &[0, 1, 2])]), participants(1));
        assert_eq!(compute(&[seen(1, 2, &[0, 1])]), participants(2));
    }

    #[test]
    fn losing_what_an_earlier_recovery_kept_is_an_error() {
        let lost = compute(CommitTs(1), CommitTs(3), &logs(&[seen(2, 0, &[])])).expect_err("3 is gone");
        assert_eq!(lost, CutError::Lost { missing: CommitTs(3), required: CommitTs(3) });
        let kept = compute(CommitTs(1), CommitTs(2), &logs(&[seen(2, 0, &[])])).expect("2 is there");
        assert_eq!(kept.recovered, CommitTs(2));
    }

    proptest! {
        /// A history of commits; some (commit, core) records are lost. The cut must be the longest complete prefix, by the
        /// definition, in whatever order the records are found.
        #[test]
        fn the_cut_is_the_longest_complete_prefix(
            commits in prop::collection::vec(prop::collection::btree_set(0..4u16, 1..4), 1..60),
            lost in prop::collection::vec((any::<prop::sample::Index>(), 0..4u16), 0..4),
            checkpoint in 0..20u64,
            order: u64,
        ) {
            let mut present: BTreeMap<u64, (BTreeSet<u16>, BTreeSet<u16>)> = BTreeMap::new();
            for (at, participants) in commits.iter().enumerate() {
                present.insert(at as u64 + 1, (participants.clone(), participants.clone()));
            }
            for (at, core) in &lost {
                let ts = at.index(commits.len()) as u64 + 1;
                present.get_mut(&ts).expect("every timestamp is there").1.remove(core);
            }
            let mut records = Vec::new();
            for (ts, (participants, have)) in &present {
                let list: Vec<u16> = participants.iter().copied().collect();
                let named = if list.len() == 1 { &[][..] } else { &list };
                records.extend(have.iter().map(|core| seen(*ts, *core, named)));
            }
            let rotation = order as usize % records.len().max(1);
            records.rotate_left(rotation);
            let cut = compute(CommitTs(checkpoint), CommitTs(0), &logs(&records)).expect("sound logs");
            let complete = |ts: u64| present.get(&ts).is_some_and(|(want, have)| want == have);
            for ts in checkpoint + 1..=cut.recovered.0 {
                prop_assert!(complete(ts), "kept {ts}, which is incomplete");
            }
            prop_assert!(!complete(cut.recovered.0 + 1), "cut too early");
            let expected: BTreeSet<CommitTs> =
                records.iter().map(|record| CommitTs(record.0)).filter(|ts| *ts > cut.recovered).collect();
            prop_assert_eq!(cut.dropped, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
