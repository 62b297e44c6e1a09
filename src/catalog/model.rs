//! The catalog's objects as the binder sees them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use crate::base::{Oid, StorageId};
use crate::catalog::acl::{Acl, DefaultAclDef, TableAcls};
use crate::catalog::role::RoleDef;
use crate::catalog::statistics::TableStatistics;
use crate::storage::KeyKind;
use crate::types::ColumnType;
use crate::types::key::is_i64_key;
use crate::types::row::RowLayout;

/// An immutable picture of all objects.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Grows with every published change; prepared plans remember the version they were bound against.
    pub version: u64,
    /// Schemas by OID.
    pub schemas: BTreeMap<Oid, Arc<SchemaDef>>,
    /// Tables by OID.
    pub tables: BTreeMap<Oid, Arc<TableDef>>,
    /// (schema, name) → table.
    pub table_names: HashMap<(Oid, String), Oid>,
    /// Roles by OID.
    pub roles: BTreeMap<Oid, Arc<RoleDef>>,
    /// Name → role.
    pub role_names: HashMap<String, Oid>,
    /// What is known of the rows of tables, by the table's OID.
    pub statistics: BTreeMap<Oid, Arc<TableStatistics>>,
    /// What is granted on the database; `None` for the default.
    pub database_acl: Option<Acl>,
    /// What is granted on new objects, by OID.
    pub default_acls: BTreeMap<Oid, Arc<DefaultAclDef>>,
}

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaDef {
    /// Identifier.
    pub oid: Oid,
    /// Name.
    pub name: String,
    /// The role that owns it.
    pub owner: Oid,
    /// What is granted on it; `None` for the default.
    pub acl: Option<Acl>,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDef {
    /// Identifier, stable over the table's life.
    pub oid: Oid,
    /// The schema that holds it.
    pub schema: Oid,
    /// Name within the schema.
    pub name: String,
    /// The role that owns it.
    pub owner: Oid,
    /// What is granted on it and its columns.
    pub acls: TableAcls,
    /// Columns in order; `attnum` is the index + 1.
    pub columns: Vec<ColumnDef>,
    /// The primary key, by which the rows are then stored.
    pub primary_key: Option<PrimaryKey>,
    /// Where the rows are now; TRUNCATE and ADD PRIMARY KEY change it.
    pub storage: StorageId,
    /// Storage parameters as given (`fillfactor` and the like), kept for display.
    pub options: Vec<(String, String)>,
    /// The layout of its rows, computed when first asked for.
    pub layout: LayoutCell,
}

/// A row layout computed once a table definition. It follows from the columns, so it has no part in equality and starts
/// empty in copies, whose columns may be changed.
#[derive(Debug, Default)]
pub struct LayoutCell(OnceLock<Arc<RowLayout>>);

impl Clone for LayoutCell {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for LayoutCell {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl TableDef {
    /// The layout of its rows.
    pub fn layout(&self) -> &Arc<RowLayout> {
        self.layout.0.get_or_init(|| {
            let types: Vec<ColumnType> = self.columns.iter().map(|column| column.ty).collect();
            Arc::new(RowLayout::new(&types))
        })
    }

    /// What the keys of its storage are.
    pub fn key_kind(&self) -> KeyKind {
        match &self.primary_key {
            None => KeyKind::RowId,
            Some(key) => match key.columns[..] {
                [column] if is_i64_key(self.columns[column].ty.ty) => KeyKind::Int,
                _ => KeyKind::Bytes,
            },
        }
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDef {
    /// Name.
    pub name: String,
    /// Type and modifier.
    pub ty: ColumnType,
    /// NOT NULL, stated or through the primary key.
    pub not_null: bool,
    /// The DEFAULT expression as SQL text, re-bound when used.
    pub default: Option<String>,
}

impl ColumnDef {
    /// The DEFAULT as PostgreSQL would print it: a plain string with the type that it stands for.
    pub fn shown_default(&self) -> Option<Cow<'_, str>> {
        let text = self.default.as_deref()?;
        let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        let plain = inner.is_some_and(|inner| !inner.replace("''", "").contains('\''));
        Some(if plain { Cow::Owned(format!("{text}::{}", self.ty.ty.name())) } else { Cow::Borrowed(text) })
    }
}

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryKey {
    /// The index's OID, as pg_class and pg_index show it.
    pub index_oid: Oid,
    /// The constraint's OID.
    pub constraint_oid: Oid,
    /// The constraint's (and index's) name.
    pub name: String,
    /// Column indexes (0-based) in key order.
    pub columns: Vec<usize>,
}
