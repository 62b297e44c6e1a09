//! Running one statement to its end, or to the client's row limit.

use std::sync::Arc;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::{QueryPath, Stage};
use crate::runtime;
use crate::session::Session;
use crate::session::backend::{Backend, Fetched, Flow, RowSink, Run};
use crate::session::guard::{Deadlines, deadline, guarded};
use crate::session::portal::{Portal, State};
use crate::session::response::{Client, Failure, Response, RowShape};
use crate::session::tag::{self, Tag};
use crate::session::transaction::{Block, failed_block};
use crate::sql::plan::{CopyDirection, Plan, Statement};
use crate::sql::utility::Utility;
use crate::types::{Datum, RowLayout, SessionFormat};

/// How the running of a portal ended, for whoever knows when to say so.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Finished.
    Complete(Tag),
    /// The row limit is reached and there may be more.
    Suspended,
    /// There was nothing to do.
    Empty,
}

/// Rows on their way to the client.
struct ClientSink<'a, C> {
    client: &'a mut C,
    shape: &'a RowShape,
    format: &'a SessionFormat,
    rows: u64,
}

impl<C: Client> ClientSink<'_, C> {
    fn taken(&mut self) -> Flow {
        self.rows += 1;
        if self.client.is_full() { Flow::Stop } else { Flow::More }
    }
}

impl<C: Client> RowSink for ClientSink<'_, C> {
    fn row(&mut self, values: &[Datum]) -> SqlResult<Flow> {
        self.client.send_row(self.shape, values, self.format)?;
        Ok(self.taken())
    }

    fn stored(&mut self, layout: &RowLayout, columns: &[usize], row: &[u8]) -> SqlResult<Flow> {
        self.client.send_stored(self.shape, columns, layout.view(row), self.format)?;
        Ok(self.taken())
    }

    fn copy_line(&mut self, line: &[u8]) -> SqlResult<Flow> {
        self.client.send(Response::CopyData(line));
        Ok(self.taken())
    }
}

impl<B: Backend> Session<B> {
    /// Runs a portal. `rows_max` 0 is no limit; `describe` sends the RowDescription first, as the simple protocol does.
    ///
    /// The tag is not sent: in the simple protocol the transaction ends before the client hears that the statement has.
    pub(super) async fn run_portal<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        portal: &mut Portal<B::Cursor>,
        rows_max: u64,
        describe: bool,
    ) -> Result<Outcome, Failure> {
        let prepared = Arc::clone(&portal.prepared);
        let Some(statement) = &prepared.statement else {
            return Ok(Outcome::Empty);
        };
        if self.txn.block() == Block::Failed && !prepared.ends_failed_block() {
            return Err(failed_block().into());
        }
        let own = matches!(&statement.plan, Plan::Utility(utility) if utility.is_of_session());
        self.statement_begins(tag::query_type(statement), if own { QueryPath::Session } else { QueryPath::Executor });
        let outcome = match &statement.plan {
            Plan::Empty => return Ok(Outcome::Empty),
            Plan::Utility(utility) if own => {
                if matches!(std::mem::replace(&mut portal.state, State::Done), State::Done) {
                    return run_again(statement).map_err(Failure::from);
                }
                self.begin_statement(Arc::clone(&prepared.text));
                Outcome::Complete(self.run_utility(backend, client, utility, &portal.shape, describe).await?)
            }
            Plan::Copy(copy) if matches!(copy.direction, CopyDirection::FromStdin { .. }) => {
                if matches!(std::mem::replace(&mut portal.state, State::Done), State::Done) {
                    return run_again(statement).map_err(Failure::from);
                }
                self.check_writable(statement)?;
                check_allowed(statement)?;
                self.begin_statement(Arc::clone(&prepared.text));
                Outcome::Complete(self.run_copy_in(backend, client, statement).await?)
            }
            _ => self.run_cursor(backend, client, portal, statement, rows_max, describe).await?,
        };
        self.lap_execution(backend);
        self.env.apply_pending()?;
        self.txn.watch(self.env.effective());
        if let Outcome::Complete(tag) = &outcome {
            self.statement_done(rows_of(tag));
            self.audit_statement(statement, &prepared.text, tag);
        }
        Ok(outcome)
    }

    /// The clocks of a statement, and of its transaction if it is the first.
    pub(super) fn begin_statement(&mut self, text: Arc<str>) {
        let first = self.txn.begin_statement(self.env.effective());
        self.env.begin_statement(first);
        self.tell_active(text);
    }

    /// When the statement that begins now, or the transaction it is in, has lasted too long.
    pub(super) fn deadlines(&self) -> Deadlines {
        Deadlines { statement: deadline(self.env.effective().statement_timeout_ms), transaction: self.txn.deadline() }
    }

    /// 25006 for a statement that writes in a read-only transaction.
    pub(super) fn check_writable(&self, statement: &Statement) -> SqlResult<()> {
        if tag::writes(statement) && self.txn.modes(self.env.effective()).read_only {
            // EXPLAIN ANALYZE writes if what it runs does.
            let statement = match &statement.plan {
                Plan::Utility(Utility::Explain { statement, .. }) => statement,
                _ => statement,
            };
            let message = format!("cannot execute {} in a read-only transaction", tag::command(statement));
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    /// Starts a cursor, or goes on with a suspended one.
    async fn run_cursor<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        portal: &mut Portal<B::Cursor>,
        statement: &Arc<Statement>,
        rows_max: u64,
        describe: bool,
    ) -> Result<Outcome, Failure> {
        let mut cursor = match std::mem::replace(&mut portal.state, State::Done) {
            State::Ready(params) => {
                self.check_writable(statement)?;
                if let Plan::Utility(Utility::Vacuum { .. }) = &statement.plan {
                    self.txn.forbid_block("VACUUM")?;
                }
                if let Plan::Utility(Utility::Backup(_)) = &statement.plan {
                    self.txn.forbid_block("BACKUP")?;
                }
                if let Plan::Utility(Utility::Lock { .. }) = &statement.plan {
                    self.txn.require_block("LOCK TABLE")?;
                }
                check_allowed(statement)?;
                self.begin_statement(Arc::clone(&portal.prepared.text));
                let cursor = backend.open(statement, params)?;
                announce(client, statement, &portal.shape, describe);
                cursor
            }
            State::Suspended(cursor) => cursor,
            State::Done => return run_again(statement).map_err(Failure::from),
        };
        let deadlines = self.deadlines();
        let mut given = 0;
        loop {
            let catalog = backend.catalog(self.txn.txn());
            let txn = self.txn.ensure(backend, self.env.effective());
            let mut notices = Vec::new();
            let format = &self.env.effective().format;
            let mut sink = ClientSink { client: &mut *client, shape: &portal.shape, format, rows: 0 };
            let run = Run { txn, session: &self.env, catalog: &catalog, notices: &mut notices };
            let left = if rows_max == 0 { 0 } else { rows_max - given };
            let fetch = backend.fetch(&mut cursor, run, left, &mut sink);
            let fetched: SqlResult<Fetched> = guarded(self.ticket.interrupt(), deadlines, fetch).await;
            given += sink.rows;
            self.notices(client, &notices);
            match fetched? {
                Fetched::Done { rows } => {
                    if matches!(statement.plan, Plan::Copy(_)) {
                        client.send(Response::CopyDone);
                    }
                    let rows = if matches!(statement.plan, Plan::Query(_)) { given } else { rows };
                    return Ok(Outcome::Complete(tag::complete(statement, rows)));
                }
                Fetched::Suspended if rows_max > 0 && given >= rows_max => {
                    portal.state = State::Suspended(cursor);
                    return Ok(Outcome::Suspended);
                }
                Fetched::Suspended if client.is_full() => {
                    self.lap_execution(backend);
                    client.flush().await?;
                    self.lap(Stage::Send);
                }
                Fetched::Suspended => runtime_yield().await,
            }
        }
    }
}

/// 42501 for a statement that the role it was bound for may not run.
fn check_allowed(statement: &Statement) -> SqlResult<()> {
    match &statement.refusal {
        None => Ok(()),
        Some(refusal) => Err(SqlError::clone(refusal)),
    }
}

/// What the client is told before the first row.
fn announce(client: &mut impl Client, statement: &Statement, shape: &RowShape, describe: bool) {
    match &statement.plan {
        Plan::Copy(copy) => {
            if let CopyDirection::ToStdout { columns, .. } = &copy.direction {
                client.send(Response::CopyOut(columns.len()));
            }
        }
        _ if describe && !shape.columns.is_empty() => client.send(Response::RowDescription(shape)),
        _ => {}
    }
}

/// Execute of a portal that is finished: a query has no more rows, anything else cannot be done twice.
fn run_again(statement: &Statement) -> SqlResult<Outcome> {
    match &statement.plan {
        Plan::Query(_) => Ok(Outcome::Complete(tag::complete(statement, 0))),
        _ => Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "portal cannot be run")),
    }
}

/// The number at the end of a tag.
fn rows_of(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Lets others run; outside a core there are no others.
async fn runtime_yield() {
    if runtime::try_current_core().is_some() {
        runtime::yield_now().await;
    }
}
