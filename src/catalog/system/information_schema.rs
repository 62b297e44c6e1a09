//! `information_schema` (SQL:2016, part 11), as far as there is anything to show.

use std::sync::Arc;

use super::privileges::{shows_column, shows_table};
use super::relations::{key_columns, user_tables};
use super::{Rows, SystemContext, all, int4};
use crate::catalog::acl::ask::Holder;
use crate::catalog::{ColumnDef, SchemaDef, TableDef};
use crate::types::{ColumnType, Datum, SqlType};

/// `typmod` counts a header of this many bytes in.
const TYPMOD_HEADER: i32 = 4;

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    match table {
        "schemata" => schemata(context, rows),
        "tables" => tables(context, rows),
        "columns" => columns(context, rows),
        "table_constraints" => user_tables(context).for_each(|table| constraint(context, table, rows)),
        "key_column_usage" => user_tables(context).for_each(|table| key_usage(context, table, rows)),
        "constraint_column_usage" => user_tables(context).for_each(|table| column_usage(context, table, rows)),
        _ => {}
    }
}

fn yes_or_no(yes: bool) -> Datum {
    Datum::text(if yes { "YES" } else { "NO" })
}

fn schemata(context: &SystemContext<'_>, rows: &mut Rows) {
    let shown = |schema: &&Arc<SchemaDef>| {
        let owns = context.catalog.has_privileges_of(context.role, schema.owner);
        owns || !context.catalog.held_on_schema(Holder::Role(context.role), schema).privileges.is_empty()
    };
    for schema in context.catalog.schemas.values().filter(shown) {
        rows.add([
            ("catalog_name", Datum::text(context.database)),
            ("schema_name", Datum::text(&schema.name)),
            ("schema_owner", Datum::text(&context.catalog.role_name(schema.owner))),
            ("default_character_set_catalog", Datum::Null),
            ("default_character_set_schema", Datum::Null),
            ("default_character_set_name", Datum::Null),
        ]);
    }
}

fn tables(context: &SystemContext<'_>, rows: &mut Rows) {
    const TYPED: [&str; 5] = [
        "self_referencing_column_name",
        "user_defined_type_catalog",
        "user_defined_type_schema",
        "user_defined_type_name",
        "reference_generation",
    ];
    let system = all().iter().map(|table| (table.schema, table.name, table.is_view));
    let shown = user_tables(context).filter(|(_, table)| shows_table(table, context));
    let user = shown.map(|(schema, table)| (schema.name.as_str(), table.name.as_str(), false));
    for (schema, name, is_view) in system.chain(user) {
        let insertable = !is_view;
        let values = [
            ("table_catalog", Datum::text(context.database)),
            ("table_schema", Datum::text(schema)),
            ("table_name", Datum::text(name)),
            ("table_type", Datum::text(if is_view { "VIEW" } else { "BASE TABLE" })),
            ("is_insertable_into", yes_or_no(insertable)),
            ("is_typed", yes_or_no(false)),
        ];
        rows.add(values.into_iter().chain(TYPED.map(|column| (column, Datum::Null))));
    }
}

fn columns(context: &SystemContext<'_>, rows: &mut Rows) {
    for table in all() {
        for (number, (name, ty)) in (1..).zip(&table.columns) {
            let ty = ColumnType { ty: *ty, typmod: -1 };
            let definition = ColumnDef { name: (*name).to_owned(), ty, not_null: false, default: None };
            column(context, table.schema, table.name, number, &definition, rows);
        }
    }
    for (schema, table) in user_tables(context) {
        let shown = (1..).zip(&table.columns).filter(|(number, _)| shows_column(table, number - 1, context));
        for (number, definition) in shown {
            column(context, &schema.name, &table.name, number, definition, rows);
        }
    }
}

fn column(context: &SystemContext<'_>, schema: &str, table: &str, number: usize, column: &ColumnDef, rows: &mut Rows) {
    // Names, which are NULL when they say nothing.
    const UNSAID: [&str; 12] = [
        "character_set_catalog",
        "character_set_schema",
        "character_set_name",
        "collation_catalog",
        "collation_schema",
        "collation_name",
        "domain_catalog",
        "domain_schema",
        "domain_name",
        "scope_catalog",
        "scope_schema",
        "scope_name",
    ];
    let ty = column.ty.ty;
    let number_of = |value: Option<i32>| value.map_or(Datum::Null, Datum::Int4);
    let length = character_length(column.ty);
    let octets = match ty {
        SqlType::Text => Some(1 << 30),
        // At most four bytes a character.
        _ => length.map(|length| length.saturating_mul(4)).or(is_character(ty).then_some(1 << 30)),
    };
    let (precision, radix, scale) = numeric_precision(column.ty);
    let datetime = match ty {
        SqlType::Date => Some(0),
        SqlType::Timestamp | SqlType::TimestampTz => Some(if column.ty.typmod < 0 { 6 } else { column.ty.typmod }),
        _ => None,
    };
    let data_type = if ty.is_array() { "ARRAY" } else { ty.name() };
    let values = [
        ("table_catalog", Datum::text(context.database)),
        ("table_schema", Datum::text(schema)),
        ("table_name", Datum::text(table)),
        ("column_name", Datum::text(&column.name)),
        ("ordinal_position", int4(number)),
        ("column_default", column.shown_default().map_or(Datum::Null, |text| Datum::text(&text))),
        ("is_nullable", yes_or_no(!column.not_null)),
        ("data_type", Datum::text(data_type)),
        ("character_maximum_length", number_of(length)),
        ("character_octet_length", number_of(octets)),
        ("numeric_precision", number_of(precision)),
        ("numeric_precision_radix", number_of(radix)),
        ("numeric_scale", number_of(scale)),
        ("datetime_precision", number_of(datetime)),
        ("interval_precision", Datum::Null),
        ("udt_catalog", Datum::text(context.database)),
        ("udt_schema", Datum::text("pg_catalog")),
        ("udt_name", Datum::text(ty.typname())),
        ("maximum_cardinality", Datum::Null),
        ("dtd_identifier", Datum::text(&number.to_string())),
        ("is_self_referencing", yes_or_no(false)),
        ("is_identity", yes_or_no(false)),
        ("identity_cycle", yes_or_no(false)),
        ("is_generated", Datum::text("NEVER")),
        ("is_updatable", yes_or_no(true)),
    ];
    rows.add(values.into_iter().chain(UNSAID.map(|column| (column, Datum::Null))));
}

fn is_character(ty: SqlType) -> bool {
    matches!(ty, SqlType::Text | SqlType::Varchar | SqlType::Bpchar)
}

/// n of `varchar(n)` and `char(n)`.
fn character_length(ty: ColumnType) -> Option<i32> {
    (matches!(ty.ty, SqlType::Varchar | SqlType::Bpchar) && ty.typmod >= TYPMOD_HEADER).then(|| ty.typmod - TYPMOD_HEADER)
}

/// Precision, the base it is counted in, and scale.
fn numeric_precision(ty: ColumnType) -> (Option<i32>, Option<i32>, Option<i32>) {
    let binary = |bits, scale| (Some(bits), Some(2), scale);
    match ty.ty {
        SqlType::Int2 => binary(16, Some(0)),
        SqlType::Int4 => binary(32, Some(0)),
        SqlType::Int8 => binary(64, Some(0)),
        SqlType::Float4 => binary(24, None),
        SqlType::Float8 => binary(53, None),
        SqlType::Numeric if ty.typmod >= TYPMOD_HEADER => {
            let packed = ty.typmod - TYPMOD_HEADER;
            (Some(packed >> 16), Some(10), Some(packed & 0xffff))
        }
        SqlType::Numeric => (None, Some(10), None),
        _ => (None, None, None),
    }
}

fn constraint(context: &SystemContext<'_>, (schema, table): (&SchemaDef, &TableDef), rows: &mut Rows) {
    if let Some(key) = &table.primary_key {
        rows.add([
            ("constraint_catalog", Datum::text(context.database)),
            ("constraint_schema", Datum::text(&schema.name)),
            ("constraint_name", Datum::text(&key.name)),
            ("table_catalog", Datum::text(context.database)),
            ("table_schema", Datum::text(&schema.name)),
            ("table_name", Datum::text(&table.name)),
            ("constraint_type", Datum::text("PRIMARY KEY")),
            ("is_deferrable", yes_or_no(false)),
            ("initially_deferred", yes_or_no(false)),
            ("enforced", yes_or_no(true)),
        ]);
    }
}

fn key_usage(context: &SystemContext<'_>, (schema, table): (&SchemaDef, &TableDef), rows: &mut Rows) {
    if let Some(key) = &table.primary_key {
        for (number, column) in (1..).zip(key_columns(table, key)) {
            rows.add([
                ("constraint_catalog", Datum::text(context.database)),
                ("constraint_schema", Datum::text(&schema.name)),
                ("constraint_name", Datum::text(&key.name)),
                ("table_catalog", Datum::text(context.database)),
                ("table_schema", Datum::text(&schema.name)),
                ("table_name", Datum::text(&table.name)),
                ("column_name", Datum::text(&column.name)),
                ("ordinal_position", int4(number)),
                ("position_in_unique_constraint", Datum::Null),
            ]);
        }
    }
}

fn column_usage(context: &SystemContext<'_>, (schema, table): (&SchemaDef, &TableDef), rows: &mut Rows) {
    if let Some(key) = &table.primary_key {
        for column in key_columns(table, key) {
            rows.add([
                ("table_catalog", Datum::text(context.database)),
                ("table_schema", Datum::text(&schema.name)),
                ("table_name", Datum::text(&table.name)),
                ("column_name", Datum::text(&column.name)),
                ("constraint_catalog", Datum::text(context.database)),
                ("constraint_schema", Datum::text(&schema.name)),
                ("constraint_name", Datum::text(&key.name)),
            ]);
        }
    }
}
