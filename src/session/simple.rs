//! The simple query protocol: a string of statements, all of their results, and then the next string.
//!
//! Source: PostgreSQL 15 documentation, 55.2.2 "Simple Query".

use std::sync::Arc;

use crate::error::SqlResult;
use crate::metrics::{QueryPath, Stage};
use crate::session::Session;
use crate::session::backend::Backend;
use crate::session::point::literal_params;
use crate::session::portal::{Portal, State};
use crate::session::prepared::Prepared;
use crate::session::response::{Client, Failure, Gone, Response, RowShape};
use crate::session::run::Outcome;
use crate::session::tag;
use crate::session::transaction::{Block, failed_block};
use crate::sql::ParsedStatement;
use crate::sql::cache::{self, Normalised};
use crate::types::Datum;

impl<B: Backend> Session<B> {
    /// Answers a query string, ReadyForQuery included.
    pub async fn simple_query<C: Client>(&mut self, backend: &B, client: &mut C, text: &str) -> Result<(), Gone> {
        self.statements.remove("");
        self.portals.remove("");
        self.open_statement(backend);
        let outcome = self.run_text(backend, client, text).await;
        self.query_string = None;
        match outcome {
            Ok(()) => {}
            Err(Failure::Sql(error)) => self.report(backend, client, &error).await,
            Err(Failure::Gone) => return Err(Gone),
        }
        self.ticket.interrupt().begin_statement();
        self.send_ready(client);
        Ok(())
    }

    async fn run_text<C: Client>(&mut self, backend: &B, client: &mut C, text: &str) -> Result<(), Failure> {
        if let Some(command) = cache::transaction_command(text) {
            self.lap(Stage::Parse);
            self.statement_begins(tag::utility_type(&command), QueryPath::Session);
            let shape = Arc::new(RowShape::text(&[]));
            self.begin_statement(text.into());
            let tag = self.run_utility(backend, client, &command, &shape, true).await?;
            self.lap_execution(backend);
            self.statement_done(0);
            client.send(Response::Complete(&tag));
            return Ok(());
        }
        if let Some(normalised) = cache::normalise(text) {
            self.lap(Stage::Parse);
            return self.run_normalised(backend, client, text, &normalised).await;
        }
        let parsed = crate::sql::parse(text)?;
        self.lap(Stage::Parse);
        if parsed.is_empty() {
            client.send(Response::EmptyQuery);
            return Ok(());
        }
        self.query_string = Some(text.into());
        let several = parsed.len() > 1;
        for (index, statement) in parsed.iter().enumerate() {
            if several {
                self.txn.enter_implicit();
            }
            let last = index + 1 == parsed.len();
            self.run_parsed(backend, client, text, statement, last).await?;
        }
        Ok(())
    }

    /// One statement of a string.
    async fn run_parsed<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        text: &str,
        parsed: &ParsedStatement,
        last: bool,
    ) -> Result<(), Failure> {
        if self.txn.block() == Block::Failed && !parsed.ends_failed_transaction() {
            return Err(failed_block().into());
        }
        self.open_statement(backend);
        let statement = Arc::new(self.bind_statement(backend, parsed, &[])?);
        if statement.holds_secret() {
            // Nobody is to see it in what runs, or in the log.
            self.query_string = None;
        }
        let prepared = self.new_prepared(&text[parsed.range.clone()], Some(statement));
        self.run_now(backend, client, prepared, Vec::new(), last).await
    }

    /// A single query or DML statement whose plan may be known under its normal form.
    async fn run_normalised<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        text: &str,
        normalised: &Normalised,
    ) -> Result<(), Failure> {
        if self.txn.block() == Block::Failed {
            return Err(failed_block().into());
        }
        let (prepared, params) = match self.known_plan(backend, text, normalised)? {
            Some(known) => known,
            None => self.plan_normalised(backend, text, normalised)?,
        };
        if *prepared.text != *text {
            // The plan is that of another text of its form.
            self.query_string = Some(text.into());
        }
        self.run_now(backend, client, prepared, params, true).await
    }

    /// The plan of this text, or of all texts of its form.
    pub(super) fn known_plan(
        &mut self,
        backend: &B,
        text: &str,
        normalised: &Normalised,
    ) -> SqlResult<Option<(Arc<Prepared>, Vec<Datum>)>> {
        let version = backend.catalog_version(self.txn.txn());
        let epoch = self.env.settings().plan_epoch();
        if let Some(shared) = self.normal_forms.get(&normalised.key, &[], version, epoch) {
            let shared = Arc::clone(shared);
            let params = literal_params(&normalised.literals, shared.params(), &self.env.effective().format)?;
            return Ok(Some((shared, params)));
        }
        Ok(self
            .texts
            .get(text, &[], version, epoch)
            .filter(|known| known.params().is_empty())
            .map(|known| (Arc::clone(known), Vec::new())))
    }

    fn plan_normalised(&mut self, backend: &B, text: &str, normalised: &Normalised) -> SqlResult<(Arc<Prepared>, Vec<Datum>)> {
        let parsed = crate::sql::parse(text)?;
        self.lap(Stage::Parse);
        let [one] = parsed.as_slice() else {
            return Err(crate::error::SqlError::internal("a text with a normal form is one statement"));
        };
        let catalog = backend.catalog(self.txn.txn());
        let context = crate::sql::BindContext { catalog: &catalog, param_types: &[], session: &self.env };
        match cache::prepare(one, normalised, &context)? {
            cache::Prepared::Shared(statement) => {
                let prepared = self.new_prepared(text, Some(Arc::new(statement)));
                if self.is_shareable(backend, &prepared) {
                    self.normal_forms.insert(&normalised.key, &[], Arc::clone(&prepared));
                }
                let params = literal_params(&normalised.literals, prepared.params(), &self.env.effective().format)?;
                Ok((prepared, params))
            }
            cache::Prepared::Private(statement) => {
                let prepared = self.new_prepared(text, Some(Arc::new(statement)));
                if self.is_shareable(backend, &prepared) {
                    self.texts.insert(text, &[], Arc::clone(&prepared));
                }
                Ok((prepared, Vec::new()))
            }
        }
    }

    /// Runs a statement to its end. With the last of a string ends the transaction that the protocol made, before the client
    /// hears that the statement is complete.
    async fn run_now<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        prepared: Arc<Prepared>,
        params: Vec<Datum>,
        last: bool,
    ) -> Result<(), Failure> {
        let shape = self.result_shape(backend, &prepared)?;
        let mut portal = Portal { prepared, shape, state: State::Ready(params) };
        self.lap(Stage::Plan);
        let outcome = self.run_portal(backend, client, &mut portal, 0, true).await?;
        drop(portal);
        if matches!(self.txn.block(), Block::Idle) || (last && self.txn.block() == Block::Implicit) {
            self.commit(backend).await?;
        }
        match outcome {
            Outcome::Complete(tag) => client.send(Response::Complete(&tag)),
            Outcome::Empty => client.send(Response::EmptyQuery),
            Outcome::Suspended => unreachable!("there was no row limit"),
        }
        Ok(())
    }
}
