//! Text of intervals: the `postgres` output style; input in units, as SQL standard and as ISO 8601 durations
//! (datetime.c, DecodeInterval, DecodeISO8601Interval, EncodeInterval).

use super::calendar::{DAY_MICROS, HOUR_MICROS, MINUTE_MICROS, SECOND_MICROS, interval_out_of_range};
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
    /// Units seen: none may come twice.
    seen: u32,
}

/// Why a text is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// 22007
    Format,
    /// 22015
    Field,
    /// 22008
    Range,
}

const HOUR: u32 = 1;
const MINUTE: u32 = 2;
const SECOND: u32 = 4;
const YEAR: u32 = 8;
const MONTH: u32 = 16;
const DAY: u32 = 32;

/// The bit of a unit among those seen.
fn bit(unit: Unit) -> u32 {
    match unit {
        Unit::Micros(HOUR_MICROS) => HOUR,
        Unit::Micros(MINUTE_MICROS) => MINUTE,
        Unit::Micros(SECOND_MICROS) => SECOND,
        Unit::Months(12) => YEAR,
        Unit::Months(1) => MONTH,
        Unit::Days(1) => DAY,
        Unit::Days(_) => 64,
        Unit::Micros(1000) => 128,
        Unit::Micros(_) => 256,
        Unit::Months(120) => 512,
        Unit::Months(1200) => 1024,
        Unit::Months(_) => 2048,
    }
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

    fn see(&mut self, units: u32) -> Result<(), Fault> {
        if self.seen & units != 0 {
            return Err(Fault::Format);
        }
        self.seen |= units;
        Ok(())
    }

    fn finish(self) -> Result<Interval, Fault> {
        // Years are kept as such until the end, so it is only their product with 12 that is out of the interval's range.
        let months_fault = if self.months.abs() / 12 <= i128::from(i32::MAX) { Fault::Range } else { Fault::Field };
        Ok(Interval {
            months: i32::try_from(self.months).map_err(|_| months_fault)?,
            days: i32::try_from(self.days).map_err(|_| Fault::Field)?,
            micros: i64::try_from(self.micros).map_err(|_| Fault::Field)?,
        })
    }
}

/// `interval` input. 22007 for what is no interval, 22015 and 22008 for fields out of range.
pub fn parse_interval(text: &str) -> SqlResult<Interval> {
    let lower = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b').to_ascii_lowercase();
    const LENGTH_MAX: usize = 256;
    let sum = if text.len() > LENGTH_MAX || !lower.is_ascii() {
        Err(Fault::Format)
    } else if let Some(duration) = lower.strip_prefix('p') {
        iso_duration(duration)
    } else {
        words(&lower)
    };
    sum.and_then(Sum::finish).map_err(|fault| match fault {
        Fault::Format => {
            SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type interval: \"{text}\""))
        }
        Fault::Field => {
            SqlError::new(SqlState::INTERVAL_FIELD_OVERFLOW, format!("interval field value out of range: \"{text}\""))
        }
        Fault::Range => interval_out_of_range(),
    })
}

/// A number: sign, whole part, fraction. The sign is kept apart, for `-0.5`.
#[derive(Clone, Copy, Debug)]
struct Number<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
}

impl Number<'_> {
    fn value(self) -> Result<(i128, f64), Fault> {
        let whole = self.magnitude()?;
        let fraction: f64 = format!("0.{}0", self.fraction).parse().map_err(|_| Fault::Format)?;
        Ok(if self.negative { (-whole, -fraction) } else { (whole, fraction) })
    }

    /// The whole part without its sign.
    fn magnitude(self) -> Result<i128, Fault> {
        const DIGITS_MAX: usize = 18;
        if self.whole.len() > DIGITS_MAX {
            return Err(Fault::Field);
        }
        if self.whole.is_empty() { Ok(0) } else { self.whole.parse().map_err(|_| Fault::Format) }
    }
}

/// A number at the start of the text, and the rest.
fn number(text: &str) -> Result<(Number<'_>, &str), Fault> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let unsigned = unsigned.trim_start();
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(tail) => tail.split_at(digits(tail)),
        None => ("", rest),
    };
    if whole.len() + fraction.len() == 0 {
        return Err(Fault::Format);
    }
    Ok((Number { negative, whole, fraction }, rest))
}

/// `1 year 2 mons -3 days 04:05:06.7 ago`, `1-2 3 4:05:06`, `5` (seconds).
fn words(text: &str) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut rest = text.strip_prefix('@').unwrap_or(text).trim_start();
    if rest.is_empty() {
        return Err(Fault::Format);
    }
    let mut ago = false;
    while !rest.is_empty() {
        if ago {
            return Err(Fault::Format);
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
        sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros, ..sum };
    }
    Ok(sum)
}

/// `hh:mm[:ss[.fff]]` after its hours; `mm:ss.fff` if there is a fraction.
fn clock<'t>(sum: &mut Sum, hours: Number<'_>, tail: &'t str) -> Result<&'t str, Fault> {
    let field = |text: &'t str| -> Result<(i128, &'t str, &'t str), Fault> {
        let text = text.strip_prefix(':').ok_or(Fault::Format)?;
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Fault::Format);
        }
        let (value, rest) = number(text)?;
        Ok((value.magnitude()?, value.fraction, rest))
    };
    sum.see(HOUR | MINUTE | SECOND)?;
    let hour = hours.magnitude()?;
    let (second_field, fraction, rest) = field(tail)?;
    let (hour, minute, second, fraction, rest) = if rest.starts_with(':') {
        let (seconds, fraction, rest) = field(rest)?;
        (hour, second_field, seconds, fraction, rest)
    } else if fraction.is_empty() {
        (hour, second_field, 0, "", rest)
    } else {
        (0, hour, second_field, fraction, rest)
    };
    if minute > 59 || second > 60 {
        return Err(Fault::Field);
    }
    let micros = (hour * 3600 + minute * 60 + second) * 1_000_000 + i128::from(fraction_micros(fraction));
    sum.micros += if hours.negative { -micros } else { micros };
    Ok(rest)
}

/// `years-months` after its years.
fn year_month<'t>(sum: &mut Sum, years: Number<'_>, tail: &'t str) -> Result<&'t str, Fault> {
    sum.see(YEAR | MONTH)?;
    let (months, rest) = number(&tail[1..])?;
    let months = months.magnitude()?;
    if months > 11 {
        return Err(Fault::Field);
    }
    let total = years.magnitude()? * 12 + months;
    sum.months += if years.negative { -total } else { total };
    Ok(rest)
}

/// A number with its unit; a bare number counts days before a time of day, and seconds at the end.
fn unit_amount<'t>(sum: &mut Sum, amount: Number<'_>, tail: &'t str) -> Result<&'t str, Fault> {
    let length = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, rest) = tail.split_at(length);
    let (whole, fraction) = amount.value()?;
    let (unit, rest) = match word {
        "" if tail.is_empty() => (Unit::Micros(SECOND_MICROS), rest),
        "" => (Unit::Days(1), rest),
        "ago" => (Unit::Micros(SECOND_MICROS), tail),
        _ => (unit(word).ok_or(Fault::Format)?, rest),
    };
    sum.see(bit(unit))?;
    sum.add(whole, fraction, unit);
    Ok(rest)
}

/// `1Y2M3DT4H5M6.7S` after the P.
fn iso_duration(text: &str) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut rest = text;
    let mut in_time = false;
    if rest.is_empty() {
        return Err(Fault::Format);
    }
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('t') {
            if in_time {
                return Err(Fault::Format);
            }
            (in_time, rest) = (true, tail);
            continue;
        }
        let (amount, tail) = number(rest)?;
        let unit = match (in_time, tail.bytes().next()) {
            (false, Some(b'y')) => Unit::Months(12),
            (false, Some(b'm')) => Unit::Months(1),
            (false, Some(b'w')) => Unit::Days(7),
            (false, Some(b'd')) => Unit::Days(1),
            (true, Some(b'h')) => Unit::Micros(HOUR_MICROS),
            (true, Some(b'm')) => Unit::Micros(MINUTE_MICROS),
            (true, Some(b's')) => Unit::Micros(SECOND_MICROS),
            _ => return Err(Fault::Format),
        };
        let (whole, fraction) = amount.value()?;
        sum.add(whole, fraction, unit);
        rest = &tail[1..];
    }
    Ok(sum)
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
