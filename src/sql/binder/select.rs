//! One SELECT: items, WHERE, GROUP BY, HAVING, DISTINCT and ORDER BY, in the order in which PostgreSQL computes them.

use std::cell::RefCell;

use sqlparser::ast::{self, Distinct, Expr as Ast, GroupByExpr, SelectItem, SelectItemQualifiedWildcardKind};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::aggregates::{Collector, Marker, marker};
use crate::sql::binder::expr::{Clause, Place, position};
use crate::sql::binder::grouping::{Grouping, same};
use crate::sql::binder::names::{at, identifier, qualified};
use crate::sql::binder::operators::unnest;
use crate::sql::binder::query::{Bound, Tail, column_number, ordinal, sort_key};
use crate::sql::binder::scope::{Column, Relation, Scope};
use crate::sql::binder::{Binder, Typed, plain, refuse_present};
use crate::sql::expr::{Expr, walk};
use crate::sql::plan::{Join, JoinKind, Node, SortKey};
use crate::types::{ColumnType, SqlType};

/// An output column.
struct Item {
    value: Typed,
    name: String,
    source: Option<(crate::base::Oid, i16)>,
}

/// A sort key or DISTINCT ON expression: the item it is.
struct Key<'q> {
    item: usize,
    order: Option<&'q ast::OrderByExpr>,
}

impl Binder<'_> {
    /// Binds a SELECT with the ORDER BY that follows it.
    pub fn select(
        &self,
        select: &ast::Select,
        scope: Scope<'_>,
        targets: Option<&[ColumnType]>,
        tail: Tail<'_>,
    ) -> SqlResult<Bound> {
        check_clauses(select)?;
        let (mut node, scope) = self.join_clause(&select.from, scope)?;
        if let Some(condition) = &select.selection {
            let predicate = self.condition(condition, Place::scalar(&scope, Clause::Where), "WHERE")?;
            node = Node::Filter { input: Box::new(node), predicate };
        }
        let collector = RefCell::new(Collector::default());
        let place = Place { scope: &scope, clause: Clause::Select, collector: Some(&collector), in_aggregate: false };
        let mut items = self.items(&select.projection, place, targets)?;
        let given = items.len();
        let group = self.group_by(&select.group_by, &items, &scope)?;
        let having_place = Place { clause: Clause::Having, ..place };
        let mut having = select.having.as_ref().map(|having| self.condition(having, having_place, "HAVING")).transpose()?;
        let order_place = Place { clause: Clause::OrderBy, ..place };
        let keys = tail
            .order
            .iter()
            .map(|item| Ok(Key { item: self.key(&item.expr, &mut items, given, order_place, "ORDER BY")?, order: Some(item) }))
            .collect::<SqlResult<Vec<_>>>()?;
        let on = match &select.distinct {
            Some(Distinct::On(exprs)) => Some(
                exprs
                    .iter()
                    .map(|expr| Ok(Key { item: self.key(expr, &mut items, given, order_place, "DISTINCT ON")?, order: None }))
                    .collect::<SqlResult<Vec<_>>>()?,
            ),
            _ => None,
        };
        let distinct = matches!(select.distinct, Some(Distinct::Distinct));
        if distinct && items.len() > given {
            let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
            let place = keys.iter().find(|key| key.item >= given).and_then(|key| position(&key.order?.expr));
            return Err(at(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message), place));
        }
        let mut collector = collector.into_inner();
        let mut width = scope.width;
        if group.is_some() || having.is_some() || !collector.aggregates.is_empty() {
            (node, width) = aggregate(node, group.unwrap_or_default(), &scope, &mut items, &mut having, &mut collector)?;
        }
        if let Some(predicate) = having {
            node = Node::Filter { input: Box::new(node), predicate };
        }
        node = set_returning(node, width, &mut items, &mut collector);
        finish(node, items, given, keys, distinct, on)
    }

    /// Output items that stand over a row as it is, as in RETURNING.
    pub fn output_items(
        &self,
        projection: &[SelectItem],
        place: Place<'_>,
    ) -> SqlResult<(Vec<Expr>, Vec<crate::sql::plan::OutputColumn>)> {
        let items = self.items(projection, place, None)?;
        let (mut exprs, mut columns) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for item in items {
            let value = self.settle(item.value)?;
            columns.push(crate::sql::plan::OutputColumn { name: item.name, ty: value.ty, source: item.source });
            exprs.push(value.expr);
        }
        Ok((exprs, columns))
    }

    /// `TABLE name`.
    pub fn whole_table(&self, name: &ast::ObjectName, scope: Scope<'_>) -> SqlResult<Bound> {
        let factor = ast::TableFactor::Table {
            name: name.clone(),
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        };
        let (node, scope) = self.join_clause(&[ast::TableWithJoins { relation: factor, joins: Vec::new() }], scope)?;
        scope.relations.iter().filter_map(|relation| relation.usage.as_ref()).for_each(|usage| usage.select_all());
        let columns = scope.relations.into_iter().flat_map(|relation| relation.columns).collect();
        Ok(Bound { node, columns })
    }

    fn items(&self, projection: &[SelectItem], place: Place<'_>, targets: Option<&[ColumnType]>) -> SqlResult<Vec<Item>> {
        let mut items = Vec::with_capacity(projection.len());
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let value = self.item(expr, place, targets, items.len())?;
                    let source = source(&value, place.scope);
                    items.push(Item { value, name: default_name(expr), source });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let value = self.item(expr, place, targets, items.len())?;
                    let source = source(&value, place.scope);
                    items.push(Item { value, name: identifier(alias), source });
                }
                SelectItem::ExprWithAliases { .. } => return Err(SqlError::unsupported("several aliases of one expression")),
                SelectItem::Wildcard(options) => {
                    check_wildcard(options)?;
                    if place.scope.relations.is_empty() {
                        let error = SqlError::new(SqlState::SYNTAX_ERROR, "SELECT * with no tables specified is not valid");
                        return Err(at(error, crate::sql::parser::position_of(options.wildcard_token.0.span)));
                    }
                    self.star(None, place, &mut items);
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    check_wildcard(options)?;
                    let (schema, name, start) = qualified(name)?;
                    let Some(relation) = place.scope.relation(schema.as_deref(), &name) else {
                        let message = format!("missing FROM-clause entry for table \"{name}\"");
                        return Err(at(SqlError::new(SqlState::UNDEFINED_TABLE, message), start));
                    };
                    self.star(Some(relation), place, &mut items);
                }
                SelectItem::QualifiedWildcard(..) => return Err(SqlError::unsupported("expansion of a row value")),
            }
        }
        Ok(items)
    }

    /// One item; a literal without a type takes the target's, if there is one.
    fn item(&self, expr: &Ast, place: Place<'_>, targets: Option<&[ColumnType]>, index: usize) -> SqlResult<Typed> {
        let value = self.expr(expr, place)?.at(position(expr));
        if !value.is_unknown() {
            return Ok(value);
        }
        match (targets.and_then(|targets| targets.get(index)), &value.expr) {
            (Some(target), _) => self.coerce_implicit(value, target.ty),
            // A set operation may still type it.
            (None, Expr::Const(..)) => Ok(value),
            (None, _) => self.settle(value),
        }
    }

    /// The columns of `*` or `relation.*`.
    fn star(&self, relation: Option<&Relation>, place: Place<'_>, items: &mut Vec<Item>) {
        let mut push = |column: &Column| {
            if let Some(collector) = place.collector {
                collector.borrow_mut().note_column(column.index, Vec::new(), None);
            }
            let value = Typed::new(Expr::Column(column.index, column.ty), column.ty);
            items.push(Item { value, name: column.name.clone(), source: column.source });
        };
        let named = relation.map_or(&place.scope.relations[..], std::slice::from_ref);
        named.iter().filter_map(|relation| relation.usage.as_ref()).for_each(|usage| usage.select_all());
        match relation {
            Some(relation) => relation.columns.iter().for_each(push),
            None => {
                let mut merged = Vec::new();
                for (name, value) in &place.scope.merged {
                    merged.push(Item { value: value.clone(), name: name.clone(), source: source(value, place.scope) });
                }
                for relation in &place.scope.relations {
                    relation.columns.iter().filter(|column| !column.merged).for_each(&mut push);
                }
                let start = items.len() - place.scope.relations.iter().flat_map(|r| &r.columns).filter(|c| !c.merged).count();
                items.splice(start..start, merged);
            }
        }
    }

    /// GROUP BY: numbers, input columns, output names, expressions. `None` without the clause.
    fn group_by(&self, group: &GroupByExpr, items: &[Item], scope: &Scope<'_>) -> SqlResult<Option<Vec<(Expr, ColumnType)>>> {
        let GroupByExpr::Expressions(exprs, modifiers) = group else { return Err(SqlError::unsupported("GROUP BY ALL")) };
        if !modifiers.is_empty() {
            return Err(SqlError::unsupported("WITH ROLLUP, CUBE or TOTALS"));
        }
        if exprs.is_empty() {
            return Ok(None);
        }
        let mut keys: Vec<(Expr, ColumnType)> = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let start = position(expr);
            let value = match unnest(expr) {
                Ast::GroupingSets(_) | Ast::Cube(_) | Ast::Rollup(_) => {
                    return Err(at(SqlError::unsupported("GROUPING SETS"), start));
                }
                Ast::Tuple(parts) if parts.is_empty() => continue,
                expr => match ordinal(expr) {
                    Some(digits) => {
                        let item = &items[column_number(digits, items.len(), "GROUP BY", start)?];
                        self.grouped_item(item, start)?
                    }
                    None => self.group_expression(expr, items, scope, start)?,
                },
            };
            let value = self.settle(value)?;
            keys.push((value.expr, value.ty));
        }
        Ok(Some(keys))
    }

    fn group_expression(&self, expr: &Ast, items: &[Item], scope: &Scope<'_>, start: Option<u32>) -> SqlResult<Typed> {
        let place = Place::scalar(scope, Clause::GroupBy);
        if let Ast::Identifier(ident) = expr {
            let name = identifier(ident);
            // An input column comes before an output name here, other than in ORDER BY.
            return match self.expr(expr, place) {
                Ok(value) if matches!(value.expr, Expr::Column(..)) => Ok(value),
                Err(error) if error.code() != SqlState::UNDEFINED_COLUMN => Err(error),
                found => {
                    let mut named = items.iter().filter(|item| item.name == name);
                    match (named.next(), named.next()) {
                        (Some(item), None) => self.grouped_item(item, start),
                        (Some(_), Some(_)) => {
                            let message = format!("GROUP BY \"{name}\" is ambiguous");
                            Err(at(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message), start))
                        }
                        (None, _) => found,
                    }
                }
            };
        }
        self.expr(expr, place)
    }

    fn grouped_item(&self, item: &Item, start: Option<u32>) -> SqlResult<Typed> {
        if holds_marker(&item.value.expr) {
            let message = "aggregate functions are not allowed in GROUP BY";
            return Err(at(SqlError::new(SqlState::GROUPING_ERROR, message), start));
        }
        Ok(item.value.clone())
    }

    /// The item an ORDER BY or DISTINCT ON expression is: a number, an output name, an equal expression, or a new one behind
    /// the given items.
    fn key(&self, expr: &Ast, items: &mut Vec<Item>, given: usize, place: Place<'_>, clause: &str) -> SqlResult<usize> {
        let start = position(expr);
        let expr = unnest(expr);
        if let Some(digits) = ordinal(expr) {
            return column_number(digits, given, clause, start);
        }
        if let Ast::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(_), .. }) = expr {
            return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}")), start));
        }
        if let Ast::Identifier(ident) = expr {
            let name = identifier(ident);
            let named: Vec<usize> = (0..given).filter(|&index| items[index].name == name).collect();
            if let Some((&first, rest)) = named.split_first() {
                if rest.iter().any(|&other| !same(&items[first].value.expr, &items[other].value.expr)) {
                    let message = format!("{clause} \"{name}\" is ambiguous");
                    return Err(at(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message), start));
                }
                return Ok(first);
            }
        }
        let value = self.settle(self.expr(expr, place)?)?;
        if let Some(index) = items.iter().position(|item| same(&item.value.expr, &value.expr)) {
            return Ok(index);
        }
        items.push(Item { value, name: String::new(), source: None });
        Ok(items.len() - 1)
    }
}

/// Moves everything above an Aggregate; answers it and the width of its row.
fn aggregate(
    input: Node,
    group: Vec<(Expr, ColumnType)>,
    scope: &Scope<'_>,
    items: &mut [Item],
    having: &mut Option<Expr>,
    collector: &mut Collector,
) -> SqlResult<(Node, usize)> {
    let mut grouping = Grouping::new(group, scope);
    let mut srfs = std::mem::take(&mut collector.set_returning);
    for item in &mut *items {
        grouping.lift(&mut item.value.expr, collector)?;
    }
    for expr in having.iter_mut().chain(srfs.iter_mut().flat_map(|srf| &mut srf.args)) {
        grouping.lift(expr, collector)?;
    }
    let lifted = items.iter_mut().map(|item| &mut item.value.expr);
    lifted.chain(having.iter_mut()).chain(srfs.iter_mut().flat_map(|srf| &mut srf.args)).for_each(|expr| grouping.seal(expr));
    collector.set_returning = srfs;
    let aggregates = std::mem::take(&mut collector.aggregates);
    let width = grouping.group.len() + aggregates.len();
    Ok((Node::Aggregate { input: Box::new(input), group: grouping.group, aggregates }, width))
}

/// Puts the set-returning function of the items under a lateral join.
fn set_returning(node: Node, width: usize, items: &mut [Item], collector: &mut Collector) -> Node {
    let Some(srf) = collector.set_returning.pop() else { return node };
    let ty = plain(srf.ty);
    let args: Vec<Expr> = srf.args.into_iter().map(|arg| walk::outward(arg, 1)).collect();
    let lateral = args.iter().any(|arg| walk::refers_beyond(arg, 1));
    let args = if lateral { args } else { args.into_iter().map(|arg| walk::outward(arg, 0)).collect() };
    for item in items {
        replace_markers(&mut item.value.expr, width, ty);
    }
    let right = Node::FunctionScan { function: srf.function, args, types: vec![ty], ordinality: false };
    Node::Join(Box::new(Join {
        kind: JoinKind::Inner,
        left: node,
        right,
        equal: Vec::new(),
        condition: None,
        lateral,
        hash_left: false,
    }))
}

fn replace_markers(expr: &mut Expr, index: usize, ty: ColumnType) {
    if let Some(Marker::SetReturning) = marker(expr) {
        *expr = Expr::Column(index, ty);
        return;
    }
    walk::for_each_child_mut(expr, &mut |child| replace_markers(child, index, ty));
}

fn holds_marker(expr: &Expr) -> bool {
    let mut found = marker(expr).is_some();
    walk::for_each_child(expr, &mut |child| found |= holds_marker(child));
    found
}

/// Project, Sort and Distinct in the order that the query's meaning asks for.
fn finish(
    node: Node,
    items: Vec<Item>,
    given: usize,
    keys: Vec<Key<'_>>,
    distinct: bool,
    on: Option<Vec<Key<'_>>>,
) -> SqlResult<Bound> {
    let types: Vec<ColumnType> = items.iter().map(|item| item.value.ty).collect();
    let column = |index: usize| Expr::Column(index, types[index]);
    let sort =
        |input: Node, keys: Vec<SortKey>| if keys.is_empty() { input } else { Node::Sort { input: Box::new(input), keys } };
    let sort_keys =
        keys.iter().filter_map(|key| key.order.map(|order| sort_key(column(key.item), order))).collect::<SqlResult<Vec<_>>>()?;
    let total = items.len();
    let mut columns = Vec::with_capacity(given);
    let mut exprs = Vec::with_capacity(total);
    for (index, item) in items.into_iter().enumerate() {
        if index < given {
            columns.push(Column { name: item.name, ty: item.value.ty, source: item.source, index, merged: false });
        }
        exprs.push(item.value.expr);
    }
    let mut node = Node::Project { input: Box::new(node), exprs };
    if distinct {
        node = Node::Distinct { input: Box::new(node), on: (0..given).map(column).collect() };
        node = sort(node, sort_keys);
    } else if let Some(on) = on {
        let matches = keys.iter().take(on.len()).all(|key| on.iter().any(|on| on.item == key.item));
        if !matches {
            let message = "SELECT DISTINCT ON expressions must match initial ORDER BY expressions";
            return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        node = sort(node, sort_keys);
        node = Node::Distinct { input: Box::new(node), on: on.iter().map(|key| column(key.item)).collect() };
    } else {
        node = sort(node, sort_keys);
    }
    if total > given {
        node = Node::Project { input: Box::new(node), exprs: (0..given).map(column).collect() };
    }
    Ok(Bound { node, columns })
}

/// Clauses of other dialects. Every field is named, so that a new one cannot be parsed and forgotten.
fn check_clauses(select: &ast::Select) -> SqlResult<()> {
    let ast::Select {
        select_token: _,
        // A comment to PostgreSQL, and the lexer drops comments.
        optimizer_hints: _,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection: _,
        exclude,
        into,
        from: _,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = select;
    refuse_present(&[
        (select_modifiers.is_some(), "a SELECT modifier"),
        (top.is_some(), "TOP"),
        (exclude.is_some(), "EXCLUDE"),
        (into.is_some(), "SELECT INTO"),
        (!lateral_views.is_empty(), "LATERAL VIEW"),
        (prewhere.is_some(), "PREWHERE"),
        (!connect_by.is_empty(), "CONNECT BY"),
        (!cluster_by.is_empty(), "CLUSTER BY"),
        (!distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!sort_by.is_empty(), "SORT BY"),
        (!named_window.is_empty(), "WINDOW"),
        (qualify.is_some(), "QUALIFY"),
        (value_table_mode.is_some(), "AS STRUCT"),
        (!matches!(flavor, ast::SelectFlavor::Standard), "FROM before SELECT"),
    ])
}

fn check_wildcard(options: &ast::WildcardAdditionalOptions) -> SqlResult<()> {
    let ast::WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let plain = opt_ilike.is_none()
        && opt_exclude.is_none()
        && opt_except.is_none()
        && opt_replace.is_none()
        && opt_rename.is_none()
        && opt_alias.is_none();
    if plain { Ok(()) } else { Err(SqlError::unsupported("options of *")) }
}

/// The table column a value plainly is.
fn source(value: &Typed, scope: &Scope<'_>) -> Option<(crate::base::Oid, i16)> {
    let Expr::Column(index, _) = value.expr else { return None };
    let relation = scope.relation_at(index)?;
    relation.columns.iter().find(|column| column.index == index)?.source
}

/// The name PostgreSQL gives a column without AS (FigureColname in parse_target.c).
pub fn default_name(expr: &Ast) -> String {
    guess_name(expr).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// The name, and whether it is strong (a weak one gives way to the name of what a cast or CASE holds).
fn guess_name(expr: &Ast) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    match expr {
        Ast::Identifier(ident) => Some((identifier(ident), true)),
        Ast::CompoundIdentifier(idents) => idents.last().map(|ident| (identifier(ident), true)),
        Ast::Nested(inner) | Ast::Collate { expr: inner, .. } => guess_name(inner),
        Ast::CompoundFieldAccess { root, .. } => guess_name(root),
        Ast::Cast { expr, data_type, .. } => match guess_name(expr) {
            Some((name, true)) => Some((name, true)),
            _ => super::types::resolve(data_type).ok().map(|to| (internal_name(to.ty), false)),
        },
        Ast::TypedString(typed) => super::types::resolve(&typed.data_type).ok().map(|to| (internal_name(to.ty), false)),
        Ast::Interval(_) => Some(("interval".to_owned(), false)),
        Ast::Case { else_result, .. } => match else_result.as_deref().and_then(guess_name) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_owned(), false)),
        },
        Ast::Function(function) => {
            let (_, name, _) = qualified(&function.name).ok()?;
            Some((if name == "user" { "user".to_owned() } else { name }, true))
        }
        Ast::Extract { .. } => strong("extract"),
        Ast::Ceil { .. } => strong("ceil"),
        Ast::Floor { .. } => strong("floor"),
        Ast::Position { .. } => strong("position"),
        Ast::Substring { shorthand, .. } => strong(if *shorthand { "substr" } else { "substring" }),
        Ast::Trim { trim_where, .. } => strong(match trim_where {
            None | Some(ast::TrimWhereField::Both) => "btrim",
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
        }),
        Ast::AtTimeZone { .. } => strong("timezone"),
        Ast::Array(_) => strong("array"),
        Ast::Exists { negated: false, .. } => strong("exists"),
        Ast::Value(ast::ValueWithSpan { value: ast::Value::Boolean(_), .. }) => Some(("bool".to_owned(), false)),
        Ast::Subquery(query) => match &*query.body {
            ast::SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::ExprWithAlias { alias, .. }) => Some((identifier(alias), true)),
                Some(SelectItem::UnnamedExpr(expr)) => guess_name(expr),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// `pg_type.typname`, which a cast's column is called by.
fn internal_name(ty: SqlType) -> String {
    ty.typname().to_owned()
}
