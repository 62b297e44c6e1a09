//! VACUUM, ANALYZE, CHECKPOINT and EXPLAIN.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{CommandTag, ExecContext, RowSink};
use crate::sql::utility::Utility;

/// Carries out a utility statement that the executor is responsible for.
pub async fn utility(utility: &Utility, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<CommandTag> {
    match utility {
        Utility::Vacuum { .. } => {
            // Garbage is known by row, not by table, so collecting all of it is no more work than looking for one table's.
            context.engine.vacuum().await;
            Ok(CommandTag::Plain("VACUUM"))
        }
        Utility::Analyze { .. } => Ok(CommandTag::Plain("ANALYZE")),
        Utility::Checkpoint => {
            let taken = context.engine.request_checkpoint().await;
            taken.map_err(|problem| SqlError::new(SqlState::IO_ERROR, format!("checkpoint failed: {problem}")))?;
            Ok(CommandTag::Plain("CHECKPOINT"))
        }
        Utility::Explain { statement, options, planning } => {
            super::query::explain::explain(statement, *options, *planning, context, sink).await?;
            Ok(CommandTag::Plain("EXPLAIN"))
        }
        _ => Err(SqlError::internal("the session carries out this statement itself")),
    }
}
