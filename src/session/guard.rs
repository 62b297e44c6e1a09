//! What can end a statement from outside while it waits: a cancel request, statement_timeout, the end of the server.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::error::{SqlError, SqlState};
use crate::runtime;
use crate::runtime::MonoTime;
use crate::session::interrupt::{Interrupt, Interruption};

const TRANSACTION_TIMEOUT: SqlState = SqlState(*b"25P04");
const CONNECTION_FAILURE: SqlState = SqlState(*b"08006");

/// When a statement has lasted too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// By statement_timeout, which ends the statement.
    pub statement: Option<MonoTime>,
    /// By transaction_timeout, which ends the session.
    pub transaction: Option<MonoTime>,
}

impl Deadlines {
    /// The first of them, and what the client is told then. Of two at the same time the graver counts.
    fn first(self) -> Option<(MonoTime, SqlError)> {
        match (self.statement, self.transaction) {
            (Some(statement), transaction) if transaction.is_none_or(|transaction| statement < transaction) => {
                Some((statement, canceled("statement timeout")))
            }
            (_, transaction) => transaction.map(|transaction| (transaction, transaction_timeout())),
        }
    }
}

/// Awaits `future` unless the session is interrupted or a deadline passes; what is not finished then is dropped.
///
/// Only for work whose half-done state the caller undoes: never around a commit.
pub async fn guarded<T, E: From<SqlError>>(
    interrupt: &Interrupt,
    deadlines: Deadlines,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut future = pin!(future);
    let (at, error) = deadlines.first().unzip();
    let mut timer = pin!(at.map(runtime::sleep_until));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        if let Poll::Ready(asked) = interrupt.poll_asked(cx) {
            return Poll::Ready(Err(interrupted(asked).into()));
        }
        match (timer.as_mut().as_pin_mut(), &error) {
            (Some(timer), Some(error)) => timer.poll(cx).map(|()| Err(error.clone().into())),
            _ => Poll::Pending,
        }
    })
    .await
}

/// The end of a statement that may run for so many milliseconds from now; 0 for no end.
pub fn deadline(timeout_ms: u32) -> Option<MonoTime> {
    (timeout_ms > 0).then(|| runtime::now() + Duration::from_millis(u64::from(timeout_ms)))
}

/// What an interrupted client is told.
pub fn interrupted(asked: Interruption) -> SqlError {
    match asked {
        Interruption::Cancel => canceled("user request"),
        Interruption::Terminate => SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command"),
        Interruption::Abandon => SqlError::new(CONNECTION_FAILURE, "connection to client lost"),
    }
}

/// What a client is told whose transaction has lasted too long (transaction_timeout of PostgreSQL 17).
pub fn transaction_timeout() -> SqlError {
    SqlError::new(TRANSACTION_TIMEOUT, "terminating connection due to transaction timeout")
}

/// Why a session ends whose client says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Outside a transaction, by idle_session_timeout.
    Idle,
    /// In a transaction, by idle_in_transaction_session_timeout.
    IdleInTransaction,
    /// In a transaction that has lasted too long, by transaction_timeout.
    Transaction,
}

impl Silence {
    /// What the client is told.
    pub fn error(self) -> SqlError {
        match self {
            Silence::Idle => SqlError::new(SqlState(*b"57P05"), "terminating connection due to idle-session timeout"),
            Silence::IdleInTransaction => {
                SqlError::new(SqlState(*b"25P03"), "terminating connection due to idle-in-transaction timeout")
            }
            Silence::Transaction => transaction_timeout(),
        }
    }
}

/// Whether an error is the end of the session.
pub fn ends_session(error: &SqlError) -> bool {
    matches!(error.code(), TRANSACTION_TIMEOUT | SqlState::ADMIN_SHUTDOWN | CONNECTION_FAILURE)
}

fn canceled(why: &str) -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, format!("canceling statement due to {why}"))
}
