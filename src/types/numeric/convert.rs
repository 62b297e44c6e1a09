//! Numerics to and from integers and floats.

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::{div_round, pow10};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::Numeric::{self, Finite, Infinity, NaN, NegInfinity};

impl From<i64> for Numeric {
    fn from(value: i64) -> Self {
        Numeric::new(value, 0)
    }
}

impl From<i128> for Numeric {
    fn from(value: i128) -> Self {
        Numeric::new(value, 0)
    }
}

impl Numeric {
    /// The nearest integer, half away from zero, if it fits.
    pub fn to_i64(&self) -> Option<i64> {
        match self {
            Finite { unscaled, scale: 0 } => unscaled.to_i64(),
            Finite { unscaled, scale } => div_round(unscaled, &pow10(*scale)).to_i64(),
            _ => None,
        }
    }

    /// The value as an integer if it is one and fits.
    pub fn to_i64_exact(&self) -> Option<i64> {
        match self {
            Finite { unscaled, scale: 0 } => unscaled.to_i64(),
            Finite { unscaled, scale } => {
                let (whole, rest) = num_integer::Integer::div_rem(unscaled, &pow10(*scale));
                (rest == BigInt::ZERO).then(|| whole.to_i64()).flatten()
            }
            _ => None,
        }
    }

    /// [`Numeric::to_i64`] as the casts do it, with 0A000 and 22003 naming `type_name`.
    pub fn to_integer(&self, type_name: &str) -> SqlResult<i64> {
        match self {
            NaN => Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert NaN to {type_name}"))),
            Infinity | NegInfinity => {
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert infinity to {type_name}")))
            }
            Finite { .. } => self
                .to_i64()
                .ok_or_else(|| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))),
        }
    }

    /// The nearest double; infinite beyond the range.
    pub fn to_f64(&self) -> f64 {
        match self {
            NaN => f64::NAN,
            Infinity => f64::INFINITY,
            NegInfinity => f64::NEG_INFINITY,
            Finite { unscaled, scale } => {
                // Exact while both parts are exact and the division is the only rounding.
                const EXACT: i64 = 1 << 53;
                if let Some(small) = unscaled.to_i64()
                    && small.abs() <= EXACT
                    && *scale <= 22
                {
                    #[expect(clippy::cast_precision_loss, reason = "at most 2^53")]
                    return small as f64 / 10_f64.powi(i32::try_from(*scale).expect("at most 22"));
                }
                self.to_string().parse().expect("a numeric's text is a float's text")
            }
        }
    }

    /// The decimal nearest to a double at 15 significant digits, as the cast from double precision gives it.
    pub fn from_f64(value: f64) -> Self {
        Self::from_float(value, 15)
    }

    /// The decimal nearest to a float at 6 significant digits, as the cast from real gives it.
    pub fn from_f32(value: f32) -> Self {
        Self::from_float(f64::from(value), 6)
    }

    fn from_float(value: f64, digits: usize) -> Self {
        if value.is_nan() {
            return NaN;
        }
        if value.is_infinite() {
            return if value > 0.0 { Infinity } else { NegInfinity };
        }
        // C's %.*g, without its trailing zeros.
        let text = format!("{value:.*e}", digits - 1);
        let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
        let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
        Numeric::parse(&format!("{mantissa}e{exponent}")).expect("a finite double is within numeric's range")
    }
}
