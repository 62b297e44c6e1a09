//! Who may do what with an object: lists of what has been granted, as PostgreSQL keeps and shows them.
//!
//! An object without a list has the default one of its kind and owner. The owner's options to grant are not in any list: they come with
//! being the owner. How lists change is in [`change`]; how they are asked, together with the memberships of roles, in [`ask`].
//!
//! Source: PostgreSQL 15 documentation, 5.7 "Privileges"; behaviour after its `acl.c`, observed.

pub mod ask;
pub mod change;
mod defaults;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::Oid;
use crate::catalog::model::Catalog;

pub use defaults::{DefaultAclDef, EncodedDefaultAcl};

/// The grantee that stands for everybody.
pub const PUBLIC_ROLE: Oid = Oid(0);

/// Items of one list, at most.
pub const ITEMS_MAX: usize = 4_096;

/// A set of privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Privileges(u16);

/// The privileges there are, in the order in which lists show them: letter, name.
const NAMES: [(char, &str); 12] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
];

#[allow(missing_docs)] // They are called what SQL calls them.
impl Privileges {
    pub const NONE: Self = Self(0);
    pub const INSERT: Self = Self(1);
    pub const SELECT: Self = Self(1 << 1);
    pub const UPDATE: Self = Self(1 << 2);
    pub const DELETE: Self = Self(1 << 3);
    pub const TRUNCATE: Self = Self(1 << 4);
    pub const REFERENCES: Self = Self(1 << 5);
    pub const TRIGGER: Self = Self(1 << 6);
    pub const EXECUTE: Self = Self(1 << 7);
    pub const USAGE: Self = Self(1 << 8);
    pub const CREATE: Self = Self(1 << 9);
    pub const TEMPORARY: Self = Self(1 << 10);
    pub const CONNECT: Self = Self(1 << 11);
    pub const ALL: Self = Self((1 << 12) - 1);
}

impl Privileges {
    /// The privilege of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("temp") {
            return Some(Self::TEMPORARY);
        }
        NAMES.iter().position(|(_, known)| known.eq_ignore_ascii_case(name)).map(|at| Self(1 << at))
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that `other` has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that `other` has too.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are among them.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is among them.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Their names, in the order of lists.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.each().map(|(_, _, name)| name)
    }

    fn each(self) -> impl Iterator<Item = (Self, char, &'static str)> {
        NAMES
            .iter()
            .enumerate()
            .map(|(at, (letter, name))| (Self(1 << at), *letter, *name))
            .filter(move |(one, ..)| self.contains(*one))
    }
}

/// Kinds of things that privileges are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ObjectKind {
    Table,
    Column,
    Sequence,
    Database,
    Function,
    Type,
    Schema,
}

impl ObjectKind {
    /// All privileges on such a thing.
    pub const fn all(self) -> Privileges {
        use Privileges as P;
        match self {
            ObjectKind::Table => Self::Column.all().with(P::DELETE).with(P::TRUNCATE).with(P::TRIGGER),
            ObjectKind::Column => P::SELECT.with(P::INSERT).with(P::UPDATE).with(P::REFERENCES),
            ObjectKind::Sequence => P::USAGE.with(P::SELECT).with(P::UPDATE),
            ObjectKind::Database => P::CREATE.with(P::TEMPORARY).with(P::CONNECT),
            ObjectKind::Function => P::EXECUTE,
            ObjectKind::Type => P::USAGE,
            ObjectKind::Schema => P::CREATE.with(P::USAGE),
        }
    }

    /// What everybody may do with such a thing when nobody has said anything.
    const fn of_public(self) -> Privileges {
        match self {
            ObjectKind::Table | ObjectKind::Column | ObjectKind::Sequence | ObjectKind::Schema => Privileges::NONE,
            ObjectKind::Database => Privileges::TEMPORARY.with(Privileges::CONNECT),
            ObjectKind::Function => Privileges::EXECUTE,
            ObjectKind::Type => Privileges::USAGE,
        }
    }

    /// The letter by which `pg_default_acl` and `acldefault` call it.
    pub fn of_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'r' => ObjectKind::Table,
            'c' => ObjectKind::Column,
            'S' | 's' => ObjectKind::Sequence,
            'd' => ObjectKind::Database,
            'f' => ObjectKind::Function,
            'T' => ObjectKind::Type,
            'n' => ObjectKind::Schema,
            _ => return None,
        })
    }

    /// See [`ObjectKind::of_letter`].
    pub fn letter(self) -> char {
        match self {
            ObjectKind::Table => 'r',
            ObjectKind::Column => 'c',
            ObjectKind::Sequence => 'S',
            ObjectKind::Database => 'd',
            ObjectKind::Function => 'f',
            ObjectKind::Type => 'T',
            ObjectKind::Schema => 'n',
        }
    }
}

/// What one role has granted to another, or to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclItem {
    /// To whom; [`PUBLIC_ROLE`] for everybody.
    pub grantee: Oid,
    /// By whom.
    pub grantor: Oid,
    /// What.
    pub privileges: Privileges,
    /// What of it the grantee may grant to others. It is nothing without the privilege, but for what REVOKE passes around.
    pub options: Privileges,
}

/// All that has been granted on one object, in the order in which it was; at most one item for each grantee and grantor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Vec<AclItem>);

impl Acl {
    /// Of these items.
    pub fn new(items: Vec<AclItem>) -> Self {
        Self(items)
    }

    /// What an object has whose privileges nobody has touched.
    pub fn default_of(kind: ObjectKind, owner: Oid) -> Self {
        let (public, own) = (kind.of_public(), if kind == ObjectKind::Column { Privileges::NONE } else { kind.all() });
        let item = |grantee, privileges| AclItem { grantee, grantor: owner, privileges, options: Privileges::NONE };
        let items = [item(PUBLIC_ROLE, public), item(owner, own)];
        Self(items.into_iter().filter(|item| !item.privileges.is_empty()).collect())
    }

    /// The items.
    pub fn items(&self) -> &[AclItem] {
        &self.0
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same in the order of grantees and grantors, by which lists can be compared.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort();
        self
    }

    /// Whether it names a role.
    pub fn names(&self, role: Oid) -> bool {
        self.0.iter().any(|item| item.grantee == role || item.grantor == role)
    }

    /// The same with another owner in the place of the old one, whose grants become his.
    #[must_use]
    pub fn of_new_owner(&self, old: Oid, new: Oid) -> Self {
        let moved = |role| if role == old { new } else { role };
        let mut items: Vec<AclItem> = Vec::with_capacity(self.0.len());
        for item in &self.0 {
            let item = AclItem { grantee: moved(item.grantee), grantor: moved(item.grantor), ..*item };
            match items.iter_mut().find(|other| (other.grantee, other.grantor) == (item.grantee, item.grantor)) {
                Some(other) => {
                    other.privileges = other.privileges.with(item.privileges);
                    other.options = other.options.with(item.options);
                }
                None => items.push(item),
            }
        }
        Self(items)
    }

    /// The items as text, in PostgreSQL's form.
    pub fn texts<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = String> + 'a {
        self.0.iter().map(|item| {
            let grantee = if item.grantee == PUBLIC_ROLE { String::new() } else { role_text(item.grantee, catalog) };
            format!("{grantee}={}/{}", letters(item.privileges, item.options), role_text(item.grantor, catalog))
        })
    }
}

/// A role as lists name it.
fn role_text(role: Oid, catalog: &Catalog) -> String {
    match catalog.roles.get(&role) {
        Some(role) if role.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => role.name.clone(),
        Some(role) => format!("\"{}\"", role.name.replace('"', "\"\"")),
        None => role.to_string(),
    }
}

/// Privileges as letters, those with the option to grant followed by a star.
fn letters(privileges: Privileges, options: Privileges) -> String {
    let mut text = String::new();
    for (one, letter, _) in privileges.each() {
        text.push(letter);
        if options.contains(one) {
            text.push('*');
        }
    }
    text
}

fn of_letters(text: &str) -> Option<(Privileges, Privileges)> {
    let (mut privileges, mut options, mut last) = (Privileges::NONE, Privileges::NONE, Privileges::NONE);
    for c in text.chars() {
        if c == '*' {
            options = options.with(last);
            continue;
        }
        last = Privileges(1 << NAMES.iter().position(|(letter, _)| *letter == c)?);
        privileges = privileges.with(last);
    }
    Some((privileges, options))
}

/// The lists of a table: its own, and those of columns by their numbers (0-based).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableAcls {
    /// The table's; `None` for the default.
    pub table: Option<Acl>,
    /// Those of columns that have any.
    pub columns: BTreeMap<usize, Acl>,
}

impl TableAcls {
    /// As [`Acl::of_new_owner`].
    #[must_use]
    pub fn of_new_owner(&self, old: Oid, new: Oid) -> Self {
        let moved = |acl: &Acl| acl.of_new_owner(old, new);
        Self {
            table: self.table.as_ref().map(moved),
            columns: self.columns.iter().map(|(column, acl)| (*column, moved(acl))).collect(),
        }
    }
}

/// A list's bytes as JSON: grantee, grantor, letters.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct EncodedAcl(Vec<EncodedItem>);

type EncodedItem = (u32, u32, String);

impl From<&Acl> for EncodedAcl {
    fn from(acl: &Acl) -> Self {
        let item = |item: &AclItem| (item.grantee.0, item.grantor.0, letters(item.privileges, item.options));
        Self(acl.0.iter().map(item).collect())
    }
}

impl EncodedAcl {
    pub(super) fn decode(self) -> Result<Acl, String> {
        let item = |(grantee, grantor, text): EncodedItem| {
            let (privileges, options) = of_letters(&text).ok_or_else(|| format!("\"{text}\" are no privileges"))?;
            Ok(AclItem { grantee: Oid(grantee), grantor: Oid(grantor), privileges, options })
        };
        self.0.into_iter().map(item).collect::<Result<Vec<_>, String>>().map(Acl)
    }
}

/// The lists of a table as JSON.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EncodedTableAcls {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    table: Option<EncodedAcl>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    columns: Vec<(usize, EncodedAcl)>,
}

impl EncodedTableAcls {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The lists of a table of so many columns.
    pub(super) fn decode(self, columns: usize) -> Result<TableAcls, String> {
        let table = self.table.map(EncodedAcl::decode).transpose()?;
        let column = |(column, acl): (usize, EncodedAcl)| match column < columns {
            true => Ok((column, acl.decode()?)),
            false => Err(format!("privileges on column {column} of {columns}")),
        };
        Ok(TableAcls { table, columns: self.columns.into_iter().map(column).collect::<Result<_, String>>()? })
    }
}

impl From<&TableAcls> for EncodedTableAcls {
    fn from(acls: &TableAcls) -> Self {
        Self {
            table: acls.table.as_ref().map(EncodedAcl::from),
            columns: acls.columns.iter().map(|(column, acl)| (*column, acl.into())).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
