//! Which core this thread is running now, and what stands behind it.
//!
//! One thread-local, set once for the life of a glommio executor and before every poll by the simulator.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::base::CoreId;

use super::glommio::GlommioCore;
use super::sim::SimCore;
use super::time::{MonoTime, now};

/// What executes the current core.
#[derive(Clone)]
pub(super) enum Backend {
    /// A pinned glommio executor.
    Glommio(Rc<GlommioCore>),
    /// A core of a simulated machine.
    Sim(Rc<SimCore>),
}

struct Context {
    backend: RefCell<Option<Backend>>,
    /// Whether it is a simulated core, where clocks are virtual.
    simulated: Cell<bool>,
    core: Cell<u16>,
    cores: Cell<u16>,
    /// When the poll in progress was first asked whether it should yield, in nanoseconds; 0: not asked yet.
    slice_start: Cell<u64>,
    /// Polls of tasks so far.
    polls: Cell<u64>,
    /// When the core's loop last gave the word to the tasks it had woken.
    turn_began: Cell<MonoTime>,
}

thread_local! {
    static CONTEXT: Context = const {
        Context {
            backend: RefCell::new(None),
            simulated: Cell::new(false),
            core: Cell::new(0),
            cores: Cell::new(0),
            slice_start: Cell::new(0),
            polls: Cell::new(0),
            turn_began: Cell::new(MonoTime::from_nanos(0)),
        }
    };
}

/// Makes `backend` the current core of this thread until [`leave`].
pub(super) fn enter(backend: Backend, core: CoreId, cores: usize) {
    assert!(core.index() < cores, "core {core} of {cores}");
    CONTEXT.with(|context| {
        context.simulated.set(matches!(backend, Backend::Sim(_)));
        *context.backend.borrow_mut() = Some(backend);
        context.core.set(core.0);
        context.cores.set(u16::try_from(cores).expect("the number of cores fits CoreId"));
    });
}

/// Ends what [`enter`] began.
pub(super) fn leave() {
    CONTEXT.with(|context| {
        context.backend.borrow_mut().take();
        context.simulated.set(false);
        context.cores.set(0);
    });
}

/// Runs `f` with the current backend. `f` must not run code of the engine: the backend is borrowed meanwhile.
///
/// Panics outside a core.
pub(super) fn with_backend<T>(f: impl FnOnce(&Backend) -> T) -> T {
    CONTEXT.with(|context| {
        let backend = context.backend.borrow();
        f(backend.as_ref().expect("runtime functions are called on a core, between start and the end of its main future"))
    })
}

/// Runs `f` with the current core if that is a simulated one.
#[inline]
pub(super) fn with_simulated<T>(f: impl FnOnce(&SimCore) -> T) -> Option<T> {
    // Clocks are read several times a statement: on a real core this is one look at a flag.
    if !CONTEXT.with(|context| context.simulated.get()) {
        return None;
    }
    with_backend(|backend| match backend {
        Backend::Glommio(_) => None,
        Backend::Sim(core) => Some(f(core)),
    })
}

/// The current core, which is a real one: the simulator has no sockets.
pub(super) fn glommio_core() -> Rc<GlommioCore> {
    with_backend(|backend| match backend {
        Backend::Glommio(core) => Rc::clone(core),
        Backend::Sim(_) => panic!("the simulator has no sockets"),
    })
}

/// The core this code runs on.
///
/// Panics outside a core (on a control-plane thread, say): see [`try_current_core`].
pub fn current_core() -> CoreId {
    try_current_core().expect("runtime functions are called on a core")
}

/// The core this code runs on, or `None` on a thread that is not a core.
pub fn try_current_core() -> Option<CoreId> {
    CONTEXT.with(|context| (context.cores.get() > 0).then(|| CoreId(context.core.get())))
}

/// How many cores this server has.
pub fn core_count() -> usize {
    let cores = CONTEXT.with(|context| context.cores.get());
    assert!(cores > 0, "runtime functions are called on a core");
    usize::from(cores)
}

/// A random number of the current core: seeded by the operating system on a real core, by the seed in the simulator.
///
/// For jitter, sampling and hash seeds. Not for secrets: the generator is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub fn random_u64() -> u64 {
    with_backend(|backend| match backend {
        Backend::Glommio(core) => core.random_u64(),
        Backend::Sim(core) => core.random_u64(),
    })
}

/// A poll of a task begins: its time slice is measured from the first time it asks.
pub(super) fn begin_slice() {
    CONTEXT.with(|context| {
        context.slice_start.set(0);
        context.polls.set(context.polls.get() + 1);
    });
}

/// The core's loop gives the word to the tasks it has woken.
pub(super) fn begin_turn(now: MonoTime) {
    CONTEXT.with(|context| context.turn_began.set(now));
}

/// When the current core last gave the word to the tasks for which something had come. Costs no look at the clock; on a simulated core,
/// where time stands still meanwhile, and outside of cores it is now.
#[inline]
pub fn turn_began() -> MonoTime {
    let turn_began = CONTEXT.with(|context| context.turn_began.get());
    if turn_began == MonoTime::default() { now() } else { turn_began }
}

/// How many polls of tasks have begun on this core.
pub(super) fn polls() -> u64 {
    CONTEXT.with(|context| context.polls.get())
}

/// Nanoseconds since the poll in progress first called this, given the time now.
pub(super) fn slice_elapsed(now_nanos: u64) -> u64 {
    CONTEXT.with(|context| match context.slice_start.get() {
        0 => {
            context.slice_start.set(now_nanos.max(1));
            0
        }
        start => now_nanos.saturating_sub(start),
    })
}

/// A SplitMix64 generator.
pub(super) struct SplitMix64(Cell<u64>);

impl SplitMix64 {
    /// A generator that gives the same numbers for the same seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next number.
    pub(super) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
