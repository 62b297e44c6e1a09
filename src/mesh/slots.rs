//! Correlation slots: where a reply meets the task that awaits it. One table a peer; slots are reused, so a call allocates
//! nothing once the table has grown to the number of calls in flight.

use std::task::Waker;

use crate::runtime::MonoTime;

use super::MeshError;

enum Slot<R> {
    /// Free; the next free slot, if any.
    Free(Option<u32>),
    /// The reply is on its way; who waits, and since when (for sampled calls).
    Waiting(Option<Waker>, Option<MonoTime>),
    /// The caller is gone; the reply will be thrown away.
    Forgotten,
    /// The reply is here, not yet taken.
    Ready(Result<R, MeshError>),
}

/// What the arrival of a reply asks its receiver to do.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    /// Whom to wake.
    pub(super) waker: Option<Waker>,
    /// When the call started, if it is sampled.
    pub(super) started: Option<MonoTime>,
}

/// The slots towards one peer.
pub(super) struct Slots<R> {
    slots: Vec<Slot<R>>,
    free: Option<u32>,
}

impl<R> Slots<R> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: None }
    }

    /// A slot for a call that is about to be sent.
    pub(super) fn open(&mut self, started: Option<MonoTime>) -> u32 {
        let waiting = Slot::Waiting(None, started);
        match self.free {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                let Slot::Free(next) = *slot else { unreachable!("slots on the free list are free") };
                self.free = next;
                *slot = waiting;
                index
            }
            None => {
                let index = u32::try_from(self.slots.len()).expect("tasks awaiting one core are far fewer than 2^32");
                self.slots.push(waiting);
                index
            }
        }
    }

    /// The reply of a slot has arrived.
    pub(super) fn fill(&mut self, index: u32, reply: Result<R, MeshError>) -> Arrival {
        let slot = &mut self.slots[index as usize];
        match slot {
            Slot::Waiting(waker, started) => {
                let arrival = Arrival { waker: waker.take(), started: *started };
                *slot = Slot::Ready(reply);
                arrival
            }
            Slot::Forgotten => {
                self.release(index);
                Arrival::default()
            }
            Slot::Free(_) | Slot::Ready(_) => unreachable!("a call is answered exactly once"),
        }
    }

    /// Takes the reply if it is here, or leaves `waker` to be told.
    pub(super) fn poll(&mut self, index: u32, waker: &Waker) -> Option<Result<R, MeshError>> {
        let slot = &mut self.slots[index as usize];
        match slot {
            Slot::Ready(_) => {
                let Slot::Ready(reply) = self.release(index) else { unreachable!("matched just now") };
                Some(reply)
            }
            Slot::Waiting(waiting, _) => {
                match waiting {
                    Some(known) => known.clone_from(waker),
                    None => *waiting = Some(waker.clone()),
                }
                None
            }
            Slot::Free(_) | Slot::Forgotten => unreachable!("only the slot's caller polls it, until it has its reply"),
        }
    }

    /// The caller of a slot is gone before it took the reply.
    pub(super) fn forget(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        match slot {
            Slot::Waiting(..) => *slot = Slot::Forgotten,
            Slot::Ready(_) => drop(self.release(index)),
            Slot::Free(_) | Slot::Forgotten => unreachable!("a caller goes once"),
        }
    }

    fn release(&mut self, index: u32) -> Slot<R> {
        let old = std::mem::replace(&mut self.slots[index as usize], Slot::Free(self.free));
        self.free = Some(index);
        old
    }

    /// Slots that are not free.
    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.slots.iter().filter(|slot| !matches!(slot, Slot::Free(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_reused_in_every_order_of_events() {
        let mut slots: Slots<u32> = Slots::new();
        let waker = Waker::noop();

        let answered = slots.open(None);
        assert!(slots.poll(answered, waker).is_none());
        assert!(slots.fill(answered, Ok(1)).waker.is_some());
        assert_eq!(slots.poll(answered, waker), Some(Ok(1)));
        assert_eq!(slots.in_use(), 0);

        let gone_before_reply = slots.open(None);
        assert_eq!(gone_before_reply, answered, "a free slot is taken again");
        slots.forget(gone_before_reply);
        assert_eq!(slots.in_use(), 1, "the slot waits for the reply that is still on its way");
        assert!(slots.fill(gone_before_reply, Ok(2)).waker.is_none());
        assert_eq!(slots.in_use(), 0);

        let gone_after_reply = slots.open(None);
        slots.fill(gone_after_reply, Err(MeshError::Abandoned));
        slots.forget(gone_after_reply);
        assert_eq!(slots.in_use(), 0);

        let pair = [slots.open(None), slots.open(None)];
        assert_ne!(pair[0], pair[1]);
        assert_eq!(slots.in_use(), 2);
    }
}
