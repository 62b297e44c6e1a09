//! Identifiers and qualified names.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use crate::error::{SqlError, SqlResult};
use crate::sql::parser::{fold, position_of};

/// An identifier as PostgreSQL stores it: folded unless quoted, at most 63 bytes.
pub fn identifier(ident: &Ident) -> String {
    fold(&ident.value, ident.quote_style.is_some())
}

/// The identifier's character position.
pub fn position(ident: &Ident) -> Option<u32> {
    position_of(ident.span)
}

/// An error at a position, where there is one.
pub fn at(error: SqlError, position: Option<u32>) -> SqlError {
    match position {
        Some(position) => error.at(position),
        None => error,
    }
}

/// The parts of a qualified name, and the position of the first.
pub fn parts(name: &ObjectName) -> SqlResult<(Vec<String>, Option<u32>)> {
    let mut parts = Vec::with_capacity(name.0.len());
    let mut first = None;
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => {
                if parts.is_empty() {
                    first = position(ident);
                }
                parts.push(identifier(ident));
            }
            ObjectNamePart::Function(_) => return Err(SqlError::unsupported("a function as a name")),
        }
    }
    Ok((parts, first))
}

/// A possibly schema-qualified name: (schema, name, position).
pub fn qualified(name: &ObjectName) -> SqlResult<(Option<String>, String, Option<u32>)> {
    let (mut parts, position) = parts(name)?;
    let last = parts.pop().expect("an object name has at least one part");
    let schema = parts.pop();
    if !parts.is_empty() {
        return Err(at(SqlError::unsupported("a reference to another database"), position));
    }
    Ok((schema, last, position))
}
