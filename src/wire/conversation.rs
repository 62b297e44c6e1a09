//! The conversation of a client that has been let in.
//!
//! **What an idle connection costs.** A client says nothing for most of the time. So the task of a connection is two futures: one that serves
//! ([`Conversation::awake`]), large because every way through a statement is part of it, and in a box of its own; and one that only waits
//! ([`Conversation::asleep`]). When nothing has come for a moment, the first is dropped, and the buffers with it. While a client is at work
//! its future and its buffers stay, so that a statement allocates none of them.
//!
//! **Whose session it is** the [`Seat`] knows: the client's own, or one of a pool for as long as it is in a transaction.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::base::CoreId;
use crate::error::SqlError;
use crate::metrics::ClientState;
use crate::runtime::{self, MonoTime};
use crate::session::backend::Backend;
use crate::session::interrupt::{Interrupt, Interruption};
use crate::session::pool::Pool;
use crate::session::response::{Client, Failure, Gone};
use crate::session::{Session, Silence, interrupted};
use crate::wire::connection::{Exit, Moving, Services};
use crate::wire::dialogue::{Dialogue, Step};
use crate::wire::door::Slot;
use crate::wire::framer::{Cut, cut};
use crate::wire::peer::Peer;
use crate::wire::seat::{Seat, Standing};
use crate::wire::stream::ByteStream;
use crate::wire::tls::Secured;

/// Terminate, whole.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// Why a conversation ends here.
pub(super) enum End {
    Gone,
    Fatal(SqlError),
    Hop(CoreId),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Gone
    }
}

/// What has come of a client that has no session, or a guest's.
enum Next {
    /// A message of so many bytes has begun.
    Partial(usize),
    /// Nothing but messages that prepare statements.
    Prepare,
    /// Something that runs.
    More,
}

/// How a wait for the client ended.
#[derive(PartialEq, Eq)]
enum Waited {
    /// It has said something.
    Received,
    /// It has said nothing for a while.
    Quiet,
}

/// A client waited for.
#[derive(Clone, Copy)]
struct Wait {
    /// A message of so many bytes has begun.
    wanted: usize,
    /// Since when.
    since: MonoTime,
    /// It is in no transaction.
    between: bool,
    /// When it is sent away, and why.
    limit: Option<(MonoTime, Silence)>,
}

/// A client, its stream and its session.
pub(super) struct Conversation<'a, S, B: Backend> {
    backend: &'a B,
    peer: Peer<Secured<S>>,
    seat: Seat<B>,
    standing: Standing<'a, B>,
    slot: Slot,
    dialogue: Dialogue,
    /// What is waited for, if the client is.
    wait: Option<Wait>,
    linger: Linger,
}

impl<'a, S: ByteStream, B: Backend> Conversation<'a, S, B> {
    /// Of a client that has been greeted.
    pub fn new(
        (backend, services): (&'a B, &'a Services),
        mut peer: Peer<Secured<S>>,
        (session, pool): (Box<Session<B>>, Option<Rc<Pool>>),
        mut standing: Standing<'a, B>,
        slot: Slot,
    ) -> Self {
        peer.interrupt = Some(Arc::clone(session.interrupt()));
        standing.set(ClientState::Active);
        let seat = Seat::new(session, pool, &mut standing);
        Self {
            backend,
            peer,
            seat,
            standing,
            slot,
            dialogue: Dialogue { skipping: false, hop: services.hop },
            wait: None,
            linger: Linger { after: services.linger, timer: None },
        }
    }

    /// Of a client that is new: most say nothing at once.
    pub fn quiet(mut self) -> Self {
        if self.linger.after.is_some() && self.peer.input.unread().is_empty() {
            self.begin_wait(1, runtime::now());
        }
        self
    }

    /// Goes on until the client or the session ends, or moves; [`finish`](Self::finish) is to follow. By reference, because a future holds
    /// twice what it is given.
    pub async fn run(&mut self) -> End {
        loop {
            if self.wait.is_some() {
                self.give_back();
                if let Err(end) = self.asleep().await {
                    return end;
                }
            }
            if let Err(end) = Box::pin(self.awake()).await {
                return end;
            }
        }
    }

    /// Serves the client until it has said nothing for a while.
    async fn awake(&mut self) -> Result<(), End> {
        loop {
            if let Some(wait) = self.wait {
                if self.listen(wait).await? == Waited::Quiet {
                    return Ok(());
                }
                self.wait = None;
            }
            if self.seat.needs(true) {
                match self.next_messages()? {
                    Next::Partial(wanted) if self.seat.needs(false) => {
                        self.begin_wait(wanted, runtime::now());
                        continue;
                    }
                    Next::Partial(_) => {}
                    Next::Prepare => self.sit_down(false).await?,
                    Next::More => self.sit_down(true).await?,
                }
            }
            let session = self.seat.session().expect("it has just sat down");
            let mut input = std::mem::take(&mut self.peer.input);
            let step = self.dialogue.scan(session, self.backend, &mut input, &mut self.peer);
            self.peer.input = input;
            match step {
                Step::Receive(wanted) => self.rest_before(wanted).await?,
                Step::Write => {
                    if session.has_points() {
                        self.dialogue.skipping = flush_points(session, self.backend, &mut self.peer).await?;
                    }
                    self.send().await?;
                }
                step => take_step(&mut self.dialogue, session, self.backend, &mut self.peer, step).await?,
            }
        }
    }

    /// Waits for the client with next to nothing. Ends when there is something to read.
    async fn asleep(&mut self) -> Result<(), End> {
        let wait = self.wait.expect("who is asleep waits");
        let interrupt = Arc::clone(self.seat.interrupt());
        let readable = async { self.peer.stream.readable().await.map_err(|_broken| End::Gone) };
        guard(&interrupt, wait.between, wait.limit, readable).await?;
        self.linger.timer = None;
        self.wait = Some(Wait { since: runtime::now(), ..wait });
        Ok(())
    }

    /// Gives back what is not needed to wait.
    fn give_back(&mut self) {
        self.peer.rest();
        self.linger.timer = None;
    }

    /// There is nothing left to do with what has come: the client is told everything, and is to be waited for.
    async fn rest_before(&mut self, wanted: usize) -> Result<(), End> {
        let session = self.seat.session().expect("whoever has scanned has a session");
        if session.has_points() {
            self.dialogue.skipping = flush_points(session, self.backend, &mut self.peer).await?;
        }
        // Before the client can know: whoever asks after it has heard the answer sees it idle.
        session.tell_idle();
        self.send().await?;
        let now = runtime::now();
        if let Some(session) = self.seat.session() {
            session.sent(self.backend, now);
        }
        count_bytes(self.backend, &mut self.peer);
        self.peer.input.shrink_if_idle();
        self.begin_wait(wanted, now);
        Ok(())
    }

    /// Sends what the client is to be told. One that does not read keeps no session from others meanwhile, unless it is in a transaction.
    async fn send(&mut self) -> Result<(), Gone> {
        let mut flush = pin!(self.peer.flush());
        if let Poll::Ready(flushed) = poll_fn(|cx| Poll::Ready(flush.as_mut().poll(cx))).await {
            return flushed;
        }
        if let (Some(session), false) = (self.seat.session(), self.dialogue.skipping) {
            if session.is_between_transactions() {
                session.sent(self.backend, runtime::now());
            }
            self.seat.stand_up(&mut self.standing);
        }
        flush.await
    }

    fn begin_wait(&mut self, wanted: usize, since: MonoTime) {
        let limit = self.seat.idle_limit(since);
        let between = if self.dialogue.skipping { false } else { self.seat.stand_up(&mut self.standing) };
        self.wait = Some(Wait { wanted, since, between, limit });
    }

    /// Waits for the client, but not for ever, and not beyond the end of the server.
    async fn listen(&mut self, wait: Wait) -> Result<Waited, End> {
        let more = !self.peer.input.unread().is_empty();
        let interrupt = Arc::clone(self.seat.interrupt());
        let linger = &mut self.linger;
        // Who is asleep by then is sent away there.
        let limit = wait.limit.filter(|(at, _)| linger.after.is_none_or(|after| *at < wait.since + after));
        let received = {
            let mut receive = pin!(self.peer.receive(wait.wanted));
            let received = poll_fn(|cx| {
                if let Poll::Ready(received) = receive.as_mut().poll(cx) {
                    return Poll::Ready(received.map(|()| Waited::Received));
                }
                linger.poll(cx, wait.since).map(|()| Ok(Waited::Quiet))
            });
            let received = async { received.await.map_err(End::from) };
            guard(&interrupt, wait.between, limit, received).await?
        };
        if received == Waited::Received {
            self.seat.received(more, runtime::turn_began());
            self.standing.set(ClientState::Active);
            // While the client was waited for, there was nothing to cancel.
            interrupt.begin_statement();
        }
        Ok(received)
    }

    /// What a client without a session has sent. Neither a message that has only begun nor a goodbye needs one.
    fn next_messages(&mut self) -> Result<Next, End> {
        let mut unread = self.peer.input.unread();
        if unread.starts_with(TERMINATE) {
            return Err(End::Gone);
        }
        let mut whole = false;
        loop {
            let frame = match cut(unread, self.peer.message_bytes_max) {
                Ok(Cut::Whole(frame)) => frame,
                Ok(Cut::Partial(wanted)) if !whole => return Ok(Next::Partial(wanted)),
                Ok(Cut::Partial(_)) => return Ok(Next::Prepare),
                Err(error) if !whole => return Err(End::Fatal(error.into())),
                // Said when its turn comes.
                Err(_) => return Ok(Next::More),
            };
            let prepares = match frame.tag {
                b'P' | b'S' | b'H' => true,
                b'D' | b'C' => frame.body.first() == Some(&b'S'),
                _ => false,
            };
            if !prepares {
                return Ok(Next::More);
            }
            whole = true;
            unread = &unread[frame.total_bytes()..];
        }
    }

    /// Takes a session of the pool, to do `more` than to prepare statements.
    async fn sit_down(&mut self, more: bool) -> Result<(), End> {
        // Whoever is in the middle of something has a session, so this is between transactions.
        let between = self.seat.needs(false);
        let interrupt = Arc::clone(self.seat.interrupt());
        let seated = self.seat.sit_down(more, &mut self.standing);
        guard(&interrupt, between, None, async { seated.await.map_err(End::Fatal) }).await
    }

    /// Says goodbye, or sends the session on its way.
    pub async fn finish(mut self, end: End) -> Exit<S, B> {
        match end {
            End::Hop(core) if self.peer.flush().await.is_ok() => {
                count_bytes(self.backend, &mut self.peer);
                let input = self.peer.input.unread().to_vec();
                let session = self.seat.into_own().expect("a session that is shared does not move");
                return Exit::Hop { core, moving: Moving { stream: self.peer.stream, session, input, slot: self.slot } };
            }
            End::Fatal(error) => self.peer.farewell(&error).await,
            End::Hop(_) | End::Gone => {}
        }
        count_bytes(self.backend, &mut self.peer);
        self.seat.close(self.backend).await;
        drop(self.slot);
        // Last, since it may have to be waited for: what the session held is free.
        self.peer.close().await;
        Exit::Closed
    }
}

/// Tells when nothing has come for a while. Its timer is set once and looks, when it goes off, since when the client is waited for now, so
/// that a statement sets none.
struct Linger {
    /// How long that is; `None`: nobody falls asleep.
    after: Option<Duration>,
    timer: Option<runtime::Sleep>,
}

impl Linger {
    fn poll(&mut self, cx: &mut Context<'_>, since: MonoTime) -> Poll<()> {
        let Some(after) = self.after else { return Poll::Pending };
        let now = runtime::now();
        if self.timer.as_ref().is_some_and(|timer| now < timer.deadline()) {
            // It wakes this task, whatever it waits for by then.
            return Poll::Pending;
        }
        self.timer = None;
        if now >= since + after {
            return Poll::Ready(());
        }
        let mut timer = runtime::sleep_until(since + after);
        let pending = Pin::new(&mut timer).poll(cx);
        self.timer = Some(timer);
        pending
    }
}

/// Awaits `future` unless the connection is to end before.
async fn guard<T>(
    interrupt: &Interrupt,
    between: bool,
    limit: Option<(MonoTime, Silence)>,
    future: impl Future<Output = Result<T, End>>,
) -> Result<T, End> {
    let mut future = pin!(future);
    let mut timer = pin!(limit.map(|(at, _)| runtime::sleep_until(at)));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        if interrupt.poll_end(cx, between).is_ready() {
            return Poll::Ready(Err(End::Fatal(interrupted(Interruption::Terminate))));
        }
        match (timer.as_mut().as_pin_mut(), limit) {
            (Some(timer), Some((_, why))) => timer.poll(cx).map(|()| Err(End::Fatal(why.error()))),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Does what a scan has come upon.
async fn take_step<S: ByteStream, B: Backend>(
    dialogue: &mut Dialogue,
    session: &mut Session<B>,
    backend: &B,
    peer: &mut Peer<S>,
    step: Step,
) -> Result<(), End> {
    match step {
        Step::Receive(_) | Step::Write => unreachable!("the client is waited for elsewhere"),
        Step::Points => dialogue.skipping = flush_points(session, backend, peer).await?,
        Step::Query(text) => {
            let presence = Presence::of(session, peer);
            presence.watched(session.simple_query(backend, peer, &text)).await?;
            peer.take_back();
        }
        Step::Execute(portal, rows_max) => {
            let presence = Presence::of(session, peer);
            let outcome = presence.watched(session.execute(backend, peer, &portal, rows_max)).await;
            peer.take_back();
            match outcome {
                Ok(()) => {}
                Err(Failure::Gone) => return Err(End::Gone),
                Err(Failure::Sql(error)) => {
                    session.extended_failed(backend, peer, &error).await;
                    dialogue.skipping = true;
                }
            }
        }
        Step::Sync => session.sync(backend, peer).await,
        Step::Flush => peer.flush().await?,
        Step::Failed(error) => {
            session.extended_failed(backend, peer, &error).await;
            dialogue.skipping = true;
        }
        Step::FailedQuery(error) => session.query_failed(backend, peer, &error).await,
        Step::Fatal(error) => return Err(End::Fatal(error)),
        Step::Terminate => return Err(End::Gone),
        Step::Hop(core) => return Err(End::Hop(core)),
    }
    match session.ending() {
        Some(error) => Err(End::Fatal(error)),
        None => Ok(()),
    }
}

/// Answers the lookups that wait; `true` if what follows up to Sync is to be dropped.
async fn flush_points<S: ByteStream, B: Backend>(
    session: &mut Session<B>,
    backend: &B,
    peer: &mut Peer<S>,
) -> Result<bool, Gone> {
    match session.flush_points(backend, peer).await {
        Ok(()) => Ok(false),
        Err(Failure::Sql(_)) => Ok(true),
        Err(Failure::Gone) => Err(Gone),
    }
}

/// Looks now and then whether the client of a running statement is still there (client_connection_check_interval).
struct Presence(Option<Watch>);

struct Watch {
    interval: Duration,
    is_gone: Box<dyn Fn() -> bool>,
    interrupt: Arc<Interrupt>,
}

impl Presence {
    fn of<B: Backend>(session: &Session<B>, peer: &Peer<impl ByteStream>) -> Self {
        let watch = session.check_interval().and_then(|interval| {
            let interrupt = Arc::clone(session.interrupt());
            Some(Watch { interval, is_gone: peer.stream.absence()?, interrupt })
        });
        Self(watch)
    }

    /// Awaits what runs, which hears of it through its session if the client has gone.
    async fn watched<T>(&self, running: impl Future<Output = T>) -> T {
        let Some(Watch { interval, is_gone, interrupt }) = &self.0 else { return running.await };
        let mut running = pin!(running);
        let mut timer = pin!(runtime::sleep(*interval));
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = running.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            while timer.as_mut().poll(cx).is_ready() {
                timer.set(runtime::sleep(*interval));
                if is_gone() {
                    interrupt.abandon();
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn count_bytes<S, B: Backend>(backend: &B, peer: &mut Peer<S>) {
    let connections = &backend.metrics().connections;
    connections.received_bytes.add(std::mem::take(&mut peer.received_bytes));
    connections.sent_bytes.add(std::mem::take(&mut peer.sent_bytes));
}
