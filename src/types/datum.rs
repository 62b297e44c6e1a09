//! Making and taking apart datums.

use std::sync::Arc;

use super::{Datum, Interval, Numeric};
use crate::base::Oid;

// Rows in flight are vectors of datums: 24 bytes is what the interval and the shared strings need.
const _: () = assert!(std::mem::size_of::<Datum>() <= 24);
const _: () = assert!(std::mem::size_of::<Interval>() == 16);

impl Datum {
    /// A text datum.
    pub fn text(text: &str) -> Self {
        Datum::Text(Arc::from(text))
    }

    /// A bytea datum.
    pub fn bytea(bytes: &[u8]) -> Self {
        Datum::Bytea(Arc::from(bytes))
    }

    /// A numeric datum.
    pub fn numeric(value: Numeric) -> Self {
        Datum::Numeric(Arc::new(value))
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// The truth value; `None` for NULL and for what is no boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Datum::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of any integer type or OID.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Datum::Int2(value) => Some(i64::from(*value)),
            Datum::Int4(value) => Some(i64::from(*value)),
            Datum::Int8(value) => Some(*value),
            Datum::Oid(Oid(value)) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The value of `real` or `double precision`.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Datum::Float4(value) => Some(f64::from(*value)),
            Datum::Float8(value) => Some(*value),
            _ => None,
        }
    }

    /// The string of any text-like type.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Datum::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Heap bytes beyond the datum itself, for statement memory accounts. Shared bytes are counted in full.
    pub fn heap_bytes(&self) -> usize {
        const ARC_HEADER: usize = 16;
        match self {
            Datum::Text(text) => ARC_HEADER + text.len(),
            Datum::Bytea(bytes) => ARC_HEADER + bytes.len(),
            Datum::Numeric(value) => ARC_HEADER + size_of::<Numeric>() + value.heap_bytes(),
            Datum::Array(items) => ARC_HEADER + items.iter().map(|item| size_of::<Datum>() + item.heap_bytes()).sum::<usize>(),
            _ => 0,
        }
    }
}
