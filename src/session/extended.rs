//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Sync.
//!
//! Source: PostgreSQL 15 documentation, 55.2.3 "Extended Query".

use std::sync::Arc;

use crate::base::Oid;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::Stage;
use crate::session::Session;
use crate::session::backend::Backend;
use crate::session::formats::{FormatCodes, parameter, text};
use crate::session::portal::{Portal, State};
use crate::session::prepared::{Entry, Prepared, Recipe};
use crate::session::response::{Client, Failure, Response, RowShape};
use crate::session::run::Outcome;
use crate::session::transaction::Block;
use crate::sql::function::{regclass_in, regtype_in};
use crate::sql::utility::Utility;
use crate::types::{Datum, SqlType};

/// What Bind asks for. `P` goes over the values, `None` for NULL.
#[derive(Clone, Copy, Debug)]
pub struct BindRequest<'a, P> {
    /// The portal's name.
    pub portal: &'a str,
    /// The statement's name.
    pub statement: &'a str,
    /// Formats of the parameters.
    pub param_formats: FormatCodes<'a>,
    /// The parameters.
    pub params: P,
    /// Formats of the result's columns.
    pub result_formats: FormatCodes<'a>,
}

impl<B: Backend> Session<B> {
    /// Parse.
    pub fn parse(&mut self, backend: &B, name: &str, text: &str, types: impl Iterator<Item = u32>) -> SqlResult<()> {
        self.open_statement(backend);
        if name.is_empty() {
            // The unnamed statement goes even if its successor does not come to be.
            self.statements.remove(name);
        } else {
            self.statements.check_free(name)?;
        }
        let declared = types.map(declared_type).collect::<SqlResult<Vec<_>>>()?;
        let prepared = match self.known_text(backend, text, &declared) {
            Some(known) => {
                self.check_not_failed(&known)?;
                known
            }
            None => {
                let prepared = self.prepare(backend, text, &declared)?;
                if self.is_shareable(backend, &prepared) {
                    self.texts.insert(text, &declared, Arc::clone(&prepared));
                }
                prepared
            }
        };
        self.txn.enter_implicit();
        self.lap(Stage::Plan);
        self.statements.insert(name, Entry::new(prepared))
    }

    /// The plan of a text that has been prepared before, if it is still good.
    #[inline]
    pub(super) fn known_text(&mut self, backend: &B, text: &str, declared: &[SqlType]) -> Option<Arc<Prepared>> {
        let version = backend.catalog_version(self.txn.txn());
        self.texts.get(text, declared, version, self.env.settings().plan_epoch()).map(Arc::clone)
    }

    /// Binds a statement again if the catalog or a setting it depends on has changed.
    ///
    /// Errors: 0A000 if its result would have other columns, and those of binding.
    pub(super) fn revalidate(&mut self, backend: &B, name: &str) -> SqlResult<()> {
        self.awaken(backend, name)?;
        let version = backend.catalog_version(self.txn.txn());
        let epoch = self.env.settings().plan_epoch();
        let old = Arc::clone(&self.statements.get_mut(name)?.prepared);
        if old.is_current(version, epoch) || self.txn.block() == Block::Failed {
            return Ok(());
        }
        // The types that were inferred once are what the client knows.
        let new = self.prepare(backend, &old.text, old.params())?;
        check_same_result(&new, &old.text_shape)?;
        self.statements.get_mut(name)?.replace(new);
        Ok(())
    }

    /// Plans a statement that its client has prepared in an earlier session, if it has not been planned in this one.
    ///
    /// Errors: as those of a statement that has to be bound again.
    #[inline]
    pub(super) fn awaken(&mut self, backend: &B, name: &str) -> SqlResult<()> {
        match self.statements.asleep(name).map(Arc::clone) {
            None => Ok(()),
            Some(recipe) => self.awaken_from(backend, name, &recipe),
        }
    }

    fn awaken_from(&mut self, backend: &B, name: &str, recipe: &Recipe) -> SqlResult<()> {
        let version = backend.catalog_version(self.txn.txn());
        let epoch = self.env.settings().plan_epoch();
        let known = recipe.plan.as_ref().or_else(|| self.texts.get_typed(&recipe.text, &recipe.params, version, epoch));
        let prepared = match known {
            Some(known) => Arc::clone(known),
            None => {
                let prepared = self.prepare(backend, &recipe.text, &recipe.params)?;
                if self.is_shareable(backend, &prepared) {
                    self.texts.insert(&recipe.text, &recipe.params, Arc::clone(&prepared));
                }
                prepared
            }
        };
        check_same_result(&prepared, &recipe.shape)?;
        self.statements.wake(name, prepared);
        Ok(())
    }

    /// The result of a statement in text format; that of an EXECUTE is its prepared statement's.
    pub(super) fn result_shape(&mut self, backend: &B, prepared: &Prepared) -> SqlResult<Arc<RowShape>> {
        match prepared.utility() {
            Some(Utility::Execute { name, .. }) => Ok(Arc::clone(&self.executed(backend, name)?.text_shape)),
            _ => Ok(Arc::clone(&prepared.text_shape)),
        }
    }

    /// Bind.
    pub fn bind<'a, P>(&mut self, backend: &B, request: &BindRequest<'a, P>) -> SqlResult<()>
    where
        P: ExactSizeIterator<Item = Option<&'a [u8]>> + Clone,
    {
        self.open_statement(backend);
        self.portals.remove(if request.portal.is_empty() { "" } else { "\0" });
        self.revalidate(backend, request.statement)?;
        let prepared = Arc::clone(&self.statements.get_mut(request.statement)?.prepared);
        self.check_not_failed(&prepared)?;
        let params = self.bind_params(backend, request, &prepared)?;
        let shape = match prepared.utility() {
            Some(Utility::Execute { .. }) => {
                let target = self.result_shape(backend, &prepared)?;
                Arc::new(RowShape::new(&target.columns, request.result_formats.iter())?)
            }
            _ => self.statements.get_mut(request.statement)?.shape(request.result_formats)?,
        };
        self.txn.enter_implicit();
        self.lap(Stage::Plan);
        self.portals.insert(request.portal, Portal { prepared, shape, state: State::Ready(params) })
    }

    /// The values of a Bind as its statement's parameter types.
    pub(super) fn bind_params<'a, P>(
        &self,
        backend: &B,
        request: &BindRequest<'a, P>,
        prepared: &Prepared,
    ) -> SqlResult<Vec<Datum>>
    where
        P: ExactSizeIterator<Item = Option<&'a [u8]>> + Clone,
    {
        let types = prepared.params();
        let given = request.params.clone();
        if given.len() != types.len() {
            let (count, required) = (given.len(), types.len());
            let name = request.statement;
            let message =
                format!("bind message supplies {count} parameters, but prepared statement \"{name}\" requires {required}");
            return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message));
        }
        let format = &self.env.effective().format;
        given
            .zip(types)
            .enumerate()
            .map(|(index, (bytes, ty))| {
                let code = request.param_formats.of(index);
                match bytes {
                    Some(name) if ty.is_catalog_name() && code == 0 => self.catalog_name(backend, *ty, text(name)?),
                    _ => parameter(index, *ty, code, bytes, format),
                }
            })
            .collect()
    }

    /// The OID that a text of a `reg…` type stands for.
    fn catalog_name(&self, backend: &B, ty: SqlType, name: &str) -> SqlResult<Datum> {
        match ty {
            SqlType::Regclass => regclass_in(name, &backend.catalog(self.txn.txn()), &self.env).map(Datum::Oid),
            SqlType::Regtype => regtype_in(name).map(Datum::Oid),
            _ => Err(SqlError::unsupported(format!("a parameter of type {}", ty.name()))),
        }
    }

    /// The types of a statement's parameters.
    pub fn parameter_types(&mut self, name: &str) -> SqlResult<Vec<SqlType>> {
        Ok(self.statements.get_mut(name)?.prepared.params().to_vec())
    }

    /// Describe of a statement.
    pub fn describe_statement(&mut self, backend: &B, client: &mut impl Client, name: &str) -> SqlResult<()> {
        self.revalidate(backend, name)?;
        let prepared = Arc::clone(&self.statements.get_mut(name)?.prepared);
        let shape = self.result_shape(backend, &prepared)?;
        if !shape.columns.is_empty() {
            self.check_not_failed(&prepared)?;
        }
        client.send(Response::ParameterDescription(prepared.params()));
        describe(client, &shape);
        Ok(())
    }

    /// Describe of a portal.
    pub fn describe_portal(&mut self, client: &mut impl Client, name: &str) -> SqlResult<()> {
        let portal = self.portals.get(name)?;
        if !portal.shape.columns.is_empty() {
            self.check_not_failed(&portal.prepared)?;
        }
        describe(client, &portal.shape);
        Ok(())
    }

    /// Execute: `rows_max` 0 or less is no limit.
    pub async fn execute<C: Client>(&mut self, backend: &B, client: &mut C, name: &str, rows_max: i32) -> Result<(), Failure> {
        self.open_statement(backend);
        let mut portal = self.portals.take(name)?;
        self.txn.enter_implicit();
        let rows_max = u64::try_from(rows_max).unwrap_or(0);
        let outcome = self.run_portal(backend, client, &mut portal, rows_max, false).await?;
        match outcome {
            Outcome::Complete(tag) => client.send(Response::Complete(&tag)),
            Outcome::Suspended => client.send(Response::PortalSuspended),
            Outcome::Empty => client.send(Response::EmptyQuery),
        }
        self.portals.put_back(name, portal);
        Ok(())
    }

    /// Close of a statement; that it is not there is no error.
    pub fn close_statement(&mut self, name: &str) {
        self.statements.remove(name);
    }

    /// Close of a portal; that it is not there is no error.
    pub fn close_portal(&mut self, name: &str) {
        self.portals.remove(name);
    }

    /// Sync: the implicit transaction ends, and the client may go on.
    pub async fn sync<C: Client>(&mut self, backend: &B, client: &mut C) {
        if matches!(self.txn.block(), Block::Idle | Block::Implicit)
            && let Err(error) = self.commit(backend).await
        {
            self.report(backend, client, &error).await;
        }
        self.ticket.interrupt().begin_statement();
        self.send_ready(client);
    }

    /// A message of the extended protocol has failed: the client is told, and everything up to Sync is dropped by the caller.
    pub async fn extended_failed<C: Client>(&mut self, backend: &B, client: &mut C, error: &SqlError) {
        self.report(backend, client, error).await;
    }
}

fn describe(client: &mut impl Client, shape: &RowShape) {
    if shape.columns.is_empty() {
        client.send(Response::NoData);
    } else {
        client.send(Response::RowDescription(shape));
    }
}

/// 0A000 if a statement that was bound again has other columns than its client knows.
fn check_same_result(new: &Prepared, known: &RowShape) -> SqlResult<()> {
    if new.text_shape.columns == known.columns {
        return Ok(());
    }
    Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type"))
}

fn declared_type(oid: u32) -> SqlResult<SqlType> {
    match oid {
        0 => Ok(SqlType::Unknown),
        oid => SqlType::from_oid(Oid(oid))
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))),
    }
}
