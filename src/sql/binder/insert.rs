//! INSERT: its source is bound to one value for each column of the table.

use std::sync::Arc;

use sqlparser::ast::{self, Expr as Ast, OnInsert, SetExpr};

use crate::catalog::lookup::undefined_relation;
use crate::catalog::system::system_table;
use crate::catalog::{Privileges, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::access::Mention;
use crate::sql::binder::expr::{Clause, Place, position};
use crate::sql::binder::names::{at, identifier, parts, qualified};
use crate::sql::binder::params::Params;
use crate::sql::binder::query::check_values;
use crate::sql::binder::scope::{Column, Ctes, Relation, Scope};
use crate::sql::binder::{Binder, Typed, refuse_present};
use crate::sql::expr::Expr;
use crate::sql::plan::{InsertPlan, Node, OnConflict, OutputColumn, Plan};
use crate::types::{ColumnType, Datum};

impl Binder<'_> {
    /// Binds an INSERT, behind the WITH queries of `ctes`.
    pub fn insert(&self, insert: &ast::Insert, ctes: Ctes) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        check_clauses(insert)?;
        let ast::TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::unsupported("INSERT into a function"));
        };
        let alias = insert.table_alias.as_ref().map(|alias| identifier(&alias.alias));
        let Target { table, alias, usage } = self.target(name, alias, Privileges::INSERT)?;
        let columns = target_columns(&table, &insert.columns)?;
        let source = match &insert.source {
            None => {
                let row = self.default_row(&table)?;
                Node::Values { rows: vec![row], types: column_types(&table) }
            }
            Some(query) => {
                let (source, given) = self.insert_source(query, &table, &columns, !insert.columns.is_empty(), &ctes)?;
                usage.iter().for_each(|usage| columns[..given].iter().for_each(|column| usage.insert(*column)));
                source
            }
        };
        let on_conflict = insert.on.as_ref().map(|on| self.on_conflict(on, &table, (&alias, &usage), &ctes)).transpose()?;
        let scope = Scope { ctes, ..table_scope(&table, &alias, &usage)? };
        let (returning, output) = self.returning(insert.returning.as_deref(), &scope)?;
        Ok((Plan::Insert(InsertPlan { table, source, on_conflict, returning }), output))
    }

    /// The table a DML statement changes, and the name it goes by.
    pub fn target(&self, name: &ast::ObjectName, alias: Option<String>, privilege: Privileges) -> SqlResult<Target> {
        let (schema, name, start) = qualified(name)?;
        match self.find_table(schema.as_deref(), &name).map_err(|error| at(error, start))? {
            Some(table) => {
                let alias = alias.unwrap_or_else(|| table.name.clone());
                let usage = self.mention(&table, privilege);
                Ok(Target { table, alias, usage })
            }
            None if system_table(self.context.session.search_path(), schema.as_deref(), &name).is_some() => {
                let message = format!("permission denied: \"{name}\" is a system catalog");
                Err(at(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message), start))
            }
            None => Err(at(undefined_relation(schema.as_deref(), &name), start)),
        }
    }

    /// The rows of an INSERT, and how many of the listed columns it gives values for.
    fn insert_source(
        &self,
        query: &ast::Query,
        table: &Arc<TableDef>,
        columns: &[usize],
        listed: bool,
        ctes: &Ctes,
    ) -> SqlResult<(Node, usize)> {
        if !query.locks.is_empty() {
            return Err(SqlError::unsupported("FOR UPDATE in INSERT … SELECT"));
        }
        let bare = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
        if let (SetExpr::Values(values), true) = (&*query.body, bare) {
            check_values(values)?;
            let rows = values
                .rows
                .iter()
                .map(|row| self.insert_row(&row.content, table, columns, listed, ctes))
                .collect::<SqlResult<Vec<_>>>()?;
            let given = values.rows.first().map_or(0, |row| row.content.len());
            return Ok((Node::Values { rows, types: column_types(table) }, given));
        }
        let targets: Vec<ColumnType> = columns.iter().map(|&column| table.columns[column].ty).collect();
        let bound = self.query(query, None, ctes.clone(), Some(&targets))?;
        check_width(bound.columns.len(), columns, listed, None)?;
        let mut row = self.default_row_except(table, &columns[..bound.columns.len()])?;
        for (source, &column) in bound.columns.iter().zip(columns) {
            let definition = &table.columns[column];
            let value = Typed::new(Expr::Column(source.index, source.ty), source.ty);
            row[column] = Some(self.coerce_assignment(value, definition.ty, &definition.name)?.expr);
        }
        let exprs = row.into_iter().map(|value| value.expect("every column has a value")).collect();
        Ok((Node::Project { input: Box::new(bound.node), exprs }, bound.columns.len()))
    }

    fn insert_row(
        &self,
        values: &[Ast],
        table: &Arc<TableDef>,
        columns: &[usize],
        listed: bool,
        ctes: &Ctes,
    ) -> SqlResult<Vec<Expr>> {
        check_width(values.len(), columns, listed, values.get(columns.len()).or(values.first()).and_then(position))?;
        let scope = Scope::inside(None, ctes.clone());
        let place = Place::scalar(&scope, Clause::Values);
        let mut row = self.default_row_except(table, &columns[..values.len()])?;
        for (value, &column) in values.iter().zip(columns) {
            let definition = &table.columns[column];
            row[column] = Some(if is_default(value) {
                self.default_value(table, column)?
            } else {
                let bound = self.expr(value, place)?.at(position(value));
                self.coerce_assignment(bound, definition.ty, &definition.name)?.expr
            });
        }
        Ok(row.into_iter().map(|value| value.expect("every column has a value")).collect())
    }

    fn default_row(&self, table: &Arc<TableDef>) -> SqlResult<Vec<Expr>> {
        (0..table.columns.len()).map(|column| self.default_value(table, column)).collect()
    }

    /// Defaults for all columns but those given.
    fn default_row_except(&self, table: &Arc<TableDef>, given: &[usize]) -> SqlResult<Vec<Option<Expr>>> {
        (0..table.columns.len())
            .map(|column| if given.contains(&column) { Ok(None) } else { self.default_value(table, column).map(Some) })
            .collect()
    }

    /// A column's default: its expression, bound anew, or NULL.
    pub fn default_value(&self, table: &TableDef, column: usize) -> SqlResult<Expr> {
        let definition = &table.columns[column];
        match &definition.default {
            None => Ok(Expr::Const(Datum::Null, definition.ty.ty)),
            Some(text) => self.default_expression(text, definition.ty, &definition.name),
        }
    }

    /// A default expression from its text. It is another text than the statement's, so it has a binder of its own.
    pub fn default_expression(&self, text: &str, ty: ColumnType, column: &str) -> SqlResult<Expr> {
        let parsed = crate::sql::parser::parse_expression(text)?;
        let binder = Binder::new(self.context, Params::given(&[]));
        let scope = Scope::default();
        let value = binder.expr(&parsed, Place::scalar(&scope, Clause::Default))?;
        Ok(binder.coerce_assignment(Typed { position: None, ..value }, ty, column)?.expr)
    }

    fn on_conflict(
        &self,
        on: &OnInsert,
        table: &Arc<TableDef>,
        (alias, usage): (&str, &Mention),
        ctes: &Ctes,
    ) -> SqlResult<OnConflict> {
        let OnInsert::OnConflict(conflict) = on else { return Err(SqlError::unsupported("ON DUPLICATE KEY UPDATE")) };
        match &conflict.conflict_target {
            None => {}
            Some(ast::ConflictTarget::OnConstraint(name)) => {
                let (names, start) = parts(name)?;
                let wanted = names.last().cloned().unwrap_or_default();
                if table.primary_key.as_ref().is_none_or(|key| key.name != wanted) {
                    let message = format!("constraint \"{wanted}\" for table \"{}\" does not exist", table.name);
                    return Err(at(SqlError::new(SqlState::UNDEFINED_OBJECT, message), start));
                }
                let key = table.primary_key.iter().flat_map(|key| &key.columns);
                key.for_each(|column| usage.iter().for_each(|usage| usage.select(*column)));
            }
            Some(ast::ConflictTarget::Columns(idents)) => {
                let mut wanted = idents
                    .iter()
                    .map(|ident| column_index(table, &identifier(ident), super::names::position(ident)))
                    .collect::<SqlResult<Vec<_>>>()?;
                wanted.iter().for_each(|column| usage.iter().for_each(|usage| usage.select(*column)));
                wanted.sort_unstable();
                wanted.dedup();
                let mut key = table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default();
                key.sort_unstable();
                if key != wanted {
                    let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                    return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
                }
            }
        }
        match &conflict.action {
            ast::OnConflictAction::DoNothing => Ok(OnConflict::DoNothing),
            ast::OnConflictAction::DoUpdate(update) => {
                if conflict.conflict_target.is_none() {
                    let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
                    let error = SqlError::new(SqlState::SYNTAX_ERROR, message);
                    return Err(error.hint("For example, ON CONFLICT (column_name)."));
                }
                usage.iter().for_each(|usage| usage.require(Privileges::UPDATE));
                let mut scope = Scope { ctes: ctes.clone(), ..table_scope(table, alias, usage)? };
                // What is read of the row that was to be is read of the table, as far as privileges go.
                scope.add(table_relation(table, "excluded", usage), None)?;
                let assignments = self.assignments(&update.assignments, table, &scope)?;
                let place = Place::scalar(&scope, Clause::OnConflict);
                let filter = update.selection.as_ref().map(|filter| self.condition(filter, place, "WHERE")).transpose()?;
                Ok(OnConflict::DoUpdate { assignments, filter })
            }
        }
    }

    /// RETURNING over the row of a scope.
    pub fn returning(&self, items: Option<&[ast::SelectItem]>, scope: &Scope<'_>) -> SqlResult<(Vec<Expr>, Vec<OutputColumn>)> {
        let Some(items) = items else { return Ok((Vec::new(), Vec::new())) };
        self.output_items(items, Place::scalar(scope, Clause::Returning))
    }
}

/// The table that a statement changes.
pub struct Target {
    /// The table.
    pub table: Arc<TableDef>,
    /// The name it goes by.
    pub alias: String,
    /// Where it is noted what the statement does with it.
    pub usage: Mention,
}

/// A scope of one table's columns.
pub fn table_scope(table: &Arc<TableDef>, alias: &str, usage: &Mention) -> SqlResult<Scope<'static>> {
    let mut scope = Scope::default();
    scope.add(table_relation(table, alias, usage), None)?;
    Ok(scope)
}

/// A table as a relation of that name.
pub fn table_relation(table: &Arc<TableDef>, alias: &str, usage: &Mention) -> Relation {
    let columns = (1i16..)
        .zip(&table.columns)
        .map(|(number, column)| Column {
            name: column.name.clone(),
            ty: column.ty,
            source: Some((table.oid, number)),
            index: 0,
            merged: false,
        })
        .collect();
    let table = Some(Arc::clone(table));
    Relation { name: alias.to_owned(), schema: None, columns, table, unnamed: false, usage: usage.clone() }
}

/// The types of a table's columns.
pub fn column_types(table: &TableDef) -> Vec<ColumnType> {
    table.columns.iter().map(|column| column.ty).collect()
}

/// The column of a name; 42703.
pub fn column_index(table: &TableDef, name: &str, position: Option<u32>) -> SqlResult<usize> {
    table.columns.iter().position(|column| column.name == name).ok_or_else(|| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
        at(SqlError::new(SqlState::UNDEFINED_COLUMN, message), position)
    })
}

fn target_columns(table: &TableDef, names: &[ast::ObjectName]) -> SqlResult<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let (parts, start) = parts(name)?;
        let [name] = &parts[..] else { return Err(at(SqlError::unsupported("a field of a column as a target"), start)) };
        let column = column_index(table, name, start)?;
        if columns.contains(&column) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(at(SqlError::new(SqlState::DUPLICATE_COLUMN, message), start));
        }
        columns.push(column);
    }
    Ok(columns)
}

fn check_width(given: usize, columns: &[usize], listed: bool, position: Option<u32>) -> SqlResult<()> {
    let message = if given > columns.len() {
        "INSERT has more expressions than target columns"
    } else if given < columns.len() && listed {
        "INSERT has more target columns than expressions"
    } else {
        return Ok(());
    };
    Err(at(SqlError::new(SqlState::SYNTAX_ERROR, message), position))
}

/// The keyword DEFAULT in the place of a value.
pub fn is_default(value: &Ast) -> bool {
    matches!(value, Ast::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// Clauses of other dialects. Every field is named, so that a new one cannot be parsed and forgotten.
fn check_clauses(insert: &ast::Insert) -> SqlResult<()> {
    let ast::Insert {
        insert_token: _,
        // A comment to PostgreSQL, and the lexer drops comments.
        optimizer_hints: _,
        or,
        ignore,
        into,
        table: _,
        table_alias: _,
        columns: _,
        overwrite,
        source: _,
        assignments,
        partitioned,
        after_columns,
        has_table_keyword,
        on: _,
        returning: _,
        output,
        replace_into,
        priority,
        insert_alias,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    let several = multi_table_insert_type.is_some()
        || !multi_table_into_clauses.is_empty()
        || !multi_table_when_clauses.is_empty()
        || multi_table_else_clause.is_some();
    refuse_present(&[
        (or.is_some(), "INSERT OR"),
        (*ignore, "INSERT IGNORE"),
        (!*into, "INSERT without INTO"),
        (*overwrite, "INSERT OVERWRITE"),
        (!assignments.is_empty(), "INSERT … SET"),
        (partitioned.is_some(), "PARTITION"),
        (!after_columns.is_empty(), "columns after PARTITION"),
        (*has_table_keyword, "INSERT INTO TABLE"),
        (output.is_some(), "OUTPUT"),
        (*replace_into, "REPLACE"),
        (priority.is_some(), "an INSERT priority"),
        (insert_alias.is_some(), "an alias of the inserted row"),
        (settings.is_some(), "SETTINGS"),
        (format_clause.is_some(), "FORMAT"),
        (several, "INSERT into several tables"),
    ])
}
