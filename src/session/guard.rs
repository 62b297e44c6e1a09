//! What can end a statement from outside while it waits: a cancel request, statement_timeout, the end of the server.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::error::{SqlError, SqlState};
use crate::runtime;
use crate::runtime::MonoTime;
use crate::session::interrupt::{Interrupt, Interruption};

/// Awaits `future` unless the session is interrupted or `deadline` passes; what is not finished then is dropped.
///
/// Only for work whose half-done state the caller undoes: never around a commit.
pub async fn guarded<T, E: From<SqlError>>(
    interrupt: &Interrupt,
    deadline: Option<MonoTime>,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut future = pin!(future);
    let mut timer = pin!(deadline.map(runtime::sleep_until));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        if let Poll::Ready(asked) = interrupt.poll_asked(cx) {
            return Poll::Ready(Err(interrupted(asked).into()));
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| Err(canceled("statement timeout").into())),
            None => Poll::Pending,
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
    }
}

fn canceled(why: &str) -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, format!("canceling statement due to {why}"))
}
