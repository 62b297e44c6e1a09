//! Starting the cores.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement, PoolPlacement};

use crate::base::CoreId;
use crate::runtime::context::{self, Backend};
use crate::runtime::task::{JoinError, QueueClass, spawn_joinable};

use super::GlommioCore;

/// Requests in flight to the kernel of one core's ring before it has to collect completions.
const RING_DEPTH: usize = 256;

/// How to run the cores.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The machine's CPU for each core of the server, in order: core *i* is pinned to `cpus[i]`. A CPU may occur more than
    /// once (in tests).
    pub cpus: Vec<usize>,
    /// How long an idle core spins before it parks in the kernel. Costs CPU when idle, saves a wake-up (tens of
    /// microseconds) on every message between cores.
    pub spin: Duration,
    /// Bytes of registered file-buffer memory a core; counts against the memlock limit.
    pub io_memory: usize,
}

impl RuntimeConfig {
    /// The defaults on the given CPUs.
    pub fn on_cpus(cpus: Vec<usize>) -> Self {
        Self { cpus, spin: Duration::from_micros(50), io_memory: 256 << 10 }
    }
}

/// The running cores.
#[must_use = "join the cores, or the process may end under them"]
pub struct Cores<T: Send + 'static> {
    threads: Vec<ExecutorJoinHandle<Result<T, String>>>,
}

/// Starts one pinned core a CPU of the configuration and runs `main(core)` on each; a core ends with its main future.
///
/// Tasks still running on a core when its main future ends are dropped with it.
pub fn start<T, M, F>(config: &RuntimeConfig, main: M) -> io::Result<Cores<T>>
where
    T: Send + 'static,
    M: Fn(CoreId) -> F + Clone + Send + 'static,
    F: Future<Output = T> + 'static,
{
    let cores = config.cpus.len();
    assert!((1..=usize::from(u16::MAX)).contains(&cores), "a server has 1 to 65535 cores, not {cores}");
    let mut threads = Vec::with_capacity(cores);
    for (index, cpu) in config.cpus.iter().enumerate() {
        let core = CoreId(u16::try_from(index).expect("checked above"));
        let main = main.clone();
        let thread = LocalExecutorBuilder::new(Placement::Fixed(*cpu))
            .name(&format!("core-{index}"))
            .spin_before_park(config.spin)
            .io_memory(config.io_memory)
            .ring_depth(RING_DEPTH)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .spawn({
                let naps = config.spin.is_zero();
                move || run_core(core, cores, naps, main)
            })?;
        threads.push(thread);
    }
    Ok(Cores { threads })
}

async fn run_core<T, M, F>(core: CoreId, cores: usize, naps: bool, main: M) -> Result<T, String>
where
    T: 'static,
    M: FnOnce(CoreId) -> F + 'static,
    F: Future<Output = T> + 'static,
{
    let backend = GlommioCore::new(naps).map_err(|error| format!("cannot set up core {core}: {error}"))?;
    context::enter(Backend::Glommio(Rc::clone(&backend)), core, cores);
    backend.start();
    // In a task, so that the driver knows when it has run.
    let main = spawn_joinable(QueueClass::Interactive, async move { main(core).await });
    main.await.map_err(|error| match error {
        JoinError::Panicked(message) => message,
        JoinError::Cancelled => error.to_string(),
    })
}

impl<T: Send + 'static> Cores<T> {
    /// Waits for every core's main future and gives their results in core order; an `Err` is a core that could not start
    /// or whose main future panicked.
    pub fn join(self) -> Vec<Result<T, String>> {
        let join = |thread: ExecutorJoinHandle<Result<T, String>>| match thread.join() {
            Ok(outcome) => outcome,
            Err(error) => Err(error.to_string()),
        };
        self.threads.into_iter().map(join).collect()
    }
}
