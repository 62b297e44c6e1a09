//! Syntax trees to typed plans: names, types, casts and operators by PostgreSQL's rules.
//!
//! Expressions are bound bottom-up to [`Typed`] values. A string literal or an undeclared parameter starts out as `unknown`
//! and is given its type by what surrounds it ([`coerce`]); parameters remember the first type they were given. Everything
//! that depends on the session's settings at bind time (the search path, the time zone used to read a timestamptz literal) is
//! taken from the [`BindContext`], so whoever caches plans must drop them when those change.

mod access;
mod aggregates;
mod calls;
mod coerce;
mod copy;
mod ddl;
mod dml;
mod expr;
mod from;
mod grouping;
mod insert;
pub(crate) mod names;
mod operators;
mod params;
mod predicates;
mod query;
mod scope;
mod select;
mod subquery;
pub(crate) mod types;
mod utility;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use sqlparser::ast as sqlast;

use crate::catalog::TableDef;
use crate::catalog::lookup::undefined_relation;
use crate::error::{SqlError, SqlResult};
use crate::sql::binder::access::Usage;
use crate::sql::binder::params::Params;
use crate::sql::cache::Literal;
use crate::sql::context::BindContext;
use crate::sql::ddl::Ddl;
use crate::sql::expr::Expr;
use crate::sql::parser::ast::{Body, TableName};
use crate::sql::parser::{ParsedStatement, too_deep};
use crate::sql::plan::{OutputColumn, Plan, Statement};
use crate::sql::utility::Utility;
use crate::types::{ColumnType, SqlType};

/// Expressions nested deeper than this answer 54001, so that evaluation, which recurses, fits any task's stack.
const EXPRESSION_DEPTH_MAX: usize = 300;

/// Queries nested deeper than this answer 54001.
const QUERY_DEPTH_MAX: usize = 64;

/// Resolves all names and types of a statement and plans it.
///
/// Errors: those that PostgreSQL's analysis reports, with positions in the query string; 0A000 for what is not supported.
pub fn bind(statement: &ParsedStatement, context: &BindContext<'_>) -> SqlResult<Statement> {
    statement.with_stack(|| {
        let binder = Binder::new(context, Params::given(context.param_types));
        let (plan, columns) = binder.body(statement.body())?;
        binder.finish(plan, columns)
    })
}

/// Binds with literals as parameters; `None` if that is not sound for this statement.
pub(crate) fn bind_with_slots(statement: &ParsedStatement, context: &BindContext<'_>, literals: &[Literal]) -> Option<Statement> {
    statement.with_stack(|| {
        let binder = Binder::new(context, Params::slots(literals));
        let (plan, columns) = binder.body(statement.body()).ok()?;
        if !binder.params.all_slots_used_once() {
            return None;
        }
        binder.finish(plan, columns).ok()
    })
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    /// The expression.
    pub expr: Expr,
    /// Its type.
    pub ty: ColumnType,
    /// Where it is written.
    pub position: Option<u32>,
}

impl Typed {
    /// Without a position.
    pub fn new(expr: Expr, ty: ColumnType) -> Self {
        Self { expr, ty, position: None }
    }

    /// Of a type without modifier.
    pub fn plain(expr: Expr, ty: SqlType) -> Self {
        Self::new(expr, ColumnType { ty, typmod: -1 })
    }

    /// At a position, if it has none.
    pub fn at(mut self, position: Option<u32>) -> Self {
        self.position = self.position.or(position);
        self
    }

    /// Whether the context still decides the type.
    pub fn is_unknown(&self) -> bool {
        self.ty.ty == SqlType::Unknown
    }
}

/// A type without modifier.
pub(crate) fn plain(ty: SqlType) -> ColumnType {
    ColumnType { ty, typmod: -1 }
}

/// The state of binding one statement.
pub(crate) struct Binder<'a> {
    pub context: &'a BindContext<'a>,
    pub params: Params,
    expression_depth: Cell<usize>,
    query_depth: Cell<usize>,
    /// The mentions of tables that the role may not use in every way.
    usages: RefCell<Vec<Rc<Usage>>>,
    /// Why the role may not run the statement, where no mention says it.
    refused: Cell<Option<SqlError>>,
}

/// Leaves a level of nesting when dropped.
pub(crate) struct Level<'c>(&'c Cell<usize>);

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn enter(counter: &Cell<usize>, max: usize) -> SqlResult<Level<'_>> {
    if counter.get() >= max {
        return Err(too_deep());
    }
    counter.set(counter.get() + 1);
    Ok(Level(counter))
}

/// 0A000 for the first clause that is there.
pub(crate) fn refuse_present(clauses: &[(bool, &str)]) -> SqlResult<()> {
    match clauses.iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(SqlError::unsupported(*name)),
        None => Ok(()),
    }
}

impl<'a> Binder<'a> {
    fn new(context: &'a BindContext<'a>, params: Params) -> Self {
        Self {
            context,
            params,
            expression_depth: Cell::new(0),
            query_depth: Cell::new(0),
            usages: RefCell::default(),
            refused: Cell::new(None),
        }
    }

    pub fn enter_expression(&self) -> SqlResult<Level<'_>> {
        enter(&self.expression_depth, EXPRESSION_DEPTH_MAX)
    }

    pub fn enter_query(&self) -> SqlResult<Level<'_>> {
        enter(&self.query_depth, QUERY_DEPTH_MAX)
    }

    /// Whether the query being bound is inside another.
    pub fn is_nested_query(&self) -> bool {
        self.query_depth.get() > 1
    }

    fn finish(&self, plan: Plan, columns: Vec<OutputColumn>) -> SqlResult<Statement> {
        let mut plan = plan;
        crate::sql::planner::plan(&mut plan, self.context)?;
        let params = self.params.finish()?;
        let refusal = self.refusal().map(Box::new);
        Ok(Statement { plan, params, columns, catalog_version: self.context.catalog.version, refusal })
    }

    fn body(&self, body: &Body) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        match body {
            Body::Sql(statement) => self.sql(statement),
            Body::Unsupported(name) => Err(SqlError::unsupported(name)),
            Body::Ready(utility @ (Utility::Checkpoint | Utility::Backup(_))) => {
                self.check_maintainer(utility)?;
                Ok((Plan::Utility(utility.clone()), Vec::new()))
            }
            Body::Ready(utility) => Ok((Plan::Utility(utility.clone()), utility::output_columns(utility))),
            Body::Execute { name, args } => self.execute(name, args),
            Body::Explain { statement, options } => self.explain(statement, *options),
            Body::Vacuum { tables, vacuum, analyze, verbose } => self.vacuum(tables, *vacuum, *analyze, *verbose),
            Body::Lock { tables, mode, no_wait } => self.lock(tables, *mode, *no_wait),
            Body::Copy(copy) => self.copy(copy),
            Body::Privileges(statement) => Ok((Plan::Ddl(Ddl::Privileges(Arc::new(statement.clone()))), Vec::new())),
            Body::Role(statement) => Ok((Plan::Ddl(Ddl::Role(Arc::new(statement.clone()))), Vec::new())),
            Body::Truncate(tables) => self.truncate(tables),
            Body::DropTable { if_exists, tables } => self.drop_table(*if_exists, tables),
            Body::ChangeOwner { table, if_exists, to } => self.change_owner(table, *if_exists, to),
            Body::AddPrimaryKey { table, if_exists, constraint, columns } => {
                self.add_primary_key(table, *if_exists, constraint.as_deref(), columns)
            }
        }
    }

    fn sql(&self, statement: &sqlast::Statement) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        match statement {
            sqlast::Statement::Query(query) => self.query_statement(query),
            sqlast::Statement::Insert(insert) => self.insert(insert, None),
            sqlast::Statement::Update(update) => self.update(update, None),
            sqlast::Statement::Delete(delete) => self.delete(delete, None),
            sqlast::Statement::CreateTable(table) => self.create_table(table),
            other => {
                let text = other.to_string();
                let words: Vec<&str> = text.split_whitespace().take(2).collect();
                Err(SqlError::unsupported(words.join(" ").to_uppercase()))
            }
        }
    }

    /// Finds a user table by name.
    ///
    /// Errors: 42P01 if there is none, 42501 for a schema that the role may not use.
    pub fn table(&self, name: &TableName) -> SqlResult<Arc<TableDef>> {
        let found = self.find_table(name.schema.as_deref(), &name.name).map_err(|error| error.at(name.position))?;
        found.ok_or_else(|| undefined_relation(name.schema.as_deref(), &name.name).at(name.position))
    }

    /// A user table, by schema or along the search path.
    pub fn find_table(&self, schema: Option<&str>, name: &str) -> SqlResult<Option<Arc<TableDef>>> {
        let session = self.context.session;
        Ok(self.context.catalog.find_table(session.role(), session.search_path(), schema, name)?.cloned())
    }
}
