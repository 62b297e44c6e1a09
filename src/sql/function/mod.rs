//! The table of functions, operators, aggregates and table functions.
//!
//! One entry is one row of PostgreSQL's `pg_proc` or `pg_operator`: a name, argument types, a result type and an
//! implementation over values. `resolve` picks an entry by PostgreSQL's rules (documentation, chapter 10); evaluation calls
//! it by its number in the table.

pub mod aggregate;
pub mod coercion;
mod date;
mod format;
mod math;
mod md5;
mod operators;
mod privileges;
pub mod resolve;
mod sizes;
pub mod strings;
mod system;
pub mod table;
mod waiting;

pub use system::{regclass_in, regtype_in};
pub use waiting::Waiting;

use std::sync::LazyLock;

use hashbrown::HashMap;

use crate::error::SqlResult;
use crate::sql::context::EvalContext;
use crate::types::{Datum, SqlType};

/// A scalar function or operator implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionRef(pub u16);

/// An aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AggregateRef(pub u16);

/// A set-returning function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableFunctionRef(pub u16);

/// The declared type of an argument or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A type.
    Is(SqlType),
    /// `anyelement`: all such arguments have one type.
    Element,
    /// `anyarray`: an array of the element type.
    ArrayOfElement,
    /// `any`: anything, each argument on its own.
    Any,
    /// `anynonarray`: anything but an array.
    NonArray,
}

/// Whether a function may be evaluated ahead of time (pg_proc.provolatile).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volatility {
    /// The same result for the same arguments, forever.
    Immutable,
    /// The same within a statement.
    Stable,
    /// Anything.
    Volatile,
}

/// What comparison an operator is, for the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    /// The comparison with its sides exchanged.
    pub fn commuted(self) -> Self {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::Le => Comparison::Ge,
            Comparison::Gt => Comparison::Lt,
            Comparison::Ge => Comparison::Le,
            other => other,
        }
    }
}

/// How a function is computed. Strict functions never see NULL.
#[derive(Clone, Copy)]
pub enum Implementation {
    /// Of one value.
    Unary(fn(&Datum) -> SqlResult<Datum>),
    /// Of two values.
    Binary(fn(&Datum, &Datum) -> SqlResult<Datum>),
    /// Of values.
    Values(fn(&[Datum]) -> SqlResult<Datum>),
    /// Of values and the session or catalog.
    Context(fn(&[Datum], &EvalContext<'_>) -> SqlResult<Datum>),
    /// Of values, their types and the session or catalog.
    Typed(fn(&[Datum], &[SqlType], &EvalContext<'_>) -> SqlResult<Datum>),
    /// By the executor, which can wait.
    Waits(Waiting),
}

/// A function or operator.
pub struct Function {
    /// Name, or the operator's symbol.
    pub name: &'static str,
    /// Whether it is called as an operator.
    pub operator: bool,
    /// Argument types.
    pub args: &'static [Kind],
    /// The last argument may be repeated.
    pub variadic: bool,
    /// Result type.
    pub result: Kind,
    /// NULL if an argument is NULL.
    pub strict: bool,
    /// Volatility.
    pub volatility: Volatility,
    /// Set for comparison operators.
    pub comparison: Option<Comparison>,
    /// The code.
    pub implementation: Implementation,
}

/// All functions, with an index by name: functions, then operators.
pub struct Registry {
    functions: Vec<Function>,
    by_name: [HashMap<&'static str, Vec<FunctionRef>>; 2],
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::build);

impl Registry {
    fn build() -> Self {
        let mut functions = Vec::new();
        operators::register(&mut functions);
        math::register(&mut functions);
        strings::register(&mut functions);
        date::register(&mut functions);
        format::register(&mut functions);
        system::register(&mut functions);
        waiting::register(&mut functions);
        let mut by_name = [HashMap::new(), HashMap::new()];
        for (index, function) in functions.iter().enumerate() {
            let reference = FunctionRef(u16::try_from(index).expect("the table has far fewer than 65,536 functions"));
            let names: &mut HashMap<&'static str, Vec<FunctionRef>> = &mut by_name[usize::from(function.operator)];
            names.entry(function.name).or_default().push(reference);
        }
        Self { functions, by_name }
    }
}

impl FunctionRef {
    /// The entry.
    pub fn get(self) -> &'static Function {
        &REGISTRY.functions[usize::from(self.0)]
    }
}

/// The functions (or operators) of a name.
pub fn candidates(operator: bool, name: &str) -> &'static [FunctionRef] {
    REGISTRY.by_name[usize::from(operator)].get(name).map_or(&[], Vec::as_slice)
}

/// Builds entries of the table; the defaults are a strict, immutable function.
pub(crate) struct Entry(Function);

impl Entry {
    /// A function.
    pub fn function(name: &'static str, args: &'static [Kind], result: Kind, implementation: Implementation) -> Self {
        Self(Function {
            name,
            operator: false,
            args,
            variadic: false,
            result,
            strict: true,
            volatility: Volatility::Immutable,
            comparison: None,
            implementation,
        })
    }

    /// An operator.
    pub fn operator(name: &'static str, args: &'static [Kind], result: Kind, implementation: Implementation) -> Self {
        let mut entry = Self::function(name, args, result, implementation);
        entry.0.operator = true;
        entry
    }

    /// Called with NULLs.
    pub fn lax(mut self) -> Self {
        self.0.strict = false;
        self
    }

    /// Repeats the last argument.
    pub fn variadic(mut self) -> Self {
        self.0.variadic = true;
        self
    }

    /// Stable.
    pub fn stable(mut self) -> Self {
        self.0.volatility = Volatility::Stable;
        self
    }

    /// Volatile.
    pub fn volatile(mut self) -> Self {
        self.0.volatility = Volatility::Volatile;
        self
    }

    /// A comparison.
    pub fn compares(mut self, comparison: Comparison) -> Self {
        self.0.comparison = Some(comparison);
        self
    }

    /// Puts it into the table.
    pub fn add(self, functions: &mut Vec<Function>) {
        functions.push(self.0);
    }
}

/// Kinds for the tables.
pub(crate) mod kinds {
    use super::Kind;
    use crate::types::{ElementType, SqlType};

    pub const BOOL: Kind = Kind::Is(SqlType::Bool);
    pub const INT2: Kind = Kind::Is(SqlType::Int2);
    pub const INT4: Kind = Kind::Is(SqlType::Int4);
    pub const INT8: Kind = Kind::Is(SqlType::Int8);
    pub const FLOAT4: Kind = Kind::Is(SqlType::Float4);
    pub const FLOAT8: Kind = Kind::Is(SqlType::Float8);
    pub const NUMERIC: Kind = Kind::Is(SqlType::Numeric);
    pub const TEXT: Kind = Kind::Is(SqlType::Text);
    pub const BPCHAR: Kind = Kind::Is(SqlType::Bpchar);
    pub const BYTEA: Kind = Kind::Is(SqlType::Bytea);
    pub const DATE: Kind = Kind::Is(SqlType::Date);
    pub const TIMESTAMP: Kind = Kind::Is(SqlType::Timestamp);
    pub const TIMESTAMPTZ: Kind = Kind::Is(SqlType::TimestampTz);
    pub const UUID: Kind = Kind::Is(SqlType::Uuid);
    pub const CHAR: Kind = Kind::Is(SqlType::Char);
    pub const NAME: Kind = Kind::Is(SqlType::Name);
    pub const OID: Kind = Kind::Is(SqlType::Oid);
    pub const REGCLASS: Kind = Kind::Is(SqlType::Regclass);
    pub const REGTYPE: Kind = Kind::Is(SqlType::Regtype);
    pub const INTERVAL: Kind = Kind::Is(SqlType::Interval);
    pub const VOID: Kind = Kind::Is(SqlType::Void);
    pub const NAMES: Kind = Kind::Is(SqlType::Array(ElementType::Name));
    pub const ELEMENT: Kind = Kind::Element;
    pub const ARRAY: Kind = Kind::ArrayOfElement;
    pub const ANY: Kind = Kind::Any;
    pub const NON_ARRAY: Kind = Kind::NonArray;
}
