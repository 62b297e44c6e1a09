//! What is granted on objects when they are created (ALTER DEFAULT PRIVILEGES).

use serde::{Deserialize, Serialize};

use super::{Acl, EncodedAcl, ObjectKind};
use crate::base::Oid;
use crate::catalog::model::Catalog;
use crate::error::SqlResult;

/// Of objects that one role creates, in one schema or anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultAclDef {
    /// Identifier.
    pub oid: Oid,
    /// Who creates them.
    pub role: Oid,
    /// Where; `None` for anywhere.
    pub schema: Option<Oid>,
    /// Of which kind they are.
    pub kind: ObjectKind,
    /// Anywhere: the list they get. In a schema: what is added to that.
    pub acl: Acl,
}

impl DefaultAclDef {
    /// As PostgreSQL calls it in messages.
    pub fn description(&self, catalog: &Catalog) -> String {
        let kind = match self.kind {
            ObjectKind::Sequence => "sequences",
            ObjectKind::Function => "functions",
            ObjectKind::Type => "types",
            ObjectKind::Schema => "schemas",
            ObjectKind::Table | ObjectKind::Column | ObjectKind::Database => "relations",
        };
        let of = format!("default privileges on new {kind} belonging to role {}", catalog.role_name(self.role));
        match self.schema.and_then(|schema| catalog.schemas.get(&schema)) {
            Some(schema) => format!("{of} in schema {}", schema.name),
            None => of,
        }
    }
}

impl Catalog {
    /// The entry for objects of a kind that a role creates in a schema, or anywhere.
    pub fn default_acl(&self, role: Oid, schema: Option<Oid>, kind: ObjectKind) -> Option<&DefaultAclDef> {
        let found = self.default_acls.values().find(|known| (known.role, known.schema, known.kind) == (role, schema, kind));
        found.map(|known| &**known)
    }

    /// The list of a new object; `None` for what it has without.
    pub fn acl_of_new(&self, kind: ObjectKind, owner: Oid, schema: Oid) -> SqlResult<Option<Acl>> {
        let anywhere = self.default_acl(owner, None, kind);
        let here = self.default_acl(owner, Some(schema), kind);
        if anywhere.is_none() && here.is_none() {
            return Ok(None);
        }
        let usual = Acl::default_of(kind, owner);
        let start = anywhere.map_or_else(|| usual.clone(), |known| known.acl.clone());
        let acl = match here {
            Some(known) => start.merged(&known.acl, owner, self)?,
            None => start,
        };
        let acl = acl.sorted();
        Ok((acl != usual.sorted()).then_some(acl))
    }
}

/// An entry's bytes as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodedDefaultAcl {
    oid: u32,
    role: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    schema: Option<u32>,
    /// The letter of the kind.
    objects: char,
    acl: EncodedAcl,
}

impl From<&DefaultAclDef> for EncodedDefaultAcl {
    fn from(known: &DefaultAclDef) -> Self {
        Self {
            oid: known.oid.0,
            role: known.role.0,
            schema: known.schema.map(|schema| schema.0),
            objects: known.kind.letter(),
            acl: (&known.acl).into(),
        }
    }
}

impl EncodedDefaultAcl {
    pub(in crate::catalog) fn decode(self) -> Result<DefaultAclDef, String> {
        let kind = ObjectKind::of_letter(self.objects).ok_or_else(|| format!("{} is no kind of object", self.objects))?;
        Ok(DefaultAclDef {
            oid: Oid(self.oid),
            role: Oid(self.role),
            schema: self.schema.map(Oid),
            kind,
            acl: self.acl.decode()?,
        })
    }
}
