//! Plans as text, in PostgreSQL's manner without costs.

use crate::catalog::Catalog;
use crate::sql::expr::Expr;
use crate::sql::plan::{Access, Join, JoinKind, Node, Plan, Scan, SetOp, Statement};

/// The lines of EXPLAIN (COSTS OFF) for a statement.
pub fn explain(statement: &Statement, catalog: &Catalog) -> Vec<String> {
    let mut text = Text { lines: Vec::new(), catalog };
    match &statement.plan {
        Plan::Query(query) => {
            let root = &query.root;
            if query.locking.is_some() {
                text.line(0, "LockRows");
                text.node(root, 1);
            } else {
                text.node(root, 0);
            }
        }
        Plan::Insert(insert) => {
            text.line(0, &format!("Insert on {}", insert.table.name));
            text.node(&insert.source, 1);
        }
        Plan::Update(update) => {
            text.line(0, &format!("Update on {}", update.table.name));
            match &update.source {
                Some(source) => text.node(source, 1),
                None => text.access(&update.table, &update.access, update.filter.as_ref(), false, 1),
            }
        }
        Plan::Delete(delete) => {
            text.line(0, &format!("Delete on {}", delete.table.name));
            match &delete.source {
                Some(source) => text.node(source, 1),
                None => text.access(&delete.table, &delete.access, delete.filter.as_ref(), false, 1),
            }
        }
        Plan::Copy(_) | Plan::Ddl(_) | Plan::Utility(_) | Plan::Empty => text.line(0, "Utility Statement"),
    }
    text.lines
}

struct Text<'c> {
    lines: Vec<String>,
    catalog: &'c Catalog,
}

impl Text<'_> {
    fn line(&mut self, depth: usize, what: &str) {
        let line = match depth {
            0 => what.to_owned(),
            _ => format!("{}->  {what}", " ".repeat(depth * 6 - 4)),
        };
        self.lines.push(line);
    }

    /// A property of the node at this depth.
    fn property(&mut self, depth: usize, what: &str) {
        self.lines.push(format!("{}{what}", " ".repeat(depth * 6 + 2)));
    }

    fn node(&mut self, node: &Node, depth: usize) {
        match node {
            Node::Values { rows, .. } if rows.len() == 1 => self.line(depth, "Result"),
            Node::Values { .. } => self.line(depth, "Values Scan on \"*VALUES*\""),
            Node::Scan(scan) => self.scan(scan, depth),
            Node::SystemScan { filter, .. } => {
                self.line(depth, "Seq Scan on a system table");
                if filter.is_some() {
                    self.property(depth, "Filter: (condition)");
                }
            }
            Node::FunctionScan { function, .. } => self.line(depth, &format!("Function Scan on {}", function.get().name)),
            // As in PostgreSQL, filters and projections belong to the node they are applied to.
            Node::Project { input, .. } => self.node(input, depth),
            Node::Filter { input, .. } => {
                let at = self.lines.len() + 1;
                self.node(input, depth);
                self.lines.insert(at, format!("{}Filter: (condition)", " ".repeat(depth * 6 + 2)));
            }
            Node::Join(join) => self.join(join, depth),
            Node::Aggregate { input, group, .. } => {
                self.line(depth, if group.is_empty() { "Aggregate" } else { "HashAggregate" });
                self.node(input, depth + 1);
            }
            Node::Sort { input, keys } => {
                self.line(depth, "Sort");
                let keys: Vec<String> = keys
                    .iter()
                    .map(|key| format!("{}{}", short(&key.expr, None), if key.descending { " DESC" } else { "" }))
                    .collect();
                self.property(depth, &format!("Sort Key: {}", keys.join(", ")));
                self.node(input, depth + 1);
            }
            Node::Distinct { input, .. } => {
                self.line(depth, "HashAggregate");
                self.node(input, depth + 1);
            }
            Node::Limit { input, .. } => {
                self.line(depth, "Limit");
                self.node(input, depth + 1);
            }
            Node::SetOp { op, all, left, right } => {
                let name = match (op, all) {
                    (SetOp::Union, true) => "Append",
                    (SetOp::Union, false) => "HashAggregate (Union)",
                    (SetOp::Intersect, true) => "HashSetOp Intersect All",
                    (SetOp::Intersect, false) => "HashSetOp Intersect",
                    (SetOp::Except, true) => "HashSetOp Except All",
                    (SetOp::Except, false) => "HashSetOp Except",
                };
                self.line(depth, name);
                self.node(left, depth + 1);
                self.node(right, depth + 1);
            }
        }
    }

    fn join(&mut self, join: &Join, depth: usize) {
        let method = if join.equal.is_empty() || join.lateral { "Nested Loop" } else { "Hash" };
        let kind = match join.kind {
            JoinKind::Inner if method == "Hash" => " Join",
            JoinKind::Inner => "",
            JoinKind::Left => " Left Join",
            JoinKind::Right => " Right Join",
            JoinKind::Full => " Full Join",
        };
        self.line(depth, &format!("{method}{kind}"));
        if join.condition.is_some() {
            self.property(depth, "Join Filter: (condition)");
        }
        self.node(&join.left, depth + 1);
        self.node(&join.right, depth + 1);
    }

    fn scan(&mut self, scan: &Scan, depth: usize) {
        self.access(&scan.table, &scan.access, scan.filter.as_ref(), scan.reverse, depth);
    }

    fn access(&mut self, table: &crate::catalog::TableDef, access: &Access, filter: Option<&Expr>, reverse: bool, depth: usize) {
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
            Access::Full if reverse => self.line(depth, &format!("Index Scan Backward using {index} on {name}")),
            Access::Full => self.line(depth, &format!("Seq Scan on {name}")),
            Access::Points(points) => {
                self.line(depth, &format!("Index Scan using {index} on {name}"));
                if let [point] = &points[..] {
                    let equal =
                        point.iter().enumerate().map(|(i, value)| format!("({} = {})", column(i), short(value, Some(table))));
                    conditions.extend(equal);
                } else {
                    conditions.push(format!("({} = ANY ({} keys))", column(0), points.len()));
                }
            }
            Access::Range { prefix, lower, upper } => {
                self.line(depth, &format!("Index Scan{backward} using {index} on {name}"));
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
        if !conditions.is_empty() {
            let joined = conditions.join(" AND ");
            let shown = if conditions.len() == 1 { joined } else { format!("({joined})") };
            self.property(depth, &format!("Index Cond: {shown}"));
        }
        if let Some(filter) = filter {
            self.property(depth, &format!("Filter: {}", short(filter, Some(table))));
        }
    }
}

/// An expression's text; columns by name where the table is known.
fn short(expr: &Expr, table: Option<&crate::catalog::TableDef>) -> String {
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
