//! What can end a statement from outside while it waits: a cancel request, statement_timeout, the end of the server.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::error::{SqlError, SqlState};
use crate::runtime;
use crate::runtime::MonoTime;
use crate::session::interrupt::{Interrupt, Interruption};

/// The latest end of a statement, and which setting says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: MonoTime,
    of: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Statement,
    Transaction,
}

impl Deadline {
    /// The end of a statement that begins now and may run for so many milliseconds (0: for ever), in a transaction that ends at
    /// `transaction_end`.
    pub fn of(statement_timeout_ms: u32, transaction_end: Option<MonoTime>) -> Option<Self> {
        let statement_end =
            (statement_timeout_ms > 0).then(|| runtime::now() + Duration::from_millis(u64::from(statement_timeout_ms)));
        match (statement_end, transaction_end) {
            (Some(at), None) => Some(Self { at, of: Limit::Statement }),
            (Some(at), Some(end)) if at < end => Some(Self { at, of: Limit::Statement }),
            (_, Some(end)) => Some(Self { at: end, of: Limit::Transaction }),
            (None, None) => None,
        }
    }

    fn error(self) -> SqlError {
        match self.of {
            Limit::Statement => canceled("statement timeout"),
            Limit::Transaction => transaction_timeout(),
        }
    }
}

/// Awaits `future` unless the session is interrupted or `deadline` passes; what is not finished then is dropped.
///
/// Only for work whose half-done state the caller undoes: never around a commit.
pub async fn guarded<T, E: From<SqlError>>(
    interrupt: &Interrupt,
    deadline: Option<Deadline>,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut future = pin!(future);
    let mut timer = pin!(deadline.map(|deadline| runtime::sleep_until(deadline.at)));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            // A statement may have asked its own session to end.
            return Poll::Ready(match interrupt.asked() {
                Some(asked) => outcome.and(Err(interrupted(asked).into())),
                None => outcome,
            });
        }
        if let Poll::Ready(asked) = interrupt.poll_asked(cx) {
            return Poll::Ready(Err(interrupted(asked).into()));
        }
        match (timer.as_mut().as_pin_mut(), deadline) {
            (Some(timer), Some(deadline)) => timer.poll(cx).map(|()| Err(deadline.error().into())),
            _ => Poll::Pending,
        }
    })
    .await
}

/// What a client hears whose transaction has lasted too long. It ends the connection.
pub fn transaction_timeout() -> SqlError {
    SqlError::new(SqlState::TRANSACTION_TIMEOUT, "terminating connection due to transaction timeout")
}

/// What an interrupted client is told.
pub fn interrupted(asked: Interruption) -> SqlError {
    match asked {
        Interruption::Cancel => canceled("user request"),
        Interruption::Terminate => SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command"),
    }
}

fn canceled(why: &str) -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, format!("canceling statement due to {why}"))
}
