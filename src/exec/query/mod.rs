//! SELECT: operators as streams of row batches.
//!
//! A plan's nodes become operators ([`Op`]) that are asked for batch after batch, so that a scan, a series or a count of any
//! size runs in bounded memory; sorts, groups, hash tables and distinct rows are counted against the statement's memory.
//! Operators own what they need and borrow the context only while they are asked: a portal keeps them between fetches.
//!
//! | module | role |
//! |---|---|
//! | `scope` | outer rows, subqueries, memory: what operators share; evaluation over batches |
//! | `filter` | conditions evaluated by the rows' owners |
//! | `scan` | tables: ranges, points, row locks; functions and system tables |
//! | `join` | nested loops, hash joins, lateral joins |
//! | `aggregate`, `sort`, `table` | the blocking operators, and the hash table of rows under them |
//! | `set` | UNION, INTERSECT, EXCEPT, DISTINCT, LIMIT |
//! | `explain`, `profile` | plans as text, and what was measured while they ran |

mod aggregate;
pub mod explain;
pub mod filter;
mod join;
pub mod profile;
mod scan;
pub mod scope;
mod set;
mod sort;
mod table;
#[cfg(test)]
pub(in crate::exec) mod tests;

use std::pin::Pin;

use crate::error::{SqlError, SqlResult};
use crate::exec::context::{ExecContext, Row};
use crate::runtime;
use crate::runtime::MonoTime;
use crate::shard::{ReadView, SnapshotPin};
use crate::sql::expr::eval::type_of;
use crate::sql::plan::{Node, Query, RowLocking};
use crate::types::SqlType;
use scope::{Exprs, Scope};

/// Rows of a batch, about.
pub const BATCH: usize = 512;

/// A query being executed. It borrows nothing of the context it was opened with.
pub struct QueryStream {
    op: Op,
    view: ReadView,
    _pin: SnapshotPin,
}

impl QueryStream {
    /// Opens a plan: locks its tables.
    pub async fn open(node: &Node, context: &mut ExecContext<'_>) -> SqlResult<QueryStream> {
        Self::open_locking(node, None, context).await
    }

    /// Opens a query, with its FOR UPDATE.
    pub async fn open_query(query: &Query, context: &mut ExecContext<'_>) -> SqlResult<QueryStream> {
        Self::open_locking(&query.root, query.locking.as_ref(), context).await
    }

    async fn open_locking(node: &Node, locking: Option<&RowLocking>, context: &mut ExecContext<'_>) -> SqlResult<QueryStream> {
        let (view, pin) = (context.view, context.engine.pin(&context.view));
        let op = match locking {
            Some(locking) if scan::reads_tables(node) => open_chain(node, locking, Scope::default(), context).await?,
            _ => open(node, Scope::default(), context).await?,
        };
        Ok(QueryStream { op, view, _pin: pin })
    }

    /// The next rows, never an empty batch; `None` at the end.
    pub async fn next(&mut self, context: &mut ExecContext<'_>) -> SqlResult<Option<Vec<Row>>> {
        // A fetch of a portal sees what the portal saw when it was opened.
        let view = std::mem::replace(&mut context.view, self.view);
        let result = scope::next_rows(&mut self.op, context).await;
        context.view = view;
        result
    }
}

/// All rows of a plan.
pub async fn collect(node: &Node, context: &mut ExecContext<'_>, scope: Scope) -> SqlResult<Vec<Row>> {
    let mut reservation = scope.reserve();
    let mut op = open(node, scope, context).await?;
    let mut all = Vec::new();
    while let Some(rows) = op.next(context).await? {
        for row in rows {
            reservation.add(scope::row_bytes(&row), context)?;
            all.push(row);
        }
    }
    Ok(all)
}

/// An operator.
pub enum Op {
    /// Rows that are there.
    Rows(std::vec::IntoIter<Row>),
    /// A table.
    Scan(Box<scan::Scan>),
    /// A function.
    Function(Box<scan::FunctionRows>),
    /// Rows one at a time, for functions that wait: none is called for a row that nobody wants.
    Single(Box<Op>, std::vec::IntoIter<Row>),
    /// Conditions.
    Filter(Box<Op>, Exprs, Scope),
    /// Expressions.
    Project(Box<Op>, Exprs, Scope),
    /// OFFSET and LIMIT.
    Limit(Box<set::Limit>),
    /// A join.
    Join(Box<join::Join>),
    /// A lateral join.
    Lateral(Box<join::Lateral>),
    /// Groups.
    Aggregate(Box<aggregate::Aggregation>),
    /// ORDER BY.
    Sort(Box<sort::Sort>),
    /// DISTINCT.
    Distinct(Box<set::Distinct>),
    /// One input after the other.
    Append(Box<[Op; 2]>),
    /// INTERSECT and EXCEPT.
    SetOp(Box<set::SetOp>),
    /// One that EXPLAIN ANALYZE measures, under this number.
    Measured(Box<Op>, usize),
}

type BoxFuture<'f, T> = Pin<Box<dyn Future<Output = T> + 'f>>;

impl Op {
    /// The next rows, possibly none of them; `None` at the end.
    pub fn next<'f>(&'f mut self, context: &'f mut ExecContext<'_>) -> BoxFuture<'f, SqlResult<Option<Vec<Row>>>> {
        Box::pin(async move {
            if runtime::should_yield() {
                runtime::yield_now().await;
            }
            match self {
                Op::Rows(rows) => Ok(next_of(rows)),
                Op::Scan(scan) => scan.next(context).await,
                Op::Function(function) => function.next(),
                Op::Single(input, rows) => {
                    if rows.len() == 0 {
                        match scope::next_rows(input, context).await? {
                            Some(next) => *rows = next.into_iter(),
                            None => return Ok(None),
                        }
                    }
                    Ok(Some(rows.by_ref().take(1).collect()))
                }
                Op::Filter(input, exprs, scope) => match input.next(context).await? {
                    Some(rows) => exprs.keep(rows, scope, context).await.map(Some),
                    None => Ok(None),
                },
                Op::Project(input, exprs, scope) => match input.next(context).await? {
                    Some(rows) => exprs.rows(&rows, scope, context).await.map(Some),
                    None => Ok(None),
                },
                Op::Limit(limit) => limit.next(context).await,
                Op::Join(join) => join.next(context).await,
                Op::Lateral(join) => join.next(context).await,
                Op::Aggregate(aggregation) => aggregation.next(context).await,
                Op::Sort(sort) => sort.next(context).await,
                Op::Distinct(distinct) => distinct.next(context).await,
                Op::Append(inputs) => match inputs[0].next(context).await? {
                    Some(rows) => Ok(Some(rows)),
                    None => inputs[1].next(context).await,
                },
                Op::SetOp(set_op) => set_op.next(context).await,
                Op::Measured(op, id) => {
                    let started = runtime::now();
                    let answer = op.next(context).await;
                    if let (Some(profile), Ok(rows)) = (&mut context.profile, &answer) {
                        profile.answered(*id, rows.as_ref().map_or(0, Vec::len), started.elapsed());
                    }
                    answer
                }
            }
        })
    }
}

/// The next batch of rows that are there.
fn next_of(rows: &mut std::vec::IntoIter<Row>) -> Option<Vec<Row>> {
    let batch: Vec<Row> = rows.by_ref().take(BATCH).collect();
    (!batch.is_empty()).then_some(batch)
}

/// The input of expressions.
fn input_of(op: Op, exprs: &Exprs) -> Box<Op> {
    Box::new(if exprs.waits() { Op::Single(Box::new(op), Vec::new().into_iter()) } else { op })
}

/// Opens a plan in a scope.
pub fn open<'f>(node: &'f Node, scope: Scope, context: &'f mut ExecContext<'_>) -> BoxFuture<'f, SqlResult<Op>> {
    if context.profile.is_none() {
        return open_operator(node, scope, context);
    }
    Box::pin(async move {
        let started = runtime::now();
        let op = open_operator(node, scope, context).await?;
        Ok(measured(op, node, started, context))
    })
}

/// The operator, measured if that is asked for.
fn measured(op: Op, node: &Node, started: MonoTime, context: &mut ExecContext<'_>) -> Op {
    let Some(profile) = &mut context.profile else { return op };
    let id = profile.id(node);
    profile.opened(id, started.elapsed());
    Op::Measured(Box::new(op), id)
}

fn open_operator<'f>(node: &'f Node, scope: Scope, context: &'f mut ExecContext<'_>) -> BoxFuture<'f, SqlResult<Op>> {
    Box::pin(async move {
        Ok(match node {
            Node::Values { rows, .. } => Op::Rows(values(rows, &scope, context).await?.into_iter()),
            Node::Scan(plan) => Op::Scan(Box::new(scan::Scan::open(plan, None, scope, context).await?)),
            Node::SystemScan { table, columns, filter } => {
                let rows = scan::system_rows(*table, columns, context).await;
                let op = Op::Rows(rows.into_iter());
                match filter {
                    None => op,
                    Some(filter) => {
                        let exprs = Exprs::new(vec![filter.clone()]);
                        Op::Filter(input_of(op, &exprs), exprs, scope)
                    }
                }
            }
            Node::FunctionScan { function, args, ordinality, .. } => {
                let args = Exprs::new(args.clone()).values(&scope, context).await?;
                Op::Function(Box::new(scan::FunctionRows::new(*function, &args, *ordinality, context)?))
            }
            Node::Filter { input, predicate } => {
                let exprs = Exprs::new(vec![predicate.clone()]);
                Op::Filter(input_of(open(input, scope.clone(), context).await?, &exprs), exprs, scope)
            }
            Node::Project { input, exprs } => {
                let exprs = Exprs::new(exprs.clone());
                Op::Project(input_of(open(input, scope.clone(), context).await?, &exprs), exprs, scope)
            }
            Node::Join(plan) if plan.lateral => Op::Lateral(Box::new(join::Lateral::open(plan, scope, context).await?)),
            Node::Join(plan) => Op::Join(Box::new(join::Join::open(plan, scope, context).await?)),
            Node::Aggregate { input, group, aggregates } => {
                let input = open(input, scope.clone(), context).await?;
                Op::Aggregate(Box::new(aggregate::Aggregation::new(input, group, aggregates, scope)))
            }
            Node::Sort { input, keys } => {
                let input = open(input, scope.clone(), context).await?;
                Op::Sort(Box::new(sort::Sort::new(input, keys, scope)))
            }
            Node::Distinct { input, on } => {
                let input = open(input, scope.clone(), context).await?;
                Op::Distinct(Box::new(set::Distinct::new(input, on.clone(), scope)))
            }
            Node::Limit { input, limit, offset } => {
                let bounds = set::bounds(limit.as_ref(), offset.as_ref(), &scope, context).await?;
                let input = open(input, scope, context).await?;
                Op::Limit(Box::new(set::Limit::new(input, bounds)))
            }
            Node::SetOp { op, all, left, right } => {
                let types = types_of(left);
                let left = open(left, scope.clone(), context).await?;
                let right = open(right, scope.clone(), context).await?;
                set::open(*op, *all, left, right, types, scope)
            }
        })
    })
}

async fn values(rows: &[Vec<crate::sql::expr::Expr>], scope: &Scope, context: &mut ExecContext<'_>) -> SqlResult<Vec<Row>> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        values.push(Exprs::new(row.clone()).values(scope, context).await?);
    }
    Ok(values)
}

/// Opens the plan of a query with FOR UPDATE: operators that keep rows as they are, over one table whose rows are locked.
fn open_chain<'f>(
    node: &'f Node,
    locking: &'f RowLocking,
    scope: Scope,
    context: &'f mut ExecContext<'_>,
) -> BoxFuture<'f, SqlResult<Op>> {
    Box::pin(async move {
        let started = runtime::now();
        let op = match node {
            Node::Scan(plan) => Op::Scan(Box::new(scan::Scan::open(plan, Some(locking.clone()), scope, context).await?)),
            Node::Filter { input, predicate } => {
                let input = open_chain(input, locking, scope.clone(), context).await?;
                let exprs = Exprs::new(vec![predicate.clone()]);
                Op::Filter(input_of(input, &exprs), exprs, scope)
            }
            Node::Project { input, exprs } => {
                let input = open_chain(input, locking, scope.clone(), context).await?;
                let exprs = Exprs::new(exprs.clone());
                Op::Project(input_of(input, &exprs), exprs, scope)
            }
            Node::Sort { input, keys } => {
                let input = open_chain(input, locking, scope.clone(), context).await?;
                Op::Sort(Box::new(sort::Sort::new(input, keys, scope)))
            }
            Node::Limit { input, limit, offset } => {
                let bounds = set::bounds(limit.as_ref(), offset.as_ref(), &scope, context).await?;
                Op::Limit(Box::new(set::Limit::new(open_chain(input, locking, scope, context).await?, bounds)))
            }
            Node::Join(_) => return Err(SqlError::unsupported("FOR UPDATE or FOR SHARE of a join")),
            Node::SystemScan { .. } => return Err(SqlError::unsupported("FOR UPDATE or FOR SHARE of a system table")),
            _ => return Err(SqlError::unsupported("FOR UPDATE or FOR SHARE of anything but the rows of one table")),
        };
        Ok(measured(op, node, started, context))
    })
}

/// The types of a node's columns. System tables have no type whose order depends on it.
fn types_of(node: &Node) -> Vec<SqlType> {
    match node {
        Node::Values { types, .. } | Node::FunctionScan { types, .. } => types.iter().map(|ty| ty.ty).collect(),
        // One past the columns is the row's id.
        Node::Scan(scan) => {
            let ty = |column: &usize| scan.table.columns.get(*column).map_or(SqlType::Int8, |column| column.ty.ty);
            scan.columns.iter().map(ty).collect()
        }
        Node::SystemScan { columns, .. } => vec![SqlType::Text; columns.len()],
        Node::Filter { input, .. } | Node::Sort { input, .. } | Node::Distinct { input, .. } | Node::Limit { input, .. } => {
            types_of(input)
        }
        Node::Project { exprs, .. } => exprs.iter().map(type_of).collect(),
        Node::Join(join) => [types_of(&join.left), types_of(&join.right)].concat(),
        Node::Aggregate { group, aggregates, .. } => {
            group.iter().map(type_of).chain(aggregates.iter().map(|aggregate| aggregate.ty)).collect()
        }
        Node::SetOp { left, .. } => types_of(left),
    }
}
