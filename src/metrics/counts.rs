//! How many values each bucket of a distribution has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

/// Four bytes a bucket, so that the nearest caches hold twice as many of them; what does not fit is carried over.
#[derive(Debug)]
pub(super) struct Counts {
    low: Box<[Cell<u32>]>,
    /// By bucket, in units of 2³².
    carried: RefCell<BTreeMap<usize, u64>>,
}

impl Counts {
    /// So many buckets without a value.
    pub(super) fn new(buckets: usize) -> Self {
        Self { low: vec![Cell::new(0); buckets].into_boxed_slice(), carried: RefCell::default() }
    }

    /// Adds `n` to a bucket.
    #[inline]
    pub(super) fn add(&self, bucket: usize, n: u64) {
        let count = &self.low[bucket];
        let (low, carried) = count.get().overflowing_add(n as u32);
        count.set(low);
        let carried = (n >> u32::BITS) + u64::from(carried);
        if carried > 0 {
            self.carry(bucket, carried);
        }
    }

    #[cold]
    fn carry(&self, bucket: usize, n: u64) {
        *self.carried.borrow_mut().entry(bucket).or_default() += n;
    }

    /// The buckets that have any, in order, with how many.
    pub(super) fn recorded(&self) -> impl Iterator<Item = (usize, u64)> {
        let carried = self.carried.borrow().clone();
        let counts = self.low.iter().map(|low| u64::from(low.get())).enumerate();
        let whole = move |(bucket, low)| (bucket, low + carried.get(&bucket).map_or(0, |carried| carried << u32::BITS));
        counts.map(whole).filter(|(_, count)| *count > 0)
    }

    /// How many values some buckets have together.
    pub(super) fn sum(&self, buckets: Range<usize>) -> u64 {
        let carried: u64 = self.carried.borrow().range(buckets.clone()).map(|(_, carried)| carried << u32::BITS).sum();
        self.low[buckets].iter().map(|low| u64::from(low.get())).sum::<u64>() + carried
    }

    /// How many buckets there are.
    pub(super) fn len(&self) -> usize {
        self.low.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_in_four_bytes_is_not_lost() {
        let counts = Counts::new(3);
        let most = u64::from(u32::MAX);
        for n in [1, most, most, 5 << 32 | 7] {
            counts.add(1, n);
        }
        counts.add(2, 4);
        let one = 1 + 2 * most + (5 << 32 | 7);
        assert_eq!(counts.recorded().collect::<Vec<_>>(), [(1, one), (2, 4)]);
        assert_eq!([counts.sum(0..1), counts.sum(0..2), counts.sum(2..3), counts.sum(0..3)], [0, one, 4, one + 4]);
    }
}
