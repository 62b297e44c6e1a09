//! What ANALYZE has found out about a table: how many rows, and of each column how often it is NULL, how wide it is, how many
//! different values it has, which are the most common, and how the others are spread (`pg_statistic`, PostgreSQL 15
//! documentation 53.51).
//!
//! Statistics are an object of the catalog next to their table's, so they commit, roll back and recover with it. They are
//! advice: what of them cannot be read is left out and does not keep the server from starting.

use serde::{Deserialize, Serialize};

use crate::base::Oid;
use crate::types::{Datum, SessionFormat, SqlType, parse_text, write_text};

/// PostgreSQL's page, the unit of `pg_class.relpages`.
const PAGE_BYTES: u64 = 8192;

/// As many pages as hold some bytes.
pub fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_BYTES)
}

/// The statistics of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableStatistics {
    /// The table.
    pub table: Oid,
    /// Rows, `pg_class.reltuples`; `None` when the table has been emptied since.
    pub rows: Option<f64>,
    /// Keys that its storage then held, deleted rows included.
    pub keys: u64,
    /// Bytes of the table itself.
    pub table_bytes: u64,
    /// Bytes of its index.
    pub index_bytes: u64,
    /// Of its columns, in order; those that were never analyzed are missing.
    pub columns: Vec<ColumnStatistics>,
}

/// The statistics of one column.
#[derive(Clone, Debug)]
pub struct ColumnStatistics {
    /// Which (0-based).
    pub column: usize,
    /// The type it had.
    pub ty: SqlType,
    /// Fraction of rows in which it is NULL.
    pub null_fraction: f32,
    /// Average bytes of the values that are not NULL.
    pub width: i32,
    /// How many different values there are; negative: as a fraction of the rows. 0 is unknown.
    pub distinct: f32,
    /// The most common values and the fraction of rows that have each, the most common first.
    pub common: Vec<(Datum, f32)>,
    /// Values that divide the others into parts of equally many rows, ascending.
    pub histogram: Vec<Datum>,
    /// How far the order of the values is that of the rows in the table: −1 to 1.
    pub correlation: Option<f32>,
}

impl PartialEq for ColumnStatistics {
    fn eq(&self, other: &Self) -> bool {
        // Values have no equality of their own; that of what is stored is good enough.
        format!("{self:?}") == format!("{other:?}")
    }
}

impl TableStatistics {
    /// Of a table that was never analyzed.
    pub fn new(table: Oid) -> Self {
        Self { table, rows: None, keys: 0, table_bytes: 0, index_bytes: 0, columns: Vec::new() }
    }

    /// Of a column (0-based) of this type.
    pub fn column(&self, column: usize, ty: SqlType) -> Option<&ColumnStatistics> {
        let at = self.columns.binary_search_by_key(&column, |known| known.column).ok()?;
        Some(&self.columns[at]).filter(|known| known.ty == ty)
    }

    /// Puts a column's statistics in, in place of what was known.
    pub fn put(&mut self, new: ColumnStatistics) {
        match self.columns.binary_search_by_key(&new.column, |known| known.column) {
            Ok(at) => self.columns[at] = new,
            Err(at) => self.columns.insert(at, new),
        }
    }

    /// What is left when the table has been emptied: as in PostgreSQL, what is known of its columns.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { columns: self.columns.clone(), ..Self::new(self.table) }
    }
}

impl ColumnStatistics {
    /// How many different values there are among `rows` rows; `None` if that is not known.
    pub fn distinct_of(&self, rows: f64) -> Option<f64> {
        match f64::from(self.distinct) {
            0.0 => None,
            fraction if fraction < 0.0 => Some((-fraction * rows).max(1.0)),
            count => Some(count),
        }
    }
}

/// As they are stored. Values are text, for the reader's sake.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncodedStatistics {
    table: u32,
    rows: Option<f64>,
    keys: u64,
    table_bytes: u64,
    index_bytes: u64,
    columns: Vec<EncodedColumnStatistics>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedColumnStatistics {
    column: usize,
    type_oid: u32,
    null_fraction: f32,
    width: i32,
    distinct: f32,
    common: Vec<(String, f32)>,
    histogram: Vec<String>,
    correlation: Option<f32>,
}

impl From<&TableStatistics> for EncodedStatistics {
    fn from(statistics: &TableStatistics) -> Self {
        Self {
            table: statistics.table.0,
            rows: statistics.rows,
            keys: statistics.keys,
            table_bytes: statistics.table_bytes,
            index_bytes: statistics.index_bytes,
            columns: statistics.columns.iter().map(EncodedColumnStatistics::from).collect(),
        }
    }
}

impl From<EncodedStatistics> for TableStatistics {
    fn from(encoded: EncodedStatistics) -> Self {
        let mut statistics = Self {
            table: Oid(encoded.table),
            rows: encoded.rows,
            keys: encoded.keys,
            table_bytes: encoded.table_bytes,
            index_bytes: encoded.index_bytes,
            columns: Vec::new(),
        };
        encoded.columns.into_iter().filter_map(EncodedColumnStatistics::decode).for_each(|column| statistics.put(column));
        statistics
    }
}

impl From<&ColumnStatistics> for EncodedColumnStatistics {
    fn from(column: &ColumnStatistics) -> Self {
        let text = |value: &Datum| {
            let mut text = Vec::new();
            write_text(value, column.ty, &SessionFormat::default(), &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        Self {
            column: column.column,
            type_oid: column.ty.oid().0,
            null_fraction: column.null_fraction,
            width: column.width,
            distinct: column.distinct,
            common: column.common.iter().map(|(value, fraction)| (text(value), *fraction)).collect(),
            histogram: column.histogram.iter().map(text).collect(),
            correlation: column.correlation,
        }
    }
}

impl EncodedColumnStatistics {
    fn decode(self) -> Option<ColumnStatistics> {
        let ty = SqlType::from_oid(Oid(self.type_oid))?;
        let value = |text: &String| parse_text(ty, -1, text, &SessionFormat::default()).ok();
        let common = self.common.iter().map(|(text, fraction)| Some((value(text)?, *fraction)));
        Some(ColumnStatistics {
            column: self.column,
            ty,
            null_fraction: self.null_fraction,
            width: self.width,
            distinct: self.distinct,
            common: common.collect::<Option<_>>()?,
            histogram: self.histogram.iter().map(value).collect::<Option<_>>()?,
            correlation: self.correlation,
        })
    }
}
