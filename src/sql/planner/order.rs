//! ORDER BY that the key order satisfies, and LIMIT carried down to the scan.

use crate::sql::expr::Expr;
use crate::sql::plan::{Access, Node, Scan, SortKey};
use crate::types::Datum;

/// Removes sorts that the key order makes needless, and tells scans how many rows are wanted.
pub fn push_limits(node: &mut Node) {
    crate::sql::expr::walk::for_each_input_mut(node, &mut push_limits);
    if let Node::Sort { input, keys } = node
        && satisfied(input, keys)
    {
        *node = super::take(input);
        return;
    }
    if let Node::Limit { input, limit: Some(Expr::Const(Datum::Int8(limit), _)), offset } = node {
        let offset = match offset {
            None => 0,
            Some(Expr::Const(Datum::Int8(offset), _)) => *offset,
            Some(_) => return,
        };
        if let (Ok(limit), Ok(offset)) = (u64::try_from(*limit), u64::try_from(offset))
            && let Some(rows) = limit.checked_add(offset)
            && let Some(scan) = bare_scan(input)
        {
            scan.limit = Some(rows);
        }
    }
}

/// The scan whose rows are a tree's rows, one for one.
fn bare_scan(node: &mut Node) -> Option<&mut Scan> {
    match node {
        Node::Scan(scan) => Some(scan),
        Node::Project { input, .. } => bare_scan(input),
        _ => None,
    }
}

/// Whether a tree gives its rows in the order of the keys, or can be made to by scanning backwards.
fn satisfied(node: &mut Node, keys: &[SortKey]) -> bool {
    let wanted: Option<Vec<(usize, bool)>> = keys
        .iter()
        .map(|key| match key.expr {
            Expr::Column(index, _) => Some((index, key.descending)),
            _ => None,
        })
        .collect();
    wanted.is_some_and(|wanted| follows_key(node, wanted))
}

fn follows_key(node: &mut Node, wanted: Vec<(usize, bool)>) -> bool {
    match node {
        Node::Filter { input, .. } => follows_key(input, wanted),
        Node::Project { input, exprs } => {
            let below: Option<Vec<(usize, bool)>> = wanted
                .into_iter()
                .map(|(index, descending)| match &exprs[index] {
                    Expr::Column(column, _) => Some((*column, descending)),
                    _ => None,
                })
                .collect();
            below.is_some_and(|below| follows_key(input, below))
        }
        Node::Scan(scan) => scan_follows(scan, &wanted),
        _ => false,
    }
}

fn scan_follows(scan: &mut Scan, wanted: &[(usize, bool)]) -> bool {
    let Some(key) = &scan.table.primary_key else { return false };
    let fixed = match &scan.access {
        Access::Points(points) if points.len() == 1 => return true,
        Access::Points(_) => return false,
        Access::Full => 0,
        Access::Range { prefix, .. } => prefix.len(),
    };
    // Columns with one value have no part in the order.
    let mut next = fixed;
    let mut direction = None;
    for &(index, descending) in wanted {
        let column = scan.columns[index];
        if key.columns[..fixed].contains(&column) {
            continue;
        }
        if next == key.columns.len() {
            break;
        }
        // Key columns are never NULL, so where NULLs would go does not matter.
        if key.columns[next] != column || direction.is_some_and(|direction| direction != descending) {
            return false;
        }
        direction = Some(descending);
        next += 1;
    }
    scan.reverse = direction == Some(true);
    true
}
