//! The messages of the server, into one reusable buffer.
//!
//! DataRow, the only message whose number is that of rows, is written straight from values or stored rows; messages without a
//! body are constants; a RowDescription is encoded once a statement and format; everything else is encoded by pgwire.
//!
//! Source: PostgreSQL 15 documentation, sections 55.7 "Message Formats" and 55.8 "Error and Notice Message Fields".

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::copy::{CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, ParameterDescription, RowDescription};
use pgwire::messages::response::{CommandComplete, ErrorResponse, NoticeResponse};
use pgwire::messages::startup::ParameterStatus;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::response::{Response, RowShape, Severity, TransactionStatus};
use crate::types::{Datum, RowView, SessionFormat, write_binary, write_text};

/// Beyond this, what has gathered is written before the next statement begins.
const FLUSH_BYTES: usize = 64 << 10;

/// Beyond this, it is written before anything is added. So a statement whose result is smaller than the difference never waits for a client
/// that does not read, and keeps no session meanwhile.
const FULL_BYTES: usize = 2 * FLUSH_BYTES;

/// The buffer's capacity beyond which it is given back once it is empty.
const KEEP_BYTES: usize = 256 << 10;

/// The output buffer of one connection.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
    /// What pgwire encodes into.
    scratch: BytesMut,
}

impl Encoder {
    /// What has gathered.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Whether nothing has gathered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether enough has gathered to be written between two statements.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.out.len() >= FLUSH_BYTES
    }

    /// Whether it is to be written before anything is added.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.out.len() >= FULL_BYTES
    }

    /// Forgets what has been written.
    pub fn clear(&mut self) {
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::with_capacity(FLUSH_BYTES);
        }
        self.out.clear();
    }

    /// Adds bytes that are messages already.
    #[inline]
    pub fn raw(&mut self, message: &[u8]) {
        self.out.extend_from_slice(message);
    }

    /// Adds a message through pgwire.
    pub fn message(&mut self, message: &impl Message) {
        self.scratch.clear();
        message.encode(&mut self.scratch).expect("no message that goes this way comes near its type's limit");
        self.out.extend_from_slice(&self.scratch);
    }

    /// Adds a message of the session.
    #[inline]
    pub fn response(&mut self, response: Response<'_>) {
        match response {
            Response::ParseComplete => self.raw(b"1\0\0\0\x04"),
            Response::BindComplete => self.raw(b"2\0\0\0\x04"),
            Response::CloseComplete => self.raw(b"3\0\0\0\x04"),
            Response::NoData => self.raw(b"n\0\0\0\x04"),
            Response::PortalSuspended => self.raw(b"s\0\0\0\x04"),
            Response::EmptyQuery => self.raw(b"I\0\0\0\x04"),
            Response::CopyDone => self.raw(b"c\0\0\0\x04"),
            Response::RowDescription(shape) => self.raw(shape.encoded.get_or_init(|| row_description(shape))),
            Response::Complete("SELECT 1") => self.raw(b"C\0\0\0\x0dSELECT 1\0"),
            Response::Complete(tag) => self.message(&CommandComplete::new(tag.to_owned())),
            Response::Ready(TransactionStatus::Idle) => self.raw(b"Z\0\0\0\x05I"),
            Response::Ready(TransactionStatus::InBlock) => self.raw(b"Z\0\0\0\x05T"),
            Response::Ready(TransactionStatus::Failed) => self.raw(b"Z\0\0\0\x05E"),
            Response::CopyData(data) => self.copy_data(data),
            Response::Message(severity, error) => self.error_or_notice(severity, error),
            Response::ParameterDescription(types) => {
                self.message(&ParameterDescription::new(types.iter().map(|ty| ty.oid().0).collect()));
            }
            Response::Parameter(name, value) => self.message(&ParameterStatus::new(name.to_owned(), value.to_owned())),
            Response::CopyIn(columns) => {
                let columns = copy_columns(columns);
                self.message(&CopyInResponse::new(0, columns, vec![0; columns as usize]));
            }
            Response::CopyOut(columns) => {
                let columns = copy_columns(columns);
                self.message(&CopyOutResponse::new(0, columns, vec![0; columns as usize]));
            }
        }
    }

    /// Adds a DataRow of values. On an error nothing has been added.
    pub fn row(&mut self, shape: &RowShape, values: &[Datum], format: &SessionFormat) -> SqlResult<()> {
        assert_eq!(values.len(), shape.columns.len(), "a row has the columns of its description");
        self.data_row(values.len(), |out, column| {
            let value = &values[column];
            if matches!(value, Datum::Null) {
                return false;
            }
            let ty = shape.columns[column].ty.ty;
            if shape.binary[column] {
                write_binary(value, ty, out)
            } else {
                write_text(value, ty, format, out)
            }
            true
        })
    }

    /// Adds a DataRow of columns of a stored row. On an error nothing has been added.
    #[inline]
    pub fn stored(&mut self, shape: &RowShape, columns: &[usize], row: RowView<'_>, format: &SessionFormat) -> SqlResult<()> {
        assert_eq!(columns.len(), shape.binary.len(), "a row has the columns of its description");
        self.data_row(columns.len(), |out, column| match shape.binary[column] {
            true => row.write_binary_column(columns[column], out),
            false => row.write_text_column(columns[column], format, out),
        })
    }

    /// `write` appends one column, or answers `false` for NULL.
    #[inline]
    fn data_row(&mut self, columns: usize, mut write: impl FnMut(&mut Vec<u8>, usize) -> bool) -> SqlResult<()> {
        let out = &mut self.out;
        let start = out.len();
        let count = u16::try_from(columns).expect("a result has at most 1664 columns");
        out.extend_from_slice(b"D\0\0\0\0");
        out.extend_from_slice(&count.to_be_bytes());
        for column in 0..columns {
            let at = out.len();
            out.extend_from_slice(&[0xFF; 4]);
            if write(out, column)
                && let Ok(length) = i32::try_from(out.len() - at - 4)
            {
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        // A value longer than its length field can say makes the whole row longer than that.
        let Ok(length) = i32::try_from(out.len() - start - 1) else {
            out.truncate(start);
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a result row is larger than 2 GB"));
        };
        out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn copy_data(&mut self, data: &[u8]) {
        let length = u32::try_from(data.len() + 4).expect("COPY lines are cut into messages below 1 GB");
        self.out.push(b'd');
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(data);
    }

    fn error_or_notice(&mut self, severity: Severity, error: &SqlError) {
        let fields = message_fields(severity, error);
        if severity >= Severity::Error {
            self.message(&ErrorResponse::new(fields));
        } else {
            self.message(&NoticeResponse::new(fields));
        }
    }
}

fn copy_columns(columns: usize) -> i16 {
    i16::try_from(columns).expect("a table has at most 1600 columns")
}

fn row_description(shape: &RowShape) -> Box<[u8]> {
    let fields = shape.columns.iter().zip(&shape.binary).map(|(column, binary)| {
        let (table, attribute) = column.source.map_or((0, 0), |(table, attribute)| (table.0, attribute));
        FieldDescription::new(
            without_nul(&column.name),
            table.cast_signed(),
            attribute,
            column.ty.ty.oid().0,
            column.ty.ty.typlen(),
            column.ty.typmod,
            i16::from(*binary),
        )
    });
    let mut message = BytesMut::new();
    RowDescription::new(fields.collect())
        .encode(&mut message)
        .expect("1664 names of at most a query's length stay below the limit");
    message.as_ref().into()
}

fn message_fields(severity: Severity, error: &SqlError) -> Vec<(u8, String)> {
    let error = error.fields();
    let mut fields = vec![
        (b'S', severity.label().to_owned()),
        (b'V', severity.label().to_owned()),
        (b'C', error.code.as_str().to_owned()),
        (b'M', without_nul(&error.message)),
    ];
    let optional = [
        (b'D', &error.detail),
        (b'H', &error.hint),
        (b'W', &error.context),
        (b't', &error.table),
        (b'c', &error.column),
        (b'n', &error.constraint),
    ];
    fields.extend(optional.into_iter().filter_map(|(code, text)| Some((code, without_nul(text.as_deref()?)))));
    fields.extend(error.position.map(|position| (b'P', position.to_string())));
    fields
}

/// Strings end at NUL on the wire, so that one within would shift everything behind it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Oid;
    use crate::sql::plan::OutputColumn;
    use crate::types::{ColumnType, SqlType};

    fn column(name: &str, ty: SqlType) -> OutputColumn {
        OutputColumn { name: name.to_owned(), ty: ColumnType { ty, typmod: -1 }, source: Some((Oid(16_384), 1)) }
    }

    #[test]
    fn errors_carry_all_their_fields() {
        let mut encoder = Encoder::default();
        let mut error = SqlError::new(SqlState::UNIQUE_VIOLATION, "dup\0licate").detail("d").hint("h").at(7).context("c");
        error.fields_mut().table = Some("t".to_owned());
        error.fields_mut().constraint = Some("t_pkey".to_owned());
        encoder.response(Response::Message(Severity::Error, &error));
        let text = b"SERROR\0VERROR\0C23505\0Mduplicate\0Dd\0Hh\0Wc\0tt\0nt_pkey\0P7\0\0";
        assert_eq!(encoder.bytes()[0], b'E');
        assert_eq!(&encoder.bytes()[5..], text);
        encoder.clear();
        encoder.response(Response::Message(Severity::Warning, &SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, "w")));
        assert!(encoder.bytes().starts_with(b"N\0\0\0"));
        assert!(encoder.bytes().ends_with(b"SWARNING\0VWARNING\0C25001\0Mw\0\0"));
    }

    #[test]
    fn descriptions_are_encoded_once() {
        let shape = RowShape::new(&[column("a", SqlType::Int4), column("b", SqlType::Text)], [1, 0].into_iter()).unwrap();
        let mut encoder = Encoder::default();
        encoder.response(Response::RowDescription(&shape));
        let expected = b"T\0\0\0\x2e\0\x02\
            a\0\0\0\x40\0\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01\
            b\0\0\0\x40\0\0\x01\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
        assert_eq!(encoder.bytes(), expected);
        let first = shape.encoded.get().unwrap().as_ptr();
        encoder.response(Response::RowDescription(&shape));
        assert_eq!(shape.encoded.get().unwrap().as_ptr(), first);
    }

    #[test]
    fn format_codes_apply_to_none_all_or_each() {
        let columns = [column("a", SqlType::Int4), column("b", SqlType::Text)];
        for (codes, binary) in [(&[][..], [false, false]), (&[1][..], [true, true]), (&[0, 1][..], [false, true])] {
            assert_eq!(RowShape::new(&columns, codes.iter().copied()).unwrap().binary, binary);
        }
        let wrong = RowShape::new(&columns, [0, 0, 0].into_iter()).unwrap_err();
        assert_eq!(wrong.code(), SqlState::PROTOCOL_VIOLATION);
        let wrong = RowShape::new(&columns, [2].into_iter()).unwrap_err();
        assert_eq!(wrong.code(), SqlState::INVALID_PARAMETER_VALUE);
    }

    #[test]
    fn rows_end_where_they_say() {
        let shape = RowShape::text(&[column("a", SqlType::Int4), column("b", SqlType::Text)]);
        let mut encoder = Encoder::default();
        let format = SessionFormat::default();
        encoder.row(&shape, &[Datum::Null, Datum::Null], &format).unwrap();
        assert_eq!(encoder.bytes(), b"D\0\0\0\x0e\0\x02\xff\xff\xff\xff\xff\xff\xff\xff");
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let mut encoder = Encoder::default();
        encoder.response(Response::CopyData(&vec![b'x'; 1 << 20]));
        assert!(encoder.is_full());
        encoder.clear();
        assert!(encoder.out.capacity() <= KEEP_BYTES);
    }
}
