//! Constant folding: what is computed from constants by immutable functions is computed once.
//!
//! An expression that fails keeps its place: `SELECT 1/0` fails when it runs, and `CASE WHEN false THEN 1/0 END` never does.

use crate::sql::context::{BindContext, EvalContext, NoSubqueries};
use crate::sql::expr::eval::{NoRow, eval, type_of};
use crate::sql::expr::{Expr, walk};
use crate::sql::function::Volatility;
use crate::types::{ColumnType, Datum, SqlType};

/// Folds one expression whose children are folded already.
pub fn fold(expr: &mut Expr, context: &BindContext<'_>) {
    let foldable = match &*expr {
        Expr::Call { function, args, .. } => function.get().volatility == Volatility::Immutable && args.iter().all(is_constant),
        Expr::Cast { arg, from, to, .. } => is_constant(arg) && !depends_on_session(*from, *to),
        Expr::Not(arg) | Expr::IsNull(arg, _) => is_constant(arg),
        Expr::And(_) | Expr::Or(_) => {
            simplify(expr);
            false
        }
        _ => false,
    };
    if !foldable {
        return;
    }
    let ty = type_of(expr);
    let evaluation =
        EvalContext { params: &[], outer: None, session: context.session, catalog: context.catalog, subqueries: &NoSubqueries };
    if let Ok(value) = eval(expr, &NoRow, &evaluation) {
        *expr = Expr::Const(value, ty);
    }
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Const(..))
}

/// Drops terms that do not matter; a term that decides makes the whole a constant only if nothing before it could fail, which
/// holds when it comes first.
fn simplify(expr: &mut Expr) {
    let (terms, neutral) = match expr {
        Expr::And(terms) => (terms, true),
        Expr::Or(terms) => (terms, false),
        _ => return,
    };
    terms.retain(|term| !matches!(term, Expr::Const(Datum::Bool(value), _) if *value == neutral));
    let decided = matches!(terms.first(), Some(Expr::Const(Datum::Bool(_), _)));
    if terms.is_empty() || decided {
        *expr = Expr::Const(Datum::Bool(neutral != decided), SqlType::Bool);
    } else if terms.len() == 1 {
        *expr = terms.pop().expect("there is one term");
    }
}

/// Casts through text formats, and those that look at the time zone.
fn depends_on_session(from: SqlType, to: ColumnType) -> bool {
    let text = |ty: SqlType| matches!(ty, SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Name | SqlType::Unknown);
    if text(from) && text(to.ty) {
        return false;
    }
    let formatted = |ty: SqlType| {
        use SqlType::{Bytea, Date, Float4, Float8, Interval, Timestamp, TimestampTz};
        matches!(ty, Bytea | Date | Float4 | Float8 | Interval | Timestamp | TimestampTz | SqlType::Array(_))
    };
    let through_text = text(from) && formatted(to.ty) || formatted(from) && text(to.ty);
    through_text || from == SqlType::TimestampTz || to.ty == SqlType::TimestampTz
}

/// Whether an expression gives the same value on any core, whatever the session: it may travel with a scan.
pub fn is_portable(expr: &Expr) -> bool {
    let here = match expr {
        Expr::Call { function, .. } => function.get().volatility == Volatility::Immutable,
        Expr::Cast { from, to, .. } => !depends_on_session(*from, *to),
        Expr::Subquery(_) => false,
        _ => true,
    };
    let mut portable = here;
    walk::for_each_child(expr, &mut |child| portable &= is_portable(child));
    portable
}

/// Whether an expression may be evaluated at another place or another number of times.
pub fn is_volatile(expr: &Expr) -> bool {
    let mut volatile = matches!(expr, Expr::Call { function, .. } if function.get().volatility == Volatility::Volatile);
    walk::for_each_child(expr, &mut |child| volatile |= is_volatile(child));
    volatile
}
