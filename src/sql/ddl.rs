//! Bound DDL statements.

use std::sync::Arc;

use crate::base::Oid;
use crate::catalog::{ColumnDef, TableDef};

/// A DDL statement with names resolved.
#[derive(Clone, Debug)]
pub enum Ddl {
    /// CREATE TABLE.
    CreateTable {
        /// Schema.
        schema: Oid,
        /// Name.
        name: String,
        /// IF NOT EXISTS.
        if_not_exists: bool,
        /// Columns.
        columns: Vec<ColumnDef>,
        /// Primary key: constraint name, columns.
        primary_key: Option<(String, Vec<usize>)>,
        /// WITH (…).
        options: Vec<(String, String)>,
    },
    /// DROP TABLE of those that exist; missing ones (with IF EXISTS) become notices.
    DropTable {
        /// Tables to drop.
        tables: Vec<Arc<TableDef>>,
        /// Names skipped because of IF EXISTS.
        missing: Vec<String>,
    },
    /// TRUNCATE.
    Truncate {
        /// Tables.
        tables: Vec<Arc<TableDef>>,
    },
    /// CREATE ROLE and its kin.
    Role(Arc<crate::sql::role::RoleStatement>),
    /// GRANT … ON and its kin.
    Privileges(Arc<crate::sql::grant::PrivilegeStatement>),
    /// ALTER TABLE … OWNER TO.
    ChangeOwner {
        /// Table.
        table: Arc<TableDef>,
        /// The new owner.
        to: crate::sql::role::RoleName,
    },
    /// ALTER TABLE … ADD [CONSTRAINT name] PRIMARY KEY (columns): the rows move to a storage ordered by the key.
    AddPrimaryKey {
        /// Table.
        table: Arc<TableDef>,
        /// Constraint name.
        name: String,
        /// Columns.
        columns: Vec<usize>,
    },
}
