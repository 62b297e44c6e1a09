//! The log of one core: opening it, what happens after each flush, and what happens when it fails.
//!
//! Architecture Invariant: POISON ON FSYNC ERROR. A failed write or sync of the log stops the server; it is never retried.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::base::CommitTs;
use crate::shard::engine::Engine;
use crate::wal::{FlushReport, Wal};

impl Engine {
    /// Starts using an opened log: writes are accepted from here on.
    pub(super) fn adopt_log(&self, wal: Wal) {
        // What earlier starts have left asks for a checkpoint like what this one writes: the next start reads all of it.
        self.0.shared.log_bytes[self.0.core.index()].store(wal.bytes_held(), Ordering::Relaxed);
        let (after_flush, after_failure) = (self.clone(), self.clone());
        wal.start(
            move |report: &FlushReport| {
                after_flush.0.shared.clock.set_undurable(after_flush.0.core, report.lowest_unflushed_ts);
                after_flush.0.shared.log_bytes[after_flush.0.core.index()].fetch_add(report.bytes, Ordering::Relaxed);
                if let Some(observer) = after_flush.0.on_flush.borrow().as_ref() {
                    observer(report);
                }
                after_flush.durability_advanced();
            },
            move |error| after_failure.stop_for_failure(&error.to_string()),
        );
        self.0.shard.borrow_mut().wal = Some(wal);
    }

    /// Stops the server, because of its disk or its log: what is not durable never will be, and nobody may be told that it is.
    pub fn stop_for_failure(&self, why: &str) {
        self.0.shared.stopping.store(true, Ordering::SeqCst);
        tracing::error!(core = %self.0.core, why, "the server cannot go on and stops");
        let waiters = self.0.shard.try_borrow_mut().map(|mut shard| shard.durable_waiters.take_all()).unwrap_or_default();
        for waiter in waiters {
            waiter.fail();
        }
        if let Some(stop) = self.0.on_failure.borrow().as_ref() {
            stop(why);
        }
    }

    /// What to do when the server cannot go on: the server passes how it stops the process.
    pub fn on_failure(&self, stop: impl Fn(&str) + 'static) {
        *self.0.on_failure.borrow_mut() = Some(Rc::new(stop));
    }

    /// Calls `observer` after each flush of this core's log (metrics).
    pub fn on_flush(&self, observer: impl Fn(&FlushReport) + 'static) {
        *self.0.on_flush.borrow_mut() = Some(Rc::new(observer));
    }

    /// Recycles log segments that a finished checkpoint covers.
    pub(super) async fn recycle_log_here(&self, through: CommitTs) {
        let wal = self.0.shard.borrow().wal.clone();
        if let Some(wal) = wal
            && let Err(error) = wal.recycle(through, None).await
        {
            tracing::warn!(core = %self.0.core, %error, "log segments could not be recycled");
        }
    }

    /// Writes out the log and stops its tasks.
    pub(super) async fn close_log_here(&self) {
        let wal = self.0.shard.borrow().wal.clone();
        if let Some(wal) = wal
            && let Err(error) = wal.shutdown().await
        {
            tracing::error!(core = %self.0.core, %error, "the log could not be closed");
        }
    }
}
