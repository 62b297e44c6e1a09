//! The typed plan: what the binder hands to the executors. Rows between operators are `Vec<Datum>`; `Expr::Column(i)` is the
//! i-th value of the operator's input row (for a join: left columns, then right columns).

use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::TableDef;
use crate::error::SqlError;
use crate::sql::expr::Expr;
pub use crate::txn::{LockStrength, LockWait};
use crate::types::{ColumnType, SqlType};

/// One bound statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What to do.
    pub plan: Plan,
    /// Parameter types, decided by the client or inferred.
    pub params: Vec<SqlType>,
    /// The columns of the result; empty for statements that return no rows.
    pub columns: Vec<OutputColumn>,
    /// The catalog version it was bound against.
    pub catalog_version: u64,
    /// Why the role that it was bound for may not run it, if so.
    pub refusal: Option<Box<SqlError>>,
}

impl Statement {
    /// Whether it holds a password, so that its text must not be kept or shown.
    pub fn holds_secret(&self) -> bool {
        matches!(&self.plan, Plan::Ddl(crate::sql::ddl::Ddl::Role(statement)) if statement.holds_secret())
    }
}

/// A result column, as a RowDescription wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputColumn {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: ColumnType,
    /// The table and 1-based attribute number it comes from, where it is a plain column.
    pub source: Option<(Oid, i16)>,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub enum Plan {
    /// SELECT, VALUES, TABLE.
    Query(Query),
    /// INSERT.
    Insert(InsertPlan),
    /// UPDATE.
    Update(UpdatePlan),
    /// DELETE.
    Delete(DeletePlan),
    /// COPY.
    Copy(CopyPlan),
    /// CREATE / DROP / ALTER / TRUNCATE …
    Ddl(crate::sql::ddl::Ddl),
    /// BEGIN, COMMIT, SET, SHOW, EXPLAIN, VACUUM, PREPARE …: what the session does itself.
    Utility(crate::sql::utility::Utility),
    /// An empty query string.
    Empty,
}

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// The operator tree; its output columns are the statement's.
    pub root: Node,
    /// Set when the whole query is one lookup by full primary key of one table, projecting plain columns in any order: the
    /// path that benchmarks take, executed from row bytes to the wire without building a `Datum` row.
    pub point: Option<PointSelect>,
    /// FOR UPDATE and its kin; execution locks the rows of these tables.
    pub locking: Option<RowLocking>,
}

/// FOR UPDATE / NO KEY UPDATE / SHARE / KEY SHARE.
#[derive(Clone, Debug)]
pub struct RowLocking {
    /// Strength.
    pub strength: LockStrength,
    /// What to do about a row somebody else has locked.
    pub wait: LockWait,
}

/// A lookup by full primary key.
#[derive(Clone, Debug)]
pub struct PointSelect {
    /// The table.
    pub table: Arc<TableDef>,
    /// One expression a key column, in key order, over parameters and constants only, cast to the column's type.
    pub key: Vec<Expr>,
    /// Projected columns (0-based in the table).
    pub columns: Vec<usize>,
}

/// An operator.
#[derive(Clone, Debug)]
pub enum Node {
    /// Rows of expressions (over no input).
    Values {
        /// The rows.
        rows: Vec<Vec<Expr>>,
        /// Their types.
        types: Vec<ColumnType>,
    },
    /// A user table.
    Scan(Scan),
    /// A system table computed from the catalog: `pg_catalog` or `information_schema`.
    SystemScan {
        /// Which.
        table: crate::catalog::system::SystemTableRef,
        /// Output columns (0-based in it).
        columns: Vec<usize>,
        /// Rows to keep, over the output columns.
        filter: Option<Expr>,
    },
    /// A function in FROM, such as generate_series.
    FunctionScan {
        /// The function.
        function: crate::sql::function::TableFunctionRef,
        /// Its arguments; may refer to outer rows when under a lateral join.
        args: Vec<Expr>,
        /// Column types of the result.
        types: Vec<ColumnType>,
        /// WITH ORDINALITY.
        ordinality: bool,
    },
    /// Keep rows for which the predicate is true.
    Filter {
        /// Input.
        input: Box<Node>,
        /// Predicate.
        predicate: Expr,
    },
    /// Compute expressions. Set-returning functions in the list are bound to FunctionScans under lateral joins.
    Project {
        /// Input.
        input: Box<Node>,
        /// Output expressions.
        exprs: Vec<Expr>,
    },
    /// A join.
    Join(Box<Join>),
    /// GROUP BY and aggregates: output is the group expressions, then the aggregates.
    Aggregate {
        /// Input.
        input: Box<Node>,
        /// Group expressions; empty with aggregates means one row always.
        group: Vec<Expr>,
        /// Aggregates.
        aggregates: Vec<Aggregate>,
    },
    /// ORDER BY.
    Sort {
        /// Input.
        input: Box<Node>,
        /// Keys.
        keys: Vec<SortKey>,
    },
    /// DISTINCT over the first `columns` columns of the input, or DISTINCT ON them (first row in input order kept).
    Distinct {
        /// Input.
        input: Box<Node>,
        /// Expressions that make rows equal.
        on: Vec<Expr>,
    },
    /// LIMIT and OFFSET, bigint expressions over parameters.
    Limit {
        /// Input.
        input: Box<Node>,
        /// LIMIT (NULL is none).
        limit: Option<Expr>,
        /// OFFSET.
        offset: Option<Expr>,
    },
    /// UNION / INTERSECT / EXCEPT, inputs already cast to common types.
    SetOp {
        /// Which.
        op: SetOp,
        /// ALL.
        all: bool,
        /// Left.
        left: Box<Node>,
        /// Right.
        right: Box<Node>,
    },
}

/// Set operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SetOp {
    Union,
    Intersect,
    Except,
}

/// A scan of a user table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table.
    pub table: Arc<TableDef>,
    /// Output columns (0-based in the table). One past the last column is the row's id: the hidden key, as a bigint, of tables
    /// without a primary key, and NULL where the primary key says it.
    pub columns: Vec<usize>,
    /// How to find the rows.
    pub access: Access,
    /// Rows to keep, over all columns of the table (column i = table column i), evaluated on the owner.
    pub filter: Option<Expr>,
    /// Return rows in descending key order.
    pub reverse: bool,
    /// At most so many rows, pushed down from LIMIT when order allows.
    pub limit: Option<u64>,
}

impl Scan {
    /// All rows of a table with all columns and their ids.
    pub fn with_ids(table: &Arc<TableDef>) -> Scan {
        let columns = (0..=table.columns.len()).collect();
        Scan { table: table.clone(), columns, access: Access::Full, filter: None, reverse: false, limit: None }
    }
}

/// How to find rows. Key expressions are over parameters, constants and outer rows, cast to the key column's type; a NULL in
/// one of them means no row.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everything, in key order.
    Full,
    /// One or more full primary keys (IN lists and equality). Parameters can make two of them equal: a row is returned once.
    Points(Vec<Vec<Expr>>),
    /// An equality prefix and bounds on the next key column.
    Range {
        /// Equal values of leading key columns.
        prefix: Vec<Expr>,
        /// Lower bound on the next column: value, inclusive.
        lower: Option<(Expr, bool)>,
        /// Upper bound on the next column: value, inclusive.
        upper: Option<(Expr, bool)>,
    },
}

/// A join. The right side is evaluated again for each left row when `lateral` (its `Outer` depth 1 is the left row).
#[derive(Clone, Debug)]
pub struct Join {
    /// Kind.
    pub kind: JoinKind,
    /// Left input.
    pub left: Node,
    /// Right input.
    pub right: Node,
    /// Pairs of equal expressions (left side over the left row, right side over the right row) for hashing.
    pub equal: Vec<(Expr, Expr)>,
    /// The rest of the condition over the joined row.
    pub condition: Option<Expr>,
    /// The right side refers to the left row.
    pub lateral: bool,
    /// The left side is the one held in memory, because it is estimated to be the smaller; otherwise the right is.
    pub hash_left: bool,
}

/// Kinds of join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

impl JoinKind {
    /// The kind of the same join with its sides exchanged.
    #[must_use]
    pub fn turned(self) -> Self {
        match self {
            JoinKind::Left => JoinKind::Right,
            JoinKind::Right => JoinKind::Left,
            kind => kind,
        }
    }
}

/// An aggregate call.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which.
    pub function: crate::sql::function::AggregateRef,
    /// Arguments (none for count(*)).
    pub args: Vec<Expr>,
    /// DISTINCT.
    pub distinct: bool,
    /// FILTER (WHERE …).
    pub filter: Option<Expr>,
    /// ORDER BY inside the call (string_agg, array_agg).
    pub order: Vec<SortKey>,
    /// The result type.
    pub ty: SqlType,
}

/// A sort key.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// Expression over the input row.
    pub expr: Expr,
    /// DESC.
    pub descending: bool,
    /// NULLS FIRST (the default for DESC).
    pub nulls_first: bool,
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct InsertPlan {
    /// Target.
    pub table: Arc<TableDef>,
    /// The source; its output has one value for each column of the table, defaults filled in and assignment casts applied.
    pub source: Node,
    /// ON CONFLICT.
    pub on_conflict: Option<OnConflict>,
    /// RETURNING, over the new row's table columns.
    pub returning: Vec<Expr>,
}

/// ON CONFLICT on the primary key.
#[derive(Clone, Debug)]
pub enum OnConflict {
    /// DO NOTHING.
    DoNothing,
    /// DO UPDATE.
    DoUpdate {
        /// Assignments, over the existing row's columns followed by the excluded row's.
        assignments: Vec<(usize, Expr)>,
        /// WHERE, over the same.
        filter: Option<Expr>,
    },
}

/// UPDATE of one table.
#[derive(Clone, Debug)]
pub struct UpdatePlan {
    /// Target.
    pub table: Arc<TableDef>,
    /// How to find the rows.
    pub access: Access,
    /// WHERE, over the table's columns; re-evaluated on the newest version after waiting.
    pub filter: Option<Expr>,
    /// Column and its new value over the old row's table columns, assignment casts applied.
    pub assignments: Vec<(usize, Expr)>,
    /// RETURNING, over the new row's table columns.
    pub returning: Vec<Expr>,
    /// See [`DeletePlan::source`].
    pub source: Option<Node>,
}

/// DELETE from one table.
#[derive(Clone, Debug)]
pub struct DeletePlan {
    /// Target.
    pub table: Arc<TableDef>,
    /// How to find the rows.
    pub access: Access,
    /// WHERE, over the table's columns.
    pub filter: Option<Expr>,
    /// RETURNING, over the old row's table columns.
    pub returning: Vec<Expr>,
    /// Rows that qualify, where the session decides about each: there is a FROM (USING), or an expression holds a subquery that
    /// refers to the row. They have the table's columns, the row's id ([`Scan::columns`]), then those of FROM, and the
    /// expressions above are over all of that. `None` where the rows' owners decide.
    pub source: Option<Node>,
}

/// COPY.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    /// Direction and object.
    pub direction: CopyDirection,
    /// Format options.
    pub options: CopyOptions,
}

/// Direction and object of a COPY.
#[expect(clippy::large_enum_variant, reason = "one a statement; a box would only cost")]
#[derive(Clone, Debug)]
pub enum CopyDirection {
    /// COPY table (columns) FROM STDIN: columns given in the data, and for every table column that is not given its default.
    FromStdin {
        /// Target.
        table: Arc<TableDef>,
        /// Table columns (0-based) in the order of the data.
        columns: Vec<usize>,
        /// For each table column: the default expression where it is not in the data.
        defaults: Vec<Option<Expr>>,
    },
    /// COPY … TO STDOUT of a query (a table is bound to one).
    ToStdout {
        /// What to copy.
        query: Query,
        /// Names and types.
        columns: Vec<OutputColumn>,
    },
}

/// COPY's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Text or CSV (binary answers 0A000).
    pub format: CopyFormat,
    /// DELIMITER.
    pub delimiter: u8,
    /// NULL string.
    pub null: String,
    /// HEADER.
    pub header: bool,
    /// QUOTE (CSV).
    pub quote: u8,
    /// ESCAPE (CSV).
    pub escape: u8,
    /// FORCE_QUOTE columns of the output; all with `*`.
    pub force_quote: Vec<usize>,
    /// FORCE_NOT_NULL columns.
    pub force_not_null: Vec<usize>,
    /// FORCE_NULL columns.
    pub force_null: Vec<usize>,
    /// FREEZE: rows are written in the transaction that created or truncated the table; checked, otherwise without effect.
    pub freeze: bool,
}

/// COPY formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CopyFormat {
    Text,
    Csv,
}
