//! The row codec: compact bytes with fixed-width columns at fixed offsets.

use super::{ColumnType, Datum, SessionFormat};
use crate::error::SqlResult;

/// Where a table's columns are within its rows. Made once a table, shared by all.
#[derive(Clone, Debug)]
pub struct RowLayout {
    columns: Vec<ColumnType>,
}

/// A row's bytes with their layout. The bytes must have passed [`RowLayout::check`], or come from [`RowLayout::encode`];
/// otherwise reading may panic, but never reads out of bounds.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    layout: &'a RowLayout,
    bytes: &'a [u8],
}

impl RowLayout {
    /// The layout for these columns.
    pub fn new(columns: &[ColumnType]) -> Self {
        Self { columns: columns.to_vec() }
    }

    /// The columns' types.
    pub fn columns(&self) -> &[ColumnType] {
        &self.columns
    }

    /// Appends the row. Values must be of the columns' types or NULL. 54000 if it would be 1 GB or more.
    pub fn encode(&self, values: &[Datum], out: &mut Vec<u8>) -> SqlResult<()> {
        let _ = (values, out);
        Err(crate::error::SqlError::internal("rows are not written yet"))
    }

    /// Looks at a row.
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> RowView<'a> {
        RowView { layout: self, bytes }
    }

    /// Whether the bytes are a row of this layout, values included; XX001 if not.
    pub fn check(&self, bytes: &[u8]) -> SqlResult<()> {
        let _ = bytes;
        Err(crate::error::SqlError::internal("rows are not written yet"))
    }
}

impl<'a> RowView<'a> {
    /// The row's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether column `index` is NULL.
    pub fn is_null(&self, index: usize) -> bool {
        let _ = (index, self.layout);
        false
    }

    /// Column `index` as a datum.
    pub fn get(&self, index: usize) -> Datum {
        let _ = index;
        Datum::Null
    }

    /// An integer, OID, date or timestamp column without a datum; `None` for NULL.
    pub fn get_i64(&self, index: usize) -> Option<i64> {
        let _ = index;
        None
    }

    /// A boolean column; `None` for NULL.
    pub fn get_bool(&self, index: usize) -> Option<bool> {
        let _ = index;
        None
    }

    /// A float column; `None` for NULL.
    pub fn get_f64(&self, index: usize) -> Option<f64> {
        let _ = index;
        None
    }

    /// The bytes of a string or bytea column; `None` for NULL.
    pub fn text_bytes(&self, index: usize) -> Option<&'a [u8]> {
        let _ = index;
        None
    }

    /// Appends column `index` in text format; `false`, and nothing appended, for NULL.
    pub fn write_text_column(&self, index: usize, format: &SessionFormat, out: &mut Vec<u8>) -> bool {
        let _ = (index, format, out);
        false
    }

    /// Appends column `index` in binary format; `false`, and nothing appended, for NULL.
    pub fn write_binary_column(&self, index: usize, out: &mut Vec<u8>) -> bool {
        let _ = (index, out);
        false
    }

    /// Appends all columns as datums.
    pub fn get_all(&self, out: &mut Vec<Datum>) {
        out.extend((0..self.layout.columns.len()).map(|index| self.get(index)));
    }
}
