//! Access paths, predicate placement and join strategies for bound plans.
//!
//! Joins run in the order written, and nearly every rule cannot lose: predicates go to where rows are read, equalities that bind
//! a primary key become lookups, equalities between the sides of a join become hash keys, an ORDER BY that the key order
//! satisfies is not sorted, volatile functions are called after it, and columns nobody needs are not read. Estimates (`sql::estimate`) choose how a join finds its rows:
//! which side is held in memory (`sides`), or whether the right one is looked up by its key (`place`).

mod access;
mod changes;
mod fold;
mod order;
mod place;
mod postpone;
mod prune;
mod sides;

pub use access::column_of;
pub use place::width;

use std::sync::Arc;

use crate::error::SqlResult;
use crate::sql::context::BindContext;
use crate::sql::estimate::Estimator;
use crate::sql::expr::{Expr, walk};
use crate::sql::plan::{Access, CopyDirection, Node, OnConflict, Plan, PointSelect, Query, Scan};

/// Plans a bound statement in place.
pub fn plan(plan: &mut Plan, context: &BindContext<'_>) -> SqlResult<()> {
    match plan {
        Plan::Query(query) => plan_query(query, context),
        Plan::Insert(insert) => {
            plan_node(&mut insert.source, context);
            sides::choose(&mut insert.source, context);
            insert.returning.iter_mut().for_each(|expr| plan_expr(expr, context));
            if let Some(OnConflict::DoUpdate { assignments, filter }) = &mut insert.on_conflict {
                assignments.iter_mut().map(|(_, expr)| expr).chain(filter).for_each(|expr| plan_expr(expr, context));
            }
        }
        Plan::Update(update) => {
            let values = update.assignments.iter().map(|(_, expr)| expr).chain(&update.filter);
            let source = changes::source(&update.table, update.source.take(), values, &update.returning, update.filter.as_ref());
            update.source = source.map(|source| changes::plan_source(source, context));
            let exprs = update.assignments.iter_mut().map(|(_, expr)| expr).chain(&mut update.returning);
            exprs.chain(&mut update.filter).for_each(|expr| plan_expr(expr, context));
            if update.source.is_none() {
                (update.access, update.filter) = access::choose(&update.table, conjuncts(update.filter.take()));
            }
        }
        Plan::Delete(delete) => {
            let values = delete.filter.iter();
            let source = changes::source(&delete.table, delete.source.take(), values, &delete.returning, delete.filter.as_ref());
            delete.source = source.map(|source| changes::plan_source(source, context));
            delete.returning.iter_mut().chain(&mut delete.filter).for_each(|expr| plan_expr(expr, context));
            if delete.source.is_none() {
                (delete.access, delete.filter) = access::choose(&delete.table, conjuncts(delete.filter.take()));
            }
        }
        Plan::Copy(copy) => match &mut copy.direction {
            CopyDirection::ToStdout { query, .. } => plan_query(query, context),
            CopyDirection::FromStdin { defaults, .. } => {
                defaults.iter_mut().flatten().for_each(|expr| plan_expr(expr, context));
            }
        },
        Plan::Ddl(_) | Plan::Utility(_) | Plan::Empty => {}
    }
    Ok(())
}

fn plan_query(query: &mut Query, context: &BindContext<'_>) {
    plan_node(&mut query.root, context);
    if query.locking.is_none() {
        query.root = prune::prune(take(&mut query.root));
        query.point = point_select(&query.root);
    }
    sides::choose(&mut query.root, context);
}

/// Plans a tree that needs all its columns: subqueries inside it, then the tree itself.
fn plan_node(node: &mut Node, context: &BindContext<'_>) {
    plan_subqueries(node, context);
    *node = place::optimise(take(node), &Estimator::new(context.catalog, context.session));
    postpone::postpone(node);
    order::push_limits(node);
}

fn plan_subqueries(node: &mut Node, context: &BindContext<'_>) {
    walk::for_each_expr_mut(node, &mut |expr| plan_expr(expr, context));
    walk::for_each_input_mut(node, &mut |input| plan_subqueries(input, context));
}

/// Folds constants and plans the subqueries of an expression.
fn plan_expr(expr: &mut Expr, context: &BindContext<'_>) {
    walk::for_each_child_mut(expr, &mut |child| plan_expr(child, context));
    match expr {
        Expr::Subquery(subquery) => {
            let plan = &mut Arc::make_mut(subquery).plan;
            plan_node(plan, context);
            *plan = prune::prune(take(plan));
            sides::choose(plan, context);
        }
        _ => fold::fold(expr, context),
    }
}

/// Takes a node out of its place.
fn take(node: &mut Node) -> Node {
    std::mem::replace(node, Node::Values { rows: Vec::new(), types: Vec::new() })
}

/// The terms of a condition that is an AND.
fn conjuncts(predicate: Option<Expr>) -> Vec<Expr> {
    match predicate {
        None => Vec::new(),
        Some(Expr::And(terms)) => terms.into_iter().flat_map(|term| conjuncts(Some(term))).collect(),
        Some(term) => vec![term],
    }
}

/// The condition that all of some terms hold.
fn conjoin(mut terms: Vec<Expr>) -> Option<Expr> {
    match terms.len() {
        0 => None,
        1 => terms.pop(),
        _ => Some(Expr::And(terms)),
    }
}

/// The query as one lookup by full primary key that projects plain columns, if it is one.
fn point_select(root: &Node) -> Option<PointSelect> {
    let (scan, columns) = match root {
        Node::Project { input, exprs } => {
            let Node::Scan(scan) = &**input else { return None };
            let columns = exprs
                .iter()
                .map(|expr| match expr {
                    Expr::Column(index, _) => scan.columns.get(*index).copied(),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?;
            (scan, columns)
        }
        Node::Scan(scan) => (scan, scan.columns.clone()),
        _ => return None,
    };
    let Scan { table, access: Access::Points(points), filter: None, .. } = scan else { return None };
    let [key] = &points[..] else { return None };
    if scan.limit == Some(0) || key.iter().any(|part| walk::refers_beyond(part, 0) || walk::has_subquery(part)) {
        return None;
    }
    Some(PointSelect { table: table.clone(), key: key.clone(), columns })
}
