//! Text of numerics.

use num_bigint::BigInt;
use num_traits::{ToPrimitive, Zero};

use super::{INTEGER_DIGITS_MAX, SCALE_MAX, overflow, pow10};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::Numeric;

fn syntax(text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type numeric: \"{text}\""))
}

impl Numeric {
    /// Reads PostgreSQL's text: blanks around, a sign, digits with at most one point, an exponent; or NaN, inf, infinity in any
    /// case. 22P02 for anything else, 22003 for too many digits.
    pub fn parse(text: &str) -> SqlResult<Self> {
        let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let (negative, rest) = match trimmed.as_bytes().first() {
            Some(b'-') => (true, &trimmed[1..]),
            Some(b'+') => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        if !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return match rest.to_ascii_lowercase().as_str() {
                "nan" if trimmed.len() == rest.len() => Ok(Numeric::NaN),
                "inf" | "infinity" if negative => Ok(Numeric::NegInfinity),
                "inf" | "infinity" => Ok(Numeric::Infinity),
                _ => Err(syntax(text)),
            };
        }
        let (mantissa, exponent) = split_exponent(rest).ok_or_else(|| syntax(text))?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(syntax(text));
        }
        finite(negative, whole, fraction, exponent)
    }

    /// Appends PostgreSQL's text.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (unscaled, scale) = match self {
            Numeric::NaN => return out.extend_from_slice(b"NaN"),
            Numeric::Infinity => return out.extend_from_slice(b"Infinity"),
            Numeric::NegInfinity => return out.extend_from_slice(b"-Infinity"),
            Numeric::Finite { unscaled, scale } => (unscaled, *scale as usize),
        };
        if unscaled.sign() == num_bigint::Sign::Minus {
            out.push(b'-');
        }
        let mut buffer = itoa::Buffer::new();
        let big;
        let digits = match unscaled.magnitude().to_u128() {
            Some(small) => buffer.format(small).as_bytes(),
            None => {
                big = unscaled.magnitude().to_str_radix(10).into_bytes();
                &big
            }
        };
        if scale == 0 {
            return out.extend_from_slice(digits);
        }
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        } else {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + scale - digits.len(), b'0');
            out.extend_from_slice(digits);
        }
    }
}

impl std::fmt::Display for Numeric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(std::str::from_utf8(&out).expect("digits, a point and a sign are ASCII"))
    }
}

/// The mantissa and the exponent. An exponent too large for its type is capped, since either way it is out of range.
fn split_exponent(text: &str) -> Option<(&str, i64)> {
    let Some(at) = text.find(['e', 'E']) else { return Some((text, 0)) };
    let (mantissa, exponent) = (&text[..at], &text[at + 1..]);
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    const CAP: i64 = i32::MAX as i64 / 2;
    let magnitude = digits.parse::<i64>().unwrap_or(CAP).min(CAP);
    Some((mantissa, if exponent.starts_with('-') { -magnitude } else { magnitude }))
}

fn finite(negative: bool, whole: &str, fraction: &str, exponent: i64) -> SqlResult<Numeric> {
    if exponent.abs() >= i64::from(i32::MAX) / 2 {
        return Err(overflow());
    }
    let mut digits = String::with_capacity(whole.len() + fraction.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    let significant = digits.trim_start_matches('0');
    let scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_sub(exponent);
    let length = i64::try_from(significant.len()).unwrap_or(i64::MAX);
    if length > 0 && length.saturating_sub(scale) > i64::try_from(INTEGER_DIGITS_MAX).expect("small") {
        return Err(overflow());
    }
    let magnitude = match significant.parse::<u128>() {
        Ok(small) => BigInt::from(small),
        Err(_) if significant.is_empty() => BigInt::zero(),
        Err(_) => BigInt::parse_bytes(significant.as_bytes(), 10).expect("only digits"),
    };
    let unscaled = if negative { -magnitude } else { magnitude };
    match u32::try_from(scale) {
        Ok(scale) if scale <= SCALE_MAX => Numeric::checked(unscaled, scale),
        Ok(_) => Err(overflow()),
        Err(_) if unscaled.is_zero() => Ok(Numeric::zero()),
        Err(_) => Numeric::checked(unscaled * pow10(u32::try_from(-scale).map_err(|_| overflow())?), 0),
    }
}
