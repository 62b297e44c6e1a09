//! Dates, timestamps and intervals (date.c, timestamp.c, datetime.c).

use super::{Datum, Interval, SessionFormat};
use crate::error::{SqlError, SqlResult};

fn pending<T>() -> SqlResult<T> {
    Err(SqlError::internal("date functions are not written yet"))
}

/// `extract(field from value)`: a numeric; `value` is a date, timestamp, timestamptz or interval. 22023 for an unknown field,
/// 0A000 for one the type has not.
pub fn extract(field: &str, value: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    let _ = (field, value, format);
    pending()
}

/// `date_part(field, value)`: [`extract`] as double precision.
pub fn date_part(field: &str, value: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    let _ = (field, value, format);
    pending()
}

/// `date_trunc(field, value)` for timestamp, timestamptz and interval.
pub fn date_trunc(field: &str, value: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    let _ = (field, value, format);
    pending()
}

/// `age(a, b)` of two timestamps or two timestamptzs: years, months, days and the rest.
pub fn age(a: &Datum, b: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    let _ = (a, b, format);
    pending()
}

/// `value AT TIME ZONE zone`, `timezone(zone, value)`.
pub fn at_time_zone(zone: &str, value: &Datum) -> SqlResult<Datum> {
    let _ = (zone, value);
    pending()
}

/// `make_interval` and kin build on this: an interval from its three fields.
pub fn interval(months: i32, days: i32, micros: i64) -> Interval {
    Interval { months, days, micros }
}
