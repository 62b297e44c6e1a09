//! What every database has: types, the database itself, access methods, collations; and its prepared transactions.

use super::relations::{alignment, by_value, collation, strategy};
use super::{C_COLLATION, DATABASE, DEFAULT_COLLATION, OWNER, PG_DEFAULT, PG_GLOBAL, Rows, SystemContext, letter, privileges};
use crate::base::Oid;
use crate::types::{Datum, SqlType};

/// UTF8's number among PostgreSQL's encodings.
const UTF8: i32 = 6;

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    match table {
        "pg_type" => types(rows),
        "pg_database" => database(context, rows),
        "pg_am" => {
            for (oid, name, kind) in [(2, "heap", 't'), (403, "btree", 'i')] {
                rows.add([("oid", Datum::Oid(Oid(oid))), ("amname", Datum::text(name)), ("amtype", letter(kind))]);
            }
        }
        "pg_collation" => collations(rows),
        "pg_prepared_xacts" => prepared(context, rows),
        "pg_language" => {
            rows.add([("oid", Datum::Oid(Oid(12))), ("lanname", Datum::text("internal")), ("lanowner", Datum::Oid(OWNER))])
        }
        "pg_tablespace" => {
            for (oid, name) in [(PG_DEFAULT, "pg_default"), (PG_GLOBAL, "pg_global")] {
                rows.add([("oid", Datum::Oid(oid)), ("spcname", Datum::text(name)), ("spcowner", Datum::Oid(OWNER))]);
            }
        }
        _ => {}
    }
}

fn types(rows: &mut Rows) {
    let arrays = SqlType::scalars().filter_map(SqlType::array_of);
    for ty in SqlType::scalars().chain(arrays) {
        let element = if let SqlType::Array(element) = ty { element.scalar().oid() } else { Oid(0) };
        let is_pseudo = matches!(ty, SqlType::Unknown | SqlType::Void | SqlType::Record);
        rows.add([
            ("oid", Datum::Oid(ty.oid())),
            ("typname", Datum::text(ty.typname())),
            // `pg_catalog`.
            ("typnamespace", Datum::Oid(Oid(11))),
            ("typowner", Datum::Oid(OWNER)),
            ("typlen", Datum::Int2(ty.typlen())),
            ("typbyval", Datum::Bool(by_value(ty))),
            ("typtype", letter(if is_pseudo { 'p' } else { 'b' })),
            ("typcategory", letter(ty.category())),
            ("typispreferred", Datum::Bool(ty.preferred())),
            ("typisdefined", Datum::Bool(true)),
            ("typdelim", letter(',')),
            ("typelem", Datum::Oid(element)),
            ("typarray", Datum::Oid(ty.array_oid().unwrap_or(Oid(0)))),
            ("typalign", letter(alignment(ty))),
            ("typstorage", letter(strategy(ty))),
            ("typtypmod", Datum::Int4(-1)),
            ("typcollation", Datum::Oid(collation(ty))),
        ]);
    }
}

fn database(context: &SystemContext<'_>, rows: &mut Rows) {
    rows.add([
        ("oid", Datum::Oid(DATABASE)),
        ("datname", Datum::text(context.database)),
        ("datdba", Datum::Oid(OWNER)),
        ("encoding", Datum::Int4(UTF8)),
        ("datlocprovider", letter('c')),
        ("datallowconn", Datum::Bool(true)),
        ("datconnlimit", Datum::Int4(-1)),
        ("dattablespace", Datum::Oid(PG_DEFAULT)),
        // Texts are compared byte by byte.
        ("datcollate", Datum::text("C")),
        ("datctype", Datum::text("C")),
        ("datacl", privileges::array(context.catalog.database_acl.as_ref(), context.catalog)),
    ]);
}

/// What stands for the transaction's xid is its number among those that were prepared.
fn prepared(context: &SystemContext<'_>, rows: &mut Rows) {
    for info in context.prepared {
        rows.add([
            ("transaction", Datum::Oid(Oid(info.number as u32))),
            ("gid", Datum::text(&info.gid)),
            ("prepared", Datum::TimestampTz(info.prepared_micros)),
            ("owner", Datum::text(&info.owner)),
            ("database", Datum::text(&info.database)),
        ]);
    }
}

fn collations(rows: &mut Rows) {
    for (oid, name, provider, locale) in
        [(DEFAULT_COLLATION, "default", 'd', Datum::Null), (C_COLLATION, "C", 'c', Datum::text("C"))]
    {
        rows.add([
            ("oid", Datum::Oid(oid)),
            ("collname", Datum::text(name)),
            ("collnamespace", Datum::Oid(Oid(11))),
            ("collowner", Datum::Oid(OWNER)),
            ("collprovider", letter(provider)),
            ("collisdeterministic", Datum::Bool(true)),
            ("collencoding", Datum::Int4(-1)),
            ("collcollate", locale.clone()),
            ("collctype", locale),
        ]);
    }
}
