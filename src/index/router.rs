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
        let linear = Self::fit_scale(separators, false);
        if linear.cost() <= 2 * separators.len() {
            return linear;
        }
        let logarithmic = Self::fit_scale(separators, true);
        if logarithmic.cost() < linear.cost() { logarithmic } else { linear }
    }

    /// Comparisons that a binary search within buckets needs for one look-up of every separator.
    fn cost(&self) -> usize {
        self.starts
            .windows(2)
            .map(|pair| usize::from(pair[1] - pair[0]))
            .map(|held| held * (usize::BITS - held.leading_zeros()) as usize)
            .sum()
    }

    fn fit_scale(separators: &[D], logarithmic: bool) -> Self {
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
        let buckets = (count * BUCKETS_PER_SEPARATOR).next_power_of_two();
        router.bucket_shift = 63 - buckets.trailing_zeros();
        router.starts = vec![0; buckets + 2];
        for separator in separators {
            let bucket = router.bucket(*separator);
            router.starts[bucket + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut router.starts {
            sum += *start;
            *start = sum;
        }
        router
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
