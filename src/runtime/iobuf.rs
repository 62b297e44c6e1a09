//! Buffers for files.

use std::fmt;
use std::rc::Rc;

use super::glommio::file::{DmaMemory, zeroed_memory};

/// The unit of file writes, in bytes: positions and lengths are multiples of it. At least the logical block size of every
/// disk in use, so that direct I/O takes it.
pub const BLOCK: usize = 4096;

/// A buffer aligned for direct I/O.
///
/// A write borrows it and the kernel keeps its own share until it is done, so dropping a write half-way is safe. Changing the
/// bytes while a dropped write still runs copies them first.
pub struct IoBuf {
    memory: Rc<DmaMemory>,
}

impl IoBuf {
    /// `len` zero bytes. `len` is a positive multiple of [`BLOCK`].
    pub fn zeroed(len: usize) -> Self {
        assert!(len > 0 && len.is_multiple_of(BLOCK), "file buffers are whole blocks, not {len} bytes");
        Self { memory: Rc::new(zeroed_memory(len)) }
    }

    /// `bytes`, followed by zeros up to a whole block.
    pub fn padded(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len().next_multiple_of(BLOCK).max(BLOCK));
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        buffer
    }

    /// Its length in bytes, a multiple of [`BLOCK`].
    pub fn len(&self) -> usize {
        self.memory.as_bytes().len()
    }

    /// Always false: there are no empty buffers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.memory.as_bytes()
    }

    /// The bytes, to change.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        if Rc::get_mut(&mut self.memory).is_none() {
            let mut copy = zeroed_memory(self.len());
            copy.as_bytes_mut().copy_from_slice(self.memory.as_bytes());
            self.memory = Rc::new(copy);
        }
        Rc::get_mut(&mut self.memory).expect("made unique just now").as_bytes_mut()
    }

    /// Drops what is beyond `len`, a positive multiple of [`BLOCK`] no larger than the buffer. It does not grow again.
    pub fn truncate(&mut self, len: usize) {
        assert!(len > 0 && len.is_multiple_of(BLOCK) && len <= self.len(), "cannot truncate {} to {len}", self.len());
        if len == self.len() {
            return;
        }
        self.as_mut_slice();
        Rc::get_mut(&mut self.memory).expect("made unique just now").trim_to_size(len);
    }

    /// The kernel's share of the buffer during a write.
    pub(super) fn share(&self) -> Rc<DmaMemory> {
        Rc::clone(&self.memory)
    }
}

impl fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoBuf({} bytes)", self.len())
    }
}
