//! A client that sends any bytes, and the bytes that clients send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::{WAIT, answer};

#[path = "../../../src/wire/tests/messages.rs"]
mod messages;

pub use messages::*;

/// SSLRequest's code.
pub const SSL: u32 = 80_877_103;
/// GSSENCRequest's code.
pub const GSS: u32 = 80_877_104;
/// CancelRequest's code.
pub const CANCEL: u32 = 80_877_102;
/// Protocol 3.0.
pub const VERSION_3_0: u32 = 3 << 16;

/// What bytes go over.
pub trait Transport: Read + Write + Send {
    /// Ends this side.
    fn finish(&mut self);
}

impl Transport for TcpStream {
    fn finish(&mut self) {
        // The other side may have hung up.
        let _already_ended = self.shutdown(Shutdown::Write);
    }
}

/// A connection of TCP on which nothing takes for ever.
pub fn socket(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, WAIT).expect("the server accepts connections");
    stream.set_read_timeout(Some(WAIT)).expect("a timeout can be set");
    stream.set_write_timeout(Some(WAIT)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("a socket need not wait");
    stream
}

/// A connection.
pub struct Client {
    stream: Box<dyn Transport>,
    received: Vec<u8>,
    /// What it needs to be cancelled, once it has been told.
    pub key: Vec<u8>,
}

impl Client {
    /// Connects, and says nothing.
    pub fn open(address: SocketAddr) -> Self {
        Self::over(Box::new(socket(address)))
    }

    /// A connection that is there already.
    pub fn over(stream: Box<dyn Transport>) -> Self {
        Self { stream, received: Vec::new(), key: Vec::new() }
    }

    /// Sends bytes. That the server has hung up is no failure: what it said before is still to be read.
    pub fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes).and_then(|()| self.stream.flush()) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server takes no more bytes: {error}")
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Ends this side of the connection.
    pub fn finish(&mut self) {
        self.stream.finish();
    }

    /// Receives something; `false` at the end of the stream.
    fn receive(&mut self) -> bool {
        let mut chunk = [0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(count) => {
                self.received.extend_from_slice(&chunk[..count]);
                count > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server says nothing more in {WAIT:?}; so far: {:?}", String::from_utf8_lossy(&self.received))
            }
            Err(_reset) => false,
        }
    }

    /// The next message as a line (see [`answer::line`]); `None` at the end of the stream.
    pub fn next(&mut self) -> Option<String> {
        loop {
            if let Some((tag, total)) = answer::frame(&self.received) {
                let message: Vec<u8> = self.received.drain(..total).collect();
                if tag == b'K' {
                    self.key = message[5..].to_vec();
                }
                let line = answer::line(tag, &message[5..]);
                return Some(line.unwrap_or_else(|wrong| panic!("{wrong}: {message:?}")));
            }
            if !self.receive() {
                assert!(self.received.is_empty(), "the stream ends in the middle of a message: {:?}", self.received);
                return None;
            }
        }
    }

    /// Messages up to and with ReadyForQuery.
    #[track_caller]
    pub fn until_ready(&mut self) -> Vec<String> {
        self.until("Z ")
    }

    /// Messages up to and with the first one that begins so, or to the end of the stream.
    #[track_caller]
    pub fn until(&mut self, beginning: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.next() {
            let found = line.starts_with(beginning);
            lines.push(line);
            if found {
                break;
            }
        }
        lines
    }

    /// Messages up to the end of the stream.
    pub fn rest_of_stream(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// One byte that is no message: the answer to an encryption request.
    pub fn byte(&mut self) -> Option<u8> {
        while self.received.is_empty() {
            if !self.receive() {
                return None;
            }
        }
        Some(self.received.remove(0))
    }

    /// Drops the answers to encryption requests, bytes that are no messages, from the beginning of the stream. A NoticeResponse
    /// begins with the same letter, but nothing is noticed before startup.
    pub fn skip_refusals(&mut self) {
        while (!self.received.is_empty() || self.receive()) && self.received[0] == b'N' {
            self.received.remove(0);
        }
    }

    /// A simple query and its answer.
    #[track_caller]
    pub fn query(&mut self, text: &str) -> Vec<String> {
        self.send(&query(text));
        self.until_ready()
    }

    /// Several messages, the last of which makes the server ready, and their answer.
    #[track_caller]
    pub fn exchange(&mut self, messages: &[Vec<u8>]) -> Vec<String> {
        self.send(&messages.concat());
        self.until_ready()
    }

    /// A simple query whose answer is known.
    #[track_caller]
    pub fn expect_query(&mut self, text: &str, expected: &[&str]) {
        assert_eq!(self.query(text), expected, "{text}");
    }

    /// The values of the only column of a query's rows.
    #[track_caller]
    pub fn column(&mut self, text: &str) -> Vec<String> {
        let lines = self.query(text);
        assert!(!lines.iter().any(|line| line.starts_with("E ")), "{text}: {lines:?}");
        lines.iter().filter_map(|line| line.strip_prefix("D ")).map(str::to_owned).collect()
    }

    /// Statements that must not fail.
    #[track_caller]
    pub fn run(&mut self, text: &str) {
        self.column(text);
    }
}

/// A StartupMessage of protocol 3.0.
pub fn startup(pairs: &[(&str, &str)]) -> Vec<u8> {
    startup_version(VERSION_3_0, pairs)
}

/// A StartupMessage.
pub fn startup_version(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in pairs {
        payload.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    payload.push(0);
    packet(version, &payload)
}

/// Flush.
pub fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// CopyData.
pub fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    message(b'c', b"")
}

/// Terminate.
pub fn terminate() -> Vec<u8> {
    message(b'X', b"")
}
