//! The current catalog: built from the catalog's rows, published as immutable snapshots, changed by commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::base::{Oid, StorageId};
use crate::catalog::acl::{Acl, AclItem, ObjectKind, PUBLIC_ROLE, Privileges};
use crate::catalog::encode::{Object, ObjectKey};
use crate::catalog::model::{Catalog, SchemaDef};
use crate::catalog::role::{BOOTSTRAP_NAME, BOOTSTRAP_ROLE, BUILT_IN_ROLES, PG_DATABASE_OWNER, RoleDef};
use crate::storage::KeyKind;

/// `pg_catalog`.
pub const PG_CATALOG: Oid = Oid(11);
/// `public`.
pub const PUBLIC: Oid = Oid(2200);
/// `information_schema`.
pub const INFORMATION_SCHEMA: Oid = Oid(13_000);
/// User objects start here.
pub const FIRST_USER_OID: u32 = 16_384;

/// Publishes the catalog.
pub struct CatalogStore {
    current: ArcSwap<Catalog>,
    next_oid: AtomicU32,
    version: AtomicU64,
}

impl Default for CatalogStore {
    fn default() -> Self {
        Self {
            current: ArcSwap::from_pointee(Catalog::bootstrap()),
            next_oid: AtomicU32::new(FIRST_USER_OID),
            version: AtomicU64::new(1),
        }
    }
}

impl Catalog {
    /// The catalog of an empty database: the built-in schemas and the bootstrap superuser.
    pub fn bootstrap() -> Self {
        let mut catalog = Catalog { version: 1, ..Catalog::default() };
        for (oid, name, owner) in [
            (PG_CATALOG, "pg_catalog", BOOTSTRAP_ROLE),
            (PUBLIC, "public", PG_DATABASE_OWNER),
            (INFORMATION_SCHEMA, "information_schema", BOOTSTRAP_ROLE),
        ] {
            // As initdb leaves them: everybody may look for names there.
            let everybody =
                AclItem { grantee: PUBLIC_ROLE, grantor: owner, privileges: Privileges::USAGE, options: Privileges::NONE };
            let items = Acl::default_of(ObjectKind::Schema, owner).items().iter().copied().chain([everybody]).collect();
            catalog.schemas.insert(oid, Arc::new(SchemaDef { oid, name: name.into(), owner, acl: Some(Acl::new(items)) }));
        }
        for (oid, name) in BUILT_IN_ROLES {
            catalog.put(Object::Role(Box::new(RoleDef::new(oid, name))));
        }
        catalog.put(Object::Role(Box::new(RoleDef::bootstrap(BOOTSTRAP_NAME, None))));
        catalog
    }

    /// Puts an object in, in place of the one it replaces.
    pub fn put(&mut self, object: Object) {
        match object {
            Object::Schema(schema) => {
                self.schemas.insert(schema.oid, Arc::new(schema));
            }
            Object::Statistics(statistics) => {
                self.statistics.insert(statistics.table, Arc::new(*statistics));
            }
            Object::Database(acl) => self.database_acl = Some(acl),
            Object::DefaultAcl(known) => {
                self.default_acls.insert(known.oid, Arc::new(*known));
            }
            Object::Role(role) => {
                if let Some(old) = self.roles.get(&role.oid) {
                    self.role_names.remove(&old.name);
                }
                self.role_names.insert(role.name.clone(), role.oid);
                self.roles.insert(role.oid, Arc::new(*role));
            }
            Object::Table(table) => {
                if let Some(old) = self.tables.get(&table.oid) {
                    self.table_names.remove(&(old.schema, old.name.clone()));
                }
                self.table_names.insert((table.schema, table.name.clone()), table.oid);
                self.tables.insert(table.oid, Arc::new(*table));
            }
        }
    }

    /// Takes an object out, by its key.
    pub fn remove(&mut self, key: ObjectKey) {
        let oid = match key {
            ObjectKey::Object(oid) => oid,
            ObjectKey::Statistics(table) => {
                self.statistics.remove(&table);
                return;
            }
        };
        self.schemas.remove(&oid);
        self.default_acls.remove(&oid);
        self.statistics.remove(&oid);
        if let Some(role) = self.roles.remove(&oid) {
            self.role_names.remove(&role.name);
        }
        if let Some(table) = self.tables.remove(&oid) {
            self.table_names.remove(&(table.schema, table.name.clone()));
        }
    }
}

impl CatalogStore {
    /// The newest committed catalog.
    pub fn current(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// The version of the newest committed catalog.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A fresh OID. OIDs of transactions that abort are not given out again in this process.
    pub fn next_oid(&self) -> Oid {
        Oid(self.next_oid.fetch_add(1, Ordering::Relaxed))
    }

    /// Starts from recovered rows.
    pub fn load(&self, rows: &[(i64, Vec<u8>)]) -> Result<(), String> {
        let mut catalog = Catalog::bootstrap();
        for (_, bytes) in rows {
            catalog.put(Object::decode(bytes)?);
        }
        let indexes = catalog.tables.values().filter_map(|table| table.primary_key.as_ref());
        let keys = indexes.flat_map(|key| [key.index_oid.0, key.constraint_oid.0]);
        let objects =
            catalog.tables.keys().chain(catalog.schemas.keys()).chain(catalog.roles.keys()).chain(catalog.default_acls.keys());
        let highest = objects.map(|oid| oid.0).chain(keys).max().unwrap_or(0);
        self.next_oid.fetch_max(highest + 1, Ordering::Relaxed);
        self.publish(catalog);
        Ok(())
    }

    /// Applies what a commit has changed: called on the catalog's core, in commit order, before anybody is told of the commit.
    pub fn apply(&self, changes: &[(i64, Option<Vec<u8>>)]) {
        let mut catalog = Catalog::clone(&self.current.load());
        for (key, bytes) in changes {
            match bytes {
                None => catalog.remove(ObjectKey::of(*key).expect("objects have keys of two kinds")),
                Some(bytes) => catalog.put(Object::decode(bytes).expect("the object was encoded by this process")),
            }
        }
        self.publish(catalog);
    }

    fn publish(&self, mut catalog: Catalog) {
        catalog.version = self.version.load(Ordering::Relaxed) + 1;
        let version = catalog.version;
        self.current.store(Arc::new(catalog));
        self.version.store(version, Ordering::Release);
    }
}

/// What recovered catalog rows say about the storages of tables.
pub fn storage_kinds(rows: &[(i64, Vec<u8>)]) -> Result<Vec<(StorageId, KeyKind)>, String> {
    let mut kinds = Vec::new();
    for (_, bytes) in rows {
        if let Object::Table(table) = Object::decode(bytes)? {
            kinds.push((table.storage, table.key_kind()));
        }
    }
    Ok(kinds)
}
