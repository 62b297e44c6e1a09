//! Tables, their columns, keys and schemas, as `pg_catalog` shows them.

use super::{C_COLLATION, DEFAULT_COLLATION, OWNER, Rows, SystemContext, all, by_name, int2, letter, privileges};
use crate::base::Oid;
use crate::catalog::identifier::quote_identifier;
use crate::catalog::statistics::pages;
use crate::catalog::{ColumnDef, PrimaryKey, SchemaDef, TableDef};
use crate::types::{ColumnType, Datum, SqlType};

/// Access methods: `heap` and `btree`, which clients know, stand for rows by key and their index.
const HEAP: Oid = Oid(2);
const BTREE: Oid = Oid(403);

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    match table {
        "pg_class" => classes(context, rows),
        "pg_attribute" => attributes(context, rows),
        "pg_attrdef" => defaults(context, rows),
        "pg_index" => user_tables(context).for_each(|(_, table)| index(table, rows)),
        "pg_constraint" => user_tables(context).for_each(|(_, table)| constraint(table, rows)),
        "pg_depend" => user_tables(context).for_each(|(_, table)| dependencies(table, rows)),
        "pg_namespace" => namespaces(context, rows),
        "pg_tables" => tables_view(context, rows),
        "pg_indexes" => user_tables(context).for_each(|(schema, table)| index_view(schema, table, rows)),
        _ => {}
    }
}

/// Tables that users have made, with their schemas.
pub(super) fn user_tables<'a>(context: &SystemContext<'a>) -> impl Iterator<Item = (&'a SchemaDef, &'a TableDef)> {
    let catalog = context.catalog;
    catalog.tables.values().map(|table| {
        let schema = catalog.schemas.get(&table.schema).expect("a table's schema exists as long as the table");
        (&**schema, &**table)
    })
}

/// The schema of a system table.
fn schema_oid(schema: &str, context: &SystemContext<'_>) -> Oid {
    let found = context.catalog.schemas.values().find(|candidate| candidate.name == schema);
    found.expect("the built-in schemas are in every catalog").oid
}

/// `pg_type.typcollation`, and with it `attcollation`.
pub(super) fn collation(ty: SqlType) -> Oid {
    let element = if let SqlType::Array(element) = ty { element.scalar() } else { ty };
    match element {
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar => DEFAULT_COLLATION,
        SqlType::Name => C_COLLATION,
        _ => Oid(0),
    }
}

/// `pg_type.typbyval`.
pub(super) fn by_value(ty: SqlType) -> bool {
    matches!(ty.typlen(), 1 | 2 | 4 | 8)
}

/// `pg_type.typalign`.
pub(super) fn alignment(ty: SqlType) -> char {
    match ty.typlen() {
        1 | 64 => 'c',
        2 => 's',
        8 => 'd',
        16 if ty == SqlType::Uuid => 'c',
        16 => 'd',
        _ => 'i',
    }
}

/// `pg_type.typstorage`: what PostgreSQL would do with long values of the type.
pub(super) fn strategy(ty: SqlType) -> char {
    match ty {
        SqlType::Numeric => 'm',
        _ if ty.typlen() == -1 => 'x',
        _ => 'p',
    }
}

fn classes(context: &SystemContext<'_>, rows: &mut Rows) {
    for table in all() {
        rows.add([
            ("oid", Datum::Oid(table.oid)),
            ("relname", Datum::text(table.name)),
            ("relnamespace", Datum::Oid(schema_oid(table.schema, context))),
            ("relowner", Datum::Oid(OWNER)),
            ("relam", Datum::Oid(if table.is_view { Oid(0) } else { HEAP })),
            ("reltuples", Datum::Float4(-1.0)),
            ("relpersistence", letter('p')),
            ("relkind", letter(if table.is_view { 'v' } else { 'r' })),
            ("relnatts", int2(table.columns.len())),
            ("relispopulated", Datum::Bool(true)),
            ("relreplident", letter('n')),
            ("relacl", privileges::array(Some(&privileges::of_system_table(table)), context.catalog)),
        ]);
    }
    for (_, table) in user_tables(context) {
        let known = context.catalog.statistics.get(&table.oid).filter(|known| known.rows.is_some());
        #[expect(clippy::cast_possible_truncation, reason = "reltuples is a real")]
        let tuples = Datum::Float4(known.and_then(|known| known.rows).map_or(-1.0, |rows| rows as f32));
        let pages = |bytes: u64| Datum::Int4(i32::try_from(pages(bytes)).unwrap_or(i32::MAX));
        let options = table.options.iter().map(|(name, value)| Datum::text(&format!("{name}={value}")));
        let options: Vec<Datum> = options.collect();
        rows.add([
            ("oid", Datum::Oid(table.oid)),
            ("relname", Datum::text(&table.name)),
            ("relnamespace", Datum::Oid(table.schema)),
            ("relowner", Datum::Oid(table.owner)),
            ("relam", Datum::Oid(HEAP)),
            ("relfilenode", Datum::Oid(table.oid)),
            ("relpages", pages(known.map_or(0, |known| known.table_bytes))),
            ("reltuples", tuples.clone()),
            ("relhasindex", Datum::Bool(table.primary_key.is_some())),
            ("relpersistence", letter('p')),
            ("relkind", letter('r')),
            ("relnatts", int2(table.columns.len())),
            ("relispopulated", Datum::Bool(true)),
            ("relreplident", letter('d')),
            ("relacl", privileges::array(table.acls.table.as_ref(), context.catalog)),
            ("reloptions", if options.is_empty() { Datum::Null } else { Datum::Array(options.into()) }),
        ]);
        if let Some(key) = &table.primary_key {
            rows.add([
                ("oid", Datum::Oid(key.index_oid)),
                ("relname", Datum::text(&key.name)),
                ("relnamespace", Datum::Oid(table.schema)),
                ("relowner", Datum::Oid(table.owner)),
                ("relam", Datum::Oid(BTREE)),
                ("relfilenode", Datum::Oid(key.index_oid)),
                ("relpages", pages(known.map_or(0, |known| known.index_bytes))),
                ("reltuples", tuples),
                ("relpersistence", letter('p')),
                ("relkind", letter('i')),
                ("relnatts", int2(key.columns.len())),
                ("relispopulated", Datum::Bool(true)),
                ("relreplident", letter('n')),
            ]);
        }
    }
}

/// A column of a table or index.
fn attribute(relation: Oid, number: usize, column: &ColumnDef, (not_null, acl): (bool, Datum), rows: &mut Rows) {
    let ty = column.ty;
    rows.add([
        ("attrelid", Datum::Oid(relation)),
        ("attname", Datum::text(&column.name)),
        ("atttypid", Datum::Oid(ty.ty.oid())),
        ("attstattarget", Datum::Int4(-1)),
        ("attlen", Datum::Int2(ty.ty.typlen())),
        ("attnum", int2(number)),
        ("attndims", Datum::Int4(i32::from(ty.ty.is_array()))),
        ("attcacheoff", Datum::Int4(-1)),
        ("atttypmod", Datum::Int4(ty.typmod)),
        ("attbyval", Datum::Bool(by_value(ty.ty))),
        ("attalign", letter(alignment(ty.ty))),
        ("attstorage", letter(strategy(ty.ty))),
        ("attnotnull", Datum::Bool(not_null)),
        ("atthasdef", Datum::Bool(column.default.is_some())),
        ("attacl", acl),
        ("attislocal", Datum::Bool(true)),
        ("attcollation", Datum::Oid(collation(ty.ty))),
    ]);
}

fn attributes(context: &SystemContext<'_>, rows: &mut Rows) {
    for table in all() {
        for (number, (name, ty)) in (1..).zip(&table.columns) {
            let ty = ColumnType { ty: *ty, typmod: -1 };
            let column = ColumnDef { name: (*name).to_owned(), ty, not_null: false, default: None };
            attribute(table.oid, number, &column, (false, Datum::Null), rows);
        }
    }
    for (_, table) in user_tables(context) {
        for (number, column) in (1..).zip(&table.columns) {
            let acl = privileges::array(table.acls.columns.get(&(number - 1)), context.catalog);
            attribute(table.oid, number, column, (column.not_null, acl), rows);
        }
        if let Some(key) = &table.primary_key {
            for (number, column) in (1..).zip(key_columns(table, key)) {
                let column = ColumnDef { default: None, ..column.clone() };
                attribute(key.index_oid, number, &column, (false, Datum::Null), rows);
            }
        }
    }
}

/// The columns of a key, in its order.
pub(super) fn key_columns<'a>(table: &'a TableDef, key: &'a PrimaryKey) -> impl Iterator<Item = &'a ColumnDef> {
    key.columns.iter().map(|column| &table.columns[*column])
}

fn defaults(context: &SystemContext<'_>, rows: &mut Rows) {
    for (_, table) in user_tables(context) {
        for (number, column) in (1u16..).zip(&table.columns) {
            if let Some(default) = column.shown_default() {
                rows.add([
                    // Defaults are part of their table here; the number is unique and stays what it is.
                    ("oid", Datum::Oid(Oid(table.oid.0.wrapping_mul(1_600).wrapping_add(u32::from(number)) | 1 << 31))),
                    ("adrelid", Datum::Oid(table.oid)),
                    ("adnum", int2(usize::from(number))),
                    ("adbin", Datum::text(&default)),
                ]);
            }
        }
    }
}

/// The numbers of a key's columns, as `indkey` and `conkey` have them.
fn key_numbers(key: &PrimaryKey) -> Datum {
    Datum::Array(key.columns.iter().map(|column| int2(column + 1)).collect())
}

fn index(table: &TableDef, rows: &mut Rows) {
    if let Some(key) = &table.primary_key {
        rows.add([
            ("indexrelid", Datum::Oid(key.index_oid)),
            ("indrelid", Datum::Oid(table.oid)),
            ("indnatts", int2(key.columns.len())),
            ("indnkeyatts", int2(key.columns.len())),
            ("indisunique", Datum::Bool(true)),
            ("indisprimary", Datum::Bool(true)),
            ("indimmediate", Datum::Bool(true)),
            ("indisvalid", Datum::Bool(true)),
            ("indisready", Datum::Bool(true)),
            ("indislive", Datum::Bool(true)),
            ("indkey", key_numbers(key)),
            ("indcollation", Datum::Array(key_columns(table, key).map(|column| Datum::Oid(collation(column.ty.ty))).collect())),
            ("indoption", Datum::Array(key.columns.iter().map(|_| Datum::Int2(0)).collect())),
        ]);
    }
}

fn constraint(table: &TableDef, rows: &mut Rows) {
    if let Some(key) = &table.primary_key {
        rows.add([
            ("oid", Datum::Oid(key.constraint_oid)),
            ("conname", Datum::text(&key.name)),
            ("connamespace", Datum::Oid(table.schema)),
            ("contype", letter('p')),
            ("convalidated", Datum::Bool(true)),
            ("conrelid", Datum::Oid(table.oid)),
            ("conindid", Datum::Oid(key.index_oid)),
            ("confupdtype", letter(' ')),
            ("confdeltype", letter(' ')),
            ("confmatchtype", letter(' ')),
            ("conislocal", Datum::Bool(true)),
            ("connoinherit", Datum::Bool(true)),
            ("conkey", key_numbers(key)),
        ]);
    }
}

/// A table belongs to its schema, a constraint to its table, an index to its constraint.
fn dependencies(table: &TableDef, rows: &mut Rows) {
    let class = |name| by_name("pg_catalog", name).map_or(Oid(0), |table| table.oid);
    let mut add = |class_of: Oid, object: Oid, referenced_class: Oid, referenced: Oid, kind: char| {
        rows.add([
            ("classid", Datum::Oid(class_of)),
            ("objid", Datum::Oid(object)),
            ("refclassid", Datum::Oid(referenced_class)),
            ("refobjid", Datum::Oid(referenced)),
            ("deptype", letter(kind)),
        ]);
    };
    let (relations, constraints) = (class("pg_class"), class("pg_constraint"));
    add(relations, table.oid, class("pg_namespace"), table.schema, 'n');
    if let Some(key) = &table.primary_key {
        add(constraints, key.constraint_oid, relations, table.oid, 'a');
        add(relations, key.index_oid, constraints, key.constraint_oid, 'i');
    }
}

fn namespaces(context: &SystemContext<'_>, rows: &mut Rows) {
    for schema in context.catalog.schemas.values() {
        rows.add([
            ("oid", Datum::Oid(schema.oid)),
            ("nspname", Datum::text(&schema.name)),
            ("nspowner", Datum::Oid(schema.owner)),
            ("nspacl", privileges::array(schema.acl.as_ref(), context.catalog)),
        ]);
    }
}

fn tables_view(context: &SystemContext<'_>, rows: &mut Rows) {
    let mut add = |schema: &str, name: &str, owner: Oid, has_indexes: bool| {
        rows.add([
            ("schemaname", Datum::text(schema)),
            ("tablename", Datum::text(name)),
            ("tableowner", Datum::text(&context.catalog.role_name(owner))),
            ("hasindexes", Datum::Bool(has_indexes)),
            ("hasrules", Datum::Bool(false)),
            ("hastriggers", Datum::Bool(false)),
            ("rowsecurity", Datum::Bool(false)),
        ]);
    };
    for table in all().iter().filter(|table| !table.is_view) {
        add(table.schema, table.name, OWNER, false);
    }
    for (schema, table) in user_tables(context) {
        add(&schema.name, &table.name, table.owner, table.primary_key.is_some());
    }
}

fn index_view(schema: &SchemaDef, table: &TableDef, rows: &mut Rows) {
    if let Some(key) = &table.primary_key {
        rows.add([
            ("schemaname", Datum::text(&schema.name)),
            ("tablename", Datum::text(&table.name)),
            ("indexname", Datum::text(&key.name)),
            ("indexdef", Datum::text(&index_definition(schema, table, key))),
        ]);
    }
}

/// The statement that would make a primary key's index.
pub fn index_definition(schema: &SchemaDef, table: &TableDef, key: &PrimaryKey) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        quote_identifier(&key.name),
        quote_identifier(&schema.name),
        quote_identifier(&table.name),
        key_list(table, key)
    )
}

/// The columns of a key, separated by commas.
pub fn key_list(table: &TableDef, key: &PrimaryKey) -> String {
    key_columns(table, key).map(|column| quote_identifier(&column.name)).collect::<Vec<_>>().join(", ")
}
