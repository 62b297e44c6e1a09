//! The unsigned integers that models and searches work on: `u64` and `u128`.

use std::fmt::Debug;

/// An unsigned integer that stands for a key. All arithmetic on it is exact; no float is ever compared in place of a key.
pub trait Digest: Copy + Ord + Debug + Send + Default + 'static {
    /// The greatest value; fills unused slots.
    const MAX: Self;
    /// `self − base`, or 0 when that is negative.
    fn distance(self, base: Self) -> Self;
    /// `self ÷ 2^shift`, or `most` when that is greater.
    fn scale(self, shift: u32, most: u32) -> u32;
    /// `self + steps × 2^shift`, or the greatest value when that does not fit.
    fn beyond(self, steps: u32, shift: u32) -> Self;
    /// Number of bits up to the highest one set; 0 for 0.
    fn bits(self) -> u32;
    /// The 64 bits from `shift` up, or the greatest number when there are more.
    fn high(self, shift: u32) -> u64;
    /// `2^exponent`, or the greatest value when that does not fit.
    fn power(exponent: u32) -> Self;
    /// This digest, if it has 64 bits.
    fn word(self) -> Option<u64>;
    /// These digests, if they have 64 bits.
    fn words(digests: &[Self]) -> Option<&[u64]>;
    /// The same, to change them.
    fn words_mut(digests: &mut [Self]) -> Option<&mut [u64]>;
}

macro_rules! digest {
    ($($int:ty, words $wrap:expr);*) => {$(
        impl Digest for $int {
            const MAX: Self = <$int>::MAX;

            #[inline(always)]
            fn distance(self, base: Self) -> Self {
                self.saturating_sub(base)
            }

            #[inline(always)]
            fn scale(self, shift: u32, most: u32) -> u32 {
                (self >> shift).min(<$int>::from(most)) as u32
            }

            #[inline(always)]
            fn beyond(self, steps: u32, shift: u32) -> Self {
                let distance = <$int>::from(steps) << shift;
                if distance >> shift == <$int>::from(steps) { self.saturating_add(distance) } else { <$int>::MAX }
            }

            #[inline(always)]
            fn bits(self) -> u32 {
                <$int>::BITS - self.leading_zeros()
            }

            #[inline(always)]
            fn high(self, shift: u32) -> u64 {
                // A shift that the type makes needless must not cost an instruction.
                if <$int>::BITS == 64 { self as u64 } else { u64::try_from(self >> shift).unwrap_or(u64::MAX) }
            }

            fn power(exponent: u32) -> Self {
                (1 as $int).checked_shl(exponent).unwrap_or(<$int>::MAX)
            }

            #[inline(always)]
            fn word(self) -> Option<u64> {
                (<$int>::BITS == 64).then_some(self as u64)
            }

            #[inline(always)]
            fn words(digests: &[Self]) -> Option<&[u64]> {
                $wrap(digests)
            }

            #[inline(always)]
            fn words_mut(digests: &mut [Self]) -> Option<&mut [u64]> {
                $wrap(digests)
            }
        }
    )*};
}

digest!(u64, words Some; u128, words |_| None);
