//! Functions about the session, the server and the catalog.

use crate::base::Oid;
use crate::catalog::identifier::quote_identifier;
use crate::catalog::lookup::denied_schema;
use crate::catalog::system::{
    C_COLLATION, DEFAULT_COLLATION, PG_DEFAULT, PG_GLOBAL, by_name as system_table, by_oid as system_table_by_oid,
    index_definition, key_list,
};
use crate::catalog::{Catalog, PrimaryKey, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::types::by_name;
use crate::sql::context::{EvalContext, SessionInfo, name_of_role};
use crate::sql::function::kinds::*;
use crate::sql::function::{Entry, Function, Implementation, Kind};
use crate::types::{ColumnType, Datum, SqlType};

/// What `version()` answers: clients look for a PostgreSQL version in front.
pub const VERSION: &str = concat!("PostgreSQL 15.0 (OmenDB ", env!("CARGO_PKG_VERSION"), ")");

/// The OID of schema `pg_catalog`.
pub const PG_CATALOG: u32 = 11;

/// Encodings by PostgreSQL's numbers for them (`pg_enc`).
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

type Context = fn(&[Datum], &EvalContext<'_>) -> SqlResult<Datum>;

pub(super) fn internal() -> SqlError {
    SqlError::internal("a system function was called with values of other types than it was resolved for")
}

pub(super) fn oid(datum: &Datum) -> SqlResult<Oid> {
    match datum {
        Datum::Oid(oid) => Ok(*oid),
        _ => Err(internal()),
    }
}

pub(super) fn text(datum: &Datum) -> SqlResult<&str> {
    datum.as_str().ok_or_else(internal)
}

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    session(functions);
    names(functions);
    definitions(functions);
    super::privileges::register(functions);
    Entry::function("pg_reload_conf", &[], BOOL, Implementation::Context(reload)).volatile().add(functions);
    super::sizes::register(functions);
}

/// `pg_reload_conf()`: what SIGHUP does, by SIGHUP. It says that the server was told, not that it liked what it read.
fn reload(_: &[Datum], context: &EvalContext<'_>) -> SqlResult<Datum> {
    if !context.catalog.is_superuser(context.session.role()) {
        let message = "permission denied for function pg_reload_conf";
        return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
    }
    Ok(Datum::Bool(signal_hook::low_level::raise(signal_hook::consts::SIGHUP).is_ok()))
}

fn session(functions: &mut Vec<Function>) {
    let table: &[(&'static str, &'static [Kind], Kind, Context)] = &[
        ("version", &[], TEXT, |_, _| Ok(Datum::text(VERSION))),
        ("current_database", &[], NAME, |_, c| Ok(Datum::text(c.session.database()))),
        ("current_user", &[], NAME, |_, c| user_name(c.session.role(), c)),
        ("session_user", &[], NAME, |_, c| user_name(c.session.session_role(), c)),
        ("current_schema", &[], NAME, |_, c| {
            let first = existing_schemas(c).into_iter().next();
            Ok(first.map_or(Datum::Null, |schema| Datum::text(&schema)))
        }),
        ("current_schemas", &[BOOL], NAMES, |a, c| {
            let mut schemas = existing_schemas(c);
            if a[0].as_bool() == Some(true) && !schemas.iter().any(|schema| schema == "pg_catalog") {
                schemas.insert(0, "pg_catalog".to_owned());
            }
            Ok(Datum::Array(schemas.iter().map(|schema| Datum::text(schema)).collect()))
        }),
        ("pg_backend_pid", &[], INT4, |_, c| Ok(Datum::Int4(c.session.backend_pid()))),
        ("pg_is_in_recovery", &[], BOOL, |_, _| Ok(Datum::Bool(false))),
        ("current_setting", &[TEXT], TEXT, |a, c| {
            let name = text(&a[0])?;
            c.session.setting(name).map(|value| Datum::Text(value.into())).ok_or_else(|| unknown_setting(name))
        }),
        ("current_setting", &[TEXT, BOOL], TEXT, |a, c| {
            let name = text(&a[0])?;
            match c.session.setting(name) {
                Some(value) => Ok(Datum::Text(value.into())),
                None if a[1].as_bool() == Some(true) => Ok(Datum::Null),
                None => Err(unknown_setting(name)),
            }
        }),
    ];
    for &(name, args, result, code) in table {
        Entry::function(name, args, result, Implementation::Context(code)).stable().add(functions);
    }
    let set_config: Context = |a, c| {
        let value = a[1].as_str().unwrap_or("");
        let local = a[2].as_bool().unwrap_or(false);
        c.session.set_setting(text(&a[0])?, value, local, c.catalog).map(|value| Datum::Text(value.into()))
    };
    Entry::function("set_config", &[TEXT, TEXT, BOOL], TEXT, Implementation::Context(set_config)).lax().volatile().add(functions);
    let uuid: Context = |_, c| {
        let bits = u128::from(c.session.random()) << 64 | u128::from(c.session.random());
        Ok(Datum::Uuid(*uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().as_bytes()))
    };
    Entry::function("gen_random_uuid", &[], UUID, Implementation::Context(uuid)).volatile().add(functions);
    let unsupported = |name: &'static str| -> Context {
        match name {
            "pg_get_function" => |_, _| Err(SqlError::unsupported("the definition of a function")),
            _ => |_, _| Err(SqlError::unsupported("txid_current")),
        }
    };
    Entry::function("txid_current", &[], INT8, Implementation::Context(unsupported("txid_current"))).volatile().add(functions);
    for name in ["pg_get_function_result", "pg_get_function_arguments", "pg_get_function_identity_arguments"] {
        Entry::function(name, &[OID], TEXT, Implementation::Context(unsupported("pg_get_function"))).stable().add(functions);
    }
}

/// The name of a role that the session has; 42704 if it is gone.
fn user_name(role: Oid, context: &EvalContext<'_>) -> SqlResult<Datum> {
    let gone = || SqlError::new(SqlState::UNDEFINED_OBJECT, format!("invalid role OID: {role}"));
    name_of_role(role, context.session, context.catalog).map(|name| Datum::text(&name)).ok_or_else(gone)
}

fn unknown_setting(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

fn existing_schemas(context: &EvalContext<'_>) -> Vec<String> {
    let exists = |name: &&String| name.as_str() == "pg_catalog" || usable(context.catalog, context.session, name);
    context.session.search_path().iter().filter(exists).cloned().collect()
}

// Names of objects.

fn names(functions: &mut Vec<Function>) {
    let code = Implementation::Typed(|_, types, _| Ok(Datum::Oid(types[0].oid())));
    Entry::function("pg_typeof", &[ANY], REGTYPE, code).lax().stable().add(functions);
    let table: &[(&'static str, &'static [Kind], Kind, Context)] = &[
        ("regclassin", &[TEXT], REGCLASS, |a, c| regclass_in(text(&a[0])?, c.catalog, c.session).map(Datum::Oid)),
        ("regclassout", &[REGCLASS], TEXT, |a, c| Ok(Datum::Text(regclass_out(oid(&a[0])?, c).into()))),
        ("regtypein", &[TEXT], REGTYPE, |a, _| regtype_in(text(&a[0])?).map(Datum::Oid)),
        ("regtypeout", &[REGTYPE], TEXT, |a, _| Ok(Datum::Text(type_text(oid(&a[0])?, -1).into()))),
        ("regprocout", &[Kind::Is(SqlType::Regproc)], TEXT, |a, _| Ok(Datum::Text(number_or_dash(oid(&a[0])?).into()))),
        ("\0regnamespaceout", &[OID], TEXT, |a, c| {
            let oid = oid(&a[0])?;
            let name = c.catalog.schemas.get(&oid).map_or_else(|| number_or_dash(oid), |schema| quote_identifier(&schema.name));
            Ok(Datum::Text(if oid.0 == PG_CATALOG { "pg_catalog".into() } else { name.into() }))
        }),
        ("to_regclass", &[TEXT], REGCLASS, |a, c| match regclass_in(text(&a[0])?, c.catalog, c.session) {
            Ok(oid) => Ok(Datum::Oid(oid)),
            Err(error) if matches!(error.code(), SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME) => Ok(Datum::Null),
            Err(error) => Err(error),
        }),
        ("to_regtype", &[TEXT], REGTYPE, |a, _| Ok(regtype_in(text(&a[0])?).map_or(Datum::Null, Datum::Oid))),
        ("pg_get_userbyid", &[OID], NAME, |a, c| Ok(Datum::text(&c.catalog.role_name(oid(&a[0])?)))),
        ("pg_encoding_to_char", &[INT4], NAME, |a, _| {
            let number = a[0].as_i64().and_then(|number| usize::try_from(number).ok());
            Ok(Datum::text(number.and_then(|number| ENCODINGS.get(number)).unwrap_or(&"")))
        }),
        ("pg_table_is_visible", &[OID], BOOL, |a, c| Ok(table_visible(oid(&a[0])?, c).map_or(Datum::Null, Datum::Bool))),
        (
            "pg_type_is_visible",
            &[OID],
            BOOL,
            |a, _| Ok(SqlType::from_oid(oid(&a[0])?).map_or(Datum::Null, |_| Datum::Bool(true))),
        ),
        ("pg_collation_is_visible", &[OID], BOOL, |a, _| {
            // Both are in pg_catalog, which every search path begins with unless it names it.
            Ok(if matches!(oid(&a[0])?, DEFAULT_COLLATION | C_COLLATION) { Datum::Bool(true) } else { Datum::Null })
        }),
        ("pg_tablespace_location", &[OID], TEXT, |a, _| match oid(&a[0])? {
            // Where the data directory is.
            Oid(0) | PG_DEFAULT | PG_GLOBAL => Ok(Datum::text("")),
            other => Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("tablespace with OID {other} does not exist"))),
        }),
        ("getdatabaseencoding", &[], NAME, |_, _| Ok(Datum::text("UTF8"))),
    ];
    for &(name, args, result, code) in table {
        Entry::function(name, args, result, Implementation::Context(code)).stable().add(functions);
    }
    // The tables that list these are empty.
    let unknown: Context = |_, _| Ok(Datum::Null);
    for name in [
        "pg_function_is_visible",
        "pg_operator_is_visible",
        "pg_opclass_is_visible",
        "pg_opfamily_is_visible",
        "pg_conversion_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
    ] {
        Entry::function(name, &[OID], BOOL, Implementation::Context(unknown)).stable().add(functions);
    }
    let format_type = Implementation::Values(|args| {
        let Datum::Oid(oid) = &args[0] else { return Ok(Datum::Null) };
        let typmod = if let Datum::Int4(typmod) = args[1] { typmod } else { -1 };
        Ok(Datum::Text(type_text(*oid, typmod).into()))
    });
    Entry::function("format_type", &[OID, INT4], TEXT, format_type).lax().stable().add(functions);
}

fn number_or_dash(oid: Oid) -> String {
    if oid.0 == 0 { "-".to_owned() } else { oid.to_string() }
}

fn type_text(oid: Oid, typmod: i32) -> String {
    match SqlType::from_oid(oid) {
        Some(ty) => ColumnType { ty, typmod }.to_string(),
        None if oid.0 == 0 => "-".to_owned(),
        None => "???".to_owned(),
    }
}

/// A relation's OID from its name or number.
pub fn regclass_in(name: &str, catalog: &Catalog, session: &dyn SessionInfo) -> SqlResult<Oid> {
    if name == "-" {
        return Ok(Oid(0));
    }
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Oid(number));
    }
    let mut parts = split_identifiers(name)?;
    let relation = parts.pop().unwrap_or_default();
    let schema = parts.pop();
    if !parts.is_empty() {
        return Err(SqlError::unsupported("a reference to another database"));
    }
    let found = match &schema {
        Some(schema) if !known_schema(catalog, schema) => {
            return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{schema}\" does not exist")));
        }
        Some(schema) if !usable(catalog, session, schema) => return Err(denied_schema(schema)),
        Some(schema) => relation_in(catalog, schema, &relation),
        None => relation_in(catalog, "pg_catalog", &relation).or_else(|| {
            let mut path = session.search_path().iter().filter(|schema| usable(catalog, session, schema));
            path.find_map(|schema| relation_in(catalog, schema, &relation))
        }),
    };
    found.ok_or_else(|| SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")))
}

fn known_schema(catalog: &Catalog, name: &str) -> bool {
    matches!(name, "pg_catalog" | "information_schema") || catalog.schemas.values().any(|schema| schema.name == name)
}

/// A table or primary key index of a schema, or a system table.
/// Whether there is a schema of this name in which the session may look for names.
fn usable(catalog: &Catalog, session: &dyn SessionInfo, schema: &str) -> bool {
    catalog.schema_named(schema).is_some_and(|schema| catalog.may_use_schema(session.role(), schema))
}

fn relation_in(catalog: &Catalog, schema: &str, name: &str) -> Option<Oid> {
    if let Some(table) = system_table(schema, name) {
        return Some(table.oid);
    }
    let schema = catalog.schemas.values().find(|candidate| candidate.name == schema)?;
    if let Some(oid) = catalog.table_names.get(&(schema.oid, name.to_owned())) {
        return Some(*oid);
    }
    let index = |table: &TableDef| {
        let key = table.primary_key.as_ref()?;
        (table.schema == schema.oid && key.name == name).then_some(key.index_oid)
    };
    catalog.tables.values().find_map(|table| index(table))
}

/// `a."B".c` to its parts, folded.
fn split_identifiers(name: &str) -> SqlResult<Vec<String>> {
    let (mut parts, mut current, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = name.trim().chars().peekable();
    while let Some(ch) = characters.next() {
        match ch {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                current.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut current)),
            ch if quoted => current.push(ch),
            ch => current.extend(ch.to_lowercase()),
        }
    }
    parts.push(current);
    if quoted || parts.iter().any(String::is_empty) {
        return Err(SqlError::new(SqlState(*b"42602"), "invalid name syntax"));
    }
    Ok(parts)
}

/// A type's OID from its name.
pub fn regtype_in(name: &str) -> SqlResult<Oid> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Oid(number));
    }
    let plain = name.trim().to_ascii_lowercase();
    let plain = plain.strip_prefix("pg_catalog.").unwrap_or(&plain);
    let ty = SqlType::from_name(plain).or_else(|| by_name(plain, false));
    ty.map(SqlType::oid).ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist")))
}

/// A relation's name, qualified unless the search path finds it.
fn regclass_out(oid: Oid, context: &EvalContext<'_>) -> String {
    if oid.0 == 0 {
        return "-".to_owned();
    }
    if let Some(table) = system_table_by_oid(oid) {
        let name = quote_identifier(table.name);
        return if table.schema == "pg_catalog" { name } else { format!("{}.{name}", table.schema) };
    }
    let Some((table, name)) = relation(oid, context.catalog) else { return oid.to_string() };
    if table_visible(oid, context) == Some(true) {
        return quote_identifier(name);
    }
    let schema = context.catalog.schemas.get(&table.schema).map_or("", |schema| schema.name.as_str());
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

/// The table an OID is, or whose index it is, and the relation's name.
pub fn relation(oid: Oid, catalog: &Catalog) -> Option<(&TableDef, &str)> {
    if let Some(table) = catalog.tables.get(&oid) {
        return Some((table, &table.name));
    }
    index_of(oid, catalog).map(|(table, key)| (table, key.name.as_str()))
}

fn table_visible(oid: Oid, context: &EvalContext<'_>) -> Option<bool> {
    let path = context.session.search_path();
    if let Some(table) = system_table_by_oid(oid) {
        return Some(table.schema == "pg_catalog" || path.iter().any(|name| name == table.schema));
    }
    let (_table, name) = relation(oid, context.catalog)?;
    let mut path = path.iter().filter(|schema| usable(context.catalog, context.session, schema));
    let first = path.find_map(|schema| relation_in(context.catalog, schema, name));
    let hidden = system_table("pg_catalog", name).is_some();
    Some(!hidden && first == Some(oid))
}

// Definitions.

fn definitions(functions: &mut Vec<Function>) {
    // There are no comments, views, statistics objects and partitions, so no object has a description or such a definition.
    let none: Context = |_, _| Ok(Datum::Null);
    let without: &[(&'static str, &'static [Kind], Kind)] = &[
        ("obj_description", &[OID, NAME], TEXT),
        ("obj_description", &[OID], TEXT),
        ("col_description", &[OID, INT4], TEXT),
        ("shobj_description", &[OID, NAME], TEXT),
        ("pg_get_viewdef", &[OID], TEXT),
        ("pg_get_viewdef", &[OID, BOOL], TEXT),
        ("pg_get_statisticsobjdef_columns", &[OID], TEXT),
        ("pg_get_partkeydef", &[OID], TEXT),
    ];
    for &(name, args, result) in without {
        Entry::function(name, args, result, Implementation::Context(none)).stable().add(functions);
    }
    // `pg_node_tree` values are kept as the text they stand for.
    let expression = Implementation::Values(|args| Ok(args[0].clone()));
    Entry::function("pg_get_expr", &[TEXT, OID], TEXT, expression).stable().add(functions);
    Entry::function("pg_get_expr", &[TEXT, OID, BOOL], TEXT, expression).stable().add(functions);
    let index: Context = |a, c| Ok(definition_of_index(oid(&a[0])?, c).map_or(Datum::Null, |text| Datum::Text(text.into())));
    Entry::function("pg_get_indexdef", &[OID], TEXT, Implementation::Context(index)).stable().add(functions);
    let index: Context = |a, c| {
        let (oid, column) = (oid(&a[0])?, a[1].as_i64().unwrap_or(0));
        let text = if column == 0 { definition_of_index(oid, c) } else { index_column(oid, column, c) };
        Ok(text.map_or(Datum::Null, |text| Datum::Text(text.into())))
    };
    Entry::function("pg_get_indexdef", &[OID, INT4, BOOL], TEXT, Implementation::Context(index)).stable().add(functions);
    let constraint: Context = |a, c| {
        let wanted = oid(&a[0])?;
        let text = c.catalog.tables.values().find_map(|table| {
            let key = table.primary_key.as_ref().filter(|key| key.constraint_oid == wanted)?;
            Some(format!("PRIMARY KEY ({})", key_list(table, key)))
        });
        Ok(text.map_or(Datum::Null, |text| Datum::Text(text.into())))
    };
    Entry::function("pg_get_constraintdef", &[OID], TEXT, Implementation::Context(constraint)).stable().add(functions);
    Entry::function("pg_get_constraintdef", &[OID, BOOL], TEXT, Implementation::Context(constraint)).stable().add(functions);
    // No column owns a sequence; what is named must exist all the same.
    let serial: Context = |a, c| {
        let found = regclass_in(text(&a[0])?, c.catalog, c.session)?;
        let Some((table, _)) = relation(found, c.catalog) else { return Ok(Datum::Null) };
        let column = text(&a[1])?;
        if table.columns.iter().any(|known| known.name == column) {
            return Ok(Datum::Null);
        }
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", table.name);
        Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message))
    };
    Entry::function("pg_get_serial_sequence", &[TEXT, TEXT], TEXT, Implementation::Context(serial)).stable().add(functions);
    // Tables cannot be published, so nothing that exists is publishable.
    let publishable: Context = |a, c| {
        let oid = oid(&a[0])?;
        let exists = relation(oid, c.catalog).is_some() || system_table_by_oid(oid).is_some();
        Ok(if exists { Datum::Bool(false) } else { Datum::Null })
    };
    Entry::function("pg_relation_is_publishable", &[REGCLASS], BOOL, Implementation::Context(publishable))
        .stable()
        .add(functions);
}

/// The table and the primary key whose index this is.
pub(super) fn index_of(oid: Oid, catalog: &Catalog) -> Option<(&TableDef, &PrimaryKey)> {
    catalog.tables.values().find_map(|table| {
        let key = table.primary_key.as_ref().filter(|key| key.index_oid == oid)?;
        Some((&**table, key))
    })
}

fn definition_of_index(oid: Oid, context: &EvalContext<'_>) -> Option<String> {
    let (table, key) = index_of(oid, context.catalog)?;
    Some(index_definition(context.catalog.schemas.get(&table.schema)?, table, key))
}

fn index_column(oid: Oid, column: i64, context: &EvalContext<'_>) -> Option<String> {
    let (table, key) = index_of(oid, context.catalog)?;
    let number = usize::try_from(column).ok()?.checked_sub(1)?;
    Some(quote_identifier(&table.columns[*key.columns.get(number)?].name))
}

#[cfg(test)]
mod tests {
    use super::split_identifiers;

    #[test]
    fn identifiers_are_split() {
        assert_eq!(split_identifiers("Public.\"A\"\".b\"").expect("valid"), ["public", "A\".b"]);
        assert!(split_identifiers("a.\"b").is_err());
    }
}
