//! Portals: statements with their parameters, ready to run or half-way through.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::prepared::Prepared;
use crate::session::response::RowShape;
use crate::types::Datum;

/// Named portals of one session.
const PORTALS_MAX: usize = 1_000;

/// How far a portal has come.
#[derive(Debug)]
pub enum State<Cursor> {
    /// Not started; its parameters.
    Ready(Vec<Datum>),
    /// There may be more rows.
    Suspended(Cursor),
    /// Finished.
    Done,
}

/// A portal.
#[derive(Debug)]
pub struct Portal<Cursor> {
    /// The statement.
    pub prepared: Arc<Prepared>,
    /// The result in the formats that Bind asked for.
    pub shape: Arc<RowShape>,
    /// How far it has come.
    pub state: State<Cursor>,
}

/// The portals of a session.
#[derive(Debug)]
pub struct Portals<Cursor> {
    unnamed: Option<Portal<Cursor>>,
    named: FxHashMap<Box<str>, Portal<Cursor>>,
}

impl<Cursor> Default for Portals<Cursor> {
    fn default() -> Self {
        Self { unnamed: None, named: FxHashMap::default() }
    }
}

impl<Cursor> Portals<Cursor> {
    /// Adds a portal; the unnamed one replaces its predecessor. 42P03 for a name in use, 53400 for too many.
    #[inline]
    pub fn insert(&mut self, name: &str, portal: Portal<Cursor>) -> SqlResult<()> {
        if name.is_empty() {
            self.unnamed = Some(portal);
            return Ok(());
        }
        if self.named.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, message));
        }
        if self.named.len() >= PORTALS_MAX {
            let message = format!("too many portals: the limit is {PORTALS_MAX}");
            return Err(SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.named.insert(name.into(), portal);
        Ok(())
    }

    /// The portal of a name; 34000 if there is none.
    pub fn get(&self, name: &str) -> SqlResult<&Portal<Cursor>> {
        let found = if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) };
        found.ok_or_else(|| missing(name))
    }

    /// Takes a portal out, to run it; 34000 if there is none.
    pub fn take(&mut self, name: &str) -> SqlResult<Portal<Cursor>> {
        let found = if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) };
        found.ok_or_else(|| missing(name))
    }

    /// Puts a portal back that was taken out.
    pub fn put_back(&mut self, name: &str, portal: Portal<Cursor>) {
        if name.is_empty() {
            self.unnamed = Some(portal);
        } else {
            self.named.insert(name.into(), portal);
        }
    }

    /// Removes a portal, if it is there.
    pub fn remove(&mut self, name: &str) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(name);
        }
    }

    /// Removes all: their transaction has ended.
    #[inline]
    pub fn clear(&mut self) {
        self.unnamed = None;
        if !self.named.is_empty() {
            self.named.clear();
        }
    }
}

fn missing(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}
