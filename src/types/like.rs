//! LIKE and ILIKE (like_match.c).

use crate::error::{SqlError, SqlResult};

/// A LIKE pattern, compiled once for many strings.
#[derive(Clone, Debug)]
pub struct LikePattern {
    _pattern: String,
}

impl LikePattern {
    /// Compiles a pattern. `escape` is the escape character, `None` for `ESCAPE ''`. 22025 if the pattern ends with the escape
    /// character.
    pub fn new(pattern: &str, escape: Option<char>, ignore_case: bool) -> SqlResult<Self> {
        let _ = (pattern, escape, ignore_case);
        Err(SqlError::internal("LIKE is not written yet"))
    }

    /// Whether the whole string matches.
    pub fn matches(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// The literal text every match starts with, for key ranges; empty if the pattern starts with a wildcard.
    pub fn literal_prefix(&self) -> &str {
        ""
    }
}
