//! The row codec: compact bytes with fixed-width columns at fixed offsets.
//!
//! ```text
//! null bitmap            one bit a column, set where NULL; ⌈n / 8⌉ bytes
//! fixed-width columns    in column order, little-endian, no padding; a NULL has its bytes all the same
//! end offsets            u32 little-endian for each variable-width column but the last, relative to the data
//! variable-width data    in column order; the last column ends where the row does
//! ```
//!
//! Every fixed-width column is at an offset known from the table's definition, so that filters, and updates of fixed-width
//! columns, touch nothing else. The layout is part of the log and checkpoint formats.
//!
//! Rows come from storage, whose checksums were verified; still, reading malformed bytes never leaves the slice: accessors
//! clamp, and [`RowLayout::check`] says whether bytes are a row.

use std::ops::Range;
use std::sync::Arc;

use num_bigint::{BigInt, Sign};

use super::{ColumnType, Datum, Interval, Numeric, SessionFormat, SqlType, write_binary, write_text};
use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};

/// Largest row, in bytes.
pub const ROW_BYTES_MAX: usize = (1 << 30) - 1;

/// Where a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// At this offset from the start of the row, so wide.
    Fixed { offset: usize, width: usize },
    /// The n-th variable-width column.
    Variable(usize),
}

/// Where a table's columns are within its rows. Made once a table, shared by all.
#[derive(Clone, Debug)]
pub struct RowLayout {
    columns: Vec<ColumnType>,
    slots: Vec<Slot>,
    /// Where the end offsets begin.
    fixed_end: usize,
    /// Number of variable-width columns.
    variable: usize,
}

/// A row's bytes with their layout. The bytes must have passed [`RowLayout::check`], or come from [`RowLayout::encode`];
/// reading others gives arbitrary values but never leaves the slice.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    layout: &'a RowLayout,
    bytes: &'a [u8],
}

/// Bytes of a fixed-width type, `None` for variable-width ones.
fn width(ty: SqlType) -> Option<usize> {
    Some(match ty {
        SqlType::Bool | SqlType::Char => 1,
        SqlType::Int2 => 2,
        SqlType::Int4 | SqlType::Float4 | SqlType::Date => 4,
        SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => 4,
        SqlType::Int8 | SqlType::Float8 | SqlType::Timestamp | SqlType::TimestampTz => 8,
        SqlType::Uuid | SqlType::Interval => 16,
        _ => return None,
    })
}

fn is_text(ty: SqlType) -> bool {
    matches!(ty, SqlType::Text | SqlType::Varchar | SqlType::Bpchar | SqlType::Name | SqlType::Unknown)
}

impl RowLayout {
    /// The layout for these columns.
    pub fn new(columns: &[ColumnType]) -> Self {
        let mut offset = columns.len().div_ceil(8);
        let mut variable = 0;
        let mut slots = Vec::with_capacity(columns.len());
        for column in columns {
            if let Some(width) = width(column.ty) {
                slots.push(Slot::Fixed { offset, width });
                offset += width;
            } else {
                slots.push(Slot::Variable(variable));
                variable += 1;
            }
        }
        Self { columns: columns.to_vec(), slots, fixed_end: offset, variable }
    }

    /// The columns' types.
    pub fn columns(&self) -> &[ColumnType] {
        &self.columns
    }

    /// Where a fixed-width column's bytes are, for programs that change them in place; `None` for variable-width columns.
    pub fn fixed_range(&self, index: usize) -> Option<Range<usize>> {
        match self.slots[index] {
            Slot::Fixed { offset, width } => Some(offset..offset + width),
            Slot::Variable(_) => None,
        }
    }

    /// Where variable-width data begins.
    fn data_start(&self) -> usize {
        self.fixed_end + self.variable.saturating_sub(1) * 4
    }

    /// Appends the row. Values must be of the columns' types or NULL. 54000 if it would be 1 GB or more.
    pub fn encode(&self, values: &[Datum], out: &mut Vec<u8>) -> SqlResult<()> {
        assert_eq!(values.len(), self.slots.len(), "one value a column");
        let start = out.len();
        let encoded = self.encode_at(values, start, out);
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded
    }

    fn encode_at(&self, values: &[Datum], start: usize, out: &mut Vec<u8>) -> SqlResult<()> {
        out.resize(start + self.data_start(), 0);
        for (i, (value, slot)) in values.iter().zip(&self.slots).enumerate() {
            let ty = self.columns[i].ty;
            if value.is_null() {
                out[start + i / 8] |= 1 << (i % 8);
            }
            match *slot {
                Slot::Fixed { offset, width } => put_fixed(value, ty, &mut out[start + offset..start + offset + width])?,
                Slot::Variable(n) => {
                    put_variable(value, ty, out)?;
                    if out.len() - start > ROW_BYTES_MAX {
                        return Err(SqlError::new(
                            SqlState::PROGRAM_LIMIT_EXCEEDED,
                            format!("row is too big: size {}, maximum size {ROW_BYTES_MAX}", out.len() - start),
                        ));
                    }
                    if n + 1 < self.variable {
                        let end = u32::try_from(out.len() - start - self.data_start()).expect("below the row limit");
                        let at = start + self.fixed_end + n * 4;
                        out[at..at + 4].copy_from_slice(&end.to_le_bytes());
                    }
                }
            }
        }
        Ok(())
    }

    /// Changes a fixed-width column of a row in place; false, and nothing changed, if the column is of variable width.
    pub fn patch(&self, row: &mut [u8], index: usize, value: &Datum) -> SqlResult<bool> {
        let Slot::Fixed { offset, width } = self.slots[index] else { return Ok(false) };
        put_fixed(value, self.columns[index].ty, &mut row[offset..offset + width])?;
        let bit = 1 << (index % 8);
        if value.is_null() {
            row[index / 8] |= bit;
        } else {
            row[index / 8] &= !bit;
        }
        Ok(true)
    }

    /// Looks at a row.
    #[inline]
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> RowView<'a> {
        RowView { layout: self, bytes }
    }

    /// Whether the bytes are a row of this layout, values included; XX001 if not.
    pub fn check(&self, bytes: &[u8]) -> SqlResult<()> {
        let corrupt = |what: &str| SqlError::new(SqlState::DATA_CORRUPTED, format!("malformed row: {what}"));
        let data = bytes.get(self.data_start()..).ok_or_else(|| corrupt("shorter than its fixed-width part"))?;
        let mut last = 0;
        for n in 0..self.variable.saturating_sub(1) {
            let end = self.end_offset(bytes, n);
            if end < last || end > data.len() {
                return Err(corrupt("end offsets out of order"));
            }
            last = end;
        }
        if self.variable == 0 && !data.is_empty() {
            return Err(corrupt("bytes after the last column"));
        }
        let view = self.view(bytes);
        for (i, slot) in self.slots.iter().enumerate() {
            if matches!(slot, Slot::Variable(_)) && !view.is_null(i) {
                check_variable(self.columns[i].ty, view.variable(i)).map_err(corrupt)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn end_offset(&self, bytes: &[u8], n: usize) -> usize {
        let at = self.fixed_end + n * 4;
        let word = bytes.get(at..at + 4).map_or([0; 4], |word| word.try_into().expect("four bytes"));
        u32::from_le_bytes(word) as usize
    }
}

fn mismatch(value: &Datum, ty: SqlType) -> SqlError {
    SqlError::internal(format!("a value does not have its column's type {ty:?}: {value:?}"))
}

fn put_fixed(value: &Datum, ty: SqlType, out: &mut [u8]) -> SqlResult<()> {
    match (value, ty) {
        (Datum::Null, _) => {}
        (Datum::Bool(v), SqlType::Bool) => out[0] = u8::from(*v),
        (Datum::Char(v), SqlType::Char) => out[0] = *v,
        (Datum::Int2(v), SqlType::Int2) => out.copy_from_slice(&v.to_le_bytes()),
        (Datum::Int4(v), SqlType::Int4) | (Datum::Date(v), SqlType::Date) => out.copy_from_slice(&v.to_le_bytes()),
        (Datum::Float4(v), SqlType::Float4) => out.copy_from_slice(&v.to_le_bytes()),
        (Datum::Int8(v), SqlType::Int8)
        | (Datum::Timestamp(v), SqlType::Timestamp)
        | (Datum::TimestampTz(v), SqlType::TimestampTz) => out.copy_from_slice(&v.to_le_bytes()),
        (Datum::Float8(v), SqlType::Float8) => out.copy_from_slice(&v.to_le_bytes()),
        (Datum::Uuid(v), SqlType::Uuid) => out.copy_from_slice(v),
        (Datum::Oid(v), SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc) => {
            out.copy_from_slice(&v.0.to_le_bytes());
        }
        (Datum::Interval(v), SqlType::Interval) => {
            out[..8].copy_from_slice(&v.micros.to_le_bytes());
            out[8..12].copy_from_slice(&v.days.to_le_bytes());
            out[12..].copy_from_slice(&v.months.to_le_bytes());
        }
        _ => return Err(mismatch(value, ty)),
    }
    Ok(())
}

fn put_variable(value: &Datum, ty: SqlType, out: &mut Vec<u8>) -> SqlResult<()> {
    match (value, ty) {
        (Datum::Null, _) => {}
        (Datum::Text(v), ty) if is_text(ty) => out.extend_from_slice(v.as_bytes()),
        (Datum::Bytea(v), SqlType::Bytea) => out.extend_from_slice(v),
        (Datum::Numeric(v), SqlType::Numeric) => put_numeric(v, out),
        _ => return Err(mismatch(value, ty)),
    }
    Ok(())
}

/// Numeric: kind (0 positive, 1 negative, 2 NaN, 3 ∞, 4 −∞); for finite ones the scale as u32 and the magnitude, both
/// little-endian.
fn put_numeric(value: &Numeric, out: &mut Vec<u8>) {
    match value {
        Numeric::NaN => out.push(2),
        Numeric::Infinity => out.push(3),
        Numeric::NegInfinity => out.push(4),
        Numeric::Finite { unscaled, scale } => {
            let (sign, magnitude) = unscaled.to_bytes_le();
            out.push(u8::from(sign == Sign::Minus));
            out.extend_from_slice(&scale.to_le_bytes());
            out.extend_from_slice(&magnitude);
        }
    }
}

fn get_numeric(bytes: &[u8]) -> Numeric {
    match bytes {
        [kind @ (0 | 1), s0, s1, s2, s3, magnitude @ ..] => {
            let sign = if *kind == 1 { Sign::Minus } else { Sign::Plus };
            let scale = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
            Numeric::Finite { unscaled: BigInt::from_bytes_le(sign, magnitude), scale }
        }
        [3] => Numeric::Infinity,
        [4] => Numeric::NegInfinity,
        _ => Numeric::NaN,
    }
}

fn check_variable(ty: SqlType, bytes: &[u8]) -> Result<(), &'static str> {
    match ty {
        ty if is_text(ty) => std::str::from_utf8(bytes).map(drop).map_err(|_| "text is not UTF-8"),
        SqlType::Numeric => match bytes {
            [2..=4] => Ok(()),
            [0 | 1, s0, s1, s2, s3, _, ..] if u32::from_le_bytes([*s0, *s1, *s2, *s3]) <= 16_383 => Ok(()),
            _ => Err("a numeric is malformed"),
        },
        SqlType::Bytea => Ok(()),
        _ => Err("a column's type cannot be stored"),
    }
}

impl<'a> RowView<'a> {
    /// The row's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether column `index` is NULL.
    #[inline]
    pub fn is_null(&self, index: usize) -> bool {
        self.bytes.get(index / 8).is_none_or(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// The bytes of a fixed-width column; zeros where they are missing.
    #[inline]
    fn fixed<const N: usize>(&self, index: usize) -> [u8; N] {
        match self.layout.slots[index] {
            Slot::Fixed { offset, .. } => {
                self.bytes.get(offset..offset + N).map_or([0; N], |bytes| bytes.try_into().expect("N bytes"))
            }
            Slot::Variable(_) => [0; N],
        }
    }

    /// The bytes of a variable-width column.
    #[inline]
    fn variable(&self, index: usize) -> &'a [u8] {
        let Slot::Variable(n) = self.layout.slots[index] else { return &[] };
        let data = self.bytes.get(self.layout.data_start()..).unwrap_or(&[]);
        let start = if n == 0 { 0 } else { self.layout.end_offset(self.bytes, n - 1) };
        let end = if n + 1 == self.layout.variable { data.len() } else { self.layout.end_offset(self.bytes, n) };
        data.get(start..end).unwrap_or(&[])
    }

    /// Column `index` as a datum.
    pub fn get(&self, index: usize) -> Datum {
        if self.is_null(index) {
            return Datum::Null;
        }
        match self.layout.columns[index].ty {
            SqlType::Bool => Datum::Bool(self.fixed::<1>(index)[0] != 0),
            SqlType::Char => Datum::Char(self.fixed::<1>(index)[0]),
            SqlType::Int2 => Datum::Int2(i16::from_le_bytes(self.fixed(index))),
            SqlType::Int4 => Datum::Int4(i32::from_le_bytes(self.fixed(index))),
            SqlType::Int8 => Datum::Int8(i64::from_le_bytes(self.fixed(index))),
            SqlType::Float4 => Datum::Float4(f32::from_le_bytes(self.fixed(index))),
            SqlType::Float8 => Datum::Float8(f64::from_le_bytes(self.fixed(index))),
            SqlType::Date => Datum::Date(i32::from_le_bytes(self.fixed(index))),
            SqlType::Timestamp => Datum::Timestamp(i64::from_le_bytes(self.fixed(index))),
            SqlType::TimestampTz => Datum::TimestampTz(i64::from_le_bytes(self.fixed(index))),
            SqlType::Uuid => Datum::Uuid(self.fixed(index)),
            SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => {
                Datum::Oid(Oid(u32::from_le_bytes(self.fixed(index))))
            }
            SqlType::Interval => {
                let bytes: [u8; 16] = self.fixed(index);
                let word = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
                let micros = i64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
                Datum::Interval(Interval { months: word(12), days: word(8), micros })
            }
            SqlType::Bytea => Datum::Bytea(Arc::from(self.variable(index))),
            SqlType::Numeric => Datum::Numeric(Arc::new(get_numeric(self.variable(index)))),
            _ => Datum::Text(Arc::from(std::str::from_utf8(self.variable(index)).unwrap_or(""))),
        }
    }

    /// An integer, OID, date or timestamp column without a datum; `None` for NULL.
    #[inline]
    pub fn get_i64(&self, index: usize) -> Option<i64> {
        if self.is_null(index) {
            return None;
        }
        Some(match self.layout.columns[index].ty {
            SqlType::Int2 => i64::from(i16::from_le_bytes(self.fixed(index))),
            SqlType::Int4 | SqlType::Date => i64::from(i32::from_le_bytes(self.fixed(index))),
            SqlType::Int8 | SqlType::Timestamp | SqlType::TimestampTz => i64::from_le_bytes(self.fixed(index)),
            SqlType::Oid | SqlType::Regclass | SqlType::Regtype | SqlType::Regproc => {
                i64::from(u32::from_le_bytes(self.fixed(index)))
            }
            _ => return None,
        })
    }

    /// A boolean column; `None` for NULL.
    pub fn get_bool(&self, index: usize) -> Option<bool> {
        match self.get(index) {
            Datum::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A float column; `None` for NULL.
    pub fn get_f64(&self, index: usize) -> Option<f64> {
        match self.get(index) {
            Datum::Float4(value) => Some(f64::from(value)),
            Datum::Float8(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes of a string or bytea column; `None` for NULL.
    #[inline]
    pub fn text_bytes(&self, index: usize) -> Option<&'a [u8]> {
        (!self.is_null(index)).then(|| self.variable(index))
    }

    /// Appends column `index` in text format; `false`, and nothing appended, for NULL.
    pub fn write_text_column(&self, index: usize, format: &SessionFormat, out: &mut Vec<u8>) -> bool {
        if self.is_null(index) {
            return false;
        }
        match self.layout.columns[index].ty {
            ty if is_text(ty) => out.extend_from_slice(self.variable(index)),
            SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => {
                let value = self.get_i64(index).expect("an integer that is not NULL");
                out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
            ty => write_text(&self.get(index), ty, format, out),
        }
        true
    }

    /// Appends column `index` in binary format; `false`, and nothing appended, for NULL.
    pub fn write_binary_column(&self, index: usize, out: &mut Vec<u8>) -> bool {
        if self.is_null(index) {
            return false;
        }
        match self.layout.columns[index].ty {
            ty if is_text(ty) || ty == SqlType::Bytea => out.extend_from_slice(self.variable(index)),
            SqlType::Int4 => out.extend_from_slice(&i32::from_le_bytes(self.fixed(index)).to_be_bytes()),
            SqlType::Int8 => out.extend_from_slice(&i64::from_le_bytes(self.fixed(index)).to_be_bytes()),
            ty => write_binary(&self.get(index), ty, out),
        }
        true
    }

    /// Appends all columns as datums.
    pub fn get_all(&self, out: &mut Vec<Datum>) {
        out.extend((0..self.layout.columns.len()).map(|index| self.get(index)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: [SqlType; 14] = [
        SqlType::Bool,
        SqlType::Int2,
        SqlType::Text,
        SqlType::Int4,
        SqlType::Numeric,
        SqlType::Int8,
        SqlType::Bpchar,
        SqlType::Float4,
        SqlType::Float8,
        SqlType::Bytea,
        SqlType::Date,
        SqlType::TimestampTz,
        SqlType::Uuid,
        SqlType::Interval,
    ];

    fn layout(types: &[SqlType]) -> RowLayout {
        RowLayout::new(&types.iter().map(|ty| ColumnType { ty: *ty, typmod: -1 }).collect::<Vec<_>>())
    }

    fn value(ty: SqlType, seed: u64, text: &str) -> Datum {
        match ty {
            SqlType::Bool => Datum::Bool(seed % 2 == 0),
            SqlType::Int2 => Datum::Int2(seed as i16),
            SqlType::Int4 => Datum::Int4(seed as i32),
            SqlType::Int8 => Datum::Int8(seed as i64),
            SqlType::Float4 => Datum::Float4(seed as f32),
            SqlType::Float8 => Datum::Float8(seed as f64),
            SqlType::Numeric => {
                Datum::Numeric(Arc::new(Numeric::Finite { unscaled: BigInt::from(seed as i64), scale: (seed % 40) as u32 }))
            }
            SqlType::Bytea => Datum::Bytea(Arc::from(text.as_bytes())),
            SqlType::Date => Datum::Date(seed as i32),
            SqlType::TimestampTz => Datum::TimestampTz(seed as i64),
            SqlType::Uuid => Datum::Uuid([seed as u8; 16]),
            SqlType::Interval => Datum::Interval(Interval { months: seed as i32, days: (seed >> 8) as i32, micros: seed as i64 }),
            _ => Datum::Text(Arc::from(text)),
        }
    }

    #[test]
    fn a_pgbench_account_is_compact() {
        let layout = layout(&[SqlType::Int4, SqlType::Int4, SqlType::Int4, SqlType::Bpchar]);
        let mut bytes = Vec::new();
        let filler = Datum::Text(Arc::from(" ".repeat(84)));
        layout.encode(&[Datum::Int4(1), Datum::Int4(2), Datum::Int4(3), filler], &mut bytes).unwrap();
        assert_eq!(bytes.len(), 1 + 12 + 84);
        assert_eq!(layout.view(&bytes).get_i64(2), Some(3));
        assert_eq!(layout.fixed_range(2), Some(9..13));
    }

    proptest! {
        #[test]
        fn rows_survive(picks in prop::collection::vec((0usize..14, any::<bool>(), any::<u64>(), ".{0,20}"), 0..24)) {
            let layout = layout(&picks.iter().map(|(ty, ..)| TYPES[*ty]).collect::<Vec<_>>());
            let row: Vec<Datum> = picks
                .iter()
                .map(|(ty, null, seed, text)| if *null { Datum::Null } else { value(TYPES[*ty], *seed, text) })
                .collect();
            let mut bytes = vec![9, 9];
            layout.encode(&row, &mut bytes).unwrap();
            let bytes = &bytes[2..];
            layout.check(bytes).unwrap();
            let view = layout.view(bytes);
            for (i, value) in row.iter().enumerate() {
                prop_assert_eq!(format!("{:?}", view.get(i)), format!("{:?}", value));
            }
        }

        #[test]
        fn malformed_bytes_never_panic(picks in prop::collection::vec(0usize..14, 0..12), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let layout = layout(&picks.iter().map(|ty| TYPES[*ty]).collect::<Vec<_>>());
            let _ = layout.check(&bytes);
            let view = layout.view(&bytes);
            for i in 0..picks.len() {
                let _ = view.get(i);
            }
        }
    }
}
