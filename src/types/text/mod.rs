//! The text format of every type (the `…in` and `…out` functions of PostgreSQL's adt).

mod bytea;
mod float;
mod scalar;

use std::sync::Arc;

pub use float::{write_f32, write_f64};
pub(super) use scalar::{parse_bool, parse_int, trim_space, truncate_name};

use super::cast::coerce_to_typmod;
use super::{CastContext, ColumnType, Datum, Numeric, SessionFormat, SqlType, array, datetime};
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};

/// 22P02 with PostgreSQL's message.
pub(super) fn invalid_syntax(ty: SqlType, text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type {}: \"{text}\"", ty.name()))
}

/// 22021 if the text has a NUL, which PostgreSQL's strings cannot hold.
pub(super) fn check_no_nul(bytes: &[u8]) -> SqlResult<()> {
    match memchr::memchr(0, bytes) {
        None => Ok(()),
        Some(_) => Err(SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\": 0x00")),
    }
}

/// Reads a value's text as PostgreSQL's input function does, applying `typmod` as an assignment would (−1 for none): 22P02,
/// 22003, 22007, 22008 or 22001 with PostgreSQL's message.
pub fn parse_text(ty: SqlType, typmod: i32, text: &str, format: &SessionFormat) -> SqlResult<Datum> {
    let datum = match ty {
        SqlType::Int4 => Datum::Int4(parse_int(ty, text)?),
        SqlType::Int8 => Datum::Int8(parse_int(ty, text)?),
        SqlType::Int2 => Datum::Int2(parse_int(ty, text)?),
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Unknown => {
            check_no_nul(text.as_bytes())?;
            Datum::Text(Arc::from(text))
        }
        SqlType::Bool => Datum::Bool(parse_bool(text).ok_or_else(|| invalid_syntax(ty, text))?),
        SqlType::Float4 => Datum::Float4(float::parse_f32(text)?),
        SqlType::Float8 => Datum::Float8(float::parse_f64(text)?),
        SqlType::Numeric => Datum::numeric(Numeric::parse(text)?),
        SqlType::Bytea => Datum::Bytea(Arc::from(bytea::parse(text)?)),
        SqlType::Date => Datum::Date(datetime::parse_date(text, format)?),
        SqlType::Timestamp => Datum::Timestamp(datetime::parse_timestamp(text, format)?),
        SqlType::TimestampTz => Datum::TimestampTz(datetime::parse_timestamptz(text, format)?),
        SqlType::Interval => Datum::Interval(datetime::parse_interval(text)?),
        SqlType::Uuid => Datum::Uuid(scalar::parse_uuid(text).ok_or_else(|| invalid_syntax(ty, text))?),
        SqlType::Char => Datum::Char(text.as_bytes().first().copied().unwrap_or(0)),
        SqlType::Name => {
            check_no_nul(text.as_bytes())?;
            Datum::text(truncate_name(text))
        }
        SqlType::Oid => Datum::Oid(Oid(scalar::parse_oid(text)?)),
        SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => Datum::Oid(scalar::parse_reg(ty, text)?),
        SqlType::Array(element) => Datum::Array(array::parse(element.scalar(), typmod, text, format)?),
        SqlType::Void => return Err(SqlError::unsupported("input of type void")),
        SqlType::Record => return Err(SqlError::unsupported("input of anonymous composite types")),
    };
    if typmod < 0 || ty.is_array() {
        return Ok(datum);
    }
    coerce_to_typmod(datum, ColumnType { ty, typmod }, CastContext::Assignment)
}

/// Appends an integer.
pub fn write_int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a value's text. NULL is the caller's business and appends nothing. The reg* types print as numbers: their names are
/// the catalog's business.
pub fn write_text(datum: &Datum, ty: SqlType, format: &SessionFormat, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Datum::Int2(value) => write_int(i64::from(*value), out),
        Datum::Int4(value) => write_int(i64::from(*value), out),
        Datum::Int8(value) => write_int(*value, out),
        Datum::Oid(Oid(value)) => write_int(i64::from(*value), out),
        Datum::Text(text) => out.extend_from_slice(text.as_bytes()),
        Datum::Float4(value) => write_f32(*value, format.extra_float_digits, out),
        Datum::Float8(value) => write_f64(*value, format.extra_float_digits, out),
        Datum::Numeric(value) => value.write(out),
        Datum::Bytea(bytes) => bytea::write(bytes, format.bytea_output, out),
        Datum::Date(days) => datetime::write_date(*days, out),
        Datum::Timestamp(micros) => datetime::write_timestamp(*micros, out),
        Datum::TimestampTz(micros) => datetime::write_timestamptz(*micros, format, out),
        Datum::Uuid(bytes) => scalar::write_uuid(bytes, out),
        Datum::Char(0) => {}
        Datum::Char(byte @ ..0x80) => out.push(*byte),
        // A lone byte above ASCII is not UTF-8; PostgreSQL 16 prints it like this too.
        Datum::Char(byte) => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        Datum::Interval(value) => datetime::write_interval(*value, out),
        Datum::Array(items) => array::write(items, ty.element().unwrap_or(SqlType::Text), format, out),
    }
}
