//! System tables by name.

use crate::catalog::system::SystemTableRef;
use crate::types::ColumnType;

/// A system table as FROM sees it.
pub struct SystemTable {
    /// The table.
    pub reference: SystemTableRef,
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Column names and types.
    pub columns: Vec<(String, ColumnType)>,
}

/// Finds a system table. `pg_catalog` is searched first unless the search path names it.
pub fn find(search_path: &[String], schema: Option<&str>, name: &str) -> Option<SystemTable> {
    match schema {
        Some(schema) => in_schema(schema, name),
        None if search_path.iter().any(|schema| schema == "pg_catalog") => {
            search_path.iter().find_map(|schema| in_schema(schema, name))
        }
        None => in_schema("pg_catalog", name).or_else(|| search_path.iter().find_map(|schema| in_schema(schema, name))),
    }
}

fn in_schema(schema: &str, name: &str) -> Option<SystemTable> {
    let _ = (schema, name);
    None
}

/// The OID of a system table.
pub fn oid(schema: &str, name: &str) -> Option<crate::base::Oid> {
    let _ = (schema, name);
    None
}

/// The schema and name of a system table.
pub fn name(oid: crate::base::Oid) -> Option<(&'static str, String)> {
    let _ = oid;
    None
}
