//! The fixed ladders of upper bounds under which a distribution's values are counted for the page.
//!
//! An HDR histogram of times has 27,000 buckets and takes 110 KiB: too much to copy and to send of twenty of them whenever somebody
//! scrapes. So a core counts up the steps of the ladder itself, some 80 numbers a distribution. The ladder is the same for all
//! distributions of a unit, so that series stay the same from scrape to scrape and cores can be summed by the reader.

use std::sync::LazyLock;

use super::counts::Counts;
use super::distribution::Buckets;
use super::families::Unit;

/// Ten steps a decade, each about a quarter more than the one before (Renard's R10), in hundredths.
const FINE: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];
/// Six steps a decade, in hundredths.
const COARSE: [u64; 6] = [100, 150, 200, 300, 500, 700];

/// Of times, in nanoseconds: 1 us to 50 s.
static OF_TIMES: LazyLock<Vec<u64>> = LazyLock::new(|| ladder(1_000, 50_000_000_000, &FINE));

/// Of amounts: 0, and 1 to 5 million.
static OF_AMOUNTS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut bounds = vec![0];
    bounds.extend(ladder(1, 5_000_000, &COARSE));
    bounds
});

/// The upper bounds of the steps of a unit's ladder, as recorded, each inclusive. Behind the last there is one more step, without a
/// bound.
pub fn bounds(unit: Unit) -> &'static [u64] {
    match unit {
        Unit::Nanoseconds => &OF_TIMES,
        Unit::One => &OF_AMOUNTS,
    }
}

/// The steps times each power of ten from `first` on (whole numbers only), up to `last`.
fn ladder(first: u64, last: u64, hundredths: &[u64]) -> Vec<u64> {
    let mut bounds = Vec::new();
    let mut decade = first;
    while decade <= last {
        for step in hundredths {
            let bound = decade * step;
            if bound.is_multiple_of(100) && bound / 100 <= last {
                bounds.push(bound / 100);
            }
        }
        decade *= 10;
    }
    bounds
}

/// How many values lie on each step of the unit's ladder: one number more than it has bounds. At the resolution of the buckets: what they
/// cannot tell from a bound counts as not above it.
pub(super) fn steps_of(counts: &Counts, buckets: Buckets, unit: Unit) -> Box<[u64]> {
    let ends = bounds(unit).iter().map(|bound| buckets.of(*bound) + 1).chain([counts.len()]);
    let mut from = 0;
    ends.map(|end| counts.sum(std::mem::replace(&mut from, end)..end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Distribution;

    #[test]
    fn every_value_is_on_one_step_and_on_the_right_one() {
        let cases = [
            (Unit::Nanoseconds, Distribution::of_times()),
            (Unit::Nanoseconds, Distribution::of_times_coarse()),
            (Unit::One, Distribution::of_amounts()),
        ];
        for (unit, distribution) in cases {
            let around = |bound: &u64| [bound.saturating_sub(1), *bound, bound + 1, bound * 9 / 8];
            let mut expected = vec![0; bounds(unit).len() + 1];
            for value in bounds(unit).iter().flat_map(around).chain([0, 1, 2, 3, 1 << 50]) {
                distribution.record(value);
                // A bound's bucket belongs below it, with all that is in it.
                let histogram = distribution.histogram().expect("something was recorded");
                let above = |bound: &&u64| value > histogram.highest_equivalent(**bound);
                expected[bounds(unit).iter().take_while(above).count()] += 1;
                assert_eq!(distribution.steps(unit).as_deref(), Some(&expected[..]), "{value}, {unit:?}");
            }
        }
    }

    #[test]
    fn ladders_rise() {
        for unit in [Unit::Nanoseconds, Unit::One] {
            assert!(bounds(unit).is_sorted_by(|a, b| a < b), "{:?}", bounds(unit));
        }
        assert_eq!((bounds(Unit::Nanoseconds)[0], bounds(Unit::Nanoseconds).last()), (1_000, Some(&50_000_000_000)));
        assert_eq!((&bounds(Unit::One)[..4], bounds(Unit::One).last()), (&[0, 1, 2, 3][..], Some(&5_000_000)));
    }
}
