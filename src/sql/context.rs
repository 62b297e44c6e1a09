//! What binding and evaluation need to know of the session, the transaction and the catalog.
//!
//! Nothing here is stored in a plan: a plan may be run by another session, or later, with another context.

use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::system::live::SessionActivity;
use crate::catalog::{BOOTSTRAP_ROLE, Catalog};
use crate::error::{SqlError, SqlResult};
use crate::shard::{SessionLocks, Sizes};
use crate::sql::expr::Subquery;
use crate::sql::expr::in_set::InSet;
use crate::sql::function::{FunctionRef, Waiting};
use crate::types::{Datum, SqlType};

/// What binding a statement depends on besides its text.
pub struct BindContext<'a> {
    /// The catalog the transaction sees.
    pub catalog: &'a Catalog,
    /// Parameter types given by the client; `Unknown`, or a missing one, is inferred.
    pub param_types: &'a [SqlType],
    /// The session: search path, user, settings.
    pub session: &'a dyn SessionInfo,
}

/// The session as functions and the binder see it. Implemented by the session; object-safe, and all of it cheap to call.
pub trait SessionInfo {
    /// Name of the database connected to.
    fn database(&self) -> &str;
    /// The name that the user has logged in with. See [`name_of_role`].
    fn user(&self) -> &str;
    /// The role whose privileges the session has.
    fn role(&self) -> Oid;
    /// The role that the session is for: whose privileges it has until SET ROLE says otherwise.
    fn session_role(&self) -> Oid {
        self.role()
    }
    /// `search_path`, without the implicit `pg_catalog`; `"$user"` already resolved or left out.
    fn search_path(&self) -> &[String];
    /// A setting's text as SHOW prints it; `None` if there is no such setting.
    fn setting(&self, name: &str) -> Option<String>;
    /// `set_config`: changes a setting for the session, or for the transaction if `local`. Answers the new value.
    fn set_setting(&self, name: &str, value: &str, local: bool, catalog: &Catalog) -> SqlResult<String>;
    /// Start of the transaction: microseconds since 2000-01-01 UTC.
    fn transaction_micros(&self) -> i64;
    /// Start of the statement: microseconds since 2000-01-01 UTC.
    fn statement_micros(&self) -> i64;
    /// The wall clock now: microseconds since 2000-01-01 UTC.
    fn clock_micros(&self) -> i64;
    /// The process id told to the client in BackendKeyData.
    fn backend_pid(&self) -> i32;
    /// 64 random bits from the session's generator.
    fn random(&self) -> u64;
    /// Formats and time zone for text conversions.
    fn format(&self) -> &crate::types::SessionFormat;
    /// All sessions of the server; `None` where there are none.
    fn sessions(&self) -> Option<&dyn Sessions> {
        None
    }
    /// Says whether the session sleeps (`pg_sleep`). When its statement ends, it sleeps no more.
    fn sleeps(&self, _sleeps: bool) {}
    /// The session's advisory locks; `None` where there is no session.
    fn session_locks(&self) -> Option<&SessionLocks> {
        None
    }
    /// How much memory storages take; `None` where no engine is at hand.
    fn sizes(&self) -> Option<&Arc<Sizes>> {
        None
    }
}

/// The name of the session's own or current role: that of a user who stands for the bootstrap superuser, where the server is open to
/// everybody, is its own. `None` for a role that is gone.
pub fn name_of_role(role: Oid, session: &dyn SessionInfo, catalog: &Catalog) -> Option<String> {
    let stands_in = role == BOOTSTRAP_ROLE && role == session.session_role() && catalog.role_named(session.user()).is_none();
    match stands_in {
        true => Some(session.user().to_owned()),
        false => catalog.roles.get(&role).map(|role| role.name.clone()),
    }
}

/// The sessions of the server by their process ids.
pub trait Sessions {
    /// Ends what a session runs; `false` if there is no such session.
    fn cancel(&self, pid: i32) -> bool;
    /// Ends a session; `false` if there is no such session.
    fn terminate(&self, pid: i32) -> bool;
    /// The role of a session, if there is such a session.
    fn role(&self, pid: i32) -> Option<Oid>;
    /// What each of them does, in the order of their process ids.
    fn activities(&self) -> Vec<SessionActivity>;
}

/// Everything evaluation may refer to besides the row itself.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    /// Parameter values, already of the statement's parameter types.
    pub params: &'a [Datum],
    /// Rows of enclosing queries, innermost first.
    pub outer: Option<&'a OuterRow<'a>>,
    /// The session.
    pub session: &'a dyn SessionInfo,
    /// The catalog, for functions such as `pg_table_is_visible`.
    pub catalog: &'a Catalog,
    /// Results of subqueries, evaluated beforehand.
    pub subqueries: &'a dyn SubqueryResults,
}

/// A row of an enclosing query; `Expr::Outer { depth: 1 }` is the first of the chain.
#[derive(Clone, Copy)]
pub struct OuterRow<'a> {
    /// Its values.
    pub row: &'a [Datum],
    /// The next row out.
    pub parent: Option<&'a OuterRow<'a>>,
}

/// Where evaluation finds the values of subqueries. Evaluation is synchronous and running a plan is not, so the executor runs
/// the subqueries of an expression first (`expr::subqueries` lists them): uncorrelated ones once a statement, correlated ones
/// once for each row, and answers from here.
pub trait SubqueryResults {
    /// The value of `subquery`, found by the identity of the `Arc`.
    fn result(&self, subquery: &Arc<Subquery>) -> Option<SubqueryValue>;

    /// What the volatile function called next has answered in an earlier evaluation of the same expression over the same row; `None` if this
    /// is the first.
    fn noted(&self) -> Option<Datum> {
        None
    }

    /// Keeps what a volatile function has answered, in case the expression has to be evaluated again.
    fn note(&self, _answer: &Datum) {}

    /// The answer of a function that waits. An error means that the executor is to find it and to evaluate again, or, as 0A000, that it
    /// does not do so where this expression is.
    fn waited(&self, function: FunctionRef, _waiting: Waiting, _args: &[Datum]) -> SqlResult<Datum> {
        Err(SqlError::unsupported(format!("{} in this place", function.get().name)))
    }
}

/// The value of a subquery.
#[derive(Clone, Debug)]
pub enum SubqueryValue {
    /// The value of a scalar subquery: NULL if it had no row.
    Scalar(Datum),
    /// Whether there was a row.
    Exists(bool),
    /// The values of an IN subquery.
    In(Arc<InSet>),
}

/// The answer for expressions without subqueries.
pub struct NoSubqueries;

impl SubqueryResults for NoSubqueries {
    fn result(&self, _subquery: &Arc<Subquery>) -> Option<SubqueryValue> {
        None
    }
}
