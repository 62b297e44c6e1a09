//! What has been granted, as `pg_catalog` and `information_schema` show it.

use super::relations::user_tables;
use super::{OWNER, Rows, SystemContext, SystemTable, all, letter};
use crate::base::Oid;
use crate::catalog::acl::ask::Holder;
use crate::catalog::acl::{Acl, AclItem, PUBLIC_ROLE, Privileges};
use crate::catalog::{Catalog, ObjectKind, TableDef};
use crate::types::Datum;

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    match table {
        "pg_default_acl" => default_acls(context, rows),
        "table_privileges" | "role_table_grants" => of_tables(table == "role_table_grants", context, rows),
        "column_privileges" | "role_column_grants" => of_columns(table == "role_column_grants", context, rows),
        _ => {}
    }
}

/// A list as an array of `aclitem`s; NULL for the default.
pub(super) fn array(acl: Option<&Acl>, catalog: &Catalog) -> Datum {
    acl.map_or(Datum::Null, |acl| Datum::Array(acl.texts(catalog).map(|text| Datum::text(&text)).collect()))
}

/// The list of a system table: as initdb leaves it, everybody may read what is no secret.
pub(super) fn of_system_table(table: &SystemTable) -> Acl {
    let everybody = AclItem { grantee: PUBLIC_ROLE, grantor: OWNER, privileges: Privileges::SELECT, options: Privileges::NONE };
    let own = Acl::default_of(ObjectKind::Table, OWNER);
    Acl::new(own.items().iter().copied().chain((!table.is_secret()).then_some(everybody)).collect())
}

fn default_acls(context: &SystemContext<'_>, rows: &mut Rows) {
    for known in context.catalog.default_acls.values() {
        rows.add([
            ("oid", Datum::Oid(known.oid)),
            ("defaclrole", Datum::Oid(known.role)),
            ("defaclnamespace", Datum::Oid(known.schema.unwrap_or(Oid(0)))),
            ("defaclobjtype", letter(known.kind.letter())),
            ("defaclacl", array(Some(&known.acl), context.catalog)),
        ]);
    }
}

/// What a row of these views says.
struct Granted<'a> {
    item: AclItem,
    owner: Oid,
    schema: &'a str,
    table: &'a str,
    column: Option<&'a str>,
}

/// Adds a row for each privilege of an item, if the asking role is concerned with it: in the views of roles' own grants, directly or
/// through memberships, in the others, as one of PUBLIC too.
fn granted(granted: &Granted<'_>, own: bool, context: &SystemContext<'_>, rows: &mut Rows) {
    let (catalog, item) = (context.catalog, granted.item);
    let has = |role: Oid| role != PUBLIC_ROLE && catalog.has_privileges_of(context.role, role);
    if !(has(item.grantor) || has(item.grantee) || !own && item.grantee == PUBLIC_ROLE) {
        return;
    }
    let grantee = if item.grantee == PUBLIC_ROLE { "PUBLIC".to_owned() } else { catalog.role_name(item.grantee) };
    let is_owner = item.grantee != PUBLIC_ROLE && catalog.has_privileges_of(item.grantee, granted.owner);
    let yes_or_no = |yes| Datum::text(if yes { "YES" } else { "NO" });
    for privilege in item.privileges.names() {
        let one = Privileges::named(privilege).unwrap_or_default();
        let values = [
            ("grantor", Datum::text(&catalog.role_name(item.grantor))),
            ("grantee", Datum::text(&grantee)),
            ("table_catalog", Datum::text(context.database)),
            ("table_schema", Datum::text(granted.schema)),
            ("table_name", Datum::text(granted.table)),
            ("privilege_type", Datum::text(privilege)),
            ("is_grantable", yes_or_no(is_owner || item.options.contains(one))),
        ];
        let last = match granted.column {
            Some(column) => ("column_name", Datum::text(column)),
            None => ("with_hierarchy", yes_or_no(one == Privileges::SELECT)),
        };
        rows.add(values.into_iter().chain([last]));
    }
}

fn of_tables(own: bool, context: &SystemContext<'_>, rows: &mut Rows) {
    for table in all() {
        for &item in of_system_table(table).items() {
            granted(&Granted { item, owner: OWNER, schema: table.schema, table: table.name, column: None }, own, context, rows);
        }
    }
    for (schema, table) in user_tables(context) {
        for &item in table.acl().items() {
            let row = Granted { item, owner: table.owner, schema: &schema.name, table: &table.name, column: None };
            granted(&row, own, context, rows);
        }
    }
}

fn of_columns(own: bool, context: &SystemContext<'_>, rows: &mut Rows) {
    let of_columns = ObjectKind::Column.all();
    for (schema, table) in user_tables(context) {
        let whole = table.acl();
        for (number, column) in table.columns.iter().enumerate() {
            // A privilege on the table is one on each column; one that is granted both ways is one row.
            let narrowed = |item: &AclItem| {
                let (privileges, options) = (item.privileges.and(of_columns), item.options.and(of_columns));
                AclItem { privileges, options, ..*item }
            };
            let mut items: Vec<AclItem> = whole.items().iter().map(narrowed).collect();
            for item in table.acls.columns.get(&number).map_or(&[][..], Acl::items) {
                match items.iter_mut().find(|other| (other.grantee, other.grantor) == (item.grantee, item.grantor)) {
                    Some(other) => {
                        other.privileges = other.privileges.with(item.privileges);
                        other.options = other.options.with(item.options);
                    }
                    None => items.push(*item),
                }
            }
            for item in items {
                let column = Some(column.name.as_str());
                let row = Granted { item, owner: table.owner, schema: &schema.name, table: &table.name, column };
                granted(&row, own, context, rows);
            }
        }
    }
}

/// Whether `information_schema` shows a table to a role: to whoever has any privilege on it.
pub(super) fn shows_table(table: &TableDef, context: &SystemContext<'_>) -> bool {
    let (catalog, holder) = (context.catalog, Holder::Role(context.role));
    catalog.has_privileges_of(context.role, table.owner)
        || catalog.held_on_table(holder, table).privileges.intersects(ObjectKind::Table.all())
        || table.acls.columns.keys().any(|column| !catalog.held_on_column(holder, table, *column).privileges.is_empty())
}

/// Whether a role may read the values of a column.
pub(super) fn reads_column(table: &TableDef, column: usize, context: &SystemContext<'_>) -> bool {
    let (catalog, holder) = (context.catalog, Holder::Role(context.role));
    let held = catalog.held_on_table(holder, table).or(catalog.held_on_column(holder, table, column));
    held.privileges.contains(Privileges::SELECT)
}

/// Whether it shows a column.
pub(super) fn shows_column(table: &TableDef, column: usize, context: &SystemContext<'_>) -> bool {
    let (catalog, holder) = (context.catalog, Holder::Role(context.role));
    let held = catalog.held_on_table(holder, table).or(catalog.held_on_column(holder, table, column));
    catalog.has_privileges_of(context.role, table.owner) || held.privileges.intersects(ObjectKind::Column.all())
}
