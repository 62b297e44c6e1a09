//! The seam between the engine and the machine: tasks, clocks, timers, files, sockets, on a pinned core each.
//!
//! Engine code reads like ordinary async Rust: it calls the free functions of this module and awaits. Underneath, every call
//! goes to the *current core*, a thread-local context with two implementations:
//!
//! - `glommio`: one pinned io_uring executor a core. The only place in the crate that names glommio.
//! - [`sim`]: several simulated cores on one thread, a seeded scheduler, virtual time, and a disk that loses, tears and
//!   reorders what was not synced. The same seed replays the same run, to the last poll.
//!
//! Invariants:
//!
//! - A task stays on the core that spawned it and is polled by nobody else, so core-owned state needs no locks
//!   (`Rc`, `Cell`, `RefCell`; never a `RefCell` borrow across an await).
//! - Loops yield: whoever may run longer asks [`should_yield`] now and then and awaits [`yield_now`]. A yield always lets the
//!   reactor look at sockets, files and timers before the task continues; a plain self-wake would not.
//! - A panic ends the task it happened in, never the core. It is counted and handed to the panic hook
//!   ([`set_panic_hook`]), which decides whether the server may go on.
//! - Everything that waits is cancel-safe: dropping a future of this module leaves no waker, timer or queue entry behind.
//!
//! Where to find what: [`spawn`], [`JoinHandle`] in `task`; [`MonoTime`], [`sleep`], [`timeout`] in `time`; [`fs`] for files,
//! [`net`] for sockets, [`sync`] for waiting within one core; [`start`] and [`RuntimeConfig`] to run it all, [`host`] to look
//! at the machine first.

mod clock;
mod context;
pub mod fs;
mod glommio;
pub mod host;
mod iobuf;
pub mod net;
pub mod signal;
pub mod sim;
pub mod sync;
mod task;
mod time;
mod turn;

pub use context::{core_count, current_core, random_u64, try_current_core, turn_began};
pub use glommio::start::{Cores, RuntimeConfig, start};
pub use iobuf::{BLOCK, IoBuf};
pub use task::{
    JoinError, JoinHandle, PanicReport, QueueClass, catch_panic, give_way, panics_caught, run_blocking, set_panic_hook,
    should_yield, spawn, spawn_joinable, yield_now,
};
pub use time::{Elapsed, MonoTime, Sleep, nanos_since, now, sleep, sleep_until, timeout, wall_clock_micros};
pub use turn::{CoreTimes, RingCounts, TurnSource, core_times, every_turn, until_idle};

#[cfg(test)]
mod tests;
