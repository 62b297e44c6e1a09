//! VACUUM, ANALYZE, CHECKPOINT and EXPLAIN.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{CommandTag, ExecContext, Notice, RowSink};
use crate::sql::utility::{Maintenance, Utility};

/// Carries out a utility statement that the executor is responsible for.
pub async fn utility(utility: &Utility, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<CommandTag> {
    match utility {
        Utility::Vacuum { job, analyze } => {
            warn_of_skipped(job, "vacuum", context);
            // Garbage is known by row, not by table, so collecting all of it is no more work than looking for one table's.
            context.engine.vacuum().await;
            if *analyze {
                super::analyze::analyze(job, context).await?;
            }
            Ok(CommandTag::Plain("VACUUM"))
        }
        Utility::Analyze { job } => {
            warn_of_skipped(job, "analyze", context);
            super::analyze::analyze(job, context).await?;
            Ok(CommandTag::Plain("ANALYZE"))
        }
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

fn warn_of_skipped(job: &Maintenance, verb: &str, context: &mut ExecContext<'_>) {
    let warning =
        |name: &String| Notice::warning(format!("skipping \"{name}\" --- cannot {verb} non-tables or special system tables"));
    context.notices.extend(job.skipped.iter().map(warning));
}
