//! Integer operators (int.c, int8.c): overflow is 22003, division by zero 22012.

use super::{BinaryOp, division_by_zero, out_of_range};
use crate::error::{SqlError, SqlResult};
use crate::types::SqlType;

macro_rules! integer_operators {
    ($(#[$doc:meta])* $name:ident, $shift:ident, $int:ty, $ty:expr) => {
        $(#[$doc])*
        #[inline]
        pub fn $name(op: BinaryOp, a: $int, b: $int) -> SqlResult<$int> {
            let value = match op {
                BinaryOp::Add => a.checked_add(b),
                BinaryOp::Sub => a.checked_sub(b),
                BinaryOp::Mul => a.checked_mul(b),
                BinaryOp::Div if b == 0 => return Err(division_by_zero()),
                BinaryOp::Div => a.checked_div(b),
                BinaryOp::Mod if b == 0 => return Err(division_by_zero()),
                // The smallest integer modulo −1 is 0, though its quotient overflows.
                BinaryOp::Mod => Some(a.wrapping_rem(b)),
                BinaryOp::BitAnd => Some(a & b),
                BinaryOp::BitOr => Some(a | b),
                BinaryOp::BitXor => Some(a ^ b),
                // Only the low bits of a shift count, whatever the width of the operand it was given in.
                BinaryOp::ShiftLeft | BinaryOp::ShiftRight => Some($shift(op, a, b as i32)),
                BinaryOp::Pow | BinaryOp::Concat => {
                    return Err(SqlError::internal(format!("no operator {op:?} for {}", $ty.name())));
                }
            };
            value.ok_or_else(|| out_of_range($ty))
        }
    };
}

integer_operators!(
    /// smallint by smallint.
    int2,
    shift2,
    i16,
    SqlType::Int2
);
integer_operators!(
    /// integer by integer.
    int4,
    shift4,
    i32,
    SqlType::Int4
);
integer_operators!(
    /// bigint by bigint.
    int8,
    shift8,
    i64,
    SqlType::Int8
);

/// smallint shifted by an integer. PostgreSQL leaves large shifts to the machine, which computes in 32 bits and takes the
/// amount modulo 32.
pub fn shift2(op: BinaryOp, a: i16, b: i32) -> i16 {
    // Cutting to 16 bits is what C does with the promoted result.
    shift4(op, i32::from(a), b) as i16
}

/// integer shifted, the amount modulo 32.
pub fn shift4(op: BinaryOp, a: i32, b: i32) -> i32 {
    if op == BinaryOp::ShiftLeft { a.wrapping_shl(b.cast_unsigned()) } else { a.wrapping_shr(b.cast_unsigned()) }
}

/// bigint shifted, the amount modulo 64.
pub fn shift8(op: BinaryOp, a: i64, b: i32) -> i64 {
    if op == BinaryOp::ShiftLeft { a.wrapping_shl(b.cast_unsigned()) } else { a.wrapping_shr(b.cast_unsigned()) }
}
