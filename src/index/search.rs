//! Searching a block without branches on its contents, and fetching memory ahead.

use super::block::SLOTS;
use super::digest::Digest;

/// Bytes a processor fetches at once.
const LINE_BYTES: usize = 64;

/// Asks the processor to fetch the cache line of `place`.
#[inline(always)]
pub(super) fn prefetch<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address has no effect but on caches, and this one is of a live reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

/// Asks for all cache lines of an array.
#[inline(always)]
pub(super) fn prefetch_all<T>(places: &[T; SLOTS]) {
    let step = (LINE_BYTES / size_of::<T>()).max(1);
    for slot in (0..SLOTS).step_by(step) {
        prefetch(&places[slot]);
    }
}

/// Number of digests below `digest` in a full sorted array: the slot of the first that is not. Always six steps, each a
/// conditional move.
#[inline(always)]
pub(super) fn lower<D: Digest>(digests: &[D; SLOTS], digest: D) -> usize {
    const { assert!(SLOTS.is_power_of_two()) };
    let mut slot = 0;
    let mut half = SLOTS / 2;
    while half > 0 {
        slot = std::hint::select_unpredictable(digests[slot + half - 1] < digest, slot + half, slot);
        half /= 2;
    }
    slot + usize::from(digests[slot] < digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_counts_the_smaller_digests_at_every_fill() {
        for len in 0..=SLOTS {
            let mut digests = [u64::MAX; SLOTS];
            for (i, digest) in digests[..len].iter_mut().enumerate() {
                *digest = 10 * (i as u64 / 2);
            }
            for probe in (0..SLOTS as u64 * 10).chain([u64::MAX]) {
                assert_eq!(lower(&digests, probe), digests.iter().filter(|digest| **digest < probe).count());
            }
        }
    }
}
