//! Conditions on the rows of one table, evaluated where the rows are.

use std::sync::Arc;

use crate::catalog::{Catalog, TableDef};
use crate::error::SqlResult;
use crate::exec::context::{ExecContext, FrozenSession};
use crate::exec::query::scope::{Exprs, Outer, Results, Scope, with_outer};
use crate::shard::RowFilter;
use crate::sql::EvalContext;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::eval_bool;
use crate::sql::expr::walk;
use crate::types::{Datum, RowLayout};

/// A condition over a table's columns, with all it needs to be evaluated by another core: parameters, the session as it was,
/// rows outside and the results of subqueries. Only the columns it refers to are decoded.
pub struct ExprFilter {
    condition: Expr,
    layout: Arc<RowLayout>,
    params: Arc<[Datum]>,
    session: Arc<FrozenSession>,
    catalog: Arc<Catalog>,
    subqueries: Results,
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
        if exprs.is_correlated() || asks_session(condition) {
            return Ok(None);
        }
        let subqueries = exprs.results(scope, context).await?;
        Ok(Some(Arc::new(ExprFilter {
            condition: condition.clone(),
            layout: table.layout().clone(),
            params: context.params.clone(),
            session: context.frozen.clone(),
            catalog: context.catalog.clone(),
            subqueries,
            outer: scope.outer().clone(),
        })))
    }
}

/// Whether a function is called whose answer the frozen session does not know.
fn asks_session(expr: &Expr) -> bool {
    let mut found = match expr {
        Expr::Call { function, .. } => {
            let name = function.get().name;
            matches!(name, "current_setting" | "set_config") || name.ends_with("_size")
        }
        _ => false,
    };
    walk::for_each_child(expr, &mut |child| found |= asks_session(child));
    found
}

impl RowFilter for ExprFilter {
    fn matches(&self, row: &[u8]) -> SqlResult<bool> {
        with_outer(&self.outer, |outer| {
            let context = EvalContext {
                params: &self.params,
                outer,
                session: &*self.session,
                catalog: &self.catalog,
                subqueries: &self.subqueries,
            };
            eval_bool(&self.condition, &self.layout.view(row), &context)
        })
    }
}
