//! Admission: which connections there may be at once, and who waits.
//!
//! A connection goes through two rooms. Until its client has proved who it is, it is in the [`Lobby`], which is bounded on its own: when
//! it is full, the one that has taken longest has to go, so that clients that dawdle cannot keep others from logging in. Whoever is
//! known asks for one of the [`Slots`] and waits for it in the order of arrival, for `acquire_timeout` at most. Slots are kept until the
//! connection ends; some are for superusers alone, so that there is always a way in to look and to end what fills the others.
//!
//! Cancel requests never get that far: they are carried out in the lobby and end there.
//!
//! Both are shared by all cores behind a mutex each, taken when a connection starts, logs in and ends; never by a statement.

mod lobby;
mod slots;

use std::sync::Arc;
use std::time::Duration;

pub use lobby::{Guest, Lobby};
pub use slots::{Class, Entry, Slot, Slots, SlotsLimits, Waiting};

use crate::error::SqlError;

/// The two rooms.
#[derive(Debug)]
pub struct Entrance {
    /// Those that are not known yet.
    pub lobby: Arc<Lobby>,
    /// Those that are.
    pub slots: Arc<Slots>,
    /// How long a client waits for a slot; `None`: it does not.
    pub patience: Option<Duration>,
}

impl Entrance {
    /// With these limits.
    pub fn new(starting_max: usize, limits: SlotsLimits, patience: Option<Duration>) -> Self {
        Self { lobby: Lobby::new(starting_max), slots: Slots::new(limits), patience }
    }

    /// Who waits is told so, and so is who comes from now on.
    pub fn close(&self, error: &SqlError) {
        self.slots.close(error);
    }
}

#[cfg(test)]
mod tests;
