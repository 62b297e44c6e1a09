//! What ends a core's wait in its ring from another thread.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd that the ring polls. Nobody reads its counter: the poll is edge-triggered, so every ring of the bell completes it
/// again, and the counter has room for centuries of them.
pub(super) struct Bell {
    event: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? }))
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        rustix::io::write(&self.event, &1u64.to_ne_bytes()).expect("an eventfd of this process takes a small number");
    }
}
