//! From values to storage keys and ranges, and back for error messages.

use std::ops::Bound;

use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult};
use crate::exec::context::ExecContext;
use crate::exec::query::scope::{Outer, with_outer};
use crate::shard::KeyRange;
use crate::sql::NoSubqueries;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{NoRow, eval};
use crate::sql::plan::Access;
use crate::storage::{Key, KeyKind};
use crate::types::key::{KeyNulls, datum_to_i64_key, encode_key_column};
use crate::types::{Datum, RowView};

/// The key of a row, from its values in table order. `None` for tables without a primary key.
pub fn key_of_row(table: &TableDef, row: &[Datum]) -> SqlResult<Option<Key>> {
    let Some(primary) = &table.primary_key else { return Ok(None) };
    let values: Vec<Datum> = primary.columns.iter().map(|column| row[*column].clone()).collect();
    key_of_values(table, &values)
}

/// The key of values in key order, each of its column's type; `None` if one of them is NULL: no row has such a key.
pub fn key_of_values(table: &TableDef, values: &[Datum]) -> SqlResult<Option<Key>> {
    let primary = table.primary_key.as_ref().expect("keys are made for tables with a primary key");
    debug_assert_eq!(values.len(), primary.columns.len());
    if table.key_kind() == KeyKind::Int {
        return Ok(datum_to_i64_key(&values[0]).map(Key::Int));
    }
    if values.iter().any(Datum::is_null) {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(32);
    for (value, column) in values.iter().zip(&primary.columns) {
        encode_key_column(table.columns[*column].ty.ty, value, KeyNulls::Never, &mut bytes);
    }
    Ok(Some(Key::Bytes(bytes.into())))
}

/// The keys of an access by full keys, in order and each once; those with a NULL are left out. No key holds a subquery.
pub fn point_keys(table: &TableDef, points: &[Vec<Expr>], outer: &Outer, context: &ExecContext<'_>) -> SqlResult<Vec<Key>> {
    let mut keys = Vec::with_capacity(points.len());
    with_outer(outer, |outer| {
        let eval_context = context.eval(outer, &NoSubqueries);
        points.iter().try_for_each(|point| {
            let values = point.iter().map(|expr| eval(expr, &NoRow, &eval_context)).collect::<SqlResult<Vec<_>>>()?;
            keys.extend(key_of_values(table, &values)?);
            Ok::<(), SqlError>(())
        })
    })?;
    if keys.len() > 1 {
        keys.sort_unstable();
        keys.dedup();
    }
    Ok(keys)
}

/// The range of an access that is not by full keys; `None` if it is empty.
pub fn access_range(table: &TableDef, access: &Access, outer: &Outer, context: &ExecContext<'_>) -> SqlResult<Option<KeyRange>> {
    let Access::Range { prefix, lower, upper } = access else { return Ok(Some(KeyRange::all())) };
    with_outer(outer, |outer| {
        let eval_context = context.eval(outer, &NoSubqueries);
        let prefix = prefix.iter().map(|expr| eval(expr, &NoRow, &eval_context)).collect::<SqlResult<Vec<_>>>()?;
        let bound = |bound: &Option<(Expr, bool)>| match bound {
            None => Ok(None),
            Some((expr, inclusive)) => eval(expr, &NoRow, &eval_context).map(|value| Some((value, *inclusive))),
        };
        range_of(table, &prefix, &bound(lower)?, &bound(upper)?)
    })
}

/// Bounds on the key column after an equality prefix: value and whether it is included.
pub type ColumnBound = Option<(Datum, bool)>;

/// The range of keys with this prefix of values and these bounds on the next column; `None` if it is empty because a value is
/// NULL.
pub fn range_of(table: &TableDef, prefix: &[Datum], lower: &ColumnBound, upper: &ColumnBound) -> SqlResult<Option<KeyRange>> {
    let bounds = [lower, upper];
    if prefix.iter().any(Datum::is_null) || bounds.iter().any(|bound| bound.as_ref().is_some_and(|(value, _)| value.is_null())) {
        return Ok(None);
    }
    if table.key_kind() == KeyKind::Int {
        return Ok(Some(int_range(prefix, lower, upper)));
    }
    let primary = table.primary_key.as_ref().expect("ranges are made for tables with a primary key");
    let ty = |i: usize| table.columns[primary.columns[i]].ty.ty;
    let mut base = Vec::new();
    for (i, value) in prefix.iter().enumerate() {
        encode_key_column(ty(i), value, KeyNulls::Never, &mut base);
    }
    let with = |bound: &ColumnBound| -> Option<(Vec<u8>, bool)> {
        let (value, inclusive) = bound.as_ref()?;
        let mut key = base.clone();
        encode_key_column(ty(prefix.len()), value, KeyNulls::Never, &mut key);
        Some((key, *inclusive))
    };
    let bytes = |key: Vec<u8>| Key::Bytes(key.into());
    let lower = match with(lower) {
        // Everything that starts with the key belongs to it: further key columns follow.
        Some((key, true)) => Bound::Included(bytes(key)),
        Some((key, false)) => successor_of_prefix(key).map_or(Bound::Unbounded, |key| Bound::Included(bytes(key))),
        None if base.is_empty() => Bound::Unbounded,
        None => Bound::Included(bytes(base.clone())),
    };
    let upper = match with(upper) {
        Some((key, true)) => successor_of_prefix(key).map_or(Bound::Unbounded, |key| Bound::Excluded(bytes(key))),
        Some((key, false)) => Bound::Excluded(bytes(key)),
        None if base.is_empty() => Bound::Unbounded,
        None => successor_of_prefix(base).map_or(Bound::Unbounded, |key| Bound::Excluded(bytes(key))),
    };
    Ok(Some(KeyRange { lower, upper }))
}

fn int_range(prefix: &[Datum], lower: &ColumnBound, upper: &ColumnBound) -> KeyRange {
    let key = |value: &Datum| Key::Int(datum_to_i64_key(value).expect("values have the key column's type and are not NULL"));
    if let [value] = prefix {
        return KeyRange { lower: Bound::Included(key(value)), upper: Bound::Included(key(value)) };
    }
    let bound = |bound: &ColumnBound| match bound {
        None => Bound::Unbounded,
        Some((value, true)) => Bound::Included(key(value)),
        Some((value, false)) => Bound::Excluded(key(value)),
    };
    KeyRange { lower: bound(lower), upper: bound(upper) }
}

/// The lowest key above everything that starts with `prefix`.
fn successor_of_prefix(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

/// `(a, b)=(1, x)`, as PostgreSQL's details name a key.
pub fn describe_key(table: &TableDef, row: &RowView<'_>, format: &crate::types::SessionFormat) -> String {
    let Some(primary) = &table.primary_key else { return String::new() };
    let names: Vec<&str> = primary.columns.iter().map(|column| table.columns[*column].name.as_str()).collect();
    let values: Vec<String> = primary
        .columns
        .iter()
        .map(|column| {
            let mut text = Vec::new();
            if row.write_text_column(*column, format, &mut text) {
                String::from_utf8_lossy(&text).into_owned()
            } else {
                "null".into()
            }
        })
        .collect();
    format!("({})=({})", names.join(", "), values.join(", "))
}
