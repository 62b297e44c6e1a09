//! What a sample of a column's values says about the column: `compute_scalar_stats` and `analyze_mcv_list` of PostgreSQL 15's
//! analyze.c, with the same thresholds, so that the same sample gives the same statistics.

use crate::catalog::ColumnStatistics;
use crate::runtime;
use crate::types::{Datum, SqlType, compare_as, write_binary};

/// How many common values, and how many parts of the histogram: PostgreSQL's default_statistics_target.
pub const TARGET: usize = 100;
/// Rows of a sample, which make a histogram's parts right within a tenth or so (see analyze.c on Chaudhuri et al., 1998).
pub const SAMPLE_ROWS: usize = 300 * TARGET;
/// Values sorted or compared between two looks at whether others want to run.
const STEP: usize = 512;

/// Which column is computed, and from how large a table the sample is.
#[derive(Clone, Copy, Debug)]
pub struct Sampled {
    /// Which (0-based).
    pub column: usize,
    /// Its type.
    pub ty: SqlType,
    /// Rows of the table.
    pub total_rows: f64,
    /// Values wider than this many bytes are counted, but not kept.
    pub width_max: usize,
}

/// A run of equal values.
struct Group {
    /// Where it starts in the sorted values.
    start: usize,
    count: usize,
}

/// The statistics of a column, from its values in the order of the rows.
pub async fn compute(values: Vec<Datum>, sampled: Sampled) -> ColumnStatistics {
    let Sampled { column, ty, total_rows, width_max } = sampled;
    let sample_rows = values.len();
    let values: Vec<Datum> = values.into_iter().filter(|value| !value.is_null()).collect();
    let present = values.len();
    let mut found = ColumnStatistics {
        column,
        ty,
        null_fraction: fraction(sample_rows - present, sample_rows),
        width: average_width(ty, &values),
        distinct: 0.0,
        common: Vec::new(),
        histogram: Vec::new(),
        correlation: None,
    };
    if present == 0 {
        return found;
    }
    let narrow = values.into_iter().filter(|value| width(ty, value) <= width_max);
    let sorted = sort(ty, narrow.zip(0..).collect()).await;
    let too_wide = present - sorted.len();
    if sorted.is_empty() {
        // Nothing but wide values: taken for different ones.
        found.distinct = -(1.0 - found.null_fraction);
        return found;
    }
    let groups = groups(ty, &sorted).await;
    let repeated = groups.iter().filter(|group| group.count > 1).count();
    let null_fraction = f64::from(found.null_fraction);
    found.distinct =
        distinct(&Counts { sample_rows, present, groups: groups.len(), repeated, too_wide }, total_rows, null_fraction);
    let common = common(&groups, too_wide, sample_rows, total_rows, &found);
    found.common = common.iter().map(|group| (sorted[group.start].0.clone(), fraction(group.count, sample_rows))).collect();
    found.histogram = histogram(&sorted, groups.len(), common);
    found.correlation = correlation(&sorted);
    found
}

#[expect(clippy::cast_possible_truncation, reason = "PostgreSQL keeps fractions as real too")]
fn fraction(part: usize, whole: usize) -> f32 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64) as f32 }
}

/// Sorts in steps, so that others can run meanwhile; equal values stay in the order of their rows.
async fn sort(ty: SqlType, values: Vec<(Datum, u32)>) -> Vec<(Datum, u32)> {
    let mut values = values.into_iter();
    let mut runs: Vec<Vec<(Datum, u32)>> = Vec::new();
    loop {
        let mut run: Vec<(Datum, u32)> = values.by_ref().take(STEP).collect();
        if run.is_empty() {
            break;
        }
        run.sort_by(|a, b| compare_as(ty, &a.0, &b.0));
        runs.push(run);
        rest().await;
    }
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut left = runs.into_iter();
        while let Some(first) = left.next() {
            match left.next() {
                Some(second) => merged.push(merge(ty, first, second).await),
                None => merged.push(first),
            }
        }
        runs = merged;
    }
    runs.pop().unwrap_or_default()
}

async fn merge(ty: SqlType, first: Vec<(Datum, u32)>, second: Vec<(Datum, u32)>) -> Vec<(Datum, u32)> {
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    loop {
        if merged.len().is_multiple_of(STEP) {
            rest().await;
        }
        let from_second = match (first.peek(), second.peek()) {
            (Some(a), Some(b)) => compare_as(ty, &b.0, &a.0).is_lt(),
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (None, None) => return merged,
        };
        merged.extend(if from_second { second.next() } else { first.next() });
    }
}

/// Lets others run; outside a core there are no others.
async fn rest() {
    if runtime::try_current_core().is_some() && runtime::should_yield() {
        runtime::yield_now().await;
    }
}

async fn groups(ty: SqlType, sorted: &[(Datum, u32)]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, (value, _)) in sorted.iter().enumerate() {
        if at % STEP == 0 {
            rest().await;
        }
        match groups.last_mut() {
            Some(group) if compare_as(ty, &sorted[group.start].0, value).is_eq() => group.count += 1,
            _ => groups.push(Group { start: at, count: 1 }),
        }
    }
    groups
}

/// What was counted in a sample.
struct Counts {
    sample_rows: usize,
    /// Values that are not NULL.
    present: usize,
    /// Different values kept, …
    groups: usize,
    /// … of which so many more than once, …
    repeated: usize,
    /// … and values too wide to be compared.
    too_wide: usize,
}

/// The number of different values in the table, or, negative, its part of the rows.
fn distinct(counts: &Counts, total_rows: f64, null_fraction: f64) -> f32 {
    let estimate = if counts.repeated == 0 {
        // No value was found twice: all are different.
        -(1.0 - null_fraction)
    } else if counts.too_wide == 0 && counts.repeated == counts.groups {
        // Every value was found more than once: there are no others.
        counts.groups as f64
    } else {
        // The estimator Duj1 of Haas and Stokes (IBM Research Report RJ 10025): n d / (n − f1 + f1 n / N).
        let once = (counts.groups - counts.repeated + counts.too_wide) as f64;
        let different = once + counts.repeated as f64;
        let (sampled, all) = (counts.present as f64, total_rows * (1.0 - null_fraction));
        let estimate = if all > 0.0 { sampled * different / ((sampled - once) + once * sampled / all) } else { 0.0 };
        (estimate.max(different).min(all.max(different)) + 0.5).floor()
    };
    debug_assert!(counts.present <= counts.sample_rows, "values come of rows");
    let as_fraction = if estimate > 0.1 * total_rows { -(estimate / total_rows) } else { estimate };
    #[expect(clippy::cast_possible_truncation, reason = "PostgreSQL keeps it as real too")]
    let kept = as_fraction as f32;
    kept
}

/// The values that are worth keeping as common ones, the most common first.
fn common(groups: &[Group], too_wide: usize, sample_rows: usize, total_rows: f64, found: &ColumnStatistics) -> Vec<Group> {
    let mut candidates: Vec<Group> =
        groups.iter().filter(|group| group.count > 1).map(|group| Group { start: group.start, count: group.count }).collect();
    candidates.sort_by_key(|group| std::cmp::Reverse(group.count));
    candidates.truncate(TARGET);
    let all_are_known = candidates.len() == groups.len() && too_wide == 0 && found.distinct > 0.0;
    if !all_are_known {
        let kept = common_enough(&candidates, sample_rows, total_rows, found);
        candidates.truncate(kept);
    }
    candidates
}

/// How many of the candidates are significantly more common than the average of the values that are left out: by more than two
/// standard deviations of the hypergeometric distribution that the sample follows.
fn common_enough(candidates: &[Group], sample_rows: usize, total_rows: f64, found: &ColumnStatistics) -> usize {
    let rows = sample_rows as f64;
    if rows >= total_rows || total_rows <= 1.0 {
        return candidates.len();
    }
    let different = found.distinct_of(total_rows).unwrap_or(1.0);
    let mut kept = candidates.len();
    let mut before: f64 = candidates.iter().rev().skip(1).map(|group| group.count as f64).sum();
    while kept > 0 {
        let count = candidates[kept - 1].count as f64;
        let others = different - (kept - 1) as f64;
        let mut selectivity = (1.0 - before / rows - f64::from(found.null_fraction)).clamp(0.0, 1.0);
        if others > 1.0 {
            selectivity /= others;
        }
        let expected = total_rows * count / rows;
        let variance =
            rows * expected * (total_rows - expected) * (total_rows - rows) / (total_rows * total_rows * (total_rows - 1.0));
        if count > selectivity * rows + 2.0 * variance.max(0.0).sqrt() + 0.5 {
            break;
        }
        kept -= 1;
        if kept > 0 {
            before -= candidates[kept - 1].count as f64;
        }
    }
    kept
}

/// Values at equal distances among those that are not common.
fn histogram(sorted: &[(Datum, u32)], different: usize, mut common: Vec<Group>) -> Vec<Datum> {
    let bounds = (different - common.len()).min(TARGET + 1);
    if bounds < 2 {
        return Vec::new();
    }
    common.sort_by_key(|group| group.start);
    let mut left_out = common.into_iter().peekable();
    let mut left: Vec<&Datum> = Vec::with_capacity(sorted.len());
    let mut at = 0;
    while let Some((value, _)) = sorted.get(at) {
        match left_out.next_if(|group| group.start == at) {
            Some(group) => at += group.count,
            None => {
                left.push(value);
                at += 1;
            }
        }
    }
    (0..bounds).map(|bound| left[bound * (left.len() - 1) / (bounds - 1)].clone()).collect()
}

/// The correlation of the values' order with the rows'.
fn correlation(sorted: &[(Datum, u32)]) -> Option<f32> {
    let count = sorted.len() as f64;
    if sorted.len() < 2 {
        return None;
    }
    let sum = (count - 1.0) * count / 2.0;
    let squares = (count - 1.0) * count * (2.0 * count - 1.0) / 6.0;
    // Rows are numbered among those whose values were kept.
    let products: f64 = sorted.iter().enumerate().map(|(place, (_, row))| place as f64 * f64::from(*row)).sum();
    #[expect(clippy::cast_possible_truncation, reason = "PostgreSQL keeps it as real too")]
    let correlation = ((count * products - sum * sum) / (count * squares - sum * sum)) as f32;
    Some(correlation)
}

fn average_width(ty: SqlType, values: &[Datum]) -> i32 {
    if values.is_empty() {
        return i32::from(ty.typlen().max(0));
    }
    let total: usize = values.iter().map(|value| width(ty, value)).sum();
    i32::try_from(total / values.len()).unwrap_or(i32::MAX)
}

/// Bytes of a value as PostgreSQL stores it: those of variable length with a length word, or one byte where that is enough.
fn width(ty: SqlType, value: &Datum) -> usize {
    let bytes = match value {
        Datum::Text(text) => text.len(),
        Datum::Bytea(bytes) => bytes.len(),
        // Two bytes, and two for each four digits, of which the wire format has as many behind eight bytes of its own.
        Datum::Numeric(_) => {
            let mut wire = Vec::new();
            write_binary(value, ty, &mut wire);
            wire.len().saturating_sub(6)
        }
        _ => return usize::try_from(ty.typlen()).unwrap_or(0),
    };
    bytes + if bytes < 127 { 1 } else { 4 }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::types::{SessionFormat, parse_text, write_text};

    /// Outside a core nothing is awaited.
    fn computed(
        ty: SqlType,
        values: impl Iterator<Item = Option<String>>,
        total_rows: f64,
        width_max: usize,
    ) -> ColumnStatistics {
        let value = |text: Option<String>| match text {
            None => Datum::Null,
            Some(text) => parse_text(ty, -1, &text, &SessionFormat::default()).expect("a value"),
        };
        let future = compute(values.map(value).collect(), Sampled { column: 0, ty, total_rows, width_max });
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(computed) => computed,
            Poll::Pending => panic!("there is nothing to wait for"),
        }
    }

    fn texts<'v>(ty: SqlType, values: impl Iterator<Item = &'v Datum>) -> String {
        let mut out = Vec::new();
        for value in values {
            write_text(value, ty, &SessionFormat::default(), &mut out);
            out.push(b',');
        }
        String::from_utf8(out).expect("text")
    }

    /// NULL fraction, width, distinct values, common values and how many, bounds and how many, correlation.
    type Expected<'e> = (f32, i32, f32, &'e str, usize, &'e str, usize, f32);
    type Make = fn(i64) -> Option<String>;

    /// Of i = 1..1000; what a PostgreSQL 15 says about the same.
    const TABLE: &[(SqlType, Make, Expected<'_>)] = &[
        (SqlType::Int4, |i| Some(i.to_string()), (0.0, 4, -1.0, "", 0, "1,10,20,30,40,50,", 101, 1.0)),
        (
            SqlType::Int4,
            |i| (i % 7 != 0).then(|| (i % 10).to_string()),
            (0.142, 4, 10.0, "0,1,2,3,5,6,8,9,4,7,", 10, "", 0, 0.106_934_86),
        ),
        (SqlType::Int4, |i| Some((i * i % 97).to_string()), (0.0, 4, 49.0, "1,2,3,4,8,9,12,16,", 49, "", 0, 0.010_800_946)),
        (SqlType::Int4, |i| Some((i * 7919 % 1000).to_string()), (0.0, 4, -1.0, "", 0, "0,9,19,29,39,", 101, -0.006_399_006_6)),
        (
            SqlType::Text,
            |i| Some(format!("v{}", i * i % 1999)),
            (0.0, 5, -0.999, "v500,", 1, "v1,v1010,v1026,v1040,v1059,", 101, 0.030_362_839),
        ),
        (SqlType::Bool, |i| Some((i % 2 == 0).to_string()), (0.0, 1, 2.0, "f,t,", 2, "", 0, 0.501_498_5)),
        (
            SqlType::Int4,
            |i| Some(if i % 3 == 0 { i } else { 5 }.to_string()),
            (0.0, 4, -0.334, "5,", 1, "3,12,21,30,42,51,", 101, 0.560_867_13),
        ),
    ];

    #[test]
    fn a_whole_table_gives_what_postgresql_finds() {
        for (number, (ty, make, expected)) in TABLE.iter().enumerate() {
            let found = computed(*ty, (1..=1000).map(make), 1000.0, 1024);
            let (nulls, width, distinct, common, common_count, bounds, bound_count, correlation) = *expected;
            assert_eq!((found.null_fraction, found.width, found.distinct), (nulls, width, distinct), "{number}");
            let values = texts(*ty, found.common.iter().map(|(value, _)| value));
            assert!(values.starts_with(common) && found.common.len() == common_count, "{number}: {values}");
            let values = texts(*ty, found.histogram.iter());
            assert!(values.starts_with(bounds) && found.histogram.len() == bound_count, "{number}: {values}");
            let difference = found.correlation.expect("there are values") - correlation;
            assert!(difference.abs() < 1e-6, "{number}: {:?}", found.correlation);
        }
    }

    #[test]
    fn a_sample_says_what_the_whole_is_like() {
        // Every thirtieth of a million rows with a thousand different values: all were found, and none is common.
        let found = computed(SqlType::Int4, (0..30_000).map(|i| Some((i * 37 % 1000).to_string())), 1e6, 1024);
        assert_eq!((found.distinct, found.common.len(), found.histogram.len()), (1000.0, 0, 101));
        // Half the rows have one value, the others are nearly all different.
        let value = |i: i64| if i % 2 == 0 { 1 } else { i - (i % 500 == 1) as i64 * 2 };
        let found = computed(SqlType::Int8, (0..30_000).map(|i| Some(value(i).to_string())), 1e6, 1024);
        assert_eq!(texts(SqlType::Int8, found.common.iter().map(|(value, _)| value)), "1,");
        assert!((found.common[0].1 - 0.5).abs() < 0.01, "{:?}", found.common);
        // PostgreSQL too says some 28,800 of such a table: a sample with few repeated values tells little about how many there are.
        assert!((28_000.0..30_000.0).contains(&found.distinct), "{}", found.distinct);
        assert!(found.correlation.is_some_and(|correlation| (0.4..0.6).contains(&correlation)));
    }

    #[test]
    fn extremes_are_described_too() {
        let nothing = computed(SqlType::Text, [None, None].into_iter(), 2.0, 1024);
        assert_eq!((nothing.null_fraction, nothing.width, nothing.distinct, nothing.correlation), (1.0, 0, 0.0, None));
        let empty = computed(SqlType::Int4, std::iter::empty(), 0.0, 1024);
        assert_eq!((empty.null_fraction, empty.distinct), (0.0, 0.0));
        let one = computed(SqlType::Int4, [Some("7".to_owned())].into_iter(), 1.0, 1024);
        assert_eq!((one.distinct, one.common.len(), one.histogram.len(), one.correlation), (-1.0, 0, 0, None));
        let wide = computed(SqlType::Text, (0..10).map(|i| Some(format!("{i}").repeat(300))), 10.0, 100);
        assert_eq!((wide.width, wide.distinct, wide.histogram.len()), (304, -1.0, 0), "wide values are not kept");
        let padded = computed(SqlType::Bpchar, ["a ", "a", "b"].into_iter().map(|text| Some(text.to_owned())), 3.0, 100);
        assert_eq!((padded.common.len(), padded.common[0].1), (1, 2.0 / 3.0), "blanks at the end do not count");
    }
}
