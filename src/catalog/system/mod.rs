//! System tables: `pg_catalog` and `information_schema` as views of a catalog snapshot.
//!
//! What tables there are and their columns is in `tables.list`; what rows they have, in the modules, by table name. Tables of things
//! that cannot exist here (triggers, policies, publications …) are there and empty. Rows are computed when a statement reads the
//! table, in one pass over the objects.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::base::{Oid, TxnId};
use crate::catalog::Catalog;
use crate::metrics::export::ServerFigures;
use crate::txn::lock_view::LockView;
use crate::txn::prepared::PreparedInfo;
use crate::types::{Datum, SessionFormat, SqlType};

pub mod cores;
mod fixed;
mod information_schema;
pub mod live;
mod privileges;
mod relations;
mod roles;
mod statistics;

use cores::CoreFigures;
use live::SessionActivity;
pub use relations::{index_definition, key_list};

/// The owner of what is built in.
pub const OWNER: Oid = crate::catalog::role::BOOTSTRAP_ROLE;
/// The OID of the tablespace that everything is in.
pub const PG_DEFAULT: Oid = Oid(1663);
/// The OID of the tablespace of what all databases share.
pub const PG_GLOBAL: Oid = Oid(1664);
/// The OID of the database's own collation.
pub const DEFAULT_COLLATION: Oid = Oid(100);
/// The OID of the collation that compares bytes.
pub const C_COLLATION: Oid = Oid(950);
/// The OID of the database.
pub const DATABASE: Oid = Oid(5);

/// One of the system tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemTableRef(pub u16);

/// What system tables are computed from.
pub struct SystemContext<'a> {
    /// The catalog the transaction sees.
    pub catalog: &'a Catalog,
    /// The database connected to.
    pub database: &'a str,
    /// The role that asks.
    pub role: Oid,
    /// How values are written.
    pub format: &'a SessionFormat,
    /// What waits for the second phase of its commit.
    pub prepared: &'a [Arc<PreparedInfo>],
    /// The transactions that hold it, with their numbers.
    pub prepared_txns: &'a [(TxnId, u64)],
    /// What is locked, if the table shows it.
    pub locks: &'a [LockView],
    /// The sessions, if the table shows them.
    pub sessions: &'a [SessionActivity],
    /// What the cores tell, if the table shows it.
    pub cores: &'a [CoreFigures],
    /// What the server itself tells, if the table shows it.
    pub server: Option<&'a ServerFigures>,
}

/// The definition of a system table.
#[derive(Debug)]
pub struct SystemTable {
    /// Its place among them.
    pub reference: SystemTableRef,
    /// Identifier; PostgreSQL's.
    pub oid: Oid,
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Name within the schema.
    pub name: &'static str,
    /// Whether PostgreSQL has it as a view.
    pub is_view: bool,
    /// Names and types.
    pub columns: Vec<(&'static str, SqlType)>,
}

impl SystemTable {
    /// Whether superusers alone may read it: it has what passwords are checked against, or values of everybody's rows.
    pub fn is_secret(&self) -> bool {
        matches!(self.name, "pg_authid" | "pg_shadow" | "pg_statistic")
    }
}

struct Registry {
    tables: Vec<SystemTable>,
    by_name: HashMap<(&'static str, &'static str), usize>,
    by_oid: HashMap<Oid, usize>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let tables = parse(include_str!("tables.list"));
    let by_name = tables.iter().enumerate().map(|(index, table)| ((table.schema, table.name), index)).collect();
    let by_oid = tables.iter().enumerate().map(|(index, table)| (table.oid, index)).collect();
    Registry { tables, by_name, by_oid }
});

fn parse(list: &'static str) -> Vec<SystemTable> {
    let mut tables: Vec<SystemTable> = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        if let Some(columns) = line.strip_prefix("    ") {
            let table = tables.last_mut().expect("columns follow their table");
            for column in columns.split(' ') {
                let (name, ty) = column.split_once(':').expect("a column has a type");
                // `char` in SQL is another type.
                let ty = if ty == "char" { Some(SqlType::Char) } else { SqlType::from_name(ty) };
                table.columns.push((name, ty.expect("the list has types that exist")));
            }
            continue;
        }
        let (name, rest) = line.split_once(' ').expect("a table has an OID");
        let (oid, kind) = rest.split_once(' ').expect("a table has a kind");
        let (schema, name) = name.split_once('.').expect("a table has a schema");
        tables.push(SystemTable {
            reference: SystemTableRef(u16::try_from(tables.len()).expect("the list is short")),
            oid: Oid(oid.parse().expect("OIDs are numbers")),
            schema,
            name,
            is_view: kind == "v",
            columns: Vec::new(),
        });
    }
    tables
}

/// All system tables.
pub fn all() -> &'static [SystemTable] {
    &REGISTRY.tables
}

/// Finds a system table by name.
pub fn by_name(schema: &str, name: &str) -> Option<&'static SystemTable> {
    REGISTRY.by_name.get(&(schema, name)).map(|index| &REGISTRY.tables[*index])
}

/// Finds a system table by OID.
pub fn by_oid(oid: Oid) -> Option<&'static SystemTable> {
    REGISTRY.by_oid.get(&oid).map(|index| &REGISTRY.tables[*index])
}

/// Finds a system table as SQL names it: `pg_catalog` is searched first unless the search path has it.
pub fn system_table(search_path: &[String], schema: Option<&str>, name: &str) -> Option<&'static SystemTable> {
    match schema {
        Some(schema) => by_name(schema, name),
        None if search_path.iter().any(|schema| schema == "pg_catalog") => {
            search_path.iter().find_map(|schema| by_name(schema, name))
        }
        None => by_name("pg_catalog", name).or_else(|| search_path.iter().find_map(|schema| by_name(schema, name))),
    }
}

impl SystemTableRef {
    /// The table.
    pub fn get(self) -> &'static SystemTable {
        &REGISTRY.tables[usize::from(self.0)]
    }
}

/// The rows of a system table.
pub fn rows(table: SystemTableRef, context: &SystemContext<'_>) -> Vec<Vec<Datum>> {
    let table = table.get();
    let mut rows = Rows { table, rows: Vec::new() };
    privileges::fill(table.name, context, &mut rows);
    match table.schema {
        "pg_catalog" => {
            relations::fill(table.name, context, &mut rows);
            roles::fill(table.name, context, &mut rows);
            fixed::fill(table.name, context, &mut rows);
            live::fill(table.name, context, &mut rows);
            statistics::fill(table.name, context, &mut rows);
            cores::fill(table.name, context, &mut rows);
        }
        _ => information_schema::fill(table.name, context, &mut rows),
    }
    rows.rows
}

/// Rows of one table, being computed.
struct Rows {
    table: &'static SystemTable,
    rows: Vec<Vec<Datum>>,
}

impl Rows {
    /// Adds a row with these values; columns not named have what stands for "nothing" in their type: 0, false, an empty name, and
    /// NULL for texts and arrays.
    fn add(&mut self, values: impl IntoIterator<Item = (&'static str, Datum)>) {
        let mut row: Vec<Datum> = self.table.columns.iter().map(|(_, ty)| nothing(*ty)).collect();
        for (name, value) in values {
            let column = self.table.columns.iter().position(|(column, _)| *column == name);
            let column = column.unwrap_or_else(|| panic!("{} has no column {name}", self.table.name));
            row[column] = value;
        }
        self.rows.push(row);
    }
}

fn nothing(ty: SqlType) -> Datum {
    match ty {
        SqlType::Bool => Datum::Bool(false),
        SqlType::Int2 => Datum::Int2(0),
        SqlType::Int4 => Datum::Int4(0),
        SqlType::Oid | SqlType::Regproc | SqlType::Regtype | SqlType::Regclass => Datum::Oid(Oid(0)),
        SqlType::Char => Datum::Char(0),
        SqlType::Name => Datum::text(""),
        _ => Datum::Null,
    }
}

fn int2(number: usize) -> Datum {
    Datum::Int2(i16::try_from(number).expect("attributes are numbered below 1,600"))
}

fn int4(number: usize) -> Datum {
    Datum::Int4(i32::try_from(number).expect("attributes are numbered below 1,600"))
}

fn letter(letter: char) -> Datum {
    Datum::Char(u8::try_from(letter).expect("kinds are ASCII letters"))
}

#[cfg(test)]
mod tests;
