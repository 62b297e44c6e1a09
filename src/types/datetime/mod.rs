//! Dates, timestamps and intervals (date.c, timestamp.c, datetime.c).
//!
//! A date counts days, a timestamp microseconds, both from 2000-01-01 in the proleptic Gregorian calendar; the largest and
//! smallest integers are the infinities. An interval's months, days and microseconds do not convert into each other.

pub mod calendar;
mod fields;
mod interval;
mod interval_text;
mod ops;
mod output;
mod parse;
pub mod zone;

pub use fields::{date_part, date_trunc, extract};
pub use interval::{
    add_intervals, div_interval, justify_days, justify_hours, justify_interval, mul_interval, negate_interval, subtract_intervals,
};
pub use interval_text::{parse_interval, write_interval};
pub use ops::{
    age, at_time_zone, date_to_timestamp, date_to_timestamptz, round_to_precision, subtract_timestamps, timestamp_plus_interval,
    timestamp_to_date, timestamp_to_timestamptz, timestamptz_plus_interval, timestamptz_to_date, timestamptz_to_timestamp,
};
pub(crate) use ops::{date_difference, date_plus_days};
pub use output::{write_date, write_timestamp, write_timestamptz};
pub use parse::{parse_date, parse_timestamp, parse_timestamptz};
