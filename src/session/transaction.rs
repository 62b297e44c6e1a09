//! The transaction block: which statements belong together, and what becomes of them.
//!
//! A statement outside a block is a transaction of its own. Several in one query string, and those of the extended protocol up
//! to Sync, are an implicit one. The engine's transaction begins with the first statement that needs one and is aborted with
//! the first that fails, at once, so that a failed block that its client leaves open holds no locks; with savepoints, it is
//! rolled back to the last of them instead.
//!
//! Source: PostgreSQL 15 documentation, 55.2.2.1 "Multiple Statements in a Simple Query", 55.2.4 "Pipelining"; texts after its
//! `xact.c`.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::runtime::MonoTime;
use crate::session::backend::Backend;
use crate::session::guard::deadline;
use crate::session::response::TransactionStatus;
use crate::session::settings::{Effective, Mark};
use crate::shard::{PrepareAs, Savepoint, Txn};
use crate::sql::utility::TransactionModes;
use crate::txn::Isolation;

/// Savepoints of one transaction.
const SAVEPOINTS_MAX: usize = 10_000;

/// What kind of block the session is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// None.
    Idle,
    /// One that the protocol made and that ends with the query string or at Sync.
    Implicit,
    /// One that BEGIN made.
    Explicit,
    /// One that BEGIN made and an error ended; it waits for ROLLBACK.
    Failed,
}

/// How a transaction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Isolation level.
    pub isolation: Isolation,
    /// READ ONLY.
    pub read_only: bool,
    /// DEFERRABLE.
    pub deferrable: bool,
}

impl Modes {
    /// The session's defaults.
    pub fn defaults(effective: &Effective) -> Self {
        Self { isolation: effective.isolation, read_only: effective.read_only, deferrable: effective.deferrable }
    }

    /// With what a statement says about them.
    pub fn with(mut self, modes: TransactionModes) -> Self {
        self.isolation = modes.isolation.unwrap_or(self.isolation);
        self.read_only = modes.read_only.unwrap_or(self.read_only);
        self.deferrable = modes.deferrable.unwrap_or(self.deferrable);
        self
    }
}

/// An isolation level as SHOW prints it.
pub fn isolation_name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "read committed",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::Serializable => "serializable",
    }
}

#[derive(Debug)]
struct SavepointEntry {
    name: String,
    savepoint: Savepoint,
    settings: Mark,
}

/// The session's transaction.
pub struct Transaction {
    /// The session's process id.
    pid: i32,
    block: Block,
    txn: Option<Txn>,
    modes: Option<Modes>,
    savepoints: Vec<SavepointEntry>,
    queried: bool,
    begun: bool,
    /// When transaction_timeout ends the session.
    deadline: Option<MonoTime>,
}

impl Transaction {
    /// Of a new session.
    pub fn new(pid: i32) -> Self {
        Self {
            pid,
            block: Block::Idle,
            txn: None,
            modes: None,
            savepoints: Vec::new(),
            queried: false,
            begun: false,
            deadline: None,
        }
    }

    /// The block.
    #[inline]
    pub fn block(&self) -> Block {
        self.block
    }

    /// What ReadyForQuery says.
    #[inline]
    pub fn status(&self) -> TransactionStatus {
        match self.block {
            Block::Idle | Block::Implicit => TransactionStatus::Idle,
            Block::Explicit => TransactionStatus::InBlock,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    /// Whether nothing is open: no block of the client's, no transaction of the engine's.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.txn.is_none() && matches!(self.block, Block::Idle | Block::Implicit)
    }

    /// The engine's transaction, if there is one.
    pub fn txn(&self) -> Option<&Txn> {
        self.txn.as_ref()
    }

    /// A statement begins; `true` if its transaction does with it. The clock of transaction_timeout starts then, or with the
    /// first statement after it was set.
    #[inline]
    pub fn begin_statement(&mut self, effective: &Effective) -> bool {
        let first = !std::mem::replace(&mut self.begun, true);
        self.watch(effective);
        first
    }

    /// Starts the clock of transaction_timeout if it is set and not running, and stops it if it is not set.
    pub fn watch(&mut self, effective: &Effective) {
        let wanted = effective.transaction_timeout_ms > 0 && self.begun && self.block != Block::Failed;
        self.deadline = match self.deadline {
            _ if !wanted => None,
            None => deadline(effective.transaction_timeout_ms),
            running => running,
        };
    }

    /// When transaction_timeout ends the session.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.deadline
    }

    /// Statements from here on belong together until the protocol says otherwise.
    #[inline]
    pub fn enter_implicit(&mut self) {
        if self.block == Block::Idle {
            self.block = Block::Implicit;
        }
    }

    /// The protocol's block ends with nothing to end in it.
    pub fn leave_implicit(&mut self) {
        assert!(self.is_free(), "nothing is open");
        self.end();
    }

    /// How the running transaction runs, or the next one will.
    pub fn modes(&self, effective: &Effective) -> Modes {
        self.modes.unwrap_or_else(|| Modes::defaults(effective))
    }

    /// The engine's transaction, begun if need be; a statement is about to use it.
    pub fn ensure<B: Backend>(&mut self, backend: &B, effective: &Effective) -> &mut Txn {
        self.queried = true;
        let modes = *self.modes.get_or_insert_with(|| Modes::defaults(effective));
        let txn = self.txn.get_or_insert_with(|| backend.begin(modes.isolation, modes.read_only));
        txn.pid = self.pid;
        txn.durable = effective.synchronous_commit;
        txn.lock_timeout_ms = effective.lock_timeout_ms;
        txn.deadlock_timeout_ms = effective.deadlock_timeout_ms;
        txn
    }

    /// BEGIN. `false`: there is a block already, which is worth a warning.
    pub fn begin(&mut self, modes: TransactionModes, effective: &Effective) -> SqlResult<bool> {
        match self.block {
            Block::Idle | Block::Implicit => {
                self.set_modes(modes, effective)?;
                self.block = Block::Explicit;
                Ok(true)
            }
            Block::Explicit => {
                self.set_modes(modes, effective)?;
                Ok(false)
            }
            Block::Failed => Err(failed_block()),
        }
    }

    /// SET TRANSACTION, and the modes of BEGIN.
    pub fn set_modes(&mut self, modes: TransactionModes, effective: &Effective) -> SqlResult<()> {
        let old = self.modes(effective);
        let new = old.with(modes);
        let refuse = |what: &str| Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, what));
        if self.queried && new.isolation != old.isolation {
            return refuse("SET TRANSACTION ISOLATION LEVEL must be called before any query");
        }
        if !self.savepoints.is_empty() && new.isolation != old.isolation {
            return refuse("SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction");
        }
        if self.queried && old.read_only && !new.read_only {
            return refuse("transaction read-write mode must be set before any query");
        }
        self.modes = Some(new);
        if let Some(txn) = &mut self.txn {
            txn.read_only = new.read_only;
            txn.isolation = new.isolation;
        }
        Ok(())
    }

    /// Ends the transaction, keeping what it did unless the block has failed. `true` if it was kept.
    pub async fn commit<B: Backend>(&mut self, backend: &B) -> SqlResult<bool> {
        let failed = self.block == Block::Failed;
        let txn = self.end();
        match txn {
            Some(txn) if failed => backend.abort(txn).await,
            Some(txn) => backend.commit(txn).await?,
            None => {}
        }
        Ok(!failed)
    }

    /// Ends the transaction, which is left to be decided by whoever names it. On an error it is undone.
    pub async fn prepare<B: Backend>(&mut self, backend: &B, said: PrepareAs, effective: &Effective) -> SqlResult<()> {
        assert!(self.block != Block::Failed, "a failed transaction is not prepared");
        self.ensure(backend, effective);
        let txn = self.end().expect("it was just ensured");
        backend.prepare_transaction(txn, said).await
    }

    /// Ends the transaction, undoing what it did.
    pub async fn rollback<B: Backend>(&mut self, backend: &B) {
        if let Some(txn) = self.end() {
            backend.abort(txn).await;
        }
    }

    /// Starts a block like the one that has just ended (AND CHAIN).
    pub fn chain(&mut self, modes: Modes) {
        assert_eq!(self.block, Block::Idle, "the chained block has ended");
        self.block = Block::Explicit;
        self.modes = Some(modes);
    }

    fn end(&mut self) -> Option<Txn> {
        self.block = Block::Idle;
        self.modes = None;
        self.queried = false;
        self.begun = false;
        self.deadline = None;
        self.savepoints.clear();
        self.txn.take()
    }

    /// A statement has failed. Answers the settings' mark to roll back to, if savepoints keep the transaction.
    pub async fn fail<B: Backend>(&mut self, backend: &B) -> Option<Mark> {
        if self.block != Block::Explicit {
            if self.block != Block::Failed {
                self.rollback(backend).await;
            }
            return None;
        }
        self.block = Block::Failed;
        self.deadline = None;
        match (self.savepoints.last(), &mut self.txn) {
            (Some(last), Some(txn)) => {
                let mark = last.settings;
                backend.rollback_to(txn, last.savepoint).await;
                Some(mark)
            }
            _ => {
                if let Some(txn) = self.txn.take() {
                    backend.abort(txn).await;
                }
                None
            }
        }
    }

    /// SAVEPOINT.
    pub fn savepoint<B: Backend>(&mut self, backend: &B, name: String, settings: Mark, effective: &Effective) -> SqlResult<()> {
        self.check_block("SAVEPOINT")?;
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many savepoints in this transaction"));
        }
        let queried = self.queried;
        let savepoint = backend.savepoint(self.ensure(backend, effective));
        self.queried = queried;
        self.savepoints.push(SavepointEntry { name, savepoint, settings });
        Ok(())
    }

    /// RELEASE SAVEPOINT: it and those after it are forgotten, what was done stays.
    pub fn release(&mut self, name: &str) -> SqlResult<()> {
        self.check_block("RELEASE SAVEPOINT")?;
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: what was done since is undone, and the block goes on. Answers the settings' mark.
    pub async fn rollback_to<B: Backend>(&mut self, backend: &B, name: &str) -> SqlResult<Mark> {
        if !matches!(self.block, Block::Explicit | Block::Failed) {
            return Err(not_in_block("ROLLBACK TO SAVEPOINT"));
        }
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at + 1);
        let (savepoint, mark) = (self.savepoints[at].savepoint, self.savepoints[at].settings);
        let txn = self.txn.as_mut().expect("a savepoint keeps its transaction");
        backend.rollback_to(txn, savepoint).await;
        self.block = Block::Explicit;
        Ok(mark)
    }

    /// 25P01 or 25P02 unless a block of the client's is open and well.
    fn check_block(&self, command: &str) -> SqlResult<()> {
        match self.block {
            Block::Explicit => Ok(()),
            Block::Failed => Err(failed_block()),
            Block::Idle | Block::Implicit => Err(not_in_block(command)),
        }
    }

    /// 25P01 unless something comes after the statement in its transaction, for what would otherwise have no effect.
    pub fn require_block(&self, command: &str) -> SqlResult<()> {
        if self.block == Block::Idle { Err(not_in_block(command)) } else { Ok(()) }
    }

    /// 25001 if a block is open, for what cannot be undone.
    pub fn forbid_block(&self, command: &str) -> SqlResult<()> {
        match self.block {
            Block::Idle => Ok(()),
            // What the protocol made has not begun anything yet, unless a statement came before.
            Block::Implicit if self.txn.is_none() => Ok(()),
            _ => {
                let message = format!("{command} cannot run inside a transaction block");
                Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message))
            }
        }
    }

    fn find_savepoint(&self, name: &str) -> SqlResult<usize> {
        self.savepoints
            .iter()
            .rposition(|entry| entry.name == name)
            .ok_or_else(|| SqlError::new(SqlState(*b"3B001"), format!("savepoint \"{name}\" does not exist")))
    }
}

/// 25P02.
pub fn failed_block() -> SqlError {
    SqlError::new(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// 25P01 for a command that needs a block.
pub fn not_in_block(command: &str) -> SqlError {
    SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, format!("{command} can only be used in transaction blocks"))
}
