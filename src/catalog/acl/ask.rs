//! What a role may do: by what is granted to it, to everybody, or to roles whose privileges it has.

use std::borrow::Cow;

use super::{Acl, AclItem, ObjectKind, PUBLIC_ROLE, Privileges};
use crate::base::Oid;
use crate::catalog::model::{Catalog, SchemaDef, TableDef};
use crate::catalog::role::{BOOTSTRAP_ROLE, PG_READ_ALL_DATA, PG_WRITE_ALL_DATA};

/// What somebody has on an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Privileges.
    pub privileges: Privileges,
    /// Those that he may grant to others.
    pub options: Privileges,
}

impl Held {
    const EVERYTHING: Held = Held { privileges: Privileges::ALL, options: Privileges::ALL };

    /// What is in either.
    #[must_use]
    pub fn or(self, other: Held) -> Held {
        Held { privileges: self.privileges.with(other.privileges), options: self.options.with(other.options) }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A role. One that does not exist has what everybody has.
    Role(Oid),
    /// Everybody.
    Public,
}

impl Acl {
    /// What a role has by this list of an object of `owner`.
    pub(super) fn held(&self, holder: Holder, owner: Oid, catalog: &Catalog) -> Held {
        let Holder::Role(role) = holder else {
            let privileges = self.items().iter().filter(|item| item.grantee == PUBLIC_ROLE);
            let privileges = privileges.fold(Privileges::NONE, |all, item| all.with(item.privileges));
            return Held { privileges, options: Privileges::NONE };
        };
        if catalog.is_superuser(role) {
            return Held::EVERYTHING;
        }
        let mine = self.items().iter().filter(|item| concerns(item, role, catalog));
        let privileges = mine.fold(Privileges::NONE, |all, item| all.with(item.privileges));
        Held { privileges, options: Self::options_among(self.items(), role, owner, catalog) }
    }

    /// The options that a role has by these items.
    pub(super) fn options_among(items: &[AclItem], role: Oid, owner: Oid, catalog: &Catalog) -> Privileges {
        if catalog.has_privileges_of(role, owner) {
            return Privileges::ALL;
        }
        items.iter().filter(|item| concerns(item, role, catalog)).fold(Privileges::NONE, |all, item| all.with(item.options))
    }

    /// As whom a role grants or revokes these privileges, and which of them it may: as the owner, if it is or may act as he; otherwise as
    /// the role, itself or one whose privileges it has, that may grant the most of them.
    pub fn grantor(&self, role: Oid, wanted: Privileges, owner: Oid, catalog: &Catalog) -> (Oid, Privileges) {
        if role == owner || catalog.is_superuser(role) {
            return (owner, wanted);
        }
        let direct = |candidate: Oid| {
            if candidate == owner {
                return wanted;
            }
            let granted = self.items().iter().filter(|item| item.grantee == candidate);
            granted.fold(Privileges::NONE, |all, item| all.with(item.options)).and(wanted)
        };
        let mut best = (role, Privileges::NONE);
        for candidate in catalog.inherited_roles(role) {
            let options = direct(candidate);
            if options == wanted {
                return (candidate, options);
            }
            if options.count() > best.1.count() {
                best = (candidate, options);
            }
        }
        best
    }
}

fn concerns(item: &AclItem, role: Oid, catalog: &Catalog) -> bool {
    item.grantee == PUBLIC_ROLE || catalog.has_privileges_of(role, item.grantee)
}

impl TableDef {
    /// The table's list, or the one that it has without.
    pub fn acl(&self) -> Cow<'_, Acl> {
        match &self.acls.table {
            Some(acl) => Cow::Borrowed(acl),
            None => Cow::Owned(Acl::default_of(ObjectKind::Table, self.owner)),
        }
    }
}

impl SchemaDef {
    /// The schema's list, or the one that it has without.
    pub fn acl(&self) -> Cow<'_, Acl> {
        match &self.acl {
            Some(acl) => Cow::Borrowed(acl),
            None => Cow::Owned(Acl::default_of(ObjectKind::Schema, self.owner)),
        }
    }
}

impl Catalog {
    /// The database's list, or the one that it has without.
    pub fn database_acl(&self) -> Cow<'_, Acl> {
        match &self.database_acl {
            Some(acl) => Cow::Borrowed(acl),
            None => Cow::Owned(Acl::default_of(ObjectKind::Database, BOOTSTRAP_ROLE)),
        }
    }

    /// What somebody has on a table as a whole.
    pub fn held_on_table(&self, holder: Holder, table: &TableDef) -> Held {
        let mut held = match (&table.acls.table, holder) {
            // The usual case: nobody but the owner, who has everything.
            (None, Holder::Role(role)) if self.has_privileges_of(role, table.owner) => Held::EVERYTHING,
            (None, _) => Held::default(),
            (Some(acl), _) => acl.held(holder, table.owner, self),
        };
        let Holder::Role(role) = holder else { return held };
        let all_writes = Privileges::INSERT.with(Privileges::UPDATE).with(Privileges::DELETE);
        for (built_in, privileges) in [(PG_READ_ALL_DATA, Privileges::SELECT), (PG_WRITE_ALL_DATA, all_writes)] {
            if !held.privileges.contains(privileges) && self.has_privileges_of(role, built_in) {
                held.privileges = held.privileges.with(privileges);
            }
        }
        held
    }

    /// What somebody has on a column (0-based) besides what he has on the table.
    pub fn held_on_column(&self, holder: Holder, table: &TableDef, column: usize) -> Held {
        match table.acls.columns.get(&column) {
            Some(acl) => acl.held(holder, table.owner, self),
            None => Held::default(),
        }
    }

    /// What somebody has on a schema.
    pub fn held_on_schema(&self, holder: Holder, schema: &SchemaDef) -> Held {
        let mut held = schema.acl().held(holder, schema.owner, self);
        if let Holder::Role(role) = holder
            && !held.privileges.contains(Privileges::USAGE)
            && [PG_READ_ALL_DATA, PG_WRITE_ALL_DATA].iter().any(|&built_in| self.has_privileges_of(role, built_in))
        {
            held.privileges = held.privileges.with(Privileges::USAGE);
        }
        held
    }

    /// What somebody has on the database.
    pub fn held_on_database(&self, holder: Holder) -> Held {
        self.database_acl().held(holder, BOOTSTRAP_ROLE, self)
    }

    /// Whether a role may look for names in a schema.
    pub fn may_use_schema(&self, role: Oid, schema: &SchemaDef) -> bool {
        self.held_on_schema(Holder::Role(role), schema).privileges.contains(Privileges::USAGE)
    }
}
