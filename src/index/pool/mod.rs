//! Where blocks and leaves live: in chunks of 2 MiB on huge pages that all indexes of the process share.
//!
//! A look-up ends at a random place of a large memory. On 4 KiB pages that costs a walk of the page tables on top of the
//! fetch, in a virtual machine one of up to 24 steps, and the tables compete with the routing for the cache: on the
//! development machine huge pages make look-ups 1.7 times faster. A general allocator cannot be asked for them for some objects only.
//!
//! - `Pooled`, here, is to a chunk's slot what a `Box` is to the heap. A thread has a few fresh slots at hand (a
//!   *magazine*), so that it meets others only every [`MAGAZINE`] takes; blocks are taken once in some fifty inserts.
//! - `central` deals slots out of chunks and takes them back from whichever thread they end on. A chunk without any slot in
//!   use gives its memory back to the system.
//! - `pages` reserves address space and has huge pages made ready by a thread of their own: the system clears one in 250 us,
//!   more than a change of structure may take. In a hurry a chunk starts on small pages instead.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

mod central;
mod pages;

pub use central::pool_bytes;

/// Free slots a thread takes from the pool at once.
const MAGAZINE: usize = 16;

/// An owned value in a slot of the pool.
#[repr(transparent)]
pub(super) struct Pooled<T>(NonNull<T>);

// SAFETY: it owns its value as a `Box` does, and slots may be given back by any thread.
unsafe impl<T: Send> Send for Pooled<T> {}
// SAFETY: as for a `Box`.
unsafe impl<T: Sync> Sync for Pooled<T> {}

impl<T> Pooled<T> {
    /// Moves a value into the pool.
    pub(super) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= central::SLOT_ALIGN && size_of::<T>() > 0 && size_of::<T>() <= central::SLOT_BYTES_MAX) };
        let at = take(size_of::<T>()).cast::<T>();
        // SAFETY: the slot is as large and as aligned as asserted, and nobody else has it.
        unsafe { at.write(value) };
        Self(at)
    }

    /// Moves the value out.
    pub(super) fn into_inner(self) -> T {
        let at = self.0;
        std::mem::forget(self);
        // SAFETY: the slot holds a value that nobody else refers to, and is not read again.
        let value = unsafe { at.read() };
        give(size_of::<T>(), at.cast());
        value
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        // SAFETY: the slot holds a value that is not used after this.
        unsafe { self.0.drop_in_place() };
        give(size_of::<T>(), self.0.cast());
    }
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the slot holds a value for as long as `self` lives.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Pooled<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Clone> Clone for Pooled<T> {
    fn clone(&self) -> Self {
        Self::new(T::clone(self))
    }
}

impl<T: fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

/// A thread's free slots, by size.
struct Magazines(Vec<(usize, Vec<NonNull<u8>>)>);

thread_local! {
    static MAGAZINES: RefCell<Magazines> = const { RefCell::new(Magazines(Vec::new())) };
}

impl Magazines {
    fn of(&mut self, size: usize) -> &mut Vec<NonNull<u8>> {
        let at = match self.0.iter().position(|(held, _)| *held == size) {
            Some(at) => at,
            None => {
                self.0.push((size, Vec::with_capacity(MAGAZINE)));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }
}

impl Drop for Magazines {
    fn drop(&mut self) {
        for (size, free) in &mut self.0 {
            central::give(*size, free.drain(..));
        }
    }
}

/// Whether whoever takes slots can wait for the system to clear a huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hurry {
    /// A single operation, whose time is bounded.
    Yes,
    /// Bulk loading, which takes slots faster than pages are made ready.
    No,
}

/// Sees to it that the next value of type `T` finds a slot without hurry.
pub(super) fn stock_up<T>() {
    let size = size_of::<T>();
    // A thread that ends has no magazines any more, and takes its slots one by one.
    let _ = MAGAZINES.try_with(|magazines| {
        let mut magazines = magazines.borrow_mut();
        let free = magazines.of(size);
        if free.is_empty() {
            central::take(size, MAGAZINE, Hurry::No, free);
        }
    });
}

fn take(size: usize) -> NonNull<u8> {
    let from_magazine = |magazines: &RefCell<Magazines>| {
        let mut magazines = magazines.borrow_mut();
        let free = magazines.of(size);
        if free.is_empty() {
            central::take(size, MAGAZINE, Hurry::Yes, free);
        }
        free.pop().expect("the pool gives at least one")
    };
    MAGAZINES.try_with(from_magazine).unwrap_or_else(|_| {
        let mut one = Vec::new();
        central::take(size, 1, Hurry::Yes, &mut one);
        one[0]
    })
}

/// Gives a slot back at once: kept here, it could be the last one in use of its chunk.
fn give(size: usize, slot: NonNull<u8>) {
    central::give(size, std::iter::once(slot));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values keep what they hold while slots are taken and given back on several threads.
    #[test]
    fn slots_are_never_shared_whichever_thread_gives_them_back() {
        const VALUES: usize = if cfg!(miri) { 60 } else { 20_000 };
        let make = |round: usize| (0..VALUES).map(|i| Pooled::new([round * VALUES + i; 50])).collect::<Vec<_>>();
        let hold = |values: &[Pooled<[usize; 50]>], round: usize| {
            values.iter().enumerate().all(|(i, value)| value.iter().all(|word| *word == round * VALUES + i))
        };
        let mut kept = make(0);
        for round in 1..4 {
            let other = std::thread::spawn(move || {
                assert!(hold(&kept, round - 1));
                let fresh = make(round);
                assert!(hold(&kept, round - 1) && hold(&fresh, round));
                drop(kept);
                fresh
            });
            kept = other.join().expect("the thread's assertions hold");
            assert!(hold(&kept, round));
        }
        let first = kept.swap_remove(0);
        assert_eq!(first.into_inner(), [3 * VALUES; 50]);
    }

    #[test]
    fn chunks_without_values_give_their_memory_back() {
        const VALUES: usize = if cfg!(miri) { 20 } else { 20_000 };
        // A size that no other test uses.
        let mut values: Vec<_> = (0..VALUES).map(|i| Pooled::new([i as u8; 999])).collect();
        assert!(central::bytes_of(999) >= VALUES * 999);
        // In an order that has nothing to do with where they are.
        (0..VALUES).for_each(|i| values.swap(i, i * 7919 % VALUES));
        drop(values);
        assert!(central::bytes_of(999) <= 2 * central::CHUNK_BYTES, "one chunk stays for the next, and one may be a magazine's");
    }
}
