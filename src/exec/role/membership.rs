//! GRANT and REVOKE of membership. It is kept with the member, so that one object changes.

use crate::base::Oid;
use crate::catalog::role::PG_DATABASE_OWNER;
use crate::catalog::{Catalog, Membership, Object, RoleDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{ExecContext, Notice};
use crate::exec::ddl::{newest_catalog, put};
use crate::exec::role::{denied, find, rights};
use crate::sql::role::RoleName;

/// The memberships that CREATE ROLE names.
pub(super) async fn of_new_role(
    name: &str,
    in_roles: &[RoleName],
    members: &[RoleName],
    admins: &[RoleName],
    context: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let new = [RoleName::Named(name.to_owned())];
    if !in_roles.is_empty() {
        grant(in_roles, &new, false, None, context).await?;
    }
    grant(&new, admins, true, None, context).await?;
    grant(&new, members, false, None, context).await
}

/// GRANT roles TO members.
pub(super) async fn grant(
    roles: &[RoleName],
    members: &[RoleName],
    admin: bool,
    grantor: Option<&RoleName>,
    context: &mut ExecContext<'_>,
) -> SqlResult<()> {
    let grantor = grantor_of(grantor, context)?;
    let members = oids(members, context)?;
    for role in roles {
        let role = find(role, &newest_catalog(context), context)?;
        check_may_grant(&role, grantor, context)?;
        check_explicit(&role, &members)?;
        for &member in &members {
            let catalog = newest_catalog(context);
            let member = existing(member, &catalog)?;
            if catalog.is_member(role.oid, member.oid) {
                let message = format!("role \"{}\" is a member of role \"{}\"", role.name, member.name);
                return Err(SqlError::new(SqlState::INVALID_GRANT_OPERATION, message));
            }
            let mut changed = RoleDef::clone(member);
            match changed.member_of.iter_mut().find(|of| of.role == role.oid) {
                Some(of) if of.admin || !admin => {
                    let message = format!("role \"{}\" is already a member of role \"{}\"", member.name, role.name);
                    context.notices.push(Notice::new(message));
                    continue;
                }
                Some(of) => *of = Membership { role: role.oid, grantor, admin },
                None => changed.member_of.push(Membership { role: role.oid, grantor, admin }),
            }
            put(Object::Role(Box::new(changed)), context).await?;
        }
    }
    Ok(())
}

/// REVOKE roles FROM members.
pub(super) async fn revoke(
    roles: &[RoleName],
    members: &[RoleName],
    admin_only: bool,
    grantor: Option<&RoleName>,
    context: &mut ExecContext<'_>,
) -> SqlResult<()> {
    // Who granted a membership has no say in who may take it back; that such a role exists is still asked.
    let _exists = grantor_of(grantor, context)?;
    let members = oids(members, context)?;
    let own = context.session.role();
    for role in roles {
        let role = find(role, &newest_catalog(context), context)?;
        check_may_grant(&role, own, context)?;
        for &member in &members {
            let catalog = newest_catalog(context);
            let member = existing(member, &catalog)?;
            let mut changed = RoleDef::clone(member);
            let Some(at) = changed.member_of.iter().position(|of| of.role == role.oid) else {
                let message = format!("role \"{}\" is not a member of role \"{}\"", member.name, role.name);
                context.notices.push(Notice::warning(message));
                continue;
            };
            if admin_only {
                changed.member_of[at].admin = false;
            } else {
                changed.member_of.remove(at);
            }
            put(Object::Role(Box::new(changed)), context).await?;
        }
    }
    Ok(())
}

fn grantor_of(grantor: Option<&RoleName>, context: &ExecContext<'_>) -> SqlResult<Oid> {
    match grantor {
        Some(name) => Ok(find(name, &newest_catalog(context), context)?.oid),
        None => Ok(context.session.role()),
    }
}

fn oids(names: &[RoleName], context: &ExecContext<'_>) -> SqlResult<Vec<Oid>> {
    let catalog = newest_catalog(context);
    names.iter().map(|name| find(name, &catalog, context).map(|role| role.oid)).collect()
}

fn existing(member: Oid, catalog: &Catalog) -> SqlResult<&RoleDef> {
    let gone = || SqlError::internal("a role went away while the catalog was locked");
    catalog.roles.get(&member).map(|role| &**role).ok_or_else(gone)
}

/// 0LP01 for the role that the database's owner is the one member of.
fn check_explicit(role: &RoleDef, members: &[Oid]) -> SqlResult<()> {
    let refuse = |what: &str| {
        let message = format!("role \"pg_database_owner\" cannot {what}");
        Err(SqlError::new(SqlState::INVALID_GRANT_OPERATION, message))
    };
    match role.oid {
        PG_DATABASE_OWNER if !members.is_empty() => refuse("have explicit members"),
        _ if members.contains(&PG_DATABASE_OWNER) => refuse("be a member of any role"),
        _ => Ok(()),
    }
}

fn check_may_grant(role: &RoleDef, grantor: Oid, context: &ExecContext<'_>) -> SqlResult<()> {
    let catalog = newest_catalog(context);
    let (rights, own) = (rights(&catalog, context), context.session.role());
    if rights.superuser {
        return Ok(());
    }
    if role.superuser {
        return Err(denied("must be superuser to alter superusers"));
    }
    // A role is its own administrator: it may let others act as itself.
    if !rights.create_role && own != role.oid && !catalog.is_admin_of(own, role.oid) {
        return Err(denied(format!("must have admin option on role \"{}\"", role.name)));
    }
    if grantor != own {
        return Err(denied("must be superuser to set grantor"));
    }
    Ok(())
}
