//! A random sample of a table's rows, for ANALYZE.
//!
//! Each core draws ranks among its keys and looks those up, a slice at a time: the work is bounded by the sample's size and not
//! by the table's, since how many keys there are is known. The session's core takes of each core's rows as many as that core's
//! share of the table. Rows that come and go meanwhile, or move between cores, may be missed: a sample is an estimate.

use crate::base::{CoreId, StorageId};
use crate::runtime;
use crate::shard::api::{ReadView, RowBatch};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Reply, Request};
use crate::shard::sizes::StorageSize;
use crate::shard::state::Shard;
use crate::storage::{Key, View};

/// Ranks looked up in one slice.
const SLICE: usize = 64;
/// Bytes of rows that one core's sample holds, about.
const SAMPLE_BYTES_MAX: u64 = 32 << 20;

/// Bytes at which a sample ends before it is complete: rows far wider than the average have been drawn.
const BATCH_BYTES_MAX: u64 = 8 * SAMPLE_BYTES_MAX;

/// What one core has found.
#[derive(Clone, Debug, Default)]
pub struct CoreSample {
    /// Rows with their keys, in key order.
    pub(super) rows: RowBatch,
    /// How many keys were looked up; those that the snapshot does not see have no row.
    pub(super) looked_up: u64,
    /// What the core holds of the storage.
    pub(super) size: StorageSize,
}

impl CoreSample {
    /// How many rows of this core the snapshot sees: exact if every key was looked up.
    fn live_rows(&self) -> f64 {
        if self.looked_up == 0 {
            return 0.0;
        }
        self.size.keys as f64 * (self.rows.len() as f64 / self.looked_up as f64)
    }
}

/// A sample of a table.
#[derive(Clone, Debug, Default)]
pub struct TableSample {
    /// Rows in key order.
    pub rows: Vec<Vec<u8>>,
    /// How many keys were looked up, …
    pub looked_up: u64,
    /// … and how many of them had rows.
    pub seen: u64,
    /// How many rows the snapshot sees in the whole table.
    pub live_rows: f64,
    /// What the table takes on all cores.
    pub size: StorageSize,
}

impl Engine {
    /// At most `rows_max` rows of a storage, each as likely as any other.
    pub async fn sample(&self, view: &ReadView, storage: StorageId, rows_max: usize) -> EngineResult<TableSample> {
        let _pin = self.pin(view);
        let mut calls = Vec::new();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            calls.push((core, self.ask(core, Request::Sample { view: *view, storage, rows_max })));
        }
        let mut samples = vec![self.sample_here(view, storage, rows_max).await];
        for (_, reply) in join_calls(calls).await {
            match reply {
                Reply::Sampled(sample) => samples.push(*sample),
                _ => return Err(EngineError::Internal("a request for a sample was not answered with one")),
            }
        }
        self.check_age(view)?;
        Ok(merge(&samples, rows_max))
    }

    /// This core's part.
    pub(super) async fn sample_here(&self, view: &ReadView, storage: StorageId, rows_max: usize) -> CoreSample {
        let size = {
            let mut shard = self.0.shard.borrow_mut();
            // Whoever plans by the new statistics is to find sizes that fit them.
            shard.count_memory();
            StorageSize::of(shard.tablets.get(&storage).into_iter().flatten())
        };
        let mut sample = CoreSample { size, ..CoreSample::default() };
        let row_bytes = (size.heap_bytes / size.keys.max(1)).max(1);
        let wanted = (rows_max as u64).min((SAMPLE_BYTES_MAX / row_bytes).max(1));
        let mut last = None;
        for ranks in draw(size.keys, wanted, runtime::random_u64).chunks(SLICE) {
            self.0.shard.borrow().look_up_ranks(view, storage, ranks, &mut last, &mut sample);
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
        }
        sample
    }
}

impl Shard {
    /// Adds the rows of these ranks, counted over this core's tablets of the storage in key order. Keys up to `last` have been
    /// seen: ranks shift when keys are inserted between two slices.
    fn look_up_ranks(&self, view: &ReadView, storage: StorageId, ranks: &[u64], last: &mut Option<Key>, sample: &mut CoreSample) {
        let Some(tablets) = self.tablets.get(&storage) else { return };
        let view = View::from(view);
        let (mut tablets, mut before) = (tablets.iter().peekable(), 0);
        for rank in ranks {
            while let Some(tablet) = tablets.next_if(|tablet| before + tablet.keys() as u64 <= *rank) {
                before += tablet.keys() as u64;
            }
            let Some(tablet) = tablets.peek() else { return };
            if sample.rows.byte_len() as u64 > BATCH_BYTES_MAX {
                return;
            }
            let Some(key) = tablet.map().nth_key((rank - before) as usize) else { return };
            if last.as_ref().is_some_and(|last| key <= *last) {
                continue;
            }
            sample.looked_up += 1;
            if let Some(row) = tablet.read(&key, &view, &self.txns) {
                sample.rows.push_keyed(key.clone(), row);
            }
            *last = Some(key);
        }
    }
}

/// `wanted` different numbers below `count`, ascending; all of them if there are no more.
fn draw(count: u64, wanted: u64, mut random: impl FnMut() -> u64) -> Vec<u64> {
    if count <= wanted {
        return (0..count).collect();
    }
    let mut drawn: Vec<u64> = Vec::with_capacity(wanted as usize);
    // With few of many wanted nearly all drawn are different at once; with most of them, those left out are drawn.
    let complement = wanted > count / 2;
    let target = if complement { count - wanted } else { wanted } as usize;
    while drawn.len() < target {
        let missing = target - drawn.len();
        drawn.extend((0..missing).map(|_| random() % count));
        drawn.sort_unstable();
        drawn.dedup();
    }
    if !complement {
        return drawn;
    }
    let mut left_out = drawn.into_iter().peekable();
    (0..count).filter(|number| left_out.next_if_eq(number).is_none()).collect()
}

/// The cores' samples as one, each core with its share of the rows.
fn merge(samples: &[CoreSample], rows_max: usize) -> TableSample {
    let live_rows: f64 = samples.iter().map(CoreSample::live_rows).sum();
    let size = samples.iter().map(|sample| sample.size).fold(StorageSize::default(), StorageSize::plus);
    let mut keyed: Vec<(&Key, &[u8])> = Vec::new();
    for sample in samples {
        let found = sample.rows.len();
        let share = if live_rows > rows_max as f64 {
            (rows_max as f64 * (sample.live_rows() / live_rows)).ceil() as usize
        } else {
            found
        };
        let taken = draw(found as u64, share as u64, runtime::random_u64);
        let rows: Vec<&[u8]> = sample.rows.iter().flatten().collect();
        keyed.extend(taken.into_iter().map(|at| (&sample.rows.keys()[at as usize], rows[at as usize])));
    }
    keyed.sort_by_key(|(key, _)| *key);
    let seen = samples.iter().map(|sample| sample.rows.len() as u64).sum();
    let looked_up = samples.iter().map(|sample| sample.looked_up).sum();
    TableSample { rows: keyed.into_iter().map(|(_, row)| row.to_vec()).collect(), looked_up, seen, live_rows, size }
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn what_is_drawn_is_different_ordered_and_spread() {
        let mut state = 7_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 20
        };
        for (count, wanted) in [(0, 5), (5, 5), (5, 9), (1000, 1), (1000, 400), (1000, 990), (1 << 40, 3000)] {
            let drawn = draw(count, wanted, &mut random);
            assert_eq!(drawn.len() as u64, wanted.min(count), "{wanted} of {count}");
            assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]) && drawn.iter().all(|number| *number < count));
        }
        // Of ten thousand, each tenth has about a tenth of the drawn.
        let drawn = draw(10_000, 2000, &mut random);
        for tenth in 0..10 {
            let found = drawn.iter().filter(|number| **number / 1000 == tenth).count();
            assert!((150..=250).contains(&found), "{found} of tenth {tenth}");
        }
    }
}
