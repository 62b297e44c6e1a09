//! Which types become which in expressions (documentation, chapter 10); the casts themselves are [`crate::types::cast`]'s.

use crate::types::{CastContext, SqlType, cast_context};

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
    cast_context(from, to).is_some_and(|needed| context >= needed)
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
        } else if ty.category() != chosen.category() {
            return Err((chosen, ty));
        } else if !chosen.preferred()
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
