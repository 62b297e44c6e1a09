//! COPY … FROM STDIN: lines to rows to the engine, in batches.

use std::ops::Range;
use std::sync::Arc;

use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{ExecContext, Row};
use crate::exec::copy::{Fields, LineReader, bad_format};
use crate::exec::insert::{duplicate_key, encode_rows};
use crate::exec::programs::not_null_violation;
use crate::shard::EngineError;
use crate::sql::NoSubqueries;
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{NoRow, eval};
use crate::sql::plan::{CopyDirection, CopyOptions, Plan, Statement};
use crate::storage::Key;
use crate::txn::{LockWait, TableLock};
use crate::types::binary::utf8;
use crate::types::{Datum, SessionFormat, parse_text};

/// Rows given to the engine at once.
const BATCH_ROWS: usize = 512;
/// A batch ends early once its lines have so many bytes.
const BATCH_BYTES: usize = 1024 * 1024;
/// Longest piece of the data that a CONTEXT shows (`limit_printout_length` in PostgreSQL).
const SHOWN_BYTES_MAX: usize = 100;

/// A COPY FROM in progress.
pub struct CopyFrom {
    target: Target,
    lines: LineReader,
    fields: Fields,
    skip_header: bool,
    started: bool,
    batch: Batch,
    count: u64,
}

/// What lines are read into.
struct Target {
    table: Arc<TableDef>,
    columns: Vec<usize>,
    defaults: Vec<Option<Expr>>,
    options: CopyOptions,
}

/// Rows on their way to the engine. The rows' memory is used again for the next batch.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    /// The line each row was read from.
    lines: Vec<u64>,
    bytes: usize,
}

impl CopyFrom {
    /// A COPY FROM about to start.
    pub fn new(statement: &Arc<Statement>) -> SqlResult<Self> {
        let Plan::Copy(copy) = &statement.plan else { return Err(SqlError::internal("not a COPY")) };
        let CopyDirection::FromStdin { table, columns, defaults } = &copy.direction else {
            return Err(SqlError::internal("not a COPY FROM"));
        };
        let options = copy.options.clone();
        Ok(Self {
            lines: LineReader::new(&options),
            fields: Fields::new(&options, columns),
            skip_header: options.header,
            started: false,
            batch: Batch::default(),
            count: 0,
            target: Target { table: table.clone(), columns: columns.clone(), defaults: defaults.clone(), options },
        })
    }

    /// Takes in a piece of the data.
    pub async fn data(&mut self, data: &[u8], context: &mut ExecContext<'_>) -> SqlResult<()> {
        self.lines.push(data);
        self.read_lines(context).await?;
        if self.lines.pending_bytes() > context.memory_max {
            let detail = "A line of the data is longer than the statement's memory limit.";
            return Err(SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(detail));
        }
        Ok(())
    }

    /// Ends it; the number of rows.
    pub async fn finish(mut self, context: &mut ExecContext<'_>) -> SqlResult<u64> {
        self.lines.finish();
        self.read_lines(context).await?;
        self.store(context).await?;
        Ok(self.count)
    }

    async fn start(&mut self, context: &mut ExecContext<'_>) -> SqlResult<()> {
        let table = &self.target.table;
        context.engine.lock_table(context.txn, table.oid, TableLock::RowExclusive, LockWait::Block).await?;
        if self.target.options.freeze && !context.txn.created_storages.iter().any(|(_, created)| *created == table.storage) {
            let message =
                "cannot perform COPY FREEZE because the table was not created or truncated in the current subtransaction";
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        self.started = true;
        Ok(())
    }

    /// Reads the lines that are complete, and stores them batch by batch.
    async fn read_lines(&mut self, context: &mut ExecContext<'_>) -> SqlResult<()> {
        if !self.started {
            self.start(context).await?;
        }
        loop {
            let line = self.lines.next_line().map_err(|error| self.target.at_line(error, self.lines.line_number(), None))?;
            let Some(line) = line else { return Ok(()) };
            if std::mem::take(&mut self.skip_header) {
                continue;
            }
            self.read_row(line, context)?;
            if self.batch.lines.len() >= BATCH_ROWS || self.batch.bytes >= BATCH_BYTES {
                self.store(context).await?;
            }
            if crate::runtime::should_yield() {
                crate::runtime::yield_now().await;
            }
        }
    }

    fn read_row(&mut self, line: Range<usize>, context: &ExecContext<'_>) -> SqlResult<()> {
        let number = self.lines.line_number();
        let line = self.lines.bytes(line);
        let Self { target, fields, batch, .. } = self;
        let used = batch.lines.len();
        if used == batch.rows.len() {
            batch.rows.push(Row::new());
        }
        let row = &mut batch.rows[used];
        let read = fields.split(line).and_then(|()| target.check_count(fields.len(), line));
        // As in PostgreSQL, what is not text is that before it has too few columns.
        read.map_err(|error| target.at_line(utf8(line).err().unwrap_or(error), number, Some(line)))?;
        target.defaults_into(row, context).map_err(|error| target.at_line(error, number, Some(line)))?;
        for (index, &column) in target.columns.iter().enumerate() {
            row[column] = target.value(fields.get(line, index), column, (number, line), context.session.format())?;
        }
        let missing = |(column, value): (usize, &Datum)| value.is_null() && target.table.columns[column].not_null;
        if let Some(column) = row.iter().enumerate().position(missing) {
            let error = not_null_violation(&target.table, column, row, context.session);
            return Err(target.at_line(error, number, Some(line)));
        }
        batch.lines.push(number);
        batch.bytes += line.len();
        Ok(())
    }

    /// Gives the batch to the engine.
    async fn store(&mut self, context: &mut ExecContext<'_>) -> SqlResult<()> {
        let Self { target: Target { table, .. }, batch, .. } = self;
        let rows = &batch.rows[..batch.lines.len()];
        if rows.is_empty() {
            return Ok(());
        }
        let encoded = encode_rows(table, rows, context)?;
        let keys: Vec<Key> = match table.primary_key {
            Some(_) => encoded.iter().map(|(key, _)| key.clone()).collect(),
            None => Vec::new(),
        };
        let (engine, view) = (context.engine.clone(), context.view);
        match engine.insert(context.txn, &view, table.storage, encoded).await {
            Ok(()) => {}
            Err(EngineError::DuplicateKey { key, .. }) => return Err(self.duplicate(&key, &keys, context)),
            Err(error) => return Err(error.into()),
        }
        self.count += rows.len() as u64;
        batch.lines.clear();
        batch.bytes = 0;
        Ok(())
    }

    /// 23505 at the line that repeats the key: the second one that has it, if two in the batch do.
    fn duplicate(&self, key: &Key, keys: &[Key], context: &ExecContext<'_>) -> SqlError {
        let table = &self.target.table;
        let at = keys.iter().enumerate().filter(|(_, other)| *other == key).map(|(at, _)| at).take(2).last();
        let Some(at) = at else { return duplicate_key(table, key, &[], context) };
        let mut bytes = Vec::new();
        if let Err(error) = table.layout().encode(&self.batch.rows[at], &mut bytes) {
            return error;
        }
        let error = duplicate_key(table, key, &[(key.clone(), bytes)], context);
        self.target.at_line(error, self.batch.lines[at], None)
    }
}

impl Target {
    /// A CONTEXT as PostgreSQL's CopyFromErrorCallback gives it; an error that has one keeps it.
    fn at_line(&self, error: SqlError, number: u64, line: Option<&[u8]>) -> SqlError {
        if error.fields().context.is_some() {
            return error;
        }
        let table = &self.table.name;
        error.context(match line.map(std::str::from_utf8) {
            Some(Ok(line)) => format!("COPY {table}, line {number}: \"{}\"", shown(line)),
            _ => format!("COPY {table}, line {number}"),
        })
    }

    fn check_count(&self, fields: usize, line: &[u8]) -> SqlResult<()> {
        if fields > self.columns.len() && !(self.columns.is_empty() && line.is_empty()) {
            return Err(bad_format("extra data after last expected column"));
        }
        match self.columns.get(fields) {
            Some(column) => Err(bad_format(format!("missing data for column \"{}\"", self.table.columns[*column].name))),
            None => Ok(()),
        }
    }

    /// Fills a row with what is not in the data. Defaults are evaluated for each row: they may be volatile.
    fn defaults_into(&self, row: &mut Row, context: &ExecContext<'_>) -> SqlResult<()> {
        row.clear();
        for default in &self.defaults {
            row.push(match default {
                None => Datum::Null,
                Some(Expr::Const(value, _)) => value.clone(),
                Some(expr) => eval(expr, &NoRow, &context.eval(None, &NoSubqueries))?,
            });
        }
        Ok(())
    }

    fn value(
        &self,
        field: Option<&[u8]>,
        column: usize,
        (number, line): (u64, &[u8]),
        format: &SessionFormat,
    ) -> SqlResult<Datum> {
        let Some(bytes) = field else { return Ok(Datum::Null) };
        let text = utf8(bytes).map_err(|error| self.at_line(error, number, Some(line)))?;
        let definition = &self.table.columns[column];
        parse_text(definition.ty.ty, definition.ty.typmod, text, format).map_err(|error| {
            let (table, name) = (&self.table.name, &definition.name);
            error.context(format!("COPY {table}, line {number}, column {name}: \"{}\"", shown(text)))
        })
    }
}

/// At most so much of the data as a CONTEXT shows.
fn shown(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)])
}
