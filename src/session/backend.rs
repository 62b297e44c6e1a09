//! What a session needs of the layers below it, as one interface: the executor and the engine in production, a small stand-in
//! where the session and the protocol are tested alone.
//!
//! A backend belongs to one core. It is handed to every call and never kept, since a session may go on on another core; what a
//! session does keep (a cursor, a transaction) is `Send`.

use std::sync::Arc;

use crate::base::{CoreId, StorageId};
use crate::catalog::Catalog;
use crate::error::{SqlError, SqlResult};
use crate::metrics::CoreMetrics;
use crate::session::response::Severity;
use crate::session::settings::Presets;
use crate::shard::{PrepareAs, ReadView, RowBatch, Savepoint, SessionLocks, Sizes, Txn};
use crate::sql::SessionInfo;
use crate::sql::plan::{PointSelect, Statement};
use crate::storage::Key;
use crate::txn::Isolation;
use crate::types::{Datum, RowLayout};

/// What a running statement works with.
pub struct Run<'a> {
    /// Its transaction.
    pub txn: &'a mut Txn,
    /// The session.
    pub session: &'a dyn SessionInfo,
    /// The catalog that the transaction sees.
    pub catalog: &'a Arc<Catalog>,
    /// What the client is to be told besides rows, in order.
    pub notices: &'a mut Vec<(Severity, SqlError)>,
}

/// Whether whoever gives rows should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There is room for more.
    More,
    /// Stop before the next row and answer [`Fetched::Suspended`].
    Stop,
}

/// Where rows go.
pub trait RowSink {
    /// A row of a result.
    fn row(&mut self, values: &[Datum]) -> SqlResult<Flow>;

    /// A row of a result straight from a stored row: `columns` are those of the table that make it up.
    fn stored(&mut self, layout: &RowLayout, columns: &[usize], row: &[u8]) -> SqlResult<Flow>;

    /// A piece of COPY TO's output: one line, or the header.
    fn copy_line(&mut self, line: &[u8]) -> SqlResult<Flow>;
}

/// How a call for rows ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There may be more rows.
    Suspended,
    /// The statement is finished. `rows`: how many it has returned or changed in all.
    Done {
        /// How many.
        rows: u64,
    },
}

/// The layers below, on one core.
#[allow(async_fn_in_trait)] // A backend's futures stay on its core.
pub trait Backend {
    /// A statement in progress.
    type Cursor: Send;
    /// A COPY FROM STDIN in progress.
    type CopyIn;

    /// The core.
    fn core(&self) -> CoreId;

    /// What this core counts.
    fn metrics(&self) -> &CoreMetrics;

    /// What the server was started with; `None` where there is none.
    fn presets(&self) -> Option<Arc<Presets>> {
        None
    }

    /// How much memory storages take; `None` where there is no engine.
    fn sizes(&self) -> Option<Arc<Sizes>> {
        None
    }

    /// How many nanoseconds a session has waited for locks since this was last asked.
    fn lock_waits(&self, _pid: i32) -> u64 {
        0
    }

    /// The version of the catalog that `txn` sees: the published one, or one of its own if it has changed objects.
    fn catalog_version(&self, txn: Option<&Txn>) -> u64;

    /// The published catalog, with what `txn` has changed of it.
    fn catalog(&self, txn: Option<&Txn>) -> Arc<Catalog>;

    /// Starts a transaction.
    fn begin(&self, isolation: Isolation, read_only: bool) -> Txn;

    /// Commits; on an error nothing of the transaction has happened.
    async fn commit(&self, txn: Txn) -> SqlResult<()>;

    /// Aborts.
    async fn abort(&self, txn: Txn);

    /// Prepares for two-phase commit; on an error the transaction is aborted.
    async fn prepare_transaction(&self, txn: Txn, said: PrepareAs) -> SqlResult<()>;

    /// Commits or rolls back what was prepared under an identifier; on an error it is prepared still.
    ///
    /// Errors: 42501 for what another user has prepared than the one that must have.
    async fn finish_prepared(&self, gid: &str, commit: bool, only_of: Option<&str>) -> SqlResult<()>;

    /// Gives back the advisory locks that a session has for itself.
    async fn unlock_session(&self, locks: &SessionLocks);

    /// Marks a point to roll back to.
    fn savepoint(&self, txn: &mut Txn) -> Savepoint;

    /// Undoes everything since a savepoint.
    async fn rollback_to(&self, txn: &mut Txn, savepoint: Savepoint);

    /// Starts a statement: everything but what the session does itself and COPY FROM STDIN. Nothing has happened yet.
    fn open(&self, statement: &Arc<Statement>, params: Vec<Datum>) -> SqlResult<Self::Cursor>;

    /// Goes on with a statement until `rows_max` rows have been given (0 for no limit), the sink says stop, or the end.
    ///
    /// Dropped half-way, the statement is half done: the caller then rolls back.
    async fn fetch(&self, cursor: &mut Self::Cursor, run: Run<'_>, rows_max: u64, sink: &mut dyn RowSink) -> SqlResult<Fetched>;

    /// Starts a COPY FROM STDIN.
    fn copy_in(&self, statement: &Arc<Statement>) -> SqlResult<Self::CopyIn>;

    /// Takes in a piece of its data.
    async fn copy_data(&self, copy: &mut Self::CopyIn, run: Run<'_>, data: &[u8]) -> SqlResult<()>;

    /// Ends it; answers the number of rows.
    async fn copy_done(&self, copy: Self::CopyIn, run: Run<'_>) -> SqlResult<u64>;

    /// The key that a point lookup is for; `None` if it holds a NULL and so finds nothing.
    fn point_key(
        &self,
        point: &PointSelect,
        params: &[Datum],
        session: &dyn SessionInfo,
        catalog: &Catalog,
    ) -> SqlResult<Option<Key>>;

    /// What a statement outside a transaction sees.
    fn read_view(&self) -> ReadView;

    /// The owner of a key; `None` if the storage is gone.
    fn owner(&self, storage: StorageId, key: &Key) -> Option<CoreId>;

    /// Reads a row at once if this core owns its key.
    fn try_point_read<T>(
        &self,
        view: &ReadView,
        storage: StorageId,
        key: &Key,
        then: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Option<T>;

    /// Reads rows, one message a core; order is kept.
    async fn point_reads(&self, view: &ReadView, reads: Vec<(StorageId, Key)>) -> SqlResult<RowBatch>;
}
