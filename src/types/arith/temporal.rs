//! Operators on dates, timestamps and intervals.

use super::{BinaryOp, no_operator};
use crate::error::SqlResult;
use crate::types::datetime::{self, date_difference, date_plus_days};
use crate::types::{Datum, SessionFormat};

pub(super) fn binary(op: BinaryOp, left: &Datum, right: &Datum, format: &SessionFormat) -> SqlResult<Datum> {
    use BinaryOp::{Add, Div, Mul, Sub};
    use Datum::{Date, Float8, Int4, Interval, Timestamp, TimestampTz};
    Ok(match (left, op, right) {
        (Date(days), Add, Int4(shift)) | (Int4(shift), Add, Date(days)) => Date(date_plus_days(*days, i64::from(*shift))?),
        (Date(days), Sub, Int4(shift)) => Date(date_plus_days(*days, -i64::from(*shift))?),
        (Date(a), Sub, Date(b)) => Int4(date_difference(*a, *b)?),
        (Date(days), Add, Interval(span)) | (Interval(span), Add, Date(days)) => {
            Timestamp(datetime::timestamp_plus_interval(datetime::date_to_timestamp(*days)?, *span)?)
        }
        (Date(days), Sub, Interval(span)) => {
            let span = datetime::negate_interval(*span)?;
            Timestamp(datetime::timestamp_plus_interval(datetime::date_to_timestamp(*days)?, span)?)
        }
        (Timestamp(micros), Add, Interval(span)) | (Interval(span), Add, Timestamp(micros)) => {
            Timestamp(datetime::timestamp_plus_interval(*micros, *span)?)
        }
        (Timestamp(micros), Sub, Interval(span)) => {
            Timestamp(datetime::timestamp_plus_interval(*micros, datetime::negate_interval(*span)?)?)
        }
        (TimestampTz(micros), Add, Interval(span)) | (Interval(span), Add, TimestampTz(micros)) => {
            TimestampTz(datetime::timestamptz_plus_interval(*micros, *span, format)?)
        }
        (TimestampTz(micros), Sub, Interval(span)) => {
            TimestampTz(datetime::timestamptz_plus_interval(*micros, datetime::negate_interval(*span)?, format)?)
        }
        (Timestamp(a), Sub, Timestamp(b)) | (TimestampTz(a), Sub, TimestampTz(b)) => {
            Interval(datetime::justify_hours(datetime::subtract_timestamps(*a, *b)?)?)
        }
        (Interval(a), Add, Interval(b)) => Interval(datetime::add_intervals(*a, *b)?),
        (Interval(a), Sub, Interval(b)) => Interval(datetime::subtract_intervals(*a, *b)?),
        (Interval(span), Mul, Float8(factor)) | (Float8(factor), Mul, Interval(span)) => {
            Interval(datetime::mul_interval(*span, *factor)?)
        }
        (Interval(span), Div, Float8(divisor)) => Interval(datetime::div_interval(*span, *divisor)?),
        _ => return Err(no_operator(op, left, right)),
    })
}
