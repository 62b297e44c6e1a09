//! Memcomparable keys: bytes whose order is the order of the values.
//!
//! | type | bytes |
//! |---|---|
//! | bool, integers, oid, date, timestamps | big-endian, sign bit flipped |
//! | floats | big-endian bits, negative ones inverted, others with the sign bit flipped; −0 as 0, NaN above infinity |
//! | text, bytea, name | the bytes, 0x00 as 00 FF, then 00 01 |
//! | char(n) | as text without trailing blanks |
//! | uuid, "char" | the bytes |
//! | numeric | class byte; exponent; pairs of digits + 1; 00. Negative numbers inverted after the class |
//! | interval | its length as 16 bytes, then the three fields |
//! | array | 01 and the element (or 02 for NULL) each, then 00 |
//!
//! No key is a prefix of another of the same types, so composites are concatenations.

use std::sync::Arc;

use num_bigint::{BigInt, Sign};

use super::compare::trim_blanks;
use super::{Datum, Interval, Numeric, SqlType};
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};

/// Whether key columns may be NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNulls {
    /// As in a primary key: nothing is spent on them, and a NULL is a broken invariant.
    Never,
    /// Each column is preceded by a byte; NULLs sort last.
    Last,
}

const PRESENT: u8 = 1;
const NULL: u8 = 2;

const NUMERIC_NEG_INFINITY: u8 = 1;
const NUMERIC_NEGATIVE: u8 = 2;
const NUMERIC_ZERO: u8 = 3;
const NUMERIC_POSITIVE: u8 = 4;
const NUMERIC_INFINITY: u8 = 5;
const NUMERIC_NAN: u8 = 6;

/// Appends the key of `values`, columns of types `types`. A key's prefix of columns is a prefix of its bytes.
pub fn encode_key(types: &[SqlType], values: &[Datum], nulls: KeyNulls, out: &mut Vec<u8>) {
    assert_eq!(types.len(), values.len(), "one value a key column");
    for (ty, value) in types.iter().zip(values) {
        encode_key_column(*ty, value, nulls, out);
    }
}

/// Appends one column's part of a key.
pub fn encode_key_column(ty: SqlType, value: &Datum, nulls: KeyNulls, out: &mut Vec<u8>) {
    if nulls == KeyNulls::Last {
        out.push(if value.is_null() { NULL } else { PRESENT });
        if value.is_null() {
            return;
        }
    }
    match value {
        Datum::Null => panic!("a NULL in a key without NULLs: NOT NULL is checked before keys are made"),
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Int2(value) => out.extend_from_slice(&(value.cast_unsigned() ^ 1 << 15).to_be_bytes()),
        Datum::Int4(value) | Datum::Date(value) => out.extend_from_slice(&(value.cast_unsigned() ^ 1 << 31).to_be_bytes()),
        Datum::Int8(value) | Datum::Timestamp(value) | Datum::TimestampTz(value) => push_i64(*value, out),
        Datum::Oid(Oid(value)) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Float4(value) => {
            let bits = if value.is_nan() { f32::NAN.to_bits() } else { (value + 0.0).to_bits() };
            let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Datum::Float8(value) => {
            let bits = if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() };
            let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Datum::Text(text) if ty == SqlType::Bpchar => push_bytes(trim_blanks(text).as_bytes(), out),
        Datum::Text(text) => push_bytes(text.as_bytes(), out),
        Datum::Bytea(bytes) => push_bytes(bytes, out),
        Datum::Uuid(bytes) => out.extend_from_slice(bytes),
        Datum::Char(byte) => out.push(*byte),
        Datum::Numeric(value) => push_numeric(value, out),
        Datum::Interval(value) => push_interval(*value, out),
        Datum::Array(items) => {
            let element = ty.element().unwrap_or(ty);
            items.iter().for_each(|item| encode_key_column(element, item, KeyNulls::Last, out));
            out.push(0);
        }
    }
}

fn push_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.cast_unsigned() ^ 1 << 63).to_be_bytes());
}

fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[0, 0xff]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 1]);
}

/// |value| = 0.d₁d₂d₃… · 10^exponent with d₁ ≠ 0: the exponent, then the digits in pairs, each as its value + 1, then 0.
fn push_numeric(value: &Numeric, out: &mut Vec<u8>) {
    let (unscaled, scale) = match value {
        Numeric::NaN => return out.push(NUMERIC_NAN),
        Numeric::Infinity => return out.push(NUMERIC_INFINITY),
        Numeric::NegInfinity => return out.push(NUMERIC_NEG_INFINITY),
        Numeric::Finite { unscaled, scale } => (unscaled, *scale),
    };
    if unscaled.sign() == Sign::NoSign {
        return out.push(NUMERIC_ZERO);
    }
    let negative = unscaled.sign() == Sign::Minus;
    out.push(if negative { NUMERIC_NEGATIVE } else { NUMERIC_POSITIVE });
    let start = out.len();
    let mut digits = unscaled.magnitude().to_radix_be(10);
    let exponent = i64::try_from(digits.len()).expect("below 200000") - i64::from(scale);
    let exponent = i32::try_from(exponent).expect("below 200000");
    out.extend_from_slice(&(exponent.cast_unsigned() ^ 1 << 31).to_be_bytes());
    let significant = digits.iter().rposition(|digit| *digit != 0).expect("not zero") + 1;
    digits.truncate(significant);
    for pair in digits.chunks(2) {
        out.push(pair[0] * 10 + pair.get(1).copied().unwrap_or(0) + 1);
    }
    out.push(0);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Equal intervals ('1 day' and '24 hours') have equal keys: only the length is kept.
fn push_interval(value: Interval, out: &mut Vec<u8>) {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    let micros = days * 86_400_000_000 + i128::from(value.micros);
    out.extend_from_slice(&(micros.cast_unsigned() ^ 1 << 127).to_be_bytes());
}

fn corrupt() -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "malformed index key")
}

/// The values of a key. Equal values have equal keys, so what equality ignores is lost: a numeric's trailing zeros, the blanks
/// of `char(n)`, the sign of −0, how an interval's length is split. XX001 for bytes that are no key.
pub fn decode_key(types: &[SqlType], nulls: KeyNulls, bytes: &[u8]) -> SqlResult<Vec<Datum>> {
    let mut rest = bytes;
    let values = types.iter().map(|ty| decode_column(*ty, nulls, &mut rest)).collect::<Option<Vec<_>>>();
    values.filter(|_| rest.is_empty()).ok_or_else(corrupt)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn decode_column(ty: SqlType, nulls: KeyNulls, rest: &mut &[u8]) -> Option<Datum> {
    if nulls == KeyNulls::Last {
        match take::<1>(rest)?[0] {
            PRESENT => {}
            NULL => return Some(Datum::Null),
            _ => return None,
        }
    }
    let int4 = |rest: &mut &[u8]| Some((u32::from_be_bytes(take(rest)?) ^ 1 << 31).cast_signed());
    let int8 = |rest: &mut &[u8]| Some((u64::from_be_bytes(take(rest)?) ^ 1 << 63).cast_signed());
    Some(match ty {
        SqlType::Bool => Datum::Bool(match take::<1>(rest)? {
            [0] => false,
            [1] => true,
            _ => return None,
        }),
        SqlType::Int2 => Datum::Int2((u16::from_be_bytes(take(rest)?) ^ 1 << 15).cast_signed()),
        SqlType::Int4 => Datum::Int4(int4(rest)?),
        SqlType::Int8 => Datum::Int8(int8(rest)?),
        SqlType::Date => Datum::Date(int4(rest)?),
        SqlType::Timestamp => Datum::Timestamp(int8(rest)?),
        SqlType::TimestampTz => Datum::TimestampTz(int8(rest)?),
        SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => {
            Datum::Oid(Oid(u32::from_be_bytes(take(rest)?)))
        }
        SqlType::Float4 => {
            let bits = u32::from_be_bytes(take(rest)?);
            Datum::Float4(f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits }))
        }
        SqlType::Float8 => {
            let bits = u64::from_be_bytes(take(rest)?);
            Datum::Float8(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }))
        }
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Name | SqlType::Unknown => {
            Datum::Text(Arc::from(String::from_utf8(take_bytes(rest)?).ok()?))
        }
        SqlType::Bytea => Datum::Bytea(Arc::from(take_bytes(rest)?)),
        SqlType::Uuid => Datum::Uuid(take(rest)?),
        SqlType::Char => Datum::Char(take::<1>(rest)?[0]),
        SqlType::Numeric => Datum::numeric(take_numeric(rest)?),
        SqlType::Interval => Datum::Interval(take_interval(rest)?),
        SqlType::Array(element) => {
            let mut items = Vec::new();
            while rest.first()? != &0 {
                items.push(decode_column(element.scalar(), KeyNulls::Last, rest)?);
            }
            *rest = &rest[1..];
            Datum::Array(Arc::from(items))
        }
        SqlType::Void | SqlType::Record => return None,
    })
}

fn take_bytes(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let at = memchr::memchr(0, rest)?;
        bytes.extend_from_slice(&rest[..at]);
        let escape = *rest.get(at + 1)?;
        *rest = &rest[at + 2..];
        match escape {
            1 => return Some(bytes),
            0xff => bytes.push(0),
            _ => return None,
        }
    }
}

fn take_numeric(rest: &mut &[u8]) -> Option<Numeric> {
    let class = take::<1>(rest)?[0];
    let flip = match class {
        NUMERIC_NAN => return Some(Numeric::NaN),
        NUMERIC_INFINITY => return Some(Numeric::Infinity),
        NUMERIC_NEG_INFINITY => return Some(Numeric::NegInfinity),
        NUMERIC_ZERO => return Some(Numeric::zero()),
        NUMERIC_POSITIVE => 0,
        NUMERIC_NEGATIVE => 0xff,
        _ => return None,
    };
    let exponent = (u32::from_be_bytes(take::<4>(rest)?.map(|byte| byte ^ flip)) ^ 1 << 31).cast_signed();
    let end = rest.iter().position(|byte| byte ^ flip == 0)?;
    let pairs = rest[..end].iter().map(|byte| (byte ^ flip) - 1);
    let mut digits: Vec<u8> = pairs.flat_map(|pair| [pair / 10, pair % 10]).collect();
    *rest = &rest[end + 1..];
    let significant = digits.iter().rposition(|digit| *digit != 0)? + 1;
    digits.truncate(significant);
    let unscaled = BigInt::from_radix_be(if flip == 0 { Sign::Plus } else { Sign::Minus }, &digits, 10)?;
    const EXPONENT_LIMIT: i64 = 200_000;
    let scale = i64::try_from(digits.len()).ok()? - i64::from(exponent);
    if scale.abs() > EXPONENT_LIMIT {
        return None;
    }
    Some(match u32::try_from(scale) {
        Ok(scale) => Numeric::new(unscaled, scale),
        Err(_) => Numeric::new(unscaled * BigInt::from(10_u32).pow(u32::try_from(-scale).ok()?), 0),
    })
}

fn take_interval(rest: &mut &[u8]) -> Option<Interval> {
    let micros = (u128::from_be_bytes(take(rest)?) ^ 1 << 127).cast_signed();
    let days = micros / 86_400_000_000;
    let months = days / 30;
    Some(Interval {
        months: i32::try_from(months).ok()?,
        days: i32::try_from(days % 30).ok()?,
        micros: i64::try_from(micros % 86_400_000_000).ok()?,
    })
}

/// Whether a single key column of this type is stored as a plain integer.
pub fn is_i64_key(ty: SqlType) -> bool {
    matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz)
}

/// The integer key of a value of such a type; `None` for NULL and other types.
pub fn datum_to_i64_key(value: &Datum) -> Option<i64> {
    match value {
        Datum::Int2(v) => Some(i64::from(*v)),
        Datum::Int4(v) | Datum::Date(v) => Some(i64::from(*v)),
        Datum::Int8(v) | Datum::Timestamp(v) | Datum::TimestampTz(v) => Some(*v),
        _ => None,
    }
}

/// The value of an integer key; `None` if the key lies outside the type's range.
pub fn i64_key_to_datum(ty: SqlType, key: i64) -> Option<Datum> {
    Some(match ty {
        SqlType::Int2 => Datum::Int2(i16::try_from(key).ok()?),
        SqlType::Int4 => Datum::Int4(i32::try_from(key).ok()?),
        SqlType::Int8 => Datum::Int8(key),
        SqlType::Date => Datum::Date(i32::try_from(key).ok()?),
        SqlType::Timestamp => Datum::Timestamp(key),
        SqlType::TimestampTz => Datum::TimestampTz(key),
        _ => return None,
    })
}
