//! Type names to types (PostgreSQL 15 documentation, chapter 8).

use sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, ObjectName, ObjectNamePart, TimezoneInfo};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::types::{ColumnType, ElementType, SqlType};

/// Longest `varchar(n)` and `char(n)`.
const LENGTH_MAX: u64 = 10_485_760;

fn plain(ty: SqlType) -> ColumnType {
    ColumnType { ty, typmod: -1 }
}

/// The type a type name means; 42704 if there is none, 0A000 if PostgreSQL has it and this server has not.
pub fn resolve(data_type: &DataType) -> SqlResult<ColumnType> {
    Ok(match data_type {
        DataType::Bool | DataType::Boolean => plain(SqlType::Bool),
        DataType::SmallInt(None) | DataType::Int2(None) => plain(SqlType::Int2),
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => plain(SqlType::Int4),
        DataType::BigInt(None) | DataType::Int8(None) => plain(SqlType::Int8),
        DataType::Real | DataType::Float4 => plain(SqlType::Float4),
        DataType::DoublePrecision | DataType::Float8 => plain(SqlType::Float8),
        DataType::Float(info) => float(info)?,
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Text => plain(SqlType::Text),
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            characters(SqlType::Varchar, "varchar", length.as_ref(), None)?
        }
        DataType::Char(length) | DataType::Character(length) => characters(SqlType::Bpchar, "char", length.as_ref(), Some(1))?,
        DataType::Bytea => plain(SqlType::Bytea),
        DataType::Date => plain(SqlType::Date),
        DataType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            timestamp(SqlType::Timestamp, *precision)?
        }
        DataType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            timestamp(SqlType::TimestampTz, *precision)?
        }
        DataType::Uuid => plain(SqlType::Uuid),
        DataType::Regclass => plain(SqlType::Regclass),
        DataType::Interval { fields: None, precision: None } => plain(SqlType::Interval),
        DataType::Interval { .. } => return Err(SqlError::unsupported("interval with fields or precision")),
        DataType::Array(element) => array(element)?,
        DataType::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return Err(SqlError::unsupported(format!("type {}", other.to_string().to_lowercase()))),
    })
}

fn float(info: &ExactNumberInfo) -> SqlResult<ColumnType> {
    match info {
        ExactNumberInfo::None => Ok(plain(SqlType::Float8)),
        ExactNumberInfo::Precision(0) => Err(invalid("precision for type float must be at least 1 bit")),
        ExactNumberInfo::Precision(1..=24) => Ok(plain(SqlType::Float4)),
        ExactNumberInfo::Precision(25..=53) => Ok(plain(SqlType::Float8)),
        ExactNumberInfo::Precision(_) => Err(invalid("precision for type float must be less than 54 bits")),
        ExactNumberInfo::PrecisionAndScale(..) => Err(invalid("invalid float type modifier")),
    }
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn numeric(info: &ExactNumberInfo) -> SqlResult<ColumnType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(plain(SqlType::Numeric)),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if !(1..=1000).contains(&precision) {
        return Err(invalid(format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(invalid(format!("NUMERIC scale {scale} must be between -1000 and 1000")));
    }
    let (precision, scale) = (i32::try_from(precision).expect("at most 1000"), i32::try_from(scale).expect("at most 1000"));
    // An 11-bit two's complement scale below the precision (PostgreSQL's numeric.c, make_numeric_typmod).
    Ok(ColumnType { ty: SqlType::Numeric, typmod: ((precision << 16) | (scale & 0x7ff)) + 4 })
}

fn characters(ty: SqlType, name: &str, length: Option<&CharacterLength>, default: Option<u64>) -> SqlResult<ColumnType> {
    let length = match length {
        None => default,
        Some(CharacterLength::IntegerLength { length, unit: None }) => Some(*length),
        Some(_) => return Err(SqlError::unsupported(format!("this length of {name}"))),
    };
    let Some(length) = length else { return Ok(plain(ty)) };
    if length == 0 {
        return Err(invalid(format!("length for type {name} must be at least 1")));
    }
    if length > LENGTH_MAX {
        return Err(invalid(format!("length for type {name} cannot exceed {LENGTH_MAX}")));
    }
    Ok(ColumnType { ty, typmod: i32::try_from(length).expect("checked against the maximum") + 4 })
}

fn timestamp(ty: SqlType, precision: Option<u64>) -> SqlResult<ColumnType> {
    // A precision beyond 6 is reduced to 6 with a warning in PostgreSQL.
    let typmod = precision.map_or(-1, |precision| i32::try_from(precision.min(6)).expect("at most 6"));
    Ok(ColumnType { ty, typmod })
}

fn array(element: &ArrayElemTypeDef) -> SqlResult<ColumnType> {
    let inner = match element {
        ArrayElemTypeDef::SquareBracket(inner, _) | ArrayElemTypeDef::Qualified(inner, _) => resolve(inner)?,
        _ => return Err(SqlError::unsupported("this array type")),
    };
    // PostgreSQL ignores the number of dimensions in a declaration: an array of arrays is the same type.
    if let SqlType::Array(_) = inner.ty {
        return Ok(inner);
    }
    let element = element_of(inner.ty).ok_or_else(|| SqlError::unsupported("an array of this type"))?;
    Ok(ColumnType { ty: SqlType::Array(element), typmod: inner.typmod })
}

/// The element type for arrays of a type. Untyped literals make arrays of text.
pub fn element_of(ty: SqlType) -> Option<ElementType> {
    let ty = if ty == SqlType::Unknown { SqlType::Text } else { ty };
    match ty.array_of()? {
        SqlType::Array(element) => Some(element),
        _ => unreachable!("an array type is an array"),
    }
}

/// A name that sqlparser does not know as a type, possibly in `pg_catalog`.
fn custom(name: &ObjectName, modifiers: &[String]) -> SqlResult<ColumnType> {
    let mut parts = Vec::with_capacity(name.0.len());
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => parts.push(super::names::identifier(ident)),
            ObjectNamePart::Function(_) => return Err(SqlError::unsupported("a function as a type name")),
        }
    }
    let quoted_char = matches!(name.0.last(), Some(ObjectNamePart::Identifier(ident)) if ident.quote_style.is_some());
    let base = parts.pop().expect("an object name has at least one part");
    let unknown = || {
        let shown = if parts.is_empty() { base.clone() } else { format!("{}.{base}", parts.join(".")) };
        SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{shown}\" does not exist"))
    };
    if !(parts.is_empty() || parts.len() == 1 && parts[0] == "pg_catalog") {
        return Err(unknown());
    }
    if let Some(ty) = by_name(&base, quoted_char || !parts.is_empty()) {
        return modified(ty, &base, modifiers);
    }
    if let Some(element) = base.strip_prefix('_').and_then(|element| by_name(element, true)).and_then(element_of) {
        return Ok(plain(SqlType::Array(element)));
    }
    const OTHERS: &[&str] = &[
        "json",
        "jsonb",
        "xml",
        "money",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "point",
        "line",
        "lseg",
        "box",
        "path",
        "polygon",
        "circle",
        "tsvector",
        "tsquery",
        "bit",
        "varbit",
        "time",
        "timetz",
        "xid",
        "xid8",
        "cid",
        "tid",
        "pg_lsn",
        "serial",
        "bigserial",
        "smallserial",
        "serial4",
        "serial8",
        "serial2",
        "int4range",
        "int8range",
        "numrange",
        "tsrange",
        "tstzrange",
        "daterange",
        "regprocedure",
        "regoper",
        "regoperator",
        "regnamespace",
        "regrole",
        "regconfig",
        "regdictionary",
        "regcollation",
        "oidvector",
        "int2vector",
        "pg_node_tree",
        "aclitem",
        "refcursor",
        "jsonpath",
        "record",
        "cstring",
        "anyarray",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
    ];
    if OTHERS.contains(&base.as_str()) { Err(SqlError::unsupported(format!("type {base}"))) } else { Err(unknown()) }
}

/// Whether a type name is `regnamespace`.
pub fn is_regnamespace(data_type: &DataType) -> bool {
    let DataType::Custom(name, modifiers) = data_type else { return false };
    modifiers.is_empty()
        && matches!(super::names::qualified(name), Ok((schema, name, _))
            if name == "regnamespace" && schema.as_deref().is_none_or(|schema| schema == "pg_catalog"))
}

/// `pg_type.typname` to type. `char` unquoted and unqualified is `char(1)`, otherwise the one-byte type.
pub fn by_name(name: &str, exact: bool) -> Option<SqlType> {
    let named = |ty: &SqlType| ty.typname() == name && *ty != SqlType::Record && (exact || *ty != SqlType::Char);
    SqlType::scalars().find(named)
}

fn modified(ty: SqlType, name: &str, modifiers: &[String]) -> SqlResult<ColumnType> {
    if modifiers.is_empty() {
        return Ok(plain(ty));
    }
    let numbers: Option<Vec<i64>> = modifiers.iter().map(|m| m.trim().parse().ok()).collect();
    let numbers =
        numbers.ok_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, "type modifiers must be simple constants or identifiers"))?;
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    match (ty, numbers.as_slice()) {
        (SqlType::Varchar | SqlType::Bpchar, [n]) => {
            characters(ty, name, Some(&CharacterLength::IntegerLength { length: unsigned(*n), unit: None }), None)
        }
        (SqlType::Timestamp | SqlType::TimestampTz, [n]) => timestamp(ty, Some(unsigned(*n))),
        (SqlType::Numeric, [p]) => numeric(&ExactNumberInfo::Precision(unsigned(*p))),
        (SqlType::Numeric, [p, s]) => numeric(&ExactNumberInfo::PrecisionAndScale(unsigned(*p), *s)),
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("type modifier is not allowed for type \"{name}\""))),
    }
}
