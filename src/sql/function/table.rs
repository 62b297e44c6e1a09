//! Set-returning functions.

use std::sync::Arc;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::function::kinds::*;
use crate::sql::function::resolve::{self, Failure, Signature};
use crate::sql::function::{Kind, TableFunctionRef};
use crate::types::{BinaryOp, CastContext, Datum, SessionFormat, SqlType};

/// How rows are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Series,
    Unnest,
}

/// A set-returning function; its rows have one column.
pub struct TableFunction {
    /// Name.
    pub name: &'static str,
    args: &'static [Kind],
    result: Kind,
    method: Method,
}

const fn entry(name: &'static str, args: &'static [Kind], result: Kind, method: Method) -> TableFunction {
    TableFunction { name, args, result, method }
}

const TABLE: &[TableFunction] = &[
    entry("generate_series", &[INT4, INT4], INT4, Method::Series),
    entry("generate_series", &[INT4, INT4, INT4], INT4, Method::Series),
    entry("generate_series", &[INT8, INT8], INT8, Method::Series),
    entry("generate_series", &[INT8, INT8, INT8], INT8, Method::Series),
    entry("generate_series", &[NUMERIC, NUMERIC], NUMERIC, Method::Series),
    entry("generate_series", &[NUMERIC, NUMERIC, NUMERIC], NUMERIC, Method::Series),
    entry("generate_series", &[TIMESTAMP, TIMESTAMP, INTERVAL], TIMESTAMP, Method::Series),
    entry("generate_series", &[TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL], TIMESTAMPTZ, Method::Series),
    entry("unnest", &[ARRAY], ELEMENT, Method::Unnest),
];

/// Whether a name is a set-returning function's.
pub fn is_table_function(name: &str) -> bool {
    TABLE.iter().any(|entry| entry.name == name)
}

/// Resolves a call.
pub fn resolve(name: &str, args: &[SqlType]) -> Result<(TableFunctionRef, Signature), Failure> {
    let mut matches: Vec<(TableFunctionRef, Signature)> = Vec::new();
    for (index, entry) in (0u16..).zip(TABLE).filter(|(_, entry)| entry.name == name) {
        let Some(signature) = resolve::instantiate(entry.args, false, entry.result, args) else { continue };
        let fits =
            signature.args.iter().zip(args).all(|(&to, &from)| super::coercion::can_coerce(from, to, CastContext::Implicit));
        if fits {
            matches.push((TableFunctionRef(index), signature));
        }
    }
    if let Some(exact) = matches.iter().find(|(_, signature)| signature.declared == args) {
        return Ok(exact.clone());
    }
    let signatures: Vec<_> = matches.iter().map(|(_, signature)| signature.declared.clone()).collect();
    resolve::select(&signatures, args).map(|index| matches[index].clone())
}

impl TableFunctionRef {
    /// The entry.
    pub fn get(self) -> &'static TableFunction {
        &TABLE[usize::from(self.0)]
    }

    /// The rows for arguments of the resolved types, made one at a time.
    pub fn rows(self, args: &[Datum], format: &SessionFormat) -> SqlResult<TableRows> {
        // All of them are strict: a NULL argument gives no row.
        if args.iter().any(Datum::is_null) {
            return Ok(TableRows(Rows::Done));
        }
        match self.get().method {
            Method::Unnest => match &args[0] {
                Datum::Array(items) => Ok(TableRows(Rows::Array { items: Arc::clone(items), next: 0 })),
                _ => Err(internal()),
            },
            Method::Series => series(args, format).map(TableRows),
        }
    }
}

fn internal() -> SqlError {
    SqlError::internal("a set-returning function was called with values of other types than it was resolved for")
}

/// The rows of a set-returning function.
#[derive(Clone, Debug)]
pub struct TableRows(Rows);

#[derive(Clone, Debug)]
enum Rows {
    Done,
    Integers { next: i64, stop: i64, step: i64, wide: bool },
    Values { next: Datum, stop: Datum, step: Datum, descending: bool, format: Box<SessionFormat> },
    Array { items: Arc<[Datum]>, next: usize },
}

fn series(args: &[Datum], format: &SessionFormat) -> SqlResult<Rows> {
    let zero = || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
    if let (Some(next), Some(stop)) = (args[0].as_i64(), args[1].as_i64()) {
        let step = args.get(2).map_or(Some(1), Datum::as_i64).ok_or_else(internal)?;
        if step == 0 {
            return Err(zero());
        }
        return Ok(Rows::Integers { next, stop, step, wide: matches!(args[0], Datum::Int8(_)) });
    }
    let one = || Datum::numeric(crate::types::Numeric::Finite { unscaled: 1.into(), scale: 0 });
    let step = args.get(2).cloned().unwrap_or_else(one);
    let nothing = match &step {
        Datum::Interval(_) => Datum::Interval(crate::types::Interval { months: 0, days: 0, micros: 0 }),
        _ => Datum::numeric(crate::types::Numeric::Finite { unscaled: 0.into(), scale: 0 }),
    };
    let direction = crate::types::compare(&step, &nothing);
    if direction.is_eq() {
        return Err(zero());
    }
    for (value, what) in [(&args[0], "start value"), (&args[1], "stop value"), (&step, "step size")] {
        if let Datum::Numeric(number) = value {
            let name = match &**number {
                crate::types::Numeric::Finite { .. } => continue,
                crate::types::Numeric::NaN => "NaN",
                _ => "infinity",
            };
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("{what} cannot be {name}")));
        }
    }
    let format = Box::new(format.clone());
    Ok(Rows::Values { next: args[0].clone(), stop: args[1].clone(), step, descending: direction.is_lt(), format })
}

impl Iterator for TableRows {
    type Item = SqlResult<Datum>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Rows::Done => None,
            Rows::Array { items, next } => {
                let item = items.get(*next)?.clone();
                *next += 1;
                Some(Ok(item))
            }
            Rows::Integers { next, stop, step, wide } => {
                let value = *next;
                if if *step > 0 { value > *stop } else { value < *stop } {
                    return None;
                }
                let datum =
                    if *wide { Datum::Int8(value) } else { Datum::Int4(i32::try_from(value).expect("between two integers")) };
                match value.checked_add(*step) {
                    Some(after) => *next = after,
                    None => self.0 = Rows::Done,
                }
                Some(Ok(datum))
            }
            Rows::Values { next, stop, step, descending, format } => {
                let ordering = crate::types::compare(next, stop);
                if if *descending { ordering.is_lt() } else { ordering.is_gt() } {
                    return None;
                }
                let value = next.clone();
                match crate::types::arith::binary(BinaryOp::Add, next, step, format) {
                    Ok(after) => *next = after,
                    Err(error) => {
                        self.0 = Rows::Done;
                        return Some(Err(error));
                    }
                }
                Some(Ok(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(args: &[Datum]) -> Vec<i64> {
        let types: Vec<SqlType> =
            args.iter().map(|arg| if matches!(arg, Datum::Int8(_)) { SqlType::Int8 } else { SqlType::Int4 }).collect();
        let (function, _) = resolve("generate_series", &types).expect("there is one for integers");
        let rows = function.rows(args, &SessionFormat::default()).expect("a series");
        rows.take(10).map(|row| row.expect("a value").as_i64().expect("an integer")).collect()
    }

    #[test]
    fn series_of_integers() {
        assert_eq!(integers(&[Datum::Int4(1), Datum::Int4(3)]), [1, 2, 3]);
        assert_eq!(integers(&[Datum::Int4(3), Datum::Int4(1), Datum::Int4(-2)]), [3, 1]);
        assert_eq!(integers(&[Datum::Int4(1), Datum::Int4(0)]), [0; 0]);
        assert_eq!(integers(&[Datum::Int4(1), Datum::Null]), [0; 0]);
        assert_eq!(integers(&[Datum::Int8(i64::MAX), Datum::Int8(i64::MAX)]), [i64::MAX]);
        assert_eq!(integers(&[Datum::Int4(i32::MAX), Datum::Int4(i32::MAX)]), [i64::from(i32::MAX)]);
    }
}
