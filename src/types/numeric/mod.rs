//! `numeric`: decimals of up to 131072 digits before and 16383 after the point (numeric.c).
//!
//! A finite value is an integer and a display scale. The scale of a result follows PostgreSQL's rules, since clients see it:
//! sums keep the larger scale, products add the scales, quotients have at least 16 significant digits.

mod arith;
mod binary;
mod convert;
mod math;
mod parse;

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{Signed, ToPrimitive, Zero};

use super::Numeric;
use crate::error::{SqlError, SqlResult, SqlState};

/// Digits before the point (NUMERIC_WEIGHT_MAX in decimal digits).
const INTEGER_DIGITS_MAX: u64 = 131_072;
/// Digits after the point that a value may have (NUMERIC_DSCALE_MAX).
const SCALE_MAX: u32 = 16_383;
/// Digits after the point that inexact operations produce at most (NUMERIC_MAX_DISPLAY_SCALE).
const DISPLAY_SCALE_MAX: i64 = 1000;
/// Significant digits that inexact operations produce at least (NUMERIC_MIN_SIG_DIGITS).
const SIGNIFICANT_DIGITS_MIN: i64 = 16;

fn overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

/// 10^n.
fn pow10(n: u32) -> BigInt {
    match 10_u64.checked_pow(n) {
        Some(small) => BigInt::from(small),
        None => BigInt::from(10_u32).pow(n),
    }
}

/// `value / divisor` rounded half away from zero; `divisor` is positive.
fn div_round(value: &BigInt, divisor: &BigInt) -> BigInt {
    let (quotient, remainder) = num_integer::Integer::div_rem(value, divisor);
    if (remainder.abs() << 1_u32) < *divisor {
        return quotient;
    }
    if value.is_negative() { quotient - 1 } else { quotient + 1 }
}

/// How many decimal digits a magnitude has; 0 for zero.
fn decimal_digits(magnitude: &BigUint) -> u64 {
    if let Some(small) = magnitude.to_u128() {
        return small.checked_ilog10().map_or(0, |log| u64::from(log) + 1);
    }
    // log10(2) · bits is at most one too few; compare with the power of ten in between.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "bits < 2^24")]
    let estimate = ((magnitude.bits() - 1) as f64 * std::f64::consts::LOG10_2) as u32;
    let at_least = BigUint::from(10_u32).pow(estimate + 1);
    u64::from(estimate) + 1 + u64::from(*magnitude >= at_least)
}

impl Numeric {
    /// An exact decimal.
    pub fn new(unscaled: impl Into<BigInt>, scale: u32) -> Self {
        Numeric::Finite { unscaled: unscaled.into(), scale }
    }

    /// Zero.
    pub fn zero() -> Self {
        Self::new(0, 0)
    }

    /// Heap bytes of the digits.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Numeric::Finite { unscaled, .. } => usize::try_from(unscaled.bits().div_ceil(64) * 8).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// Whether this is zero, at any scale.
    pub fn is_zero(&self) -> bool {
        matches!(self, Numeric::Finite { unscaled, .. } if unscaled.is_zero())
    }

    /// −1, 0 or 1; `None` for NaN.
    pub fn signum(&self) -> Option<i32> {
        match self {
            Numeric::NaN => None,
            Numeric::Infinity => Some(1),
            Numeric::NegInfinity => Some(-1),
            Numeric::Finite { unscaled, .. } => Some(match unscaled.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            }),
        }
    }

    /// The display scale (`scale()`); `None` for NaN and infinities.
    pub fn scale(&self) -> Option<u32> {
        match self {
            Numeric::Finite { scale, .. } => Some(*scale),
            _ => None,
        }
    }

    /// The same value without trailing zeros after the point (`trim_scale`).
    #[must_use]
    pub fn trim_scale(&self) -> Self {
        let Numeric::Finite { unscaled, scale } = self else { return self.clone() };
        if unscaled.is_zero() {
            return Self::zero();
        }
        let (mut unscaled, mut scale) = (unscaled.clone(), *scale);
        while scale > 0 {
            let (quotient, remainder) = num_integer::Integer::div_rem(&unscaled, &BigInt::from(10));
            if !remainder.is_zero() {
                break;
            }
            (unscaled, scale) = (quotient, scale - 1);
        }
        Self::new(unscaled, scale)
    }

    /// Refuses what has more digits than `numeric` may have; rounds away digits beyond the largest scale.
    fn checked(unscaled: BigInt, scale: u32) -> SqlResult<Self> {
        let value = if scale > SCALE_MAX {
            Self::new(div_round(&unscaled, &pow10(scale - SCALE_MAX)), SCALE_MAX)
        } else {
            Self::new(unscaled, scale)
        };
        let Numeric::Finite { unscaled, scale } = &value else { return Ok(value) };
        // Cheap first: 2^3 < 10, so fewer than 3 bits a digit cannot overflow.
        if unscaled.bits() / 3 > INTEGER_DIGITS_MAX
            && decimal_digits(unscaled.magnitude()) > INTEGER_DIGITS_MAX + u64::from(*scale)
        {
            return Err(overflow());
        }
        Ok(value)
    }

    /// The exponent e of the leading digit (|value| is in [10^e, 10^(e+1))) with the magnitude's decimal digit count; `None`
    /// for zero and for what is not finite.
    fn leading_exponent(&self) -> Option<i64> {
        match self {
            Numeric::Finite { unscaled, scale } if !unscaled.is_zero() => {
                let digits = i64::try_from(decimal_digits(unscaled.magnitude())).expect("at most 150000 digits");
                Some(digits - 1 - i64::from(*scale))
            }
            _ => None,
        }
    }

    /// The leading digit in PostgreSQL's base 10000 and its weight (the power of 10000), zero for zero.
    fn leading_base10000(&self) -> (i64, i64) {
        let (Numeric::Finite { unscaled, scale }, Some(exponent)) = (self, self.leading_exponent()) else { return (0, 0) };
        let weight = exponent.div_euclid(4);
        // The digit is the integer part of |value| / 10000^weight.
        let shift = weight * 4 + i64::from(*scale);
        let magnitude = unscaled.magnitude();
        let digit = match u32::try_from(shift) {
            Ok(drop) => magnitude / pow10(drop).magnitude(),
            Err(_) => magnitude * pow10(u32::try_from(-shift).expect("not negative")).magnitude(),
        };
        (digit.to_i64().expect("below 10000"), weight)
    }
}

/// Numbers in order, infinities around them, NaN above all. Scales do not matter.
impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| match value {
            Numeric::NegInfinity => 0,
            Numeric::Finite { .. } => 1,
            Numeric::Infinity => 2,
            Numeric::NaN => 3,
        };
        let (Numeric::Finite { unscaled: a, scale: sa }, Numeric::Finite { unscaled: b, scale: sb }) = (self, other) else {
            return rank(self).cmp(&rank(other));
        };
        if sa == sb {
            return a.cmp(b);
        }
        if a.sign() != b.sign() {
            return a.sign().cmp(&b.sign());
        }
        if sa < sb { (a * pow10(sb - sa)).cmp(b) } else { a.cmp(&(b * pow10(sa - sb))) }
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// 1.0 equals 1.00.
impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}
