//! One catalog, one session and one helper for all tests of the front.

use std::sync::Arc;

use crate::base::{Oid, StorageId};
use crate::catalog::{Catalog, ColumnDef, PrimaryKey, TableDef};
use crate::error::{SqlError, SqlResult};
use crate::sql::context::{BindContext, EvalContext, NoSubqueries, SessionInfo};
use crate::sql::expr::Expr;
use crate::sql::expr::eval::{NoRow, eval};
use crate::sql::function::FunctionRef;
use crate::sql::plan::{Access, Node, Plan, Statement};
use crate::types::{ColumnType, SessionFormat, SqlType};

/// A session of user `omen` on database `omen` at 2000-01-01 01:00 UTC.
pub struct TestSession {
    path: Vec<String>,
    format: SessionFormat,
    role: Oid,
}

impl Default for TestSession {
    fn default() -> Self {
        Self { path: vec!["public".to_owned()], format: SessionFormat::default(), role: crate::catalog::BOOTSTRAP_ROLE }
    }
}

impl TestSession {
    /// With the privileges of a role.
    pub fn of(role: Oid) -> Self {
        Self { role, ..Self::default() }
    }
}

impl SessionInfo for TestSession {
    fn database(&self) -> &str {
        "omen"
    }

    fn user(&self) -> &str {
        "omen"
    }

    fn role(&self) -> Oid {
        self.role
    }

    fn search_path(&self) -> &[String] {
        &self.path
    }

    fn setting(&self, name: &str) -> Option<String> {
        (name == "server_version").then(|| "15.0".to_owned())
    }

    fn set_setting(&self, _name: &str, value: &str, _local: bool, _catalog: &Catalog) -> SqlResult<String> {
        Ok(value.to_owned())
    }

    fn transaction_micros(&self) -> i64 {
        3_600_000_000
    }

    fn statement_micros(&self) -> i64 {
        3_600_000_000
    }

    fn clock_micros(&self) -> i64 {
        3_600_000_000
    }

    fn backend_pid(&self) -> i32 {
        7
    }

    fn random(&self) -> u64 {
        0x1234_5678_9abc_def0
    }

    fn format(&self) -> &SessionFormat {
        &self.format
    }
}

fn table(oid: u32, name: &str, columns: &[(&str, ColumnType)], key: &[usize]) -> TableDef {
    let columns: Vec<ColumnDef> = columns
        .iter()
        .enumerate()
        .map(|(index, (name, ty))| ColumnDef { name: (*name).to_owned(), ty: *ty, not_null: key.contains(&index), default: None })
        .collect();
    let primary_key = (!key.is_empty()).then(|| PrimaryKey {
        index_oid: Oid(oid + 1),
        constraint_oid: Oid(oid + 2),
        name: format!("{name}_pkey"),
        columns: key.to_vec(),
    });
    TableDef {
        oid: Oid(oid),
        schema: Oid(2200),
        name: name.to_owned(),
        owner: crate::catalog::BOOTSTRAP_ROLE,
        acls: Default::default(),
        columns,
        primary_key,
        storage: StorageId(oid),
        options: Vec::new(),
        layout: Default::default(),
    }
}

/// pgbench's tables, and one of every kind of column.
pub fn catalog() -> Catalog {
    let int = ColumnType::new(SqlType::Int4);
    let plain = ColumnType::new;
    let mut catalog = Catalog { version: 3, ..Catalog::bootstrap() };
    let tables = [
        table(
            100,
            "pgbench_accounts",
            &[("aid", int), ("bid", int), ("abalance", int), ("filler", ColumnType::bpchar(84))],
            &[0],
        ),
        table(110, "pgbench_branches", &[("bid", int), ("bbalance", int), ("filler", ColumnType::bpchar(88))], &[0]),
        table(120, "pgbench_tellers", &[("tid", int), ("bid", int), ("tbalance", int), ("filler", ColumnType::bpchar(84))], &[0]),
        table(
            130,
            "pgbench_history",
            &[
                ("tid", int),
                ("bid", int),
                ("aid", int),
                ("delta", int),
                ("mtime", plain(SqlType::Timestamp)),
                ("filler", ColumnType::bpchar(22)),
            ],
            &[],
        ),
        table(
            140,
            "t",
            &[
                ("a", int),
                ("b", plain(SqlType::Int8)),
                ("c", plain(SqlType::Text)),
                ("d", ColumnType::varchar(10)),
                ("e", plain(SqlType::Float8)),
                ("f", plain(SqlType::Numeric)),
                ("g", plain(SqlType::Bool)),
                ("h", plain(SqlType::TimestampTz)),
                ("s", plain(SqlType::Int2)),
            ],
            &[],
        ),
        table(150, "k", &[("x", int), ("y", plain(SqlType::Int8)), ("z", plain(SqlType::Text))], &[0, 1]),
    ];
    for table in tables {
        catalog.table_names.insert((table.schema, table.name.clone()), table.oid);
        catalog.tables.insert(table.oid, Arc::new(table));
    }
    catalog
}

/// Parses and binds one statement.
pub fn bind_with(sql: &str, params: &[SqlType]) -> SqlResult<Statement> {
    let catalog = catalog();
    let session = TestSession::default();
    let context = BindContext { catalog: &catalog, param_types: params, session: &session };
    let parsed = crate::sql::parse(sql)?;
    assert_eq!(parsed.len(), 1, "{sql} is one statement");
    crate::sql::bind(&parsed[0], &context)
}

fn error_text(error: &SqlError) -> String {
    let fields = error.fields();
    let position = fields.position.map_or(String::new(), |position| format!(" @{position}"));
    let hint = fields.hint.as_ref().map_or(String::new(), |_| " (hint)".to_owned());
    format!("{}{position}: {}{hint}", fields.code.as_str(), fields.message)
}

/// What a statement binds to: its plan, its parameters (after `$`) and its columns (after `→`), or its error.
pub fn summary(sql: &str, params: &[SqlType]) -> String {
    let statement = match bind_with(sql, params) {
        Ok(statement) => statement,
        Err(error) => return error_text(&error),
    };
    let mut out = plan_text(&statement.plan);
    if !statement.params.is_empty() {
        let types: Vec<&str> = statement.params.iter().map(|ty| ty.name()).collect();
        out += &format!(" $ {}", types.join(", "));
    }
    if !statement.columns.is_empty() {
        let columns: Vec<String> = statement.columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect();
        out += &format!(" → {}", columns.join(", "));
    }
    out
}

/// The one table-driven helper: `sql` binds to `expected`.
pub fn check(sql: &str, expected: &str) {
    assert_eq!(summary(sql, &[]), expected, "{sql}");
}

/// The types of a query's columns and parameters only.
pub fn check_types(sql: &str, expected: &str) {
    let full = summary(sql, &[]);
    let types = full.find(" $ ").or_else(|| full.find(" → ")).map_or(full.as_str(), |at| &full[at + 1..]);
    assert_eq!(types, expected, "{sql}");
}

/// The value of a query that selects constants, as text.
pub fn check_value(sql: &str, expected: &str) {
    let statement = bind_with(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let Plan::Query(query) = &statement.plan else { panic!("{sql} is a query") };
    let expr = match &query.root {
        Node::Project { exprs, .. } => &exprs[0],
        Node::Values { rows, .. } => &rows[0][0],
        other => panic!("{sql} selects from {other:?}"),
    };
    let catalog = catalog();
    let session = TestSession::default();
    let context = EvalContext { params: &[], outer: None, session: &session, catalog: &catalog, subqueries: &NoSubqueries };
    let found = match eval(expr, &NoRow, &context) {
        Ok(value) if value.is_null() => "NULL".to_owned(),
        Ok(value) => crate::sql::values::output(&value, statement.columns[0].ty.ty, &session),
        Err(error) => error_text(&error),
    };
    assert_eq!(found, expected, "{sql}");
}

fn plan_text(plan: &Plan) -> String {
    match plan {
        Plan::Query(query) => {
            let locking = query
                .locking
                .as_ref()
                .map_or(String::new(), |locking| format!(" lock {:?} {:?}", locking.strength, locking.wait));
            match &query.point {
                Some(point) => format!("point({} {} {:?})", point.table.name, list(&point.key), point.columns),
                None => node_text(&query.root) + &locking,
            }
        }
        Plan::Insert(insert) => {
            let conflict = insert.on_conflict.as_ref().map_or(String::new(), |on| match on {
                crate::sql::plan::OnConflict::DoNothing => " do nothing".to_owned(),
                crate::sql::plan::OnConflict::DoUpdate { assignments, filter } => {
                    format!(" do update {} {}", assignments_text(assignments), filter.as_ref().map_or(String::new(), expr_text))
                }
            });
            format!("insert({} {}{conflict})", insert.table.name, node_text(&insert.source))
        }
        Plan::Update(update) => format!(
            "update({} {}{} set {})",
            update.table.name,
            update.source.as_ref().map_or_else(|| access_text(&update.access), node_text),
            filter_text(update.filter.as_ref()),
            assignments_text(&update.assignments)
        ),
        Plan::Delete(delete) => {
            let found = delete.source.as_ref().map_or_else(|| access_text(&delete.access), node_text);
            format!("delete({} {found}{})", delete.table.name, filter_text(delete.filter.as_ref()))
        }
        Plan::Copy(copy) => match &copy.direction {
            crate::sql::plan::CopyDirection::FromStdin { table, columns, .. } => {
                format!("copy from({} {columns:?} {:?} freeze={})", table.name, copy.options.format, copy.options.freeze)
            }
            crate::sql::plan::CopyDirection::ToStdout { query, .. } => {
                format!("copy to({} {:?})", node_text(&query.root), copy.options.format)
            }
        },
        Plan::Ddl(ddl) => match ddl {
            crate::sql::ddl::Ddl::ChangeOwner { table, to } => format!("owner({} {to:?})", table.name),
            crate::sql::ddl::Ddl::Role(statement) => format!("{statement:?}"),
            crate::sql::ddl::Ddl::Privileges(statement) => format!("{statement:?}"),
            crate::sql::ddl::Ddl::CreateTable { name, columns, primary_key, options, .. } => {
                let columns: Vec<String> = columns
                    .iter()
                    .map(|c| {
                        let default = c.default.as_ref().map_or(String::new(), |text| format!(" default {text}"));
                        format!("{} {}{}{default}", c.name, c.ty, if c.not_null { " not null" } else { "" })
                    })
                    .collect();
                let key = primary_key.as_ref().map_or(String::new(), |(name, columns)| format!(" key {name} {columns:?}"));
                format!("create({name}: {}{key} {options:?})", columns.join(", "))
            }
            crate::sql::ddl::Ddl::DropTable { tables, missing } => {
                format!("drop({:?} missing {missing:?})", tables.iter().map(|t| &t.name).collect::<Vec<_>>())
            }
            crate::sql::ddl::Ddl::Truncate { tables } => {
                format!("truncate({:?})", tables.iter().map(|t| &t.name).collect::<Vec<_>>())
            }
            crate::sql::ddl::Ddl::AddPrimaryKey { table, name, columns } => format!("add key({} {name} {columns:?})", table.name),
        },
        Plan::Utility(utility) => format!("{utility:?}"),
        Plan::Empty => "empty".to_owned(),
    }
}

fn assignments_text(assignments: &[(usize, Expr)]) -> String {
    assignments.iter().map(|(column, value)| format!("{column}={}", expr_text(value))).collect::<Vec<_>>().join(" ")
}

fn list(exprs: &[Expr]) -> String {
    format!("[{}]", exprs.iter().map(expr_text).collect::<Vec<_>>().join(" "))
}

fn access_text(access: &Access) -> String {
    match access {
        Access::Full => "full".to_owned(),
        Access::Points(points) => format!("points {}", points.iter().map(|point| list(point)).collect::<Vec<_>>().join("")),
        Access::Range { prefix, lower, upper } => {
            let bound = |bound: &Option<(Expr, bool)>| {
                bound.as_ref().map_or("·".to_owned(), |(value, inclusive)| {
                    format!("{}{}", expr_text(value), if *inclusive { "=" } else { "" })
                })
            };
            format!("range {} {}..{}", list(prefix), bound(lower), bound(upper))
        }
    }
}

fn filter_text(filter: Option<&Expr>) -> String {
    filter.map_or(String::new(), |filter| format!(" where {}", expr_text(filter)))
}

/// A tree on one line.
pub fn node_text(node: &Node) -> String {
    match node {
        Node::Values { rows, .. } => format!("values({})", rows.iter().map(|row| list(row)).collect::<Vec<_>>().join("")),
        Node::Scan(scan) => {
            let reverse = if scan.reverse { " reverse" } else { "" };
            let limit = scan.limit.map_or(String::new(), |limit| format!(" limit {limit}"));
            format!(
                "scan({} {}{}{reverse}{limit} {:?})",
                scan.table.name,
                access_text(&scan.access),
                filter_text(scan.filter.as_ref()),
                scan.columns
            )
        }
        Node::SystemScan { filter, columns, .. } => format!("system({columns:?}{})", filter_text(filter.as_ref())),
        Node::FunctionScan { function, args, ordinality, .. } => {
            format!("{}({}{})", function.get().name, list(args), if *ordinality { " ordinality" } else { "" })
        }
        Node::Filter { input, predicate } => format!("filter({} {})", expr_text(predicate), node_text(input)),
        Node::Project { input, exprs } => format!("project({} {})", list(exprs), node_text(input)),
        Node::Join(join) => format!(
            "join({:?}{} {} {} on {:?}{})",
            join.kind,
            if join.lateral { " lateral" } else { "" },
            node_text(&join.left),
            node_text(&join.right),
            join.equal.iter().map(|(a, b)| format!("{}={}", expr_text(a), expr_text(b))).collect::<Vec<_>>(),
            filter_text(join.condition.as_ref())
        ),
        Node::Aggregate { input, group, aggregates } => {
            let calls: Vec<String> =
                aggregates.iter().map(|call| format!("{}{}", call.function.get().name, list(&call.args))).collect();
            format!("aggregate({} {} {})", list(group), calls.join(" "), node_text(input))
        }
        Node::Sort { input, keys } => {
            let keys: Vec<String> =
                keys.iter().map(|key| format!("{}{}", expr_text(&key.expr), if key.descending { " desc" } else { "" })).collect();
            format!("sort({} {})", keys.join(", "), node_text(input))
        }
        Node::Distinct { input, on } => format!("distinct({} {})", list(on), node_text(input)),
        Node::Limit { input, limit, offset } => {
            let part = |expr: &Option<Expr>| expr.as_ref().map_or("·".to_owned(), expr_text);
            format!("limit({} {} {})", part(limit), part(offset), node_text(input))
        }
        Node::SetOp { op, all, left, right } => {
            format!("{op:?}{}({} {})", if *all { " all" } else { "" }, node_text(left), node_text(right))
        }
    }
}

fn name_of(function: FunctionRef) -> &'static str {
    function.get().name
}

/// An expression on one line: columns are `#i`, outer columns `^depth#i`, parameters `$i` from 1.
pub fn expr_text(expr: &Expr) -> String {
    let session = TestSession::default();
    match expr {
        Expr::Const(value, _) if value.is_null() => "null".to_owned(),
        Expr::Const(value, ty) => crate::sql::values::output(value, *ty, &session),
        Expr::Column(index, _) => format!("#{index}"),
        Expr::Outer { depth, index, .. } => format!("^{depth}#{index}"),
        Expr::Param(index, _) => format!("${}", index + 1),
        Expr::Call { function, args, .. } => format!("{}{}", name_of(*function), list(args)),
        Expr::Cast { arg, to, .. } => format!("{}::{to}", expr_text(arg)),
        Expr::And(terms) => format!("and{}", list(terms)),
        Expr::Or(terms) => format!("or{}", list(terms)),
        Expr::Not(arg) => format!("not[{}]", expr_text(arg)),
        Expr::IsNull(arg, negated) => format!("{}null[{}]", if *negated { "not" } else { "" }, expr_text(arg)),
        Expr::Distinct(a, b, not) => format!("{}distinct[{} {}]", if *not { "not" } else { "" }, expr_text(a), expr_text(b)),
        Expr::BoolTest(arg, test) => format!("{test:?}[{}]", expr_text(arg)),
        Expr::Case { branches, otherwise, .. } => {
            let branches: Vec<String> = branches.iter().map(|(c, r)| format!("{}:{}", expr_text(c), expr_text(r))).collect();
            format!("case[{} else {}]", branches.join(" "), otherwise.as_ref().map_or("null".to_owned(), |e| expr_text(e)))
        }
        Expr::Coalesce(args, _) => format!("coalesce{}", list(args)),
        Expr::InList(arg, items, negated) => {
            format!("{}in[{} {}]", if *negated { "not" } else { "" }, expr_text(arg), list(items))
        }
        Expr::AnyAll { arg, function, array, all } => {
            format!("{}{}[{} {}]", name_of(*function), if *all { "all" } else { "any" }, expr_text(arg), expr_text(array))
        }
        Expr::Array(items, _) => format!("array{}", list(items)),
        Expr::Subquery(subquery) => {
            format!("{}{}", if subquery.correlated { "correlated" } else { "once" }, node_text(&subquery.plan))
        }
    }
}
