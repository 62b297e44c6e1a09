//! Casts between types, and the coercion to a type's modifier.

use super::{CastContext, ColumnType, Datum, SessionFormat, SqlType};
use crate::error::{SqlError, SqlResult};

/// In which contexts a cast from one type to another may be used: the weakest one that suffices, as `pg_cast` says, with the
/// automatic I/O casts to (assignment) and from (explicit) the string types. `None` if there is no cast.
pub fn cast_context(from: SqlType, to: SqlType) -> Option<CastContext> {
    let _ = (from, to);
    None
}

/// Whether the cast changes nothing in the datum when the target has no modifier (`varchar` to `text`): no need to evaluate it.
pub fn is_binary_coercible(from: SqlType, to: SqlType) -> bool {
    from == to
}

/// Casts a value. The context decides whether too long strings are cut (explicit) or refused with 22001.
pub fn cast(datum: Datum, from: SqlType, to: ColumnType, context: CastContext, format: &SessionFormat) -> SqlResult<Datum> {
    let _ = (datum, from, to, context, format);
    Err(SqlError::internal("casts are not written yet"))
}

/// Applies a modifier to a value that is of the type already: padding, length check, rounding.
pub fn coerce_to_typmod(datum: Datum, to: ColumnType, context: CastContext) -> SqlResult<Datum> {
    let _ = (to, context);
    Ok(datum)
}
