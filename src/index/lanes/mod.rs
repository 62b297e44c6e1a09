//! The steps that vectors make shorter, in two versions: one for every processor, one for those with AVX-512.
//!
//! An index asks once what its processor can do ([`Level`]). Its hot operations are compiled for either version, and a branch that is
//! always predicted chooses. Bodies are generic over [`Lanes`] and inlined whole, so that the code around a step may use the
//! wider instructions too.

use super::block::SLOTS;
use super::digest::Digest;
use super::search::{LANES, WINDOW};

#[cfg(test)]
pub(super) mod tests;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) mod wide;

/// The versions of the hot operations that a processor can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Nothing beyond what the build asks for.
    Plain,
    /// Made by [`detect`](Self::detect) alone, so that [`wide`] is entered only where the processor has what it needs.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    Wide(wide::Proof),
}

impl Level {
    /// The best level of this processor.
    pub(super) fn detect() -> Self {
        #[cfg(test)]
        if tests::PLAINLY.get() {
            return Self::Plain;
        }
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(proof) = wide::Proof::detect() {
            return Self::Wide(proof);
        }
        Self::Plain
    }
}

/// Runs an operation of an index in the best version that the processor can run: `$wide` is an entry of [`wide`].
macro_rules! at_best {
    ($index:expr, $wide:ident($($argument:expr),*), $plain:expr) => {
        match $index.level {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            $crate::index::lanes::Level::Wide(proof) => $crate::index::lanes::wide::$wide(proof, $index, $($argument),*),
            $crate::index::lanes::Level::Plain => $plain,
        }
    };
}
pub(super) use at_best;

/// One version of the steps.
pub(super) trait Lanes: Copy {
    /// One bit for each bound that is greater than `quantum`, the first one's lowest.
    fn greater(bounds: &[i32; LANES], quantum: i32) -> u32;

    /// Whether the steps on blocks of these begin to read at once what they need, so that it need not be fetched ahead.
    fn reads_at_once<D: Digest, V: Copy>() -> bool;

    /// Number of ascending separators that are not greater than `digest`, if it shows among the few from `start` on; those before are
    /// not greater.
    fn upper_among_few<D: Digest>(separators: &[D], start: usize, digest: D) -> Option<usize>;

    /// Number of ascending digests in a window that are below `digest`.
    fn below_in_window<D: Digest>(window: &[D; WINDOW], digest: D) -> usize;

    /// The place in a window of ascending digests that holds this very one.
    fn place_in_window<D: Digest>(window: &[D; WINDOW], digest: D) -> Option<usize>;

    /// Moves entries from `slot` up to `len` one further and puts one in. `start`, a multiple of eight that is not above `slot`, is
    /// known before `slot` is.
    fn open<D: Digest, V: Copy>(block: (&mut [D; SLOTS], &mut [V; SLOTS]), start: usize, slot: usize, len: usize, entry: (D, V));

    /// Moves entries behind `slot`, of `len`, back by one, over the one there. `start` is as for [`open`](Self::open).
    fn close<D: Digest, V: Copy>(block: (&mut [D; SLOTS], &mut [V; SLOTS]), start: usize, slot: usize, len: usize);
}

/// The version for every processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl Lanes for Plain {
    #[inline(always)]
    fn greater(bounds: &[i32; LANES], quantum: i32) -> u32 {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: every x86-64 has SSE2, and the two loads of four lanes read the eight bounds.
        unsafe {
            use std::arch::x86_64::{
                _mm_cmpgt_epi32, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32,
                _mm_setzero_si128,
            };
            let probe = _mm_set1_epi32(quantum);
            let low = _mm_cmpgt_epi32(_mm_loadu_si128(bounds.as_ptr().cast()), probe);
            let high = _mm_cmpgt_epi32(_mm_loadu_si128(bounds.as_ptr().add(LANES / 2).cast()), probe);
            let greater = _mm_packs_epi32(low, high);
            _mm_movemask_epi8(_mm_packs_epi16(greater, _mm_setzero_si128())) as u32
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        bounds.iter().enumerate().fold(0, |mask, (lane, bound)| mask | u32::from(*bound > quantum) << lane)
    }

    #[inline(always)]
    fn reads_at_once<D: Digest, V: Copy>() -> bool {
        false
    }

    #[inline(always)]
    fn upper_among_few<D: Digest>(separators: &[D], start: usize, digest: D) -> Option<usize> {
        /// Few buckets hold more, and every comparison costs all look-ups.
        const FEW: usize = 4;
        let few: &[D; FEW] = separators[start..].first_chunk()?;
        let count = few.iter().map(|probe| usize::from(*probe <= digest)).sum::<usize>();
        (count < FEW).then_some(start + count)
    }

    /// A fixed number of steps, each a conditional move.
    #[inline(always)]
    fn below_in_window<D: Digest>(window: &[D; WINDOW], digest: D) -> usize {
        let place = lower_in_window(window, digest);
        place + usize::from(window[place] < digest)
    }

    #[inline(always)]
    fn place_in_window<D: Digest>(window: &[D; WINDOW], digest: D) -> Option<usize> {
        let place = lower_in_window(window, digest);
        (window[place] == digest).then_some(place)
    }

    #[inline(always)]
    fn open<D: Digest, V: Copy>(
        (digests, values): (&mut [D; SLOTS], &mut [V; SLOTS]),
        _start: usize,
        slot: usize,
        len: usize,
        (digest, value): (D, V),
    ) {
        digests.copy_within(slot..len, slot + 1);
        values.copy_within(slot..len, slot + 1);
        digests[slot] = digest;
        values[slot] = value;
    }

    #[inline(always)]
    fn close<D: Digest, V: Copy>((digests, values): (&mut [D; SLOTS], &mut [V; SLOTS]), _start: usize, slot: usize, len: usize) {
        digests.copy_within(slot + 1..len, slot);
        values.copy_within(slot + 1..len, slot);
        digests[len - 1] = D::MAX;
    }
}

/// The place in a window of the first digest that is not below `digest`; the last place if all are.
#[inline(always)]
fn lower_in_window<D: Digest>(window: &[D; WINDOW], digest: D) -> usize {
    const { assert!(WINDOW.is_power_of_two() && WINDOW < SLOTS) };
    let mut slot = 0;
    let mut half = WINDOW / 2;
    while half > 0 {
        slot = std::hint::select_unpredictable(window[slot + half - 1] < digest, slot + half, slot);
        half /= 2;
    }
    slot
}
