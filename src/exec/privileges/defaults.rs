//! ALTER DEFAULT PRIVILEGES.

use super::{change, grantees, invalid, kind_name, privilege, roles};
use crate::base::Oid;
use crate::catalog::acl::{Acl, Privileges};
use crate::catalog::{DefaultAclDef, Object, ObjectKind};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::ExecContext;
use crate::exec::ddl::{newest_catalog, put, remove};
use crate::exec::role;
use crate::sql::grant::Granting;
use crate::sql::role::RoleName;

pub(super) async fn execute(
    names: &[RoleName],
    schemas: &[String],
    granting: &Granting,
    kind: ObjectKind,
    context: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let grantees = grantees(&granting.grantees, context)?;
    let wanted = wanted(granting, kind)?;
    let catalog = newest_catalog(context);
    let own = context.session.role();
    let creators = if names.is_empty() { vec![own] } else { roles(names, &catalog, context)? };
    for creator in creators {
        if !catalog.is_superuser(own) && !catalog.is_member(own, creator) {
            return Err(role::denied(format!("must be member of role \"{}\"", catalog.role_name(creator))));
        }
        if schemas.is_empty() {
            set((creator, None, kind), wanted, granting, &grantees, context).await?;
        }
        for name in schemas {
            let missing = || SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"));
            let schema = catalog.schema_named(name).ok_or_else(missing)?.oid;
            if kind == ObjectKind::Schema {
                return Err(invalid("cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS".to_owned()));
            }
            set((creator, Some(schema), kind), wanted, granting, &grantees, context).await?;
        }
    }
    Ok(())
}

/// Takes from a role what new objects of this entry would give to it.
pub(super) async fn revoke_all_from(role: Oid, known: &DefaultAclDef, context: &mut ExecContext<'_>) -> SqlResult<()> {
    set((known.role, known.schema, known.kind), known.kind.all(), &super::revoke_all(), &[role], context).await
}

fn wanted(granting: &Granting, kind: ObjectKind) -> SqlResult<Privileges> {
    if granting.privileges.is_empty() {
        return Ok(kind.all());
    }
    let mut wanted = Privileges::NONE;
    for listed in &granting.privileges {
        match &listed.privilege {
            Some(name) if listed.columns.is_empty() => wanted = wanted.with(privilege(name, kind.all(), kind_name(kind))?),
            _ => return Err(invalid("default privileges cannot be set for columns".to_owned())),
        }
    }
    Ok(wanted)
}

/// Changes one entry; one that says what would be without it goes.
async fn set(
    (creator, schema, kind): (Oid, Option<Oid>, ObjectKind),
    wanted: Privileges,
    granting: &Granting,
    grantees: &[Oid],
    context: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let catalog = newest_catalog(context);
    let usual = if schema.is_none() { Acl::default_of(kind, creator) } else { Acl::default() };
    let known = catalog.default_acl(creator, schema, kind);
    let old = known.map_or(&usual, |known| &known.acl);
    let acl = old.changed(change(granting, wanted), grantees, creator, creator, &catalog)?;
    if acl.clone().sorted() == usual.clone().sorted() {
        return match known {
            Some(known) => remove(Object::DefaultAcl(Box::new(known.clone())), context).await,
            None => Ok(()),
        };
    }
    let oid = known.map_or_else(|| context.store.next_oid(), |known| known.oid);
    put(Object::DefaultAcl(Box::new(DefaultAclDef { oid, role: creator, schema, kind, acl })), context).await
}
