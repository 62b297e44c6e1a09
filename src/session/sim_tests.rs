//! Sessions in the simulator: SQL from the text to the log and back, on several simulated cores, with crashes at any await and
//! restarts on another number of cores.
//!
//! Clients append to lists and read them in transactions; what they saw must have no cycle of dependencies that their level forbids,
//! and nothing that they were told is lost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::CoreId;
use crate::catalog::store::storage_kinds;
use crate::catalog::{BOOTSTRAP_ROLE, CatalogStore};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::mesh::{Fabric, MeshConfig};
use crate::metrics::CoreMetrics;
use crate::runtime::sim::{End, Sim};
use crate::runtime::{self, QueueClass};
use crate::session::interrupt::SessionRegistry;
use crate::session::native::NativeBackend;
use crate::session::response::{Client, CopyInput, Failure, Gone, Response, RowShape, Severity};
use crate::session::{Identity, Session};
use crate::shard::messages::{Reply, Request};
use crate::shard::sim::lists::{FIRST, LISTS, Lists, Outcome, STEPS_MAX};
use crate::shard::{Engine, EngineLimits, RecoveryOptions, Shared};
use crate::types::{Datum, RowView, SessionFormat};
use crate::wal::{OnDamage, SEGMENT_BYTES_MIN, WalOptions};

const ROOT: &str = "/data";
/// Seeds of a run of the test; `OMENDB_SIM_SEEDS` says how many instead.
const SEEDS: u64 = 60;
const BOOTS: u32 = 3;
const CLIENTS: u32 = 3;
const TRANSACTIONS: u32 = 12;

/// What a statement was answered with: rows of text.
#[derive(Default)]
struct Answer {
    rows: Vec<Vec<String>>,
    error: Option<SqlError>,
}

impl Client for Answer {
    fn send(&mut self, response: Response<'_>) {
        if let Response::Message(Severity::Error, error) = response {
            self.error = Some(error.clone());
        }
    }

    fn send_row(&mut self, _shape: &RowShape, values: &[Datum], _format: &SessionFormat) -> SqlResult<()> {
        let text = |value: &Datum| match value {
            Datum::Text(text) => text.to_string(),
            other => panic!("the test asks for text, not for {other:?}"),
        };
        self.rows.push(values.iter().map(text).collect());
        Ok(())
    }

    fn send_stored(&mut self, _shape: &RowShape, columns: &[usize], row: RowView<'_>, _format: &SessionFormat) -> SqlResult<()> {
        let text = |column: &usize| {
            let bytes = row.text_bytes(*column).expect("the test asks for text");
            String::from_utf8(bytes.to_vec()).expect("text is UTF-8")
        };
        self.rows.push(columns.iter().map(text).collect());
        Ok(())
    }

    fn is_full(&self) -> bool {
        false
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        Ok(())
    }

    async fn copy_input(&mut self) -> Result<CopyInput<'_>, Failure> {
        Err(Failure::Gone)
    }
}

/// A session and what it runs on.
struct Connection {
    session: Session<NativeBackend>,
    backend: NativeBackend,
}

impl Connection {
    fn open(machine: &Machine) -> Self {
        let metrics: Rc<CoreMetrics> = crate::shard::engine().metrics().clone();
        let backend = NativeBackend::new(machine.store.clone(), metrics, 1 << 24, 1);
        let ticket = machine.registry.register(BOOTSTRAP_ROLE, None).expect("there is no limit");
        let identity = Identity { user: "postgres".into(), role: BOOTSTRAP_ROLE, database: "bank".into() };
        let session = Session::new(&backend, identity, &[], ticket).expect("a session");
        Self { session, backend }
    }

    async fn run(&mut self, sql: &str) -> SqlResult<Vec<Vec<String>>> {
        let mut answer = Answer::default();
        self.session.simple_query(&self.backend, &mut answer, sql).await.expect("nobody goes");
        answer.error.map_or(Ok(answer.rows), Err)
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(' ').map(|number| number.parse().expect("lists are of numbers")).collect()
}

/// One boot.
#[derive(Clone)]
struct Machine {
    fabric: Rc<Fabric<Request, Reply>>,
    shared: Arc<Shared>,
    store: Arc<CatalogStore>,
    registry: Arc<SessionRegistry>,
    lists: Rc<RefCell<Lists>>,
    /// Whether the table was acknowledged, over all boots.
    made: Rc<Cell<bool>>,
    serving: Rc<Cell<bool>>,
    running: Rc<Cell<u32>>,
    problem: Rc<RefCell<Option<String>>>,
}

impl Machine {
    fn new(cores: usize, lists: Rc<RefCell<Lists>>, made: Rc<Cell<bool>>) -> Self {
        let shared = Shared::new(cores, EngineLimits { tablet_keys: 4, ..EngineLimits::default() });
        let store = Arc::new(CatalogStore::default());
        let hooked = store.clone();
        assert!(shared.catalog_hook.set(Box::new(move |changes| hooked.apply(changes))).is_ok(), "it is set once");
        Self {
            fabric: Rc::new(Fabric::new(cores, MeshConfig::default())),
            shared,
            store,
            registry: Arc::default(),
            lists,
            made,
            serving: Rc::default(),
            running: Rc::new(Cell::new(CLIENTS * cores as u32)),
            problem: Rc::default(),
        }
    }

    fn fail(&self, problem: String) {
        self.problem.borrow_mut().get_or_insert(problem);
        runtime::sim::crash_now();
    }

    async fn core_main(self, core: CoreId) {
        let engine = Engine::install(self.shared.clone(), self.fabric.join(core));
        engine.serve();
        if core == CoreId(0) {
            if let Err(problem) = self.boot(&engine).await {
                return self.fail(problem);
            }
            self.serving.set(true);
        }
        self.until(|| self.serving.get()).await;
        engine.start_maintenance();
        for _ in 0..CLIENTS {
            let machine = self.clone();
            runtime::spawn(QueueClass::Interactive, async move {
                if let Err(problem) = machine.client().await {
                    machine.fail(problem);
                }
                machine.running.set(machine.running.get() - 1);
            });
        }
        self.until(|| self.running.get() == 0).await;
        if core == CoreId(0)
            && let Err(problem) = self.check().await
        {
            self.fail(problem);
        }
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            runtime::sleep(Duration::from_micros(300)).await;
        }
    }

    async fn boot(&self, engine: &Engine) -> Result<(), String> {
        runtime::fs::create_dir_all(ROOT).await.map_err(|error| error.to_string())?;
        let options = RecoveryOptions {
            on_damage: OnDamage::Refuse,
            root: ROOT.into(),
            log_options: Arc::new(|core, incarnation| WalOptions {
                segment_bytes: SEGMENT_BYTES_MIN * 4,
                ..WalOptions::new(ROOT, core, incarnation)
            }),
            storage_kinds: Arc::new(storage_kinds),
        };
        let report = engine.recover(&options).await?;
        self.store.load(&report.catalog)?;
        let mut connection = Connection::open(self);
        let there = connection.run("SELECT relname::text FROM pg_class WHERE relname = 'lists'").await;
        if there.map_err(|error| error.to_string())?.is_empty() {
            if self.made.get() {
                return Err("the table was acknowledged and is gone".into());
            }
            let make = format!(
                "BEGIN; CREATE TABLE lists (key int PRIMARY KEY, elements text NOT NULL); \
                 INSERT INTO lists SELECT i, '{FIRST}' FROM generate_series(0, {}) AS i; COMMIT",
                LISTS - 1
            );
            connection.run(&make).await.map_err(|error| error.to_string())?;
            self.made.set(true);
        }
        self.made.set(true);
        self.check().await
    }

    /// What is there now, against what clients saw.
    async fn check(&self) -> Result<(), String> {
        let mut connection = Connection::open(self);
        let rows = connection.run("SELECT key::text, elements FROM lists").await.map_err(|error| error.to_string())?;
        let contents = rows.iter().map(|row| (row[0].parse().expect("a key"), numbers(&row[1]))).collect();
        self.lists.borrow().check(&contents)
    }

    async fn client(&self) -> Result<(), String> {
        let mut connection = Connection::open(self);
        for _ in 0..TRANSACTIONS {
            let (number, serializable) = {
                let mut lists = self.lists.borrow_mut();
                (lists.begin(), lists.is_serializable())
            };
            let level = if serializable { "SERIALIZABLE" } else { "REPEATABLE READ" };
            let mut outcome = match self.transaction(&mut connection, number, level).await {
                Ok(()) => connection.run("COMMIT").await.map(drop),
                failed => failed,
            };
            if runtime::random_u64().is_multiple_of(16) && outcome.is_err() {
                // A failed block answers nothing but its end.
                let ignored = connection.run("SELECT 'x'").await;
                assert!(ignored.is_ok() || ignored.is_err_and(|error| error.code() == SqlState::IN_FAILED_SQL_TRANSACTION));
            }
            let known = if outcome.is_ok() { Outcome::Committed } else { Outcome::Aborted };
            if let Err(error) = &mut outcome {
                let expected = [SqlState::SERIALIZATION_FAILURE, SqlState::DEADLOCK_DETECTED];
                if !expected.contains(&error.code()) {
                    return Err(format!("a transaction failed: {error}"));
                }
                connection.run("ROLLBACK").await.map_err(|error| error.to_string())?;
            }
            self.lists.borrow_mut().end(number, known);
        }
        Ok(())
    }

    async fn transaction(&self, connection: &mut Connection, number: usize, level: &str) -> SqlResult<()> {
        connection.run(&format!("BEGIN ISOLATION LEVEL {level}")).await?;
        for step in 0..=runtime::random_u64() % STEPS_MAX {
            let key = (runtime::random_u64() % LISTS as u64) as i64;
            match runtime::random_u64() % 5 {
                0 | 1 => {
                    let rows = connection.run(&format!("SELECT elements FROM lists WHERE key = {key}")).await?;
                    self.lists.borrow_mut().read(number, key, numbers(&rows[0][0]));
                }
                2 => {
                    // By a scan, which SERIALIZABLE has to watch as a whole.
                    let rows =
                        connection.run(&format!("SELECT elements FROM lists WHERE key >= {key} ORDER BY key LIMIT 1")).await?;
                    self.lists.borrow_mut().read(number, key, numbers(&rows[0][0]));
                }
                _ => {
                    let undone = runtime::random_u64().is_multiple_of(4);
                    if undone {
                        let append = format!("UPDATE lists SET elements = elements || ' 9' WHERE key = {key}");
                        connection.run(&format!("SAVEPOINT s; {append}; ROLLBACK TO s")).await?;
                    }
                    let element = self.lists.borrow_mut().append(number, key, step);
                    let append = format!("UPDATE lists SET elements = elements || ' {element}' WHERE key = {key}");
                    connection.run(&append).await?;
                }
            }
        }
        Ok(())
    }
}

fn run_seed(seed: u64) -> Result<(u64, u64), String> {
    let mut sim = Sim::new(seed);
    let (lists, made) = (Rc::new(RefCell::new(Lists::default())), Rc::default());
    for boot in 0..BOOTS {
        let last = boot + 1 == BOOTS;
        sim.config.crash_one_in = (!last).then(|| 2_000 + sim.random_u64() % 20_000);
        sim.config.process_crash_one_in = 3;
        let cores = 1 + (sim.random_u64() % 3) as usize;
        let machine = Machine::new(cores, Rc::clone(&lists), Rc::clone(&made));
        let run = sim.run(cores, |core| machine.clone().core_main(core));
        crate::shard::sim::uninstall_all();
        if let Some(problem) = machine.problem.borrow_mut().take() {
            return Err(format!("boot {boot}, {cores} cores: {problem}"));
        }
        match run.end {
            End::Completed => {}
            End::Crashed if !last => {}
            other => return Err(format!("boot {boot}, {cores} cores: the run ended with {other:?}")),
        }
    }
    let counts = lists.borrow().counts();
    Ok(counts)
}

#[test]
fn sessions_survive_crashes_without_anomalies() {
    let seeds = std::env::var("OMENDB_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let mut total = (0, 0);
    for seed in 1..=seeds {
        let (committed, refused) = run_seed(seed).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        total = (total.0 + committed, total.1 + refused);
    }
    eprintln!("{total:?} transactions committed and not");
    assert!(total.0 > 0 && total.1 > 0, "some commit and some are refused: {total:?}");
}
