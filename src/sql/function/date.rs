//! Functions of dates and times.

use crate::error::{SqlError, SqlResult};
use crate::sql::context::EvalContext;
use crate::sql::function::kinds::*;
use crate::sql::function::{Entry, Function, Implementation, Kind};
use crate::types::{CastContext, ColumnType, Datum, SqlType, datetime};

type Context = fn(&[Datum], &EvalContext<'_>) -> SqlResult<Datum>;

fn field(args: &[Datum]) -> SqlResult<&str> {
    args[0].as_str().ok_or_else(|| SqlError::internal("a field is text"))
}

fn in_zone(context: &EvalContext<'_>, to: SqlType) -> SqlResult<Datum> {
    let now = Datum::TimestampTz(context.session.transaction_micros());
    crate::types::cast(now, SqlType::TimestampTz, ColumnType::new(to), CastContext::Explicit, context.session.format())
}

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    for name in ["now", "transaction_timestamp"] {
        let code: Context = |_, context| Ok(Datum::TimestampTz(context.session.transaction_micros()));
        Entry::function(name, &[], TIMESTAMPTZ, Implementation::Context(code)).stable().add(functions);
    }
    let code: Context = |_, context| Ok(Datum::TimestampTz(context.session.statement_micros()));
    Entry::function("statement_timestamp", &[], TIMESTAMPTZ, Implementation::Context(code)).stable().add(functions);
    let code: Context = |_, context| Ok(Datum::TimestampTz(context.session.clock_micros()));
    Entry::function("clock_timestamp", &[], TIMESTAMPTZ, Implementation::Context(code)).volatile().add(functions);
    let code: Context = |_, context| in_zone(context, SqlType::Date);
    Entry::function("current_date", &[], DATE, Implementation::Context(code)).stable().add(functions);
    let code: Context = |_, context| in_zone(context, SqlType::Timestamp);
    Entry::function("localtimestamp", &[], TIMESTAMP, Implementation::Context(code)).stable().add(functions);
    let extract: Context = |args, context| datetime::extract(field(args)?, &args[1], context.session.format());
    let date_part: Context = |args, context| datetime::date_part(field(args)?, &args[1], context.session.format());
    for args in [&[TEXT, DATE] as &[Kind], &[TEXT, TIMESTAMP], &[TEXT, TIMESTAMPTZ], &[TEXT, INTERVAL]] {
        Entry::function("extract", args, NUMERIC, Implementation::Context(extract)).stable().add(functions);
        Entry::function("date_part", args, FLOAT8, Implementation::Context(date_part)).stable().add(functions);
    }
    let date_trunc: Context = |args, context| datetime::date_trunc(field(args)?, &args[1], context.session.format());
    for (args, result) in [(&[TEXT, TIMESTAMP], TIMESTAMP), (&[TEXT, TIMESTAMPTZ], TIMESTAMPTZ), (&[TEXT, INTERVAL], INTERVAL)] {
        Entry::function("date_trunc", args, result, Implementation::Context(date_trunc)).stable().add(functions);
    }
    let age: Context = |args, context| datetime::age(&args[0], &args[1], context.session.format());
    for args in [&[TIMESTAMP, TIMESTAMP], &[TIMESTAMPTZ, TIMESTAMPTZ]] {
        Entry::function("age", args, INTERVAL, Implementation::Context(age)).stable().add(functions);
    }
    let zone = Implementation::Values(|args| datetime::at_time_zone(field(args)?, &args[1]));
    Entry::function("timezone", &[TEXT, TIMESTAMP], TIMESTAMPTZ, zone).add(functions);
    Entry::function("timezone", &[TEXT, TIMESTAMPTZ], TIMESTAMP, zone).add(functions);
}
