//! FROM: tables, subqueries, functions and joins, side by side in one row.
//!
//! Joins are built left-deep in the order written. What LATERAL sees is the row joined so far: while a lateral item is bound,
//! that row's scope is the next one out, just as its values are the next ones on the stack when the join runs. If the item
//! does not use it after all, the join is an ordinary one and the item's references are counted one row less.

use std::sync::Arc;

use sqlparser::ast::{self, JoinConstraint, JoinOperator, TableFactor};

use crate::catalog::lookup::undefined_relation;
use crate::catalog::system::system_table;
use crate::catalog::{Privileges, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::access::Mention;
use crate::sql::binder::expr::{Clause, Place};
use crate::sql::binder::insert::table_relation;
use crate::sql::binder::names::{at, identifier, position, qualified};
use crate::sql::binder::scope::{Column, Ctes, Relation, Scope, find_cte};
use crate::sql::binder::{Binder, Typed, plain};
use crate::sql::expr::Expr;
use crate::sql::expr::walk::{self, Reference};
use crate::sql::function::table;
use crate::sql::plan::{Access, Join, JoinKind, Node, Scan};
use crate::types::{ColumnType, SqlType};

/// One item of FROM.
struct Factor {
    node: Node,
    relations: Vec<Relation>,
    merged: Vec<(String, Typed)>,
    width: usize,
    /// References in `node` count the row joined so far, and use it.
    lateral: bool,
}

/// What is joined so far.
struct Joined<'p> {
    node: Option<Node>,
    scope: Scope<'p>,
}

impl Binder<'_> {
    /// Binds a FROM clause; without items, one row without columns.
    pub fn join_clause<'p>(&self, items: &[ast::TableWithJoins], scope: Scope<'p>) -> SqlResult<(Node, Scope<'p>)> {
        let mut joined = Joined { node: None, scope };
        for item in items {
            self.join_item(item, &mut joined)?;
        }
        let node = joined.node.unwrap_or(Node::Values { rows: vec![Vec::new()], types: Vec::new() });
        Ok((node, joined.scope))
    }

    /// The rows of the table that an UPDATE or DELETE changes, with their ids, joined to the items of its FROM or USING. Those
    /// do not see the table.
    pub fn join_target(
        &self,
        table: &Arc<TableDef>,
        (alias, usage): (&str, &Mention),
        from: &[ast::TableWithJoins],
        ctes: Ctes,
    ) -> SqlResult<(Node, Scope<'static>)> {
        let (node, others) = self.join_clause(from, Scope::inside(None, ctes.clone()))?;
        let mut joined = Joined { node: Some(Node::Scan(Scan::with_ids(table))), scope: Scope::inside(None, ctes) };
        let schema = self.context.catalog.schemas.get(&table.schema).map(|schema| schema.name.clone());
        let schema = schema.filter(|_| alias == table.name);
        joined.scope.add(Relation { schema, ..table_relation(table, alias, usage) }, None)?;
        // No name reaches the row's id, and no star has it.
        let id = Column { merged: true, ..column("", plain(SqlType::Int8), None) };
        let ids = Relation { name: String::new(), schema: None, columns: vec![id], table: None, unnamed: true, usage: None };
        joined.scope.add(ids, None)?;
        let factor = Factor { node, width: others.width, relations: others.relations, merged: others.merged, lateral: false };
        let first = joined.scope.relations.len();
        self.attach(&mut joined, factor, JoinKind::Inner, None, first)?;
        Ok((joined.node.expect("two items were joined"), joined.scope))
    }

    fn join_item<'p>(&self, item: &ast::TableWithJoins, joined: &mut Joined<'p>) -> SqlResult<()> {
        let preserves_right = item.joins.iter().any(|join| {
            matches!(join.join_operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_))
        });
        if joined.node.is_some() && preserves_right {
            // `a, b RIGHT JOIN c` is a × (b RIGHT JOIN c), which is not (a × b) RIGHT JOIN c.
            let mut fresh = Joined { node: None, scope: Scope::inside(joined.scope.parent, joined.scope.ctes.clone()) };
            self.joins(item, &mut fresh)?;
            let factor = Factor {
                node: fresh.node.expect("an item of FROM has a node"),
                width: fresh.scope.width,
                relations: fresh.scope.relations,
                merged: fresh.scope.merged,
                lateral: false,
            };
            return self.attach(joined, factor, JoinKind::Inner, None, 0);
        }
        self.joins(item, joined)
    }

    fn joins<'p>(&self, item: &ast::TableWithJoins, joined: &mut Joined<'p>) -> SqlResult<()> {
        let first = joined.scope.relations.len();
        let factor = self.factor(&item.relation, joined)?;
        self.attach(joined, factor, JoinKind::Inner, None, first)?;
        for join in &item.joins {
            if join.global {
                return Err(SqlError::unsupported("GLOBAL JOIN"));
            }
            let (kind, constraint) = match &join.join_operator {
                JoinOperator::Join(on) | JoinOperator::Inner(on) => (JoinKind::Inner, on),
                JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (JoinKind::Left, on),
                JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (JoinKind::Right, on),
                JoinOperator::FullOuter(on) => (JoinKind::Full, on),
                JoinOperator::CrossJoin(on) => (JoinKind::Inner, on),
                _ => return Err(SqlError::unsupported("this kind of join")),
            };
            let crossed = matches!(join.join_operator, JoinOperator::CrossJoin(_));
            if crossed != matches!(constraint, JoinConstraint::None) {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    "syntax error: a join needs a condition, a cross join has none",
                ));
            }
            let factor = self.factor(&join.relation, joined)?;
            if factor.lateral && matches!(kind, JoinKind::Right | JoinKind::Full) {
                let error = SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, "invalid reference to FROM-clause entry");
                return Err(error.detail("The combining JOIN type must be INNER or LEFT for a LATERAL reference."));
            }
            self.attach(joined, factor, kind, Some(constraint), first)?;
        }
        Ok(())
    }

    /// Joins an item to what there is. Names in the condition are those of the relations from `first` on.
    fn attach<'p>(
        &self,
        joined: &mut Joined<'p>,
        factor: Factor,
        kind: JoinKind,
        constraint: Option<&JoinConstraint>,
        first: usize,
    ) -> SqlResult<()> {
        let left_width = joined.scope.width;
        let left_relations = joined.scope.relations.len();
        for relation in factor.relations {
            joined.scope.add(relation, None)?;
        }
        debug_assert_eq!(joined.scope.width, left_width + factor.width);
        let left_merged = joined.scope.merged.len();
        for (name, mut value) in factor.merged {
            walk::rewrite_references(&mut value.expr, &mut |reference| {
                Some(Reference {
                    index: if reference.depth == 0 { reference.index + left_width } else { reference.index },
                    ..reference
                })
            });
            joined.scope.merged.push((name, value));
        }
        let Some(left) = joined.node.take() else {
            joined.node = Some(factor.node);
            return Ok(());
        };
        let condition = match constraint {
            None | Some(JoinConstraint::None) => None,
            Some(JoinConstraint::On(condition)) => Some(self.join_condition(condition, &mut joined.scope, first)?),
            Some(JoinConstraint::Using(columns)) => {
                let names = columns.iter().map(|name| qualified(name).map(|(_, name, _)| name)).collect::<SqlResult<Vec<_>>>()?;
                self.using(&names, joined, (first, left_relations, left_merged), kind)?
            }
            Some(JoinConstraint::Natural) => {
                let names = common_columns(&joined.scope, first, left_relations, left_merged);
                self.using(&names, joined, (first, left_relations, left_merged), kind)?
            }
        };
        joined.node = Some(Node::Join(Box::new(Join {
            kind,
            left,
            right: factor.node,
            equal: Vec::new(),
            condition,
            lateral: factor.lateral,
            hash_left: false,
        })));
        Ok(())
    }

    fn join_condition(&self, condition: &ast::Expr, scope: &mut Scope<'_>, first: usize) -> SqlResult<Expr> {
        // Only the tables of this JOIN are visible in its condition; the others stay in the row.
        let hidden: Vec<Relation> = scope.relations.drain(..first).collect();
        let bound = self.condition(condition, Place::scalar(scope, Clause::JoinOn), "JOIN/ON");
        scope.relations.splice(0..0, hidden);
        bound
    }

    /// USING: equality of the columns on both sides, which become one.
    fn using(
        &self,
        names: &[String],
        joined: &mut Joined<'_>,
        (first, right_first, left_merged): (usize, usize, usize),
        kind: JoinKind,
    ) -> SqlResult<Option<Expr>> {
        let mut tests = Vec::with_capacity(names.len());
        let mut merged = Vec::with_capacity(names.len());
        for name in names {
            let left = using_column(&joined.scope, first..right_first, 0..left_merged, name, "left")?;
            let right = using_column(
                &joined.scope,
                right_first..joined.scope.relations.len(),
                left_merged..joined.scope.merged.len(),
                name,
                "right",
            )?;
            tests.push(self.binary_operator("=", left.clone(), right.clone(), None)?.expr);
            let value = match kind {
                JoinKind::Inner | JoinKind::Left => left,
                JoinKind::Right => right,
                JoinKind::Full => {
                    let (values, ty) = self.unify(vec![left, right], "JOIN/USING")?;
                    Typed::new(Expr::Coalesce(values.into_iter().map(|value| value.expr).collect(), ty.ty), ty)
                }
            };
            merged.push((name.clone(), value));
        }
        for relation in &mut joined.scope.relations[first..] {
            for column in relation.columns.iter_mut().filter(|column| names.contains(&column.name)) {
                column.merged = true;
            }
        }
        joined.scope.merged.retain(|(name, _)| !names.contains(name));
        merged.append(&mut joined.scope.merged);
        joined.scope.merged = merged;
        Ok(if tests.is_empty() { None } else { Some(super::operators::conjunction(tests)) })
    }

    fn factor(&self, factor: &TableFactor, joined: &Joined<'_>) -> SqlResult<Factor> {
        if let Some((name, alias)) = plain_table(factor) {
            return self.table_factor(name, alias, joined);
        }
        match factor {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                Err(SqlError::unsupported("TABLESAMPLE"))
            }
            TableFactor::Table { with_hints, index_hints, .. } if !with_hints.is_empty() || !index_hints.is_empty() => {
                Err(SqlError::unsupported("a table hint"))
            }
            TableFactor::Table {
                name,
                alias,
                args: Some(ast::TableFunctionArgs { args, settings: None }),
                with_ordinality,
                with_hints: _,
                index_hints: _,
                version: None,
                partitions,
                json_path: None,
                sample: None,
            } if partitions.is_empty() => self.function_factor(name, args, *with_ordinality, alias.as_ref(), joined),
            // A function sees the items before it whether LATERAL is said or not (documentation 7.2.1.5).
            TableFactor::Function { name, args, with_ordinality, alias, lateral: _ } => {
                self.function_factor(name, args, *with_ordinality, alias.as_ref(), joined)
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_offset_alias: None, with_ordinality } => {
                let [array] = &array_exprs[..] else { return Err(SqlError::unsupported("unnest of several arrays")) };
                let arg = ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(array.clone()));
                let name = ast::ObjectName(vec![ast::ObjectNamePart::Identifier(ast::Ident::new("unnest"))]);
                self.function_factor(&name, &[arg], *with_ordinality, alias.as_ref(), joined)
            }
            TableFactor::Derived { lateral, subquery, alias, sample: None } => {
                self.derived(*lateral, subquery, alias.as_ref(), joined)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let scope = Scope::inside(joined.scope.parent, joined.scope.ctes.clone());
                let mut inner = Joined { node: None, scope };
                self.joins(table_with_joins, &mut inner)?;
                if alias.is_some() {
                    return Err(SqlError::unsupported("an alias of a parenthesised join"));
                }
                let node = inner.node.expect("an item of FROM has a node");
                Ok(Factor {
                    node,
                    width: inner.scope.width,
                    relations: inner.scope.relations,
                    merged: inner.scope.merged,
                    lateral: false,
                })
            }
            _ => Err(SqlError::unsupported("this kind of item in FROM")),
        }
    }

    fn table_factor(&self, name: &ast::ObjectName, alias: Option<&ast::TableAlias>, joined: &Joined<'_>) -> SqlResult<Factor> {
        let (schema, name, start) = qualified(name)?;
        if schema.is_none()
            && let Some(cte) = find_cte(joined.scope.ctes.as_ref(), &name)
        {
            let mut node = cte.node.clone();
            // The CTE counted rows from where it is defined; here may be further in.
            let further = joined.scope.level() - cte.level;
            cte.read_once(further)?;
            walk::rewrite_node(&mut node, 1, &mut |reference| Some(Reference { depth: reference.depth + further, ..reference }));
            self.note_mentions(cte.usages.take());
            return self.named(node, &name, None, cte.columns.clone(), alias, (None, None));
        }
        if let Some(table) = system_table(self.context.session.search_path(), schema.as_deref(), &name) {
            self.check_system(table)?;
            let ty = |ty| ColumnType { ty, typmod: -1 };
            let columns: Vec<Column> = table.columns.iter().map(|(name, of)| column(name, ty(*of), None)).collect();
            let node = Node::SystemScan { table: table.reference, columns: (0..columns.len()).collect(), filter: None };
            return self.named(node, &name, Some(table.schema.to_owned()), columns, alias, (None, None));
        }
        let Some(table) = self.find_table(schema.as_deref(), &name).map_err(|error| at(error, start))? else {
            return Err(at(undefined_relation(schema.as_deref(), &name), start));
        };
        let usage = self.mention(&table, Privileges::SELECT);
        let columns: Vec<Column> = (1i16..)
            .zip(&table.columns)
            .map(|(number, definition)| Column {
                source: Some((table.oid, number)),
                ..column(&definition.name, definition.ty, None)
            })
            .collect();
        let scan = Scan {
            table: table.clone(),
            columns: (0..columns.len()).collect(),
            access: Access::Full,
            filter: None,
            reverse: false,
            limit: None,
        };
        let schema = self.context.catalog.schemas.get(&table.schema).map(|schema| schema.name.clone());
        self.named(Node::Scan(scan), &name, schema, columns, alias, (Some(table), usage))
    }

    /// Wraps a node as a relation under its alias.
    fn named(
        &self,
        node: Node,
        name: &str,
        schema: Option<String>,
        mut columns: Vec<Column>,
        alias: Option<&ast::TableAlias>,
        (table, usage): (Option<Arc<TableDef>>, Mention),
    ) -> SqlResult<Factor> {
        let (mut name, mut schema) = (name.to_owned(), schema);
        if let Some(alias) = alias {
            if alias.at.is_some() {
                return Err(SqlError::unsupported("AT in a table alias"));
            }
            name = identifier(&alias.name);
            schema = None;
            if alias.columns.len() > columns.len() {
                let message = format!(
                    "table \"{name}\" has {} columns available but {} columns specified",
                    columns.len(),
                    alias.columns.len()
                );
                return Err(at(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message), position(&alias.name)));
            }
            for (column, given) in columns.iter_mut().zip(&alias.columns) {
                if given.data_type.is_some() {
                    return Err(SqlError::unsupported("a column definition list"));
                }
                column.name = identifier(&given.name);
            }
        }
        let width = columns.len();
        let relation = Relation { name, schema, columns, table, unnamed: false, usage };
        Ok(Factor { node, relations: vec![relation], merged: Vec::new(), width, lateral: false })
    }

    fn derived(
        &self,
        lateral: bool,
        query: &ast::Query,
        alias: Option<&ast::TableAlias>,
        joined: &Joined<'_>,
    ) -> SqlResult<Factor> {
        let ctes = joined.scope.ctes.clone();
        let seen = lateral && joined.node.is_some();
        let bound = self.query(query, if seen { Some(&joined.scope) } else { joined.scope.parent }, ctes, None)?;
        let Some(alias) = alias else {
            let error = SqlError::new(SqlState::SYNTAX_ERROR, "subquery in FROM must have an alias");
            let error = error.hint("For example, FROM (SELECT ...) [AS] foo.");
            return Err(at(error, crate::sql::parser::position_of(ast::Spanned::span(query))));
        };
        let mut factor = self.named(bound.node, "", None, bound.columns, Some(alias), (None, None))?;
        if seen {
            factor.lateral = settle_lateral(&mut factor.node);
        }
        Ok(factor)
    }

    fn function_factor(
        &self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        joined: &Joined<'_>,
    ) -> SqlResult<Factor> {
        let (schema, name, start) = qualified(name)?;
        let shown = schema.filter(|schema| schema != "pg_catalog").map_or(name.clone(), |schema| format!("{schema}.{name}"));
        // A function in FROM sees the items before it without LATERAL being said (documentation 7.2.1.5). Its arguments are
        // evaluated on the right side of a join, so they count the row joined so far as one row out.
        let seen = joined.node.is_some();
        let empty = Scope::inside(if seen { Some(&joined.scope) } else { joined.scope.parent }, joined.scope.ctes.clone());
        let place = Place::scalar(&empty, Clause::From);
        let args = args.iter().map(|arg| self.argument(arg, start, place)).collect::<SqlResult<Vec<_>>>()?;
        let (mut node, ty) = if table::is_table_function(&shown) {
            let (function, args, ty) = self.table_function(&shown, args, start)?;
            let mut types = vec![plain(ty)];
            if ordinality {
                types.push(plain(SqlType::Int8));
            }
            (Node::FunctionScan { function, args, types, ordinality }, ty)
        } else {
            // Any other function is a row of one column.
            let value = self.settle(self.function_call(&shown, args, start)?)?;
            if ordinality {
                return Err(at(SqlError::unsupported("WITH ORDINALITY of a function that returns one row"), start));
            }
            (Node::Values { rows: vec![vec![value.expr]], types: vec![value.ty] }, value.ty.ty)
        };
        let lateral = seen && settle_lateral(&mut node);
        // The one column takes the alias's name.
        let column_name = alias.map_or(name.clone(), |alias| identifier(&alias.name));
        let mut columns = vec![column(&column_name, plain(ty), None)];
        if ordinality {
            columns.push(column("ordinality", plain(SqlType::Int8), None));
        }
        let mut factor = self.named(node, &name, None, columns, alias, (None, None))?;
        factor.lateral = lateral;
        Ok(factor)
    }
}

/// A table by its name and alias, without anything of other dialects around it. Every field is named, so that a new one cannot
/// be parsed and forgotten.
pub fn plain_table(factor: &TableFactor) -> Option<(&ast::ObjectName, Option<&ast::TableAlias>)> {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => Some((name, alias.as_ref())),
        _ => None,
    }
}

/// Decides whether a node bound with the row joined so far as the next one out uses that row; if not, that row is not counted.
fn settle_lateral(node: &mut Node) -> bool {
    let mut uses = false;
    walk::rewrite_node(node, 1, &mut |reference| {
        uses |= reference.depth == 0;
        None
    });
    if !uses {
        shift_inward(node);
    }
    uses
}

/// Counts every reference that leaves the node as one row nearer.
fn shift_inward(node: &mut Node) {
    walk::rewrite_node(node, 1, &mut |reference| {
        assert!(reference.depth > 0, "a node that does not use the row joined so far has no reference to it");
        Some(Reference { depth: reference.depth - 1, ..reference })
    });
}

fn column(name: &str, ty: crate::types::ColumnType, source: Option<(crate::base::Oid, i16)>) -> Column {
    Column { name: name.to_owned(), ty, source, index: 0, merged: false }
}

/// The column that USING names on one side.
fn using_column(
    scope: &Scope<'_>,
    relations: std::ops::Range<usize>,
    merged: std::ops::Range<usize>,
    name: &str,
    side: &str,
) -> SqlResult<Typed> {
    let mut found: Vec<Typed> =
        scope.merged[merged].iter().filter(|(merged, _)| merged == name).map(|(_, value)| value.clone()).collect();
    for relation in &scope.relations[relations] {
        for (number, column) in relation.columns.iter().enumerate().filter(|(_, column)| column.name == name && !column.merged) {
            relation.select(number);
            found.push(Typed::new(Expr::Column(column.index, column.ty), column.ty));
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let message = format!("column \"{name}\" specified in USING clause does not exist in {side} table");
            Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message))
        }
        _ => {
            let message = format!("common column name \"{name}\" appears more than once in {side} table");
            Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message))
        }
    }
}

/// The names NATURAL joins on: those of the left side that the right side has too, in the left side's order.
fn common_columns(scope: &Scope<'_>, first: usize, right_first: usize, left_merged: usize) -> Vec<String> {
    let names = |relations: &[Relation]| -> Vec<String> {
        relations
            .iter()
            .flat_map(|relation| relation.columns.iter())
            .filter(|column| !column.merged)
            .map(|c| c.name.clone())
            .collect()
    };
    let mut left: Vec<String> = scope.merged[..left_merged].iter().map(|(name, _)| name.clone()).collect();
    left.extend(names(&scope.relations[first..right_first]));
    let mut right = names(&scope.relations[right_first..]);
    right.extend(scope.merged[left_merged..].iter().map(|(name, _)| name.clone()));
    left.retain(|name| right.contains(name));
    left
}
