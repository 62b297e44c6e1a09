//! Local time in the session's zone.

use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::calendar::{CivilTime, DAY_MICROS, UNIX_EPOCH_SECONDS, check_timestamp, civil_time};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::SessionFormat;
use crate::types::format::named_zone;

/// The Gregorian calendar repeats after this many days.
const CYCLE_DAYS: i64 = 146_097;
/// Days since 2000 up to which the zone database's time type reaches safely (year 9800).
const ZONE_DAYS_MAX: i64 = 2_848_000;

/// Seconds east of UTC at an instant (microseconds since 2000 UTC).
pub fn offset_at(zone: &TimeZone, micros: i64) -> i32 {
    let mut days = micros.div_euclid(DAY_MICROS);
    if days > ZONE_DAYS_MAX {
        // Far in the future only yearly rules apply, and those repeat with the calendar.
        days -= (days - ZONE_DAYS_MAX).div_euclid(CYCLE_DAYS) * CYCLE_DAYS + CYCLE_DAYS;
    }
    let seconds = days * 86_400 + micros.rem_euclid(DAY_MICROS) / 1_000_000 + UNIX_EPOCH_SECONDS;
    jiff::Timestamp::from_second(seconds).map_or(0, |instant| zone.to_offset(instant).seconds())
}

/// Seconds east of UTC of a local time. A time skipped in spring takes the offset before the change, one that happens twice in
/// autumn the offset after it (datetime.c, DetermineTimeZoneOffset).
pub fn offset_of_local(zone: &TimeZone, local_micros: i64) -> i32 {
    let mut days = local_micros.div_euclid(DAY_MICROS);
    if days > ZONE_DAYS_MAX {
        days -= (days - ZONE_DAYS_MAX).div_euclid(CYCLE_DAYS) * CYCLE_DAYS + CYCLE_DAYS;
    }
    let CivilTime { date, micros } = civil_time(days * DAY_MICROS + local_micros.rem_euclid(DAY_MICROS));
    let part = |value: i64| i8::try_from(value).expect("a month, day, hour, minute or second");
    let seconds = micros / 1_000_000;
    let Ok(year) = i16::try_from(date.year) else { return 0 };
    let Ok(local) = jiff::civil::DateTime::new(
        year,
        part(i64::from(date.month)),
        part(i64::from(date.day)),
        part(seconds / 3600),
        part(seconds / 60 % 60),
        part(seconds % 60),
        0,
    ) else {
        return 0;
    };
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
        AmbiguousOffset::Gap { before, .. } => before.seconds(),
        AmbiguousOffset::Fold { after, .. } => after.seconds(),
    }
}

impl SessionFormat {
    /// Seconds east of UTC in the session's zone at an instant.
    pub fn offset_at(&self, micros: i64) -> i32 {
        self.fixed_offset().unwrap_or_else(|| offset_at(self.zone(), micros))
    }

    /// Microseconds since 2000-01-01 00:00 local time of a finite instant.
    pub fn to_local(&self, micros: i64) -> i64 {
        micros.saturating_add(i64::from(self.offset_at(micros)) * 1_000_000)
    }

    /// The instant of a finite local time; 22008 if it is beyond the limits.
    pub fn from_local(&self, local_micros: i64) -> SqlResult<i64> {
        let offset = self.fixed_offset().unwrap_or_else(|| offset_of_local(self.zone(), local_micros));
        check_timestamp(i128::from(local_micros) - i128::from(offset) * 1_000_000)
    }
}

/// Abbreviations of PostgreSQL's default list that name one fixed offset: (name, hours east × 60 in minutes).
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("utc", 0),
    ("gmt", 0),
    ("z", 0),
    ("zulu", 0),
    ("ut", 0),
    ("uct", 0),
    ("wet", 0),
    ("west", 60),
    ("bst", 60),
    ("cet", 60),
    ("met", 60),
    ("mez", 60),
    ("cest", 120),
    ("mest", 120),
    ("mesz", 120),
    ("eet", 120),
    ("eest", 180),
    ("msk", 180),
    ("msd", 240),
    ("ist", 120),
    ("jst", 540),
    ("kst", 540),
    ("aest", 600),
    ("acst", 570),
    ("awst", 480),
    ("nzst", 720),
    ("nzdt", 780),
    ("est", -300),
    ("edt", -240),
    ("cst", -360),
    ("cdt", -300),
    ("mst", -420),
    ("mdt", -360),
    ("pst", -480),
    ("pdt", -420),
    ("akst", -540),
    ("akdt", -480),
    ("hst", -600),
    ("ast", -240),
    ("adt", -180),
    ("nst", -210),
    ("ndt", -150),
];

/// A zone as written in a value or after AT TIME ZONE: an abbreviation, a name, or a POSIX zone.
pub fn lookup(name: &str) -> Option<TimeZone> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, minutes)) = ABBREVIATIONS.iter().find(|(abbreviation, _)| *abbreviation == lower) {
        return Some(TimeZone::fixed(Offset::from_seconds(minutes * 60).ok()?));
    }
    named_zone(name).or_else(|| TimeZone::posix(name).ok())
}

/// Whether a word (lower case) is a zone abbreviation.
pub(super) fn is_abbreviation(word: &str) -> bool {
    ABBREVIATIONS.iter().any(|(abbreviation, _)| *abbreviation == word)
}

/// [`lookup`], or 22023.
pub fn require(name: &str) -> SqlResult<TimeZone> {
    lookup(name).ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized")))
}
