//! Utility statements that name tables or hold expressions or statements.

use sqlparser::ast::Expr as Ast;

use crate::catalog::TableDef;
use crate::catalog::lookup::undefined_relation;
use crate::catalog::system::system_table;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::expr::{Clause, Place, position};
use crate::sql::binder::scope::Scope;
use crate::sql::binder::{Binder, plain};
use crate::sql::parser::ast::{Body, MaintainedName, TableName};
use crate::sql::plan::{OutputColumn, Plan, Statement};
use crate::sql::utility::{ExplainOptions, Maintained, Maintenance, TableLock, Utility};
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
                    return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use subquery in EXECUTE parameter"));
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
        let catalog_version = self.context.catalog.version;
        // Whether it may be run is said by the statement around it.
        let statement = Statement { plan, params: self.params.finish()?, columns, catalog_version, refusal: None };
        let utility = Utility::Explain { statement: Box::new(statement), options, planning };
        let output = output_columns(&utility);
        Ok((Plan::Utility(utility), output))
    }

    /// LOCK TABLE.
    pub fn lock(&self, tables: &[TableName], mode: TableLock, no_wait: bool) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        let tables = tables.iter().map(|name| self.table(name)).collect::<SqlResult<Vec<_>>>()?;
        tables.iter().for_each(|table| self.mention_locked(table, mode));
        Ok((Plan::Utility(Utility::Lock { tables, mode, no_wait }), Vec::new()))
    }

    /// VACUUM and ANALYZE.
    pub fn vacuum(
        &self,
        tables: &[MaintainedName],
        vacuum: bool,
        analyze: bool,
        verbose: bool,
    ) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        if !analyze && tables.iter().any(|named| !named.columns.is_empty()) {
            let message = "ANALYZE option must be specified when a column list is provided";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let mut job = Maintenance { all: tables.is_empty(), verbose, ..Maintenance::default() };
        for MaintainedName { table: name, columns } in tables {
            if let Some(table) = self.find_table(name.schema.as_deref(), &name.name)? {
                let columns = columns_of(&table, columns)?;
                if !self.owns(&table) {
                    job.denied.push(name.name.clone());
                    continue;
                }
                job.tables.push(Maintained { table, columns });
            } else if let Some(table) = system_table(self.context.session.search_path(), name.schema.as_deref(), &name.name) {
                // System tables have no rows of their own to be looked at.
                job.skipped.extend(table.is_view.then(|| name.name.clone()));
            } else if self.context.catalog.has_index(self.context.session.search_path(), name.schema.as_deref(), &name.name) {
                job.skipped.push(name.name.clone());
            } else {
                return Err(undefined_relation(name.schema.as_deref(), &name.name));
            }
        }
        let utility = if vacuum { Utility::Vacuum { job, analyze } } else { Utility::Analyze { job } };
        Ok((Plan::Utility(utility), Vec::new()))
    }
}

/// Columns by name, each once.
fn columns_of(table: &TableDef, names: &[(String, u32)]) -> SqlResult<Vec<usize>> {
    let mut columns = Vec::with_capacity(names.len());
    for (name, _) in names {
        let refuse = |code, what| SqlError::new(code, format!("column \"{name}\" of relation \"{}\" {what}", table.name));
        let column = table.columns.iter().position(|column| column.name == *name);
        let column = column.ok_or_else(|| refuse(SqlState::UNDEFINED_COLUMN, "does not exist"))?;
        if columns.contains(&column) {
            return Err(refuse(SqlState::DUPLICATE_COLUMN, "appears more than once"));
        }
        columns.push(column);
    }
    Ok(columns)
}
