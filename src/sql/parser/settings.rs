//! SET, SHOW, RESET and DISCARD.

use sqlparser::tokenizer::Token;

use crate::error::SqlResult;
use crate::sql::parser::ast::Body;
use crate::sql::parser::cursor::Cursor;
use crate::sql::parser::{lexer, transaction};
use crate::sql::utility::Utility;

/// Parses a statement that begins with `word`.
pub fn parse(cursor: &mut Cursor<'_>, word: &str) -> SqlResult<Body> {
    cursor.advance()?;
    let body = match word {
        "set" => set(cursor)?,
        "show" => match name_or_all(cursor)?.as_str() {
            "pools" => Body::Sql(pools()?),
            name => Body::Ready(Utility::Show(name.to_owned())),
        },
        "reset" => {
            let name = name_or_all(cursor)?;
            Body::Ready(Utility::Reset((name != "all").then_some(name)))
        }
        _ => {
            let what = cursor.identifier()?;
            match what.as_str() {
                "all" | "plans" | "sequences" | "temp" => Body::Ready(Utility::Discard(what)),
                "temporary" => Body::Ready(Utility::Discard("temp".to_owned())),
                _ => return Err(cursor.error()),
            }
        }
    };
    cursor.expect_end()?;
    Ok(body)
}

/// What SHOW POOLS stands for.
const POOLS: &str = "SELECT * FROM pg_catalog.omendb_pools ORDER BY core";

fn pools() -> SqlResult<Box<sqlparser::ast::Statement>> {
    let lexed = lexer::lex(POOLS)?;
    Cursor::new(&lexed, 0, lexed.tokens.len()).sql_statement()
}

/// A setting's name: dotted, or one of the spellings in several words.
fn name_or_all(cursor: &mut Cursor<'_>) -> SqlResult<String> {
    if cursor.accept_all(&["time", "zone"]) {
        return Ok("timezone".to_owned());
    }
    if cursor.accept_all(&["transaction", "isolation", "level"]) {
        return Ok("transaction_isolation".to_owned());
    }
    if cursor.accept_all(&["session", "authorization"]) {
        return Ok("session_authorization".to_owned());
    }
    setting_name(cursor)
}

fn setting_name(cursor: &mut Cursor<'_>) -> SqlResult<String> {
    let mut name = cursor.identifier()?;
    while cursor.accept_token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?);
    }
    name.make_ascii_lowercase();
    Ok(name)
}

fn set(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    if cursor.accept("transaction") {
        if cursor.accept("snapshot") {
            cursor.string()?;
            return Ok(Body::Unsupported("SET TRANSACTION SNAPSHOT".to_owned()));
        }
        if cursor.at_end() {
            return Err(cursor.error());
        }
        return Ok(Body::Ready(Utility::SetTransaction(transaction::modes(cursor)?)));
    }
    if cursor.accept_all(&["session", "characteristics"]) {
        cursor.expect("as")?;
        cursor.expect("transaction")?;
        return Ok(Body::Ready(Utility::SetSessionCharacteristics(transaction::modes(cursor)?)));
    }
    if let Some(name) = unsupported_set(cursor) {
        while !cursor.at_end() {
            cursor.advance()?;
        }
        return Ok(Body::Unsupported(name.to_owned()));
    }
    let local = cursor.accept("local");
    if let Some(body) = authority(cursor, local)? {
        return Ok(body);
    }
    if !local
        && cursor.accept("session")
        && let Some(body) = authority(cursor, false)?
    {
        return Ok(body);
    }
    if let Some(name) = unsupported_set(cursor) {
        while !cursor.at_end() {
            cursor.advance()?;
        }
        return Ok(Body::Unsupported(name.to_owned()));
    }
    assignment(cursor, local)
}

/// SET forms that change what this server has not.
fn unsupported_set(cursor: &Cursor<'_>) -> Option<&'static str> {
    let first = cursor.word_at(0)?;
    let second = cursor.word_at(1);
    match (first.as_str(), second.as_deref()) {
        ("constraints", Some(_)) => Some("SET CONSTRAINTS"),
        ("xml", Some("option")) => Some("SET XML OPTION"),
        ("seed", _) => Some("SET SEED"),
        _ => None,
    }
}

/// SESSION AUTHORIZATION and ROLE, which take a role without `TO` or `=`.
fn authority(cursor: &mut Cursor<'_>, local: bool) -> SqlResult<Option<Body>> {
    let name = if cursor.accept_all(&["session", "authorization"]) {
        "session_authorization"
    } else if cursor.word_at(0).as_deref() == Some("role") && is_role(cursor) {
        cursor.accept("role");
        "role"
    } else {
        return Ok(None);
    };
    let value = match cursor.peek() {
        Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") => {
            if name == "role" {
                return Err(cursor.error());
            }
            cursor.advance()?;
            None
        }
        Some(Token::Word(_)) => Some(cursor.identifier()?),
        _ => Some(cursor.string()?),
    };
    Ok(Some(Body::Ready(Utility::Set { name: name.to_owned(), value, local })))
}

/// Whether a role follows the word ROLE: it is not `SET role = …`.
fn is_role(cursor: &Cursor<'_>) -> bool {
    !matches!(cursor.peek_at(1), None | Some(Token::Eq)) && cursor.word_at(1).as_deref() != Some("to")
}

fn assignment(cursor: &mut Cursor<'_>, local: bool) -> SqlResult<Body> {
    if cursor.accept_all(&["time", "zone"]) {
        let value = if cursor.accept("local") || cursor.accept("default") {
            None
        } else if cursor.peek_word().as_deref() == Some("interval") {
            return Ok(Body::Unsupported(drain(cursor, "SET TIME ZONE INTERVAL")?));
        } else {
            Some(value(cursor)?)
        };
        return Ok(Body::Ready(Utility::Set { name: "timezone".to_owned(), value, local }));
    }
    if cursor.accept("names") {
        let value = if cursor.at_end() || cursor.accept("default") { None } else { Some(cursor.string()?) };
        return Ok(Body::Ready(Utility::Set { name: "client_encoding".to_owned(), value, local }));
    }
    if cursor.word_at(0).as_deref() == Some("schema") && matches!(cursor.peek_at(1), Some(Token::SingleQuotedString(_))) {
        cursor.advance()?;
        let value = Some(cursor.string()?);
        return Ok(Body::Ready(Utility::Set { name: "search_path".to_owned(), value, local }));
    }
    let name = setting_name(cursor)?;
    if !cursor.accept("to") {
        cursor.expect_token(&Token::Eq)?;
    }
    if cursor.accept("default") {
        return Ok(Body::Ready(Utility::Set { name, value: None, local }));
    }
    let mut values = vec![value(cursor)?];
    while cursor.accept_token(&Token::Comma) {
        values.push(value(cursor)?);
    }
    if name == "search_path" {
        // The items of a list of names are kept as identifiers, so that they can be told apart again.
        values.iter_mut().for_each(|value| *value = crate::catalog::identifier::quote_identifier(value));
    }
    Ok(Body::Ready(Utility::Set { name, value: Some(values.join(", ")), local }))
}

fn drain(cursor: &mut Cursor<'_>, name: &str) -> SqlResult<String> {
    while !cursor.at_end() {
        cursor.advance()?;
    }
    Ok(name.to_owned())
}

/// A value: a word, a string, or a number with a sign.
fn value(cursor: &mut Cursor<'_>) -> SqlResult<String> {
    match cursor.peek() {
        Some(Token::Minus) => {
            cursor.advance()?;
            Ok(format!("-{}", number(cursor)?))
        }
        Some(Token::Plus) => {
            cursor.advance()?;
            number(cursor)
        }
        Some(Token::Number(..)) => number(cursor),
        Some(Token::Word(_)) => cursor.identifier(),
        _ => cursor.string(),
    }
}

fn number(cursor: &mut Cursor<'_>) -> SqlResult<String> {
    match cursor.peek() {
        Some(Token::Number(number, _)) => {
            cursor.advance()?;
            Ok(number.clone())
        }
        _ => Err(cursor.error()),
    }
}
