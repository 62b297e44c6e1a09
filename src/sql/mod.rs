//! From statement text to a typed plan, and the evaluation of its expressions.
//!
//! A statement travels [`parse`] (text to syntax tree) → [`bind`] (names, types, casts and operators by PostgreSQL's rules,
//! then access paths and join strategies) → an executor, which evaluates expressions with [`expr::eval`]. [`cache`] lets
//! statements that differ in their literals only share one plan.
//!
//! Invariant: meaning is decided here once. Executors make no decision about types, and no clause that was parsed is dropped:
//! what is not supported answers 0A000 and names itself.

pub mod binder;
pub mod cache;
pub mod context;
pub mod ddl;
pub mod estimate;
pub mod expr;
pub mod function;
pub mod grant;
pub mod parser;
pub mod plan;
pub mod planner;
pub mod role;
pub mod utility;
pub mod values;

pub use binder::bind;
pub use context::{
    BindContext, EvalContext, NoSubqueries, OuterRow, SessionInfo, Sessions, SubqueryResults, SubqueryValue, name_of_role,
};
pub use parser::{ParsedStatement, parse};

#[cfg(test)]
mod tests;
