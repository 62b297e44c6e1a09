//! Where rows come from: tables by range or by key, functions, system tables.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::catalog::system::cores;
use crate::catalog::system::live::is_live;
use crate::catalog::system::{SystemContext, SystemTableRef};
use crate::error::SqlResult;
use crate::exec::context::{ExecContext, Row};
use crate::exec::keys::{access_range, key_of_values, point_keys};
use crate::exec::query::BATCH;
use crate::exec::query::filter::ExprFilter;
use crate::exec::query::scope::{Exprs, Scope, with_outer};
use crate::shard::{KeyRange, RowBatch, RowFilter, ScanCursor, ScanSpec};
use crate::sql::expr::eval::eval_bool;
use crate::sql::function::TableFunctionRef;
use crate::sql::function::table::TableRows;
use crate::sql::plan::{self, Access, Node, RowLocking};
use crate::storage::Key;
use crate::txn::{LockWait, TableLock};
use crate::types::Datum;

/// Keys looked up or locked with one message an owner.
const KEYS: usize = 256;

/// Whether a plan reads a user table outside subqueries.
pub fn reads_tables(node: &Node) -> bool {
    match node {
        Node::Scan(_) => true,
        Node::Values { .. } | Node::SystemScan { .. } | Node::FunctionScan { .. } => false,
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::Aggregate { input, .. }
        | Node::Sort { input, .. }
        | Node::Distinct { input, .. }
        | Node::Limit { input, .. } => reads_tables(input),
        Node::Join(join) => reads_tables(&join.left) || reads_tables(&join.right),
        Node::SetOp { left, right, .. } => reads_tables(left) || reads_tables(right),
    }
}

/// Where the rows are.
enum Source {
    Range(Box<ScanCursor>),
    Points(std::vec::IntoIter<Key>),
}

/// Who evaluates the condition.
enum Condition {
    None,
    /// The rows' owners, on row bytes.
    Owner(Arc<ExprFilter>),
    /// The session: there is a subquery to run for each row.
    Session(Exprs),
}

/// A scan of a table.
pub struct Scan {
    table: Arc<TableDef>,
    columns: Vec<usize>,
    source: Source,
    condition: Condition,
    scope: Scope,
    locking: Option<Locking>,
}

/// FOR UPDATE: rows are found first, then locked, a few at a time so that a LIMIT does not lock more than it wants.
struct Locking {
    mode: RowLocking,
    found: std::vec::IntoIter<Key>,
    /// Rows still wanted.
    left: u64,
}

impl Scan {
    /// Opens a scan: locks the table, finds keys and range.
    pub async fn open(
        plan: &plan::Scan,
        locking: Option<RowLocking>,
        scope: Scope,
        context: &mut ExecContext<'_>,
    ) -> SqlResult<Scan> {
        let mode = if locking.is_some() { TableLock::RowShare } else { TableLock::AccessShare };
        context.engine.lock_table(context.txn, plan.table.oid, mode, LockWait::Block).await?;
        let condition = match &plan.filter {
            None => Condition::None,
            Some(filter) => match ExprFilter::new(filter, &plan.table, &scope, context).await? {
                Some(filter) => Condition::Owner(filter),
                None => Condition::Session(Exprs::new(vec![filter.clone()])),
            },
        };
        let locking = locking.map(|mode| Locking { mode, found: Vec::new().into_iter(), left: plan.limit.unwrap_or(u64::MAX) });
        let source = match &plan.access {
            Access::Points(points) => {
                let mut keys = point_keys(&plan.table, points, scope.outer(), context)?;
                if plan.reverse {
                    keys.reverse();
                }
                Source::Points(keys.into_iter())
            }
            access => match access_range(&plan.table, access, scope.outer(), context)? {
                None => Source::Points(Vec::new().into_iter()),
                Some(range) => {
                    let spec = scan_spec(plan, range, &condition, locking.is_some());
                    Source::Range(Box::new(context.engine.scan(context.view, spec)))
                }
            },
        };
        Ok(Scan { table: plan.table.clone(), columns: plan.columns.clone(), source, condition, scope, locking })
    }

    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        if self.locking.is_some() {
            return self.next_locked(context).await;
        }
        let Some((batch, filtered)) = self.next_batch(context).await? else { return Ok(None) };
        self.rows_of(&batch, filtered, context).await.map(Some)
    }

    /// The next rows' bytes, and whether the condition was applied to them.
    async fn next_batch(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<(RowBatch, bool)>> {
        match &mut self.source {
            Source::Range(cursor) => Ok(cursor.next().await?.map(|batch| (batch, true))),
            Source::Points(keys) => {
                let keys: Vec<Key> = keys.by_ref().take(KEYS).collect();
                if keys.is_empty() {
                    return Ok(None);
                }
                let batch = context.engine.get_many(&context.view, self.table.storage, keys).await?;
                Ok(Some((batch, false)))
            }
        }
    }

    /// Decodes rows; applies the condition where the owners have not.
    async fn rows_of(&self, batch: &RowBatch, filtered: bool, context: &mut ExecContext<'_>) -> SqlResult<Vec<Row>> {
        let layout = self.table.layout();
        let owner = match &self.condition {
            Condition::Owner(filter) if !filtered => Some(filter),
            _ => None,
        };
        let mut rows = Vec::with_capacity(batch.len());
        if let Condition::Session(exprs) = &self.condition {
            for (i, bytes) in batch.iter().flatten().enumerate() {
                let mut row = Row::new();
                layout.view(bytes).get_all(&mut row);
                row.push(self.id(batch, i));
                rows.push(row);
            }
            let rows = exprs.keep(rows, &self.scope, context).await?;
            return Ok(rows.into_iter().map(|row| self.columns.iter().map(|column| row[*column].clone()).collect()).collect());
        }
        let width = self.table.columns.len();
        for (i, bytes) in batch.iter().flatten().enumerate() {
            if let Some(filter) = owner
                && !filter.matches(bytes)?
            {
                continue;
            }
            let view = layout.view(bytes);
            let value = |&column: &usize| if column < width { view.get(column) } else { self.id(batch, i) };
            rows.push(self.columns.iter().map(value).collect());
        }
        Ok(rows)
    }

    /// The id of a batch's n-th row: its key, where that is hidden and was asked for.
    fn id(&self, batch: &RowBatch, n: usize) -> Datum {
        match (&self.table.primary_key, batch.keys().get(n)) {
            (None, Some(Key::Int(id))) => Datum::Int8(*id),
            _ => Datum::Null,
        }
    }

    /// The next rows, locked, in their newest versions.
    async fn next_locked(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        loop {
            let locking = self.locking.as_mut().expect("asked of a locking scan");
            let wanted = usize::try_from(locking.left).unwrap_or(KEYS).min(KEYS);
            if wanted == 0 {
                return Ok(None);
            }
            let keys: Vec<Key> = locking.found.by_ref().take(wanted).collect();
            if keys.is_empty() {
                match self.next_keys(context).await? {
                    None => return Ok(None),
                    Some(keys) => self.locking.as_mut().expect("asked of a locking scan").found = keys.into_iter(),
                }
                continue;
            }
            let RowLocking { strength, wait } = locking.mode.clone();
            let filter = match &self.condition {
                Condition::Owner(filter) => Some(filter.clone() as Arc<dyn RowFilter>),
                _ => None,
            };
            let (engine, view, storage) = (context.engine.clone(), context.view, self.table.storage);
            let batch = engine.lock_rows(context.txn, &view, storage, keys, strength, wait, filter).await?;
            let rows = self.rows_of(&batch, true, context).await?;
            let locking = self.locking.as_mut().expect("asked of a locking scan");
            locking.left -= (rows.len() as u64).min(locking.left);
            return Ok(Some(rows));
        }
    }

    /// Keys of the next rows that a locking scan may lock.
    async fn next_keys(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Key>>> {
        match &mut self.source {
            Source::Points(keys) => {
                let keys: Vec<Key> = keys.by_ref().take(KEYS).collect();
                Ok((!keys.is_empty()).then_some(keys))
            }
            Source::Range(cursor) => {
                let Some(batch) = cursor.next().await? else { return Ok(None) };
                let Condition::Session(exprs) = &self.condition else { return Ok(Some(batch.keys().to_vec())) };
                let mut rows = Vec::with_capacity(batch.len());
                for bytes in batch.iter().flatten() {
                    let mut row = Row::new();
                    self.table.layout().view(bytes).get_all(&mut row);
                    rows.push(row);
                }
                // Rows that do not qualify are not locked; those that do are looked at again in their newest versions.
                let matches = exprs.matches(&rows, &self.scope, context).await?;
                let keys = batch.keys().iter().zip(matches).filter(|(_, keep)| *keep).map(|(key, _)| key.clone());
                Ok(Some(keys.collect()))
            }
        }
    }
}

/// For each row outside, the rows of a scan by full key that refers to it: keys of many are looked up together. `None` if the
/// scan is of another kind.
pub async fn look_up(
    plan: &plan::Scan,
    outside: &[Row],
    scope: &Scope,
    context: &mut ExecContext<'_>,
) -> SqlResult<Option<Vec<Vec<Row>>>> {
    let Access::Points(points) = &plan.access else { return Ok(None) };
    let [point] = &points[..] else { return Ok(None) };
    let (point, filter) = (Exprs::new(point.clone()), Exprs::new(plan.filter.iter().cloned().collect()));
    if point.is_correlated() || filter.is_correlated() {
        return Ok(None);
    }
    context.engine.lock_table(context.txn, plan.table.oid, TableLock::AccessShare, LockWait::Block).await?;
    let scopes: Vec<Scope> = outside.iter().map(|row| scope.inside(row.clone())).collect();
    let (mut owners, mut keys) = (Vec::new(), Vec::new());
    for (i, inside) in scopes.iter().enumerate() {
        if let Some(key) = key_of_values(&plan.table, &point.values(inside, context).await?)? {
            owners.push(i);
            keys.push(key);
        }
    }
    let mut found = vec![Vec::new(); outside.len()];
    let batch = context.engine.get_many(&context.view, plan.table.storage, keys).await?;
    let results = filter.results(scope, context).await?;
    for (owner, bytes) in owners.into_iter().zip(batch.iter()) {
        let Some(bytes) = bytes else { continue };
        let view = plan.table.layout().view(bytes);
        let keep = with_outer(scopes[owner].outer(), |outer| match &plan.filter {
            None => Ok(true),
            Some(filter) => eval_bool(filter, &view, &context.eval(outer, &results)),
        })?;
        if keep {
            // Only tables with a primary key are read by key, and their rows' ids are NULL.
            let value = |&column: &usize| if column < plan.table.columns.len() { view.get(column) } else { Datum::Null };
            found[owner].push(plan.columns.iter().map(value).collect());
        }
    }
    Ok(Some(found))
}

/// Whether the rows' ids are asked for and are not in their columns.
fn wants_id(table: &TableDef, columns: &[usize]) -> bool {
    table.primary_key.is_none() && columns.contains(&table.columns.len())
}

fn scan_spec(plan: &plan::Scan, range: KeyRange, condition: &Condition, locking: bool) -> ScanSpec {
    let filter = match condition {
        Condition::Owner(filter) => Some(filter.clone() as Arc<dyn RowFilter>),
        _ => None,
    };
    // A limit counts rows that are returned: not where the session still filters, or locking leaves rows out.
    let limit = if locking || matches!(condition, Condition::Session(_)) { None } else { plan.limit };
    let with_keys = locking || wants_id(&plan.table, &plan.columns);
    ScanSpec { storage: plan.table.storage, range, reverse: plan.reverse, filter, limit, with_keys }
}

/// The rows of a function, made as they are asked for.
pub struct FunctionRows {
    rows: TableRows,
    /// The number of the last row, WITH ORDINALITY.
    ordinality: Option<i64>,
}

impl FunctionRows {
    /// Of a function and its arguments.
    pub fn new(function: TableFunctionRef, args: &[Datum], ordinality: bool, context: &ExecContext<'_>) -> SqlResult<Self> {
        Ok(Self { rows: function.rows(args, context.session.format())?, ordinality: ordinality.then_some(0) })
    }

    /// The next rows.
    pub fn next(&mut self) -> SqlResult<Option<Vec<Row>>> {
        let mut rows = Vec::new();
        for value in self.rows.by_ref().take(BATCH) {
            let mut row = Vec::with_capacity(2);
            row.push(value?);
            if let Some(number) = &mut self.ordinality {
                *number += 1;
                row.push(Datum::Int8(*number));
            }
            rows.push(row);
        }
        Ok((!rows.is_empty()).then_some(rows))
    }
}

/// The rows of a system table, with these columns.
pub async fn system_rows(table: SystemTableRef, columns: &[usize], context: &ExecContext<'_>) -> Vec<Row> {
    let session = context.session;
    let live = is_live(table.get().name);
    let sessions = session.sessions().filter(|_| live).map_or_else(Vec::new, |sessions| sessions.activities());
    let locks = if live { context.engine.locks().await } else { Vec::new() };
    let look = cores::look(table.get().name);
    let (cores, server) = match look {
        Some(look) => (context.engine.look_at_all(look).await, Some(context.engine.server_figures())),
        None => (Vec::new(), None),
    };
    let prepared = &context.engine.shared().prepared;
    let system = SystemContext {
        catalog: &context.catalog,
        database: session.database(),
        role: session.role(),
        format: session.format(),
        prepared: &prepared.list(),
        prepared_txns: &prepared.txns(),
        locks: &locks,
        sessions: &sessions,
        cores: &cores,
        server: server.as_ref(),
    };
    let rows = crate::catalog::system::rows(table, &system);
    rows.into_iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect()
}
