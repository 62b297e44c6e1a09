//! Roles, in the shapes that PostgreSQL has of them. Verifiers are in `pg_authid` and `pg_shadow` only, which superusers alone may
//! read; the binder sees to that.

use super::{Rows, SystemContext};
use crate::auth::Verifier;
use crate::base::Oid;
use crate::catalog::RoleDef;
use crate::types::Datum;

/// What stands where a password might be.
const HIDDEN: &str = "********";

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    let roles = context.catalog.roles.values();
    match table {
        "pg_authid" => roles.for_each(|role| authid(role, verifier(role), rows)),
        "pg_roles" => roles.for_each(|role| authid(role, Datum::text(HIDDEN), rows)),
        "pg_shadow" => roles.filter(|role| role.login).for_each(|role| user(role, verifier(role), rows)),
        "pg_user" => roles.filter(|role| role.login).for_each(|role| user(role, Datum::text(HIDDEN), rows)),
        "pg_group" => roles.filter(|role| !role.login).for_each(|role| group(role, context, rows)),
        "pg_auth_members" => roles.for_each(|role| memberships(role, rows)),
        _ => {}
    }
}

fn verifier(role: &RoleDef) -> Datum {
    role.verifier.as_ref().map(Verifier::to_text).map_or(Datum::Null, |text| Datum::text(&text))
}

fn valid_until(role: &RoleDef) -> Datum {
    role.valid_until.map_or(Datum::Null, Datum::TimestampTz)
}

fn authid(role: &RoleDef, password: Datum, rows: &mut Rows) {
    rows.add([
        ("oid", Datum::Oid(role.oid)),
        ("rolname", Datum::text(&role.name)),
        ("rolsuper", Datum::Bool(role.superuser)),
        ("rolinherit", Datum::Bool(role.inherit)),
        ("rolcreaterole", Datum::Bool(role.create_role)),
        ("rolcreatedb", Datum::Bool(role.create_db)),
        ("rolcanlogin", Datum::Bool(role.login)),
        ("rolreplication", Datum::Bool(role.replication)),
        ("rolbypassrls", Datum::Bool(role.bypass_rls)),
        ("rolconnlimit", Datum::Int4(role.connection_limit)),
        ("rolpassword", password),
        ("rolvaliduntil", valid_until(role)),
    ]);
}

fn user(role: &RoleDef, password: Datum, rows: &mut Rows) {
    rows.add([
        ("usename", Datum::text(&role.name)),
        ("usesysid", Datum::Oid(role.oid)),
        ("usecreatedb", Datum::Bool(role.create_db)),
        ("usesuper", Datum::Bool(role.superuser)),
        ("userepl", Datum::Bool(role.replication)),
        ("usebypassrls", Datum::Bool(role.bypass_rls)),
        ("passwd", password),
        ("valuntil", valid_until(role)),
    ]);
}

fn group(role: &RoleDef, context: &SystemContext<'_>, rows: &mut Rows) {
    let belongs = |member: &RoleDef| member.member_of.iter().any(|of| of.role == role.oid);
    let members: Vec<Datum> =
        context.catalog.roles.values().filter(|member| belongs(member)).map(|member| Datum::Oid(member.oid)).collect();
    rows.add([
        ("groname", Datum::text(&role.name)),
        ("grosysid", Datum::Oid(role.oid)),
        ("grolist", Datum::Array(members.into())),
    ]);
}

fn memberships(member: &RoleDef, rows: &mut Rows) {
    let oid = |oid: Oid| Datum::Oid(oid);
    for of in &member.member_of {
        rows.add([
            ("roleid", oid(of.role)),
            ("member", oid(member.oid)),
            ("grantor", oid(of.grantor)),
            ("admin_option", Datum::Bool(of.admin)),
        ]);
    }
}
