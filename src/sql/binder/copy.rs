//! COPY: its object and its options, checked as PostgreSQL's ProcessCopyOptions checks them.

use crate::catalog::{Privileges, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::Binder;
use crate::sql::binder::insert::column_index;
use crate::sql::expr::Expr;
use crate::sql::parser::ast::{CopyAst, CopyObject, CopyValue};
use crate::sql::plan::{Access, CopyDirection, CopyFormat, CopyOptions, CopyPlan, Node, OutputColumn, Plan, Query, Scan};

fn syntax(message: impl Into<String>, position: u32) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, message).at(position)
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn unsupported_option(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

impl Binder<'_> {
    /// Binds a COPY.
    pub fn copy(&self, copy: &CopyAst) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let direction = match &copy.object {
            CopyObject::Query(statement) => self.copy_query(statement)?,
            CopyObject::Table(name, columns) => {
                let table = self.table(name)?;
                let mut numbers = Vec::new();
                for (name, position) in columns {
                    let column = column_index(&table, name, Some(*position))?;
                    if numbers.contains(&column) {
                        let message = format!("column \"{name}\" specified more than once");
                        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(*position));
                    }
                    numbers.push(column);
                }
                if columns.is_empty() {
                    numbers = (0..table.columns.len()).collect();
                }
                if let Some(usage) = self.mention(&table, if copy.to { Privileges::SELECT } else { Privileges::INSERT }) {
                    numbers.iter().for_each(|&column| if copy.to { usage.select(column) } else { usage.insert(column) });
                }
                if copy.to { copy_table(table, &numbers) } else { self.copy_from(table, numbers)? }
            }
        };
        let options = options(copy, &direction)?;
        Ok((Plan::Copy(CopyPlan { direction, options }), Vec::new()))
    }

    fn copy_query(&self, statement: &sqlparser::ast::Statement) -> SqlResult<CopyDirection> {
        let (plan, columns) = self.sql(statement)?;
        match plan {
            Plan::Query(query) => Ok(CopyDirection::ToStdout { query, columns }),
            _ => Err(SqlError::unsupported("COPY of INSERT, UPDATE or DELETE")),
        }
    }

    fn copy_from(&self, table: std::sync::Arc<TableDef>, columns: Vec<usize>) -> SqlResult<CopyDirection> {
        let defaults = (0..table.columns.len())
            .map(|column| if columns.contains(&column) { Ok(None) } else { self.default_value(&table, column).map(Some) })
            .collect::<SqlResult<Vec<_>>>()?;
        Ok(CopyDirection::FromStdin { table, columns, defaults })
    }
}

/// COPY of a table is COPY of the query that reads it.
fn copy_table(table: std::sync::Arc<TableDef>, numbers: &[usize]) -> CopyDirection {
    let columns = numbers
        .iter()
        .map(|&column| {
            let definition = &table.columns[column];
            let number = i16::try_from(column + 1).expect("a table has at most 1,600 columns");
            OutputColumn { name: definition.name.clone(), ty: definition.ty, source: Some((table.oid, number)) }
        })
        .collect();
    let exprs = numbers.iter().map(|&column| Expr::Column(column, table.columns[column].ty)).collect();
    let all = (0..table.columns.len()).collect();
    let scan = Scan { table, columns: all, access: Access::Full, filter: None, reverse: false, limit: None };
    let root = Node::Project { input: Box::new(Node::Scan(scan)), exprs };
    CopyDirection::ToStdout { query: Query { root, point: None, locking: None }, columns }
}

/// Reads the options; each at most once.
fn options(copy: &CopyAst, direction: &CopyDirection) -> SqlResult<CopyOptions> {
    let mut seen: Vec<&str> = Vec::new();
    let (mut format, mut delimiter, mut null, mut quote, mut escape) = (CopyFormat::Text, None, None, None, None);
    let (mut header, mut freeze) = (false, false);
    let (mut force_quote, mut force_not_null, mut force_null) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value, position) in &copy.options {
        if seen.contains(&name.as_str()) {
            return Err(syntax("conflicting or redundant options", *position));
        }
        seen.push(name);
        match name.as_str() {
            "format" => format = format_of(value, *position)?,
            "delimiter" => delimiter = Some(text(name, value, *position)?),
            "null" => null = Some(text(name, value, *position)?),
            "quote" => quote = Some(text(name, value, *position)?),
            "escape" => escape = Some(text(name, value, *position)?),
            "header" => header = header_of(value, *position)?,
            "freeze" => freeze = boolean(name, value, *position)?,
            "encoding" => encoding(&text(name, value, *position)?)?,
            "force_quote" => force_quote = columns(name, value, direction, *position)?,
            "force_not_null" => force_not_null = columns(name, value, direction, *position)?,
            "force_null" => force_null = columns(name, value, direction, *position)?,
            _ => return Err(syntax(format!("option \"{name}\" not recognized"), *position)),
        }
    }
    let csv = format == CopyFormat::Csv;
    if !csv {
        for (given, name) in [
            ("quote", "quote"),
            ("escape", "escape"),
            ("force_quote", "force quote"),
            ("force_not_null", "force not null"),
            ("force_null", "force null"),
        ] {
            if seen.contains(&given) {
                return Err(unsupported_option(format!("COPY {name} available only in CSV mode")));
            }
        }
    }
    check_direction(copy, &seen)?;
    let delimiter = single_byte("delimiter", delimiter.as_deref().unwrap_or(if csv { "," } else { "\t" }))?;
    let null = null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
    let quote = single_byte("quote", quote.as_deref().unwrap_or("\""))?;
    let escape = match escape {
        Some(escape) => single_byte("escape", &escape)?,
        None => quote,
    };
    check_characters(csv, delimiter, &null, quote)?;
    Ok(CopyOptions { format, delimiter, null, header, quote, escape, force_quote, force_not_null, force_null, freeze })
}

fn format_of(value: &CopyValue, position: u32) -> SqlResult<CopyFormat> {
    match text("format", value, position)?.as_str() {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Err(SqlError::unsupported("COPY in binary format")),
        other => Err(invalid(format!("COPY format \"{other}\" not recognized")).at(position)),
    }
}

fn text(name: &str, value: &CopyValue, position: u32) -> SqlResult<String> {
    match value {
        CopyValue::Text(text) => Ok(text.clone()),
        _ => Err(syntax(format!("{name} requires a parameter"), position)),
    }
}

fn boolean(name: &str, value: &CopyValue, position: u32) -> SqlResult<bool> {
    match value {
        CopyValue::None => Ok(true),
        CopyValue::Text(text) if ["true", "on", "1"].contains(&text.to_ascii_lowercase().as_str()) => Ok(true),
        CopyValue::Text(text) if ["false", "off", "0"].contains(&text.to_ascii_lowercase().as_str()) => Ok(false),
        _ => Err(syntax(format!("{name} requires a Boolean value"), position)),
    }
}

fn header_of(value: &CopyValue, position: u32) -> SqlResult<bool> {
    if matches!(value, CopyValue::Text(text) if text.eq_ignore_ascii_case("match")) {
        return Err(SqlError::unsupported("COPY … HEADER MATCH").at(position));
    }
    boolean("header", value, position).map_err(|_| syntax("header requires a Boolean value or \"match\"", position))
}

fn encoding(name: &str) -> SqlResult<()> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if matches!(plain.as_str(), "utf8" | "unicode") {
        Ok(())
    } else {
        Err(SqlError::unsupported(format!("COPY in encoding {name}")))
    }
}

/// Column numbers for FORCE_…: of the table, or of the query's result.
fn columns(name: &str, value: &CopyValue, direction: &CopyDirection, position: u32) -> SqlResult<Vec<usize>> {
    let find = |column: &str| match direction {
        CopyDirection::FromStdin { table, columns, .. } => {
            let number = table.columns.iter().position(|definition| definition.name == column)?;
            columns.contains(&number).then_some(number)
        }
        CopyDirection::ToStdout { columns, .. } => columns.iter().position(|output| output.name == column),
    };
    match (value, direction) {
        (CopyValue::Star, CopyDirection::ToStdout { columns, .. }) if name == "force_quote" => Ok((0..columns.len()).collect()),
        (CopyValue::Columns(names), _) => names
            .iter()
            .map(|(column, at)| {
                find(column).ok_or_else(|| {
                    let message = format!("{} column \"{column}\" not referenced by COPY", name.to_uppercase());
                    SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message).at(*at)
                })
            })
            .collect(),
        _ => Err(invalid(format!("argument to option \"{name}\" must be a list of column names")).at(position)),
    }
}

fn check_direction(copy: &CopyAst, seen: &[&str]) -> SqlResult<()> {
    let refused = if copy.to {
        [
            ("force_not_null", "COPY force not null only available using COPY FROM"),
            ("force_null", "COPY force null only available using COPY FROM"),
            ("freeze", "COPY freeze only available using COPY FROM"),
        ]
    } else {
        [("force_quote", "COPY force quote only available using COPY TO"); 3]
    };
    match refused.iter().find(|(name, _)| seen.contains(name)) {
        Some((_, message)) => Err(unsupported_option(*message)),
        None => Ok(()),
    }
}

fn single_byte(name: &str, value: &str) -> SqlResult<u8> {
    match value.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(unsupported_option(format!("COPY {name} must be a single one-byte character"))),
    }
}

fn check_characters(csv: bool, delimiter: u8, null: &str, quote: u8) -> SqlResult<()> {
    if matches!(delimiter, b'\r' | b'\n') {
        return Err(invalid("COPY delimiter cannot be newline or carriage return"));
    }
    if null.contains(['\r', '\n']) {
        return Err(invalid("COPY null representation cannot use newline or carriage return"));
    }
    if !csv && (delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit() || matches!(delimiter, b'\\' | b'.')) {
        return Err(invalid(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter))));
    }
    if csv && delimiter == quote {
        return Err(invalid("COPY delimiter and quote must be different"));
    }
    if null.as_bytes().contains(&delimiter) {
        return Err(invalid("COPY delimiter must not appear in the NULL specification"));
    }
    if csv && null.as_bytes().contains(&quote) {
        return Err(invalid("CSV quote character must not appear in the NULL specification"));
    }
    Ok(())
}
