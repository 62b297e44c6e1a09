//! The normal form of statement text, under which plans are cached.
//!
//! Literals become slots, so that `… WHERE aid = 12345` and `… WHERE aid = 77` share one plan with the literals as its
//! parameters. The text is only scanned, not parsed. What keeps this sound:
//!
//! - The key keeps a marker of each literal's PostgreSQL type (int4, int8, numeric, unknown), so texts whose literals would be
//!   typed differently have different keys.
//! - [`prepare`] binds the original text with each literal replaced by a parameter wherever the binder meets it as an
//!   ordinary expression. A literal that it consumed in another role (an ordinal, a type modifier, an interval's text), or a
//!   statement that no longer binds (two equal GROUP BY expressions are not equal once they hold different parameters) makes
//!   the plan private to its exact text.
//! - Literals after LIMIT, OFFSET, FETCH, GROUP BY and ORDER BY stay in the key: plans depend on their values.

use std::sync::Arc;

use crate::error::SqlResult;
use crate::sql::binder;
use crate::sql::context::BindContext;
use crate::sql::parser::ParsedStatement;
use crate::sql::plan::Statement;
use crate::sql::utility::{TransactionModes, Utility};
use crate::types::SqlType;

/// Statements with more literals (bulk INSERTs) are not worth a slot each.
const LITERALS_MAX: usize = 128;

/// Longer texts are not normalised.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// A text's cache key and the literals taken out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised {
    /// The text with typed markers in the place of literals.
    pub key: String,
    /// The literals in the order of their slots.
    pub literals: Vec<Literal>,
}

/// A literal taken out of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    /// Its value.
    pub value: LiteralValue,
    /// Its 1-based character position in the text.
    pub position: u32,
}

/// A literal's value, typed as PostgreSQL types constants (documentation 4.1.2).
#[derive(Clone, Debug, PartialEq)]
pub enum LiteralValue {
    /// A number that fits an integer.
    Int4(i32),
    /// A number that fits a bigint.
    Int8(i64),
    /// Any other number, as written.
    Numeric(Arc<str>),
    /// A string: of unknown type, so the context decides; to be read by the input function of the slot's parameter type.
    Text(Arc<str>),
}

impl LiteralValue {
    /// The type of the constant.
    pub fn ty(&self) -> SqlType {
        match self {
            LiteralValue::Int4(_) => SqlType::Int4,
            LiteralValue::Int8(_) => SqlType::Int8,
            LiteralValue::Numeric(_) => SqlType::Numeric,
            LiteralValue::Text(_) => SqlType::Unknown,
        }
    }

    fn marker(&self) -> char {
        match self {
            LiteralValue::Int4(_) => '\u{1}',
            LiteralValue::Int8(_) => '\u{2}',
            LiteralValue::Numeric(_) => '\u{3}',
            LiteralValue::Text(_) => '\u{4}',
        }
    }
}

/// A plan for a normalised text.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// Good for every text with the same key: its parameters are the literals, slot by slot, of `params` types.
    Shared(Statement),
    /// Good for this exact text only; it has no parameters.
    Private(Statement),
}

/// Binds a statement so that its plan can be shared by all texts of the same key, if that is sound.
///
/// `statement` is the parsed original text and `context.param_types` is not consulted: a text with `$n` is never normalised.
pub fn prepare(statement: &ParsedStatement, normalised: &Normalised, context: &BindContext<'_>) -> SqlResult<Prepared> {
    if let Some(shared) = binder::bind_with_slots(statement, context, &normalised.literals) {
        return Ok(Prepared::Shared(shared));
    }
    binder::bind(statement, context).map(Prepared::Private)
}

/// BEGIN, COMMIT, END and ROLLBACK in their short forms, recognised without parsing.
pub fn transaction_command(text: &str) -> Option<Utility> {
    let word = text.trim_matches([' ', '\n', '\t', '\r', ';']);
    if word.len() > 8 {
        return None;
    }
    if word.eq_ignore_ascii_case("begin") {
        Some(Utility::Begin(TransactionModes::default(), false))
    } else if word.eq_ignore_ascii_case("commit") || word.eq_ignore_ascii_case("end") {
        Some(Utility::Commit { chain: false })
    } else if word.eq_ignore_ascii_case("rollback") || word.eq_ignore_ascii_case("abort") {
        Some(Utility::Rollback { chain: false })
    } else {
        None
    }
}

/// The normal form of a text, or `None` if it is not one query or DML statement made of plain tokens.
pub fn normalise(text: &str) -> Option<Normalised> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut scanner = Scanner::new(text);
    if !scanner.starts_statement() {
        return None;
    }
    scanner.run()?;
    Some(Normalised { key: scanner.key, literals: scanner.literals })
}

/// Words after which literals are kept, up to the end of the parenthesis they are in.
const KEEPING: &[&str] = &["limit", "offset", "fetch", "group", "order", "interval", "date", "time", "timestamp", "timestamptz"];

/// Type names whose parenthesised numbers are modifiers.
const MODIFIED_TYPES: &[&str] = &[
    "varchar",
    "char",
    "character",
    "varying",
    "numeric",
    "decimal",
    "dec",
    "bpchar",
    "timestamp",
    "timestamptz",
    "float",
    "bit",
];

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    key: String,
    literals: Vec<Literal>,
    /// Characters of `text` beyond one a byte seen so far, to turn offsets into character positions.
    continuation_bytes: usize,
    depth: usize,
    /// Parenthesis depth at which literals began to be kept.
    keep_from: Option<usize>,
    last_word: &'a str,
    last_was_word: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        let text = text.trim_end_matches([' ', '\n', '\t', '\r', ';']);
        let key = String::with_capacity(text.len());
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            key,
            literals: Vec::new(),
            continuation_bytes: 0,
            depth: 0,
            keep_from: None,
            last_word: "",
            last_was_word: false,
        }
    }

    fn starts_statement(&self) -> bool {
        let trimmed = self.text.trim_start();
        let end = trimmed.bytes().position(|b| !b.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        ["select", "insert", "update", "delete"].iter().any(|word| trimmed[..end].eq_ignore_ascii_case(word))
    }

    fn run(&mut self) -> Option<()> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => self.word()?,
                b'0'..=b'9' => self.number()?,
                b'.' if self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) => self.number()?,
                b'\'' => self.string()?,
                b'"' => self.quoted_identifier()?,
                // Parameters and dollar quotes, statement lists, and control characters that could pass for markers.
                b'$' | b';' | 0..=8 => return None,
                b'-' if self.bytes.get(self.at + 1) == Some(&b'-') => return None,
                b'/' if self.bytes.get(self.at + 1) == Some(&b'*') => return None,
                _ => self.symbol(byte),
            }
        }
        Some(())
    }

    fn symbol(&mut self, byte: u8) {
        match byte {
            b'(' | b'[' => {
                self.depth += 1;
                if self.last_was_word && contains(MODIFIED_TYPES, self.last_word) {
                    self.keep_from.get_or_insert(self.depth);
                }
            }
            b')' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.keep_from.is_some_and(|from| from > self.depth) {
                    self.keep_from = None;
                }
            }
            _ => {}
        }
        self.last_was_word &= byte.is_ascii_whitespace();
        self.key.push(char::from(byte));
        self.at += 1;
    }

    fn word(&mut self) -> Option<()> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80 || *b == b'$') {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        // A letter glued to a quote makes another kind of string: E'…', B'…', U&'…'.
        if matches!(self.bytes.get(self.at), Some(b'\''))
            || (word.eq_ignore_ascii_case("u") && self.bytes.get(self.at) == Some(&b'&'))
        {
            return None;
        }
        self.continuation_bytes += word.bytes().filter(|b| (0x80..0xC0).contains(b)).count();
        if contains(KEEPING, word) {
            self.keep_from.get_or_insert(self.depth);
        }
        self.key.push_str(word);
        self.last_word = word;
        self.last_was_word = true;
        Some(())
    }

    fn quoted_identifier(&mut self) -> Option<()> {
        let start = self.at;
        self.at += 1;
        let length = memchr::memchr(b'"', &self.bytes[self.at..])?;
        self.at += length + 1;
        let identifier = &self.text[start..self.at];
        self.continuation_bytes += identifier.bytes().filter(|b| (0x80..0xC0).contains(b)).count();
        self.key.push_str(identifier);
        self.last_was_word = false;
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let mut fractional = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'0'..=b'9' => {}
                b'.' if !fractional => fractional = true,
                b'e' | b'E' => {
                    fractional = true;
                    if matches!(self.bytes.get(self.at + 1), Some(b'+' | b'-')) {
                        self.at += 1;
                    }
                }
                _ => break,
            }
            self.at += 1;
        }
        if self.bytes.get(self.at).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_' || *b == b'.') {
            return None;
        }
        let digits = &self.text[start..self.at];
        let value = match digits.parse::<i64>() {
            _ if fractional => LiteralValue::Numeric(digits.into()),
            Ok(value) => i32::try_from(value).map_or(LiteralValue::Int8(value), LiteralValue::Int4),
            Err(_) => LiteralValue::Numeric(digits.into()),
        };
        self.slot(start, value)
    }

    fn string(&mut self) -> Option<()> {
        let start = self.at;
        let mut value = String::new();
        self.at += 1;
        loop {
            let length = memchr::memchr(b'\'', &self.bytes[self.at..])?;
            value.push_str(&self.text[self.at..self.at + length]);
            self.at += length + 1;
            if self.bytes.get(self.at) != Some(&b'\'') {
                break;
            }
            value.push('\'');
            self.at += 1;
        }
        let before = self.continuation_bytes;
        self.slot(start, LiteralValue::Text(value.into()))?;
        self.continuation_bytes = before + self.text[start..self.at].bytes().filter(|b| (0x80..0xC0).contains(b)).count();
        Some(())
    }

    fn slot(&mut self, start: usize, value: LiteralValue) -> Option<()> {
        let typed_literal = matches!(value, LiteralValue::Text(_)) && self.last_was_word && !follows_freely(self.last_word);
        self.last_was_word = false;
        if self.keep_from.is_some() || typed_literal {
            self.key.push_str(&self.text[start..self.at]);
            return Some(());
        }
        if self.literals.len() == LITERALS_MAX {
            return None;
        }
        let position = u32::try_from(start - self.continuation_bytes + 1).ok()?;
        self.key.push(value.marker());
        self.literals.push(Literal { value, position });
        Some(())
    }
}

/// Whether a string right after this word is a literal of its own, and not `type 'text'`.
fn follows_freely(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "select",
        "where",
        "and",
        "or",
        "not",
        "then",
        "else",
        "when",
        "case",
        "like",
        "ilike",
        "between",
        "in",
        "values",
        "from",
        "on",
        "having",
        "returning",
        "set",
        "distinct",
        "all",
        "by",
        "is",
        "as",
        "to",
    ];
    contains(WORDS, word)
}

fn contains(words: &[&str], word: &str) -> bool {
    words.iter().any(|candidate| candidate.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, key: &str, literals: &[(LiteralValue, u32)]) {
        let normalised = normalise(text).unwrap_or_else(|| panic!("{text} is normalised"));
        assert_eq!(normalised.key.replace('\u{1}', "¹").replace('\u{2}', "²").replace('\u{3}', "³").replace('\u{4}', "⁴"), key);
        let found: Vec<_> = normalised.literals.into_iter().map(|l| (l.value, l.position)).collect();
        assert_eq!(found, literals, "{text}");
    }

    #[test]
    fn literals_become_typed_slots() {
        use LiteralValue::*;
        check("SELECT abalance FROM t WHERE aid = 12;", "SELECT abalance FROM t WHERE aid = ¹", &[(Int4(12), 36)]);
        check("select -2147483648", "select -²", &[(Int8(2_147_483_648), 9)]);
        check(
            "select 1.5, 1e3, .5",
            "select ³, ³, ³",
            &[(Numeric("1.5".into()), 8), (Numeric("1e3".into()), 13), (Numeric(".5".into()), 18)],
        );
        check("select 9223372036854775808", "select ³", &[(Numeric("9223372036854775808".into()), 8)]);
        check("insert into t values ('ä''b', 2)", "insert into t values (⁴, ¹)", &[(Text("ä'b".into()), 23), (Int4(2), 31)]);
        check("select 'x' from t1 limit 3", "select ⁴ from t1 limit 3", &[(Text("x".into()), 8)]);
        check("select date '2020-01-01', 7", "select date '2020-01-01', 7", &[]);
        check("select a::varchar(3), 7", "select a::varchar(3), ¹", &[(Int4(7), 23)]);
        check("select (select 1 limit 2), 3", "select (select ¹ limit 2), ¹", &[(Int4(1), 16), (Int4(3), 28)]);
    }

    #[test]
    fn odd_texts_are_left_alone() {
        for text in [
            "begin",
            "select $1",
            "select 1; select 2",
            "select 1 -- x",
            "select e'x'",
            "select $$x$$",
            "select 'x",
            "select 1x",
            "create table t (a int)",
        ] {
            assert_eq!(normalise(text), None, "{text}");
        }
    }

    #[test]
    fn transaction_commands_are_recognised() {
        assert!(matches!(transaction_command("BEGIN;"), Some(Utility::Begin(_, false))));
        assert!(matches!(transaction_command("end"), Some(Utility::Commit { chain: false })));
        assert!(matches!(transaction_command(" Rollback ; "), Some(Utility::Rollback { chain: false })));
        assert!(transaction_command("begin read only").is_none());
        assert!(transaction_command("rollback to a").is_none());
    }
}
