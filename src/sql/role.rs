//! Statements about roles. Names are resolved when a statement runs, under the catalog's lock: there is nothing to plan.

use crate::auth::Secret;

/// How a statement names a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// By name.
    Named(String),
    /// CURRENT_USER or CURRENT_ROLE.
    Current,
    /// SESSION_USER.
    Session,
    /// PUBLIC.
    Public,
}

/// What CREATE ROLE and ALTER ROLE say of a role; `None` where they say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleOptions {
    /// SUPERUSER.
    pub superuser: Option<bool>,
    /// INHERIT.
    pub inherit: Option<bool>,
    /// CREATEROLE.
    pub create_role: Option<bool>,
    /// CREATEDB.
    pub create_db: Option<bool>,
    /// LOGIN.
    pub login: Option<bool>,
    /// REPLICATION.
    pub replication: Option<bool>,
    /// BYPASSRLS.
    pub bypass_rls: Option<bool>,
    /// CONNECTION LIMIT.
    pub connection_limit: Option<i32>,
    /// PASSWORD; inside, `None` for NULL.
    pub password: Option<Option<Secret>>,
    /// VALID UNTIL, as written.
    pub valid_until: Option<String>,
    /// SYSID, which only earns a notice.
    pub sysid: bool,
}

/// A statement about roles.
#[derive(Clone, Debug)]
pub enum RoleStatement {
    /// CREATE ROLE, USER or GROUP.
    Create {
        /// Name.
        name: String,
        /// Options.
        options: RoleOptions,
        /// IN ROLE.
        in_roles: Vec<RoleName>,
        /// ROLE.
        members: Vec<RoleName>,
        /// ADMIN.
        admins: Vec<RoleName>,
    },
    /// ALTER ROLE or USER.
    Alter {
        /// Which.
        role: RoleName,
        /// Options.
        options: RoleOptions,
    },
    /// ALTER … RENAME TO.
    Rename {
        /// Which.
        role: RoleName,
        /// The new name.
        to: String,
    },
    /// DROP ROLE, USER or GROUP.
    Drop {
        /// IF EXISTS.
        if_exists: bool,
        /// Which.
        roles: Vec<RoleName>,
    },
    /// GRANT role TO role, and ALTER GROUP ADD USER.
    Grant {
        /// What is granted.
        roles: Vec<RoleName>,
        /// To whom.
        members: Vec<RoleName>,
        /// WITH ADMIN OPTION.
        admin: bool,
        /// GRANTED BY.
        grantor: Option<RoleName>,
        /// Written as ALTER GROUP.
        alter: bool,
    },
    /// REVOKE role FROM role, and ALTER GROUP DROP USER.
    Revoke {
        /// What is revoked.
        roles: Vec<RoleName>,
        /// From whom.
        members: Vec<RoleName>,
        /// ADMIN OPTION FOR: the membership stays.
        admin_only: bool,
        /// GRANTED BY.
        grantor: Option<RoleName>,
        /// Written as ALTER GROUP.
        alter: bool,
    },
}

impl RoleStatement {
    /// The command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            RoleStatement::Create { .. } => "CREATE ROLE",
            RoleStatement::Alter { .. }
            | RoleStatement::Rename { .. }
            | RoleStatement::Grant { alter: true, .. }
            | RoleStatement::Revoke { alter: true, .. } => "ALTER ROLE",
            RoleStatement::Drop { .. } => "DROP ROLE",
            RoleStatement::Grant { .. } => "GRANT ROLE",
            RoleStatement::Revoke { .. } => "REVOKE ROLE",
        }
    }

    /// Whether its text holds a password.
    pub fn holds_secret(&self) -> bool {
        match self {
            RoleStatement::Create { options, .. } | RoleStatement::Alter { options, .. } => {
                matches!(options.password, Some(Some(_)))
            }
            _ => false,
        }
    }
}
