//! Operators.
//!
//! Comparisons and integer arithmetic, which most statements consist of, are computed here without a detour; everything else
//! goes to `types::arith`.

use std::cmp::Ordering;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::function::kinds::*;
use crate::sql::function::{Comparison, Entry, Function, Implementation, Kind};
use crate::types::like::LikePattern;
use crate::types::regexp::PosixRegex;
use crate::types::{BinaryOp, Datum, SqlType, UnaryOp};

/// Puts the operators into the table.
pub fn register(functions: &mut Vec<Function>) {
    comparisons(functions);
    integers(functions);
    arithmetic(functions);
    prefix(functions);
    text(functions);
}

fn internal() -> SqlError {
    SqlError::internal("an operator was called with values of other types than it was resolved for")
}

// Comparisons.

macro_rules! comparison {
    ($name:ident, $padded:ident, $zoned:ident, $test:expr, $op:tt) => {
        fn $name(a: &Datum, b: &Datum) -> SqlResult<Datum> {
            Ok(Datum::Bool(match (a, b) {
                (Datum::Int4(a), Datum::Int4(b)) => a $op b,
                (Datum::Int8(a), Datum::Int8(b)) => a $op b,
                (Datum::Int8(a), Datum::Int4(b)) => *a $op i64::from(*b),
                (Datum::Int4(a), Datum::Int8(b)) => i64::from(*a) $op *b,
                (Datum::Text(a), Datum::Text(b)) => a.as_bytes() $op b.as_bytes(),
                _ => $test(crate::types::compare(a, b)),
            }))
        }
        fn $padded(a: &Datum, b: &Datum) -> SqlResult<Datum> {
            Ok(Datum::Bool($test(crate::types::compare_as(SqlType::Bpchar, a, b))))
        }
        fn $zoned(args: &[Datum], context: &crate::sql::context::EvalContext<'_>) -> SqlResult<Datum> {
            let ordering = crate::types::compare::compare_in_zone(&args[0], &args[1], context.session.format());
            Ok(Datum::Bool($test(ordering)))
        }
    };
}

comparison!(eq, eq_padded, eq_zoned, Ordering::is_eq, ==);
comparison!(ne, ne_padded, ne_zoned, Ordering::is_ne, !=);
comparison!(lt, lt_padded, lt_zoned, Ordering::is_lt, <);
comparison!(le, le_padded, le_zoned, Ordering::is_le, <=);
comparison!(gt, gt_padded, gt_zoned, Ordering::is_gt, >);
comparison!(ge, ge_padded, ge_zoned, Ordering::is_ge, >=);

type Compare = fn(&Datum, &Datum) -> SqlResult<Datum>;
type Zoned = fn(&[Datum], &crate::sql::context::EvalContext<'_>) -> SqlResult<Datum>;

const COMPARISONS: [(&str, Comparison, Compare, Compare, Zoned); 6] = [
    ("=", Comparison::Eq, eq, eq_padded, eq_zoned),
    ("<>", Comparison::Ne, ne, ne_padded, ne_zoned),
    ("<", Comparison::Lt, lt, lt_padded, lt_zoned),
    ("<=", Comparison::Le, le, le_padded, le_zoned),
    (">", Comparison::Gt, gt, gt_padded, gt_zoned),
    (">=", Comparison::Ge, ge, ge_padded, ge_zoned),
];

/// Pairs of types with comparison operators of their own.
const COMPARABLE: &[&[Kind]] = &[
    &[BOOL, BOOL],
    &[INT2, INT2],
    &[INT2, INT4],
    &[INT2, INT8],
    &[INT4, INT2],
    &[INT4, INT4],
    &[INT4, INT8],
    &[INT8, INT2],
    &[INT8, INT4],
    &[INT8, INT8],
    &[FLOAT4, FLOAT4],
    &[FLOAT4, FLOAT8],
    &[FLOAT8, FLOAT4],
    &[FLOAT8, FLOAT8],
    &[NUMERIC, NUMERIC],
    &[TEXT, TEXT],
    &[NAME, NAME],
    &[NAME, TEXT],
    &[TEXT, NAME],
    &[BYTEA, BYTEA],
    &[DATE, DATE],
    &[TIMESTAMP, TIMESTAMP],
    &[TIMESTAMPTZ, TIMESTAMPTZ],
    &[DATE, TIMESTAMP],
    &[TIMESTAMP, DATE],
    &[UUID, UUID],
    &[CHAR, CHAR],
    &[OID, OID],
    &[INTERVAL, INTERVAL],
    &[ARRAY, ARRAY],
];

const COMPARABLE_IN_ZONE: &[&[Kind]] =
    &[&[DATE, TIMESTAMPTZ], &[TIMESTAMPTZ, DATE], &[TIMESTAMP, TIMESTAMPTZ], &[TIMESTAMPTZ, TIMESTAMP]];

fn comparisons(functions: &mut Vec<Function>) {
    for (symbol, comparison, plain, padded, zoned) in COMPARISONS {
        for args in COMPARABLE {
            Entry::operator(symbol, args, BOOL, Implementation::Binary(plain)).compares(comparison).add(functions);
        }
        for args in COMPARABLE_IN_ZONE {
            Entry::operator(symbol, args, BOOL, Implementation::Context(zoned)).stable().compares(comparison).add(functions);
        }
        Entry::operator(symbol, &[BPCHAR, BPCHAR], BOOL, Implementation::Binary(padded)).compares(comparison).add(functions);
    }
}

// Integer arithmetic.

fn out_of_range(name: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{name} out of range"))
}

fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

fn narrow2(value: Option<i64>) -> SqlResult<Datum> {
    value.and_then(|value| i16::try_from(value).ok()).map(Datum::Int2).ok_or_else(|| out_of_range("smallint"))
}

fn narrow4(value: Option<i64>) -> SqlResult<Datum> {
    value.and_then(|value| i32::try_from(value).ok()).map(Datum::Int4).ok_or_else(|| out_of_range("integer"))
}

fn narrow8(value: Option<i64>) -> SqlResult<Datum> {
    value.map(Datum::Int8).ok_or_else(|| out_of_range("bigint"))
}

fn integer(datum: &Datum) -> SqlResult<i64> {
    match datum {
        Datum::Int4(value) => Ok(i64::from(*value)),
        Datum::Int8(value) => Ok(*value),
        Datum::Int2(value) => Ok(i64::from(*value)),
        _ => Err(internal()),
    }
}

macro_rules! integer_operator {
    ($name:ident, $narrow:ident, $compute:expr) => {
        fn $name(a: &Datum, b: &Datum) -> SqlResult<Datum> {
            let (a, b) = (integer(a)?, integer(b)?);
            $narrow($compute(a, b)?)
        }
    };
}

fn add(a: i64, b: i64) -> SqlResult<Option<i64>> {
    Ok(a.checked_add(b))
}

fn sub(a: i64, b: i64) -> SqlResult<Option<i64>> {
    Ok(a.checked_sub(b))
}

fn mul(a: i64, b: i64) -> SqlResult<Option<i64>> {
    Ok(a.checked_mul(b))
}

fn div(a: i64, b: i64) -> SqlResult<Option<i64>> {
    if b == 0 { Err(division_by_zero()) } else { Ok(a.checked_div(b)) }
}

/// The remainder has the dividend's sign; of the least integer by −1 it is 0.
fn rem(a: i64, b: i64) -> SqlResult<Option<i64>> {
    if b == 0 { Err(division_by_zero()) } else { Ok(Some(a.wrapping_rem(b))) }
}

integer_operator!(add2, narrow2, add);
integer_operator!(add4, narrow4, add);
integer_operator!(add8, narrow8, add);
integer_operator!(sub2, narrow2, sub);
integer_operator!(sub4, narrow4, sub);
integer_operator!(sub8, narrow8, sub);
integer_operator!(mul2, narrow2, mul);
integer_operator!(mul4, narrow4, mul);
integer_operator!(mul8, narrow8, mul);
integer_operator!(div2, narrow2, div);
integer_operator!(div4, narrow4, div);
integer_operator!(div8, narrow8, div);
integer_operator!(rem2, narrow2, rem);
integer_operator!(rem4, narrow4, rem);
integer_operator!(rem8, narrow8, rem);

/// `mod` is `%` under another name.
pub const MOD: [(&[Kind], Kind, Compare); 3] =
    [(&[INT2, INT2], INT2, rem2), (&[INT4, INT4], INT4, rem4), (&[INT8, INT8], INT8, rem8)];

fn integers(functions: &mut Vec<Function>) {
    let operators: [(&str, [Compare; 3]); 5] = [
        ("+", [add2, add4, add8]),
        ("-", [sub2, sub4, sub8]),
        ("*", [mul2, mul4, mul8]),
        ("/", [div2, div4, div8]),
        ("%", [rem2, rem4, rem8]),
    ];
    const SAME: [(&[Kind], Kind, usize); 3] = [(&[INT2, INT2], INT2, 0), (&[INT4, INT4], INT4, 1), (&[INT8, INT8], INT8, 2)];
    const MIXED: [(&[Kind], Kind, usize); 6] = [
        (&[INT2, INT4], INT4, 1),
        (&[INT4, INT2], INT4, 1),
        (&[INT2, INT8], INT8, 2),
        (&[INT8, INT2], INT8, 2),
        (&[INT4, INT8], INT8, 2),
        (&[INT8, INT4], INT8, 2),
    ];
    for (symbol, by_width) in operators {
        for (args, result, width) in SAME {
            Entry::operator(symbol, args, result, Implementation::Binary(by_width[width])).add(functions);
        }
        // There is no % between integers of different width.
        for (args, result, width) in MIXED.into_iter().filter(|_| symbol != "%") {
            Entry::operator(symbol, args, result, Implementation::Binary(by_width[width])).add(functions);
        }
    }
}

// Everything else that computes.

macro_rules! through_types {
    ($functions:expr, $symbol:literal, $op:expr, $([$left:expr, $right:expr] => $result:expr),+ $(,)?) => {
        $(
            Entry::operator(
                $symbol,
                &[$left, $right],
                $result,
                Implementation::Context(|args, context| crate::types::arith::binary($op, &args[0], &args[1], context.session.format())),
            )
            .add($functions);
        )+
    };
}

fn arithmetic(functions: &mut Vec<Function>) {
    through_types!(functions, "+", BinaryOp::Add,
        [FLOAT4, FLOAT4] => FLOAT4, [FLOAT4, FLOAT8] => FLOAT8, [FLOAT8, FLOAT4] => FLOAT8, [FLOAT8, FLOAT8] => FLOAT8,
        [NUMERIC, NUMERIC] => NUMERIC, [DATE, INT4] => DATE, [INT4, DATE] => DATE, [DATE, INTERVAL] => TIMESTAMP,
        [INTERVAL, DATE] => TIMESTAMP, [TIMESTAMP, INTERVAL] => TIMESTAMP, [INTERVAL, TIMESTAMP] => TIMESTAMP,
        [TIMESTAMPTZ, INTERVAL] => TIMESTAMPTZ, [INTERVAL, TIMESTAMPTZ] => TIMESTAMPTZ, [INTERVAL, INTERVAL] => INTERVAL);
    through_types!(functions, "-", BinaryOp::Sub,
        [FLOAT4, FLOAT4] => FLOAT4, [FLOAT4, FLOAT8] => FLOAT8, [FLOAT8, FLOAT4] => FLOAT8, [FLOAT8, FLOAT8] => FLOAT8,
        [NUMERIC, NUMERIC] => NUMERIC, [DATE, INT4] => DATE, [DATE, DATE] => INT4, [DATE, INTERVAL] => TIMESTAMP,
        [TIMESTAMP, INTERVAL] => TIMESTAMP, [TIMESTAMP, TIMESTAMP] => INTERVAL, [TIMESTAMPTZ, INTERVAL] => TIMESTAMPTZ,
        [TIMESTAMPTZ, TIMESTAMPTZ] => INTERVAL, [INTERVAL, INTERVAL] => INTERVAL);
    through_types!(functions, "*", BinaryOp::Mul,
        [FLOAT4, FLOAT4] => FLOAT4, [FLOAT4, FLOAT8] => FLOAT8, [FLOAT8, FLOAT4] => FLOAT8, [FLOAT8, FLOAT8] => FLOAT8,
        [NUMERIC, NUMERIC] => NUMERIC, [INTERVAL, FLOAT8] => INTERVAL, [FLOAT8, INTERVAL] => INTERVAL);
    through_types!(functions, "/", BinaryOp::Div,
        [FLOAT4, FLOAT4] => FLOAT4, [FLOAT4, FLOAT8] => FLOAT8, [FLOAT8, FLOAT4] => FLOAT8, [FLOAT8, FLOAT8] => FLOAT8,
        [NUMERIC, NUMERIC] => NUMERIC, [INTERVAL, FLOAT8] => INTERVAL);
    through_types!(functions, "%", BinaryOp::Mod, [NUMERIC, NUMERIC] => NUMERIC);
    through_types!(functions, "^", BinaryOp::Pow, [FLOAT8, FLOAT8] => FLOAT8, [NUMERIC, NUMERIC] => NUMERIC);
    through_types!(functions, "&", BinaryOp::BitAnd, [INT2, INT2] => INT2, [INT4, INT4] => INT4, [INT8, INT8] => INT8);
    through_types!(functions, "|", BinaryOp::BitOr, [INT2, INT2] => INT2, [INT4, INT4] => INT4, [INT8, INT8] => INT8);
    through_types!(functions, "#", BinaryOp::BitXor, [INT2, INT2] => INT2, [INT4, INT4] => INT4, [INT8, INT8] => INT8);
    through_types!(functions, "<<", BinaryOp::ShiftLeft, [INT2, INT4] => INT2, [INT4, INT4] => INT4, [INT8, INT4] => INT8);
    through_types!(functions, ">>", BinaryOp::ShiftRight, [INT2, INT4] => INT2, [INT4, INT4] => INT4, [INT8, INT4] => INT8);
    through_types!(functions, "||", BinaryOp::Concat, [BYTEA, BYTEA] => BYTEA);
}

macro_rules! prefix_operator {
    ($functions:expr, $symbol:literal, $op:expr, $($operand:expr),+) => {
        $(
            Entry::operator($symbol, &[$operand], $operand, Implementation::Unary(|operand| crate::types::arith::unary($op, operand)))
                .add($functions);
        )+
    };
}

fn prefix(functions: &mut Vec<Function>) {
    prefix_operator!(functions, "-", UnaryOp::Minus, INT2, INT4, INT8, FLOAT4, FLOAT8, NUMERIC, INTERVAL);
    prefix_operator!(functions, "+", UnaryOp::Plus, INT2, INT4, INT8, FLOAT4, FLOAT8, NUMERIC);
    prefix_operator!(functions, "~", UnaryOp::BitNot, INT2, INT4, INT8);
    prefix_operator!(functions, "@", UnaryOp::Abs, INT2, INT4, INT8, FLOAT4, FLOAT8, NUMERIC);
    prefix_operator!(functions, "|/", UnaryOp::SquareRoot, FLOAT8);
    prefix_operator!(functions, "||/", UnaryOp::CubeRoot, FLOAT8);
}

// Strings and patterns.

fn str_of(datum: &Datum) -> SqlResult<&str> {
    datum.as_str().ok_or_else(internal)
}

fn concat(a: &Datum, b: &Datum) -> SqlResult<Datum> {
    let (a, b) = (str_of(a)?, str_of(b)?);
    let mut joined = String::with_capacity(a.len() + b.len());
    joined.push_str(a);
    joined.push_str(b);
    Ok(Datum::Text(joined.into()))
}

/// `||` of text and anything else: the other side's text.
fn concat_any(args: &[Datum], types: &[SqlType], context: &crate::sql::context::EvalContext<'_>) -> SqlResult<Datum> {
    let mut joined = String::new();
    for (arg, &ty) in args.iter().zip(types) {
        joined.push_str(&crate::sql::values::output(arg, ty, context.session));
    }
    Ok(Datum::Text(joined.into()))
}

fn array_cat(args: &[Datum]) -> SqlResult<Datum> {
    match (&args[0], &args[1]) {
        (Datum::Null, other) | (other, Datum::Null) => Ok(other.clone()),
        (Datum::Array(a), Datum::Array(b)) => Ok(Datum::Array(a.iter().chain(b.iter()).cloned().collect())),
        _ => Err(internal()),
    }
}

fn array_append(args: &[Datum]) -> SqlResult<Datum> {
    match &args[0] {
        Datum::Null => Ok(Datum::Array([args[1].clone()].into())),
        Datum::Array(array) => Ok(Datum::Array(array.iter().cloned().chain([args[1].clone()]).collect())),
        _ => Err(internal()),
    }
}

fn array_prepend(args: &[Datum]) -> SqlResult<Datum> {
    match &args[1] {
        Datum::Null => Ok(Datum::Array([args[0].clone()].into())),
        Datum::Array(array) => Ok(Datum::Array([args[0].clone()].into_iter().chain(array.iter().cloned()).collect())),
        _ => Err(internal()),
    }
}

fn contains(args: &[Datum]) -> SqlResult<Datum> {
    let (Datum::Array(all), Datum::Array(some)) = (&args[0], &args[1]) else { return Err(internal()) };
    let has = |wanted: &Datum| all.iter().any(|item| !item.is_null() && crate::types::compare(item, wanted).is_eq());
    Ok(Datum::Bool(some.iter().all(|wanted| !wanted.is_null() && has(wanted))))
}

fn contained(args: &[Datum]) -> SqlResult<Datum> {
    contains(&[args[1].clone(), args[0].clone()])
}

fn overlap(args: &[Datum]) -> SqlResult<Datum> {
    let (Datum::Array(a), Datum::Array(b)) = (&args[0], &args[1]) else { return Err(internal()) };
    let has = |wanted: &Datum| b.iter().any(|item| !item.is_null() && crate::types::compare(item, wanted).is_eq());
    Ok(Datum::Bool(a.iter().any(|item| !item.is_null() && has(item))))
}

fn like(a: &Datum, pattern: &Datum, ignore_case: bool) -> SqlResult<bool> {
    Ok(LikePattern::new(str_of(pattern)?, Some('\\'), ignore_case)?.matches(str_of(a)?))
}

fn regex(a: &Datum, pattern: &Datum, flags: &str) -> SqlResult<bool> {
    Ok(PosixRegex::new(str_of(pattern)?, flags)?.is_match(str_of(a)?))
}

fn text(functions: &mut Vec<Function>) {
    Entry::operator("||", &[TEXT, TEXT], TEXT, Implementation::Binary(concat)).add(functions);
    Entry::operator("||", &[TEXT, NON_ARRAY], TEXT, Implementation::Typed(concat_any)).stable().add(functions);
    Entry::operator("||", &[NON_ARRAY, TEXT], TEXT, Implementation::Typed(concat_any)).stable().add(functions);
    Entry::operator("||", &[ARRAY, ARRAY], ARRAY, Implementation::Values(array_cat)).lax().add(functions);
    Entry::operator("||", &[ARRAY, ELEMENT], ARRAY, Implementation::Values(array_append)).lax().add(functions);
    Entry::operator("||", &[ELEMENT, ARRAY], ARRAY, Implementation::Values(array_prepend)).lax().add(functions);
    Entry::operator("@>", &[ARRAY, ARRAY], BOOL, Implementation::Values(contains)).add(functions);
    Entry::operator("<@", &[ARRAY, ARRAY], BOOL, Implementation::Values(contained)).add(functions);
    Entry::operator("&&", &[ARRAY, ARRAY], BOOL, Implementation::Values(overlap)).add(functions);
    let patterns: [(&str, Compare); 8] = [
        ("~~", |a, b| Ok(Datum::Bool(like(a, b, false)?))),
        ("!~~", |a, b| Ok(Datum::Bool(!like(a, b, false)?))),
        ("~~*", |a, b| Ok(Datum::Bool(like(a, b, true)?))),
        ("!~~*", |a, b| Ok(Datum::Bool(!like(a, b, true)?))),
        ("~", |a, b| Ok(Datum::Bool(regex(a, b, "")?))),
        ("!~", |a, b| Ok(Datum::Bool(!regex(a, b, "")?))),
        ("~*", |a, b| Ok(Datum::Bool(regex(a, b, "i")?))),
        ("!~*", |a, b| Ok(Datum::Bool(!regex(a, b, "i")?))),
    ];
    for (symbol, matches) in patterns {
        for args in [&[TEXT, TEXT] as &[Kind], &[BPCHAR, TEXT], &[NAME, TEXT]] {
            Entry::operator(symbol, args, BOOL, Implementation::Binary(matches)).add(functions);
        }
    }
    Entry::operator(
        "^@",
        &[TEXT, TEXT],
        BOOL,
        Implementation::Binary(|a, b| Ok(Datum::Bool(str_of(a)?.starts_with(str_of(b)?)))),
    )
    .add(functions);
}
