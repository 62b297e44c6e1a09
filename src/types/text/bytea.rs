//! `bytea`: hex and escape formats (bytea.c).

use super::scalar::HEX;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::format::ByteaOutput;

fn invalid_hex(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// `\x…`, or the escape format.
pub(super) fn parse(text: &str) -> SqlResult<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => parse_hex(hex),
        None => parse_escape(text.as_bytes())
            .ok_or_else(|| SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea")),
    }
}

/// Pairs of hex digits, blanks between pairs.
fn parse_hex(text: &str) -> SqlResult<Vec<u8>> {
    let digit = |c: char| {
        c.to_digit(16).map(|digit| digit as u8).ok_or_else(|| invalid_hex(format!("invalid hexadecimal digit: \"{c}\"")))
    };
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    while let Some(first) = chars.next() {
        if matches!(first, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(first)?;
        let second = chars.next().ok_or_else(|| invalid_hex("invalid hexadecimal data: odd number of digits".to_owned()))?;
        out.push(high << 4 | digit(second)?);
    }
    Ok(out)
}

/// `\\` for a backslash, `\ooo` for any byte, everything else as it is.
fn parse_escape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            [b'\\', tail @ ..] => {
                out.push(b'\\');
                tail
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            _ => return None,
        };
    }
    out.extend_from_slice(rest);
    Some(out)
}

pub(super) fn write(bytes: &[u8], format: ByteaOutput, out: &mut Vec<u8>) {
    match format {
        ByteaOutput::Hex => {
            out.reserve(2 + bytes.len() * 2);
            out.extend_from_slice(b"\\x");
            out.extend(bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
        }
        ByteaOutput::Escape => {
            for byte in bytes {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b' '..=b'~' => out.push(*byte),
                    _ => out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
                }
            }
        }
    }
}
