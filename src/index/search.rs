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

/// Number of digests below `digest` in a full sorted array: the slot of the first that is not. A fixed number of steps,
/// each a conditional move.
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

/// Slots around a prediction that are fetched and searched before anything else.
pub(super) const WINDOW: usize = 16;

/// Where the window around a predicted slot begins.
#[inline(always)]
pub(super) fn window_at(predicted: usize) -> usize {
    predicted.saturating_sub(WINDOW / 2).min(SLOTS - WINDOW)
}

/// Asks for all cache lines of a window.
#[inline(always)]
pub(super) fn prefetch_window<T>(places: &[T; SLOTS], start: usize) {
    let step = (LINE_BYTES / size_of::<T>()).max(1);
    for slot in (0..WINDOW).step_by(step) {
        prefetch(&places[start + slot]);
    }
    prefetch(&places[start + WINDOW - 1]);
}

/// [`lower`], for a digest expected near slot `predicted`.
#[inline(always)]
pub(super) fn lower_near<D: Digest>(digests: &[D; SLOTS], digest: D, predicted: usize) -> usize {
    const { assert!(WINDOW.is_power_of_two() && WINDOW < SLOTS) };
    let start = window_at(predicted);
    let window: &[D; WINDOW] = digests[start..].first_chunk().expect("the window ends inside the block");
    let before = start == 0 || window[0] < digest;
    if before && (digest <= window[WINDOW - 1] || start == SLOTS - WINDOW) {
        let mut slot = 0;
        let mut half = WINDOW / 2;
        while half > 0 {
            slot = std::hint::select_unpredictable(window[slot + half - 1] < digest, slot + half, slot);
            half /= 2;
        }
        return start + slot + usize::from(window[slot] < digest);
    }
    prefetch_all(digests);
    lower(digests, digest)
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
                let expected = digests.iter().filter(|digest| **digest < probe).count();
                assert_eq!(lower(&digests, probe), expected);
                for predicted in [0, 5, 40, len.min(SLOTS - 1), SLOTS - 1] {
                    assert_eq!(lower_near(&digests, probe, predicted), expected);
                }
            }
        }
    }
}
