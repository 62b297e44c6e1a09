//! What goes on now: the locks and the sessions of the server (`pg_locks`, `pg_stat_activity`, `pg_stat_ssl`).
//!
//! Rows have no places here, so `page` and `tuple` are NULL. What stands for a transaction's xid is a number from 2^31 on; those of
//! prepared transactions, by which `pg_prepared_xacts` names them, are below.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{DATABASE, Rows, SystemContext};
use crate::base::{Oid, TxnId};
use crate::txn::lock_view::{LockTarget, LockView};
use crate::types::datetime::calendar::UNIX_EPOCH_MICROS;
use crate::types::{Datum, Numeric};

/// Bytes of a statement's text that are shown (`track_activity_query_size` without its end).
pub const QUERY_BYTES_MAX: usize = 1_023;
/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It runs a statement.
    Active,
    /// It waits for its client.
    Idle,
    /// The same in a transaction.
    IdleInTransaction,
    /// The same in a transaction that has failed.
    IdleInFailedTransaction,
}

impl SessionState {
    fn name(self) -> &'static str {
        match self {
            SessionState::Active => "active",
            SessionState::Idle => "idle",
            SessionState::IdleInTransaction => "idle in transaction",
            SessionState::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// How a connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The protocol: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by OpenSSL's name.
    pub cipher: &'static str,
    /// Bits of its key.
    pub bits: i32,
    /// Who the client's certificate is for, if it has shown one.
    pub client: Option<ClientCertificate>,
}

/// What is told of a client's certificate. Names are written like `/O=Shop/CN=ann`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whom it is for.
    pub subject: String,
    /// Who has issued it.
    pub issuer: String,
    /// Its number with the issuer, in decimal.
    pub serial: String,
    /// The subject's common name, by which it can be a user.
    pub common_name: Option<String>,
}

/// A session as others see it. Times are in microseconds since 2000-01-01 UTC.
#[derive(Clone, Debug)]
pub struct SessionActivity {
    /// Its process id.
    pub pid: i32,
    /// The user.
    pub user: String,
    /// The user's role.
    pub role: Oid,
    /// The database.
    pub database: String,
    /// application_name.
    pub application: String,
    /// Where its client is; `None` if it is on this machine, at a Unix-domain socket.
    pub client: Option<SocketAddr>,
    /// How its connection is encrypted, if it is.
    pub encryption: Option<Arc<Encryption>>,
    /// When it began.
    pub began: i64,
    /// When its transaction began, if it is in one.
    pub transaction_began: Option<i64>,
    /// When its statement began, or the last one did.
    pub statement_began: Option<i64>,
    /// When its state changed last.
    pub state_changed: i64,
    /// What it does.
    pub state: SessionState,
    /// Whether it sleeps (`pg_sleep`).
    pub sleeps: bool,
    /// Its statement, or the last one.
    pub query: Arc<str>,
}

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    match table {
        "pg_locks" => locks(context, rows),
        "pg_stat_ssl" => context.sessions.iter().for_each(|session| encryption(context, session, rows)),
        "pg_stat_activity" => context.sessions.iter().for_each(|session| activity(context, session, rows)),
        _ => {}
    }
}

/// Whether what the table shows has to be gathered from all cores.
pub fn is_live(table: &str) -> bool {
    matches!(table, "pg_locks" | "pg_stat_activity" | "pg_stat_ssl")
}

fn number_of(context: &SystemContext<'_>, txn: TxnId) -> Option<u32> {
    context.prepared_txns.iter().find(|(prepared, _)| *prepared == txn).map(|(_, number)| *number as u32)
}

fn xid(context: &SystemContext<'_>, txn: TxnId) -> Datum {
    Datum::Oid(Oid(number_of(context, txn).unwrap_or_else(|| txn.xid())))
}

/// A transaction as a virtual one: its core and its number there.
fn virtual_transaction(context: &SystemContext<'_>, txn: Option<TxnId>) -> Datum {
    let text = match txn.map(|txn| (txn, number_of(context, txn))) {
        Some((_, Some(number))) => format!("-1/{number}"),
        Some((txn, None)) => format!("{}/{}", txn.home(), txn.sequence()),
        None => "0/0".to_owned(),
    };
    Datum::Text(text.into())
}

fn locks(context: &SystemContext<'_>, rows: &mut Rows) {
    let mut last = None;
    for lock in context.locks {
        // Each transaction of a session holds its own virtual one.
        if lock.txn.is_some() && lock.pid != 0 && lock.txn != last {
            last = lock.txn;
            let own = virtual_transaction(context, lock.txn);
            rows.add(columns(context, lock, "ExclusiveLock", true, "virtualxid", [("virtualxid", own)]));
        }
        let (mode, granted) = (lock.mode.name(), lock.waits_since.is_none());
        let number = |number: u32| Datum::Oid(Oid(number));
        match lock.target {
            LockTarget::Relation(table) => {
                let what = [("database", Datum::Oid(DATABASE)), ("relation", Datum::Oid(table))];
                rows.add(columns(context, lock, mode, granted, "relation", what));
            }
            LockTarget::Row(storage) => {
                let table = context.catalog.tables.values().find(|table| table.storage == storage);
                let table = table.map_or(Datum::Null, |table| Datum::Oid(table.oid));
                let what = [("database", Datum::Oid(DATABASE)), ("relation", table)];
                rows.add(columns(context, lock, mode, granted, "tuple", what));
            }
            LockTarget::Transaction(txn) => {
                let what = [("transactionid", xid(context, txn))];
                rows.add(columns(context, lock, mode, granted, "transactionid", what));
            }
            LockTarget::Advisory(key) => {
                let (class, object, form) = key.parts();
                let what = [
                    ("database", Datum::Oid(DATABASE)),
                    ("classid", number(class)),
                    ("objid", number(object)),
                    ("objsubid", Datum::Int2(form)),
                ];
                rows.add(columns(context, lock, mode, granted, "advisory", what));
            }
        }
    }
}

/// A row of `pg_locks`; `what` are the columns that say what is locked.
fn columns<const N: usize>(
    context: &SystemContext<'_>,
    lock: &LockView,
    mode: &str,
    granted: bool,
    kind: &str,
    what: [(&'static str, Datum); N],
) -> impl Iterator<Item = (&'static str, Datum)> + use<N> {
    const OF_NO_LOCK: [&str; 9] =
        ["database", "relation", "page", "tuple", "virtualxid", "transactionid", "classid", "objid", "objsubid"];
    let since = lock.waits_since.filter(|_| !granted);
    let common = [
        ("locktype", Datum::text(kind)),
        ("virtualtransaction", virtual_transaction(context, lock.txn)),
        ("pid", if lock.pid == 0 { Datum::Null } else { Datum::Int4(lock.pid) }),
        ("mode", Datum::text(mode)),
        ("granted", Datum::Bool(granted)),
        ("waitstart", since.map_or(Datum::Null, |unix| Datum::TimestampTz(unix - UNIX_EPOCH_MICROS))),
    ];
    OF_NO_LOCK.into_iter().map(|column| (column, Datum::Null)).chain(what).chain(common)
}

fn activity(context: &SystemContext<'_>, session: &SessionActivity, rows: &mut Rows) {
    let time = |micros: Option<i64>| micros.map_or(Datum::Null, Datum::TimestampTz);
    let text = |text: Option<&str>| text.map_or(Datum::Null, Datum::text);
    let (wait_type, wait) = wait_event(context, session).unzip();
    let own = |lock: &&LockView| {
        lock.pid == session.pid && matches!(lock.target, LockTarget::Transaction(own) if lock.txn == Some(own))
    };
    let xid = context.locks.iter().find(own).and_then(|lock| lock.txn).map_or(Datum::Null, |txn| xid(context, txn));
    // What is not set stays unknown.
    let unknown: Vec<_> = rows.table.columns.iter().map(|(column, _)| (*column, Datum::Null)).collect();
    let everybodys = unknown.into_iter().chain([
        ("datid", Datum::Oid(DATABASE)),
        ("datname", Datum::text(&session.database)),
        ("pid", Datum::Int4(session.pid)),
        ("usesysid", Datum::Oid(session.role)),
        ("usename", Datum::text(&session.user)),
        ("application_name", Datum::text(&session.application)),
        ("backend_xid", xid),
    ]);
    if !context.catalog.has_privileges_of(context.role, session.role) {
        return rows.add(everybodys.chain([("query", Datum::text("<insufficient privilege>"))]));
    }
    rows.add(everybodys.chain([
        ("client_addr", session.client.map_or(Datum::Null, |client| Datum::Text(client.ip().to_string().into()))),
        ("client_port", Datum::Int4(session.client.map_or(-1, |client| i32::from(client.port())))),
        ("backend_start", time(Some(session.began))),
        ("xact_start", time(session.transaction_began)),
        ("query_start", time(session.statement_began)),
        ("state_change", time(Some(session.state_changed))),
        ("wait_event_type", text(wait_type)),
        ("wait_event", text(wait)),
        ("state", Datum::text(session.state.name())),
        ("query", Datum::text(&session.query[..session.query.floor_char_boundary(QUERY_BYTES_MAX)])),
        ("backend_type", Datum::text("client backend")),
    ]));
}

fn encryption(context: &SystemContext<'_>, session: &SessionActivity, rows: &mut Rows) {
    let pid = ("pid", Datum::Int4(session.pid));
    if !context.catalog.has_privileges_of(context.role, session.role) {
        return rows.add([pid, ("ssl", Datum::Null), ("bits", Datum::Null)]);
    }
    let Some(Encryption { version, cipher, bits, client }) = session.encryption.as_deref() else {
        return rows.add([pid, ("ssl", Datum::Bool(false)), ("bits", Datum::Null)]);
    };
    let of_client =
        |text: fn(&ClientCertificate) -> &str| client.as_ref().map_or(Datum::Null, |client| Datum::text(text(client)));
    let serial = client.as_ref().and_then(|client| Numeric::parse(&client.serial).ok());
    rows.add([
        pid,
        ("ssl", Datum::Bool(true)),
        ("version", Datum::text(version)),
        ("cipher", Datum::text(cipher)),
        ("bits", Datum::Int4(*bits)),
        ("client_dn", of_client(|client| &client.subject)),
        ("client_serial", serial.map_or(Datum::Null, |serial| Datum::Numeric(Arc::new(serial)))),
        ("issuer_dn", of_client(|client| &client.issuer)),
    ]);
}

/// What a session waits for, by PostgreSQL's names (documentation, 28.2.3).
fn wait_event(context: &SystemContext<'_>, session: &SessionActivity) -> Option<(&'static str, &'static str)> {
    if session.state != SessionState::Active {
        return Some(("Client", "ClientRead"));
    }
    if session.sleeps {
        return Some(("Timeout", "PgSleep"));
    }
    let awaited = context.locks.iter().find(|lock| lock.pid == session.pid && lock.waits_since.is_some())?;
    Some(match awaited.target {
        LockTarget::Relation(_) => ("Lock", "relation"),
        LockTarget::Row(_) => ("Lock", "tuple"),
        LockTarget::Transaction(_) => ("Lock", "transactionid"),
        LockTarget::Advisory(_) => ("Lock", "advisory"),
    })
}
