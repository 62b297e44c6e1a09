//! The binary format: base-10000 digits, weight, sign and display scale (numeric_recv, numeric_send).

use num_bigint::{BigInt, BigUint};
use num_traits::{ToPrimitive, Zero};

use super::{SCALE_MAX, pow10};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::Numeric;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

fn invalid(message: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
}

impl Numeric {
    /// Reads the binary format.
    pub fn from_binary(bytes: &[u8]) -> SqlResult<Self> {
        let word = |index: usize| Some(u16::from_be_bytes([*bytes.get(index * 2)?, *bytes.get(index * 2 + 1)?]));
        let short = || SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message");
        let (Some(count), Some(weight), Some(sign), Some(scale)) = (word(0), word(1), word(2), word(3)) else {
            return Err(short());
        };
        if bytes.len() < 8 + usize::from(count) * 2 {
            return Err(short());
        }
        if bytes.len() > 8 + usize::from(count) * 2 {
            return Err(invalid("incorrect binary data format"));
        }
        match sign {
            0 | NEGATIVE => {}
            NAN => return Ok(Numeric::NaN),
            POSITIVE_INFINITY => return Ok(Numeric::Infinity),
            NEGATIVE_INFINITY => return Ok(Numeric::NegInfinity),
            _ => return Err(invalid("invalid sign in external \"numeric\" value")),
        }
        if u32::from(scale) > SCALE_MAX {
            return Err(invalid("invalid scale in external \"numeric\" value"));
        }
        let mut decimal = Vec::with_capacity(usize::from(count) * 4);
        for index in 0..usize::from(count) {
            let digit = word(4 + index).expect("the length was checked");
            if digit >= 10_000 {
                return Err(invalid("invalid digit in external \"numeric\" value"));
            }
            decimal.extend([digit / 1000, digit / 100 % 10, digit / 10 % 10, digit % 10].map(|d| d as u8));
        }
        let magnitude = BigUint::from_radix_be(&decimal, 10).unwrap_or_default();
        // The value is magnitude · 10000^(weight + 1 − count); bring it to the stated scale, cutting as numeric_recv does.
        let exponent = (i64::from(weight.cast_signed()) + 1 - i64::from(count)) * 4 + i64::from(scale);
        let mut unscaled = BigInt::from(magnitude);
        if !unscaled.is_zero() {
            let power = pow10(u32::try_from(exponent.unsigned_abs()).expect("four times two 16-bit numbers"));
            unscaled = if exponent >= 0 { unscaled * power } else { unscaled / power };
        }
        Self::checked(if sign == NEGATIVE { -unscaled } else { unscaled }, u32::from(scale))
    }

    /// Appends the binary format.
    pub fn write_binary(&self, out: &mut Vec<u8>) {
        let header = |out: &mut Vec<u8>, words: [u16; 4]| out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        let (unscaled, scale) = match self {
            Numeric::NaN => return header(out, [0, 0, NAN, 0]),
            // PostgreSQL 15 sends this scale with infinities; readers ignore it.
            Numeric::Infinity => return header(out, [0, 0, POSITIVE_INFINITY, 0x20]),
            Numeric::NegInfinity => return header(out, [0, 0, NEGATIVE_INFINITY, 0x20]),
            Numeric::Finite { unscaled, scale } => (unscaled, *scale),
        };
        let scale_word = u16::try_from(scale).expect("at most 16383");
        if unscaled.is_zero() {
            return header(out, [0, 0, 0, scale_word]);
        }
        // Digits after the point fill groups of four.
        let fraction_groups = scale.div_ceil(4);
        let padded = unscaled.magnitude() * pow10(fraction_groups * 4 - scale).magnitude();
        let mut digits = base10000_digits(padded);
        let weight = i64::try_from(digits.len()).expect("below 40000") - 1 - i64::from(fraction_groups);
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let sign = if unscaled.sign() == num_bigint::Sign::Minus { NEGATIVE } else { 0 };
        let count = u16::try_from(digits.len()).expect("below 40000");
        let weight = i16::try_from(weight).expect("checked when the value was made").cast_unsigned();
        header(out, [count, weight, sign, scale_word]);
        out.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
    }
}

/// Most significant first, no leading zero.
fn base10000_digits(magnitude: BigUint) -> Vec<u16> {
    if let Some(mut rest) = magnitude.to_u128() {
        let mut digits = Vec::with_capacity(10);
        while rest > 0 {
            digits.push((rest % 10_000) as u16);
            rest /= 10_000;
        }
        digits.reverse();
        return digits;
    }
    let decimal = magnitude.to_radix_be(10);
    let mut digits = Vec::with_capacity(decimal.len() / 4 + 1);
    let lead = decimal.len() % 4;
    let value = |group: &[u8]| group.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(*digit));
    if lead > 0 {
        digits.push(value(&decimal[..lead]));
    }
    digits.extend(decimal[lead..].chunks(4).map(value));
    digits
}
