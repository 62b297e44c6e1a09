//! Text cut into fields, each understood by its shape and by what came before (DecodeDateTime, DecodeNumber).

use super::{Fault, Parsed, fraction_micros, integer, today};
use crate::types::datetime::calendar::{
    Civil, DAY_MICROS, HOUR_MICROS, JULIAN_2000, UNIX_EPOCH_SECONDS, civil_from_days, days_from_civil, days_in_month,
};
use crate::types::datetime::zone;
use crate::types::format::{DateOrder, SessionFormat};

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

fn month_name(word: &str) -> Option<u32> {
    if word == "sept" {
        return Some(9);
    }
    let index = MONTHS.iter().position(|month| *month == word || (word.len() == 3 && month.starts_with(word)))?;
    u32::try_from(index + 1).ok()
}

fn is_weekday(word: &str) -> bool {
    let short = matches!(word, "tues" | "wednes" | "weds" | "thur" | "thurs");
    short || WEEKDAYS.iter().any(|day| *day == word || (word.len() == 3 && day.starts_with(word)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meridian {
    Am,
    Pm,
}

/// The fields found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    year: Option<(i64, bool)>,
    month: Option<i64>,
    month_named: bool,
    day: Option<i64>,
    day_of_year: Option<i64>,
    julian: Option<i64>,
    time: Option<i64>,
    offset: Option<i32>,
    zone: Option<jiff::tz::TimeZone>,
    before_christ: bool,
    era_seen: bool,
    meridian: Option<Meridian>,
    special: Option<Special>,
    iso_time_follows: bool,
}

#[derive(Clone, Copy, Debug)]
enum Special {
    Now,
    Today(i64),
    Epoch,
    Infinity(bool),
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The length of the longest prefix of bytes that satisfy the test.
fn span(bytes: &[u8], test: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !test(*byte)).unwrap_or(bytes.len())
}

impl Fields {
    pub(super) fn read(text: &str, format: &SessionFormat) -> Result<Self, Fault> {
        // PostgreSQL's MAXDATELEN bounds what can be a date; it also bounds the work here.
        if text.len() > 128 || !text.is_ascii() {
            return Err(Fault::Format);
        }
        let lower = text.to_ascii_lowercase();
        let mut fields = Fields::default();
        let mut rest = lower.as_str();
        while let Some(first) = rest.bytes().next() {
            let bytes = rest.as_bytes();
            let used = match first {
                _ if is_space(first) || matches!(first, b',' | b'(' | b')') => 1,
                b'0'..=b'9' | b'.' => fields.number_token(rest, format)?,
                b'a'..=b'z' => fields.word_token(rest, format)?,
                b'+' | b'-' => {
                    let blanks = span(&bytes[1..], is_space);
                    match bytes.get(1 + blanks) {
                        Some(b'0'..=b'9') => fields.offset_token(rest)?,
                        Some(b'i') => {
                            let word = span(&bytes[1 + blanks..], |b| b.is_ascii_alphabetic());
                            if rest[1 + blanks..][..word] != *"infinity" {
                                return Err(Fault::Format);
                            }
                            fields.set_special(Special::Infinity(first == b'+'))?;
                            1 + blanks + word
                        }
                        _ => return Err(Fault::Format),
                    }
                }
                _ => return Err(Fault::Format),
            };
            rest = &rest[used..];
        }
        Ok(fields)
    }

    fn set_special(&mut self, special: Special) -> Result<(), Fault> {
        if self.special.replace(special).is_some() { Err(Fault::Format) } else { Ok(()) }
    }

    fn has_date(&self) -> bool {
        self.julian.is_some()
            || (self.year.is_some() && ((self.month.is_some() && self.day.is_some()) || self.day_of_year.is_some()))
    }

    /// A token that starts with a digit or a point.
    fn number_token(&mut self, rest: &str, format: &SessionFormat) -> Result<usize, Fault> {
        let bytes = rest.as_bytes();
        let digits = span(bytes, |b| b.is_ascii_digit());
        match bytes.get(digits) {
            Some(b':') => {
                let length = span(bytes, |b| b.is_ascii_digit() || matches!(b, b':' | b'.'));
                self.set_time(&rest[..length])?;
                Ok(length)
            }
            Some(separator @ (b'-' | b'/' | b'.')) if !self.has_date() && digits > 0 => {
                self.date_token(rest, digits, *separator, format)
            }
            Some(b'.') => {
                let length = digits + 1 + span(&bytes[digits + 1..], |b| b.is_ascii_digit());
                self.compact_time(&rest[..digits], &rest[digits..length])?;
                Ok(length)
            }
            _ => {
                self.plain_number(&rest[..digits], format)?;
                Ok(digits)
            }
        }
    }

    /// `2024-01-02`, `1/2/2024`, `02-Jan-2024`, `2024.123` (day of the year).
    fn date_token(&mut self, rest: &str, digits: usize, separator: u8, format: &SessionFormat) -> Result<usize, Fault> {
        let bytes = rest.as_bytes();
        let mut pieces = vec![&rest[..digits]];
        let mut at = digits;
        while bytes.get(at) == Some(&separator) && pieces.len() < 3 {
            let piece = span(&bytes[at + 1..], |b| b.is_ascii_digit());
            let word = if piece == 0 { span(&bytes[at + 1..], |b| b.is_ascii_alphabetic()) } else { piece };
            if word == 0 {
                return Err(Fault::Format);
            }
            pieces.push(&rest[at + 1..at + 1 + word]);
            at += 1 + word;
        }
        match pieces[..] {
            [year, day] if separator == b'.' && year.len() >= 4 && day.len() == 3 => {
                self.year = Some((integer(year)?, false));
                self.day_of_year = Some(integer(day)?);
            }
            // hhmmss.ffffff or yyyymmdd.ffffff
            [whole, fraction] if separator == b'.' => self.compact_time(whole, &format!(".{fraction}"))?,
            [_, _, _] | [_, _] => {
                for piece in pieces.iter().filter(|piece| !piece.starts_with(|c: char| c.is_ascii_digit())) {
                    if self.month.replace(i64::from(month_name(piece).ok_or(Fault::Format)?)).is_some() {
                        return Err(Fault::Format);
                    }
                    self.month_named = true;
                }
                for piece in pieces.iter().filter(|piece| piece.starts_with(|c: char| c.is_ascii_digit())) {
                    self.date_number(piece, format)?;
                }
            }
            _ => return Err(Fault::Format),
        }
        Ok(at)
    }

    /// A number by itself: a compact date or time, or one field of a date.
    fn plain_number(&mut self, digits: &str, format: &SessionFormat) -> Result<(), Fault> {
        if self.iso_time_follows || (self.has_date() && self.time.is_none() && matches!(digits.len(), 4 | 6)) {
            return self.compact_time(digits, "");
        }
        let nothing_yet = self.year.is_none() && self.month.is_none() && self.day.is_none();
        if nothing_yet && digits.len() >= 6 {
            let year_digits = digits.len() - 4;
            self.year = Some((integer(&digits[..year_digits])?, year_digits == 2));
            self.month = Some(integer(&digits[year_digits..year_digits + 2])?);
            self.day = Some(integer(&digits[year_digits + 2..])?);
            return Ok(());
        }
        self.date_number(digits, format)
    }

    /// One number of a date, understood by what is known already (DecodeNumber).
    fn date_number(&mut self, digits: &str, format: &SessionFormat) -> Result<(), Fault> {
        let value = integer(digits)?;
        let long = digits.len() >= 3;
        let year = Some((value, digits.len() <= 2));
        match (self.year.is_some(), self.month.is_some(), self.day.is_some()) {
            (false, false, false) if long || format.date_order == DateOrder::Ymd => self.year = year,
            (false, false, false) if format.date_order == DateOrder::Dmy => self.day = Some(value),
            (false, false, false) => self.month = Some(value),
            (true, false, false) if digits.len() == 3 => self.day_of_year = Some(value),
            (true, false, _) => self.month = Some(value),
            (true, true, false) => self.set_day_after_year(value, digits)?,
            (false, true, false) if self.month_named && (long || format.date_order == DateOrder::Ymd) => self.year = year,
            (false, true, false) => self.day = Some(value),
            (false, false, true) => self.month = Some(value),
            (false, true, true) => self.year = year,
            (true, true, true) => return Err(Fault::Format),
        }
        Ok(())
    }

    /// `01 Jan 24` may have taken the day for the year: a longer number now is the year.
    fn set_day_after_year(&mut self, value: i64, digits: &str) -> Result<(), Fault> {
        match self.year {
            Some((earlier, true)) if self.month_named && digits.len() >= 3 => {
                self.day = Some(earlier);
                self.year = Some((value, false));
            }
            _ if digits.len() > 2 => return Err(Fault::Format),
            _ => self.day = Some(value),
        }
        Ok(())
    }

    /// `101112`, `1011`, `101112.5` (DecodeNumberField).
    fn compact_time(&mut self, digits: &str, fraction: &str) -> Result<(), Fault> {
        if digits.len() == 8 && !self.has_date() && fraction.len() <= 1 {
            self.year = Some((integer(&digits[..4])?, false));
            self.month = Some(integer(&digits[4..6])?);
            self.day = Some(integer(&digits[6..])?);
            return Ok(());
        }
        if self.time.is_some() || !self.has_date() {
            return Err(Fault::Format);
        }
        self.iso_time_follows = false;
        match digits.len() {
            6 => self.set_time(&format!("{}:{}:{}{fraction}", &digits[..2], &digits[2..4], &digits[4..])),
            4 if fraction.is_empty() => self.set_time(&format!("{}:{}", &digits[..2], &digits[2..])),
            2 if fraction.is_empty() => self.set_time(&format!("{digits}:00")),
            _ => Err(Fault::Format),
        }
    }

    /// `10:11`, `10:11:12.5`
    fn set_time(&mut self, text: &str) -> Result<(), Fault> {
        self.iso_time_follows = false;
        if self.time.is_some() {
            return Err(Fault::Format);
        }
        let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut parts = clock.split(':');
        let mut next = || parts.next().map(|part| if part.is_empty() { Err(Fault::Format) } else { integer(part) });
        let (hour, minute, second) =
            (next().ok_or(Fault::Format)??, next().ok_or(Fault::Format)??, next().transpose()?.unwrap_or(0));
        if parts.next().is_some() || (text.contains('.') && clock.matches(':').count() < 2) {
            return Err(Fault::Format);
        }
        if minute > 59 || second > 60 || hour > 24 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(if fraction.bytes().all(|b| b.is_ascii_digit()) { Fault::Range } else { Fault::Format });
        }
        let micros = (hour * 3600 + minute * 60 + second) * 1_000_000 + fraction_micros(fraction);
        if micros > DAY_MICROS {
            return Err(Fault::Range);
        }
        self.time = Some(micros);
        Ok(())
    }

    /// `+02`, `-0330`, `+05:30:15`
    fn offset_token(&mut self, rest: &str) -> Result<usize, Fault> {
        let bytes = rest.as_bytes();
        let blanks = span(&bytes[1..], is_space);
        let start = 1 + blanks;
        let length = span(&bytes[start..], |b| b.is_ascii_digit() || b == b':');
        // A sign belongs to a zone only after a time (or a zone name such as GMT+2).
        if self.time.is_none() && !self.has_date() {
            return Err(Fault::Format);
        }
        let text = &rest[start..start + length];
        let mut parts = text.split(':');
        let first = parts.next().unwrap_or("");
        let (hours, minutes) = if text.contains(':') || first.len() <= 2 {
            (integer(first)?, parts.next().map_or(Ok(0), integer)?)
        } else if first.len() <= 6 {
            let split = first.len() - 2;
            if first.len() > 4 {
                (integer(&first[..split - 2])?, integer(&first[split - 2..split])?)
            } else {
                (integer(&first[..split])?, integer(&first[split..])?)
            }
        } else {
            return Err(Fault::Format);
        };
        let seconds = if !text.contains(':') && first.len() > 4 {
            integer(&first[first.len() - 2..])?
        } else {
            parts.next().map_or(Ok(0), integer)?
        };
        if parts.next().is_some() {
            return Err(Fault::Format);
        }
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(Fault::ZoneRange);
        }
        let total = i32::try_from(hours * 3600 + minutes * 60 + seconds).map_err(|_| Fault::ZoneRange)?;
        if self.offset.is_some() {
            return Err(Fault::Format);
        }
        self.offset = Some(if bytes[0] == b'-' { -total } else { total });
        Ok(start + length)
    }

    /// A token that starts with a letter.
    fn word_token(&mut self, rest: &str, format: &SessionFormat) -> Result<usize, Fault> {
        let bytes = rest.as_bytes();
        let length = span(bytes, |b| b.is_ascii_alphabetic());
        let word = &rest[..length];
        let after = bytes.get(length).copied();
        if let Some(month) = month_name(word) {
            self.set_named_month(i64::from(month))?;
            // "Jan-02-2024" and "Jan/2/2024": the separators mean nothing more.
            return Ok(length + usize::from(matches!(after, Some(b'-' | b'/' | b'.'))));
        }
        match word {
            "t" if self.has_date() && self.time.is_none() && after.is_some_and(|b| b.is_ascii_digit()) => {
                self.iso_time_follows = true;
            }
            "j" | "jd" | "julian" if after.is_some_and(|b| b.is_ascii_digit()) => {
                let digits = span(&bytes[length..], |b| b.is_ascii_digit());
                self.julian = Some(integer(&rest[length..length + digits])?);
                return Ok(length + digits);
            }
            "bc" | "ad" => {
                if self.era_seen {
                    return Err(Fault::Format);
                }
                (self.era_seen, self.before_christ) = (true, word == "bc");
            }
            "am" | "pm" => {
                let meridian = if word == "am" { Meridian::Am } else { Meridian::Pm };
                if self.meridian.replace(meridian).is_some() {
                    return Err(Fault::Format);
                }
            }
            "now" => self.set_special(Special::Now)?,
            "today" => self.set_special(Special::Today(0))?,
            "tomorrow" => self.set_special(Special::Today(1))?,
            "yesterday" => self.set_special(Special::Today(-1))?,
            "epoch" => self.set_special(Special::Epoch)?,
            "infinity" | "inf" => self.set_special(Special::Infinity(true))?,
            "allballs" => self.set_time("00:00:00")?,
            "at" | "on" => {}
            _ if is_weekday(word) => {}
            _ => return self.zone_token(rest, format),
        }
        Ok(length)
    }

    fn set_named_month(&mut self, month: i64) -> Result<(), Fault> {
        match (self.month, self.day) {
            (None, _) => {}
            // "2 Jan 2024": the number before was the day.
            (Some(earlier), None) if !self.month_named => self.day = Some(earlier),
            _ => return Err(Fault::Format),
        }
        (self.month, self.month_named) = (Some(month), true);
        Ok(())
    }

    fn zone_token(&mut self, rest: &str, _format: &SessionFormat) -> Result<usize, Fault> {
        let length = span(rest.as_bytes(), |b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'));
        let name = &rest[..length];
        if self.zone.is_some() || self.offset.is_some() {
            return Err(Fault::Format);
        }
        let word = span(rest.as_bytes(), |b| b.is_ascii_alphabetic());
        let abbreviation = zone::is_abbreviation(&name[..word]);
        let looks_like_zone = abbreviation || name.contains('/');
        let zone = zone::lookup(name).or_else(|| abbreviation.then(|| zone::lookup(&name[..word])).flatten());
        match zone {
            Some(zone) if self.has_date() || self.time.is_some() || abbreviation => {
                let used = if abbreviation && zone::lookup(name).is_none() { word } else { length };
                self.zone = Some(zone);
                Ok(used)
            }
            None if looks_like_zone && self.has_date() => Err(Fault::UnknownZone),
            _ => Err(Fault::Format),
        }
    }

    pub(super) fn finish(self, format: &SessionFormat) -> Result<Parsed, Fault> {
        let parsed = match self.special {
            Some(special) => self.finish_special(special, format)?,
            None => {
                let date = self.civil()?;
                let mut micros = self.time.unwrap_or(0);
                micros = apply_meridian(micros, self.meridian)?;
                Parsed::Civil { date, micros, offset: self.offset }
            }
        };
        match (parsed, self.zone) {
            (Parsed::Civil { date, micros, offset: None }, Some(zone)) => {
                let local = i128::from(days_from_civil(date)) * i128::from(DAY_MICROS) + i128::from(micros);
                let local = i64::try_from(local).map_err(|_| Fault::Limit)?;
                Ok(Parsed::Civil { date, micros, offset: Some(zone::offset_of_local(&zone, local)) })
            }
            (Parsed::Today(shift), _) if self.time.is_some() => {
                let date = civil_from_days(today(format) + shift);
                Ok(Parsed::Civil { date, micros: self.time.unwrap_or(0), offset: self.offset })
            }
            (parsed, _) => Ok(parsed),
        }
    }

    fn finish_special(&self, special: Special, format: &SessionFormat) -> Result<Parsed, Fault> {
        if self.year.is_some() || self.month.is_some() || self.day.is_some() {
            return Err(Fault::Format);
        }
        Ok(match special {
            Special::Now => Parsed::Instant(format.now_micros),
            Special::Today(shift) => Parsed::Today(shift),
            Special::Epoch => Parsed::Instant(-UNIX_EPOCH_SECONDS * 1_000_000),
            Special::Infinity(positive) => Parsed::Infinity(positive),
        })
    }

    fn civil(&self) -> Result<Civil, Fault> {
        if let Some(julian) = self.julian {
            return Ok(civil_from_days(julian - JULIAN_2000));
        }
        let (Some((written, two_digits)), true) = (self.year, self.has_date()) else { return Err(Fault::Format) };
        let year = match (self.before_christ, two_digits) {
            (true, _) if written == 0 => return Err(Fault::Range),
            (true, _) => 1 - written,
            (false, true) if written < 70 => written + 2000,
            (false, true) => written + 1900,
            (false, false) if written == 0 => return Err(Fault::Range),
            (false, false) => written,
        };
        if let Some(day_of_year) = self.day_of_year {
            if !(1..=366).contains(&day_of_year) {
                return Err(Fault::Range);
            }
            return Ok(civil_from_days(days_from_civil(Civil { year, month: 1, day: 1 }) + day_of_year - 1));
        }
        let (Some(month), Some(day)) = (self.month, self.day) else { return Err(Fault::Format) };
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Fault::MonthDayRange);
        }
        let (month, day) = (u32::try_from(month).expect("checked"), u32::try_from(day).expect("checked"));
        if day > days_in_month(year, month) {
            return Err(Fault::Range);
        }
        if year.abs() > 10_000_000 {
            return Err(Fault::Limit);
        }
        Ok(Civil { year, month, day })
    }
}

fn apply_meridian(micros: i64, meridian: Option<Meridian>) -> Result<i64, Fault> {
    const HOUR: i64 = HOUR_MICROS;
    let hour = micros / HOUR;
    match meridian {
        None => Ok(micros),
        Some(_) if hour > 12 => Err(Fault::Range),
        Some(Meridian::Am) if hour == 12 => Ok(micros - 12 * HOUR),
        Some(Meridian::Pm) if hour != 12 => Ok(micros + 12 * HOUR),
        Some(_) => Ok(micros),
    }
}
