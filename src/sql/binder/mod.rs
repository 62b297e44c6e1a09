//! Syntax trees to typed plans.

pub(crate) mod names;
pub(crate) mod types;

use crate::error::{SqlError, SqlResult};
use crate::sql::context::BindContext;
use crate::sql::parser::ParsedStatement;
use crate::sql::plan::Statement;

/// Resolves all names and types of a statement and plans it.
///
/// Errors: those that PostgreSQL's analysis reports, with positions in the query string; 0A000 for what is not supported.
pub fn bind(statement: &ParsedStatement, context: &BindContext<'_>) -> SqlResult<Statement> {
    let _ = (statement.body(), context.param_types, crate::sql::parser::lock_strength("").is_some());
    Err(SqlError::internal("the binder is not there yet"))
}

/// Binds with literals as parameters; `None` if that is not sound for this statement.
pub(crate) fn bind_with_slots(
    statement: &ParsedStatement,
    context: &BindContext<'_>,
    literals: &[crate::sql::cache::Literal],
) -> Option<Statement> {
    let _ = (statement, context, literals);
    None
}
