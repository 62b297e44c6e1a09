//! The table of functions, operators, aggregates and table functions.

pub mod strings;

/// A scalar function or operator implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionRef(pub u16);

/// An aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AggregateRef(pub u16);

/// A set-returning function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableFunctionRef(pub u16);
