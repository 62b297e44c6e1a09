//! Walking and rewriting expressions, and the references that plans inside them hold to the rows outside.
//!
//! A subquery's plan is evaluated with the row of the expression it stands in on top of the stack of outer rows; the right
//! side of a lateral join with the left row. So a reference to the same column is `Column(i)` in the expression itself,
//! `Outer { depth: 1, index: i }` in a subquery of it, `depth: 2` in a subquery or lateral join of that, and so on. All
//! rewriting of columns goes through [`rewrite_references`], which keeps count.

use std::sync::Arc;

use crate::sql::expr::{Expr, Subquery, SubqueryKind};
use crate::sql::function::{FunctionRef, Implementation, Volatility};
use crate::sql::plan::{Access, Node};
use crate::types::ColumnType;

/// A reference to a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Which row: 0 the expression's own, 1 the next one out, as seen from where the walk began.
    pub depth: usize,
    /// Which column of it.
    pub index: usize,
    /// Its type.
    pub ty: ColumnType,
}

/// Calls `visit` on each direct child expression (subquery plans are not entered; the left side of IN is).
pub fn for_each_child(expr: &Expr, visit: &mut dyn FnMut(&Expr)) {
    match expr {
        Expr::Const(..) | Expr::Column(..) | Expr::Outer { .. } | Expr::Param(..) => {}
        Expr::Call { args, .. } | Expr::And(args) | Expr::Or(args) | Expr::Coalesce(args, _) | Expr::Array(args, _) => {
            args.iter().for_each(visit);
        }
        Expr::Cast { arg, .. } | Expr::Not(arg) | Expr::IsNull(arg, _) | Expr::BoolTest(arg, _) => visit(arg),
        Expr::Distinct(left, right, _) => {
            visit(left);
            visit(right);
        }
        Expr::Case { branches, otherwise, .. } => {
            for (condition, result) in branches {
                visit(condition);
                visit(result);
            }
            if let Some(otherwise) = otherwise {
                visit(otherwise);
            }
        }
        Expr::InList(arg, list, _) => {
            visit(arg);
            list.iter().for_each(visit);
        }
        Expr::AnyAll { arg, array, .. } => {
            visit(arg);
            visit(array);
        }
        Expr::Subquery(subquery) => {
            if let SubqueryKind::In(arg) = &subquery.kind {
                visit(arg);
            }
        }
    }
}

/// Calls `change` on each direct child expression.
pub fn for_each_child_mut(expr: &mut Expr, change: &mut dyn FnMut(&mut Expr)) {
    match expr {
        Expr::Const(..) | Expr::Column(..) | Expr::Outer { .. } | Expr::Param(..) => {}
        Expr::Call { args, .. } | Expr::And(args) | Expr::Or(args) | Expr::Coalesce(args, _) | Expr::Array(args, _) => {
            args.iter_mut().for_each(change);
        }
        Expr::Cast { arg, .. } | Expr::Not(arg) | Expr::IsNull(arg, _) | Expr::BoolTest(arg, _) => change(arg),
        Expr::Distinct(left, right, _) => {
            change(left);
            change(right);
        }
        Expr::Case { branches, otherwise, .. } => {
            for (condition, result) in branches {
                change(condition);
                change(result);
            }
            if let Some(otherwise) = otherwise {
                change(otherwise);
            }
        }
        Expr::InList(arg, list, _) => {
            change(arg);
            list.iter_mut().for_each(change);
        }
        Expr::AnyAll { arg, array, .. } => {
            change(arg);
            change(array);
        }
        Expr::Subquery(subquery) => {
            if matches!(subquery.kind, SubqueryKind::In(_)) {
                let subquery = Arc::make_mut(subquery);
                if let SubqueryKind::In(arg) = &mut subquery.kind {
                    change(arg);
                }
            }
        }
    }
}

/// Replaces references, in the expression and in plans inside it. `replace` sees each reference that leaves the walked
/// expression (depth 0: its own row) and answers the reference to put there, at the same count of depth, or `None` to leave it.
pub fn rewrite_references(expr: &mut Expr, replace: &mut dyn FnMut(Reference) -> Option<Reference>) {
    rewrite_at(expr, 0, replace);
}

fn rewrite_at(expr: &mut Expr, inside: usize, replace: &mut dyn FnMut(Reference) -> Option<Reference>) {
    let reference = match expr {
        Expr::Column(index, ty) if inside == 0 => Some(Reference { depth: 0, index: *index, ty: *ty }),
        Expr::Outer { depth, index, ty } if *depth >= inside && *depth > 0 => {
            Some(Reference { depth: *depth - inside, index: *index, ty: *ty })
        }
        _ => None,
    };
    if let Some(reference) = reference {
        if let Some(new) = replace(reference) {
            let depth = new.depth + inside;
            *expr =
                if depth == 0 { Expr::Column(new.index, new.ty) } else { Expr::Outer { depth, index: new.index, ty: new.ty } };
        }
        return;
    }
    for_each_child_mut(expr, &mut |child| rewrite_at(child, inside, replace));
    if let Expr::Subquery(subquery) = expr
        && subquery.correlated
    {
        rewrite_node(&mut Arc::make_mut(subquery).plan, inside + 1, replace);
    }
}

/// Replaces the references in a plan that leave it. `inside` is 1 for a plan whose rows directly follow the walked
/// expression's row on the stack.
pub fn rewrite_node(node: &mut Node, inside: usize, replace: &mut dyn FnMut(Reference) -> Option<Reference>) {
    for_each_expr_mut(node, &mut |expr| {
        // An operator's own expressions have the operator's input row as depth 0: seen from outside, one deeper.
        rewrite_in_plan(expr, inside, replace);
    });
    match node {
        Node::Join(join) => {
            rewrite_node(&mut join.left, inside, replace);
            rewrite_node(&mut join.right, inside + usize::from(join.lateral), replace);
        }
        _ => for_each_input_mut(node, &mut |input| rewrite_node(input, inside, replace)),
    }
}

/// As `rewrite_at`, but `Column` is never a reference that leaves the plan.
fn rewrite_in_plan(expr: &mut Expr, inside: usize, replace: &mut dyn FnMut(Reference) -> Option<Reference>) {
    debug_assert!(inside > 0, "expressions of a plan are inside something");
    rewrite_at(expr, inside, replace);
}

/// All expressions an operator holds itself.
pub fn for_each_expr_mut(node: &mut Node, change: &mut dyn FnMut(&mut Expr)) {
    match node {
        Node::Values { rows, .. } => rows.iter_mut().flatten().for_each(change),
        Node::Scan(scan) => {
            for_each_access_expr_mut(&mut scan.access, change);
            scan.filter.iter_mut().for_each(change);
        }
        Node::SystemScan { filter, .. } => filter.iter_mut().for_each(change),
        Node::FunctionScan { args, .. } => args.iter_mut().for_each(change),
        Node::Filter { predicate, .. } => change(predicate),
        Node::Project { exprs, .. } => exprs.iter_mut().for_each(change),
        Node::Join(join) => {
            for (left, right) in &mut join.equal {
                change(left);
                change(right);
            }
            join.condition.iter_mut().for_each(change);
        }
        Node::Aggregate { group, aggregates, .. } => {
            group.iter_mut().for_each(&mut *change);
            for aggregate in aggregates {
                aggregate.args.iter_mut().for_each(&mut *change);
                aggregate.filter.iter_mut().for_each(&mut *change);
                aggregate.order.iter_mut().for_each(|key| change(&mut key.expr));
            }
        }
        Node::Sort { keys, .. } => keys.iter_mut().for_each(|key| change(&mut key.expr)),
        Node::Distinct { on, .. } => on.iter_mut().for_each(change),
        Node::Limit { limit, offset, .. } => {
            limit.iter_mut().for_each(&mut *change);
            offset.iter_mut().for_each(change);
        }
        Node::SetOp { .. } => {}
    }
}

/// The expressions of an access path.
pub fn for_each_access_expr_mut(access: &mut Access, change: &mut dyn FnMut(&mut Expr)) {
    match access {
        Access::Full => {}
        Access::Points(points) => points.iter_mut().flatten().for_each(change),
        Access::Range { prefix, lower, upper } => {
            prefix.iter_mut().for_each(&mut *change);
            lower.iter_mut().chain(upper.iter_mut()).for_each(|(bound, _)| change(bound));
        }
    }
}

/// The operators an operator reads from.
pub fn inputs(node: &Node) -> Vec<&Node> {
    match node {
        Node::Values { .. } | Node::Scan(_) | Node::SystemScan { .. } | Node::FunctionScan { .. } => Vec::new(),
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Aggregate { input, .. }
        | Node::Sort { input, .. }
        | Node::Distinct { input, .. }
        | Node::Limit { input, .. } => vec![input],
        Node::Join(join) => vec![&join.left, &join.right],
        Node::SetOp { left, right, .. } => vec![left, right],
    }
}

/// The operators an operator reads from, other than a join's.
pub fn for_each_input_mut(node: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    match node {
        Node::Values { .. } | Node::Scan(_) | Node::SystemScan { .. } | Node::FunctionScan { .. } => {}
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Aggregate { input, .. }
        | Node::Sort { input, .. }
        | Node::Distinct { input, .. }
        | Node::Limit { input, .. } => change(input),
        Node::Join(join) => {
            change(&mut join.left);
            change(&mut join.right);
        }
        Node::SetOp { left, right, .. } => {
            change(left);
            change(right);
        }
    }
}

/// The expression as seen from `depth` rows further in.
pub fn outward(mut expr: Expr, depth: usize) -> Expr {
    rewrite_references(&mut expr, &mut |reference| Some(Reference { depth: reference.depth + depth, ..reference }));
    expr
}

/// Whether an expression or a plan in it refers to a row at `depth` or beyond.
pub fn refers_beyond(expr: &Expr, depth: usize) -> bool {
    let mut found = false;
    let mut copy = expr.clone();
    rewrite_references(&mut copy, &mut |reference| {
        found |= reference.depth >= depth;
        None
    });
    found
}

/// Whether a plan refers to rows outside it.
pub fn node_refers_outside(node: &Node) -> bool {
    let mut found = false;
    let mut copy = node.clone();
    rewrite_node(&mut copy, 1, &mut |_| {
        found = true;
        None
    });
    found
}

/// The columns of the expression's own row that it refers to.
pub fn columns_of(expr: &Expr, into: &mut Vec<usize>) {
    let mut copy;
    match expr {
        Expr::Column(index, _) => into.push(*index),
        Expr::Subquery(subquery) if subquery.correlated => {
            copy = expr.clone();
            rewrite_references(&mut copy, &mut |reference| {
                if reference.depth == 0 {
                    into.push(reference.index);
                }
                None
            });
        }
        _ => for_each_child(expr, &mut |child| columns_of(child, into)),
    }
}

/// Whether a plan, with all plans inside it, calls a volatile function.
pub fn node_is_volatile(node: &Node) -> bool {
    fn in_expr(expr: &Expr) -> bool {
        let mut found = match expr {
            Expr::Call { function, .. } => function.get().volatility == Volatility::Volatile,
            Expr::Subquery(subquery) => node_is_volatile(&subquery.plan),
            _ => false,
        };
        for_each_child(expr, &mut |child| found |= in_expr(child));
        found
    }
    // Walks take plans to change; a copy is what they may change.
    let (mut copy, mut found) = (node.clone(), false);
    for_each_expr_mut(&mut copy, &mut |expr| found |= in_expr(expr));
    for_each_input_mut(&mut copy, &mut |input| found |= node_is_volatile(input));
    found
}

/// Whether a function is called that only the live session can answer: a picture of it, which other cores get, has neither
/// settings nor sizes.
pub fn needs_live_session(expr: &Expr) -> bool {
    let mut found = match expr {
        Expr::Call { function, .. } => {
            let name = function.get().name;
            matches!(name, "current_setting" | "set_config") || name.ends_with("_size") || is_waiting(*function)
        }
        _ => false,
    };
    for_each_child(expr, &mut |child| found |= needs_live_session(child));
    found
}

fn is_waiting(function: FunctionRef) -> bool {
    matches!(function.get().implementation, Implementation::Waits(_))
}

/// Whether a function that waits is called, outside subqueries.
pub fn waits(expr: &Expr) -> bool {
    let mut found = matches!(expr, Expr::Call { function, .. } if is_waiting(*function));
    for_each_child(expr, &mut |child| found = found || waits(child));
    found
}

/// Whether the expression holds a subquery that must be run for each row.
pub fn has_correlated_subquery(expr: &Expr) -> bool {
    let mut found = Vec::new();
    subqueries(expr, &mut found);
    found.iter().any(|subquery| subquery.correlated)
}

/// Whether there is a subquery in the expression.
pub fn has_subquery(expr: &Expr) -> bool {
    let mut found = matches!(expr, Expr::Subquery(_));
    for_each_child(expr, &mut |child| found |= has_subquery(child));
    found
}

/// The subqueries of an expression, those inside the left sides of IN first.
pub fn subqueries<'e>(expr: &'e Expr, into: &mut Vec<&'e Arc<Subquery>>) {
    // Written out because the children must outlive the visit.
    match expr {
        Expr::Const(..) | Expr::Column(..) | Expr::Outer { .. } | Expr::Param(..) => {}
        Expr::Call { args, .. } | Expr::And(args) | Expr::Or(args) | Expr::Coalesce(args, _) | Expr::Array(args, _) => {
            args.iter().for_each(|arg| subqueries(arg, into));
        }
        Expr::Cast { arg, .. } | Expr::Not(arg) | Expr::IsNull(arg, _) | Expr::BoolTest(arg, _) => subqueries(arg, into),
        Expr::Distinct(left, right, _) => {
            subqueries(left, into);
            subqueries(right, into);
        }
        Expr::Case { branches, otherwise, .. } => {
            for (condition, result) in branches {
                subqueries(condition, into);
                subqueries(result, into);
            }
            if let Some(otherwise) = otherwise {
                subqueries(otherwise, into);
            }
        }
        Expr::InList(arg, list, _) => {
            subqueries(arg, into);
            list.iter().for_each(|item| subqueries(item, into));
        }
        Expr::AnyAll { arg, array, .. } => {
            subqueries(arg, into);
            subqueries(array, into);
        }
        Expr::Subquery(subquery) => {
            if let SubqueryKind::In(arg) = &subquery.kind {
                subqueries(arg, into);
            }
            into.push(subquery);
        }
    }
}
