//! A scan over all of a range, in key order, across tablets and cores.

use crate::base::CoreId;
use crate::shard::api::{KeyRange, ReadView, RowBatch, ScanSpec};
use crate::shard::engine::{Engine, REDIRECTS_MAX, SnapshotPin, engine};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Request, ScanNext};

/// A scan in progress. It pins its snapshot, and is used on the core that opened it.
pub struct ScanCursor {
    view: ReadView,
    /// What is left.
    spec: Option<ScanSpec>,
    _pin: SnapshotPin,
}

impl Engine {
    /// Opens a scan.
    pub fn scan(&self, view: ReadView, spec: ScanSpec) -> ScanCursor {
        let pin = self.pin(&view);
        let spec = (spec.limit != Some(0)).then_some(spec);
        ScanCursor { view, spec, _pin: pin }
    }

    /// The core on which a scan's range starts.
    fn scan_owner(&self, spec: &ScanSpec) -> EngineResult<CoreId> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let mut shard = self.0.shard.borrow_mut();
        let map = shard.ranges().storage(spec.storage).ok_or(EngineError::StorageGone(spec.storage))?;
        let routes = map.routes();
        let at = if spec.reverse {
            match &spec.range.upper {
                Unbounded => routes.len() - 1,
                Included(key) => map.position(key),
                // The tablet below an excluded bound that is itself a tablet's lower end.
                Excluded(key) => {
                    let at = map.position(key);
                    if routes[at].lower.as_ref() == Some(key) { at - 1 } else { at }
                }
            }
        } else {
            match &spec.range.lower {
                Unbounded => 0,
                Included(key) | Excluded(key) => map.position(key),
            }
        };
        Ok(routes[at].core)
    }
}

impl ScanCursor {
    /// The next rows; `None` at the end. Batches may be empty where a filter keeps nothing.
    pub async fn next(&mut self) -> EngineResult<Option<RowBatch>> {
        let Some(spec) = self.spec.take() else { return Ok(None) };
        let engine = engine();
        for attempt in 0..REDIRECTS_MAX {
            let owner = engine.scan_owner(&spec)?;
            let (batch, next) = if owner == engine.0.core {
                let result = engine.0.shard.borrow_mut().scan(&self.view, &spec);
                result?
            } else {
                engine.ask(owner, Request::Scan { view: self.view, spec: spec.clone() }).await.rows()?
            };
            engine.check_age(&self.view)?;
            match next {
                ScanNext::Moved => engine.wait_for_move(attempt).await,
                ScanNext::Done => return Ok(Some(batch)),
                ScanNext::Rest(range) => {
                    self.spec = rest_of(spec, range, batch.len());
                    return Ok(Some(batch));
                }
            }
        }
        Err(EngineError::Limit("a tablet kept moving"))
    }
}

/// What is left of a scan after a batch; nothing if the range is used up or the limit reached.
fn rest_of(spec: ScanSpec, range: KeyRange, taken: usize) -> Option<ScanSpec> {
    let limit = spec.limit.map(|limit| limit.saturating_sub(taken as u64));
    if limit == Some(0) || is_empty(&range) {
        return None;
    }
    Some(ScanSpec { range, limit, ..spec })
}

/// Whether a range certainly holds no key.
fn is_empty(range: &KeyRange) -> bool {
    use std::ops::Bound::{Excluded, Included};
    match (&range.lower, &range.upper) {
        (Included(lower), Included(upper)) => lower > upper,
        (Included(lower) | Excluded(lower), Excluded(upper)) | (Excluded(lower), Included(upper)) => lower >= upper,
        _ => false,
    }
}
