//! A statement being executed, in pieces if the client asks for so many rows at a time.

use std::sync::Arc;

use crate::error::{SqlError, SqlResult};
use crate::exec::context::{CommandTag, ExecContext, Row, RowSink};
use crate::exec::query::QueryStream;
use crate::exec::{ddl, dml, insert, maintenance};
use crate::sql::plan::{Plan, Statement};
use crate::types::{Datum, RowView};

/// How far an execution has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The row limit is reached; there may be more.
    Suspended,
    /// The sink is full: send what it holds and go on.
    Full,
    /// Done.
    Done(CommandTag),
}

enum State {
    Fresh,
    Query(Box<QueryStream>),
    /// Rows that RETURNING has produced, with the tag they end in.
    Rows(std::vec::IntoIter<Row>, CommandTag),
    Done,
}

/// A statement's execution. It keeps no borrow of the context it was opened with, so that it lives across fetches.
pub struct Portal {
    statement: Arc<Statement>,
    state: State,
    /// Rows of a batch that the last fetch did not take.
    rest: std::vec::IntoIter<Row>,
    returned: u64,
}

/// Keeps rows for later fetches.
#[derive(Default)]
struct Buffer(Vec<Row>);

impl RowSink for Buffer {
    fn row(&mut self, row: &[Datum]) -> SqlResult<()> {
        self.0.push(row.to_vec());
        Ok(())
    }

    fn row_bytes(&mut self, row: RowView<'_>, columns: &[usize]) -> SqlResult<()> {
        self.0.push(columns.iter().map(|column| row.get(*column)).collect());
        Ok(())
    }

    fn copy_line(&mut self, _line: &[u8]) -> SqlResult<()> {
        Err(SqlError::internal("only COPY gives lines"))
    }

    fn is_full(&self) -> bool {
        false
    }
}

impl Portal {
    /// A statement about to be executed.
    pub fn new(statement: Arc<Statement>) -> Self {
        Self { statement, state: State::Fresh, rest: Vec::new().into_iter(), returned: 0 }
    }

    /// The statement.
    pub fn statement(&self) -> &Arc<Statement> {
        &self.statement
    }

    /// Whether it has run to its end.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Goes on until `rows_max` more rows were produced, the sink is full, or the statement is done.
    pub async fn fetch(
        &mut self,
        context: &mut ExecContext<'_>,
        rows_max: Option<u64>,
        sink: &mut dyn RowSink,
    ) -> SqlResult<Progress> {
        if matches!(self.state, State::Fresh)
            && let Some(tag) = self.start(context, rows_max, sink).await?
        {
            self.state = State::Done;
            return Ok(Progress::Done(tag));
        }
        let mut left = rows_max.unwrap_or(u64::MAX);
        loop {
            while left > 0 {
                if sink.is_full() {
                    return Ok(Progress::Full);
                }
                let Some(row) = self.rest.next() else { break };
                sink.row(&row)?;
                self.returned += 1;
                left -= 1;
            }
            if left == 0 {
                return Ok(Progress::Suspended);
            }
            match &mut self.state {
                State::Query(stream) => match stream.next(context).await? {
                    Some(rows) => self.rest = rows.into_iter(),
                    None => {
                        self.state = State::Done;
                        return Ok(Progress::Done(CommandTag::Select(self.returned)));
                    }
                },
                State::Rows(rows, tag) => {
                    let tag = *tag;
                    self.rest = std::mem::take(rows);
                    if self.rest.len() == 0 {
                        self.state = State::Done;
                        return Ok(Progress::Done(tag));
                    }
                }
                State::Done | State::Fresh => return Ok(Progress::Done(CommandTag::Select(0))),
            }
        }
    }

    /// Begins: statements other than queries are carried out at once; their tag, unless rows remain to be fetched.
    async fn start(
        &mut self,
        context: &mut ExecContext<'_>,
        rows_max: Option<u64>,
        sink: &mut dyn RowSink,
    ) -> SqlResult<Option<CommandTag>> {
        let statement = self.statement.clone();
        if let Plan::Query(query) = &statement.plan {
            self.state = State::Query(Box::new(QueryStream::open_query(query, context).await?));
            return Ok(None);
        }
        if let Plan::Ddl(statement) = &statement.plan {
            return ddl::execute(statement, context).await.map(Some);
        }
        // A limited fetch of RETURNING must not run the statement in pieces: it runs whole, and its rows wait.
        let mut buffer = Buffer::default();
        let limited = rows_max.is_some();
        let target: &mut dyn RowSink = if limited { &mut buffer } else { sink };
        let tag = match &statement.plan {
            Plan::Insert(plan) => insert::insert(plan, context, target).await?,
            Plan::Update(plan) => dml::update(plan, context, target).await?,
            Plan::Delete(plan) => dml::delete(plan, context, target).await?,
            Plan::Utility(plan) => maintenance::utility(plan, context, target).await?,
            Plan::Query(_) | Plan::Ddl(_) | Plan::Copy(_) | Plan::Empty => {
                return Err(SqlError::internal("the session carries out this statement itself"));
            }
        };
        if limited {
            self.state = State::Rows(buffer.0.into_iter(), tag);
            return Ok(None);
        }
        Ok(Some(tag))
    }
}
