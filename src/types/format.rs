//! What of a session the text formats depend on: `DateStyle`, `TimeZone`, `extra_float_digits`, `bytea_output`, the clock.

use jiff::tz::{Offset, TimeZone};

use crate::error::{SqlError, SqlResult, SqlState};

/// In which order an ambiguous `1/2/2003` is read, the second half of `DateStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// Month, day, year.
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

/// `bytea_output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteaOutput {
    /// `\x0a1b`
    Hex,
    /// Octal escapes for what is not printable ASCII.
    Escape,
}

/// The settings that text input and output depend on. Cheap to clone; one belongs to each session, and `now_micros` is set
/// when a transaction starts.
#[derive(Clone, Debug)]
pub struct SessionFormat {
    /// Reading order of dates. Output is always ISO.
    pub date_order: DateOrder,
    /// `extra_float_digits`: above 0 for the shortest text that reads back as the same float.
    pub extra_float_digits: i32,
    /// `bytea_output`.
    pub bytea_output: ByteaOutput,
    /// What `now`, `today`, `tomorrow` and `yesterday` refer to: the transaction's start, microseconds since 2000-01-01 UTC.
    pub now_micros: i64,
    zone: TimeZone,
    zone_name: String,
    /// Set for zones without transitions, which is the fast way.
    fixed_offset: Option<i32>,
}

impl Default for SessionFormat {
    fn default() -> Self {
        Self {
            date_order: DateOrder::Mdy,
            extra_float_digits: 1,
            bytea_output: ByteaOutput::Hex,
            now_micros: 0,
            zone: TimeZone::UTC,
            zone_name: "UTC".to_owned(),
            fixed_offset: Some(0),
        }
    }
}

fn invalid_setting(name: &str, value: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": \"{value}\""))
}

impl SessionFormat {
    /// `SET DateStyle`: any list of style and order words. Styles other than ISO are refused with 0A000.
    pub fn set_date_style(&mut self, value: &str) -> SqlResult<()> {
        let mut order = self.date_order;
        for word in value.split(',') {
            let word = word.trim().to_ascii_lowercase();
            match word.as_str() {
                "iso" | "default" => {}
                "mdy" | "us" | "noneuro" | "noneuropean" => order = DateOrder::Mdy,
                "dmy" | "euro" | "european" => order = DateOrder::Dmy,
                "ymd" => order = DateOrder::Ymd,
                "sql" | "postgres" | "postgresql" | "german" => {
                    return Err(SqlError::unsupported(format!("DateStyle {word}")));
                }
                _ => return Err(invalid_setting("DateStyle", value).detail(format!("Unrecognized key word: \"{word}\"."))),
            }
        }
        self.date_order = order;
        Ok(())
    }

    /// `SHOW DateStyle`.
    pub fn date_style(&self) -> &'static str {
        match self.date_order {
            DateOrder::Mdy => "ISO, MDY",
            DateOrder::Dmy => "ISO, DMY",
            DateOrder::Ymd => "ISO, YMD",
        }
    }

    /// `SET TimeZone`: a name of the time zone database in any case, a number of hours east of Greenwich, or a POSIX zone.
    pub fn set_time_zone(&mut self, value: &str) -> SqlResult<()> {
        let (zone, name) = parse_zone_setting(value).ok_or_else(|| invalid_setting("TimeZone", value))?;
        self.fixed_offset = zone.to_fixed_offset().ok().map(Offset::seconds);
        self.zone = zone;
        self.zone_name = name;
        Ok(())
    }

    /// `SHOW TimeZone`.
    pub fn time_zone(&self) -> &str {
        &self.zone_name
    }

    /// The zone, for [`super::datetime::zone`].
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Seconds east of UTC if the zone never changes.
    pub(super) fn fixed_offset(&self) -> Option<i32> {
        self.fixed_offset
    }

    /// `SET bytea_output`.
    pub fn set_bytea_output(&mut self, value: &str) -> SqlResult<()> {
        self.bytea_output = match value.to_ascii_lowercase().as_str() {
            "hex" => ByteaOutput::Hex,
            "escape" => ByteaOutput::Escape,
            _ => return Err(invalid_setting("bytea_output", value).hint("Available values: escape, hex.")),
        };
        Ok(())
    }

    /// `SET extra_float_digits`.
    pub fn set_extra_float_digits(&mut self, value: i32) -> SqlResult<()> {
        if !(-15..=3).contains(&value) {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("{value} is outside the valid range for parameter \"extra_float_digits\" (-15 .. 3)"),
            ));
        }
        self.extra_float_digits = value;
        Ok(())
    }
}

/// A zone of the database by its name, in any case.
pub(super) fn named_zone(name: &str) -> Option<TimeZone> {
    let zone = jiff::tz::db().get(name).ok()?;
    Some(zone)
}

/// The zone and the name that SHOW prints for it.
fn parse_zone_setting(value: &str) -> Option<(TimeZone, String)> {
    let value = value.trim();
    if let Ok(hours) = value.parse::<f64>() {
        return numeric_zone(hours);
    }
    if value.eq_ignore_ascii_case("utc") {
        return Some((TimeZone::UTC, "UTC".to_owned()));
    }
    if let Some(zone) = named_zone(value) {
        let name = zone.iana_name().unwrap_or(value).to_owned();
        return Some((zone, name));
    }
    TimeZone::posix(value).ok().map(|zone| (zone, value.to_owned()))
}

/// `SET TIME ZONE 5.5`: hours east. The name is a POSIX zone, whose sign counts westward (variable.c, check_timezone).
fn numeric_zone(hours: f64) -> Option<(TimeZone, String)> {
    if !hours.is_finite() || hours.abs() > 24.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most a day of seconds")]
    let seconds = (hours * 3600.0) as i32;
    let zone = TimeZone::fixed(Offset::from_seconds(seconds).ok()?);
    let part = |sign: char| {
        let total = seconds.unsigned_abs();
        let mut text = format!("{sign}{:02}", total / 3600);
        if !total.is_multiple_of(3600) {
            text += &format!(":{:02}", total / 60 % 60);
        }
        if !total.is_multiple_of(60) {
            text += &format!(":{:02}", total % 60);
        }
        text
    };
    let (east, west) = if seconds < 0 { ('-', '+') } else { ('+', '-') };
    Some((zone, format!("<{}>{}", part(east), part(west))))
}
