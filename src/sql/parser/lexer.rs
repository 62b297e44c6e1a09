//! Text to tokens, with PostgreSQL's lexical errors.
//!
//! sqlparser's tokenizer does the work. Its line and column are replaced by one number, the 1-based character position in the
//! whole query string, which is what an ErrorResponse carries: after this step a token's `span.start.column` is that
//! position, and every span in the syntax tree built from the tokens is too.

use std::ops::Range;

use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::parser::dialect::OmenDialect;

/// A query string with its tokens; white space and comments are gone.
pub struct Lexed<'a> {
    /// The text.
    pub text: &'a str,
    /// The tokens, spans as character positions.
    pub tokens: Vec<TokenWithSpan>,
    ascii: bool,
}

impl<'a> Lexed<'a> {
    /// The same text with other tokens.
    pub fn with_tokens(&self, tokens: Vec<TokenWithSpan>) -> Self {
        Self { text: self.text, tokens, ascii: self.ascii }
    }

    /// The byte offset of a 1-based character position.
    pub fn byte_of(&self, position: u64) -> usize {
        byte_of(self.text, self.ascii, position)
    }

    /// The byte range of a token.
    pub fn range(&self, token: &TokenWithSpan) -> Range<usize> {
        self.byte_of(token.span.start.column)..self.byte_of(token.span.end.column)
    }
}

fn byte_of(text: &str, ascii: bool, position: u64) -> usize {
    let chars = usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX);
    if ascii {
        return chars.min(text.len());
    }
    text.char_indices().nth(chars).map_or(text.len(), |(byte, _)| byte)
}

/// The position of a token, as an ErrorResponse wants it.
pub fn position_of(span: Span) -> Option<u32> {
    if span.start.column == 0 { None } else { u32::try_from(span.start.column).ok() }
}

/// 42601 with PostgreSQL's wording. `near` is the offending text, `None` at the end of the input.
pub fn syntax_error(near: Option<&str>, position: u64) -> SqlError {
    let message = match near {
        Some(near) => format!("syntax error at or near \"{near}\""),
        None => "syntax error at end of input".to_owned(),
    };
    SqlError::new(SqlState::SYNTAX_ERROR, message).at(u32::try_from(position).unwrap_or(u32::MAX))
}

/// Splits `text` into tokens.
pub fn lex(text: &str) -> SqlResult<Lexed<'_>> {
    let ascii = text.is_ascii();
    let lines = line_starts(text);
    let mut raw = Vec::with_capacity(text.len() / 3 + 4);
    let dialect = OmenDialect;
    if let Err(error) = Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut raw) {
        let start = raw.last().map_or(1, |last: &TokenWithSpan| position(&lines, last.span.end));
        return Err(lexical_error(text, ascii, start, &error.message));
    }
    let mut tokens: Vec<TokenWithSpan> = Vec::with_capacity(raw.len());
    let mut newline_since_last = false;
    for TokenWithSpan { token, span } in raw {
        if let Token::Whitespace(space) = &token {
            newline_since_last |= matches!(space, Whitespace::Newline | Whitespace::SingleLineComment { .. });
            continue;
        }
        let span = Span::new(Location::new(1, position(&lines, span.start)), Location::new(1, position(&lines, span.end)));
        push(text, ascii, &mut tokens, TokenWithSpan { token, span }, newline_since_last)?;
        newline_since_last = false;
    }
    Ok(Lexed { text, tokens, ascii })
}

/// Adds a token, joining string constants that are separated by a line break only (PostgreSQL 15 documentation 4.1.2.1), and
/// refusing a number that runs into a word.
fn push(text: &str, ascii: bool, tokens: &mut Vec<TokenWithSpan>, next: TokenWithSpan, newline: bool) -> SqlResult<()> {
    if let Some(last) = tokens.last_mut() {
        if let (true, Token::SingleQuotedString(more)) = (newline, &next.token)
            && let Token::SingleQuotedString(string) | Token::EscapedStringLiteral(string) = &mut last.token
        {
            string.push_str(more);
            last.span.end = next.span.end;
            return Ok(());
        }
        let adjacent = last.span.end == next.span.start;
        if adjacent && matches!((&last.token, &next.token), (Token::Number(..), Token::Word(word)) if word.quote_style.is_none())
        {
            let from = byte_of(text, ascii, last.span.start.column);
            let to = byte_of(text, ascii, next.span.end.column);
            let message = format!("trailing junk after numeric literal at or near \"{}\"", &text[from..to]);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position_of(last.span).unwrap_or(1)));
        }
    }
    tokens.push(next);
    Ok(())
}

/// For each line: the 0-based character index at which it starts.
fn line_starts(text: &str) -> Vec<u64> {
    let mut starts = vec![0];
    for (index, ch) in (1u64..).zip(text.chars()) {
        if ch == '\n' {
            starts.push(index);
        }
    }
    starts
}

fn position(lines: &[u64], location: Location) -> u64 {
    let line = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX).min(lines.len() - 1);
    lines[line] + location.column
}

/// PostgreSQL's message for text that does not end what it began. The tokenizer reports a location that differs by kind, so
/// the place is where the failed token starts: the first byte after the last good token.
fn lexical_error(text: &str, ascii: bool, start: u64, message: &str) -> SqlError {
    let rest = &text[byte_of(text, ascii, start)..];
    let what = if rest.starts_with("/*") {
        "unterminated /* comment"
    } else if rest.starts_with('"') || rest.to_ascii_lowercase().starts_with("u&\"") {
        if rest.starts_with("\"\"") { "zero-length delimited identifier" } else { "unterminated quoted identifier" }
    } else if rest.starts_with('$') {
        "unterminated dollar-quoted string"
    } else if rest.to_ascii_lowercase().starts_with("b'") {
        "unterminated bit string literal"
    } else if rest.to_ascii_lowercase().starts_with("x'") {
        "unterminated hexadecimal string literal"
    } else if message.contains("hex") || message.contains("unicode") || message.contains("Unicode") {
        "invalid Unicode escape"
    } else if rest.contains('\'') {
        "unterminated quoted string"
    } else {
        "syntax error"
    };
    let position = u32::try_from(start).unwrap_or(u32::MAX);
    SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} at or near \"{rest}\"")).at(position)
}
