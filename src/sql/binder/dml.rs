//! UPDATE and DELETE.

use std::sync::Arc;

use sqlparser::ast::{self, AssignmentTarget, Expr as Ast};

use crate::catalog::{Privileges, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::access::Mention;
use crate::sql::binder::expr::{Clause, Place, position};
use crate::sql::binder::from::plain_table;
use crate::sql::binder::insert::{Target, column_index, is_default, table_scope};
use crate::sql::binder::names::{at, identifier, parts};
use crate::sql::binder::operators::unnest;
use crate::sql::binder::scope::{Ctes, Scope};
use crate::sql::binder::{Binder, refuse_present};
use crate::sql::expr::Expr;
use crate::sql::plan::{Access, DeletePlan, Node, OutputColumn, Plan, UpdatePlan};

impl Binder<'_> {
    /// Binds an UPDATE, behind the WITH queries of `ctes`.
    pub fn update(&self, update: &ast::Update, ctes: Ctes) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        check_update(update)?;
        let from = match &update.from {
            None => None,
            Some(ast::UpdateTableFromKind::AfterSet(from)) => Some(&from[..]),
            Some(ast::UpdateTableFromKind::BeforeSet(_)) => return Err(SqlError::unsupported("FROM before SET")),
        };
        let Target { table, alias, usage } = self.changed_table(&update.table, "UPDATE", Privileges::UPDATE)?;
        let (source, scope) = self.changed_rows(&table, (&alias, &usage), from, ctes)?;
        let assignments = self.assignments(&update.assignments, &table, &scope)?;
        let filter = self.where_clause(update.selection.as_ref(), &scope)?;
        let (returning, output) = self.returning(update.returning.as_deref(), &scope)?;
        Ok((Plan::Update(UpdatePlan { table, access: Access::Full, filter, assignments, returning, source }), output))
    }

    /// Binds a DELETE, behind the WITH queries of `ctes`.
    pub fn delete(&self, delete: &ast::Delete, ctes: Ctes) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        check_delete(delete)?;
        let ast::FromTable::WithFromKeyword(from) = &delete.from else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "DELETE needs FROM"));
        };
        let [from] = &from[..] else { return Err(SqlError::unsupported("DELETE from several tables")) };
        let Target { table, alias, usage } = self.changed_table(from, "DELETE", Privileges::DELETE)?;
        let (source, scope) = self.changed_rows(&table, (&alias, &usage), delete.using.as_deref(), ctes)?;
        let filter = self.where_clause(delete.selection.as_ref(), &scope)?;
        let (returning, output) = self.returning(delete.returning.as_deref(), &scope)?;
        Ok((Plan::Delete(DeletePlan { table, access: Access::Full, filter, returning, source }), output))
    }

    /// The rows that expressions of an UPDATE or DELETE are over: the table's, joined to FROM's if there is one.
    fn changed_rows(
        &self,
        table: &Arc<TableDef>,
        (alias, usage): (&str, &Mention),
        from: Option<&[ast::TableWithJoins]>,
        ctes: Ctes,
    ) -> SqlResult<(Option<Node>, Scope<'static>)> {
        match from {
            None => Ok((None, Scope { ctes, ..table_scope(table, alias, usage)? })),
            Some(from) => {
                let (node, scope) = self.join_target(table, (alias, usage), from, ctes)?;
                Ok((Some(node), scope))
            }
        }
    }

    fn changed_table(&self, table: &ast::TableWithJoins, verb: &str, privilege: Privileges) -> SqlResult<Target> {
        let Some((name, alias)) = plain_table(&table.relation) else {
            return Err(SqlError::unsupported(format!("{verb} of anything but a table")));
        };
        if !table.joins.is_empty() {
            return Err(SqlError::unsupported(format!("{verb} of a join")));
        }
        if alias.is_some_and(|alias| !alias.columns.is_empty()) {
            return Err(SqlError::unsupported("column aliases here"));
        }
        self.target(name, alias.map(|alias| identifier(&alias.name)), privilege)
    }

    fn where_clause(&self, condition: Option<&Ast>, scope: &Scope<'_>) -> SqlResult<Option<Expr>> {
        condition.map(|condition| self.condition(condition, Place::scalar(scope, Clause::Where), "WHERE")).transpose()
    }

    /// SET: columns of the scope's first relation and their new values.
    pub fn assignments(
        &self,
        assignments: &[ast::Assignment],
        table: &Arc<TableDef>,
        scope: &Scope<'_>,
    ) -> SqlResult<Vec<(usize, Expr)>> {
        let mut bound: Vec<(usize, Expr)> = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(name) => self.assign(name, &assignment.value, table, scope, &mut bound)?,
                AssignmentTarget::Tuple(names) => {
                    let Ast::Tuple(values) = unnest(&assignment.value) else {
                        return Err(SqlError::unsupported("assignment to several columns from a subquery"));
                    };
                    if names.len() != values.len() {
                        let message = "number of columns does not match number of values";
                        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                    }
                    for (name, value) in names.iter().zip(values) {
                        self.assign(name, value, table, scope, &mut bound)?;
                    }
                }
            }
        }
        Ok(bound)
    }

    fn assign(
        &self,
        name: &ast::ObjectName,
        value: &Ast,
        table: &Arc<TableDef>,
        scope: &Scope<'_>,
        bound: &mut Vec<(usize, Expr)>,
    ) -> SqlResult<()> {
        let (names, start) = parts(name)?;
        let column = match &names[..] {
            [name] => column_index(table, name, start)?,
            // PostgreSQL reads `a.b` as field b of column a.
            [name, ..] => {
                column_index(table, name, start)?;
                return Err(at(SqlError::unsupported("a field of a column as a target"), start));
            }
            [] => return Err(SqlError::internal("an assignment has a target")),
        };
        if let Some(usage) = scope.relations.first().and_then(|target| target.usage.as_ref()) {
            usage.update(column);
        }
        let definition = &table.columns[column];
        if bound.iter().any(|(other, _)| *other == column) {
            let message = format!("multiple assignments to same column \"{}\"", definition.name);
            return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, message), start));
        }
        let value = if is_default(value) {
            self.default_value(table, column)?
        } else {
            let value = self.expr(value, Place::scalar(scope, Clause::Update))?.at(position(value));
            self.coerce_assignment(value, definition.ty, &definition.name)?.expr
        };
        bound.push((column, value));
        Ok(())
    }
}

/// Clauses of other dialects. Every field is named, so that a new one cannot be parsed and forgotten.
fn check_update(update: &ast::Update) -> SqlResult<()> {
    let ast::Update {
        update_token: _,
        // A comment to PostgreSQL, and the lexer drops comments.
        optimizer_hints: _,
        table: _,
        assignments: _,
        from: _,
        selection: _,
        returning: _,
        output,
        or,
        order_by,
        limit,
    } = update;
    refuse_present(&[
        (output.is_some(), "OUTPUT"),
        (or.is_some(), "UPDATE OR"),
        (!order_by.is_empty(), "UPDATE … ORDER BY"),
        (limit.is_some(), "UPDATE … LIMIT"),
    ])
}

/// As [`check_update`].
fn check_delete(delete: &ast::Delete) -> SqlResult<()> {
    let ast::Delete {
        delete_token: _,
        optimizer_hints: _,
        tables,
        from: _,
        using: _,
        selection: _,
        returning: _,
        output,
        order_by,
        limit,
    } = delete;
    refuse_present(&[
        (!tables.is_empty(), "DELETE from several tables"),
        (output.is_some(), "OUTPUT"),
        (!order_by.is_empty(), "DELETE … ORDER BY"),
        (limit.is_some(), "DELETE … LIMIT"),
    ])
}
