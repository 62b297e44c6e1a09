//! Rows as lines of COPY TO's output.

use crate::sql::plan::{CopyFormat, CopyOptions, OutputColumn};
use crate::types::{Datum, SessionFormat, SqlType, write_text};

/// Formats rows.
pub struct CopyWriter {
    options: CopyOptions,
    types: Vec<SqlType>,
    names: Vec<String>,
    value: Vec<u8>,
}

impl CopyWriter {
    /// For rows of these columns.
    pub fn new(options: CopyOptions, columns: &[OutputColumn]) -> Self {
        Self {
            options,
            types: columns.iter().map(|column| column.ty.ty).collect(),
            names: columns.iter().map(|column| column.name.clone()).collect(),
            value: Vec::new(),
        }
    }

    /// Appends the header line; false, and nothing, if there is to be none.
    pub fn header(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.options.header {
            return false;
        }
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                out.push(self.options.delimiter);
            }
            match self.options.format {
                CopyFormat::Text => write_escaped(name.as_bytes(), self.options.delimiter, out),
                CopyFormat::Csv => write_csv(name.as_bytes(), &self.options, false, self.names.len() == 1, out),
            }
        }
        out.push(b'\n');
        true
    }

    /// Appends a row's line.
    pub fn row(&mut self, row: &[Datum], format: &SessionFormat, out: &mut Vec<u8>) {
        assert_eq!(row.len(), self.types.len(), "one value a column");
        for (index, (value, ty)) in row.iter().zip(&self.types).enumerate() {
            if index > 0 {
                out.push(self.options.delimiter);
            }
            if value.is_null() {
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            self.value.clear();
            write_text(value, *ty, format, &mut self.value);
            match self.options.format {
                CopyFormat::Text => write_escaped(&self.value, self.options.delimiter, out),
                CopyFormat::Csv => {
                    let forced = self.options.force_quote.contains(&index);
                    write_csv(&self.value, &self.options, forced, row.len() == 1, out);
                }
            }
        }
        out.push(b'\n');
    }
}

/// A value in text format.
fn write_escaped(value: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    for &byte in value {
        let letter = match byte {
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            // The delimiter is escaped as itself only where it has no letter.
            b'\t' => b't',
            0x0b => b'v',
            _ if byte == delimiter => byte,
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', letter]);
    }
}

/// A value in CSV, quoted where it would be misread.
fn write_csv(value: &[u8], options: &CopyOptions, forced: bool, alone: bool, out: &mut Vec<u8>) {
    let special = |byte: &u8| *byte == options.delimiter || *byte == options.quote || matches!(byte, b'\n' | b'\r');
    let quoted = forced || value == options.null.as_bytes() || (alone && value == b"\\.") || value.iter().any(special);
    if !quoted {
        return out.extend_from_slice(value);
    }
    out.push(options.quote);
    for &byte in value {
        if byte == options.quote || byte == options.escape {
            out.push(options.escape);
        }
        out.push(byte);
    }
    out.push(options.quote);
}
