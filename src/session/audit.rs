//! Who comes and goes, and what changes tables and roles, as log lines of the target `omendb::audit` (setting `audit_log`).
//!
//! A statement is told when it has succeeded, with whether it stands in a block, whose end may still undo it. One with a password in it is
//! told without its text.

use std::fmt;

use crate::session::Session;
use crate::session::backend::Backend;
use crate::session::interrupt::Ticket;
use crate::sql::plan::{Plan, Statement};

/// The target of these lines.
const TARGET: &str = "omendb::audit";

impl<B: Backend> Session<B> {
    /// The client has proved who it is.
    pub fn audit_login(&self, origin: impl fmt::Display) {
        let (pid, user, application) = self.audited();
        tracing::info!(target: TARGET, event = "login", pid, user, application, %origin);
    }

    /// The session is over.
    pub fn audit_goodbye(&self) {
        self.ticket.audit_goodbye();
    }

    /// A statement has succeeded.
    #[inline]
    pub(super) fn audit_statement(&self, statement: &Statement, text: &str, tag: &str) {
        if matches!(statement.plan, Plan::Ddl(_)) {
            let (pid, user, _) = self.audited();
            let in_block = self.txn.status() != crate::session::response::TransactionStatus::Idle;
            let shown = if statement.holds_secret() { "(with a password)" } else { text };
            tracing::info!(target: TARGET, event = "ddl", pid, user, command = tag, in_block, statement = shown);
        }
    }

    fn audited(&self) -> (i32, String, String) {
        self.ticket.audited()
    }
}

impl Ticket {
    /// Its session is over.
    pub fn audit_goodbye(&self) {
        let (pid, user, application) = self.audited();
        tracing::info!(target: TARGET, event = "logout", pid, user, application);
    }

    fn audited(&self) -> (i32, String, String) {
        match self.told().get() {
            Some(told) => (told.pid, told.user, told.application),
            None => (self.key().pid, String::new(), String::new()),
        }
    }
}
