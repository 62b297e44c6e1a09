//! Sockets: connections on the core's [ring](super::ring), listeners on glommio's reactor.
//!
//! The socket itself is the standard library's, non-blocking, so a connection between two requests is a plain `Send` value
//! ([`Socket`]) and can move to another core.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_lite::future::poll_fn;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::io::PollableFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use super::GlommioCore;
use super::ring::{BUFFER_BYTES, Received, Request, Ring};
use crate::runtime::context;

/// The most that one request sends; more takes several turns.
const SEND_BYTES_MAX: usize = 64 << 10;
/// From this size on copying costs more than a system call.
const SEND_DIRECTLY_BYTES: usize = 32 << 10;
/// What an idle connection keeps for its next send.
const SPARE_BYTES_MAX: usize = 1 << 10;

/// A connected socket that belongs to no core: what moves between them. Non-blocking.
#[derive(Debug)]
pub enum Socket {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A Unix-domain connection.
    Unix(UnixStream),
}

impl Socket {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).read(buffer),
            Socket::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&mut &*stream).write(bytes),
            Socket::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Whether the other end has closed the connection, or the kernel has given it up.
    fn has_hung_up(&self) -> bool {
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut asked = [match self {
            Socket::Tcp(stream) => PollFd::new(stream, PollFlags::RDHUP),
            Socket::Unix(stream) => PollFd::new(stream, PollFlags::RDHUP),
        }];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut asked, Some(&now)), Ok(1..)) && asked[0].revents().intersects(gone)
    }

    /// Has the kernel probe whether the other end is still there once the connection is silent (TCP; nothing to do for Unix sockets).
    pub fn keep_alive(&self, probes: Probes) -> io::Result<()> {
        let Socket::Tcp(stream) = self else { return Ok(()) };
        sockopt::set_socket_keepalive(stream, true)?;
        if let Some(idle) = probes.idle {
            sockopt::set_tcp_keepidle(stream, idle)?;
        }
        if let Some(interval) = probes.interval {
            sockopt::set_tcp_keepintvl(stream, interval)?;
        }
        if let Some(count) = probes.count {
            sockopt::set_tcp_keepcnt(stream, count)?;
        }
        Ok(())
    }
}

/// When and how often the kernel probes a silent connection; `None` leaves a value to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// Silence before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Probes without an answer after which the connection is given up.
    pub count: Option<u32>,
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A process on this machine, through a Unix-domain socket.
    Local,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Tcp(address) => address.fmt(f),
            PeerAddress::Local => f.write_str("[local]"),
        }
    }
}

/// A connection on the current core.
///
/// What is written is sent with the core's next turn; errors of that show at the next write or flush.
pub struct Stream {
    core: Rc<GlommioCore>,
    socket: Rc<Socket>,
    receiving: Option<Request>,
    received: Option<Received>,
    sending: Option<Request>,
    /// The memory of the last send.
    spare: Vec<u8>,
    /// The last receive filled its buffer: larger ones go straight to the socket for a while.
    streaming: bool,
}

impl Stream {
    /// Takes a connection to the current core.
    pub fn from_socket(socket: Socket) -> io::Result<Stream> {
        match &socket {
            Socket::Tcp(stream) => stream.set_nonblocking(true)?,
            Socket::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(Stream {
            core: context::glommio_core(),
            socket: Rc::new(socket),
            receiving: None,
            received: None,
            sending: None,
            spare: Vec::new(),
            streaming: false,
        })
    }

    /// Connects to a TCP address. Blocks a helper thread, not the core; meant for tests and tools.
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let stream = crate::runtime::run_blocking(move || TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Stream::from_socket(Socket::Tcp(stream))
    }

    /// The connection as a value of no core, and what it has received meanwhile. Everything written is sent first.
    pub async fn into_socket(mut self) -> io::Result<(Socket, Vec<u8>)> {
        self.flush().await?;
        let mut unread = Vec::new();
        if let Some(receiving) = &self.receiving {
            receiving.cancel();
            match poll_fn(|cx| Ring::poll_received(receiving, cx)).await {
                Ok(received) => self.received = received,
                Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {}
                Err(error) => return Err(error),
            }
            self.receiving = None;
        }
        if let Some(mut received) = self.received.take() {
            unread.resize(BUFFER_BYTES, 0);
            let (count, _all) = received.copy_to(&mut unread);
            unread.truncate(count);
        }
        let socket = Rc::into_inner(self.socket).expect("no request that holds the socket is in flight");
        Ok((socket, unread))
    }

    /// Reads at least one byte, waiting for it; 0 means that the peer has closed its side. Cancel-safe.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_bytes(cx, buffer)).await
    }

    /// Waits until a read has something to say; needs no buffer of the caller's meanwhile. Cancel-safe.
    pub async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|cx| match &self.received {
            Some(_) => Poll::Ready(Ok(())),
            None => self.poll_received(cx).map_ok(|_open| ()),
        })
        .await
    }

    /// Gives back the memory of the last send, if that is over.
    pub fn rest(&mut self) {
        // If it has failed, the connection is broken, which whoever reads from it learns.
        let _over = self.poll_sent(&mut Context::from_waker(Waker::noop()));
        self.spare = Vec::new();
    }

    /// Tells whether the other end has closed the connection or is known to be gone, without reading.
    pub fn absence(&self) -> impl Fn() -> bool + use<> {
        let socket = Rc::clone(&self.socket);
        move || socket.has_hung_up()
    }

    /// Takes all the bytes, to be sent with the core's next turn. Dropped half-way, an unknown part has been written.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| self.poll_write_bytes(cx, bytes)).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Waits until everything written has been sent.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    /// Sends small packets at once (TCP; nothing to do for Unix sockets).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &*self.socket {
            Socket::Tcp(stream) => stream.set_nodelay(nodelay),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Who is at the other end.
    pub fn peer_address(&self) -> io::Result<PeerAddress> {
        match &*self.socket {
            Socket::Tcp(stream) => Ok(PeerAddress::Tcp(stream.peer_addr()?)),
            Socket::Unix(_) => Ok(PeerAddress::Local),
        }
    }

    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        assert!(!buffer.is_empty(), "a read into no space would look like the end of the connection");
        loop {
            if let Some(received) = &mut self.received {
                let (count, all) = received.copy_to(buffer);
                if all {
                    self.received = None;
                }
                return Poll::Ready(Ok(count));
            }
            if self.streaming && self.receiving.is_none() && buffer.len() > BUFFER_BYTES {
                match without_interruption(|| self.socket.read(buffer)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.streaming = false,
                    outcome => return Poll::Ready(outcome),
                }
            }
            if !ready!(self.poll_received(cx))? {
                return Poll::Ready(Ok(0));
            }
        }
    }

    /// Waits until something has been received, which is kept then; false at the end of the stream.
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let receiving = self.receiving.get_or_insert_with(|| self.core.ring().receive(&self.socket));
            let outcome = ready!(Ring::poll_received(receiving, cx));
            self.receiving = None;
            match outcome {
                Ok(None) => return Poll::Ready(Ok(false)),
                Ok(Some(received)) => {
                    self.streaming = received.filled_its_buffer();
                    self.received = Some(received);
                    return Poll::Ready(Ok(true));
                }
                // Every buffer was full at that moment; those who have been woken for them empty them in this very turn.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR | libc::ECANCELED)) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(cx))?;
        if bytes.len() >= SEND_DIRECTLY_BYTES {
            match without_interruption(|| self.socket.write(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                outcome => return Poll::Ready(outcome),
            }
        }
        let count = bytes.len().min(SEND_BYTES_MAX);
        let mut copy = mem::take(&mut self.spare);
        copy.extend_from_slice(&bytes[..count]);
        self.sending = Some(self.core.ring().send(&self.socket, copy));
        Poll::Ready(Ok(count))
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sending) = &self.sending else { return Poll::Ready(Ok(())) };
        let (outcome, mut bytes) = ready!(Ring::poll_sent(sending, cx));
        self.sending = None;
        let wanted = bytes.len();
        bytes.clear();
        if bytes.capacity() <= SPARE_BYTES_MAX {
            self.spare = bytes;
        }
        Poll::Ready(match outcome {
            Ok(sent) if sent == wanted => Ok(()),
            // All of it was asked for: less means that the connection has ended meanwhile.
            Ok(_part) => Err(io::ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
        })
    }
}

fn without_interruption(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_read_bytes(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_bytes(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_sent(cx))?;
        Poll::Ready(stream.socket.shutdown(Shutdown::Write))
    }
}

enum ListenerInner {
    Tcp(PollableFd<TcpListener>),
    /// With the path to remove at its end, if that is its business.
    Unix(PollableFd<UnixListener>, Option<PathBuf>),
}

/// A listening socket on the current core.
pub struct Listener {
    inner: ListenerInner,
}

impl Listener {
    /// Listens on a TCP address, without SO_REUSEPORT: a second server on the same port is refused (`AddrInUse`).
    pub fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
        Listener::from_tcp(TcpListener::bind(address)?)
    }

    /// Takes a TCP listener that is bound already.
    pub fn from_tcp(listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        Ok(Listener { inner: ListenerInner::Tcp(PollableFd::new(listener)?) })
    }

    /// Takes a Unix-domain listener that is bound already; whoever has bound it removes its path.
    pub fn from_unix(listener: UnixListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        Ok(Listener { inner: ListenerInner::Unix(PollableFd::new(listener)?, None) })
    }

    /// Listens on a Unix-domain path that does not exist; removed again when the listener is dropped.
    pub fn bind_unix(path: PathBuf) -> io::Result<Listener> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Listener { inner: ListenerInner::Unix(PollableFd::new(listener)?, Some(path)) })
    }

    /// The TCP address it listens on; `None` for a Unix-domain listener.
    pub fn local_address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.inner {
            ListenerInner::Tcp(listener) => Ok(Some(listener.get_ref().local_addr()?)),
            ListenerInner::Unix(..) => Ok(None),
        }
    }

    /// Waits for the next connection: its socket, to be served on any core.
    ///
    /// An error is about one connection (it was reset, or this process is out of files): sleep a little and accept again.
    pub async fn accept(&self) -> io::Result<Socket> {
        loop {
            match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match &self.inner {
                    ListenerInner::Tcp(listener) => listener.readable().await?,
                    ListenerInner::Unix(listener, _) => listener.readable().await?,
                },
                result => return result,
            }
        }
    }

    fn accept_now(&self) -> io::Result<Socket> {
        let socket = match &self.inner {
            ListenerInner::Tcp(listener) => Socket::Tcp(listener.get_ref().accept()?.0),
            ListenerInner::Unix(listener, _) => Socket::Unix(listener.get_ref().accept()?.0),
        };
        match &socket {
            Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
            }
            Socket::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenerInner::Unix(_, Some(path)) = &self.inner {
            // Nothing to do about a path that somebody else removed.
            let _gone = std::fs::remove_file(path);
        }
    }
}
