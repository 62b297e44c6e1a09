//! GROUP BY: expressions over the joined row become expressions over groups and aggregates.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::aggregates::{Collector, Marker, marker};
use crate::sql::binder::names::at;
use crate::sql::binder::scope::Scope;
use crate::sql::expr::walk::{self, Reference};
use crate::sql::expr::{Expr, SubqueryKind};
use crate::types::{ColumnType, Datum};

/// The output of an Aggregate operator, while expressions are moved above it.
pub struct Grouping<'s, 'p> {
    /// Group expressions over the input row; grows by columns that depend on a grouped primary key.
    pub group: Vec<Expr>,
    types: Vec<ColumnType>,
    scope: &'s Scope<'p>,
    given: usize,
}

/// Aggregates are numbered from here until the number of group expressions is final.
const AGGREGATES: usize = 1 << 20;

impl<'s, 'p> Grouping<'s, 'p> {
    /// Groups by expressions with their types.
    pub fn new(group: Vec<(Expr, ColumnType)>, scope: &'s Scope<'p>) -> Self {
        let (group, types): (Vec<Expr>, Vec<ColumnType>) = group.into_iter().unzip();
        let given = group.len();
        Self { group, types, scope, given }
    }

    /// Rewrites an expression to stand above the aggregation. Markers of aggregates become columns that [`Grouping::seal`]
    /// puts behind the groups.
    pub fn lift(&mut self, expr: &mut Expr, collector: &Collector) -> SqlResult<()> {
        if let Some(index) = self.group.iter().position(|group| same(group, expr)) {
            *expr = Expr::Column(index, self.types[index]);
            return Ok(());
        }
        match (marker(expr), &*expr) {
            (Some(Marker::Aggregate(index)), Expr::Outer { ty, .. }) => {
                *expr = Expr::Column(AGGREGATES + index, *ty);
                return Ok(());
            }
            (Some(Marker::SetReturning), _) => return Ok(()),
            (_, Expr::Column(index, ty)) => {
                let lifted = self.dependent(*index, *ty, collector)?;
                *expr = Expr::Column(lifted, *ty);
                return Ok(());
            }
            _ => {}
        }
        let mut failure = None;
        walk::for_each_child_mut(expr, &mut |child| {
            if failure.is_none() {
                failure = self.lift(child, collector).err();
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        self.lift_subquery(expr, collector)
    }

    /// References of a subquery's plan to this query's row.
    fn lift_subquery(&mut self, expr: &mut Expr, collector: &Collector) -> SqlResult<()> {
        let Expr::Subquery(subquery) = expr else { return Ok(()) };
        if !subquery.correlated {
            return Ok(());
        }
        let mut failure = None;
        let plan = &mut std::sync::Arc::make_mut(subquery).plan;
        walk::rewrite_node(plan, 1, &mut |reference| {
            if reference.depth != 0 || failure.is_some() {
                return None;
            }
            match self.dependent(reference.index, reference.ty, collector) {
                Ok(index) => Some(Reference { index, ..reference }),
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }

    /// The output column for an input column: a group expression itself, or determined by one because the table's whole
    /// primary key is grouped by (documentation 7.2.3).
    fn dependent(&mut self, index: usize, ty: ColumnType, collector: &Collector) -> SqlResult<usize> {
        let column = Expr::Column(index, ty);
        if let Some(found) = self.group.iter().position(|group| same(group, &column)) {
            return Ok(found);
        }
        let relation = self.scope.relation_at(index);
        let determined = relation.is_some_and(|relation| {
            let key = relation.table.as_ref().and_then(|table| table.primary_key.as_ref());
            key.is_some_and(|key| {
                key.columns.iter().all(|&part| {
                    let part = &relation.columns[part];
                    self.group[..self.given].iter().any(|group| matches!(group, Expr::Column(i, _) if *i == part.index))
                })
            })
        });
        if determined {
            self.group.push(column);
            self.types.push(ty);
            return Ok(self.group.len() - 1);
        }
        let shown = relation.and_then(|relation| {
            let column = relation.columns.iter().find(|column| column.index == index)?;
            Some(if relation.unnamed { column.name.clone() } else { format!("{}.{}", relation.name, column.name) })
        });
        let shown = shown.unwrap_or_else(|| "?column?".to_owned());
        let message = format!("column \"{shown}\" must appear in the GROUP BY clause or be used in an aggregate function");
        Err(at(SqlError::new(SqlState::GROUPING_ERROR, message), collector.column_position(index)))
    }

    /// Turns the provisional numbers of aggregates into columns, after all expressions are lifted.
    pub fn seal(&self, expr: &mut Expr) {
        let groups = self.group.len();
        walk::rewrite_references(expr, &mut |reference| {
            let lifted = reference.depth == 0 && reference.index >= AGGREGATES;
            lifted.then(|| Reference { index: reference.index - AGGREGATES + groups, ..reference })
        });
    }
}

/// Whether two expressions are the same computation.
pub fn same(a: &Expr, b: &Expr) -> bool {
    let all = |a: &[Expr], b: &[Expr]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    match (a, b) {
        (Expr::Const(a, at), Expr::Const(b, bt)) => at == bt && same_datum(a, b),
        (Expr::Column(a, _), Expr::Column(b, _)) => a == b,
        (Expr::Outer { depth: ad, index: ai, .. }, Expr::Outer { depth: bd, index: bi, .. }) => ad == bd && ai == bi,
        (Expr::Param(a, _), Expr::Param(b, _)) => a == b,
        (Expr::Call { function: af, args: a, .. }, Expr::Call { function: bf, args: b, .. }) => af == bf && all(a, b),
        (Expr::Cast { arg: a, to: at, .. }, Expr::Cast { arg: b, to: bt, .. }) => at == bt && same(a, b),
        (Expr::And(a), Expr::And(b)) | (Expr::Or(a), Expr::Or(b)) => all(a, b),
        (Expr::Coalesce(a, _), Expr::Coalesce(b, _)) | (Expr::Array(a, _), Expr::Array(b, _)) => all(a, b),
        (Expr::Not(a), Expr::Not(b)) => same(a, b),
        (Expr::IsNull(a, an), Expr::IsNull(b, bn)) => an == bn && same(a, b),
        (Expr::Distinct(a1, a2, an), Expr::Distinct(b1, b2, bn)) => an == bn && same(a1, b1) && same(a2, b2),
        (Expr::BoolTest(a, at), Expr::BoolTest(b, bt)) => at == bt && same(a, b),
        (Expr::Case { branches: a, otherwise: ao, .. }, Expr::Case { branches: b, otherwise: bo, .. }) => {
            let branches = a.len() == b.len() && a.iter().zip(b).all(|((ac, ar), (bc, br))| same(ac, bc) && same(ar, br));
            let otherwise = match (ao, bo) {
                (None, None) => true,
                (Some(a), Some(b)) => same(a, b),
                _ => false,
            };
            branches && otherwise
        }
        (Expr::InList(a, al, an), Expr::InList(b, bl, bn)) => an == bn && same(a, b) && all(al, bl),
        (
            Expr::AnyAll { arg: a, function: af, array: aa, all: ax },
            Expr::AnyAll { arg: b, function: bf, array: ba, all: bx },
        ) => af == bf && ax == bx && same(a, b) && same(aa, ba),
        // Two subqueries are not compared; one is itself.
        (Expr::Subquery(a), Expr::Subquery(b)) => std::sync::Arc::ptr_eq(a, b) && !matches!(a.kind, SubqueryKind::In(_)),
        _ => false,
    }
}

fn same_datum(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Null, Datum::Null) => true,
        (Datum::Null, _) | (_, Datum::Null) => false,
        _ => {
            std::mem::discriminant(a) == std::mem::discriminant(b)
                && crate::sql::values::compare(a, b) == std::cmp::Ordering::Equal
        }
    }
}
