//! Lines of COPY data. The first line decides how lines end (`\n`, `\r\n` or `\r`); the others must end alike.

use std::ops::Range;

use crate::error::{SqlError, SqlResult};
use crate::exec::copy::bad_format;
use crate::sql::plan::{CopyFormat, CopyOptions};

/// Consumed bytes are dropped from the front of the buffer once there are so many.
const COMPACT_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Lf,
    CrLf,
    Cr,
}

/// What a scan has found at a position.
enum Found {
    /// The line ends here; the next begins at the second position.
    Line(usize, usize),
    /// `\.`: the data ends here.
    EndOfData(usize),
    /// More input is needed to tell.
    More,
}

/// Splits data that arrives in pieces into lines.
pub struct LineReader {
    csv: bool,
    quote: u8,
    /// `None` where it is the quote itself.
    escape: Option<u8>,
    buffer: Vec<u8>,
    /// Where the current line begins.
    start: usize,
    /// How far the current line has been looked at.
    at: usize,
    line_end: Option<LineEnd>,
    in_quote: bool,
    after_escape: bool,
    /// No more input will come.
    finished: bool,
    /// `\.` was read; what follows is ignored.
    ended: bool,
    line: u64,
}

impl LineReader {
    /// A reader at the beginning of the data.
    pub fn new(options: &CopyOptions) -> Self {
        Self {
            csv: options.format == CopyFormat::Csv,
            quote: options.quote,
            escape: (options.escape != options.quote).then_some(options.escape),
            buffer: Vec::new(),
            start: 0,
            at: 0,
            line_end: None,
            in_quote: false,
            after_escape: false,
            finished: false,
            ended: false,
            line: 0,
        }
    }

    /// Takes in a piece of data.
    pub fn push(&mut self, data: &[u8]) {
        assert!(!self.finished, "no data comes after the end");
        if self.ended {
            return;
        }
        if self.start == self.buffer.len() || self.start >= COMPACT_BYTES {
            self.buffer.drain(..self.start);
            self.at -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(data);
    }

    /// Says that there is no more data.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Bytes taken in that are not part of a complete line yet.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The number, from 1, of the line last returned (or of the one that could not be read).
    pub fn line_number(&self) -> u64 {
        self.line
    }

    /// The next line, without its end, as a range for [`LineReader::bytes`]; `None` if it has not all arrived or there is none.
    pub fn next_line(&mut self) -> SqlResult<Option<Range<usize>>> {
        if self.ended || (self.finished && self.start == self.buffer.len()) {
            return Ok(None);
        }
        let line_before = self.line;
        if self.at == self.start {
            self.line += 1;
        }
        let found = if self.csv { self.scan_csv()? } else { self.scan_text()? };
        let (end, next) = match found {
            Found::Line(end, next) => (end, next),
            Found::EndOfData(end) => {
                self.ended = true;
                if end == self.start {
                    self.line = line_before;
                    return Ok(None);
                }
                (end, end)
            }
            Found::More if self.finished => (self.buffer.len(), self.buffer.len()),
            Found::More => {
                if self.at == self.start {
                    self.line = line_before;
                }
                return Ok(None);
            }
        };
        let line = self.start..end;
        self.start = next;
        self.at = next;
        self.in_quote = false;
        self.after_escape = false;
        Ok(Some(line))
    }

    /// The bytes of a line, valid until the next piece is pushed.
    pub fn bytes(&self, line: Range<usize>) -> &[u8] {
        &self.buffer[line]
    }

    fn scan_text(&mut self) -> SqlResult<Found> {
        loop {
            let Some(offset) = memchr::memchr3(b'\n', b'\r', b'\\', &self.buffer[self.at..]) else {
                self.at = self.buffer.len();
                return Ok(Found::More);
            };
            let position = self.at + offset;
            self.at = position;
            if self.buffer[position] != b'\\' {
                return self.line_end_at(position);
            }
            match self.buffer.get(position + 1) {
                None => return Ok(Found::More),
                Some(b'.') => return self.end_marker(position),
                // Whatever follows a backslash is data, an end of line too.
                Some(_) => self.at = position + 2,
            }
        }
    }

    fn scan_csv(&mut self) -> SqlResult<Found> {
        while let Some(&byte) = self.buffer.get(self.at) {
            if byte == b'\\' && self.at == self.start {
                match self.end_marker(self.at)? {
                    Found::Line(..) => {}
                    found => return Ok(found),
                }
            }
            if !self.in_quote && matches!(byte, b'\n' | b'\r') {
                return self.line_end_at(self.at);
            }
            if self.in_quote && Some(byte) == self.escape {
                self.after_escape = !self.after_escape;
            }
            if byte == self.quote && !self.after_escape {
                self.in_quote = !self.in_quote;
            }
            if Some(byte) != self.escape {
                self.after_escape = false;
            }
            let counted = if self.line_end == Some(LineEnd::Lf) { b'\n' } else { b'\r' };
            if self.in_quote && byte == counted {
                // Keeps the number near the physical line's, as PostgreSQL does.
                self.line += 1;
            }
            self.at += 1;
        }
        Ok(Found::More)
    }

    /// A `\n` or `\r` that is not data.
    fn line_end_at(&mut self, position: usize) -> SqlResult<Found> {
        let next = self.buffer.get(position + 1);
        let (kind, length) = match (self.buffer[position], next, self.line_end) {
            (b'\n', ..) => (LineEnd::Lf, 1),
            (_, _, Some(LineEnd::Cr)) => (LineEnd::Cr, 1),
            (_, _, Some(LineEnd::Lf)) => return Err(self.stray("carriage return", "\\r")),
            (_, None, _) if !self.finished => return Ok(Found::More),
            (_, Some(b'\n'), _) => (LineEnd::CrLf, 2),
            (_, _, Some(LineEnd::CrLf)) => return Err(self.stray("carriage return", "\\r")),
            (_, _, None) => (LineEnd::Cr, 1),
        };
        if kind == LineEnd::Lf && self.line_end.is_some_and(|known| known != LineEnd::Lf) {
            return Err(self.stray("newline", "\\n"));
        }
        self.line_end = Some(kind);
        Ok(Found::Line(position, position + length))
    }

    fn stray(&self, name: &str, escape: &str) -> SqlError {
        if self.csv {
            bad_format(format!("unquoted {name} found in data")).hint(format!("Use quoted CSV field to represent {name}."))
        } else {
            bad_format(format!("literal {name} found in data")).hint(format!("Use \"{escape}\" to represent {name}."))
        }
    }

    /// A backslash that may begin `\.`. In CSV, where it may be data too, `Found::Line` says that it is.
    fn end_marker(&self, position: usize) -> SqlResult<Found> {
        let rest = &self.buffer[position + 1..];
        let wanted = if self.line_end == Some(LineEnd::CrLf) { 3 } else { 2 };
        match rest.first() {
            Some(b'.') => {}
            None if !self.finished => return Ok(Found::More),
            _ => return Ok(Found::Line(position, position)),
        }
        if rest.len() < wanted && !self.finished {
            return Ok(Found::More);
        }
        // What a CSV file may hold as data, the text format may not.
        let unless_csv = |error: &str| if self.csv { Ok(Found::Line(position, position)) } else { Err(bad_format(error)) };
        let (corrupt, unlike) = ("end-of-copy marker corrupt", "end-of-copy marker does not match previous newline style");
        match (self.line_end, rest.get(1), rest.get(2)) {
            (Some(LineEnd::CrLf), Some(b'\r'), Some(b'\n')) => Ok(Found::EndOfData(position)),
            (Some(LineEnd::CrLf), Some(b'\r'), Some(b'\r')) => Err(bad_format(unlike)),
            (Some(LineEnd::CrLf), Some(b'\n'), _) => unless_csv(unlike),
            (Some(LineEnd::CrLf), ..) => unless_csv(corrupt),
            (Some(LineEnd::Lf) | None, Some(b'\n'), _) | (Some(LineEnd::Cr) | None, Some(b'\r'), _) => {
                Ok(Found::EndOfData(position))
            }
            (_, Some(b'\n' | b'\r'), _) => Err(bad_format(unlike)),
            _ => unless_csv(corrupt),
        }
    }
}
