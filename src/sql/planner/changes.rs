//! Where UPDATE and DELETE find their rows when the session has to decide about each.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::sql::context::BindContext;
use crate::sql::estimate::Estimator;
use crate::sql::expr::{Expr, walk};
use crate::sql::plan::{Join, Node, Scan};
use crate::sql::planner::{order, place, plan_subqueries, sides};
use crate::types::{ColumnType, SqlType};

/// The rows that qualify, unplanned, or `None` if their owners can decide: `joined` are those of the table joined to FROM,
/// `shipped` the expressions that owners would evaluate.
pub fn source<'e>(
    table: &Arc<TableDef>,
    joined: Option<Node>,
    shipped: impl Iterator<Item = &'e Expr>,
    returning: &[Expr],
    filter: Option<&Expr>,
) -> Option<Node> {
    let mut shipped = shipped;
    let by_owner = |expr: &Expr| !walk::has_correlated_subquery(expr) && !walk::needs_live_session(expr);
    if joined.is_none() && shipped.all(by_owner) && !returning.iter().any(walk::has_subquery) {
        return None;
    }
    let rows = joined.unwrap_or_else(|| Node::Scan(Scan::with_ids(table)));
    Some(match filter {
        None => rows,
        Some(filter) => Node::Filter { input: Box::new(rows), predicate: filter.clone() },
    })
}

/// Plans such rows. A join starts from FROM's side if that leads to lookups in the table by its key; else it is one like any
/// other.
pub fn plan_source(mut source: Node, context: &BindContext<'_>) -> Node {
    plan_subqueries(&mut source, context);
    let estimator = Estimator::new(context.catalog, context.session);
    let turned = turned(&source).map(|turned| place::optimise(turned, &estimator)).filter(looks_up);
    let mut planned = turned.unwrap_or_else(|| place::optimise(source, &estimator));
    order::push_limits(&mut planned);
    sides::choose(&mut planned, context);
    planned
}

/// The same rows by a join in the other order.
fn turned(source: &Node) -> Option<Node> {
    match source {
        Node::Filter { input, predicate } => Some(Node::Filter { input: Box::new(turned(input)?), predicate: predicate.clone() }),
        Node::Join(join) if !join.lateral => {
            let Node::Scan(scan) = &join.left else { return None };
            let others = place::width(&join.right);
            let id = (scan.columns.len() - 1, ColumnType::new(SqlType::Int8));
            let own = scan.table.columns.iter().map(|column| column.ty).enumerate().chain([id]);
            let own = own.map(|(index, ty)| Expr::Column(others + index, ty));
            let from = column_types(&join.right)?.into_iter().enumerate().map(|(index, ty)| Expr::Column(index, ty));
            let exprs = own.chain(from).collect();
            let Join { kind, left, right, .. } = (**join).clone();
            let join =
                Join { kind, left: right, right: left, equal: Vec::new(), condition: None, lateral: false, hash_left: false };
            Some(Node::Project { input: Box::new(Node::Join(Box::new(join))), exprs })
        }
        _ => None,
    }
}

/// The types of a plan's columns, where they are plain to see.
fn column_types(node: &Node) -> Option<Vec<ColumnType>> {
    match node {
        Node::Values { types, .. } | Node::FunctionScan { types, .. } => Some(types.clone()),
        Node::Scan(scan) => scan.columns.iter().map(|&column| scan.table.columns.get(column).map(|column| column.ty)).collect(),
        Node::Project { exprs, .. } => {
            Some(exprs.iter().map(|expr| ColumnType::new(crate::sql::expr::eval::type_of(expr))).collect())
        }
        Node::Filter { input, .. } | Node::Sort { input, .. } | Node::Distinct { input, .. } | Node::Limit { input, .. } => {
            column_types(input)
        }
        _ => None,
    }
}

/// Whether the table is read by its key for each row of FROM.
fn looks_up(node: &Node) -> bool {
    match node {
        Node::Filter { input, .. } | Node::Project { input, .. } => looks_up(input),
        Node::Join(join) => join.lateral,
        _ => false,
    }
}
