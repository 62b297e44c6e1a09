//! Interval arithmetic (timestamp.c).

use super::calendar::{DAY_MICROS, interval_out_of_range};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::Interval;

/// Sum, field by field. 22008 on overflow.
pub fn add_intervals(a: Interval, b: Interval) -> SqlResult<Interval> {
    let sum = || {
        Some(Interval {
            months: a.months.checked_add(b.months)?,
            days: a.days.checked_add(b.days)?,
            micros: a.micros.checked_add(b.micros)?,
        })
    };
    sum().ok_or_else(interval_out_of_range)
}

/// Difference, field by field. 22008 on overflow.
pub fn subtract_intervals(a: Interval, b: Interval) -> SqlResult<Interval> {
    let difference = || {
        Some(Interval {
            months: a.months.checked_sub(b.months)?,
            days: a.days.checked_sub(b.days)?,
            micros: a.micros.checked_sub(b.micros)?,
        })
    };
    difference().ok_or_else(interval_out_of_range)
}

/// Negation, field by field. 22008 on overflow.
pub fn negate_interval(a: Interval) -> SqlResult<Interval> {
    let negated =
        || Some(Interval { months: a.months.checked_neg()?, days: a.days.checked_neg()?, micros: a.micros.checked_neg()? });
    negated().ok_or_else(interval_out_of_range)
}

/// A double rounded to an integer of at most `limit`.
fn to_integer(value: f64, limit: f64) -> SqlResult<i64> {
    if !value.is_finite() || value < -limit - 1.0 || value >= limit + 1.0 {
        return Err(interval_out_of_range());
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the limits; the cast truncates as C's does")]
    Ok(value as i64)
}

fn to_i32(value: f64) -> SqlResult<i32> {
    i32::try_from(to_integer(value, f64::from(i32::MAX))?).map_err(|_| interval_out_of_range())
}

/// Rounds away floating-point noise below a microsecond (TSROUND).
fn round_noise(value: f64) -> f64 {
    (value * 1e6).round_ties_even() / 1e6
}

/// interval × number (interval_mul): fractions of a month cascade into days of 1/30 month and those into seconds.
pub fn mul_interval(span: Interval, factor: f64) -> SqlResult<Interval> {
    if factor.is_nan() {
        return Err(interval_out_of_range());
    }
    scale(span, |field| field * factor)
}

/// interval ÷ number. 22012 for zero.
pub fn div_interval(span: Interval, divisor: f64) -> SqlResult<Interval> {
    if divisor == 0.0 {
        return Err(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
    }
    scale(span, |field| field / divisor)
}

fn scale(span: Interval, apply: impl Fn(f64) -> f64) -> SqlResult<Interval> {
    let (months_exact, days_exact) = (apply(f64::from(span.months)), apply(f64::from(span.days)));
    let months = to_i32(months_exact)?;
    let mut days = to_i32(days_exact)?;
    // Whole days of the fraction of a month, then seconds of the fractions of both.
    let month_remainder_days = round_noise((months_exact - f64::from(months)) * 30.0);
    let whole = month_remainder_days.trunc();
    let mut seconds = (days_exact - f64::from(days) + month_remainder_days - whole) * 86_400.0;
    seconds = round_noise(seconds);
    if seconds.abs() >= 86_400.0 {
        let more = (seconds / 86_400.0).trunc();
        days = days.checked_add(to_i32(more)?).ok_or_else(interval_out_of_range)?;
        seconds -= more * 86_400.0;
    }
    days = days.checked_add(to_i32(whole)?).ok_or_else(interval_out_of_range)?;
    #[expect(clippy::cast_precision_loss, reason = "PostgreSQL computes in double precision too")]
    let micros = (apply(span.micros as f64) + seconds * 1e6).round_ties_even();
    Ok(Interval { months, days, micros: to_integer(micros, 9.223_372_036_854_775e18)? })
}

/// `justify_hours`: whole days out of the microseconds.
pub fn justify_hours(span: Interval) -> SqlResult<Interval> {
    let whole = i32::try_from(span.micros / DAY_MICROS).expect("below 2^31 days");
    let mut result = Interval {
        months: span.months,
        days: span.days.checked_add(whole).ok_or_else(interval_out_of_range)?,
        micros: span.micros % DAY_MICROS,
    };
    if result.days > 0 && result.micros < 0 {
        result.micros += DAY_MICROS;
        result.days -= 1;
    } else if result.days < 0 && result.micros > 0 {
        result.micros -= DAY_MICROS;
        result.days += 1;
    }
    Ok(result)
}

/// `justify_days`: whole months of 30 days out of the days.
pub fn justify_days(span: Interval) -> SqlResult<Interval> {
    let mut result = Interval {
        months: span.months.checked_add(span.days / 30).ok_or_else(interval_out_of_range)?,
        days: span.days % 30,
        micros: span.micros,
    };
    if result.months > 0 && result.days < 0 {
        result.days += 30;
        result.months -= 1;
    } else if result.months < 0 && result.days > 0 {
        result.days -= 30;
        result.months += 1;
    }
    Ok(result)
}

/// `justify_interval`: both, with all fields of one sign.
pub fn justify_interval(span: Interval) -> SqlResult<Interval> {
    let total_days = i64::from(span.days) + span.micros / DAY_MICROS;
    let mut micros = span.micros % DAY_MICROS;
    let mut months = i64::from(span.months) + total_days / 30;
    let mut days = total_days % 30;
    if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
        days += 30;
        months -= 1;
    } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
        days -= 30;
        months += 1;
    }
    if days > 0 && micros < 0 {
        micros += DAY_MICROS;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= DAY_MICROS;
        days += 1;
    }
    Ok(Interval {
        months: i32::try_from(months).map_err(|_| interval_out_of_range())?,
        days: i32::try_from(days).expect("below 30"),
        micros,
    })
}
