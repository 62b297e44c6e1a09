//! One-dimensional arrays: the `{…}` text format and the binary format (arrayfuncs.c).

use std::sync::Arc;

use super::binary::{self, malformed, too_short};
use super::{Datum, SessionFormat, SqlType, parse_text, write_text};
use crate::error::{SqlError, SqlResult, SqlState};

/// Most elements of an array (PostgreSQL's MaxArraySize).
const ELEMENTS_MAX: usize = 134_217_727;

fn malformed_literal(text: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\"")).detail(detail)
}

/// Reads `{a,"b c",NULL}`. Arrays of several dimensions and with bounds are 0A000.
pub(super) fn parse(element: SqlType, typmod: i32, text: &str, format: &SessionFormat) -> SqlResult<Arc<[Datum]>> {
    let trimmed = super::text::trim_space(text);
    if trimmed.starts_with('[') {
        return Err(SqlError::unsupported("an array literal with bounds"));
    }
    let Some(body) = trimmed.strip_prefix('{') else {
        return Err(malformed_literal(text, "Array value must start with \"{\" or dimension information."));
    };
    let mut items = Vec::new();
    let mut rest = skip_space(body);
    if let Some(tail) = rest.strip_prefix('}') {
        return if tail.is_empty() {
            Ok(Arc::from(items))
        } else {
            Err(malformed_literal(text, "Junk after closing right brace."))
        };
    }
    loop {
        if rest.starts_with('{') {
            return Err(SqlError::unsupported("a multidimensional array"));
        }
        let (item, quoted, tail) = next_item(rest, text)?;
        items.push(if !quoted && item.eq_ignore_ascii_case("null") {
            Datum::Null
        } else {
            parse_text(element, typmod, &item, format)?
        });
        if items.len() > ELEMENTS_MAX {
            return Err(too_many());
        }
        rest = match tail.as_bytes().first() {
            Some(b',') => skip_space(&tail[1..]),
            Some(b'}') if tail.len() == 1 => return Ok(Arc::from(items)),
            Some(b'}') => return Err(malformed_literal(text, "Junk after closing right brace.")),
            Some(_) => return Err(malformed_literal(text, "Incorrectly quoted array element.")),
            None => return Err(malformed_literal(text, "Unexpected end of input.")),
        };
    }
}

fn too_many() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})"))
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
}

/// One element: its text without quotes and escapes, whether it was quoted, and what follows it.
fn next_item<'t>(text: &'t str, whole: &str) -> SqlResult<(String, bool, &'t str)> {
    let mut item = String::new();
    let end = || malformed_literal(whole, "Unexpected end of input.");
    if let Some(inner) = text.strip_prefix('"') {
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok((item, true, skip_space(&inner[at + 1..]))),
                '\\' => item.push(chars.next().ok_or_else(end)?.1),
                _ => item.push(c),
            }
        }
        return Err(end());
    }
    // Trailing blanks of a bare element do not count, escaped ones do.
    let mut kept = 0;
    let mut escaped = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | '}' => {
                item.truncate(kept);
                if item.is_empty() {
                    return Err(malformed_literal(whole, &format!("Unexpected \"{c}\" character.")));
                }
                return Ok((item, escaped, &text[at..]));
            }
            '{' => return Err(malformed_literal(whole, "Unexpected \"{\" character.")),
            '"' => return Err(malformed_literal(whole, "Unexpected array element.")),
            '\\' => {
                item.push(chars.next().ok_or_else(end)?.1);
                (kept, escaped) = (item.len(), true);
            }
            _ => {
                item.push(c);
                if !(c.is_ascii_whitespace() || c == '\x0b') {
                    kept = item.len();
                }
            }
        }
    }
    Err(end())
}

/// Appends `{…}`, quoting what would not read back otherwise.
pub(super) fn write(items: &[Datum], element: SqlType, format: &SessionFormat, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut item_text = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if item.is_null() {
            out.extend_from_slice(b"NULL");
            continue;
        }
        item_text.clear();
        write_text(item, element, format, &mut item_text);
        if needs_quotes(&item_text) {
            out.push(b'"');
            for byte in &item_text {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(&item_text);
        }
    }
    out.push(b'}');
}

fn needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r'))
}

/// Reads the binary format: dimensions, a NULL flag, the element type, one (length, lower bound), the elements.
pub(super) fn from_binary(element: SqlType, bytes: &[u8]) -> SqlResult<Arc<[Datum]>> {
    let mut rest = bytes;
    let mut word = || -> SqlResult<i32> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(too_short)?;
        rest = tail;
        Ok(i32::from_be_bytes(*head))
    };
    let (dimensions, flags, oid) = (word()?, word()?, word()?);
    if !matches!(flags, 0 | 1) {
        return Err(SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, "invalid array flags"));
    }
    if oid.cast_unsigned() != element.oid().0 {
        return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, "wrong element type"));
    }
    match dimensions {
        0 => return if rest.is_empty() { Ok(Arc::from([])) } else { Err(malformed()) },
        1 => {}
        _ => return Err(SqlError::unsupported("a multidimensional array")),
    }
    let (count, lower) = (word()?, word()?);
    if lower != 1 {
        return Err(SqlError::unsupported("an array whose first subscript is not 1"));
    }
    let count = usize::try_from(count).map_err(|_| malformed())?;
    // Each element takes at least its length word.
    if count > rest.len() / 4 {
        return Err(too_short());
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(too_short)?;
        rest = tail;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*head)) else {
            items.push(Datum::Null);
            continue;
        };
        let value = rest.get(..length).ok_or_else(too_short)?;
        items.push(binary::from_binary(element, value)?);
        rest = &rest[length..];
    }
    if rest.is_empty() { Ok(Arc::from(items)) } else { Err(malformed()) }
}

/// Appends the binary format.
pub(super) fn write_binary(items: &[Datum], element: SqlType, out: &mut Vec<u8>) {
    let count = i32::try_from(items.len()).expect("ELEMENTS_MAX");
    let has_null = i32::from(items.iter().any(Datum::is_null));
    let dimensions = i32::from(!items.is_empty());
    out.extend([dimensions, has_null, element.oid().0.cast_signed()].iter().flat_map(|word| word.to_be_bytes()));
    if !items.is_empty() {
        out.extend([count, 1].iter().flat_map(|word| word.to_be_bytes()));
    }
    for item in items {
        let at = out.len();
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        if !item.is_null() {
            binary::write_binary(item, element, out);
            let length = i32::try_from(out.len() - at - 4).expect("values are below 1 GB");
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}
