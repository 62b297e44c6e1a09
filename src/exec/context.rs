//! What a statement is executed with.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::{Catalog, CatalogStore};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::query::profile::Profile;
use crate::shard::{Engine, ReadView, Sizes, Txn};
use crate::sql::{EvalContext, OuterRow, SessionInfo, SubqueryResults};
use crate::types::{Datum, RowView, SessionFormat};

/// A row of values.
pub type Row = Vec<Datum>;

/// What a statement runs with. The session makes one for each execution (or fetch from a portal) and keeps nothing of it.
pub struct ExecContext<'a> {
    /// The current core's engine.
    pub engine: Engine,
    /// The transaction: the block's, or one of the statement's own.
    pub txn: &'a mut Txn,
    /// The statement's snapshot, taken by the session with `read_view` or `write_view`; the session holds its pin.
    pub view: ReadView,
    /// The session, for functions and settings.
    pub session: &'a dyn SessionInfo,
    /// The same as it is now, made when the first program that needs it is shipped to other cores.
    pub frozen: OnceCell<Arc<FrozenSession>>,
    /// The catalog the transaction sees.
    pub catalog: Arc<Catalog>,
    /// Where DDL gets its OIDs.
    pub store: Arc<CatalogStore>,
    /// Parameters, already of the statement's parameter types.
    pub params: Arc<[Datum]>,
    /// What to tell the client besides the result.
    pub notices: Vec<Notice>,
    /// Where operators note what EXPLAIN ANALYZE shows; `None` otherwise.
    pub profile: Option<Box<Profile>>,
    /// Bytes that blocking operators (sort, hash, aggregate) of one statement may hold: 53200 beyond.
    pub memory_max: usize,
    /// Iterations with which new passwords are hashed.
    pub scram_iterations: u32,
}

impl ExecContext<'_> {
    /// The session as it is now, to be shared with other cores.
    pub fn frozen(&self) -> Arc<FrozenSession> {
        self.frozen.get_or_init(|| Arc::new(FrozenSession::of(self.session))).clone()
    }

    /// An evaluation context for expressions over a row.
    pub fn eval<'c>(&'c self, outer: Option<&'c OuterRow<'c>>, subqueries: &'c dyn SubqueryResults) -> EvalContext<'c> {
        EvalContext { params: &self.params, outer, session: self.session, catalog: &self.catalog, subqueries }
    }
}

/// An INFO, NOTICE or WARNING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `INFO`, `NOTICE` or `WARNING`.
    pub severity: &'static str,
    /// The fields.
    pub fields: SqlError,
}

impl Notice {
    /// A NOTICE.
    pub fn new(message: impl Into<String>) -> Self {
        Self { severity: "NOTICE", fields: SqlError::new(SqlState(*b"00000"), message) }
    }

    /// An INFO, which is what was asked for with VERBOSE.
    pub fn info(message: impl Into<String>) -> Self {
        Self { severity: "INFO", ..Self::new(message) }
    }

    /// A WARNING.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: "WARNING", fields: SqlError::new(SqlState(*b"01000"), message) }
    }
}

/// Where result rows go. The wire layer encodes them straight into its output buffer.
pub trait RowSink {
    /// A row of values.
    fn row(&mut self, row: &[Datum]) -> SqlResult<()>;

    /// A row as the storage has it, of which these columns (0-based, in this order) are the result.
    fn row_bytes(&mut self, row: RowView<'_>, columns: &[usize]) -> SqlResult<()>;

    /// A piece of COPY TO's output: one line, or the header.
    fn copy_line(&mut self, line: &[u8]) -> SqlResult<()>;

    /// Whether the buffer should be sent before more rows come.
    fn is_full(&self) -> bool;
}

/// What a finished statement reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandTag {
    /// A fixed tag, such as `CREATE TABLE`.
    Plain(&'static str),
    /// `SELECT n`
    Select(u64),
    /// `INSERT 0 n`
    Insert(u64),
    /// `UPDATE n`
    Update(u64),
    /// `DELETE n`
    Delete(u64),
    /// `COPY n`
    Copy(u64),
}

impl CommandTag {
    /// Appends the tag's text.
    pub fn write(self, out: &mut Vec<u8>) {
        let (name, count) = match self {
            CommandTag::Plain(name) => return out.extend_from_slice(name.as_bytes()),
            CommandTag::Select(count) => ("SELECT ", count),
            CommandTag::Insert(count) => ("INSERT 0 ", count),
            CommandTag::Update(count) => ("UPDATE ", count),
            CommandTag::Delete(count) => ("DELETE ", count),
            CommandTag::Copy(count) => ("COPY ", count),
        };
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    }

    /// Rows counted.
    pub fn rows(self) -> u64 {
        match self {
            CommandTag::Plain(_) => 0,
            CommandTag::Select(n)
            | CommandTag::Insert(n)
            | CommandTag::Update(n)
            | CommandTag::Delete(n)
            | CommandTag::Copy(n) => n,
        }
    }
}

/// A session as it was at one moment, to be shared with the owners of rows.
#[derive(Clone, Debug)]
pub struct FrozenSession {
    /// Name of the database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The role whose privileges it has.
    pub role: Oid,
    /// The role that it is for.
    pub session_role: Oid,
    /// search_path.
    pub search_path: Vec<String>,
    /// Formats.
    pub format: SessionFormat,
    /// Start of the transaction, microseconds since 2000-01-01 UTC.
    pub transaction_micros: i64,
    /// Start of the statement.
    pub statement_micros: i64,
    /// Process id.
    pub backend_pid: i32,
    /// How much memory storages take.
    pub sizes: Option<Arc<Sizes>>,
}

impl FrozenSession {
    /// What `session` is now.
    pub fn of(session: &dyn SessionInfo) -> Self {
        Self {
            database: session.database().to_owned(),
            user: session.user().to_owned(),
            role: session.role(),
            session_role: session.session_role(),
            search_path: session.search_path().to_vec(),
            format: session.format().clone(),
            transaction_micros: session.transaction_micros(),
            statement_micros: session.statement_micros(),
            backend_pid: session.backend_pid(),
            sizes: session.sizes().cloned(),
        }
    }
}

impl SessionInfo for FrozenSession {
    fn database(&self) -> &str {
        &self.database
    }

    fn user(&self) -> &str {
        &self.user
    }

    fn role(&self) -> Oid {
        self.role
    }

    fn session_role(&self) -> Oid {
        self.session_role
    }

    fn search_path(&self) -> &[String] {
        &self.search_path
    }

    fn setting(&self, _name: &str) -> Option<String> {
        None
    }

    fn set_setting(&self, _name: &str, _value: &str, _local: bool, _catalog: &Catalog) -> SqlResult<String> {
        Err(crate::error::SqlError::unsupported("changing a setting in a condition on table rows"))
    }

    fn transaction_micros(&self) -> i64 {
        self.transaction_micros
    }

    fn statement_micros(&self) -> i64 {
        self.statement_micros
    }

    fn clock_micros(&self) -> i64 {
        crate::runtime::wall_clock_micros() - crate::types::datetime::calendar::UNIX_EPOCH_MICROS
    }

    fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    fn random(&self) -> u64 {
        crate::runtime::random_u64()
    }

    fn format(&self) -> &SessionFormat {
        &self.format
    }

    fn sizes(&self) -> Option<&Arc<Sizes>> {
        self.sizes.as_ref()
    }
}
