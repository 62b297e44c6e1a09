//! Sockets on glommio's reactor.
//!
//! The socket itself is the standard library's, non-blocking; glommio only says when it is ready. So a connection is a plain
//! `Send` value between two awaits ([`Socket`]) and can move to another core, and nothing here needs `unsafe`.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_lite::future::poll_fn;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::io::{PollState, PollableFd};

/// Every poll of a waiting socket leaves a waker with glommio until the socket is ready; after this many the wait is
/// registered anew, so that a task woken often by other things does not gather them.
const POLLS_PER_REGISTRATION_MAX: u32 = 32;

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

/// One direction of waiting.
#[derive(Default)]
struct Wait {
    state: PollState,
    polls: u32,
    armed: bool,
}

impl Wait {
    fn poll(&mut self, fd: &PollableFd<Socket>, cx: &mut Context<'_>, read: bool) -> Poll<io::Result<()>> {
        if self.polls >= POLLS_PER_REGISTRATION_MAX {
            *self = Wait::default();
        }
        self.armed = true;
        self.polls += 1;
        let outcome = if read { fd.poll_readable(cx, &mut self.state) } else { fd.poll_writable(cx, &mut self.state) };
        let result = ready!(outcome);
        self.polls = 0;
        self.armed = false;
        Poll::Ready(result.map_err(io::Error::from))
    }
}

/// A connection on the current core.
pub struct Stream {
    fd: PollableFd<Socket>,
    reading: Wait,
    writing: Wait,
    /// The last read took all there was, so the next one waits first instead of asking in vain.
    drained: bool,
}

impl Stream {
    /// Takes a connection to the current core.
    pub fn from_socket(socket: Socket) -> io::Result<Stream> {
        match &socket {
            Socket::Tcp(stream) => stream.set_nonblocking(true)?,
            Socket::Unix(stream) => stream.set_nonblocking(true)?,
        }
        Ok(Stream { fd: PollableFd::new(socket)?, reading: Wait::default(), writing: Wait::default(), drained: false })
    }

    /// Connects to a TCP address. Blocks a helper thread, not the core; meant for tests and tools.
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let stream = crate::runtime::run_blocking(move || TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Stream::from_socket(Socket::Tcp(stream))
    }

    /// Gives the connection up, to be sent to another core. Nothing is lost: bytes not yet read stay in the kernel.
    pub fn into_socket(self) -> Socket {
        self.fd.into_inner()
    }

    /// Reads what is there, at least one byte, waiting for it if need be; 0 means the peer has closed its side.
    ///
    /// Cancel-safe: a dropped read has taken nothing.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_bytes(cx, buffer)).await
    }

    /// Writes all the bytes. Dropped half-way, an unknown part has been sent.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.poll_write_bytes(cx, bytes)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Writes what fits without waiting; 0 if nothing does now.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.fd.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                result => return result,
            }
        }
    }

    /// Sends small packets at once (TCP; nothing to do for Unix sockets).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self.fd.get_ref() {
            Socket::Tcp(stream) => stream.set_nodelay(nodelay),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Closes one or both directions; the peer notices.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.fd.get_ref().shutdown(how)
    }

    /// Who is at the other end.
    pub fn peer_address(&self) -> io::Result<PeerAddress> {
        match self.fd.get_ref() {
            Socket::Tcp(stream) => Ok(PeerAddress::Tcp(stream.peer_addr()?)),
            Socket::Unix(_) => Ok(PeerAddress::Local),
        }
    }

    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        assert!(!buffer.is_empty(), "a read into no space would look like the end of the connection");
        loop {
            if !self.reading.armed && !self.drained {
                match self.fd.get_ref().read(buffer) {
                    Ok(len) => {
                        self.drained = len < buffer.len();
                        return Poll::Ready(Ok(len));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            ready!(self.reading.poll(&self.fd, cx, true))?;
            self.drained = false;
        }
    }

    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if !self.writing.armed {
                match self.fd.get_ref().write(bytes) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(len) => return Poll::Ready(Ok(len)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            ready!(self.writing.poll(&self.fd, cx, false))?;
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

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown(Shutdown::Write))
    }
}

enum ListenerInner {
    Tcp(PollableFd<TcpListener>),
    Unix(PollableFd<UnixListener>, PathBuf),
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

    /// Listens on a Unix-domain path that does not exist; removed again when the listener is dropped.
    pub fn bind_unix(path: PathBuf) -> io::Result<Listener> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Listener { inner: ListenerInner::Unix(PollableFd::new(listener)?, path) })
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
        if let ListenerInner::Unix(_, path) = &self.inner {
            // Nothing to do about a path that somebody else removed.
            let _gone = std::fs::remove_file(path);
        }
    }
}
