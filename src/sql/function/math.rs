//! Mathematical functions.

use num_bigint::BigInt;
use num_traits::{Signed, Zero};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::function::kinds::*;
use crate::sql::function::{Entry, Function, Implementation, operators};
use crate::types::{BinaryOp, Datum, Numeric, UnaryOp};

fn internal() -> SqlError {
    SqlError::internal("a mathematical function was called with values of other types than it was resolved for")
}

fn float(datum: &Datum) -> SqlResult<f64> {
    datum.as_f64().ok_or_else(internal)
}

fn numeric(datum: &Datum) -> SqlResult<&Numeric> {
    match datum {
        Datum::Numeric(value) => Ok(value),
        _ => Err(internal()),
    }
}

macro_rules! float_function {
    ($functions:expr, $name:literal, $compute:expr) => {
        Entry::function($name, &[FLOAT8], FLOAT8, Implementation::Unary(|value| Ok(Datum::Float8($compute(float(value)?)))))
            .add($functions)
    };
}

macro_rules! numeric_function {
    ($functions:expr, $name:literal, $compute:expr) => {
        Entry::function($name, &[NUMERIC], NUMERIC, Implementation::Unary(|value| Ok(Datum::numeric($compute(numeric(value)?)))))
            .add($functions)
    };
}

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    for kind in [&[INT2], &[INT4], &[INT8], &[FLOAT4], &[FLOAT8], &[NUMERIC]] {
        let code = Implementation::Unary(|value| crate::types::arith::unary(UnaryOp::Abs, value));
        Entry::function("abs", kind, kind[0], code).add(functions);
    }
    for (args, result, code) in operators::MOD {
        Entry::function("mod", args, result, Implementation::Binary(code)).add(functions);
    }
    let modulo = Implementation::Context(|args, context| {
        crate::types::arith::binary(BinaryOp::Mod, &args[0], &args[1], context.session.format())
    });
    Entry::function("mod", &[NUMERIC, NUMERIC], NUMERIC, modulo).add(functions);
    rounding(functions);
    powers(functions);
    Entry::function(
        "random",
        &[],
        FLOAT8,
        Implementation::Context(|_, context| {
            // 53 random bits below the point.
            #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
            let fraction = (context.session.random() >> 11) as f64 / (1u64 << 53) as f64;
            Ok(Datum::Float8(fraction))
        }),
    )
    .volatile()
    .add(functions);
    for name in ["greatest", "least"] {
        let code = if name == "greatest" { Implementation::Values(greatest) } else { Implementation::Values(least) };
        Entry::function(name, &[ELEMENT], ELEMENT, code).variadic().lax().add(functions);
    }
}

fn extreme(args: &[Datum], keep: fn(std::cmp::Ordering) -> bool) -> Datum {
    let mut best = &Datum::Null;
    for arg in args.iter().filter(|arg| !arg.is_null()) {
        if best.is_null() || keep(crate::types::compare(arg, best)) {
            best = arg;
        }
    }
    best.clone()
}

fn greatest(args: &[Datum]) -> SqlResult<Datum> {
    Ok(extreme(args, std::cmp::Ordering::is_gt))
}

fn least(args: &[Datum]) -> SqlResult<Datum> {
    Ok(extreme(args, std::cmp::Ordering::is_lt))
}

fn rounding(functions: &mut Vec<Function>) {
    float_function!(functions, "ceil", f64::ceil);
    float_function!(functions, "ceiling", f64::ceil);
    float_function!(functions, "floor", f64::floor);
    float_function!(functions, "round", f64::round_ties_even);
    float_function!(functions, "trunc", f64::trunc);
    float_function!(functions, "sign", sign);
    numeric_function!(functions, "ceil", |value| to_scale(value, 0, Rounding::Up));
    numeric_function!(functions, "ceiling", |value| to_scale(value, 0, Rounding::Up));
    numeric_function!(functions, "floor", |value| to_scale(value, 0, Rounding::Down));
    numeric_function!(functions, "round", |value| to_scale(value, 0, Rounding::Half));
    numeric_function!(functions, "trunc", |value| to_scale(value, 0, Rounding::Cut));
    numeric_function!(functions, "sign", numeric_sign);
    let round =
        Implementation::Values(|args| Ok(Datum::numeric(to_scale(numeric(&args[0])?, places(&args[1])?, Rounding::Half))));
    Entry::function("round", &[NUMERIC, INT4], NUMERIC, round).add(functions);
    let trunc = Implementation::Values(|args| Ok(Datum::numeric(to_scale(numeric(&args[0])?, places(&args[1])?, Rounding::Cut))));
    Entry::function("trunc", &[NUMERIC, INT4], NUMERIC, trunc).add(functions);
}

fn sign(value: f64) -> f64 {
    if value.is_nan() || value == 0.0 { value } else { value.signum() }
}

fn numeric_sign(value: &Numeric) -> Numeric {
    let sign = match value {
        Numeric::NaN => return Numeric::NaN,
        Numeric::Infinity => 1,
        Numeric::NegInfinity => -1,
        Numeric::Finite { unscaled, .. } => i32::from(unscaled.is_positive()) - i32::from(unscaled.is_negative()),
    };
    Numeric::Finite { unscaled: BigInt::from(sign), scale: 0 }
}

/// How digits are dropped.
#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
    /// Half away from zero.
    Half,
    Cut,
}

/// Most digits that `round` and `trunc` keep or clear, as PostgreSQL's NUMERIC_MAX_RESULT_SCALE.
const PLACES_MAX: i32 = 2000;

fn places(datum: &Datum) -> SqlResult<i32> {
    match datum {
        Datum::Int4(places) => Ok((*places).clamp(-PLACES_MAX, PLACES_MAX)),
        _ => Err(internal()),
    }
}

/// The value with `places` digits after the point (before it, if negative).
fn to_scale(value: &Numeric, places: i32, rounding: Rounding) -> Numeric {
    let Numeric::Finite { unscaled, scale } = value else { return value.clone() };
    let target = u32::try_from(places).unwrap_or(0);
    let dropped = i64::from(*scale) - i64::from(places);
    if dropped <= 0 {
        let added = u32::try_from(-dropped).expect("scales are below 2^31");
        return Numeric::Finite { unscaled: unscaled * BigInt::from(10).pow(added), scale: target };
    }
    let unit = BigInt::from(10).pow(u32::try_from(dropped).expect("scales are below 2^31"));
    let (mut kept, rest) = (unscaled / &unit, unscaled % &unit);
    let away = match rounding {
        Rounding::Cut => false,
        Rounding::Up => rest.is_positive(),
        Rounding::Down => rest.is_negative(),
        Rounding::Half => rest.abs() * 2 >= unit,
    };
    if away && !rest.is_zero() {
        kept += if rest.is_negative() { -1 } else { 1 };
    }
    // Digits cleared before the point come back as zeros.
    let zeros = u32::try_from(-i64::from(places)).unwrap_or(0);
    Numeric::Finite { unscaled: kept * BigInt::from(10).pow(zeros), scale: target }
}

fn powers(functions: &mut Vec<Function>) {
    for name in ["power", "pow"] {
        for kind in [&[FLOAT8, FLOAT8], &[NUMERIC, NUMERIC]] {
            let code = Implementation::Context(|args, context| {
                crate::types::arith::binary(BinaryOp::Pow, &args[0], &args[1], context.session.format())
            });
            Entry::function(name, kind, kind[0], code).add(functions);
        }
    }
    let sqrt = Implementation::Unary(|value| crate::types::arith::unary(UnaryOp::SquareRoot, value));
    Entry::function("sqrt", &[FLOAT8], FLOAT8, sqrt).add(functions);
    let cbrt = Implementation::Unary(|value| crate::types::arith::unary(UnaryOp::CubeRoot, value));
    Entry::function("cbrt", &[FLOAT8], FLOAT8, cbrt).add(functions);
    let exp = Implementation::Unary(|value| {
        let value = float(value)?;
        let result = value.exp();
        if value.is_finite() && result.is_infinite() {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
        }
        if value.is_finite() && result == 0.0 {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow"));
        }
        Ok(Datum::Float8(result))
    });
    Entry::function("exp", &[FLOAT8], FLOAT8, exp).add(functions);
    Entry::function("ln", &[FLOAT8], FLOAT8, Implementation::Unary(|value| logarithm(value, f64::ln))).add(functions);
    Entry::function("log", &[FLOAT8], FLOAT8, Implementation::Unary(|value| logarithm(value, f64::log10))).add(functions);
    Entry::function("log10", &[FLOAT8], FLOAT8, Implementation::Unary(|value| logarithm(value, f64::log10))).add(functions);
    Entry::function("pi", &[], FLOAT8, Implementation::Values(|_| Ok(Datum::Float8(std::f64::consts::PI)))).add(functions);
    float_function!(functions, "degrees", f64::to_degrees);
    float_function!(functions, "radians", f64::to_radians);
}

fn logarithm(value: &Datum, compute: fn(f64) -> f64) -> SqlResult<Datum> {
    let value = float(value)?;
    if value == 0.0 {
        return Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, "cannot take logarithm of zero"));
    }
    if value < 0.0 {
        return Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, "cannot take logarithm of a negative number"));
    }
    Ok(Datum::Float8(compute(value)))
}
