//! Reading COPY data: text and CSV, in pieces cut anywhere.
//!
//! Lines are cut first ([`CopyParser::push`] keeps an unfinished one), then divided into fields. Fields without escapes are
//! borrowed from the line; others are unescaped into one buffer that is reused. Format: PostgreSQL 15 documentation, COPY,
//! "File Formats".

use memchr::{memchr, memchr2};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::plan::{CopyFormat, CopyOptions};

/// A line's fields.
pub struct CopyLine<'a> {
    /// 1-based line number.
    pub number: u64,
    /// Fields; `None` is NULL.
    pub fields: Vec<Option<&'a str>>,
}

/// A COPY's data being read.
pub struct CopyParser {
    options: CopyOptions,
    columns: Vec<String>,
    /// The unfinished line.
    pending: Vec<u8>,
    /// In CSV: how much of `pending` was looked at, and whether that ended within quotes.
    scanned: usize,
    in_quotes: bool,
    number: u64,
    /// `\.` was read: what follows is ignored.
    ended: bool,
    /// Unescaped fields of the current line, one after the other.
    unescaped: Vec<u8>,
    spans: Vec<Span>,
}

/// Where a field's bytes are.
#[derive(Clone, Copy)]
enum Span {
    Null,
    Line(usize, usize),
    Unescaped(usize, usize),
}

fn malformed(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}

/// What is done with each line.
pub type Each<'e> = &'e mut dyn FnMut(&CopyLine<'_>) -> SqlResult<()>;

impl CopyParser {
    /// A parser for data of these columns.
    pub fn new(options: &CopyOptions, columns: Vec<String>) -> Self {
        Self {
            options: options.clone(),
            columns,
            pending: Vec::new(),
            scanned: 0,
            in_quotes: false,
            number: 0,
            ended: false,
            unescaped: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Takes in a piece of data and hands out the lines that it completes.
    pub fn push(&mut self, data: &[u8], each: Each<'_>) -> SqlResult<()> {
        if self.ended {
            return Ok(());
        }
        let mut data = data;
        if !self.pending.is_empty() {
            // Complete the unfinished line with as little copying as possible.
            match self.find_end_across(data) {
                None => {
                    self.pending.extend_from_slice(data);
                    return Ok(());
                }
                Some(end) => {
                    self.pending.extend_from_slice(&data[..end]);
                    data = &data[end + 1..];
                    let line = std::mem::take(&mut self.pending);
                    self.line(&line, each)?;
                    self.pending = line;
                    self.pending.clear();
                }
            }
        }
        loop {
            self.scanned = 0;
            self.in_quotes = false;
            if self.ended || data.is_empty() {
                return Ok(());
            }
            match self.find_end(data) {
                Some(end) => {
                    self.line(&data[..end], each)?;
                    data = &data[end + 1..];
                }
                None => {
                    self.pending.extend_from_slice(data);
                    return Ok(());
                }
            }
        }
    }

    /// The data has ended: hands out a last line without a newline.
    pub fn finish(&mut self, each: Each<'_>) -> SqlResult<()> {
        if self.ended || self.pending.is_empty() {
            return Ok(());
        }
        if self.in_quotes {
            return Err(self.at_line(malformed("unterminated CSV quoted field")));
        }
        let line = std::mem::take(&mut self.pending);
        self.line(&line, each)
    }

    fn at_line(&self, error: SqlError) -> SqlError {
        error.context(format!("line {}", self.number))
    }

    /// The newline that ends the pending line, within `data`.
    fn find_end_across(&mut self, data: &[u8]) -> Option<usize> {
        if self.options.format == CopyFormat::Text {
            // A backslash before the newline makes it part of the field.
            let escaped = trailing_backslashes(&self.pending) % 2 == 1;
            return find_text_end(data, escaped);
        }
        self.find_csv_end(data)
    }

    fn find_end(&mut self, data: &[u8]) -> Option<usize> {
        match self.options.format {
            CopyFormat::Text => find_text_end(data, false),
            CopyFormat::Csv => self.find_csv_end(data),
        }
    }

    /// A newline outside of quotes. An escape that is not the quote protects the quote after it.
    fn find_csv_end(&mut self, data: &[u8]) -> Option<usize> {
        let (quote, escape) = (self.options.quote, self.options.escape);
        let mut i = self.scanned.min(data.len());
        let skip_first = std::mem::take(&mut self.scanned) > 0;
        if !skip_first {
            i = 0;
        }
        while i < data.len() {
            let byte = data[i];
            if self.in_quotes && byte == escape && escape != quote {
                if i + 1 >= data.len() {
                    // The escaped byte is the first of the next piece.
                    self.scanned = 1;
                    return None;
                }
                i += 2;
                continue;
            }
            if byte == quote {
                self.in_quotes = !self.in_quotes;
            } else if byte == b'\n' && !self.in_quotes {
                return Some(i);
            }
            i += 1;
        }
        None
    }

    fn line(&mut self, line: &[u8], each: Each<'_>) -> SqlResult<()> {
        self.number += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line == b"\\." {
            self.ended = true;
            return Ok(());
        }
        if self.options.header && self.number == 1 {
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|error| self.at_line(invalid_utf8(line, error.valid_up_to())))?;
        if line.contains(&0) {
            return Err(self.at_line(invalid_utf8(line, memchr(0, line).unwrap_or(0))));
        }
        self.spans.clear();
        self.unescaped.clear();
        match self.options.format {
            CopyFormat::Text => self.split_text(line),
            CopyFormat::Csv => self.split_csv(line),
        }
        .map_err(|error| self.at_line(error))?;
        self.check_count().map_err(|error| self.at_line(error))?;
        // Unescaping may have made bytes that are not UTF-8, or NULs.
        let unescaped = match std::str::from_utf8(&self.unescaped) {
            Ok(unescaped) if !unescaped.contains('\0') => unescaped,
            Ok(_) => return Err(self.at_line(invalid_utf8(&self.unescaped, memchr(0, &self.unescaped).unwrap_or(0)))),
            Err(error) => return Err(self.at_line(invalid_utf8(&self.unescaped, error.valid_up_to()))),
        };
        let mut fields = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            fields.push(match *span {
                Span::Null => None,
                // Cut at ASCII delimiters, so at character boundaries.
                Span::Line(start, end) => Some(&text[start..end]),
                Span::Unescaped(start, end) => match unescaped.get(start..end) {
                    Some(field) => Some(field),
                    None => return Err(self.at_line(invalid_utf8(&self.unescaped, start))),
                },
            });
        }
        each(&CopyLine { number: self.number, fields })
    }

    fn check_count(&self) -> SqlResult<()> {
        if self.spans.len() > self.columns.len() {
            return Err(malformed("extra data after last expected column"));
        }
        match self.columns.get(self.spans.len()) {
            Some(missing) => Err(malformed(format!("missing data for column \"{missing}\""))),
            None => Ok(()),
        }
    }

    fn split_text(&mut self, line: &[u8]) -> SqlResult<()> {
        if self.columns.is_empty() && line.is_empty() {
            return Ok(());
        }
        let delimiter = self.options.delimiter;
        let null = self.options.null.as_bytes();
        let mut start = 0;
        loop {
            let mut end = start;
            let mut escapes = false;
            loop {
                match memchr2(delimiter, b'\\', &line[end..]) {
                    None => {
                        end = line.len();
                        break;
                    }
                    Some(at) if line[end + at] == delimiter => {
                        end += at;
                        break;
                    }
                    Some(at) => {
                        escapes = true;
                        // The byte after a backslash is never a delimiter.
                        end = (end + at + 2).min(line.len());
                    }
                }
            }
            let field = &line[start..end];
            if field == null {
                self.spans.push(Span::Null);
            } else if escapes {
                let from = self.unescaped.len();
                unescape(field, &mut self.unescaped);
                self.spans.push(Span::Unescaped(from, self.unescaped.len()));
            } else {
                self.spans.push(Span::Line(start, end));
            }
            if end >= line.len() {
                return Ok(());
            }
            start = end + 1;
        }
    }

    fn split_csv(&mut self, line: &[u8]) -> SqlResult<()> {
        let CopyOptions { delimiter, quote, escape, .. } = self.options;
        if self.columns.is_empty() && line.is_empty() {
            return Ok(());
        }
        let mut i = 0;
        loop {
            let start = i;
            let from = self.unescaped.len();
            let (mut quoted, mut in_quotes) = (false, false);
            while i < line.len() {
                let byte = line[i];
                if in_quotes {
                    let escapes_next = byte == escape && line.get(i + 1).is_some_and(|next| *next == quote || *next == escape);
                    if escapes_next {
                        self.unescaped.push(line[i + 1]);
                        i += 2;
                        continue;
                    }
                    if byte == quote {
                        in_quotes = false;
                    } else {
                        self.unescaped.push(byte);
                    }
                } else if byte == quote {
                    in_quotes = true;
                    quoted = true;
                } else if byte == delimiter {
                    break;
                } else {
                    self.unescaped.push(byte);
                }
                i += 1;
            }
            if in_quotes {
                return Err(malformed("unterminated CSV quoted field"));
            }
            self.end_csv_field(quoted, start, i, from);
            if i >= line.len() {
                return Ok(());
            }
            i += 1;
        }
    }

    fn end_csv_field(&mut self, quoted: bool, start: usize, end: usize, from: usize) {
        let column = self.spans.len();
        let is_null_text = self.unescaped[from..] == *self.options.null.as_bytes();
        let null = is_null_text
            && if quoted { self.options.force_null.contains(&column) } else { !self.options.force_not_null.contains(&column) };
        if null {
            self.unescaped.truncate(from);
            self.spans.push(Span::Null);
        } else if quoted {
            self.spans.push(Span::Unescaped(from, self.unescaped.len()));
        } else {
            self.unescaped.truncate(from);
            self.spans.push(Span::Line(start, end));
        }
    }
}

fn invalid_utf8(bytes: &[u8], at: usize) -> SqlError {
    let bad: Vec<String> = bytes[at..].iter().take(1).map(|byte| format!("0x{byte:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" "));
    SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
}

fn trailing_backslashes(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// A newline that no backslash precedes.
fn find_text_end(data: &[u8], first_is_escaped: bool) -> Option<usize> {
    let mut from = usize::from(first_is_escaped);
    while let Some(at) = data.get(from..).and_then(|rest| memchr(b'\n', rest)) {
        let end = from + at;
        let first_protected = first_is_escaped && end > 0 && data[1..end].iter().all(|byte| *byte == b'\\');
        let backslashes = trailing_backslashes(&data[..end]) - usize::from(first_protected && data[0] == b'\\');
        if backslashes % 2 == 0 {
            return Some(end);
        }
        from = end + 1;
    }
    None
}

/// Backslash sequences of the text format.
fn unescape(field: &[u8], out: &mut Vec<u8>) {
    let mut i = 0;
    while i < field.len() {
        let byte = field[i];
        i += 1;
        if byte != b'\\' || i >= field.len() {
            out.push(byte);
            continue;
        }
        let code = field[i];
        i += 1;
        match code {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let mut value = u32::from(code - b'0');
                for _ in 0..2 {
                    match field.get(i) {
                        Some(digit @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(digit - b'0');
                            i += 1;
                        }
                        _ => break,
                    }
                }
                out.push((value & 0xff) as u8);
            }
            b'x' if field.get(i).is_some_and(u8::is_ascii_hexdigit) => {
                let mut value = 0;
                for _ in 0..2 {
                    match field.get(i).and_then(|digit| char::from(*digit).to_digit(16)) {
                        Some(digit) => {
                            value = value * 16 + digit;
                            i += 1;
                        }
                        None => break,
                    }
                }
                out.push(value as u8);
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(format: CopyFormat) -> CopyOptions {
        let csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".into() },
            header: false,
            quote: b'"',
            escape: b'"',
            force_quote: Vec::new(),
            force_not_null: Vec::new(),
            force_null: Vec::new(),
            freeze: false,
        }
    }

    type Lines = Vec<Vec<Option<String>>>;

    fn parse(options: &CopyOptions, columns: usize, pieces: &[&[u8]]) -> Result<Lines, String> {
        let mut lines = Vec::new();
        let mut parser = CopyParser::new(options, (0..columns).map(|i| format!("c{i}")).collect());
        let mut each = |line: &CopyLine<'_>| {
            lines.push(line.fields.iter().map(|field| field.map(str::to_owned)).collect());
            Ok(())
        };
        for piece in pieces {
            parser.push(piece, &mut each).map_err(|error| error.message().to_owned())?;
        }
        parser.finish(&mut each).map_err(|error| error.message().to_owned())?;
        Ok(lines)
    }

    fn line(fields: &[Option<&str>]) -> Vec<Option<String>> {
        fields.iter().map(|field| field.map(str::to_owned)).collect()
    }

    #[test]
    fn text_lines() {
        let text = options(CopyFormat::Text);
        let cases: &[(&[u8], Result<Lines, &str>)] = &[
            (b"1\ta\n2\t\\N\n", Ok(vec![line(&[Some("1"), Some("a")]), line(&[Some("2"), None])])),
            (b"1\ta\\tb\\\\\\x41\\101\\n\n", Ok(vec![line(&[Some("1"), Some("a\tb\\AA\n")])])),
            (b"1\ta\\\nb\n", Ok(vec![line(&[Some("1"), Some("a\nb")])])),
            (b"1\ta\r\n\\.\nrubbish\n", Ok(vec![line(&[Some("1"), Some("a")])])),
            (b"1\t\n", Ok(vec![line(&[Some("1"), Some("")])])),
            (b"1\tlast", Ok(vec![line(&[Some("1"), Some("last")])])),
            (b"1\n", Err("missing data for column \"c1\"")),
            (b"1\t2\t3\n", Err("extra data after last expected column")),
            (b"1\t\xff\n", Err("invalid byte sequence for encoding \"UTF8\": 0xff")),
            (b"1\t\\xff\n", Err("invalid byte sequence for encoding \"UTF8\": 0xff")),
        ];
        for (data, expected) in cases {
            let expected = expected.clone().map_err(str::to_owned);
            assert_eq!(parse(&text, 2, &[data]), expected, "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn csv_lines() {
        let csv = options(CopyFormat::Csv);
        let cases: &[(&[u8], Result<Lines, &str>)] = &[
            (b"1,a\n2,\n", Ok(vec![line(&[Some("1"), Some("a")]), line(&[Some("2"), None])])),
            (b"1,\"a \"\"q\"\", \nb\"\n", Ok(vec![line(&[Some("1"), Some("a \"q\", \nb")])])),
            (b"1,\"\"\n", Ok(vec![line(&[Some("1"), Some("")])])),
            (b"1,\"open\n", Err("unterminated CSV quoted field")),
        ];
        for (data, expected) in cases {
            let expected = expected.clone().map_err(str::to_owned);
            assert_eq!(parse(&csv, 2, &[data]), expected, "{}", String::from_utf8_lossy(data));
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            data in prop::collection::vec(prop::sample::select(b"ab\t\n\\N,\"\r1x.".to_vec()), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
            csv in any::<bool>(),
        ) {
            let options = options(if csv { CopyFormat::Csv } else { CopyFormat::Text });
            let whole = parse(&options, 2, &[&data]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&data[from..cut]);
                from = cut;
            }
            pieces.push(&data[from..]);
            prop_assert_eq!(parse(&options, 2, &pieces), whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..80), columns in 0usize..4, csv in any::<bool>()) {
            let options = options(if csv { CopyFormat::Csv } else { CopyFormat::Text });
            let _ = parse(&options, columns, &[&data]);
        }
    }
}
