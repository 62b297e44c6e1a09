//! The binary wire format of every type (the `…send` and `…recv` functions of PostgreSQL's adt).

use std::sync::Arc;

use super::datetime::calendar::{DATE_END, DATE_MIN, TIMESTAMP_END, TIMESTAMP_MIN, date_out_of_range, timestamp_out_of_range};
use super::text::check_no_nul;
use super::{Datum, Interval, Numeric, SqlType, array};
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};

/// 08P01, when a value is shorter than its type.
pub(super) fn too_short() -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message")
}

/// 22P03, when a value is longer than its type or makes no sense.
pub(super) fn malformed() -> SqlError {
    SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format")
}

fn exactly<const N: usize>(bytes: &[u8]) -> SqlResult<[u8; N]> {
    <[u8; N]>::try_from(bytes).map_err(|_| if bytes.len() < N { too_short() } else { malformed() })
}

/// The bytes as text. 22021 for invalid UTF-8 or a NUL, naming the bytes as pg_verify_mbstr does.
pub fn utf8(bytes: &[u8]) -> SqlResult<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let bad = &bytes[error.valid_up_to()..];
        // As many bytes as the first one announces, if they are there (report_invalid_encoding).
        let announced = match bad[0] {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        let listed: Vec<String> = bad.iter().take(announced).map(|byte| format!("0x{byte:02x}")).collect();
        SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", listed.join(" ")),
        )
    })?;
    check_no_nul(bytes)?;
    Ok(text)
}

/// Reads a value in binary format, without its length word. 08P01 or 22P03 for a wrong length, 22021 for invalid UTF-8, 22008
/// for dates beyond the limits.
pub fn from_binary(ty: SqlType, bytes: &[u8]) -> SqlResult<Datum> {
    Ok(match ty {
        SqlType::Int4 => Datum::Int4(i32::from_be_bytes(exactly(bytes)?)),
        SqlType::Int8 => Datum::Int8(i64::from_be_bytes(exactly(bytes)?)),
        SqlType::Int2 => Datum::Int2(i16::from_be_bytes(exactly(bytes)?)),
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Unknown => Datum::Text(Arc::from(utf8(bytes)?)),
        SqlType::Name => {
            let text = utf8(bytes)?;
            if text.len() > 63 {
                return Err(SqlError::new(SqlState::NAME_TOO_LONG, "identifier too long")
                    .detail("Identifier must be less than 64 characters."));
            }
            Datum::text(text)
        }
        SqlType::Bool => Datum::Bool(exactly::<1>(bytes)? != [0]),
        SqlType::Float4 => Datum::Float4(f32::from_be_bytes(exactly(bytes)?)),
        SqlType::Float8 => Datum::Float8(f64::from_be_bytes(exactly(bytes)?)),
        SqlType::Numeric => Datum::numeric(Numeric::from_binary(bytes)?),
        SqlType::Bytea => Datum::Bytea(Arc::from(bytes)),
        SqlType::Date => Datum::Date(read_date(i32::from_be_bytes(exactly(bytes)?))?),
        SqlType::Timestamp => Datum::Timestamp(read_timestamp(i64::from_be_bytes(exactly(bytes)?))?),
        SqlType::TimestampTz => Datum::TimestampTz(read_timestamp(i64::from_be_bytes(exactly(bytes)?))?),
        SqlType::Uuid => Datum::Uuid(exactly(bytes)?),
        SqlType::Char => Datum::Char(exactly::<1>(bytes)?[0]),
        SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => {
            Datum::Oid(Oid(u32::from_be_bytes(exactly(bytes)?)))
        }
        SqlType::Interval => {
            let all: [u8; 16] = exactly(bytes)?;
            let word = |at: usize| i32::from_be_bytes([all[at], all[at + 1], all[at + 2], all[at + 3]]);
            let micros = i64::from_be_bytes(*all.first_chunk().expect("16 bytes"));
            Datum::Interval(Interval { months: word(12), days: word(8), micros })
        }
        SqlType::Array(element) => Datum::Array(array::from_binary(element.scalar(), bytes)?),
        SqlType::Void => return Err(SqlError::unsupported("input of type void")),
        SqlType::Record => return Err(SqlError::unsupported("input of anonymous composite types")),
    })
}

fn read_date(days: i32) -> SqlResult<i32> {
    let finite = (DATE_MIN..DATE_END).contains(&i64::from(days));
    if finite || days == i32::MIN || days == i32::MAX { Ok(days) } else { Err(date_out_of_range()) }
}

fn read_timestamp(micros: i64) -> SqlResult<i64> {
    let finite = (TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros);
    if finite || micros == i64::MIN || micros == i64::MAX { Ok(micros) } else { Err(timestamp_out_of_range()) }
}

/// Appends a value's binary format, without a length word. NULL is the caller's business and appends nothing.
pub fn write_binary(datum: &Datum, ty: SqlType, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Int2(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Int4(value) | Datum::Date(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Int8(value) | Datum::Timestamp(value) | Datum::TimestampTz(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Oid(Oid(value)) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Float4(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Float8(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Numeric(value) => value.write_binary(out),
        Datum::Text(text) => out.extend_from_slice(text.as_bytes()),
        Datum::Bytea(bytes) => out.extend_from_slice(bytes),
        Datum::Uuid(bytes) => out.extend_from_slice(bytes),
        Datum::Char(byte) => out.push(*byte),
        Datum::Interval(value) => {
            out.extend_from_slice(&value.micros.to_be_bytes());
            out.extend_from_slice(&value.days.to_be_bytes());
            out.extend_from_slice(&value.months.to_be_bytes());
        }
        Datum::Array(items) => array::write_binary(items, ty.element().unwrap_or(SqlType::Text), out),
    }
}
