//! Roles: who may log in, what they may do, and which of them belong to which.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::auth::Verifier;
use crate::base::Oid;
use crate::catalog::model::Catalog;

/// The bootstrap superuser: PostgreSQL's OID. It can be renamed, and neither dropped nor made an ordinary role.
pub const BOOTSTRAP_ROLE: Oid = Oid(10);

/// The role that owns schema `public`; the database's owner is taken for a member.
pub const PG_DATABASE_OWNER: Oid = Oid(6171);
/// The role that may read everything.
pub const PG_READ_ALL_DATA: Oid = Oid(6181);
/// The role that may write everything.
pub const PG_WRITE_ALL_DATA: Oid = Oid(6182);

/// Roles that are always there and that nobody can log in as: PostgreSQL's, as far as they mean something here.
pub const BUILT_IN_ROLES: [(Oid, &str); 3] =
    [(PG_DATABASE_OWNER, "pg_database_owner"), (PG_READ_ALL_DATA, "pg_read_all_data"), (PG_WRITE_ALL_DATA, "pg_write_all_data")];

/// The bootstrap superuser's name when nobody says.
pub const BOOTSTRAP_NAME: &str = "postgres";

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleDef {
    /// Identifier, stable over renames.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// SUPERUSER.
    pub superuser: bool,
    /// INHERIT: it has the privileges of the roles that it is a member of without SET ROLE.
    pub inherit: bool,
    /// CREATEROLE.
    pub create_role: bool,
    /// CREATEDB.
    pub create_db: bool,
    /// LOGIN.
    pub login: bool,
    /// REPLICATION. Kept and shown; there is no replication.
    pub replication: bool,
    /// BYPASSRLS. Kept and shown; there are no policies.
    pub bypass_rls: bool,
    /// CONNECTION LIMIT; -1 for none.
    pub connection_limit: i32,
    /// What is stored of its password.
    pub verifier: Option<Verifier>,
    /// VALID UNTIL, of the password: microseconds since 2000-01-01 UTC.
    pub valid_until: Option<i64>,
    /// The roles it is a member of.
    pub member_of: Vec<Membership>,
}

/// That a role is a member of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The other.
    pub role: Oid,
    /// Who has granted it.
    pub grantor: Oid,
    /// WITH ADMIN OPTION.
    pub admin: bool,
}

impl RoleDef {
    /// A role as CREATE ROLE makes it when nothing else is said.
    pub fn new(oid: Oid, name: &str) -> Self {
        Self {
            oid,
            name: name.to_owned(),
            superuser: false,
            inherit: true,
            create_role: false,
            create_db: false,
            login: false,
            replication: false,
            bypass_rls: false,
            connection_limit: -1,
            verifier: None,
            valid_until: None,
            member_of: Vec::new(),
        }
    }

    /// The role of the first start.
    pub fn bootstrap(name: &str, verifier: Option<Verifier>) -> Self {
        Self {
            superuser: true,
            create_role: true,
            create_db: true,
            login: true,
            replication: true,
            bypass_rls: true,
            verifier,
            ..Self::new(BOOTSTRAP_ROLE, name)
        }
    }
}

impl Catalog {
    /// A role by name.
    pub fn role_named(&self, name: &str) -> Option<&Arc<RoleDef>> {
        self.roles.get(self.role_names.get(name)?)
    }

    /// A role's name; what PostgreSQL shows for one that is gone.
    pub fn role_name(&self, oid: Oid) -> String {
        self.roles.get(&oid).map_or_else(|| format!("unknown (OID={oid})"), |role| role.name.clone())
    }

    /// Whether a role is a superuser. One that is gone is not.
    pub fn is_superuser(&self, role: Oid) -> bool {
        self.roles.get(&role).is_some_and(|role| role.superuser)
    }

    /// Whether `member` is `role` or a member of it, directly or not, whatever else it may do.
    pub fn is_member(&self, member: Oid, role: Oid) -> bool {
        self.reaches(member, role, |_| true)
    }

    /// Whether `member` has the privileges of `role`: as a superuser, as itself, or by membership that is inherited.
    pub fn has_privileges_of(&self, member: Oid, role: Oid) -> bool {
        self.is_superuser(member) || self.roles.contains_key(&member) && self.reaches(member, role, |role| role.inherit)
    }

    /// The roles whose privileges `member` has by inheritance, itself first, then nearer ones before farther ones.
    pub fn inherited_roles(&self, member: Oid) -> Vec<Oid> {
        let mut seen = vec![member];
        self.reach(&mut seen, |_| false, |role| role.inherit);
        seen
    }

    /// Whether `member` may grant `role` to others by ADMIN OPTION, its own or that of a role it is a member of.
    pub fn is_admin_of(&self, member: Oid, role: Oid) -> bool {
        let granted = |role: Oid, member: &RoleDef| member.member_of.iter().any(|of| of.role == role && of.admin);
        self.roles.values().any(|admin| granted(role, admin) && self.is_member(member, admin.oid))
    }

    /// Whether memberships of roles for which `passes` lead from one role to another. There are no cycles, but roles may be
    /// reached on many ways: each is looked at once.
    fn reaches(&self, from: Oid, to: Oid, passes: impl Fn(&RoleDef) -> bool) -> bool {
        self.reach(&mut vec![from], |oid| oid == to, passes)
    }

    /// Adds the roles that memberships lead to from those `seen`, until one is `wanted`.
    fn reach(&self, seen: &mut Vec<Oid>, wanted: impl Fn(Oid) -> bool, passes: impl Fn(&RoleDef) -> bool) -> bool {
        let mut next = 0;
        while let Some(&oid) = seen.get(next) {
            if wanted(oid) {
                return true;
            }
            next += 1;
            let Some(role) = self.roles.get(&oid).filter(|role| passes(role)) else { continue };
            let mut unseen: Vec<Oid> = role.member_of.iter().map(|of| of.role).filter(|oid| !seen.contains(oid)).collect();
            unseen.sort_unstable();
            seen.extend(unseen);
        }
        false
    }
}

/// A role's bytes as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncodedRole {
    oid: u32,
    name: String,
    /// Attributes that are on, by their names in SQL.
    attributes: Vec<Attribute>,
    connection_limit: i32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    verifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    valid_until: Option<i64>,
    /// Role, grantor, ADMIN OPTION.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    member_of: Vec<(u32, u32, bool)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Attribute {
    Superuser,
    Inherit,
    CreateRole,
    CreateDb,
    Login,
    Replication,
    BypassRls,
}

impl From<&RoleDef> for EncodedRole {
    fn from(role: &RoleDef) -> Self {
        let attributes = [
            (role.superuser, Attribute::Superuser),
            (role.inherit, Attribute::Inherit),
            (role.create_role, Attribute::CreateRole),
            (role.create_db, Attribute::CreateDb),
            (role.login, Attribute::Login),
            (role.replication, Attribute::Replication),
            (role.bypass_rls, Attribute::BypassRls),
        ];
        Self {
            oid: role.oid.0,
            name: role.name.clone(),
            attributes: attributes.into_iter().filter(|(on, _)| *on).map(|(_, attribute)| attribute).collect(),
            connection_limit: role.connection_limit,
            verifier: role.verifier.as_ref().map(Verifier::to_text),
            valid_until: role.valid_until,
            member_of: role.member_of.iter().map(|of| (of.role.0, of.grantor.0, of.admin)).collect(),
        }
    }
}

impl EncodedRole {
    pub(super) fn decode(self) -> Result<RoleDef, String> {
        let malformed = || format!("the verifier of role {} is malformed", self.name);
        let verifier = self.verifier.as_deref().map(|text| Verifier::parse(text).ok_or_else(malformed)).transpose()?;
        let is = |attribute| self.attributes.contains(&attribute);
        let membership =
            |&(role, grantor, admin): &(u32, u32, bool)| Membership { role: Oid(role), grantor: Oid(grantor), admin };
        Ok(RoleDef {
            superuser: is(Attribute::Superuser),
            inherit: is(Attribute::Inherit),
            create_role: is(Attribute::CreateRole),
            create_db: is(Attribute::CreateDb),
            login: is(Attribute::Login),
            replication: is(Attribute::Replication),
            bypass_rls: is(Attribute::BypassRls),
            oid: Oid(self.oid),
            connection_limit: self.connection_limit,
            verifier,
            valid_until: self.valid_until,
            member_of: self.member_of.iter().map(membership).collect(),
            name: self.name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Object, ObjectKey};

    #[test]
    fn roles_survive() {
        let verifier = Verifier::derive("x", b"salt", 1);
        let role = RoleDef {
            inherit: false,
            login: true,
            bypass_rls: true,
            connection_limit: 3,
            verifier: Some(verifier.clone()),
            valid_until: Some(i64::MAX),
            member_of: vec![Membership { role: Oid(20_000), grantor: Oid(10), admin: true }],
            ..RoleDef::new(Oid(20_001), "a \"b\"")
        };
        for role in [role, RoleDef::bootstrap("root", Some(verifier)), RoleDef::new(Oid(1), "")] {
            let object = Object::Role(Box::new(role));
            assert_eq!(Object::decode(&object.encode()), Ok(object.clone()));
            assert!(matches!(ObjectKey::of(object.key()), Some(ObjectKey::Object(_))));
        }
        let damaged = br#"{"kind":"role","oid":1,"name":"a","attributes":[],"connection_limit":-1,"verifier":"x"}"#;
        let error = Object::decode(&[&[1][..], damaged].concat()).unwrap_err();
        assert!(error.contains("verifier of role a"), "{error}");
    }

    #[test]
    fn membership_is_followed_and_inherited_where_it_may_be() {
        let mut catalog = Catalog::bootstrap();
        let mut put = |oid, inherit, of: &[(u32, bool)]| {
            let member_of = of.iter().map(|&(role, admin)| Membership { role: Oid(role), grantor: Oid(10), admin }).collect();
            let role = RoleDef { inherit, member_of, ..RoleDef::new(Oid(oid), &format!("r{oid}")) };
            catalog.put(Object::Role(Box::new(role)));
        };
        put(100, true, &[]);
        put(101, true, &[(100, true)]);
        put(102, false, &[(101, false)]);
        put(103, true, &[(101, false), (102, false)]);
        let (member, has) = (|a, b| catalog.is_member(Oid(a), Oid(b)), |a, b| catalog.has_privileges_of(Oid(a), Oid(b)));
        assert!(member(103, 100) && member(102, 100) && member(100, 100) && !member(100, 103) && !member(10, 100));
        assert!(has(103, 100) && has(102, 102) && !has(102, 100) && has(10, 100) && !has(99, 99));
        let admin = |a| catalog.is_admin_of(Oid(a), Oid(100));
        assert!(admin(101) && admin(103) && !admin(100));
        assert!(catalog.is_superuser(Oid(10)) && !catalog.is_superuser(Oid(100)) && !catalog.is_superuser(Oid(9)));
        assert_eq!(catalog.role_named("r101").map(|role| role.oid), Some(Oid(101)));
        assert_eq!((catalog.role_name(Oid(10)).as_str(), catalog.role_name(Oid(7)).as_str()), ("postgres", "unknown (OID=7)"));
    }
}
