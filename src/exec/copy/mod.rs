//! COPY's formats.

mod parser;

pub use parser::{CopyLine, CopyParser};
