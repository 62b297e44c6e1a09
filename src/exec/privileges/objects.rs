//! GRANT and REVOKE on tables, columns, schemas and the database.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{change, grantees, invalid, kind_name, privilege};
use crate::base::Oid;
use crate::catalog::acl::ask::{Held, Holder};
use crate::catalog::acl::{Acl, Privileges};
use crate::catalog::lookup::undefined_relation;
use crate::catalog::system::{self, system_table};
use crate::catalog::{BOOTSTRAP_ROLE, Catalog, Object, ObjectKind, SchemaDef, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{ExecContext, Notice};
use crate::exec::ddl::{newest_catalog, put};
use crate::exec::role;
use crate::sql::grant::{Granting, Target};
use crate::sql::parser::ast::TableName;

/// System columns in the order in which REVOKE comes to them. Nothing can be granted on them here.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"];

/// GRANT … ON, REVOKE … ON.
pub(super) async fn execute(granting: &Granting, target: &Target, context: &mut ExecContext<'_>) -> SqlResult<()> {
    if let Some(grantor) = &granting.grantor {
        let grantor = role::find(grantor, &newest_catalog(context), context)?;
        if grantor.oid != context.session.role() {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "grantor must be current user"));
        }
    }
    let subjects = subjects(target, context)?;
    let grantees = grantees(&granting.grantees, context)?;
    let wanted = Wanted::of(granting, kind_of(target))?;
    for subject in subjects {
        apply(subject, &wanted, granting, &grantees, context).await?;
    }
    Ok(())
}

/// Takes from a role all that it has been granted on a table, a schema or the database, as far as the session may.
pub(super) async fn revoke_all_from(role: Oid, subject: Subject, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let all = Wanted { object: None, is_all: true, columns: Vec::new() };
    apply(subject, &all, &super::revoke_all(), &[role], context).await
}

/// One thing that privileges are granted on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Table(Oid),
    Schema(Oid),
    Database,
}

fn kind_of(target: &Target) -> ObjectKind {
    match target {
        Target::Tables(_) => ObjectKind::Table,
        Target::Sequences(_) => ObjectKind::Sequence,
        Target::Schemas(_) => ObjectKind::Schema,
        Target::Databases(_) => ObjectKind::Database,
        Target::AllIn(kind, _) => *kind,
    }
}

fn subjects(target: &Target, context: &ExecContext<'_>) -> SqlResult<Vec<Subject>> {
    let catalog = newest_catalog(context);
    match target {
        Target::Tables(names) => names.iter().map(|name| find_table(name, &catalog, context).map(Subject::Table)).collect(),
        Target::Sequences(names) => {
            let Some(name) = names.first() else { return Ok(Vec::new()) };
            relation(name, &catalog, context)?;
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a sequence", name.name)))
        }
        Target::Schemas(names) => {
            let missing = |name: &str| SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"));
            let find =
                |name: &String| catalog.schema_named(name).ok_or_else(|| missing(name)).map(|schema| Subject::Schema(schema.oid));
            names.iter().map(find).collect()
        }
        Target::Databases(names) => {
            let here = context.session.database();
            match names.iter().find(|name| *name != here) {
                Some(name) => Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))),
                None => Ok(vec![Subject::Database; names.len()]),
            }
        }
        Target::AllIn(kind, schemas) => {
            let mut found = Vec::new();
            for name in schemas {
                let schema = catalog.used_schema(context.session.role(), name)?;
                if *kind == ObjectKind::Table {
                    if system::all().iter().any(|table| table.schema == schema.name) {
                        return Err(SqlError::unsupported("granting privileges on system tables"));
                    }
                    let inside = catalog.tables.values().filter(|table| table.schema == schema.oid);
                    found.extend(inside.map(|table| Subject::Table(table.oid)));
                }
            }
            Ok(found)
        }
    }
}

/// What a name stands for.
enum Relation {
    Table(Oid),
    Index,
    System,
}

fn relation(name: &TableName, catalog: &Catalog, context: &ExecContext<'_>) -> SqlResult<Relation> {
    let (role, path) = (context.session.role(), context.session.search_path());
    let schema = name.schema.as_deref();
    if system_table(path, schema, &name.name).is_some() {
        return Ok(Relation::System);
    }
    if let Some(table) = catalog.find_table(role, path, schema, &name.name)? {
        return Ok(Relation::Table(table.oid));
    }
    if catalog.has_index(path, schema, &name.name) { Ok(Relation::Index) } else { Err(undefined_relation(schema, &name.name)) }
}

fn find_table(name: &TableName, catalog: &Catalog, context: &ExecContext<'_>) -> SqlResult<Oid> {
    match relation(name, catalog, context)? {
        Relation::Table(oid) => Ok(oid),
        Relation::Index => Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is an index", name.name))),
        Relation::System => Err(SqlError::unsupported("granting privileges on system tables")),
    }
}

/// The privileges that a statement lists.
struct Wanted {
    /// On the object; `None` for nothing on it, or for all if `is_all`.
    object: Option<Privileges>,
    is_all: bool,
    /// On columns: which, `None` for all, and on which columns.
    columns: Vec<(Option<String>, Vec<String>)>,
}

impl Wanted {
    fn of(granting: &Granting, kind: ObjectKind) -> SqlResult<Self> {
        let mut wanted = Wanted { object: None, is_all: granting.privileges.is_empty(), columns: Vec::new() };
        // As PostgreSQL does, tables take USAGE at first, as if they might be sequences.
        let allowed = if kind == ObjectKind::Table { kind.all().with(ObjectKind::Sequence.all()) } else { kind.all() };
        for listed in &granting.privileges {
            if !listed.columns.is_empty() {
                if kind != ObjectKind::Table {
                    return Err(invalid("column privileges are only valid for relations".to_owned()));
                }
                wanted.columns.push((listed.privilege.clone(), listed.columns.clone()));
            } else if let Some(name) = &listed.privilege {
                let privilege = privilege(name, allowed, kind_name(kind))?;
                wanted.object = Some(wanted.object.unwrap_or_default().with(privilege));
            }
        }
        Ok(wanted)
    }

    fn on_object(&self, kind: ObjectKind) -> Option<Privileges> {
        if self.is_all { Some(kind.all()) } else { self.object }
    }
}

/// How an object is called in messages.
struct Called {
    /// Where it is refused.
    denied: String,
    /// Where less is done than was asked for.
    partly: String,
    kind: ObjectKind,
}

impl Called {
    fn object(kind: ObjectKind, name: &str) -> Self {
        let denied = match kind {
            ObjectKind::Schema => format!("schema {name}"),
            ObjectKind::Database => format!("database {name}"),
            _ => format!("table {name}"),
        };
        Self { denied, partly: format!("\"{name}\""), kind }
    }

    fn column(name: &str, table: &TableDef) -> Self {
        let text = format!("column \"{name}\" of relation \"{}\"", table.name);
        Self { denied: text.clone(), partly: text, kind: ObjectKind::Column }
    }
}

async fn apply(
    subject: Subject,
    wanted: &Wanted,
    granting: &Granting,
    grantees: &[Oid],
    context: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let catalog = newest_catalog(context);
    let (role, database) = (context.session.role(), context.session.database());
    let mut work = Work { catalog: &catalog, role, granting, grantees, is_all: wanted.is_all, notices: Vec::new() };
    let changed = work.object(subject, wanted, database);
    // What was said before something was refused is said all the same.
    context.notices.append(&mut work.notices);
    put(changed?, context).await
}

/// The changing of one object's lists.
struct Work<'a> {
    catalog: &'a Catalog,
    role: Oid,
    granting: &'a Granting,
    grantees: &'a [Oid],
    is_all: bool,
    notices: Vec<Notice>,
}

impl Work<'_> {
    fn object(&mut self, subject: Subject, wanted: &Wanted, database: &str) -> SqlResult<Object> {
        let catalog = self.catalog;
        let gone = || SqlError::internal("an object went away while the catalog was locked");
        Ok(match subject {
            Subject::Table(oid) => Object::Table(Box::new(self.table(catalog.tables.get(&oid).ok_or_else(gone)?, wanted)?)),
            Subject::Schema(oid) => {
                let schema = catalog.schemas.get(&oid).ok_or_else(gone)?;
                let called = Called::object(ObjectKind::Schema, &schema.name);
                let wanted = wanted.on_object(ObjectKind::Schema).unwrap_or_default();
                let held = |role| catalog.held_on_schema(Holder::Role(role), schema);
                let acl = self.list((&schema.acl(), &schema.acl()), schema.owner, wanted, &called, held)?;
                Object::Schema(SchemaDef { acl: Some(acl), ..SchemaDef::clone(schema) })
            }
            Subject::Database => {
                let acl = catalog.database_acl();
                let called = Called::object(ObjectKind::Database, database);
                let wanted = wanted.on_object(ObjectKind::Database).unwrap_or_default();
                let held = |role| catalog.held_on_database(Holder::Role(role));
                Object::Database(self.list((&acl, &acl), BOOTSTRAP_ROLE, wanted, &called, held)?)
            }
        })
    }

    /// A list as it is afterwards. Who may change it follows from `known`, the list itself with those that stand for it.
    fn list(
        &mut self,
        (list, known): (&Acl, &Acl),
        owner: Oid,
        wanted: Privileges,
        called: &Called,
        held: impl FnOnce(Oid) -> Held,
    ) -> SqlResult<Acl> {
        let (grantor, possible) = self.restrict(known, owner, wanted, called, held)?;
        list.changed(change(self.granting, possible), self.grantees, grantor, owner, self.catalog)
    }

    /// As whom the role acts and what of it is possible. Who can do nothing is refused unless he has any privilege there.
    fn restrict(
        &mut self,
        known: &Acl,
        owner: Oid,
        wanted: Privileges,
        called: &Called,
        held: impl FnOnce(Oid) -> Held,
    ) -> SqlResult<(Oid, Privileges)> {
        let (grantor, available) = known.grantor(self.role, wanted, owner, self.catalog);
        if available.is_empty() {
            let held = held(grantor);
            if !held.privileges.with(held.options).intersects(called.kind.all()) {
                return Err(role::denied(format!("permission denied for {}", called.denied)));
            }
        }
        self.warn(wanted.and(available), wanted, called);
        Ok((grantor, wanted.and(available)))
    }

    fn warn(&mut self, possible: Privileges, wanted: Privileges, called: &Called) {
        let (code, verb) = match self.granting.grant {
            true => (SqlState(*b"01007"), "were granted"),
            false => (SqlState(*b"01006"), "could be revoked"),
        };
        let amount = match possible {
            possible if possible.is_empty() => "no",
            possible if !self.is_all && possible != wanted => "not all",
            _ => return,
        };
        let message = format!("{amount} privileges {verb} for {}", called.partly);
        self.notices.push(Notice { severity: "WARNING", fields: SqlError::new(code, message) });
    }

    fn table(&mut self, table: &Arc<TableDef>, wanted: &Wanted) -> SqlResult<TableDef> {
        let (catalog, name) = (self.catalog, &table.name);
        let mut changed = TableDef::clone(table);
        let old = table.acl();
        let on_table = wanted.on_object(ObjectKind::Table);
        if let Some(privileges) = on_table {
            if !ObjectKind::Table.all().contains(privileges) {
                return Err(invalid("invalid privilege type USAGE for table".to_owned()));
            }
            let called = Called::object(ObjectKind::Table, name);
            let held = |role| catalog.held_on_table(Holder::Role(role), table);
            changed.acls.table = Some(self.list((&old, &old), table.owner, privileges, &called, held)?);
        }
        let mut columns: BTreeMap<usize, Privileges> = BTreeMap::new();
        let of_columns = on_table.unwrap_or_default().and(ObjectKind::Column.all());
        if !self.granting.grant && !of_columns.is_empty() {
            // Who is to be without a privilege on the table is to be without it on each of its columns.
            columns.extend((0..table.columns.len()).map(|column| (column, of_columns)));
            self.system_columns(table, of_columns)?;
        }
        self.expand(table, wanted, &mut columns)?;
        for (column, privileges) in columns {
            let acl = self.column(table, &old, column, privileges)?;
            if acl.is_empty() {
                changed.acls.columns.remove(&column);
            } else {
                changed.acls.columns.insert(column, acl);
            }
        }
        Ok(changed)
    }

    /// Adds what is listed for columns by name.
    fn expand(&self, table: &TableDef, wanted: &Wanted, columns: &mut BTreeMap<usize, Privileges>) -> SqlResult<()> {
        for (listed, names) in &wanted.columns {
            let all = ObjectKind::Column.all();
            let privileges = listed.as_deref().map_or(Ok(all), |name| privilege(name, all, "column"))?;
            for name in names {
                let Some(column) = table.columns.iter().position(|column| column.name == *name) else {
                    if SYSTEM_COLUMNS.contains(&name.as_str()) {
                        return Err(SqlError::unsupported("granting privileges on system columns"));
                    }
                    let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
                    return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
                };
                let known = columns.entry(column).or_default();
                *known = known.with(privileges);
            }
        }
        Ok(())
    }

    fn column(&mut self, table: &TableDef, of_table: &Acl, column: usize, wanted: Privileges) -> SqlResult<Acl> {
        let list = table.acls.columns.get(&column).cloned().unwrap_or_default();
        let known = Acl::new(of_table.items().iter().chain(list.items()).copied().collect());
        let called = Called::column(&table.columns[column].name, table);
        let catalog = self.catalog;
        let held = |role| {
            let holder = Holder::Role(role);
            catalog.held_on_table(holder, table).or(catalog.held_on_column(holder, table, column))
        };
        let is_all = std::mem::replace(&mut self.is_all, wanted == ObjectKind::Column.all());
        let changed = self.list((&list, &known), table.owner, wanted, &called, held);
        self.is_all = is_all;
        changed
    }

    /// What PostgreSQL says about the system columns of a table in passing.
    fn system_columns(&mut self, table: &TableDef, wanted: Privileges) -> SqlResult<()> {
        let (catalog, known) = (self.catalog, table.acl());
        let is_all = std::mem::replace(&mut self.is_all, wanted == ObjectKind::Column.all());
        for column in SYSTEM_COLUMNS {
            let held = |role| catalog.held_on_table(Holder::Role(role), table);
            self.restrict(&known, table.owner, wanted, &Called::column(column, table), held)?;
        }
        self.is_all = is_all;
        Ok(())
    }
}
