//! What recovery does about bytes in the middle of a log that are not what was written, and what it says about them.
//!
//! Ordinarily such a log is refused. Where somebody has asked to go on without what is lost, unreadable bytes count as never
//! written, and reading resumes at the next valid flush. That guesses nothing: the clock is dense (invariant 2), so the cut
//! (invariant 6) finds out which commits the damage has taken, on whichever cores they were, and keeps what is before the
//! first of them. Damage to what a checkpoint already holds takes nothing.

use std::fmt;
use std::path::PathBuf;

use super::error::WalError;
use crate::base::{CommitTs, CoreId};

/// What to do about damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// Stop with an error that names file and offset.
    #[default]
    Refuse,
    /// Take what is damaged for missing, note it, and read on.
    PassOver,
}

/// A place where bytes are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where the unreadable part begins.
    pub offset: u64,
    /// How long it is, up to where the file can be read again; 0 if that is not known.
    pub bytes: u64,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    /// The place that a corrupt log names, if that is what the error is about; any other error comes back.
    pub(crate) fn of(error: WalError, bytes: u64) -> Result<Self, WalError> {
        match error {
            WalError::Corrupt { path, offset, what } if what.can_be_passed_over() => {
                Ok(Self { path, offset, bytes, what: what.to_string() })
            }
            other => Err(other),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, bytes, what } = self;
        match bytes {
            0 => write!(f, "{} at offset {offset}: {what}", path.display()),
            _ => write!(f, "{}, {bytes} bytes from offset {offset} on: {what}", path.display()),
        }
    }
}

/// The valid records of one log that lie beyond the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Whose log.
    pub core: CoreId,
    /// The file of the first of them.
    pub path: PathBuf,
    /// Its offset there.
    pub offset: u64,
    /// How many.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The lowest timestamp among them.
    pub lowest: CommitTs,
    /// The highest.
    pub highest: CommitTs,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core, path, offset, records, bytes, lowest, highest } = self;
        write!(
            f,
            "log of core {core}: {records} records of timestamps {lowest} to {highest}, {bytes} bytes, from offset {offset} of {} on",
            path.display()
        )
    }
}

/// Counts what lies beyond the cut.
#[derive(Debug, Default)]
pub(super) struct DroppedTally(Option<Dropped>);

impl DroppedTally {
    /// Adds one record; `place` tells where it is.
    pub(super) fn add(&mut self, core: CoreId, ts: CommitTs, bytes: u64, place: impl FnOnce() -> (PathBuf, u64)) {
        let dropped = self.0.get_or_insert_with(|| {
            let (path, offset) = place();
            Dropped { core, path, offset, records: 0, bytes: 0, lowest: ts, highest: ts }
        });
        dropped.records += 1;
        dropped.bytes += bytes;
        dropped.lowest = dropped.lowest.min(ts);
        dropped.highest = dropped.highest.max(ts);
    }

    pub(super) fn get(&self) -> Option<&Dropped> {
        self.0.as_ref()
    }
}
