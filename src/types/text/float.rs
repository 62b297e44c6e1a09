//! Floats: the shortest digits that read back as the same value, laid out as C's `%g` would (float.c, common/d2s.c).

use super::invalid_syntax;
use super::scalar::trim_space;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::SqlType;

fn out_of_range(ty: SqlType, text: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("\"{text}\" is out of range for type {}", ty.name()))
}

/// The number without blanks, in a form that Rust's parser takes and that is no name of a special value; or the special value.
fn number(ty: SqlType, text: &str) -> SqlResult<Result<&str, f64>> {
    let trimmed = trim_space(text);
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(Ok(trimmed));
    }
    let special = match unsigned.to_ascii_lowercase().as_str() {
        "nan" => f64::NAN,
        "inf" | "infinity" if trimmed.starts_with('-') => f64::NEG_INFINITY,
        "inf" | "infinity" => f64::INFINITY,
        _ => return Err(invalid_syntax(ty, text)),
    };
    Ok(Err(special))
}

/// Whether the mantissa has a digit other than 0: such a number must not become zero.
fn is_nonzero(number: &str) -> bool {
    number.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).any(|byte| matches!(byte, b'1'..=b'9'))
}

/// double precision
pub(super) fn parse_f64(text: &str) -> SqlResult<f64> {
    match number(SqlType::Float8, text)? {
        Err(special) => Ok(special),
        Ok(number) => {
            let value: f64 = number.parse().map_err(|_| invalid_syntax(SqlType::Float8, text))?;
            let lost = value.is_infinite() || (value == 0.0 && is_nonzero(number));
            if lost { Err(out_of_range(SqlType::Float8, trim_space(text))) } else { Ok(value) }
        }
    }
}

/// real
pub(super) fn parse_f32(text: &str) -> SqlResult<f32> {
    match number(SqlType::Float4, text)? {
        #[expect(clippy::cast_possible_truncation, reason = "an infinity or NaN")]
        Err(special) => Ok(special as f32),
        Ok(number) => {
            let value: f32 = number.parse().map_err(|_| invalid_syntax(SqlType::Float4, text))?;
            let lost = value.is_infinite() || (value == 0.0 && is_nonzero(number));
            if lost { Err(out_of_range(SqlType::Float4, trim_space(text))) } else { Ok(value) }
        }
    }
}

/// Appends a double; `digits` is `extra_float_digits`.
pub fn write_f64(value: f64, digits: i32, out: &mut Vec<u8>) {
    if special(value, out) {
        return;
    }
    if digits > 0 {
        layout(ryu::Buffer::new().format_finite(value), 15, out);
    } else {
        general(value, usize::try_from(15 + digits).unwrap_or(1), out);
    }
}

/// Appends a real; `digits` is `extra_float_digits`.
pub fn write_f32(value: f32, digits: i32, out: &mut Vec<u8>) {
    if special(f64::from(value), out) {
        return;
    }
    if digits > 0 {
        layout(ryu::Buffer::new().format_finite(value), 6, out);
    } else {
        general(f64::from(value), usize::try_from(6 + digits).unwrap_or(1), out);
    }
}

fn special(value: f64, out: &mut Vec<u8>) -> bool {
    let text: &[u8] = match value {
        _ if value.is_nan() => b"NaN",
        f64::INFINITY => b"Infinity",
        f64::NEG_INFINITY => b"-Infinity",
        _ => return false,
    };
    out.extend_from_slice(text);
    true
}

/// C's `%.{precision}g`.
fn general(value: f64, precision: usize, out: &mut Vec<u8>) {
    let precision = precision.max(1);
    let text = format!("{value:.*e}", precision - 1);
    layout(&text, i32::try_from(precision).expect("at most 15"), out);
}

/// Lays out digits given as `-d.ddde±x` or `-ddd.ddd`: with an exponent if it is below −4 or at least `exponent_min`.
fn layout(text: &str, exponent_min: i32, out: &mut Vec<u8>) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if negative {
        out.push(b'-');
    }
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0_u8; 40];
    let mut count = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        digits[count] = byte;
        count += 1;
    }
    let leading = digits[..count].iter().take_while(|byte| **byte == b'0').count();
    let end = count - digits[leading..count].iter().rev().take_while(|byte| **byte == b'0').count();
    let digits = &digits[leading..end.max(leading)];
    if digits.is_empty() {
        return out.push(b'0');
    }
    let small = |value: usize| i32::try_from(value).expect("at most 40 digits");
    // The power of ten of the first digit.
    let power = small(whole.len()) - small(leading) - 1 + exponent.parse::<i32>().expect("the formatter writes a number");
    if power < -4 || power >= exponent_min {
        scientific(digits, power, out);
    } else if power < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + usize::try_from(-power - 1).expect("below 4"), b'0');
        out.extend_from_slice(digits);
    } else {
        let point = usize::try_from(power + 1).expect("not negative");
        if digits.len() <= point {
            out.extend_from_slice(digits);
            out.resize(out.len() + point - digits.len(), b'0');
        } else {
            out.extend_from_slice(&digits[..point]);
            out.push(b'.');
            out.extend_from_slice(&digits[point..]);
        }
    }
}

fn scientific(digits: &[u8], power: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if power < 0 { b"e-" } else { b"e+" });
    if power.abs() < 10 {
        out.push(b'0');
    }
    super::write_int(i64::from(power.abs()), out);
}
