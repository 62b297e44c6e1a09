//! The part of a column's rows that compares to a value in some way, from what ANALYZE has found (PostgreSQL 15's selfuncs.c:
//! `var_eq_const`, `mcv_selectivity`, `ineq_histogram_selectivity`).

use crate::catalog::ColumnStatistics;
use crate::sql::function::Comparison;
use crate::types::{Datum, SqlType, compare_as};

/// The part of rows that an equality keeps about which nothing is known.
pub const DEFAULT_EQUAL: f64 = 0.005;
/// The part that an inequality keeps, …
pub const DEFAULT_INEQUALITY: f64 = 1.0 / 3.0;
/// … one with a lower and an upper end, …
pub const DEFAULT_RANGE: f64 = 0.005;
/// … and a pattern.
pub const DEFAULT_MATCH: f64 = 0.005;
/// Different values of a column that was never analyzed.
pub const DEFAULT_DISTINCT: f64 = 200.0;

/// A column and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What ANALYZE has found.
    pub statistics: Option<&'a ColumnStatistics>,
    /// Its type.
    pub ty: SqlType,
    /// No two rows have the same value: it is the primary key.
    pub unique: bool,
    /// Rows of its table.
    pub rows: f64,
}

impl Known<'_> {
    /// Part of the rows in which it is NULL.
    pub fn null_fraction(&self) -> f64 {
        self.statistics.map_or(0.0, |statistics| f64::from(statistics.null_fraction))
    }

    fn common_fraction(&self) -> f64 {
        self.statistics.map_or(0.0, |known| known.common.iter().map(|(_, fraction)| f64::from(*fraction)).sum())
    }

    /// How many different values it has in its table.
    pub fn distinct(&self) -> f64 {
        if self.unique {
            return self.rows.max(1.0);
        }
        let found = self.statistics.and_then(|known| known.distinct_of(self.rows));
        let assumed = if self.ty == SqlType::Bool { 2.0 } else { self.rows.min(DEFAULT_DISTINCT) };
        found.unwrap_or(assumed).max(1.0)
    }

    /// Part of the rows that have this value; `None` for one that is not known yet.
    pub fn equal(&self, value: Option<&Datum>) -> f64 {
        if value.is_some_and(Datum::is_null) {
            return 0.0;
        }
        if self.unique {
            return 1.0 / self.rows.max(1.0);
        }
        let Some(known) = self.statistics else { return 1.0 / self.distinct() };
        let Some(value) = value else {
            let average = (1.0 - self.null_fraction()) / self.distinct();
            return known.common.first().map_or(average, |(_, fraction)| average.min(f64::from(*fraction)));
        };
        if let Some((_, fraction)) = known.common.iter().find(|(common, _)| compare_as(self.ty, common, value).is_eq()) {
            return f64::from(*fraction);
        }
        let others = (self.distinct() - known.common.len() as f64).max(1.0);
        let average = (1.0 - self.common_fraction() - self.null_fraction()).clamp(0.0, 1.0) / others;
        // It is less common than the least common of the common ones.
        known.common.last().map_or(average, |(_, fraction)| average.min(f64::from(*fraction)))
    }

    /// Part of the rows whose value is below or above this one; `None` if nothing is known of it.
    pub fn inequality(&self, comparison: Comparison, value: Option<&Datum>) -> Option<f64> {
        let (known, value) = (self.statistics?, value?);
        if value.is_null() {
            return Some(0.0);
        }
        let common = known.common.iter().filter(|(common, _)| holds(comparison, compare_as(self.ty, common, value)));
        let common: f64 = common.map(|(_, fraction)| f64::from(*fraction)).sum();
        let others = (1.0 - self.common_fraction() - self.null_fraction()).clamp(0.0, 1.0);
        // Without a histogram half of the others are assumed to fit.
        let part = self.histogram_part(known, comparison, value).unwrap_or(0.5);
        Some((common + others * part).clamp(0.0, 1.0))
    }

    /// Part of the values in the histogram that compare to a value.
    fn histogram_part(&self, known: &ColumnStatistics, comparison: Comparison, value: &Datum) -> Option<f64> {
        let bounds = &known.histogram;
        if bounds.len() < 2 {
            return None;
        }
        let above = matches!(comparison, Comparison::Gt | Comparison::Ge);
        let inclusive = matches!(comparison, Comparison::Le | Comparison::Ge);
        // Of bounds equal to the value, those count as below it that the comparison takes in, or leaves out above it.
        let below = bounds.partition_point(|bound| {
            let order = compare_as(self.ty, bound, value);
            order.is_lt() || order.is_eq() && above != inclusive
        });
        let parts = (bounds.len() - 1) as f64;
        let mut fraction = match below {
            0 => 0.0,
            all if all == bounds.len() => 1.0,
            at => {
                let within = position(&bounds[at - 1], &bounds[at], value);
                let others = self.distinct() - known.common.len() as f64;
                let one = if others > 1.0 { 1.0 / others } else { 0.0 };
                let mut fraction = ((at - 1) as f64 + within) / parts;
                // The first bound is itself a value, and one that equals the value may be on either side.
                if at == 1 {
                    fraction += one * (1.0 - within);
                }
                if above == inclusive {
                    fraction -= one;
                }
                fraction
            }
        };
        if above {
            fraction = 1.0 - fraction;
        }
        // The table may have grown at its ends since.
        let least = 0.01 / parts;
        Some(fraction.clamp(least, 1.0 - least))
    }

    /// Part of the rows whose value passes a test, from its answers about common values and histogram bounds; `None` if there
    /// are too few of them to say.
    pub fn passing(&self, passes: impl Fn(&Datum) -> bool) -> Option<f64> {
        const BOUNDS_MIN: usize = 10;
        let known = self.statistics?;
        let common = known.common.iter().filter(|(common, _)| passes(common));
        let common: f64 = common.map(|(_, fraction)| f64::from(*fraction)).sum();
        let others = (1.0 - self.common_fraction() - self.null_fraction()).clamp(0.0, 1.0);
        if known.histogram.len() < BOUNDS_MIN {
            // The common values may be all there are.
            return (!known.common.is_empty() && others < 0.01).then_some(common);
        }
        let passing = known.histogram.iter().filter(|bound| passes(bound)).count() as f64;
        let part = (passing / known.histogram.len() as f64).clamp(0.0001, 0.9999);
        Some((common + others * part).clamp(0.0, 1.0))
    }
}

fn holds(comparison: Comparison, order: std::cmp::Ordering) -> bool {
    match comparison {
        Comparison::Eq => order.is_eq(),
        Comparison::Ne => order.is_ne(),
        Comparison::Lt => order.is_lt(),
        Comparison::Le => order.is_le(),
        Comparison::Gt => order.is_gt(),
        Comparison::Ge => order.is_ge(),
    }
}

/// Where between two bounds a value lies, 0 to 1.
fn position(low: &Datum, high: &Datum, value: &Datum) -> f64 {
    let (low, high, value) = match (low, high, value) {
        (Datum::Text(low), Datum::Text(high), Datum::Text(value)) => texts_as_numbers(low, high, value),
        _ => match (number(low), number(high), number(value)) {
            (Some(low), Some(high), Some(value)) => (low, high, value),
            _ => return 0.5,
        },
    };
    let position = if high <= low { 0.5 } else { (value - low) / (high - low) };
    if position.is_nan() { 0.5 } else { position.clamp(0.0, 1.0) }
}

/// Numbers and times on one scale.
fn number(value: &Datum) -> Option<f64> {
    const DAY_MICROS: f64 = 86_400e6;
    match value {
        Datum::Numeric(value) => Some(value.to_f64()),
        Datum::Date(days) => Some(f64::from(*days) * DAY_MICROS),
        Datum::Timestamp(micros) | Datum::TimestampTz(micros) => Some(*micros as f64),
        Datum::Uuid(bytes) => Some(bytes_as_number(bytes)),
        Datum::Bytea(bytes) => Some(bytes_as_number(bytes)),
        _ => value.as_f64().or_else(|| value.as_i64().map(|value| value as f64)),
    }
}

/// Texts as fractions, behind what they have in common.
fn texts_as_numbers(low: &str, high: &str, value: &str) -> (f64, f64, f64) {
    let common = low.bytes().zip(high.bytes()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str| bytes_as_number(text.as_bytes().get(common..).unwrap_or_default());
    (rest(low), rest(high), rest(value))
}

/// The first bytes as a fraction.
fn bytes_as_number(bytes: &[u8]) -> f64 {
    bytes.iter().take(8).rev().fold(0.0, |number, byte| (number + f64::from(*byte)) / 256.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(ty: SqlType, nulls: f32, distinct: f32, common: &[(i32, f32)], histogram: &[i32]) -> ColumnStatistics {
        ColumnStatistics {
            column: 0,
            ty,
            null_fraction: nulls,
            width: 4,
            distinct,
            common: common.iter().map(|(value, fraction)| (Datum::Int4(*value), *fraction)).collect(),
            histogram: histogram.iter().map(|value| Datum::Int4(*value)).collect(),
            correlation: None,
        }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-7, "{found}, not {expected}");
    }

    #[test]
    fn common_values_count_as_they_were_found() {
        // A tenth NULL, half of it 1, a quarter 2, the rest one of 15 others from 10 to 110.
        let known = statistics(SqlType::Int4, 0.1, 17.0, &[(1, 0.5), (2, 0.25)], &[10, 60, 110]);
        let column = Known { statistics: Some(&known), ty: SqlType::Int4, unique: false, rows: 1000.0 };
        near(column.equal(Some(&Datum::Int4(1))), 0.5);
        near(column.equal(Some(&Datum::Int8(2))), 0.25);
        near(column.equal(Some(&Datum::Int4(77))), f64::from(1.0 - 0.1_f32 - 0.75) / 15.0);
        near(column.equal(Some(&Datum::Null)), 0.0);
        near(column.equal(None), f64::from(1.0 - 0.1_f32) / 17.0);
        let above = |value| column.inequality(Comparison::Gt, Some(&Datum::Int4(value))).expect("it is known");
        assert!((above(0) - 0.9).abs() < 0.001 && (above(1) - 0.4).abs() < 0.001, "{} {}", above(0), above(1));
        // Half of the others.
        assert!((above(60) - 0.075).abs() < 0.001, "{}", above(60));
        let below = column.inequality(Comparison::Lt, Some(&Datum::Int4(35))).expect("it is known");
        assert!((below - (0.75 + 0.15 * (0.25 - 1.0 / 15.0 * 0.5))).abs() < 0.01, "{below}");
        assert!(column.inequality(Comparison::Lt, None).is_none());
    }

    #[test]
    fn a_histogram_is_read_like_a_ruler() {
        let bounds: Vec<i32> = (0..=100).map(|part| part * 10).collect();
        let known = statistics(SqlType::Int4, 0.0, -1.0, &[], &bounds);
        let column = Known { statistics: Some(&known), ty: SqlType::Int4, unique: false, rows: 1000.0 };
        for (comparison, value, rows) in [
            (Comparison::Lt, 100, 99.0),
            (Comparison::Le, 100, 100.0),
            (Comparison::Gt, 100, 900.0),
            (Comparison::Ge, 100, 901.0),
            (Comparison::Lt, 505, 504.0),
            (Comparison::Lt, -5, 0.1),
            (Comparison::Gt, 5000, 0.1),
            (Comparison::Le, 5000, 999.9),
        ] {
            let found = column.inequality(comparison, Some(&Datum::Int4(value))).expect("it is known") * 1000.0;
            assert!((found - rows).abs() < 1e-6, "{comparison:?} {value}: {found}, not {rows}");
        }
    }

    #[test]
    fn without_statistics_defaults_hold() {
        let column = Known { statistics: None, ty: SqlType::Int4, unique: false, rows: 50.0 };
        near(column.equal(None), 0.02);
        near(Known { unique: true, ..column }.equal(Some(&Datum::Int4(1))), 0.02);
        near(Known { rows: 1e6, ..column }.equal(None), DEFAULT_EQUAL);
        near(Known { ty: SqlType::Bool, rows: 1e6, ..column }.distinct(), 2.0);
        assert!(column.inequality(Comparison::Lt, Some(&Datum::Int4(1))).is_none() && column.passing(|_| true).is_none());
    }

    #[test]
    fn texts_lie_between_texts() {
        let at = |low: &str, high: &str, value: &str| position(&Datum::text(low), &Datum::text(high), &Datum::text(value));
        assert!((at("user a", "user c", "user b") - 0.5).abs() < 0.01);
        assert!(at("a", "b", "a") < 0.01 && at("a", "b", "azz") > 0.4 && (at("x", "x", "x") - 0.5).abs() < 1e-9);
        let [low, high, value] = [0, 10, 5].map(Datum::Date);
        near(position(&low, &high, &value), 0.5);
    }
}
