//! Reads on the owner.

use std::ops::{Bound, ControlFlow};

use crate::base::StorageId;
use crate::shard::api::{KeyRange, ReadView, RowBatch, ScanSpec};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::ScanNext;
use crate::shard::state::Shard;
use crate::storage::{Key, KeyRef, Tablet, View};

/// A piece of a scan ends after so many visited keys, …
const SCAN_KEYS_MAX: usize = 1024;
/// … kept rows, …
const SCAN_ROWS_MAX: usize = 512;
/// … or bytes of kept rows, whichever comes first: well under half a millisecond.
const SCAN_BYTES_MAX: usize = 128 * 1024;

impl Shard {
    /// Reads one row, if this core owns its key.
    #[inline]
    pub(super) fn point_read<T>(
        &self,
        view: &ReadView,
        storage: StorageId,
        key: &Key,
        then: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Option<T> {
        let tablet = self.tablet(storage, key)?;
        Some(then(tablet.read(key, &View::from(view), &self.txns)))
    }

    /// Reads rows by key, in order. False if a key belongs elsewhere: then the batch is of no use.
    pub(super) fn point_reads(&mut self, view: &ReadView, reads: &[(StorageId, Key)], batch: &mut RowBatch) -> bool {
        let seen = View::from(view);
        for (storage, key) in reads {
            let Some(tablet) = self.tablet(*storage, key) else { return false };
            match tablet.read(key, &seen, &self.txns) {
                Some(row) => batch.push(row),
                None => batch.push_missing(),
            }
            self.track_point(view, *storage, key);
        }
        true
    }

    /// Reads a piece of a scan.
    pub(super) fn scan(&mut self, view: &ReadView, spec: &ScanSpec) -> EngineResult<(RowBatch, ScanNext)> {
        let mut batch = RowBatch::default();
        let Some(tablet) = self.tablet_at_start(spec) else { return Ok((batch, ScanNext::Moved)) };
        let mut piece = Piece { spec, batch: &mut batch, visited: 0, last: None, error: None };
        tablet.scan(
            spec.range.lower.as_ref(),
            spec.range.upper.as_ref(),
            spec.reverse,
            &View::from(view),
            &self.txns,
            |key, row| piece.visit(key, row),
        );
        let Piece { last, error, .. } = piece;
        if let Some(error) = error {
            return Err(error);
        }
        let limit_reached = spec.limit.is_some_and(|limit| batch.len() as u64 >= limit);
        let next = match &last {
            _ if limit_reached => ScanNext::Done,
            Some(last) => ScanNext::Rest(rest_after(spec, last.clone())),
            None => rest_beyond(spec, tablet),
        };
        self.track_scan(view, spec, &next, last.as_ref());
        Ok((batch, next))
    }

    /// The local tablet in which a scan's range starts (or, in reverse, ends).
    fn tablet_at_start(&self, spec: &ScanSpec) -> Option<&Tablet> {
        let tablets = self.tablets.get(&spec.storage)?;
        if spec.reverse {
            match &spec.range.upper {
                Bound::Unbounded => tablets.last().filter(|tablet| tablet.upper.is_none()),
                Bound::Included(key) => self.tablet(spec.storage, key),
                Bound::Excluded(key) => {
                    let at =
                        tablets.partition_point(|tablet| tablet.lower.as_ref().is_none_or(|lower| lower < key)).checked_sub(1)?;
                    Some(&tablets[at]).filter(|tablet| tablet.upper.as_ref().is_none_or(|upper| key <= upper))
                }
            }
        } else {
            match &spec.range.lower {
                Bound::Unbounded => tablets.first().filter(|tablet| tablet.lower.is_none()),
                Bound::Included(key) | Bound::Excluded(key) => self.tablet(spec.storage, key),
            }
        }
    }
}

/// A piece of a scan in progress.
struct Piece<'a> {
    spec: &'a ScanSpec,
    batch: &'a mut RowBatch,
    visited: usize,
    /// Set when the piece ends before the tablet does: the last key visited.
    last: Option<Key>,
    error: Option<EngineError>,
}

impl Piece<'_> {
    fn visit(&mut self, key: KeyRef<'_>, row: Option<&[u8]>) -> ControlFlow<()> {
        self.visited += 1;
        if let Some(row) = row {
            let wanted = match &self.spec.filter {
                None => Ok(true),
                Some(filter) => filter.matches(row),
            };
            match wanted {
                Ok(false) => {}
                Ok(true) if self.spec.with_keys => self.batch.push_keyed(key.to_key(), row),
                Ok(true) => self.batch.push(row),
                Err(error) => {
                    self.error = Some(error.into());
                    return ControlFlow::Break(());
                }
            }
        }
        let rows_max = self.spec.limit.map_or(SCAN_ROWS_MAX, |limit| SCAN_ROWS_MAX.min(limit.min(1 << 32) as usize));
        if self.visited >= SCAN_KEYS_MAX || self.batch.len() >= rows_max || self.batch.byte_len() >= SCAN_BYTES_MAX {
            self.last = Some(key.to_key());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// What is left of the range after `last` was visited.
fn rest_after(spec: &ScanSpec, last: Key) -> KeyRange {
    if spec.reverse {
        KeyRange { lower: spec.range.lower.clone(), upper: Bound::Excluded(last) }
    } else {
        KeyRange { lower: Bound::Excluded(last), upper: spec.range.upper.clone() }
    }
}

/// What is left of the range beyond a tablet.
fn rest_beyond(spec: &ScanSpec, tablet: &Tablet) -> ScanNext {
    if spec.reverse {
        let Some(edge) = tablet.lower.clone() else { return ScanNext::Done };
        let ends_here = match &spec.range.lower {
            Bound::Unbounded => false,
            Bound::Included(lower) | Bound::Excluded(lower) => *lower >= edge,
        };
        if ends_here {
            return ScanNext::Done;
        }
        ScanNext::Rest(KeyRange { lower: spec.range.lower.clone(), upper: Bound::Excluded(edge) })
    } else {
        let Some(edge) = tablet.upper.clone() else { return ScanNext::Done };
        let ends_here = match &spec.range.upper {
            Bound::Unbounded => false,
            Bound::Included(upper) => *upper < edge,
            Bound::Excluded(upper) => *upper <= edge,
        };
        if ends_here {
            return ScanNext::Done;
        }
        ScanNext::Rest(KeyRange { lower: Bound::Included(edge), upper: spec.range.upper.clone() })
    }
}
