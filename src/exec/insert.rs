//! INSERT, and what COPY FROM shares with it.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{CommandTag, ExecContext, Row, RowSink};
use crate::exec::dml::program_context;
use crate::exec::keys::{describe_key, key_of_row};
use crate::exec::programs::{UpsertProgram, not_null_violation};
use crate::exec::query::QueryStream;
use crate::exec::query::scope::{Exprs, Scope};
use crate::shard::{EngineError, Inserted, OnExisting, RowAction};
use crate::sql::expr::walk;
use crate::sql::plan::{InsertPlan, OnConflict};
use crate::storage::Key;
use crate::txn::{LockWait, TableLock};

/// Carries out an INSERT.
pub async fn insert(plan: &InsertPlan, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<CommandTag> {
    context.engine.lock_table(context.txn, plan.table.oid, TableLock::RowExclusive, LockWait::Block).await?;
    let mut source = QueryStream::open(&plan.source, context).await?;
    let scope = Scope::default();
    let mut count = 0;
    while let Some(rows) = source.next(context).await? {
        count += match &plan.on_conflict {
            None => insert_batch(plan, rows, OnExisting::Fail, &scope, context, sink).await?,
            Some(OnConflict::DoNothing) => insert_batch(plan, rows, OnExisting::Skip, &scope, context, sink).await?,
            Some(OnConflict::DoUpdate { .. }) => upsert_batch(plan, rows, &scope, context, sink).await?,
        };
    }
    Ok(CommandTag::Insert(count))
}

/// Keys and bytes of new rows, NOT NULL checked.
pub fn encode_rows(table: &TableDef, rows: &[Row], context: &ExecContext<'_>) -> SqlResult<Vec<(Key, Vec<u8>)>> {
    let layout = table.layout();
    let mut row_ids = match &table.primary_key {
        Some(_) => Vec::new(),
        None => context.engine.next_row_ids(table.storage, rows.len())?,
    }
    .into_iter();
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        for (i, column) in table.columns.iter().enumerate() {
            if column.not_null && row[i].is_null() {
                return Err(not_null_violation(table, i, row, context.session));
            }
        }
        let key = match key_of_row(table, row)? {
            Some(key) => key,
            None => row_ids.next().expect("one hidden key a row"),
        };
        let mut bytes = Vec::with_capacity(64);
        layout.encode(row, &mut bytes)?;
        encoded.push((key, bytes));
    }
    Ok(encoded)
}

/// Inserts rows without RETURNING or ON CONFLICT.
pub async fn insert_plain(table: &TableDef, rows: &[Row], context: &mut ExecContext<'_>) -> SqlResult<()> {
    let encoded = encode_rows(table, rows, context)?;
    let (engine, view) = (context.engine.clone(), context.view);
    let names = kept(table, &encoded);
    match engine.insert(context.txn, &view, table.storage, encoded).await {
        Ok(()) => Ok(()),
        Err(EngineError::DuplicateKey { key, .. }) => Err(duplicate_key(table, &key, &names, context)),
        Err(error) => Err(error.into()),
    }
}

async fn insert_batch(
    plan: &InsertPlan,
    rows: Vec<Row>,
    on_existing: OnExisting,
    scope: &Scope,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
) -> SqlResult<u64> {
    let table = &plan.table;
    let encoded = encode_rows(table, &rows, context)?;
    let names = kept(table, &encoded);
    let (engine, view) = (context.engine.clone(), context.view);
    let inserted = match engine.insert_rows(context.txn, &view, table.storage, encoded, on_existing).await {
        Ok(inserted) => inserted,
        Err(EngineError::DuplicateKey { key, .. }) => return Err(duplicate_key(table, &key, &names, context)),
        Err(error) => return Err(error.into()),
    };
    let new: Vec<Row> =
        rows.into_iter().zip(inserted).filter(|(_, inserted)| *inserted == Inserted::New).map(|(row, _)| row).collect();
    let count = new.len() as u64;
    return_rows(plan, new, scope, context, sink).await?;
    Ok(count)
}

/// ON CONFLICT DO UPDATE: the rows one by one, as each has its own EXCLUDED.
async fn upsert_batch(
    plan: &InsertPlan,
    rows: Vec<Row>,
    scope: &Scope,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
) -> SqlResult<u64> {
    let Some(OnConflict::DoUpdate { assignments, filter }) = &plan.on_conflict else { unreachable!("called for DO UPDATE only") };
    let (engine, view) = (context.engine.clone(), context.view);
    let exprs = assignments.iter().map(|(_, expr)| expr).chain(filter);
    if exprs.clone().any(|expr| walk::has_correlated_subquery(expr) || walk::needs_live_session(expr)) {
        return Err(SqlError::unsupported("a subquery about the row, or a setting, in ON CONFLICT DO UPDATE"));
    }
    let program_context = program_context(exprs, context).await?;
    let mut count = 0;
    for row in rows {
        let encoded = encode_rows(&plan.table, std::slice::from_ref(&row), context)?;
        let program = Arc::new(UpsertProgram {
            table: plan.table.clone(),
            excluded: row.clone(),
            assignments: assignments.clone(),
            filter: filter.clone(),
            context: program_context.clone(),
        });
        let done = engine.insert_rows(context.txn, &view, plan.table.storage, encoded, OnExisting::Update(program)).await?;
        match done.into_iter().next() {
            Some(Inserted::New) => return_rows(plan, vec![row], scope, context, sink).await?,
            Some(Inserted::Updated(modified)) if modified.action == RowAction::Replace => {
                let mut values = Vec::new();
                plan.table.layout().view(&modified.reply).get_all(&mut values);
                return_rows(plan, vec![values], scope, context, sink).await?;
            }
            _ => continue,
        }
        count += 1;
    }
    Ok(count)
}

/// RETURNING.
async fn return_rows(
    plan: &InsertPlan,
    rows: Vec<Row>,
    scope: &Scope,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
) -> SqlResult<()> {
    if plan.returning.is_empty() {
        return Ok(());
    }
    for row in Exprs::new(plan.returning.clone()).rows(&rows, scope, context).await? {
        sink.row(&row)?;
    }
    Ok(())
}

/// A copy of the rows for naming a duplicate; only tables with a primary key can have one.
fn kept(table: &TableDef, rows: &[(Key, Vec<u8>)]) -> Vec<(Key, Vec<u8>)> {
    if table.primary_key.is_some() { rows.to_vec() } else { Vec::new() }
}

/// 23505, with the constraint's name and the key.
pub fn duplicate_key(table: &TableDef, key: &Key, rows: &[(Key, Vec<u8>)], context: &ExecContext<'_>) -> SqlError {
    let Some(primary) = &table.primary_key else { return SqlError::internal("a hidden key was given out twice") };
    let message = format!("duplicate key value violates unique constraint \"{}\"", primary.name);
    let mut error = SqlError::new(SqlState::UNIQUE_VIOLATION, message);
    if let Some((_, row)) = rows.iter().find(|(other, _)| other == key) {
        let named = describe_key(table, &table.layout().view(row), context.session.format());
        error = error.detail(format!("Key {named} already exists."));
    }
    error.fields_mut().table = Some(table.name.clone());
    error.fields_mut().constraint = Some(primary.name.clone());
    error
}
