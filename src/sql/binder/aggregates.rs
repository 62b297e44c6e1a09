//! Aggregate calls and set-returning functions in a select list, collected while its expressions are bound.
//!
//! What is collected is not computed where it is written but by an operator below. Its place is held by a marker,
//! `Expr::Outer { depth: 0, .. }` (no real reference has depth 0), which `grouping` and `select` replace by a column.

use sqlparser::ast::{self, DuplicateTreatment, Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArgumentClause};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::calls::function_error;
use crate::sql::binder::expr::Place;
use crate::sql::binder::names::at;
use crate::sql::binder::{Binder, Typed, plain};
use crate::sql::expr::{Expr, walk};
use crate::sql::function::{TableFunctionRef, aggregate};
use crate::sql::plan::{Aggregate, SortKey};
use crate::types::SqlType;

/// Markers from here on stand for set-returning functions.
const SET_RETURNING: usize = 1 << 20;

/// A set-returning function of a select list.
#[derive(Clone, Debug)]
pub struct SetReturning {
    /// The function.
    pub function: TableFunctionRef,
    /// Its arguments, over the row of the select list.
    pub args: Vec<Expr>,
    /// The type of its one column.
    pub ty: SqlType,
}

/// What the expressions of one SELECT hold that operators below compute.
#[derive(Debug, Default)]
pub struct Collector {
    /// Aggregates.
    pub aggregates: Vec<Aggregate>,
    /// Set-returning functions.
    pub set_returning: Vec<SetReturning>,
    /// Columns met outside of aggregates: index, name as written, position.
    columns: Vec<(usize, Vec<String>, Option<u32>)>,
}

/// What a marker stands for.
pub enum Marker {
    /// The n-th aggregate.
    Aggregate(usize),
    /// The set-returning function.
    SetReturning,
}

/// Reads a marker.
pub fn marker(expr: &Expr) -> Option<Marker> {
    match expr {
        Expr::Outer { depth: 0, index, .. } if *index >= SET_RETURNING => Some(Marker::SetReturning),
        Expr::Outer { depth: 0, index, .. } => Some(Marker::Aggregate(*index)),
        _ => None,
    }
}

impl Collector {
    /// Remembers where a column is written, for errors.
    pub fn note_column(&mut self, index: usize, name: Vec<String>, position: Option<u32>) {
        self.columns.push((index, name, position));
    }

    /// Where a column was first written outside of an aggregate.
    pub fn column_position(&self, index: usize) -> Option<u32> {
        self.columns.iter().find(|(noted, ..)| *noted == index).and_then(|(_, _, position)| *position)
    }

    fn add_aggregate(&mut self, call: Aggregate) -> Typed {
        let ty = plain(call.ty);
        let same = self.aggregates.iter().position(|other| same_aggregate(other, &call));
        let index = same.unwrap_or_else(|| {
            self.aggregates.push(call);
            self.aggregates.len() - 1
        });
        Typed::new(Expr::Outer { depth: 0, index, ty }, ty)
    }

    /// Takes a set-returning function; its marker.
    pub fn add_set_returning(
        &mut self,
        function: TableFunctionRef,
        args: Vec<Expr>,
        ty: SqlType,
        position: Option<u32>,
    ) -> SqlResult<Typed> {
        if !self.set_returning.is_empty() {
            return Err(at(SqlError::unsupported("more than one set-returning function in a select list"), position));
        }
        self.set_returning.push(SetReturning { function, args, ty });
        let ty = plain(ty);
        Ok(Typed::new(Expr::Outer { depth: 0, index: SET_RETURNING, ty }, ty))
    }
}

/// Equal calls are computed once.
fn same_aggregate(a: &Aggregate, b: &Aggregate) -> bool {
    let same = |a: &[Expr], b: &[Expr]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| super::grouping::same(a, b));
    let filters = match (&a.filter, &b.filter) {
        (None, None) => true,
        (Some(a), Some(b)) => super::grouping::same(a, b),
        _ => false,
    };
    a.function == b.function
        && a.distinct == b.distinct
        && filters
        && same(&a.args, &b.args)
        && a.order.is_empty()
        && b.order.is_empty()
}

impl Binder<'_> {
    /// An aggregate call.
    pub fn aggregate(
        &self,
        name: &str,
        list: &ast::FunctionArgumentList,
        filter: Option<&Ast>,
        place: Place<'_>,
        start: Option<u32>,
    ) -> SqlResult<Typed> {
        let Some(collector) = place.collector else {
            let message = format!("aggregate functions are not allowed in {}", place.clause.name());
            return Err(at(SqlError::new(SqlState::GROUPING_ERROR, message), start));
        };
        if place.in_aggregate {
            return Err(at(SqlError::new(SqlState::GROUPING_ERROR, "aggregate function calls cannot be nested"), start));
        }
        let inner = Place { in_aggregate: true, ..place };
        let star = matches!(list.args[..], [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let args = if star {
            Vec::new()
        } else {
            list.args.iter().map(|arg| self.argument(arg, start, inner)).collect::<SqlResult<Vec<_>>>()?
        };
        if list.args.is_empty() && name == "count" {
            let message = "count(*) must be used to call a parameterless aggregate function";
            return Err(at(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message), start));
        }
        let types: Vec<SqlType> = args.iter().map(|arg| arg.ty.ty).collect();
        let (function, signature) =
            aggregate::resolve(name, &types, star).map_err(|failure| at(function_error(name, &args, failure), start))?;
        let args = args
            .into_iter()
            .zip(&signature.args)
            .map(|(arg, &to)| Ok(self.coerce_implicit(arg, if to == SqlType::Unknown { SqlType::Text } else { to })?.expr))
            .collect::<SqlResult<Vec<_>>>()?;
        if args.iter().any(only_outer) {
            return Err(at(SqlError::unsupported("an aggregate of an outer query's columns"), start));
        }
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let order = self.aggregate_order(&list.clauses, inner, start)?;
        if distinct && order.iter().any(|key| !args.iter().any(|arg| super::grouping::same(arg, &key.expr))) {
            let message = "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
            return Err(at(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message), start));
        }
        let filter = filter.map(|filter| self.condition(filter, inner, "FILTER")).transpose()?;
        let call = Aggregate { function, args, distinct, filter, order, ty: signature.result };
        Ok(collector.borrow_mut().add_aggregate(call).at(start))
    }

    fn aggregate_order(
        &self,
        clauses: &[FunctionArgumentClause],
        place: Place<'_>,
        start: Option<u32>,
    ) -> SqlResult<Vec<SortKey>> {
        let mut keys = Vec::new();
        for clause in clauses {
            let FunctionArgumentClause::OrderBy(order) = clause else {
                return Err(at(SqlError::unsupported(format!("{clause} in an aggregate")), start));
            };
            for item in order {
                let value = self.settle(self.expr(&item.expr, place)?)?;
                keys.push(super::query::sort_key(value.expr, item)?);
            }
        }
        Ok(keys)
    }
}

/// Whether an argument refers to outer rows and to none of this query's.
fn only_outer(arg: &Expr) -> bool {
    let mut columns = Vec::new();
    walk::columns_of(arg, &mut columns);
    columns.is_empty() && walk::refers_beyond(arg, 1)
}
