//! The backend of production: the native executor over the current core's engine.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::{CoreId, StorageId};
use crate::catalog::{Catalog, CatalogStore};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::copy_from::CopyFrom;
use crate::exec::keys::key_of_values;
use crate::exec::{ExecContext, Portal, Progress, observes_nothing};
use crate::metrics::CoreMetrics;
use crate::session::backend::{Backend, Fetched, Flow, RowSink, Run};
use crate::session::response::Severity;
use crate::session::settings::Presets;
use crate::shard::{Engine, PrepareAs, ReadView, RowBatch, Savepoint, SessionLocks, Sizes, SnapshotPin, Txn, engine};
use crate::sql::expr::eval::{NoRow, eval};
use crate::sql::plan::{Plan, PointSelect, Statement};
use crate::sql::utility::Utility;
use crate::sql::{EvalContext, NoSubqueries, SessionInfo};
use crate::storage::Key;
use crate::txn::Isolation;
use crate::types::{Datum, RowView};

/// The executor and engine of one core.
#[derive(Clone)]
pub struct NativeBackend {
    engine: Engine,
    store: Arc<CatalogStore>,
    metrics: Rc<CoreMetrics>,
    statement_memory_max: usize,
    scram_iterations: u32,
    presets: Option<Arc<Presets>>,
}

/// A statement in progress.
pub struct NativeCursor {
    portal: Portal,
    params: Arc<[Datum]>,
    /// What it sees, from its first fetch on.
    view: Option<(ReadView, SnapshotPin)>,
}

/// A COPY FROM STDIN in progress.
pub struct NativeCopy {
    copy: CopyFrom,
    view: Option<(ReadView, SnapshotPin)>,
}

impl NativeBackend {
    /// The backend of the current core.
    pub fn new(store: Arc<CatalogStore>, metrics: Rc<CoreMetrics>, statement_memory_max: usize, scram_iterations: u32) -> Self {
        Self { engine: engine(), store, metrics, statement_memory_max, scram_iterations, presets: None }
    }

    /// Whose sessions say what the server was started with.
    pub fn with_presets(self, presets: Arc<Presets>) -> Self {
        Self { presets: Some(presets), ..self }
    }

    /// What this core counts.
    pub fn metrics_handle(&self) -> &CoreMetrics {
        &self.metrics
    }

    fn context<'a>(&self, run: &'a mut Run<'_>, params: Arc<[Datum]>, view: ReadView) -> ExecContext<'a> {
        ExecContext {
            engine: self.engine.clone(),
            txn: run.txn,
            view,
            session: run.session,
            frozen: OnceCell::new(),
            catalog: run.catalog.clone(),
            store: self.store.clone(),
            params,
            notices: Vec::new(),
            profile: None,
            memory_max: self.statement_memory_max,
            scram_iterations: self.scram_iterations,
        }
    }

    fn view(&self, txn: &mut Txn, writes: bool) -> (ReadView, SnapshotPin) {
        let view = if writes { self.engine.write_view(txn) } else { self.engine.read_view(Some(txn)) };
        (view, self.engine.pin(&view))
    }
}

/// Passes rows on, remembering whether there is room for more.
struct Passing<'a> {
    to: &'a mut dyn RowSink,
    flow: Flow,
}

impl crate::exec::RowSink for Passing<'_> {
    fn row(&mut self, row: &[Datum]) -> SqlResult<()> {
        self.flow = self.to.row(row)?;
        Ok(())
    }

    fn row_bytes(&mut self, row: RowView<'_>, columns: &[usize]) -> SqlResult<()> {
        self.flow = self.to.stored(row.layout(), columns, row.bytes())?;
        Ok(())
    }

    fn copy_line(&mut self, line: &[u8]) -> SqlResult<()> {
        self.flow = self.to.copy_line(line)?;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.flow == Flow::Stop
    }
}

/// Whether a statement places intents or locks rows.
fn writes(statement: &Statement) -> bool {
    match &statement.plan {
        Plan::Insert(_) | Plan::Update(_) | Plan::Delete(_) | Plan::Ddl(_) => true,
        Plan::Query(query) => query.locking.is_some(),
        Plan::Utility(Utility::Explain { statement, options, .. }) => options.analyze && writes(statement),
        Plan::Copy(_) | Plan::Utility(_) | Plan::Empty => false,
    }
}

/// Hands over what the statement has left: notices, and the catalog if it has changed it.
fn settle(context: ExecContext<'_>) -> (Vec<(Severity, SqlError)>, Arc<Catalog>) {
    let severity = |name| match name {
        "WARNING" => Severity::Warning,
        "INFO" => Severity::Info,
        _ => Severity::Notice,
    };
    let notices = context.notices.into_iter().map(|notice| (severity(notice.severity), notice.fields)).collect();
    (notices, context.catalog)
}

impl Backend for NativeBackend {
    type Cursor = NativeCursor;
    type CopyIn = NativeCopy;

    fn core(&self) -> CoreId {
        self.engine.core()
    }

    fn metrics(&self) -> &CoreMetrics {
        &self.metrics
    }

    fn presets(&self) -> Option<Arc<Presets>> {
        self.presets.clone()
    }

    fn sizes(&self) -> Option<Arc<Sizes>> {
        Some(self.engine.shared().sizes.clone())
    }

    fn lock_waits(&self, pid: i32) -> u64 {
        self.engine.shared().lock_waits.take(pid)
    }

    fn catalog_version(&self, txn: Option<&Txn>) -> u64 {
        txn.and_then(Txn::catalog).map_or_else(|| self.store.version(), |catalog| catalog.version)
    }

    fn catalog(&self, txn: Option<&Txn>) -> Arc<Catalog> {
        txn.and_then(Txn::catalog).cloned().unwrap_or_else(|| self.store.current())
    }

    fn begin(&self, isolation: Isolation, read_only: bool) -> Txn {
        self.engine.begin(isolation, read_only)
    }

    async fn commit(&self, txn: Txn) -> SqlResult<()> {
        Ok(self.engine.commit(txn).await.map(drop)?)
    }

    async fn abort(&self, txn: Txn) {
        self.engine.abort(txn).await;
    }

    async fn prepare_transaction(&self, txn: Txn, said: PrepareAs) -> SqlResult<()> {
        self.engine.prepare_transaction(txn, said).await
    }

    async fn finish_prepared(&self, gid: &str, commit: bool, only_of: Option<&str>) -> SqlResult<()> {
        let is_of_another = |user: &str| {
            let prepared = self.engine.shared().prepared.list();
            prepared.iter().any(|info| info.gid == gid && info.owner != user)
        };
        if only_of.is_some_and(is_of_another) {
            let message = "permission denied to finish prepared transaction";
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .hint("Must be superuser or the user that prepared the transaction."));
        }
        if commit { self.engine.commit_prepared(gid).await } else { self.engine.rollback_prepared(gid).await }
    }

    async fn unlock_session(&self, locks: &SessionLocks) {
        self.engine.advisory_unlock_all(locks).await;
    }

    fn savepoint(&self, txn: &mut Txn) -> Savepoint {
        self.engine.savepoint(txn)
    }

    async fn rollback_to(&self, txn: &mut Txn, savepoint: Savepoint) {
        self.engine.rollback_to(txn, savepoint).await;
    }

    fn open(&self, statement: &Arc<Statement>, params: Vec<Datum>) -> SqlResult<NativeCursor> {
        Ok(NativeCursor { portal: Portal::new(statement.clone()), params: params.into(), view: None })
    }

    async fn fetch(
        &self,
        cursor: &mut NativeCursor,
        mut run: Run<'_>,
        rows_max: u64,
        sink: &mut dyn RowSink,
    ) -> SqlResult<Fetched> {
        let writes = writes(cursor.portal.statement());
        if cursor.view.is_none() {
            if !self.engine.may_look(run.txn) && !observes_nothing(cursor.portal.statement()) {
                self.engine.before_looking(run.txn).await?;
            }
            cursor.view = Some(self.view(run.txn, writes));
        }
        let view = cursor.view.as_ref().expect("it was just set").0;
        let before = run.catalog.clone();
        let mut context = self.context(&mut run, cursor.params.clone(), view);
        let mut passing = Passing { to: sink, flow: Flow::More };
        let limit = (rows_max > 0).then_some(rows_max);
        let fetched = cursor.portal.fetch(&mut context, limit, &mut passing).await;
        let (notices, catalog) = settle(context);
        run.notices.extend(notices);
        if !Arc::ptr_eq(&before, &catalog) {
            run.txn.set_catalog(catalog);
        }
        Ok(match fetched? {
            Progress::Suspended | Progress::Full => Fetched::Suspended,
            Progress::Done(tag) => {
                // The snapshot is given back as soon as it is not needed, whatever becomes of the portal.
                cursor.view = None;
                Fetched::Done { rows: tag.rows() }
            }
        })
    }

    fn copy_in(&self, statement: &Arc<Statement>) -> SqlResult<NativeCopy> {
        Ok(NativeCopy { copy: CopyFrom::new(statement)?, view: None })
    }

    async fn copy_data(&self, copy: &mut NativeCopy, mut run: Run<'_>, data: &[u8]) -> SqlResult<()> {
        if copy.view.is_none() {
            copy.view = Some(self.view(run.txn, true));
        }
        let view = copy.view.as_ref().expect("it was just set").0;
        let mut context = self.context(&mut run, Arc::from([]), view);
        copy.copy.data(data, &mut context).await
    }

    async fn copy_done(&self, mut copy: NativeCopy, mut run: Run<'_>) -> SqlResult<u64> {
        if copy.view.is_none() {
            copy.view = Some(self.view(run.txn, true));
        }
        let view = copy.view.as_ref().expect("it was just set").0;
        let mut context = self.context(&mut run, Arc::from([]), view);
        copy.copy.finish(&mut context).await
    }

    fn point_key(
        &self,
        point: &PointSelect,
        params: &[Datum],
        session: &dyn SessionInfo,
        catalog: &Catalog,
    ) -> SqlResult<Option<Key>> {
        let context = EvalContext { params, outer: None, session, catalog, subqueries: &NoSubqueries };
        if let [expr] = &point.key[..] {
            return key_of_values(&point.table, &[eval(expr, &NoRow, &context)?]);
        }
        let values = point.key.iter().map(|expr| eval(expr, &NoRow, &context)).collect::<SqlResult<Vec<_>>>()?;
        key_of_values(&point.table, &values)
    }

    fn read_view(&self) -> ReadView {
        self.engine.read_view(None)
    }

    fn owner(&self, storage: StorageId, key: &Key) -> Option<CoreId> {
        self.engine.owner(storage, key)
    }

    fn try_point_read<T>(
        &self,
        view: &ReadView,
        storage: StorageId,
        key: &Key,
        then: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Option<T> {
        self.engine.try_point_read(view, storage, key, then)
    }

    async fn point_reads(&self, view: &ReadView, reads: Vec<(StorageId, Key)>) -> SqlResult<RowBatch> {
        Ok(self.engine.point_reads(view, reads).await?)
    }
}
