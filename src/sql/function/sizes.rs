//! How much memory relations take: their rows with their older versions, and their indexes.
//!
//! The figures are those that the cores publish about twice a second, so a new table may have none yet. There are no files to
//! look at: rows live in memory, and what is on disk is a log and checkpoints of everything.

use crate::base::Oid;
use crate::catalog::system::{DATABASE, PG_DEFAULT, PG_GLOBAL, by_oid as system_table_by_oid};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::shard::Sizes;
use crate::sql::context::EvalContext;
use crate::sql::function::kinds::*;
use crate::sql::function::system::{index_of, internal, oid, text};
use crate::sql::function::{Entry, Function, Implementation, Kind};
use crate::types::Datum;

type Context = fn(&[Datum], &EvalContext<'_>) -> SqlResult<Datum>;

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    let table: &[(&'static str, &'static [Kind], Context)] = &[
        ("pg_relation_size", &[REGCLASS], |a, c| answer(relation(oid(&a[0])?, c)?, |size| size.own)),
        ("pg_relation_size", &[REGCLASS, TEXT], fork_size),
        ("pg_table_size", &[REGCLASS], |a, c| answer(relation(oid(&a[0])?, c)?, |size| size.own)),
        ("pg_indexes_size", &[REGCLASS], |a, c| answer(relation(oid(&a[0])?, c)?, |size| size.indexes)),
        ("pg_total_relation_size", &[REGCLASS], |a, c| answer(relation(oid(&a[0])?, c)?, |size| size.own + size.indexes)),
        ("pg_database_size", &[OID], |a, c| if oid(&a[0])? == DATABASE { all(c) } else { Ok(Datum::Null) }),
        ("pg_database_size", &[NAME], |a, c| match text(&a[0])? {
            name if name == c.session.database() => all(c),
            name => Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))),
        }),
        ("pg_tablespace_size", &[OID], |a, c| match oid(&a[0])? {
            PG_DEFAULT => all(c),
            PG_GLOBAL => Ok(Datum::Int8(0)),
            _ => Ok(Datum::Null),
        }),
        ("pg_tablespace_size", &[NAME], |a, c| match text(&a[0])? {
            "pg_default" => all(c),
            "pg_global" => Ok(Datum::Int8(0)),
            name => Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("tablespace \"{name}\" does not exist"))),
        }),
    ];
    for &(name, args, code) in table {
        Entry::function(name, args, INT8, Implementation::Context(code)).volatile().add(functions);
    }
    let pretty = Implementation::Unary(|bytes| Ok(Datum::Text(size_pretty(bytes.as_i64().ok_or_else(internal)?).into())));
    Entry::function("pg_size_pretty", &[INT8], TEXT, pretty).add(functions);
}

/// Bytes of a relation and of its indexes.
#[derive(Default)]
struct RelationSize {
    own: u64,
    indexes: u64,
}

fn sizes<'c>(context: &EvalContext<'c>) -> SqlResult<&'c Sizes> {
    context.session.sizes().map(|sizes| &**sizes).ok_or_else(|| SqlError::unsupported("the size of a relation here"))
}

/// What a table or index takes; `None` if there is no such relation. System tables are made when they are read.
fn relation(oid: Oid, context: &EvalContext<'_>) -> SqlResult<Option<RelationSize>> {
    if let Some(table) = context.catalog.tables.get(&oid) {
        let size = sizes(context)?.of(table.storage);
        // Without a primary key the index over hidden keys is how the table itself is stored.
        let (own, indexes) = if table.primary_key.is_some() { (size.heap_bytes, size.index_bytes) } else { (size.bytes(), 0) };
        return Ok(Some(RelationSize { own, indexes }));
    }
    if let Some((table, _)) = index_of(oid, context.catalog) {
        return Ok(Some(RelationSize { own: sizes(context)?.of(table.storage).index_bytes, indexes: 0 }));
    }
    Ok(system_table_by_oid(oid).map(|_| RelationSize::default()))
}

fn answer(size: Option<RelationSize>, of: impl FnOnce(RelationSize) -> u64) -> SqlResult<Datum> {
    Ok(size.map_or(Datum::Null, |size| bytes(of(size))))
}

fn bytes(count: u64) -> Datum {
    Datum::Int8(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Everything there is, in the only database.
fn all(context: &EvalContext<'_>) -> SqlResult<Datum> {
    Ok(bytes(sizes(context)?.total().bytes()))
}

/// Of the files that PostgreSQL keeps for a relation only the main one has a counterpart.
fn fork_size(args: &[Datum], context: &EvalContext<'_>) -> SqlResult<Datum> {
    let of: fn(RelationSize) -> u64 = match text(&args[1])? {
        "main" => |size| size.own,
        "fsm" | "vm" | "init" => |_| 0,
        _ => {
            let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "invalid fork name");
            return Err(error.hint("Valid fork names are \"main\", \"fsm\", \"vm\", and \"init\"."));
        }
    };
    answer(relation(oid(&args[0])?, context)?, of)
}

/// Bytes with a unit: the next one from 10,240 of the last, half rounded up (dbsize.c).
fn size_pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (i128::from(bytes), 0);
    // Below 10 * 1024 of a unit it is shown in that unit; one more bit is kept for rounding.
    let mut half = false;
    while unit + 1 < UNITS.len() && size.abs() >= if half { 20 * 1024 - 1 } else { 10 * 1024 } {
        size /= if half { 1024 } else { 512 };
        half = true;
        unit += 1;
    }
    if half {
        size = (size + size.signum()) / 2;
    }
    format!("{size} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::size_pretty;

    /// Answers of PostgreSQL 15.
    #[test]
    fn sizes_are_pretty() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (10_239, "10239 bytes"),
            (10_240, "10 kB"),
            (10_752, "11 kB"),
            (10_485_247, "10239 kB"),
            (10_485_248, "10 MB"),
            (-10_240, "-10 kB"),
            (1_000_000_000_000, "931 GB"),
        ] {
            assert_eq!(size_pretty(bytes), text, "{bytes}");
        }
    }
}
