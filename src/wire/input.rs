//! The receive buffer of a connection.

/// The buffer's size while little is received, as from most clients.
const FIRST_BYTES: usize = 4 << 10;

/// Its size while more is received than that, but nothing unusual.
const ORDINARY_BYTES: usize = 16 << 10;

/// What has been received and not been used yet. Grows with what arrives, never with what is announced.
#[derive(Debug, Default)]
pub struct InputBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl InputBuffer {
    /// A buffer that already holds something.
    pub fn holding(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Self { bytes, start: 0, end }
    }

    /// What has not been used yet.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The same, for whoever decrypts it where it is.
    pub fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Marks bytes as used.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "only what is there can be used");
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room to receive into, given that a message of `wanted` bytes has begun.
    pub fn space(&mut self, wanted: usize) -> &mut [u8] {
        if self.start > 0 && self.bytes.len() - self.end < (self.bytes.len() / 2).min(ORDINARY_BYTES / 2) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() < FIRST_BYTES {
            self.bytes.resize(FIRST_BYTES, 0);
        }
        let held = self.end - self.start;
        if self.end == self.bytes.len() {
            // Doubling keeps copying linear; an announced length is honoured only as far as that.
            let size = (held * 2).min(wanted.max(held + 1)).max(ORDINARY_BYTES);
            self.bytes.resize(self.start + size, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Takes in what has been received into [`space`](Self::space).
    #[inline]
    pub fn received(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "no more is received than there was room for");
    }

    /// Gives back what an unusually large message needed, once it has been used.
    #[inline]
    pub fn shrink_if_idle(&mut self) {
        if self.start == self.end && self.bytes.len() > 4 * ORDINARY_BYTES {
            *self = Self::default();
        }
    }

    /// Gives back what is not in use.
    pub fn rest(&mut self) {
        if self.start == self.end {
            *self = Self::default();
        } else {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.bytes.truncate(self.end);
            self.bytes.shrink_to_fit();
        }
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(input: &mut InputBuffer, mut bytes: &[u8], wanted: usize) {
        while !bytes.is_empty() {
            let space = input.space(wanted);
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            input.received(count);
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn memory_follows_what_arrives() {
        let mut input = InputBuffer::default();
        receive(&mut input, b"begin", 1 << 30);
        assert!(input.held_bytes() <= ORDINARY_BYTES, "an announced length takes no memory");
        let large: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
        receive(&mut input, &large, 300_005);
        assert_eq!(&input.unread()[5..], large);
        assert!(input.held_bytes() < 2 * 300_005 + ORDINARY_BYTES);
        input.consume(5);
        input.shrink_if_idle();
        assert_eq!(input.unread(), large);
        input.consume(300_000);
        input.shrink_if_idle();
        assert_eq!(input.held_bytes(), 0);
    }

    #[test]
    fn at_rest_only_what_has_come_is_kept() {
        let mut input = InputBuffer::default();
        receive(&mut input, b"one message and a half", 22);
        input.consume(12);
        input.rest();
        assert_eq!((input.unread(), input.held_bytes()), (&b"and a half"[..], 10));
        receive(&mut input, b" more", 15);
        assert_eq!(input.unread(), b"and a half more");
        input.consume(15);
        input.rest();
        assert_eq!(input.held_bytes(), 0);
    }

    #[test]
    fn what_is_left_moves_to_the_front() {
        let mut input = InputBuffer::default();
        for round in 0..10_000u32 {
            receive(&mut input, &round.to_be_bytes(), 4);
            if round > 0 {
                assert_eq!(input.unread()[..4], (round - 1).to_be_bytes());
                input.consume(4);
            }
        }
        assert!(input.held_bytes() <= 2 * ORDINARY_BYTES);
    }
}
