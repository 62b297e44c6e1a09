//! One boot of the simulated server: engines on every core, recovery, clients, checkpoints, shutdown.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::CoreId;
use crate::mesh::{Fabric, MeshConfig};
use crate::runtime::sim::Sim;
use crate::runtime::{self, QueueClass};
use crate::shard::messages::{Reply, Request};
use crate::shard::sim::history::History;
use crate::shard::sim::two_phase;
use crate::shard::sim::workload::Bank;
use crate::shard::{Engine, EngineLimits, RecoveryOptions, Shared};
use crate::wal::{OnDamage, WalOptions};

/// The data directory.
const ROOT: &str = "/data";

/// How a boot goes.
#[derive(Clone, Copy, Debug)]
pub struct BootOptions {
    clients: u32,
    transactions: u32,
    tablet_keys: usize,
    checkpoints: bool,
    /// What recovery does about damage.
    pub on_damage: OnDamage,
}

impl BootOptions {
    /// Random ones; the last boot only checks and works a little.
    pub fn random(sim: &Sim, last: bool) -> Self {
        Self {
            clients: 2 + (sim.random_u64() % 6) as u32,
            transactions: if last { 4 } else { 10 + (sim.random_u64() % 30) as u32 },
            tablet_keys: 8 + (sim.random_u64() % 40) as usize,
            checkpoints: sim.random_u64().is_multiple_of(2),
            on_damage: OnDamage::Refuse,
        }
    }
}

/// A boot in progress, shared by its cores.
#[derive(Clone)]
pub struct Machine {
    fabric: Rc<Fabric<Request, Reply>>,
    shared: Arc<Shared>,
    options: BootOptions,
    history: Rc<RefCell<History>>,
    problems: Rc<RefCell<Vec<String>>>,
    bank: Rc<Cell<Option<Bank>>>,
    /// Clients that have not ended, over all cores.
    running: Rc<Cell<u32>>,
    done: Rc<Cell<bool>>,
}

impl Machine {
    pub fn new(cores: usize, options: BootOptions, history: Rc<RefCell<History>>, problems: Rc<RefCell<Vec<String>>>) -> Self {
        let limits = EngineLimits { tablet_keys: options.tablet_keys, ..EngineLimits::default() };
        Self {
            fabric: Rc::new(Fabric::new(cores, MeshConfig::default())),
            shared: Shared::new(cores, limits),
            options,
            history,
            problems,
            bank: Rc::default(),
            running: Rc::new(Cell::new(options.clients * cores as u32)),
            done: Rc::default(),
        }
    }

    fn problem(&self, what: String) {
        self.problems.borrow_mut().push(what);
        self.done.set(true);
        runtime::sim::crash_now();
    }

    /// What each core does.
    pub async fn core_main(self, core: CoreId) {
        let engine = Engine::install(self.shared.clone(), self.fabric.join(core));
        engine.serve();
        let machine = self.clone();
        engine.on_log_failure(move |why| machine.problem(format!("core {core} stopped: {why}")));
        if core == CoreId(0) {
            if let Err(problem) = self.boot(&engine).await {
                return self.problem(problem);
            }
        } else {
            self.wait_until(|| self.bank.get().is_some() || self.done.get()).await;
        }
        engine.start_maintenance();
        let Some(bank) = self.bank.get() else { return };
        for _ in 0..self.options.clients {
            let machine = self.clone();
            runtime::spawn(QueueClass::Interactive, async move {
                if let Err(problem) = bank.client(machine.history.clone(), machine.options.transactions).await {
                    machine.problem(problem);
                }
                machine.running.set(machine.running.get() - 1);
            });
        }
        if core == CoreId(0) {
            self.direct(&engine, bank).await;
        } else {
            self.wait_until(|| self.done.get()).await;
        }
    }

    async fn wait_until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            runtime::sleep(Duration::from_micros(300)).await;
        }
    }

    async fn boot(&self, engine: &Engine) -> Result<(), String> {
        runtime::fs::create_dir_all(ROOT).await.map_err(|error| error.to_string())?;
        let options = RecoveryOptions {
            on_damage: self.options.on_damage,
            root: ROOT.into(),
            log_options: Arc::new(|core, incarnation| WalOptions {
                segment_bytes: 256 << 10,
                ..WalOptions::new(ROOT, core, incarnation)
            }),
            storage_kinds: Arc::new(|catalog| Ok(Bank::kinds(catalog))),
        };
        let report = engine.recover(&options).await?;
        let found = Bank::find(&report.catalog);
        if self.options.on_damage == OnDamage::PassOver && !self.history.borrow().accepted_losses {
            match &found {
                Some(bank) => bank.accept_losses(&self.history).await?,
                None => self.history.borrow_mut().accept_all_lost(),
            }
        }
        let bank = match found {
            Some(bank) => {
                bank.check(&self.history).await?;
                self.history.borrow_mut().count_found();
                bank
            }
            None if self.history.borrow().opened => return Err("the bank was opened and is gone".into()),
            None => Bank::open(&self.history).await.map_err(|error| format!("the bank cannot be opened: {error:?}"))?,
        };
        self.bank.set(Some(bank));
        Ok(())
    }

    /// Takes a checkpoint while the balancer goes on.
    async fn checkpoint(&self, engine: &Engine) -> Result<(), String> {
        let taking = engine.clone();
        let checkpoint = runtime::spawn_joinable(QueueClass::Background, async move { taking.checkpoint(ROOT.as_ref()).await });
        while !checkpoint.is_finished() {
            engine.balance().await;
            runtime::sleep(Duration::from_micros(50)).await;
        }
        checkpoint.await.map_err(|error| error.to_string())?.map(drop)
    }

    /// Core 0's part: checkpoints while the clients run, then the final check and an orderly end.
    async fn direct(&self, engine: &Engine, bank: Bank) {
        while self.running.get() > 0 && !self.done.get() {
            runtime::sleep(Duration::from_millis(1 + runtime::random_u64() % 20)).await;
            if self.options.checkpoints
                && runtime::random_u64().is_multiple_of(4)
                && let Err(problem) = self.checkpoint(engine).await
            {
                return self.problem(format!("a checkpoint failed: {problem}"));
            }
            // Whoever prepares does not decide, and may wait for what others have prepared.
            if let Err(problem) = two_phase::decide_one(engine, &self.history).await {
                return self.problem(problem);
            }
            engine.balance().await;
        }
        if let Err(problem) = bank.check(&self.history).await {
            return self.problem(format!("before the end: {problem}"));
        }
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.done.set(true);
    }
}
