//! Reservations of log space: what makes it certain that a transaction that has drawn its timestamp is logged (invariant 2).
//!
//! Records go into the current segment and then into the ready ones in order; one that does not fit the rest of a segment wastes
//! that rest. A segment with `free` blocks' worth of room therefore surely takes `free + BLOCK − largest` bytes of records whose
//! largest is `largest` (all rounded up to blocks, because each may be flushed alone) before the log moves on. So the promise
//! can be kept for records in any order as long as the promised bytes are no more than the sum of that over all segments.

use crate::runtime::BLOCK;

use super::bytes::align_up;

/// The space that is promised and not yet used.
#[derive(Debug, Default)]
pub(super) struct Promised {
    bytes: u64,
    reservations: u64,
    /// Not below the largest reservation outstanding; exact again whenever none is.
    largest: u64,
}

/// What a record of `bytes` may take of a segment.
pub(super) fn cost(bytes: usize) -> u64 {
    align_up(bytes as u64, BLOCK as u64)
}

impl Promised {
    /// Promises room for one record if segments with the room `free` (whole blocks each) can keep all promises in any order.
    pub(super) fn reserve(&mut self, bytes: usize, free: impl Iterator<Item = u64>) -> bool {
        let cost = cost(bytes);
        let largest = self.largest.max(cost);
        let usable: u64 = free.map(|free| (free + BLOCK as u64).saturating_sub(largest)).sum();
        if self.bytes + cost > usable {
            return false;
        }
        self.bytes += cost;
        self.reservations += 1;
        self.largest = largest;
        true
    }

    /// Takes a promise back, because its record is appended or will not be.
    pub(super) fn release(&mut self, bytes: usize) {
        let cost = cost(bytes);
        assert!(self.bytes >= cost && self.reservations > 0, "only what was promised is released");
        self.bytes -= cost;
        self.reservations -= 1;
        if self.reservations == 0 {
            assert_eq!(self.bytes, 0, "promises and releases are symmetrical");
            self.largest = 0;
        }
    }

    /// Bytes promised.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Reserve while it is granted, then append all of it in another order, each record flushed alone: it always fits.
        #[test]
        fn what_is_promised_fits_in_any_order(
            sizes in prop::collection::vec(1..40_000usize, 1..60),
            segments in prop::collection::vec(0..30u64, 1..5),
            order in any::<u64>(),
        ) {
            let block = BLOCK as u64;
            let free: Vec<u64> = segments.iter().map(|blocks| blocks * block).collect();
            let mut promised = Promised::default();
            let mut granted: Vec<usize> =
                sizes.into_iter().filter(|size| promised.reserve(*size, free.iter().copied())).collect();
            let rotation = order as usize % granted.len().max(1);
            granted.rotate_left(rotation);
            if order % 2 == 0 {
                granted.sort_unstable();
            }
            let mut segment = 0;
            let mut left = free[0];
            for size in granted {
                while cost(size) > left {
                    segment += 1;
                    prop_assert!(segment < free.len(), "a promise is broken");
                    left = free[segment];
                }
                left -= cost(size);
                promised.release(size);
            }
            prop_assert_eq!(promised.bytes(), 0);
        }
    }

    #[test]
    fn a_promise_is_refused_when_the_rest_of_a_segment_could_be_wasted() {
        let block = BLOCK as u64;
        let mut promised = Promised::default();
        assert!(!promised.reserve(3 * BLOCK, [4 * block].into_iter()), "another could waste two blocks first");
        assert!(promised.reserve(2 * BLOCK, [4 * block].into_iter()));
        assert!(!promised.reserve(2 * BLOCK, [4 * block].into_iter()));
        promised.release(2 * BLOCK);
        assert!(promised.reserve(BLOCK, [block].into_iter()));
    }
}
