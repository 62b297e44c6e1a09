//! SQL types and values: what a column may hold, its text and binary formats, casts and operators with PostgreSQL's semantics.
//!
//! This layer knows nothing of tables, plans or connections. PostgreSQL 15 is the specification: results, messages and
//! SQLSTATEs are those of its `src/backend/utils/adt`, and the tests' tables were filled by asking a PostgreSQL 15.
//!
//! | module | role |
//! |---|---|
//! | `sql_type` | OIDs, names, categories, modifiers |
//! | `format` | what of a session the text formats depend on |
//! | `text`, `binary` | the two wire formats of every type |
//! | `numeric`, `datetime`, `array` | the types with rules of their own |
//! | `arith`, `compare`, `cast` | operators and conversions |
//! | `string`, `like`, `regexp` | what the string functions are made of |
//! | `key`, `row` | values as the storage keeps them |
//!
//! Invariants: no function here panics, whatever bytes a client sends; text is UTF-8 without NUL; a datum of `char(n)` is
//! blank-padded to n characters; days and microseconds of finite dates and timestamps lie within PostgreSQL's limits.

use std::sync::Arc;

use crate::base::Oid;

pub mod arith;
pub mod array;
pub mod binary;
pub mod cast;
pub mod compare;
#[cfg(test)]
mod conformance;
pub mod datetime;
mod datum;
pub mod format;
pub mod key;
pub mod like;
pub mod numeric;
#[cfg(test)]
mod properties;
pub mod regexp;
pub mod row;
mod sql_type;
pub mod string;
pub mod text;

pub use arith::{BinaryOp, UnaryOp};
pub use binary::{from_binary, write_binary};
pub use cast::{cast, cast_context};
pub use compare::{compare, compare_as, hash_datum};
pub use format::SessionFormat;
pub use row::{RowLayout, RowView};
pub use text::{parse_text, write_text};

/// An SQL type without its modifier. The storable ones come first; the rest exist so that catalog queries and casts have
/// PostgreSQL's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SqlType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Varchar,
    /// `char(n)`, blank-padded.
    Bpchar,
    Bytea,
    Date,
    Timestamp,
    TimestampTz,
    Uuid,
    // Types of expressions and of the system catalog; not storable in user tables.
    /// A literal or parameter whose type the context has not decided.
    Unknown,
    Void,
    /// `"char"`.
    Char,
    Name,
    Oid,
    Regclass,
    Regtype,
    Regproc,
    Interval,
    /// A one-dimensional array of a scalar type.
    Array(ElementType),
    /// An anonymous row.
    Record,
}

/// What an array may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ElementType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Varchar,
    Bytea,
    Date,
    Timestamp,
    TimestampTz,
    Uuid,
    Char,
    Name,
    Oid,
    Regtype,
}

/// A type with its modifier, as a column or a cast has it. `typmod` is PostgreSQL's `atttypmod`: −1 for none, n + 4 for
/// `varchar(n)` and `char(n)`, ((precision << 16) | scale) + 4 for `numeric(p, s)`, the precision for timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ColumnType {
    /// The type.
    pub ty: SqlType,
    /// PostgreSQL's type modifier, −1 for none.
    pub typmod: i32,
}

/// A value. `Clone` is cheap for fixed-width values; long text and bytes are shared.
#[derive(Clone, Debug)]
pub enum Datum {
    /// SQL NULL of any type.
    Null,
    /// boolean
    Bool(bool),
    /// smallint
    Int2(i16),
    /// integer
    Int4(i32),
    /// bigint
    Int8(i64),
    /// real
    Float4(f32),
    /// double precision
    Float8(f64),
    /// numeric
    Numeric(Arc<Numeric>),
    /// text, varchar, char(n) (padded to n), name, and unknown literals
    Text(Arc<str>),
    /// bytea
    Bytea(Arc<[u8]>),
    /// date: days since 2000-01-01; i32::MIN and i32::MAX are −infinity and infinity
    Date(i32),
    /// timestamp: microseconds since 2000-01-01 00:00; i64::MIN and i64::MAX are −infinity and infinity
    Timestamp(i64),
    /// timestamptz: microseconds since 2000-01-01 00:00 UTC; the same infinities
    TimestampTz(i64),
    /// uuid
    Uuid([u8; 16]),
    /// "char"
    Char(u8),
    /// oid and the reg* types
    Oid(Oid),
    /// interval
    Interval(Interval),
    /// A one-dimensional array.
    Array(Arc<[Datum]>),
}

/// PostgreSQL's interval: the three fields do not convert into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

/// An arbitrary-precision decimal.
#[derive(Clone, Debug)]
pub enum Numeric {
    /// Not a number; equal to itself and above every other value, as PostgreSQL has it.
    NaN,
    /// ∞
    Infinity,
    /// −∞
    NegInfinity,
    /// `unscaled · 10^−scale`
    Finite {
        /// The digits.
        unscaled: num_bigint::BigInt,
        /// Digits after the decimal point (the display scale).
        scale: u32,
    },
}

/// How a cast comes about (pg_cast.castcontext).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CastContext {
    /// Implied by context.
    Implicit,
    /// Storing into a column.
    Assignment,
    /// Written by the user.
    Explicit,
}
