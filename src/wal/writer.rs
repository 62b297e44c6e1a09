//! The log of one core as the engine sees it: reserve, append, wait.
//!
//! Invariants relied on here and promised to callers:
//! - DENSE CLOCK (2): a [`Reservation`] taken before the clock is drawn makes [`Wal::append`] certain to find room.
//! - ACK ⇒ DURABLE (3): [`Wal::lowest_unflushed_ts`] covers every appended commit that is not durable.
//! - POISON (7): after a failed write or sync nothing becomes durable any more, nothing can be reserved, and the callback that stops
//!   the server has been called once.
//!
//! One instance a core, cheap to clone. Appending, reserving and asking never await; no borrow of the state outlives a call.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::bytes::align_up;
use super::counters::{WalCounters, add};
use super::error::WalError;
use super::incarnation::Incarnation;
use super::record::{Body, RECORD_BYTES_MAX};
use super::segment::{SEGMENT_HEADER_BYTES, log_directory};
use super::state::State;
use super::{flusher, supply};
use crate::base::{CommitTs, CoreId, Lsn, TxnId};
use crate::runtime::sync::{Event, Notify, WaitQueue};
use crate::runtime::{BLOCK, QueueClass, spawn};

/// The smallest segment size, for tests.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The largest segment size.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// At most this many segments are prepared beyond the configured number while reservations wait.
const EXTRA_READY_MAX: usize = 4;

/// How to run a core's log.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// The data directory.
    pub root: PathBuf,
    /// Whose log.
    pub core: CoreId,
    /// This start of the server; the manifest that names it is durable.
    pub incarnation: Incarnation,
    /// Size of a segment file: a multiple of [`BLOCK`] within the limits above.
    pub segment_bytes: u64,
    /// Segments kept ready beyond the current one, at least 1.
    pub spares: usize,
    /// Files kept for reuse beyond those.
    pub recycled_max: usize,
    /// Bytes appended and not durable at which reservations wait.
    pub backlog_bytes_max: u64,
}

impl WalOptions {
    /// The defaults: segments of 64 MiB, two ready, eight files kept, 64 MiB of backlog.
    pub fn new(root: impl Into<PathBuf>, core: CoreId, incarnation: Incarnation) -> Self {
        Self {
            root: root.into(),
            core,
            incarnation,
            segment_bytes: 64 << 20,
            spares: 2,
            recycled_max: 8,
            backlog_bytes_max: 64 << 20,
        }
    }

    pub(super) fn check(&self) {
        let sound = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(BLOCK as u64);
        assert!(sound, "segments are whole blocks between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX} bytes");
        assert!(self.spares > 0, "a log that may not prepare a segment stops at the end of the first");
        assert!(self.incarnation.0 > 0, "incarnations count from 1");
    }

    /// The longest record: a quarter of a segment, so that one can always be promised on empty segments.
    pub fn record_bytes_max(&self) -> usize {
        let quarter = (self.segment_bytes - 2 * SEGMENT_HEADER_BYTES) / 4;
        let whole_blocks = usize::try_from(quarter).expect("a segment is at most 1 GiB") / BLOCK * BLOCK;
        whole_blocks.min(RECORD_BYTES_MAX)
    }
}

/// What one flush achieved. Handed to the callback of [`Wal::start`] when it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushReport {
    /// Everything before this position is durable.
    pub durable_lsn: Lsn,
    /// Records in the group.
    pub records: u64,
    /// Bytes written to the device, padding included.
    pub bytes: u64,
    /// From the write's submission until it was durable.
    pub duration: Duration,
    /// The lowest timestamp that is appended and still not durable.
    pub lowest_unflushed_ts: Option<CommitTs>,
}

pub(super) type FlushHook = Rc<dyn Fn(&FlushReport)>;
pub(super) type PoisonHook = Rc<dyn Fn(&WalError)>;

/// What the log's tasks and its users share.
pub(super) struct Inner {
    pub(super) options: WalOptions,
    pub(super) directory: PathBuf,
    pub(super) state: RefCell<State>,
    pub(super) counters: WalCounters,
    /// The flusher has something to do.
    pub(super) work: Notify,
    /// The supplier has something to do.
    pub(super) supply: Notify,
    /// Reservations that wait for room.
    pub(super) room: WaitQueue,
    /// Those who wait for durability.
    pub(super) durable: WaitQueue,
    /// How many of `room` wait for a segment.
    pub(super) waiting_for_segment: Cell<usize>,
    /// Attempts to make a segment, and the error of the last one if the disk was full.
    pub(super) supply_attempts: Cell<u64>,
    pub(super) supply_error: RefCell<Option<WalError>>,
    pub(super) recycling: Cell<bool>,
    pub(super) on_flush: RefCell<Option<FlushHook>>,
    pub(super) on_poison: RefCell<Option<PoisonHook>>,
    pub(super) flusher_ended: Event,
    pub(super) supplier_ended: Event,
}

impl Inner {
    /// Invariant 7. The first failure counts; nothing is flushed or promised after it.
    pub(super) fn poison(&self, error: WalError) {
        {
            let mut state = self.state.borrow_mut();
            if state.failure.is_some() {
                return;
            }
            state.failure = Some(error.clone());
        }
        self.room.wake_all();
        self.durable.wake_all();
        self.work.notify();
        self.supply.notify();
        let hook = self.on_poison.borrow().clone();
        if let Some(hook) = hook {
            hook(&error);
        }
    }

    /// Whether another segment should be made.
    pub(super) fn wants_segment(&self) -> bool {
        let state = self.state.borrow();
        let wanted = self.options.spares + self.waiting_for_segment.get().min(EXTRA_READY_MAX);
        state.failure.is_none() && !state.closing && state.ready.len() < wanted
    }

    fn release(&self, bytes: usize) {
        self.state.borrow_mut().promised.release(bytes);
        if !self.room.is_empty() {
            self.room.wake_all();
        }
    }
}

/// A promise of room for one record. Dropped unused, it gives the room back.
#[must_use = "a reservation is for a record"]
pub struct Reservation {
    inner: Rc<Inner>,
    bytes: usize,
}

impl Reservation {
    /// The longest record that it is for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inner.release(self.bytes);
    }
}

/// One core's log.
#[derive(Clone)]
pub struct Wal {
    pub(super) inner: Rc<Inner>,
}

impl Wal {
    /// Opens the log of a core for a new incarnation. Recovery is done and has kept everything up to `recovered`: all segments
    /// found are of earlier incarnations and needed until a checkpoint through `recovered`; empty ones are used again now.
    ///
    /// Records can be appended at once; they become durable after [`Wal::start`].
    pub async fn open(options: WalOptions, recovered: CommitTs) -> Result<Wal, WalError> {
        options.check();
        let directory = log_directory(&options.root, options.core);
        let state = supply::open(&options, &directory, recovered).await?;
        let inner = Inner {
            options,
            directory,
            state: RefCell::new(state),
            counters: WalCounters::default(),
            work: Notify::new(),
            supply: Notify::new(),
            room: WaitQueue::new(),
            durable: WaitQueue::new(),
            waiting_for_segment: Cell::new(0),
            supply_attempts: Cell::new(0),
            supply_error: RefCell::new(None),
            recycling: Cell::new(false),
            on_flush: RefCell::new(None),
            on_poison: RefCell::new(None),
            flusher_ended: Event::new(),
            supplier_ended: Event::new(),
        };
        Ok(Wal { inner: Rc::new(inner) })
    }

    /// Starts flushing and preparing segments, as two tasks of [`QueueClass::Log`].
    ///
    /// `on_flush` is called after every flush; `on_poison` once, if the log fails (invariant 7): it must stop the server. Neither
    /// may call back into this log other than to ask.
    pub fn start(&self, on_flush: impl Fn(&FlushReport) + 'static, on_poison: impl Fn(&WalError) + 'static) {
        let started_before = self.inner.on_flush.replace(Some(Rc::new(on_flush))).is_some();
        assert!(!started_before, "a log is started once");
        *self.inner.on_poison.borrow_mut() = Some(Rc::new(on_poison));
        spawn(QueueClass::Log, flusher::run(Rc::clone(&self.inner)));
        spawn(QueueClass::Log, supply::run(Rc::clone(&self.inner)));
    }

    /// The options it was opened with.
    pub fn options(&self) -> &WalOptions {
        &self.inner.options
    }

    /// The longest record it takes; larger transactions are logged in chunks.
    pub fn record_bytes_max(&self) -> usize {
        self.inner.options.record_bytes_max()
    }

    /// Promises room for a record of `bytes` ([`Body::encoded_bytes`]) without waiting.
    ///
    /// [`WalError::NoSpare`] and [`WalError::Backlog`] mean that [`Wal::reserve_wait`] may succeed.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, WalError> {
        let mut state = self.inner.state.borrow_mut();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if state.closing {
            return Err(WalError::Closed);
        }
        let limit = self.record_bytes_max();
        if bytes > limit {
            return Err(WalError::TooLarge { bytes, limit });
        }
        let waiting = state.backlog + state.promised.bytes();
        if waiting > 0 && waiting + bytes as u64 > self.inner.options.backlog_bytes_max {
            return Err(WalError::Backlog);
        }
        if !state.reserve(bytes) {
            return Err(WalError::NoSpare);
        }
        Ok(Reservation { inner: Rc::clone(&self.inner), bytes })
    }

    /// Promises room for a record, waiting for the disk or for a segment. [`WalError::DiskFull`] when the file system has no room for
    /// one; every call asks it anew, so writing goes on when there is room again.
    pub async fn reserve_wait(&self, bytes: usize) -> Result<Reservation, WalError> {
        let inner = &self.inner;
        let attempts_before = inner.supply_attempts.get();
        loop {
            match self.reserve(bytes) {
                Err(WalError::Backlog) => inner.room.wait().await,
                Err(WalError::NoSpare) => {
                    if inner.supply_attempts.get() != attempts_before
                        && let Some(full) = inner.supply_error.borrow().clone()
                    {
                        return Err(full);
                    }
                    let _waiting = CountGuard::new(&inner.waiting_for_segment);
                    inner.supply.notify();
                    inner.room.wait().await;
                }
                outcome => return outcome,
            }
            add(&inner.counters.reserve_waits, 1);
        }
    }

    /// Appends a record to what the next flush makes durable, and tells where it ends. Never fails: after a failure of the log
    /// the record is simply never durable.
    ///
    /// # Panics
    /// If the record is longer than the reservation, or its chunks are not what was appended before.
    pub fn append(&self, reservation: Reservation, body: &Body<'_>) -> Lsn {
        let inner = &self.inner;
        assert!(Rc::ptr_eq(&reservation.inner, inner), "the reservation is for this log");
        let bytes = body.encoded_bytes();
        assert!(bytes <= reservation.bytes, "{bytes} bytes were appended on a reservation of {}", reservation.bytes);
        let (end, moved_on) = inner.state.borrow_mut().append(body);
        // Released after the append: until then the room is spoken for.
        drop(reservation);
        add(&inner.counters.records, 1);
        add(&inner.counters.record_bytes, bytes as u64);
        inner.work.notify();
        if moved_on {
            inner.supply.notify();
        }
        end
    }

    /// Tells the log that a transaction whose chunks were appended has aborted, so that they hold no segment any more.
    pub fn abandon_chunks(&self, txn: TxnId) {
        self.inner.state.borrow_mut().abandon_chunks(txn);
    }

    /// The lowest timestamp that is appended and not durable, over the flush in flight and what waits for the next.
    pub fn lowest_unflushed_ts(&self) -> Option<CommitTs> {
        self.inner.state.borrow().lowest_unflushed_ts()
    }

    /// Everything before this position is durable.
    pub fn durable_lsn(&self) -> Lsn {
        self.inner.state.borrow().durable
    }

    /// The end of the last record appended.
    pub fn appended_lsn(&self) -> Lsn {
        self.inner.state.borrow().appended
    }

    /// Waits until everything before `lsn` is durable.
    pub async fn flushed(&self, lsn: Lsn) -> Result<(), WalError> {
        let inner = &self.inner;
        assert!(lsn <= self.appended_lsn(), "only what was appended becomes durable");
        let reached = || {
            let state = inner.state.borrow();
            state.durable >= lsn || state.failure.is_some()
        };
        inner.durable.wait_until(reached).await;
        let state = inner.state.borrow();
        match &state.failure {
            Some(failure) if state.durable < lsn => Err(failure.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// The failure that has stopped the log, if one has.
    pub fn failure(&self) -> Option<WalError> {
        self.inner.state.borrow().failure.clone()
    }

    /// Bytes of log that a restart would have to read, in whole segments: what asks for a checkpoint.
    pub fn bytes_held(&self) -> u64 {
        let state = self.inner.state.borrow();
        let full: u64 = state.full.iter().map(|full| full.bytes).sum();
        full + align_up(state.current.end, BLOCK as u64)
    }

    /// Totals since the log was opened.
    pub fn counters(&self) -> &WalCounters {
        &self.inner.counters
    }

    /// Frees the oldest segments that nothing above `through` needs, that end before `hold` and that hold no chunk of a running
    /// transaction, for use again. `through` is a checkpoint whose manifest is durable. Tells how many were freed.
    pub async fn recycle(&self, through: CommitTs, hold: Option<Lsn>) -> Result<usize, WalError> {
        supply::recycle(&self.inner, through, hold).await
    }

    /// Flushes what was appended and ends the log's tasks. Nothing can be reserved once this is called.
    pub async fn shutdown(&self) -> Result<(), WalError> {
        let inner = &self.inner;
        inner.state.borrow_mut().closing = true;
        inner.room.wake_all();
        inner.work.notify();
        inner.supply.notify();
        if inner.on_flush.borrow().is_some() {
            inner.flusher_ended.wait().await;
            inner.supplier_ended.wait().await;
        }
        let state = inner.state.borrow();
        assert!(state.failure.is_some() || state.backlog == 0 || inner.on_flush.borrow().is_none());
        state.failure.clone().map_or(Ok(()), Err)
    }
}

/// Counts its holder for as long as it lives.
struct CountGuard<'a>(&'a Cell<usize>);

impl<'a> CountGuard<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
