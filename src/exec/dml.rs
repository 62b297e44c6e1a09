//! UPDATE and DELETE: find the keys, then have their owners do it.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult};
use crate::exec::context::{CommandTag, ExecContext, RowSink};
use crate::exec::insert::duplicate_key;
use crate::exec::keys::{key_of_row, key_of_values, range_of};
use crate::exec::programs::{DeleteProgram, FilterProgram, ProgramContext, UpdateProgram};
use crate::shard::{EngineError, KeyRange, Modified, RowAction, RowFilter, RowUpdate, ScanSpec};
use crate::sql::NoSubqueries;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{NoRow, eval};
use crate::sql::expr::walk;
use crate::sql::plan::{Access, DeletePlan, UpdatePlan};
use crate::storage::Key;
use crate::txn::TableLock;

/// Keys modified with one message an owner.
const BATCH: usize = 256;

/// What is modified, and how.
struct Target<'p> {
    table: &'p Arc<TableDef>,
    access: &'p Access,
    filter: Option<&'p Expr>,
    returning: &'p [Expr],
    program: Arc<dyn RowUpdate>,
}

/// Carries out an UPDATE.
pub async fn update(plan: &UpdatePlan, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<CommandTag> {
    refuse_subqueries(plan.filter.iter().chain(plan.assignments.iter().map(|(_, expr)| expr)).chain(&plan.returning), "UPDATE")?;
    let program = Arc::new(UpdateProgram {
        table: plan.table.clone(),
        filter: plan.filter.clone(),
        assignments: plan.assignments.clone(),
        returning: !plan.returning.is_empty(),
        context: ProgramContext::of(context),
    });
    let target =
        Target { table: &plan.table, access: &plan.access, filter: plan.filter.as_ref(), returning: &plan.returning, program };
    modify(&target, context, sink).await.map(CommandTag::Update)
}

/// Carries out a DELETE.
pub async fn delete(plan: &DeletePlan, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<CommandTag> {
    refuse_subqueries(plan.filter.iter().chain(&plan.returning), "DELETE")?;
    let program = Arc::new(DeleteProgram {
        table: plan.table.clone(),
        filter: plan.filter.clone(),
        returning: !plan.returning.is_empty(),
        context: ProgramContext::of(context),
    });
    let target =
        Target { table: &plan.table, access: &plan.access, filter: plan.filter.as_ref(), returning: &plan.returning, program };
    modify(&target, context, sink).await.map(CommandTag::Delete)
}

/// Programs run on the rows' owners, where a subquery cannot.
fn refuse_subqueries<'e>(exprs: impl Iterator<Item = &'e Expr>, statement: &str) -> SqlResult<()> {
    let mut exprs = exprs;
    if exprs.any(walk::has_subquery) {
        return Err(SqlError::unsupported(format!("a subquery in {statement}")));
    }
    Ok(())
}

async fn modify(target: &Target<'_>, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<u64> {
    context.engine.lock_table(context.txn, target.table.oid, TableLock::RowExclusive).await?;
    let mut moved: Vec<Vec<u8>> = Vec::new();
    let mut count = 0;
    match target.access {
        Access::Points(points) => {
            let keys = point_keys(target.table, points, context)?;
            if let ([key], true) = (&keys[..], context.single_statement && target.returning.is_empty()) {
                return modify_alone(target, key.clone(), context).await;
            }
            if !keys.is_empty() {
                count += modify_keys(target, keys, context, sink, &mut moved).await?;
            }
        }
        access => {
            let Some(range) = access_range(target.table, access, context)? else { return Ok(0) };
            count += modify_range(target, range, context, sink, &mut moved).await?;
        }
    }
    if !moved.is_empty() {
        insert_moved(target, moved, context, sink).await?;
    }
    Ok(count)
}

/// The keys of an access by full keys, each once.
pub fn point_keys(table: &TableDef, points: &[Vec<Expr>], context: &ExecContext<'_>) -> SqlResult<Vec<Key>> {
    let eval_context = context.eval(None, &NoSubqueries);
    let mut keys = Vec::with_capacity(points.len());
    for point in points {
        let values = point.iter().map(|expr| eval(expr, &NoRow, &eval_context)).collect::<SqlResult<Vec<_>>>()?;
        keys.extend(key_of_values(table, &values)?);
    }
    if keys.len() > 1 {
        keys.sort_unstable();
        keys.dedup();
    }
    Ok(keys)
}

fn access_range(table: &TableDef, access: &Access, context: &ExecContext<'_>) -> SqlResult<Option<KeyRange>> {
    let Access::Range { prefix, lower, upper } = access else { return Ok(Some(KeyRange::all())) };
    let eval_context = context.eval(None, &NoSubqueries);
    let prefix = prefix.iter().map(|expr| eval(expr, &NoRow, &eval_context)).collect::<SqlResult<Vec<_>>>()?;
    let bound = |bound: &Option<(Expr, bool)>| match bound {
        None => Ok(None),
        Some((expr, inclusive)) => eval(expr, &NoRow, &eval_context).map(|value| Some((value, *inclusive))),
    };
    range_of(table, &prefix, &bound(lower)?, &bound(upper)?)
}

/// A statement of its own on one key: modified and committed in one message, unless the row moves to another key.
async fn modify_alone(target: &Target<'_>, key: Key, context: &mut ExecContext<'_>) -> SqlResult<u64> {
    let (engine, view) = (context.engine.clone(), context.view);
    if target.program.may_move_rows() {
        let mut moved = Vec::new();
        let count = modify_keys(target, vec![key], context, &mut Discard, &mut moved).await?;
        if !moved.is_empty() {
            insert_moved(target, moved, context, &mut Discard).await?;
        }
        return Ok(count);
    }
    let done = engine.modify_and_commit(context.txn, &view, target.table.storage, key, target.program.clone()).await?;
    Ok(u64::from(done.action != RowAction::Skip))
}

/// A sink for statements that return nothing.
struct Discard;

impl RowSink for Discard {
    fn row(&mut self, _row: &[crate::types::Datum]) -> SqlResult<()> {
        Ok(())
    }

    fn row_bytes(&mut self, _row: crate::types::RowView<'_>, _columns: &[usize]) -> SqlResult<()> {
        Ok(())
    }

    fn copy_line(&mut self, _line: &[u8]) -> SqlResult<()> {
        Err(SqlError::internal("only COPY gives lines"))
    }

    fn is_full(&self) -> bool {
        false
    }
}

async fn modify_range(
    target: &Target<'_>,
    range: KeyRange,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
    moved: &mut Vec<Vec<u8>>,
) -> SqlResult<u64> {
    let filter = target.filter.map(|condition| {
        Arc::new(FilterProgram {
            layout: target.table.layout().clone(),
            condition: condition.clone(),
            context: ProgramContext::of(context),
        }) as Arc<dyn RowFilter>
    });
    let spec = ScanSpec { storage: target.table.storage, range, reverse: false, filter, limit: None, with_keys: true };
    let mut cursor = context.engine.scan(context.view, spec);
    let mut count = 0;
    while let Some(batch) = cursor.next().await? {
        for keys in batch.keys().chunks(BATCH) {
            count += modify_keys(target, keys.to_vec(), context, sink, moved).await?;
        }
    }
    Ok(count)
}

async fn modify_keys(
    target: &Target<'_>,
    keys: Vec<Key>,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
    moved: &mut Vec<Vec<u8>>,
) -> SqlResult<u64> {
    let (engine, view) = (context.engine.clone(), context.view);
    let done = engine.modify_many(context.txn, &view, target.table.storage, keys, target.program.clone()).await?;
    let mut count = 0;
    for Modified { action, reply } in done {
        match action {
            RowAction::Skip => continue,
            RowAction::Delete if target.program.may_move_rows() => moved.push(reply),
            RowAction::Replace | RowAction::Delete => return_row(target, &reply, context, sink)?,
        }
        count += 1;
    }
    Ok(count)
}

fn return_row(target: &Target<'_>, row: &[u8], context: &ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<()> {
    if target.returning.is_empty() {
        return Ok(());
    }
    let view = target.table.layout().view(row);
    let eval_context = context.eval(None, &NoSubqueries);
    let values = target.returning.iter().map(|expr| eval(expr, &view, &eval_context)).collect::<SqlResult<Vec<_>>>()?;
    sink.row(&values)
}

/// Inserts rows whose primary key was changed.
async fn insert_moved(
    target: &Target<'_>,
    moved: Vec<Vec<u8>>,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
) -> SqlResult<()> {
    let layout = target.table.layout().clone();
    let mut rows = Vec::with_capacity(moved.len());
    for row in &moved {
        let mut values = Vec::new();
        layout.view(row).get_all(&mut values);
        let key = key_of_row(target.table, &values)?.expect("only rows with a primary key move, and its columns are NOT NULL");
        rows.push((key, row.clone()));
    }
    let (engine, view) = (context.engine.clone(), context.view);
    let inserted = engine.insert(context.txn, &view, target.table.storage, rows.clone()).await;
    if let Err(EngineError::DuplicateKey { key, .. }) = &inserted {
        return Err(duplicate_key(target.table, key, &rows, context));
    }
    inserted?;
    for row in &moved {
        return_row(target, row, context, sink)?;
    }
    Ok(())
}
