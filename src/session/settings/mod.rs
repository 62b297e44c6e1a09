//! The session's settings: SET, SHOW, RESET, with PostgreSQL's names, checks and transaction behaviour.
//!
//! Most sessions change few settings, so a session holds only what differs from the built-in defaults. A changed setting has
//! two values: the one that counts now, and the one that will count once the transaction has committed (they differ after SET
//! LOCAL). What a transaction changes goes to a journal, so that a rollback, to a savepoint too, restores both.
//!
//! A setting is here only if it has its PostgreSQL effect, or if it is one that may change how fast something is but not what
//! it means ([`Definition::hint`]). Values that PostgreSQL knows and this server has not answer 0A000.
//!
//! Source: PostgreSQL 15 documentation, chapter 20 and "SET"; behaviour after its `guc.c`.

mod definitions;
mod value;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::response::Severity;
use crate::txn::Isolation;
use crate::types::SessionFormat;

pub use definitions::{Access, DEFINITIONS, Definition, SERVER_VERSION, definition};
pub use value::show_seconds;

/// The most settings of its own that a session may invent (`SET my.setting = …`).
const CUSTOM_SETTINGS_MAX: usize = 1_000;

/// The longest value.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// A role and what the client is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The role.
    pub role: Oid,
    /// Whether it was a superuser when it was set.
    pub superuser: bool,
}

/// What settings mean, ready for use.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Text formats.
    pub format: SessionFormat,
    /// `search_path` without the implicit `pg_catalog`, `$user` left out.
    pub search_path: Vec<String>,
    /// `statement_timeout`; 0 is none.
    pub statement_timeout_ms: u32,
    /// `lock_timeout`; 0 is none.
    pub lock_timeout_ms: u32,
    /// `deadlock_timeout`.
    pub deadlock_timeout_ms: u32,
    /// `transaction_timeout`; 0 is none.
    pub transaction_timeout_ms: u32,
    /// `idle_in_transaction_session_timeout`; 0 is none.
    pub idle_in_transaction_timeout_ms: u32,
    /// `idle_session_timeout`; 0 is none.
    pub idle_timeout_ms: u32,
    /// `client_connection_check_interval`; 0 is never.
    pub check_interval_ms: u32,
    /// `client_min_messages`.
    pub message_min: Severity,
    /// `default_transaction_isolation`.
    pub isolation: Isolation,
    /// `default_transaction_read_only`.
    pub read_only: bool,
    /// `default_transaction_deferrable`.
    pub deferrable: bool,
    /// `synchronous_commit` is not off.
    pub synchronous_commit: bool,
    /// `session_authorization`.
    pub session: Authority,
    /// `role`; `None` for none.
    pub role: Option<Authority>,
}

impl Effective {
    /// The role whose privileges count.
    #[inline]
    pub fn authority(&self) -> Authority {
        self.role.unwrap_or(self.session)
    }
}

impl Default for Effective {
    fn default() -> Self {
        Self {
            format: SessionFormat::default(),
            search_path: vec!["public".to_owned()],
            statement_timeout_ms: 0,
            lock_timeout_ms: 0,
            deadlock_timeout_ms: 1_000,
            transaction_timeout_ms: 0,
            idle_in_transaction_timeout_ms: 0,
            idle_timeout_ms: 0,
            check_interval_ms: 0,
            message_min: Severity::Notice,
            isolation: Isolation::ReadCommitted,
            read_only: false,
            deferrable: false,
            synchronous_commit: true,
            session: NOBODY,
            role: None,
        }
    }
}

/// Who a session is for until that is known.
const NOBODY: Authority = Authority { role: Oid(0), superuser: false };

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    text: Arc<str>,
    /// The role that it stands for, of a setting whose values are roles.
    authority: Option<Authority>,
}

impl Value {
    fn of(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), authority: None }
    }
}

/// A setting's values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    /// The value that stays when the transaction commits.
    session: Value,
    /// The value now.
    current: Value,
}

/// What a setting was before a change.
#[derive(Clone, Debug)]
struct Change {
    name: Arc<str>,
    before: Option<Pair>,
}

/// A place in the journal, for savepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// All settings of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    changed: BTreeMap<Arc<str>, Pair>,
    /// Values of RESET, where they are not the built-in ones: what the startup packet said.
    startup: BTreeMap<Arc<str>, Value>,
    journal: Vec<Change>,
    effective: Effective,
    /// Reported settings that have changed since the client was last told.
    to_report: Vec<&'static Definition>,
    plan_epoch: u64,
    user: String,
    login: Authority,
    /// What the server was started with.
    presets: Option<Arc<Presets>>,
}

/// Settings that only a start of the server changes, by name.
pub type Presets = BTreeMap<&'static str, String>;

impl Settings {
    /// The settings of a new session, those of its startup packet applied. `resolve` answers what role a value stands for.
    pub fn new(
        user: &str,
        login: Authority,
        startup: &[(String, String)],
        resolve: impl Fn(&Self, &str, &str) -> SqlResult<Option<Authority>>,
    ) -> SqlResult<Self> {
        let mut settings = Self {
            changed: BTreeMap::new(),
            startup: BTreeMap::new(),
            journal: Vec::new(),
            effective: Effective { session: login, ..Effective::default() },
            to_report: Vec::new(),
            plan_epoch: 0,
            user: user.to_owned(),
            login,
            presets: None,
        };
        for (name, value) in startup {
            let authority = resolve(&settings, &name.to_ascii_lowercase(), value)?;
            settings.assign(name, Some(value), authority, false)?;
            let name = Arc::<str>::from(name.to_ascii_lowercase());
            if let Some(pair) = settings.changed.get(&name) {
                settings.startup.insert(name, pair.session.clone());
            }
        }
        settings.commit();
        settings.to_report.clear();
        Ok(settings)
    }

    /// Says what the server was started with.
    pub fn set_presets(&mut self, presets: Option<Arc<Presets>>) {
        self.presets = presets;
    }

    /// The role that logged in.
    pub fn login(&self) -> Authority {
        self.login
    }

    /// What they mean.
    #[inline]
    pub fn effective(&self) -> &Effective {
        &self.effective
    }

    /// The text formats, to set the clock of.
    pub fn format_mut(&mut self) -> &mut SessionFormat {
        &mut self.effective.format
    }

    /// A fingerprint of the settings that binding depends on; plans are good for one value of it, whichever session has made them.
    #[inline]
    pub fn plan_epoch(&self) -> u64 {
        self.plan_epoch
    }

    /// A setting's text as SHOW prints it; `None` if there is none of this name.
    pub fn show(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        if let Some(pair) = self.changed.get(name.as_str()) {
            return Some(pair.current.text.to_string());
        }
        Some(self.reset_value(&name, definition(&name)?).text.to_string())
    }

    /// All settings with names as displayed, values and descriptions, in alphabetical order.
    pub fn show_all(&self) -> Vec<(String, String, &'static str)> {
        let custom = self.changed.iter().filter(|(name, _)| definition(name).is_none());
        let mut all: Vec<_> = custom.map(|(name, pair)| (name.to_string(), pair.current.text.to_string(), "")).collect();
        for known in DEFINITIONS {
            let value = self.show(known.name).expect("every definition has a value");
            all.push((known.name.to_owned(), value, known.description));
        }
        all.sort_by_key(|(name, ..)| name.to_ascii_lowercase());
        all
    }

    /// SET: `None` for DEFAULT. Answers the new value.
    ///
    /// Errors: 42704 for unknown names, 22023 for values that are none, 55P02 for what cannot be changed, 0A000 for values
    /// that this server has not.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> SqlResult<String> {
        self.assign(name, value, None, local)
    }

    /// As [`Settings::set`], to a value that stands for a role.
    pub fn assign(&mut self, name: &str, value: Option<&str>, authority: Option<Authority>, local: bool) -> SqlResult<String> {
        let key = name.to_ascii_lowercase();
        let known = definition(&key);
        if known.is_none() {
            self.check_custom(name, &key)?;
        }
        if let Some(definition) = known
            && definition.access != Access::User
        {
            let message = format!("parameter \"{}\" cannot be changed", definition.name);
            return Err(SqlError::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, message));
        }
        let canonical: Value = match (known, value) {
            (_, Some(value)) if value.len() > VALUE_BYTES_MAX => {
                return Err(SqlError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("value of parameter \"{name}\" is too long"),
                ));
            }
            (Some(definition), Some(value)) => Value { authority, ..Value::of(definition.canonical(value)?) },
            (Some(definition), None) => self.reset_value(&key, definition),
            (None, Some(value)) => Value::of(value),
            (None, None) => self.startup.get(key.as_str()).cloned().unwrap_or_else(|| Value::of("")),
        };
        // The effect is tried first: it may refuse what the grammar of the value allows.
        if let Some(definition) = known {
            self.apply(definition, &canonical)?;
        }
        let key: Arc<str> = key.into();
        let before = self.changed.get(&key).cloned();
        let session = match (&before, local) {
            (_, false) => canonical.clone(),
            (Some(before), true) => before.session.clone(),
            (None, true) => known.map_or_else(|| Value::of(""), |definition| self.reset_value(&key, definition)),
        };
        self.journal.push(Change { name: Arc::clone(&key), before });
        let becomes_another = &*key == "session_authorization";
        self.changed.insert(key, Pair { session, current: canonical.clone() });
        if becomes_another {
            // Whoever the session now is for has not chosen a role yet.
            self.assign("role", Some("none"), None, local)?;
        }
        Ok(canonical.text.to_string())
    }

    /// RESET of one setting.
    pub fn reset(&mut self, name: &str) -> SqlResult<()> {
        self.set(name, None, false).map(|_value| ())
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        let names: Vec<_> = self.changed.keys().cloned().collect();
        for name in names {
            if definition(&name).is_none_or(|definition| definition.access == Access::User && !definition.kept_by_reset_all) {
                self.set(&name, None, false).expect("a value it started with is one that it may have");
            }
        }
    }

    /// The place to come back to.
    pub fn mark(&self) -> Mark {
        Mark(self.journal.len())
    }

    /// Undoes what has changed since `mark`.
    pub fn rollback_to(&mut self, mark: Mark) {
        while self.journal.len() > mark.0 {
            let Some(change) = self.journal.pop() else { break };
            self.restore(change.name, change.before);
        }
    }

    /// The transaction has been rolled back.
    pub fn rollback(&mut self) {
        self.rollback_to(Mark(0));
    }

    /// The transaction has committed: what SET LOCAL changed is as it was, or as a later SET said.
    pub fn commit(&mut self) {
        for change in std::mem::take(&mut self.journal) {
            if let Some(pair) = self.changed.get(&change.name).cloned()
                && pair.session != pair.current
            {
                self.restore(change.name, Some(Pair { current: pair.session.clone(), session: pair.session }));
            }
        }
    }

    /// Reported settings that have changed since last asked, with their values.
    pub fn take_reports(&mut self) -> Vec<(&'static str, String)> {
        let changed = std::mem::take(&mut self.to_report);
        changed.into_iter().map(|definition| (definition.name, self.show(definition.name).unwrap_or_default())).collect()
    }

    /// Whether the transaction has changed any.
    pub fn has_changes(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Whether the client has something to be told.
    #[inline]
    pub fn has_reports(&self) -> bool {
        !self.to_report.is_empty()
    }

    /// All reported settings, for the start of a session.
    pub fn reported(&self) -> impl Iterator<Item = (&'static str, String)> {
        let reported = DEFINITIONS.iter().filter(|definition| definition.reported);
        reported.map(|definition| (definition.name, self.show(definition.name).unwrap_or_default()))
    }

    fn reset_value(&self, key: &str, definition: &Definition) -> Value {
        match self.startup.get(key) {
            Some(value) => value.clone(),
            None if definition.name == "session_authorization" => {
                Value { authority: Some(self.login), ..Value::of(self.user.as_str()) }
            }
            None if definition.name == "is_superuser" && !self.effective.authority().superuser => Value::of("off"),
            None => Value::of(
                self.presets.as_ref().and_then(|all| all.get(definition.name)).map_or(definition.default, String::as_str),
            ),
        }
    }

    fn restore(&mut self, name: Arc<str>, pair: Option<Pair>) {
        if let Some(definition) = definition(&name) {
            let value = pair.as_ref().map_or_else(|| self.reset_value(&name, definition), |pair| pair.current.clone());
            self.apply(definition, &value).expect("a value it had before is one that it may have");
        }
        match pair {
            Some(pair) => self.changed.insert(name, pair),
            None => self.changed.remove(&name),
        };
    }

    fn check_custom(&self, name: &str, key: &str) -> SqlResult<()> {
        if let Some(unsupported) = definitions::unsupported(key) {
            return Err(SqlError::unsupported(format!("parameter \"{unsupported}\"")));
        }
        let mut parts = key.split('.');
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
        };
        if !key.contains('.') || !parts.all(is_name) {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        }
        if !self.changed.contains_key(key) && self.changed.len() >= CUSTOM_SETTINGS_MAX {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many custom parameters in this session"));
        }
        Ok(())
    }

    /// Gives a canonical value its effect.
    fn apply(&mut self, definition: &'static Definition, value: &Value) -> SqlResult<()> {
        let (before, session) = (self.effective.authority(), self.effective.session);
        match definition.name {
            "session_authorization" => self.effective.session = value.authority.unwrap_or(self.login),
            "role" => self.effective.role = value.authority,
            _ => definitions::apply(definition, &value.text, &mut self.effective)?,
        }
        if before.superuser != self.effective.authority().superuser {
            self.report(definitions::definition("is_superuser").expect("there is such a setting"));
        }
        if definition.bound_by_plans {
            // It is applied before it is taken down, so the one before is still to be seen.
            let key = definition.name.to_ascii_lowercase();
            let before = self.changed.get(key.as_str()).map(|pair| pair.current.clone());
            let before = before.unwrap_or_else(|| self.reset_value(&key, definition));
            self.plan_epoch ^= fingerprint(definition, &before) ^ fingerprint(definition, value);
        }
        let stays = definition.name == "session_authorization" && session == self.effective.session;
        if definition.reported && !stays {
            self.report(definition);
        }
        Ok(())
    }

    /// The client is to be told of a setting.
    fn report(&mut self, definition: &'static Definition) {
        if !self.to_report.iter().any(|known| known.name == definition.name) {
            self.to_report.push(definition);
        }
    }
}

/// A setting's part of the fingerprint; nothing for the default. Keyed by chance, so that no client can choose values that clash with those
/// of another.
fn fingerprint(definition: &Definition, value: &Value) -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    // A name may come to stand for another role.
    let role = value.authority.map(|authority| authority.role.0);
    if role.is_none() && *value.text == *definition.default { 0 } else { KEYS.hash_one((definition.name, &value.text, role)) }
}

#[cfg(test)]
mod tests;
