//! The model of an inner node: a linear function from a key's digest, or from the logarithm of its distance to the first
//! separator, to one of four to eight buckets a separator; each bucket knows where its separators begin.
//!
//! The function ascends, whatever its rounding, so a bucket's range of separators is exact and comparisons within it decide.
//! It is all integer arithmetic: a distance is normalised to 64 bits and multiplied by the inverse of the range.

use super::digest::Digest;

/// Buckets a separator, at the least.
const BUCKETS_PER_SEPARATOR: usize = 4;

/// Maps digests to ranges of separators.
#[derive(Clone, Debug, Default)]
pub(super) struct Router<D> {
    base: D,
    range: D,
    /// Bits dropped from distances so that they fit 64.
    narrow: u32,
    logarithmic: bool,
    /// The logarithmic scale begins here.
    offset: u64,
    normalise: u32,
    inverse: u64,
    /// `64 − log2(buckets)`, less one for the inverse's leading bit.
    bucket_shift: u32,
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
        let mut router = Self { base, range, narrow, logarithmic, fitted: count, ..Self::default() };
        if logarithmic {
            router.offset = 1_f64.to_bits();
        }
        let span = router.scaled(separators[count - 1]).max(1);
        router.normalise = span.leading_zeros();
        router.inverse = u64::try_from((1_u128 << 127) / u128::from(span << router.normalise)).unwrap_or(u64::MAX);
        router.bucket_shift = 63 - Self::buckets(count).trailing_zeros();
        router
    }

    fn buckets(separators: usize) -> usize {
        (separators * BUCKETS_PER_SEPARATOR).next_power_of_two()
    }

    /// Notes where each bucket's separators begin.
    fn count(mut self, buckets: &[u32]) -> Self {
        self.starts = vec![0; Self::buckets(buckets.len()) + 2];
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
        let distance = digest.distance(self.base).min(self.range).high(self.narrow);
        if self.logarithmic { ((distance | 1) as f64).to_bits().saturating_sub(self.offset) } else { distance }
    }

    #[inline(always)]
    fn bucket(&self, digest: D) -> usize {
        let normal = self.scaled(digest) << self.normalise;
        ((u128::from(normal) * u128::from(self.inverse)) >> 64) as usize >> self.bucket_shift
    }

    /// Separators before the first returned are not greater than `digest`, those from the second on are greater.
    #[inline(always)]
    pub(super) fn range(&self, digest: D) -> (usize, usize) {
        let bucket = self.bucket(digest);
        let &[start, end] = self.starts[bucket..].first_chunk().expect("one more start than buckets");
        (usize::from(start), usize::from(end))
    }

    /// Takes note of a separator put in.
    pub(super) fn inserted(&mut self, separator: D) {
        let bucket = self.bucket(separator);
        for start in &mut self.starts[bucket + 1..] {
            *start += 1;
        }
    }

    /// Takes note of a separator taken out.
    pub(super) fn removed(&mut self, separator: D) {
        let bucket = self.bucket(separator);
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
