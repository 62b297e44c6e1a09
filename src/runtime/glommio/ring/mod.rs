//! A core's own io_uring, for what clients wait for: sockets and the log.
//!
//! Glommio's reactor asks the kernel for each socket separately: a poll request, a completion, `recv`, `send`, and several
//! `io_uring_enter` a turn. Here a turn is at most one system call, however many connections have something to do in it: it
//! submits every send and receive that the tasks have asked for since the last one and collects what has completed. That is
//! not only cheaper. Because all answers of a turn leave in one system call, the clients on the same CPU are woken together, and
//! their next statements arrive together too.
//!
//! - The ring is driven by the core's [driver](super::driver) task. While that naps, it waits in the ring, and other threads wake it
//!   with the [bell](Bell); while it sleeps, an eventfd that glommio polls wakes it.
//! - Requests own what the kernel uses: the socket and the bytes live in the ring until the completion, whatever becomes
//!   of who asked. Dropping a [`Request`] cancels it.
//! - Receives wait without a buffer; the kernel picks one when data arrives ([`buffers`]).
//! - `DEFER_TASKRUN`: completions are produced only inside this core's own system call, never by interrupting it.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use glommio::io::{PollState, PollableFd};
use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;

use super::super::turn::RingCounts;
use super::file::DmaMemory;
use super::net::Socket;

mod bell;
mod buffers;

use bell::Bell;
pub(super) use buffers::BUFFER_BYTES;
use buffers::ProvidedBuffers;

/// Requests that can be queued between two turns without an extra system call.
const ENTRIES: u32 = 512;
/// Completions that fit before the kernel has to keep some aside.
const COMPLETIONS: u32 = 4096;
/// The name of requests whose completion interests nobody.
const UNNAMED: u64 = u64::MAX;
/// The name of the request that hears the bell.
const BELL: u64 = u64::MAX - 1;
/// `io_uring_enter` also runs deferred work and posts its completions (io_uring_enter(2)).
const ENTER_GETEVENTS: u32 = 1;
/// What poll(2) calls readable, in the ring's terms.
const READABLE: u32 = libc::POLLIN.cast_unsigned() as u32;

/// What the kernel uses while a request is in flight.
#[derive(Default)]
struct Keep {
    /// Held so that its descriptor names it until the kernel has looked it up.
    _socket: Option<Rc<Socket>>,
    /// What is being sent.
    bytes: Vec<u8>,
    /// What is being written.
    _memory: Option<Rc<DmaMemory>>,
}

enum Stage {
    /// The kernel has not completed it; whom to wake when it has.
    InFlight(Option<Waker>),
    /// Completed and not asked for yet.
    Done(Completion),
    /// In flight, and nobody will ask.
    Abandoned,
}

struct Operation {
    stage: Stage,
    keep: Keep,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
struct Completion {
    /// A count of bytes, or a negated `errno`.
    result: i32,
    /// The buffer that the kernel has picked.
    buffer: Option<u16>,
}

impl Completion {
    fn count(self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_negative| io::Error::from_raw_os_error(-self.result))
    }
}

struct State {
    // Before the buffers: fields are dropped in this order, and the kernel must let go of them first.
    uring: IoUring,
    buffers: ProvidedBuffers,
    operations: Slab<Operation>,
    /// Tasks to wake when the state is no longer borrowed.
    woken: Vec<Waker>,
    /// The driver, while it sleeps.
    sleeper: Option<Waker>,
    bell: Arc<Bell>,
    /// The request that hears the bell is in flight.
    bell_is_heard: bool,
    counts: RingCounts,
}

/// The ring of one core. Lives on its thread.
pub(super) struct Ring {
    state: RefCell<State>,
    /// Readable when something has completed while the driver sleeps.
    event: PollableFd<OwnedFd>,
}

/// A request in flight: what [`Ring::poll`] waits for. Dropped, it is cancelled.
pub(super) struct Request {
    ring: Rc<Ring>,
    key: usize,
}

/// Received bytes, in a buffer of the ring until they are copied out.
pub(super) struct Received {
    ring: Rc<Ring>,
    buffer: u16,
    start: usize,
    end: usize,
}

impl Ring {
    /// Sets up the ring of the current thread's core.
    pub(super) fn new() -> io::Result<Rc<Self>> {
        let uring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        uring.submitter().register_eventfd(event.as_raw_fd())?;
        let buffers = ProvidedBuffers::register(&uring.submitter())?;
        let state = State {
            uring,
            buffers,
            operations: Slab::new(),
            woken: Vec::new(),
            sleeper: None,
            bell: Bell::new()?,
            bell_is_heard: false,
            counts: RingCounts::default(),
        };
        let ring = Self { state: RefCell::new(state), event: PollableFd::new(event)? };
        ring.state.borrow_mut().uring.completion().disable_eventfd();
        Ok(Rc::new(ring))
    }

    /// What it has done.
    pub(super) fn counts(&self) -> RingCounts {
        let state = self.state.borrow();
        RingCounts { in_flight: state.operations.len() as u64, ..state.counts }
    }

    /// Asks for whatever the socket receives next.
    pub(super) fn receive(self: &Rc<Self>, socket: &Rc<Socket>) -> Request {
        let fd = types::Fd(socket.as_raw_fd());
        let length = u32::try_from(BUFFER_BYTES).expect("a constant");
        let entry = opcode::Recv::new(fd, std::ptr::null_mut(), length).buf_group(buffers::GROUP).build();
        self.submit(entry.flags(Flags::BUFFER_SELECT), Keep { _socket: Some(Rc::clone(socket)), ..Keep::default() })
    }

    /// Asks to send all the bytes.
    pub(super) fn send(self: &Rc<Self>, socket: &Rc<Socket>, bytes: Vec<u8>) -> Request {
        let fd = types::Fd(socket.as_raw_fd());
        let length = u32::try_from(bytes.len()).expect("a send is at most SEND_BYTES_MAX");
        // The vector's memory stays where it is when the vector itself moves into the operation.
        let entry = opcode::Send::new(fd, bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build();
        self.submit(entry, Keep { _socket: Some(Rc::clone(socket)), bytes, ..Keep::default() })
    }

    /// Asks to write the memory at a position of an open file, and then to make that write durable: the two requests. If the
    /// first writes less, the second is cancelled.
    ///
    /// The file must stay open until the ring's next turn; its owner awaits the requests.
    pub(super) fn write_and_sync(
        self: &Rc<Self>,
        file: &impl AsRawFd,
        memory: Rc<DmaMemory>,
        position: u64,
    ) -> (Request, Request) {
        let file = types::Fd(file.as_raw_fd());
        let bytes = memory.as_bytes();
        let length = u32::try_from(bytes.len()).expect("a write is less than 4 GiB");
        let write = opcode::Write::new(file, bytes.as_ptr(), length).offset(position).build();
        let sync = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build();
        // A link must not be cut in two by a submission in between.
        self.state.borrow_mut().make_room(2);
        let write = self.submit(write.flags(Flags::IO_LINK), Keep { _memory: Some(memory), ..Keep::default() });
        (write, self.submit(sync, Keep::default()))
    }

    /// Waits for the end of a write or sync: how many bytes were written.
    pub(super) fn poll_done(request: &Request, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (completion, _keep) = ready!(request.poll(cx));
        Poll::Ready(completion.count())
    }

    fn submit(self: &Rc<Self>, entry: Entry, keep: Keep) -> Request {
        let mut state = self.state.borrow_mut();
        let key = state.operations.insert(Operation { stage: Stage::InFlight(None), keep });
        state.push(&entry.user_data(key as u64));
        drop(state);
        self.wake_sleeper();
        Request { ring: Rc::clone(self), key }
    }

    /// Waits for the end of a receive: the bytes, `None` at the end of the stream.
    pub(super) fn poll_received(request: &Request, cx: &mut Context<'_>) -> Poll<io::Result<Option<Received>>> {
        let (completion, _socket) = ready!(request.poll(cx));
        let count = completion.count()?;
        match completion.buffer {
            Some(buffer) => {
                let received = Received { ring: Rc::clone(&request.ring), buffer, start: 0, end: count };
                Poll::Ready(Ok((count > 0).then_some(received)))
            }
            None => {
                assert_eq!(count, 0, "received bytes lie in a buffer");
                Poll::Ready(Ok(None))
            }
        }
    }

    /// Waits for the end of a send: how much was sent, and the vector that held it.
    pub(super) fn poll_sent(request: &Request, cx: &mut Context<'_>) -> Poll<(io::Result<usize>, Vec<u8>)> {
        let (completion, keep) = ready!(request.poll(cx));
        Poll::Ready((completion.count(), keep.bytes))
    }

    /// Hands the kernel what has been asked for, takes what it has completed and wakes who waits for it. Whether there was
    /// anything.
    pub(super) fn turn(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.enter_if_needed();
        let completed = state.collect();
        let mut woken = mem::take(&mut state.woken);
        drop(state);
        for waker in woken.drain(..) {
            waker.wake();
        }
        self.state.borrow_mut().woken = woken;
        completed
    }

    /// Ends a [nap](Self::nap), from any thread.
    pub(super) fn bell(&self) -> Waker {
        Waker::from(Arc::clone(&self.state.borrow().bell))
    }

    /// Stops the thread until something completes or the bell rings, but not for longer than `time`. Whether anything has.
    pub(super) fn nap(&self, time: Duration) -> bool {
        let mut state = self.state.borrow_mut();
        state.hear_bell();
        state.counts.enters += 1;
        let time = types::Timespec::from(time);
        match state.uring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&time)) {
            Ok(_submitted) => true,
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => false,
            Err(error) if is_passing(&error) => true,
            Err(error) => panic!("the kernel refuses the core's ring: {error}"),
        }
    }

    /// Announces that nobody calls [`turn`](Self::turn) until the waker is woken. False: there is something to do already.
    pub(super) fn fall_asleep(&self, waker: &Waker) -> bool {
        let mut state = self.state.borrow_mut();
        state.uring.completion().enable_eventfd();
        // Between the flag and the look at the queue: the kernel does it the other way round.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        if state.has_work() {
            state.uring.completion().disable_eventfd();
            return false;
        }
        state.sleeper = Some(waker.clone());
        true
    }

    /// Ends the sleep announced by [`fall_asleep`](Self::fall_asleep), if there is one.
    pub(super) fn wake_sleeper(&self) {
        let sleeper = self.state.borrow_mut().sleeper.take();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Ends [`fall_asleep`](Self::fall_asleep).
    pub(super) fn wake_up(&self) {
        let mut state = self.state.borrow_mut();
        state.sleeper = None;
        state.uring.completion().disable_eventfd();
    }

    /// Waits until something completes while the driver sleeps.
    pub(super) fn poll_event(&self, cx: &mut Context<'_>, wait: &mut PollState) -> Poll<()> {
        let readable = ready!(self.event.poll_readable(cx, wait));
        readable.expect("polling an eventfd of this process cannot fail");
        let mut count = [0; 8];
        match rustix::io::read(self.event.get_ref(), &mut count) {
            // Taken by an earlier poll.
            Err(rustix::io::Errno::AGAIN) => {}
            outcome => assert_eq!(outcome, Ok(count.len()), "an eventfd gives its counter"),
        }
        Poll::Ready(())
    }
}

/// A signal, or the kernel is short of memory or of room for completions: the next turn tries again.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM))
}

impl State {
    fn hear_bell(&mut self) {
        if !self.bell_is_heard {
            let poll = opcode::PollAdd::new(types::Fd(self.bell.as_raw_fd()), READABLE).multi(true).build();
            self.push(&poll.user_data(BELL));
            self.bell_is_heard = true;
        }
    }

    fn push(&mut self, entry: &Entry) {
        self.counts.submissions += 1;
        // SAFETY: what the entry points to is kept in the operation until its completion.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.enter();
        }
    }

    /// Makes sure that a few entries can be pushed without a submission.
    fn make_room(&mut self, entries: usize) {
        let submission = self.uring.submission();
        let room = submission.capacity() - submission.len();
        drop(submission);
        if room < entries {
            self.enter();
        }
    }

    fn has_work(&mut self) -> bool {
        let submission = self.uring.submission();
        let waiting = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        waiting || !self.uring.completion().is_empty()
    }

    fn enter_if_needed(&mut self) {
        let submission = self.uring.submission();
        let needed = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if needed {
            self.enter();
        }
    }

    /// One system call: submits what is queued, runs deferred work.
    fn enter(&mut self) {
        self.counts.enters += 1;
        let queued = u32::try_from(self.uring.submission().len()).expect("at most ENTRIES");
        // SAFETY: no argument is passed; the flags ask for completions without waiting for any.
        match unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None) } {
            Ok(_submitted) => {}
            // Making room is the one thing that this side can do about it.
            Err(error) if is_passing(&error) => {
                self.collect();
            }
            Err(error) => panic!("the kernel refuses the core's ring: {error}"),
        }
    }

    /// Takes completions; whether there were any.
    fn collect(&mut self) -> bool {
        let Self { uring, buffers, operations, woken, bell_is_heard, counts, .. } = self;
        let mut any = false;
        for entry in uring.completion() {
            any = true;
            counts.completions += 1;
            match entry.user_data() {
                UNNAMED => continue,
                BELL => {
                    *bell_is_heard = io_uring::cqueue::more(entry.flags());
                    continue;
                }
                _ => {}
            }
            let key = usize::try_from(entry.user_data()).expect("keys are indexes");
            let buffer = io_uring::cqueue::buffer_select(entry.flags());
            let operation = &mut operations[key];
            match mem::replace(&mut operation.stage, Stage::Done(Completion { result: entry.result(), buffer })) {
                Stage::InFlight(waker) => woken.extend(waker),
                Stage::Abandoned => {
                    operations.remove(key);
                    if let Some(buffer) = buffer {
                        buffers.give_back(buffer);
                    }
                }
                Stage::Done(_) => panic!("a request completes once"),
            }
        }
        any
    }
}

impl Request {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<(Completion, Keep)> {
        let mut state = self.ring.state.borrow_mut();
        let operation = &mut state.operations[self.key];
        match &mut operation.stage {
            Stage::Done(completion) => {
                let completion = Completion { buffer: completion.buffer.take(), ..*completion };
                Poll::Ready((completion, mem::take(&mut operation.keep)))
            }
            Stage::InFlight(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            Stage::InFlight(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Stage::Abandoned => panic!("only a dropped request is abandoned"),
        }
    }

    /// Asks the kernel to give up; the request still completes, one way or the other.
    pub(super) fn cancel(&self) {
        let mut state = self.ring.state.borrow_mut();
        if matches!(state.operations[self.key].stage, Stage::InFlight(_)) {
            state.push(&opcode::AsyncCancel::new(self.key as u64).build().user_data(UNNAMED));
            drop(state);
            self.ring.wake_sleeper();
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.cancel();
        let mut state = self.ring.state.borrow_mut();
        let State { operations, buffers, .. } = &mut *state;
        let operation = &mut operations[self.key];
        if let Stage::Done(completion) = operation.stage {
            if let Some(buffer) = completion.buffer {
                buffers.give_back(buffer);
            }
            operations.remove(self.key);
        } else {
            operation.stage = Stage::Abandoned;
        }
    }
}

impl Received {
    /// Copies as much as fits; true when all of it has been taken.
    pub(super) fn copy_to(&mut self, target: &mut [u8]) -> (usize, bool) {
        let state = self.ring.state.borrow();
        let unread = &state.buffers.bytes(self.buffer, self.end)[self.start..];
        let count = unread.len().min(target.len());
        target[..count].copy_from_slice(&unread[..count]);
        self.start += count;
        (count, self.start == self.end)
    }

    /// Whether it filled its buffer, so that there is likely to be more.
    pub(super) fn filled_its_buffer(&self) -> bool {
        self.end == BUFFER_BYTES
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.ring.state.borrow_mut().buffers.give_back(self.buffer);
    }
}
