//! GROUP BY and aggregates: one pass over the input with a hash table of groups; without groups nothing but the states is held.

use crate::error::SqlResult;
use crate::exec::context::{ExecContext, Row};
use crate::exec::query::scope::{Exprs, Reservation, Scope, row_bytes};
use crate::exec::query::sort::Order;
use crate::exec::query::table::RowTable;
use crate::exec::query::{Op, next_of};
use crate::sql::EvalContext;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{eval, eval_bool, type_of};
use crate::sql::function::aggregate::AggregateState;
use crate::sql::plan::Aggregate;

/// An aggregation.
pub struct Aggregation {
    input: Option<Op>,
    group: Vec<Expr>,
    aggregates: Vec<Aggregate>,
    /// All expressions, for the subqueries in them.
    exprs: Exprs,
    scope: Scope,
    reservation: Reservation,
    result: std::vec::IntoIter<Row>,
}

/// What one aggregate knows of one group.
struct Call {
    state: AggregateState,
    /// DISTINCT: the arguments seen.
    seen: Option<RowTable>,
    /// ORDER BY or DISTINCT: values of the sort keys and arguments, fed to the state at the end.
    held: Vec<(Row, Row)>,
    /// Bytes of the state that are accounted for.
    bytes: usize,
}

impl Call {
    fn new(aggregate: &Aggregate) -> Self {
        let seen = aggregate.distinct.then(|| RowTable::new(aggregate.args.iter().map(type_of).collect()));
        Call { state: aggregate.function.start(), seen, held: Vec::new(), bytes: 0 }
    }

    /// Takes a row in; the bytes it holds since.
    fn take(&mut self, aggregate: &Aggregate, row: &Row, context: &EvalContext<'_>) -> SqlResult<usize> {
        if let Some(filter) = &aggregate.filter
            && !eval_bool(filter, row, context)?
        {
            return Ok(0);
        }
        let args = aggregate.args.iter().map(|arg| eval(arg, row, context)).collect::<SqlResult<Row>>()?;
        if !aggregate.distinct && aggregate.order.is_empty() {
            self.state.accumulate(&args)?;
            // Only states that collect values grow; their bytes are looked at as their number doubles.
            self.bytes += 1;
            if self.bytes.is_power_of_two() {
                return Ok(self.state.heap_bytes() / 2);
            }
            return Ok(0);
        }
        if aggregate.function.skips_null() && args.first().is_some_and(crate::types::Datum::is_null) {
            return Ok(0);
        }
        let mut bytes = 0;
        if let Some(seen) = &mut self.seen {
            bytes += row_bytes(&args);
            if !seen.insert(args.clone()).1 {
                return Ok(0);
            }
        }
        let keys = aggregate.order.iter().map(|key| eval(&key.expr, row, context)).collect::<SqlResult<Row>>()?;
        bytes += row_bytes(&keys) + row_bytes(&args);
        self.held.push((keys, args));
        Ok(bytes)
    }

    fn finish(mut self, aggregate: &Aggregate) -> SqlResult<crate::types::Datum> {
        if aggregate.order.is_empty() {
            let order = Order::ascending(aggregate.args.iter().map(type_of));
            self.held.sort_by(|a, b| order.compare(&a.1, &b.1));
        } else {
            let order = Order::new(&aggregate.order);
            self.held.sort_by(|a, b| order.compare(&a.0, &b.0));
        }
        for (_, args) in &self.held {
            self.state.accumulate(args)?;
        }
        self.state.finish()
    }
}

impl Aggregation {
    /// Of an input.
    pub fn new(input: Op, group: &[Expr], aggregates: &[Aggregate], scope: Scope) -> Self {
        let mut exprs = group.to_vec();
        for aggregate in aggregates {
            exprs.extend(aggregate.filter.iter().chain(&aggregate.args).cloned());
            exprs.extend(aggregate.order.iter().map(|key| key.expr.clone()));
        }
        Self {
            input: Some(input),
            group: group.to_vec(),
            aggregates: aggregates.to_vec(),
            exprs: Exprs::new(exprs),
            reservation: scope.reserve(),
            scope,
            result: Vec::new().into_iter(),
        }
    }

    /// The next rows.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        if let Some(mut input) = self.input.take() {
            self.run(&mut input, context).await?;
        }
        Ok(next_of(&mut self.result))
    }

    fn calls(&self) -> Vec<Call> {
        self.aggregates.iter().map(Call::new).collect()
    }

    async fn run(&mut self, input: &mut Op, context: &mut ExecContext<'_>) -> SqlResult<()> {
        let mut table = RowTable::new(self.group.iter().map(type_of).collect());
        let mut groups: Vec<Vec<Call>> = Vec::new();
        if self.group.is_empty() {
            // One row always, also of no input.
            table.insert(Row::new());
            groups.push(self.calls());
        }
        while let Some(rows) = input.next(context).await? {
            let mut bytes = 0;
            let this = &*self;
            this.exprs
                .for_each(&rows, &this.scope, context, &mut |_, row, eval_context| {
                    let mut place = 0;
                    if !this.group.is_empty() {
                        let key = this.group.iter().map(|expr| eval(expr, row, eval_context)).collect::<SqlResult<Row>>()?;
                        let key_bytes = row_bytes(&key);
                        let (found, new) = table.insert(key);
                        place = found;
                        if new {
                            groups.push(this.calls());
                            bytes += key_bytes + this.aggregates.len() * size_of::<Call>();
                        }
                    }
                    for (call, aggregate) in groups[place].iter_mut().zip(&this.aggregates) {
                        bytes += call.take(aggregate, row, eval_context)?;
                    }
                    Ok(())
                })
                .await?;
            self.reservation.add(bytes, context)?;
        }
        let mut result = Vec::with_capacity(groups.len());
        for (mut row, calls) in table.into_keys().into_iter().zip(groups) {
            for (call, aggregate) in calls.into_iter().zip(&self.aggregates) {
                row.push(call.finish(aggregate)?);
            }
            result.push(row);
        }
        self.result = result.into_iter();
        Ok(())
    }
}
