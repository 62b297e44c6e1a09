//! The row codec: compact bytes with fixed-width columns at fixed offsets.
//!
//! ```text
//! NULL bitmap      one bit a column, set for NULL; ⌈columns / 8⌉ bytes, unused bits 0
//! fixed columns    in column order, little-endian, without padding; zeros for NULL
//! ends             for each variable-width column the u32 offset, within the data, where its value ends
//! data             the variable-width values, one after the other; nothing for NULL
//! ```
//!
//! Strings and bytea are their bytes, `numeric` is a scale and a little-endian two's complement integer, arrays are in binary
//! wire format. Integer columns of NULL rows are zeroed, so equal rows are equal bytes (numerics of different scale apart).

use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::Zero;

use super::text::write_int;
use super::{ColumnType, Datum, Interval, Numeric, SessionFormat, SqlType, from_binary, write_binary, write_text};
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};

/// Rows are smaller than this.
pub const ROW_BYTES_MAX: usize = 1 << 30;

/// Where one column is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Offset of its bytes from the row's start.
    Fixed(u32),
    /// Number among the variable-width columns.
    Variable(u32),
}

/// Where a table's columns are within its rows. Made once a table, shared by all.
#[derive(Clone, Debug)]
pub struct RowLayout {
    columns: Box<[ColumnType]>,
    places: Box<[Place]>,
    /// Where the ends begin.
    ends_at: usize,
    /// Where the data begins: the length of a row whose variable-width columns are all empty.
    data_at: usize,
}

/// A row's bytes with their layout. The bytes must have passed [`RowLayout::check`], or come from [`RowLayout::encode`];
/// otherwise reading may panic, but never reads out of bounds.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    layout: &'a RowLayout,
    bytes: &'a [u8],
}

/// Bytes of a fixed-width type.
fn fixed_width(ty: SqlType) -> Option<usize> {
    Some(match ty {
        SqlType::Bool | SqlType::Char => 1,
        SqlType::Int2 => 2,
        SqlType::Int4 | SqlType::Float4 | SqlType::Date => 4,
        SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => 4,
        SqlType::Int8 | SqlType::Float8 | SqlType::Timestamp | SqlType::TimestampTz => 8,
        SqlType::Uuid | SqlType::Interval => 16,
        SqlType::Numeric | SqlType::Bytea | SqlType::Array(_) | SqlType::Record | SqlType::Void => return None,
        SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Name | SqlType::Unknown => return None,
    })
}

fn corrupt(what: &str) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("malformed row: {what}"))
}

impl RowLayout {
    /// The layout for these columns.
    pub fn new(columns: &[ColumnType]) -> Self {
        let mut fixed_end = columns.len().div_ceil(8);
        let mut variable = 0;
        let places = columns
            .iter()
            .map(|column| match fixed_width(column.ty) {
                Some(width) => {
                    let at = fixed_end;
                    fixed_end += width;
                    Place::Fixed(u32::try_from(at).expect("at most 1600 columns"))
                }
                None => {
                    variable += 1;
                    Place::Variable(variable - 1)
                }
            })
            .collect();
        let data_at = fixed_end + variable as usize * 4;
        Self { columns: columns.into(), places, ends_at: fixed_end, data_at }
    }

    /// The columns' types.
    pub fn columns(&self) -> &[ColumnType] {
        &self.columns
    }

    /// Appends the row. Values must be of the columns' types or NULL. 54000 if it would be 1 GB or more.
    pub fn encode(&self, values: &[Datum], out: &mut Vec<u8>) -> SqlResult<()> {
        assert_eq!(values.len(), self.columns.len(), "one value a column");
        let start = out.len();
        out.resize(start + self.data_at, 0);
        for (index, (value, place)) in values.iter().zip(&self.places).enumerate() {
            if value.is_null() {
                out[start + index / 8] |= 1 << (index % 8);
            }
            match *place {
                Place::Fixed(at) => self.put_fixed(index, value, &mut out[start + at as usize..]),
                Place::Variable(number) => {
                    put_variable(value, self.columns[index].ty, out);
                    let end = out.len() - start - self.data_at;
                    if end + self.data_at >= ROW_BYTES_MAX {
                        out.truncate(start);
                        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "row is too big: it would be 1 GB or more"));
                    }
                    let slot = start + self.ends_at + number as usize * 4;
                    out[slot..slot + 4].copy_from_slice(&u32::try_from(end).expect("below 1 GB").to_le_bytes());
                }
            }
        }
        Ok(())
    }

    fn put_fixed(&self, index: usize, value: &Datum, to: &mut [u8]) {
        let ty = self.columns[index].ty;
        match (value, ty) {
            (Datum::Null, _) => {}
            (Datum::Bool(value), SqlType::Bool) => to[0] = u8::from(*value),
            (Datum::Char(value), SqlType::Char) => to[0] = *value,
            (Datum::Int2(value), SqlType::Int2) => to[..2].copy_from_slice(&value.to_le_bytes()),
            (Datum::Int4(value), SqlType::Int4) | (Datum::Date(value), SqlType::Date) => {
                to[..4].copy_from_slice(&value.to_le_bytes());
            }
            (Datum::Float4(value), SqlType::Float4) => to[..4].copy_from_slice(&value.to_le_bytes()),
            (Datum::Oid(Oid(value)), SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc) => {
                to[..4].copy_from_slice(&value.to_le_bytes());
            }
            (Datum::Int8(value), SqlType::Int8)
            | (Datum::Timestamp(value), SqlType::Timestamp)
            | (Datum::TimestampTz(value), SqlType::TimestampTz) => to[..8].copy_from_slice(&value.to_le_bytes()),
            (Datum::Float8(value), SqlType::Float8) => to[..8].copy_from_slice(&value.to_le_bytes()),
            (Datum::Uuid(value), SqlType::Uuid) => to[..16].copy_from_slice(value),
            (Datum::Interval(value), SqlType::Interval) => {
                to[..4].copy_from_slice(&value.months.to_le_bytes());
                to[4..8].copy_from_slice(&value.days.to_le_bytes());
                to[8..16].copy_from_slice(&value.micros.to_le_bytes());
            }
            _ => panic!("column {index} is {ty}, but the value is {value:?}: the binder casts values to the column's type"),
        }
    }

    /// Changes a fixed-width column of a row in place; false, and nothing changed, if the column is of variable width.
    pub fn patch(&self, row: &mut [u8], index: usize, value: &Datum) -> bool {
        let Place::Fixed(at) = self.places[index] else { return false };
        self.put_fixed(index, value, &mut row[at as usize..]);
        let bit = 1 << (index % 8);
        if value.is_null() {
            // NULLs are zeros, so that equal rows stay equal bytes.
            let width = fixed_width(self.columns[index].ty).expect("the place is fixed");
            row[at as usize..at as usize + width].fill(0);
            row[index / 8] |= bit;
        } else {
            row[index / 8] &= !bit;
        }
        true
    }

    /// Looks at a row.
    #[inline]
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> RowView<'a> {
        RowView { layout: self, bytes }
    }

    /// Whether the bytes are a row of this layout, values included; XX001 if not.
    pub fn check(&self, bytes: &[u8]) -> SqlResult<()> {
        if bytes.len() < self.data_at || bytes.len() >= ROW_BYTES_MAX {
            return Err(corrupt("wrong length"));
        }
        let spare_bits = self.columns.len() % 8;
        if spare_bits != 0 && bytes[self.columns.len() / 8] >> spare_bits != 0 {
            return Err(corrupt("NULL bits of columns that do not exist"));
        }
        let view = self.view(bytes);
        let data_length = bytes.len() - self.data_at;
        let mut previous = 0;
        for number in 0..(self.data_at - self.ends_at) / 4 {
            let end = view.end(number);
            if end < previous || end > data_length {
                return Err(corrupt("value ends out of order"));
            }
            previous = end;
        }
        if previous != data_length {
            return Err(corrupt("bytes after the last value"));
        }
        (0..self.columns.len()).try_for_each(|index| view.check_value(index))
    }
}

fn put_variable(value: &Datum, ty: SqlType, out: &mut Vec<u8>) {
    match value {
        Datum::Null => {}
        Datum::Text(text) if ty.is_text_like() => out.extend_from_slice(text.as_bytes()),
        Datum::Bytea(bytes) if ty == SqlType::Bytea => out.extend_from_slice(bytes),
        Datum::Numeric(value) if ty == SqlType::Numeric => put_numeric(value, out),
        Datum::Array(_) if ty.is_array() => write_binary(value, ty, out),
        _ => panic!("a {ty} column, but the value is {value:?}: the binder casts values to the column's type"),
    }
}

const NUMERIC_NAN: u16 = 0xffff;
const NUMERIC_INFINITY: u16 = 0xfffe;
const NUMERIC_NEG_INFINITY: u16 = 0xfffd;

fn put_numeric(value: &Numeric, out: &mut Vec<u8>) {
    match value {
        Numeric::NaN => out.extend_from_slice(&NUMERIC_NAN.to_le_bytes()),
        Numeric::Infinity => out.extend_from_slice(&NUMERIC_INFINITY.to_le_bytes()),
        Numeric::NegInfinity => out.extend_from_slice(&NUMERIC_NEG_INFINITY.to_le_bytes()),
        Numeric::Finite { unscaled, scale } => {
            out.extend_from_slice(&u16::try_from(*scale).expect("at most 16383").to_le_bytes());
            if !unscaled.is_zero() {
                out.extend_from_slice(&unscaled.to_signed_bytes_le());
            }
        }
    }
}

fn read_numeric(bytes: &[u8]) -> Option<Numeric> {
    let (scale, digits) = bytes.split_first_chunk::<2>()?;
    Some(match (u16::from_le_bytes(*scale), digits) {
        (NUMERIC_NAN, []) => Numeric::NaN,
        (NUMERIC_INFINITY, []) => Numeric::Infinity,
        (NUMERIC_NEG_INFINITY, []) => Numeric::NegInfinity,
        (0x4000.., _) => return None,
        (scale, digits) if digits.len() <= 8 => Numeric::new(small_integer(digits), u32::from(scale)),
        (scale, digits) => Numeric::new(BigInt::from_signed_bytes_le(digits), u32::from(scale)),
    })
}

/// Up to eight bytes of little-endian two's complement.
fn small_integer(bytes: &[u8]) -> i64 {
    let fill = if bytes.last().is_some_and(|byte| byte >> 7 == 1) { 0xff } else { 0 };
    let mut wide = [fill; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

impl<'a> RowView<'a> {
    /// The row's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The row's layout.
    pub fn layout(&self) -> &'a RowLayout {
        self.layout
    }

    /// Whether column `index` is NULL.
    pub fn is_null(&self, index: usize) -> bool {
        assert!(index < self.layout.columns.len(), "a column of the table");
        self.bytes[index / 8] >> (index % 8) & 1 == 1
    }

    fn fixed<const N: usize>(&self, at: u32) -> [u8; N] {
        *self.bytes[at as usize..].first_chunk().expect("the row was checked")
    }

    /// Where variable-width value `number` ends, within the data.
    fn end(&self, number: usize) -> usize {
        let at = self.layout.ends_at + number * 4;
        u32::from_le_bytes(*self.bytes[at..].first_chunk().expect("the row was checked")) as usize
    }

    fn variable(&self, number: u32) -> &'a [u8] {
        let number = number as usize;
        let begin = if number == 0 { 0 } else { self.end(number - 1) };
        &self.bytes[self.layout.data_at + begin..self.layout.data_at + self.end(number)]
    }

    /// Column `index` as a datum.
    pub fn get(&self, index: usize) -> Datum {
        if self.is_null(index) {
            return Datum::Null;
        }
        let ty = self.layout.columns[index].ty;
        match self.layout.places[index] {
            Place::Fixed(at) => self.get_fixed(ty, at),
            Place::Variable(number) => {
                let bytes = self.variable(number);
                match ty {
                    SqlType::Bytea => Datum::Bytea(Arc::from(bytes)),
                    SqlType::Numeric => Datum::numeric(read_numeric(bytes).expect("the row was checked")),
                    SqlType::Array(_) => from_binary(ty, bytes).expect("the row was checked"),
                    _ => Datum::Text(Arc::from(std::str::from_utf8(bytes).expect("the row was checked"))),
                }
            }
        }
    }

    fn get_fixed(&self, ty: SqlType, at: u32) -> Datum {
        match ty {
            SqlType::Bool => Datum::Bool(self.fixed::<1>(at) != [0]),
            SqlType::Char => Datum::Char(self.fixed::<1>(at)[0]),
            SqlType::Int2 => Datum::Int2(i16::from_le_bytes(self.fixed(at))),
            SqlType::Int4 => Datum::Int4(i32::from_le_bytes(self.fixed(at))),
            SqlType::Date => Datum::Date(i32::from_le_bytes(self.fixed(at))),
            SqlType::Float4 => Datum::Float4(f32::from_le_bytes(self.fixed(at))),
            SqlType::Int8 => Datum::Int8(i64::from_le_bytes(self.fixed(at))),
            SqlType::Timestamp => Datum::Timestamp(i64::from_le_bytes(self.fixed(at))),
            SqlType::TimestampTz => Datum::TimestampTz(i64::from_le_bytes(self.fixed(at))),
            SqlType::Float8 => Datum::Float8(f64::from_le_bytes(self.fixed(at))),
            SqlType::Uuid => Datum::Uuid(self.fixed(at)),
            SqlType::Interval => Datum::Interval(Interval {
                months: i32::from_le_bytes(self.fixed(at)),
                days: i32::from_le_bytes(self.fixed(at + 4)),
                micros: i64::from_le_bytes(self.fixed(at + 8)),
            }),
            SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => {
                Datum::Oid(Oid(u32::from_le_bytes(self.fixed(at))))
            }
            _ => unreachable!("a variable-width type has no fixed place"),
        }
    }

    fn check_value(&self, index: usize) -> SqlResult<()> {
        let ty = self.layout.columns[index].ty;
        match self.layout.places[index] {
            Place::Fixed(at) if ty == SqlType::Bool && self.bytes[at as usize] > 1 => Err(corrupt("a boolean above 1")),
            Place::Fixed(_) => Ok(()),
            Place::Variable(number) => {
                let bytes = self.variable(number);
                let sound = match ty {
                    _ if self.is_null(index) => bytes.is_empty(),
                    SqlType::Bytea => true,
                    SqlType::Numeric => read_numeric(bytes).is_some(),
                    SqlType::Array(_) => from_binary(ty, bytes).is_ok(),
                    _ => std::str::from_utf8(bytes).is_ok(),
                };
                if sound { Ok(()) } else { Err(corrupt("a value that is none of its type")) }
            }
        }
    }

    /// The offset of a fixed-width column that is not NULL.
    fn place_of_fixed(&self, index: usize) -> Option<u32> {
        match self.layout.places[index] {
            _ if self.is_null(index) => None,
            Place::Fixed(at) => Some(at),
            Place::Variable(_) => panic!("column {index} is {}, which has no fixed width", self.layout.columns[index].ty),
        }
    }

    /// An integer, OID, date or timestamp column without a datum; `None` for NULL.
    pub fn get_i64(&self, index: usize) -> Option<i64> {
        let at = self.place_of_fixed(index)?;
        Some(match self.layout.columns[index].ty {
            SqlType::Int4 | SqlType::Date => i64::from(i32::from_le_bytes(self.fixed(at))),
            SqlType::Int8 | SqlType::Timestamp | SqlType::TimestampTz => i64::from_le_bytes(self.fixed(at)),
            SqlType::Int2 => i64::from(i16::from_le_bytes(self.fixed(at))),
            SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => {
                i64::from(u32::from_le_bytes(self.fixed(at)))
            }
            other => panic!("column {index} is {other}, not an integer"),
        })
    }

    /// A boolean column; `None` for NULL.
    pub fn get_bool(&self, index: usize) -> Option<bool> {
        assert_eq!(self.layout.columns[index].ty, SqlType::Bool, "a boolean column");
        Some(self.fixed::<1>(self.place_of_fixed(index)?) != [0])
    }

    /// A float column; `None` for NULL.
    pub fn get_f64(&self, index: usize) -> Option<f64> {
        let at = self.place_of_fixed(index)?;
        Some(match self.layout.columns[index].ty {
            SqlType::Float4 => f64::from(f32::from_le_bytes(self.fixed(at))),
            SqlType::Float8 => f64::from_le_bytes(self.fixed(at)),
            other => panic!("column {index} is {other}, not a float"),
        })
    }

    /// The bytes of a string or bytea column; `None` for NULL.
    pub fn text_bytes(&self, index: usize) -> Option<&'a [u8]> {
        let ty = self.layout.columns[index].ty;
        assert!(ty.is_text_like() || ty == SqlType::Bytea, "a string or bytea column");
        match self.layout.places[index] {
            _ if self.is_null(index) => None,
            Place::Variable(number) => Some(self.variable(number)),
            Place::Fixed(_) => unreachable!("strings have no fixed width"),
        }
    }

    /// Appends column `index` in text format; `false`, and nothing appended, for NULL.
    pub fn write_text_column(&self, index: usize, format: &SessionFormat, out: &mut Vec<u8>) -> bool {
        if self.is_null(index) {
            return false;
        }
        let ty = self.layout.columns[index].ty;
        match (ty, self.layout.places[index]) {
            (SqlType::Int2 | SqlType::Int4 | SqlType::Int8, _) => {
                write_int(self.get_i64(index).expect("not NULL"), out);
            }
            (_, Place::Variable(number)) if ty.is_text_like() => out.extend_from_slice(self.variable(number)),
            _ => write_text(&self.get(index), ty, format, out),
        }
        true
    }

    /// Appends column `index` in binary format; `false`, and nothing appended, for NULL.
    pub fn write_binary_column(&self, index: usize, out: &mut Vec<u8>) -> bool {
        if self.is_null(index) {
            return false;
        }
        let ty = self.layout.columns[index].ty;
        match self.layout.places[index] {
            Place::Variable(number) if ty.is_text_like() || ty == SqlType::Bytea => out.extend_from_slice(self.variable(number)),
            Place::Variable(_) => write_binary(&self.get(index), ty, out),
            Place::Fixed(at) => write_binary(&self.get_fixed(ty, at), ty, out),
        }
        true
    }

    /// Appends all columns as datums.
    pub fn get_all(&self, out: &mut Vec<Datum>) {
        out.extend((0..self.layout.columns.len()).map(|index| self.get(index)));
    }
}
