//! Float operators (float.c): a finite result that overflows or vanishes is 22003.

use super::{BinaryOp, division_by_zero};
use crate::error::{SqlError, SqlResult, SqlState};

fn range(what: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {what}"))
}

macro_rules! float_operators {
    ($(#[$doc:meta])* $name:ident, $float:ty) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(op: BinaryOp, a: $float, b: $float) -> SqlResult<$float> {
            let (value, may_vanish) = match op {
                BinaryOp::Add => (a + b, false),
                BinaryOp::Sub => (a - b, false),
                BinaryOp::Mul => (a * b, a != 0.0 && b != 0.0),
                BinaryOp::Div if b == 0.0 && !a.is_nan() => return Err(division_by_zero()),
                BinaryOp::Div => (a / b, a != 0.0 && !b.is_infinite()),
                BinaryOp::Pow => return power(f64::from(a), f64::from(b)).map(|value| value as $float),
                _ => return Err(SqlError::internal(format!("no operator {op:?} for floats"))),
            };
            if value.is_infinite() && !a.is_infinite() && !b.is_infinite() {
                return Err(range("overflow"));
            }
            if value == 0.0 && may_vanish {
                return Err(range("underflow"));
            }
            Ok(value)
        }
    };
}

float_operators!(
    /// real by real.
    real, f32
);
float_operators!(
    /// double precision by double precision.
    double, f64
);

/// `sqrt`. 2201F for a negative value.
pub fn sqrt(value: f64) -> SqlResult<f64> {
    if value < 0.0 {
        return Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "cannot take square root of a negative number"));
    }
    Ok(value.sqrt())
}

/// `ln` and, with base 10, `log`. 2201E for zero and below.
pub fn logarithm(value: f64, base_ten: bool) -> SqlResult<f64> {
    let refuse = |what| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, format!("cannot take logarithm of {what}")));
    if value == 0.0 {
        return refuse("zero");
    }
    if value < 0.0 {
        return refuse("a negative number");
    }
    Ok(if base_ten { value.log10() } else { value.ln() })
}

/// `exp`
pub fn exp(value: f64) -> SqlResult<f64> {
    let result = value.exp();
    if result.is_infinite() && value.is_finite() {
        return Err(range("overflow"));
    }
    if result == 0.0 && value.is_finite() {
        return Err(range("underflow"));
    }
    Ok(result)
}

/// `power`, `^` (dpow). 2201F where the result is undefined or complex.
pub fn power(a: f64, b: f64) -> SqlResult<f64> {
    let undefined = |message| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, message));
    if a.is_nan() || b.is_nan() {
        return Ok(if b == 0.0 || a == 1.0 { 1.0 } else { f64::NAN });
    }
    if a == 0.0 && b < 0.0 {
        return undefined("zero raised to a negative power is undefined");
    }
    if a < 0.0 && b.floor() != b {
        return undefined("a negative number raised to a non-integer power yields a complex result");
    }
    let result = a.powf(b);
    if a.is_finite() && b.is_finite() {
        if result.is_infinite() {
            return Err(range("overflow"));
        }
        if result == 0.0 && a != 0.0 {
            return Err(range("underflow"));
        }
    }
    Ok(result)
}
