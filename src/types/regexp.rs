//! POSIX regular expressions (`~`, `regexp_replace` and kin) on the regex crate.
//!
//! The crate matches leftmost-first, PostgreSQL leftmost-longest: patterns whose alternatives are prefixes of each other may
//! find a shorter match. Back references and look-around do not exist here and are 0A000.

use regex::{Captures, RegexBuilder};

use crate::error::{SqlError, SqlResult, SqlState};

/// Bytes a compiled pattern may take, so that a pattern cannot exhaust memory.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// A compiled regular expression. Compiling is dear: keep it for all rows.
#[derive(Clone, Debug)]
pub struct PosixRegex {
    regex: regex::Regex,
}

fn invalid(message: impl std::fmt::Display) -> SqlError {
    SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {message}"))
}

impl PosixRegex {
    /// Compiles a pattern with PostgreSQL's flags (`i`, `c`, `n`, `m`, `s`, `p`, `w`, `x`, `q`, `b`…; `g` belongs to the function
    /// and is passed over). 2201B for an invalid pattern, 22023 for an unknown flag, 0A000 for what automata cannot do.
    pub fn new(pattern: &str, flags: &str) -> SqlResult<Self> {
        let (mut ignore_case, mut multi_line, mut dot_newline, mut extended, mut literal) = (false, false, true, false, false);
        for flag in flags.chars() {
            match flag {
                'i' => ignore_case = true,
                'c' => ignore_case = false,
                'n' | 'm' => (multi_line, dot_newline) = (true, false),
                's' => (multi_line, dot_newline) = (false, true),
                'p' => (multi_line, dot_newline) = (false, false),
                'w' => (multi_line, dot_newline) = (true, true),
                'x' => extended = true,
                't' => extended = false,
                'q' => literal = true,
                'g' | 'e' => {}
                'b' => return Err(SqlError::unsupported("a basic regular expression")),
                _ => {
                    return Err(SqlError::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!("invalid regular expression option: \"{flag}\""),
                    ));
                }
            }
        }
        let source = if literal { regex::escape(pattern) } else { translate(pattern)? };
        let regex = RegexBuilder::new(&source)
            .case_insensitive(ignore_case)
            .multi_line(multi_line)
            .dot_matches_new_line(dot_newline)
            .ignore_whitespace(extended)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => invalid("regular expression is too complex"),
                error => invalid(reason(&error.to_string())),
            })?;
        Ok(Self { regex })
    }

    /// `text ~ pattern`.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// `regexp_replace`; `\1`…`\9` and `\&` in the replacement stand for groups and the match.
    pub fn replace(&self, text: &str, replacement: &str, all: bool) -> String {
        let expand = |captures: &Captures<'_>| {
            let mut out = String::new();
            let mut chars = replacement.chars();
            while let Some(c) = chars.next() {
                match (c, chars.as_str().chars().next()) {
                    ('\\', Some(digit @ '1'..='9')) => {
                        let group = captures.get(digit as usize - '0' as usize);
                        out.push_str(group.map_or("", |group| group.as_str()));
                        chars.next();
                    }
                    ('\\', Some('&')) => {
                        out.push_str(&captures[0]);
                        chars.next();
                    }
                    ('\\', Some('\\')) => {
                        out.push('\\');
                        chars.next();
                    }
                    _ => out.push(c),
                }
            }
            out
        };
        let mut out = String::new();
        let mut begin = 0;
        for captures in self.matches(text).take(if all { usize::MAX } else { 1 }) {
            let found = captures.get_match();
            out.push_str(&text[begin..found.start()]);
            out.push_str(&expand(&captures));
            begin = found.end();
        }
        out + &text[begin..]
    }

    /// All matches as PostgreSQL walks them: after an empty match one character is passed over, and an empty match may follow
    /// right after another match (setup_regexp_matches).
    fn matches<'t>(&self, text: &'t str) -> impl Iterator<Item = Captures<'t>> {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let captures = self.regex.captures_at(text, from?)?;
            let found = captures.get_match();
            from = if found.is_empty() {
                text[found.end()..].chars().next().map(|c| found.end() + c.len_utf8())
            } else {
                Some(found.end())
            };
            Some(captures)
        })
    }

    /// The groups of the first match, or the whole match if the pattern has none (`regexp_match`); `None` without a match.
    pub fn groups(&self, text: &str) -> Option<Vec<Option<String>>> {
        self.regex.captures(text).map(|captures| groups_of(&captures))
    }

    /// [`PosixRegex::groups`] of every match (`regexp_matches` with flag `g`).
    pub fn all_groups(&self, text: &str) -> Vec<Vec<Option<String>>> {
        self.matches(text).map(|captures| groups_of(&captures)).collect()
    }

    /// The pieces between matches (`regexp_split_to_array`). Empty matches at the ends or right after another match split
    /// nothing.
    pub fn split(&self, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        let mut begin = 0;
        let mut previous_end = 0;
        for captures in self.matches(text) {
            let found = captures.get_match();
            if found.start() < text.len() && found.end() > previous_end {
                pieces.push(text[begin..found.start()].to_owned());
                begin = found.end();
            }
            previous_end = found.end();
        }
        pieces.push(text[begin..].to_owned());
        pieces
    }

    /// `substring(text from pattern)`: the first group, or the match if there is no group.
    pub fn substring<'t>(&self, text: &'t str) -> Option<&'t str> {
        let captures = self.regex.captures(text)?;
        captures.get(usize::from(captures.len() > 1)).map(|found| found.as_str())
    }
}

fn groups_of(captures: &Captures<'_>) -> Vec<Option<String>> {
    let first = usize::from(captures.len() > 1);
    (first..captures.len()).map(|index| captures.get(index).map(|group| group.as_str().to_owned())).collect()
}

/// The last line of the regex crate's message, which has the reason.
fn reason(message: &str) -> String {
    let reason = message.lines().last().unwrap_or(message).trim_start_matches("error: ");
    // PostgreSQL's words for the common ones (regerrs.h).
    let known = [
        ("unclosed character class", "brackets [] not balanced"),
        ("unclosed group", "parentheses () not balanced"),
        ("unopened group", "parentheses () not balanced"),
        ("unclosed counted repetition", "braces {} not balanced"),
        ("repetition operator missing expression", "quantifier operand invalid"),
        ("invalid repetition count range", "invalid repetition count(s)"),
        ("invalid character class range", "invalid character range"),
        ("unrecognized ASCII class", "invalid character class"),
    ];
    let words = known.iter().find(|(theirs, _)| reason.starts_with(theirs)).map_or(reason, |(_, words)| words);
    words.to_owned()
}

/// PostgreSQL's escapes in the regex crate's words (documentation, 9.7.3.3).
fn translate(pattern: &str) -> SqlResult<String> {
    let (pattern, prefix) = match pattern.strip_prefix("***=") {
        Some(literal) => return Ok(regex::escape(literal)),
        None => match pattern.strip_prefix("(?i)") {
            Some(rest) => (rest, "(?i)"),
            None => (pattern.strip_prefix("***:").unwrap_or(pattern), ""),
        },
    };
    let mut out = String::from(prefix);
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().ok_or_else(|| invalid("invalid escape \\ sequence"))? {
                'm' if !in_class => out.push_str(r"\b{start}"),
                'M' if !in_class => out.push_str(r"\b{end}"),
                'y' if !in_class => out.push_str(r"\b"),
                'Y' if !in_class => out.push_str(r"\B"),
                'A' if !in_class => out.push_str(r"\A"),
                'Z' if !in_class => out.push_str(r"\z"),
                digit @ '1'..='9' if !in_class => {
                    return Err(SqlError::unsupported(format!("the back reference \\{digit} in a regular expression")));
                }
                escaped @ ('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'n' | 'r' | 't' | 'f' | 'v' | 'x' | 'u' | 'U' | 'a') => {
                    out.extend(['\\', escaped]);
                }
                'e' => out.push_str(r"\x1b"),
                'b' => out.push_str(r"\x08"),
                'B' => out.push_str(r"\\"),
                letter if letter.is_ascii_alphanumeric() => return Err(invalid("invalid escape \\ sequence")),
                other => out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            },
            '(' if !in_class && chars.peek() == Some(&'?') => {
                let rest: String = chars.clone().take(3).collect();
                if rest.starts_with("?=") || rest.starts_with("?!") || rest.starts_with("?<=") || rest.starts_with("?<!") {
                    return Err(SqlError::unsupported("look-around in a regular expression"));
                }
                out.push('(');
            }
            '[' if in_class => match chars.peek() {
                Some(':') => out.push('['),
                // An opening bracket within a class is itself.
                _ => out.push_str(r"\["),
            },
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if chars.next_if_eq(&']').is_some() {
                    out.push_str(r"\]");
                }
            }
            ':' if in_class
                && chars.peek() == Some(&']')
                && out.ends_with(|c: char| c.is_ascii_alphabetic())
                && open_named(&out) =>
            {
                chars.next();
                out.push_str(":]");
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// Whether the text so far ends within `[:name`.
fn open_named(out: &str) -> bool {
    out.trim_end_matches(|c: char| c.is_ascii_alphabetic()).ends_with("[:")
}
