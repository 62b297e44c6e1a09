//! What belongs to roles: DROP OWNED, REASSIGN OWNED, and what keeps a role from being dropped.

use super::objects::{Subject, revoke_all_from};
use super::{defaults, roles};
use crate::base::Oid;
use crate::catalog::identifier::quote_identifier;
use crate::catalog::role::BUILT_IN_ROLES;
use crate::catalog::system::DATABASE;
use crate::catalog::{BOOTSTRAP_ROLE, Catalog, DefaultAclDef, Object, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::ExecContext;
use crate::exec::ddl::{change_owner, drop_table, newest_catalog, remove};
use crate::exec::role;
use crate::sql::SessionInfo;
use crate::sql::role::RoleName;

/// Dependents that are named, at most.
const NAMED_MAX: usize = 100;

/// DROP OWNED: what the roles own goes, and what they have been granted, as far as the session may take it back.
pub(super) async fn drop_owned(names: &[RoleName], context: &mut ExecContext<'_>) -> SqlResult<()> {
    for role in named(names, "drop", "drop objects owned by", context)? {
        let catalog = newest_catalog(context);
        for table in catalog.tables.values() {
            if table.owner == role {
                drop_table(table, context).await?;
            } else if table.acls.table.iter().chain(table.acls.columns.values()).any(|acl| acl.names(role)) {
                revoke_all_from(role, Subject::Table(table.oid), context).await?;
            }
        }
        for schema in catalog.schemas.values().filter(|schema| schema.acl().names(role)) {
            revoke_all_from(role, Subject::Schema(schema.oid), context).await?;
        }
        if catalog.database_acl().names(role) {
            revoke_all_from(role, Subject::Database, context).await?;
        }
        for known in catalog.default_acls.values() {
            if known.role == role {
                remove(Object::DefaultAcl(Box::new(DefaultAclDef::clone(known))), context).await?;
            } else if known.acl.names(role) {
                defaults::revoke_all_from(role, known, context).await?;
            }
        }
    }
    Ok(())
}

/// REASSIGN OWNED: what the roles own is another's.
pub(super) async fn reassign_owned(names: &[RoleName], to: &RoleName, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let owners = named(names, "reassign", "reassign ownership of objects owned by", context)?;
    let catalog = newest_catalog(context);
    let to = role::find(to, &catalog, context)?.oid;
    check_own(to, "reassign", &catalog, context)?;
    for table in catalog.tables.values().filter(|table| owners.contains(&table.owner)) {
        change_owner(table, to, context).await?;
    }
    Ok(())
}

/// The roles that are named, all of which the session acts for.
fn named(names: &[RoleName], verb: &str, pinned: &str, context: &ExecContext<'_>) -> SqlResult<Vec<Oid>> {
    let catalog = newest_catalog(context);
    let roles = roles(names, &catalog, context)?;
    roles.iter().try_for_each(|role| check_own(*role, verb, &catalog, context))?;
    match roles.iter().find(|role| is_pinned(**role)) {
        Some(role) => {
            let name = catalog.role_name(*role);
            let message = format!("cannot {pinned} role {name} because they are required by the database system");
            Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message))
        }
        None => Ok(roles),
    }
}

fn check_own(role: Oid, verb: &str, catalog: &Catalog, context: &ExecContext<'_>) -> SqlResult<()> {
    match catalog.has_privileges_of(context.session.role(), role) {
        true => Ok(()),
        false => Err(role::denied(format!("permission denied to {verb} objects"))),
    }
}

/// Whether a role is one of those that are always there.
pub(in crate::exec) fn is_pinned(role: Oid) -> bool {
    role == BOOTSTRAP_ROLE || BUILT_IN_ROLES.iter().any(|(built_in, _)| *built_in == role)
}

/// What depends on a role, as the DETAIL of a refusal says it; `None` if nothing does.
pub(in crate::exec) fn dependents(role: Oid, catalog: &Catalog, session: &dyn SessionInfo) -> Option<String> {
    let mut found: Vec<(Oid, usize, String)> = Vec::new();
    for table in catalog.tables.values() {
        let name = shown(table, catalog, session.search_path());
        if table.owner == role {
            found.push((table.oid, 0, format!("owner of table {name}")));
            continue;
        }
        if table.acls.table.as_ref().is_some_and(|acl| acl.names(role)) {
            found.push((table.oid, 0, format!("privileges for table {name}")));
        }
        for (&column, _) in table.acls.columns.iter().filter(|(_, acl)| acl.names(role)) {
            let text = format!("privileges for column {} of table {name}", table.columns[column].name);
            found.push((table.oid, column + 1, text));
        }
    }
    for schema in catalog.schemas.values().filter(|schema| schema.owner != role && schema.acl().names(role)) {
        found.push((schema.oid, 0, format!("privileges for schema {}", schema.name)));
    }
    if catalog.database_acl().names(role) {
        found.push((DATABASE, 0, format!("privileges for database {}", session.database())));
    }
    for known in catalog.default_acls.values() {
        let how = match known {
            known if known.role == role => "owner of",
            known if known.acl.names(role) => "privileges for",
            _ => continue,
        };
        found.push((known.oid, 0, format!("{how} {}", known.description(catalog))));
    }
    found.sort();
    let more = found.len().saturating_sub(NAMED_MAX);
    let mut lines: Vec<String> = found.into_iter().take(NAMED_MAX).map(|(_, _, line)| line).collect();
    if more > 0 {
        lines.push(format!("and {more} other object{}", if more == 1 { "" } else { "s" }));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A table's name as it is found along the search path.
fn shown(table: &TableDef, catalog: &Catalog, path: &[String]) -> String {
    let name = quote_identifier(&table.name);
    let schema_of = |schema: &String| catalog.schema_named(schema).map(|schema| schema.oid);
    let first = path.iter().filter_map(schema_of).find(|schema| catalog.table_names.contains_key(&(*schema, table.name.clone())));
    match catalog.schemas.get(&table.schema) {
        Some(schema) if first != Some(table.schema) => format!("{}.{name}", quote_identifier(&schema.name)),
        _ => name,
    }
}
