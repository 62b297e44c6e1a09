//! The rows of system tables are what their columns say, and show the catalog.

use super::{SystemContext, all, by_oid, rows};
use crate::base::{Oid, StorageId};
use crate::catalog::encode::Object;
use crate::catalog::store::PUBLIC;
use crate::catalog::{Catalog, ColumnDef, ColumnStatistics, LayoutCell, PrimaryKey, TableDef, TableStatistics};

use crate::types::{ColumnType, Datum, SessionFormat, SqlType, write_text};

fn catalog() -> Catalog {
    let column = |name: &str, ty, typmod, not_null, default: Option<&str>| ColumnDef {
        name: name.into(),
        ty: ColumnType { ty, typmod },
        not_null,
        default: default.map(str::to_owned),
    };
    let mut catalog = Catalog::bootstrap();
    catalog.put(Object::Table(Box::new(TableDef {
        oid: Oid(20_000),
        schema: PUBLIC,
        name: "account".into(),
        owner: Oid(10),
        acls: Default::default(),
        columns: vec![
            column("id", SqlType::Int8, -1, true, None),
            column("Name", SqlType::Varchar, 24, false, Some("'x'")),
            column("balance", SqlType::Numeric, (10 << 16 | 2) + 4, false, None),
        ],
        primary_key: Some(PrimaryKey {
            index_oid: Oid(20_001),
            constraint_oid: Oid(20_002),
            name: "account_pkey".into(),
            columns: vec![1, 0],
        }),
        storage: StorageId(7),
        options: vec![("fillfactor".into(), "90".into())],
        layout: LayoutCell::default(),
    })));
    let mut known = TableStatistics { rows: Some(1e6), table_bytes: 8193, ..TableStatistics::new(Oid(20_000)) };
    known.put(ColumnStatistics {
        column: 1,
        ty: SqlType::Varchar,
        null_fraction: 0.5,
        width: 7,
        distinct: -0.25,
        common: vec![(Datum::text("a b"), 0.125), (Datum::text("c"), 0.0625)],
        histogram: Vec::new(),
        correlation: Some(0.5),
    });
    // The column's type is another one now.
    known.put(ColumnStatistics { column: 2, ..known.columns[0].clone() });
    catalog.put(Object::Statistics(Box::new(known)));
    catalog
}

fn context<'a>(catalog: &'a Catalog, format: &'a SessionFormat) -> SystemContext<'a> {
    SystemContext {
        catalog,
        database: "shop",
        role: Oid(10),
        format,
        prepared: &[],
        prepared_txns: &[],
        locks: &[],
        sessions: &[],
        cores: &[],
        server: None,
    }
}

fn all_rows(name: &str) -> (Vec<&'static str>, Vec<Vec<Datum>>) {
    let catalog = catalog();
    let format = SessionFormat::default();
    let context = context(&catalog, &format);
    let table = all().iter().find(|table| table.name == name).expect("the table is in the list");
    (table.columns.iter().map(|(name, _)| *name).collect(), rows(table.reference, &context))
}

fn fits(datum: &Datum, ty: SqlType) -> bool {
    match (datum, ty) {
        (Datum::Null, _)
        | (Datum::Bool(_), SqlType::Bool)
        | (Datum::Int2(_), SqlType::Int2)
        | (Datum::Int4(_), SqlType::Int4)
        | (Datum::Int8(_), SqlType::Int8)
        | (Datum::Float4(_), SqlType::Float4)
        | (Datum::Char(_), SqlType::Char)
        | (Datum::TimestampTz(_), SqlType::TimestampTz)
        | (Datum::Text(_), SqlType::Text | SqlType::Name | SqlType::Varchar)
        | (Datum::Oid(_), SqlType::Oid | SqlType::Regproc | SqlType::Regtype | SqlType::Regclass) => true,
        (Datum::Array(items), SqlType::Array(element)) => items.iter().all(|item| fits(item, element.scalar())),
        _ => false,
    }
}

/// Every value is of its column's type, and OIDs name one thing.
#[test]
fn rows_are_what_the_columns_say() {
    let catalog = catalog();
    let format = SessionFormat::default();
    let context = context(&catalog, &format);
    for table in all() {
        assert!(!table.columns.is_empty(), "{}", table.name);
        assert!(std::ptr::eq(by_oid(table.oid).expect("listed"), table), "two tables have the OID of {}", table.name);
        for row in rows(table.reference, &context) {
            assert_eq!(row.len(), table.columns.len(), "{}", table.name);
            for (datum, (name, ty)) in row.iter().zip(&table.columns) {
                assert!(fits(datum, *ty), "{}.{name} is {ty:?}, not {datum:?}", table.name);
            }
        }
    }
}

/// A table, the column and value that a row is found by, and other columns and values of that row.
type Case = (&'static str, (&'static str, &'static str), &'static [(&'static str, &'static str)]);

#[test]
fn a_table_is_shown() {
    let cases: &[Case] = &[
        ("pg_class", ("relname", "account"), &[("oid", "20000"), ("relkind", "r"), ("relhasindex", "t"), ("relnatts", "3")]),
        ("pg_class", ("relname", "account"), &[("reloptions", "{fillfactor=90}")]),
        ("pg_class", ("relname", "account_pkey"), &[("oid", "20001"), ("relkind", "i"), ("relam", "403")]),
        ("pg_class", ("relname", "pg_class"), &[("oid", "1259"), ("relkind", "r")]),
        ("pg_attribute", ("attname", "Name"), &[("attnum", "2"), ("atttypid", "1043"), ("atttypmod", "24"), ("atthasdef", "t")]),
        ("pg_attrdef", ("adrelid", "20000"), &[("adnum", "2"), ("adbin", "'x'::character varying")]),
        ("pg_index", ("indexrelid", "20001"), &[("indrelid", "20000"), ("indkey", "{2,1}"), ("indisprimary", "t")]),
        ("pg_constraint", ("oid", "20002"), &[("contype", "p"), ("conkey", "{2,1}"), ("conindid", "20001")]),
        (
            "pg_indexes",
            ("indexname", "account_pkey"),
            &[("indexdef", "CREATE UNIQUE INDEX account_pkey ON public.account USING btree (\"Name\", id)")],
        ),
        ("columns", ("column_name", "balance"), &[("numeric_precision", "10"), ("numeric_scale", "2"), ("udt_name", "numeric")]),
        ("columns", ("column_name", "Name"), &[("character_maximum_length", "20"), ("character_octet_length", "80")]),
        ("key_column_usage", ("column_name", "Name"), &[("ordinal_position", "1"), ("constraint_name", "account_pkey")]),
        ("pg_database", ("datname", "shop"), &[("encoding", "6"), ("datallowconn", "t")]),
        ("pg_roles", ("rolname", "postgres"), &[("rolsuper", "t"), ("oid", "10")]),
        ("pg_class", ("relname", "account"), &[("reltuples", "1e+06"), ("relpages", "2")]),
        ("pg_class", ("relname", "account_pkey"), &[("reltuples", "1e+06"), ("relpages", "0")]),
        (
            "pg_stats",
            ("attname", "Name"),
            &[("null_frac", "0.5"), ("most_common_vals", "{\"a b\",c}"), ("most_common_freqs", "{0.125,0.0625}")],
        ),
        ("pg_stats", ("tablename", "account"), &[("schemaname", "public"), ("histogram_bounds", ""), ("correlation", "0.5")]),
        ("pg_statistic", ("starelid", "20000"), &[("staattnum", "2"), ("stakind1", "1"), ("stakind2", "3"), ("stakind3", "0")]),
        ("pg_statistic", ("starelid", "20000"), &[("stanumbers2", "{0.5}"), ("stavalues1", "{\"a b\",c}")]),
        ("pg_type", ("typname", "_int4"), &[("oid", "1007"), ("typelem", "23"), ("typcategory", "A")]),
    ];
    for (table, (key, value), expected) in cases {
        let (columns, rows) = all_rows(table);
        let column = |name: &str| columns.iter().position(|column| *column == name).expect("a column of the table");
        let types = all().iter().find(|candidate| candidate.name == *table).map(|table| &table.columns).expect("listed");
        let text = |row: &[Datum], name: &str| {
            let mut out = Vec::new();
            if !row[column(name)].is_null() {
                write_text(&row[column(name)], types[column(name)].1, &SessionFormat::default(), &mut out);
            }
            String::from_utf8(out).expect("texts are UTF-8")
        };
        let row = rows.iter().find(|row| text(row, key) == *value).unwrap_or_else(|| panic!("{table} has no {value}"));
        for (name, wanted) in *expected {
            assert_eq!(text(row, name), *wanted, "{table}.{name}");
        }
    }
}
