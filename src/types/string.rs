//! What the string functions are made of (varlena.c, oracle_compat.c). Positions and lengths count characters.

use crate::error::{SqlError, SqlResult, SqlState};

/// Most bytes of a string result (PostgreSQL's MaxAllocSize).
pub const STRING_BYTES_MAX: usize = 0x3fff_ffff;

/// `length`.
pub fn char_length(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}

/// Byte offset of character `index` (0-based); the end if there are fewer.
fn offset_of(text: &str, index: usize) -> usize {
    if text.is_ascii() {
        return index.min(text.len());
    }
    text.char_indices().nth(index).map_or(text.len(), |(offset, _)| offset)
}

/// `substring(text, start[, length])`: 1-based, a start before the string eats from the length. 22011 for a negative length.
pub fn substring(text: &str, start: i32, length: Option<i32>) -> SqlResult<&str> {
    let from = i64::from(start);
    let to = match length {
        Some(length) if length < 0 => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(length) => from + i64::from(length),
        None => i64::MAX,
    };
    let first = usize::try_from(from - 1).unwrap_or(0);
    let end = usize::try_from(to - 1).unwrap_or(0);
    if end <= first {
        return Ok("");
    }
    let begin = offset_of(text, first);
    let rest = &text[begin..];
    Ok(&rest[..offset_of(rest, end - first)])
}

/// `substring` on bytea.
pub fn substring_bytes(bytes: &[u8], start: i32, length: Option<i32>) -> SqlResult<&[u8]> {
    let from = i64::from(start);
    let to = match length {
        Some(length) if length < 0 => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(length) => from + i64::from(length),
        None => i64::MAX,
    };
    let first = usize::try_from(from - 1).unwrap_or(0).min(bytes.len());
    let end = usize::try_from(to - 1).unwrap_or(0).min(bytes.len());
    Ok(bytes.get(first..end).unwrap_or_default())
}

/// `position(needle in text)`, `strpos`: 1-based, 0 if absent.
pub fn position(text: &str, needle: &str) -> i32 {
    text.find(needle).map_or(0, |offset| char_length(&text[..offset]) + 1)
}

/// `upper` under the collation "C" of a UTF-8 database: ASCII letters only.
pub fn upper(text: &str) -> String {
    text.to_ascii_uppercase()
}

/// `lower`, as [`upper`].
pub fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// `initcap`: ASCII words.
pub fn initcap(text: &str) -> String {
    let mut in_word = false;
    text.chars()
        .map(|c| {
            let mapped = if in_word { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
            in_word = c.is_ascii_alphanumeric();
            mapped
        })
        .collect()
}

/// `trim(both characters from text)`; `characters` is a set.
pub fn trim<'t>(text: &'t str, characters: &str) -> &'t str {
    text.trim_matches(|c| characters.contains(c))
}

/// `ltrim`
pub fn trim_start<'t>(text: &'t str, characters: &str) -> &'t str {
    text.trim_start_matches(|c| characters.contains(c))
}

/// `rtrim`
pub fn trim_end<'t>(text: &'t str, characters: &str) -> &'t str {
    text.trim_end_matches(|c| characters.contains(c))
}

fn too_long() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

/// `replace(text, from, to)`; an empty `from` replaces nothing. 54000 if the result would pass 1 GB.
pub fn replace(text: &str, from: &str, to: &str) -> SqlResult<String> {
    if from.is_empty() {
        return Ok(text.to_owned());
    }
    if to.len() > from.len() {
        let growth = text.matches(from).count().saturating_mul(to.len() - from.len());
        if text.len().saturating_add(growth) > STRING_BYTES_MAX {
            return Err(too_long());
        }
    }
    Ok(text.replace(from, to))
}

/// `repeat(text, count)`; 54000 if the result would pass 1 GB.
pub fn repeat(text: &str, count: i32) -> SqlResult<String> {
    let count = usize::try_from(count).unwrap_or(0);
    if text.len().checked_mul(count).is_none_or(|len| len > STRING_BYTES_MAX) {
        return Err(too_long());
    }
    Ok(text.repeat(count))
}

/// `lpad` and `rpad` cut to `length` characters and fill with `fill` in turn.
fn padding(text: &str, length: i32, fill: &str) -> SqlResult<(usize, String)> {
    let wanted = usize::try_from(length).unwrap_or(0);
    if wanted.saturating_mul(4) > STRING_BYTES_MAX {
        return Err(too_long());
    }
    let have = text.chars().count();
    if have >= wanted || fill.is_empty() {
        return Ok((offset_of(text, wanted), String::new()));
    }
    Ok((text.len(), fill.chars().cycle().take(wanted - have).collect()))
}

/// `lpad(text, length, fill)`; 54000 if the result could pass 1 GB.
pub fn pad_start(text: &str, length: i32, fill: &str) -> SqlResult<String> {
    let (kept, padding) = padding(text, length, fill)?;
    Ok(padding + &text[..kept])
}

/// `rpad`
pub fn pad_end(text: &str, length: i32, fill: &str) -> SqlResult<String> {
    let (kept, padding) = padding(text, length, fill)?;
    Ok(text[..kept].to_owned() + &padding)
}

/// `left(text, n)`; a negative n keeps all but the last −n characters.
pub fn left(text: &str, n: i32) -> &str {
    let keep = if n < 0 { (char_length(text).saturating_add(n)).max(0) } else { n };
    &text[..offset_of(text, usize::try_from(keep).unwrap_or(0))]
}

/// `right(text, n)`; a negative n drops the first −n characters.
pub fn right(text: &str, n: i32) -> &str {
    let skip = if n < 0 { n.unsigned_abs() as usize } else { usize::try_from(char_length(text) - n).unwrap_or(0) };
    &text[offset_of(text, skip)..]
}

/// `reverse`
pub fn reverse(text: &str) -> String {
    text.chars().rev().collect()
}

/// `split_part(text, delimiter, n)`; a negative n counts from the end. 22023 for zero.
pub fn split_part<'t>(text: &'t str, delimiter: &str, n: i32) -> SqlResult<&'t str> {
    if n == 0 {
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    if delimiter.is_empty() || text.is_empty() {
        return Ok(if n.abs() == 1 { text } else { "" });
    }
    let skip = n.unsigned_abs() as usize - 1;
    let part = if n > 0 {
        text.split(delimiter).nth(skip)
    } else {
        // From the end the fields are the same ones, so they are counted from the front.
        let count = text.split(delimiter).count();
        count.checked_sub(skip + 1).and_then(|index| text.split(delimiter).nth(index))
    };
    Ok(part.unwrap_or(""))
}

/// `translate(text, from, to)`
pub fn translate(text: &str, from: &str, to: &str) -> String {
    text.chars()
        .filter_map(|c| match from.chars().position(|f| f == c) {
            Some(index) => to.chars().nth(index),
            None => Some(c),
        })
        .collect()
}
