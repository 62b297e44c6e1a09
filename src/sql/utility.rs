//! Statements that the session carries out itself.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::sql::plan::Statement;
pub use crate::txn::{Isolation, TableLock};

/// Transaction modes; what is not given keeps the session's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// ISOLATION LEVEL.
    pub isolation: Option<Isolation>,
    /// READ ONLY (true) or READ WRITE (false).
    pub read_only: Option<bool>,
    /// DEFERRABLE.
    pub deferrable: Option<bool>,
}

/// A format of EXPLAIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ExplainFormat {
    #[default]
    Text,
    Json,
}

/// EXPLAIN's options. VERBOSE, BUFFERS, WAL, SETTINGS and other formats answer 0A000 when they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainOptions {
    /// ANALYZE: run it and report rows and times.
    pub analyze: bool,
    /// COSTS (the default): print how many rows are expected. There are no costs.
    pub costs: bool,
    /// TIMING: with ANALYZE, print times of each node (the default).
    pub timing: bool,
    /// SUMMARY: print planning and execution time; by default with ANALYZE.
    pub summary: Option<bool>,
    /// FORMAT.
    pub format: ExplainFormat,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self { analyze: false, costs: true, timing: true, summary: None, format: ExplainFormat::Text }
    }
}

/// What VACUUM or ANALYZE is about.
#[derive(Clone, Debug, Default)]
pub struct Maintenance {
    /// Every table there is when it runs.
    pub all: bool,
    /// These tables.
    pub tables: Vec<Maintained>,
    /// What was named and cannot be maintained: the client is warned.
    pub skipped: Vec<String>,
    /// Tables of others that were named: the client is warned.
    pub denied: Vec<String>,
    /// VERBOSE, of ANALYZE.
    pub verbose: bool,
}

/// A table to be maintained.
#[derive(Clone, Debug)]
pub struct Maintained {
    /// The table.
    pub table: Arc<TableDef>,
    /// The columns (0-based) whose statistics are wanted; all if empty.
    pub columns: Vec<usize>,
}

/// A utility statement.
#[derive(Clone, Debug)]
pub enum Utility {
    /// BEGIN / START TRANSACTION; the flag: written as START TRANSACTION (command tag).
    Begin(TransactionModes, bool),
    /// COMMIT / END [AND CHAIN].
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK / ABORT [AND CHAIN].
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// PREPARE TRANSACTION.
    PrepareTransaction(String),
    /// COMMIT PREPARED.
    CommitPrepared(String),
    /// ROLLBACK PREPARED.
    RollbackPrepared(String),
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// SET TRANSACTION.
    SetTransaction(TransactionModes),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetSessionCharacteristics(TransactionModes),
    /// SET [SESSION | LOCAL] name = value; `None` is DEFAULT.
    Set {
        /// Parameter name, lower case.
        name: String,
        /// The value as text (list items joined with ", ").
        value: Option<String>,
        /// LOCAL.
        local: bool,
    },
    /// SHOW name, or ALL.
    Show(String),
    /// RESET name, or all.
    Reset(Option<String>),
    /// DISCARD ALL / PLANS / SEQUENCES / TEMP.
    Discard(String),
    /// EXPLAIN.
    Explain {
        /// What is explained.
        statement: Box<Statement>,
        /// Options.
        options: ExplainOptions,
        /// How long resolving names and planning took.
        planning: std::time::Duration,
    },
    /// VACUUM, with ANALYZE if asked.
    Vacuum {
        /// Of what.
        job: Maintenance,
        /// ANALYZE too.
        analyze: bool,
    },
    /// ANALYZE.
    Analyze {
        /// Of what.
        job: Maintenance,
    },
    /// LOCK TABLE.
    Lock {
        /// Tables, in the order given.
        tables: Vec<std::sync::Arc<crate::catalog::TableDef>>,
        /// How.
        mode: TableLock,
        /// Fail rather than wait.
        no_wait: bool,
    },
    /// CHECKPOINT.
    Checkpoint,
    /// BACKUP TO 'directory'.
    Backup(String),
    /// PREPARE name AS …: the statement's text.
    Prepare {
        /// Name.
        name: String,
        /// The statement's own text.
        text: String,
        /// Declared parameter types.
        types: Vec<crate::types::SqlType>,
    },
    /// EXECUTE name (args).
    Execute {
        /// Name.
        name: String,
        /// Arguments: constant expressions.
        args: Vec<crate::sql::expr::Expr>,
    },
    /// DEALLOCATE name, or ALL.
    Deallocate(Option<String>),
}

impl Utility {
    /// Whether the session carries it out itself; the others go to the executor.
    pub fn is_of_session(&self) -> bool {
        !matches!(
            self,
            Utility::Explain { .. }
                | Utility::Vacuum { .. }
                | Utility::Analyze { .. }
                | Utility::Lock { .. }
                | Utility::Checkpoint
                | Utility::Backup(_)
        )
    }

    /// Whether a failed transaction block still runs it: what ends the block, or leads back before the failure.
    pub fn ends_failed_block(&self) -> bool {
        matches!(
            self,
            Utility::Commit { .. } | Utility::Rollback { .. } | Utility::RollbackTo(_) | Utility::PrepareTransaction(_)
        )
    }
}
