//! The model of an inner node: a linear function from a key's digest, or from the logarithm of its distance to the first
//! separator, to one of four to eight buckets a separator; each bucket knows where its separators begin.
//!
//! The function ascends, whatever its rounding, so a bucket's range of separators is exact and comparisons within it decide.
//! It is all integer arithmetic: a distance in 64 bits times the buckets in a unit of it, one multiplication.

use super::digest::Digest;

/// Buckets a separator, at the least.
const BUCKETS_PER_SEPARATOR: usize = 4;

/// Maps digests to ranges of separators.
#[derive(Clone, Debug, Default)]
pub(super) struct Router<D> {
    base: D,
    /// Bits dropped from distances so that they fit 64.
    narrow: u32,
    logarithmic: bool,
    /// The logarithmic scale begins here.
    offset: u64,
    /// Buckets by 2^64 distances.
    density: u64,
    /// For each bucket, and one more, how many separators lie in lower buckets.
    starts: Vec<u16>,
    /// Separators when the model was fitted.
    fitted: usize,
}

impl<D: Digest> Router<D> {
    /// Fits a model to the separators; the first counts as minus infinity.
    pub(super) fn fit(separators: &[D]) -> Self {
        let linear = Self::scale(separators, false);
        let (buckets, cost) = linear.place(separators);
        if cost <= separators.len() * 3 / 2 {
            return linear.count(&buckets);
        }
        let logarithmic = Self::scale(separators, true);
        let (others, others_cost) = logarithmic.place(separators);
        if others_cost < cost { logarithmic.count(&others) } else { linear.count(&buckets) }
    }

    /// The bucket of every separator, and how many steps a binary search within buckets takes, summed over the separators. No
    /// branch depends on the keys: a fit is part of a single operation.
    fn place(&self, separators: &[D]) -> (Vec<u32>, usize) {
        let (mut cost, mut held, mut last) = (0, 0_u32, u32::MAX);
        let place = |separator: &D| {
            let bucket = self.bucket(*separator) as u32;
            held = std::hint::select_unpredictable(bucket == last, held, 0) + 1;
            last = bucket;
            cost += (u32::BITS - held.leading_zeros()) as usize;
            bucket
        };
        let buckets = separators.iter().map(place).collect();
        (buckets, cost)
    }

    /// A model for the separators that has not counted them yet.
    fn scale(separators: &[D], logarithmic: bool) -> Self {
        let count = separators.len();
        assert!(0 < count && count < usize::from(u16::MAX));
        let base = separators[1.min(count - 1)];
        let range = separators[count - 1].distance(base);
        let narrow = range.bits().saturating_sub(64);
        let mut router = Self { base, narrow, logarithmic, fitted: count, ..Self::default() };
        if logarithmic {
            router.offset = 1_f64.to_bits();
        }
        let span = router.scaled(separators[count - 1]);
        let density = ((Self::buckets(count) as u128) << 64) / (u128::from(span) + 1);
        router.density = u64::try_from(density).unwrap_or(u64::MAX);
        router
    }

    fn buckets(separators: usize) -> usize {
        (separators * BUCKETS_PER_SEPARATOR).next_power_of_two()
    }

    /// Notes where each bucket's separators begin.
    fn count(mut self, buckets: &[u32]) -> Self {
        self.starts = vec![0; Self::buckets(buckets.len()) + 1];
        for bucket in buckets {
            self.starts[*bucket as usize + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut self.starts {
            sum += *start;
            *start = sum;
        }
        self
    }

    #[inline(always)]
    fn scaled(&self, digest: D) -> u64 {
        let distance = digest.distance(self.base).high(self.narrow);
        if self.logarithmic { ((distance | 1) as f64).to_bits().saturating_sub(self.offset) } else { distance }
    }

    /// The bucket of a digest; of one beyond the last separator when the model was fitted, a bucket that there may not be.
    #[inline(always)]
    fn bucket(&self, digest: D) -> usize {
        ((u128::from(self.scaled(digest)) * u128::from(self.density)) >> 64) as usize
    }

    /// The bucket that a digest is counted in: one beyond the last separator in the last.
    #[inline(always)]
    fn bucket_held(&self, digest: D) -> usize {
        assert!(self.starts.len() > 1, "the model is fitted");
        self.bucket(digest).min(self.starts.len() - 2)
    }

    /// Separators before the first returned are not greater than `digest`, those from the second on are greater.
    #[inline(always)]
    pub(super) fn range(&self, digest: D) -> (usize, usize) {
        let bucket = self.bucket_held(digest);
        (usize::from(self.starts[bucket]), usize::from(self.starts[bucket + 1]))
    }

    /// Takes note of a separator put in.
    pub(super) fn inserted(&mut self, separator: D) {
        let bucket = self.bucket_held(separator);
        for start in &mut self.starts[bucket + 1..] {
            *start += 1;
        }
    }

    /// Takes note of a separator taken out.
    pub(super) fn removed(&mut self, separator: D) {
        let bucket = self.bucket_held(separator);
        for start in &mut self.starts[bucket + 1..] {
            *start -= 1;
        }
    }

    /// Whether so many of now `count` separators came or went that the model should be fitted anew.
    pub(super) fn is_outgrown(&self, count: usize) -> bool {
        count > self.fitted + self.fitted / 4 + 4 || count * 4 < self.fitted
    }

    pub(super) fn bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u16>()
    }

    /// Asserts that the starts agree with the separators.
    pub(super) fn check(&self, separators: &[D]) {
        for (at, separator) in separators.iter().enumerate() {
            let (start, end) = self.range(*separator);
            assert!(start <= at && at < end, "separator {at} lies in {start}..{end}");
        }
        assert_eq!(usize::from(*self.starts.last().expect("at least two starts")), separators.len());
    }
}
