//! Queries over small tables in a simulated engine of several cores. What they answer was checked against PostgreSQL 15.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::QueryStream;
use crate::base::{CoreId, Oid};
use crate::catalog::encode::Object;
use crate::catalog::{Catalog, CatalogStore, ColumnDef, PrimaryKey, TableDef};
use crate::error::SqlResult;
use crate::exec::context::{ExecContext, FrozenSession};
use crate::exec::insert::encode_rows;
use crate::mesh::{Fabric, MeshConfig};
use crate::runtime;
use crate::runtime::sim::Sim;
use crate::shard::{Engine, EngineLimits, RecoveryOptions, Shared, Txn, no_tables};
use crate::sql::plan::Plan;
use crate::sql::{BindContext, bind, parse};
use crate::txn::Isolation;
use crate::types::{ColumnType, Datum, SessionFormat, SqlType, write_text};
use crate::wal::WalOptions;

const ROWS: i32 = 1000;

pub(in crate::exec) fn session() -> FrozenSession {
    FrozenSession {
        database: "test".into(),
        user: "tester".into(),
        role: crate::catalog::BOOTSTRAP_ROLE,
        session_role: crate::catalog::BOOTSTRAP_ROLE,
        search_path: vec!["public".into()],
        format: SessionFormat::default(),
        transaction_micros: 0,
        statement_micros: 0,
        backend_pid: 1,
        sizes: None,
    }
}

pub(in crate::exec) fn table(oid: u32, name: &str, columns: &[(&str, SqlType)]) -> TableDef {
    let columns = columns.iter().enumerate().map(|(i, (name, ty))| ColumnDef {
        name: (*name).into(),
        ty: ColumnType::new(*ty),
        not_null: i == 0,
        default: None,
    });
    let schemas = Catalog::bootstrap().schemas;
    let public = schemas.values().find(|schema| schema.name == "public").expect("there is a public schema").oid;
    TableDef {
        oid: Oid(oid),
        schema: public,
        name: name.into(),
        owner: crate::catalog::BOOTSTRAP_ROLE,
        acls: Default::default(),
        columns: columns.collect(),
        primary_key: Some(PrimaryKey {
            index_oid: Oid(oid + 1),
            constraint_oid: Oid(oid + 2),
            name: format!("{name}_pkey"),
            columns: vec![0],
        }),
        storage: crate::base::StorageId(0),
        options: Vec::new(),
        layout: Default::default(),
    }
}

/// A database with `t(id, grp, name)` of a thousand rows and `g(id, label)` of five.
pub(in crate::exec) struct Database {
    pub(in crate::exec) engine: Engine,
    pub(in crate::exec) catalog: Catalog,
}

impl Database {
    pub(in crate::exec) async fn fill(&mut self, mut table: TableDef, rows: Vec<Vec<Datum>>) {
        let mut txn = self.engine.begin(Isolation::ReadCommitted, false);
        table.storage = self.engine.create_storage(&mut txn, table.key_kind()).await.expect("a storage");
        let view = self.engine.write_view(&mut txn);
        let encoded = encode_rows(&table, &rows, &self.context(&mut txn, &session(), usize::MAX)).expect("rows");
        self.engine.insert(&mut txn, &view, table.storage, encoded).await.expect("inserted");
        self.engine.commit(txn).await.expect("committed");
        self.catalog.put(Object::Table(Box::new(table)));
    }

    pub(in crate::exec) fn context<'c>(
        &self,
        txn: &'c mut Txn,
        session: &'c FrozenSession,
        memory_max: usize,
    ) -> ExecContext<'c> {
        let view = self.engine.write_view(txn);
        ExecContext {
            scram_iterations: 1,
            engine: self.engine.clone(),
            txn,
            view,
            session,
            frozen: std::cell::OnceCell::new(),
            catalog: Arc::new(self.catalog.clone()),
            store: Arc::new(CatalogStore::default()),
            params: Arc::new([]),
            notices: Vec::new(),
            profile: None,
            memory_max,
        }
    }

    /// The rows of a query as text, `|` between columns and `;` between rows.
    async fn query(&self, sql: &str, memory_max: usize) -> SqlResult<String> {
        let session = session();
        let statements = parse(sql)?;
        let bind_context = BindContext { catalog: &self.catalog, param_types: &[], session: &session };
        let statement = bind(&statements[0], &bind_context)?;
        let Plan::Query(query) = &statement.plan else { panic!("{sql} is no query") };
        let mut txn = self.engine.begin(Isolation::ReadCommitted, false);
        let mut context = self.context(&mut txn, &session, memory_max);
        let _pin = self.engine.pin(&context.view);
        let mut lines = Vec::new();
        let mut stream = QueryStream::open_query(query, &mut context).await?;
        while let Some(rows) = stream.next(&mut context).await? {
            assert!(!rows.is_empty(), "a batch has rows: {sql}");
            for row in rows {
                let values = row.iter().zip(&statement.columns).map(|(value, column)| {
                    let mut text = Vec::new();
                    if value.is_null() {
                        return "∅".to_owned();
                    }
                    write_text(value, column.ty.ty, &session.format, &mut text);
                    String::from_utf8(text).expect("text")
                });
                lines.push(values.collect::<Vec<_>>().join("|"));
            }
        }
        drop(stream);
        self.engine.abort(txn).await;
        Ok(lines.join(";"))
    }
}

/// Runs `work` against the database on core 0 of three.
pub(in crate::exec) fn with_database<W, F>(work: W)
where
    W: FnOnce(Database) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let mut sim = Sim::new(7);
    let cores = 3;
    let fabric = Rc::new(Fabric::new(cores, MeshConfig::default()));
    let shared = Shared::new(cores, EngineLimits { tablet_keys: 100, ..EngineLimits::default() });
    let (recovered, done) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let work = Rc::new(RefCell::new(Some(work)));
    let run = sim.run(cores, |core| {
        let (fabric, shared, work) = (fabric.clone(), shared.clone(), work.clone());
        let (recovered, done) = (recovered.clone(), done.clone());
        async move {
            let engine = Engine::install(shared.clone(), fabric.join(core));
            engine.serve();
            if core == CoreId(0) {
                runtime::fs::create_dir_all("/data").await.expect("a directory");
                let options = RecoveryOptions {
                    on_damage: Default::default(),
                    root: "/data".into(),
                    log_options: Arc::new(|core, incarnation| WalOptions {
                        segment_bytes: 256 << 10,
                        ..WalOptions::new("/data", core, incarnation)
                    }),
                    storage_kinds: no_tables(),
                };
                engine.recover(&options).await.expect("an empty directory recovers");
                engine.start_maintenance();
                recovered.set(true);
                let mut database = Database { engine: engine.clone(), catalog: Catalog::bootstrap() };
                let t = table(20_000, "t", &[("id", SqlType::Int4), ("grp", SqlType::Int4), ("name", SqlType::Text)]);
                let row = |id: i32| {
                    let group = if id % 100 == 0 { Datum::Null } else { Datum::Int4(id % 5) };
                    vec![Datum::Int4(id), group, Datum::text(&format!("row {id}"))]
                };
                database.fill(t, (1..=ROWS).map(row).collect()).await;
                let g = table(20_010, "g", &[("id", SqlType::Int4), ("label", SqlType::Text)]);
                let rows = [1, 2, 3, 7].map(|id| vec![Datum::Int4(id), Datum::text(&format!("g{id}"))]);
                database.fill(g, rows.into()).await;
                let work = work.borrow_mut().take().expect("core 0 starts once");
                work(database).await;
                shared.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
                done.set(true);
            }
            while !recovered.get() {
                runtime::sleep(Duration::from_micros(300)).await;
            }
            if core != CoreId(0) {
                engine.start_maintenance();
            }
            while !done.get() {
                runtime::sleep(Duration::from_micros(300)).await;
            }
            Engine::uninstall();
        }
    });
    run.expect_completed();
}

const CASES: &[(&str, &str)] = &[
    ("SELECT 1 + 1, 'x'", "2|x"),
    ("VALUES (1, 'a'), (2, NULL)", "1|a;2|∅"),
    ("SELECT count(*), sum(id), min(name), max(id) FROM t", "1000|500500|row 1|1000"),
    ("SELECT count(*), sum(id) FROM t WHERE id < 0", "0|∅"),
    ("SELECT id FROM t WHERE id = 5", "5"),
    ("SELECT id, name FROM t WHERE id IN (7, 3, 3, 5000) ORDER BY id", "3|row 3;7|row 7"),
    ("SELECT id FROM t WHERE id BETWEEN 998 AND 2000", "998;999;1000"),
    ("SELECT id FROM t WHERE id > 10 AND name LIKE '%99' ORDER BY id DESC LIMIT 3", "999;899;799"),
    ("SELECT id FROM t ORDER BY id DESC LIMIT 2 OFFSET 1", "999;998"),
    ("SELECT id FROM t ORDER BY name DESC, id LIMIT 2", "999;998"),
    ("SELECT id FROM t LIMIT 0", ""),
    ("SELECT grp, count(*) FROM t GROUP BY grp ORDER BY grp", "0|190;1|200;2|200;3|200;4|200;∅|10"),
    ("SELECT grp, count(*) FROM t GROUP BY grp ORDER BY grp DESC NULLS LAST LIMIT 2", "4|200;3|200"),
    ("SELECT grp FROM t GROUP BY grp HAVING count(*) < 200 ORDER BY grp", "0;∅"),
    ("SELECT count(DISTINCT grp), count(*) FILTER (WHERE grp = 1) FROM t", "5|200"),
    ("SELECT string_agg(name, ',' ORDER BY id DESC) FROM t WHERE id < 4", "row 3,row 2,row 1"),
    ("SELECT array_agg(DISTINCT id % 3) FROM t WHERE id < 10", "{0,1,2}"),
    ("SELECT DISTINCT grp FROM t WHERE id <= 10 ORDER BY grp", "0;1;2;3;4"),
    ("SELECT DISTINCT ON (grp) grp, id FROM t WHERE id < 50 ORDER BY grp, id DESC", "0|45;1|46;2|47;3|48;4|49"),
    ("SELECT 1 UNION SELECT 1 UNION ALL SELECT 2", "1;2"),
    ("SELECT id FROM g INTERSECT SELECT id FROM t WHERE id < 3 ORDER BY 1", "1;2"),
    ("SELECT id FROM g EXCEPT SELECT id FROM t ORDER BY 1", ""),
    ("VALUES (1), (1), (2) EXCEPT ALL VALUES (1)", "1;2"),
    ("VALUES (1), (1), (2) INTERSECT ALL VALUES (1), (1), (1)", "1;1"),
    ("SELECT t.id, g.label FROM t JOIN g ON g.id = t.grp WHERE t.id < 5 ORDER BY t.id", "1|g1;2|g2;3|g3"),
    ("SELECT t.id, g.label FROM t LEFT JOIN g ON g.id = t.grp WHERE t.id < 5 ORDER BY t.id", "1|g1;2|g2;3|g3;4|∅"),
    ("SELECT count(t.id), g.label FROM t RIGHT JOIN g ON g.id = t.grp GROUP BY g.label ORDER BY 2", "200|g1;200|g2;200|g3;0|g7"),
    ("SELECT count(*), count(t.id), count(g.id) FROM t FULL JOIN g ON g.id = t.grp", "1001|1000|601"),
    ("SELECT count(*) FROM t, g WHERE t.id > g.id", "3987"),
    ("SELECT count(*) FROM t a CROSS JOIN g b", "4000"),
    (
        "SELECT g.id, s.id FROM g, LATERAL (SELECT t.id FROM t WHERE t.grp = g.id ORDER BY t.id DESC LIMIT 1) s ORDER BY 1",
        "1|996;2|997;3|998",
    ),
    (
        "SELECT g.id, s.name FROM g LEFT JOIN LATERAL (SELECT name FROM t WHERE t.id = g.id * 200) s ON true ORDER BY 1",
        "1|row 200;2|row 400;3|row 600;7|∅",
    ),
    ("SELECT g.id, s.name FROM g, LATERAL (SELECT name FROM t WHERE t.id = g.id AND t.grp < g.id) s ORDER BY 1", "7|row 7"),
    ("SELECT g.id, n FROM g, generate_series(1, g.id) n WHERE g.id < 3 ORDER BY 1, 2", "1|1;2|1;2|2"),
    ("SELECT count(*), sum(n) FROM generate_series(1, 200000) n", "200000|20000100000"),
    ("SELECT id FROM t WHERE id = (SELECT max(id) FROM t)", "1000"),
    ("SELECT id FROM t WHERE id IN (SELECT id FROM g WHERE label <> 'g2') ORDER BY id", "1;3;7"),
    ("SELECT count(*) FROM t WHERE id NOT IN (SELECT id FROM g)", "996"),
    ("SELECT id FROM g WHERE EXISTS (SELECT 1 FROM t WHERE t.grp = g.id) ORDER BY id", "1;2;3"),
    ("SELECT id, (SELECT count(*) FROM t WHERE t.grp = g.id AND t.id <= 100) FROM g ORDER BY id", "1|20;2|20;3|20;7|0"),
    ("SELECT g.id FROM g WHERE (SELECT name FROM t WHERE t.id = g.id) = 'row ' || g.id ORDER BY 1", "1;2;3;7"),
    ("SELECT ARRAY(SELECT id FROM g ORDER BY id DESC)", "{7,3,2,1}"),
    ("SELECT id FROM t WHERE grp = 1 ORDER BY id LIMIT 2 FOR UPDATE", "1;6"),
    ("SELECT id, name FROM t WHERE id = 3 FOR SHARE", "3|row 3"),
    ("WITH w AS (SELECT grp, count(*) n FROM t GROUP BY grp) SELECT sum(n) FROM w", "1000"),
];

#[test]
fn queries_answer_as_postgresql_does() {
    with_database(|database| async move {
        let mut wrong = Vec::new();
        for (sql, expected) in CASES {
            let got =
                database.query(sql, 64 << 20).await.unwrap_or_else(|error| format!("{:?}: {}", error.code(), error.message()));
            if got != *expected {
                wrong.push(format!("{sql}\n  expected {expected}\n  got      {got}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn errors_have_their_codes() {
    with_database(|database| async move {
        let cases = [
            ("SELECT (SELECT id FROM t)", 64 << 20, "21000"),
            ("SELECT id FROM t LIMIT -1", 64 << 20, "2201W"),
            ("SELECT id / (id - 5) FROM t", 64 << 20, "22012"),
            ("SELECT name FROM t ORDER BY name", 4096, "53200"),
            ("SELECT count(*) FROM t a JOIN t b ON a.id = b.grp", 4096, "53200"),
            ("SELECT t.id FROM t JOIN g ON t.id = g.id FOR UPDATE", 64 << 20, "0A000"),
        ];
        for (sql, memory_max, code) in cases {
            let error = database.query(sql, memory_max).await.expect_err(sql);
            assert_eq!(error.code().as_str(), code, "{sql}: {}", error.message());
        }
        let counted = database.query("SELECT count(*), sum(id) FROM t", 4096).await;
        assert_eq!(counted.as_deref(), Ok("1000|500500"), "a count holds no rows");
        let top = database.query("SELECT n FROM generate_series(1, 100000) n ORDER BY n DESC LIMIT 2", 1 << 20).await;
        assert_eq!(top.as_deref(), Ok("100000;99999"), "a sort under LIMIT keeps few rows");
    });
}
