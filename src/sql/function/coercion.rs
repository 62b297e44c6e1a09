//! Which types become which, and when (`pg_cast`, `pg_type.typcategory` and `typispreferred` of PostgreSQL 15).

use crate::sql::binder::types::type_of_element;
use crate::types::{CastContext, SqlType};

/// `pg_type.typcategory`, where this server has types in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// A
    Array,
    /// B
    Boolean,
    /// D
    DateTime,
    /// N
    Numeric,
    /// P
    Pseudo,
    /// S
    String,
    /// T
    Timespan,
    /// U
    User,
    /// X
    Unknown,
    /// Z: types of internal use.
    Internal,
}

/// The category of a type.
pub fn category(ty: SqlType) -> Category {
    use SqlType::*;
    match ty {
        Bool => Category::Boolean,
        Int2 | Int4 | Int8 | Float4 | Float8 | Numeric | Oid | Regclass | Regtype | Regproc => Category::Numeric,
        Text | Varchar | Bpchar | Name => Category::String,
        Date | Timestamp | TimestampTz => Category::DateTime,
        Interval => Category::Timespan,
        Bytea | Uuid => Category::User,
        Char => Category::Internal,
        Array(_) => Category::Array,
        Unknown => Category::Unknown,
        Void | Record => Category::Pseudo,
    }
}

/// Whether a type is the preferred one of its category (there may be several).
pub fn preferred(ty: SqlType) -> bool {
    use SqlType::*;
    matches!(ty, Bool | Float8 | Oid | Text | TimestampTz | Interval)
}

/// Whether the values are the same bytes, so that no work is needed.
pub fn binary_coercible(from: SqlType, to: SqlType) -> bool {
    use SqlType::*;
    from == to
        || matches!(
            (from, to),
            (Varchar, Text) | (Text, Varchar) | (Oid, Regclass | Regtype | Regproc) | (Regclass | Regtype | Regproc, Oid)
        )
}

/// Whether `from` may become `to` in a context.
pub fn can_coerce(from: SqlType, to: SqlType, context: CastContext) -> bool {
    if from == to || from == SqlType::Unknown {
        return true;
    }
    if let (SqlType::Array(from), SqlType::Array(to)) = (from, to) {
        return can_coerce(type_of_element(from), type_of_element(to), context);
    }
    let needed = pathway(from, to);
    needed.is_some_and(|needed| context >= needed)
}

/// The weakest context in which the cast is allowed; `None` if there is no cast.
fn pathway(from: SqlType, to: SqlType) -> Option<CastContext> {
    listed(from, to).or_else(|| through_text(from, to))
}

/// Rows of `pg_cast`.
fn listed(from: SqlType, to: SqlType) -> Option<CastContext> {
    use CastContext::{Assignment, Explicit, Implicit};
    use SqlType::*;
    Some(match (from, to) {
        (Int2, Int4 | Int8 | Float4 | Float8 | Numeric | Oid | Regclass | Regtype | Regproc) => Implicit,
        (Int4, Int8 | Float4 | Float8 | Numeric | Oid | Regclass | Regtype | Regproc) => Implicit,
        (Int8, Float4 | Float8 | Numeric | Oid | Regclass | Regtype | Regproc) => Implicit,
        (Int4, Int2) | (Int8, Int2 | Int4) => Assignment,
        (Float4, Float8) | (Numeric, Float4 | Float8) => Implicit,
        (Float4 | Float8, Int2 | Int4 | Int8 | Numeric) | (Numeric, Int2 | Int4 | Int8) | (Float8, Float4) => Assignment,
        (Int4, Bool) | (Bool, Int4) | (Char, Int4) | (Int4, Char) => Explicit,
        (Oid, Regclass | Regtype | Regproc) | (Regclass | Regtype | Regproc, Oid) => Implicit,
        (Oid | Regclass | Regtype | Regproc, Int4 | Int8) => Assignment,
        (Text | Varchar, Regclass) => Implicit,
        (Bpchar | Varchar | Name | Char, Text) => Implicit,
        (Text, Bpchar | Varchar) | (Bpchar, Varchar) | (Varchar, Bpchar) => Implicit,
        (Text | Bpchar | Varchar, Name) => Implicit,
        (Name, Bpchar | Varchar) | (Text | Bpchar | Varchar, Char) | (Char, Bpchar | Varchar) => Assignment,
        (Date, Timestamp | TimestampTz) | (Timestamp, TimestampTz) => Implicit,
        (Timestamp | TimestampTz, Date) | (TimestampTz, Timestamp) => Assignment,
        (Bool, Text | Varchar | Bpchar) => Assignment,
        _ => return None,
    })
}

/// Conversion through the text form: to strings by assignment, from strings when written.
fn through_text(from: SqlType, to: SqlType) -> Option<CastContext> {
    if matches!(from, SqlType::Void | SqlType::Record) || matches!(to, SqlType::Void | SqlType::Record) {
        return None;
    }
    if category(to) == Category::String {
        return Some(CastContext::Assignment);
    }
    if category(from) == Category::String { Some(CastContext::Explicit) } else { None }
}

/// PostgreSQL's name for a type in messages (`format_type`).
pub fn type_name(ty: SqlType) -> String {
    use SqlType::*;
    let name = match ty {
        Bool => "boolean",
        Int2 => "smallint",
        Int4 => "integer",
        Int8 => "bigint",
        Float4 => "real",
        Float8 => "double precision",
        Numeric => "numeric",
        Text => "text",
        Varchar => "character varying",
        Bpchar => "character",
        Bytea => "bytea",
        Date => "date",
        Timestamp => "timestamp without time zone",
        TimestampTz => "timestamp with time zone",
        Uuid => "uuid",
        Unknown => "unknown",
        Void => "void",
        Char => "\"char\"",
        Name => "name",
        Oid => "oid",
        Regclass => "regclass",
        Regtype => "regtype",
        Regproc => "regproc",
        Interval => "interval",
        Array(element) => return format!("{}[]", type_name(type_of_element(element))),
        Record => "record",
    };
    name.to_owned()
}

/// The common type of UNION, CASE, COALESCE, VALUES and ARRAY (documentation 10.5), or the two types that do not match.
pub fn common_type(types: impl IntoIterator<Item = SqlType>) -> Result<SqlType, (SqlType, SqlType)> {
    let types: Vec<SqlType> = types.into_iter().collect();
    let mut chosen = SqlType::Unknown;
    for &ty in &types {
        if ty == SqlType::Unknown || ty == chosen {
            continue;
        }
        if chosen == SqlType::Unknown {
            chosen = ty;
        } else if category(ty) != category(chosen) {
            return Err((chosen, ty));
        } else if !preferred(chosen)
            && can_coerce(chosen, ty, CastContext::Implicit)
            && !can_coerce(ty, chosen, CastContext::Implicit)
        {
            chosen = ty;
        }
    }
    if chosen == SqlType::Unknown {
        return Ok(SqlType::Text);
    }
    match types.iter().find(|&&ty| !can_coerce(ty, chosen, CastContext::Implicit)) {
        Some(&ty) => Err((chosen, ty)),
        None => Ok(chosen),
    }
}
