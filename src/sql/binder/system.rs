//! System tables by name.

use crate::catalog::system::{self, SystemTable};

/// Finds a system table. `pg_catalog` is searched first unless the search path names it.
pub fn find(search_path: &[String], schema: Option<&str>, name: &str) -> Option<&'static SystemTable> {
    match schema {
        Some(schema) => system::by_name(schema, name),
        None if search_path.iter().any(|schema| schema == "pg_catalog") => {
            search_path.iter().find_map(|schema| system::by_name(schema, name))
        }
        None => {
            system::by_name("pg_catalog", name).or_else(|| search_path.iter().find_map(|schema| system::by_name(schema, name)))
        }
    }
}
