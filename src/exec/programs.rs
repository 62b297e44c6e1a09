//! UPDATE and DELETE as row programs: what the owner of a row does to it, on row bytes.
//!
//! Only columns that the condition and the new values refer to are decoded. A new row that differs in fixed-width columns
//! only is the old one's bytes with those columns changed.

use std::cmp::Ordering;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::catalog::{Catalog, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{ExecContext, FrozenSession};
use crate::shard::{RowAction, RowFilter, RowOutput, RowUpdate};
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{PairRow, eval, eval_bool};
use crate::sql::{EvalContext, NoSubqueries};
use crate::types::{Datum, RowLayout, RowView, compare_as, write_text};

/// What shipped programs evaluate their expressions with.
#[derive(Clone)]
pub struct ProgramContext {
    params: Arc<[Datum]>,
    session: Arc<FrozenSession>,
    catalog: Arc<Catalog>,
}

impl ProgramContext {
    /// From a statement's context.
    pub fn of(context: &ExecContext<'_>) -> Self {
        Self { params: context.params.clone(), session: context.frozen.clone(), catalog: context.catalog.clone() }
    }

    /// For evaluation. Subqueries and outer references have been replaced by their values before an expression is shipped.
    pub fn eval(&self) -> EvalContext<'_> {
        EvalContext {
            params: &self.params,
            outer: None,
            session: &*self.session,
            catalog: &self.catalog,
            subqueries: &NoSubqueries,
        }
    }
}

/// A condition on rows.
pub struct FilterProgram {
    /// The table's layout.
    pub layout: Arc<RowLayout>,
    /// The condition, over the table's columns.
    pub condition: Expr,
    /// What it is evaluated with.
    pub context: ProgramContext,
}

impl RowFilter for FilterProgram {
    fn matches(&self, row: &[u8]) -> SqlResult<bool> {
        eval_bool(&self.condition, &self.layout.view(row), &self.context.eval())
    }
}

/// An UPDATE.
pub struct UpdateProgram {
    /// The table.
    pub table: Arc<TableDef>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// Columns and their new values.
    pub assignments: Vec<(usize, Expr)>,
    /// Whether the caller wants the new rows.
    pub returning: bool,
    /// What expressions are evaluated with.
    pub context: ProgramContext,
}

impl UpdateProgram {
    /// The new values, checked against NOT NULL.
    fn new_values(&self, view: &RowView<'_>, eval_context: &EvalContext<'_>) -> SqlResult<SmallVec<[Datum; 4]>> {
        let mut values = SmallVec::with_capacity(self.assignments.len());
        for (column, expr) in &self.assignments {
            let value = eval(expr, view, eval_context)?;
            if value.is_null() && self.table.columns[*column].not_null {
                let mut row = Vec::new();
                view.get_all(&mut row);
                row[*column] = Datum::Null;
                return Err(not_null_violation(&self.table, *column, &row, self.context.session.as_ref()));
            }
            values.push(value);
        }
        Ok(values)
    }

    fn changes_key(&self, view: &RowView<'_>, values: &[Datum]) -> bool {
        let Some(key) = &self.table.primary_key else { return false };
        self.assignments.iter().zip(values).any(|((column, _), value)| {
            let ty = self.table.columns[*column].ty.ty;
            key.columns.contains(column) && compare_as(ty, &view.get(*column), value) != Ordering::Equal
        })
    }
}

impl RowUpdate for UpdateProgram {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        let layout = self.table.layout();
        let view = layout.view(row);
        let eval_context = self.context.eval();
        if let Some(filter) = &self.filter
            && !eval_bool(filter, &view, &eval_context)?
        {
            return Ok(RowAction::Skip);
        }
        let values = self.new_values(&view, &eval_context)?;
        let columns = self.assignments.iter().map(|(column, _)| *column);
        rewrite(layout, row, columns.zip(values.iter()), &mut out.row)?;
        if self.changes_key(&view, &values) {
            out.reply.append(&mut out.row);
            return Ok(RowAction::Delete);
        }
        if self.returning {
            out.reply.extend_from_slice(&out.row);
        }
        Ok(RowAction::Replace)
    }

    fn may_move_rows(&self) -> bool {
        let key = self.table.primary_key.as_ref();
        key.is_some_and(|key| self.assignments.iter().any(|(column, _)| key.columns.contains(column)))
    }
}

/// A row with some columns changed.
fn rewrite<'d>(
    layout: &RowLayout,
    row: &[u8],
    changes: impl Iterator<Item = (usize, &'d Datum)> + Clone,
    out: &mut Vec<u8>,
) -> SqlResult<()> {
    out.extend_from_slice(row);
    for (column, value) in changes.clone() {
        if !layout.patch(out, column, value) {
            // A variable-width column moves the others: encode anew.
            let mut values = Vec::new();
            layout.view(row).get_all(&mut values);
            for (column, value) in changes {
                values[column] = value.clone();
            }
            out.clear();
            return layout.encode(&values, out);
        }
    }
    Ok(())
}

/// A DELETE.
pub struct DeleteProgram {
    /// The table.
    pub table: Arc<TableDef>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// Whether the caller wants the old rows.
    pub returning: bool,
    /// What the condition is evaluated with.
    pub context: ProgramContext,
}

impl RowUpdate for DeleteProgram {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        if let Some(filter) = &self.filter
            && !eval_bool(filter, &self.table.layout().view(row), &self.context.eval())?
        {
            return Ok(RowAction::Skip);
        }
        if self.returning {
            out.reply.extend_from_slice(row);
        }
        Ok(RowAction::Delete)
    }
}

/// ON CONFLICT DO UPDATE of one row that was proposed.
pub struct UpsertProgram {
    /// The table.
    pub table: Arc<TableDef>,
    /// The proposed row: EXCLUDED.
    pub excluded: Vec<Datum>,
    /// Columns and their new values, over the existing row and EXCLUDED.
    pub assignments: Vec<(usize, Expr)>,
    /// WHERE, over the same.
    pub filter: Option<Expr>,
    /// What expressions are evaluated with.
    pub context: ProgramContext,
}

impl RowUpdate for UpsertProgram {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        let layout = self.table.layout();
        let view = layout.view(row);
        let pair = PairRow { left: &view, left_width: self.table.columns.len(), right: &self.excluded };
        let eval_context = self.context.eval();
        if let Some(filter) = &self.filter
            && !eval_bool(filter, &pair, &eval_context)?
        {
            return Ok(RowAction::Skip);
        }
        let mut values = Vec::with_capacity(self.assignments.len());
        for (column, expr) in &self.assignments {
            let key = self.table.primary_key.as_ref().is_some_and(|key| key.columns.contains(column));
            let value = eval(expr, &pair, &eval_context)?;
            if key && compare_as(self.table.columns[*column].ty.ty, &view.get(*column), &value) != Ordering::Equal {
                return Err(SqlError::unsupported("changing a primary key in ON CONFLICT DO UPDATE"));
            }
            if value.is_null() && self.table.columns[*column].not_null {
                let mut whole = Vec::new();
                view.get_all(&mut whole);
                whole[*column] = Datum::Null;
                return Err(not_null_violation(&self.table, *column, &whole, self.context.session.as_ref()));
            }
            values.push(value);
        }
        let columns = self.assignments.iter().map(|(column, _)| *column);
        rewrite(layout, row, columns.zip(values.iter()), &mut out.row)?;
        out.reply.extend_from_slice(&out.row);
        Ok(RowAction::Replace)
    }
}

/// 23502, with the row as PostgreSQL shows it.
pub fn not_null_violation(table: &TableDef, column: usize, row: &[Datum], session: &dyn crate::sql::SessionInfo) -> SqlError {
    let name = &table.columns[column].name;
    let message = format!("null value in column \"{name}\" of relation \"{}\" violates not-null constraint", table.name);
    let mut error = SqlError::new(SqlState::NOT_NULL_VIOLATION, message).detail(failing_row(table, row, session));
    error.fields_mut().table = Some(table.name.clone());
    error.fields_mut().column = Some(name.clone());
    error
}

fn failing_row(table: &TableDef, row: &[Datum], session: &dyn crate::sql::SessionInfo) -> String {
    let mut text = b"Failing row contains (".to_vec();
    for (i, (value, column)) in row.iter().zip(&table.columns).enumerate() {
        if i > 0 {
            text.extend_from_slice(b", ");
        }
        if value.is_null() {
            text.extend_from_slice(b"null");
        } else {
            write_text(value, column.ty.ty, session.format(), &mut text);
        }
    }
    text.extend_from_slice(b").");
    String::from_utf8_lossy(&text).into_owned()
}

/// A program that replaces a row whatever it was: how catalog objects are rewritten.
pub struct Overwrite(pub Vec<u8>);

impl RowUpdate for Overwrite {
    fn apply(&self, _row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        out.row.extend_from_slice(&self.0);
        Ok(RowAction::Replace)
    }
}

/// A program that deletes a row whatever it was.
pub struct Remove;

impl RowUpdate for Remove {
    fn apply(&self, _row: &[u8], _out: &mut RowOutput) -> SqlResult<RowAction> {
        Ok(RowAction::Delete)
    }
}
