//! The session as the binder and the functions of SQL see it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::Catalog;
use crate::catalog::system::live::{SessionActivity, SessionState};
use crate::error::SqlResult;
use crate::runtime;
use crate::session::Identity;
use crate::session::activity::Told;
use crate::session::authority;
use crate::session::interrupt::{SessionRegistry, Ticket};
use crate::session::settings::{Authority, Effective, Settings};
use crate::shard::{SessionLocks, Sizes};
use crate::sql::{SessionInfo, Sessions};
use crate::types::SessionFormat;
use crate::types::datetime::calendar::UNIX_EPOCH_MICROS;

/// A change that a statement has asked for through `set_config`; carried out when the statement ends.
#[derive(Clone, Debug)]
struct Pending {
    name: String,
    value: String,
    authority: Option<Authority>,
    local: bool,
}

/// Who the client is, its settings, and the clocks of its statement and transaction.
#[derive(Debug)]
pub struct Environment {
    identity: Identity,
    locks: SessionLocks,
    settings: Settings,
    /// Values of the settings of the running transaction, as SHOW prints them.
    transaction: [(&'static str, &'static str); 3],
    pending: RefCell<Vec<Pending>>,
    transaction_micros: i64,
    statement_micros: i64,
    random: Cell<u64>,
    sizes: Option<Arc<Sizes>>,
    registry: Arc<SessionRegistry>,
    told: Arc<Told>,
}

/// Now, in microseconds since 2000-01-01 UTC.
pub fn clock_micros() -> i64 {
    runtime::wall_clock_micros() - UNIX_EPOCH_MICROS
}

impl Environment {
    /// The environment of a new session.
    pub fn new(identity: Identity, ticket: &Ticket, settings: Settings, sizes: Option<Arc<Sizes>>) -> Self {
        let now = clock_micros();
        ticket.told().begin(SessionActivity {
            pid: ticket.key().pid,
            user: identity.user.clone(),
            role: identity.role,
            database: identity.database.clone(),
            application: settings.show("application_name").unwrap_or_default(),
            client: None,
            encryption: None,
            began: now,
            transaction_began: None,
            statement_began: None,
            state_changed: now,
            state: SessionState::Idle,
            sleeps: false,
            query: "".into(),
        });
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        Self {
            identity,
            locks: SessionLocks::new(ticket.key().pid),
            settings,
            transaction: [
                ("transaction_isolation", "read committed"),
                ("transaction_read_only", "off"),
                ("transaction_deferrable", "off"),
            ],
            pending: RefCell::new(Vec::new()),
            transaction_micros: now,
            statement_micros: now,
            random: Cell::new(seed),
            sizes,
            registry: Arc::clone(ticket.registry()),
            told: Arc::clone(ticket.told()),
        }
    }

    /// Who the client is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The settings.
    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings, to change.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// The session's advisory locks.
    pub fn locks(&self) -> &SessionLocks {
        &self.locks
    }

    /// What the settings mean.
    #[inline]
    pub fn effective(&self) -> &Effective {
        self.settings.effective()
    }

    /// A statement begins; if `transaction` says so, a transaction with it.
    pub fn begin_statement(&mut self, transaction: bool) {
        self.statement_micros = clock_micros();
        if transaction {
            self.transaction_micros = self.statement_micros;
            self.settings.format_mut().now_micros = self.statement_micros;
        }
    }

    /// When the transaction and the statement began, the running ones or the last.
    pub fn clocks(&self) -> (i64, i64) {
        (self.transaction_micros, self.statement_micros)
    }

    /// What SHOW says about the running (or next) transaction.
    pub fn describe_transaction(&mut self, isolation: &'static str, read_only: bool, deferrable: bool) {
        let on_off = |flag| if flag { "on" } else { "off" };
        self.transaction[0].1 = isolation;
        self.transaction[1].1 = on_off(read_only);
        self.transaction[2].1 = on_off(deferrable);
    }

    /// Carries out what the statement has asked for through `set_config`.
    pub fn apply_pending(&mut self) -> SqlResult<()> {
        for change in std::mem::take(self.pending.get_mut()) {
            self.settings.assign(&change.name, Some(&change.value), change.authority, change.local)?;
        }
        Ok(())
    }

    /// Forgets it: the statement has failed.
    pub fn drop_pending(&mut self) {
        self.pending.get_mut().clear();
    }
}

impl SessionInfo for Environment {
    fn database(&self) -> &str {
        &self.identity.database
    }

    fn user(&self) -> &str {
        &self.identity.user
    }

    fn role(&self) -> Oid {
        self.effective().authority().role
    }

    fn session_role(&self) -> Oid {
        self.effective().session.role
    }

    fn search_path(&self) -> &[String] {
        &self.effective().search_path
    }

    fn setting(&self, name: &str) -> Option<String> {
        if let Some((_, value)) = self.transaction.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Some((*value).to_owned());
        }
        let pending = self.pending.borrow();
        match pending.iter().rev().find(|change| change.name.eq_ignore_ascii_case(name)) {
            Some(change) => Some(change.value.clone()),
            None => self.settings.show(name),
        }
    }

    fn set_setting(&self, name: &str, value: &str, local: bool, catalog: &Catalog) -> SqlResult<String> {
        let authority = authority::resolve(&name.to_ascii_lowercase(), value, catalog, &self.settings)?;
        // A trial on a copy finds out now whether it can be done; doing it waits until nothing borrows the settings.
        let value = self.settings.clone().assign(name, Some(value), authority, local)?;
        self.pending.borrow_mut().push(Pending { name: name.to_owned(), value: value.clone(), authority, local });
        Ok(value)
    }

    fn transaction_micros(&self) -> i64 {
        self.transaction_micros
    }

    fn statement_micros(&self) -> i64 {
        self.statement_micros
    }

    fn clock_micros(&self) -> i64 {
        clock_micros()
    }

    fn backend_pid(&self) -> i32 {
        self.locks.pid()
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        Some(&*self.registry)
    }

    fn sleeps(&self, sleeps: bool) {
        self.told.change(|activity| activity.sleeps = sleeps);
    }

    fn session_locks(&self) -> Option<&SessionLocks> {
        Some(&self.locks)
    }

    fn format(&self) -> &SessionFormat {
        &self.effective().format
    }

    fn sizes(&self) -> Option<&Arc<Sizes>> {
        self.sizes.as_ref()
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
