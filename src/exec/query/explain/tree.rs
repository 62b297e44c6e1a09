//! What EXPLAIN shows of a plan.

use super::{Estimate, Ran, Shown};
use crate::catalog::{Catalog, TableDef};
use crate::exec::query::profile::Measure;
use crate::sql::estimate::Estimator;
use crate::sql::expr::Expr;
use crate::sql::plan::{Access, Join, JoinKind, Node, OnConflict, Plan, Scan, SetOp, Statement};

/// The operators of a statement; with what was measured if it ran.
pub fn shown(statement: &Statement, estimator: &Estimator<'_>, catalog: &Catalog, ran: Option<&Ran>) -> Shown {
    let tree = Tree { estimator, catalog, ran };
    match &statement.plan {
        Plan::Query(query) if query.locking.is_some() => {
            let rows = tree.node(&query.root);
            Shown { estimate: rows.estimate, measure: rows.measure, inputs: vec![rows], ..plain("LockRows") }
        }
        Plan::Query(query) => tree.node(&query.root),
        Plan::Insert(insert) => {
            let mut shown = tree.change("Insert", &insert.table, &insert.returning, tree.node(&insert.source));
            if let Some(on_conflict) = &insert.on_conflict {
                let resolution = if matches!(on_conflict, OnConflict::DoNothing) { "NOTHING" } else { "UPDATE" };
                shown.properties.push(("Conflict Resolution", resolution.to_owned()));
            }
            shown
        }
        Plan::Update(update) => {
            let rows = tree.changed_rows(update.source.as_ref(), &update.table, &update.access, update.filter.as_ref());
            tree.change("Update", &update.table, &update.returning, rows)
        }
        Plan::Delete(delete) => {
            let rows = tree.changed_rows(delete.source.as_ref(), &delete.table, &delete.access, delete.filter.as_ref());
            tree.change("Delete", &delete.table, &delete.returning, rows)
        }
        Plan::Copy(_) | Plan::Ddl(_) | Plan::Utility(_) | Plan::Empty => plain("Utility Statement"),
    }
}

/// An operator of which only the name is shown.
fn plain(name: &'static str) -> Shown {
    Shown {
        node_type: name,
        title: name.to_owned(),
        facts: Vec::new(),
        properties: Vec::new(),
        estimate: Estimate::default(),
        measure: None,
        removed: None,
        inputs: Vec::new(),
    }
}

struct Tree<'c> {
    estimator: &'c Estimator<'c>,
    catalog: &'c Catalog,
    ran: Option<&'c Ran>,
}

impl Tree<'_> {
    fn measure(&self, node: &Node) -> Option<Measure> {
        self.ran.map(|ran| ran.profile.of(node))
    }

    fn estimate(&self, node: &Node) -> Estimate {
        Estimate { rows: self.estimator.rows(node), width: self.estimator.width(node) }
    }

    /// Insert, Update or Delete: its rows are those of RETURNING.
    fn change(&self, operation: &'static str, table: &TableDef, returning: &[Expr], rows: Shown) -> Shown {
        let measure = self.ran.map(|ran| Measure::once(ran.returned, ran.execution));
        let name = table.name.clone();
        Shown {
            title: format!("{operation} on {name}"),
            facts: vec![("Operation", operation.to_owned()), ("Relation Name", name.clone()), ("Alias", name)],
            estimate: if returning.is_empty() { Estimate::default() } else { rows.estimate },
            measure,
            inputs: vec![rows],
            ..plain("ModifyTable")
        }
    }

    /// How an UPDATE or DELETE finds its rows. Those that owners find and change at once are as many as were changed.
    fn changed_rows(&self, source: Option<&Node>, table: &TableDef, access: &Access, filter: Option<&Expr>) -> Shown {
        if let Some(source) = source {
            return self.node(source);
        }
        let measure = self.ran.map(|ran| Measure::once(ran.changed, ran.execution));
        let columns = (0..table.columns.len()).map(|column| self.estimator.column_width(table, column));
        let estimate = Estimate { rows: self.estimator.access_rows(table, access, filter), width: columns.sum() };
        Shown { estimate, measure, ..self.access(table, access, filter, false) }
    }

    fn node(&self, node: &Node) -> Shown {
        let (estimate, measure) = (self.estimate(node), self.measure(node));
        let with = |shown: Shown, inputs: Vec<Shown>| Shown { estimate, measure, inputs, ..shown };
        match node {
            Node::Values { rows, .. } if rows.len() == 1 => with(plain("Result"), Vec::new()),
            Node::Values { .. } => {
                with(Shown { title: "Values Scan on \"*VALUES*\"".to_owned(), ..plain("Values Scan") }, Vec::new())
            }
            Node::Scan(scan) => with(self.scan(scan), Vec::new()),
            Node::SystemScan { filter, .. } => {
                let mut shown = Shown { title: "Seq Scan on a system table".to_owned(), ..plain("Seq Scan") };
                shown.properties.extend(filter.iter().map(|_| ("Filter", "(condition)".to_owned())));
                with(shown, Vec::new())
            }
            Node::FunctionScan { function, .. } => {
                let name = function.get().name;
                let facts = vec![("Function Name", name.to_owned()), ("Alias", name.to_owned())];
                with(Shown { title: format!("Function Scan on {name}"), facts, ..plain("Function Scan") }, Vec::new())
            }
            // As in PostgreSQL, filters and projections belong to the node they are applied to.
            Node::Project { input, .. } => Shown { estimate, measure, ..self.node(input) },
            Node::Filter { input, .. } => {
                let mut shown = self.node(input);
                if let (Some(before), Some(after)) = (shown.measure, measure) {
                    shown.removed = Some(shown.removed.unwrap_or(0) + before.rows.saturating_sub(after.rows));
                }
                (shown.estimate, shown.measure) = (estimate, measure);
                shown.properties.insert(0, ("Filter", "(condition)".to_owned()));
                shown
            }
            // The side that is held in memory comes second.
            Node::Join(join) if join.hash_left => with(join_title(join), vec![self.node(&join.right), self.node(&join.left)]),
            Node::Join(join) => with(join_title(join), vec![self.node(&join.left), self.node(&join.right)]),
            Node::Aggregate { input, group, .. } => {
                let title = if group.is_empty() { "Aggregate" } else { "HashAggregate" };
                let strategy = if group.is_empty() { "Plain" } else { "Hashed" };
                let facts = vec![("Strategy", strategy.to_owned())];
                with(Shown { title: title.to_owned(), facts, ..plain("Aggregate") }, vec![self.node(input)])
            }
            Node::Sort { input, keys } => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|key| format!("{}{}", short(&key.expr, None), if key.descending { " DESC" } else { "" }))
                    .collect();
                with(Shown { properties: vec![("Sort Key", keys.join(", "))], ..plain("Sort") }, vec![self.node(input)])
            }
            Node::Distinct { input, .. } => {
                let facts = vec![("Strategy", "Hashed".to_owned())];
                with(Shown { title: "HashAggregate".to_owned(), facts, ..plain("Aggregate") }, vec![self.node(input)])
            }
            Node::Limit { input, .. } => with(plain("Limit"), vec![self.node(input)]),
            Node::SetOp { op, all, left, right } => {
                let shown = match (op, all) {
                    (SetOp::Union, true) => plain("Append"),
                    (SetOp::Union, false) => Shown { title: "HashAggregate (Union)".to_owned(), ..plain("Aggregate") },
                    (SetOp::Intersect, true) => Shown { title: "HashSetOp Intersect All".to_owned(), ..plain("SetOp") },
                    (SetOp::Intersect, false) => Shown { title: "HashSetOp Intersect".to_owned(), ..plain("SetOp") },
                    (SetOp::Except, true) => Shown { title: "HashSetOp Except All".to_owned(), ..plain("SetOp") },
                    (SetOp::Except, false) => Shown { title: "HashSetOp Except".to_owned(), ..plain("SetOp") },
                };
                with(shown, vec![self.node(left), self.node(right)])
            }
        }
    }

    fn scan(&self, scan: &Scan) -> Shown {
        self.access(&scan.table, &scan.access, scan.filter.as_ref(), scan.reverse)
    }

    fn access(&self, table: &TableDef, access: &Access, filter: Option<&Expr>, reverse: bool) -> Shown {
        let name = match self.catalog.schemas.get(&table.schema) {
            Some(schema) if schema.name != "public" => format!("{}.{}", schema.name, table.name),
            _ => table.name.clone(),
        };
        let key = table.primary_key.as_ref();
        let index = key.map_or("", |key| key.name.as_str());
        let column = |i: usize| key.and_then(|key| key.columns.get(i)).map_or("?", |column| table.columns[*column].name.as_str());
        let backward = if reverse { " Backward" } else { "" };
        let mut conditions = Vec::new();
        match access {
            Access::Full => {}
            Access::Points(points) => {
                if let [point] = &points[..] {
                    let equal =
                        point.iter().enumerate().map(|(i, value)| format!("({} = {})", column(i), short(value, Some(table))));
                    conditions.extend(equal);
                } else {
                    conditions.push(format!("({} = ANY ({} keys))", column(0), points.len()));
                }
            }
            Access::Range { prefix, lower, upper } => {
                let equal = prefix.iter().enumerate();
                conditions.extend(equal.map(|(i, value)| format!("({} = {})", column(i), short(value, Some(table)))));
                for (bound, sign) in [(lower, '>'), (upper, '<')] {
                    if let Some((value, inclusive)) = bound {
                        let equal = if *inclusive { "=" } else { "" };
                        conditions.push(format!("({} {sign}{equal} {})", column(prefix.len()), short(value, Some(table))));
                    }
                }
            }
        }
        let mut facts = Vec::new();
        let by_index = reverse || !matches!(access, Access::Full);
        let (node_type, title) = if by_index {
            facts.push(("Scan Direction", if reverse { "Backward" } else { "Forward" }.to_owned()));
            facts.push(("Index Name", index.to_owned()));
            ("Index Scan", format!("Index Scan{backward} using {index} on {name}"))
        } else {
            ("Seq Scan", format!("Seq Scan on {name}"))
        };
        facts.extend([("Relation Name", table.name.clone()), ("Alias", table.name.clone())]);
        let mut properties = Vec::new();
        if !conditions.is_empty() {
            let joined = conditions.join(" AND ");
            properties.push(("Index Cond", if conditions.len() == 1 { joined } else { format!("({joined})") }));
        }
        properties.extend(filter.map(|filter| ("Filter", short(filter, Some(table)))));
        Shown { title, facts, properties, ..plain(node_type) }
    }
}

/// A join without its inputs.
fn join_title(join: &Join) -> Shown {
    let nested = join.equal.is_empty() || join.lateral;
    let (method, node_type) = if nested { ("Nested Loop", "Nested Loop") } else { ("Hash", "Hash Join") };
    let join_kind = if join.hash_left { join.kind.turned() } else { join.kind };
    let kind = match join_kind {
        JoinKind::Inner if nested => "",
        JoinKind::Inner => " Join",
        JoinKind::Left => " Left Join",
        JoinKind::Right => " Right Join",
        JoinKind::Full => " Full Join",
    };
    let facts = vec![("Join Type", format!("{join_kind:?}"))];
    let properties = join.condition.iter().map(|_| ("Join Filter", "(condition)".to_owned())).collect();
    Shown { title: format!("{method}{kind}"), facts, properties, ..plain(node_type) }
}

/// An expression's text; columns by name where the table is known.
fn short(expr: &Expr, table: Option<&TableDef>) -> String {
    let list = |items: &[Expr], between: &str| items.iter().map(|item| short(item, table)).collect::<Vec<_>>().join(between);
    match expr {
        Expr::Const(value, ty) => {
            if value.is_null() {
                return "NULL".into();
            }
            let mut text = Vec::new();
            crate::types::write_text(value, *ty, &crate::types::SessionFormat::default(), &mut text);
            let text = String::from_utf8_lossy(&text).into_owned();
            if value.as_i64().is_some() { text } else { format!("'{}'::{}", text.replace('\'', "''"), ty.name()) }
        }
        Expr::Column(index, _) => {
            table.and_then(|table| table.columns.get(*index)).map_or_else(|| format!("column {}", index + 1), |c| c.name.clone())
        }
        Expr::Outer { index, .. } => format!("outer column {}", index + 1),
        Expr::Param(index, _) => format!("${}", index + 1),
        Expr::Call { function, args, .. } => {
            let entry = function.get();
            match (entry.operator, &args[..]) {
                (true, [left, right]) => format!("({} {} {})", short(left, table), entry.name, short(right, table)),
                (true, [arg]) => format!("({} {})", entry.name, short(arg, table)),
                _ => format!("{}({})", entry.name, list(args, ", ")),
            }
        }
        Expr::Cast { arg, to, .. } => format!("({})::{}", short(arg, table), to.ty.name()),
        Expr::And(terms) => format!("({})", list(terms, " AND ")),
        Expr::Or(terms) => format!("({})", list(terms, " OR ")),
        Expr::Not(arg) => format!("(NOT {})", short(arg, table)),
        Expr::IsNull(arg, negated) => format!("({} IS {}NULL)", short(arg, table), if *negated { "NOT " } else { "" }),
        Expr::InList(arg, items, negated) => {
            let sign = if *negated { "<> ALL" } else { "= ANY" };
            format!("({} {sign} ({}))", short(arg, table), list(items, ", "))
        }
        Expr::Coalesce(args, _) => format!("COALESCE({})", list(args, ", ")),
        Expr::Subquery(_) => "(SubPlan)".into(),
        _ => "(expression)".into(),
    }
}
