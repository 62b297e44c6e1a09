//! Statements about privileges on objects, and about all that roles own. Names are resolved when a statement runs, under the catalog's
//! lock: there is nothing to plan.

use crate::catalog::ObjectKind;
use crate::sql::parser::ast::TableName;
use crate::sql::role::RoleName;

/// Privileges as a statement lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which; `None` for ALL.
    pub privilege: Option<String>,
    /// On which columns; none for the object itself.
    pub columns: Vec<String>,
}

/// What privileges are granted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Tables by name.
    Tables(Vec<TableName>),
    /// Sequences by name.
    Sequences(Vec<TableName>),
    /// Schemas by name.
    Schemas(Vec<String>),
    /// Databases by name.
    Databases(Vec<String>),
    /// ALL … IN SCHEMA.
    AllIn(ObjectKind, Vec<String>),
}

/// GRANT or REVOKE, up to what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granting {
    /// GRANT.
    pub grant: bool,
    /// WITH GRANT OPTION, or GRANT OPTION FOR.
    pub option: bool,
    /// Which privileges; empty for ALL.
    pub privileges: Vec<Listed>,
    /// To or from whom.
    pub grantees: Vec<RoleName>,
    /// GRANTED BY.
    pub grantor: Option<RoleName>,
    /// CASCADE.
    pub cascade: bool,
}

/// A statement about privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivilegeStatement {
    /// GRANT … ON, REVOKE … ON.
    Objects {
        /// What happens.
        granting: Granting,
        /// On what.
        target: Target,
    },
    /// ALTER DEFAULT PRIVILEGES.
    Defaults {
        /// FOR ROLE; none for the current one.
        roles: Vec<RoleName>,
        /// IN SCHEMA; none for anywhere.
        schemas: Vec<String>,
        /// What happens.
        granting: Granting,
        /// To objects of which kind.
        kind: ObjectKind,
    },
    /// DROP OWNED.
    DropOwned {
        /// By whom.
        roles: Vec<RoleName>,
    },
    /// REASSIGN OWNED.
    ReassignOwned {
        /// By whom.
        roles: Vec<RoleName>,
        /// The new owner.
        to: RoleName,
    },
}

impl PrivilegeStatement {
    /// The command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            PrivilegeStatement::Objects { granting: Granting { grant: true, .. }, .. } => "GRANT",
            PrivilegeStatement::Objects { .. } => "REVOKE",
            PrivilegeStatement::Defaults { .. } => "ALTER DEFAULT PRIVILEGES",
            PrivilegeStatement::DropOwned { .. } => "DROP OWNED",
            PrivilegeStatement::ReassignOwned { .. } => "REASSIGN OWNED",
        }
    }
}
