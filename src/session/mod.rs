//! One client's conversation with the database: its settings, transaction, prepared statements and portals, and the running of
//! its statements.
//!
//! | module | role |
//! |---|---|
//! | `response` | what a session says and to whom: the [`Client`](response::Client) that the wire layer implements |
//! | `backend` | what a session needs of executor and engine |
//! | `settings`, `environment` | SET and SHOW; the session as functions see it |
//! | `authority` | SET ROLE and SET SESSION AUTHORIZATION |
//! | `transaction` | the transaction block |
//! | `two_phase` | PREPARE TRANSACTION and what decides it |
//! | `prepared`, `portal`, `plan_cache` | what stays between messages |
//! | `simple`, `extended` | the two query protocols |
//! | `point` | point lookups, alone and in batches: the path of benchmarks |
//! | `run`, `utility`, `copy` | running one statement |
//! | `timing` | where a statement's time goes |
//! | `audit` | what is told of it in the audit log |
//! | `activity` | what others see of the session |
//! | `interrupt`, `guard` | cancel requests, timeouts, shutdown |
//! | `pool` | sessions that clients share, a transaction each |
//!
//! Invariants: a session is `Send` between two calls and belongs to the core that calls it during one; it keeps no handle of a
//! core. No borrow of its cells is held across an await.

mod activity;
mod audit;
mod authority;
pub mod backend;
mod copy;
mod environment;
mod extended;
pub mod formats;
mod guard;
pub mod interrupt;
pub mod native;
mod plan_cache;
mod point;
pub mod pool;
mod portal;
mod prepared;
pub mod response;
mod run;
pub mod settings;
#[cfg(test)]
mod sim_tests;
mod simple;
mod tag;
#[cfg(test)]
pub(crate) mod testing;
mod timing;
mod transaction;
mod two_phase;
mod utility;

use std::sync::Arc;
use std::time::Duration;

use crate::base::Oid;
use crate::catalog::acl::ask::Holder;
use crate::catalog::{Catalog, Privileges};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::Stage;
use crate::runtime::MonoTime;
use crate::session::backend::Backend;
use crate::session::environment::Environment;
use crate::session::guard::ends_session;
use crate::session::interrupt::{CancelKey, Interrupt, Interruption, Ticket};
use crate::session::plan_cache::PlanCache;
use crate::session::point::PointBatch;
use crate::session::portal::Portals;
use crate::session::prepared::{Prepared, Statements};
use crate::session::response::{Client, Response, Severity, TransactionStatus};
use crate::session::settings::{Authority, Settings};
use crate::session::timing::Stopwatch;
use crate::session::transaction::{Transaction, failed_block, isolation_name};
use crate::shard::Txn;
use crate::sql::plan::Statement;
use crate::sql::{BindContext, ParsedStatement};
use crate::txn::Isolation;
use crate::types::SqlType;

pub use extended::BindRequest;
pub use guard::{Silence, interrupted};
pub use point::PointLookup;

/// Who a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// The role whose privileges it has.
    pub role: Oid,
    /// The database.
    pub database: String,
}

/// 42501 unless a role may connect to the database.
fn check_connect(identity: &Identity, catalog: &Catalog) -> SqlResult<()> {
    if catalog.held_on_database(Holder::Role(identity.role)).privileges.contains(Privileges::CONNECT) {
        return Ok(());
    }
    let message = format!("permission denied for database \"{}\"", identity.database);
    Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message).detail("User does not have CONNECT privilege."))
}

/// A session. Owned by one connection; moves between cores with it.
pub struct Session<B: Backend> {
    env: Environment,
    ticket: Ticket,
    txn: Transaction,
    statements: Statements,
    portals: Portals<B::Cursor>,
    /// Plans by the exact text of Parse.
    texts: PlanCache,
    /// Plans by normal form, and of texts without literals.
    normal_forms: PlanCache,
    points: PointBatch,
    /// The query string that is being run, where its statements are not all of it.
    query_string: Option<Arc<str>>,
    /// The last point lookup, if nothing else came after it and nobody was told of it.
    last_lookup: Option<Arc<Prepared>>,
    /// Its text, if it came as one.
    last_text: String,
    /// Why the session is to end, once a statement has found out.
    ending: Option<SqlError>,
    watch: Stopwatch,
}

impl<B: Backend> Session<B> {
    /// A new session with the settings of its startup packet.
    ///
    /// Errors: 42501 for a role that may not connect to the database, and those of SET.
    pub fn new(backend: &B, identity: Identity, startup: &[(String, String)], ticket: Ticket) -> SqlResult<Self> {
        let catalog = backend.catalog(None);
        check_connect(&identity, &catalog)?;
        let login = Authority { role: identity.role, superuser: catalog.is_superuser(identity.role) };
        let resolve = |settings: &Settings, name: &str, value: &str| authority::resolve(name, value, &catalog, settings);
        let mut settings = Settings::new(&identity.user, login, startup, resolve)?;
        settings.set_presets(backend.presets());
        let pid = ticket.key().pid;
        let env = Environment::new(identity, &ticket, settings, backend.sizes());
        Ok(Self {
            env,
            ticket,
            txn: Transaction::new(pid),
            statements: Statements::default(),
            portals: Portals::default(),
            texts: PlanCache::default(),
            normal_forms: PlanCache::default(),
            points: PointBatch::default(),
            query_string: None,
            last_lookup: None,
            last_text: String::new(),
            ending: None,
            watch: Stopwatch::default(),
        })
    }

    /// What the client needs to cancel its statements.
    pub fn cancel_key(&self) -> CancelKey {
        self.ticket.key()
    }

    /// The session's ear.
    pub fn interrupt(&self) -> &Arc<Interrupt> {
        self.ticket.interrupt()
    }

    /// The settings that the client is told of at the start.
    pub fn reported_settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.env.settings().reported()
    }

    /// What ReadyForQuery says.
    pub fn status(&self) -> TransactionStatus {
        self.txn.status()
    }

    /// Why the session is to end, if it is.
    pub fn ending(&self) -> Option<SqlError> {
        match self.interrupt().asked() {
            Some(asked @ (Interruption::Terminate | Interruption::Abandon)) => Some(interrupted(asked)),
            _ => self.ending.clone(),
        }
    }

    /// When the session is to be ended whose client says nothing from `since` on, and why; `None` for never.
    pub fn idle_limit(&self, since: MonoTime) -> Option<(MonoTime, Silence)> {
        let effective = self.env.effective();
        let (limit_ms, why) = match self.status() {
            TransactionStatus::Idle => (effective.idle_timeout_ms, Silence::Idle),
            _ => (effective.idle_in_transaction_timeout_ms, Silence::IdleInTransaction),
        };
        let idle = (limit_ms > 0).then(|| (since + Duration::from_millis(limit_ms.into()), why));
        let transaction = self.txn.deadline().map(|at| (at, Silence::Transaction));
        match (idle, transaction) {
            (Some(idle), Some(transaction)) => Some(if idle.0 < transaction.0 { idle } else { transaction }),
            (idle, transaction) => idle.or(transaction),
        }
    }

    /// How often is looked whether the client is still there while a statement runs; `None` for never.
    pub fn check_interval(&self) -> Option<Duration> {
        let interval_ms = self.env.effective().check_interval_ms;
        (interval_ms > 0).then(|| Duration::from_millis(interval_ms.into()))
    }

    /// The connection is over: what its transaction did is undone.
    pub async fn close(&mut self, backend: &B) {
        self.portals.clear();
        self.txn.rollback(backend).await;
        backend.unlock_session(self.env.locks()).await;
    }

    /// Whether a ReadyForQuery would end nothing and have nothing more to say.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.may_read_alone() && !self.env.settings().has_changes() && !self.env.settings().has_reports()
    }

    /// A simple query does away with the unnamed statement and portal.
    pub fn forget_unnamed(&mut self) {
        self.statements.remove("");
        self.portals.remove("");
    }

    /// ReadyForQuery of a session that is quiet.
    pub fn ready_now(&mut self, client: &mut impl Client) {
        assert!(self.is_quiet(), "nothing is to be ended");
        self.txn.leave_implicit();
        self.send_ready(client);
    }

    /// A message outside the extended protocol has failed.
    pub async fn query_failed(&mut self, backend: &B, client: &mut impl Client, error: &SqlError) {
        self.report(backend, client, error).await;
        self.send_ready(client);
    }

    /// Tells the client about settings that have changed, then that the next query may come.
    fn send_ready(&mut self, client: &mut impl Client) {
        if self.ending.is_some() {
            return;
        }
        if self.env.settings().has_reports() {
            for (name, value) in self.env.settings_mut().take_reports() {
                if name == "application_name" {
                    self.ticket.told().change(|activity| activity.application.clone_from(&value));
                }
                client.send(Response::Parameter(name, &value));
            }
        }
        client.send(Response::Ready(self.txn.status()));
    }

    /// Sends a message that is no error, if the client wants to hear of it.
    fn notice(&self, client: &mut impl Client, severity: Severity, error: &SqlError) {
        if severity >= self.env.effective().message_min || severity == Severity::Info {
            client.send(Response::Message(severity, error));
        }
    }

    /// Sends what a statement has to say besides its result.
    fn notices(&self, client: &mut impl Client, notices: &[(Severity, SqlError)]) {
        for (severity, notice) in notices {
            self.notice(client, *severity, notice);
        }
    }

    /// Ends the transaction, keeping what it did unless its block has failed; `true` if it was kept.
    async fn commit(&mut self, backend: &B) -> SqlResult<bool> {
        self.portals.clear();
        // What there was to run has run; what comes is the commit.
        let has_effects = self.txn.txn().is_some_and(Txn::has_effects);
        if has_effects {
            self.lap_execution(backend);
        }
        let outcome = self.txn.commit(backend).await;
        if has_effects {
            self.lap_commit(backend);
        }
        match outcome {
            Ok(true) => self.env.settings_mut().commit(),
            Ok(false) | Err(_) => self.env.settings_mut().rollback(),
        }
        self.describe_transaction();
        outcome
    }

    /// Ends the transaction, undoing what it did.
    async fn rollback(&mut self, backend: &B) {
        self.portals.clear();
        self.txn.rollback(backend).await;
        self.env.settings_mut().rollback();
        self.describe_transaction();
    }

    /// A statement has failed: so has its transaction.
    async fn fail(&mut self, backend: &B) {
        self.portals.clear();
        self.env.drop_pending();
        match self.txn.fail(backend).await {
            Some(mark) => self.env.settings_mut().rollback_to(mark),
            None => self.env.settings_mut().rollback(),
        }
    }

    /// Sends an error and lets the transaction fail. One that ends the session is said by whoever ends it, as the last thing.
    async fn report(&mut self, backend: &B, client: &mut impl Client, error: &SqlError) {
        backend.metrics().failed(error.code());
        self.statement_failed(backend);
        if ends_session(error) {
            self.ending = Some(error.clone());
        } else {
            client.send(Response::Message(Severity::Error, error));
        }
        self.fail(backend).await;
    }

    /// Keeps what SHOW says about the transaction right.
    fn describe_transaction(&mut self) {
        let modes = self.txn.modes(self.env.effective());
        self.env.describe_transaction(isolation_name(modes.isolation), modes.read_only, modes.deferrable);
    }

    /// Whether a statement may be answered outside any transaction: none is open, and none of several statements is wanted.
    #[inline]
    fn may_read_alone(&self) -> bool {
        self.txn.is_free() && self.env.effective().isolation == Isolation::ReadCommitted
    }

    /// Binds a parsed statement against the catalog its transaction sees.
    fn bind_statement(&self, backend: &B, parsed: &ParsedStatement, declared: &[SqlType]) -> SqlResult<Statement> {
        let catalog = backend.catalog(self.txn.txn());
        crate::sql::bind(parsed, &BindContext { catalog: &catalog, param_types: declared, session: &self.env })
    }

    /// A text of at most one statement, parsed and bound.
    ///
    /// Errors: 42601 for several statements, 25P02 in a failed block, and those of parsing and binding.
    fn prepare(&mut self, backend: &B, text: &str, declared: &[SqlType]) -> SqlResult<Arc<Prepared>> {
        let parsed = crate::sql::parse(text)?;
        self.lap(Stage::Parse);
        let statement = match parsed.as_slice() {
            [] => None,
            [one] => {
                if self.txn.block() == transaction::Block::Failed && !one.ends_failed_transaction() {
                    return Err(failed_block());
                }
                Some(Arc::new(self.bind_statement(backend, one, declared)?))
            }
            _ => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
            }
        };
        Ok(self.new_prepared(text, statement))
    }

    fn new_prepared(&self, text: &str, statement: Option<Arc<Statement>>) -> Arc<Prepared> {
        // Neither kept for longer than it takes nor shown to anybody: what it says is in the plan.
        let secret = statement.as_ref().is_some_and(|statement| statement.holds_secret());
        let text = if secret { "" } else { text };
        Arc::new(Prepared::new(text.into(), statement, self.env.settings().plan_epoch()))
    }

    /// Whether a plan was made from what every session sees, so that it may outlive this transaction.
    fn is_shareable(&self, backend: &B, prepared: &Prepared) -> bool {
        let published = backend.catalog_version(None);
        let shareable = |statement: &Arc<Statement>| statement.catalog_version == published && !statement.holds_secret();
        prepared.statement.as_ref().is_some_and(shareable)
    }
}
