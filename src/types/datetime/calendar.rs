//! The proleptic Gregorian calendar in days and microseconds since 2000-01-01, and PostgreSQL's limits.
//!
//! The day algorithms are Howard Hinnant's ("chrono-Compatible Low-Level Date Algorithms").

use crate::error::{SqlError, SqlResult, SqlState};

/// Microseconds in a day.
pub const DAY_MICROS: i64 = 86_400_000_000;
/// Microseconds in an hour.
pub const HOUR_MICROS: i64 = 3_600_000_000;
/// Microseconds in a minute.
pub const MINUTE_MICROS: i64 = 60_000_000;
/// Microseconds in a second.
pub const SECOND_MICROS: i64 = 1_000_000;
/// Seconds from 1970-01-01 to 2000-01-01.
pub const UNIX_EPOCH_SECONDS: i64 = 946_684_800;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub const UNIX_EPOCH_MICROS: i64 = UNIX_EPOCH_SECONDS * SECOND_MICROS;
/// The Julian day of 2000-01-01.
pub const JULIAN_2000: i64 = 2_451_545;

/// 4714-11-24 BC, Julian day 0: the first date and the date of the first timestamp.
pub const DATE_MIN: i64 = -JULIAN_2000;
/// The day after the last date, 5874898-06-03.
pub const DATE_END: i64 = 2_147_483_494 - JULIAN_2000;
/// The first timestamp.
pub const TIMESTAMP_MIN: i64 = DATE_MIN * DAY_MICROS;
/// The microsecond after the last timestamp: 294277-01-01.
pub const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

/// A calendar date. `year` is astronomical: 0 is 1 BC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year; 0 is 1 BC, −1 is 2 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// A calendar date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CivilTime {
    /// The date.
    pub date: Civil,
    /// Microseconds since midnight.
    pub micros: i64,
}

/// Days since 2000-01-01. Months outside 1 to 12 and days outside the month are not normalised.
pub fn days_from_civil(civil: Civil) -> i64 {
    let month = i64::from(civil.month);
    let year = civil.year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(civil.day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // 730425 days from 0000-03-01 to 2000-01-01.
    era * 146_097 + day_of_era - 730_425
}

/// The date of a day number.
pub fn civil_from_days(days: i64) -> Civil {
    let shifted = days + 730_425;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |value: i64| u32::try_from(value).expect("a month or a day of the month");
    Civil { year, month: small(month), day: small(day) }
}

/// The civil time of a local timestamp.
pub fn civil_time(micros: i64) -> CivilTime {
    CivilTime { date: civil_from_days(micros.div_euclid(DAY_MICROS)), micros: micros.rem_euclid(DAY_MICROS) }
}

/// Whether a year has a 29th of February.
pub fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// Days of a month, 1 to 12.
pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The ISO 8601 week and its year.
pub fn iso_week(civil: Civil) -> (i64, i64) {
    let days = days_from_civil(civil);
    let monday_of_week_1 = |year: i64| {
        let fourth = days_from_civil(Civil { year, month: 1, day: 4 });
        fourth - (weekday(fourth) + 6) % 7
    };
    let mut year = civil.year;
    if days < monday_of_week_1(year) {
        year -= 1;
    } else if days >= monday_of_week_1(year + 1) {
        year += 1;
    }
    (year, (days - monday_of_week_1(year)) / 7 + 1)
}

/// The Monday of an ISO week.
pub fn iso_week_start(year: i64, week: i64) -> i64 {
    let fourth = days_from_civil(Civil { year, month: 1, day: 4 });
    fourth - (weekday(fourth) + 6) % 7 + (week - 1) * 7
}

/// 0 for Sunday to 6 for Saturday.
pub fn weekday(days: i64) -> i64 {
    // 2000-01-01 was a Saturday.
    (days + 6).rem_euclid(7)
}

/// 22008 `timestamp out of range`.
pub fn timestamp_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

/// 22008 `date out of range`.
pub fn date_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range")
}

/// 22008 `interval out of range`.
pub fn interval_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// A finite timestamp within the limits.
pub fn check_timestamp(micros: i128) -> SqlResult<i64> {
    i64::try_from(micros).ok().filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros)).ok_or_else(timestamp_out_of_range)
}

/// A finite date within the limits.
pub fn check_date(days: i64) -> SqlResult<i32> {
    if !(DATE_MIN..DATE_END).contains(&days) {
        return Err(date_out_of_range());
    }
    i32::try_from(days).map_err(|_| date_out_of_range())
}

/// Adds months, keeping to the last day of a shorter month.
pub fn add_months(civil: Civil, months: i64) -> Civil {
    let total = civil.year * 12 + i64::from(civil.month) - 1 + months;
    let (year, month) = (total.div_euclid(12), u32::try_from(total.rem_euclid(12) + 1).expect("1 to 12"));
    Civil { year, month, day: civil.day.min(days_in_month(year, month)) }
}
