//! `extract`, `date_part` and `date_trunc` (timestamp.c, date.c).

use num_bigint::BigInt;

use super::calendar::{
    Civil, CivilTime, DAY_MICROS, JULIAN_2000, UNIX_EPOCH_SECONDS, civil_from_days, civil_time, days_from_civil, iso_week,
    iso_week_start, weekday,
};
use super::ops;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::{Datum, Interval, Numeric, SessionFormat, SqlType};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Quarter,
    Week,
    Year,
    Decade,
    Century,
    Millennium,
    Julian,
    IsoYear,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "microseconds" | "microsecond" | "us" | "usec" | "usecs" | "microsecon" => Field::Microseconds,
        "milliseconds" | "millisecond" | "ms" | "msec" | "msecs" | "millisecon" => Field::Milliseconds,
        "second" | "seconds" | "sec" | "secs" | "s" => Field::Second,
        "minute" | "minutes" | "min" | "mins" | "m" => Field::Minute,
        "hour" | "hours" | "hr" | "hrs" | "h" => Field::Hour,
        "day" | "days" | "d" => Field::Day,
        "month" | "months" | "mon" | "mons" => Field::Month,
        "quarter" | "qtr" => Field::Quarter,
        "week" | "weeks" | "w" => Field::Week,
        "year" | "years" | "yr" | "yrs" | "y" => Field::Year,
        "decade" | "decades" | "dec" | "decs" => Field::Decade,
        "century" | "centuries" | "cent" | "c" => Field::Century,
        "millennium" | "millennia" | "mil" | "mils" => Field::Millennium,
        "julian" | "jd" | "j" => Field::Julian,
        "isoyear" => Field::IsoYear,
        "dow" => Field::DayOfWeek,
        "isodow" => Field::IsoDayOfWeek,
        "doy" => Field::DayOfYear,
        "epoch" => Field::Epoch,
        "timezone" => Field::Timezone,
        "timezone_h" | "timezone_hour" => Field::TimezoneHour,
        "timezone_m" | "timezone_minute" => Field::TimezoneMinute,
        _ => return None,
    })
}

fn type_of(value: &Datum) -> SqlType {
    match value {
        Datum::Date(_) => SqlType::Date,
        Datum::TimestampTz(_) => SqlType::TimestampTz,
        Datum::Interval(_) => SqlType::Interval,
        _ => SqlType::Timestamp,
    }
}

fn unknown(name: &str, value: &Datum) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unit \"{}\" not recognized for type {}", name.to_ascii_lowercase(), type_of(value).name()),
    )
}

fn unsupported(name: &str, value: &Datum) -> SqlError {
    SqlError::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("unit \"{}\" not supported for type {}", name.to_ascii_lowercase(), type_of(value).name()),
    )
}

/// A field's value: an integer divided by a power of ten, which is also its display scale.
#[derive(Clone, Copy, Debug)]
struct Decimal {
    unscaled: i128,
    scale: u32,
}

fn whole(value: i64) -> Decimal {
    Decimal { unscaled: i128::from(value), scale: 0 }
}

fn scaled(unscaled: i128, scale: u32) -> Decimal {
    Decimal { unscaled, scale }
}

/// Infinite values have an infinite year, epoch and so on, and NULL for what cycles.
fn of_infinity(field: Field, positive: bool) -> Option<Numeric> {
    use Field::*;
    match field {
        Year | Decade | Century | Millennium | Julian | IsoYear | Epoch => {
            Some(if positive { Numeric::Infinity } else { Numeric::NegInfinity })
        }
        _ => None,
    }
}

/// `extract(field from value)`: a numeric; `value` is a date, timestamp, timestamptz or interval. 22023 for an unknown field,
/// 0A000 for one the type has not.
pub fn extract(name: &str, value: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let wanted = field(&name.to_ascii_lowercase()).ok_or_else(|| unknown(name, value))?;
    let infinite = match value {
        Datum::Date(i32::MAX) | Datum::Timestamp(i64::MAX) | Datum::TimestampTz(i64::MAX) => Some(true),
        Datum::Date(i32::MIN) | Datum::Timestamp(i64::MIN) | Datum::TimestampTz(i64::MIN) => Some(false),
        _ => None,
    };
    if let (Datum::Date(_), false) = (value, date_has(wanted)) {
        return Err(unsupported(name, value));
    }
    if let Some(positive) = infinite {
        return Ok(of_infinity(wanted, positive).map_or(Datum::Null, Datum::numeric));
    }
    let decimal = match value {
        Datum::Date(days) => local_field(wanted, i64::from(*days), 0, true),
        Datum::Timestamp(micros) => local_field(wanted, micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS), false),
        Datum::TimestampTz(micros) => zoned_field(wanted, *micros, format),
        Datum::Interval(span) => interval_field(wanted, *span),
        _ => None,
    };
    let Decimal { unscaled, scale } = decimal.ok_or_else(|| unsupported(name, value))?;
    Ok(Datum::numeric(Numeric::new(BigInt::from(unscaled), scale)))
}

/// A date has no time of day.
fn date_has(field: Field) -> bool {
    use Field::*;
    !matches!(field, Microseconds | Milliseconds | Second | Minute | Hour | Timezone | TimezoneHour | TimezoneMinute)
}

/// `date_part(field, value)`: [`extract`] as double precision.
pub fn date_part(name: &str, value: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    // date_part of a date works through its timestamp, so it does have hours.
    let widened = match value {
        Datum::Date(days) => Datum::Timestamp(ops::date_to_timestamp(*days)?),
        other => other.clone(),
    };
    if let (Datum::Interval(span), Some(Field::Epoch)) = (&widened, field(&name.to_ascii_lowercase())) {
        return Ok(Datum::Float8(interval_epoch(*span)));
    }
    Ok(match extract(name, &widened, format)? {
        Datum::Numeric(value) => Datum::Float8(value.to_f64()),
        other => other,
    })
}

/// The seconds of an interval, summed in double precision in PostgreSQL's order, whose rounding clients see.
#[expect(clippy::cast_precision_loss, reason = "PostgreSQL computes in double precision too")]
fn interval_epoch(span: Interval) -> f64 {
    const DAY: f64 = 86_400.0;
    span.micros as f64 / 1e6
        + 365.25 * DAY * f64::from(span.months / 12)
        + 30.0 * DAY * f64::from(span.months % 12)
        + DAY * f64::from(span.days)
}

fn zoned_field(wanted: Field, micros: i64, format: &SessionFormat) -> Option<Decimal> {
    let offset = i64::from(format.offset_at(micros));
    Some(match wanted {
        Field::Timezone => whole(offset),
        Field::TimezoneHour => whole(offset / 3600),
        Field::TimezoneMinute => whole(offset / 60 % 60),
        // The epoch is of the instant, everything else is local.
        Field::Epoch => scaled(i128::from(micros) + i128::from(UNIX_EPOCH_SECONDS) * 1_000_000, 6),
        _ => {
            let local = format.to_local(micros);
            return local_field(wanted, local.div_euclid(DAY_MICROS), local.rem_euclid(DAY_MICROS), false);
        }
    })
}

/// Whether a field is a unit of time (or a zone's, which then is not supported) and not a way of counting days.
fn is_unit(field: Field) -> bool {
    use Field::*;
    !matches!(field, Julian | IsoYear | DayOfWeek | IsoDayOfWeek | DayOfYear | Epoch)
}

/// Years, centuries and millennia have no zero: the year before 1 is −1.
fn without_zero(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

fn century(year: i64, length: i64) -> i64 {
    if year > 0 { (year + length - 1) / length } else { -((length - year) / length) }
}

fn local_field(wanted: Field, days: i64, micros: i64, is_date: bool) -> Option<Decimal> {
    let date = civil_from_days(days);
    let Civil { year, month, day } = date;
    Some(match wanted {
        Field::Microseconds => whole(micros % 60_000_000),
        Field::Milliseconds => scaled(i128::from(micros % 60_000_000), 3),
        Field::Second => scaled(i128::from(micros % 60_000_000), 6),
        Field::Minute => whole(micros / 60_000_000 % 60),
        Field::Hour => whole(micros / 3_600_000_000),
        Field::Day => whole(i64::from(day)),
        Field::Month => whole(i64::from(month)),
        Field::Quarter => whole(i64::from((month - 1) / 3 + 1)),
        Field::Week => whole(iso_week(date).1),
        Field::IsoYear => whole(without_zero(iso_week(date).0)),
        Field::Year => whole(without_zero(year)),
        Field::Decade => whole(year.div_euclid(10)),
        Field::Century => whole(century(year, 100)),
        Field::Millennium => whole(century(year, 1000)),
        Field::DayOfWeek => whole(weekday(days)),
        Field::IsoDayOfWeek => whole((weekday(days) + 6) % 7 + 1),
        Field::DayOfYear => whole(days - days_from_civil(Civil { year, month: 1, day: 1 }) + 1),
        Field::Julian if is_date => whole(days + JULIAN_2000),
        Field::Julian => return Some(julian(days, micros)),
        Field::Epoch if is_date => whole(days * 86_400 + UNIX_EPOCH_SECONDS),
        Field::Epoch => {
            let seconds = i128::from(days) * 86_400 + i128::from(UNIX_EPOCH_SECONDS);
            scaled(seconds * 1_000_000 + i128::from(micros), 6)
        }
        Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute => return None,
    })
}

/// The Julian day with the time of day as a fraction, at the scale that dividing numerics gives.
fn julian(days: i64, micros: i64) -> Decimal {
    let fraction = Numeric::from(micros).div(&Numeric::from(DAY_MICROS)).expect("a day is not zero");
    let sum = Numeric::from(days + JULIAN_2000).add(&fraction).expect("small numbers");
    let Numeric::Finite { unscaled, scale } = sum else { unreachable!("finite summands") };
    scaled(i128::try_from(unscaled).expect("a day number with some twenty digits after the point"), scale)
}

fn interval_field(wanted: Field, span: Interval) -> Option<Decimal> {
    let years = i64::from(span.months / 12);
    let seconds = i128::from(span.micros % 60_000_000);
    Some(match wanted {
        Field::Microseconds => scaled(seconds, 0),
        Field::Milliseconds => scaled(seconds, 3),
        Field::Second => scaled(seconds, 6),
        Field::Minute => whole(span.micros / 60_000_000 % 60),
        Field::Hour => whole(span.micros / 3_600_000_000),
        Field::Day => whole(i64::from(span.days)),
        Field::Month => whole(i64::from(span.months % 12)),
        Field::Quarter => whole(i64::from(span.months % 12 / 3 + 1)),
        Field::Year => whole(years),
        Field::Decade => whole(years / 10),
        Field::Century => whole(years / 100),
        Field::Millennium => whole(years / 1000),
        Field::Epoch => {
            // A year is 365.25 days, a month of the rest 30 days.
            let quarter_days = i128::from(years) * 1461 + i128::from(span.months % 12) * 120 + i128::from(span.days) * 4;
            scaled(quarter_days * 21_600 * 1_000_000 + i128::from(span.micros), 6)
        }
        _ => return None,
    })
}

/// `date_trunc(field, value)` for timestamp, timestamptz and interval (a date is a timestamptz, as function resolution has it).
pub fn date_trunc(name: &str, value: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    if matches!(value, Datum::Null | Datum::Timestamp(i64::MIN | i64::MAX) | Datum::TimestampTz(i64::MIN | i64::MAX)) {
        return Ok(value.clone());
    }
    let wanted = field(&name.to_ascii_lowercase()).filter(|field| is_unit(*field)).ok_or_else(|| unknown(name, value))?;
    let truncated = |local: i64| truncate(wanted, local).ok_or_else(|| unsupported(name, value));
    Ok(match value {
        Datum::Timestamp(micros) => Datum::Timestamp(truncated(*micros)?),
        Datum::TimestampTz(micros) => {
            let offset = i64::from(format.offset_at(*micros)) * 1_000_000;
            let local = truncated(micros.saturating_add(offset))?;
            // Within a day the offset stays, so that an hour that happens twice is not moved (timestamptz_trunc).
            let small = matches!(wanted, Field::Microseconds | Field::Milliseconds | Field::Second | Field::Minute | Field::Hour);
            Datum::TimestampTz(if small { local - offset } else { format.from_local(local)? })
        }
        Datum::Date(days) => {
            return date_trunc(name, &Datum::TimestampTz(ops::date_to_timestamptz(*days, format)?), format);
        }
        Datum::Interval(span) => Datum::Interval(truncate_interval(wanted, *span).ok_or_else(|| {
            let error = unsupported(name, value);
            if wanted == Field::Week { error.detail("Months usually have fractional weeks.") } else { error }
        })?),
        _ => return Err(SqlError::internal("date_trunc takes a timestamp or interval")),
    })
}

fn truncate(wanted: Field, local: i64) -> Option<i64> {
    let CivilTime { date: Civil { year, month, .. }, .. } = civil_time(local);
    let start = |year: i64, month: u32| Some(days_from_civil(Civil { year, month, day: 1 }).saturating_mul(DAY_MICROS));
    let unit = |length: i64| Some(local - local.rem_euclid(length));
    match wanted {
        Field::Microseconds => Some(local),
        Field::Milliseconds => unit(1000),
        Field::Second => unit(1_000_000),
        Field::Minute => unit(60_000_000),
        Field::Hour => unit(3_600_000_000),
        Field::Day => unit(DAY_MICROS),
        Field::Week => {
            let (iso_year, week) = iso_week(civil_time(local).date);
            Some(iso_week_start(iso_year, week).saturating_mul(DAY_MICROS))
        }
        Field::Month => start(year, month),
        Field::Quarter => start(year, (month - 1) / 3 * 3 + 1),
        Field::Year => start(year, 1),
        Field::Decade => start(year.div_euclid(10) * 10, 1),
        Field::Century => start((year - 1).div_euclid(100) * 100 + 1, 1),
        Field::Millennium => start((year - 1).div_euclid(1000) * 1000 + 1, 1),
        _ => None,
    }
}

fn truncate_interval(wanted: Field, span: Interval) -> Option<Interval> {
    let months = |unit: i32| Some(Interval { months: span.months / unit * unit, days: 0, micros: 0 });
    let micros = |unit: i64| Some(Interval { micros: span.micros / unit * unit, ..span });
    match wanted {
        Field::Microseconds => Some(span),
        Field::Milliseconds => micros(1000),
        Field::Second => micros(1_000_000),
        Field::Minute => micros(60_000_000),
        Field::Hour => micros(3_600_000_000),
        Field::Day => Some(Interval { micros: 0, ..span }),
        Field::Month => months(1),
        Field::Quarter => months(3),
        Field::Year => months(12),
        Field::Decade => months(120),
        Field::Century => months(1200),
        Field::Millennium => months(12_000),
        _ => None,
    }
}
