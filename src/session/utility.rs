//! Statements that the session carries out itself: transaction control, settings, PREPARE and its kin.

use std::sync::Arc;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::Session;
use crate::session::authority;
use crate::session::backend::Backend;
use crate::session::portal::{Portal, State};
use crate::session::prepared::{Entry, Prepared, missing};
use crate::session::response::{Client, Failure, Response, RowShape, Severity};
use crate::session::run::Outcome;
use crate::session::tag::Tag;
use crate::session::transaction::{Block, failed_block, not_in_block};
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{NoRow, eval, type_of};
use crate::sql::plan::Plan;
use crate::sql::utility::{TransactionModes, Utility};
use crate::sql::{EvalContext, NoSubqueries, SessionInfo};
use crate::txn::Isolation;
use crate::types::{CastContext, ColumnType, Datum, SqlType, cast};

impl<B: Backend> Session<B> {
    /// Carries out a utility; `shape` is that of its result, if it has one.
    pub(super) async fn run_utility<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        utility: &Utility,
        shape: &Arc<RowShape>,
        describe: bool,
    ) -> Result<Tag, Failure> {
        match utility {
            Utility::Begin(modes, long_form) => self.begin(client, *modes, *long_form).map_err(Failure::from),
            Utility::Commit { chain } => self.end_block(backend, client, true, *chain).await.map_err(Failure::from),
            Utility::Rollback { chain } => self.end_block(backend, client, false, *chain).await.map_err(Failure::from),
            Utility::PrepareTransaction(gid) => self.prepare_transaction(backend, client, gid).await.map_err(Failure::from),
            Utility::CommitPrepared(gid) => self.finish_prepared(backend, gid, true).await.map_err(Failure::from),
            Utility::RollbackPrepared(gid) => self.finish_prepared(backend, gid, false).await.map_err(Failure::from),
            Utility::RollbackTo(name) => {
                let mark = self.txn.rollback_to(backend, name).await?;
                self.portals.clear();
                self.env.settings_mut().rollback_to(mark);
                Ok("ROLLBACK".into())
            }
            Utility::Execute { name, args } => {
                Box::pin(self.execute_prepared(backend, client, name, args, shape, describe)).await
            }
            Utility::Discard(what) => self.discard(backend, what).await.map_err(Failure::from),
            Utility::Show(name) => {
                self.show(client, name, shape, describe)?;
                Ok("SHOW".into())
            }
            other => self.run_simple_utility(backend, client, other).map_err(Failure::from),
        }
    }

    /// Utilities without a result and without waiting.
    fn run_simple_utility<C: Client>(&mut self, backend: &B, client: &mut C, utility: &Utility) -> SqlResult<Tag> {
        match utility {
            Utility::Savepoint(name) => {
                let mark = self.env.settings().mark();
                self.txn.savepoint(backend, name.clone(), mark, self.env.effective())?;
                Ok("SAVEPOINT".into())
            }
            Utility::Release(name) => {
                self.txn.release(name)?;
                Ok("RELEASE".into())
            }
            Utility::SetTransaction(modes) => {
                if self.txn.block() != Block::Explicit {
                    self.warn_not_in_block(client, "SET TRANSACTION");
                }
                self.set_modes(*modes)?;
                Ok("SET".into())
            }
            Utility::SetSessionCharacteristics(modes) => {
                self.set_defaults(*modes)?;
                Ok("SET".into())
            }
            Utility::Set { name, value, local } => {
                if *local && self.txn.block() != Block::Explicit {
                    self.warn_not_in_block(client, "SET LOCAL");
                }
                self.set(backend, name, value.as_deref(), *local)?;
                Ok("SET".into())
            }
            Utility::Reset(Some(name)) => {
                self.set(backend, name, None, false)?;
                Ok("RESET".into())
            }
            Utility::Reset(None) => {
                self.env.settings_mut().reset_all();
                Ok("RESET".into())
            }
            Utility::Prepare { name, text, types } => self.prepare_named(backend, name, text, types),
            Utility::Deallocate(None) => {
                self.statements.clear();
                Ok("DEALLOCATE ALL".into())
            }
            Utility::Deallocate(Some(name)) => match self.statements.remove(name) {
                true => Ok("DEALLOCATE".into()),
                false => Err(missing(name)),
            },
            other => Err(SqlError::internal(format!("{other:?} does not belong to the session"))),
        }
    }

    fn begin<C: Client>(&mut self, client: &mut C, modes: TransactionModes, long_form: bool) -> SqlResult<Tag> {
        let begun = self.txn.begin(modes, self.env.effective())?;
        self.describe_transaction();
        if !begun {
            let warning = SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress");
            self.notice(client, Severity::Warning, &warning);
        }
        Ok(if long_form { "START TRANSACTION" } else { "BEGIN" }.into())
    }

    /// COMMIT or ROLLBACK, with or without AND CHAIN.
    async fn end_block<C: Client>(&mut self, backend: &B, client: &mut C, keep: bool, chain: bool) -> SqlResult<Tag> {
        if !matches!(self.txn.block(), Block::Explicit | Block::Failed) {
            if chain {
                return Err(not_in_block(if keep { "COMMIT AND CHAIN" } else { "ROLLBACK AND CHAIN" }));
            }
            self.warn_of_no_transaction(client);
        }
        let modes = self.txn.modes(self.env.effective());
        let kept = if keep {
            self.commit(backend).await?
        } else {
            self.rollback(backend).await;
            false
        };
        if chain {
            self.txn.chain(modes);
            self.describe_transaction();
        }
        Ok(if kept { "COMMIT" } else { "ROLLBACK" }.into())
    }

    pub(super) fn warn_of_no_transaction(&self, client: &mut impl Client) {
        let warning = SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
        self.notice(client, Severity::Warning, &warning);
    }

    fn warn_not_in_block(&self, client: &mut impl Client, command: &str) {
        self.notice(client, Severity::Warning, &not_in_block(command));
    }

    fn set_modes(&mut self, modes: TransactionModes) -> SqlResult<()> {
        if matches!(self.txn.block(), Block::Explicit | Block::Implicit) {
            self.txn.set_modes(modes, self.env.effective())?;
            self.describe_transaction();
        }
        Ok(())
    }

    fn set_defaults(&mut self, modes: TransactionModes) -> SqlResult<()> {
        let on_off = |flag: bool| if flag { "on" } else { "off" };
        let settings = self.env.settings_mut();
        if let Some(isolation) = modes.isolation {
            let name = crate::session::transaction::isolation_name(isolation);
            settings.set("default_transaction_isolation", Some(name), false)?;
        }
        if let Some(read_only) = modes.read_only {
            settings.set("default_transaction_read_only", Some(on_off(read_only)), false)?;
        }
        if let Some(deferrable) = modes.deferrable {
            settings.set("default_transaction_deferrable", Some(on_off(deferrable)), false)?;
        }
        Ok(())
    }

    fn set(&mut self, backend: &B, name: &str, value: Option<&str>, local: bool) -> SqlResult<()> {
        if let Some(modes) = transaction_setting(name, value)? {
            return self.set_modes(modes);
        }
        let resolve = |value| authority::resolve(name, value, &backend.catalog(self.txn.txn()), self.env.settings());
        let authority = value.map_or(Ok(None), resolve)?;
        self.env.settings_mut().assign(name, value, authority, local)?;
        Ok(())
    }

    fn show<C: Client>(&mut self, client: &mut C, name: &str, shape: &RowShape, describe: bool) -> SqlResult<()> {
        self.describe_transaction();
        let rows: Vec<Vec<Datum>> = if name.eq_ignore_ascii_case("all") {
            let all = self.env.settings().show_all();
            all.into_iter()
                .map(|(name, value, description)| {
                    // The transaction's own settings live with it.
                    let value = self.env.setting(&name).unwrap_or(value);
                    vec![text(&name), text(&value), text(description)]
                })
                .collect()
        } else {
            let value = self.env.setting(name).ok_or_else(|| {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                SqlError::new(SqlState::UNDEFINED_OBJECT, message)
            })?;
            vec![vec![text(&value)]]
        };
        if describe {
            client.send(Response::RowDescription(shape));
        }
        for row in &rows {
            client.send_row(shape, row, &self.env.effective().format)?;
        }
        Ok(())
    }

    async fn discard(&mut self, backend: &B, what: &str) -> SqlResult<Tag> {
        match what {
            "all" => {
                self.txn.forbid_block("DISCARD ALL")?;
                self.portals.clear();
                backend.unlock_session(self.env.locks()).await;
                self.env.settings_mut().reset("session_authorization")?;
                self.env.settings_mut().reset_all();
                self.statements.clear();
                self.texts.clear();
                self.normal_forms.clear();
                Ok("DISCARD ALL".into())
            }
            "plans" => {
                self.texts.clear();
                self.normal_forms.clear();
                Ok("DISCARD PLANS".into())
            }
            // There are neither sequences with cached values nor temporary tables to discard.
            "sequences" => Ok("DISCARD SEQUENCES".into()),
            _ => Ok("DISCARD TEMP".into()),
        }
    }

    fn prepare_named(&mut self, backend: &B, name: &str, text: &str, types: &[SqlType]) -> SqlResult<Tag> {
        self.statements.check_free(name)?;
        let prepared = self.prepare(backend, text, types)?;
        let plan = prepared.statement.as_ref().map(|statement| &statement.plan);
        if !matches!(plan, Some(Plan::Query(_) | Plan::Insert(_) | Plan::Update(_) | Plan::Delete(_))) {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "utility statements cannot be prepared"));
        }
        self.statements.insert(name, Entry::new(prepared))?;
        Ok("PREPARE".into())
    }

    /// The statement that an EXECUTE runs, still good.
    pub(super) fn executed(&mut self, backend: &B, name: &str) -> SqlResult<Arc<Prepared>> {
        self.revalidate(backend, name)?;
        Ok(Arc::clone(&self.statements.get_mut(name)?.prepared))
    }

    async fn execute_prepared<C: Client>(
        &mut self,
        backend: &B,
        client: &mut C,
        name: &str,
        args: &[Expr],
        shape: &Arc<RowShape>,
        describe: bool,
    ) -> Result<Tag, Failure> {
        let prepared = self.executed(backend, name)?;
        let params = self.arguments(backend, name, args, prepared.params())?;
        let shape = if shape.columns == prepared.text_shape.columns { shape } else { &prepared.text_shape };
        let mut portal = Portal { shape: Arc::clone(shape), state: State::Ready(params), prepared: Arc::clone(&prepared) };
        match self.run_portal(backend, client, &mut portal, 0, describe).await? {
            Outcome::Complete(tag) => Ok(tag),
            Outcome::Suspended | Outcome::Empty => Err(SqlError::internal("EXECUTE has no row limit").into()),
        }
    }

    fn arguments(&self, backend: &B, name: &str, args: &[Expr], types: &[SqlType]) -> SqlResult<Vec<Datum>> {
        if args.len() != types.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {}.", types.len(), args.len());
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).detail(detail));
        }
        let catalog = backend.catalog(self.txn.txn());
        let format = &self.env.effective().format;
        let context = EvalContext { params: &[], outer: None, session: &self.env, catalog: &catalog, subqueries: &NoSubqueries };
        args.iter()
            .zip(types)
            .map(|(arg, to)| {
                let (value, from) = (eval(arg, &NoRow, &context)?, type_of(arg));
                let to = ColumnType { ty: *to, typmod: -1 };
                if from == to.ty { Ok(value) } else { cast(value, from, to, CastContext::Assignment, format) }
            })
            .collect()
    }

    /// 25P02 for what a failed block refuses.
    pub(super) fn check_not_failed(&self, prepared: &Prepared) -> SqlResult<()> {
        match self.txn.block() {
            Block::Failed if !prepared.ends_failed_block() => Err(failed_block()),
            _ => Ok(()),
        }
    }
}

fn text(value: &str) -> Datum {
    Datum::Text(value.into())
}

/// SET of a transaction's own settings, which are modes.
fn transaction_setting(name: &str, value: Option<&str>) -> SqlResult<Option<TransactionModes>> {
    let invalid = |name: &str, value: &str| {
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid value for parameter \"{name}\": \"{value}\""))
    };
    let flag = |default: bool| match value {
        None => Ok(default),
        Some(value) => match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Ok(true),
            "off" | "false" | "no" | "0" => Ok(false),
            _ => Err(invalid(name, value)),
        },
    };
    let mut modes = TransactionModes::default();
    match name {
        "transaction_isolation" => {
            let level = value.unwrap_or("read committed").to_ascii_lowercase();
            modes.isolation = Some(match level.as_str() {
                "read committed" | "read uncommitted" => Isolation::ReadCommitted,
                "repeatable read" => Isolation::RepeatableRead,
                "serializable" => Isolation::Serializable,
                _ => return Err(invalid(name, &level)),
            });
        }
        "transaction_read_only" => modes.read_only = Some(flag(false)?),
        "transaction_deferrable" => modes.deferrable = Some(flag(false)?),
        _ => return Ok(None),
    }
    Ok(Some(modes))
}
