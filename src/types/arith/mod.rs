//! Operators: which exist for which types, their result types, and their evaluation.

pub mod float;
pub mod integer;
mod signatures;
mod temporal;

use std::sync::Arc;

use super::{Datum, Numeric, SessionFormat, SqlType, datetime};
use crate::error::{SqlError, SqlResult, SqlState};

/// A binary operator that computes (comparisons are in [`super::compare`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `#`
    BitXor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `||`
    Concat,
}

/// A prefix operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `~`
    BitNot,
    /// `@`, and the function `abs`
    Abs,
    /// `|/`, and the function `sqrt` on double precision
    SquareRoot,
    /// `||/`, and the function `cbrt`
    CubeRoot,
}

/// The operator's result type for exactly these operand types, as `pg_operator` has it; `None` if there is no such operator.
/// Implicit casts are the binder's business.
pub fn binary_result_type(op: BinaryOp, left: SqlType, right: SqlType) -> Option<SqlType> {
    signatures::binary(op, left, right)
}

/// The prefix operator's result type for exactly this operand type.
pub fn unary_result_type(op: UnaryOp, operand: SqlType) -> Option<SqlType> {
    signatures::unary(op, operand)
}

/// Evaluates an operator on operands for which [`binary_result_type`] has an answer. NULL if either operand is NULL.
pub fn binary(op: BinaryOp, left: &Datum, right: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    use Datum::*;
    Ok(match (left, right) {
        (Null, _) | (_, Null) => Null,
        (Int4(a), Int4(b)) => Int4(integer::int4(op, *a, *b)?),
        (Int8(a), Int8(b)) => Int8(integer::int8(op, *a, *b)?),
        // A shift's right side is an integer whatever the left side is.
        (Int2(a), Int4(b)) if op.is_shift() => Int2(integer::shift2(op, *a, *b)),
        (Int8(a), Int4(b)) if op.is_shift() => Int8(integer::shift8(op, *a, *b)),
        (Int2(a), Int2(b)) => Int2(integer::int2(op, *a, *b)?),
        (Int2(a), Int4(b)) => Int4(integer::int4(op, i32::from(*a), *b)?),
        (Int4(a), Int2(b)) => Int4(integer::int4(op, *a, i32::from(*b))?),
        (Int2(_) | Int4(_), Int8(b)) => Int8(integer::int8(op, left.as_i64().expect("an integer"), *b)?),
        (Int8(a), Int2(_) | Int4(_)) => Int8(integer::int8(op, *a, right.as_i64().expect("an integer"))?),
        (Float4(a), Float4(b)) => Float4(float::real(op, *a, *b)?),
        (Float4(_) | Float8(_), Float4(_) | Float8(_)) => {
            let (a, b) = (left.as_f64().expect("a float"), right.as_f64().expect("a float"));
            Float8(float::double(op, a, b)?)
        }
        (Numeric(a), Numeric(b)) => Datum::numeric(number(op, a, b)?),
        (Text(a), Text(b)) if op == BinaryOp::Concat => Text(Arc::from([&**a, &**b].concat())),
        (Bytea(a), Bytea(b)) if op == BinaryOp::Concat => Bytea(Arc::from([&**a, &**b].concat())),
        (Array(_), _) | (_, Array(_)) if op == BinaryOp::Concat => concat_arrays(left, right),
        _ => temporal::binary(op, left, right, format)?,
    })
}

/// Evaluates a prefix operator; NULL for NULL.
pub fn unary(op: UnaryOp, operand: &Datum) -> SqlResult<Datum> {
    use Datum::*;
    Ok(match (op, operand) {
        (_, Null) | (UnaryOp::Plus, _) => operand.clone(),
        (UnaryOp::Minus, Int2(a)) => Int2(a.checked_neg().ok_or_else(|| out_of_range(SqlType::Int2))?),
        (UnaryOp::Minus, Int4(a)) => Int4(a.checked_neg().ok_or_else(|| out_of_range(SqlType::Int4))?),
        (UnaryOp::Minus, Int8(a)) => Int8(a.checked_neg().ok_or_else(|| out_of_range(SqlType::Int8))?),
        (UnaryOp::Minus, Float4(a)) => Float4(-a),
        (UnaryOp::Minus, Float8(a)) => Float8(-a),
        (UnaryOp::Minus, Numeric(a)) => Datum::numeric(a.neg()),
        (UnaryOp::Minus, Interval(a)) => Interval(datetime::negate_interval(*a)?),
        (UnaryOp::Abs, Int2(a)) => Int2(a.checked_abs().ok_or_else(|| out_of_range(SqlType::Int2))?),
        (UnaryOp::Abs, Int4(a)) => Int4(a.checked_abs().ok_or_else(|| out_of_range(SqlType::Int4))?),
        (UnaryOp::Abs, Int8(a)) => Int8(a.checked_abs().ok_or_else(|| out_of_range(SqlType::Int8))?),
        (UnaryOp::Abs, Float4(a)) => Float4(a.abs()),
        (UnaryOp::Abs, Float8(a)) => Float8(a.abs()),
        (UnaryOp::Abs, Numeric(a)) => Datum::numeric(a.abs()),
        (UnaryOp::BitNot, Int2(a)) => Int2(!a),
        (UnaryOp::BitNot, Int4(a)) => Int4(!a),
        (UnaryOp::BitNot, Int8(a)) => Int8(!a),
        (UnaryOp::SquareRoot, Float8(a)) => Float8(float::sqrt(*a)?),
        (UnaryOp::CubeRoot, Float8(a)) => Float8(a.cbrt()),
        _ => return Err(SqlError::internal(format!("no prefix operator {op:?} for {operand:?}"))),
    })
}

impl BinaryOp {
    fn is_shift(self) -> bool {
        matches!(self, BinaryOp::ShiftLeft | BinaryOp::ShiftRight)
    }
}

/// 22003 `integer out of range` and kin.
fn out_of_range(ty: SqlType) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{} out of range", ty.name()))
}

/// 22012
fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

fn no_operator(op: BinaryOp, left: &Datum, right: &Datum) -> SqlError {
    SqlError::internal(format!("no operator {op:?} for {left:?} and {right:?}"))
}

fn number(op: BinaryOp, a: &Numeric, b: &Numeric) -> SqlResult<Numeric> {
    match op {
        BinaryOp::Add => a.add(b),
        BinaryOp::Sub => a.sub(b),
        BinaryOp::Mul => a.mul(b),
        BinaryOp::Div => a.div(b),
        BinaryOp::Mod => a.rem(b),
        BinaryOp::Pow => a.power(b),
        _ => Err(SqlError::internal(format!("no operator {op:?} for numeric"))),
    }
}

/// array || array, array || element, element || array.
fn concat_arrays(left: &Datum, right: &Datum) -> Datum {
    let items = |datum: &Datum| match datum {
        Datum::Array(items) => items.to_vec(),
        single => vec![single.clone()],
    };
    let mut all = items(left);
    all.extend(items(right));
    Datum::Array(Arc::from(all))
}
