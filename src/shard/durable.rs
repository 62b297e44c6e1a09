//! Who waits for a commit to become durable.
//!
//! Architecture Invariant: ACK ⇒ DURABLE. A client is told of a commit only when its timestamp is at or below D.
//!
//! D is a function of every core's words, so it can rise through another core's flush. A core publishes the lowest timestamp
//! it waits for, looks at D once more, and only then lets go; a core whose flush has raised D past that wakes it.

use std::collections::BTreeMap;

use crate::base::CommitTs;
use crate::mesh::Replier;
use crate::runtime::signal::Sender;
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Reply, Request};

/// Somebody who waits.
pub enum DurableWaiter {
    /// A task of this core.
    Local(Sender<EngineResult<()>>),
    /// A request of another core, with the answer it gets.
    Remote(Replier<Request, Reply>, Reply),
}

/// All of a core, by timestamp.
#[derive(Default)]
pub struct DurableWaiters {
    waiting: BTreeMap<CommitTs, Vec<DurableWaiter>>,
}

impl DurableWaiters {
    /// Adds one.
    pub fn add(&mut self, ts: CommitTs, waiter: DurableWaiter) {
        self.waiting.entry(ts).or_default().push(waiter);
    }

    /// The lowest timestamp waited for.
    pub fn lowest(&self) -> Option<CommitTs> {
        self.waiting.first_key_value().map(|(ts, _)| *ts)
    }

    /// Takes out those whose timestamp is durable.
    pub fn take_through(&mut self, durable: CommitTs) -> Vec<DurableWaiter> {
        let mut ready = Vec::new();
        while let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() <= durable) {
            ready.extend(entry.remove());
        }
        ready
    }

    /// Takes out all: the log has failed.
    pub fn take_all(&mut self) -> Vec<DurableWaiter> {
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }
}

impl DurableWaiter {
    /// Durable: tell.
    pub fn resolve(self) {
        match self {
            DurableWaiter::Local(sender) => sender.send(Ok(())),
            DurableWaiter::Remote(replier, reply) => replier.reply(reply),
        }
    }

    /// Never durable: tell.
    pub fn fail(self) {
        match self {
            DurableWaiter::Local(sender) => sender.send(Err(EngineError::LogFailed)),
            DurableWaiter::Remote(replier, Reply::Write(_)) => replier.reply(Reply::Write(Err(EngineError::LogFailed))),
            DurableWaiter::Remote(replier, _) => replier.reply(Reply::Committed(Err(EngineError::LogFailed))),
        }
    }
}
