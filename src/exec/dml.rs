//! UPDATE and DELETE: find the keys, then have their owners do it. What owners cannot decide alone is in `row_by_row`.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::error::SqlResult;
use crate::exec::context::{CommandTag, ExecContext, RowSink};
use crate::exec::insert::duplicate_key;
use crate::exec::keys::{access_range, key_of_row, point_keys};
use crate::exec::programs::{DeleteProgram, ProgramContext, UpdateProgram};
use crate::exec::query::filter::ExprFilter;
use crate::exec::query::scope::{Exprs, Results, Scope};
use crate::exec::row_by_row::{self, Change};
use crate::shard::{EngineError, KeyRange, Modified, RowAction, RowFilter, RowUpdate, ScanSpec};
use crate::sql::NoSubqueries;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::eval;
use crate::sql::expr::walk;
use crate::sql::plan::{Access, DeletePlan, UpdatePlan};
use crate::storage::Key;
use crate::txn::{LockWait, TableLock};

/// Keys modified with one message an owner.
const BATCH: usize = 256;

/// What is modified, and how.
struct Target<'p> {
    table: &'p Arc<TableDef>,
    access: &'p Access,
    filter: Option<Arc<dyn RowFilter>>,
    returning: &'p [Expr],
    program: Arc<dyn RowUpdate>,
}

/// Carries out an UPDATE.
pub async fn update(plan: &UpdatePlan, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<CommandTag> {
    if let Some(source) = &plan.source {
        let assignments = Some(&plan.assignments[..]);
        let change = Change { table: &plan.table, source, filter: plan.filter.as_ref(), assignments, returning: &plan.returning };
        return row_by_row::change(&change, context, sink).await.map(CommandTag::Update);
    }
    let exprs = plan.filter.iter().chain(plan.assignments.iter().map(|(_, expr)| expr));
    let program_context = program_context(exprs, context).await?;
    let filter = scan_filter(&plan.table, &plan.access, plan.filter.as_ref(), &program_context);
    let program = Arc::new(UpdateProgram {
        table: plan.table.clone(),
        filter: plan.filter.clone(),
        assignments: plan.assignments.clone(),
        returning: !plan.returning.is_empty(),
        context: program_context,
    });
    let target = Target { table: &plan.table, access: &plan.access, filter, returning: &plan.returning, program };
    modify(&target, context, sink).await.map(CommandTag::Update)
}

/// Carries out a DELETE.
pub async fn delete(plan: &DeletePlan, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<CommandTag> {
    if let Some(source) = &plan.source {
        let filter = plan.filter.as_ref();
        let change = Change { table: &plan.table, source, filter, assignments: None, returning: &plan.returning };
        return row_by_row::change(&change, context, sink).await.map(CommandTag::Delete);
    }
    let program_context = program_context(plan.filter.iter(), context).await?;
    let filter = scan_filter(&plan.table, &plan.access, plan.filter.as_ref(), &program_context);
    let program = Arc::new(DeleteProgram {
        table: plan.table.clone(),
        filter: plan.filter.clone(),
        returning: !plan.returning.is_empty(),
        context: program_context,
    });
    let target = Target { table: &plan.table, access: &plan.access, filter, returning: &plan.returning, program };
    modify(&target, context, sink).await.map(CommandTag::Delete)
}

/// What a program evaluates these expressions with. Their subqueries, which refer to no row, are run here: the owners of rows
/// cannot, and by PostgreSQL's rules they are not run again for a row's newer version.
pub async fn program_context<'e>(
    exprs: impl Iterator<Item = &'e Expr> + Clone,
    context: &mut ExecContext<'_>,
) -> SqlResult<ProgramContext> {
    let mut subqueries = Results::default();
    if exprs.clone().any(walk::has_subquery) {
        subqueries = Exprs::new(exprs.clone().cloned().collect()).results(&Scope::default(), context).await?;
    }
    Ok(ProgramContext::of(context, exprs, subqueries))
}

/// The condition for a scan of the rows; rows found by their keys are only looked at by the program.
fn scan_filter(
    table: &TableDef,
    access: &Access,
    condition: Option<&Expr>,
    context: &ProgramContext,
) -> Option<Arc<dyn RowFilter>> {
    let condition = condition.filter(|_| !matches!(access, Access::Points(_)))?;
    Some(Arc::new(ExprFilter::over(condition, table, context.clone(), None)))
}

async fn modify(target: &Target<'_>, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<u64> {
    context.engine.lock_table(context.txn, target.table.oid, TableLock::RowExclusive, LockWait::Block).await?;
    let mut moved: Vec<Vec<u8>> = Vec::new();
    let mut count = 0;
    match target.access {
        Access::Points(points) => {
            let keys = point_keys(target.table, points, &None, context)?;
            if !keys.is_empty() {
                count += modify_points(target, keys, context, sink, &mut moved).await?;
            }
        }
        access => {
            let Some(range) = access_range(target.table, access, &None, context)? else { return Ok(0) };
            count += modify_range(target, range, context, sink, &mut moved).await?;
        }
    }
    insert_moved(target, moved, context, sink).await?;
    Ok(count)
}

async fn modify_points(
    target: &Target<'_>,
    keys: Vec<Key>,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
    moved: &mut Vec<Vec<u8>>,
) -> SqlResult<u64> {
    // Only an update of one row begins before the transaction may look around. If there is no such row, that is something to see.
    let again = (keys.len() == 1 && !context.engine.may_look(context.txn)).then(|| keys.clone());
    let count = modify_keys(target, keys, context, sink, moved).await?;
    match again {
        Some(keys) if count == 0 => {
            context.engine.before_looking(context.txn).await?;
            context.view = context.engine.write_view(context.txn);
            modify_keys(target, keys, context, sink, moved).await
        }
        _ => Ok(count),
    }
}

async fn modify_range(
    target: &Target<'_>,
    range: KeyRange,
    context: &mut ExecContext<'_>,
    sink: &mut dyn RowSink,
    moved: &mut Vec<Vec<u8>>,
) -> SqlResult<u64> {
    let filter = target.filter.clone();
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
    for Modified { action, reply, .. } in done {
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
    if moved.is_empty() {
        return Ok(());
    }
    insert_under_new_keys(target.table, &moved, context).await?;
    for row in &moved {
        return_row(target, row, context, sink)?;
    }
    Ok(())
}

/// Inserts rows that an UPDATE has deleted under their old keys.
pub async fn insert_under_new_keys(table: &TableDef, moved: &[Vec<u8>], context: &mut ExecContext<'_>) -> SqlResult<()> {
    let layout = table.layout().clone();
    let mut rows = Vec::with_capacity(moved.len());
    for row in moved {
        let mut values = Vec::new();
        layout.view(row).get_all(&mut values);
        let key = key_of_row(table, &values)?.expect("only rows with a primary key move, and its columns are NOT NULL");
        rows.push((key, row.clone()));
    }
    let (engine, view) = (context.engine.clone(), context.view);
    match engine.insert(context.txn, &view, table.storage, rows.clone()).await {
        Err(EngineError::DuplicateKey { key, .. }) => Err(duplicate_key(table, &key, &rows, context)),
        inserted => Ok(inserted?),
    }
}
