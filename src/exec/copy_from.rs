//! COPY … FROM STDIN: lines to rows to the engine, in batches.

use std::sync::Arc;

use crate::catalog::TableDef;
use crate::error::{SqlError, SqlResult};
use crate::exec::context::{ExecContext, Row};
use crate::exec::copy::{CopyLine, CopyParser};
use crate::exec::insert::insert_plain;
use crate::sql::NoSubqueries;
use crate::sql::expr::eval::{NoRow, eval};
use crate::sql::plan::{CopyDirection, Plan, Statement};
use crate::txn::TableLock;
use crate::types::{Datum, SessionFormat, parse_text};

/// Rows given to the engine at once.
const BATCH: usize = 512;

/// A COPY FROM in progress.
pub struct CopyFrom {
    statement: Arc<Statement>,
    parser: Option<CopyParser>,
    locked: bool,
    rows: Vec<Row>,
    count: u64,
}

/// What lines are read into.
struct Target<'a> {
    table: &'a TableDef,
    columns: &'a [usize],
    /// A row of defaults.
    template: Row,
    format: &'a SessionFormat,
}

impl Target<'_> {
    fn row(&self, line: &CopyLine<'_>) -> SqlResult<Row> {
        let mut row = self.template.clone();
        for (column, field) in self.columns.iter().zip(line.fields.iter()) {
            let definition = &self.table.columns[*column];
            row[*column] = match field {
                None => Datum::Null,
                Some(text) => {
                    let parsed = parse_text(definition.ty.ty, definition.ty.typmod, text, self.format);
                    parsed.map_err(|error| {
                        let (table, name) = (&self.table.name, &definition.name);
                        error.context(format!("COPY {table}, line {}, column {name}: \"{text}\"", line.number))
                    })?
                }
            };
        }
        Ok(row)
    }
}

impl CopyFrom {
    /// A COPY FROM about to start.
    pub fn new(statement: &Arc<Statement>) -> SqlResult<Self> {
        let Plan::Copy(copy) = &statement.plan else { return Err(SqlError::internal("not a COPY")) };
        let CopyDirection::FromStdin { table, columns, .. } = &copy.direction else {
            return Err(SqlError::internal("not a COPY FROM"));
        };
        let names = columns.iter().map(|column| table.columns[*column].name.clone()).collect();
        let parser = Some(CopyParser::new(&copy.options, names));
        Ok(Self { statement: statement.clone(), parser, locked: false, rows: Vec::with_capacity(BATCH), count: 0 })
    }

    /// Takes in a piece of the data.
    pub async fn data(&mut self, data: &[u8], context: &mut ExecContext<'_>) -> SqlResult<()> {
        self.parse(Some(data), context)?;
        self.store(context, BATCH).await
    }

    /// Ends it; the number of rows.
    pub async fn finish(mut self, context: &mut ExecContext<'_>) -> SqlResult<u64> {
        self.parse(None, context)?;
        self.store(context, 1).await?;
        Ok(self.count)
    }

    /// Reads lines into rows; `None` is the end of the data.
    fn parse(&mut self, data: Option<&[u8]>, context: &ExecContext<'_>) -> SqlResult<()> {
        let statement = self.statement.clone();
        let Plan::Copy(copy) = &statement.plan else { unreachable!("checked when it was made") };
        let CopyDirection::FromStdin { table, columns, defaults } = &copy.direction else {
            unreachable!("checked when it was made")
        };
        let eval_context = context.eval(None, &NoSubqueries);
        let template = defaults.iter().map(|default| match default {
            None => Ok(Datum::Null),
            Some(expr) => eval(expr, &NoRow, &eval_context),
        });
        let template = template.collect::<SqlResult<Row>>()?;
        let target = Target { table, columns, template, format: context.session.format() };
        let mut parser = self.parser.take().expect("the parser is put back after each piece");
        let rows = &mut self.rows;
        let mut each = |line: &CopyLine<'_>| {
            rows.push(target.row(line)?);
            Ok(())
        };
        let parsed = match data {
            Some(data) => parser.push(data, &mut each),
            None => parser.finish(&mut each),
        };
        self.parser = Some(parser);
        parsed.map_err(|error| {
            let has_context = error.fields().context.is_some();
            if has_context { error } else { error.context(format!("COPY {}", table.name)) }
        })
    }

    /// Gives rows to the engine while there are at least `least` of them.
    async fn store(&mut self, context: &mut ExecContext<'_>, least: usize) -> SqlResult<()> {
        let statement = self.statement.clone();
        let Plan::Copy(copy) = &statement.plan else { unreachable!("checked when it was made") };
        let CopyDirection::FromStdin { table, .. } = &copy.direction else { unreachable!("checked when it was made") };
        if !self.locked {
            context.engine.lock_table(context.txn, table.oid, TableLock::RowExclusive).await?;
            self.locked = true;
        }
        while self.rows.len() >= least.max(1) {
            let rest = self.rows.split_off(self.rows.len().min(BATCH));
            let batch = std::mem::replace(&mut self.rows, rest);
            insert_plain(table, &batch, context).await?;
            self.count += batch.len() as u64;
            if crate::runtime::should_yield() {
                crate::runtime::yield_now().await;
            }
        }
        Ok(())
    }
}
