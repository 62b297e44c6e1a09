//! Volatile functions in a select list are called after the sort, in the order of the result, so that a LIMIT above it calls them for
//! the rows it lets through and no others (PostgreSQL's planner does so unconditionally: `make_sort_input_target`).

use crate::sql::expr::Expr;
use crate::sql::expr::eval::type_of;
use crate::sql::expr::walk::{self, Reference};
use crate::sql::plan::Node;
use crate::sql::planner::fold::is_volatile;
use crate::types::ColumnType;

/// Splits projections under sorts: what is volatile and no sort key is computed above.
pub fn postpone(node: &mut Node) {
    walk::for_each_input_mut(node, &mut postpone);
    let Node::Sort { input, keys } = node else { return };
    let Node::Project { exprs, .. } = &mut **input else { return };
    let mut sorted_by = Vec::new();
    keys.iter().for_each(|key| walk::columns_of(&key.expr, &mut sorted_by));
    let late: Vec<bool> = exprs.iter().enumerate().map(|(i, expr)| is_volatile(expr) && !sorted_by.contains(&i)).collect();
    if !late.contains(&true) {
        return;
    }
    // Below the sort: what is not postponed, then the columns that the rest is computed from.
    let mut lower: Vec<Expr> = Vec::new();
    let mut places = vec![None; exprs.len()];
    for (i, expr) in exprs.iter().enumerate().filter(|(i, _)| !late[*i]) {
        places[i] = Some(lower.len());
        lower.push(expr.clone());
    }
    let mut sources: Vec<(usize, usize)> = Vec::new();
    let mut upper = Vec::with_capacity(exprs.len());
    for (expr, place) in exprs.drain(..).zip(&places) {
        upper.push(match place {
            Some(place) => Expr::Column(*place, ColumnType { ty: type_of(&expr), typmod: -1 }),
            None => raised(expr, &mut sources, &mut lower),
        });
    }
    for key in keys.iter_mut() {
        walk::rewrite_references(&mut key.expr, &mut |reference| {
            let place = |index: usize| places[index].expect("what is sorted by is not postponed");
            (reference.depth == 0).then(|| Reference { index: place(reference.index), ..reference })
        });
    }
    *exprs = lower;
    *node = Node::Project { input: Box::new(super::take(node)), exprs: upper };
}

/// An expression over the input as one over the sort's output, to which the columns it needs are added.
fn raised(mut expr: Expr, sources: &mut Vec<(usize, usize)>, lower: &mut Vec<Expr>) -> Expr {
    walk::rewrite_references(&mut expr, &mut |reference| {
        if reference.depth != 0 {
            return None;
        }
        let known = sources.iter().find(|(source, _)| *source == reference.index).map(|(_, place)| *place);
        let index = known.unwrap_or_else(|| {
            lower.push(Expr::Column(reference.index, reference.ty));
            sources.push((reference.index, lower.len() - 1));
            lower.len() - 1
        });
        Some(Reference { index, ..reference })
    });
    expr
}
