//! How long sessions have waited for locks, for whoever tells a statement's waiting from its running.
//!
//! A wait ends on the core that has the row, and its time is wanted on the core of the session: so it is noted under the session's
//! process id, and fetched at the end of the statement. Who has waited for nothing, which is nearly everybody, looks at one word that
//! nobody writes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

/// Nanoseconds waited, by process id, since they were last fetched.
#[derive(Debug, Default)]
pub struct LockWaits {
    waited: Mutex<FxHashMap<i32, u64>>,
    sessions: AtomicUsize,
}

impl LockWaits {
    /// A session has waited. Process id 0, which is no session's, is not noted.
    pub fn add(&self, pid: i32, nanos: u64) {
        if pid == 0 {
            return;
        }
        let mut waited = self.lock();
        *waited.entry(pid).or_default() += nanos;
        self.sessions.store(waited.len(), Ordering::Release);
    }

    /// How long a session has waited since it was last asked.
    #[inline]
    pub fn take(&self, pid: i32) -> u64 {
        if self.sessions.load(Ordering::Acquire) == 0 { 0 } else { self.fetch(pid) }
    }

    fn fetch(&self, pid: i32) -> u64 {
        let mut waited = self.lock();
        let nanos = waited.remove(&pid).unwrap_or(0);
        self.sessions.store(waited.len(), Ordering::Release);
        nanos
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<i32, u64>> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up_and_are_fetched_once() {
        let waits = LockWaits::default();
        assert_eq!(waits.take(1), 0);
        waits.add(1, 5);
        waits.add(2, 7);
        waits.add(1, 6);
        waits.add(0, 100);
        assert_eq!((waits.take(1), waits.take(1), waits.take(2)), (11, 0, 7));
        assert_eq!(waits.sessions.load(Ordering::Relaxed), 0, "nobody has anything left");
    }
}
