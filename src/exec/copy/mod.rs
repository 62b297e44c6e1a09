//! COPY's text and CSV formats, apart from tables and connections: bytes to lines, lines to fields, and rows to lines.
//!
//! | module | role |
//! |---|---|
//! | `lines` | finds the ends of lines in data that arrives in pieces |
//! | `fields` | takes a line apart |
//! | `writer` | formats rows |
//!
//! Source: PostgreSQL 15 documentation, COPY, "File Formats"; the order of checks and the messages are those of its
//! `copyfromparse.c` and `copyto.c`.
//!
//! Invariants: nothing here panics, whatever a client sends; how the data is cut into pieces changes no result (a test checks
//! that); a byte of input is looked at a bounded number of times.

pub mod fields;
pub mod lines;
pub mod writer;

#[cfg(test)]
mod tests;

pub use fields::Fields;
pub use lines::LineReader;
pub use writer::CopyWriter;

use crate::error::{SqlError, SqlState};

/// 22P04.
pub(super) fn bad_format(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}
