//! Columns nobody needs are not read.
//!
//! Each operator is told which columns of its output are needed and answers where they are in its new output. References from
//! lateral right sides count as needs of the left side.

use crate::sql::expr::Expr;
use crate::sql::expr::walk::{self, Reference};
use crate::sql::plan::{Join, Node, Scan};
use crate::sql::planner::fold::is_volatile;
use crate::sql::planner::place::width;

/// Where each old output column is in the new output; `None` for those that are gone.
type Places = Vec<Option<usize>>;

/// Prunes a tree all of whose columns are needed.
pub fn prune(node: Node) -> Node {
    let all = vec![true; width(&node)];
    let (node, places) = narrow(node, &all);
    assert!(places.iter().enumerate().all(|(index, place)| *place == Some(index)), "needed columns keep their places");
    node
}

fn need(expr: &Expr, needed: &mut [bool]) {
    let mut columns = Vec::new();
    walk::columns_of(expr, &mut columns);
    columns.into_iter().for_each(|column| needed[column] = true);
}

fn moved(expr: &mut Expr, places: &Places) {
    walk::rewrite_references(expr, &mut |reference| {
        if reference.depth != 0 {
            return None;
        }
        let index = places[reference.index].expect("a column that an expression refers to is needed");
        Some(Reference { index, ..reference })
    });
}

fn identity(count: usize) -> Places {
    (0..count).map(Some).collect()
}

/// The places of the columns that stay.
fn kept(needed: &[bool]) -> Places {
    let mut next = 0;
    needed
        .iter()
        .map(|&needed| {
            needed.then(|| {
                next += 1;
                next - 1
            })
        })
        .collect()
}

/// A projection, merged into what is below where it only picks columns.
fn project(input: Node, exprs: Vec<Expr>) -> Node {
    let picked: Option<Vec<usize>> = exprs
        .iter()
        .map(|expr| match expr {
            Expr::Column(index, _) => Some(*index),
            _ => None,
        })
        .collect();
    match (picked, input) {
        (Some(picked), Node::Scan(scan)) => {
            let columns = picked.iter().map(|&index| scan.columns[index]).collect();
            Node::Scan(Scan { columns, ..scan })
        }
        // An expression used twice would be computed twice.
        (Some(picked), Node::Project { input, exprs })
            if (1..picked.len()).all(|i| !picked[..i].contains(&picked[i]))
                && exprs.iter().enumerate().all(|(i, expr)| picked.contains(&i) || !is_volatile(expr)) =>
        {
            let exprs = picked.iter().map(|&index| exprs[index].clone()).collect();
            project(*input, exprs)
        }
        (Some(picked), input) if picked.len() == width(&input) && picked.iter().enumerate().all(|(i, &p)| i == p) => input,
        (_, input) => Node::Project { input: Box::new(input), exprs },
    }
}

fn narrow(node: Node, needed: &[bool]) -> (Node, Places) {
    match node {
        Node::Scan(scan) => {
            let columns = scan.columns.iter().zip(needed).filter(|(_, needed)| **needed).map(|(column, _)| *column).collect();
            (Node::Scan(Scan { columns, ..scan }), kept(needed))
        }
        Node::SystemScan { table, columns, mut filter } => {
            let mut needed = needed.to_vec();
            filter.iter().for_each(|filter| need(filter, &mut needed));
            let places = kept(&needed);
            filter.iter_mut().for_each(|filter| moved(filter, &places));
            let columns = columns.into_iter().zip(&needed).filter(|(_, needed)| **needed).map(|(column, _)| column).collect();
            (Node::SystemScan { table, columns, filter }, places)
        }
        Node::Filter { input, mut predicate } => {
            let mut needed = needed.to_vec();
            need(&predicate, &mut needed);
            let (input, places) = narrow(*input, &needed);
            moved(&mut predicate, &places);
            (Node::Filter { input: Box::new(input), predicate }, places)
        }
        Node::Project { input, exprs } => {
            // What a volatile function does besides its value is wanted even if the value is not.
            let needed: Vec<bool> = exprs.iter().zip(needed).map(|(expr, needed)| *needed || is_volatile(expr)).collect();
            let mut exprs: Vec<Expr> =
                exprs.into_iter().zip(&needed).filter(|(_, needed)| **needed).map(|(expr, _)| expr).collect();
            let mut below = vec![false; width(&input)];
            exprs.iter().for_each(|expr| need(expr, &mut below));
            let (input, places) = narrow(*input, &below);
            exprs.iter_mut().for_each(|expr| moved(expr, &places));
            (project(input, exprs), kept(&needed))
        }
        Node::Join(join) => narrow_join(*join, needed),
        Node::Aggregate { input, mut group, mut aggregates } => {
            let mut below = vec![false; width(&input)];
            let output = group.len() + aggregates.len();
            let mut exprs: Vec<&mut Expr> = group.iter_mut().collect();
            for aggregate in &mut aggregates {
                exprs.extend(aggregate.args.iter_mut());
                exprs.extend(aggregate.filter.iter_mut());
                exprs.extend(aggregate.order.iter_mut().map(|key| &mut key.expr));
            }
            exprs.iter().for_each(|expr| need(expr, &mut below));
            let (input, places) = narrow(*input, &below);
            exprs.into_iter().for_each(|expr| moved(expr, &places));
            (Node::Aggregate { input: Box::new(input), group, aggregates }, identity(output))
        }
        Node::Sort { input, mut keys } => {
            let mut needed = needed.to_vec();
            keys.iter().for_each(|key| need(&key.expr, &mut needed));
            let (input, places) = narrow(*input, &needed);
            keys.iter_mut().for_each(|key| moved(&mut key.expr, &places));
            (Node::Sort { input: Box::new(input), keys }, places)
        }
        Node::Distinct { input, mut on } => {
            let mut needed = needed.to_vec();
            on.iter().for_each(|expr| need(expr, &mut needed));
            let (input, places) = narrow(*input, &needed);
            on.iter_mut().for_each(|expr| moved(expr, &places));
            (Node::Distinct { input: Box::new(input), on }, places)
        }
        Node::Limit { input, limit, offset } => {
            let (input, places) = narrow(*input, needed);
            (Node::Limit { input: Box::new(input), limit, offset }, places)
        }
        Node::SetOp { op, all, left, right } => {
            let (left, right) = (Box::new(prune(*left)), Box::new(prune(*right)));
            let places = identity(width(&left));
            (Node::SetOp { op, all, left, right }, places)
        }
        node @ (Node::Values { .. } | Node::FunctionScan { .. }) => {
            let places = identity(width(&node));
            (node, places)
        }
    }
}

fn narrow_join(join: Join, needed: &[bool]) -> (Node, Places) {
    let Join { kind, left, mut right, mut equal, mut condition, lateral, hash_left } = join;
    let left_width = width(&left);
    let mut needed = needed.to_vec();
    condition.iter().for_each(|condition| need(condition, &mut needed));
    let (left_needed, right_needed) = needed.split_at_mut(left_width);
    for (left, right) in &equal {
        need(left, left_needed);
        need(right, right_needed);
    }
    if lateral {
        walk::rewrite_node(&mut right, 1, &mut |reference| {
            if reference.depth == 0 {
                left_needed[reference.index] = true;
            }
            None
        });
    }
    let (left, left_places) = narrow(left, left_needed);
    if lateral {
        walk::rewrite_node(&mut right, 1, &mut |reference| {
            (reference.depth == 0).then(|| Reference {
                index: left_places[reference.index].expect("what the right side refers to is needed"),
                ..reference
            })
        });
    }
    let (right, right_places) = narrow(right, right_needed);
    for (left, right) in &mut equal {
        moved(left, &left_places);
        moved(right, &right_places);
    }
    let offset = width(&left);
    let mut places = left_places;
    places.extend(right_places.into_iter().map(|place| place.map(|place| place + offset)));
    condition.iter_mut().for_each(|condition| moved(condition, &places));
    (Node::Join(Box::new(Join { kind, left, right, equal, condition, lateral, hash_left })), places)
}
