//! The error a client sees: SQLSTATE, message and the optional fields of an ErrorResponse.
//!
//! Lower layers have typed errors of their own and convert once, where they meet `exec` or `session`
//! (PostgreSQL 15 documentation, appendix A, lists the codes).

use std::fmt;

/// A five-character SQLSTATE code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

macro_rules! states {
    ($($name:ident = $code:literal),* $(,)?) => {
        impl SqlState {
            $(
                #[doc = concat!("SQLSTATE ", stringify!($code), ".")]
                pub const $name: SqlState = SqlState(*$code);
            )*
        }
    };
}

states! {
    PROTOCOL_VIOLATION = b"08P01",
    FEATURE_NOT_SUPPORTED = b"0A000",
    INVALID_TRANSACTION_INITIATION = b"0B000",
    CARDINALITY_VIOLATION = b"21000",
    STRING_DATA_RIGHT_TRUNCATION = b"22001",
    NUMERIC_VALUE_OUT_OF_RANGE = b"22003",
    DATETIME_FIELD_OVERFLOW = b"22008",
    INVALID_DATETIME_FORMAT = b"22007",
    INVALID_TIME_ZONE_DISPLACEMENT_VALUE = b"22009",
    INTERVAL_FIELD_OVERFLOW = b"22015",
    ARRAY_SUBSCRIPT_ERROR = b"2202E",
    INVALID_ESCAPE_SEQUENCE = b"22025",
    INVALID_ESCAPE_CHARACTER = b"22019",
    INVALID_PARAMETER_VALUE = b"22023",
    INVALID_REGULAR_EXPRESSION = b"2201B",
    INVALID_ROW_COUNT_IN_LIMIT = b"2201W",
    INVALID_ROW_COUNT_IN_OFFSET = b"2201X",
    DIVISION_BY_ZERO = b"22012",
    INVALID_ARGUMENT_FOR_LOG = b"2201E",
    INVALID_ARGUMENT_FOR_POWER = b"2201F",
    SUBSTRING_ERROR = b"22011",
    CHARACTER_NOT_IN_REPERTOIRE = b"22021",
    INVALID_TEXT_REPRESENTATION = b"22P02",
    INVALID_BINARY_REPRESENTATION = b"22P03",
    BAD_COPY_FILE_FORMAT = b"22P04",
    UNTRANSLATABLE_CHARACTER = b"22P05",
    NOT_NULL_VIOLATION = b"23502",
    FOREIGN_KEY_VIOLATION = b"23503",
    UNIQUE_VIOLATION = b"23505",
    CHECK_VIOLATION = b"23514",
    ACTIVE_SQL_TRANSACTION = b"25001",
    READ_ONLY_SQL_TRANSACTION = b"25006",
    NO_ACTIVE_SQL_TRANSACTION = b"25P01",
    IN_FAILED_SQL_TRANSACTION = b"25P02",
    INVALID_SQL_STATEMENT_NAME = b"26000",
    INVALID_AUTHORIZATION_SPECIFICATION = b"28000",
    INVALID_PASSWORD = b"28P01",
    INVALID_GRANT_OPERATION = b"0LP01",
    INVALID_CURSOR_NAME = b"34000",
    INVALID_CATALOG_NAME = b"3D000",
    INVALID_SCHEMA_NAME = b"3F000",
    SERIALIZATION_FAILURE = b"40001",
    DEADLOCK_DETECTED = b"40P01",
    SYNTAX_ERROR = b"42601",
    INSUFFICIENT_PRIVILEGE = b"42501",
    RESERVED_NAME = b"42939",
    CANNOT_COERCE = b"42846",
    GROUPING_ERROR = b"42803",
    WRONG_OBJECT_TYPE = b"42809",
    DATATYPE_MISMATCH = b"42804",
    INDETERMINATE_DATATYPE = b"42P18",
    NAME_TOO_LONG = b"42622",
    UNDEFINED_COLUMN = b"42703",
    UNDEFINED_FUNCTION = b"42883",
    UNDEFINED_TABLE = b"42P01",
    UNDEFINED_PARAMETER = b"42P02",
    UNDEFINED_OBJECT = b"42704",
    INVALID_NAME = b"42602",
    DUPLICATE_COLUMN = b"42701",
    DUPLICATE_CURSOR = b"42P03",
    DUPLICATE_PREPARED_STATEMENT = b"42P05",
    DUPLICATE_TABLE = b"42P07",
    DUPLICATE_ALIAS = b"42712",
    DUPLICATE_OBJECT = b"42710",
    AMBIGUOUS_COLUMN = b"42702",
    AMBIGUOUS_FUNCTION = b"42725",
    INVALID_COLUMN_REFERENCE = b"42P10",
    INVALID_TABLE_DEFINITION = b"42P16",
    INSUFFICIENT_RESOURCES = b"53000",
    DISK_FULL = b"53100",
    OUT_OF_MEMORY = b"53200",
    TOO_MANY_CONNECTIONS = b"53300",
    CONFIGURATION_LIMIT_EXCEEDED = b"53400",
    PROGRAM_LIMIT_EXCEEDED = b"54000",
    STATEMENT_TOO_COMPLEX = b"54001",
    TOO_MANY_COLUMNS = b"54011",
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000",
    OBJECT_IN_USE = b"55006",
    CANT_CHANGE_RUNTIME_PARAM = b"55P02",
    LOCK_NOT_AVAILABLE = b"55P03",
    QUERY_CANCELED = b"57014",
    ADMIN_SHUTDOWN = b"57P01",
    CRASH_SHUTDOWN = b"57P02",
    CANNOT_CONNECT_NOW = b"57P03",
    DEPENDENT_OBJECTS_STILL_EXIST = b"2BP01",
    IO_ERROR = b"58030",
    DUPLICATE_FILE = b"58P02",
    SNAPSHOT_TOO_OLD = b"72000",
    CONFIG_FILE_ERROR = b"F0000",
    INTERNAL_ERROR = b"XX000",
    DATA_CORRUPTED = b"XX001",
}

impl SqlState {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("SQLSTATE codes are ASCII constants")
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error on its way to the client. Severity is decided by whoever sends it (ERROR, or FATAL where the connection ends).
///
/// One pointer wide, so that the `Ok` path of hot results stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(Box<SqlErrorFields>);

/// The fields of an ErrorResponse (PostgreSQL 15 documentation, section 55.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlErrorFields {
    /// The SQLSTATE.
    pub code: SqlState,
    /// The primary message: lower case, no full stop, as PostgreSQL words it.
    pub message: String,
    /// More about the error.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// 1-based character position in the statement text.
    pub position: Option<u32>,
    /// The table concerned, where there is one.
    pub table: Option<String>,
    /// The column concerned.
    pub column: Option<String>,
    /// The constraint violated.
    pub constraint: Option<String>,
    /// Where it happened (for example a COPY line).
    pub context: Option<String>,
}

/// The result of everything that can fail in front of a client.
pub type SqlResult<T> = Result<T, SqlError>;

impl SqlError {
    /// An error with a code and a message.
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(SqlErrorFields {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            table: None,
            column: None,
            constraint: None,
            context: None,
        }))
    }

    /// 0A000, for what OmenDB does not do: the message names it.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// XX000, for what should not happen.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, what)
    }

    /// The code.
    pub fn code(&self) -> SqlState {
        self.0.code
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// All fields.
    pub fn fields(&self) -> &SqlErrorFields {
        &self.0
    }

    /// All fields, to change.
    pub fn fields_mut(&mut self) -> &mut SqlErrorFields {
        &mut self.0
    }

    /// With a DETAIL.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// With a HINT.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// With a 1-based character position, unless it has one.
    #[must_use]
    pub fn at(mut self, position: u32) -> Self {
        self.0.position.get_or_insert(position);
        self
    }

    /// With a CONTEXT.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.context = Some(context.into());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {:?})", self.0.message, self.0.code)
    }
}

impl std::error::Error for SqlError {}
