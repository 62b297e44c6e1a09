//! Conditions on the rows of one table, evaluated where the rows are.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::error::SqlResult;
use crate::exec::context::ExecContext;
use crate::exec::programs::ProgramContext;
use crate::exec::query::scope::{Exprs, Outer, Scope, with_outer};
use crate::shard::RowFilter;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::eval_bool;
use crate::sql::expr::walk;
use crate::types::RowLayout;

/// A condition over a table's columns, with all it needs to be evaluated by another core, and the rows outside it. Only the
/// columns it refers to are decoded.
pub struct ExprFilter {
    condition: Expr,
    layout: Arc<RowLayout>,
    context: ProgramContext,
    outer: Outer,
}

impl ExprFilter {
    /// A condition as a filter, if owners of rows can evaluate it: `None` if it must be evaluated by the session, row by row.
    pub async fn new(
        condition: &Expr,
        table: &TableDef,
        scope: &Scope,
        context: &mut ExecContext<'_>,
    ) -> SqlResult<Option<Arc<ExprFilter>>> {
        let exprs = Exprs::new(vec![condition.clone()]);
        if exprs.is_correlated() || walk::needs_live_session(condition) {
            return Ok(None);
        }
        let subqueries = exprs.results(scope, context).await?;
        let context = ProgramContext::of(context, std::iter::once(condition), subqueries);
        Ok(Some(Arc::new(Self::over(condition, table, context, scope.outer().clone()))))
    }

    /// A condition with what it is evaluated with.
    pub fn over(condition: &Expr, table: &TableDef, context: ProgramContext, outer: Outer) -> ExprFilter {
        ExprFilter { condition: condition.clone(), layout: table.layout().clone(), context, outer }
    }
}

impl RowFilter for ExprFilter {
    fn matches(&self, row: &[u8]) -> SqlResult<bool> {
        with_outer(&self.outer, |outer| eval_bool(&self.condition, &self.layout.view(row), &self.context.eval(outer)))
    }
}
