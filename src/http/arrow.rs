//! Results as a stream of Arrow record batches (the IPC streaming format), for whoever reads columns.
//!
//! Integers, floats, booleans, dates, timestamps and bytea have their own Arrow types; everything else, numeric, uuid, intervals and arrays
//! among it, is text as PostgreSQL writes it, since Arrow has no type that holds all of their values. Infinite dates and timestamps, which
//! Arrow cannot hold, are errors.
//!
//! Source: the Arrow columnar format 1.5, "IPC Streaming Format".

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

use super::query::Column;
use crate::error::{SqlError, SqlState};
use crate::types::datetime::calendar::UNIX_EPOCH_MICROS;
use crate::types::{Datum, SessionFormat, SqlType, write_text};

/// The content type of such a stream.
pub const CONTENT_TYPE: &str = "application/vnd.apache.arrow.stream";

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;

/// A stream in the making. What has been encoded is taken out piece by piece.
pub struct ArrowStream {
    columns: Arc<[Column]>,
    schema: Arc<Schema>,
    writer: StreamWriter<Vec<u8>>,
}

fn data_type(ty: SqlType) -> DataType {
    match ty {
        SqlType::Bool => DataType::Boolean,
        SqlType::Int2 => DataType::Int16,
        SqlType::Int4 => DataType::Int32,
        SqlType::Int8 => DataType::Int64,
        SqlType::Oid => DataType::UInt32,
        SqlType::Float4 => DataType::Float32,
        SqlType::Float8 => DataType::Float64,
        SqlType::Bytea => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        SqlType::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        _ => DataType::Utf8,
    }
}

fn failed(error: &ArrowError) -> SqlError {
    SqlError::internal(format!("the result could not be encoded for Arrow: {error}"))
}

impl ArrowStream {
    /// A stream of rows with these columns.
    pub fn new(columns: Arc<[Column]>) -> Result<Self, SqlError> {
        let fields: Vec<Field> = columns.iter().map(|column| Field::new(&column.name, data_type(column.ty), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(|error| failed(&error))?;
        Ok(Self { columns, schema, writer })
    }

    /// Adds rows as one batch.
    ///
    /// Errors: 22008 for an infinite date or timestamp.
    pub fn push(&mut self, rows: &[Vec<Datum>], format: &SessionFormat) -> Result<(), SqlError> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let arrays = self.columns.iter().enumerate().map(|(index, column)| {
            let values = rows.iter().map(move |row| &row[index]);
            array(column.ty, values, format)
        });
        let arrays = arrays.collect::<Result<Vec<ArrayRef>, SqlError>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(|error| failed(&error))?;
        self.writer.write(&batch).map_err(|error| failed(&error))
    }

    /// What has been encoded since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }

    /// The end of the stream.
    pub fn finish(mut self) -> Result<Vec<u8>, SqlError> {
        self.writer.finish().map_err(|error| failed(&error))?;
        Ok(self.take())
    }
}

fn infinite() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "an infinite date or timestamp cannot be given as Arrow")
}

fn array<'a>(ty: SqlType, values: impl Iterator<Item = &'a Datum>, format: &SessionFormat) -> Result<ArrayRef, SqlError> {
    macro_rules! plain {
        ($builder:ty, $variant:ident) => {{
            let mut builder = <$builder>::new();
            for value in values {
                builder.append_option(if let Datum::$variant(value) = value { Some(value.clone()) } else { None });
            }
            Ok(Arc::new(builder.finish()) as ArrayRef)
        }};
    }
    match ty {
        SqlType::Bool => plain!(BooleanBuilder, Bool),
        SqlType::Int2 => plain!(Int16Builder, Int2),
        SqlType::Int4 => plain!(Int32Builder, Int4),
        SqlType::Int8 => plain!(Int64Builder, Int8),
        SqlType::Float4 => plain!(Float32Builder, Float4),
        SqlType::Float8 => plain!(Float64Builder, Float8),
        SqlType::Bytea => plain!(BinaryBuilder, Bytea),
        SqlType::Oid => {
            let mut builder = UInt32Builder::new();
            values.for_each(|value| builder.append_option(if let Datum::Oid(oid) = value { Some(oid.0) } else { None }));
            Ok(Arc::new(builder.finish()))
        }
        SqlType::Date => {
            let mut builder = Date32Builder::new();
            for value in values {
                builder.append_option(match value {
                    Datum::Date(i32::MIN | i32::MAX) => return Err(infinite()),
                    Datum::Date(days) => Some(days + EPOCH_DAYS),
                    _ => None,
                });
            }
            Ok(Arc::new(builder.finish()))
        }
        SqlType::Timestamp | SqlType::TimestampTz => {
            let mut builder = TimestampMicrosecondBuilder::new();
            for value in values {
                builder.append_option(match value {
                    Datum::Timestamp(i64::MIN | i64::MAX) | Datum::TimestampTz(i64::MIN | i64::MAX) => return Err(infinite()),
                    Datum::Timestamp(micros) | Datum::TimestampTz(micros) => Some(micros + UNIX_EPOCH_MICROS),
                    _ => None,
                });
            }
            let zone = (ty == SqlType::TimestampTz).then_some("UTC");
            Ok(Arc::new(builder.finish().with_timezone_opt(zone)))
        }
        _ => {
            let mut builder = StringBuilder::new();
            let mut text = Vec::new();
            for value in values {
                text.clear();
                write_text(value, ty, format, &mut text);
                builder.append_option((!value.is_null()).then(|| String::from_utf8_lossy(&text)));
            }
            Ok(Arc::new(builder.finish()))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
    use arrow::ipc::reader::StreamReader;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty };
        let columns: Arc<[Column]> =
            [column("id", SqlType::Int4), column("at", SqlType::TimestampTz), column("what", SqlType::Uuid)].into();
        let mut stream = ArrowStream::new(columns).expect("there are such types");
        let format = SessionFormat::default();
        let rows = vec![vec![Datum::Int4(7), Datum::TimestampTz(0), Datum::Uuid([1; 16])], vec![Datum::Null; 3]];
        stream.push(&rows, &format).expect("they fit");
        let mut bytes = stream.take();
        assert!(stream.push(&[vec![Datum::Null, Datum::TimestampTz(i64::MAX), Datum::Null]], &format).is_err());
        bytes.extend(stream.finish().expect("it ends"));
        let batches: Vec<_> =
            StreamReader::try_new(&bytes[..], None).expect("a stream").map(|batch| batch.expect("whole")).collect();
        let [batch] = &batches[..] else { panic!("one batch was written, not {}", batches.len()) };
        assert_eq!(batch.column(0).as_primitive::<Int32Type>().value(0), 7);
        assert!((0..3).all(|column| batch.column(column).is_null(1)));
        assert_eq!(batch.column(1).as_primitive::<TimestampMicrosecondType>().value(0), UNIX_EPOCH_MICROS.abs());
        assert_eq!(batch.column(2).as_string::<i32>().value(0), "01010101-0101-0101-0101-010101010101");
    }
}
