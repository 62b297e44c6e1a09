//! Learned indexes, tablets and memory of one core.

use super::{Group, label_enum, none, one};
use crate::metrics::cell::{Counter, Gauge, Log2Distribution};
use crate::metrics::families;
use crate::metrics::snapshot::Collector;

/// Learned-index figures of one core, over all its tablets.
#[derive(Debug, Default)]
pub struct IndexMetrics {
    /// Lookups whose key lay within a cache line of the prediction.
    pub hits: Counter,
    /// Lookups that had to search further.
    pub misses: Counter,
    /// Positions between prediction and key.
    pub prediction_error: Log2Distribution,
    /// Leaves split, expanded, retrained or merged.
    pub structural_changes: Counter,
}

impl Group for IndexMetrics {
    fn collect(&self, out: &mut Collector) {
        out.counter(&families::INDEX_HITS, none(), self.hits.get());
        out.counter(&families::INDEX_MISSES, none(), self.misses.get());
        out.log2(&families::INDEX_ERROR, none(), &self.prediction_error);
        out.counter(&families::INDEX_CHANGES, none(), self.structural_changes.get());
    }
}

label_enum! {
    /// What memory is used for.
    MemoryKind {
        /// Learned indexes: keys, models, gaps.
        Index = "index",
        /// Row versions.
        Rows = "rows",
        /// Write intents and locks.
        Intents = "intents",
    }
}

/// Tablet and memory figures of one core.
#[derive(Debug)]
pub struct StorageMetrics {
    /// Tablets owned.
    pub tablets: Gauge,
    /// Live keys in them.
    pub rows: Gauge,
    /// Bytes of rows and index entries.
    pub stored_bytes: Gauge,
    /// Tablets handed to another core.
    pub tablet_moves: Counter,
    /// Tablets split.
    pub tablet_splits: Counter,
    memory: [Gauge; MemoryKind::COUNT],
}

impl Default for StorageMetrics {
    fn default() -> Self {
        Self {
            tablets: Gauge::default(),
            rows: Gauge::default(),
            stored_bytes: Gauge::default(),
            tablet_moves: Counter::default(),
            tablet_splits: Counter::default(),
            memory: std::array::from_fn(|_| Gauge::default()),
        }
    }
}

impl StorageMetrics {
    /// Bytes used for one kind of thing: `set` it at a scrape or `add` to it as it changes.
    #[inline]
    pub fn memory(&self, kind: MemoryKind) -> &Gauge {
        &self.memory[kind as usize]
    }
}

impl Group for StorageMetrics {
    fn collect(&self, out: &mut Collector) {
        out.gauge(&families::TABLETS, none(), self.tablets.get());
        out.gauge(&families::ROWS, none(), self.rows.get());
        out.gauge(&families::DATABASE_SIZE, none(), self.stored_bytes.get());
        out.counter(&families::TABLET_MOVES, none(), self.tablet_moves.get());
        out.counter(&families::TABLET_SPLITS, none(), self.tablet_splits.get());
        for &kind in MemoryKind::ALL {
            out.gauge(&families::MEMORY_USAGE, one("kind", kind.label()), self.memory[kind as usize].get());
        }
    }
}
