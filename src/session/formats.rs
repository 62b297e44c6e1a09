//! Parameter values as Bind carries them: format codes and bytes.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::response::is_binary;
use crate::types::{Datum, SessionFormat, SqlType, from_binary, parse_text};

/// Format codes as the protocol has them: big-endian 16-bit numbers; none (all text), one for all, or one each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatCodes<'a>(&'a [[u8; 2]]);

impl<'a> FormatCodes<'a> {
    /// The codes in these bytes, an even number of them.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        let (codes, rest) = bytes.as_chunks::<2>();
        assert!(rest.is_empty(), "codes are two bytes each");
        Self(codes)
    }

    /// How many codes there are.
    #[inline]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The codes.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i16> + 'a {
        self.0.iter().map(|code| i16::from_be_bytes(*code))
    }

    /// The code that applies to item `index`.
    #[inline]
    pub fn of(self, index: usize) -> i16 {
        match self.0 {
            [] => 0,
            [one] => i16::from_be_bytes(*one),
            each => i16::from_be_bytes(each[index]),
        }
    }
}

/// A parameter's value.
pub fn parameter(index: usize, ty: SqlType, code: i16, bytes: Option<&[u8]>, format: &SessionFormat) -> SqlResult<Datum> {
    let binary = is_binary(code)?;
    let Some(bytes) = bytes else {
        return Ok(Datum::Null);
    };
    let value = if binary { from_binary(ty, bytes) } else { text(bytes).and_then(|text| parse_text(ty, -1, text, format)) };
    value.map_err(|error| error.context(format!("unnamed portal parameter ${}", index + 1)))
}

/// Text of a client: UTF-8 without NUL, or 22021 naming the bytes at fault as PostgreSQL does.
pub fn text(bytes: &[u8]) -> SqlResult<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => match memchr::memchr(0, bytes) {
            None => Ok(text),
            Some(at) => Err(invalid_text(&bytes[at..])),
        },
        Err(error) => Err(invalid_text(&bytes[error.valid_up_to()..])),
    }
}

/// 22021 for text that goes wrong at the first of these bytes.
#[cold]
pub fn invalid_text(rest: &[u8]) -> SqlError {
    let wanted = match rest[0] {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    };
    let shown: Vec<String> = rest.iter().take(wanted).map(|byte| format!("0x{byte:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
    SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
}

/// An integer in text or binary format, without a datum: the path of point lookups. `None` where anything is unusual; the
/// ordinary path then finds out what.
#[inline]
pub fn integer(ty: SqlType, code: i16, bytes: &[u8]) -> Option<i64> {
    match (code, ty) {
        (0, _) => {
            let value = decimal(bytes)?;
            let fits = match ty {
                SqlType::Int2 => i16::try_from(value).is_ok(),
                SqlType::Int4 => i32::try_from(value).is_ok(),
                SqlType::Int8 => true,
                _ => false,
            };
            fits.then_some(value)
        }
        (1, SqlType::Int2) => Some(i64::from(i16::from_be_bytes(bytes.try_into().ok()?))),
        (1, SqlType::Int4) => Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?))),
        (1, SqlType::Int8) => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// Digits with an optional minus, at most 18 of them.
#[inline]
fn decimal(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_without_a_datum_where_nothing_is_unusual() {
        for (ty, code, bytes, value) in [
            (SqlType::Int4, 0, &b"42"[..], Some(42)),
            (SqlType::Int4, 0, b"-2147483648", Some(-2_147_483_648)),
            (SqlType::Int4, 0, b"2147483648", None),
            (SqlType::Int8, 0, b"2147483648", Some(2_147_483_648)),
            (SqlType::Int8, 0, b"9223372036854775807", None),
            (SqlType::Int4, 0, b" 42", None),
            (SqlType::Int4, 0, b"", None),
            (SqlType::Int4, 0, b"-", None),
            (SqlType::Int2, 0, b"40000", None),
            (SqlType::Int4, 1, b"\0\0\0\x07", Some(7)),
            (SqlType::Int4, 1, b"\0\0\0\0\0\0\0\x07", None),
            (SqlType::Int8, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (SqlType::Int4, 2, b"1", None),
            (SqlType::Text, 0, b"1", None),
        ] {
            assert_eq!(integer(ty, code, bytes), value, "{ty:?} {code} {bytes:?}");
        }
    }

    #[test]
    fn text_holds_no_nul() {
        assert_eq!(text(b"a\xc3\xa4"), Ok("aä"));
        let error = text(b"a\0b").unwrap_err();
        assert_eq!(error.message(), "invalid byte sequence for encoding \"UTF8\": 0x00");
    }
}
