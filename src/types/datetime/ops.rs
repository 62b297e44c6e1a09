//! Conversions between date and time types, and their arithmetic.

use super::calendar::{
    CivilTime, DATE_END, DAY_MICROS, TIMESTAMP_END, TIMESTAMP_MIN, add_months, check_date, check_timestamp, civil_time,
    date_out_of_range, days_from_civil, days_in_month, interval_out_of_range, timestamp_out_of_range,
};
use super::zone;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::{Datum, Interval, SessionFormat};

fn is_infinite(micros: i64) -> bool {
    micros == i64::MIN || micros == i64::MAX
}

/// date → timestamp. 22008 beyond the last timestamp.
pub fn date_to_timestamp(days: i32) -> SqlResult<i64> {
    match days {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        _ => i64::from(days)
            .checked_mul(DAY_MICROS)
            .filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros))
            .ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")),
    }
}

/// date → timestamptz: midnight in the session's zone.
pub fn date_to_timestamptz(days: i32, format: &SessionFormat) -> SqlResult<i64> {
    timestamp_to_timestamptz(date_to_timestamp(days)?, format)
}

/// timestamp → timestamptz: local time in the session's zone.
pub fn timestamp_to_timestamptz(micros: i64, format: &SessionFormat) -> SqlResult<i64> {
    if is_infinite(micros) { Ok(micros) } else { format.from_local(micros) }
}

/// timestamptz → timestamp.
pub fn timestamptz_to_timestamp(micros: i64, format: &SessionFormat) -> SqlResult<i64> {
    if is_infinite(micros) { Ok(micros) } else { check_timestamp(i128::from(format.to_local(micros))) }
}

/// timestamp → date, cutting the time of day.
pub fn timestamp_to_date(micros: i64) -> SqlResult<i32> {
    match micros {
        i64::MIN => Ok(i32::MIN),
        i64::MAX => Ok(i32::MAX),
        _ => check_date(micros.div_euclid(DAY_MICROS)),
    }
}

/// timestamptz → date in the session's zone.
pub fn timestamptz_to_date(micros: i64, format: &SessionFormat) -> SqlResult<i32> {
    timestamp_to_date(timestamptz_to_timestamp(micros, format)?)
}

/// Rounds to `precision` digits of seconds, half away from zero as AdjustTimestampForTypmod does.
pub fn round_to_precision(micros: i64, precision: u32) -> SqlResult<i64> {
    if is_infinite(micros) || precision >= 6 {
        return Ok(micros);
    }
    let unit = 10_i64.pow(6 - precision);
    let half = unit / 2;
    let rounded = if micros >= 0 { (micros + half) / unit * unit } else { (micros - half) / unit * unit };
    check_timestamp(i128::from(rounded))
}

/// timestamp + interval: months first, keeping to the month's end, then days, then the rest.
pub fn timestamp_plus_interval(micros: i64, span: Interval) -> SqlResult<i64> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    let local = shift_days(micros, span)?;
    check_timestamp(i128::from(local) + i128::from(span.micros))
}

/// timestamptz + interval: months and days on the session's calendar, the rest in elapsed time.
pub fn timestamptz_plus_interval(micros: i64, span: Interval, format: &SessionFormat) -> SqlResult<i64> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    let mut instant = micros;
    // Each step ends on the clock, so that one that lands in a gap moves what follows.
    for step in [Interval { days: 0, micros: 0, ..span }, Interval { months: 0, micros: 0, ..span }] {
        if step.months != 0 || step.days != 0 {
            instant = format.from_local(shift_days(format.to_local(instant), step)?)?;
        }
    }
    check_timestamp(i128::from(instant) + i128::from(span.micros))
}

/// Adds an interval's months and days to a local time.
fn shift_days(local: i64, span: Interval) -> SqlResult<i64> {
    let CivilTime { date, micros } = civil_time(local);
    let moved = if span.months == 0 { date } else { add_months(date, i64::from(span.months)) };
    let days = days_from_civil(moved) + i64::from(span.days);
    if days.abs() >= DATE_END {
        return Err(timestamp_out_of_range());
    }
    check_timestamp(i128::from(days) * i128::from(DAY_MICROS) + i128::from(micros))
}

/// timestamp − timestamp: days and the rest, never months. 22008 for infinities.
pub fn subtract_timestamps(a: i64, b: i64) -> SqlResult<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite timestamps"));
    }
    let span = a.checked_sub(b).ok_or_else(interval_out_of_range)?;
    let days = i32::try_from(span / DAY_MICROS).expect("less than 2^31 days between timestamps");
    Ok(Interval { months: 0, days, micros: span % DAY_MICROS })
}

/// `age(a, b)` of two timestamps or two timestamptzs: years and months, days and the rest, counted back from the later one.
pub fn age(a: &Datum, b: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    let (a, b) = match (a, b) {
        (Datum::Null, _) | (_, Datum::Null) => return Ok(Datum::Null),
        (Datum::Timestamp(a), Datum::Timestamp(b)) => (*a, *b),
        (Datum::TimestampTz(a), Datum::TimestampTz(b)) => {
            if is_infinite(*a) || is_infinite(*b) {
                return Err(timestamp_out_of_range());
            }
            (format.to_local(*a), format.to_local(*b))
        }
        _ => return Err(SqlError::internal("age takes two timestamps of one type")),
    };
    if is_infinite(a) || is_infinite(b) {
        return Err(timestamp_out_of_range());
    }
    let (later, earlier) = (civil_time(a.max(b)), civil_time(a.min(b)));
    let mut months = (later.date.year - earlier.date.year) * 12 + i64::from(later.date.month) - i64::from(earlier.date.month);
    let mut days = i64::from(later.date.day) - i64::from(earlier.date.day);
    let mut micros = later.micros - earlier.micros;
    if micros < 0 {
        micros += DAY_MICROS;
        days -= 1;
    }
    if days < 0 {
        // The borrowed month is the earlier one's (timestamp_age).
        days += i64::from(days_in_month(earlier.date.year, earlier.date.month));
        months -= 1;
    }
    let sign = if a < b { -1 } else { 1 };
    Ok(Datum::Interval(Interval {
        months: i32::try_from(months * sign).map_err(|_| interval_out_of_range())?,
        days: i32::try_from(days * sign).expect("at most a month"),
        micros: micros * sign,
    }))
}

/// `value AT TIME ZONE zone`, `timezone(zone, value)`: a timestamp there becomes an instant, an instant the local time there.
/// 22023 for an unknown zone.
pub fn at_time_zone(name: &str, value: &Datum) -> SqlResult<Datum> {
    if matches!(value, Datum::Timestamp(micros) | Datum::TimestampTz(micros) if is_infinite(*micros)) {
        // Infinity is everywhere, even in zones that do not exist.
        return Ok(match value {
            Datum::Timestamp(micros) => Datum::TimestampTz(*micros),
            Datum::TimestampTz(micros) => Datum::Timestamp(*micros),
            other => other.clone(),
        });
    }
    let zone = zone::require(name)?;
    Ok(match value {
        Datum::Timestamp(micros) => {
            let offset = zone::offset_of_local(&zone, *micros);
            Datum::TimestampTz(check_timestamp(i128::from(*micros) - i128::from(offset) * 1_000_000)?)
        }
        Datum::TimestampTz(micros) => {
            let offset = zone::offset_at(&zone, *micros);
            Datum::Timestamp(check_timestamp(i128::from(*micros) + i128::from(offset) * 1_000_000)?)
        }
        Datum::Null => Datum::Null,
        _ => return Err(SqlError::internal("AT TIME ZONE takes a timestamp")),
    })
}

/// date + days. 22008 beyond the limits; infinities stay.
pub(crate) fn date_plus_days(days: i32, shift: i64) -> SqlResult<i32> {
    if days == i32::MIN || days == i32::MAX {
        return Ok(days);
    }
    check_date(i64::from(days) + shift)
}

/// date − date. 22008 for infinities.
pub(crate) fn date_difference(a: i32, b: i32) -> SqlResult<i32> {
    let infinite = |days| days == i32::MIN || days == i32::MAX;
    if infinite(a) || infinite(b) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite dates"));
    }
    a.checked_sub(b).ok_or_else(date_out_of_range)
}
