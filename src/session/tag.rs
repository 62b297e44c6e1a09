//! Command tags, and what a statement is called in messages and metrics.

use std::borrow::Cow;

use crate::metrics::QueryType;
use crate::sql::ddl::Ddl;
use crate::sql::plan::{CopyDirection, Plan, Statement};
use crate::sql::utility::Utility;

/// A command tag.
pub type Tag = Cow<'static, str>;

/// The tag of a finished statement; `rows` it has returned or changed (PostgreSQL 15 documentation, 55.7, CommandComplete).
pub fn complete(statement: &Statement, rows: u64) -> Tag {
    match (&statement.plan, rows) {
        (Plan::Query(_), 1) => Cow::Borrowed("SELECT 1"),
        (Plan::Insert(_), 1) => Cow::Borrowed("INSERT 0 1"),
        (Plan::Update(_), 1) => Cow::Borrowed("UPDATE 1"),
        (Plan::Query(_), _) => Cow::Owned(format!("SELECT {rows}")),
        (Plan::Insert(_), _) => Cow::Owned(format!("INSERT 0 {rows}")),
        (Plan::Update(_), _) => Cow::Owned(format!("UPDATE {rows}")),
        (Plan::Delete(_), _) => Cow::Owned(format!("DELETE {rows}")),
        (Plan::Copy(_), _) => Cow::Owned(format!("COPY {rows}")),
        _ => Cow::Borrowed(command(statement)),
    }
}

/// The statement's name, as in "cannot execute … in a read-only transaction".
pub fn command(statement: &Statement) -> &'static str {
    match &statement.plan {
        Plan::Query(query) if query.locking.is_some() => "SELECT FOR UPDATE",
        Plan::Query(_) => "SELECT",
        Plan::Insert(_) => "INSERT",
        Plan::Update(_) => "UPDATE",
        Plan::Delete(_) => "DELETE",
        Plan::Copy(copy) if matches!(copy.direction, CopyDirection::FromStdin { .. }) => "COPY FROM",
        Plan::Copy(_) => "COPY TO",
        Plan::Ddl(Ddl::CreateTable { .. }) => "CREATE TABLE",
        Plan::Ddl(Ddl::DropTable { .. }) => "DROP TABLE",
        Plan::Ddl(Ddl::Truncate { .. }) => "TRUNCATE TABLE",
        Plan::Ddl(Ddl::AddPrimaryKey { .. } | Ddl::ChangeOwner { .. }) => "ALTER TABLE",
        Plan::Ddl(Ddl::Role(statement)) => statement.tag(),
        Plan::Ddl(Ddl::Privileges(statement)) => statement.tag(),
        Plan::Utility(utility) => utility_name(utility),
        Plan::Empty => "",
    }
}

fn utility_name(utility: &Utility) -> &'static str {
    match utility {
        Utility::Begin(_, true) => "START TRANSACTION",
        Utility::Begin(_, false) => "BEGIN",
        Utility::Commit { .. } => "COMMIT",
        Utility::Rollback { .. } | Utility::RollbackTo(_) => "ROLLBACK",
        Utility::PrepareTransaction(_) => "PREPARE TRANSACTION",
        Utility::CommitPrepared(_) => "COMMIT PREPARED",
        Utility::RollbackPrepared(_) => "ROLLBACK PREPARED",
        Utility::Savepoint(_) => "SAVEPOINT",
        Utility::Release(_) => "RELEASE",
        Utility::SetTransaction(_) | Utility::SetSessionCharacteristics(_) | Utility::Set { .. } => "SET",
        Utility::Show(_) => "SHOW",
        Utility::Reset(_) => "RESET",
        Utility::Discard(what) => match what.as_str() {
            "all" => "DISCARD ALL",
            "plans" => "DISCARD PLANS",
            "sequences" => "DISCARD SEQUENCES",
            _ => "DISCARD TEMP",
        },
        Utility::Explain { .. } => "EXPLAIN",
        Utility::Vacuum { .. } => "VACUUM",
        Utility::Analyze { .. } => "ANALYZE",
        Utility::Lock { .. } => "LOCK TABLE",
        Utility::Checkpoint => "CHECKPOINT",
        Utility::Backup(_) => "BACKUP",
        Utility::Prepare { .. } => "PREPARE",
        Utility::Execute { .. } => "EXECUTE",
        Utility::Deallocate(None) => "DEALLOCATE ALL",
        Utility::Deallocate(Some(_)) => "DEALLOCATE",
    }
}

/// Whether a read-only transaction refuses it.
pub fn writes(statement: &Statement) -> bool {
    match &statement.plan {
        Plan::Query(query) => query.locking.is_some(),
        Plan::Insert(_) | Plan::Update(_) | Plan::Delete(_) | Plan::Ddl(_) => true,
        Plan::Copy(copy) => matches!(copy.direction, CopyDirection::FromStdin { .. }),
        Plan::Utility(Utility::Explain { statement, options, .. }) => options.analyze && writes(statement),
        Plan::Utility(_) | Plan::Empty => false,
    }
}

/// The kind under which it is counted.
pub fn query_type(statement: &Statement) -> QueryType {
    match &statement.plan {
        Plan::Query(_) => QueryType::Select,
        Plan::Insert(_) => QueryType::Insert,
        Plan::Update(_) => QueryType::Update,
        Plan::Delete(_) => QueryType::Delete,
        Plan::Copy(_) => QueryType::Copy,
        Plan::Ddl(_) => QueryType::Ddl,
        Plan::Utility(utility) => utility_type(utility),
        Plan::Empty => QueryType::Utility,
    }
}

/// The kind under which a utility is counted.
pub fn utility_type(utility: &Utility) -> QueryType {
    match utility {
        Utility::Begin(..)
        | Utility::Commit { .. }
        | Utility::Rollback { .. }
        | Utility::PrepareTransaction(_)
        | Utility::CommitPrepared(_)
        | Utility::RollbackPrepared(_)
        | Utility::Savepoint(_)
        | Utility::Release(_)
        | Utility::RollbackTo(_)
        | Utility::SetTransaction(_) => QueryType::Transaction,
        _ => QueryType::Utility,
    }
}
