//! Predicate placement: each term of a condition is evaluated as early as its meaning allows.

use crate::sql::estimate::Estimator;
use crate::sql::expr::walk::{self, Reference};
use crate::sql::expr::{Expr, eval::type_of};
use crate::sql::function::{Comparison, Implementation};
use crate::sql::plan::{Access, Join, JoinKind, Node, Scan};
use crate::sql::planner::{access, conjoin, conjuncts, fold};

/// A lookup of a row is taken for as much work as reading so many in a row: an estimate may be wrong by several times and still
/// do no harm.
const LOOKUP_ROWS: f64 = 10.0;

/// Places all conditions of a tree.
pub fn optimise(node: Node, estimator: &Estimator<'_>) -> Node {
    match node {
        Node::Filter { input, predicate } => place(conjuncts(Some(predicate)), *input, estimator),
        Node::Join(_) => place(Vec::new(), node, estimator),
        mut node => {
            walk::for_each_input_mut(&mut node, &mut |input| *input = optimise(super::take(input), estimator));
            node
        }
    }
}

/// The rows of `node` for which the terms hold.
fn place(terms: Vec<Expr>, node: Node, estimator: &Estimator<'_>) -> Node {
    match node {
        Node::Filter { input, predicate } => {
            // The inner condition was written to be evaluated first.
            let mut all = conjuncts(Some(predicate));
            all.extend(terms);
            place(all, *input, estimator)
        }
        Node::Scan(scan) => scan_with(scan, terms),
        Node::SystemScan { table, columns, filter } => {
            let (mut kept, above): (Vec<Expr>, Vec<Expr>) = terms.into_iter().partition(|term| !walk::has_subquery(term));
            kept.splice(0..0, conjuncts(filter));
            filtered(Node::SystemScan { table, columns, filter: conjoin(kept) }, above)
        }
        Node::Project { input, exprs } => {
            let (below, above): (Vec<Expr>, Vec<Expr>) = terms.into_iter().partition(|term| can_pass(term, &exprs));
            let below = below.into_iter().map(|term| substitute(term, &exprs)).collect();
            filtered(Node::Project { input: Box::new(place(below, *input, estimator)), exprs }, above)
        }
        Node::Sort { input, keys } => Node::Sort { input: Box::new(place(terms, *input, estimator)), keys },
        Node::Join(join) => join_with(*join, terms, estimator),
        node => filtered(optimise_inputs(node, estimator), terms),
    }
}

fn optimise_inputs(mut node: Node, estimator: &Estimator<'_>) -> Node {
    walk::for_each_input_mut(&mut node, &mut |input| *input = optimise(super::take(input), estimator));
    node
}

fn filtered(node: Node, terms: Vec<Expr>) -> Node {
    match conjoin(terms) {
        None => node,
        Some(predicate) => Node::Filter { input: Box::new(node), predicate },
    }
}

fn scan_with(scan: Scan, terms: Vec<Expr>) -> Node {
    let Scan { table, columns, access: Access::Full, filter, reverse, limit } = scan else {
        return filtered(Node::Scan(scan), terms);
    };
    // The scan's conditions are over the table's columns, those above over its output.
    let to_table = |mut term: Expr| {
        walk::rewrite_references(&mut term, &mut |reference| {
            (reference.depth == 0).then(|| Reference { index: columns[reference.index], ..reference })
        });
        term
    };
    let (inside, above): (Vec<Expr>, Vec<Expr>) =
        terms.into_iter().partition(|term| !walk::has_subquery(term) && !fold::is_volatile(term));
    let mut inside: Vec<Expr> = inside.into_iter().map(to_table).collect();
    inside.splice(0..0, conjuncts(filter));
    let (access, rest) = access::choose(&table, inside);
    let (filter, session): (Vec<Expr>, Vec<Expr>) = conjuncts(rest).into_iter().partition(fold::is_portable);
    let mut above_all: Vec<Expr> = Vec::with_capacity(session.len() + above.len());
    let mut stuck: Vec<Expr> = Vec::new();
    for mut term in session {
        // Back to the output, where all columns are at this stage.
        let mut complete = true;
        walk::rewrite_references(&mut term, &mut |reference| {
            if reference.depth != 0 {
                return None;
            }
            let index = columns.iter().position(|&column| column == reference.index);
            complete &= index.is_some();
            index.map(|index| Reference { index, ..reference })
        });
        if complete { above_all.push(term) } else { stuck.push(term) }
    }
    let mut filter = filter;
    filter.extend(stuck);
    above_all.extend(above);
    filtered(Node::Scan(Scan { table, columns, access, filter: conjoin(filter), reverse, limit }), above_all)
}

/// Whether a term over a projection's output can be evaluated below it.
fn can_pass(term: &Expr, exprs: &[Expr]) -> bool {
    let mut columns = Vec::new();
    walk::columns_of(term, &mut columns);
    !walk::has_subquery(term)
        && !fold::is_volatile(term)
        && columns.iter().all(|&column| !walk::has_subquery(&exprs[column]) && !fold::is_volatile(&exprs[column]))
}

fn substitute(mut term: Expr, exprs: &[Expr]) -> Expr {
    fn replace(term: &mut Expr, exprs: &[Expr]) {
        if let Expr::Column(index, _) = term {
            *term = exprs[*index].clone();
        } else {
            walk::for_each_child_mut(term, &mut |child| replace(child, exprs));
        }
    }
    replace(&mut term, exprs);
    term
}

/// Which sides of a join a term refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Neither,
    Left,
    Right,
    Both,
}

fn side(term: &Expr, left_width: usize) -> Side {
    let mut columns = Vec::new();
    walk::columns_of(term, &mut columns);
    match (columns.iter().any(|&c| c < left_width), columns.iter().any(|&c| c >= left_width)) {
        (false, false) => Side::Neither,
        (true, false) => Side::Left,
        (false, true) => Side::Right,
        (true, true) => Side::Both,
    }
}

fn join_with(join: Join, terms: Vec<Expr>, estimator: &Estimator<'_>) -> Node {
    let Join { kind, left, right, mut equal, condition, lateral, hash_left } = join;
    let left_width = width(&left);
    let (mut on_left, mut on_right, mut rest, mut above) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Terms of WHERE hold for result rows: they may go to a side that the join does not fill with NULLs.
    for term in terms {
        let movable = !fold::is_volatile(&term);
        match (side(&term, left_width), kind) {
            (Side::Left | Side::Neither, JoinKind::Inner | JoinKind::Left) if movable => on_left.push(term),
            (Side::Right, JoinKind::Inner | JoinKind::Right) if movable => on_right.push(term),
            (_, JoinKind::Inner) if movable => rest.push(term),
            _ => above.push(term),
        }
    }
    // Terms of ON decide about matches: they may go to the side whose rows are not kept without one.
    for term in conjuncts(condition) {
        let movable = !fold::is_volatile(&term);
        match (side(&term, left_width), kind) {
            (Side::Left, JoinKind::Inner | JoinKind::Right) if movable => on_left.push(term),
            (Side::Right, JoinKind::Inner | JoinKind::Left) if movable => on_right.push(term),
            _ => rest.push(term),
        }
    }
    let on_right = on_right.into_iter().map(|term| to_right(term, left_width, lateral)).collect::<Vec<_>>();
    let left = place(on_left, left, estimator);
    let mut remaining = Vec::new();
    for term in rest {
        match equality(&term, left_width, lateral) {
            Some(pair) => equal.push(pair),
            None => remaining.push(term),
        }
    }
    if let Some(looked_up) = lookup((kind, lateral), &left, &right, &on_right, &equal, estimator) {
        let condition = conjoin(remaining);
        let join = Join { kind, left, right: looked_up, equal: Vec::new(), condition, lateral: true, hash_left };
        return filtered(Node::Join(Box::new(join)), above);
    }
    let right = place(on_right, right, estimator);
    let join = Join { kind, left, right, equal, condition: conjoin(remaining), lateral, hash_left };
    filtered(Node::Join(Box::new(join)), above)
}

/// A term over the joined row as one over the right row.
fn to_right(mut term: Expr, left_width: usize, lateral: bool) -> Expr {
    walk::rewrite_references(&mut term, &mut |reference| {
        Some(match reference.depth {
            0 => Reference { index: reference.index - left_width, ..reference },
            depth => Reference { depth: depth + usize::from(lateral), ..reference },
        })
    });
    term
}

/// `left expression = right expression`, each over its own row.
fn equality(term: &Expr, left_width: usize, lateral: bool) -> Option<(Expr, Expr)> {
    let Expr::Call { function, args, .. } = term else { return None };
    let entry = function.get();
    if lateral || entry.comparison != Some(Comparison::Eq) || !matches!(entry.implementation, Implementation::Binary(_)) {
        return None;
    }
    let [a, b] = &args[..] else { return None };
    if walk::has_subquery(a) || walk::has_subquery(b) {
        return None;
    }
    match (side(a, left_width), side(b, left_width)) {
        (Side::Left, Side::Right) => Some((a.clone(), to_right(b.clone(), left_width, false))),
        (Side::Right, Side::Left) => Some((b.clone(), to_right(a.clone(), left_width, false))),
        _ => None,
    }
}

/// The right side as lookups by primary key for each left row, if the equalities bind the whole key and the left side is
/// known to be short, or estimated to have far fewer rows than the table.
fn lookup(
    (kind, lateral): (JoinKind, bool),
    left: &Node,
    right: &Node,
    on_right: &[Expr],
    equal: &[(Expr, Expr)],
    estimator: &Estimator<'_>,
) -> Option<Node> {
    if lateral || equal.is_empty() || !matches!(kind, JoinKind::Inner | JoinKind::Left) {
        return None;
    }
    let Node::Scan(scan) = right else { return None };
    if !is_short(left) && !has_far_fewer_rows(left, scan, estimator) {
        return None;
    }
    let key = scan.table.primary_key.as_ref()?;
    let covered =
        |column: usize| equal.iter().any(|(_, right)| matches!(right, Expr::Column(index, _) if scan.columns[*index] == column));
    if !key.columns.iter().all(|&column| covered(column)) {
        return None;
    }
    // The left row becomes the next one out: everything that already counted outer rows counts one more.
    let outward = |mut term: Expr| {
        walk::rewrite_references(&mut term, &mut |reference| {
            (reference.depth > 0).then(|| Reference { depth: reference.depth + 1, ..reference })
        });
        term
    };
    let mut terms: Vec<Expr> = on_right.iter().cloned().map(outward).collect();
    for (left_expr, right_expr) in equal {
        let value = walk::outward(left_expr.clone(), 1);
        let pair = [type_of(right_expr), type_of(&value)];
        let resolved = crate::sql::function::resolve::operator("=", &pair).ok()?;
        let fits = resolved.signature.args == pair;
        if !fits {
            return None;
        }
        terms.push(Expr::Call {
            function: resolved.function,
            args: vec![right_expr.clone(), value],
            ty: crate::types::SqlType::Bool,
        });
    }
    let mut scan = Node::Scan(scan.clone());
    walk::rewrite_node(&mut scan, 1, &mut |reference| Some(Reference { depth: reference.depth + 1, ..reference }));
    let placed = place(terms, scan, estimator);
    let found = match &placed {
        Node::Scan(scan) => matches!(scan.access, Access::Points(_)),
        Node::Filter { input, .. } => matches!(&**input, Node::Scan(scan) if matches!(scan.access, Access::Points(_))),
        _ => false,
    };
    found.then_some(placed)
}

/// Whether looking rows up for each row of a tree is certainly less work than reading the whole table once. Where the tables are
/// of unknown size nothing is certain.
fn has_far_fewer_rows(left: &Node, scan: &Scan, estimator: &Estimator<'_>) -> bool {
    let rows = estimator.known_table_rows(&scan.table);
    rows.is_some_and(|rows| estimator.knows_tables_of(left) && estimator.rows(left) * LOOKUP_ROWS < rows)
}

/// Whether a tree is known to give few rows.
fn is_short(node: &Node) -> bool {
    match node {
        Node::Values { rows, .. } => rows.len() <= 100,
        Node::Scan(scan) => match &scan.access {
            Access::Points(points) => points.len() <= 100,
            Access::Range { prefix, lower, upper } => !prefix.is_empty() || lower.is_some() && upper.is_some(),
            Access::Full => false,
        },
        Node::Filter { input, .. } | Node::Project { input, .. } | Node::Sort { input, .. } | Node::Distinct { input, .. } => {
            is_short(input)
        }
        Node::Limit { limit: Some(Expr::Const(crate::types::Datum::Int8(limit), _)), .. } => *limit <= 100,
        Node::Join(join) => is_short(&join.left) && (is_short(&join.right) || join.lateral),
        Node::Aggregate { group, .. } => group.is_empty(),
        _ => false,
    }
}

/// How many columns a node's rows have.
pub fn width(node: &Node) -> usize {
    match node {
        Node::Values { types, .. } | Node::FunctionScan { types, .. } => types.len(),
        Node::Scan(scan) => scan.columns.len(),
        Node::SystemScan { columns, .. } => columns.len(),
        Node::Project { exprs, .. } => exprs.len(),
        Node::Join(join) => width(&join.left) + width(&join.right),
        Node::Aggregate { group, aggregates, .. } => group.len() + aggregates.len(),
        Node::Filter { input, .. } | Node::Sort { input, .. } | Node::Distinct { input, .. } | Node::Limit { input, .. } => {
            width(input)
        }
        Node::SetOp { left, .. } => width(left),
    }
}
