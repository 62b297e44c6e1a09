//! Queries: WITH, set operations, VALUES, ORDER BY, LIMIT and row locking around the SELECTs of `select`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sqlparser::ast::{self, LimitClause, OrderByKind, SetExpr, SetOperator, SetQuantifier};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::expr::{Clause, Place, position};
use crate::sql::binder::names::{at, identifier, parts};
use crate::sql::binder::scope::{Column, Cte, Relation, Scope};
use crate::sql::binder::{Binder, Typed, plain};
use crate::sql::expr::Expr;
use crate::sql::function::coercion::common_type;
use crate::sql::parser::lock_strength;
use crate::sql::plan::{LockStrength, LockWait, Node, OutputColumn, Plan, Query, RowLocking, SetOp, SortKey};
use crate::types::{CastContext, ColumnType, SqlType};

/// A bound query.
pub struct Bound {
    /// The operators.
    pub node: Node,
    /// The columns of its rows, numbered from 0.
    pub columns: Vec<Column>,
}

/// What stands around a query's body and is bound with it.
#[derive(Clone, Copy, Default)]
pub struct Tail<'q> {
    /// ORDER BY.
    pub order: &'q [ast::OrderByExpr],
}

impl Binder<'_> {
    /// A query as a statement.
    pub fn query_statement(&self, query: &ast::Query) -> SqlResult<(Plan, Vec<OutputColumn>)> {
        if let SetExpr::Insert(changes) | SetExpr::Update(changes) | SetExpr::Delete(changes) = &*query.body {
            // WITH in front of a statement that changes rows.
            let ctes = self.with(query.with.as_ref(), None, None)?;
            return match changes {
                ast::Statement::Insert(insert) => self.insert(insert, ctes),
                ast::Statement::Update(update) => self.update(update, ctes),
                ast::Statement::Delete(delete) => self.delete(delete, ctes),
                _ => Err(SqlError::unsupported("WITH in front of this statement")),
            };
        }
        let locking = self.locking(query)?;
        let mentioned = self.mentions();
        let bound = self.query(query, None, None, None)?;
        if locking.is_some() {
            self.lock_mentions(mentioned);
        }
        let (node, columns) = self.present(bound);
        Ok((Plan::Query(Query { root: node, point: None, locking }), columns))
    }

    /// A result as it is sent: values of the reg* types by their names.
    pub fn present(&self, bound: Bound) -> (Node, Vec<OutputColumn>) {
        let named = |ty: SqlType| match ty {
            SqlType::Regclass => Some("regclassout"),
            SqlType::Regtype => Some("regtypeout"),
            SqlType::Regproc => Some("regprocout"),
            _ => None,
        };
        let mut node = bound.node;
        if bound.columns.iter().any(|column| named(column.ty.ty).is_some()) {
            let exprs = bound.columns.iter().enumerate().map(|(index, column)| {
                let value = Typed::new(Expr::Column(index, column.ty), column.ty);
                match named(column.ty.ty) {
                    Some(function) => {
                        self.function_call(function, vec![value], None)
                            .expect("the output functions of reg* types are in the table")
                            .expr
                    }
                    None => value.expr,
                }
            });
            node = Node::Project { exprs: exprs.collect(), input: Box::new(node) };
        }
        let columns = bound.columns.into_iter().map(|column| {
            let ty = if named(column.ty.ty).is_some() { plain(SqlType::Text) } else { column.ty };
            OutputColumn { name: column.name, ty, source: column.source }
        });
        (node, columns.collect())
    }

    /// Binds a query inside `parent`. `targets` are the types that literals without a type take in its columns; otherwise
    /// they become text.
    pub fn query(
        &self,
        query: &ast::Query,
        parent: Option<&Scope<'_>>,
        ctes: Option<Rc<Cte>>,
        targets: Option<&[ColumnType]>,
    ) -> SqlResult<Bound> {
        let bound = self.query_unsettled(query, parent, ctes, targets)?;
        Ok(settle_columns(bound))
    }

    /// As [`Binder::query`], but columns of untyped literals stay unknown.
    fn query_unsettled(
        &self,
        query: &ast::Query,
        parent: Option<&Scope<'_>>,
        ctes: Option<Rc<Cte>>,
        targets: Option<&[ColumnType]>,
    ) -> SqlResult<Bound> {
        let _level = self.enter_query()?;
        let ast::Query { with, body, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } =
            query;
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty() {
            return Err(SqlError::unsupported("this clause of a query"));
        }
        if !locks.is_empty() && self.is_nested_query() {
            return Err(SqlError::unsupported("FOR UPDATE in a subquery"));
        }
        if !locks.is_empty() && !matches!(**body, SetExpr::Select(_)) {
            let message = "FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let ctes = self.with(with.as_ref(), parent, ctes)?;
        let order = order_items(order_by.as_ref())?;
        let mut bound = self.set_expr(body, parent, &ctes, targets, Tail { order })?;
        self.limit(&mut bound.node, limit_clause.as_ref(), fetch.as_ref(), parent)?;
        Ok(bound)
    }

    fn with(
        &self,
        with: Option<&ast::With>,
        parent: Option<&Scope<'_>>,
        mut ctes: Option<Rc<Cte>>,
    ) -> SqlResult<Option<Rc<Cte>>> {
        let Some(with) = with else { return Ok(ctes) };
        if with.recursive {
            return Err(SqlError::unsupported("WITH RECURSIVE"));
        }
        let mut names: Vec<String> = Vec::new();
        for table in &with.cte_tables {
            let name = identifier(&table.alias.name);
            if names.contains(&name) {
                let message = format!("WITH query name \"{name}\" specified more than once");
                return Err(at(SqlError::new(SqlState::DUPLICATE_ALIAS, message), super::names::position(&table.alias.name)));
            }
            if matches!(*table.query.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)) {
                return Err(SqlError::unsupported("a data-modifying statement in WITH"));
            }
            // Whether it is MATERIALIZED changes no result: see `Cte::read_once`.
            let ast::Cte { alias: _, query: _, from, materialized: _, closing_paren_token: _ } = table;
            if from.is_some() {
                return Err(SqlError::unsupported("FROM in WITH"));
            }
            let mentioned = self.mentions();
            let mut bound = self.query(&table.query, parent, ctes.clone(), None)?;
            let usages = RefCell::new(self.take_mentions(mentioned));
            if table.alias.columns.len() > bound.columns.len() {
                let message = format!(
                    "WITH query \"{name}\" has {} columns available but {} columns specified",
                    bound.columns.len(),
                    table.alias.columns.len()
                );
                return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
            }
            for (column, given) in bound.columns.iter_mut().zip(&table.alias.columns) {
                column.name = identifier(&given.name);
            }
            // References of the CTE's plan are counted from inside a query at this level.
            let level = 1 + parent.map_or(0, Scope::level);
            let read = Cell::new(false);
            let (columns, node) = (bound.columns, bound.node);
            ctes = Some(Rc::new(Cte { name: name.clone(), columns, node, level, read, usages, next: ctes }));
            names.push(name);
        }
        Ok(ctes)
    }

    fn set_expr(
        &self,
        body: &SetExpr,
        parent: Option<&Scope<'_>>,
        ctes: &Option<Rc<Cte>>,
        targets: Option<&[ColumnType]>,
        tail: Tail<'_>,
    ) -> SqlResult<Bound> {
        match body {
            SetExpr::Select(select) => self.select(select, Scope::inside(parent, ctes.clone()), targets, tail),
            SetExpr::Query(query) => {
                let bound = self.query_unsettled(query, parent, ctes.clone(), targets)?;
                self.order_result(bound, tail, parent)
            }
            SetExpr::Values(values) => {
                let bound = self.values(values, parent, ctes, targets)?;
                self.order_result(bound, tail, parent)
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let bound = self.set_operation(left, *op, *set_quantifier, right, parent, ctes)?;
                self.order_result(bound, tail, parent)
            }
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                let mut parts: Vec<ast::ObjectNamePart> = Vec::new();
                parts.extend(table.schema_name.iter().map(|schema| ast::ObjectNamePart::Identifier(ast::Ident::new(schema))));
                parts.push(ast::ObjectNamePart::Identifier(ast::Ident::new(name)));
                let bound = self.whole_table(&ast::ObjectName(parts), Scope::inside(parent, ctes.clone()))?;
                self.order_result(bound, tail, parent)
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(SqlError::unsupported("a data-modifying statement in a query"))
            }
        }
    }

    fn set_operation(
        &self,
        left: &SetExpr,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: &SetExpr,
        parent: Option<&Scope<'_>>,
        ctes: &Option<Rc<Cte>>,
    ) -> SqlResult<Bound> {
        let _level = self.enter_query()?;
        let (op, name) = match op {
            SetOperator::Union => (SetOp::Union, "UNION"),
            SetOperator::Intersect => (SetOp::Intersect, "INTERSECT"),
            SetOperator::Except => (SetOp::Except, "EXCEPT"),
            SetOperator::Minus => return Err(SqlError::unsupported("MINUS")),
        };
        let all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            _ => return Err(SqlError::unsupported("BY NAME")),
        };
        let left = self.set_expr(left, parent, ctes, None, Tail::default())?;
        let right = self.set_expr(right, parent, ctes, None, Tail::default())?;
        if left.columns.len() != right.columns.len() {
            let message = format!("each {name} query must have the same number of columns");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let types = left
            .columns
            .iter()
            .zip(&right.columns)
            .map(|(a, b)| {
                if a.ty == b.ty && a.ty.ty != SqlType::Unknown {
                    return Ok(a.ty);
                }
                common_type([a.ty.ty, b.ty.ty]).map(plain).map_err(|(a, b)| {
                    let message = format!("{name} types {} and {} cannot be matched", a.name(), b.name());
                    SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                })
            })
            .collect::<SqlResult<Vec<_>>>()?;
        let columns =
            left.columns.iter().zip(&types).map(|(column, &ty)| Column { ty, source: None, ..column.clone() }).collect();
        let left = Box::new(self.cast_columns(left, &types)?);
        let right = Box::new(self.cast_columns(right, &types)?);
        Ok(Bound { node: Node::SetOp { op, all, left, right }, columns })
    }

    /// The query's rows with its columns cast.
    fn cast_columns(&self, bound: Bound, types: &[ColumnType]) -> SqlResult<Node> {
        let fits = bound.columns.iter().zip(types).all(|(column, to)| column.ty.ty == to.ty);
        if fits {
            return Ok(bound.node);
        }
        let exprs = bound
            .columns
            .iter()
            .enumerate()
            .zip(types)
            .map(|((index, column), &to)| {
                let value = Typed::new(Expr::Column(index, column.ty), column.ty);
                let cast = self.try_coerce(value, plain(to.ty), CastContext::Implicit)?;
                cast.map(|value| value.expr).ok_or_else(|| SqlError::internal("a common type has implicit casts to it"))
            })
            .collect::<SqlResult<Vec<_>>>()?;
        Ok(Node::Project { input: Box::new(bound.node), exprs })
    }

    /// VALUES: each column of one type.
    fn values(
        &self,
        values: &ast::Values,
        parent: Option<&Scope<'_>>,
        ctes: &Option<Rc<Cte>>,
        targets: Option<&[ColumnType]>,
    ) -> SqlResult<Bound> {
        check_values(values)?;
        let scope = Scope::inside(parent, ctes.clone());
        let place = Place::scalar(&scope, Clause::Values);
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut columns: Vec<Vec<Typed>> = vec![Vec::with_capacity(values.rows.len()); width];
        for row in &values.rows {
            if row.content.len() != width {
                let error = SqlError::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length");
                return Err(at(error, row.content.first().and_then(position)));
            }
            for (column, value) in columns.iter_mut().zip(&row.content) {
                column.push(self.expr(value, place)?.at(position(value)));
            }
        }
        let mut types = Vec::with_capacity(width);
        let mut unified: Vec<std::vec::IntoIter<Typed>> = Vec::with_capacity(width);
        for (index, column) in columns.into_iter().enumerate() {
            let target = targets.and_then(|targets| targets.get(index)).filter(|_| column.iter().all(Typed::is_unknown));
            let (column, ty) = match target {
                Some(target) => (
                    column.into_iter().map(|value| self.coerce_implicit(value, target.ty)).collect::<SqlResult<Vec<_>>>()?,
                    plain(target.ty),
                ),
                None => self.unify(column, "VALUES")?,
            };
            types.push(ty);
            unified.push(column.into_iter());
        }
        let rows = (0..values.rows.len())
            .map(|_| {
                unified.iter_mut().map(|column| column.next().expect("columns are as long as there are rows").expr).collect()
            })
            .collect();
        let columns = (0..)
            .zip(&types)
            .map(|(index, &ty)| Column { name: format!("column{}", index + 1), ty, source: None, index, merged: false })
            .collect();
        Ok(Bound { node: Node::Values { rows, types }, columns })
    }

    /// ORDER BY over a result: only its columns can be named.
    fn order_result(&self, bound: Bound, tail: Tail<'_>, parent: Option<&Scope<'_>>) -> SqlResult<Bound> {
        if tail.order.is_empty() {
            return Ok(bound);
        }
        let mut scope = Scope::inside(parent, None);
        scope.add(
            Relation {
                name: String::new(),
                schema: None,
                columns: bound.columns.clone(),
                table: None,
                unnamed: true,
                usage: None,
            },
            None,
        )?;
        let mut keys = Vec::with_capacity(tail.order.len());
        for item in tail.order {
            let value = match ordinal(&item.expr) {
                Some(number) => {
                    let index = column_number(number, bound.columns.len(), "ORDER BY", position(&item.expr))?;
                    Expr::Column(index, bound.columns[index].ty)
                }
                None => self.settle(self.expr(&item.expr, Place::scalar(&scope, Clause::OrderBy))?)?.expr,
            };
            keys.push(sort_key(value, item)?);
        }
        Ok(Bound { node: Node::Sort { input: Box::new(bound.node), keys }, ..bound })
    }

    fn limit(
        &self,
        node: &mut Node,
        clause: Option<&LimitClause>,
        fetch: Option<&ast::Fetch>,
        parent: Option<&Scope<'_>>,
    ) -> SqlResult<()> {
        let (mut limit, offset) = match clause {
            None => (None, None),
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(_) => return Err(SqlError::unsupported("LIMIT with a comma or BY")),
        };
        if let Some(fetch) = fetch {
            if fetch.with_ties || fetch.percent {
                return Err(SqlError::unsupported("FETCH … WITH TIES or PERCENT"));
            }
            if limit.is_some() {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "multiple LIMIT clauses not allowed"));
            }
            limit = fetch.quantity.as_ref();
        }
        if limit.is_none() && offset.is_none() {
            return Ok(());
        }
        let scope = Scope::inside(parent, None);
        let bind = |expr: &ast::Expr, name: &str| -> SqlResult<Expr> {
            let value = self.expr(expr, Place::scalar(&scope, Clause::Limit))?.at(position(expr));
            let (from, place) = (value.ty.ty, value.position);
            let value = self.try_coerce(value, plain(SqlType::Int8), CastContext::Assignment)?;
            value.map(|value| value.expr).ok_or_else(|| {
                let message = format!("argument of {name} must be type bigint, not type {}", from.name());
                at(SqlError::new(SqlState::DATATYPE_MISMATCH, message), place)
            })
        };
        let limit = limit.map(|limit| bind(limit, "LIMIT")).transpose()?;
        let offset = offset.map(|offset| bind(offset, "OFFSET")).transpose()?;
        let input = std::mem::replace(node, Node::Values { rows: Vec::new(), types: Vec::new() });
        *node = Node::Limit { input: Box::new(input), limit, offset };
        Ok(())
    }

    /// FOR UPDATE and its kin: several clauses lock with the strongest.
    fn locking(&self, query: &ast::Query) -> SqlResult<Option<RowLocking>> {
        let mut strongest: Option<RowLocking> = None;
        for lock in &query.locks {
            let mut strength = match lock.lock_type {
                ast::LockType::Update => LockStrength::Update,
                ast::LockType::Share => LockStrength::Share,
            };
            let mut tables = Vec::new();
            if let Some(of) = &lock.of {
                (tables, _) = parts(of)?;
                if let Some(marked) = lock_strength(&tables[0]) {
                    strength = marked;
                    tables.remove(0);
                }
            }
            self.check_locked(query, &tables)?;
            let wait = match lock.nonblock {
                None => LockWait::Block,
                Some(ast::NonBlock::Nowait) => LockWait::NoWait,
                Some(ast::NonBlock::SkipLocked) => LockWait::SkipLocked,
            };
            match &mut strongest {
                None => strongest = Some(RowLocking { strength, wait }),
                Some(locking) if locking.wait == wait => locking.strength = locking.strength.max(strength),
                Some(_) => return Err(SqlError::unsupported("several locking clauses that wait differently")),
            }
        }
        Ok(strongest)
    }

    /// Rows can only be locked where each result row is one row of one table.
    fn check_locked(&self, query: &ast::Query, of: &[String]) -> SqlResult<()> {
        let SetExpr::Select(select) = &*query.body else { return Err(SqlError::unsupported("FOR UPDATE of this query")) };
        let refuse = |what: &str| {
            let message = format!("FOR UPDATE is not allowed with {what}");
            Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
        };
        let grouped = match &select.group_by {
            ast::GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
            ast::GroupByExpr::All(_) => true,
        };
        if grouped {
            return refuse("GROUP BY clause");
        }
        if select.having.is_some() {
            return refuse("HAVING clause");
        }
        if matches!(select.distinct, Some(ast::Distinct::Distinct | ast::Distinct::On(_))) {
            return refuse("DISTINCT clause");
        }
        let [ast::TableWithJoins { relation: ast::TableFactor::Table { name, alias, .. }, joins }] = &select.from[..] else {
            return Err(SqlError::unsupported("FOR UPDATE of anything but one table"));
        };
        if !joins.is_empty() {
            return Err(SqlError::unsupported("FOR UPDATE of a join"));
        }
        let shown = match alias {
            Some(alias) => identifier(&alias.name),
            None => super::names::qualified(name)?.1,
        };
        if let [named] = of
            && *named != shown
        {
            let message = format!("relation \"{named}\" in FOR UPDATE clause not found in FROM clause");
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        }
        Ok(())
    }
}

/// VALUES as PostgreSQL writes it: without the word ROW that MySQL has in front of each row, or the singular.
pub fn check_values(values: &ast::Values) -> SqlResult<()> {
    let ast::Values { explicit_row, value_keyword, rows: _ } = values;
    if *explicit_row || *value_keyword {
        let word = if *explicit_row { "row" } else { "value" };
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{word}\"")));
    }
    Ok(())
}

fn order_items(order: Option<&ast::OrderBy>) -> SqlResult<&[ast::OrderByExpr]> {
    match order {
        None => Ok(&[]),
        Some(ast::OrderBy { kind: OrderByKind::Expressions(items), interpolate: None }) => Ok(items),
        Some(_) => Err(SqlError::unsupported("ORDER BY ALL")),
    }
}

/// Columns that nothing typed are text.
fn settle_columns(mut bound: Bound) -> Bound {
    for column in bound.columns.iter_mut().filter(|column| column.ty.ty == SqlType::Unknown) {
        column.ty = plain(SqlType::Text);
    }
    bound
}

/// The sort key for an item of ORDER BY.
pub fn sort_key(expr: Expr, item: &ast::OrderByExpr) -> SqlResult<SortKey> {
    if item.with_fill.is_some() {
        return Err(SqlError::unsupported("WITH FILL"));
    }
    let descending = match &item.options.sort {
        None | Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(_) => return Err(SqlError::unsupported("ORDER BY USING")),
    };
    Ok(SortKey { expr, descending, nulls_first: item.options.nulls_first.unwrap_or(descending) })
}

/// An integer constant that ORDER BY and GROUP BY read as a column's number; any other constant is refused by them.
pub fn ordinal(expr: &ast::Expr) -> Option<&str> {
    match expr {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(digits, _), .. }) => Some(digits),
        _ => None,
    }
}

/// The 0-based column for a 1-based number; 42P10 if there is none.
pub fn column_number(digits: &str, columns: usize, clause: &str, position: Option<u32>) -> SqlResult<usize> {
    let Ok(number) = digits.parse::<i32>() else {
        let message = format!("non-integer constant in {clause}");
        return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, message), position));
    };
    match usize::try_from(number) {
        Ok(number) if (1..=columns).contains(&number) => Ok(number - 1),
        _ => {
            let message = format!("{clause} position {number} is not in select list");
            Err(at(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message), position))
        }
    }
}
