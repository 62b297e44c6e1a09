//! UPDATE and DELETE as row programs: what the owner of a row does to it, on row bytes.
//!
//! Conditions alone are in `query::filter`. Only columns that the condition and the new values refer to are decoded. A new row that differs in fixed-width columns
//! only is the old one's bytes with those columns changed.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use crate::base::Oid;
use crate::catalog::{Catalog, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::additions;
use crate::exec::context::{ExecContext, FrozenSession};
use crate::exec::keys::key_of_values;
use crate::exec::query::scope::Results;
use crate::shard::{RowAction, RowOutput, RowUpdate};
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{PairRow, eval, eval_bool};
use crate::sql::expr::walk;
use crate::sql::function::{FunctionRef, Implementation};
use crate::sql::{EvalContext, OuterRow};
use crate::storage::Key;
use crate::types::{Datum, RowLayout, RowView, SessionFormat, compare_as, write_text};

/// What shipped programs evaluate their expressions with.
#[derive(Clone)]
pub struct ProgramContext {
    params: Arc<[Datum]>,
    session: Arc<FrozenSession>,
    catalog: Arc<Catalog>,
    subqueries: Results,
}

/// What stands for the session where no expression asks for it: making a picture of one costs more than a point update.
static NO_SESSION: LazyLock<Arc<FrozenSession>> = LazyLock::new(|| {
    Arc::new(FrozenSession {
        database: String::new(),
        user: String::new(),
        role: Oid(0),
        session_role: Oid(0),
        search_path: Vec::new(),
        format: SessionFormat::default(),
        transaction_micros: 0,
        statement_micros: 0,
        backend_pid: 0,
        sizes: None,
    })
});

/// Whether evaluating an expression may ask for a picture of the session: casts do, for formats, and functions that say so.
fn needs_picture(expr: &Expr) -> bool {
    let asks =
        |function: &FunctionRef| matches!(function.get().implementation, Implementation::Context(_) | Implementation::Typed(_));
    let own = match expr {
        Expr::Cast { .. } | Expr::Subquery(_) => true,
        Expr::Call { function, .. } | Expr::AnyAll { function, .. } => asks(function),
        _ => false,
    };
    let mut any = own;
    walk::for_each_child(expr, &mut |child| any = any || needs_picture(child));
    any
}

impl ProgramContext {
    /// From a statement's context, for these expressions, whose subqueries have been run.
    pub fn of<'e>(context: &ExecContext<'_>, mut exprs: impl Iterator<Item = &'e Expr>, subqueries: Results) -> Self {
        let session = if exprs.any(needs_picture) { context.frozen() } else { NO_SESSION.clone() };
        Self { params: context.params.clone(), session, catalog: context.catalog.clone(), subqueries }
    }

    /// For evaluation inside these rows.
    pub fn eval<'c>(&'c self, outer: Option<&'c OuterRow<'c>>) -> EvalContext<'c> {
        EvalContext { params: &self.params, outer, session: &*self.session, catalog: &self.catalog, subqueries: &self.subqueries }
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
            check_not_null(&self.table, *column, &value, view, self.context.session.as_ref())?;
            values.push(value);
        }
        Ok(values)
    }
}

/// 23502 if a column that must not be NULL is to become it.
pub fn check_not_null(
    table: &TableDef,
    column: usize,
    value: &Datum,
    view: &RowView<'_>,
    session: &dyn crate::sql::SessionInfo,
) -> SqlResult<()> {
    if !value.is_null() || !table.columns[column].not_null {
        return Ok(());
    }
    let mut row = Vec::new();
    view.get_all(&mut row);
    row[column] = Datum::Null;
    Err(not_null_violation(table, column, &row, session))
}

/// Whether new values of these columns put a row under another key.
pub fn changes_key<'d>(table: &TableDef, view: &RowView<'_>, mut changes: impl Iterator<Item = (usize, &'d Datum)>) -> bool {
    let Some(key) = &table.primary_key else { return false };
    changes.any(|(column, value)| {
        key.columns.contains(&column) && compare_as(table.columns[column].ty.ty, &view.get(column), value) != Ordering::Equal
    })
}

/// Whether assignments to these columns may put a row under another key.
pub fn may_change_key(table: &TableDef, assignments: &[(usize, Expr)]) -> bool {
    let key = table.primary_key.as_ref();
    key.is_some_and(|key| assignments.iter().any(|(column, _)| key.columns.contains(column)))
}

impl RowUpdate for UpdateProgram {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        let layout = self.table.layout();
        let view = layout.view(row);
        let eval_context = self.context.eval(None);
        if let Some(filter) = &self.filter
            && !eval_bool(filter, &view, &eval_context)?
        {
            return Ok(RowAction::Skip);
        }
        let values = self.new_values(&view, &eval_context)?;
        let changes = self.assignments.iter().map(|(column, _)| *column).zip(values.iter());
        rewrite(layout, row, changes.clone(), &mut out.row)?;
        if changes_key(&self.table, &view, changes) {
            out.reply.append(&mut out.row);
            return Ok(RowAction::Delete);
        }
        if self.returning {
            out.reply.extend_from_slice(&out.row);
        }
        Ok(RowAction::Replace)
    }

    fn commutes(&self, row: &[u8]) -> bool {
        if self.returning || !additions::adds(&self.table, self.filter.as_ref(), &self.assignments) {
            return false;
        }
        let view = self.table.layout().view(row);
        let eval_context = self.context.eval(None);
        let has_room = |(column, expr): &(usize, Expr)| {
            eval(expr, &view, &eval_context).is_ok_and(|new| additions::has_room(&view.get(*column), &new))
        };
        // Who adds nothing has no reason to be let through.
        !self.assignments.is_empty() && self.assignments.iter().all(has_room)
    }

    fn may_move_rows(&self) -> bool {
        may_change_key(&self.table, &self.assignments)
    }
}

/// A row with some columns changed.
pub fn rewrite<'d>(
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
            && !eval_bool(filter, &self.table.layout().view(row), &self.context.eval(None))?
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
        let eval_context = self.context.eval(None);
        if let Some(filter) = &self.filter
            && !eval_bool(filter, &pair, &eval_context)?
        {
            return Ok(RowAction::Skip);
        }
        let mut values = Vec::with_capacity(self.assignments.len());
        for (column, expr) in &self.assignments {
            let value = eval(expr, &pair, &eval_context)?;
            if changes_key(&self.table, &view, std::iter::once((*column, &value))) {
                return Err(SqlError::unsupported("changing a primary key in ON CONFLICT DO UPDATE"));
            }
            check_not_null(&self.table, *column, &value, &view, self.context.session.as_ref())?;
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

/// New rows for old ones by their primary key, whatever those were: for rows that the session has locked and decided about.
pub struct Replacements {
    /// The table.
    pub table: Arc<TableDef>,
    /// New rows under the same keys.
    pub rows: HashMap<Key, Vec<u8>>,
}

impl RowUpdate for Replacements {
    fn apply(&self, row: &[u8], out: &mut RowOutput) -> SqlResult<RowAction> {
        let view = self.table.layout().view(row);
        let primary = self.table.primary_key.as_ref().ok_or_else(|| SqlError::internal("rows are found by a primary key"))?;
        let values: Vec<Datum> = primary.columns.iter().map(|column| view.get(*column)).collect();
        let new = key_of_values(&self.table, &values)?.and_then(|key| self.rows.get(&key));
        out.row.extend_from_slice(new.ok_or_else(|| SqlError::internal("a row was locked under another key"))?);
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
