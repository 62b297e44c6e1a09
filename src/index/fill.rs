//! What a leaf knows of a block without fetching it: how many entries lie in each eighth of its range. That is its length,
//! and in the same eight bytes a model of where a key is.
//!
//! One straight line over a hundred entries is off by five slots on random keys and by more on keys with holes; eight of
//! them by one and a half. A count is exact after it was taken and follows single inserts and removals; where the range
//! itself moves it may be off until it is taken anew, which makes a prediction worse and nothing wrong.

use super::block::SLOTS;
use super::search;

/// Parts of a range, and counts kept.
const PARTS: usize = 8;
/// Steps a part is interpolated in.
const STEPS: u32 = 256;
/// One for each count.
const ONES: u64 = u64::from_le_bytes([1; PARTS]);
/// Positions within a block's range: see [`Fill::predict`].
const POSITIONS: u32 = PARTS as u32 * STEPS;

/// For each part of a block's range how many entries lie in it and the ones before; the last count is the length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fill(u64);

/// The boundaries between the parts of a range of quanta.
pub(super) fn boundaries(start: i32, end: i32) -> [i32; PARTS - 1] {
    let width = i64::from(end) - i64::from(start);
    std::array::from_fn(|part| (i64::from(start) + (width * (part as i64 + 1)).div_euclid(PARTS as i64)) as i32)
}

/// Positions in a quantum of a block for quanta from `start` to below `end`.
#[inline(always)]
pub(super) fn density(start: i32, end: i32) -> f32 {
    POSITIONS as f32 / end.wrapping_sub(start) as f32
}

/// Where in a block's range a quantum lies, from 0 to the number of positions less one.
#[inline(always)]
fn position(quantum: i32, start: i32, density: f32) -> u32 {
    const LAST: f32 = (POSITIONS - 1) as f32;
    let position = quantum.wrapping_sub(start) as f32 * density;
    // In these forms a comparison is one instruction each, and what is no number becomes 0.
    let position = if position > 0.0 { position } else { 0.0 };
    let position = if position < LAST { position } else { LAST };
    // SAFETY: it is a number from 0 to that of the last position.
    let position: i32 = unsafe { position.to_int_unchecked() };
    position as u32
}

impl Fill {
    /// Counts up to each boundary, and of all.
    pub(super) fn new(counts: [usize; PARTS - 1], len: usize) -> Self {
        assert!(len <= SLOTS && counts.is_sorted() && counts[PARTS - 2] <= len);
        Self(u64::from_le_bytes(std::array::from_fn(|part| counts.get(part).map_or(len, |count| *count) as u8)))
    }

    /// `len` entries spread evenly.
    pub(super) fn even(len: usize) -> Self {
        Self::new(std::array::from_fn(|part| len * (part + 1) / PARTS), len)
    }

    /// Entries in the block.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        (self.0 >> (8 * (PARTS - 1))) as usize
    }

    /// The slot at which a quantum is expected in a block for quanta from `start` on.
    #[inline(always)]
    pub(super) fn predict(self, quantum: i32, start: i32, density: f32) -> usize {
        usize::from(self.interpolate(quantum, start, density)).min(SLOTS - 1)
    }

    /// Where the window begins that a quantum is expected in.
    #[inline(always)]
    pub(super) fn window(self, quantum: i32, start: i32, density: f32) -> usize {
        search::window_at(self.interpolate(quantum, start, density))
    }

    #[inline(always)]
    fn interpolate(self, quantum: i32, start: i32, density: f32) -> u8 {
        let position = position(quantum, start, density);
        // The count before the part and the one behind it.
        let shift = position / STEPS * 8;
        let (low, high) = (((self.0 << 8) >> shift) as u8, (self.0 >> shift) as u8);
        let into = u32::from(high).wrapping_sub(u32::from(low)).wrapping_mul(position % STEPS) / STEPS;
        low.wrapping_add(into as u8)
    }

    /// One entry more, at `quantum`.
    #[inline(always)]
    pub(super) fn inserted(&mut self, quantum: i32, start: i32, density: f32) {
        let part = position(quantum, start, density) / STEPS;
        // No count carries into the next one: none is above the length, and that is below 255.
        self.0 += ONES << (part * 8);
    }

    /// One entry less, at `quantum`.
    pub(super) fn removed(&mut self, quantum: i32, start: i32, density: f32) {
        let own = (position(quantum, start, density) / STEPS) as usize;
        if (self.0 << 8 >> (own * 8)) as u8 != (self.0 >> (own * 8)) as u8 {
            // The part has an entry to lose, so all counts behind it have.
            self.0 -= ONES << (own * 8);
            return;
        }
        let mut counts = self.0.to_le_bytes();
        let mut most = counts[PARTS - 1] - 1;
        for (part, count) in counts.iter_mut().enumerate().rev() {
            *count = count.saturating_sub(u8::from(part >= own)).min(most);
            most = *count;
        }
        self.0 = u64::from_le_bytes(counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_inserts_and_removals() {
        let (start, end) = (1000, 2000);
        assert_eq!(boundaries(start, end), [1125, 1250, 1375, 1500, 1625, 1750, 1875]);
        let mut fill = Fill::default();
        for quantum in [1999, 1000, 1249, 1250, 1740, 1760] {
            fill.inserted(quantum, start, density(start, end));
        }
        assert_eq!(fill, Fill::new([1, 2, 3, 3, 3, 4, 5], 6));
        fill.removed(1740, start, density(start, end));
        assert_eq!(fill, Fill::new([1, 2, 3, 3, 3, 3, 4], 5));
        for quantum in [1999, 1000, 1249, 1250, 1760] {
            fill.removed(quantum, start, density(start, end));
        }
        assert_eq!(fill, Fill::default());
    }

    #[test]
    fn counts_stay_ordered_when_the_range_moved_in_between() {
        let mut fill = Fill::default();
        (0..100).for_each(|quantum| fill.inserted(quantum, 0, density(0, 100)));
        for left in (0..100).rev() {
            fill.removed(0, 90, density(90, 100));
            assert_eq!(fill.len(), left);
            assert!(fill.0.to_le_bytes().is_sorted());
        }
    }

    #[test]
    fn predictions_lie_in_the_block_whatever_the_numbers() {
        let numbers = [i32::MIN, -1, 0, 1, 7, 1 << 20, i32::MAX - 1, i32::MAX];
        for fill in [Fill::default(), Fill::even(SLOTS), Fill::new([0, 0, 0, 0, 0, 0, 128], 128), Fill::new([128; 7], 128)] {
            for start in numbers {
                for end in numbers {
                    assert!(numbers.iter().all(|quantum| fill.predict(*quantum, start, density(start, end)) < SLOTS));
                }
            }
        }
        let fill = Fill::new([5, 10, 10, 10, 55, 100, 100], 100);
        for (quantum, slot) in [(1500, 10), (1625, 55), (1687, 77), (1999, 100)] {
            assert_eq!(fill.predict(quantum, 1000, density(1000, 2000)), slot);
        }
    }
}
