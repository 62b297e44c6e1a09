//! `numeric`: decimals of up to 131072 digits before and 16383 after the point (numeric.c).

use super::Numeric;
use crate::error::{SqlError, SqlResult};

impl Numeric {
    /// Heap bytes of the digits.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Numeric::Finite { unscaled, .. } => usize::try_from(unscaled.bits().div_ceil(8)).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// Sum.
    pub fn add(&self, other: &Self) -> SqlResult<Self> {
        let _ = other;
        Err(SqlError::internal("numeric is not written yet"))
    }
}
