//! The value layer as the binder and evaluation call it, with the session's formats.

use std::cmp::Ordering;

use crate::error::SqlResult;
use crate::sql::context::SessionInfo;
use crate::types::{CastContext, ColumnType, Datum, SqlType};

/// Reads a value from text.
pub fn input(text: &str, to: ColumnType, session: &dyn SessionInfo) -> SqlResult<Datum> {
    crate::types::parse_text(to.ty, to.typmod, text, session.format())
}

/// A value's text.
pub fn output(datum: &Datum, ty: SqlType, session: &dyn SessionInfo) -> String {
    let mut out = Vec::new();
    crate::types::write_text(datum, ty, session.format(), &mut out);
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Casts a value.
pub fn cast(datum: &Datum, from: SqlType, to: ColumnType, context: CastContext, session: &dyn SessionInfo) -> SqlResult<Datum> {
    crate::types::cast(datum.clone(), from, to, context, session.format())
}

/// Compares two values of one family.
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    crate::types::compare(a, b)
}
