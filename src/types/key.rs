//! Keys: values as bytes whose order under `memcmp` is the SQL order, and as integers where one suffices.
//!
//! A column is a marker (0x01 value, 0x02 NULL, so that NULLs sort last) and:
//!
//! - integers, dates, timestamps, OIDs: big-endian with the sign bit flipped, as wide as the type;
//! - boolean: one byte; uuid: its bytes;
//! - floats: IEEE bits, complemented for negatives, sign bit flipped for the others; −0 is 0, NaN is above ∞;
//! - text: its bytes and 0x00 (text has no NUL); `char(n)` without its trailing blanks;
//! - bytea: its bytes with 0x00 written as 0x00 0xFF, then 0x00 0x00;
//! - numeric: a class byte (−∞, negative, zero, positive, ∞, NaN); for finite non-zero values, with the value as
//!   0.d₁d₂… · 10ᵉ, the exponent e as i32 like an integer, each digit + 1, then 0x00; all complemented for negatives. The
//!   display scale is not part of the order and not kept.
//!
//! Composite keys are the columns one after the other.

use std::sync::Arc;

use num_bigint::{BigInt, BigUint, Sign};

use super::{Datum, Numeric, SqlType};
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};

const VALUE: u8 = 1;
const NULL: u8 = 2;

const NUMERIC_NEG_INFINITY: u8 = 0x08;
const NUMERIC_NEGATIVE: u8 = 0x10;
const NUMERIC_ZERO: u8 = 0x20;
const NUMERIC_POSITIVE: u8 = 0x30;
const NUMERIC_INFINITY: u8 = 0x38;
const NUMERIC_NAN: u8 = 0x40;

/// Whether a single key column of this type is stored as an integer key.
pub fn is_integer_key(ty: SqlType) -> bool {
    matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Date | SqlType::Timestamp | SqlType::TimestampTz)
}

/// The integer key of a value; `None` for NULL and for types that have none.
#[inline]
pub fn datum_to_i64_key(value: &Datum) -> Option<i64> {
    Some(match value {
        Datum::Int2(v) => i64::from(*v),
        Datum::Int4(v) | Datum::Date(v) => i64::from(*v),
        Datum::Int8(v) | Datum::Timestamp(v) | Datum::TimestampTz(v) => *v,
        _ => return None,
    })
}

/// The value of an integer key; `None` if it is out of the type's range.
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

/// Appends a value's key. Text of `char(n)` must be encoded as such: pass its type.
pub fn encode_key(value: &Datum, ty: SqlType, out: &mut Vec<u8>) -> SqlResult<()> {
    if value.is_null() {
        out.push(NULL);
        return Ok(());
    }
    out.push(VALUE);
    match value {
        Datum::Bool(v) => out.push(u8::from(*v)),
        Datum::Char(v) => out.push(*v),
        Datum::Int2(v) => out.extend_from_slice(&(v ^ i16::MIN).to_be_bytes()),
        Datum::Int4(v) | Datum::Date(v) => out.extend_from_slice(&(v ^ i32::MIN).to_be_bytes()),
        Datum::Int8(v) | Datum::Timestamp(v) | Datum::TimestampTz(v) => {
            out.extend_from_slice(&(v ^ i64::MIN).to_be_bytes());
        }
        Datum::Oid(v) => out.extend_from_slice(&v.0.to_be_bytes()),
        Datum::Float4(v) => out.extend_from_slice(&order_f32(*v).to_be_bytes()),
        Datum::Float8(v) => out.extend_from_slice(&order_f64(*v).to_be_bytes()),
        Datum::Uuid(v) => out.extend_from_slice(v),
        Datum::Text(v) => {
            let text = if ty == SqlType::Bpchar { v.trim_end_matches(' ') } else { v };
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        Datum::Bytea(v) => {
            for byte in v.iter() {
                out.push(*byte);
                if *byte == 0 {
                    out.push(0xff);
                }
            }
            out.extend_from_slice(&[0, 0]);
        }
        Datum::Numeric(v) => encode_numeric(v, out),
        Datum::Null | Datum::Interval(_) | Datum::Array(_) => {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("a key column of type {ty:?} is not supported")));
        }
    }
    Ok(())
}

fn order_f32(value: f32) -> u32 {
    let value = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f32::NAN.abs()
    } else {
        value
    };
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn order_f64(value: f64) -> u64 {
    let value = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN.abs()
    } else {
        value
    };
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn encode_numeric(value: &Numeric, out: &mut Vec<u8>) {
    let (unscaled, scale) = match value {
        Numeric::NaN => return out.push(NUMERIC_NAN),
        Numeric::Infinity => return out.push(NUMERIC_INFINITY),
        Numeric::NegInfinity => return out.push(NUMERIC_NEG_INFINITY),
        Numeric::Finite { unscaled, scale } => (unscaled, *scale),
    };
    let negative = match unscaled.sign() {
        Sign::NoSign => return out.push(NUMERIC_ZERO),
        Sign::Minus => true,
        Sign::Plus => false,
    };
    out.push(if negative { NUMERIC_NEGATIVE } else { NUMERIC_POSITIVE });
    let start = out.len();
    let digits = unscaled.magnitude().to_radix_be(10);
    let exponent = digits.len() as i64 - i64::from(scale);
    let exponent = i32::try_from(exponent).expect("a numeric has fewer than 2^31 digits");
    out.extend_from_slice(&(exponent ^ i32::MIN).to_be_bytes());
    let significant = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
    out.extend(digits[..significant].iter().map(|digit| digit + 1));
    out.push(0);
    if negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

/// Reads one column's key; the rest of the key stays in `key`.
pub fn decode_key(ty: SqlType, key: &mut &[u8]) -> SqlResult<Datum> {
    let malformed = || SqlError::new(SqlState::DATA_CORRUPTED, "malformed key");
    match take(key, 1).ok_or_else(malformed)?[0] {
        NULL => return Ok(Datum::Null),
        VALUE => {}
        _ => return Err(malformed()),
    }
    decode_value(ty, key).ok_or_else(malformed)
}

fn take<'a>(key: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = key.split_at_checked(len)?;
    *key = rest;
    Some(head)
}

fn array<const N: usize>(key: &mut &[u8]) -> Option<[u8; N]> {
    take(key, N)?.try_into().ok()
}

fn decode_value(ty: SqlType, key: &mut &[u8]) -> Option<Datum> {
    let int4 = |key: &mut &[u8]| Some(i32::from_be_bytes(array(key)?) ^ i32::MIN);
    let int8 = |key: &mut &[u8]| Some(i64::from_be_bytes(array(key)?) ^ i64::MIN);
    Some(match ty {
        SqlType::Bool => Datum::Bool(take(key, 1)?[0] != 0),
        SqlType::Char => Datum::Char(take(key, 1)?[0]),
        SqlType::Int2 => Datum::Int2(i16::from_be_bytes(array(key)?) ^ i16::MIN),
        SqlType::Int4 => Datum::Int4(int4(key)?),
        SqlType::Date => Datum::Date(int4(key)?),
        SqlType::Int8 => Datum::Int8(int8(key)?),
        SqlType::Timestamp => Datum::Timestamp(int8(key)?),
        SqlType::TimestampTz => Datum::TimestampTz(int8(key)?),
        SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => {
            Datum::Oid(Oid(u32::from_be_bytes(array(key)?)))
        }
        SqlType::Float4 => {
            let bits = u32::from_be_bytes(array(key)?);
            Datum::Float4(f32::from_bits(if bits >> 31 == 1 { bits ^ 1 << 31 } else { !bits }))
        }
        SqlType::Float8 => {
            let bits = u64::from_be_bytes(array(key)?);
            Datum::Float8(f64::from_bits(if bits >> 63 == 1 { bits ^ 1 << 63 } else { !bits }))
        }
        SqlType::Uuid => Datum::Uuid(array(key)?),
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Name | SqlType::Unknown => {
            let end = key.iter().position(|byte| *byte == 0)?;
            let text = std::str::from_utf8(take(key, end)?).ok()?;
            take(key, 1)?;
            Datum::Text(Arc::from(text))
        }
        SqlType::Bytea => Datum::Bytea(Arc::from(decode_bytes(key)?)),
        SqlType::Numeric => Datum::Numeric(Arc::new(decode_numeric(key)?)),
        _ => return None,
    })
}

fn decode_bytes(key: &mut &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match take(key, 1)?[0] {
            0 => match take(key, 1)?[0] {
                0 => return Some(bytes),
                0xff => bytes.push(0),
                _ => return None,
            },
            byte => bytes.push(byte),
        }
    }
}

fn decode_numeric(key: &mut &[u8]) -> Option<Numeric> {
    let zero = || Numeric::Finite { unscaled: BigInt::ZERO, scale: 0 };
    let negative = match take(key, 1)?[0] {
        NUMERIC_NEG_INFINITY => return Some(Numeric::NegInfinity),
        NUMERIC_INFINITY => return Some(Numeric::Infinity),
        NUMERIC_NAN => return Some(Numeric::NaN),
        NUMERIC_ZERO => return Some(zero()),
        NUMERIC_NEGATIVE => true,
        NUMERIC_POSITIVE => false,
        _ => return None,
    };
    let flip = |byte: u8| if negative { !byte } else { byte };
    let exponent = i32::from_be_bytes(array::<4>(key)?.map(flip)) ^ i32::MIN;
    let mut digits = Vec::new();
    loop {
        match flip(take(key, 1)?[0]) {
            0 => break,
            digit @ 1..=10 => digits.push(digit - 1),
            _ => return None,
        }
    }
    // A numeric of PostgreSQL has at most 131072 digits before and 16383 after the point.
    let scale = (digits.len() as i64 - i64::from(exponent)).max(0);
    let missing = (i64::from(exponent) - digits.len() as i64).max(0);
    if scale > 200_000 || missing > 200_000 {
        return None;
    }
    digits.resize(digits.len() + missing as usize, 0);
    let magnitude = BigUint::from_radix_be(&digits, 10)?;
    let sign = if negative { Sign::Minus } else { Sign::Plus };
    Some(Numeric::Finite { unscaled: BigInt::from_biguint(sign, magnitude), scale: scale as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn key(value: &Datum, ty: SqlType) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(value, ty, &mut out).unwrap();
        out
    }

    fn numeric(unscaled: i64, scale: u32) -> Datum {
        Datum::Numeric(Arc::new(Numeric::Finite { unscaled: BigInt::from(unscaled), scale }))
    }

    /// Ascending lists, one a type.
    #[test]
    fn keys_sort_as_values_do() {
        let text = |t: &str| Datum::Text(Arc::from(t));
        let special = |n: Numeric| Datum::Numeric(Arc::new(n));
        let lists: Vec<(SqlType, Vec<Datum>)> = vec![
            (SqlType::Int4, vec![i32::MIN, -1, 0, 1, i32::MAX].into_iter().map(Datum::Int4).chain([Datum::Null]).collect()),
            (SqlType::Int8, vec![i64::MIN, -256, -1, 0, 255, i64::MAX].into_iter().map(Datum::Int8).collect()),
            (
                SqlType::Float8,
                vec![f64::NEG_INFINITY, -1e300, -1.5, -1e-300, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN]
                    .into_iter()
                    .map(Datum::Float8)
                    .collect(),
            ),
            (SqlType::Text, vec![text(""), text("a"), text("a\u{1}"), text("aa"), text("b"), text("é"), Datum::Null]),
            (SqlType::Bpchar, vec![text("a\u{1}"), text("a b"), text("b  ")]),
            (
                SqlType::Bytea,
                [&b""[..], b"\0", b"\0\0", b"\0a", b"a", b"a\0", b"\xff"].iter().map(|b| Datum::Bytea(Arc::from(*b))).collect(),
            ),
            (
                SqlType::Numeric,
                vec![
                    special(Numeric::NegInfinity),
                    numeric(-1000, 0),
                    numeric(-999, 0),
                    numeric(-12, 1),
                    numeric(-1, 3),
                    numeric(0, 2),
                    numeric(1, 3),
                    numeric(99, 3),
                    numeric(1, 1),
                    numeric(101, 3),
                    numeric(10, 0),
                    numeric(12345, 2),
                    special(Numeric::Infinity),
                    special(Numeric::NaN),
                ],
            ),
        ];
        for (ty, list) in lists {
            for pair in list.windows(2) {
                assert_eq!(key(&pair[0], ty).cmp(&key(&pair[1], ty)), Ordering::Less, "{ty:?}: {pair:?}");
            }
        }
        assert_eq!(key(&numeric(150, 2), SqlType::Numeric), key(&numeric(15, 1), SqlType::Numeric), "scale is no part of it");
        assert_eq!(key(&Datum::Float8(-0.0), SqlType::Float8), key(&Datum::Float8(0.0), SqlType::Float8));
        assert_eq!(key(&text("a "), SqlType::Bpchar), key(&text("a"), SqlType::Bpchar));
    }

    proptest! {
        #[test]
        fn composites_survive_and_sort(a in any::<(i32, String, i64, u8)>(), b in any::<(i32, String, i64, u8)>()) {
            let clean = |(i, t, n, s): (i32, String, i64, u8)| (i % 3, t.replace('\0', ""), n, s % 4);
            let (a, b) = (clean(a), clean(b));
            let encode = |(i, t, n, s): &(i32, String, i64, u8)| {
                let mut out = Vec::new();
                encode_key(&Datum::Int4(*i), SqlType::Int4, &mut out).unwrap();
                encode_key(&Datum::Text(Arc::from(&t[..])), SqlType::Text, &mut out).unwrap();
                encode_key(&numeric(*n, u32::from(*s)), SqlType::Numeric, &mut out).unwrap();
                out
            };
            let value = |n: i64, s: u8| i128::from(n) * 10i128.pow(u32::from(4 - s));
            let expected = (a.0, a.1.as_bytes(), value(a.2, a.3)).cmp(&(b.0, b.1.as_bytes(), value(b.2, b.3)));
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), expected);
            let bytes = encode(&a);
            let mut rest = &bytes[..];
            prop_assert_eq!(decode_key(SqlType::Int4, &mut rest).unwrap().as_i64(), Some(i64::from(a.0)));
            prop_assert!(matches!(decode_key(SqlType::Text, &mut rest).unwrap(), Datum::Text(t) if *t == *a.1));
            let back = decode_key(SqlType::Numeric, &mut rest).unwrap();
            prop_assert_eq!(key(&back, SqlType::Numeric), key(&numeric(a.2, u32::from(a.3)), SqlType::Numeric));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), pick in 0usize..8) {
            let types = [SqlType::Int4, SqlType::Text, SqlType::Bytea, SqlType::Numeric, SqlType::Float8, SqlType::Uuid, SqlType::Bool, SqlType::Oid];
            let _ = decode_key(types[pick], &mut &bytes[..]);
        }
    }
}
