//! What a connection needs of its transport, and a transport in memory for tests and simulations.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::runtime::net::{PeerAddress, Stream};
use crate::wire::tls::Tls;

/// A connected byte stream of the current core.
#[allow(async_fn_in_trait)] // Streams stay on their core.
pub trait ByteStream {
    /// Reads at least one byte, waiting for it; 0 means that the peer has closed its side. Cancel-safe.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes all the bytes, to be sent soon. Dropped half-way, an unknown part has been written.
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything written has been sent.
    async fn flush(&mut self) -> io::Result<()>;

    /// Waits until a read has something to say, without a buffer where that can be done. Cancel-safe.
    async fn readable(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Gives back what memory is kept for the next read or write: there may be none for long.
    fn rest(&mut self) {}

    /// Tells whether the client has gone, if that can be found out while nobody reads.
    fn absence(&self) -> Option<Box<dyn Fn() -> bool>> {
        None
    }

    /// Says to the other side, if there is a way to say it, that nothing more comes.
    async fn close(&mut self) {}

    /// Where the client is, if it has an address.
    fn client(&self) -> Option<SocketAddr> {
        None
    }

    /// How it is encrypted, if it is.
    fn tls(&self) -> Option<&Tls> {
        None
    }
}

impl ByteStream for Stream {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Stream::read(self, buffer).await
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Stream::write_all(self, bytes).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Stream::flush(self).await
    }

    async fn readable(&mut self) -> io::Result<()> {
        Stream::readable(self).await
    }

    fn rest(&mut self) {
        Stream::rest(self);
    }

    fn absence(&self) -> Option<Box<dyn Fn() -> bool>> {
        Some(Box::new(Stream::absence(self)))
    }

    fn client(&self) -> Option<SocketAddr> {
        match self.peer_address() {
            Ok(PeerAddress::Tcp(address)) => Some(address),
            Ok(PeerAddress::Local) | Err(_) => None,
        }
    }
}

/// Bytes of one direction that may wait in memory.
const PIPE_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    closed: bool,
    wakers: Vec<Waker>,
}

impl Pipe {
    fn changed(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// One end of a stream in memory.
#[derive(Debug)]
pub struct MemoryStream {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
}

/// A stream in memory: its two ends. Bounded, so that a writer waits for its reader as on a socket.
pub fn memory_stream() -> (MemoryStream, MemoryStream) {
    let (a, b) = (Rc::<RefCell<Pipe>>::default(), Rc::<RefCell<Pipe>>::default());
    let left = MemoryStream { incoming: Rc::clone(&a), outgoing: Rc::clone(&b) };
    (left, MemoryStream { incoming: b, outgoing: a })
}

impl ByteStream for MemoryStream {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "a read into no space would look like the end of the stream");
        poll_fn(|cx| {
            let mut pipe = self.incoming.borrow_mut();
            if pipe.bytes.is_empty() && !pipe.closed {
                pipe.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            let count = buffer.len().min(pipe.bytes.len());
            for (slot, byte) in buffer.iter_mut().zip(pipe.bytes.drain(..count)) {
                *slot = byte;
            }
            pipe.changed();
            Poll::Ready(Ok(count))
        })
        .await
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        poll_fn(|cx| {
            let mut pipe = self.outgoing.borrow_mut();
            while !rest.is_empty() {
                if pipe.closed {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                let count = rest.len().min(PIPE_BYTES_MAX - pipe.bytes.len());
                if count == 0 {
                    pipe.wakers.push(cx.waker().clone());
                    return Poll::Pending;
                }
                pipe.bytes.extend(&rest[..count]);
                rest = &rest[count..];
                pipe.changed();
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut pipe = self.incoming.borrow_mut();
            if pipe.bytes.is_empty() && !pipe.closed {
                pipe.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn absence(&self) -> Option<Box<dyn Fn() -> bool>> {
        let incoming = Rc::clone(&self.incoming);
        Some(Box::new(move || incoming.borrow().closed))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        for pipe in [&self.incoming, &self.outgoing] {
            let mut pipe = pipe.borrow_mut();
            pipe.closed = true;
            pipe.changed();
        }
    }
}
