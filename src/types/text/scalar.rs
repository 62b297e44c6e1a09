//! Integers, booleans, UUIDs, names and object identifiers.

use super::invalid_syntax;
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::SqlType;

/// C's isspace in the locale "C".
pub(in crate::types) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Without C's white space at both ends.
pub(in crate::types) fn trim_space(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii() && is_space(c as u8))
}

/// An integer of any width, as pg_strtoint32 reads it: blanks around, one sign, decimal digits.
pub(in crate::types) fn parse_int<T: TryFrom<i64>>(ty: SqlType, text: &str) -> SqlResult<T> {
    let bytes = text.as_bytes();
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    // Nearly all input is a sign and a few digits.
    if (1..=18).contains(&digits.len())
        && let Some(value) =
            digits.iter().try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    {
        let value = if digits.len() < bytes.len() { -value } else { value };
        return T::try_from(value).map_err(|_| int_out_of_range(ty, text));
    }
    let trimmed = trim_space(text);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid_syntax(ty, text));
    }
    let value = trimmed.parse::<i64>().ok().and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| int_out_of_range(ty, text))
}

fn int_out_of_range(ty: SqlType, text: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value \"{text}\" is out of range for type {}", ty.name()))
}

/// Any unique prefix of true, false, yes, no, on, off, in any case; 1 and 0 (parse_bool_with_len).
pub(in crate::types) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "t" => return Some(true),
        "f" => return Some(false),
        _ => {}
    }
    let word = trim_space(text).to_ascii_lowercase();
    match word.as_str() {
        "" | "o" => None,
        "1" | "on" => Some(true),
        "0" => Some(false),
        _ if "true".starts_with(&word) || "yes".starts_with(&word) => Some(true),
        _ if "false".starts_with(&word) || "no".starts_with(&word) || "off".starts_with(&word) => Some(false),
        _ => None,
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Hex digits, with a hyphen allowed after every fourth, in braces or not (string_to_uuid).
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = match text.as_bytes() {
        [b'{', inner @ .., b'}'] => inner,
        plain => plain,
    };
    let mut uuid = [0; 16];
    let mut rest = bytes;
    for (index, byte) in uuid.iter_mut().enumerate() {
        let [high, low, tail @ ..] = rest else { return None };
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
        rest = tail;
        if index % 2 == 1 && index < 15 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
    }
    rest.is_empty().then_some(uuid)
}

pub(super) const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn write_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// A name's first 63 bytes, at a character boundary (namein).
pub(in crate::types) fn truncate_name(text: &str) -> &str {
    const NAME_BYTES_MAX: usize = 63;
    &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
}

/// An unsigned number; a negative one wraps, as strtoul has it (oidin).
pub(super) fn parse_oid(text: &str) -> SqlResult<u32> {
    let trimmed = trim_space(text);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid_syntax(SqlType::Oid, text));
    }
    let value = trimmed.parse::<i64>().ok();
    let wrapped = value.and_then(|value| u32::try_from(value).ok().or_else(|| i32::try_from(value).ok().map(i32::cast_unsigned)));
    wrapped.ok_or_else(|| int_out_of_range(SqlType::Oid, text))
}

/// A reg* value by number, or `-` for 0; regtype also by name. Other names are the catalog's business: whoever has one
/// resolves the name before coming here.
pub(super) fn parse_reg(ty: SqlType, text: &str) -> SqlResult<Oid> {
    if text == "-" {
        return Ok(Oid(0));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return parse_oid(text).map(Oid);
    }
    match ty {
        SqlType::Regtype => SqlType::from_name(text)
            .map(SqlType::oid)
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist"))),
        SqlType::Regproc => Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function \"{text}\" does not exist"))),
        _ => Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"))),
    }
}
