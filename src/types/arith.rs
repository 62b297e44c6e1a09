//! Operators: which exist for which types, their result types, and their evaluation.

use super::{Datum, SessionFormat, SqlType};
use crate::error::{SqlError, SqlResult};

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
    let _ = (op, left, right);
    None
}

/// The prefix operator's result type for exactly this operand type.
pub fn unary_result_type(op: UnaryOp, operand: SqlType) -> Option<SqlType> {
    let _ = (op, operand);
    None
}

/// Evaluates an operator on operands for which [`binary_result_type`] has an answer. NULL if either operand is NULL.
pub fn binary(op: BinaryOp, left: &Datum, right: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    let _ = (op, left, right, format);
    Err(SqlError::internal("operators are not written yet"))
}

/// Evaluates a prefix operator; NULL for NULL.
pub fn unary(op: UnaryOp, operand: &Datum) -> SqlResult<Datum> {
    let _ = (op, operand);
    Err(SqlError::internal("operators are not written yet"))
}
