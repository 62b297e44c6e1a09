//! Fields of a line of COPY data. A field without escapes or quotes stays where it is in the line; others are written out in
//! a buffer that is used again for the next line.

use std::ops::Range;

use crate::error::SqlResult;
use crate::exec::copy::bad_format;
use crate::sql::plan::{CopyFormat, CopyOptions};

#[derive(Clone, Debug)]
enum Field {
    Null,
    InLine(Range<usize>),
    WrittenOut(Range<usize>),
}

/// The fields of one line after another.
pub struct Fields {
    format: CopyFormat,
    delimiter: u8,
    null: Vec<u8>,
    quote: u8,
    escape: u8,
    fields: Vec<Field>,
    written: Vec<u8>,
    /// For each field: NULL stays the string (FORCE_NOT_NULL), a quoted NULL string is NULL (FORCE_NULL).
    forced: Vec<(bool, bool)>,
}

impl Fields {
    /// For lines of these table columns.
    pub fn new(options: &CopyOptions, columns: &[usize]) -> Self {
        let forced =
            columns.iter().map(|column| (options.force_not_null.contains(column), options.force_null.contains(column))).collect();
        Self {
            format: options.format,
            delimiter: options.delimiter,
            null: options.null.as_bytes().to_vec(),
            quote: options.quote,
            escape: options.escape,
            fields: Vec::new(),
            written: Vec::new(),
            forced,
        }
    }

    /// Takes a line apart.
    pub fn split(&mut self, line: &[u8]) -> SqlResult<()> {
        self.fields.clear();
        self.written.clear();
        match self.format {
            CopyFormat::Text if memchr::memchr(b'\\', line).is_none() => self.split_plain(line),
            CopyFormat::Text => self.split_escaped(line),
            CopyFormat::Csv => self.split_csv(line)?,
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Field `index` of the line last taken apart; `None` for NULL. Bytes that escapes made may not be UTF-8.
    pub fn get<'a>(&'a self, line: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let (not_null, force_null) = self.forced.get(index).copied().unwrap_or_default();
        let bytes = match &self.fields[index] {
            Field::Null if not_null => return Some(&self.null),
            Field::Null => return None,
            Field::InLine(range) => &line[range.clone()],
            Field::WrittenOut(range) => &self.written[range.clone()],
        };
        (!force_null || bytes != self.null).then_some(bytes)
    }

    fn split_plain(&mut self, line: &[u8]) {
        let mut start = 0;
        for end in memchr::memchr_iter(self.delimiter, line).chain([line.len()]) {
            let is_null = line[start..end] == self.null[..];
            self.fields.push(if is_null { Field::Null } else { Field::InLine(start..end) });
            start = end + 1;
        }
    }

    fn split_escaped(&mut self, line: &[u8]) {
        let mut start = 0;
        loop {
            let mut end = start;
            let mut escaped = false;
            while end < line.len() && line[end] != self.delimiter {
                // A backslash takes the next byte with it, a delimiter too.
                let is_escape = line[end] == b'\\';
                escaped |= is_escape;
                end += if is_escape { 2 } else { 1 };
            }
            end = end.min(line.len());
            let raw = &line[start..end];
            if raw == self.null {
                self.fields.push(Field::Null);
            } else if escaped {
                let begin = self.written.len();
                unescape(raw, &mut self.written);
                self.fields.push(Field::WrittenOut(begin..self.written.len()));
            } else {
                self.fields.push(Field::InLine(start..end));
            }
            if end == line.len() {
                return;
            }
            start = end + 1;
        }
    }

    fn split_csv(&mut self, line: &[u8]) -> SqlResult<()> {
        let mut at = 0;
        loop {
            let start = at;
            let plain = memchr::memchr2(self.delimiter, self.quote, &line[at..]).map_or(line.len(), |offset| at + offset);
            if plain < line.len() && line[plain] == self.quote {
                at = self.quoted_field(line, start)?;
            } else {
                let is_null = line[start..plain] == self.null[..];
                self.fields.push(if is_null { Field::Null } else { Field::InLine(start..plain) });
                at = plain;
            }
            if at == line.len() {
                return Ok(());
            }
            at += 1;
        }
    }

    /// A field with a quoted part, from `start`; answers where it ends. It is never NULL.
    fn quoted_field(&mut self, line: &[u8], start: usize) -> SqlResult<usize> {
        let begin = self.written.len();
        let mut at = start;
        loop {
            while at < line.len() && line[at] != self.quote {
                if line[at] == self.delimiter {
                    self.fields.push(Field::WrittenOut(begin..self.written.len()));
                    return Ok(at);
                }
                self.written.push(line[at]);
                at += 1;
            }
            if at == line.len() {
                self.fields.push(Field::WrittenOut(begin..self.written.len()));
                return Ok(at);
            }
            at += 1;
            loop {
                let Some(&byte) = line.get(at) else { return Err(bad_format("unterminated CSV quoted field")) };
                at += 1;
                let next = line.get(at).copied();
                if byte == self.escape
                    && let Some(next) = next
                    && (next == self.escape || next == self.quote)
                {
                    self.written.push(next);
                    at += 1;
                } else if byte == self.quote {
                    break;
                } else {
                    self.written.push(byte);
                }
            }
        }
    }
}

/// Resolves the escapes of the text format.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        if at == raw.len() {
            // Only at the end of the data; PostgreSQL drops it.
            return;
        }
        let escaped = raw[at];
        at += 1;
        match escaped {
            b'0'..=b'7' => {
                let mut value = u32::from(escaped - b'0');
                let digits = raw[at..].iter().take(2).take_while(|digit| matches!(digit, b'0'..=b'7'));
                for digit in digits {
                    value = value << 3 | u32::from(digit - b'0');
                    at += 1;
                }
                out.push((value & 0xff) as u8);
            }
            b'x' if raw.get(at).is_some_and(u8::is_ascii_hexdigit) => {
                let mut value = 0;
                let digits = raw[at..].iter().take(2).map_while(|digit| char::from(*digit).to_digit(16));
                for digit in digits {
                    value = value << 4 | digit;
                    at += 1;
                }
                out.push((value & 0xff) as u8);
            }
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(0x0b),
            other => out.push(other),
        }
    }
}
