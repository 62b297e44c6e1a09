//! UPDATE and DELETE that the session decides about row by row: those with FROM or USING, and with subqueries that refer to the
//! row.
//!
//! The rows that qualify are read as a query at the statement's snapshot. A few at a time they are locked by their owners. One
//! whose newest version is another than the one read is looked at again, with the newest version in its place but the same rows
//! of FROM, and subqueries still at the statement's snapshot (PostgreSQL 15 documentation 13.2.1; EvalPlanQual in the executor's
//! README). Then the new row is written under its key; nobody can have changed it since it was locked. A row that FROM has
//! several partners for is changed once, with the first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult};
use crate::exec::context::{ExecContext, Row, RowSink};
use crate::exec::dml::insert_under_new_keys;
use crate::exec::keys::key_of_row;
use crate::exec::programs::{Overwrite, Remove, Replacements, changes_key, check_not_null, may_change_key, rewrite};
use crate::exec::query::QueryStream;
use crate::exec::query::scope::{Exprs, Reservation, Scope, row_bytes};
use crate::sql::expr::Expr;
use crate::sql::plan::Node;
use crate::storage::Key;
use crate::txn::{LockStrength, LockWait, TableLock};
use crate::types::Datum;

/// Rows locked and written with one message an owner.
const BATCH: usize = 256;

/// A change of a table's rows.
pub struct Change<'p> {
    /// The table.
    pub table: &'p Arc<TableDef>,
    /// The rows that qualify: the table's columns, the row's id, then those of FROM.
    pub source: &'p Node,
    /// WHERE, over such rows.
    pub filter: Option<&'p Expr>,
    /// Columns and their new values, over such rows; `None` deletes.
    pub assignments: Option<&'p [(usize, Expr)]>,
    /// RETURNING, over such rows with the new row in place of the old.
    pub returning: &'p [Expr],
}

/// A row that is locked: its key, its newest version, and the joined row with that version in front.
struct Locked {
    key: Key,
    bytes: Vec<u8>,
    row: Row,
}

/// The state of carrying one out.
struct Changing<'p> {
    change: &'p Change<'p>,
    scope: Scope,
    filter: Option<Exprs>,
    values: Exprs,
    returning: Exprs,
    /// Keys that have been dealt with.
    seen: HashSet<Key>,
    reservation: Reservation,
    /// New rows that belong under other keys, with the joined rows that RETURNING is over.
    moved: Vec<(Vec<u8>, Row)>,
    count: u64,
}

/// Carries out a change; answers how many rows it changed.
pub async fn change(change: &Change<'_>, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<u64> {
    context.engine.lock_table(context.txn, change.table.oid, TableLock::RowExclusive, LockWait::Block).await?;
    let scope = Scope::default();
    let mut changing = Changing {
        change,
        filter: change.filter.map(|filter| Exprs::new(vec![filter.clone()])),
        values: Exprs::new(change.assignments.unwrap_or_default().iter().map(|(_, expr)| expr.clone()).collect()),
        returning: Exprs::new(change.returning.to_vec()),
        seen: HashSet::new(),
        reservation: scope.reserve(),
        moved: Vec::new(),
        count: 0,
        scope,
    };
    let mut source = QueryStream::open(change.source, context).await?;
    while let Some(rows) = source.next(context).await? {
        let rows = changing.not_seen(rows, context)?;
        for batch in rows.chunks(BATCH) {
            let locked = changing.lock(batch, context).await?;
            match change.assignments {
                None => changing.remove(locked, context, sink).await?,
                Some(assignments) => changing.assign(assignments, locked, context, sink).await?,
            }
        }
    }
    let (moved, rows): (Vec<_>, Vec<_>) = std::mem::take(&mut changing.moved).into_iter().unzip();
    if !moved.is_empty() {
        insert_under_new_keys(change.table, &moved, context).await?;
        changing.give_back(&rows, context, sink).await?;
    }
    Ok(changing.count)
}

impl Changing<'_> {
    fn width(&self) -> usize {
        self.change.table.columns.len()
    }

    /// Rows met for the first time, with their keys.
    fn not_seen(&mut self, rows: Vec<Row>, context: &ExecContext<'_>) -> SqlResult<Vec<(Key, Row)>> {
        let mut new = Vec::with_capacity(rows.len());
        for row in rows {
            let key = match (key_of_row(self.change.table, &row)?, &row[self.width()]) {
                (Some(key), _) => key,
                (None, Datum::Int8(id)) => Key::Int(*id),
                (None, _) => return Err(SqlError::internal("a row without a primary key was read without its id")),
            };
            let bytes = size_of::<Key>() + key.heap_bytes();
            if self.seen.insert(key.clone()) {
                self.reservation.add(bytes, context)?;
                new.push((key, row));
            }
        }
        Ok(new)
    }

    /// Locks rows, and looks again at those that have changed since they were read.
    async fn lock(&self, rows: &[(Key, Row)], context: &mut ExecContext<'_>) -> SqlResult<Vec<Locked>> {
        let table = self.change.table;
        let strength = match self.change.assignments {
            Some(assignments) if !may_change_key(table, assignments) => LockStrength::NoKeyUpdate,
            _ => LockStrength::Update,
        };
        let (engine, view) = (context.engine.clone(), context.view);
        let keys = rows.iter().map(|(key, _)| key.clone()).collect();
        let newest = engine.lock_rows(context.txn, &view, table.storage, keys, strength, LockWait::Block, None).await?;
        let (mut locked, mut changed) = (Vec::with_capacity(rows.len()), Vec::new());
        let mut read = Vec::new();
        for ((key, row), bytes) in rows.iter().zip(newest.iter()) {
            let Some(bytes) = bytes else { continue };
            let mut row = row.clone();
            read.clear();
            table.layout().encode(&row[..self.width()], &mut read)?;
            if read != bytes {
                let mut values = Row::new();
                table.layout().view(bytes).get_all(&mut values);
                row.splice(..self.width(), values);
                changed.push(locked.len());
            }
            locked.push(Locked { key: key.clone(), bytes: bytes.to_vec(), row });
        }
        if let (Some(filter), false) = (&self.filter, changed.is_empty()) {
            let again: Vec<Row> = changed.iter().map(|&index| locked[index].row.clone()).collect();
            let matches = filter.matches(&again, &self.scope, context).await?;
            let mut keep = vec![true; locked.len()];
            changed.iter().zip(matches).for_each(|(&index, matches)| keep[index] = matches);
            let mut keep = keep.into_iter();
            locked.retain(|_| keep.next().unwrap_or(true));
        }
        Ok(locked)
    }

    async fn remove(&mut self, locked: Vec<Locked>, context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<()> {
        let (keys, rows): (Vec<Key>, Vec<Row>) = locked.into_iter().map(|locked| (locked.key, locked.row)).unzip();
        if keys.is_empty() {
            return Ok(());
        }
        self.count += keys.len() as u64;
        let (engine, view) = (context.engine.clone(), context.view);
        engine.modify_many(context.txn, &view, self.change.table.storage, keys, Arc::new(Remove)).await?;
        self.give_back(&rows, context, sink).await
    }

    async fn assign(
        &mut self,
        assignments: &[(usize, Expr)],
        locked: Vec<Locked>,
        context: &mut ExecContext<'_>,
        sink: &mut dyn RowSink,
    ) -> SqlResult<()> {
        let (table, layout) = (self.change.table, self.change.table.layout());
        let rows: Vec<Row> = locked.iter().map(|locked| locked.row.clone()).collect();
        let new_values = self.values.rows(&rows, &self.scope, context).await?;
        let (mut written, mut moving, mut returned) = (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
        for (Locked { key, bytes, mut row }, values) in locked.into_iter().zip(new_values) {
            let view = layout.view(&bytes);
            let changes = assignments.iter().map(|(column, _)| *column).zip(&values);
            for (column, value) in changes.clone() {
                check_not_null(table, column, value, &view, context.session)?;
            }
            let mut new = Vec::with_capacity(bytes.len());
            rewrite(layout, &bytes, changes.clone(), &mut new)?;
            for (column, value) in changes.clone() {
                row[column] = value.clone();
            }
            self.count += 1;
            if changes_key(table, &view, changes) {
                self.reservation.add(new.len() + row_bytes(&row), context)?;
                self.moved.push((new, row));
                moving.push(key);
            } else {
                written.push((key, new));
                returned.push(row);
            }
        }
        let (engine, view) = (context.engine.clone(), context.view);
        if !moving.is_empty() {
            engine.modify_many(context.txn, &view, table.storage, moving, Arc::new(Remove)).await?;
        }
        if table.primary_key.is_some() {
            let keys: Vec<Key> = written.iter().map(|(key, _)| key.clone()).collect();
            let rows: HashMap<Key, Vec<u8>> = written.into_iter().collect();
            if !keys.is_empty() {
                let program = Arc::new(Replacements { table: table.clone(), rows });
                engine.modify_many(context.txn, &view, table.storage, keys, program).await?;
            }
        } else {
            // A program is given the row and not its key, so here each row has its own.
            for (key, new) in written {
                engine.modify(context.txn, &view, table.storage, key, Arc::new(Overwrite(new))).await?;
            }
        }
        self.give_back(&returned, context, sink).await
    }

    /// RETURNING.
    async fn give_back(&self, rows: &[Row], context: &mut ExecContext<'_>, sink: &mut dyn RowSink) -> SqlResult<()> {
        if self.change.returning.is_empty() {
            return Ok(());
        }
        for row in self.returning.rows(rows, &self.scope, context).await? {
            sink.row(&row)?;
        }
        Ok(())
    }
}
