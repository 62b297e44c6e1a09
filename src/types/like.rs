//! LIKE and ILIKE (like_match.c).

use crate::error::{SqlError, SqlResult, SqlState};

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Exactly these bytes (in lower case for ILIKE).
    Literal(Vec<u8>),
    /// `_`: any one character.
    AnyOne,
    /// `%`: anything.
    Any,
}

/// A LIKE pattern, compiled once for many strings.
#[derive(Clone, Debug)]
pub struct LikePattern {
    pieces: Vec<Piece>,
    prefix: String,
    ignore_case: bool,
}

impl LikePattern {
    /// Compiles a pattern. `escape` is the escape character, `None` for `ESCAPE ''`. 22025 if the pattern ends with the escape
    /// character.
    pub fn new(pattern: &str, escape: Option<char>, ignore_case: bool) -> SqlResult<Self> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let literal = match c {
                _ if Some(c) == escape => chars.next().ok_or_else(|| {
                    SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "LIKE pattern must not end with escape character")
                })?,
                '%' => {
                    if pieces.last() != Some(&Piece::Any) {
                        pieces.push(Piece::Any);
                    }
                    continue;
                }
                '_' => {
                    // "%_" and "_%" mean the same; with the % last, runs of both collapse and matching stays cheap.
                    let at = pieces.len() - usize::from(pieces.last() == Some(&Piece::Any));
                    pieces.insert(at, Piece::AnyOne);
                    continue;
                }
                _ => c,
            };
            let literal = if ignore_case { literal.to_ascii_lowercase() } else { literal };
            let mut buffer = [0; 4];
            let bytes = literal.encode_utf8(&mut buffer).as_bytes();
            match pieces.last_mut() {
                Some(Piece::Literal(text)) => text.extend_from_slice(bytes),
                _ => pieces.push(Piece::Literal(bytes.to_vec())),
            }
        }
        let prefix = match pieces.first() {
            Some(Piece::Literal(text)) if !ignore_case => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        Ok(Self { pieces, prefix, ignore_case })
    }

    /// Whether the whole string matches.
    pub fn matches(&self, text: &str) -> bool {
        if self.ignore_case {
            // Under the collation "C" only ASCII letters have cases.
            return self.matches_bytes(text.to_ascii_lowercase().as_bytes());
        }
        self.matches_bytes(text.as_bytes())
    }

    /// Greedy with one point of return: after a later % an earlier one never needs to be tried again, so the time is at most
    /// the product of both lengths.
    fn matches_bytes(&self, text: &[u8]) -> bool {
        let (mut piece, mut at) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let advanced = match self.pieces.get(piece) {
                Some(Piece::Any) if piece + 1 == self.pieces.len() => return true,
                Some(Piece::Any) => {
                    piece += 1;
                    retry = Some((piece, at));
                    continue;
                }
                Some(Piece::AnyOne) => (at < text.len()).then(|| at + character_length(text[at])),
                Some(Piece::Literal(literal)) => text[at.min(text.len())..].starts_with(literal).then(|| at + literal.len()),
                None if at == text.len() => return true,
                None => None,
            };
            match (advanced, retry) {
                (Some(next), _) => (piece, at) = (piece + 1, next),
                (None, Some((from_piece, from))) if from < text.len() => {
                    let from = match &self.pieces[from_piece] {
                        Piece::Literal(literal) => match memchr::memchr(literal[0], &text[from + 1..]) {
                            Some(skip) => from + 1 + skip,
                            None => return false,
                        },
                        _ => from + character_length(text[from]),
                    };
                    retry = Some((from_piece, from));
                    (piece, at) = (from_piece, from);
                }
                (None, _) => return false,
            }
        }
    }

    /// The literal text every match starts with, for key ranges; empty if the pattern starts with a wildcard or ignores case.
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// The only string that matches, if the pattern has no wildcards and does not ignore case.
    pub fn exact(&self) -> Option<&str> {
        (!self.ignore_case && !self.pieces.iter().any(|piece| matches!(piece, Piece::Any | Piece::AnyOne)))
            .then_some(&self.prefix)
    }
}

/// Bytes of the UTF-8 character that starts with this byte.
fn character_length(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_postgresql() {
        for (text, pattern, expected) in [
            ("abc", "abc", true),
            ("abc", "a%", true),
            ("abc", "_b_", true),
            ("abc", "%c", true),
            ("abc", "c", false),
            ("", "%", true),
            ("", "", true),
            ("a", "", false),
            ("", "_", false),
            ("abcbc", "a%bc", true),
            ("abcbcd", "a%bc", false),
            ("äöü", "_ö_", true),
            ("äöü", "___", true),
            ("äöü", "____", false),
            ("aä", "%_", true),
            ("a%b", "a\\%b", true),
            ("axb", "a\\%b", false),
            ("a_%", "%\\_\\%", true),
            ("mississippi", "%iss%ip%i", true),
            ("mississippi", "%iss%ipx%", false),
            ("abc", "%_%_%_%", true),
            ("ab", "%_%_%_%", false),
        ] {
            let compiled = LikePattern::new(pattern, Some('\\'), false).unwrap();
            assert_eq!(compiled.matches(text), expected, "{text:?} LIKE {pattern:?}");
        }
        assert!(LikePattern::new("ABC%", Some('\\'), true).unwrap().matches("abcd"));
        assert!(!LikePattern::new("ABC%", Some('\\'), false).unwrap().matches("abcd"));
        assert_eq!(LikePattern::new("abc%d", Some('\\'), false).unwrap().literal_prefix(), "abc");
        let error = LikePattern::new("abc\\", Some('\\'), false).unwrap_err();
        assert_eq!((error.code().as_str(), error.message()), ("22025", "LIKE pattern must not end with escape character"));
    }

    #[test]
    fn many_wildcards_stay_cheap() {
        let text = "a".repeat(5000);
        let pattern = LikePattern::new(&("a%".repeat(1000) + "b"), Some('\\'), false).unwrap();
        assert!(!pattern.matches(&text));
    }
}
