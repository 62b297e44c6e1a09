//! Bound, typed scalar expressions. The binder has resolved every name, operator and cast; evaluation makes no decision about
//! types.

use std::sync::Arc;

pub mod eval;
pub mod in_set;
pub mod walk;

use crate::sql::plan::Node;
use crate::types::{ColumnType, Datum, SqlType};

/// An expression with all types decided.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A constant.
    Const(Datum, SqlType),
    /// Column of the input row.
    Column(usize, ColumnType),
    /// Column of the row of an enclosing query (lateral or correlated), `depth` ≥ 1 levels out.
    Outer {
        /// Levels out.
        depth: usize,
        /// Column there.
        index: usize,
        /// Its type.
        ty: ColumnType,
    },
    /// Statement parameter, 0-based.
    Param(usize, SqlType),
    /// A strict or special function, an operator or a cast function from the function table.
    Call {
        /// The function.
        function: crate::sql::function::FunctionRef,
        /// Arguments, already cast to the function's argument types.
        args: Vec<Expr>,
        /// The result type.
        ty: SqlType,
    },
    /// A cast that `types::cast` performs.
    Cast {
        /// What is cast.
        arg: Box<Expr>,
        /// From.
        from: SqlType,
        /// To.
        to: ColumnType,
        /// Written by the user, or assignment, or implied.
        context: crate::types::CastContext,
    },
    /// Three-valued AND of two or more.
    And(Vec<Expr>),
    /// Three-valued OR of two or more.
    Or(Vec<Expr>),
    /// NOT
    Not(Box<Expr>),
    /// IS NULL (or, negated, IS NOT NULL)
    IsNull(Box<Expr>, bool),
    /// `a IS [NOT] DISTINCT FROM b`, the flag for NOT
    Distinct(Box<Expr>, Box<Expr>, bool),
    /// `IS [NOT] TRUE / FALSE / UNKNOWN`
    BoolTest(Box<Expr>, BoolTest),
    /// Searched CASE (a simple CASE is bound to one).
    Case {
        /// Conditions and results.
        branches: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
        /// The result type.
        ty: SqlType,
    },
    /// COALESCE
    Coalesce(Vec<Expr>, SqlType),
    /// `arg = ANY (list)` over constants or expressions of one type; the flag negates (NOT IN).
    InList(Box<Expr>, Vec<Expr>, bool),
    /// `arg operator ANY / ALL (array)`
    AnyAll {
        /// Left side.
        arg: Box<Expr>,
        /// The comparison.
        function: crate::sql::function::FunctionRef,
        /// The array.
        array: Box<Expr>,
        /// ALL instead of ANY.
        all: bool,
    },
    /// ARRAY[…]
    Array(Vec<Expr>, SqlType),
    /// A scalar subquery, EXISTS, or IN (subquery).
    Subquery(Arc<Subquery>),
}

/// `IS TRUE` and its kin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BoolTest {
    IsTrue,
    IsNotTrue,
    IsFalse,
    IsNotFalse,
    IsUnknown,
    IsNotUnknown,
}

/// A subquery in an expression. Uncorrelated ones are evaluated once a statement.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What of it is wanted.
    pub kind: SubqueryKind,
    /// Its plan.
    pub plan: Node,
    /// Whether it refers to columns of an enclosing query.
    pub correlated: bool,
    /// The type of the result.
    pub ty: SqlType,
}

/// What of a subquery is wanted.
#[derive(Clone, Debug)]
pub enum SubqueryKind {
    /// One value; more than one row is 21000.
    Scalar,
    /// Whether there is a row.
    Exists,
    /// `arg = ANY (subquery)`; NOT IN is a NOT around it.
    In(Box<Expr>),
    /// `ARRAY(subquery)`: its value is handed over as a scalar.
    Array,
}
