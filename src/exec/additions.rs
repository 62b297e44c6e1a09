//! Updates that only add, and statements that observe nothing: what a transaction may do without having the rows for itself that it
//! has added to (see `shard::additions`).

use crate::catalog::TableDef;
use crate::shard::ADDERS_MAX;
use crate::sql::expr::Expr;
use crate::sql::expr::walk;
use crate::sql::function::Volatility;
use crate::sql::plan::{Access, Node, Plan, Statement};
use crate::types::{Datum, SqlType};

/// Whether a statement tells nobody what is stored, but for whether a key is there.
pub fn observes_nothing(statement: &Statement) -> bool {
    match &statement.plan {
        Plan::Insert(plan) => plan.on_conflict.is_none() && plan.returning.is_empty() && is_of_values(&plan.source),
        Plan::Update(plan) => {
            let one = matches!(&plan.access, Access::Points(points) if points.len() == 1);
            plan.source.is_none()
                && one
                && plan.returning.is_empty()
                && adds(&plan.table, plan.filter.as_ref(), &plan.assignments)
        }
        _ => false,
    }
}

fn is_of_values(source: &Node) -> bool {
    let harmless = |expr: &Expr| !walk::has_subquery(expr) && !walk::waits(expr);
    match source {
        Node::Values { rows, .. } => rows.iter().flatten().all(harmless),
        Node::Project { input, exprs } => is_of_values(input) && exprs.iter().all(harmless),
        _ => false,
    }
}

/// Whether an UPDATE of rows found by their keys does nothing but add constants to integer columns beside the key.
pub fn adds(table: &TableDef, filter: Option<&Expr>, assignments: &[(usize, Expr)]) -> bool {
    let Some(primary) = &table.primary_key else { return false };
    let is_key = |column: &usize| primary.columns.contains(column);
    let by_key = filter.is_none_or(|filter| {
        let mut columns = Vec::new();
        walk::columns_of(filter, &mut columns);
        columns.iter().all(is_key) && !walk::has_subquery(filter) && !walk::waits(filter)
    });
    by_key && assignments.iter().all(|(column, expr)| !is_key(column) && adds_to(*column, table.columns[*column].ty.ty, expr))
}

fn adds_to(column: usize, ty: SqlType, expr: &Expr) -> bool {
    if !matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
        return false;
    }
    let Expr::Call { function, args, ty: result } = expr else { return false };
    let (function, [left, right]) = (function.get(), &args[..]) else { return false };
    let is_own = |expr: &Expr| matches!(expr, Expr::Column(own, _) if *own == column);
    let by = match function.name {
        "+" | "-" if is_own(left) => right,
        "+" if is_own(right) => left,
        _ => return false,
    };
    function.operator && *result == ty && is_constant(by)
}

/// Whether an expression has one value for all rows of the statement.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Const(..) | Expr::Param(..) => true,
        Expr::Cast { arg, .. } => is_constant(arg),
        Expr::Call { function, args, .. } => function.get().volatility == Volatility::Immutable && args.iter().all(is_constant),
        _ => false,
    }
}

/// Whether a number may be changed in this way by as many as may add to a row at once, each of them by as much as this, whatever
/// the order: it stays far from the ends of its type.
pub fn has_room(old: &Datum, new: &Datum) -> bool {
    let (old, new, max) = match (old, new) {
        (Datum::Int2(old), Datum::Int2(new)) => (i64::from(*old), i64::from(*new), i64::from(i16::MAX)),
        (Datum::Int4(old), Datum::Int4(new)) => (i64::from(*old), i64::from(*new), i64::from(i32::MAX)),
        (Datum::Int8(old), Datum::Int8(new)) => (*old, *new, i64::MAX),
        _ => return false,
    };
    // Half of the range for where it is, a quarter for those who are at it.
    let most = (max / 4).unsigned_abs() / ADDERS_MAX as u64;
    old.unsigned_abs() <= (max / 2).unsigned_abs() && new.abs_diff(old) <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_in_the_middle_for_small_steps() {
        assert!(has_room(&Datum::Int4(0), &Datum::Int4(500_000)));
        assert!(has_room(&Datum::Int4(-1_000_000_000), &Datum::Int4(-1_000_500_000)));
        assert!(!has_room(&Datum::Int4(0), &Datum::Int4(600_000)));
        assert!(!has_room(&Datum::Int4(i32::MAX - 1), &Datum::Int4(i32::MAX)));
        assert!(!has_room(&Datum::Int8(i64::MIN), &Datum::Int8(i64::MIN + 1)));
        assert!(has_room(&Datum::Int2(10), &Datum::Int2(17)) && !has_room(&Datum::Int2(10), &Datum::Int2(19)));
        assert!(!has_room(&Datum::Null, &Datum::Int4(1)) && !has_room(&Datum::Int4(1), &Datum::Null));
    }
}
