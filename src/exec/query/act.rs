//! Functions that do something and may wait: advisory locks, `pg_sleep`.

use std::time::Duration;

use crate::error::{SqlError, SqlResult};
use crate::exec::context::{ExecContext, Notice, Row};
use crate::runtime;
use crate::sql::function::action::Action;
use crate::txn::LockWait;
use crate::txn::advisory::AdvisoryKey;
use crate::types::Datum;

/// The longest sleep; what is longer is cut to it, as a client does not live so long.
const SLEEP_SECONDS_MAX: f64 = 1e9;

/// One call, made when its row is asked for.
pub struct Act {
    action: Action,
    args: Vec<Datum>,
    ordinality: bool,
    done: bool,
}

impl Act {
    /// A call with these arguments.
    pub fn new(action: Action, args: Vec<Datum>, ordinality: bool) -> Self {
        Self { action, args, ordinality, done: false }
    }

    /// Its row.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        // All of them are strict.
        let value = if self.args.iter().any(Datum::is_null) { Datum::Null } else { self.act(context).await? };
        let number = self.ordinality.then_some(Datum::Int8(1));
        Ok(Some(vec![[value].into_iter().chain(number).collect()]))
    }

    async fn act(&self, context: &mut ExecContext<'_>) -> SqlResult<Datum> {
        let (engine, pid) = (context.engine.clone(), context.session.backend_pid());
        match self.action {
            Action::Lock { mode, level, wait } => {
                let patience = if wait { LockWait::Block } else { LockWait::NoWait };
                let locked = engine.advisory_lock(context.txn, pid, self.key()?, mode, level, patience).await?;
                Ok(if wait { void() } else { Datum::Bool(locked) })
            }
            Action::Unlock { mode } => {
                let unlocked = engine.advisory_unlock(context.txn, pid, self.key()?, mode);
                if !unlocked {
                    context.notices.push(Notice::warning(format!("you don't own a lock of type {}", mode.name())));
                }
                Ok(Datum::Bool(unlocked))
            }
            Action::UnlockAll => {
                engine.advisory_unlock_all(context.txn, pid);
                Ok(void())
            }
            Action::Sleep => {
                let Datum::Float8(seconds) = self.args[0] else { return Err(wrong_arguments()) };
                // As in PostgreSQL, neither a negative number nor NaN is a time to wait.
                if seconds > 0.0 {
                    runtime::sleep(Duration::from_secs_f64(seconds.min(SLEEP_SECONDS_MAX))).await;
                }
                Ok(void())
            }
        }
    }

    fn key(&self) -> SqlResult<AdvisoryKey> {
        match self.args[..] {
            [Datum::Int8(key)] => Ok(AdvisoryKey::One(key)),
            [Datum::Int4(class), Datum::Int4(object)] => Ok(AdvisoryKey::Two(class, object)),
            _ => Err(wrong_arguments()),
        }
    }
}

/// The value of type void.
fn void() -> Datum {
    Datum::Text("".into())
}

fn wrong_arguments() -> SqlError {
    SqlError::internal("a function that acts was called with values of other types than it was resolved for")
}
