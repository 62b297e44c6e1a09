//! ANALYZE in a simulated engine of three cores: what the system tables show then, what EXPLAIN makes of it, and what becomes of
//! it with the table. The expected figures are those of a PostgreSQL 15 with the same rows.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::encode::Object;
use crate::catalog::{Catalog, CatalogStore, statistics_key};
use crate::error::SqlResult;
use crate::exec::FrozenSession;
use crate::exec::changes_tests::Lines;
use crate::exec::portal::{Portal, Progress};
use crate::exec::query::tests::{Database, session, table, with_database};
use crate::runtime;
use crate::shard::{CATALOG_STORAGE, KeyRange, ScanSpec, Txn};
use crate::sql::{BindContext, bind, parse};
use crate::storage::Key;
use crate::txn::Isolation;
use crate::types::{Datum, SqlType};

/// A database whose catalog follows what is committed.
struct Server {
    database: Database,
    store: Arc<CatalogStore>,
    session: FrozenSession,
}

/// The answer to a statement.
struct Answer {
    lines: Vec<String>,
    notices: Vec<String>,
    /// What its transaction sees.
    catalog: Arc<Catalog>,
}

impl Server {
    /// With `t` of 1..1000 and `g` of four rows, and `s` of 1..1000 with columns of several distributions.
    async fn new(mut database: Database) -> Self {
        let columns = [("i", SqlType::Int4), ("a", SqlType::Int4), ("b", SqlType::Int4), ("c", SqlType::Int4)];
        let more = [("d", SqlType::Int4), ("e", SqlType::Text), ("f", SqlType::Bool), ("g", SqlType::Int4)];
        let row = |i: i32| {
            let number = Datum::Int4;
            vec![
                number(i),
                if i % 7 == 0 { Datum::Null } else { number(i % 10) },
                number(i * i % 97),
                number(f64::from(i).sqrt() as i32),
                number(i * 7919 % 1000),
                Datum::text(&format!("v{}", i * i % 1999)),
                Datum::Bool(i % 2 == 0),
                number(if i % 3 == 0 { i } else { 5 }),
            ]
        };
        database.fill(table(20_020, "s", &[columns, more].concat()), (1..=1000).map(row).collect()).await;
        let store = Arc::new(CatalogStore::default());
        let objects = database.catalog.tables.values().map(|table| Object::Table(Box::new((**table).clone())));
        let rows: Vec<(i64, Vec<u8>)> = objects.map(|object| (object.key(), object.encode())).collect();
        store.load(&rows).expect("objects of this process");
        let published = store.clone();
        let hooked = database.engine.shared().catalog_hook.set(Box::new(move |changes| published.apply(changes)));
        assert!(hooked.is_ok(), "one server a database");
        let session = FrozenSession { sizes: Some(database.engine.shared().sizes.clone()), ..session() };
        Self { database, store, session }
    }

    async fn run_in(&self, txn: &mut Txn, catalog: Arc<Catalog>, sql: &str) -> SqlResult<Answer> {
        let statements = parse(sql)?;
        let bind_context = BindContext { catalog: &catalog, param_types: &[], session: &self.session };
        let statement = Arc::new(bind(&statements[0], &bind_context)?);
        let mut sink = Lines { types: statement.columns.iter().map(|column| column.ty.ty).collect(), lines: Vec::new() };
        let mut portal = Portal::new(statement);
        let mut context = self.database.context(txn, &self.session, 64 << 20);
        (context.catalog, context.store) = (catalog, self.store.clone());
        let _pin = context.engine.pin(&context.view);
        let Progress::Done(_) = portal.fetch(&mut context, None, &mut sink).await? else { panic!("{sql} is not finished") };
        let notices = context.notices.iter().map(|notice| format!("{}: {}", notice.severity, notice.fields.message()));
        Ok(Answer { lines: sink.lines, notices: notices.collect(), catalog: context.catalog.clone() })
    }

    /// Runs a statement in a transaction of its own.
    async fn run(&self, sql: &str) -> SqlResult<Answer> {
        let mut txn = self.database.engine.begin(Isolation::ReadCommitted, false);
        let answer = self.run_in(&mut txn, self.store.current(), sql).await;
        match answer {
            Ok(_) => drop(self.database.engine.commit(txn).await.expect("committed")),
            Err(_) => self.database.engine.abort(txn).await,
        }
        answer
    }

    /// The rows, separated by semicolons.
    async fn rows(&self, sql: &str) -> String {
        self.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")).lines.join(";")
    }

    async fn code(&self, sql: &str) -> String {
        match self.run(sql).await {
            Ok(_) => panic!("{sql} is refused"),
            Err(error) => error.code().as_str().to_owned(),
        }
    }
}

const CLASS: &str = "SELECT reltuples FROM pg_class WHERE relname = 't'";

#[test]
fn statistics_are_kept_and_shown() {
    with_database(|database| async move {
        let server = Server::new(database).await;
        assert_eq!(server.rows(CLASS).await, "-1");
        let said = server.run("ANALYZE VERBOSE t").await.expect("t is there").notices;
        assert_eq!(said[0], "INFO: analyzing \"public.t\"");
        let pages = said[1].strip_prefix("INFO: \"t\": scanned ").expect("the second line");
        assert!(pages.ends_with(", containing 1000 live rows and 0 dead rows; 1000 rows in sample, 1000 estimated total rows"));
        assert_eq!(server.rows(CLASS).await, "1000");
        let index = "SELECT reltuples, relpages > 0 FROM pg_class WHERE relname IN ('t', 't_pkey')";
        assert_eq!(server.rows(index).await, "1000|t;1000|t");
        let columns = "SELECT attname, null_frac, avg_width, n_distinct, most_common_vals, left(histogram_bounds, 12), correlation \
             FROM pg_stats WHERE tablename = 't' AND attname <> 'name'";
        assert_eq!(server.rows(columns).await, "id|0|4|-1|∅|{1,10,20,30,|1;grp|0.01|4|5|{1,2,3,4,0}|∅|0.2025518");
        assert_eq!(server.rows("SELECT count(*) FROM pg_statistic WHERE starelid = 20000").await, "3");
        assert_eq!(server.rows("SELECT count(*) FROM pg_stats WHERE tablename <> 't'").await, "0");
        // What restarts read.
        let engine = &server.database.engine;
        let key = Key::Int(statistics_key(crate::base::Oid(20_000)));
        let stored = engine.get_many(&engine.read_view(None), CATALOG_STORAGE, vec![key]).await.expect("the catalog is there");
        let stored = Object::decode(stored.iter().next().flatten().expect("a row")).expect("an object");
        assert_eq!(stored, Object::Statistics(Box::new((*server.store.current().statistics[&crate::base::Oid(20_000)]).clone())));
    });
}

#[test]
fn statistics_follow_their_table_and_transaction() {
    with_database(|database| async move {
        let server = Server::new(database).await;
        for (sql, code) in [
            ("ANALYZE nowhere", "42P01"),
            ("ANALYZE g, nowhere", "42P01"),
            ("ANALYZE t (id, nothing)", "42703"),
            ("ANALYZE t (id, id)", "42701"),
            ("ANALYZE (nonsense) t", "42601"),
            ("VACUUM t (id)", "0A000"),
        ] {
            assert_eq!(server.code(sql).await, code, "{sql}");
        }
        assert_eq!(server.rows("SELECT count(*) FROM pg_stats").await, "0");
        let said = server.run("ANALYZE g, t_pkey, pg_stats, pg_class").await.expect("they are there").notices;
        let skipped = |name| format!("WARNING: skipping \"{name}\" --- cannot analyze non-tables or special system tables");
        assert_eq!(said, [skipped("t_pkey"), skipped("pg_stats")]);
        assert_eq!(server.rows("SELECT attname FROM pg_stats").await, "id;label");

        server.run("VACUUM (ANALYZE) t (grp, id), t (name)").await.expect("columns of t");
        server.run("ANALYZE (VERBOSE OFF, SKIP_LOCKED) s (d)").await.expect("a column of s");
        assert_eq!(server.rows("SELECT tablename, count(*) FROM pg_stats GROUP BY 1 ORDER BY 1").await, "g|2;s|1;t|3");
        server.run("ANALYZE").await.expect("all of them");
        assert_eq!(server.rows("SELECT tablename, count(*) FROM pg_stats GROUP BY 1 ORDER BY 1").await, "g|2;s|8;t|3");

        // Undone with the transaction, which has seen them.
        server.run("INSERT INTO g VALUES (100, 'x')").await.expect("inserted");
        let count = "SELECT reltuples FROM pg_class WHERE relname = 'g'";
        let mut txn = server.database.engine.begin(Isolation::ReadCommitted, false);
        let within = server.run_in(&mut txn, server.store.current(), "ANALYZE g").await.expect("analyzed").catalog;
        assert_eq!(server.run_in(&mut txn, within, count).await.expect("a row").lines, ["5"]);
        server.database.engine.abort(txn).await;
        assert_eq!(server.rows(count).await, "4");

        server.run("TRUNCATE g").await.expect("emptied");
        assert_eq!(server.rows("SELECT reltuples, relpages FROM pg_class WHERE relname = 'g'").await, "-1|0");
        assert_eq!(server.rows("SELECT attname FROM pg_stats WHERE tablename = 'g'").await, "id;label");
        server.run("ANALYZE g").await.expect("analyzed");
        assert_eq!(server.rows(count).await, "0", "an empty table has no rows and is known to");
        server.run("DROP TABLE g").await.expect("dropped");
        let catalog = server.store.current();
        assert_eq!(catalog.statistics.keys().map(|oid| oid.0).collect::<Vec<_>>(), [20_000, 20_020]);
        let engine = &server.database.engine;
        let all = ScanSpec {
            storage: CATALOG_STORAGE,
            range: KeyRange::all(),
            reverse: false,
            filter: None,
            limit: None,
            with_keys: true,
        };
        let rows = engine.scan(engine.read_view(None), all).next().await.expect("the catalog").expect("its rows");
        assert!(!rows.keys().contains(&Key::Int(statistics_key(crate::base::Oid(20_010)))), "its statistics went with it");
    });
}

/// Conditions on `s`, how many rows PostgreSQL 15 expects, and how far from that is near enough.
const EXPECTED: &[(&str, f64, f64)] = &[
    ("a = 3", 86.0, 0.0),
    ("a = 42", 1.0, 0.0),
    ("c < 10", 99.0, 0.0),
    ("c BETWEEN 5 AND 10", 96.0, 0.0),
    ("d < 100", 100.0, 0.0),
    ("d BETWEEN 100 AND 200", 101.0, 0.0),
    ("d > 100 OR a = 3", 908.0, 0.0),
    ("a IS NULL", 142.0, 0.0),
    ("a IS NOT NULL", 858.0, 0.0),
    ("NOT f", 500.0, 0.0),
    ("f", 500.0, 0.0),
    ("a IN (1, 2, 3)", 258.0, 0.0),
    ("a <> 3", 772.0, 0.0),
    ("g = 5", 667.0, 0.0),
    ("g > 500", 167.0, 0.0),
    ("a = 3 AND d < 100", 9.0, 0.0),
    ("i = 5", 1.0, 0.0),
    ("i > d", 333.0, 0.0),
    ("i = d", 5.0, 0.0),
    ("e LIKE 'v1%'", 544.0, 20.0),
    ("i < 100", 99.0, 1.0),
    ("i > 100 AND i <= 200 AND a = 3", 9.0, 1.0),
];

/// The `rows=` of a plan's lines.
async fn expected_rows(server: &Server, sql: &str) -> Vec<f64> {
    let lines = server.run(&format!("EXPLAIN {sql}")).await.unwrap_or_else(|error| panic!("{sql}: {error}")).lines;
    let rows = |line: &String| line.split("(rows=").nth(1)?.split(' ').next()?.parse().ok();
    lines.iter().filter_map(rows).collect()
}

#[test]
fn estimates_are_postgresqls() {
    with_database(|database| async move {
        let server = Server::new(database).await;
        server.run("ANALYZE").await.expect("analyzed");
        for (condition, rows, tolerance) in EXPECTED {
            let found = expected_rows(&server, &format!("SELECT * FROM s WHERE {condition}")).await[0];
            assert!((found - rows).abs() <= *tolerance, "{condition}: {found} rows, not {rows}");
        }
        for (sql, rows) in [
            ("SELECT a, count(*) FROM s GROUP BY a", &[10.0, 1000.0][..]),
            ("SELECT DISTINCT b FROM s", &[49.0, 1000.0]),
            ("SELECT * FROM s x JOIN s y ON x.b = y.d", &[1000.0, 1000.0, 1000.0]),
            // The side with fewer rows is held, and shown second.
            ("SELECT * FROM s x LEFT JOIN s y ON x.i = y.d WHERE x.a = 3", &[86.0, 1000.0, 86.0]),
            ("SELECT * FROM s LIMIT 7", &[7.0, 1000.0]),
            ("SELECT * FROM generate_series(1, 20)", &[20.0]),
            ("DELETE FROM s WHERE a = 3", &[0.0, 86.0]),
            ("DELETE FROM s WHERE a = 3 RETURNING i", &[86.0, 86.0]),
        ] {
            assert_eq!(expected_rows(&server, sql).await, rows, "{sql}");
        }
        // A few rows look up theirs by key; many do not.
        let looks_up = expected_rows(&server, "SELECT s.i, t.name FROM s JOIN t ON t.id = s.b WHERE s.a = 3 AND s.f").await;
        assert_eq!(looks_up, [43.0, 43.0, 1.0]);
        let hashes = expected_rows(&server, "SELECT s.i, t.name FROM s JOIN t ON t.id = s.b WHERE s.f").await;
        assert_eq!(hashes[1..], [1000.0, 500.0]);
        let plan = server.run("EXPLAIN SELECT s.a FROM g JOIN s ON g.id = s.a").await.expect("a plan").lines;
        assert_eq!(
            plan,
            [
                "Hash Join  (rows=400 width=4)",
                "  ->  Seq Scan on s  (rows=1000 width=4)",
                "  ->  Seq Scan on g  (rows=4 width=4)"
            ]
            .map(|line| line.replace("rows=400", &format!("rows={:.0}", 4000.0 * 0.858 / 10.0)))
        );
    });
}

#[test]
fn joins_answer_the_same_whichever_side_is_held() {
    with_database(|database| async move {
        let server = Server::new(database).await;
        server.run("ANALYZE").await.expect("analyzed");
        for (kind, counts) in [("JOIN", "600|600|600"), ("LEFT JOIN", "1000|1000|600"), ("RIGHT JOIN", "601|600|601")] {
            for (left, right, turned) in [("t", "g", false), ("g", "t", true)] {
                // Exchanged, LEFT and RIGHT are each other.
                let kind = match (kind, turned) {
                    ("LEFT JOIN", true) => "RIGHT JOIN",
                    ("RIGHT JOIN", true) => "LEFT JOIN",
                    (kind, _) => kind,
                };
                let sql = format!("SELECT count(*), count(t.id), count(g.id) FROM {left} {kind} {right} ON g.id = t.grp");
                assert_eq!(server.rows(&sql).await, counts, "{sql}");
            }
        }
        let full = "SELECT count(*), count(t.id), count(g.id) FROM g FULL JOIN t ON g.id = t.grp AND t.id > 500";
        assert_eq!(server.rows(full).await, "1001|1000|301");
        let columns = "SELECT g.label, t.* FROM g LEFT JOIN t ON g.id = t.grp AND t.id < 8 ORDER BY 1, 2";
        assert_eq!(server.rows(columns).await, "g1|1|1|row 1;g1|6|1|row 6;g2|2|2|row 2;g2|7|2|row 7;g3|3|3|row 3;g7|∅|∅|∅");
    });
}

#[test]
fn sizes_are_known_within_a_second() {
    with_database(|database| async move {
        let server = Server::new(database).await;
        runtime::sleep(Duration::from_millis(700)).await;
        let sizes = "SELECT pg_relation_size('t') > 16000, pg_indexes_size('t') > 8000, \
             pg_total_relation_size('t') = pg_table_size('t') + pg_indexes_size('t'), \
             pg_relation_size('t_pkey') = pg_indexes_size('t'), pg_table_size('t_pkey') > 0, pg_indexes_size('t_pkey')";
        assert_eq!(server.rows(sizes).await, "t|t|t|t|t|0");
        let others = "SELECT pg_relation_size('t', 'main') = pg_relation_size('t'), pg_relation_size('t', 'vm'), \
             pg_relation_size('pg_class'), pg_relation_size(99999), pg_tablespace_size('pg_global')";
        assert_eq!(server.rows(others).await, "t|0|0|∅|0");
        let all = "SELECT pg_database_size('test') >= (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'), \
             pg_database_size(5::oid) = pg_database_size('test'), pg_database_size(77::oid), pg_tablespace_size('pg_default') > 0";
        assert_eq!(server.rows(all).await, "t|t|∅|t");
        for (sql, code) in [
            ("SELECT pg_relation_size('t', 'foo')", "22023"),
            ("SELECT pg_database_size('nope')", "3D000"),
            ("SELECT pg_tablespace_size('nope')", "42704"),
            ("SELECT pg_relation_size('nope')", "42P01"),
        ] {
            assert_eq!(server.code(sql).await, code, "{sql}");
        }
    });
}

#[test]
fn a_sample_is_bounded_and_covers_all_cores() {
    with_database(|database| async move {
        let table = database.catalog.tables.values().find(|table| table.name == "t").expect("t").clone();
        // The balancer deals the table's tablets out.
        runtime::sleep(Duration::from_secs(2)).await;
        let engine = database.engine.clone();
        let sample = engine.sample(&engine.read_view(None), table.storage, 100).await.expect("a sample");
        assert!((100..=102).contains(&sample.rows.len()), "{} rows", sample.rows.len());
        assert_eq!((sample.live_rows, sample.size.keys), (1000.0, 1000));
        let ids: Vec<i64> = sample.rows.iter().filter_map(|row| table.layout().view(row).get(0).as_i64()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "in key order");
        assert!(ids.iter().filter(|id| **id <= 500).count() > 25 && ids.iter().filter(|id| **id > 500).count() > 25, "{ids:?}");
        let cores = engine.stats_of_all().await.iter().filter(|stats| stats.keys > 0).count();
        assert!(cores > 1, "the table is on several cores");
    });
}
