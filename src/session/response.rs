//! What a session says to its client, without a byte of protocol in it: the wire layer implements [`Client`].

use std::sync::OnceLock;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::plan::OutputColumn;
use crate::types::{Datum, RowView, SessionFormat, SqlType};

/// The columns of a result and the formats the client asked for. Shared by all executions of a statement, and so is the
/// encoded description.
#[derive(Debug)]
pub struct RowShape {
    /// The columns.
    pub columns: Vec<OutputColumn>,
    /// For each column whether it is sent in binary format.
    pub binary: Vec<bool>,
    /// The RowDescription message, encoded when it is first needed.
    pub encoded: OnceLock<Box<[u8]>>,
}

impl RowShape {
    /// The columns with format codes as Bind gives them: none (all text), one for all, or one each.
    ///
    /// Errors: 08P01 for a number of codes that fits neither, 22023 for a code that is none.
    pub fn new(columns: &[OutputColumn], mut codes: impl ExactSizeIterator<Item = i16>) -> SqlResult<Self> {
        let binary = match codes.len() {
            0 => vec![false; columns.len()],
            1 => vec![is_binary(codes.next().expect("there is one"))?; columns.len()],
            count if count == columns.len() => codes.map(is_binary).collect::<SqlResult<_>>()?,
            count => {
                let message = format!("bind message has {count} result formats but query has {} columns", columns.len());
                return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message));
            }
        };
        Ok(Self { columns: columns.to_vec(), binary, encoded: OnceLock::new() })
    }

    /// All columns in text format, as the simple protocol has it.
    pub fn text(columns: &[OutputColumn]) -> Self {
        Self { columns: columns.to_vec(), binary: vec![false; columns.len()], encoded: OnceLock::new() }
    }
}

/// Whether a format code means binary; 22023 for codes that are none.
pub fn is_binary(code: i16) -> SqlResult<bool> {
    match code {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))),
    }
}

/// How grave a message is (the S and V fields).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Severity {
    Debug,
    Log,
    Info,
    Notice,
    Warning,
    Error,
    Fatal,
    Panic,
}

impl Severity {
    /// As the protocol spells it.
    pub fn label(self) -> &'static str {
        match self {
            Severity::Debug => "DEBUG",
            Severity::Log => "LOG",
            Severity::Info => "INFO",
            Severity::Notice => "NOTICE",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Panic => "PANIC",
        }
    }
}

/// The transaction indicator of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction block.
    Idle,
    /// In a transaction block.
    InBlock,
    /// In a transaction block that has failed.
    Failed,
}

/// One message to the client.
#[derive(Clone, Copy, Debug)]
pub enum Response<'a> {
    /// ParseComplete.
    ParseComplete,
    /// BindComplete.
    BindComplete,
    /// CloseComplete.
    CloseComplete,
    /// NoData.
    NoData,
    /// PortalSuspended.
    PortalSuspended,
    /// EmptyQueryResponse.
    EmptyQuery,
    /// RowDescription.
    RowDescription(&'a RowShape),
    /// ParameterDescription.
    ParameterDescription(&'a [SqlType]),
    /// CommandComplete with its tag.
    Complete(&'a str),
    /// An ErrorResponse or NoticeResponse, by severity.
    Message(Severity, &'a SqlError),
    /// ReadyForQuery.
    Ready(TransactionStatus),
    /// ParameterStatus.
    Parameter(&'a str, &'a str),
    /// CopyInResponse, textual, of so many columns.
    CopyIn(usize),
    /// CopyOutResponse, textual, of so many columns.
    CopyOut(usize),
    /// CopyData of the server.
    CopyData(&'a [u8]),
    /// CopyDone of the server.
    CopyDone,
}

/// What a client sends while COPY FROM STDIN runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CopyInput<'a> {
    /// A piece of the data, cut anywhere.
    Data(&'a [u8]),
    /// All data has been sent.
    Done,
}

/// The client is gone, or the bytes it sends cannot be followed any more. Whatever runs for it ends; nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why a conversation with the client does not go on as planned.
#[derive(Debug)]
pub enum Failure {
    /// The statement has failed; the client is told.
    Sql(SqlError),
    /// There is nobody to tell.
    Gone,
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Failure::Sql(error)
    }
}

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Failure::Gone
    }
}

/// The other end of a session. Messages gather in a buffer until [`flush`](Client::flush).
#[allow(async_fn_in_trait)] // Sessions run on the core that polls them; nothing needs these futures to be Send.
pub trait Client {
    /// Adds a message.
    fn send(&mut self, response: Response<'_>);

    /// Adds a DataRow of values.
    ///
    /// Errors: 54000 for a row that no message can hold.
    fn send_row(&mut self, shape: &RowShape, values: &[Datum], format: &SessionFormat) -> SqlResult<()>;

    /// Adds a DataRow straight from a stored row: `columns` are those of the table that make up the result.
    ///
    /// Errors: as [`send_row`](Client::send_row).
    fn send_stored(&mut self, shape: &RowShape, columns: &[usize], row: RowView<'_>, format: &SessionFormat) -> SqlResult<()>;

    /// Whether so much has gathered that it should be flushed before more is added.
    fn is_full(&self) -> bool;

    /// Writes what has gathered, waiting for the client to take it.
    async fn flush(&mut self) -> Result<(), Gone>;

    /// The next piece of COPY data. Errors: the client's CopyFail (57014), an unexpected message (08P01), or [`Gone`].
    async fn copy_input(&mut self) -> Result<CopyInput<'_>, Failure>;
}
