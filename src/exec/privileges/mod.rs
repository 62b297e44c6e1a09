//! GRANT and REVOKE of privileges on objects, default privileges, and what becomes of what a role owns. In which order things are asked
//! and with what words they are refused follows PostgreSQL 15 (`aclchk.c`'s behaviour, observed).
//!
//! Lists of privileges are part of the catalog's objects: they commit, roll back and recover with the transaction that changes them, and
//! with the catalog's version every plan bound before is bound anew.

mod defaults;
mod objects;
mod owned;

use crate::base::Oid;
use crate::catalog::acl::change::Change;
use crate::catalog::acl::{PUBLIC_ROLE, Privileges};
use crate::catalog::{Catalog, ObjectKind};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{CommandTag, ExecContext};
use crate::exec::ddl::newest_catalog;
use crate::exec::role;
use crate::sql::grant::{Granting, PrivilegeStatement};
use crate::sql::role::RoleName;

pub(super) use owned::{dependents, is_pinned};

/// Carries out a statement about privileges, under the catalog's lock.
pub async fn execute(statement: &PrivilegeStatement, context: &mut ExecContext<'_>) -> SqlResult<CommandTag> {
    match statement {
        PrivilegeStatement::Objects { granting, target } => objects::execute(granting, target, context).await?,
        PrivilegeStatement::Defaults { roles, schemas, granting, kind } => {
            defaults::execute(roles, schemas, granting, *kind, context).await?;
        }
        PrivilegeStatement::DropOwned { roles } => owned::drop_owned(roles, context).await?,
        PrivilegeStatement::ReassignOwned { roles, to } => owned::reassign_owned(roles, to, context).await?,
    }
    Ok(CommandTag::Plain(statement.tag()))
}

/// 0LP01.
fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_GRANT_OPERATION, message)
}

/// The roles that privileges are granted to or revoked from.
fn grantees(names: &[RoleName], context: &ExecContext<'_>) -> SqlResult<Vec<Oid>> {
    let catalog = newest_catalog(context);
    let oid = |name: &RoleName| match name {
        RoleName::Public => Ok(PUBLIC_ROLE),
        name => role::find(name, &catalog, context).map(|role| role.oid),
    };
    names.iter().map(oid).collect()
}

/// The roles that a statement names.
fn roles(names: &[RoleName], catalog: &Catalog, context: &ExecContext<'_>) -> SqlResult<Vec<Oid>> {
    names.iter().map(|name| role::find(name, catalog, context).map(|role| role.oid)).collect()
}

/// A privilege by name.
///
/// Errors: 42601 for none that there is, 0LP01 for one that is not among `allowed`.
fn privilege(name: &str, allowed: Privileges, of: &str) -> SqlResult<Privileges> {
    let unknown = || SqlError::new(SqlState::SYNTAX_ERROR, format!("unrecognized privilege type \"{name}\""));
    let privilege = Privileges::named(name).ok_or_else(unknown)?;
    if allowed.contains(privilege) {
        Ok(privilege)
    } else {
        Err(invalid(format!("invalid privilege type {} for {of}", shown(privilege))))
    }
}

/// A privilege as messages name it.
fn shown(privilege: Privileges) -> &'static str {
    if privilege == Privileges::TEMPORARY { "TEMP" } else { privilege.names().next().unwrap_or_default() }
}

/// What a kind is called where privileges are refused for it.
fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Table => "relation",
        ObjectKind::Column => "column",
        ObjectKind::Sequence => "sequence",
        ObjectKind::Database => "database",
        ObjectKind::Function => "function",
        ObjectKind::Type => "type",
        ObjectKind::Schema => "schema",
    }
}

fn change(granting: &Granting, privileges: Privileges) -> Change {
    Change { grant: granting.grant, option: granting.option, cascade: granting.cascade, privileges }
}

/// REVOKE ALL … CASCADE from a role that is to be without.
fn revoke_all() -> Granting {
    Granting { grant: false, option: false, privileges: Vec::new(), grantees: Vec::new(), grantor: None, cascade: true }
}
