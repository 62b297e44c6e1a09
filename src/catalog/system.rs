//! System tables: `pg_catalog` and `information_schema` as views of a catalog snapshot.

/// One of the system tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemTableRef(pub u16);

/// What system tables are computed from.
pub struct SystemContext<'a> {
    /// The catalog the transaction sees.
    pub catalog: &'a crate::catalog::Catalog,
    /// The session.
    pub session: &'a dyn crate::sql::SessionInfo,
}

/// The rows of a system table.
pub fn rows(_table: SystemTableRef, _context: &SystemContext<'_>) -> crate::error::SqlResult<Vec<Vec<crate::types::Datum>>> {
    Err(crate::error::SqlError::unsupported("reading this system table"))
}
