//! ORDER BY: a stable sort in memory; under a LIMIT only as many rows as can be wanted are kept.

use std::cmp::Ordering;

use crate::error::SqlResult;
use crate::exec::context::{ExecContext, Row};
use crate::exec::query::scope::{Exprs, Reservation, Scope, row_bytes};
use crate::exec::query::{Op, next_of};
use crate::sql::expr::eval::type_of;
use crate::sql::plan::SortKey;
use crate::types::{Datum, SqlType, compare_as};

/// How rows of sort keys compare.
#[derive(Clone)]
pub struct Order(Vec<(SqlType, bool, bool)>);

impl Order {
    /// By these keys.
    pub fn new(keys: &[SortKey]) -> Self {
        Self(keys.iter().map(|key| (type_of(&key.expr), key.descending, key.nulls_first)).collect())
    }

    /// Ascending by values of these types.
    pub fn ascending(types: impl Iterator<Item = SqlType>) -> Self {
        Self(types.map(|ty| (ty, false, false)).collect())
    }

    /// Compares the values of the keys.
    pub fn compare(&self, a: &[Datum], b: &[Datum]) -> Ordering {
        for ((ty, descending, nulls_first), (a, b)) in self.0.iter().zip(a.iter().zip(b)) {
            let order = match (a.is_null(), b.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) if *nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if *nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) if *descending => compare_as(*ty, b, a),
                (false, false) => compare_as(*ty, a, b),
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

/// A sort.
pub struct Sort {
    input: Option<Op>,
    keys: Exprs,
    order: Order,
    scope: Scope,
    reservation: Reservation,
    /// At most so many rows are wanted.
    bound: Option<usize>,
    sorted: std::vec::IntoIter<Row>,
}

impl Sort {
    /// Of an input by keys.
    pub fn new(input: Op, keys: &[SortKey], scope: Scope) -> Self {
        Self {
            input: Some(input),
            keys: Exprs::new(keys.iter().map(|key| key.expr.clone()).collect()),
            order: Order::new(keys),
            reservation: scope.reserve(),
            scope,
            bound: None,
            sorted: Vec::new().into_iter(),
        }
    }

    /// Tells how many rows will be asked for at most.
    pub fn limit(&mut self, rows: u64) {
        self.bound = usize::try_from(rows).ok();
    }

    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        if let Some(mut input) = self.input.take() {
            self.run(&mut input, context).await?;
        }
        Ok(next_of(&mut self.sorted))
    }

    async fn run(&mut self, input: &mut Op, context: &mut ExecContext<'_>) -> SqlResult<()> {
        let mut rows: Vec<(Row, Row)> = Vec::new();
        while let Some(batch) = input.next(context).await? {
            let keys = self.keys.rows(&batch, &self.scope, context).await?;
            for (key, row) in keys.into_iter().zip(batch) {
                self.reservation.add(row_bytes(&key) + row_bytes(&row), context)?;
                rows.push((key, row));
            }
            if let Some(bound) = self.bound
                && rows.len() / 2 > bound.max(1024)
            {
                rows.sort_by(|a, b| self.order.compare(&a.0, &b.0));
                rows.truncate(bound);
                self.reservation.clear();
                let kept = rows.iter().map(|(key, row)| row_bytes(key) + row_bytes(row)).sum();
                self.reservation.add(kept, context)?;
            }
        }
        rows.sort_by(|a, b| self.order.compare(&a.0, &b.0));
        rows.truncate(self.bound.unwrap_or(usize::MAX));
        self.sorted = rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>().into_iter();
        Ok(())
    }
}
