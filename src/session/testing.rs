//! A small database for tests of the session and the protocol alone: ordered maps, one client at a time, and two cores of
//! which one is only pretended. Transactions copy everything.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::{CommitTs, CoreId, Oid, StorageId, TxnId};
use crate::catalog::{Catalog, PrimaryKey, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::CoreMetrics;
use crate::session::backend::{Backend, Fetched, Flow, RowSink, Run};
use crate::shard::{PrepareAs, ReadView, RowBatch, Savepoint, SessionLocks, Txn};
use crate::sql::ddl::Ddl;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{eval, eval_bool};
use crate::sql::plan::{Access, CopyDirection, Node, Plan, PointSelect, Scan, Statement};
use crate::sql::{EvalContext, NoSubqueries, SessionInfo};
use crate::storage::Key;
use crate::txn::Isolation;
use crate::types::Datum;
use crate::types::key::datum_to_i64_key;

type Row = Vec<Datum>;

#[derive(Clone)]
struct State {
    catalog: Arc<Catalog>,
    rows: BTreeMap<StorageId, BTreeMap<Key, Row>>,
}

struct Inner {
    metrics: Rc<CoreMetrics>,
    state: RefCell<State>,
    backups: RefCell<Vec<(TxnId, u32, State)>>,
    next: Cell<u64>,
    batches: RefCell<Vec<usize>>,
    commits: Cell<usize>,
    fail_commit: Cell<bool>,
    fail_reads: Cell<bool>,
}

/// The database. Even keys belong to this core, odd ones to another.
#[derive(Clone)]
pub struct Fake(Rc<Inner>);

impl Default for Fake {
    fn default() -> Self {
        let catalog = Arc::new(Catalog::bootstrap());
        Self(Rc::new(Inner {
            metrics: Rc::new(CoreMetrics::new(CoreId(0), 2)),
            state: RefCell::new(State { catalog, rows: BTreeMap::new() }),
            backups: RefCell::default(),
            next: Cell::new(1),
            batches: RefCell::default(),
            commits: Cell::new(0),
            fail_commit: Cell::new(false),
            fail_reads: Cell::new(false),
        }))
    }
}

impl Fake {
    /// Sizes of the batches of point reads so far.
    pub fn batches(&self) -> Vec<usize> {
        self.0.batches.borrow().clone()
    }

    /// What its core counts.
    pub fn core_metrics(&self) -> &Rc<CoreMetrics> {
        &self.0.metrics
    }

    /// Transactions committed.
    pub fn commits(&self) -> usize {
        self.0.commits.get()
    }

    /// The next commit fails with 40001.
    pub fn fail_commit(&self) {
        self.0.fail_commit.set(true);
    }

    /// The next batch of point reads fails.
    pub fn fail_reads(&self) {
        self.0.fail_reads.set(true);
    }

    fn fresh(&self) -> u64 {
        self.0.next.set(self.0.next.get() + 1);
        self.0.next.get()
    }

    fn change_catalog(&self, change: impl FnOnce(&mut Catalog)) {
        let mut state = self.0.state.borrow_mut();
        let catalog = Arc::make_mut(&mut state.catalog);
        change(catalog);
        catalog.version = self.fresh();
    }

    fn scan(&self, table: &TableDef) -> SqlResult<Vec<(Key, Row)>> {
        let state = self.0.state.borrow();
        let rows = state.rows.get(&table.storage);
        Ok(rows.into_iter().flatten().map(|(key, row)| (key.clone(), row.clone())).collect())
    }
}

/// A statement in progress.
pub struct FakeCursor {
    statement: Arc<Statement>,
    params: Vec<Datum>,
    rows: Option<VecDeque<Row>>,
    changed: u64,
}

fn key_of(table: &TableDef, row: &[Datum]) -> Option<Key> {
    let [column] = table.primary_key.as_ref()?.columns[..] else { return None };
    match row[column] {
        Datum::Int4(value) => Some(Key::Int(value.into())),
        Datum::Int8(value) => Some(Key::Int(value)),
        _ => None,
    }
}

struct Runner<'a> {
    fake: &'a Fake,
    context: EvalContext<'a>,
}

impl Runner<'_> {
    fn exprs(&self, exprs: &[Expr], row: &[Datum]) -> SqlResult<Row> {
        exprs.iter().map(|expr| eval(expr, row, &self.context)).collect()
    }

    fn found(&self, table: &TableDef, access: &Access, filter: &Option<Expr>) -> SqlResult<Vec<(Key, Row)>> {
        let mut rows = self.fake.scan(table)?;
        if let Access::Points(points) = access {
            let keys: Vec<Row> = points.iter().map(|point| self.exprs(point, &[])).collect::<SqlResult<_>>()?;
            rows.retain(|(key, _)| {
                keys.iter().any(|values| {
                    matches!((&values[0], key),
                (Datum::Int4(v), Key::Int(k)) if i64::from(*v) == *k)
                })
            });
        }
        if let Access::Range { lower, upper, .. } = access {
            let bound = |bound: &Option<(Expr, bool)>| -> SqlResult<Option<(i64, bool)>> {
                let Some((expr, inclusive)) = bound else { return Ok(None) };
                let value = eval(expr, &[] as &[Datum], &self.context)?;
                Ok(datum_to_i64_key(&value).map(|value| (value, *inclusive)))
            };
            let (lower, upper) = (bound(lower)?, bound(upper)?);
            rows.retain(|(key, _)| {
                let Key::Int(key) = *key else { return false };
                lower.is_none_or(|(bound, inclusive)| key > bound || inclusive && key == bound)
                    && upper.is_none_or(|(bound, inclusive)| key < bound || inclusive && key == bound)
            });
        }
        let mut kept = Vec::new();
        for (key, row) in rows {
            if filter.as_ref().map_or(Ok(true), |filter| eval_bool(filter, row.as_slice(), &self.context))? {
                kept.push((key, row));
            }
        }
        Ok(kept)
    }

    fn node(&self, node: &Node) -> SqlResult<Vec<Row>> {
        match node {
            Node::Values { rows, .. } => rows.iter().map(|row| self.exprs(row, &[])).collect(),
            Node::Scan(Scan { table, columns, access, filter, .. }) => {
                let rows = self.found(table, access, filter)?;
                Ok(rows.into_iter().map(|(_, row)| columns.iter().map(|column| row[*column].clone()).collect()).collect())
            }
            Node::Filter { input, predicate } => {
                let mut rows = self.node(input)?;
                let mut failed = None;
                rows.retain(|row| match eval_bool(predicate, row.as_slice(), &self.context) {
                    Ok(keep) => keep,
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                });
                failed.map_or(Ok(rows), Err)
            }
            Node::Project { input, exprs } => self.node(input)?.iter().map(|row| self.exprs(exprs, row)).collect(),
            Node::Limit { input, .. } => self.node(input),
            Node::FunctionScan { args, .. } => {
                let bounds = self.exprs(args, &[])?;
                match bounds[..] {
                    [Datum::Int4(from), Datum::Int4(to)] => Ok((from..=to).map(|i| vec![Datum::Int4(i)]).collect()),
                    _ => Err(SqlError::unsupported("this function in tests")),
                }
            }
            other => Err(SqlError::unsupported(format!("{other:?} in tests"))),
        }
    }

    fn statement(&self, cursor: &mut FakeCursor) -> SqlResult<VecDeque<Row>> {
        let statement = Arc::clone(&cursor.statement);
        let mut changed = 0;
        let mut returned = VecDeque::new();
        match &statement.plan {
            Plan::Query(query) => return Ok(self.node(&query.root)?.into()),
            Plan::Copy(copy) => match &copy.direction {
                CopyDirection::ToStdout { query, .. } => return Ok(self.node(&query.root)?.into()),
                CopyDirection::FromStdin { .. } => panic!("COPY FROM STDIN has its own way"),
            },
            Plan::Insert(insert) => {
                for row in self.node(&insert.source)? {
                    let key = key_of(&insert.table, &row).unwrap_or(Key::Int(self.fake.fresh().cast_signed()));
                    let mut state = self.fake.0.state.borrow_mut();
                    let table = state.rows.entry(insert.table.storage).or_default();
                    if table.insert(key, row.clone()).is_some() {
                        return Err(SqlError::new(SqlState::UNIQUE_VIOLATION, "duplicate key"));
                    }
                    drop(state);
                    changed += 1;
                    returned.push_back(self.exprs(&insert.returning, &row)?);
                }
            }
            Plan::Update(update) => {
                for (key, old) in self.found(&update.table, &update.access, &update.filter)? {
                    let mut row = old.clone();
                    for (column, expr) in &update.assignments {
                        row[*column] = eval(expr, old.as_slice(), &self.context)?;
                    }
                    self.fake.0.state.borrow_mut().rows.entry(update.table.storage).or_default().insert(key, row);
                    changed += 1;
                }
            }
            Plan::Ddl(ddl) => self.ddl(ddl)?,
            _ => {}
        }
        cursor.changed = changed;
        Ok(if statement.columns.is_empty() { VecDeque::new() } else { returned })
    }

    fn ddl(&self, ddl: &Ddl) -> SqlResult<()> {
        match ddl {
            Ddl::CreateTable { schema, name, columns, primary_key, .. } => {
                let oid = Oid(20_000 + self.fake.fresh() as u32);
                let primary_key = primary_key.as_ref().map(|(name, columns)| PrimaryKey {
                    index_oid: oid,
                    constraint_oid: oid,
                    name: name.clone(),
                    columns: columns.clone(),
                });
                let table = TableDef {
                    oid,
                    schema: *schema,
                    name: name.clone(),
                    owner: crate::catalog::BOOTSTRAP_ROLE,
                    acls: Default::default(),
                    columns: columns.clone(),
                    primary_key,
                    storage: StorageId(oid.0),
                    options: Vec::new(),
                    layout: Default::default(),
                };
                self.fake.change_catalog(|catalog| {
                    catalog.table_names.insert((*schema, name.clone()), oid);
                    catalog.tables.insert(oid, Arc::new(table));
                });
            }
            Ddl::DropTable { tables, .. } => self.fake.change_catalog(|catalog| {
                for table in tables {
                    catalog.table_names.remove(&(table.schema, table.name.clone()));
                    catalog.tables.remove(&table.oid);
                }
            }),
            _ => return Err(SqlError::unsupported("this DDL in tests")),
        }
        Ok(())
    }
}

fn reads_forever(statement: &Statement) -> bool {
    matches!(statement.plan, Plan::Query(_)) && format!("{:?}", statement.plan).contains("\"forever\"")
}

impl Backend for Fake {
    type Cursor = FakeCursor;
    type CopyIn = (Arc<Statement>, String, u64);

    fn core(&self) -> CoreId {
        CoreId(0)
    }

    fn metrics(&self) -> &CoreMetrics {
        &self.0.metrics
    }

    fn catalog_version(&self, _txn: Option<&Txn>) -> u64 {
        self.0.state.borrow().catalog.version
    }

    fn catalog(&self, _txn: Option<&Txn>) -> Arc<Catalog> {
        Arc::clone(&self.0.state.borrow().catalog)
    }

    fn begin(&self, isolation: Isolation, read_only: bool) -> Txn {
        let id = TxnId::new(CoreId(0), self.fresh());
        self.0.backups.borrow_mut().push((id, 0, self.0.state.borrow().clone()));
        Txn::new(id, isolation, read_only)
    }

    async fn commit(&self, mut txn: Txn) -> SqlResult<()> {
        if self.0.fail_commit.replace(false) {
            self.abort(txn).await;
            return Err(SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access"));
        }
        txn.finished = true;
        self.0.backups.borrow_mut().retain(|(id, ..)| *id != txn.id);
        self.0.commits.set(self.0.commits.get() + 1);
        Ok(())
    }

    async fn abort(&self, mut txn: Txn) {
        txn.finished = true;
        let mut backups = self.0.backups.borrow_mut();
        if let Some((_, _, state)) = backups.iter().find(|(id, ..)| *id == txn.id) {
            *self.0.state.borrow_mut() = state.clone();
        }
        backups.retain(|(id, ..)| *id != txn.id);
    }

    async fn prepare_transaction(&self, txn: Txn, said: PrepareAs) -> SqlResult<()> {
        self.abort(txn).await;
        Err(SqlError::unsupported(format!("preparing {} here", said.gid)))
    }

    async fn finish_prepared(&self, gid: &str, _commit: bool, _only_of: Option<&str>) -> SqlResult<()> {
        Err(SqlError::unsupported(format!("deciding {gid} here")))
    }

    async fn unlock_session(&self, _locks: &SessionLocks) {}

    fn savepoint(&self, txn: &mut Txn) -> Savepoint {
        txn.command += 1;
        self.0.backups.borrow_mut().push((txn.id, txn.command, self.0.state.borrow().clone()));
        Savepoint { command: txn.command }
    }

    async fn rollback_to(&self, txn: &mut Txn, savepoint: Savepoint) {
        let backups = self.0.backups.borrow();
        let (_, _, state) =
            backups.iter().find(|(id, command, _)| *id == txn.id && *command == savepoint.command).expect("a savepoint");
        *self.0.state.borrow_mut() = state.clone();
    }

    fn open(&self, statement: &Arc<Statement>, params: Vec<Datum>) -> SqlResult<FakeCursor> {
        Ok(FakeCursor { statement: Arc::clone(statement), params, rows: None, changed: 0 })
    }

    async fn fetch(&self, cursor: &mut FakeCursor, run: Run<'_>, rows_max: u64, sink: &mut dyn RowSink) -> SqlResult<Fetched> {
        if cursor.rows.is_none() {
            if reads_forever(&cursor.statement) {
                std::future::pending::<()>().await;
            }
            let params = cursor.params.clone();
            let context = EvalContext {
                params: &params,
                outer: None,
                session: run.session,
                catalog: run.catalog,
                subqueries: &NoSubqueries,
            };
            let rows = Runner { fake: self, context }.statement(cursor)?;
            cursor.rows = Some(rows);
        }
        let copying = matches!(cursor.statement.plan, Plan::Copy(_));
        let mut given = 0;
        let rows = cursor.rows.as_mut().expect("just made");
        while let Some(row) = rows.pop_front() {
            given += 1;
            let flow = if copying {
                let line: Vec<String> = row.iter().map(|value| format!("{value:?}")).collect();
                cursor.changed += 1;
                sink.copy_line(format!("{}\n", line.join("\t")).as_bytes())?
            } else {
                sink.row(&row)?
            };
            if flow == Flow::Stop || given == rows_max {
                return Ok(Fetched::Suspended);
            }
        }
        Ok(Fetched::Done { rows: cursor.changed })
    }

    fn copy_in(&self, statement: &Arc<Statement>) -> SqlResult<Self::CopyIn> {
        Ok((Arc::clone(statement), String::new(), 0))
    }

    async fn copy_data(&self, copy: &mut Self::CopyIn, _run: Run<'_>, data: &[u8]) -> SqlResult<()> {
        copy.1.push_str(crate::session::formats::text(data)?);
        while let Some(end) = copy.1.find('\n') {
            let line: String = copy.1.drain(..=end).collect();
            let Plan::Copy(plan) = &copy.0.plan else { panic!("a COPY") };
            let CopyDirection::FromStdin { table, .. } = &plan.direction else { panic!("COPY FROM STDIN") };
            let number = |text: &str| {
                text.parse::<i32>().map(Datum::Int4).map_err(|_| {
                    let message = format!("invalid input syntax for type integer: \"{text}\"");
                    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
                })
            };
            let row = line.trim_end().split('\t').map(number).collect::<SqlResult<Row>>()?;
            let key = key_of(table, &row).expect("an integer key");
            self.0.state.borrow_mut().rows.entry(table.storage).or_default().insert(key, row);
            copy.2 += 1;
        }
        Ok(())
    }

    async fn copy_done(&self, copy: Self::CopyIn, _run: Run<'_>) -> SqlResult<u64> {
        Ok(copy.2)
    }

    fn point_key(
        &self,
        point: &PointSelect,
        params: &[Datum],
        session: &dyn SessionInfo,
        catalog: &Catalog,
    ) -> SqlResult<Option<Key>> {
        let context = EvalContext { params, outer: None, session, catalog, subqueries: &NoSubqueries };
        Ok(match eval(&point.key[0], &[] as &[Datum], &context)? {
            Datum::Int4(value) => Some(Key::Int(value.into())),
            _ => None,
        })
    }

    fn read_view(&self) -> ReadView {
        ReadView { snapshot: CommitTs(0), txn: None, command: 0, tracked: false }
    }

    fn owner(&self, _storage: StorageId, key: &Key) -> Option<CoreId> {
        match key {
            Key::Int(value) => Some(CoreId((value & 1) as u16)),
            Key::Bytes(_) => None,
        }
    }

    fn try_point_read<T>(
        &self,
        _view: &ReadView,
        storage: StorageId,
        key: &Key,
        then: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Option<T> {
        Some(then(self.stored(storage, key).as_deref()))
    }

    async fn point_reads(&self, _view: &ReadView, reads: Vec<(StorageId, Key)>) -> SqlResult<RowBatch> {
        self.0.batches.borrow_mut().push(reads.len());
        if self.0.fail_reads.replace(false) {
            return Err(SqlError::internal("reads fail in this test"));
        }
        let mut batch = RowBatch::default();
        for (storage, key) in &reads {
            match self.stored(*storage, key) {
                Some(row) => batch.push(&row),
                None => batch.push_missing(),
            }
        }
        Ok(batch)
    }
}

impl Fake {
    fn stored(&self, storage: StorageId, key: &Key) -> Option<Vec<u8>> {
        let state = self.0.state.borrow();
        let row = state.rows.get(&storage)?.get(key)?;
        let table = state.catalog.tables.values().find(|table| table.storage == storage)?;
        let mut bytes = Vec::new();
        table.layout().encode(row, &mut bytes).expect("rows of tests are small");
        Some(bytes)
    }
}
