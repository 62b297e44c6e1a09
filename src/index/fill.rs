//! What a leaf knows of a block without fetching it: how many entries lie in each quarter of its range. That is its length,
//! and in the same four bytes a model of where a key is.
//!
//! One straight line over a hundred entries is off by five slots on random keys and by more on keys with holes; four of
//! them by two. A count is exact after it was taken and follows single inserts and removals; where the range itself moves
//! it may be off until it is taken anew, which makes a prediction worse and nothing wrong.

use super::block::SLOTS;
use super::search;

/// Quarters, and counts kept.
const PARTS: usize = 4;
/// Steps a quarter is interpolated in.
const STEPS: u32 = 256;
/// Positions within a block's range: see [`Fill::predict`].
const POSITIONS: u32 = PARTS as u32 * STEPS;

/// For each quarter of a block's range how many entries lie in it and the ones before; the last count is the length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fill(u32);

/// The quarter boundaries of a range of quanta, without its ends.
pub(super) fn boundaries(start: i32, end: i32) -> [i32; PARTS - 1] {
    let width = i64::from(end) - i64::from(start);
    [1, 2, 3].map(|part| (i64::from(start) + (width * part).div_euclid(PARTS as i64)) as i32)
}

/// Where in the range `start..end` a quantum lies, from 0 to the number of positions less one.
#[inline(always)]
fn position(quantum: i32, start: i32, end: i32) -> u32 {
    let into = quantum.wrapping_sub(start).max(0) as f32;
    let width = end.wrapping_sub(start).max(1) as f32;
    let position = into * POSITIONS as f32 / width;
    // SAFETY: neither part is above 2^31 and the width not below 1, so it is a number from 0 to 2^42.
    let position: i64 = unsafe { position.to_int_unchecked() };
    position.min(i64::from(POSITIONS - 1)) as u32
}

impl Fill {
    /// Counts up to each boundary, and of all.
    pub(super) fn new(counts: [usize; PARTS - 1], len: usize) -> Self {
        assert!(len <= SLOTS && counts.is_sorted() && counts[PARTS - 2] <= len);
        let [first, second, third] = counts.map(|count| count as u8);
        Self(u32::from_le_bytes([first, second, third, len as u8]))
    }

    /// `len` entries spread evenly.
    pub(super) fn even(len: usize) -> Self {
        Self::new([len / 4, len / 2, len * 3 / 4], len)
    }

    /// Entries in the block.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        (self.0 >> 24) as usize
    }

    /// The slot at which a quantum is expected in a block for quanta from `start` to below `end`.
    #[inline(always)]
    pub(super) fn predict(self, quantum: i32, start: i32, end: i32) -> usize {
        usize::from(self.interpolate(quantum, start, end)).min(SLOTS - 1)
    }

    /// Where the window begins that a quantum is expected in.
    #[inline(always)]
    pub(super) fn window(self, quantum: i32, start: i32, end: i32) -> usize {
        search::window_at(self.interpolate(quantum, start, end))
    }

    #[inline(always)]
    fn interpolate(self, quantum: i32, start: i32, end: i32) -> u8 {
        let position = position(quantum, start, end);
        // The count before the quarter and the one behind it, in the two low bytes.
        let around = (u64::from(self.0) << 8) >> (position / STEPS * 8);
        let (low, high) = (around as u8, (around >> 8) as u8);
        let into = u32::from(high).wrapping_sub(u32::from(low)).wrapping_mul(position % STEPS) / STEPS;
        low.wrapping_add(into as u8)
    }

    /// One entry more, at `quantum`.
    #[inline(always)]
    pub(super) fn inserted(&mut self, quantum: i32, start: i32, end: i32) {
        let quarter = position(quantum, start, end) / STEPS;
        // No count carries into the next one: none is above the length, and that is below 255.
        self.0 += 0x0101_0101 << (quarter * 8);
    }

    /// One entry less, at `quantum`.
    pub(super) fn removed(&mut self, quantum: i32, start: i32, end: i32) {
        let quarter = (position(quantum, start, end) / STEPS) as usize;
        let mut counts = self.0.to_le_bytes();
        let mut most = counts[PARTS - 1] - 1;
        for (part, count) in counts.iter_mut().enumerate().rev() {
            *count = count.saturating_sub(u8::from(part >= quarter)).min(most);
            most = *count;
        }
        self.0 = u32::from_le_bytes(counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_follow_inserts_and_removals() {
        let (start, end) = (1000, 2000);
        assert_eq!(boundaries(start, end), [1250, 1500, 1750]);
        let mut fill = Fill::default();
        for quantum in [1999, 1000, 1249, 1250, 1740, 1760] {
            fill.inserted(quantum, start, end);
        }
        assert_eq!(fill, Fill::new([2, 3, 4], 6));
        fill.removed(1740, start, end);
        assert_eq!(fill, Fill::new([2, 3, 3], 5));
        for quantum in [1999, 1000, 1249, 1250, 1760] {
            fill.removed(quantum, start, end);
        }
        assert_eq!(fill, Fill::default());
    }

    #[test]
    fn counts_stay_ordered_when_the_range_moved_in_between() {
        let mut fill = Fill::default();
        (0..100).for_each(|quantum| fill.inserted(quantum, 0, 100));
        for left in (0..100).rev() {
            fill.removed(0, 90, 100);
            assert_eq!(fill.len(), left);
            assert!(fill.0.to_le_bytes().is_sorted());
        }
    }

    #[test]
    fn predictions_lie_in_the_block_whatever_the_numbers() {
        let numbers = [i32::MIN, -1, 0, 1, 7, 1 << 20, i32::MAX - 1, i32::MAX];
        for fill in [Fill::default(), Fill::even(SLOTS), Fill::new([0, 0, 128], 128), Fill::new([128; 3], 128)] {
            for start in numbers {
                for end in numbers {
                    assert!(numbers.iter().all(|quantum| fill.predict(*quantum, start, end) < SLOTS));
                }
            }
        }
        assert_eq!(Fill::new([10, 10, 100], 100).predict(1500, 1000, 2000), 10);
        assert_eq!(Fill::new([10, 10, 100], 100).predict(1625, 1000, 2000), 55);
    }
}
