//! VACUUM, ANALYZE, LOCK TABLE, CHECKPOINT, BACKUP and EXPLAIN.

use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{CommandTag, ExecContext, Notice, RowSink};
use crate::exec::ddl::newest_catalog;
use crate::shard::EngineError;
use crate::sql::utility::{Maintenance, TableLock, Utility};
use crate::txn::LockWait;

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
        Utility::Lock { tables, mode, no_wait } => {
            for table in tables {
                lock(table, *mode, *no_wait, context).await?;
            }
            Ok(CommandTag::Plain("LOCK TABLE"))
        }
        Utility::Checkpoint => {
            context.engine.request_checkpoint().await?;
            Ok(CommandTag::Plain("CHECKPOINT"))
        }
        Utility::Backup(target) => {
            context.engine.request_backup(target.into()).await?;
            Ok(CommandTag::Plain("BACKUP"))
        }
        Utility::Explain { statement, options, planning } => {
            super::query::explain::explain(statement, *options, *planning, context, sink).await?;
            Ok(CommandTag::Plain("EXPLAIN"))
        }
        _ => Err(SqlError::internal("the session carries out this statement itself")),
    }
}

/// Locks one table, which may be gone when its lock is given.
async fn lock(table: &TableDef, mode: TableLock, no_wait: bool, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let wait = if no_wait { LockWait::NoWait } else { LockWait::Block };
    match context.engine.lock_table(context.txn, table.oid, mode, wait).await {
        Err(EngineError::LockNotAvailable) if no_wait => {
            let message = format!("could not obtain lock on relation \"{}\"", table.name);
            return Err(SqlError::new(SqlState::LOCK_NOT_AVAILABLE, message));
        }
        outcome => outcome?,
    }
    let exists = newest_catalog(context).tables.contains_key(&table.oid);
    let gone = || SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", table.name));
    exists.then_some(()).ok_or_else(gone)
}

fn warn_of_skipped(job: &Maintenance, verb: &str, context: &mut ExecContext<'_>) {
    let warning =
        |name: &String| Notice::warning(format!("skipping \"{name}\" --- cannot {verb} non-tables or special system tables"));
    context.notices.extend(job.skipped.iter().map(warning));
    warn_of_denied(job.denied.iter(), verb, context);
}

/// Tables of others are left alone.
pub(super) fn warn_of_denied<'n>(names: impl Iterator<Item = &'n String>, verb: &str, context: &mut ExecContext<'_>) {
    let warning = |name| Notice::warning(format!("skipping \"{name}\" --- only table or database owner can {verb} it"));
    context.notices.extend(names.map(warning));
}
