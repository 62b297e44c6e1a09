//! Simulated cores: the same engine code on one thread, with everything that varies in life decided by a seed.
//!
//! ```ignore
//! let mut sim = Sim::new(seed);
//! sim.config.crash_one_in = Some(5_000);          // polls, on average
//! let run = sim.run(3, |core| engine(core));      // boot, until it ends or crashes
//! sim.config.crash_one_in = None;
//! sim.run(2, |core| recover_and_check(core)).expect_completed();
//! ```
//!
//! - The scheduler polls a random ready task of a random core. Wake-ups are delayed now and then, and whole cores stall, as
//!   threads do when the kernel has other things to run.
//! - Time is virtual: it creeps forward with every poll and jumps to the next event when nobody is ready.
//! - The disk ([`Disk`]) survives a crash with some, none or torn parts of what was not synced, and can be made to fail.
//! - Crash: at a random poll everything is dropped, and the disk decides what it kept. The next [`Sim::run`] is the restart. If only
//!   the process ends, what it has written is there at the restart, and may still be lost after it.
//!
//! Same seed, same configuration, same code: the same run ([`Run::trace`] is a hash over every poll). That holds only for
//! code without other sources of chance: no `RandomState` hash maps that are iterated, no addresses, no clocks but
//! [`now`](super::now).

mod disk;
mod file;
mod world;

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::base::CoreId;

use super::context::SplitMix64;
use super::task::PanicReport;
pub use disk::{Disk, DiskFaults};
pub(super) use file::{SimFile, names, sync_dir};
pub(super) use world::SimCore;
use world::World;

/// How a simulation behaves. The defaults are a busy machine without faults or crashes.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Crash after this many polls on average; `None`: never.
    pub crash_one_in: Option<u64>,
    /// One crash in so many ends the process alone: what it had written stays, synced or not, until the machine crashes; 0: none.
    pub process_crash_one_in: u64,
    /// End with [`End::StepLimit`] after so many polls: a livelock, most likely.
    pub steps_max: u64,
    /// One wake-up in so many is late by up to `delay_max`; 0: none.
    pub delay_one_in: u64,
    /// The longest delay of a wake-up.
    pub delay_max: Duration,
    /// One poll in so many is followed by a stall of a whole core for up to `stall_max`; 0: never.
    pub stall_one_in: u64,
    /// The longest stall of a core.
    pub stall_max: Duration,
    /// Whether a panic in a task leaves the others running; otherwise it ends the run with [`End::Panicked`].
    pub survive_panics: bool,
    /// What the disk does wrong.
    pub faults: DiskFaults,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            crash_one_in: None,
            process_crash_one_in: 0,
            steps_max: 20_000_000,
            delay_one_in: 8,
            delay_max: Duration::from_micros(200),
            stall_one_in: 2_000,
            stall_max: Duration::from_millis(5),
            survive_panics: false,
            faults: DiskFaults::default(),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every core's main future ended. Nothing was lost: the disk is as the operating system sees it.
    Completed,
    /// A crash, by [`SimConfig::crash_one_in`] or [`crash_now`]. The disk has lost what it pleased of the unsynced.
    Crashed,
    /// Nobody was ready, no timer was set and some main future had not ended: a lost wake-up or a deadlock.
    Deadlock,
    /// [`SimConfig::steps_max`] polls.
    StepLimit,
    /// A task panicked.
    Panicked(String),
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Run {
    /// The seed of the simulation.
    pub seed: u64,
    /// How it ended.
    pub end: End,
    /// Polls.
    pub steps: u64,
    /// Virtual time it took.
    pub took: Duration,
    /// A hash over which task was polled when.
    pub trace: u64,
    /// Panics survived.
    pub panics: Vec<PanicReport>,
}

impl Run {
    /// Panics with the seed unless every main future ended.
    #[track_caller]
    pub fn expect_completed(self) -> Run {
        assert_eq!(self.end, End::Completed, "seed {}: the run did not complete after {} polls", self.seed, self.steps);
        self
    }

    /// Panics with the seed unless the run completed or crashed as configured.
    #[track_caller]
    pub fn expect_completed_or_crashed(self) -> Run {
        let fine = matches!(self.end, End::Completed | End::Crashed);
        assert!(fine, "seed {}: the run ended with {:?} after {} polls", self.seed, self.end, self.steps);
        self
    }
}

/// A simulated machine: a seed, a disk, and as many boots as you like.
pub struct Sim {
    seed: u64,
    random: Rc<SplitMix64>,
    disk: Rc<RefCell<Disk>>,
    /// Virtual nanoseconds since the first boot.
    time: u64,
    /// Behaviour of the next run.
    pub config: SimConfig,
}

impl Sim {
    /// A machine with an empty disk.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Rc::new(SplitMix64::new(seed)),
            disk: Rc::new(RefCell::new(Disk::new())),
            time: 0,
            config: SimConfig::default(),
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A random number of the simulation, for the test's own choices.
    pub fn random_u64(&self) -> u64 {
        self.random.next()
    }

    /// Looks at or changes the disk between runs.
    pub fn with_disk<T>(&self, f: impl FnOnce(&mut Disk) -> T) -> T {
        f(&mut self.disk.borrow_mut())
    }

    /// Boots `cores` cores with `main(core)` on each, and runs until all main futures have ended or something else did.
    ///
    /// Tasks still there at the end are dropped, as a process's threads are when it exits.
    pub fn run<M, F>(&mut self, cores: usize, main: M) -> Run
    where
        M: Fn(CoreId) -> F,
        F: Future<Output = ()> + 'static,
    {
        let started = self.time;
        let world = World::new(cores, self.config.clone(), Rc::clone(&self.random), Rc::clone(&self.disk), self.time);
        for index in 0..cores {
            let core = CoreId(u16::try_from(index).expect("cores fit CoreId"));
            world.boot(core, &main);
        }
        let end = world.run_to_end();
        world.tear_down();
        if end == End::Crashed {
            let process_alone = world.one_in(self.config.process_crash_one_in);
            let mut disk = self.disk.borrow_mut();
            if process_alone { disk.end_process(&self.random) } else { disk.crash(&self.random) }
        }
        self.time = world.time_nanos();
        Run {
            seed: self.seed,
            end,
            steps: world.steps(),
            took: Duration::from_nanos(self.time - started),
            trace: world.trace(),
            panics: world.take_panics(),
        }
    }
}

/// Looks at or changes the machine's disk, which the file operations under way do not see in the middle of anything. On a simulated
/// core only.
pub fn with_disk<T>(f: impl FnOnce(&mut Disk) -> T) -> T {
    super::context::with_backend(|backend| match backend {
        super::context::Backend::Sim(core) => f(&mut core.world().disk().borrow_mut()),
        super::context::Backend::Glommio(_) => panic!("only simulated machines have a simulated disk"),
    })
}

/// Crashes the simulated machine at the caller's next await. On a simulated core only.
pub fn crash_now() {
    super::context::with_backend(|backend| match backend {
        super::context::Backend::Sim(core) => core.world().crash_soon(),
        super::context::Backend::Glommio(_) => panic!("only simulated machines crash at will"),
    });
}

#[cfg(test)]
mod tests;
