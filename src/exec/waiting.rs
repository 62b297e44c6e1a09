//! Functions that wait, called on behalf of expressions.
//!
//! An expression is evaluated until it wants such a function's value. Then the function is called, what it answered is noted, and
//! the expression is evaluated again from its beginning, with that answer at hand; until it has all. So the functions are called
//! in the order and under the conditions that evaluation gives them, in CASE, COALESCE, AND and OR, with the arguments of each row.
//! Volatile functions are not called again either: what the clock said before a sleep stays what it was.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::Oid;
use crate::catalog::system::cores::Look;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{ExecContext, Notice};
use crate::runtime;
use crate::sql::function::Waiting;
use crate::txn::{AdvisoryKey, AdvisoryLock};
use crate::types::Datum;

/// How often it is looked whether a session has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What these functions, and volatile ones besides, have answered for the row that is being evaluated, in the order of their calls.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    answers: Vec<Datum>,
    /// How many of them this evaluation has used.
    used: usize,
    /// The call whose answer it went without.
    wanted: Option<(Waiting, Vec<Datum>)>,
}

impl Answers {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another row is evaluated.
    pub fn forget(&self) {
        *self.noted() = Noted::default();
    }

    /// The next answer, if an earlier evaluation has come as far as this.
    pub fn known(&self) -> Option<Datum> {
        let mut noted = self.noted();
        let answer = noted.answers.get(noted.used).cloned()?;
        noted.used += 1;
        Some(answer)
    }

    /// Adds an answer of this evaluation.
    pub fn note(&self, answer: Datum) {
        let mut noted = self.noted();
        noted.answers.push(answer);
        noted.used = noted.answers.len();
    }

    /// The next answer; an error ends the evaluation if there is none yet.
    pub fn next(&self, function: Waiting, args: &[Datum]) -> SqlResult<Datum> {
        if let Some(answer) = self.known() {
            return Ok(answer);
        }
        self.noted().wanted = Some((function, args.to_vec()));
        Err(SqlError::internal("a function that waits has not been waited for"))
    }

    /// Calls the function that the last evaluation has ended for; `false` if it has ended for another reason.
    pub async fn find(&self, context: &mut ExecContext<'_>) -> SqlResult<bool> {
        let wanted = self.noted().wanted.take();
        let Some((function, args)) = wanted else { return Ok(false) };
        let answer = call(function, &args, context).await?;
        let mut noted = self.noted();
        noted.answers.push(answer);
        noted.used = 0;
        Ok(true)
    }
}

/// What functions without a result answer.
fn void() -> Datum {
    Datum::text("")
}

async fn call(function: Waiting, args: &[Datum], context: &mut ExecContext<'_>) -> SqlResult<Datum> {
    match function {
        Waiting::AdvisoryLock { shared, transaction, block } => {
            let lock = AdvisoryLock { key: key(args)?, shared, transaction };
            let session = locks_of(context)?;
            let taken = context.engine.clone().advisory_lock(context.txn, session, lock, block).await?;
            Ok(if block { void() } else { Datum::Bool(taken) })
        }
        Waiting::AdvisoryUnlock { shared } => {
            let lock = AdvisoryLock { key: key(args)?, shared, transaction: false };
            let had = context.engine.advisory_unlock(locks_of(context)?, lock).await;
            if !had {
                let mode = lock.mode().name();
                context.notices.push(Notice::warning(format!("you don't own a lock of type {mode}")));
            }
            Ok(Datum::Bool(had))
        }
        Waiting::AdvisoryUnlockAll => {
            context.engine.advisory_unlock_all(locks_of(context)?).await;
            Ok(void())
        }
        Waiting::Sleep => {
            context.session.sleeps(true);
            sleep(args).await?;
            context.session.sleeps(false);
            Ok(void())
        }
        Waiting::ResetLatencies => {
            if !context.catalog.is_superuser(context.session.role()) {
                let message = "permission denied for function omendb_reset_latency";
                return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
            }
            context.engine.look_at_all(Look::ResetLatencies).await;
            Ok(void())
        }
        Waiting::CancelBackend => signal_session(args, false, context).await,
        Waiting::TerminateBackend => signal_session(args, true, context).await,
    }
}

fn locks_of<'a>(context: &ExecContext<'a>) -> SqlResult<&'a crate::shard::SessionLocks> {
    context.session.session_locks().ok_or_else(|| SqlError::internal("advisory locks are taken by sessions"))
}

fn key(args: &[Datum]) -> SqlResult<AdvisoryKey> {
    match args {
        [Datum::Int8(key)] => Ok(AdvisoryKey::Big(*key)),
        [Datum::Int4(class), Datum::Int4(object)] => Ok(AdvisoryKey::Pair(*class, *object)),
        _ => Err(wrong_arguments()),
    }
}

fn wrong_arguments() -> SqlError {
    SqlError::internal("a function that waits was called with values of other types than it was resolved for")
}

/// `pg_cancel_backend` and `pg_terminate_backend`: whether there was such a session, and with a timeout, whether it has ended.
async fn signal_session(args: &[Datum], terminate: bool, context: &mut ExecContext<'_>) -> SqlResult<Datum> {
    let (pid, timeout_ms) = match args {
        [Datum::Int4(pid)] => (*pid, 0),
        [Datum::Int4(pid), Datum::Int8(timeout_ms)] => (*pid, *timeout_ms),
        _ => return Err(wrong_arguments()),
    };
    let Ok(timeout_ms) = u64::try_from(timeout_ms) else {
        return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "\"timeout\" must not be negative"));
    };
    let sessions = context.session.sessions().ok_or_else(|| SqlError::internal("sessions are signalled by sessions"))?;
    let role = sessions.role(pid);
    if let Some(role) = role {
        may_signal(role, terminate, context)?;
    }
    let found = role.is_some() && if terminate { sessions.terminate(pid) } else { sessions.cancel(pid) };
    if !found {
        context.notices.push(Notice::warning(format!("PID {pid} is not a PostgreSQL backend process")));
        return Ok(Datum::Bool(false));
    }
    // One that has signalled itself is to hear of it before it goes on.
    runtime::yield_now().await;
    if timeout_ms == 0 {
        return Ok(Datum::Bool(true));
    }
    let ended = async {
        while sessions.role(pid).is_some() {
            runtime::sleep(LOOK).await;
        }
    };
    let in_time = runtime::timeout(Duration::from_millis(timeout_ms), ended).await.is_ok();
    if !in_time {
        let unit = if timeout_ms == 1 { "millisecond" } else { "milliseconds" };
        let message = format!("backend with PID {pid} did not terminate within {timeout_ms} {unit}");
        context.notices.push(Notice::warning(message));
    }
    Ok(Datum::Bool(in_time))
}

/// Sessions are signalled by members of their role, those of superusers by superusers.
fn may_signal(target: Oid, terminate: bool, context: &ExecContext<'_>) -> SqlResult<()> {
    let (catalog, role) = (&context.catalog, context.session.role());
    let (act, what, done) = if terminate { ("terminate", "process", "terminated") } else { ("cancel", "query", "canceled") };
    let message = if catalog.is_superuser(target) && !catalog.is_superuser(role) {
        format!("must be a superuser to {act} superuser {what}")
    } else if !catalog.has_privileges_of(role, target) {
        format!("must be a member of the role whose {what} is being {done} or member of pg_signal_backend")
    } else {
        return Ok(());
    };
    Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message))
}

/// A number that is no duration, or a negative one, is none; beyond what a clock can count, it is for ever.
async fn sleep(args: &[Datum]) -> SqlResult<()> {
    const LONGEST: f64 = 1e9;
    let [Datum::Float8(seconds)] = args else { return Err(wrong_arguments()) };
    if *seconds > 0.0 {
        runtime::sleep(Duration::from_secs_f64(seconds.min(LONGEST))).await;
    }
    Ok(())
}
