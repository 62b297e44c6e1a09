//! Text to dates and timestamps (datetime.c, ParseDateTime and DecodeDateTime).
//!
//! ISO text takes a short way; everything else is cut into fields that are understood by their shape and order.

mod fields;

use fields::Fields;

use super::calendar::{Civil, DATE_END, DATE_MIN, DAY_MICROS, TIMESTAMP_END, TIMESTAMP_MIN, days_from_civil, days_in_month};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::format::SessionFormat;

/// Why a text is no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 22007
    Format,
    /// 22008
    Range,
    /// 22008, with the hint that the order of fields may be meant differently
    MonthDayRange,
    /// 22009
    ZoneRange,
    /// 22023; what was taken for a zone
    UnknownZone,
    /// 22008
    Limit,
}

/// What a text says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Parsed {
    /// A local date with a time of day (up to 24:00:00) and, if one was given, seconds east of UTC.
    Civil { date: Civil, micros: i64, offset: Option<i32> },
    /// An instant, microseconds since 2000 UTC.
    Instant(i64),
    /// `today` and kin: days from the current local date.
    Today(i64),
    /// `infinity`, `-infinity`
    Infinity(bool),
}

fn fault_error(fault: Fault, type_name: &str, text: &str) -> SqlError {
    let range = || SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""));
    match fault {
        Fault::Format => {
            SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type {type_name}: \"{text}\""))
        }
        Fault::Range => range(),
        Fault::MonthDayRange => range().hint("Perhaps you need a different \"datestyle\" setting."),
        Fault::ZoneRange => SqlError::new(
            SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE,
            format!("time zone displacement out of range: \"{text}\""),
        ),
        Fault::UnknownZone => {
            let word = text.split_ascii_whitespace().last().unwrap_or(text);
            let name = word.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
            SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("time zone \"{}\" not recognized", name.to_ascii_lowercase()),
            )
        }
        Fault::Limit => {
            let what = if type_name == "date" { "date" } else { "timestamp" };
            SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range: \"{text}\""))
        }
    }
}

/// `date` input.
pub fn parse_date(text: &str, format: &SessionFormat) -> SqlResult<i32> {
    date(text, format).map_err(|fault| fault_error(fault, "date", text))
}

fn date(text: &str, format: &SessionFormat) -> Result<i32, Fault> {
    let days = match parse(text, format)? {
        Parsed::Infinity(positive) => return Ok(if positive { i32::MAX } else { i32::MIN }),
        Parsed::Civil { date, .. } => days_from_civil(date),
        Parsed::Instant(micros) => format.to_local(micros).div_euclid(DAY_MICROS),
        Parsed::Today(shift) => today(format) + shift,
    };
    if !(DATE_MIN..DATE_END).contains(&days) {
        return Err(Fault::Limit);
    }
    i32::try_from(days).map_err(|_| Fault::Limit)
}

fn today(format: &SessionFormat) -> i64 {
    format.to_local(format.now_micros).div_euclid(DAY_MICROS)
}

/// `timestamp` input: a zone in the text is read and ignored.
pub fn parse_timestamp(text: &str, format: &SessionFormat) -> SqlResult<i64> {
    let parsed = parse(text, format).and_then(|parsed| match parsed {
        Parsed::Infinity(positive) => Ok(if positive { i64::MAX } else { i64::MIN }),
        Parsed::Civil { date, micros, .. } => {
            limit(i128::from(days_from_civil(date)) * i128::from(DAY_MICROS) + i128::from(micros))
        }
        Parsed::Instant(micros) => Ok(format.to_local(micros)),
        Parsed::Today(shift) => Ok((today(format) + shift) * DAY_MICROS),
    });
    parsed.map_err(|fault| fault_error(fault, "timestamp", text))
}

fn limit(micros: i128) -> Result<i64, Fault> {
    i64::try_from(micros).ok().filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros)).ok_or(Fault::Limit)
}

/// `timestamptz` input: without a zone in the text, the session's.
pub fn parse_timestamptz(text: &str, format: &SessionFormat) -> SqlResult<i64> {
    let local = |local: i64| format.from_local(local).map_err(|_| Fault::Limit);
    let parsed = parse(text, format).and_then(|parsed| match parsed {
        Parsed::Infinity(positive) => Ok(if positive { i64::MAX } else { i64::MIN }),
        Parsed::Civil { date, micros, offset: Some(offset) } => {
            let days = i128::from(days_from_civil(date));
            limit(days * i128::from(DAY_MICROS) + i128::from(micros) - i128::from(offset) * 1_000_000)
        }
        Parsed::Civil { date, micros, offset: None } => {
            let micros = i128::from(days_from_civil(date)) * i128::from(DAY_MICROS) + i128::from(micros);
            local(i64::try_from(micros).map_err(|_| Fault::Limit)?)
        }
        Parsed::Instant(micros) => Ok(micros),
        Parsed::Today(shift) => local((today(format) + shift) * DAY_MICROS),
    });
    parsed.map_err(|fault| fault_error(fault, "timestamp with time zone", text))
}

fn parse(text: &str, format: &SessionFormat) -> Result<Parsed, Fault> {
    if let Some(parsed) = iso(text.as_bytes()) {
        return Ok(parsed);
    }
    Fields::read(text, format)?.finish(format)
}

/// `YYYY-MM-DD[( |T)HH:MM:SS[.ffffff][+HH[:MM]|Z]]`, well-formed and in range; anything else goes the long way.
fn iso(text: &[u8]) -> Option<Parsed> {
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        text.get(range)?.iter().try_fold(0_u32, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let year = i64::from(year);
    if text[4] != b'-'
        || text[7] != b'-'
        || year == 0
        || !(1..=12).contains(&month)
        || day == 0
        || day > days_in_month(year, month)
    {
        return None;
    }
    let date = Civil { year, month, day };
    if text.len() == 10 {
        return Some(Parsed::Civil { date, micros: 0, offset: None });
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !matches!(text[10], b' ' | b'T') || text[13] != b':' || text[16] != b':' || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = i64::from(hour * 3600 + minute * 60 + second) * 1_000_000;
    let mut rest = &text[19..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 6 {
            return None;
        }
        let value = fraction[..digits].iter().fold(0_i64, |sum, byte| sum * 10 + i64::from(byte - b'0'));
        micros += value * 10_i64.pow(6 - digits as u32);
        rest = &fraction[digits..];
    }
    let offset = match rest {
        [] => None,
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), a @ b'0'..=b'1', b @ b'0'..=b'9', minutes @ ..] => {
            let minutes = match minutes {
                [] => 0,
                [b':', a @ b'0'..=b'5', b @ b'0'..=b'9'] => i32::from(a - b'0') * 10 + i32::from(b - b'0'),
                _ => return None,
            };
            let hours = i32::from(a - b'0') * 10 + i32::from(b - b'0');
            if hours > 15 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    Some(Parsed::Civil { date, micros, offset })
}

/// Microseconds of the digits after a point, rounded.
pub(super) fn fraction_micros(digits: &str) -> i64 {
    let mut value = 0;
    for index in 0..6 {
        value = value * 10 + digits.as_bytes().get(index).map_or(0, |b| i64::from(b - b'0'));
    }
    // As rint does with the double nearest to the decimal: half goes to even, but a tail above half goes up.
    match digits.as_bytes().get(6) {
        Some(b'6'..=b'9') => value + 1,
        Some(b'5') if digits.as_bytes()[7..].iter().any(|b| *b != b'0') || value % 2 == 1 => value + 1,
        _ => value,
    }
}

fn integer(digits: &str) -> Result<i64, Fault> {
    if digits.len() > 12 {
        return Err(Fault::Range);
    }
    digits.parse().map_err(|_| Fault::Format)
}
