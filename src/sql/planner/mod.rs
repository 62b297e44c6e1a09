//! Access paths, predicate placement and join strategies for bound plans.

use crate::error::SqlResult;
use crate::sql::context::BindContext;
use crate::sql::plan::Plan;

/// Plans a bound statement in place.
pub fn plan(plan: &mut Plan, context: &BindContext<'_>) -> SqlResult<()> {
    let _ = (plan, context);
    Ok(())
}
