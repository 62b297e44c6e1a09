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
use crate::shard::checkpointing::CheckpointFailure;
use crate::shard::messages::{Reply, Request};
use crate::shard::sim::history::History;
use crate::shard::sim::two_phase;
use crate::shard::sim::workload::Bank;
use crate::shard::{Engine, EngineLimits, RecoveryOptions, Shared};
use crate::wal::{OnDamage, SEGMENT_BYTES_MIN, WalOptions};

/// Of a core's log: a transfer with notes needs several.
const SEGMENT_BYTES: u64 = SEGMENT_BYTES_MIN;

/// The data directory.
const ROOT: &str = "/data";

/// What the disk does wrong during a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It is full now and then.
    Full,
    /// Of its writes, syncs and reads, one in so many fails.
    Failing { one_in: u64 },
}

/// How a boot goes.
#[derive(Clone, Copy, Debug)]
pub struct BootOptions {
    clients: u32,
    transactions: u32,
    tablet_keys: usize,
    checkpoints: bool,
    trouble: Trouble,
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
            trouble: match sim.random_u64() % 8 {
                0 | 1 => Trouble::Full,
                // It ends the boot, and the last one is to end well.
                2 if !last => Trouble::Failing { one_in: 20 + sim.random_u64() % 1000 },
                _ => Trouble::None,
            },
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
    /// The disk has failed, as it was told to: what clients are told from now on does not count.
    failed: Rc<Cell<bool>>,
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
            failed: Rc::default(),
        }
    }

    fn problem(&self, what: String) {
        if !self.failed.get() {
            self.problems.borrow_mut().push(what);
        }
        self.done.set(true);
        runtime::sim::crash_now();
    }

    /// The server stops because it cannot go on, which is as it should be if the disk fails.
    fn stopped(&self, core: CoreId, why: &str) {
        if let Trouble::Failing { .. } = self.options.trouble
            && !self.failed.replace(true)
        {
            self.history.borrow_mut().disk_failures += 1;
        }
        self.problem(format!("core {core} stopped: {why}"));
    }

    /// What each core does.
    pub async fn core_main(self, core: CoreId) {
        let engine = Engine::install(self.shared.clone(), self.fabric.join(core));
        engine.serve();
        let machine = self.clone();
        engine.on_failure(move |why| machine.stopped(core, why));
        if core == CoreId(0) {
            if let Err(problem) = self.boot(&engine).await {
                return if is_device_error(&problem) { self.stopped(core, &problem) } else { self.problem(problem) };
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
        if runtime::random_u64().is_multiple_of(4) {
            self.begin_failing();
        }
        let options = RecoveryOptions {
            on_damage: self.options.on_damage,
            root: ROOT.into(),
            log_options: Arc::new(|core, incarnation| WalOptions {
                segment_bytes: SEGMENT_BYTES,
                spares: 1,
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
                bank.check(&self.history).await.map_err(|problem| format!("after recovery: {problem}"))?;
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
    async fn checkpoint(&self, engine: &Engine) -> Result<(), CheckpointFailure> {
        let taking = engine.clone();
        let checkpoint = runtime::spawn_joinable(QueueClass::Background, async move { taking.checkpoint(ROOT.as_ref()).await });
        while !checkpoint.is_finished() {
            engine.balance().await;
            runtime::sleep(Duration::from_micros(50)).await;
        }
        checkpoint.await.expect("a checkpoint does not panic").map(drop)
    }

    /// From now on the disk fails, if it is to.
    fn begin_failing(&self) {
        if let Trouble::Failing { one_in } = self.options.trouble {
            runtime::sim::with_disk(|disk| {
                disk.faults.write_error_one_in = one_in;
                disk.faults.sync_error_one_in = one_in;
                disk.faults.directory_error_one_in = one_in;
                disk.faults.read_error_one_in = one_in;
            });
        }
    }

    /// Fills the disk for a while, if it is to be full now and then.
    async fn fill_disk(&self) {
        if self.options.trouble != Trouble::Full || !runtime::random_u64().is_multiple_of(2) {
            return;
        }
        let room = runtime::random_u64() % (2 * SEGMENT_BYTES);
        runtime::sim::with_disk(|disk| disk.faults.capacity = Some(disk.used() + room));
        let until = runtime::now() + Duration::from_millis(runtime::random_u64() % 100);
        self.wait_until(|| runtime::now() >= until || self.running.get() == 0 || self.done.get()).await;
        runtime::sim::with_disk(|disk| disk.faults.capacity = None);
    }

    /// Core 0's part: checkpoints while the clients run, then the final check and an orderly end.
    async fn direct(&self, engine: &Engine, bank: Bank) {
        while self.running.get() > 0 && !self.done.get() {
            runtime::sleep(Duration::from_millis(1 + runtime::random_u64() % 20)).await;
            self.begin_failing();
            let filling = self.clone();
            let filled = runtime::spawn_joinable(QueueClass::Background, async move { filling.fill_disk().await });
            if self.options.checkpoints && runtime::random_u64().is_multiple_of(4) {
                match self.checkpoint(engine).await {
                    Ok(()) => {}
                    Err(CheckpointFailure::DiskFull(_)) if self.options.trouble == Trouble::Full => {}
                    Err(failure) => return self.problem(format!("a checkpoint failed: {failure}")),
                }
            }
            // Whoever prepares does not decide, and may wait for what others have prepared.
            if let Err(problem) = two_phase::decide_one(engine, &self.history).await {
                return self.problem(problem);
            }
            engine.balance().await;
            if let Err(error) = filled.await {
                return self.problem(format!("the disk was not filled: {error}"));
            }
        }
        if let Err(problem) = bank.check(&self.history).await {
            return self.problem(format!("before the end: {problem}"));
        }
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.done.set(true);
    }
}

/// Whether recovery has given up because of the disk.
fn is_device_error(problem: &str) -> bool {
    problem.contains("(os error 5)")
}
