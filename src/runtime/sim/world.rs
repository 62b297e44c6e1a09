//! The simulated machine while it runs: tasks, cores, time, and the scheduler that decides everything by the seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::base::CoreId;
use crate::runtime::context::{self, Backend, SplitMix64};
use crate::runtime::task::{PanicReport, QueueClass, spawn};
use crate::runtime::time::{MonoTime, TimerQueue};

use super::disk::Disk;
use super::{End, SimConfig};

/// The longest a poll takes, in virtual nanoseconds.
const POLL_NANOS_MAX: u64 = 2_000;
/// Virtual midnight of 1 January 2026, in microseconds since the Unix epoch: when simulations start.
const WALL_CLOCK_START_MICROS: i64 = 1_767_225_600_000_000;

type TaskId = u64;

/// Wake-ups that the scheduler has not looked at yet.
type WakeQueue = Arc<Mutex<Vec<TaskId>>>;

struct SimWaker {
    task: TaskId,
    /// Woken and not polled since.
    woken: AtomicBool,
    queue: WakeQueue,
}

impl Wake for SimWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Relaxed) {
            self.queue.lock().expect("wakers do not panic").push(self.task);
        }
    }
}

struct Task {
    core: usize,
    /// `None` while it is being polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Arc<SimWaker>,
}

/// One simulated core: what the thread-local context points to.
pub(in crate::runtime) struct SimCore {
    world: Rc<World>,
    core: CoreId,
    timers: Rc<TimerQueue>,
    random: SplitMix64,
    stalled_until: Cell<u64>,
}

impl SimCore {
    /// The machine this core belongs to.
    pub(in crate::runtime) fn world(&self) -> &Rc<World> {
        &self.world
    }

    /// The timers of this core.
    pub(in crate::runtime) fn timers(&self) -> &Rc<TimerQueue> {
        &self.timers
    }

    /// A random number for the engine: a stream of its own a core, so that the engine's draws do not shift the scheduler's.
    pub(in crate::runtime) fn random_u64(&self) -> u64 {
        self.random.next()
    }

    /// Starts a task.
    pub(in crate::runtime) fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) {
        self.world.add_task(self.core.index(), future);
    }
}

/// A booted machine.
pub(in crate::runtime) struct World {
    config: SimConfig,
    random: Rc<SplitMix64>,
    disk: Rc<RefCell<Disk>>,
    cores: RefCell<Vec<Rc<SimCore>>>,
    core_count: usize,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    last_task: Cell<TaskId>,
    ready: RefCell<Vec<TaskId>>,
    late: RefCell<BTreeMap<(u64, TaskId), ()>>,
    woken: WakeQueue,
    time: Cell<u64>,
    steps: Cell<u64>,
    trace: Cell<u64>,
    mains_running: Cell<usize>,
    crashing: Cell<bool>,
    panics: RefCell<Vec<PanicReport>>,
}

impl World {
    pub(super) fn new(cores: usize, config: SimConfig, random: Rc<SplitMix64>, disk: Rc<RefCell<Disk>>, time: u64) -> Rc<World> {
        assert!(cores > 0, "a machine has cores");
        disk.borrow_mut().faults = config.faults.clone();
        let world = Rc::new(World {
            config,
            random,
            disk,
            cores: RefCell::new(Vec::new()),
            core_count: cores,
            tasks: RefCell::new(BTreeMap::new()),
            last_task: Cell::new(0),
            ready: RefCell::new(Vec::new()),
            late: RefCell::new(BTreeMap::new()),
            woken: WakeQueue::default(),
            time: Cell::new(time),
            steps: Cell::new(0),
            trace: Cell::new(0),
            mains_running: Cell::new(0),
            crashing: Cell::new(false),
            panics: RefCell::new(Vec::new()),
        });
        let core = |index: usize| {
            Rc::new(SimCore {
                world: Rc::clone(&world),
                core: CoreId(u16::try_from(index).expect("cores fit CoreId")),
                timers: Rc::new(TimerQueue::default()),
                random: SplitMix64::new(world.random.next()),
                stalled_until: Cell::new(0),
            })
        };
        *world.cores.borrow_mut() = (0..cores).map(core).collect();
        world
    }

    /// Starts a core's main future.
    pub(super) fn boot<F: Future<Output = ()> + 'static>(self: &Rc<Self>, core: CoreId, main: impl Fn(CoreId) -> F) {
        self.mains_running.set(self.mains_running.get() + 1);
        self.enter(core.index());
        let future = main(core);
        let world = Rc::downgrade(self);
        spawn(QueueClass::Interactive, async move {
            future.await;
            if let Some(world) = world.upgrade() {
                world.mains_running.set(world.mains_running.get() - 1);
            }
        });
        context::leave();
    }

    fn enter(&self, core: usize) {
        let backend = Backend::Sim(Rc::clone(&self.cores.borrow()[core]));
        context::enter(backend, CoreId(u16::try_from(core).expect("cores fit CoreId")), self.core_count);
    }

    fn add_task(&self, core: usize, future: Pin<Box<dyn Future<Output = ()>>>) {
        let id = self.last_task.get() + 1;
        self.last_task.set(id);
        let waker = Arc::new(SimWaker { task: id, woken: AtomicBool::new(false), queue: Arc::clone(&self.woken) });
        waker.wake_by_ref();
        self.tasks.borrow_mut().insert(id, Task { core, future: Some(future), waker });
    }

    /// The scheduler.
    pub(super) fn run_to_end(&self) -> End {
        loop {
            if !self.config.survive_panics
                && let Some(panic) = self.panics.borrow().first()
            {
                return End::Panicked(panic.message.clone());
            }
            if self.mains_running.get() == 0 {
                return End::Completed;
            }
            if self.steps.get() >= self.config.steps_max {
                return End::StepLimit;
            }
            if self.crashing.get() || self.config.crash_one_in.is_some_and(|polls| self.one_in(polls)) {
                return End::Crashed;
            }
            self.fire_timers();
            self.sort_wakes();
            match self.pick() {
                Some(task) => self.poll(task),
                None => match self.next_event() {
                    Some(time) => self.time.set(time.max(self.time.get())),
                    None => return End::Deadlock,
                },
            }
        }
    }

    fn fire_timers(&self) {
        let now = MonoTime::from_nanos(self.time.get());
        for core in self.cores.borrow().iter() {
            while let Some(waker) = core.timers.pop_due(now) {
                waker.wake();
            }
        }
        let mut late = self.late.borrow_mut();
        while let Some(entry) = late.first_entry()
            && entry.key().0 <= self.time.get()
        {
            self.ready.borrow_mut().push(entry.remove_entry().0.1);
        }
    }

    /// New wake-ups become ready, most of them now.
    fn sort_wakes(&self) {
        let woken = std::mem::take(&mut *self.woken.lock().expect("wakers do not panic"));
        for task in woken {
            if self.one_in(self.config.delay_one_in) {
                let delay = self.random_up_to(nanos(self.config.delay_max));
                self.late.borrow_mut().insert((self.time.get() + delay, task), ());
            } else {
                self.ready.borrow_mut().push(task);
            }
        }
    }

    /// A random ready task whose core is not stalled.
    fn pick(&self) -> Option<TaskId> {
        let mut ready = self.ready.borrow_mut();
        let tasks = self.tasks.borrow();
        let cores = self.cores.borrow();
        ready.retain(|task| tasks.contains_key(task));
        let runnable: Vec<usize> =
            (0..ready.len()).filter(|index| cores[tasks[&ready[*index]].core].stalled_until.get() <= self.time.get()).collect();
        if runnable.is_empty() {
            return None;
        }
        let choice = runnable[usize::try_from(self.random_up_to(runnable.len() as u64)).expect("an index")];
        Some(ready.swap_remove(choice))
    }

    /// When something happens next if nobody can run now.
    fn next_event(&self) -> Option<u64> {
        let cores = self.cores.borrow();
        let tasks = self.tasks.borrow();
        let timers = cores.iter().filter_map(|core| core.timers.next_deadline()).map(MonoTime::as_nanos);
        let late = self.late.borrow().first_key_value().map(|((time, _), ())| *time);
        let stalls: Vec<u64> = self.ready.borrow().iter().map(|task| cores[tasks[task].core].stalled_until.get()).collect();
        timers.chain(late).chain(stalls).min()
    }

    fn poll(&self, id: TaskId) {
        let (core, mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let task = tasks.get_mut(&id).expect("picked from the tasks there are");
            (task.core, task.future.take().expect("a task is polled by nobody else"), Arc::clone(&task.waker))
        };
        self.steps.set(self.steps.get() + 1);
        self.note(id);
        self.note(self.time.get());
        waker.woken.store(false, Ordering::Relaxed);
        self.enter(core);
        let outcome = future.as_mut().poll(&mut Context::from_waker(&Waker::from(waker)));
        if outcome.is_ready() {
            drop(future);
            self.tasks.borrow_mut().remove(&id);
        } else {
            self.tasks.borrow_mut().get_mut(&id).expect("only its end removes a task").future = Some(future);
        }
        context::leave();
        self.time.set(self.time.get() + 50 + self.random_up_to(POLL_NANOS_MAX));
        if self.one_in(self.config.stall_one_in) {
            let stalled = &self.cores.borrow()[usize::try_from(self.random_up_to(self.core_count as u64)).expect("an index")];
            stalled.stalled_until.set(self.time.get() + self.random_up_to(nanos(self.config.stall_max)));
        }
    }

    /// Drops everything, each task on its core, so that destructors find the runtime they know.
    pub(super) fn tear_down(&self) {
        loop {
            let Some((_, task)) = self.tasks.borrow_mut().pop_first() else { break };
            self.enter(task.core);
            drop(task);
            context::leave();
        }
        // Breaks the cycle of cores and world.
        self.cores.borrow_mut().clear();
    }

    fn note(&self, value: u64) {
        let mixed = (self.trace.get() ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace.set(mixed ^ (mixed >> 29));
    }

    /// True once in `n` on average; never if `n` is 0.
    pub(in crate::runtime) fn one_in(&self, n: u64) -> bool {
        n > 0 && self.random.next().is_multiple_of(n)
    }

    /// A random number below `limit`; 0 if `limit` is 0.
    pub(in crate::runtime) fn random_up_to(&self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.random.next() % limit }
    }

    /// The machine's disk.
    pub(in crate::runtime) fn disk(&self) -> &Rc<RefCell<Disk>> {
        &self.disk
    }

    /// The scheduler's random numbers, for the disk.
    pub(in crate::runtime) fn random(&self) -> &Rc<SplitMix64> {
        &self.random
    }

    /// Virtual nanoseconds since the first boot.
    pub(in crate::runtime) fn time_nanos(&self) -> u64 {
        self.time.get()
    }

    /// Virtual wall clock, in microseconds since the Unix epoch.
    pub(in crate::runtime) fn wall_clock_micros(&self) -> i64 {
        WALL_CLOCK_START_MICROS + i64::try_from(self.time.get() / 1_000).expect("simulations last less than 292,000 years")
    }

    /// A panic was caught in a task.
    pub(in crate::runtime) fn note_panic(&self, report: PanicReport) {
        self.panics.borrow_mut().push(report);
    }

    pub(super) fn crash_soon(&self) {
        self.crashing.set(true);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    pub(super) fn take_panics(&self) -> Vec<PanicReport> {
        self.panics.take()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("simulated durations are short")
}
