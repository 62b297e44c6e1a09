//! Incarnations: which start of the server wrote a record, and how far each earlier start's records count.
//!
//! Recovery decides a cut R and drops everything after it, and the next incarnation draws R + 1 anew. The dropped records may
//! still lie in old segments, so the cut of every incarnation is remembered (in the manifest, persisted before serving)
//! until a checkpoint has passed it. Invariant 6 (CUT, NOT GUESS) therefore holds over any number of restarts.

use std::fmt;

use crate::base::CommitTs;

/// One start of the server on a data directory: 1, 2, 3, … in the order of starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The present incarnation and the cuts of those before it that no checkpoint has passed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncarnationHistory {
    current: Incarnation,
    /// Ascending in both fields.
    cuts: Vec<(Incarnation, CommitTs)>,
}

/// Starts without a checkpoint that are remembered. The server checkpoints long before (every start that replayed anything
/// asks for one), and a manifest that claims more is damaged.
pub const INCARNATION_CUTS_MAX: usize = 65_536;

impl IncarnationHistory {
    /// The history of a new data directory: its first incarnation.
    pub fn first() -> Self {
        Self { current: Incarnation(1), cuts: Vec::new() }
    }

    /// A history read back; `None` unless it is ascending and ends before `current`.
    pub fn from_parts(current: Incarnation, cuts: Vec<(Incarnation, CommitTs)>) -> Option<Self> {
        let ascending = cuts.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let ends_before = cuts.last().is_none_or(|last| last.0 < current);
        let sound = ascending && ends_before && current.0 > 0 && cuts.len() <= INCARNATION_CUTS_MAX;
        sound.then_some(Self { current, cuts })
    }

    /// The incarnation that is writing now (or wrote last, while recovery runs).
    pub fn current(&self) -> Incarnation {
        self.current
    }

    /// The cuts that are remembered, ascending.
    pub fn cuts(&self) -> &[(Incarnation, CommitTs)] {
        &self.cuts
    }

    /// The highest timestamp up to which earlier recoveries have already promised that nothing is lost.
    pub fn last_cut(&self) -> CommitTs {
        self.cuts.last().map_or(CommitTs(0), |last| last.1)
    }

    /// The highest timestamp of `incarnation` that counts: its cut, everything for the current one, and nothing for one that is
    /// no longer listed, because a checkpoint has passed its cut.
    pub fn limit(&self, incarnation: Incarnation) -> CommitTs {
        if incarnation == self.current {
            return CommitTs(u64::MAX);
        }
        match self.cuts.binary_search_by_key(&incarnation, |cut| cut.0) {
            Ok(at) => self.cuts[at].1,
            Err(_) => CommitTs(0),
        }
    }

    /// The history to persist when recovery has kept everything up to `recovered`: the current incarnation is closed with that
    /// cut and a new one begins.
    pub fn next(&self, recovered: CommitTs) -> Self {
        assert!(recovered >= self.last_cut(), "a later recovery never keeps less than an earlier one promised");
        assert!(self.cuts.len() < INCARNATION_CUTS_MAX, "a checkpoint forgets cuts long before");
        let mut cuts = self.cuts.clone();
        cuts.push((self.current, recovered));
        Self { current: Incarnation(self.current.0 + 1), cuts }
    }

    /// The history to persist with a checkpoint that holds all there is: a new incarnation, and nothing of those before counts.
    pub fn closed(&self) -> Self {
        Self { current: Incarnation(self.current.0 + 1), cuts: Vec::new() }
    }

    /// The history to persist with a checkpoint through `through`: cuts it has passed are forgotten.
    pub fn checkpointed(&self, through: CommitTs) -> Self {
        let cuts = self.cuts.iter().copied().filter(|cut| cut.1 > through).collect();
        Self { current: self.current, cuts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_up_to_the_cut_of_their_incarnation() {
        let history = IncarnationHistory::first().next(CommitTs(90)).next(CommitTs(90)).next(CommitTs(120));
        assert_eq!(history.current(), Incarnation(4));
        for (incarnation, limit) in [(0, 0), (1, 90), (2, 90), (3, 120), (4, u64::MAX), (5, 0)] {
            assert_eq!(history.limit(Incarnation(incarnation)), CommitTs(limit), "incarnation {incarnation}");
        }
        let later = history.checkpointed(CommitTs(100));
        assert_eq!(later.limit(Incarnation(1)), CommitTs(0), "the checkpoint holds all that counted");
        assert_eq!(later.limit(Incarnation(3)), CommitTs(120));
    }

    #[test]
    fn unordered_histories_are_refused() {
        let cut = |incarnation, ts| (Incarnation(incarnation), CommitTs(ts));
        for (current, cuts, sound) in [
            (1, vec![], true),
            (0, vec![], false),
            (3, vec![cut(1, 5), cut(2, 5)], true),
            (3, vec![cut(1, 6), cut(2, 5)], false),
            (3, vec![cut(2, 5), cut(1, 6)], false),
            (2, vec![cut(2, 5)], false),
        ] {
            assert_eq!(IncarnationHistory::from_parts(Incarnation(current), cuts.clone()).is_some(), sound, "{cuts:?}");
        }
    }
}
