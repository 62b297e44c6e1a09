//! Searching a block without branches on its contents, and fetching memory ahead.

use super::block::SLOTS;
use super::digest::Digest;
use super::lanes::Lanes;

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

/// Bounds that are compared at once.
pub(super) const LANES: usize = 8;

/// Number of ascending bounds, without the last, that are not greater than `quantum`.
#[inline(always)]
pub(super) fn count_but_last<L: Lanes>(bounds: &[i32; LANES], quantum: i32) -> usize {
    (L::greater(bounds, quantum) | 1 << (LANES - 1)).trailing_zeros() as usize
}

/// Number of ascending bounds, without the first, that are not greater than `quantum`.
#[inline(always)]
pub(super) fn count_but_first<L: Lanes>(bounds: &[i32; LANES], quantum: i32) -> usize {
    (L::greater(bounds, quantum) >> 1 | 1 << (LANES - 1)).trailing_zeros() as usize
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

/// Where the window around a predicted slot begins: at a cache line, and so that the slot is near its middle.
#[inline(always)]
pub(super) fn window_at(predicted: u8) -> usize {
    /// Beginnings by slot; looked up in one instruction.
    const BEGINNINGS: [u8; 256] = {
        let mut beginnings = [0; 256];
        let mut slot = 0;
        while slot < beginnings.len() {
            let beginning = (slot.saturating_sub(WINDOW / 4)) & !(WINDOW / 2 - 1);
            beginnings[slot] = if beginning < SLOTS - WINDOW { beginning } else { SLOTS - WINDOW } as u8;
            slot += 1;
        }
        beginnings
    };
    usize::from(BEGINNINGS[usize::from(predicted)])
}

/// The slots from `start`, a window's beginning.
#[inline(always)]
pub(super) fn window<T>(places: &[T; SLOTS], start: usize) -> &[T; WINDOW] {
    places[start..].first_chunk().expect("the window ends inside the block")
}

/// Asks for all cache lines of a window.
#[inline(always)]
pub(super) fn prefetch_window<T>(places: &[T; SLOTS], start: usize) {
    let step = (LINE_BYTES / size_of::<T>()).max(1);
    for place in window(places, start).iter().step_by(step) {
        prefetch(place);
    }
}

/// Windows beside the predicted one that are tried before the whole block is searched.
pub(super) const STEPS_MAX: usize = 2;

/// Where else to look for a digest than in the window from `start`, of which `below` digests are below it; nowhere, if it would have to
/// be there.
#[inline(always)]
pub(super) fn window_beside(start: usize, below: usize) -> Option<usize> {
    if below == 0 && start > 0 {
        Some(start.saturating_sub(WINDOW))
    } else if below == WINDOW && start < SLOTS - WINDOW {
        Some((start + WINDOW).min(SLOTS - WINDOW))
    } else {
        None
    }
}

/// [`lower`], for a digest expected in the window from `start`. Calls `next` with the beginning of each further window it tries.
#[inline(always)]
pub(super) fn lower_near<L: Lanes, D: Digest>(digests: &[D; SLOTS], digest: D, mut start: usize, next: impl Fn(usize)) -> usize {
    for _ in 0..=STEPS_MAX {
        let below = L::below_in_window(window(digests, start), digest);
        match window_beside(start, below) {
            Some(beside) => start = beside,
            None => return start + below,
        }
        next(start);
    }
    prefetch_all(digests);
    lower(digests, digest)
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Plain;
    use super::*;

    #[test]
    fn bounds_are_counted_at_every_place() {
        let bounds = [i32::MIN, -5, 0, 3, 4, i32::MAX - 1, i32::MAX, i32::MAX];
        for probe in bounds.iter().flat_map(|bound| [bound.wrapping_sub(1), *bound, bound.wrapping_add(1)]) {
            let count = |bounds: &[i32]| bounds.iter().filter(|bound| **bound <= probe).count();
            assert_eq!(count_but_last::<Plain>(&bounds, probe), count(&bounds[..LANES - 1]));
            assert_eq!(count_but_first::<Plain>(&bounds, probe), count(&bounds[1..]));
        }
    }

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
                for predicted in [0, 5, 40, 60, len.min(SLOTS - 1), SLOTS - 1] {
                    assert_eq!(lower_near::<Plain, _>(&digests, probe, window_at(predicted as u8), |_| {}), expected);
                }
            }
        }
    }
}
