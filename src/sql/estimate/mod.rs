//! How many rows operators will give: what EXPLAIN shows, and what the planner chooses by how a join finds its rows.
//!
//! Estimates follow PostgreSQL 15's (costsize.c, clausesel.c, selfuncs.c): conditions are taken to be independent of each other,
//! values to be spread as ANALYZE has found them. How many rows a table has now follows from how many keys its storage has now
//! and how many of them were rows then. Where nothing is known, PostgreSQL's defaults stand in.
//!
//! | module | role |
//! |---|---|
//! | `value` | a column against a value: common values, histogram |
//! | `condition` | whole conditions |

mod condition;
mod value;

use crate::base::StorageId;
use crate::catalog::{Catalog, ColumnStatistics, TableDef};
use crate::shard::Sizes;
use crate::sql::context::SessionInfo;
use crate::sql::expr::eval::type_of;
use crate::sql::expr::{Expr, walk};
use crate::sql::plan::{Access, Join, JoinKind, Node, SetOp};
use crate::types::{Datum, SqlType};
use value::{DEFAULT_DISTINCT, Known};

/// Rows of a table of which nothing is known.
const DEFAULT_ROWS: f64 = 1000.0;
/// Rows of a function of which nothing is known.
const DEFAULT_FUNCTION_ROWS: f64 = 1000.0;
/// Rows of a system table: nobody counts them.
const SYSTEM_ROWS: f64 = 100.0;
/// Bytes of a value of variable length of which nothing is known.
const DEFAULT_WIDTH: i32 = 32;

/// Estimates rows by what is known of tables.
#[derive(Clone, Copy)]
pub struct Estimator<'c> {
    catalog: &'c Catalog,
    session: &'c dyn SessionInfo,
    sizes: Option<&'c Sizes>,
}

/// At least one row, and whole ones: as PostgreSQL's `clamp_row_est`.
fn whole(rows: f64) -> f64 {
    rows.round().max(1.0)
}

impl<'c> Estimator<'c> {
    /// By a catalog's statistics and the sizes that the session knows of.
    pub fn new(catalog: &'c Catalog, session: &'c dyn SessionInfo) -> Self {
        Self { catalog, session, sizes: session.sizes().map(|sizes| &**sizes) }
    }

    fn keys(&self, storage: StorageId) -> Option<f64> {
        let keys = self.sizes?.of(storage).keys;
        (keys > 0).then_some(keys as f64)
    }

    /// Rows of a table, if there is anything to tell by.
    pub fn known_table_rows(&self, table: &TableDef) -> Option<f64> {
        let keys = self.keys(table.storage);
        let analyzed = self.catalog.statistics.get(&table.oid).and_then(|known| Some((known.rows?, known.keys)));
        match (analyzed, keys) {
            (Some((rows, then)), Some(now)) if then > 0 => Some(rows * (now / then as f64)),
            (Some((0.0, _)) | None, Some(now)) => Some(now),
            (Some((rows, _)), _) => Some(rows),
            (None, None) => None,
        }
    }

    /// Rows of a table.
    pub fn table_rows(&self, table: &TableDef) -> f64 {
        whole(self.known_table_rows(table).unwrap_or(DEFAULT_ROWS))
    }

    /// Whether the sizes of all tables of a tree are known.
    pub fn knows_tables_of(&self, node: &Node) -> bool {
        match node {
            Node::Scan(scan) => self.known_table_rows(&scan.table).is_some(),
            Node::SystemScan { .. } => false,
            node => walk::inputs(node).into_iter().all(|input| self.knows_tables_of(input)),
        }
    }

    /// What ANALYZE has found about a column.
    fn statistics(&self, table: &TableDef, column: usize) -> Option<&'c ColumnStatistics> {
        let ty = table.columns.get(column)?.ty.ty;
        self.catalog.statistics.get(&table.oid)?.column(column, ty)
    }

    /// What is known of a column of a table.
    fn known(&self, table: &TableDef, column: usize) -> Option<Known<'c>> {
        let ty = table.columns.get(column)?.ty.ty;
        let unique = table.primary_key.as_ref().is_some_and(|key| key.columns == [column]);
        Some(Known { statistics: self.statistics(table, column), ty, unique, rows: self.table_rows(table) })
    }

    /// The table and column that an operator's column comes from unchanged.
    fn origin<'n>(&self, node: &'n Node, column: usize) -> Option<(&'n TableDef, usize)> {
        match node {
            Node::Scan(scan) => Some((&*scan.table, *scan.columns.get(column)?)),
            Node::Filter { input, .. } | Node::Sort { input, .. } | Node::Distinct { input, .. } | Node::Limit { input, .. } => {
                self.origin(input, column)
            }
            Node::Project { input, exprs } => self.origin_of(input, exprs.get(column)?),
            Node::Aggregate { input, group, .. } => self.origin_of(input, group.get(column)?),
            Node::Join(join) => {
                let left = crate::sql::planner::width(&join.left);
                if column < left { self.origin(&join.left, column) } else { self.origin(&join.right, column - left) }
            }
            Node::Values { .. } | Node::SystemScan { .. } | Node::FunctionScan { .. } | Node::SetOp { .. } => None,
        }
    }

    /// Where an expression over an operator's rows comes from, if it is one of their columns.
    fn origin_of<'n>(&self, node: &'n Node, expr: &Expr) -> Option<(&'n TableDef, usize)> {
        let column = crate::sql::planner::column_of(expr)?;
        self.origin(node, column)
    }

    fn known_of(&self, node: &Node, expr: &Expr) -> Option<Known<'c>> {
        let (table, column) = self.origin_of(node, expr)?;
        self.known(table, column)
    }

    /// Rows of an operator.
    pub fn rows(&self, node: &Node) -> f64 {
        match node {
            Node::Values { rows, .. } => rows.len() as f64,
            Node::Scan(scan) => self.access_rows(&scan.table, &scan.access, scan.filter.as_ref()),
            Node::SystemScan { filter, .. } => {
                let part = filter.as_ref().map_or(1.0, |filter| self.part(filter, &|_| None));
                whole(SYSTEM_ROWS * part)
            }
            Node::FunctionScan { function, args, .. } => function_rows(function.get().name, args),
            Node::Filter { input, predicate } => {
                let part = self.part(predicate, &|column| {
                    let (table, column) = self.origin(input, column)?;
                    self.known(table, column)
                });
                whole(self.rows(input) * part)
            }
            Node::Project { input, .. } | Node::Sort { input, .. } => self.rows(input),
            Node::Join(join) => self.join_rows(join),
            Node::Aggregate { group, .. } if group.is_empty() => 1.0,
            Node::Aggregate { input, group, .. } => self.groups(input, group),
            Node::Distinct { input, on } => self.groups(input, on),
            Node::Limit { input, limit, offset } => limited(self.rows(input), limit.as_ref(), offset.as_ref()),
            Node::SetOp { op: SetOp::Union, left, right, .. } => self.rows(left) + self.rows(right),
            Node::SetOp { op: SetOp::Intersect, left, right, .. } => self.rows(left).min(self.rows(right)),
            Node::SetOp { op: SetOp::Except, left, .. } => self.rows(left),
        }
    }

    /// Rows of a table that are found in a way and kept by a filter over its columns.
    pub fn access_rows(&self, table: &TableDef, access: &Access, filter: Option<&Expr>) -> f64 {
        let known = |column: usize| self.known(table, column);
        let rows = self.table_rows(table);
        match access {
            Access::Points(points) => {
                let part = filter.map_or(1.0, |filter| self.part(filter, &known));
                whole((points.len() as f64).min(rows) * part)
            }
            Access::Full => whole(rows * filter.map_or(1.0, |filter| self.part(filter, &known))),
            Access::Range { prefix, lower, upper } => {
                let key = table.primary_key.as_ref().map_or(&[][..], |key| &key.columns);
                whole(rows * self.range_part(key, prefix, (lower.as_ref(), upper.as_ref()), filter, &known))
            }
        }
    }

    fn join_rows(&self, join: &Join) -> f64 {
        let (left, right) = (self.rows(&join.left), self.rows(&join.right));
        let mut part = 1.0;
        for (a, b) in &join.equal {
            let sides = (self.known_of(&join.left, a), self.known_of(&join.right, b));
            let distinct = |known: Option<Known<'_>>, rows: f64| {
                known.map_or_else(|| rows.min(DEFAULT_DISTINCT), |known| known.distinct()).max(1.0)
            };
            let present = |known: Option<Known<'_>>| 1.0 - known.map_or(0.0, |known| known.null_fraction());
            part *= present(sides.0) * present(sides.1) / distinct(sides.0, left).max(distinct(sides.1, right));
        }
        if let Some(condition) = &join.condition {
            let width = crate::sql::planner::width(&join.left);
            part *= self.part(condition, &|column| {
                let (table, column) = match column.checked_sub(width) {
                    None => self.origin(&join.left, column)?,
                    Some(column) => self.origin(&join.right, column)?,
                };
                self.known(table, column)
            });
        }
        let rows = left * right * part;
        whole(match join.kind {
            JoinKind::Inner => rows,
            JoinKind::Left => rows.max(left),
            JoinKind::Right => rows.max(right),
            JoinKind::Full => rows.max(left).max(right),
        })
    }

    /// How many different values some expressions have over an operator's rows (`estimate_num_groups`).
    fn groups(&self, input: &Node, exprs: &[Expr]) -> f64 {
        let rows = self.rows(input);
        let mut groups = 1.0;
        for expr in exprs.iter().filter(|expr| !matches!(expr, Expr::Const(..))) {
            groups *= match self.known_of(input, expr) {
                Some(known) => {
                    let distinct = known.distinct();
                    // Of the different values so many are expected among the rows that are left.
                    let left = (rows / known.rows.max(1.0)).min(1.0);
                    distinct * (1.0 - (1.0 - left).powf((known.rows / distinct).max(1.0)))
                }
                None if type_of(expr) == SqlType::Bool => 2.0,
                None => DEFAULT_DISTINCT,
            };
        }
        whole(groups.min(rows))
    }

    /// Bytes of an operator's row.
    pub fn width(&self, node: &Node) -> f64 {
        let of_exprs = |input: &Node, exprs: &[Expr]| exprs.iter().map(|expr| self.expr_width(input, expr)).sum::<f64>();
        match node {
            Node::Values { types, .. } | Node::FunctionScan { types, .. } => types.iter().map(|ty| type_width(ty.ty)).sum(),
            Node::Scan(scan) => scan.columns.iter().map(|column| self.column_width(&scan.table, *column)).sum(),
            Node::SystemScan { columns, .. } => columns.iter().map(|_| f64::from(DEFAULT_WIDTH)).sum(),
            Node::Filter { input, .. } | Node::Sort { input, .. } | Node::Distinct { input, .. } | Node::Limit { input, .. } => {
                self.width(input)
            }
            Node::Project { input, exprs } => of_exprs(input, exprs),
            Node::Join(join) => self.width(&join.left) + self.width(&join.right),
            Node::Aggregate { input, group, aggregates } => {
                of_exprs(input, group) + aggregates.iter().map(|aggregate| type_width(aggregate.ty)).sum::<f64>()
            }
            Node::SetOp { left, .. } => self.width(left),
        }
    }

    fn expr_width(&self, input: &Node, expr: &Expr) -> f64 {
        let origin = self.origin_of(input, expr);
        origin.map_or_else(|| type_width(type_of(expr)), |(table, column)| self.column_width(table, column))
    }

    /// Bytes of a column's value.
    pub fn column_width(&self, table: &TableDef, column: usize) -> f64 {
        // One past the columns is the row's id.
        let ty = table.columns.get(column).map_or(SqlType::Int8, |column| column.ty.ty);
        self.statistics(table, column).map_or_else(|| type_width(ty), |known| f64::from(known.width))
    }
}

fn type_width(ty: SqlType) -> f64 {
    let fixed = i32::from(ty.typlen());
    f64::from(if fixed > 0 { fixed } else { DEFAULT_WIDTH })
}

/// LIMIT and OFFSET; those that are not known yet are taken for a tenth of the rows.
fn limited(rows: f64, limit: Option<&Expr>, offset: Option<&Expr>) -> f64 {
    let count = |bound: &Expr| match bound {
        Expr::Const(Datum::Int8(count), _) => Some(*count as f64),
        Expr::Const(Datum::Null, _) => None,
        _ => Some(rows * 0.1),
    };
    let left = rows - offset.and_then(count).unwrap_or(0.0);
    whole(limit.and_then(count).map_or(left, |limit| left.min(limit)))
}

fn function_rows(name: &str, args: &[Expr]) -> f64 {
    let number = |arg: &Expr| match arg {
        Expr::Const(value, _) => value.as_i64().map(|value| value as f64),
        _ => None,
    };
    let numbers: Option<Vec<f64>> = args.iter().map(number).collect();
    match (name, numbers.as_deref()) {
        ("generate_series", Some([from, to])) => (to - from + 1.0).max(1.0),
        ("generate_series", Some([from, to, step])) if *step != 0.0 => ((to - from + step) / step).floor().max(1.0),
        _ => DEFAULT_FUNCTION_ROWS,
    }
}
