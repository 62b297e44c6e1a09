//! How a table's rows are found: the terms of a condition that bind its primary key become the access path.

use crate::catalog::TableDef;
use crate::sql::expr::eval::type_of;
use crate::sql::expr::{Expr, walk};
use crate::sql::function::Comparison;
use crate::sql::function::coercion::binary_coercible;
use crate::sql::plan::Access;
use crate::sql::planner::{conjoin, fold};
use crate::types::{CastContext, ColumnType, Datum, SqlType};

/// Most keys that IN lists over several columns multiply to.
const POINTS_MAX: usize = 4_096;

/// A term over one column: what it says about it.
enum Bound {
    Equal(Expr),
    Any(Vec<Expr>),
    Lower(Expr, bool),
    Upper(Expr, bool),
}

/// Chooses the access path for a condition over the table's columns; what the path does not guarantee stays as the filter.
pub fn choose(table: &TableDef, terms: Vec<Expr>) -> (Access, Option<Expr>) {
    let Some(key) = &table.primary_key else { return (Access::Full, conjoin(terms)) };
    let mut terms: Vec<Option<Expr>> = terms.into_iter().map(Some).collect();
    let bounds: Vec<Option<(usize, Bound)>> = terms.iter().map(|term| bound_of(term.as_ref()?, table)).collect();
    let equal = |column: usize| {
        bounds
            .iter()
            .position(|bound| matches!(bound, Some((at, Bound::Equal(_))) if *at == column))
            .or_else(|| bounds.iter().position(|bound| matches!(bound, Some((at, Bound::Any(_))) if *at == column)))
    };
    let found: Vec<usize> = key.columns.iter().map_while(|&column| equal(column)).collect();
    let values = |index: usize| match &bounds[index] {
        Some((_, Bound::Equal(value))) => vec![value.clone()],
        Some((_, Bound::Any(values))) => values.clone(),
        _ => Vec::new(),
    };
    let combinations = found.iter().map(|&index| values(index).len()).try_fold(1usize, usize::checked_mul);
    let access = if found.len() == key.columns.len() && combinations.is_some_and(|count| count <= POINTS_MAX) {
        let mut points: Vec<Vec<Expr>> = vec![Vec::new()];
        for &index in &found {
            let values = values(index);
            points = points
                .into_iter()
                .flat_map(|point| values.iter().map(move |value| point.iter().cloned().chain([value.clone()]).collect()))
                .collect();
        }
        found.iter().for_each(|&index| terms[index] = None);
        Access::Points(points)
    } else {
        range(&key.columns, &found, &bounds, &mut terms)
    };
    (access, conjoin(terms.into_iter().flatten().collect()))
}

/// An equality prefix and bounds on the next key column.
fn range(key: &[usize], found: &[usize], bounds: &[Option<(usize, Bound)>], terms: &mut [Option<Expr>]) -> Access {
    let mut prefix = Vec::new();
    for &index in found {
        let Some((_, Bound::Equal(value))) = &bounds[index] else { break };
        prefix.push(value.clone());
        terms[index] = None;
    }
    let (mut lower, mut upper) = (None, None);
    if let Some(&next) = key.get(prefix.len()) {
        for (index, bound) in bounds.iter().enumerate() {
            match bound {
                Some((column, Bound::Lower(value, inclusive))) if *column == next && lower.is_none() => {
                    lower = Some((value.clone(), *inclusive));
                    terms[index] = None;
                }
                Some((column, Bound::Upper(value, inclusive))) if *column == next && upper.is_none() => {
                    upper = Some((value.clone(), *inclusive));
                    terms[index] = None;
                }
                _ => {}
            }
        }
    }
    if prefix.is_empty() && lower.is_none() && upper.is_none() { Access::Full } else { Access::Range { prefix, lower, upper } }
}

/// What a term says about one column of the table, if that is all it says.
fn bound_of(term: &Expr, table: &TableDef) -> Option<(usize, Bound)> {
    match term {
        Expr::Call { function, args, .. } => {
            let comparison = function.get().comparison?;
            let [left, right] = &args[..] else { return None };
            let (column, value, comparison) = match (column_of(left), column_of(right)) {
                (Some(column), None) => (column, right, comparison),
                (None, Some(column)) => (column, left, comparison.commuted()),
                _ => return None,
            };
            let value = key_value(value, table.columns.get(column)?.ty)?;
            Some((
                column,
                match comparison {
                    Comparison::Eq => Bound::Equal(value),
                    Comparison::Lt => Bound::Upper(value, false),
                    Comparison::Le => Bound::Upper(value, true),
                    Comparison::Gt => Bound::Lower(value, false),
                    Comparison::Ge => Bound::Lower(value, true),
                    Comparison::Ne => return None,
                },
            ))
        }
        Expr::InList(arg, list, false) => {
            let column = column_of(arg)?;
            let ty = table.columns.get(column)?.ty;
            let values = list.iter().map(|value| key_value(value, ty)).collect::<Option<Vec<_>>>()?;
            Some((column, Bound::Any(values)))
        }
        _ => None,
    }
}

/// The column an expression is, seen through casts that change nothing in its bytes or its order.
pub fn column_of(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Column(index, _) => Some(*index),
        Expr::Cast { arg, from, to, .. } if to.typmod == -1 && (binary_coercible(*from, to.ty) || widens(*from, to.ty)) => {
            column_of(arg)
        }
        _ => None,
    }
}

fn widens(from: SqlType, to: SqlType) -> bool {
    use SqlType::{Int2, Int4, Int8};
    matches!((from, to), (Int2, Int4 | Int8) | (Int4, Int8))
}

/// The value as one of the key column's type, if that is possible without losing a match; it may depend on parameters and
/// outer rows but on nothing of this row.
fn key_value(value: &Expr, column: ColumnType) -> Option<Expr> {
    let mut columns = Vec::new();
    walk::columns_of(value, &mut columns);
    if !columns.is_empty() || walk::has_subquery(value) || fold::is_volatile(value) {
        return None;
    }
    let ty = type_of(value);
    if ty == column.ty || binary_coercible(ty, column.ty) {
        return Some(value.clone());
    }
    if widens(ty, column.ty) {
        let to = ColumnType { ty: column.ty, typmod: -1 };
        return Some(match (value, column.ty) {
            (Expr::Const(datum, _), SqlType::Int8) if datum.as_i64().is_some() => {
                Expr::Const(Datum::Int8(datum.as_i64()?), SqlType::Int8)
            }
            (Expr::Const(datum, _), SqlType::Int4) if datum.as_i64().is_some() => {
                Expr::Const(Datum::Int4(i32::try_from(datum.as_i64()?).ok()?), SqlType::Int4)
            }
            _ => Expr::Cast { arg: Box::new(value.clone()), from: ty, to, context: CastContext::Implicit },
        });
    }
    // A wider constant that fits the column's type is that value; one that does not fit is left to the filter.
    match (value, column.ty) {
        (Expr::Const(datum, _), SqlType::Int4) => Some(Expr::Const(Datum::Int4(i32::try_from(datum.as_i64()?).ok()?), column.ty)),
        (Expr::Const(datum, _), SqlType::Int2) => Some(Expr::Const(Datum::Int2(i16::try_from(datum.as_i64()?).ok()?), column.ty)),
        _ => None,
    }
}
