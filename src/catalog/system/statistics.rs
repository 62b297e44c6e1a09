//! What ANALYZE has found out, as `pg_statistic` has it and as its view `pg_stats` shows it.
//!
//! Lists of a column's values are `anyarray` in PostgreSQL; here they are their text.

use super::privileges::reads_column;
use super::relations::{collation, user_tables};
use super::{Rows, SystemContext, int2};
use crate::catalog::{ColumnStatistics, SchemaDef, TableDef};
use crate::types::{Datum, ElementType, SqlType, write_text};

/// Kinds of a slot of `pg_statistic` (pg_statistic.h).
const COMMON: i16 = 1;
const HISTOGRAM: i16 = 2;
const CORRELATION: i16 = 3;

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    let row: fn(&SchemaDef, &TableDef, &ColumnStatistics, &SystemContext<'_>, &mut Rows) = match table {
        "pg_statistic" => slots,
        "pg_stats" => view,
        _ => return,
    };
    for (schema, table) in user_tables(context) {
        let Some(known) = context.catalog.statistics.get(&table.oid) else { continue };
        for (number, column) in table.columns.iter().enumerate() {
            // Values of rows, for whoever may read them.
            if let Some(column) = known.column(number, column.ty.ty).filter(|_| reads_column(table, number, context)) {
                row(schema, table, column, context, rows);
            }
        }
    }
}

/// The text of an array; NULL for one without elements.
fn array_text(values: Vec<Datum>, ty: SqlType, context: &SystemContext<'_>) -> Datum {
    if values.is_empty() {
        return Datum::Null;
    }
    // There are no arrays of char(n); its values are texts.
    let array = ty.array_of().unwrap_or(SqlType::Array(ElementType::Text));
    let mut text = Vec::new();
    write_text(&Datum::Array(values.into()), array, context.format, &mut text);
    Datum::text(&String::from_utf8_lossy(&text))
}

fn common_values(column: &ColumnStatistics, context: &SystemContext<'_>) -> Datum {
    array_text(column.common.iter().map(|(value, _)| value.clone()).collect(), column.ty, context)
}

fn common_fractions(column: &ColumnStatistics) -> Datum {
    if column.common.is_empty() {
        return Datum::Null;
    }
    Datum::Array(column.common.iter().map(|(_, fraction)| Datum::Float4(*fraction)).collect())
}

fn view(schema: &SchemaDef, table: &TableDef, column: &ColumnStatistics, context: &SystemContext<'_>, rows: &mut Rows) {
    rows.add([
        ("schemaname", Datum::text(&schema.name)),
        ("tablename", Datum::text(&table.name)),
        ("attname", Datum::text(&table.columns[column.column].name)),
        ("inherited", Datum::Bool(false)),
        ("null_frac", Datum::Float4(column.null_fraction)),
        ("avg_width", Datum::Int4(column.width)),
        ("n_distinct", Datum::Float4(column.distinct)),
        ("most_common_vals", common_values(column, context)),
        ("most_common_freqs", common_fractions(column)),
        ("histogram_bounds", array_text(column.histogram.clone(), column.ty, context)),
        ("correlation", column.correlation.map_or(Datum::Null, Datum::Float4)),
    ]);
}

/// The columns of one slot: its kind, collation, numbers and values.
const SLOTS: [[&str; 4]; 3] = [
    ["stakind1", "stacoll1", "stanumbers1", "stavalues1"],
    ["stakind2", "stacoll2", "stanumbers2", "stavalues2"],
    ["stakind3", "stacoll3", "stanumbers3", "stavalues3"],
];

fn slots(_: &SchemaDef, table: &TableDef, column: &ColumnStatistics, context: &SystemContext<'_>, rows: &mut Rows) {
    let mut kinds: Vec<(i16, Datum, Datum)> = Vec::with_capacity(SLOTS.len());
    if !column.common.is_empty() {
        kinds.push((COMMON, common_fractions(column), common_values(column, context)));
    }
    if !column.histogram.is_empty() {
        kinds.push((HISTOGRAM, Datum::Null, array_text(column.histogram.clone(), column.ty, context)));
    }
    if let Some(correlation) = column.correlation {
        kinds.push((CORRELATION, Datum::Array([Datum::Float4(correlation)].into()), Datum::Null));
    }
    let slots = SLOTS.iter().zip(kinds).flat_map(|([kind, collated, numbers, values], (number, fractions, texts))| {
        let collated_by = Datum::Oid(collation(column.ty));
        [(*kind, Datum::Int2(number)), (*collated, collated_by), (*numbers, fractions), (*values, texts)]
    });
    let fixed = [
        ("starelid", Datum::Oid(table.oid)),
        ("staattnum", int2(column.column + 1)),
        ("stanullfrac", Datum::Float4(column.null_fraction)),
        ("stawidth", Datum::Int4(column.width)),
        ("stadistinct", Datum::Float4(column.distinct)),
    ];
    rows.add(fixed.into_iter().chain(slots));
}
