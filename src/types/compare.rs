//! Order, equality and hashing of datums.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use num_traits::Zero;

use super::datetime::calendar::DAY_MICROS;
use super::{Datum, Interval, Numeric, SessionFormat, SqlType};
use crate::base::Oid;

/// Compares two values of one type or of one family: any two numbers, any two of date, timestamp and timestamptz (read in
/// UTC, see [`compare_in_zone`]), two strings (bytewise: the collation is "C"). A total order: NULL equals NULL and sorts last,
/// NaN equals NaN and sorts above all numbers, −0 equals 0. Blank-padded strings need [`compare_as`].
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    use Datum::*;
    match (a, b) {
        (Int4(a), Int4(b)) => a.cmp(b),
        (Int8(a), Int8(b)) | (Timestamp(a), Timestamp(b)) | (TimestampTz(a), TimestampTz(b)) => a.cmp(b),
        (Text(a), Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Int2(a), Int2(b)) => a.cmp(b),
        (Date(a), Date(b)) => a.cmp(b),
        (Bool(a), Bool(b)) => a.cmp(b),
        (Bytea(a), Bytea(b)) => a.cmp(b),
        (Uuid(a), Uuid(b)) => a.cmp(b),
        (Char(a), Char(b)) => a.cmp(b),
        (Oid(a), Oid(b)) => a.cmp(b),
        (Interval(a), Interval(b)) => interval_key(*a).cmp(&interval_key(*b)),
        (Numeric(a), Numeric(b)) => a.cmp(b),
        (Array(a), Array(b)) => compare_arrays(a, b),
        (Null, Null) => Ordering::Equal,
        (Null, _) => Ordering::Greater,
        (_, Null) => Ordering::Less,
        (Date(_) | Timestamp(_) | TimestampTz(_), Date(_) | Timestamp(_) | TimestampTz(_)) => micros(a).cmp(&micros(b)),
        _ => compare_numbers(a, b),
    }
}

/// [`compare`] for values of a known type: trailing blanks of `char(n)` do not count.
pub fn compare_as(ty: SqlType, a: &Datum, b: &Datum) -> Ordering {
    match (ty, a, b) {
        (SqlType::Bpchar, Datum::Text(a), Datum::Text(b)) => compare_bpchar(a, b),
        _ => compare(a, b),
    }
}

/// Two `char(n)` values: trailing blanks do not count.
pub fn compare_bpchar(a: &str, b: &str) -> Ordering {
    trim_blanks(a).cmp(trim_blanks(b))
}

/// Without trailing blanks. Only the blank counts, not other white space (bpcharcmp).
pub fn trim_blanks(text: &str) -> &str {
    text.trim_end_matches(' ')
}

/// [`compare`] where a timestamptz may meet a date or timestamp, which are then read in the session's zone.
pub fn compare_in_zone(a: &Datum, b: &Datum, format: &SessionFormat) -> Ordering {
    let instant = |datum: &Datum| match datum {
        Datum::TimestampTz(micros) => i128::from(*micros),
        // A local time near the limits may be beyond them as an instant; it then keeps its place at the end.
        _ => match micros(datum) {
            infinite if infinite == i128::from(i64::MIN) || infinite == i128::from(i64::MAX) => infinite,
            local => i64::try_from(local).ok().and_then(|local| format.from_local(local).ok()).map_or(local, i128::from),
        },
    };
    match (a, b) {
        (Datum::TimestampTz(_), Datum::Date(_) | Datum::Timestamp(_))
        | (Datum::Date(_) | Datum::Timestamp(_), Datum::TimestampTz(_)) => instant(a).cmp(&instant(b)),
        _ => compare(a, b),
    }
}

/// Microseconds since 2000, wide enough for the last dates, which are beyond the last timestamp.
fn micros(datum: &Datum) -> i128 {
    match datum {
        Datum::Date(i32::MIN) => i128::from(i64::MIN),
        // Infinity is above every date, also above those that have no timestamp.
        Datum::Date(i32::MAX) | Datum::Timestamp(i64::MAX) | Datum::TimestampTz(i64::MAX) => i128::from(i64::MAX) << 16,
        Datum::Date(days) => i128::from(*days) * i128::from(DAY_MICROS),
        Datum::Timestamp(micros) | Datum::TimestampTz(micros) => i128::from(*micros),
        _ => 0,
    }
}

/// An interval's length with months of 30 days and days of 24 hours (interval_cmp_value).
fn interval_key(interval: Interval) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * i128::from(DAY_MICROS) + i128::from(interval.micros)
}

/// Element by element, then the shorter first. NULL elements sort last.
fn compare_arrays(a: &[Datum], b: &[Datum]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// Floats in PostgreSQL's order.
pub fn compare_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
        (a, b) => a.cmp(&b),
    }
}

fn compare_numbers(a: &Datum, b: &Datum) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    let exact = |datum: &Datum| match datum {
        Datum::Numeric(value) => Some((**value).clone()),
        other => other.as_i64().map(Numeric::from),
    };
    let float = |datum: &Datum| match datum {
        Datum::Numeric(value) => Some(value.to_f64()),
        #[expect(clippy::cast_precision_loss, reason = "PostgreSQL casts to double precision too")]
        other => other.as_f64().or_else(|| other.as_i64().map(|value| value as f64)),
    };
    match (exact(a), exact(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => match (float(a), float(b)) {
            (Some(a), Some(b)) => compare_floats(a, b),
            // The binder never compares across families; a fixed order keeps sorting total all the same.
            _ => rank(a).cmp(&rank(b)),
        },
    }
}

fn rank(datum: &Datum) -> u8 {
    match datum {
        Datum::Bool(_) => 0,
        Datum::Int2(_)
        | Datum::Int4(_)
        | Datum::Int8(_)
        | Datum::Float4(_)
        | Datum::Float8(_)
        | Datum::Numeric(_)
        | Datum::Oid(_) => 1,
        Datum::Text(_) => 2,
        Datum::Bytea(_) => 3,
        Datum::Date(_) | Datum::Timestamp(_) | Datum::TimestampTz(_) => 4,
        Datum::Uuid(_) => 5,
        Datum::Char(_) => 6,
        Datum::Interval(_) => 7,
        Datum::Array(_) => 8,
        Datum::Null => 9,
    }
}

/// Feeds a value to a hasher so that values that [`compare_as`] equal hash alike, across all integer types and numeric, and
/// across the float types. (An integer above 2^53 and the float nearest to it compare equal and may hash differently:
/// PostgreSQL has no operator between them either, and the binder casts both sides to double precision.)
pub fn hash_datum<H: Hasher>(ty: SqlType, datum: &Datum, state: &mut H) {
    match datum {
        Datum::Null => state.write_u8(0),
        Datum::Bool(value) => value.hash(state),
        Datum::Int2(value) => state.write_i64(i64::from(*value)),
        Datum::Int4(value) => state.write_i64(i64::from(*value)),
        Datum::Int8(value) => state.write_i64(*value),
        Datum::Oid(Oid(value)) => state.write_i64(i64::from(*value)),
        Datum::Float4(value) => hash_float(f64::from(*value), state),
        Datum::Float8(value) => hash_float(*value, state),
        Datum::Numeric(value) => match value.to_i64_exact() {
            Some(integer) => state.write_i64(integer),
            None => hash_float(value.to_f64(), state),
        },
        Datum::Text(text) if ty == SqlType::Bpchar => trim_blanks(text).hash(state),
        Datum::Text(text) => text.hash(state),
        Datum::Bytea(bytes) => bytes.hash(state),
        Datum::Date(_) | Datum::Timestamp(_) | Datum::TimestampTz(_) => state.write_i128(micros(datum)),
        Datum::Uuid(bytes) => state.write(bytes),
        Datum::Char(byte) => state.write_u8(*byte),
        Datum::Interval(interval) => state.write_i128(interval_key(*interval)),
        Datum::Array(items) => {
            state.write_usize(items.len());
            let element = ty.element().unwrap_or(ty);
            items.iter().for_each(|item| hash_datum(element, item, state));
        }
    }
}

fn hash_float<H: Hasher>(value: f64, state: &mut H) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.is_zero() {
        state.write_i64(0);
    } else if value.is_nan() {
        state.write_u64(f64::NAN.to_bits());
    } else if value.abs() <= EXACT && value.fract() == 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "an integer of at most 2^53")]
        state.write_i64(value as i64);
    } else {
        state.write_u64(value.to_bits());
    }
}
