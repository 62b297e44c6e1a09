//! A client without a session, and the way from one to the other.

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::MonoTime;
use crate::session::backend::Backend;
use crate::session::environment::Environment;
use crate::session::interrupt::{Interrupt, Ticket};
use crate::session::point::PointBatch;
use crate::session::pool::Workspace;
use crate::session::portal::Portals;
use crate::session::prepared::Statements;
use crate::session::timing::Stopwatch;
use crate::session::transaction::{Block, Transaction};
use crate::session::{Identity, Session, Silence};

/// What is a client's own between two transactions.
pub struct Parked {
    env: Environment,
    ticket: Ticket,
    statements: Statements,
    watch: Stopwatch,
}

impl<B: Backend> Session<B> {
    /// Whether nothing is open, nothing waits to be answered, and nothing is left to be said: what is left is the client's own, and plans.
    pub fn is_between_transactions(&self) -> bool {
        let settings = self.env.settings();
        self.txn.block() == Block::Idle
            && self.txn.is_free()
            && !self.has_points()
            && !settings.has_changes()
            && !settings.has_reports()
            && self.ending.is_none()
    }

    /// Takes the session apart: what is its client's, and what the next client may have.
    pub fn park(self) -> (Box<Parked>, Workspace) {
        assert!(self.is_between_transactions(), "a transaction keeps its session");
        let Self {
            env,
            ticket,
            mut statements,
            texts,
            normal_forms,
            watch,
            // A transaction's, which is over.
            txn: _,
            portals: _,
            points: _,
            query_string: _,
            last_lookup: _,
            last_text: _,
            ending: _,
        } = self;
        statements.fall_asleep();
        let workspace = Workspace::new(env.identity().clone(), texts, normal_forms);
        (Box::new(Parked { env, ticket, statements, watch }), workspace)
    }

    /// Puts a session together.
    pub fn resume(parked: Box<Parked>, workspace: Workspace) -> Box<Self> {
        let Parked { env, ticket, statements, watch } = *parked;
        assert_eq!(*env.identity(), workspace.identity, "plans are for one identity");
        let pid = ticket.key().pid;
        Box::new(Self {
            env,
            ticket,
            txn: Transaction::new(pid),
            statements,
            portals: Portals::default(),
            texts: workspace.texts,
            normal_forms: workspace.normal_forms,
            points: PointBatch::default(),
            query_string: None,
            last_lookup: None,
            last_text: String::new(),
            ending: None,
            watch,
        })
    }

    /// Who it is for.
    pub fn identity(&self) -> &Identity {
        self.env.identity()
    }
}

impl Parked {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        self.env.identity()
    }

    /// Its ear.
    pub fn interrupt(&self) -> &Arc<Interrupt> {
        self.ticket.interrupt()
    }

    /// When it is to be sent away if it says nothing from `since` on, and why.
    pub fn idle_limit(&self, since: MonoTime) -> Option<(MonoTime, Silence)> {
        let limit_ms = self.env.effective().idle_timeout_ms;
        (limit_ms > 0).then(|| (since + Duration::from_millis(limit_ms.into()), Silence::Idle))
    }

    /// It had sent something by then; `more` if a message that had begun goes on with it.
    pub fn received(&mut self, more: bool, at: MonoTime) {
        self.watch.received(more, at);
    }

    /// Its prepared statements.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// Its connection is over.
    pub async fn close<B: Backend>(&self, backend: &B) {
        backend.unlock_session(self.env.locks()).await;
        self.ticket.audit_goodbye();
    }
}
