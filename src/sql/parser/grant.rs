//! GRANT and REVOKE of privileges on objects, ALTER DEFAULT PRIVILEGES, DROP OWNED and REASSIGN OWNED (PostgreSQL 15 documentation under
//! these names).

use sqlparser::tokenizer::Token;

use crate::catalog::ObjectKind;
use crate::error::SqlResult;
use crate::sql::grant::{Granting, Listed, PrivilegeStatement, Target};
use crate::sql::parser::ast::{Body, TableName};
use crate::sql::parser::cursor::Cursor;
use crate::sql::parser::role::{role_list, role_name};
use crate::sql::role::RoleName;

/// Kinds of objects that privileges can be on and that there are none of here, or none that anybody has made.
const UNSUPPORTED: &[(&[&str], &str)] = &[
    (&["foreign", "data", "wrapper"], "FOREIGN DATA WRAPPER"),
    (&["foreign", "server"], "FOREIGN SERVER"),
    (&["large", "object"], "LARGE OBJECT"),
    (&["function"], "FUNCTION"),
    (&["procedure"], "PROCEDURE"),
    (&["routine"], "ROUTINE"),
    (&["domain"], "DOMAIN"),
    (&["language"], "LANGUAGE"),
    (&["tablespace"], "TABLESPACE"),
    (&["type"], "TYPE"),
    (&["parameter"], "PARAMETER"),
];

/// Kinds in the plural, with the kind whose default privileges they are about.
const PLURALS: &[(&str, ObjectKind)] = &[
    ("tables", ObjectKind::Table),
    ("sequences", ObjectKind::Sequence),
    ("functions", ObjectKind::Function),
    ("procedures", ObjectKind::Function),
    ("routines", ObjectKind::Function),
];

/// GRANT or REVOKE with ON; the word itself has been read.
pub fn objects(cursor: &mut Cursor<'_>, grant: bool) -> SqlResult<Body> {
    let (option, privileges) = head(cursor, grant)?;
    for (words, kind) in UNSUPPORTED {
        // A table may have such a name: it is one if the list ends behind it.
        if is_kind(cursor, words, grant) {
            cursor.skip_rest();
            return Ok(Body::Unsupported(format!("{} … ON {kind}", if grant { "GRANT" } else { "REVOKE" })));
        }
    }
    let target = target(cursor, grant)?;
    let granting = tail(cursor, (grant, option, privileges), true)?;
    cursor.expect_end()?;
    Ok(Body::Privileges(PrivilegeStatement::Objects { granting, target }))
}

/// What stands before ON, and ON.
fn head(cursor: &mut Cursor<'_>, grant: bool) -> SqlResult<(bool, Vec<Listed>)> {
    let option = !grant && cursor.accept_all(&["grant", "option", "for"]);
    let mut privileges = Vec::new();
    if cursor.accept("all") {
        cursor.accept("privileges");
        if cursor.peek() == Some(&Token::LParen) {
            privileges.push(Listed { privilege: None, columns: columns(cursor)? });
        }
    } else {
        loop {
            let privilege = Some(cursor.identifier()?);
            let columns = if cursor.peek() == Some(&Token::LParen) { columns(cursor)? } else { Vec::new() };
            privileges.push(Listed { privilege, columns });
            if !cursor.accept_token(&Token::Comma) {
                break;
            }
        }
    }
    cursor.expect("on")?;
    Ok((option, privileges))
}

fn columns(cursor: &mut Cursor<'_>) -> SqlResult<Vec<String>> {
    Ok(cursor.name_list()?.into_iter().map(|(name, _)| name).collect())
}

fn direction(grant: bool) -> &'static str {
    if grant { "to" } else { "from" }
}

/// Whether the words come next and a name after them.
fn is_kind(cursor: &Cursor<'_>, words: &[&str], grant: bool) -> bool {
    let here = words.iter().enumerate().all(|(ahead, word)| cursor.word_at(ahead).as_deref() == Some(word));
    let behind = cursor.peek_at(words.len());
    let ends = matches!(behind, None | Some(Token::Comma | Token::Period))
        || cursor.word_at(words.len()).as_deref() == Some(direction(grant));
    here && !ends
}

fn accept_kind(cursor: &mut Cursor<'_>, word: &str, grant: bool) -> bool {
    is_kind(cursor, &[word], grant) && cursor.accept(word)
}

fn target(cursor: &mut Cursor<'_>, grant: bool) -> SqlResult<Target> {
    for (plural, kind) in PLURALS {
        if cursor.accept_all(&["all", plural, "in", "schema"]) {
            return Ok(Target::AllIn(*kind, names(cursor)?));
        }
    }
    if accept_kind(cursor, "schema", grant) {
        return Ok(Target::Schemas(names(cursor)?));
    }
    if accept_kind(cursor, "database", grant) {
        return Ok(Target::Databases(names(cursor)?));
    }
    if accept_kind(cursor, "sequence", grant) {
        return Ok(Target::Sequences(tables(cursor)?));
    }
    cursor.accept("table");
    Ok(Target::Tables(tables(cursor)?))
}

fn names(cursor: &mut Cursor<'_>) -> SqlResult<Vec<String>> {
    let mut names = vec![cursor.identifier()?];
    while cursor.accept_token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    Ok(names)
}

fn tables(cursor: &mut Cursor<'_>) -> SqlResult<Vec<TableName>> {
    let mut tables = vec![cursor.table_name()?];
    while cursor.accept_token(&Token::Comma) {
        tables.push(cursor.table_name()?);
    }
    Ok(tables)
}

/// What stands behind the objects.
fn tail(
    cursor: &mut Cursor<'_>,
    (grant, option, privileges): (bool, bool, Vec<Listed>),
    named_grantor: bool,
) -> SqlResult<Granting> {
    cursor.expect(direction(grant))?;
    let mut grantees = vec![grantee(cursor)?];
    while cursor.accept_token(&Token::Comma) {
        grantees.push(grantee(cursor)?);
    }
    let option = option || grant && with_grant_option(cursor)?;
    let grantor = if named_grantor && cursor.accept_all(&["granted", "by"]) { Some(role_name(cursor)?) } else { None };
    let cascade = !grant && cursor.accept("cascade");
    if !grant && !cascade {
        cursor.accept("restrict");
    }
    Ok(Granting { grant, option, privileges, grantees, grantor, cascade })
}

fn with_grant_option(cursor: &mut Cursor<'_>) -> SqlResult<bool> {
    let with = cursor.accept("with");
    if with {
        cursor.expect("grant")?;
        cursor.expect("option")?;
    }
    Ok(with)
}

fn grantee(cursor: &mut Cursor<'_>) -> SqlResult<RoleName> {
    if cursor.word_at(0).as_deref() == Some("group") && matches!(cursor.peek_at(1), Some(Token::Word(_))) {
        cursor.accept("group");
    }
    role_name(cursor)
}

/// ALTER DEFAULT PRIVILEGES; ALTER is the next token.
pub fn defaults(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    for word in ["alter", "default", "privileges"] {
        cursor.expect(word)?;
    }
    let (mut roles, mut schemas) = (Vec::new(), Vec::new());
    loop {
        let position = cursor.position();
        if cursor.accept_all(&["in", "schema"]) {
            if !std::mem::replace(&mut schemas, names(cursor)?).is_empty() {
                return Err(super::role::redundant(position));
            }
        } else if cursor.accept_all(&["for", "role"]) || cursor.accept_all(&["for", "user"]) {
            if !std::mem::replace(&mut roles, role_list(cursor)?).is_empty() {
                return Err(super::role::redundant(position));
            }
        } else {
            break;
        }
    }
    let grant = cursor.accept("grant");
    if !grant {
        cursor.expect("revoke")?;
    }
    let (option, privileges) = head(cursor, grant)?;
    let kinds = PLURALS
        .iter()
        .filter(|(plural, _)| *plural != "procedures")
        .chain(&[("types", ObjectKind::Type), ("schemas", ObjectKind::Schema)]);
    let kind =
        kinds.into_iter().find(|(plural, _)| cursor.accept(plural)).map(|(_, kind)| *kind).ok_or_else(|| cursor.error())?;
    let granting = tail(cursor, (grant, option, privileges), false)?;
    cursor.expect_end()?;
    Ok(Body::Privileges(PrivilegeStatement::Defaults { roles, schemas, granting, kind }))
}

/// DROP OWNED BY and REASSIGN OWNED BY; the verb is the next token.
pub fn owned(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    let drop = cursor.accept("drop");
    if !drop {
        cursor.expect("reassign")?;
    }
    cursor.expect("owned")?;
    cursor.expect("by")?;
    let roles = role_list(cursor)?;
    let statement = if drop {
        // Nothing depends on a table, so CASCADE and RESTRICT are the same.
        if !cursor.accept("cascade") {
            cursor.accept("restrict");
        }
        PrivilegeStatement::DropOwned { roles }
    } else {
        cursor.expect("to")?;
        PrivilegeStatement::ReassignOwned { roles, to: role_name(cursor)? }
    };
    cursor.expect_end()?;
    Ok(Body::Privileges(statement))
}
