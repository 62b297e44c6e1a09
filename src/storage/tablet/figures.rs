//! What a tablet tells of itself to whoever looks at it.

use crate::base::{StorageId, TabletId};
use crate::index::IndexStats;
use crate::storage::key::Key;
use crate::storage::tablet::Tablet;

/// What a tablet tells of itself.
#[derive(Clone, Debug)]
pub struct TabletFigures {
    /// Identity.
    pub id: TabletId,
    /// Storage.
    pub storage: StorageId,
    /// Inclusive lower end; `None` is unbounded.
    pub lower: Option<Key>,
    /// Exclusive upper end; `None` is unbounded.
    pub upper: Option<Key>,
    /// Keys.
    pub keys: usize,
    /// Row versions.
    pub versions: usize,
    /// Memory of the index.
    pub index_bytes: usize,
    /// Memory of the rows.
    pub heap_bytes: usize,
    /// The index: its counters and shape.
    pub index: IndexStats,
}

/// A key of a tablet, where it is, and where the models expect it.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvePoint {
    /// The key.
    pub key: Key,
    /// How many keys are smaller.
    pub position: usize,
    /// How many the models predict.
    pub predicted: usize,
}

impl Tablet {
    /// What there is to be told of it.
    pub fn figures(&self) -> TabletFigures {
        TabletFigures {
            id: self.id,
            storage: self.storage,
            lower: self.lower.clone(),
            upper: self.upper.clone(),
            keys: self.keys(),
            versions: self.versions(),
            index_bytes: self.index_bytes(),
            heap_bytes: self.heap_bytes(),
            index: self.map.outline(),
        }
    }

    /// About so many of its keys, evenly spread.
    pub fn curve(&self, points: usize) -> Vec<CurvePoint> {
        let curve = self.map().curve(points).into_iter();
        curve.map(|(key, position, predicted)| CurvePoint { key, position, predicted }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CommitTs, StorageId, TabletId};
    use crate::storage::KeyMap;

    fn tablet(keys: impl Iterator<Item = i64>) -> Tablet {
        let mut tablet = Tablet::new(TabletId(1), StorageId(16), None, None, KeyMap::for_ints());
        for key in keys {
            tablet.replay(&Key::Int(key), CommitTs(1), Some(&[0; 8])).expect("there is room");
        }
        tablet
    }

    #[test]
    fn a_curve_is_of_keys_in_order_with_their_true_positions() {
        let tablet = tablet((0..10_000).map(|number| number * 3));
        let curve = tablet.curve(100);
        assert_eq!(curve.len(), 100);
        for point in &curve {
            assert_eq!(point.key, Key::Int(3 * i64::try_from(point.position).expect("it is small")));
            assert!(point.predicted.abs_diff(point.position) < 128, "a prediction stays within its block: {point:?}");
        }
        assert!(
            tablet.curve(0).len() == 1
                && Tablet::new(TabletId(1), StorageId(16), None, None, KeyMap::for_bytes()).curve(9).is_empty()
        );
    }

    #[test]
    fn memory_is_estimated_between_two_counts() {
        let mut tablet = tablet(0..50_000);
        let counted = tablet.index_bytes();
        assert_eq!(counted, tablet.map().bytes());
        for key in 50_000..52_000 {
            tablet.replay(&Key::Int(key), CommitTs(1), Some(&[0; 8])).expect("there is room");
        }
        let (estimated, truth) = (tablet.index_bytes(), tablet.map().bytes());
        assert!(estimated > counted && estimated.abs_diff(truth) < truth / 8, "{estimated} is about {truth}");
        for key in 52_000..120_000 {
            tablet.replay(&Key::Int(key), CommitTs(1), Some(&[0; 8])).expect("there is room");
        }
        assert_eq!(tablet.index_bytes(), tablet.map().bytes(), "it has grown by more than an eighth");
        let figures = tablet.figures();
        assert_eq!((figures.keys, figures.index.depth), (120_000, 3));
    }
}
