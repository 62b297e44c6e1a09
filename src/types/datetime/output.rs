//! Text of dates and timestamps in the ISO style (datetime.c, EncodeDateOnly, EncodeDateTime).

use super::calendar::{Civil, DAY_MICROS, civil_from_days};
use crate::types::SessionFormat;

fn two_digits(value: i64, out: &mut Vec<u8>) {
    debug_assert!((0..100).contains(&value));
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

fn civil(civil: Civil, out: &mut Vec<u8>) {
    // There is no year 0: 0 is 1 BC.
    let year = if civil.year > 0 { civil.year } else { 1 - civil.year };
    if year < 10_000 {
        two_digits(year / 100, out);
        two_digits(year % 100, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    }
    out.push(b'-');
    two_digits(i64::from(civil.month), out);
    out.push(b'-');
    two_digits(i64::from(civil.day), out);
}

fn era(civil: Civil, out: &mut Vec<u8>) {
    if civil.year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// Appends `.ffffff` without trailing zeros.
pub(super) fn fraction(micros: i64, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    let mut digits = [b'.', 0, 0, 0, 0, 0, 0];
    let mut rest = micros;
    for digit in digits[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let end = digits.iter().rposition(|digit| *digit != b'0').expect("the fraction is not zero");
    out.extend_from_slice(&digits[..=end]);
}

fn time_of_day(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros / 1_000_000;
    two_digits(seconds / 3600, out);
    out.push(b':');
    two_digits(seconds / 60 % 60, out);
    out.push(b':');
    two_digits(seconds % 60, out);
    fraction(micros % 1_000_000, out);
}

/// Appends a date.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    match days {
        i32::MIN => out.extend_from_slice(b"-infinity"),
        i32::MAX => out.extend_from_slice(b"infinity"),
        _ => {
            let date = civil_from_days(i64::from(days));
            civil(date, out);
            era(date, out);
        }
    }
}

/// Appends a timestamp without time zone.
pub fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    if !infinite(micros, out) {
        local(micros, None, out);
    }
}

/// Appends a timestamp with time zone, in the session's zone.
pub fn write_timestamptz(micros: i64, format: &SessionFormat, out: &mut Vec<u8>) {
    if !infinite(micros, out) {
        let offset = format.offset_at(micros);
        local(micros.saturating_add(i64::from(offset) * 1_000_000), Some(offset), out);
    }
}

fn infinite(micros: i64, out: &mut Vec<u8>) -> bool {
    match micros {
        i64::MIN => out.extend_from_slice(b"-infinity"),
        i64::MAX => out.extend_from_slice(b"infinity"),
        _ => return false,
    }
    true
}

fn local(micros: i64, offset: Option<i32>, out: &mut Vec<u8>) {
    let date = civil_from_days(micros.div_euclid(DAY_MICROS));
    civil(date, out);
    out.push(b' ');
    time_of_day(micros.rem_euclid(DAY_MICROS), out);
    if let Some(offset) = offset {
        write_offset(offset, out);
    }
    era(date, out);
}

/// `+02`, `-03:30`, `+00:19:32`
fn write_offset(seconds: i32, out: &mut Vec<u8>) {
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let total = i64::from(seconds.unsigned_abs());
    two_digits(total / 3600, out);
    if total % 3600 != 0 {
        out.push(b':');
        two_digits(total / 60 % 60, out);
        if total % 60 != 0 {
            out.push(b':');
            two_digits(total % 60, out);
        }
    }
}
