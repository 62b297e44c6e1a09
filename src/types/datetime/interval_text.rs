//! Text of intervals: the `postgres` output style; input in units, as SQL standard and as ISO 8601 durations
//! (datetime.c, DecodeInterval, DecodeISO8601Interval, EncodeInterval).

use super::calendar::{DAY_MICROS, HOUR_MICROS, MINUTE_MICROS, SECOND_MICROS};
use super::output::fraction;
use super::parse::fraction_micros;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::Interval;

/// Which field of an interval a unit feeds, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "microsecond" | "microseconds" | "microsecon" => Unit::Micros(1),
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" | "millisecon" => Unit::Micros(1000),
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Micros(SECOND_MICROS),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Micros(MINUTE_MICROS),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Micros(HOUR_MICROS),
        "d" | "day" | "days" => Unit::Days(1),
        "w" | "week" | "weeks" => Unit::Days(7),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12),
        "dec" | "decs" | "decade" | "decades" => Unit::Months(120),
        "c" | "cent" | "century" | "centuries" => Unit::Months(1200),
        "mil" | "mils" | "millennium" | "millennia" => Unit::Months(12_000),
        _ => return None,
    })
}

/// Sums in wide integers; the caller narrows them.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds a decimal number of a unit. Fractions of months become days of 1/30 month, fractions of days microseconds.
    fn add(&mut self, whole: i128, fraction: f64, unit: Unit) {
        match unit {
            Unit::Months(1) => {
                self.months += whole;
                self.add_fraction_of_days(fraction * 30.0);
            }
            Unit::Months(factor) => {
                self.months += whole * i128::from(factor);
                // Fractions of years are rounded to months.
                #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "factors of at most 12000")]
                let months = (fraction * factor as f64).round_ties_even() as i128;
                self.months += months;
            }
            Unit::Days(factor) => {
                self.days += whole * i128::from(factor);
                #[expect(clippy::cast_precision_loss, reason = "7 at most")]
                self.add_fraction_of_days(fraction * factor as f64);
            }
            Unit::Micros(factor) => {
                self.micros += whole * i128::from(factor);
                #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "below an hour")]
                let micros = (fraction * factor as f64).round_ties_even() as i128;
                self.micros += micros;
            }
        }
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "at most thirty days")]
    fn add_fraction_of_days(&mut self, days: f64) {
        self.days += days.trunc() as i128;
        self.micros += (days.fract() * DAY_MICROS as f64).round_ties_even() as i128;
    }

    fn finish(self) -> Option<Interval> {
        Some(Interval {
            months: i32::try_from(self.months).ok()?,
            days: i32::try_from(self.days).ok()?,
            micros: i64::try_from(self.micros).ok()?,
        })
    }
}

/// `interval` input. 22007 for what is no interval, 22008 for fields out of range.
pub fn parse_interval(text: &str) -> SqlResult<Interval> {
    let lower = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b').to_ascii_lowercase();
    const LENGTH_MAX: usize = 256;
    let sum = if text.len() > LENGTH_MAX || !lower.is_ascii() {
        None
    } else if let Some(duration) = lower.strip_prefix('p') {
        iso_duration(duration)
    } else {
        words(&lower)
    };
    let sum = sum.ok_or_else(|| {
        SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type interval: \"{text}\""))
    })?;
    sum.finish()
        .ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("interval field value out of range: \"{text}\"")))
}

/// A number: sign, whole part, fraction. The sign is kept apart, for `-0.5`.
#[derive(Clone, Copy, Debug)]
struct Number<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
}

impl Number<'_> {
    fn value(self) -> Option<(i128, f64)> {
        const DIGITS_MAX: usize = 18;
        if self.whole.len() > DIGITS_MAX || self.whole.len() + self.fraction.len() == 0 {
            return None;
        }
        let whole: i128 = if self.whole.is_empty() { 0 } else { self.whole.parse().ok()? };
        let fraction: f64 = format!("0.{}0", self.fraction).parse().ok()?;
        Some(if self.negative { (-whole, -fraction) } else { (whole, fraction) })
    }
}

/// A number at the start of the text, and the rest.
fn number(text: &str) -> Option<(Number<'_>, &str)> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let unsigned = unsigned.trim_start();
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(tail) => tail.split_at(digits(tail)),
        None => ("", rest),
    };
    (whole.len() + fraction.len() > 0).then_some((Number { negative, whole, fraction }, rest))
}

/// `1 year 2 mons -3 days 04:05:06.7 ago`, `1-2 3 4:05:06`, `5` (seconds).
fn words(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut rest = text.strip_prefix('@').unwrap_or(text).trim_start();
    if rest.is_empty() {
        return None;
    }
    let mut ago = false;
    while !rest.is_empty() {
        if ago {
            return None;
        }
        if let Some(tail) = rest.strip_prefix("ago") {
            (ago, rest) = (true, tail.trim_start());
            continue;
        }
        let (amount, tail) = number(rest)?;
        rest = match tail.as_bytes().first() {
            Some(b':') => clock(&mut sum, amount, tail)?,
            Some(b'-') => year_month(&mut sum, amount, tail)?,
            _ => unit_amount(&mut sum, amount, tail.trim_start())?,
        }
        .trim_start();
    }
    if ago {
        sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros };
    }
    Some(sum)
}

/// `hh:mm[:ss[.fff]]` after its hours; `mm:ss.fff` if there is a fraction.
fn clock<'t>(sum: &mut Sum, hours: Number<'_>, tail: &'t str) -> Option<&'t str> {
    let field = |text: &'t str| -> Option<(i128, &'t str, &'t str)> {
        let (value, rest) = number(text.strip_prefix(':')?)?;
        (!text.starts_with(":-") && !text.starts_with(":+")).then_some(())?;
        Some((value.whole.parse().ok()?, value.fraction, rest))
    };
    let hour: i128 = hours.whole.parse().ok()?;
    let (second_field, fraction, rest) = field(tail)?;
    let micros = if rest.starts_with(':') {
        let (seconds, fraction, rest) = field(rest)?;
        if second_field > 59 || seconds > 60 {
            return None;
        }
        let whole = hour * 3600 + second_field * 60 + seconds;
        (whole * 1_000_000 + i128::from(fraction_micros(fraction)), rest)
    } else if !fraction.is_empty() {
        ((hour * 60 + second_field) * 1_000_000 + i128::from(fraction_micros(fraction)), rest)
    } else {
        if second_field > 59 {
            return None;
        }
        ((hour * 3600 + second_field * 60) * 1_000_000, rest)
    };
    sum.micros += if hours.negative { -micros.0 } else { micros.0 };
    Some(micros.1)
}

/// `years-months` after its years.
fn year_month<'t>(sum: &mut Sum, years: Number<'_>, tail: &'t str) -> Option<&'t str> {
    let (months, rest) = number(&tail[1..])?;
    let total = years.whole.parse::<i128>().ok()? * 12 + months.whole.parse::<i128>().ok().filter(|months| *months < 12)?;
    sum.months += if years.negative { -total } else { total };
    Some(rest)
}

/// A number with its unit; a bare number counts days before a time of day, and seconds at the end.
fn unit_amount<'t>(sum: &mut Sum, amount: Number<'_>, tail: &'t str) -> Option<&'t str> {
    let length = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, rest) = tail.split_at(length);
    let (whole, fraction) = amount.value()?;
    let unit = match word {
        "" if tail.is_empty() => Unit::Micros(SECOND_MICROS),
        "" => Unit::Days(1),
        "ago" => {
            sum.add(whole, fraction, Unit::Micros(SECOND_MICROS));
            return Some(tail);
        }
        _ => unit(word)?,
    };
    sum.add(whole, fraction, unit);
    Some(rest)
}

/// `1Y2M3DT4H5M6.7S` after the P.
fn iso_duration(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut rest = text;
    let mut in_time = false;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('t') {
            if in_time {
                return None;
            }
            (in_time, rest) = (true, tail);
            continue;
        }
        let (amount, tail) = number(rest)?;
        let unit = match (in_time, tail.bytes().next()?) {
            (false, b'y') => Unit::Months(12),
            (false, b'm') => Unit::Months(1),
            (false, b'w') => Unit::Days(7),
            (false, b'd') => Unit::Days(1),
            (true, b'h') => Unit::Micros(HOUR_MICROS),
            (true, b'm') => Unit::Micros(MINUTE_MICROS),
            (true, b's') => Unit::Micros(SECOND_MICROS),
            _ => return None,
        };
        let (whole, fraction) = amount.value()?;
        sum.add(whole, fraction, unit);
        rest = &tail[1..];
    }
    Some(sum)
}

/// Appends an interval in the `postgres` style: `1 year 2 mons -3 days +04:05:06.7`.
pub fn write_interval(span: Interval, out: &mut Vec<u8>) {
    let mut first = true;
    let mut after_negative = false;
    let mut part = |value: i64, name: &str, out: &mut Vec<u8>| {
        if value == 0 {
            return;
        }
        if !first {
            out.push(b' ');
        }
        if after_negative && value > 0 {
            out.push(b'+');
        }
        super::super::text::write_int(value, out);
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        // Only 1 is singular, also among negative numbers (AddPostgresIntPart).
        if value != 1 {
            out.push(b's');
        }
        (first, after_negative) = (false, value < 0);
    };
    part(i64::from(span.months / 12), "year", out);
    part(i64::from(span.months % 12), "mon", out);
    part(i64::from(span.days), "day", out);
    if !first && span.micros == 0 {
        return;
    }
    if !first {
        out.push(b' ');
    }
    if span.micros < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    let total = span.micros.unsigned_abs();
    let seconds = total / 1_000_000;
    out.extend_from_slice(format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60).as_bytes());
    fraction(i64::try_from(total % 1_000_000).expect("below a million"), out);
}
