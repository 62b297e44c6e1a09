//! Which operators exist: `pg_operator` among this server's types.

use super::{BinaryOp, UnaryOp};
use crate::types::SqlType;

pub(super) fn binary(op: BinaryOp, left: SqlType, right: SqlType) -> Option<SqlType> {
    match op {
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div => {
            number(left, right).or_else(|| temporal(op, left, right))
        }
        BinaryOp::Mod => match number(left, right)? {
            // Integers of different widths are cast first: % exists within a type only.
            ty @ (SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Numeric) if left == right => Some(ty),
            _ => None,
        },
        BinaryOp::Pow => (left == right && matches!(left, SqlType::Float8 | SqlType::Numeric)).then_some(left),
        BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor => (left == right && is_integer(left)).then_some(left),
        BinaryOp::ShiftLeft | BinaryOp::ShiftRight => (is_integer(left) && right == SqlType::Int4).then_some(left),
        BinaryOp::Concat => concat(left, right),
    }
}

fn is_integer(ty: SqlType) -> bool {
    matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8)
}

/// `+ - * /` among numbers.
fn number(left: SqlType, right: SqlType) -> Option<SqlType> {
    use SqlType::{Float4, Float8, Int2, Int4, Int8, Numeric};
    Some(match (left, right) {
        (Int2, Int2) => Int2,
        (Int2 | Int4, Int2 | Int4) => Int4,
        (Int2 | Int4 | Int8, Int2 | Int4 | Int8) => Int8,
        (Float4, Float4) => Float4,
        (Float4 | Float8, Float4 | Float8) => Float8,
        (Numeric, Numeric) => Numeric,
        _ => return None,
    })
}

fn temporal(op: BinaryOp, left: SqlType, right: SqlType) -> Option<SqlType> {
    use BinaryOp::{Add, Div, Mul, Sub};
    use SqlType::{Date, Float8, Int4, Interval, Timestamp, TimestampTz};
    Some(match (left, op, right) {
        (Date, Add | Sub, Int4) | (Int4, Add, Date) => Date,
        (Date, Sub, Date) => Int4,
        (Date | Timestamp, Add | Sub, Interval) | (Interval, Add, Date | Timestamp) => Timestamp,
        (TimestampTz, Add | Sub, Interval) | (Interval, Add, TimestampTz) => TimestampTz,
        (Timestamp, Sub, Timestamp) | (TimestampTz, Sub, TimestampTz) => Interval,
        (Interval, Add | Sub, Interval) => Interval,
        (Interval, Mul | Div, Float8) | (Float8, Mul, Interval) => Interval,
        _ => return None,
    })
}

/// `text || text`, `bytea || bytea`, arrays. (`text || anynonarray` and its mirror cast the other side; the binder does that.)
fn concat(left: SqlType, right: SqlType) -> Option<SqlType> {
    match (left, right) {
        (SqlType::Text, SqlType::Text) => Some(SqlType::Text),
        (SqlType::Bytea, SqlType::Bytea) => Some(SqlType::Bytea),
        _ if left == right && left.is_array() => Some(left),
        _ if left.element() == Some(right) => Some(left),
        _ if right.element() == Some(left) => Some(right),
        _ => None,
    }
}

pub(super) fn unary(op: UnaryOp, operand: SqlType) -> Option<SqlType> {
    let is_number = is_integer(operand) || matches!(operand, SqlType::Float4 | SqlType::Float8 | SqlType::Numeric);
    let exists = match op {
        UnaryOp::Plus | UnaryOp::Abs => is_number,
        UnaryOp::Minus => is_number || operand == SqlType::Interval,
        UnaryOp::BitNot => is_integer(operand),
        UnaryOp::SquareRoot | UnaryOp::CubeRoot => operand == SqlType::Float8,
    };
    exists.then_some(operand)
}
