//! LIMIT, DISTINCT and the set operations.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{ExecContext, Row};
use crate::exec::query::Op;
use crate::exec::query::scope::{Exprs, Reservation, Scope, row_bytes};
use crate::exec::query::table::RowTable;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::type_of;
use crate::sql::plan;
use crate::types::SqlType;

/// OFFSET, and LIMIT if there is one.
pub type Bounds = (u64, Option<u64>);

/// The values of LIMIT and OFFSET.
pub async fn bounds(
    limit: Option<&Expr>,
    offset: Option<&Expr>,
    scope: &Scope,
    context: &mut ExecContext<'_>,
) -> SqlResult<Bounds> {
    let limit = count(limit, SqlState::INVALID_ROW_COUNT_IN_LIMIT, "LIMIT", scope, context).await?;
    let offset = count(offset, SqlState::INVALID_ROW_COUNT_IN_OFFSET, "OFFSET", scope, context).await?;
    Ok((offset.unwrap_or(0), limit))
}

async fn count(
    expr: Option<&Expr>,
    code: SqlState,
    name: &str,
    scope: &Scope,
    context: &mut ExecContext<'_>,
) -> SqlResult<Option<u64>> {
    let Some(expr) = expr else { return Ok(None) };
    let values = Exprs::new(vec![expr.clone()]).values(scope, context).await?;
    match values[0].as_i64() {
        None => Ok(None),
        Some(value) => u64::try_from(value).map(Some).map_err(|_| SqlError::new(code, format!("{name} must not be negative"))),
    }
}

/// OFFSET and LIMIT.
pub struct Limit {
    input: Op,
    skip: u64,
    left: u64,
}

impl Limit {
    /// Of an input.
    pub fn new(mut input: Op, (skip, limit): Bounds) -> Self {
        if let Some(limit) = limit {
            tell(&mut input, skip.saturating_add(limit));
        }
        Self { input, skip, left: limit.unwrap_or(u64::MAX) }
    }

    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(mut rows) = self.input.next(context).await? else { return Ok(None) };
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rows.len());
        rows.drain(..skipped);
        self.skip -= skipped as u64;
        rows.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= rows.len() as u64;
        Ok(Some(rows))
    }
}

/// Tells a sort below operators that keep the number of rows how many are wanted.
fn tell(op: &mut Op, rows: u64) {
    match op {
        Op::Sort(sort) => sort.limit(rows),
        Op::Project(input, ..) => tell(input, rows),
        _ => {}
    }
}

/// DISTINCT: the first of the rows that agree in some expressions.
pub struct Distinct {
    input: Op,
    on: Exprs,
    scope: Scope,
    seen: RowTable,
    reservation: Reservation,
}

impl Distinct {
    /// Of an input.
    pub fn new(input: Op, on: Vec<Expr>, scope: Scope) -> Self {
        let seen = RowTable::new(on.iter().map(type_of).collect());
        Self { input, on: Exprs::new(on), seen, reservation: scope.reserve(), scope }
    }

    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        let Some(rows) = self.input.next(context).await? else { return Ok(None) };
        let keys = self.on.rows(&rows, &self.scope, context).await?;
        let mut first = Vec::new();
        for (row, key) in rows.into_iter().zip(keys) {
            let bytes = row_bytes(&key);
            if self.seen.insert(key).1 {
                self.reservation.add(bytes, context)?;
                first.push(row);
            }
        }
        Ok(Some(first))
    }
}

/// UNION, INTERSECT or EXCEPT of two inputs.
pub fn open(op: plan::SetOp, all: bool, left: Op, right: Op, types: Vec<SqlType>, scope: Scope) -> Op {
    let union = op == plan::SetOp::Union;
    if union && all {
        return Op::Append(Box::new([left, right]));
    }
    let (left, right) = if union { (Op::Append(Box::new([left, right])), None) } else { (left, Some(right)) };
    Op::SetOp(Box::new(SetOp {
        left,
        right,
        op,
        all,
        table: RowTable::new(types),
        counts: Vec::new(),
        reservation: scope.reserve(),
    }))
}

/// A set operation that has to remember rows.
pub struct SetOp {
    left: Op,
    /// The right input until it has been read.
    right: Option<Op>,
    op: plan::SetOp,
    all: bool,
    /// Rows of the right side, then distinct rows of the left side.
    table: RowTable,
    /// For each row of the table how many there still are on the right side, and whether the left side has had it.
    counts: Vec<(u64, bool)>,
    reservation: Reservation,
}

impl SetOp {
    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        if let Some(mut right) = self.right.take() {
            while let Some(rows) = right.next(context).await? {
                for row in rows {
                    let place = self.place(row, context)?;
                    self.counts[place].0 += 1;
                }
            }
        }
        let Some(rows) = self.left.next(context).await? else { return Ok(None) };
        let mut kept = Vec::new();
        for row in rows {
            if self.all {
                // A row that the right side does not have need not be remembered.
                let count = self.table.find(&row).map(|place| &mut self.counts[place].0).filter(|count| **count > 0);
                let found = count.is_some();
                if let Some(count) = count {
                    *count -= 1;
                }
                if found == (self.op == plan::SetOp::Intersect) {
                    kept.push(row);
                }
                continue;
            }
            let place = self.place(row.clone(), context)?;
            let (count, seen) = &mut self.counts[place];
            let wanted = match self.op {
                plan::SetOp::Union => true,
                plan::SetOp::Intersect => *count > 0,
                plan::SetOp::Except => *count == 0,
            };
            if wanted && !std::mem::replace(seen, true) {
                kept.push(row);
            }
        }
        Ok(Some(kept))
    }

    fn place(&mut self, row: Row, context: &ExecContext<'_>) -> SqlResult<usize> {
        let bytes = row_bytes(&row);
        let (place, new) = self.table.insert(row);
        if new {
            self.counts.push((0, false));
            self.reservation.add(bytes, context)?;
        }
        Ok(place)
    }
}
