//! CREATE, ALTER and DROP of roles; GRANT and REVOKE of membership. Who may do what, in which order it is asked and with what
//! words it is refused follows PostgreSQL 15 (`user.c`'s behaviour, observed).
//!
//! Roles are catalog objects like tables: they commit, roll back and recover with the transaction that changes them. A password
//! is hashed before the catalog is locked, a piece at a time: it takes milliseconds, in which this core serves others.

mod membership;

use std::sync::Arc;

use crate::auth::{Derivation, SALT_BYTES, Secret, Verifier, is_md5, random_bytes};
use crate::base::Oid;
use crate::catalog::acl::ask::Holder;
use crate::catalog::lookup::denied_schema;
use crate::catalog::{BOOTSTRAP_ROLE, Catalog, Membership, Object, Privileges, RoleDef, SchemaDef, TableDef};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::exec::context::{CommandTag, ExecContext, Notice};
use crate::exec::ddl::{newest_catalog, put, remove};
use crate::exec::privileges::{dependents, is_pinned};
use crate::sql::role::{RoleName, RoleOptions, RoleStatement};
use crate::types::datetime::parse_timestamptz;

/// Iterations between two looks at the clock: about a tenth of a millisecond.
const ROUNDS: u32 = 200;

/// What a statement says is to be stored of a password: `None` if it says nothing of one, and inside if there is to be none.
pub async fn hash_password(statement: &RoleStatement, context: &mut ExecContext<'_>) -> SqlResult<Option<Option<Verifier>>> {
    match statement {
        RoleStatement::Create { options, .. } | RoleStatement::Alter { options, .. } => match &options.password {
            Some(Some(password)) => verifier(password, context).await.map(Some),
            Some(None) => Ok(Some(None)),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Carries out a statement about roles, under the catalog's lock.
pub async fn execute(
    statement: &RoleStatement,
    verifier: Option<Option<Verifier>>,
    context: &mut ExecContext<'_>,
) -> SqlResult<CommandTag> {
    match statement {
        RoleStatement::Create { name, options, in_roles, members, admins } => {
            create(name, options, verifier.flatten(), context).await?;
            membership::of_new_role(name, in_roles, members, admins, context).await?;
        }
        RoleStatement::Alter { role, options } => alter(role, options, verifier, context).await?,
        RoleStatement::Rename { role, to } => rename(role, to, context).await?,
        RoleStatement::Drop { if_exists, roles } => drop_roles(roles, *if_exists, context).await?,
        RoleStatement::Grant { roles, members, admin, grantor, .. } => {
            membership::grant(roles, members, *admin, grantor.as_ref(), context).await?;
        }
        RoleStatement::Revoke { roles, members, admin_only, grantor, .. } => {
            membership::revoke(roles, members, *admin_only, grantor.as_ref(), context).await?;
        }
    }
    Ok(CommandTag::Plain(statement.tag()))
}

/// What is to be stored of a password: nothing of an empty one.
async fn verifier(password: &Secret, context: &mut ExecContext<'_>) -> SqlResult<Option<Verifier>> {
    let text = password.expose();
    if text.is_empty() {
        context.notices.push(Notice::new("empty string is not a valid password, clearing password"));
        return Ok(None);
    }
    if is_md5(text) {
        return Err(
            SqlError::unsupported("an MD5 verifier as password").hint("Set the password itself, or a SCRAM-SHA-256 verifier.")
        );
    }
    if let Some(ready) = Verifier::parse(text) {
        return Ok(Some(ready));
    }
    let salt: [u8; SALT_BYTES] = random_bytes();
    let mut derivation = Derivation::new(text, &salt, context.scram_iterations);
    while !derivation.advance(ROUNDS) {
        if crate::runtime::should_yield() {
            crate::runtime::yield_now().await;
        }
    }
    Ok(Some(derivation.finish()))
}

/// 42501.
pub(super) fn denied(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

fn missing(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
}

/// The role that a statement names.
pub(super) fn find(name: &RoleName, catalog: &Catalog, context: &ExecContext<'_>) -> SqlResult<Arc<RoleDef>> {
    match name {
        RoleName::Named(name) => catalog.role_named(name).cloned().ok_or_else(|| missing(name)),
        RoleName::Public => Err(missing("public")),
        RoleName::Current | RoleName::Session => {
            let current = *name == RoleName::Current;
            let role = if current { context.session.role() } else { context.session.session_role() };
            catalog.roles.get(&role).cloned().ok_or_else(|| missing(context.session.user()))
        }
    }
}

/// The role that is to own something: of others than superusers, one that they are members of.
pub fn new_owner(name: &RoleName, table: &TableDef, context: &ExecContext<'_>) -> SqlResult<Oid> {
    let catalog = newest_catalog(context);
    let owner = find(name, &catalog, context)?;
    let own = context.session.role();
    if owner.oid == table.owner || catalog.is_superuser(own) {
        return Ok(owner.oid);
    }
    if !catalog.is_member(own, owner.oid) {
        return Err(denied(format!("must be member of role \"{}\"", owner.name)));
    }
    // It must be one that could have made the table where it is.
    let may_create =
        |schema: &SchemaDef| catalog.held_on_schema(Holder::Role(owner.oid), schema).privileges.contains(Privileges::CREATE);
    match catalog.schemas.get(&table.schema) {
        Some(schema) if !may_create(schema) => Err(denied_schema(&schema.name)),
        _ => Ok(owner.oid),
    }
}

/// What the session's role may do with roles.
struct Rights {
    superuser: bool,
    create_role: bool,
}

fn rights(catalog: &Catalog, context: &ExecContext<'_>) -> Rights {
    let role = catalog.roles.get(&context.session.role());
    let superuser = role.is_some_and(|role| role.superuser);
    Rights { superuser, create_role: superuser || role.is_some_and(|role| role.create_role) }
}

fn check_limit(options: &RoleOptions) -> SqlResult<()> {
    match options.connection_limit {
        Some(limit) if limit < -1 => {
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid connection limit: {limit}")))
        }
        _ => Ok(()),
    }
}

/// 42939 for the names that are PostgreSQL's own.
fn check_reserved(name: &str) -> SqlResult<()> {
    if name.starts_with("pg_") {
        return Err(SqlError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved"))
            .detail("Role names starting with \"pg_\" are reserved."));
    }
    Ok(())
}

fn check_free(name: &str, catalog: &Catalog) -> SqlResult<()> {
    match catalog.role_names.contains_key(name) {
        true => Err(SqlError::new(SqlState::DUPLICATE_OBJECT, format!("role \"{name}\" already exists"))),
        false => Ok(()),
    }
}

async fn create(name: &str, options: &RoleOptions, verifier: Option<Verifier>, context: &mut ExecContext<'_>) -> SqlResult<()> {
    if options.sysid {
        context.notices.push(Notice::new("SYSID can no longer be specified"));
    }
    check_limit(options)?;
    let catalog = newest_catalog(context);
    let rights = rights(&catalog, context);
    if !rights.superuser {
        for (wanted, kind) in [
            (options.superuser, "superusers"),
            (options.replication, "replication users"),
            (options.bypass_rls, "bypassrls users"),
        ] {
            if wanted == Some(true) {
                return Err(denied(format!("must be superuser to create {kind}")));
            }
        }
    }
    if !rights.create_role {
        return Err(denied("permission denied to create role"));
    }
    check_reserved(name)?;
    check_free(name, &catalog)?;
    let mut role = RoleDef::new(context.store.next_oid(), name);
    apply(options, &mut role, context)?;
    role.verifier = verifier;
    put(Object::Role(Box::new(role)), context).await
}

/// Sets what the options say, the password apart.
fn apply(options: &RoleOptions, role: &mut RoleDef, context: &ExecContext<'_>) -> SqlResult<()> {
    if let Some(text) = &options.valid_until {
        role.valid_until = Some(parse_timestamptz(text, context.session.format())?);
    }
    for (wanted, attribute) in [
        (options.superuser, &mut role.superuser),
        (options.inherit, &mut role.inherit),
        (options.create_role, &mut role.create_role),
        (options.create_db, &mut role.create_db),
        (options.login, &mut role.login),
        (options.replication, &mut role.replication),
        (options.bypass_rls, &mut role.bypass_rls),
    ] {
        *attribute = wanted.unwrap_or(*attribute);
    }
    role.connection_limit = options.connection_limit.unwrap_or(role.connection_limit);
    Ok(())
}

async fn alter(
    name: &RoleName,
    options: &RoleOptions,
    verifier: Option<Option<Verifier>>,
    context: &mut ExecContext<'_>,
) -> SqlResult<()> {
    check_limit(options)?;
    let catalog = newest_catalog(context);
    let role = find(name, &catalog, context)?;
    if role.name.starts_with("pg_") {
        let message = format!("role name \"{}\" is reserved", role.name);
        return Err(SqlError::new(SqlState::RESERVED_NAME, message).detail("Cannot alter reserved roles."));
    }
    let rights = rights(&catalog, context);
    if !rights.superuser {
        if role.superuser || options.superuser.is_some() {
            return Err(denied("must be superuser to alter superuser roles or change superuser attribute"));
        }
        if role.replication || options.replication.is_some() {
            return Err(denied("must be superuser to alter replication roles or change replication attribute"));
        }
        if options.bypass_rls.is_some() {
            return Err(denied("must be superuser to change bypassrls attribute"));
        }
    }
    // Everybody may change the password of the role that is theirs, and nothing else of it.
    let password_only = RoleOptions { password: options.password.clone(), ..RoleOptions::default() };
    let own = role.oid == context.session.role() && options.password.is_some() && *options == password_only;
    if !rights.create_role && !own {
        return Err(denied("permission denied"));
    }
    if role.oid == BOOTSTRAP_ROLE && options.superuser == Some(false) {
        // As PostgreSQL does from version 16 on: here is no single-user mode that would lead back in.
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "permission denied to alter role")
            .detail("The bootstrap user must have the SUPERUSER attribute."));
    }
    let mut changed = RoleDef::clone(&role);
    apply(options, &mut changed, context)?;
    changed.verifier = verifier.unwrap_or(changed.verifier);
    put(Object::Role(Box::new(changed)), context).await
}

async fn rename(name: &RoleName, to: &str, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let catalog = newest_catalog(context);
    let role = find(name, &catalog, context)?;
    for (used, by) in [(context.session.session_role(), "session"), (context.session.role(), "current")] {
        if role.oid == used {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{by} user cannot be renamed")));
        }
    }
    check_reserved(&role.name)?;
    check_reserved(to)?;
    check_free(to, &catalog)?;
    let rights = rights(&catalog, context);
    if role.superuser && !rights.superuser {
        return Err(denied("must be superuser to rename superusers"));
    }
    if !rights.create_role {
        return Err(denied("permission denied to rename role"));
    }
    put(Object::Role(Box::new(RoleDef { name: to.to_owned(), ..RoleDef::clone(&role) })), context).await
}

async fn drop_roles(names: &[RoleName], if_exists: bool, context: &mut ExecContext<'_>) -> SqlResult<()> {
    let rights = rights(&newest_catalog(context), context);
    if !rights.create_role {
        return Err(denied("permission denied to drop role"));
    }
    for name in names {
        let RoleName::Named(name) = name else {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "cannot use special role specifier in DROP ROLE"));
        };
        let catalog = newest_catalog(context);
        let Some(role) = catalog.role_named(name).cloned() else {
            if if_exists {
                context.notices.push(Notice::new(format!("role \"{name}\" does not exist, skipping")));
                continue;
            }
            return Err(missing(name));
        };
        for (used, by) in [(context.session.role(), "current"), (context.session.session_role(), "session")] {
            if role.oid == used {
                return Err(SqlError::new(SqlState::OBJECT_IN_USE, format!("{by} user cannot be dropped")));
            }
        }
        if role.superuser && !rights.superuser {
            return Err(denied("must be superuser to drop superusers"));
        }
        check_not_needed(&role, &catalog, context)?;
        remove(Object::Role(Box::new(RoleDef::clone(&role))), context).await?;
        // Memberships in it go with it; what it was a member of is part of itself.
        for member in catalog.roles.values().filter(|member| member.member_of.iter().any(|of| of.role == role.oid)) {
            let member_of = member.member_of.iter().copied().filter(|of| of.role != role.oid).collect::<Vec<Membership>>();
            put(Object::Role(Box::new(RoleDef { member_of, ..RoleDef::clone(member) })), context).await?;
        }
    }
    Ok(())
}

/// 2BP01 for a role that owns something, or that something has been granted to.
fn check_not_needed(role: &RoleDef, catalog: &Catalog, context: &ExecContext<'_>) -> SqlResult<()> {
    let refused = |message| Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
    if is_pinned(role.oid) {
        return refused(format!("cannot drop role {} because it is required by the database system", role.name));
    }
    let Some(dependents) = dependents(role.oid, catalog, context.session) else { return Ok(()) };
    let message = format!("role \"{}\" cannot be dropped because some objects depend on it", role.name);
    refused(message).map_err(|error: SqlError| error.detail(dependents))
}
