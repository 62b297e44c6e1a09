//! What a core records times and amounts into: the buckets of an HDR histogram.
//!
//! A statement is recorded five times or more, so recording has to be next to nothing: the bucket is computed, and one number in it
//! goes up. `hdrhistogram`'s own recording keeps minimum, maximum and total besides, checked; that is some eighty instructions, and here
//! it is twenty. Whoever looks is given a `Histogram` of that crate with the same buckets, for percentiles and for the formats of its tools.

use std::cell::{Cell, OnceCell};

use hdrhistogram::Histogram;

use super::cell::RECORDED;
use super::counts::Counts;
use super::families::Unit;
use super::ladder;

/// The largest duration a distribution of times tells apart: anything longer counts as this long.
pub const DURATION_NS_MAX: u64 = 120 * 1_000_000_000;

/// The largest amount (rows, records, bytes) a distribution of amounts tells apart.
pub const AMOUNT_MAX: u64 = 1 << 40;

/// Which values share a bucket: up to `2 * half` each has its own, and from each power of two on there are `half` buckets up to the next.
///
/// Source: HdrHistogram (Gil Tene), with a lowest discernible value of 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    value_max: u64,
    digits: u8,
    half_bits: u32,
}

impl Buckets {
    /// Values up to `value_max` to so many significant digits.
    pub(super) const fn new(value_max: u64, digits: u8) -> Self {
        let half = 10_u64.pow(digits as u32).next_power_of_two();
        assert!(value_max >= 2 * half);
        Self { value_max, digits, half_bits: half.trailing_zeros() }
    }

    /// The bucket of a value; the last one for values beyond the largest.
    #[inline]
    pub(super) fn of(self, value: u64) -> usize {
        let value = value.min(self.value_max);
        let shift = u64::BITS - 1 - (value | 1 << self.half_bits).leading_zeros() - self.half_bits;
        ((shift as usize) << self.half_bits) + (value >> shift) as usize
    }

    /// The smallest value of a bucket.
    fn lowest(self, bucket: usize) -> u64 {
        let shift = (bucket >> self.half_bits).saturating_sub(1);
        ((bucket - (shift << self.half_bits)) as u64) << shift
    }
}

/// An HDR histogram of times in nanoseconds or of amounts, with an exact sum beside it.
///
/// Allocated at the first value: about 110 KiB at three significant digits over times, 18 KiB at two.
#[derive(Debug)]
pub struct Distribution {
    buckets: Buckets,
    sum: Cell<u64>,
    counts: OnceCell<Counts>,
}

impl Distribution {
    const fn new(value_max: u64, digits: u8) -> Self {
        Self { buckets: Buckets::new(value_max, digits), sum: Cell::new(0), counts: OnceCell::new() }
    }

    /// Of times in nanoseconds, to three significant digits.
    pub const fn of_times() -> Self {
        Self::new(DURATION_NS_MAX, 3)
    }

    /// Of times in nanoseconds, to two significant digits: where there are many distributions (one a pair of cores).
    pub const fn of_times_coarse() -> Self {
        Self::new(DURATION_NS_MAX, 2)
    }

    /// Of amounts, to two significant digits.
    pub const fn of_amounts() -> Self {
        Self::new(AMOUNT_MAX, 2)
    }

    /// Record one value. A value beyond the bounds counts as the bound; the sum stays exact.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    /// Record the same value `n` times.
    #[inline]
    pub fn record_n(&self, value: u64, n: u64) {
        self.record_all(std::iter::once((value, n)));
    }

    /// Record values, each as often as is said beside it. The same as one at a time, and quicker.
    #[inline]
    pub(super) fn record_all(&self, values: impl Iterator<Item = (u64, u64)>) {
        if !RECORDED {
            return;
        }
        let counts = self.counts.get_or_init(|| self.allocate());
        let (buckets, mut sum) = (self.buckets, self.sum.get());
        for (value, n) in values {
            sum = sum.wrapping_add(value.wrapping_mul(n));
            counts.add(buckets.of(value), n);
        }
        self.sum.set(sum);
    }

    #[cold]
    fn allocate(&self) -> Counts {
        Counts::new(self.buckets.of(self.buckets.value_max) + 1)
    }

    /// The number of values recorded. Goes through all buckets.
    pub fn count(&self) -> u64 {
        self.counts.get().map_or(0, |counts| counts.sum(0..counts.len()))
    }

    /// The sum of the values recorded.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// What was recorded as a histogram, if anything was.
    pub fn histogram(&self) -> Option<Box<Histogram<u64>>> {
        let counts = self.counts.get()?;
        let empty = Histogram::new_with_bounds(1, self.buckets.value_max, self.buckets.digits);
        let mut histogram = Box::new(empty.expect("the bounds are constants that HdrHistogram accepts"));
        for (bucket, count) in counts.recorded() {
            histogram.record_n(self.buckets.lowest(bucket), count).expect("it has the same buckets");
        }
        Some(histogram)
    }

    /// How many of its values lie on each step of a unit's ladder, if anything was recorded.
    pub(super) fn steps(&self, unit: Unit) -> Option<Box<[u64]>> {
        Some(ladder::steps_of(self.counts.get()?, self.buckets, unit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_are_those_of_hdrhistogram(values in prop::collection::vec((0_u32..64, any::<u64>(), 1_u64..1_000), 1..200)) {
            for distribution in [Distribution::of_times(), Distribution::of_times_coarse(), Distribution::of_amounts()] {
                let Buckets { value_max, digits, .. } = distribution.buckets;
                let mut reference = Histogram::<u64>::new_with_bounds(1, value_max, digits).unwrap();
                for &(bits, value, count) in &values {
                    // Of all magnitudes.
                    let value = (value >> bits).min(value_max);
                    distribution.record_n(value, count);
                    reference.record_n(value, count).unwrap();
                }
                let found = distribution.histogram().unwrap();
                let counts = |of: &Histogram<u64>| of.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect::<Vec<_>>();
                prop_assert_eq!(counts(&found), counts(&reference));
                prop_assert_eq!(found.max(), reference.max());
                prop_assert_eq!(distribution.count(), reference.len());
            }
        }
    }

    #[test]
    fn a_bucket_begins_where_the_one_before_ends() {
        for buckets in [Distribution::of_times().buckets, Distribution::of_amounts().buckets] {
            for bucket in 1..=buckets.of(u64::MAX) {
                let lowest = buckets.lowest(bucket);
                assert_eq!((buckets.of(lowest - 1), buckets.of(lowest)), (bucket - 1, bucket));
            }
        }
    }

    #[test]
    fn what_is_too_large_counts_as_the_largest_and_the_sum_stays_exact() {
        let times = Distribution::of_times();
        assert!(times.count() == 0 && times.histogram().is_none());
        times.record(u64::MAX / 4);
        times.record(0);
        assert_eq!((times.count(), times.sum()), (2, u64::MAX / 4));
        let histogram = times.histogram().unwrap();
        assert_eq!(histogram.max(), histogram.highest_equivalent(DURATION_NS_MAX));
    }
}
