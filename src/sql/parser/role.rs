//! CREATE, ALTER and DROP of roles, GRANT and REVOKE of membership (PostgreSQL 15 documentation, CREATE ROLE and its kin).
//!
//! ROLE, USER and GROUP are one kind of object; CREATE USER has LOGIN unless it says otherwise.

use sqlparser::tokenizer::Token;

use crate::auth::Secret;
use crate::catalog::identifier::quote_identifier;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::parser::ast::Body;
use crate::sql::parser::cursor::{Cursor, fold};
use crate::sql::role::{RoleName, RoleOptions, RoleStatement};

/// CREATE, ALTER or DROP ROLE, USER or GROUP; the verb is the next token.
pub fn ddl(cursor: &mut Cursor<'_>, verb: &str) -> SqlResult<Body> {
    cursor.expect(verb)?;
    let kind = cursor.identifier()?;
    match verb {
        "create" => create(cursor, kind == "user"),
        "drop" => {
            let if_exists = cursor.accept_all(&["if", "exists"]);
            let roles = role_list(cursor)?;
            cursor.expect_end()?;
            Ok(Body::Role(RoleStatement::Drop { if_exists, roles }))
        }
        _ => alter(cursor, kind == "group"),
    }
}

/// The name of a role to be: not a special one.
fn new_name(cursor: &mut Cursor<'_>) -> SqlResult<String> {
    let position = cursor.position();
    let reserved = |what: String| Err(SqlError::new(SqlState::RESERVED_NAME, what).at(position));
    match role_name(cursor)? {
        RoleName::Named(name) => Ok(name),
        RoleName::Public => reserved("role name \"public\" is reserved".to_owned()),
        RoleName::Current | RoleName::Session => {
            reserved(format!("{} cannot be used as a role name here", cursor.previous_word().to_uppercase()))
        }
    }
}

/// The name of a role.
pub(super) fn role_name(cursor: &mut Cursor<'_>) -> SqlResult<RoleName> {
    let position = cursor.position();
    let Some(Token::Word(word)) = cursor.peek() else { return Err(cursor.error()) };
    let quoted = word.quote_style.is_some();
    let name = fold(&word.value, quoted);
    cursor.advance()?;
    match name.as_str() {
        "public" => Ok(RoleName::Public),
        "none" => Err(SqlError::new(SqlState::RESERVED_NAME, "role name \"none\" is reserved").at(position)),
        "current_user" | "current_role" if !quoted => Ok(RoleName::Current),
        "session_user" if !quoted => Ok(RoleName::Session),
        _ => Ok(RoleName::Named(name)),
    }
}

pub(super) fn role_list(cursor: &mut Cursor<'_>) -> SqlResult<Vec<RoleName>> {
    let mut roles = vec![role_name(cursor)?];
    while cursor.accept_token(&Token::Comma) {
        roles.push(role_name(cursor)?);
    }
    Ok(roles)
}

fn create(cursor: &mut Cursor<'_>, user: bool) -> SqlResult<Body> {
    let name = new_name(cursor)?;
    cursor.accept("with");
    let mut options = RoleOptions::default();
    let (mut in_roles, mut members, mut admins) = (Vec::new(), Vec::new(), Vec::new());
    while !cursor.at_end() {
        let position = cursor.position();
        let list = if cursor.accept_all(&["in", "role"]) || cursor.accept_all(&["in", "group"]) {
            &mut in_roles
        } else if cursor.accept("role") || cursor.accept("user") {
            &mut members
        } else if cursor.accept("admin") {
            &mut admins
        } else if cursor.accept("sysid") {
            integer(cursor)?;
            if std::mem::replace(&mut options.sysid, true) {
                return Err(redundant(position));
            }
            continue;
        } else {
            option(cursor, &mut options)?;
            continue;
        };
        if !list.is_empty() {
            return Err(redundant(position));
        }
        *list = role_list(cursor)?;
    }
    options.login = options.login.or(Some(user));
    Ok(Body::Role(RoleStatement::Create { name, options, in_roles, members, admins }))
}

fn alter(cursor: &mut Cursor<'_>, group: bool) -> SqlResult<Body> {
    if !group && cursor.peek_word().as_deref() == Some("all") {
        cursor.advance()?;
        return setting(cursor);
    }
    let role = role_name(cursor)?;
    if cursor.accept_all(&["rename", "to"]) {
        let to = new_name(cursor)?;
        cursor.expect_end()?;
        return Ok(Body::Role(RoleStatement::Rename { role, to }));
    }
    if group {
        let add = cursor.accept("add");
        if !add {
            cursor.expect("drop")?;
        }
        cursor.expect("user")?;
        return membership(cursor, add, role);
    }
    if matches!(cursor.peek_word().as_deref(), Some("set" | "reset" | "in")) {
        return setting(cursor);
    }
    cursor.accept("with");
    let mut options = RoleOptions::default();
    while !cursor.at_end() {
        if cursor.accept("user") {
            return if options == RoleOptions::default() { membership(cursor, true, role) } else { Err(cursor.error()) };
        }
        option(cursor, &mut options)?;
    }
    Ok(Body::Role(RoleStatement::Alter { role, options }))
}

/// The users of ALTER GROUP … ADD USER and its kin.
fn membership(cursor: &mut Cursor<'_>, add: bool, role: RoleName) -> SqlResult<Body> {
    let (roles, members) = (vec![role], role_list(cursor)?);
    cursor.expect_end()?;
    Ok(Body::Role(match add {
        true => RoleStatement::Grant { roles, members, admin: false, grantor: None, alter: true },
        false => RoleStatement::Revoke { roles, members, admin_only: false, grantor: None, alter: true },
    }))
}

/// ALTER ROLE … [IN DATABASE …] SET or RESET.
fn setting(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    if cursor.accept("in") {
        cursor.expect("database")?;
        cursor.identifier()?;
    }
    let what = if cursor.accept("set") { "SET" } else { "RESET" };
    if what == "RESET" {
        cursor.expect("reset")?;
    }
    cursor.advance()?;
    cursor.skip_rest();
    Ok(Body::Unsupported(format!("ALTER ROLE … {what}")))
}

pub(super) fn redundant(position: u32) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(position)
}

/// One option of CREATE ROLE or ALTER ROLE.
fn option(cursor: &mut Cursor<'_>, options: &mut RoleOptions) -> SqlResult<()> {
    let position = cursor.position();
    let word = cursor.peek_word().ok_or_else(|| cursor.error())?;
    if matches!(word.as_str(), "role" | "in" | "admin" | "sysid" | "group") {
        cursor.advance()?;
        return Err(cursor.error_at_previous());
    }
    if quote_identifier(&word) != word {
        return Err(cursor.error());
    }
    cursor.advance()?;
    let fresh = match word.as_str() {
        "connection" => {
            cursor.expect("limit")?;
            options.connection_limit.replace(integer(cursor)?).is_none()
        }
        "password" => options.password.replace(password(cursor)?).is_none(),
        "encrypted" => {
            cursor.expect("password")?;
            options.password.replace(Some(Secret::new(cursor.string()?))).is_none()
        }
        "unencrypted" => {
            cursor.expect("password")?;
            cursor.string()?;
            let message = "UNENCRYPTED PASSWORD is no longer supported";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
                .hint("Remove UNENCRYPTED to store the password in encrypted form instead.")
                .at(position));
        }
        "valid" => {
            cursor.expect("until")?;
            options.valid_until.replace(cursor.string()?).is_none()
        }
        _ => attribute(&word, options)
            .ok_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, format!("unrecognized role option \"{word}\"")).at(position))?,
    };
    if fresh { Ok(()) } else { Err(redundant(position)) }
}

/// An attribute that is on or off; answers whether it had not been given before, `None` for an unknown word.
fn attribute(word: &str, options: &mut RoleOptions) -> Option<bool> {
    let find = |word: &str, options: &mut RoleOptions, on: bool| {
        let field = match word {
            "superuser" => &mut options.superuser,
            "inherit" => &mut options.inherit,
            "createrole" => &mut options.create_role,
            "createdb" => &mut options.create_db,
            "login" => &mut options.login,
            "replication" => &mut options.replication,
            "bypassrls" => &mut options.bypass_rls,
            _ => return None,
        };
        Some(field.replace(on).is_none())
    };
    find(word, options, true).or_else(|| find(word.strip_prefix("no")?, options, false))
}

fn password(cursor: &mut Cursor<'_>) -> SqlResult<Option<Secret>> {
    if cursor.accept("null") { Ok(None) } else { Ok(Some(Secret::new(cursor.string()?))) }
}

fn integer(cursor: &mut Cursor<'_>) -> SqlResult<i32> {
    let negative = cursor.accept_token(&Token::Minus);
    if !negative {
        cursor.accept_token(&Token::Plus);
    }
    let Some(Token::Number(digits, _)) = cursor.peek() else { return Err(cursor.error()) };
    let signed = if negative { format!("-{digits}") } else { digits.clone() };
    let number = signed.parse().map_err(|_| cursor.error())?;
    cursor.advance()?;
    Ok(number)
}

/// GRANT or REVOKE; the word is the next token.
pub fn grant(cursor: &mut Cursor<'_>, verb: &str) -> SqlResult<Body> {
    cursor.expect(verb)?;
    let direction = if verb == "grant" { "to" } else { "from" };
    if cursor.is_ahead("on", direction) {
        return super::grant::objects(cursor, verb == "grant");
    }
    let admin_only = verb == "revoke" && cursor.accept_all(&["admin", "option", "for"]);
    let roles = role_list(cursor)?;
    cursor.expect(direction)?;
    let members = role_list(cursor)?;
    let admin = verb == "grant" && cursor.accept("with");
    if admin {
        cursor.expect("admin")?;
        cursor.expect("option")?;
    }
    let grantor = if cursor.accept_all(&["granted", "by"]) { Some(role_name(cursor)?) } else { None };
    // What a member has passed on is not taken back in PostgreSQL 15 either: CASCADE and RESTRICT are the same.
    if verb == "revoke" && !cursor.accept("cascade") {
        cursor.accept("restrict");
    }
    cursor.expect_end()?;
    Ok(Body::Role(match verb {
        "grant" => RoleStatement::Grant { roles, members, admin, grantor, alter: false },
        _ => RoleStatement::Revoke { roles, members, admin_only, grantor, alter: false },
    }))
}
