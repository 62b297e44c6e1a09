//! From statement text to a typed plan: parser, binder, planner, expressions.

pub mod ddl;
pub mod expr;
pub mod function;
pub mod plan;
pub mod utility;
