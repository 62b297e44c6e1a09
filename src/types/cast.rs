//! Casts between types, and the coercion to a type's modifier.

use std::sync::Arc;

use super::compare::trim_blanks;
use super::text::truncate_name;
use super::{CastContext, ColumnType, Datum, ElementType, Numeric, SessionFormat, SqlType, datetime, parse_text, write_text};
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};

/// In which contexts a cast from one type to another may be used: the weakest one that suffices, as `pg_cast` says, with the
/// automatic I/O casts to (assignment) and from (explicit) the string types. `None` if there is no cast. A type to itself,
/// and `unknown` to anything, is implicit.
pub fn cast_context(from: SqlType, to: SqlType) -> Option<CastContext> {
    use CastContext::{Assignment, Explicit, Implicit};
    if from == to || from == SqlType::Unknown {
        return Some(Implicit);
    }
    if let Some(context) = catalog_cast(from, to) {
        return Some(context);
    }
    if let (SqlType::Array(from), SqlType::Array(to)) = (from, to) {
        // Element casts, except that arrays have no implicit I/O conversions (find_coercion_pathway).
        return cast_context(from.scalar(), to.scalar());
    }
    let pseudo = |ty| matches!(ty, SqlType::Void | SqlType::Record);
    if pseudo(to) || (pseudo(from) && from != SqlType::Record) {
        return None;
    }
    match (from.category() == 'S', to.category() == 'S') {
        // The I/O casts (documentation of CREATE CAST).
        (_, true) => Some(Assignment),
        (true, false) => Some(Explicit),
        (false, false) => None,
    }
}

/// The rows of `pg_cast` among these types.
fn catalog_cast(from: SqlType, to: SqlType) -> Option<CastContext> {
    use CastContext::{Assignment, Explicit, Implicit};
    use SqlType::*;
    Some(match (from, to) {
        (Int2, Int4 | Int8 | Float4 | Float8 | Numeric) => Implicit,
        (Int4, Int8 | Float4 | Float8 | Numeric) => Implicit,
        (Int8, Float4 | Float8 | Numeric) => Implicit,
        (Numeric, Float4 | Float8) | (Float4, Float8) => Implicit,
        (Int4 | Int8 | Float4 | Float8 | Numeric, Int2) => Assignment,
        (Int8 | Float4 | Float8 | Numeric, Int4) => Assignment,
        (Float4 | Float8 | Numeric, Int8) => Assignment,
        (Float4 | Float8, Numeric) | (Float8, Float4) => Assignment,
        (Int2 | Int4 | Int8, Oid | Regclass | Regtype | Regproc) => Implicit,
        (Oid, Regclass | Regtype | Regproc) | (Regclass | Regtype | Regproc, Oid) => Implicit,
        (Oid | Regclass | Regtype | Regproc, Int4 | Int8) => Assignment,
        (Text | Varchar, Regclass) => Implicit,
        (Int4, Bool | Char) | (Bool | Char, Int4) => Explicit,
        (Text, Varchar | Bpchar | Name) | (Varchar, Text | Bpchar | Name) | (Bpchar, Text | Varchar | Name) => Implicit,
        (Name | Char, Text) => Implicit,
        (Name | Char | Bool, Varchar | Bpchar) | (Bool, Text) | (Text | Varchar | Bpchar, Char) => Assignment,
        (Date, Timestamp | TimestampTz) | (Timestamp, TimestampTz) => Implicit,
        (Timestamp | TimestampTz, Date) | (TimestampTz, Timestamp) => Assignment,
        _ => return None,
    })
}

/// Whether the cast changes nothing in the datum when the target has no modifier (`varchar` to `text`): no need to evaluate it.
pub fn is_binary_coercible(from: SqlType, to: SqlType) -> bool {
    use SqlType::*;
    from == to
        || matches!((from, to), (Text, Varchar | Bpchar) | (Varchar, Text | Bpchar) | (Unknown, Text | Varchar | Bpchar))
        || matches!((from, to), (Oid | Regclass | Regtype | Regproc, Oid | Regclass | Regtype | Regproc))
}

fn out_of_range(ty: SqlType) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{} out of range", ty.name()))
}

/// Casts a value. The context decides whether too long strings are cut (explicit) or refused with 22001. NULL stays NULL.
/// 42846 if there is no such cast; the binder asks [`cast_context`] first.
pub fn cast(datum: Datum, from: SqlType, to: ColumnType, context: CastContext, format: &SessionFormat) -> SqlResult<Datum> {
    if datum.is_null() {
        return Ok(Datum::Null);
    }
    let value = if is_binary_coercible(from, to.ty) { datum } else { convert(datum, from, to, format)? };
    coerce_to_typmod(value, to, context)
}

fn convert(datum: Datum, from: SqlType, to: ColumnType, format: &SessionFormat) -> SqlResult<Datum> {
    use SqlType::*;
    Ok(match (datum, to.ty) {
        (datum @ (Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_)), Bool) => Datum::Bool(datum.as_i64() != Some(0)),
        (Datum::Int4(value), Char) => Datum::Char(
            i8::try_from(value)
                .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "\"char\" out of range"))?
                .cast_unsigned(),
        ),
        (Datum::Char(byte), Int4) => Datum::Int4(i32::from(byte.cast_signed())),
        (Datum::Bool(value), Int4) => Datum::Int4(i32::from(value)),
        (Datum::Bool(value), Text | Varchar | Bpchar) => Datum::text(if value { "true" } else { "false" }),
        (Datum::Oid(oid), Int4) => Datum::Int4(oid.0.cast_signed()),
        (Datum::Oid(oid), Int8) => Datum::Int8(i64::from(oid.0)),
        (datum @ (Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_)), _) if to.ty.category() == 'N' => {
            integer_to_number(datum, to.ty)?
        }
        (Datum::Float4(value), Float8) => Datum::Float8(f64::from(value)),
        (Datum::Float4(value), Numeric) => Datum::numeric(super::Numeric::from_f32(value)),
        (Datum::Float8(value), Numeric) => Datum::numeric(super::Numeric::from_f64(value)),
        (Datum::Float8(value), Float4) => Datum::Float4(narrow(value)?),
        (Datum::Float4(value), Int2 | Int4 | Int8) => float_to_integer(f64::from(value), to.ty)?,
        (Datum::Float8(value), Int2 | Int4 | Int8) => float_to_integer(value, to.ty)?,
        (Datum::Numeric(value), Int2 | Int4 | Int8 | Float4 | Float8) => numeric_to_number(&value, to.ty)?,
        (Datum::Date(days), Timestamp) => Datum::Timestamp(datetime::date_to_timestamp(days)?),
        (Datum::Date(days), TimestampTz) => Datum::TimestampTz(datetime::date_to_timestamptz(days, format)?),
        (Datum::Timestamp(micros), Date) => Datum::Date(datetime::timestamp_to_date(micros)?),
        (Datum::Timestamp(micros), TimestampTz) => Datum::TimestampTz(datetime::timestamp_to_timestamptz(micros, format)?),
        (Datum::TimestampTz(micros), Date) => Datum::Date(datetime::timestamptz_to_date(micros, format)?),
        (Datum::TimestampTz(micros), Timestamp) => Datum::Timestamp(datetime::timestamptz_to_timestamp(micros, format)?),
        (Datum::Text(text), _) => from_string(&text, from, to, format)?,
        (Datum::Array(items), Array(element)) => cast_elements(&items, from, element, to.typmod, format)?,
        (datum, _) if to.ty.category() == 'S' => through_text(&datum, from, to, format)?,
        _ => {
            return Err(SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type {} to {}", from.name(), to.ty.name())));
        }
    })
}

fn cast_elements(items: &[Datum], from: SqlType, to: ElementType, typmod: i32, format: &SessionFormat) -> SqlResult<Datum> {
    let element = from.element().unwrap_or(SqlType::Unknown);
    let to = ColumnType { ty: to.scalar(), typmod };
    let cast_one = |item: &Datum| cast(item.clone(), element, to, CastContext::Explicit, format);
    Ok(Datum::Array(items.iter().map(cast_one).collect::<SqlResult<Arc<[Datum]>>>()?))
}

/// The output function, then the string type's rules.
fn through_text(datum: &Datum, from: SqlType, to: ColumnType, format: &SessionFormat) -> SqlResult<Datum> {
    let mut out = Vec::new();
    write_text(datum, from, format, &mut out);
    let text = String::from_utf8(out).map_err(|_| SqlError::internal("an output function wrote invalid UTF-8"))?;
    Ok(if to.ty == SqlType::Name { Datum::text(truncate_name(&text)) } else { Datum::Text(Arc::from(text)) })
}

fn from_string(text: &Arc<str>, from: SqlType, to: ColumnType, format: &SessionFormat) -> SqlResult<Datum> {
    // The blanks that pad a char(n) mean nothing elsewhere.
    let content = if from == SqlType::Bpchar { trim_blanks(text) } else { text };
    Ok(match to.ty {
        SqlType::Text | SqlType::Varchar | SqlType::Unknown if content.len() < text.len() => Datum::text(content),
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Unknown => Datum::Text(text.clone()),
        SqlType::Name => Datum::text(truncate_name(content)),
        SqlType::Char => Datum::Char(text.as_bytes().first().copied().unwrap_or(0)),
        _ => parse_text(to.ty, -1, text, format)?,
    })
}

fn integer_to_number(datum: Datum, to: SqlType) -> SqlResult<Datum> {
    let value = datum.as_i64().expect("the caller matched integers");
    #[expect(clippy::cast_precision_loss, reason = "the nearest float is what the cast gives")]
    Ok(match to {
        SqlType::Int2 => Datum::Int2(i16::try_from(value).map_err(|_| out_of_range(to))?),
        SqlType::Int4 => Datum::Int4(i32::try_from(value).map_err(|_| out_of_range(to))?),
        SqlType::Int8 => Datum::Int8(value),
        SqlType::Float4 => Datum::Float4(value as f32),
        SqlType::Float8 => Datum::Float8(value as f64),
        SqlType::Numeric => Datum::numeric(Numeric::from(value)),
        // Of narrower integers the bits are taken, bigint must fit.
        _ => Datum::Oid(Oid(match datum {
            Datum::Int8(value) => {
                u32::try_from(value).map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "OID out of range"))?
            }
            #[expect(clippy::cast_possible_truncation, reason = "a 32-bit value")]
            _ => (value as i32).cast_unsigned(),
        })),
    })
}

/// double → real. 22003 when it overflows or vanishes.
pub(super) fn narrow(value: f64) -> SqlResult<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "checked below")]
    let narrow = value as f32;
    let range = |what| Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {what}")));
    if narrow.is_infinite() && value.is_finite() {
        return range("overflow");
    }
    if narrow == 0.0 && value != 0.0 {
        return range("underflow");
    }
    Ok(narrow)
}

/// Rounds half to even, as rint does.
fn float_to_integer(value: f64, to: SqlType) -> SqlResult<Datum> {
    let rounded = value.round_ties_even();
    // Exact as doubles: ±2^63 and so on.
    let fits = |limit: f64| rounded >= -limit && rounded < limit;
    #[expect(clippy::cast_possible_truncation, reason = "checked")]
    Ok(match to {
        SqlType::Int2 if fits(32_768.0) => Datum::Int2(rounded as i16),
        SqlType::Int4 if fits(2_147_483_648.0) => Datum::Int4(rounded as i32),
        SqlType::Int8 if fits(9_223_372_036_854_775_808.0) => Datum::Int8(rounded as i64),
        _ => return Err(out_of_range(to)),
    })
}

fn numeric_to_number(value: &Numeric, to: SqlType) -> SqlResult<Datum> {
    Ok(match to {
        SqlType::Int2 => Datum::Int2(i16::try_from(value.to_integer("smallint")?).map_err(|_| out_of_range(to))?),
        SqlType::Int4 => Datum::Int4(i32::try_from(value.to_integer("integer")?).map_err(|_| out_of_range(to))?),
        SqlType::Int8 => Datum::Int8(value.to_integer("bigint")?),
        // Through text, as PostgreSQL does it, so that the nearest float results and the error is the input function's.
        _ => parse_text(to, -1, &value.to_string(), &SessionFormat::default())?,
    })
}

/// Applies a modifier to a value that is of the type already: padding, length check, rounding.
pub fn coerce_to_typmod(datum: Datum, to: ColumnType, context: CastContext) -> SqlResult<Datum> {
    if to.typmod < 0 {
        return Ok(datum);
    }
    Ok(match datum {
        Datum::Text(text) => match to.length_limit() {
            Some(limit) if to.ty == SqlType::Bpchar => Datum::Text(pad_or_cut(text, limit, to, context)?),
            Some(limit) => Datum::Text(cut(text, limit, to, context)?),
            None => Datum::Text(text),
        },
        Datum::Numeric(value) => match to.precision_and_scale() {
            Some((precision, scale)) => Datum::numeric(value.apply_typmod(precision, scale)?),
            None => Datum::Numeric(value),
        },
        Datum::Timestamp(micros) => Datum::Timestamp(datetime::round_to_precision(micros, to.typmod.cast_unsigned())?),
        Datum::TimestampTz(micros) => Datum::TimestampTz(datetime::round_to_precision(micros, to.typmod.cast_unsigned())?),
        other => other,
    })
}

/// Refuses, or in an explicit cast cuts, what is longer than `limit` characters; blanks beyond it are cut always.
fn cut(text: Arc<str>, limit: usize, to: ColumnType, context: CastContext) -> SqlResult<Arc<str>> {
    if text.len() <= limit {
        return Ok(text);
    }
    let Some((end, _)) = text.char_indices().nth(limit) else { return Ok(text) };
    if context != CastContext::Explicit && !text[end..].bytes().all(|byte| byte == b' ') {
        return Err(SqlError::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, format!("value too long for type {to}")));
    }
    Ok(Arc::from(&text[..end]))
}

fn pad_or_cut(text: Arc<str>, limit: usize, to: ColumnType, context: CastContext) -> SqlResult<Arc<str>> {
    let characters = if text.is_ascii() { text.len() } else { text.chars().count() };
    match characters.cmp(&limit) {
        std::cmp::Ordering::Equal => Ok(text),
        std::cmp::Ordering::Greater => cut(text, limit, to, context),
        std::cmp::Ordering::Less => {
            let mut padded = String::with_capacity(text.len() + limit - characters);
            padded.push_str(&text);
            padded.extend(std::iter::repeat_n(' ', limit - characters));
            Ok(Arc::from(padded))
        }
    }
}
