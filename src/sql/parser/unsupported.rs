//! Statements that PostgreSQL has and this server has not, so that 0A000 names them and anything else is a syntax error.

use crate::error::SqlResult;
use crate::sql::parser::ast::Body;
use crate::sql::parser::cursor::Cursor;

/// Statements known by their first word.
const BY_FIRST_WORD: &[(&str, &str)] = &[
    ("call", "CALL"),
    ("close", "CLOSE"),
    ("cluster", "CLUSTER"),
    ("comment", "COMMENT"),
    ("declare", "DECLARE CURSOR"),
    ("do", "DO"),
    ("fetch", "FETCH"),
    ("import", "IMPORT FOREIGN SCHEMA"),
    ("listen", "LISTEN"),
    ("load", "LOAD"),
    ("merge", "MERGE"),
    ("move", "MOVE"),
    ("notify", "NOTIFY"),
    ("refresh", "REFRESH MATERIALIZED VIEW"),
    ("reindex", "REINDEX"),
    ("security", "SECURITY LABEL"),
    ("unlisten", "UNLISTEN"),
];

/// Words between CREATE, ALTER or DROP and the kind of object, left out of its name.
const MODIFIERS: &[&str] = &[
    "or",
    "replace",
    "unique",
    "temp",
    "temporary",
    "unlogged",
    "global",
    "local",
    "recursive",
    "trusted",
    "procedural",
    "default",
];

/// Kinds of object whose names have two or three words.
const LONG_KINDS: &[&[&str]] = &[
    &["access", "method"],
    &["event", "trigger"],
    &["foreign", "data", "wrapper"],
    &["foreign", "table"],
    &["large", "object"],
    &["materialized", "view"],
    &["operator", "class"],
    &["operator", "family"],
    &["text", "search"],
    &["user", "mapping"],
];

const KINDS: &[&str] = &[
    "aggregate",
    "cast",
    "collation",
    "constraint",
    "conversion",
    "database",
    "domain",
    "extension",
    "function",
    "group",
    "index",
    "language",
    "operator",
    "policy",
    "procedure",
    "publication",
    "role",
    "routine",
    "rule",
    "schema",
    "sequence",
    "server",
    "statistics",
    "subscription",
    "system",
    "table",
    "tablespace",
    "transform",
    "trigger",
    "type",
    "user",
    "view",
];

/// A statement that begins with none of the known words.
pub fn parse(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    let word = cursor.peek_word().unwrap_or_default();
    match BY_FIRST_WORD.iter().find(|(first, _)| *first == word) {
        Some((_, name)) if cursor.peek_at(1).is_some() => Ok(Body::Unsupported((*name).to_owned())),
        Some(_) => {
            cursor.advance()?;
            Err(cursor.error())
        }
        None => Err(cursor.error()),
    }
}

/// CREATE, ALTER or DROP of something this server has not; the verb is the next token.
pub fn ddl(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    let verb = cursor.peek_word().unwrap_or_default().to_uppercase();
    cursor.advance()?;
    while cursor.peek_word().is_some_and(|word| MODIFIERS.contains(&word.as_str())) {
        cursor.advance()?;
    }
    for kind in LONG_KINDS {
        if cursor.accept_all(kind) {
            return Ok(Body::Unsupported(format!("{verb} {}", kind.join(" ").to_uppercase())));
        }
    }
    match cursor.peek_word() {
        Some(kind) if KINDS.contains(&kind.as_str()) && cursor.peek_at(1).is_some() => {
            Ok(Body::Unsupported(format!("{verb} {}", kind.to_uppercase())))
        }
        _ => Err(cursor.error()),
    }
}
