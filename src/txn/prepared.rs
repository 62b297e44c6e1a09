//! The transactions that clients have prepared (PREPARE TRANSACTION) and not yet decided.
//!
//! A prepared transaction belongs to no session: any session on any core may decide it. So the list is shared by all cores,
//! behind a mutex that is held for a look-up and never across an await; two-phase commit is rare. The list says who may decide
//! what; that a transaction is prepared at all is a matter of durable rows (`shard::prepared`).
//!
//! An identifier goes through three states: *preparing*, when it is taken and nobody else sees it; *prepared*; and *busy*, while
//! somebody decides it. Source: PostgreSQL 15, `twophase.c` (`MarkAsPreparing`, `LockGXact`), whose errors these are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use smallvec::SmallVec;

use crate::base::{CoreId, Oid, TxnId};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::txn::TableLock;

/// Bytes of the longest identifier; PostgreSQL keeps 200 with a terminating zero.
pub const GID_BYTES_MAX: usize = 199;

/// What is told of a prepared transaction (`pg_prepared_xacts`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedInfo {
    /// Its number among all that were prepared; restarts keep it.
    pub number: u64,
    /// The client's identifier.
    pub gid: String,
    /// Who has prepared it.
    pub owner: String,
    /// The database that the owner was connected to.
    pub database: String,
    /// When: microseconds since 2000-01-01 UTC.
    pub prepared_micros: i64,
}

/// A prepared transaction as the engine has to decide it.
#[derive(Clone, Debug)]
pub struct PreparedTxn {
    /// What is told of it.
    pub info: Arc<PreparedInfo>,
    /// Its intents' and locks' transaction: another one after a restart.
    pub txn: TxnId,
    /// Its last command.
    pub command: u32,
    /// Cores with intents or row locks of it.
    pub participants: SmallVec<[CoreId; 4]>,
    /// The core that holds its weak table locks.
    pub home: CoreId,
    /// Its table locks.
    pub table_locks: SmallVec<[(Oid, TableLock); 4]>,
    /// How many rows describe it.
    pub pieces: u32,
}

enum Entry {
    Preparing,
    Prepared(PreparedTxn),
    Busy(Arc<PreparedInfo>),
}

/// All prepared transactions.
pub struct PreparedTransactions {
    max: usize,
    next_number: AtomicU64,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl PreparedTransactions {
    /// None yet; at most `max` at once, 0 to refuse them.
    pub fn new(max: usize) -> Self {
        Self { max, next_number: AtomicU64::new(1), entries: Mutex::default() }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().expect("nothing panics while holding the list of prepared transactions")
    }

    /// Takes an identifier for a transaction about to be prepared; its number.
    ///
    /// Errors: 22023 for a long identifier, 55000 if prepared transactions are switched off, 42710, 53200 at the limit.
    pub fn reserve(&self, gid: &str) -> SqlResult<u64> {
        if gid.len() > GID_BYTES_MAX {
            let message = format!("transaction identifier \"{gid}\" is too long");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        if self.max == 0 {
            let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "prepared transactions are disabled");
            return Err(error.hint("Set max_prepared_transactions to a nonzero value."));
        }
        let mut entries = self.entries();
        if entries.contains_key(gid) {
            let message = format!("transaction identifier \"{gid}\" is already in use");
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
        }
        if entries.len() >= self.max {
            let error = SqlError::new(SqlState::OUT_OF_MEMORY, "maximum number of prepared transactions reached");
            return Err(error.hint(format!("Increase max_prepared_transactions (currently {}).", self.max)));
        }
        entries.insert(gid.to_owned(), Entry::Preparing);
        Ok(self.next_number.fetch_add(1, Ordering::Relaxed))
    }

    /// The transaction is prepared, or as it was before a decision that could not be made: from now on it can be decided.
    pub fn put(&self, prepared: PreparedTxn) {
        let before = self.entries().insert(prepared.info.gid.clone(), Entry::Prepared(prepared));
        assert!(!matches!(before, Some(Entry::Prepared(_))), "an identifier has one transaction");
    }

    /// A transaction found by recovery. The limit is for new ones.
    pub fn restore(&self, prepared: PreparedTxn) {
        self.next_number.fetch_max(prepared.info.number + 1, Ordering::Relaxed);
        self.put(prepared);
    }

    /// Takes a transaction to decide it; whoever does either forgets it or puts it back.
    ///
    /// Errors: 42704 if there is none, 55000 if somebody else has it.
    pub fn take(&self, gid: &str) -> SqlResult<PreparedTxn> {
        let mut entries = self.entries();
        match entries.get_mut(gid) {
            None | Some(Entry::Preparing) => {
                let message = format!("prepared transaction with identifier \"{gid}\" does not exist");
                Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message))
            }
            Some(Entry::Busy(_)) => {
                let message = format!("prepared transaction with identifier \"{gid}\" is busy");
                Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message))
            }
            Some(entry) => {
                let Entry::Prepared(prepared) = &*entry else { unreachable!("the other states are above") };
                let prepared = prepared.clone();
                *entry = Entry::Busy(prepared.info.clone());
                Ok(prepared)
            }
        }
    }

    /// Gives an identifier free: its transaction was not prepared, or it is decided.
    pub fn forget(&self, gid: &str) {
        self.entries().remove(gid);
    }

    /// Those that are prepared, by number.
    pub fn list(&self) -> Vec<Arc<PreparedInfo>> {
        let infos = |entry: &Entry| match entry {
            Entry::Preparing => None,
            Entry::Prepared(prepared) => Some(prepared.info.clone()),
            Entry::Busy(info) => Some(info.clone()),
        };
        let mut list: Vec<_> = self.entries().values().filter_map(infos).collect();
        list.sort_by_key(|info| info.number);
        list
    }

    /// The transactions that hold what was prepared, with their numbers.
    pub fn txns(&self) -> Vec<(TxnId, u64)> {
        let txn = |entry: &Entry| match entry {
            Entry::Prepared(prepared) => Some((prepared.txn, prepared.info.number)),
            Entry::Preparing | Entry::Busy(_) => None,
        };
        self.entries().values().filter_map(txn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(gid: &str, number: u64) -> PreparedTxn {
        let info = PreparedInfo { number, gid: gid.into(), owner: "o".into(), database: "d".into(), prepared_micros: 0 };
        PreparedTxn {
            info: Arc::new(info),
            txn: TxnId(number),
            command: 1,
            participants: SmallVec::new(),
            home: CoreId(0),
            table_locks: SmallVec::new(),
            pieces: 1,
        }
    }

    fn refused<T>(result: SqlResult<T>) -> (&'static str, String) {
        let error = result.err().expect("refused");
        let code = ["22023", "55000", "42710", "53200", "42704"].into_iter().find(|code| *code == error.code().as_str());
        (code.expect("one of those"), error.message().to_owned())
    }

    #[test]
    fn an_identifier_is_taken_once_and_decided_once() {
        let list = PreparedTransactions::new(2);
        let number = list.reserve("a").expect("free");
        assert_eq!(refused(list.take("a")).0, "42704", "nobody sees it before it is prepared");
        assert!(list.list().is_empty());
        assert_eq!(refused(list.reserve("a")), ("42710", "transaction identifier \"a\" is already in use".into()));
        list.put(prepared("a", number));
        let taken = list.take("a").expect("prepared");
        assert_eq!(refused(list.take("a")).0, "55000");
        assert_eq!(list.list().len(), 1, "what is being decided is still listed");
        list.put(taken);
        list.take("a").expect("put back");
        list.forget("a");
        assert_eq!(refused(list.take("a")).0, "42704");
    }

    #[test]
    fn limits_are_those_of_postgresql() {
        let list = PreparedTransactions::new(1);
        assert_eq!(refused(list.reserve(&"x".repeat(200))).0, "22023");
        list.reserve(&"x".repeat(199)).expect("just short enough");
        assert_eq!(refused(list.reserve("y")).0, "53200");
        assert_eq!(refused(PreparedTransactions::new(0).reserve("y")).0, "55000");
        let recovered = PreparedTransactions::new(0);
        recovered.restore(prepared("z", 7));
        assert_eq!(recovered.list()[0].number, 7);
    }
}
