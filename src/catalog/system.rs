//! System tables: `pg_catalog` and `information_schema` as views of a catalog snapshot.

/// One of the system tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemTableRef(pub u16);
