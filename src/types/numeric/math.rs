//! Square root, logarithms, exponential and power, on fixed-point integers with guard digits.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::{DISPLAY_SCALE_MAX, SIGNIFICANT_DIGITS_MIN, div_round, overflow, pow10};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::Numeric::{self, Finite, Infinity, NaN, NegInfinity};

/// log10(e)
const LOG10_E: f64 = std::f64::consts::LOG10_E;

fn clamp_scale(scale: i64, at_least: u32) -> u32 {
    u32::try_from(scale.max(i64::from(at_least)).clamp(0, DISPLAY_SCALE_MAX)).expect("clamped")
}

impl Numeric {
    /// Square root. 2201F for a negative value.
    pub fn sqrt(&self) -> SqlResult<Self> {
        let (unscaled, from) = match self {
            Finite { unscaled, scale } => (unscaled, *scale),
            NegInfinity => return Err(negative_root()),
            NaN | Infinity => return Ok(self.clone()),
        };
        if unscaled.is_negative() {
            return Err(negative_root());
        }
        let weight = self.leading_base10000().1;
        // Digits before the point of the result (numeric_sqrt).
        let digits = if weight >= 0 { weight * 4 / 2 + 1 } else { 1 - (1 - weight * 4) / 2 };
        let scale = clamp_scale(SIGNIFICANT_DIGITS_MIN - digits, from);
        // One digit more than wanted, then round; the cut tail of an irrational root cannot be a tie.
        let shift = 2 * (scale + 1) - from;
        let root = (unscaled * pow10(shift)).sqrt();
        Self::checked(div_round(&root, &BigInt::from(10)), scale)
    }

    /// e to this power.
    pub fn exp(&self) -> SqlResult<Self> {
        let from = match self {
            Finite { scale, .. } => *scale,
            NegInfinity => return Ok(Self::zero()),
            NaN | Infinity => return Ok(self.clone()),
        };
        let weight = (self.to_f64() * LOG10_E).clamp(-2000.0, 2000.0);
        let scale = clamp_scale(SIGNIFICANT_DIGITS_MIN - weight.trunc() as i64, from);
        self.exp_to_scale(scale)
    }

    fn exp_to_scale(&self, scale: u32) -> SqlResult<Self> {
        let estimate = self.to_f64();
        // exp(±6000) has about 2600 digits on either side of the point (exp_var).
        if estimate.abs() >= 6000.0 {
            return if estimate > 0.0 { Err(overflow()) } else { Ok(Self::new(0, scale)) };
        }
        let whole_digits = (estimate * LOG10_E).max(0.0) as u32;
        let guard = scale + whole_digits + 20;
        let value = exp_fixed(&self.fixed(guard), guard);
        Self::checked(div_round(&value, &pow10(guard - scale)), scale)
    }

    /// Natural logarithm. 2201E for zero and below.
    pub fn ln(&self) -> SqlResult<Self> {
        let from = self.check_logarithm()?;
        let Some(from) = from else { return Ok(self.clone()) };
        self.ln_to_scale(clamp_scale(SIGNIFICANT_DIGITS_MIN - self.ln_weight(), from))
    }

    /// Logarithm to a base (`log(base, x)`). 2201E for zero and below, 22012 for base 1.
    pub fn log(&self, base: &Self) -> SqlResult<Self> {
        let (from, base_from) = (self.check_logarithm()?, base.check_logarithm()?);
        let (Some(from), Some(base_from)) = (from, base_from) else {
            return match (self, base) {
                (NaN, _) | (_, NaN) | (Infinity, Infinity) => Ok(NaN),
                (Infinity, _) => Ok(Infinity),
                _ => Ok(Self::zero()),
            };
        };
        let (weight, base_weight) = (self.ln_weight(), base.ln_weight());
        let scale = clamp_scale(SIGNIFICANT_DIGITS_MIN - (weight - base_weight), from.max(base_from));
        let guard = i64::from(scale) + 20 - base_weight.min(0) + weight.max(0);
        let guard = u32::try_from(guard).map_err(|_| overflow())?;
        let (numerator, divisor) = (self.ln_to_scale(guard)?, base.ln_to_scale(guard)?);
        match (&numerator, &divisor) {
            (Finite { .. }, Finite { unscaled, .. }) if unscaled.is_zero() => {
                Err(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"))
            }
            (Finite { unscaled: a, scale: sa }, Finite { unscaled: b, scale: sb }) => {
                Self::div_to_scale((a, *sa), (b, *sb), scale)
            }
            _ => unreachable!("logarithms of finite values are finite"),
        }
    }

    /// The scale of a finite positive value; `None` for NaN and infinity, whose logarithm is itself.
    fn check_logarithm(&self) -> SqlResult<Option<u32>> {
        let refuse = |what| Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, format!("cannot take logarithm of {what}")));
        match (self, self.signum()) {
            (_, Some(-1)) => refuse("a negative number"),
            (_, Some(0)) => refuse("zero"),
            (Finite { scale, .. }, _) => Ok(Some(*scale)),
            _ => Ok(None),
        }
    }

    /// About the decimal exponent of the logarithm (numeric.c, estimate_ln_dweight).
    fn ln_weight(&self) -> i64 {
        let value = self.to_f64();
        if (0.9..=1.1).contains(&value) {
            let Ok(distance) = self.sub(&Self::new(1, 0)) else { return 0 };
            return distance.leading_exponent().unwrap_or(0);
        }
        let logarithm = match self.leading_exponent() {
            // Beyond a double's range the exponent alone is near enough.
            #[expect(clippy::cast_precision_loss, reason = "at most six digits")]
            Some(exponent) if !(value.is_normal() && value.is_finite()) => exponent as f64 * std::f64::consts::LN_10,
            _ => value.ln(),
        };
        logarithm.abs().log10() as i64
    }

    fn ln_to_scale(&self, scale: u32) -> SqlResult<Self> {
        let guard = scale + 20;
        // x = m · 10^e with m in [1, 10): ln x = ln m + e · ln 10.
        let exponent = self.leading_exponent().expect("positive and finite");
        let Finite { unscaled, scale: from } = self else { unreachable!("finite") };
        let shift = i64::from(guard) - i64::from(*from) - exponent;
        let power = pow10(u32::try_from(shift.unsigned_abs()).map_err(|_| overflow())?);
        let mantissa = if shift >= 0 { unscaled * power } else { unscaled / power };
        let one = pow10(guard);
        let mut value = ln_fixed(&mantissa, &one);
        if exponent != 0 {
            value += ln_fixed(&(&one * 10), &one) * exponent;
        }
        Self::checked(div_round(&value, &pow10(guard - scale)), scale)
    }

    /// The value times 10^guard.
    fn fixed(&self, guard: u32) -> BigInt {
        let Finite { unscaled, scale } = self else { unreachable!("callers have dealt with NaN and infinities") };
        if *scale <= guard { unscaled * pow10(guard - scale) } else { div_round(unscaled, &pow10(scale - guard)) }
    }

    /// This to the power of `exponent` (`^`, `power`). 2201F for a root of a negative value and for 0 to a negative power.
    pub fn power(&self, exponent: &Self) -> SqlResult<Self> {
        let (Finite { scale: from, .. }, Finite { scale: exponent_from, .. }) = (self, exponent) else {
            return power_special(self, exponent);
        };
        if self.is_zero() && exponent.signum() == Some(-1) {
            return Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "zero raised to a negative power is undefined"));
        }
        let whole = exponent.trim_scale().scale() == Some(0);
        if self.signum() == Some(-1) && !whole {
            return Err(complex_power());
        }
        if let Some(integer) = exponent.to_i64_exact().and_then(|value| i32::try_from(value).ok()) {
            return self.power_integer(integer);
        }
        if self.is_zero() {
            return Ok(Self::new(0, 16));
        }
        let magnitude = self.abs();
        let estimate = magnitude.to_f64().ln() * exponent.to_f64();
        if estimate.abs() > 2000.0 * 3.01 {
            return if estimate > 0.0 { Err(overflow()) } else { Ok(Self::new(0, 1000)) };
        }
        let weight = (estimate * LOG10_E) as i64;
        let scale = clamp_scale(SIGNIFICANT_DIGITS_MIN - weight, *from.max(exponent_from));
        let guard = scale + weight.max(0) as u32 + 20;
        let logarithm = magnitude.ln_to_scale(guard)?.mul(exponent)?;
        let result = logarithm.exp_to_scale(scale)?;
        let even = exponent.rem(&Self::new(2, 0))?.is_zero();
        Ok(if self.signum() == Some(-1) && !even { result.neg() } else { result })
    }

    /// An integer power (power_var_int).
    fn power_integer(&self, exponent: i32) -> SqlResult<Self> {
        let Finite { unscaled, scale: from } = self else { unreachable!("the caller has a finite base") };
        let estimate = match self.leading_exponent() {
            None => 0.0,
            Some(lead) => {
                let digits = i32::try_from(lead).expect("six digits");
                let mantissa = self.abs().mul(&if digits >= 0 {
                    Self::new(1, digits.unsigned_abs())
                } else {
                    Self::new(pow10(digits.unsigned_abs()), 0)
                })?;
                f64::from(exponent) * (mantissa.to_f64().log10() + f64::from(digits))
            }
        };
        if estimate > 131_072.0 {
            return Err(overflow());
        }
        if estimate + 1.0 < -1000.0 {
            return Ok(Self::new(0, 1000));
        }
        let scale = clamp_scale(SIGNIFICANT_DIGITS_MIN, *from);
        if exponent == 0 {
            return Ok(Self::new(pow10(scale), scale));
        }
        if unscaled.is_zero() {
            return Ok(Self::new(0, scale));
        }
        // Multiply at a bounded number of significant digits, so that a huge exponent of a long base stays cheap.
        let digits = u32::try_from(i64::from(scale) + (estimate as i64).max(0) + 30).map_err(|_| overflow())?;
        let positive = self.power_rounded(exponent.unsigned_abs(), digits);
        let (unscaled, from) = positive;
        if exponent > 0 {
            return Self::at_scale(&unscaled, from, scale);
        }
        let shift = i64::from(scale) + from;
        let one = BigInt::one();
        let numerator = if shift >= 0 { pow10(u32::try_from(shift).map_err(|_| overflow())?) } else { one };
        let divisor = if shift >= 0 { unscaled } else { unscaled * pow10(u32::try_from(-shift).map_err(|_| overflow())?) };
        let numerator = if divisor.is_negative() { -numerator } else { numerator };
        Self::checked(div_round(&numerator, &divisor.abs()), scale)
    }

    /// `unscaled · 10^−from` at a scale.
    fn at_scale(unscaled: &BigInt, from: i64, scale: u32) -> SqlResult<Self> {
        let shift = i64::from(scale) - from;
        let power = pow10(u32::try_from(shift.unsigned_abs()).map_err(|_| overflow())?);
        Self::checked(if shift >= 0 { unscaled * power } else { div_round(unscaled, &power) }, scale)
    }

    /// Square and multiply, keeping about `digits` significant digits: (unscaled, scale), the scale possibly negative.
    fn power_rounded(&self, mut exponent: u32, digits: u32) -> (BigInt, i64) {
        let Finite { unscaled, scale } = self else { unreachable!("finite") };
        let cut = |(value, scale): (BigInt, i64)| {
            let excess = super::decimal_digits(value.magnitude()).saturating_sub(u64::from(digits));
            match u32::try_from(excess) {
                Ok(0) | Err(_) => (value, scale),
                Ok(excess) => (div_round(&value, &pow10(excess)), scale - i64::from(excess)),
            }
        };
        let mut result = (BigInt::one(), 0_i64);
        let mut square = (unscaled.clone(), i64::from(*scale));
        loop {
            if exponent & 1 == 1 {
                result = cut((result.0 * &square.0, result.1 + square.1));
            }
            exponent >>= 1;
            if exponent == 0 {
                return result;
            }
            square = cut((&square.0 * &square.0, square.1 * 2));
        }
    }
}

fn negative_root() -> SqlError {
    SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "cannot take square root of a negative number")
}

fn complex_power() -> SqlError {
    SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "a negative number raised to a non-integer power yields a complex result")
}

/// Powers with NaN or infinities, as POSIX pow has them (numeric_power).
fn power_special(base: &Numeric, exponent: &Numeric) -> SqlResult<Numeric> {
    let one = Numeric::new(1, 0);
    if matches!(base, NaN) {
        return Ok(if exponent.is_zero() { one } else { NaN });
    }
    if matches!(exponent, NaN) {
        return Ok(if *base == one { one } else { NaN });
    }
    if *base == one || exponent.is_zero() {
        return Ok(one);
    }
    let (base_sign, exponent_sign) = (base.signum().unwrap_or(0), exponent.signum().unwrap_or(0));
    if matches!(exponent, Finite { .. }) {
        if base_sign < 0 && exponent.trim_scale().scale() != Some(0) {
            return Err(complex_power());
        }
        if exponent_sign < 0 {
            return Ok(Numeric::zero());
        }
        let odd = !exponent.rem(&Numeric::new(2, 0))?.is_zero();
        return Ok(if base_sign < 0 && odd { NegInfinity } else { Infinity });
    }
    if base.is_zero() {
        return if exponent_sign < 0 {
            Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "zero raised to a negative power is undefined"))
        } else {
            Ok(Numeric::zero())
        };
    }
    let magnitude = base.abs();
    Ok(match (magnitude.cmp(&one), exponent_sign > 0) {
        (std::cmp::Ordering::Equal, _) => one,
        (std::cmp::Ordering::Greater, true) | (std::cmp::Ordering::Less, false) => Infinity,
        _ => Numeric::zero(),
    })
}

/// ln of a fixed-point value in [1, 10], by repeated square roots and the series of artanh.
fn ln_fixed(value: &BigInt, one: &BigInt) -> BigInt {
    // Square roots bring the value near 1; each halves the logarithm.
    let mut reduced = value.clone();
    let mut halvings = 0_u32;
    let near = one + one / 10;
    while reduced > near {
        reduced = (&reduced * one).sqrt();
        halvings += 1;
    }
    // ln x = 2 artanh((x − 1) / (x + 1)), terms shrinking by more than 400 each.
    let ratio = (&reduced - one) * one / (&reduced + one);
    let square = &ratio * &ratio / one;
    let mut term = ratio.clone();
    let mut sum = ratio;
    let mut odd = 3_u32;
    while !term.is_zero() {
        term = &term * &square / one;
        sum += &term / odd;
        odd += 2;
    }
    sum << (halvings + 1)
}

/// e^value in fixed point with `guard` digits, |value| < 6000.
fn exp_fixed(value: &BigInt, guard: u32) -> BigInt {
    // exp(x) = exp(x / 2^k)^(2^k). Squaring k times loses k bits and multiplies the error by the result, so work with more.
    let bits = 12_u32 + value.bits().saturating_sub(pow10(guard).bits()).to_u32().expect("at most 13 bits") + 4;
    let extra = 30;
    let digits = guard + if value.is_negative() { extra } else { extra + 10 };
    let one = pow10(digits);
    let reduced: BigInt = (value.abs() * pow10(digits - guard)) >> bits;
    let mut term = one.clone();
    let mut sum = one.clone();
    let mut n = 1_u32;
    while !term.is_zero() {
        term = &term * &reduced / &one / n;
        sum += &term;
        n += 1;
    }
    for _ in 0..bits {
        sum = &sum * &sum / &one;
    }
    // Of a negative power take the reciprocal: the squares above only ever grew.
    if value.is_negative() {
        sum = &one * &one / sum;
    }
    div_round(&sum, &pow10(digits - guard))
}
