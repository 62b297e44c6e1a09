//! Utility statements that name tables or hold expressions or statements.

use sqlparser::ast::Expr as Ast;

use crate::error::{SqlError, SqlResult};
use crate::sql::binder::expr::{Clause, Place, position};
use crate::sql::binder::scope::Scope;
use crate::sql::binder::{Binder, plain};
use crate::sql::parser::ast::{Body, TableName};
use crate::sql::plan::{OutputColumn, Plan, Statement};
use crate::sql::utility::{ExplainOptions, TableLock, Utility};
use crate::types::SqlType;

/// The result columns of a utility statement.
pub fn output_columns(utility: &Utility) -> Vec<OutputColumn> {
    let text = |name: &str| OutputColumn { name: name.to_owned(), ty: plain(SqlType::Text), source: None };
    match utility {
        Utility::Show(name) if name == "all" => vec![text("name"), text("setting"), text("description")],
        // These settings are spelled with capitals in PostgreSQL, and SHOW's column has that spelling.
        Utility::Show(name) if name == "timezone" => vec![text("TimeZone")],
        Utility::Show(name) if name == "datestyle" => vec![text("DateStyle")],
        Utility::Show(name) if name == "intervalstyle" => vec![text("IntervalStyle")],
        Utility::Show(name) => vec![text(name)],
        Utility::Explain { .. } => vec![text("QUERY PLAN")],
        _ => Vec::new(),
    }
}

impl Binder<'_> {
    /// EXECUTE: its arguments are constant expressions; the session casts them to the parameters' types.
    pub fn execute(&self, name: &str, args: &[Ast]) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let scope = Scope::default();
        let place = Place::scalar(&scope, Clause::Execute);
        let args = args
            .iter()
            .map(|arg| {
                if matches!(arg, Ast::Subquery(_) | Ast::Exists { .. } | Ast::InSubquery { .. }) {
                    return Err(SqlError::new(
                        crate::error::SqlState::FEATURE_NOT_SUPPORTED,
                        "cannot use subquery in EXECUTE parameter",
                    ));
                }
                Ok(self.expr(arg, place)?.at(position(arg)).expr)
            })
            .collect::<SqlResult<Vec<_>>>()?;
        Ok((Plan::Utility(Utility::Execute { name: name.to_owned(), args }), Vec::new()))
    }

    /// EXPLAIN.
    pub fn explain(&self, statement: &Body, options: ExplainOptions) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let started = crate::runtime::now();
        let (mut plan, columns) = self.body(statement)?;
        crate::sql::planner::plan(&mut plan, self.context)?;
        let planning = started.elapsed();
        let explained = matches!(plan, Plan::Query(_) | Plan::Insert(_) | Plan::Update(_) | Plan::Delete(_));
        if options.analyze && !explained {
            return Err(SqlError::unsupported("EXPLAIN ANALYZE of anything but SELECT, VALUES, INSERT, UPDATE and DELETE"));
        }
        let statement = Statement { plan, params: self.params.finish()?, columns, catalog_version: self.context.catalog.version };
        let utility = Utility::Explain { statement: Box::new(statement), options, planning };
        let output = output_columns(&utility);
        Ok((Plan::Utility(utility), output))
    }

    /// LOCK TABLE.
    pub fn lock(&self, tables: &[TableName], mode: TableLock, no_wait: bool) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let tables = tables.iter().map(|name| self.table(name)).collect::<SqlResult<Vec<_>>>()?;
        Ok((Plan::Utility(Utility::Lock { tables, mode, no_wait }), Vec::new()))
    }

    /// VACUUM and ANALYZE.
    pub fn vacuum(&self, tables: &[TableName], vacuum: bool, analyze: bool) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let tables = tables.iter().map(|name| self.table(name)).collect::<SqlResult<Vec<_>>>()?;
        let utility = if vacuum { Utility::Vacuum { tables, analyze } } else { Utility::Analyze { tables } };
        Ok((Plan::Utility(utility), Vec::new()))
    }
}
