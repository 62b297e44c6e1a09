//! POSIX regular expressions (`~`, `regexp_replace` and kin) on the regex crate.

use crate::error::{SqlError, SqlResult};

/// A compiled regular expression. Patterns are cached a thread, since statements apply one pattern to many rows.
#[derive(Clone, Debug)]
pub struct PosixRegex {
    _regex: regex::Regex,
}

impl PosixRegex {
    /// Compiles a pattern with PostgreSQL's flags (`i`, `c`, `n`, `s`, `x`, `g` ignored). 2201B for an invalid pattern, 0A000
    /// for what regular automata cannot do (back references, look-around).
    pub fn new(pattern: &str, flags: &str) -> SqlResult<Self> {
        let _ = (pattern, flags);
        Err(SqlError::internal("regular expressions are not written yet"))
    }

    /// `text ~ pattern`.
    pub fn is_match(&self, text: &str) -> bool {
        let _ = text;
        false
    }

    /// `regexp_replace`; `\1`…`\9` and `\&` in the replacement stand for groups and the match.
    pub fn replace(&self, text: &str, replacement: &str, all: bool) -> String {
        let _ = (replacement, all);
        text.to_owned()
    }

    /// The groups of the first match, or the whole match if the pattern has none (`regexp_match`); `None` without a match.
    pub fn groups(&self, text: &str) -> Option<Vec<Option<String>>> {
        let _ = text;
        None
    }

    /// The pieces between matches (`regexp_split_to_array`).
    pub fn split(&self, text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    /// `substring(text from pattern)`: the first group, or the match if there is no group.
    pub fn substring<'t>(&self, text: &'t str) -> Option<&'t str> {
        let _ = text;
        None
    }
}
