//! Evaluation of bound expressions over one row.
//!
//! The row is anything that hands out columns: datums, or a row's bytes, of which only the columns asked for are decoded.
//! Integers, booleans and comparisons of them allocate nothing. Depth is bounded by the binder, so recursion is.

use std::cmp::Ordering;

use smallvec::SmallVec;

use crate::error::{SqlError, SqlResult};
use crate::sql::context::{EvalContext, OuterRow, SubqueryValue};
use crate::sql::expr::{BoolTest, Expr, SubqueryKind};
use crate::sql::function::{FunctionRef, Implementation, Volatility};
use crate::types::{Datum, RowView, SqlType};

/// A row to evaluate over.
pub trait EvalRow {
    /// The value of a column.
    fn column(&self, index: usize) -> Datum;
}

impl EvalRow for [Datum] {
    fn column(&self, index: usize) -> Datum {
        self[index].clone()
    }
}

impl EvalRow for Vec<Datum> {
    fn column(&self, index: usize) -> Datum {
        self[index].clone()
    }
}

impl EvalRow for RowView<'_> {
    fn column(&self, index: usize) -> Datum {
        self.get(index)
    }
}

/// A row followed by another: a joined row, or the existing and the excluded row of ON CONFLICT.
pub struct PairRow<'a, L: EvalRow + ?Sized, R: EvalRow + ?Sized> {
    /// The first columns.
    pub left: &'a L,
    /// How many they are.
    pub left_width: usize,
    /// The others.
    pub right: &'a R,
}

impl<L: EvalRow + ?Sized, R: EvalRow + ?Sized> EvalRow for PairRow<'_, L, R> {
    fn column(&self, index: usize) -> Datum {
        if index < self.left_width { self.left.column(index) } else { self.right.column(index - self.left_width) }
    }
}

/// The row of expressions that refer to none.
pub struct NoRow;

impl EvalRow for NoRow {
    fn column(&self, index: usize) -> Datum {
        panic!("an expression without input rows refers to column {index}")
    }
}

/// Evaluates an expression.
pub fn eval<R: EvalRow + ?Sized>(expr: &Expr, row: &R, context: &EvalContext<'_>) -> SqlResult<Datum> {
    match expr {
        Expr::Const(datum, _) => Ok(datum.clone()),
        Expr::Column(index, _) => Ok(row.column(*index)),
        Expr::Param(index, _) => Ok(context.params[*index].clone()),
        Expr::Call { function, args, .. } => call(*function, args, row, context),
        Expr::And(terms) => all(terms, row, context),
        Expr::Or(terms) => any(terms, row, context),
        Expr::Not(arg) => Ok(match eval(arg, row, context)? {
            Datum::Bool(value) => Datum::Bool(!value),
            _ => Datum::Null,
        }),
        Expr::IsNull(arg, negated) => Ok(Datum::Bool(eval(arg, row, context)?.is_null() != *negated)),
        Expr::Cast { arg, from, to, context: how } => {
            let value = eval(arg, row, context)?;
            if value.is_null() { Ok(value) } else { crate::types::cast(value, *from, *to, *how, context.session.format()) }
        }
        Expr::InList(arg, list, negated) => in_list(arg, list, *negated, row, context),
        _ => eval_rare(expr, row, context),
    }
}

/// Evaluates a condition: NULL is not true.
pub fn eval_bool<R: EvalRow + ?Sized>(expr: &Expr, row: &R, context: &EvalContext<'_>) -> SqlResult<bool> {
    Ok(matches!(eval(expr, row, context)?, Datum::Bool(true)))
}

fn eval_rare<R: EvalRow + ?Sized>(expr: &Expr, row: &R, context: &EvalContext<'_>) -> SqlResult<Datum> {
    match expr {
        Expr::Outer { depth, index, .. } => outer(context.outer, *depth, *index),
        Expr::Distinct(left, right, not) => {
            let (left_value, right_value) = (eval(left, row, context)?, eval(right, row, context)?);
            let same = match (left_value.is_null(), right_value.is_null()) {
                (true, true) => true,
                (false, false) => equal(type_of(left), &left_value, &right_value),
                _ => false,
            };
            Ok(Datum::Bool(same == *not))
        }
        Expr::BoolTest(arg, test) => {
            let value = eval(arg, row, context)?.as_bool();
            Ok(Datum::Bool(match test {
                BoolTest::IsTrue => value == Some(true),
                BoolTest::IsNotTrue => value != Some(true),
                BoolTest::IsFalse => value == Some(false),
                BoolTest::IsNotFalse => value != Some(false),
                BoolTest::IsUnknown => value.is_none(),
                BoolTest::IsNotUnknown => value.is_some(),
            }))
        }
        Expr::Case { branches, otherwise, .. } => {
            for (condition, result) in branches {
                if eval_bool(condition, row, context)? {
                    return eval(result, row, context);
                }
            }
            otherwise.as_ref().map_or(Ok(Datum::Null), |otherwise| eval(otherwise, row, context))
        }
        Expr::Coalesce(args, _) => {
            for arg in args {
                let value = eval(arg, row, context)?;
                if !value.is_null() {
                    return Ok(value);
                }
            }
            Ok(Datum::Null)
        }
        Expr::AnyAll { arg, function, array, all } => any_all(arg, *function, array, *all, row, context),
        Expr::Array(items, _) => {
            let items = items.iter().map(|item| eval(item, row, context)).collect::<SqlResult<Vec<_>>>()?;
            Ok(Datum::Array(items.into()))
        }
        Expr::Subquery(subquery) => {
            let value = context
                .subqueries
                .result(subquery)
                .ok_or_else(|| SqlError::internal("a subquery was not evaluated before the expression it is in"))?;
            match (&subquery.kind, value) {
                (SubqueryKind::Scalar | SubqueryKind::Array, SubqueryValue::Scalar(value)) => Ok(value),
                (SubqueryKind::Exists, SubqueryValue::Exists(exists)) => Ok(Datum::Bool(exists)),
                (SubqueryKind::In(arg), SubqueryValue::In(set)) => {
                    Ok(set.contains(&eval(arg, row, context)?).map_or(Datum::Null, Datum::Bool))
                }
                _ => Err(SqlError::internal("a subquery's value is of another kind than the subquery")),
            }
        }
        _ => Err(SqlError::internal("every expression is evaluated in one of two places")),
    }
}

fn outer(mut rows: Option<&OuterRow<'_>>, depth: usize, index: usize) -> SqlResult<Datum> {
    for _ in 1..depth {
        rows = rows.and_then(|row| row.parent);
    }
    match rows.and_then(|row| row.row.get(index)) {
        Some(value) => Ok(value.clone()),
        None => Err(SqlError::internal(format!("there is no row {depth} levels out with a column {index}"))),
    }
}

/// AND: false decides, then NULL. Terms are evaluated in the order written, up to the first false one.
fn all<R: EvalRow + ?Sized>(terms: &[Expr], row: &R, context: &EvalContext<'_>) -> SqlResult<Datum> {
    let mut unknown = false;
    for term in terms {
        match eval(term, row, context)? {
            Datum::Bool(true) => {}
            Datum::Bool(false) => return Ok(Datum::Bool(false)),
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(true) })
}

fn any<R: EvalRow + ?Sized>(terms: &[Expr], row: &R, context: &EvalContext<'_>) -> SqlResult<Datum> {
    let mut unknown = false;
    for term in terms {
        match eval(term, row, context)? {
            Datum::Bool(false) => {}
            Datum::Bool(true) => return Ok(Datum::Bool(true)),
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(false) })
}

fn equal(ty: SqlType, a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Int4(a), Datum::Int4(b)) => a == b,
        (Datum::Int8(a), Datum::Int8(b)) => a == b,
        _ => crate::types::compare_as(ty, a, b) == Ordering::Equal,
    }
}

fn in_list<R: EvalRow + ?Sized>(
    arg: &Expr,
    list: &[Expr],
    negated: bool,
    row: &R,
    context: &EvalContext<'_>,
) -> SqlResult<Datum> {
    let value = eval(arg, row, context)?;
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let ty = type_of(arg);
    let mut unknown = false;
    for item in list {
        let item = eval(item, row, context)?;
        if item.is_null() {
            unknown = true;
        } else if equal(ty, &value, &item) {
            return Ok(Datum::Bool(!negated));
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(negated) })
}

fn call<R: EvalRow + ?Sized>(function: FunctionRef, args: &[Expr], row: &R, context: &EvalContext<'_>) -> SqlResult<Datum> {
    let entry = function.get();
    match (&entry.implementation, args) {
        (Implementation::Binary(code), [left, right]) => {
            let left = eval(left, row, context)?;
            if left.is_null() {
                return Ok(Datum::Null);
            }
            let right = eval(right, row, context)?;
            if right.is_null() { Ok(Datum::Null) } else { code(&left, &right) }
        }
        (Implementation::Unary(code), [arg]) => {
            let arg = eval(arg, row, context)?;
            if arg.is_null() { Ok(Datum::Null) } else { code(&arg) }
        }
        _ => {
            let mut values: SmallVec<[Datum; 4]> = SmallVec::with_capacity(args.len());
            for arg in args {
                let value = eval(arg, row, context)?;
                if entry.strict && value.is_null() {
                    return Ok(Datum::Null);
                }
                values.push(value);
            }
            apply(function, &values, || args.iter().map(type_of).collect(), context)
        }
    }
}

/// Calls a function on values; strict ones must not be given NULL.
fn apply(
    function: FunctionRef,
    values: &[Datum],
    types: impl FnOnce() -> SmallVec<[SqlType; 4]>,
    context: &EvalContext<'_>,
) -> SqlResult<Datum> {
    match (&function.get().implementation, values) {
        (Implementation::Unary(code), [arg]) => code(arg),
        (Implementation::Binary(code), [left, right]) => code(left, right),
        (Implementation::Values(code), values) => code(values),
        (Implementation::Context(code), values) if function.get().volatility == Volatility::Volatile => {
            // Evaluated again for a function that waits, it is what it was.
            if let Some(known) = context.subqueries.noted() {
                return Ok(known);
            }
            let value = code(values, context)?;
            context.subqueries.note(&value);
            Ok(value)
        }
        (Implementation::Context(code), values) => code(values, context),
        (Implementation::Typed(code), values) => code(values, &types(), context),
        (&Implementation::Waits(waiting), values) => context.subqueries.waited(function, waiting, values),
        _ => Err(SqlError::internal("a function was called with the wrong number of arguments")),
    }
}

fn any_all<R: EvalRow + ?Sized>(
    arg: &Expr,
    function: FunctionRef,
    array: &Expr,
    all: bool,
    row: &R,
    context: &EvalContext<'_>,
) -> SqlResult<Datum> {
    let array = eval(array, row, context)?;
    let Datum::Array(items) = &array else { return Ok(Datum::Null) };
    let value = eval(arg, row, context)?;
    let mut unknown = false;
    for item in items.iter() {
        if value.is_null() || item.is_null() {
            unknown = true;
            continue;
        }
        let types = || [type_of(arg); 2].into_iter().collect();
        match apply(function, &[value.clone(), item.clone()], types, context)?.as_bool() {
            Some(found) if found != all => return Ok(Datum::Bool(found)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
}

/// The type of an expression.
pub fn type_of(expr: &Expr) -> SqlType {
    match expr {
        Expr::Const(_, ty) | Expr::Param(_, ty) => *ty,
        Expr::Column(_, ty) | Expr::Outer { ty, .. } => ty.ty,
        Expr::Call { ty, .. } | Expr::Case { ty, .. } | Expr::Coalesce(_, ty) | Expr::Array(_, ty) => *ty,
        Expr::Cast { to, .. } => to.ty,
        Expr::And(_)
        | Expr::Or(_)
        | Expr::Not(_)
        | Expr::IsNull(..)
        | Expr::Distinct(..)
        | Expr::BoolTest(..)
        | Expr::InList(..)
        | Expr::AnyAll { .. } => SqlType::Bool,
        Expr::Subquery(subquery) => subquery.ty,
    }
}
