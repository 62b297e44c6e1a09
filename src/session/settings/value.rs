//! Reading and printing the values of settings: booleans, numbers with units, words of a list.
//!
//! Source: PostgreSQL 15 documentation, 20.1.1 "Parameter Names and Values".

use crate::error::{SqlError, SqlState};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nothing in particular.
    None,
    /// Milliseconds.
    Milliseconds,
    /// KiB.
    Kilobytes,
}

/// Units of time, largest first, in microseconds.
const TIMES: &[(&str, f64)] = &[("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6), ("ms", 1e3), ("us", 1.0)];

/// Units of memory, largest first, in bytes.
const SIZES: &[(&str, f64)] =
    &[("TB", 1_099_511_627_776.0), ("GB", 1_073_741_824.0), ("MB", 1_048_576.0), ("kB", 1_024.0), ("B", 1.0)];

/// 22023 in PostgreSQL's words.
pub fn invalid(name: &str, value: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": \"{value}\""))
}

/// A boolean: `on`, `off`, `true`, `false`, `yes`, `no`, `1`, `0`, or a prefix that can be only one of them.
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim().to_ascii_lowercase();
    let prefix_of = |word: &str, length_min: usize| value.len() >= length_min && word.starts_with(&value);
    if value == "1" || prefix_of("true", 1) || prefix_of("yes", 1) || value == "on" {
        Some(true)
    } else if value == "0" || prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) {
        Some(false)
    } else {
        None
    }
}

/// An integer, with a unit where it counts something; fractions are rounded.
pub fn parse_integer(value: &str, unit: Unit) -> Option<i64> {
    let value = value.trim();
    let digits = value.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | 'e' | 'E')).unwrap_or(value.len());
    let (number, suffix) = value.split_at(digits);
    let suffix = suffix.trim();
    let (table, base) = match unit {
        Unit::None => (&[][..], 1.0),
        Unit::Milliseconds => (TIMES, 1e3),
        Unit::Kilobytes => (SIZES, 1_024.0),
    };
    let factor = match suffix {
        "" => 1.0,
        suffix => table.iter().find(|(name, _)| *name == suffix)?.1 / base,
    };
    let number: f64 = number.parse().ok()?;
    let scaled = (number * factor).round_ties_even();
    (scaled.abs() < 9e15).then_some(scaled as i64)
}

/// An integer as SHOW prints it: in the largest unit that divides it.
pub fn show_integer(value: i64, unit: Unit) -> String {
    let (table, base) = match unit {
        Unit::None => return value.to_string(),
        Unit::Milliseconds => (TIMES, 1e3),
        Unit::Kilobytes => (SIZES, 1_024.0),
    };
    if value <= 0 {
        return value.to_string();
    }
    for (name, factor) in table {
        let per_unit = factor / base;
        if per_unit >= 1.0 && value % (per_unit as i64) == 0 {
            return format!("{}{name}", value / per_unit as i64);
        }
    }
    value.to_string()
}

/// Seconds as SHOW prints them.
pub fn show_seconds(seconds: u64) -> String {
    show_integer(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000), Unit::Milliseconds)
}

/// The identifiers of a list such as `search_path`: folded to lower case unless quoted.
pub fn split_identifiers(list: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = list.trim();
    if rest.is_empty() {
        return Some(found);
    }
    loop {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let end = rest.find('"')?;
                name.push_str(&rest[..end]);
                rest = &rest[end + 1..];
                match rest.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        rest = more;
                    }
                    None => break,
                }
            }
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(rest.len());
            name = rest[..end].to_lowercase();
            rest = &rest[end..];
            if name.is_empty() {
                return None;
            }
        }
        found.push(name);
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => return Some(found),
            None => return None,
        }
    }
}
