//! What a core records into, HDR distributions apart: counter, gauge, power-of-two distribution.
//!
//! All are plain memory behind `&self` (`Cell`), for one thread.

use std::cell::Cell;

/// Whether anything is counted and timed at all. Off in a build without the feature `metrics`, which exists to measure what counting
/// costs; gauges stay, for some of them are looked at.
pub const RECORDED: bool = cfg!(feature = "metrics");

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Add one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Add `n`. Wraps at 2^64, which Prometheus reads as a restart.
    #[inline]
    pub fn add(&self, n: u64) {
        if RECORDED {
            self.0.set(self.0.get().wrapping_add(n));
        }
    }

    /// Take over a total that something else counts (an executor's statistics, the kernel's). Must not go down.
    #[inline]
    pub fn set_total(&self, total: u64) {
        self.0.set(total);
    }

    /// The total so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(Cell<i64>);

impl Gauge {
    /// Replace the value.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Add `n` (negative to take away).
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.set(self.0.get() + n);
    }

    /// Add one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Take one away.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Keep the larger of the present value and `value`.
    #[inline]
    pub fn raise_to(&self, value: i64) {
        self.0.set(self.0.get().max(value));
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.get()
    }
}

/// The number of buckets of a [`Log2Distribution`]: 0, 1, 2–3, 4–7, … and everything from 2^30 on.
pub const LOG2_BUCKETS: usize = 32;

/// Counts by power of two: for values recorded so often that even an HDR histogram would show, such as the distance between a
/// learned model's prediction and the key. One addition a record, 256 bytes.
#[derive(Debug, Default)]
pub struct Log2Distribution {
    sum: Cell<u64>,
    buckets: [Cell<u64>; LOG2_BUCKETS],
}

impl Log2Distribution {
    /// Record one value.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_n(value, 1);
    }

    /// Record `value` `n` times.
    #[inline]
    pub fn record_n(&self, value: u64, n: u64) {
        if !RECORDED {
            return;
        }
        let bucket = &self.buckets[Self::bucket_of(value)];
        bucket.set(bucket.get() + n);
        self.sum.set(self.sum.get().wrapping_add(value.wrapping_mul(n)));
    }

    #[inline]
    fn bucket_of(value: u64) -> usize {
        ((u64::BITS - value.leading_zeros()) as usize).min(LOG2_BUCKETS - 1)
    }

    /// The counts: bucket 0 holds zeros, bucket b > 0 holds values from 2^(b−1) to 2^b − 1, the last one all that are larger.
    pub fn counts(&self) -> [u64; LOG2_BUCKETS] {
        std::array::from_fn(|bucket| self.buckets[bucket].get())
    }

    /// The sum of the values recorded.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// The number of values recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Cell::get).sum()
    }
}
