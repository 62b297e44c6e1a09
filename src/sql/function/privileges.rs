//! `has_*_privilege` and `pg_has_role`.
//!
//! They answer from what has been granted, by the rules that statements are checked by. An object given by a number that nothing has is
//! NULL, one given by a name is an error.

use crate::base::Oid;
use crate::catalog::Privileges;
use crate::catalog::acl::ask::{Held, Holder};
use crate::catalog::role::PG_READ_ALL_DATA;
use crate::catalog::system::{DATABASE as DATABASE_OID, OWNER, by_oid as system_table};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::context::EvalContext;
use crate::sql::function::kinds::*;
use crate::sql::function::system::{PG_CATALOG, regclass_in, regtype_in, relation};
use crate::sql::function::{Entry, Function, Implementation, Kind};
use crate::types::{Datum, SqlType};

type Code = fn(&[Datum], &EvalContext<'_>) -> SqlResult<Datum>;

/// Tablespaces by name and number; PostgreSQL has these two from the start, and more cannot be made.
const TABLESPACES: [(&str, u32); 2] = [("pg_default", 1663), ("pg_global", 1664)];

const TABLE: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "RULE"];
const COLUMN: &[&str] = &["SELECT", "INSERT", "UPDATE", "REFERENCES"];
const SCHEMA: &[&str] = &["CREATE", "USAGE"];
const DATABASE: &[&str] = &["CREATE", "TEMPORARY", "TEMP", "CONNECT"];
const TABLESPACE: &[&str] = &["CREATE"];
const TYPE: &[&str] = &["USAGE"];
const SEQUENCE: &[&str] = &["USAGE", "SELECT", "UPDATE"];

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    const BY_BOTH: &[&[Kind]] =
        &[&[OID, TEXT], &[TEXT, TEXT], &[NAME, OID, TEXT], &[NAME, TEXT, TEXT], &[OID, OID, TEXT], &[OID, TEXT, TEXT]];
    const INT2: Kind = Kind::Is(SqlType::Int2);
    const COLUMNS: &[&[Kind]] = &[
        &[OID, TEXT, TEXT],
        &[TEXT, TEXT, TEXT],
        &[OID, INT2, TEXT],
        &[TEXT, INT2, TEXT],
        &[NAME, OID, TEXT, TEXT],
        &[NAME, TEXT, TEXT, TEXT],
        &[NAME, OID, INT2, TEXT],
        &[NAME, TEXT, INT2, TEXT],
        &[OID, OID, TEXT, TEXT],
        &[OID, TEXT, TEXT, TEXT],
        &[OID, OID, INT2, TEXT],
        &[OID, TEXT, INT2, TEXT],
    ];
    const ROLES: &[&[Kind]] =
        &[&[OID, TEXT], &[NAME, TEXT], &[NAME, OID, TEXT], &[NAME, NAME, TEXT], &[OID, OID, TEXT], &[OID, NAME, TEXT]];
    let table: [(&'static str, &[&'static [Kind]], Code); 9] = [
        ("has_table_privilege", BY_BOTH, |a, c| object(a, c, TABLE, relation_of, on_relation)),
        ("has_any_column_privilege", BY_BOTH, |a, c| object(a, c, COLUMN, relation_of, on_any_column)),
        ("has_schema_privilege", BY_BOTH, |a, c| object(a, c, SCHEMA, schema_of, on_schema)),
        ("has_database_privilege", BY_BOTH, |a, c| {
            object(a, c, DATABASE, database_of, |_, holder, c| c.catalog.held_on_database(holder))
        }),
        ("has_tablespace_privilege", BY_BOTH, |a, c| object(a, c, TABLESPACE, tablespace_of, |_, holder, c| of_owner(holder, c))),
        ("has_type_privilege", BY_BOTH, |a, c| {
            let public = Held { privileges: Privileges::USAGE, ..Held::default() };
            object(a, c, TYPE, type_of, |_, holder, c| of_owner(holder, c).or(public))
        }),
        ("has_sequence_privilege", BY_BOTH, |a, c| object(a, c, SEQUENCE, sequence_of, |_, _, _| Held::default())),
        ("has_column_privilege", COLUMNS, column),
        ("pg_has_role", ROLES, role),
    ];
    for (name, signatures, code) in table {
        for &args in signatures {
            Entry::function(name, args, BOOL, Implementation::Context(code)).stable().add(functions);
        }
    }
}

fn internal() -> SqlError {
    SqlError::internal("a privilege function was called with values of other types than it was resolved for")
}

fn text(datum: &Datum) -> SqlResult<&str> {
    datum.as_str().ok_or_else(internal)
}

/// What somebody has on what the bootstrap superuser owns and has granted to nobody.
fn of_owner(holder: Holder, context: &EvalContext<'_>) -> Held {
    match holder {
        Holder::Role(role) if context.catalog.has_privileges_of(role, OWNER) => {
            Held { privileges: Privileges::ALL, options: Privileges::ALL }
        }
        _ => Held::default(),
    }
}

fn holder(datum: &Datum, context: &EvalContext<'_>) -> SqlResult<Holder> {
    match datum {
        Datum::Oid(oid) => Ok(Holder::Role(*oid)),
        name if text(name)? == "public" => Ok(Holder::Public),
        name => role_of(text(name)?, context).map(Holder::Role),
    }
}

fn role_of(name: &str, context: &EvalContext<'_>) -> SqlResult<Oid> {
    if name == context.session.user() {
        return Ok(context.session.role());
    }
    let missing = || SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"));
    context.catalog.role_named(name).map(|role| role.oid).ok_or_else(missing)
}

/// What a list such as `SELECT, insert with grant option` asks for: any of them will do.
fn asked(list: &str, known: &[&'static str]) -> SqlResult<Held> {
    let mut asked = Held::default();
    for (name, grant) in privileges(list, known)? {
        // RULE is known and nobody has it, as in PostgreSQL.
        let privilege = Privileges::named(name).unwrap_or_default();
        let target = if grant { &mut asked.options } else { &mut asked.privileges };
        *target = target.with(privilege);
    }
    Ok(asked)
}

fn has_any(held: Held, asked: Held) -> Datum {
    Datum::Bool(held.privileges.intersects(asked.privileges) || held.options.intersects(asked.options))
}

/// The privileges of a list, and whether each is with the option to grant it.
fn privileges(list: &str, known: &[&'static str]) -> SqlResult<Vec<(&'static str, bool)>> {
    let one = |item: &str| {
        let item = item.trim();
        let upper = item.to_ascii_uppercase();
        let (name, grant) = upper.strip_suffix(" WITH GRANT OPTION").map_or((&upper[..], false), |name| (name, true));
        let found = known.iter().find(|known| **known == name).map(|&name| (name, grant));
        found.ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized privilege type: \"{item}\"")))
    };
    list.split(',').map(one).collect()
}

/// Any function of an object and a privilege, with the role in front or without. `find` answers the object's number, or `None`
/// for a number that nothing has; `held` what somebody has on it.
fn object(
    args: &[Datum],
    context: &EvalContext<'_>,
    known: &[&'static str],
    find: fn(&Datum, &EvalContext<'_>) -> SqlResult<Option<Oid>>,
    held: impl Fn(Oid, Holder, &EvalContext<'_>) -> Held,
) -> SqlResult<Datum> {
    let (holder, args) = match args {
        [role, rest @ ..] if rest.len() == 2 => (holder(role, context)?, rest),
        _ => (Holder::Role(context.session.role()), args),
    };
    let [object, list] = args else { return Err(internal()) };
    let found = find(object, context)?;
    let asked = asked(text(list)?, known)?;
    Ok(found.map_or(Datum::Null, |found| has_any(held(found, holder, context), asked)))
}

fn relation_of(object: &Datum, context: &EvalContext<'_>) -> SqlResult<Option<Oid>> {
    match object {
        Datum::Oid(oid) => {
            let known = relation(*oid, context.catalog).is_some() || system_table(*oid).is_some();
            Ok(known.then_some(*oid))
        }
        name => regclass_in(text(name)?, context.catalog, context.session).map(Some),
    }
}

/// What somebody has on a relation as a whole: an index is its table's. Everybody may read system tables, but for those that superusers
/// alone may.
fn on_relation(oid: Oid, holder: Holder, context: &EvalContext<'_>) -> Held {
    if let Some((table, _)) = relation(oid, context.catalog) {
        return context.catalog.held_on_table(holder, table);
    }
    let reads_all = matches!(holder, Holder::Role(role) if context.catalog.has_privileges_of(role, PG_READ_ALL_DATA));
    let privileges = if reads_all || system_table(oid).is_some_and(|table| !table.is_secret()) {
        Privileges::SELECT
    } else {
        Privileges::NONE
    };
    of_owner(holder, context).or(Held { privileges, ..Held::default() })
}

/// With what somebody has on any of its columns.
fn on_any_column(oid: Oid, holder: Holder, context: &EvalContext<'_>) -> Held {
    let whole = on_relation(oid, holder, context);
    let Some((table, _)) = relation(oid, context.catalog) else { return whole };
    table.acls.columns.keys().fold(whole, |held, column| held.or(context.catalog.held_on_column(holder, table, *column)))
}

fn on_schema(oid: Oid, holder: Holder, context: &EvalContext<'_>) -> Held {
    let schema = context.catalog.schemas.get(&oid);
    schema.map_or_else(Held::default, |schema| context.catalog.held_on_schema(holder, schema))
}

fn schema_of(object: &Datum, context: &EvalContext<'_>) -> SqlResult<Option<Oid>> {
    let schemas = &context.catalog.schemas;
    match object {
        Datum::Oid(oid) => Ok((oid.0 == PG_CATALOG || schemas.contains_key(oid)).then_some(*oid)),
        name => {
            let name = text(name)?;
            let found = schemas.values().find(|schema| schema.name == name).map(|schema| schema.oid);
            let found = found.or((name == "pg_catalog").then_some(Oid(PG_CATALOG)));
            let missing = || SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"));
            found.map(Some).ok_or_else(missing)
        }
    }
}

fn database_of(object: &Datum, context: &EvalContext<'_>) -> SqlResult<Option<Oid>> {
    match object {
        Datum::Oid(oid) => Ok((*oid == DATABASE_OID).then_some(*oid)),
        name if text(name)? == context.session.database() => Ok(Some(DATABASE_OID)),
        name => {
            let message = format!("database \"{}\" does not exist", text(name)?);
            Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, message))
        }
    }
}

fn tablespace_of(object: &Datum, _context: &EvalContext<'_>) -> SqlResult<Option<Oid>> {
    match object {
        Datum::Oid(oid) => Ok(TABLESPACES.iter().any(|(_, known)| *known == oid.0).then_some(*oid)),
        name => {
            let name = text(name)?;
            let missing = || SqlError::new(SqlState::UNDEFINED_OBJECT, format!("tablespace \"{name}\" does not exist"));
            TABLESPACES.iter().find(|(known, _)| *known == name).map(|(_, oid)| Some(Oid(*oid))).ok_or_else(missing)
        }
    }
}

fn type_of(object: &Datum, _context: &EvalContext<'_>) -> SqlResult<Option<Oid>> {
    match object {
        Datum::Oid(oid) => Ok(SqlType::from_oid(*oid).map(|_| *oid)),
        name => regtype_in(text(name)?).map(Some),
    }
}

/// There are no sequences: what is found is something else.
fn sequence_of(object: &Datum, context: &EvalContext<'_>) -> SqlResult<Option<Oid>> {
    let Some(oid) = relation_of(object, context)? else { return Ok(None) };
    let known = relation(oid, context.catalog).map(|(_, name)| name.to_owned());
    let name = known.or_else(|| system_table(oid).map(|table| table.name.to_owned())).unwrap_or_default();
    Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence")))
}

fn column(args: &[Datum], context: &EvalContext<'_>) -> SqlResult<Datum> {
    let (holder, args) = match args {
        [role, rest @ ..] if rest.len() == 3 => (holder(role, context)?, rest),
        _ => (Holder::Role(context.session.role()), args),
    };
    let [object, column, list] = args else { return Err(internal()) };
    let table = relation_of(object, context)?;
    let number = match table {
        Some(table) => column_of(table, column, context)?,
        None => None,
    };
    let asked = asked(text(list)?, COLUMN)?;
    let (Some(table), Some(number)) = (table, number) else { return Ok(Datum::Null) };
    let mut held = on_relation(table, holder, context);
    if let (Some((table, _)), Ok(column)) = (relation(table, context.catalog), usize::try_from(number - 1)) {
        held = held.or(context.catalog.held_on_column(holder, table, column));
    }
    Ok(has_any(held, asked))
}

/// The number of a relation's column, if there is one of this number; 42703 for a name it has not. System columns are below zero.
fn column_of(table: Oid, column: &Datum, context: &EvalContext<'_>) -> SqlResult<Option<i64>> {
    const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"];
    let (relation_name, columns): (String, Vec<String>) = match (relation(table, context.catalog), system_table(table)) {
        (Some((table, name)), _) => (name.to_owned(), table.columns.iter().map(|column| column.name.clone()).collect()),
        (None, Some(table)) => (table.name.to_owned(), table.columns.iter().map(|(name, _)| (*name).to_owned()).collect()),
        (None, None) => return Ok(None),
    };
    if let Some(number) = column.as_i64() {
        let count = i64::try_from(columns.len()).unwrap_or(i64::MAX);
        return Ok(Some(number).filter(|number| (1..=count).contains(number) || (-6..=-1).contains(number)));
    }
    let name = text(column)?;
    if let Some((number, _)) = (1..).zip(&columns).find(|(_, column)| *column == name) {
        return Ok(Some(number));
    }
    if SYSTEM_COLUMNS.contains(&name) {
        return Ok(Some(-1));
    }
    let message = format!("column \"{name}\" of relation \"{relation_name}\" does not exist");
    Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message))
}

/// `pg_has_role([user,] role, privilege)`.
fn role(args: &[Datum], context: &EvalContext<'_>) -> SqlResult<Datum> {
    let (member, args) = match args {
        [member, rest @ ..] if rest.len() == 2 => (Some(member), rest),
        _ => (None, args),
    };
    let [of, list] = args else { return Err(internal()) };
    let oid = |role: &Datum| match role {
        Datum::Oid(oid) => Ok(*oid),
        name => role_of(text(name)?, context),
    };
    let member = member.map_or(Ok(context.session.role()), oid)?;
    let of = oid(of)?;
    let plain = text(list)?.to_ascii_uppercase().replace(" WITH ADMIN OPTION", " WITH GRANT OPTION");
    let Ok(wanted) = privileges(&plain, &["MEMBER", "USAGE"]) else {
        let message = format!("unrecognized privilege type: \"{}\"", text(list)?.trim());
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    };
    let catalog = context.catalog;
    let has = |&(privilege, admin): &(&str, bool)| match (privilege, admin) {
        _ if catalog.is_superuser(member) => true,
        (_, true) => catalog.is_admin_of(member, of),
        ("USAGE", _) => catalog.has_privileges_of(member, of),
        _ => catalog.is_member(member, of),
    };
    Ok(Datum::Bool(wanted.iter().any(has)))
}
