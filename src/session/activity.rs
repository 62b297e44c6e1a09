//! What a session tells others about itself (`pg_stat_activity`).
//!
//! It is told when a statement begins and when the client is waited for. A point lookup that is answered within one poll has no beginning
//! that anybody could see, and is told of afterwards.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::system::live::{Encryption, SessionActivity, SessionState};
use crate::session::Session;
use crate::session::backend::Backend;
use crate::session::environment::clock_micros;
use crate::session::response::TransactionStatus;

/// Where a session tells it; empty until it has begun.
#[derive(Debug, Default)]
pub struct Told(Mutex<Option<SessionActivity>>);

impl Told {
    /// What was told last.
    pub fn get(&self) -> Option<SessionActivity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells of a session for the first time.
    pub fn begin(&self, activity: SessionActivity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(activity);
    }

    /// Tells what has changed.
    pub fn change(&self, change: impl FnOnce(&mut SessionActivity)) {
        if let Some(activity) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            change(activity);
        }
    }
}

impl<B: Backend> Session<B> {
    /// Where the client is, and how its connection is encrypted.
    pub fn set_client(&self, client: Option<SocketAddr>, encryption: Option<Arc<Encryption>>) {
        self.ticket.told().change(|activity| {
            activity.client = client;
            activity.encryption = encryption;
        });
    }

    /// A statement begins.
    pub(super) fn tell_active(&mut self, text: Arc<str>) {
        let (transaction, statement) = self.env.clocks();
        let text = self.query_string.clone().unwrap_or(text);
        self.last_lookup = None;
        self.ticket.told().change(|activity| {
            activity.state = SessionState::Active;
            activity.sleeps = false;
            activity.transaction_began = Some(transaction);
            activity.statement_began = Some(statement);
            activity.state_changed = statement;
            activity.query = text;
        });
    }

    /// The text of the last lookup, if nobody was told of it.
    pub(super) fn last_query(&self) -> Option<Arc<str>> {
        let lookup = self.last_lookup.as_ref()?;
        Some(if self.last_text.is_empty() { Arc::clone(&lookup.text) } else { self.last_text.as_str().into() })
    }

    /// The client is waited for.
    pub fn tell_idle(&mut self) {
        let now = clock_micros();
        let (state, transaction) = match self.status() {
            TransactionStatus::Idle => (SessionState::Idle, None),
            TransactionStatus::InBlock => (SessionState::IdleInTransaction, Some(self.env.clocks().0)),
            TransactionStatus::Failed => (SessionState::IdleInFailedTransaction, Some(self.env.clocks().0)),
        };
        let lookup = self.last_query();
        self.last_lookup = None;
        self.ticket.told().change(|activity| {
            activity.state = state;
            activity.sleeps = false;
            activity.transaction_began = transaction;
            activity.state_changed = now;
            if let Some(lookup) = lookup {
                activity.query = lookup;
                activity.statement_began = Some(now);
            }
        });
    }
}
