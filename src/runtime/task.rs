//! Tasks: spawning, joining, cancelling, yielding, and what becomes of a panic.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::base::CoreId;

use super::context::{self, Backend};
use super::time::now;

/// How long one poll may run before [`should_yield`] says so, in nanoseconds.
const SLICE_NANOS_MAX: u64 = 500_000;
/// How many times [`should_yield`] says no on average in the simulator.
const SIM_SLICE_ROUNDS: u64 = 16;

/// Which task queue of its core a task runs in.
///
/// Queues differ in shares only. None has a latency requirement: glommio's `Latency::Matters` arms a short preemption timer,
/// and when that timer fires between arming and the first look at the run queues, glommio 0.12 parks with runnable tasks
/// (`run_task_queues` reports that nothing ran). DESIGN.md saw this as hangs within seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueClass {
    /// Sessions and messages between cores: what a client waits for.
    Interactive,
    /// The log writer.
    Log,
    /// Scans that may take long, checkpoints, garbage collection.
    Background,
}

impl QueueClass {
    /// All classes, in the order of their discriminants.
    pub const ALL: [QueueClass; 3] = [QueueClass::Interactive, QueueClass::Log, QueueClass::Background];
}

/// A panic that ended a task.
#[derive(Clone, Debug)]
pub struct PanicReport {
    /// The core whose task panicked.
    pub core: CoreId,
    /// The class of the task.
    pub class: QueueClass,
    /// The panic's message, where it had one.
    pub message: String,
}

type PanicHook = Box<dyn Fn(&PanicReport) + Send + Sync>;

static PANICS: AtomicU64 = AtomicU64::new(0);
static PANIC_HOOK: RwLock<Option<PanicHook>> = RwLock::new(None);

/// Calls `hook` for every panic caught in a task from now on, on the core it happened on.
///
/// The hook decides whether the server may go on: a session's panic closes that session, while one in the log writer must
/// stop the process. Without a hook, panics are only counted.
pub fn set_panic_hook(hook: impl Fn(&PanicReport) + Send + Sync + 'static) {
    *PANIC_HOOK.write().expect("the panic hook is never replaced by a panicking thread") = Some(Box::new(hook));
}

/// Panics caught in tasks since the process started.
pub fn panics_caught() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}

/// Counts a panic and tells the hook.
pub(super) fn report_panic(class: QueueClass, payload: &(dyn Any + Send)) -> String {
    let message = panic_message(payload);
    PANICS.fetch_add(1, Ordering::Relaxed);
    let report = PanicReport { core: context::current_core(), class, message: message.clone() };
    let simulated = context::with_simulated(|core| core.world().note_panic(report.clone())).is_some();
    if !simulated && let Some(hook) = PANIC_HOOK.read().expect("the panic hook is never replaced by a panicking thread").as_ref()
    {
        hook(&report);
    }
    message
}

/// Runs `f`; a panic in it is reported like that of a task, and gives `None`.
pub fn catch_panic<T>(class: QueueClass, f: impl FnOnce() -> T) -> Option<T> {
    match std::panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            report_panic(class, payload.as_ref());
            None
        }
    }
}

// Futures written by hand, because an async block that pins what it was given holds it twice: once as given, once pinned. A task would be
// three times as large as what it runs, and an idle connection is such a task.
pin_project! {
    /// Polls a future to its end, starting a time slice at every poll; a panic is reported and becomes the error.
    struct Guarded<F> {
        class: QueueClass,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, String>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        context::begin_slice();
        match std::panic::catch_unwind(AssertUnwindSafe(|| this.future.poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(report_panic(*this.class, payload.as_ref()))),
        }
    }
}

pin_project! {
    /// A task that runs by itself.
    struct Detached<F> {
        #[pin]
        guarded: Guarded<F>,
    }
}

impl<F: Future<Output = ()>> Future for Detached<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The panic is already counted and reported; a detached task has nobody else to tell.
        self.project().guarded.poll(cx).map(|_reported| ())
    }
}

pin_project! {
    /// A task that somebody may wait for.
    struct Joined<F: Future> {
        shared: Rc<RefCell<JoinState<F::Output>>>,
        #[pin]
        guarded: Option<Guarded<F>>,
    }
}

impl<F: Future> Future for Joined<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let cancelled = {
            let mut state = this.shared.borrow_mut();
            state.task = Some(cx.waker().clone());
            state.cancelled
        };
        let outcome = if cancelled {
            Err(JoinError::Cancelled)
        } else {
            let guarded = this.guarded.as_mut().as_pin_mut().expect("a task is not polled after its end");
            std::task::ready!(guarded.poll(cx)).map_err(JoinError::Panicked)
        };
        // Before its result is visible.
        this.guarded.set(None);
        let joiner = {
            let mut state = this.shared.borrow_mut();
            state.outcome = Some(outcome);
            state.task = None;
            state.joiner.take()
        };
        if let Some(joiner) = joiner {
            joiner.wake();
        }
        Poll::Ready(())
    }
}

fn spawn_raw(class: QueueClass, future: impl Future<Output = ()> + 'static) {
    context::with_backend(|backend| match backend {
        Backend::Glommio(core) => core.spawn(class, future),
        Backend::Sim(core) => core.spawn(Box::pin(future)),
    });
}

/// Starts a task on the current core and lets it run by itself.
///
/// The task is first polled after the caller has given way, never inside this call.
pub fn spawn(class: QueueClass, future: impl Future<Output = ()> + 'static) {
    spawn_raw(class, Detached { guarded: Guarded { class, future } });
}

/// Starts a task on the current core whose result can be awaited and which can be cancelled.
///
/// Dropping the handle detaches the task; it does not cancel it.
pub fn spawn_joinable<T: 'static>(class: QueueClass, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let shared = Rc::new(RefCell::new(JoinState { outcome: None, joiner: None, task: None, cancelled: false }));
    let handle = JoinHandle { shared: Rc::clone(&shared) };
    spawn_raw(class, Joined { shared, guarded: Some(Guarded { class, future }) });
    handle
}

/// Why a joined task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// [`JoinHandle::cancel`] came before its end.
    Cancelled,
    /// It panicked with this message.
    Panicked(String),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Cancelled => f.write_str("the task was cancelled"),
            JoinError::Panicked(message) => write!(f, "the task panicked: {message}"),
        }
    }
}

impl std::error::Error for JoinError {}

struct JoinState<T> {
    outcome: Option<Result<T, JoinError>>,
    joiner: Option<Waker>,
    task: Option<Waker>,
    cancelled: bool,
}

/// Awaits the result of a task, on the core that spawned it. Dropping it detaches the task.
pub struct JoinHandle<T> {
    shared: Rc<RefCell<JoinState<T>>>,
}

impl<T> JoinHandle<T> {
    /// Asks the task to end at its current await: its future is dropped the next time it would be polled.
    ///
    /// Await the handle afterwards to know that it has ended. No effect on a task that has ended already.
    pub fn cancel(&self) {
        let task = {
            let mut state = self.shared.borrow_mut();
            state.cancelled = true;
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether the task has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        let state = self.shared.borrow();
        state.outcome.is_some()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.borrow_mut();
        match state.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.joiner = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Whether the task has run for about half a millisecond since its poll began and should await [`yield_now`].
///
/// Reads the clock (some 10 ns): in tight loops ask every few dozen rows. The slice is measured from the first question of
/// a poll, so short tasks that never ask pay nothing.
pub fn should_yield() -> bool {
    let simulated = context::with_backend(|backend| match backend {
        Backend::Glommio(_) => None,
        // A simulated poll takes no time: ask chance instead.
        Backend::Sim(core) => Some(core.world().one_in(SIM_SLICE_ROUNDS)),
    });
    simulated.unwrap_or_else(|| context::slice_elapsed(now().as_nanos()) >= SLICE_NANOS_MAX)
}

/// Lets other tasks run, and the reactor look at sockets, files and timers, before this one continues.
///
/// Costs a few microseconds on a real core: pair it with [`should_yield`].
pub async fn yield_now() {
    let backend = context::with_backend(Backend::clone);
    match backend {
        Backend::Glommio(core) => core.pass_reactor().await,
        Backend::Sim(_) => give_way().await,
    }
}

/// Lets the other ready tasks of this class run before this one continues, without a turn of the reactor: nobody waiting for
/// a socket, a file or a timer gets on. Nearly free, and only for loops bounded to a few microseconds; others
/// [`yield_now`].
pub async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs a blocking function on a helper thread of the core and awaits its result.
///
/// For what has no asynchronous form and is rare: directory operations, name resolution. In the simulator it runs at once.
/// A panic in `function` resumes in the caller.
pub async fn run_blocking<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
    let backend = context::with_backend(Backend::clone);
    match backend {
        Backend::Glommio(core) => core.run_blocking(function).await,
        Backend::Sim(_) => {
            give_way().await;
            function()
        }
    }
}
