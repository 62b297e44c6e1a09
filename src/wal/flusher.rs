//! Group commit: one flush in flight, and everything appended meanwhile in the next.
//!
//! A flush begins when its core has nothing else to do, or after [`PATIENCE`] on a busy one. What is ready to run may bring more
//! records, and on a busy core the CPU time of a flush (a write, a flush of the device, their interrupts and helper threads in the
//! kernel) is dearer than the wait. A lone client waits for nothing: its core is idle as soon as it waits.

use std::rc::Rc;
use std::time::Duration;

use super::counters::add;
use super::error::WalError;
use super::state::Group;
use super::writer::{FlushReport, Inner};
use crate::runtime::{IoBuf, now, until_idle};

/// How long a busy core lets records gather: about half a flush.
const PATIENCE: Duration = Duration::from_micros(200);

/// Flushes until the log fails, or is closed and everything is durable.
pub(super) async fn run(inner: Rc<Inner>) {
    loop {
        let gathers = !inner.state.borrow().pending.is_empty();
        if gathers {
            until_idle(PATIENCE).await;
        }
        let (group, closing) = {
            let mut state = inner.state.borrow_mut();
            if state.failure.is_some() {
                break;
            }
            (state.begin_flush(), state.closing)
        };
        match group {
            Some(group) => {
                if let Err(error) = flush(&inner, group).await {
                    inner.poison(error);
                }
            }
            None if closing => break,
            None => inner.work.notified().await,
        }
    }
    inner.flusher_ended.set();
}

/// Writes a group and makes it durable. An error leaves it unknown how much of it is (invariant 7).
async fn flush(inner: &Inner, group: Group) -> Result<(), WalError> {
    let started = now();
    let buffer = IoBuf::padded(&group.bytes);
    let written = group.file.write_durable(&buffer, group.offset).await;
    written.map_err(|cause| WalError::Poisoned {
        doing: "writing",
        path: group.file.path().to_owned(),
        cause: Rc::new(cause),
    })?;
    let duration = started.elapsed();
    let (bytes, records) = (buffer.len() as u64, group.records);
    let (durable_lsn, lowest_unflushed_ts) = {
        let mut state = inner.state.borrow_mut();
        if let Some(failure) = &state.failure {
            // The supplier failed meanwhile; nothing is reported durable after that.
            return Err(failure.clone());
        }
        state.finish_flush(group);
        (state.durable, state.lowest_unflushed_ts())
    };
    let counters = &inner.counters;
    add(&counters.flushes, 1);
    add(&counters.bytes_written, bytes);
    add(&counters.flush_nanos, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    counters.group_records_max.set(counters.group_records_max.get().max(records));
    inner.durable.wake_all();
    inner.room.wake_all();
    let hook = inner.on_flush.borrow().clone();
    if let Some(hook) = hook {
        hook(&FlushReport { durable_lsn, records, bytes, duration, lowest_unflushed_ts });
    }
    Ok(())
}
