//! Addition to division, rounding and modifiers.

use num_bigint::BigInt;
use num_traits::{Signed, Zero};

use super::{DISPLAY_SCALE_MAX, SIGNIFICANT_DIGITS_MIN, decimal_digits, div_round, overflow, pow10};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::Numeric::{self, Finite, Infinity, NaN, NegInfinity};

fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

fn infinity(sign: i32) -> Numeric {
    match sign {
        0 => NaN,
        1.. => Infinity,
        _ => NegInfinity,
    }
}

impl Numeric {
    /// Both values' digits at the larger of their scales.
    fn aligned(a: (&BigInt, u32), b: (&BigInt, u32), combine: impl Fn(&BigInt, &BigInt) -> BigInt) -> (BigInt, u32) {
        let scale = a.1.max(b.1);
        let result = match (scale - a.1, scale - b.1) {
            (0, 0) => combine(a.0, b.0),
            (0, up) => combine(a.0, &(b.0 * pow10(up))),
            (up, _) => combine(&(a.0 * pow10(up)), b.0),
        };
        (result, scale)
    }

    /// Sum.
    pub fn add(&self, other: &Self) -> SqlResult<Self> {
        match (self, other) {
            (Finite { unscaled: a, scale: sa }, Finite { unscaled: b, scale: sb }) => {
                let (sum, scale) = Self::aligned((a, *sa), (b, *sb), |a, b| a + b);
                Self::checked(sum, scale)
            }
            (NaN, _) | (_, NaN) | (Infinity, NegInfinity) | (NegInfinity, Infinity) => Ok(NaN),
            (Infinity, _) | (_, Infinity) => Ok(Infinity),
            (NegInfinity, _) | (_, NegInfinity) => Ok(NegInfinity),
        }
    }

    /// Difference.
    pub fn sub(&self, other: &Self) -> SqlResult<Self> {
        self.add(&other.neg())
    }

    /// Product.
    pub fn mul(&self, other: &Self) -> SqlResult<Self> {
        match (self, other) {
            (Finite { unscaled: a, scale: sa }, Finite { unscaled: b, scale: sb }) => Self::checked(a * b, sa + sb),
            _ => Ok(match (self.signum(), other.signum()) {
                (Some(a), Some(b)) => infinity(a * b),
                _ => NaN,
            }),
        }
    }

    /// Quotient, at the scale PostgreSQL chooses (numeric.c, select_div_scale). 22012 for a zero divisor.
    pub fn div(&self, other: &Self) -> SqlResult<Self> {
        let (Finite { unscaled: a, scale: sa }, Finite { unscaled: b, scale: sb }) = (self, other) else {
            return self.div_special(other);
        };
        if b.is_zero() {
            return Err(division_by_zero());
        }
        let scale = self.div_scale(other);
        Self::div_to_scale((a, *sa), (b, *sb), scale)
    }

    fn div_special(&self, other: &Self) -> SqlResult<Self> {
        Ok(match (self.signum(), other.signum()) {
            (None, _) | (_, None) => NaN,
            (Some(_), Some(0)) => return Err(division_by_zero()),
            (Some(_), Some(_)) if matches!(self, Finite { .. }) => Self::zero(),
            (Some(_), Some(_)) if !matches!(other, Finite { .. }) => NaN,
            (Some(a), Some(b)) => infinity(a * b),
        })
    }

    /// At least 16 significant digits and at least both scales, counted in base-10000 digits as PostgreSQL stores them.
    fn div_scale(&self, other: &Self) -> u32 {
        let ((digit1, weight1), (digit2, weight2)) = (self.leading_base10000(), other.leading_base10000());
        let quotient_weight = weight1 - weight2 - i64::from(digit1 <= digit2);
        let scales = self.scale().max(other.scale()).unwrap_or(0);
        let scale = (SIGNIFICANT_DIGITS_MIN - quotient_weight * 4).max(i64::from(scales)).clamp(0, DISPLAY_SCALE_MAX);
        u32::try_from(scale).expect("clamped")
    }

    pub(super) fn div_to_scale(a: (&BigInt, u32), b: (&BigInt, u32), scale: u32) -> SqlResult<Self> {
        let shift = i64::from(scale) + i64::from(b.1) - i64::from(a.1);
        let divisor = b.0.abs();
        let dividend = if b.0.is_negative() { -a.0 } else { a.0.clone() };
        let quotient = match u32::try_from(shift) {
            Ok(up) => div_round(&(dividend * pow10(up)), &divisor),
            Err(_) => div_round(&dividend, &(divisor * pow10(u32::try_from(-shift).map_err(|_| overflow())?))),
        };
        Self::checked(quotient, scale)
    }

    /// Integer quotient, truncated (`div`). 22012 for a zero divisor.
    pub fn div_trunc(&self, other: &Self) -> SqlResult<Self> {
        let (Finite { unscaled: a, scale: sa }, Finite { unscaled: b, scale: sb }) = (self, other) else {
            return self.div_special(other);
        };
        if b.is_zero() {
            return Err(division_by_zero());
        }
        Self::checked(Self::aligned((a, *sa), (b, *sb), |a, b| a / b).0, 0)
    }

    /// Remainder with the dividend's sign (`%`, `mod`). 22012 for a zero divisor.
    pub fn rem(&self, other: &Self) -> SqlResult<Self> {
        match (self, other) {
            (Finite { unscaled: a, scale: sa }, Finite { unscaled: b, scale: sb }) => {
                if b.is_zero() {
                    return Err(division_by_zero());
                }
                let (rest, scale) = Self::aligned((a, *sa), (b, *sb), |a, b| a % b);
                Self::checked(rest, scale)
            }
            (NaN, _) | (_, NaN) => Ok(NaN),
            (_, Finite { unscaled, .. }) if unscaled.is_zero() => Err(division_by_zero()),
            (Finite { .. }, _) => Ok(self.clone()),
            _ => Ok(NaN),
        }
    }

    /// Negation.
    #[must_use]
    pub fn neg(&self) -> Self {
        match self {
            NaN => NaN,
            Infinity => NegInfinity,
            NegInfinity => Infinity,
            Finite { unscaled, scale } => Self::new(-unscaled, *scale),
        }
    }

    /// Absolute value.
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.signum() == Some(-1) { self.neg() } else { self.clone() }
    }

    /// Rounds half away from zero to `scale` digits after the point; a negative scale rounds to tens, hundreds, …
    pub fn round(&self, scale: i32) -> SqlResult<Self> {
        self.rescale(scale, div_round)
    }

    /// Cuts to `scale` digits after the point; a negative scale zeroes units, tens, …
    pub fn trunc(&self, scale: i32) -> SqlResult<Self> {
        self.rescale(scale, |value, divisor| value / divisor)
    }

    fn rescale(&self, scale: i32, divide: impl Fn(&BigInt, &BigInt) -> BigInt) -> SqlResult<Self> {
        let Finite { unscaled, scale: from } = self else { return Ok(self.clone()) };
        const LIMIT: i32 = 2000;
        let scale = scale.clamp(-LIMIT, LIMIT);
        let from_signed = i32::try_from(*from).expect("at most 16383");
        if scale >= from_signed {
            let up = u32::try_from(scale - from_signed).expect("not negative");
            return Self::checked(unscaled * pow10(up), *from + up);
        }
        let cut = divide(unscaled, &pow10(u32::try_from(from_signed - scale).expect("positive")));
        match u32::try_from(scale) {
            Ok(scale) => Self::checked(cut, scale),
            Err(_) => Self::checked(cut * pow10(scale.unsigned_abs()), 0),
        }
    }

    /// The smallest integer not below.
    pub fn ceil(&self) -> SqlResult<Self> {
        self.rescale(0, num_integer::Integer::div_ceil)
    }

    /// The largest integer not above.
    pub fn floor(&self) -> SqlResult<Self> {
        self.rescale(0, num_integer::Integer::div_floor)
    }

    /// Applies `numeric(precision, scale)`: rounds, then refuses with 22003 what has too many digits before the point.
    pub fn apply_typmod(&self, precision: u32, scale: i32) -> SqlResult<Self> {
        let field_overflow =
            |detail: String| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(detail);
        match self {
            NaN => return Ok(NaN),
            Infinity | NegInfinity => {
                return Err(field_overflow(format!(
                    "A field with precision {precision}, scale {scale} cannot hold an infinite value."
                )));
            }
            Finite { .. } => {}
        }
        let rounded = self.round(scale)?;
        let digits_max = i64::from(precision) - i64::from(scale);
        if rounded.leading_exponent().is_some_and(|exponent| exponent >= digits_max) {
            let bound = if digits_max == 0 { "1".to_owned() } else { format!("10^{digits_max}") };
            return Err(field_overflow(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
            )));
        }
        Ok(rounded)
    }

    /// Significant decimal digits of the unscaled value, for statistics and limits.
    pub fn digit_count(&self) -> u64 {
        match self {
            Finite { unscaled, .. } => decimal_digits(unscaled.magnitude()),
            _ => 0,
        }
    }
}
