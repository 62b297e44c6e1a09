//! String functions.

use crate::catalog::identifier::quote_identifier;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::function::kinds::*;
use crate::sql::function::{Entry, Function, Implementation, Kind};
use crate::types::regexp::PosixRegex;
use crate::types::{Datum, string};

/// `quote_literal`: the text as it must be written in SQL.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn internal() -> SqlError {
    SqlError::internal("a string function was called with values of other types than it was resolved for")
}

fn text(datum: &Datum) -> SqlResult<&str> {
    datum.as_str().ok_or_else(internal)
}

fn int(datum: &Datum) -> SqlResult<i32> {
    match datum {
        Datum::Int4(value) => Ok(*value),
        _ => Err(internal()),
    }
}

fn owned(text: String) -> SqlResult<Datum> {
    Ok(Datum::Text(text.into()))
}

type Values = fn(&[Datum]) -> SqlResult<Datum>;

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    measures(functions);
    let table: &[(&'static str, &'static [Kind], Values)] = &[
        ("lower", &[TEXT], |a| owned(string::lower(text(&a[0])?))),
        ("upper", &[TEXT], |a| owned(string::upper(text(&a[0])?))),
        ("initcap", &[TEXT], |a| owned(string::initcap(text(&a[0])?))),
        ("reverse", &[TEXT], |a| owned(string::reverse(text(&a[0])?))),
        ("substring", &[TEXT, INT4], |a| Ok(Datum::text(string::substring(text(&a[0])?, int(&a[1])?, None)?))),
        ("substring", &[TEXT, INT4, INT4], |a| Ok(Datum::text(string::substring(text(&a[0])?, int(&a[1])?, Some(int(&a[2])?))?))),
        ("substr", &[TEXT, INT4], |a| Ok(Datum::text(string::substring(text(&a[0])?, int(&a[1])?, None)?))),
        ("substr", &[TEXT, INT4, INT4], |a| Ok(Datum::text(string::substring(text(&a[0])?, int(&a[1])?, Some(int(&a[2])?))?))),
        ("substring", &[TEXT, TEXT], |a| {
            let pattern = PosixRegex::new(text(&a[1])?, "")?;
            Ok(pattern.substring(text(&a[0])?).map_or(Datum::Null, Datum::text))
        }),
        ("btrim", &[TEXT], |a| Ok(Datum::text(string::trim(text(&a[0])?, " ")))),
        ("btrim", &[TEXT, TEXT], |a| Ok(Datum::text(string::trim(text(&a[0])?, text(&a[1])?)))),
        ("ltrim", &[TEXT], |a| Ok(Datum::text(string::trim_start(text(&a[0])?, " ")))),
        ("ltrim", &[TEXT, TEXT], |a| Ok(Datum::text(string::trim_start(text(&a[0])?, text(&a[1])?)))),
        ("rtrim", &[TEXT], |a| Ok(Datum::text(string::trim_end(text(&a[0])?, " ")))),
        ("rtrim", &[TEXT, TEXT], |a| Ok(Datum::text(string::trim_end(text(&a[0])?, text(&a[1])?)))),
        ("left", &[TEXT, INT4], |a| Ok(Datum::text(string::left(text(&a[0])?, int(&a[1])?)))),
        ("right", &[TEXT, INT4], |a| Ok(Datum::text(string::right(text(&a[0])?, int(&a[1])?)))),
        ("lpad", &[TEXT, INT4], |a| owned(string::pad_start(text(&a[0])?, int(&a[1])?, " ")?)),
        ("lpad", &[TEXT, INT4, TEXT], |a| owned(string::pad_start(text(&a[0])?, int(&a[1])?, text(&a[2])?)?)),
        ("rpad", &[TEXT, INT4], |a| owned(string::pad_end(text(&a[0])?, int(&a[1])?, " ")?)),
        ("rpad", &[TEXT, INT4, TEXT], |a| owned(string::pad_end(text(&a[0])?, int(&a[1])?, text(&a[2])?)?)),
        ("repeat", &[TEXT, INT4], |a| owned(string::repeat(text(&a[0])?, int(&a[1])?)?)),
        ("replace", &[TEXT, TEXT, TEXT], |a| owned(string::replace(text(&a[0])?, text(&a[1])?, text(&a[2])?)?)),
        ("translate", &[TEXT, TEXT, TEXT], |a| owned(string::translate(text(&a[0])?, text(&a[1])?, text(&a[2])?))),
        ("split_part", &[TEXT, TEXT, INT4], |a| Ok(Datum::text(string::split_part(text(&a[0])?, text(&a[1])?, int(&a[2])?)?))),
        ("quote_ident", &[TEXT], |a| owned(quote_identifier(text(&a[0])?))),
        ("chr", &[INT4], |a| chr(int(&a[0])?)),
        ("to_hex", &[INT4], |a| owned(format!("{:x}", int(&a[0])?))),
        ("to_hex", &[INT8], |a| owned(format!("{:x}", a[0].as_i64().ok_or_else(internal)?))),
        ("like_escape", &[TEXT, TEXT], |a| like_escape(text(&a[0])?, text(&a[1])?)),
        ("regexp_replace", &[TEXT, TEXT, TEXT], |a| {
            owned(PosixRegex::new(text(&a[1])?, "")?.replace(text(&a[0])?, text(&a[2])?, false))
        }),
        ("regexp_replace", &[TEXT, TEXT, TEXT, TEXT], |a| {
            let flags = text(&a[3])?;
            owned(PosixRegex::new(text(&a[1])?, flags)?.replace(text(&a[0])?, text(&a[2])?, flags.contains('g')))
        }),
        ("md5", &[TEXT], |a| owned(super::md5::hex_digest(text(&a[0])?.as_bytes()))),
    ];
    for &(name, args, code) in table {
        Entry::function(name, args, TEXT, Implementation::Values(code)).add(functions);
    }
    let substring: Values = |a| bytes(&a[0]).and_then(|b| Ok(Datum::bytea(string::substring_bytes(b, int(&a[1])?, None)?)));
    Entry::function("substring", &[BYTEA, INT4], BYTEA, Implementation::Values(substring)).add(functions);
    let md5: Values = |a| owned(super::md5::hex_digest(bytes(&a[0])?));
    Entry::function("md5", &[BYTEA], TEXT, Implementation::Values(md5)).add(functions);
}

fn bytes(datum: &Datum) -> SqlResult<&[u8]> {
    match datum {
        Datum::Bytea(bytes) => Ok(bytes),
        _ => Err(internal()),
    }
}

fn measures(functions: &mut Vec<Function>) {
    for name in ["length", "char_length", "character_length"] {
        let code = Implementation::Unary(|a| Ok(Datum::Int4(string::char_length(text(a)?))));
        Entry::function(name, &[TEXT], INT4, code).add(functions);
        // Trailing blanks of char(n) do not count.
        let padded = Implementation::Unary(|a| Ok(Datum::Int4(string::char_length(text(a)?.trim_end_matches(' ')))));
        Entry::function(name, &[BPCHAR], INT4, padded).add(functions);
    }
    let octets = Implementation::Unary(|a| i32::try_from(text(a)?.len()).map(Datum::Int4).map_err(|_| internal()));
    Entry::function("octet_length", &[TEXT], INT4, octets).add(functions);
    Entry::function("octet_length", &[BPCHAR], INT4, octets).add(functions);
    let octets = Implementation::Unary(|a| i32::try_from(bytes(a)?.len()).map(Datum::Int4).map_err(|_| internal()));
    Entry::function("octet_length", &[BYTEA], INT4, octets).add(functions);
    Entry::function("length", &[BYTEA], INT4, octets).add(functions);
    for name in ["position", "strpos"] {
        let code = Implementation::Values(|a| Ok(Datum::Int4(string::position(text(&a[0])?, text(&a[1])?))));
        Entry::function(name, &[TEXT, TEXT], INT4, code).add(functions);
    }
    let starts = Implementation::Values(|a| Ok(Datum::Bool(text(&a[0])?.starts_with(text(&a[1])?))));
    Entry::function("starts_with", &[TEXT, TEXT], BOOL, starts).add(functions);
    let ascii = Implementation::Unary(|a| {
        let code = text(a)?.chars().next().map_or(0, u32::from);
        i32::try_from(code).map(Datum::Int4).map_err(|_| internal())
    });
    Entry::function("ascii", &[TEXT], INT4, ascii).add(functions);
}

fn chr(code: i32) -> SqlResult<Datum> {
    let refuse = |message: &str| Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    match u32::try_from(code) {
        Ok(0) => refuse("null character not permitted"),
        Err(_) => refuse("character number must be positive"),
        Ok(code) => match char::from_u32(code) {
            Some(ch) => owned(ch.to_string()),
            None => refuse(&format!("requested character not valid for encoding: {code}")),
        },
    }
}

/// A LIKE pattern with another escape character, rewritten to the default one (like.c, do_like_escape).
fn like_escape(pattern: &str, escape: &str) -> SqlResult<Datum> {
    let mut characters = escape.chars();
    let (escape, more) = (characters.next(), characters.next());
    if more.is_some() {
        let error = SqlError::new(SqlState(*b"22025"), "invalid escape string");
        return Err(error.hint("Escape string must be empty or one character."));
    }
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut rest = pattern.chars();
    while let Some(ch) = rest.next() {
        if Some(ch) == escape {
            out.push('\\');
            if let Some(next) = rest.next() {
                out.push(next);
            }
        } else if ch == '\\' {
            out.push_str("\\\\");
        } else {
            out.push(ch);
        }
    }
    owned(out)
}
