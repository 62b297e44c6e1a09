//! Syntax trees of the statements that sqlparser does not parse for us; queries and DML keep sqlparser's own.

use sqlparser::ast as sqlast;

use crate::sql::utility::{TableLock, Utility};

/// A parsed statement's body.
#[derive(Clone, Debug)]
pub enum Body {
    /// SELECT, VALUES, INSERT, UPDATE, DELETE, CREATE TABLE.
    Sql(Box<sqlast::Statement>),
    /// A utility statement that needs no binding.
    Ready(Utility),
    /// A statement PostgreSQL has and this server has not, by name: 0A000 when it is bound, so that the statements before it
    /// in the same string are run.
    Unsupported(String),
    /// EXECUTE name (arguments).
    Execute {
        /// The prepared statement.
        name: String,
        /// Arguments.
        args: Vec<sqlast::Expr>,
    },
    /// EXPLAIN.
    Explain {
        /// What is explained.
        statement: Box<Body>,
        /// Options.
        options: crate::sql::utility::ExplainOptions,
    },
    /// VACUUM [ANALYZE] or, with `vacuum` false, ANALYZE.
    Vacuum {
        /// Tables; empty for all.
        tables: Vec<MaintainedName>,
        /// VACUUM, not only ANALYZE.
        vacuum: bool,
        /// With ANALYZE.
        analyze: bool,
        /// With VERBOSE.
        verbose: bool,
    },
    /// LOCK TABLE.
    Lock {
        /// Tables.
        tables: Vec<TableName>,
        /// IN … MODE.
        mode: TableLock,
        /// NOWAIT.
        no_wait: bool,
    },
    /// COPY.
    Copy(Box<CopyAst>),
    /// A statement about roles.
    Role(crate::sql::role::RoleStatement),
    /// A statement about privileges.
    Privileges(crate::sql::grant::PrivilegeStatement),
    /// TRUNCATE.
    Truncate(Vec<TableName>),
    /// DROP TABLE.
    DropTable {
        /// IF EXISTS.
        if_exists: bool,
        /// Tables.
        tables: Vec<TableName>,
    },
    /// ALTER TABLE … OWNER TO.
    ChangeOwner {
        /// The table.
        table: TableName,
        /// IF EXISTS.
        if_exists: bool,
        /// The new owner.
        to: crate::sql::role::RoleName,
    },
    /// ALTER TABLE … ADD PRIMARY KEY.
    AddPrimaryKey {
        /// The table; `None` for the name if it may be missing (IF EXISTS).
        table: TableName,
        /// IF EXISTS.
        if_exists: bool,
        /// The constraint's name, if given.
        constraint: Option<String>,
        /// Columns with positions.
        columns: Vec<(String, u32)>,
    },
}

/// A table that VACUUM or ANALYZE names.
#[derive(Clone, Debug)]
pub struct MaintainedName {
    /// The table.
    pub table: TableName,
    /// Columns with positions (none: all).
    pub columns: Vec<(String, u32)>,
}

/// A possibly qualified table name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// Schema.
    pub schema: Option<String>,
    /// Name.
    pub name: String,
    /// 1-based character position in the query string.
    pub position: u32,
}

/// COPY as written.
#[derive(Clone, Debug)]
pub struct CopyAst {
    /// What is copied.
    pub object: CopyObject,
    /// TO instead of FROM.
    pub to: bool,
    /// Options in the order written: lower-case name, value, position.
    pub options: Vec<(String, CopyValue, u32)>,
}

/// What COPY names.
#[derive(Clone, Debug)]
pub enum CopyObject {
    /// A table and columns (none: all).
    Table(TableName, Vec<(String, u32)>),
    /// A query.
    Query(Box<sqlast::Statement>),
}

/// The value of a COPY option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyValue {
    /// Nothing after the name.
    None,
    /// A word, number or string.
    Text(String),
    /// `*`
    Star,
    /// A list of columns.
    Columns(Vec<(String, u32)>),
}
