//! One connection's TLS: records in, plain bytes out, and the other way round. No input and output of its own.
//!
//! Invariant: after the handshake, between two calls, no complete record waits to be decrypted; so what can be written is never kept
//! waiting by what was received, and who waits for the socket misses nothing.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{CipherSuite, ProtocolVersion};

use super::acceptor::{ALPN, Acceptor};
use super::certificate::client_certificate;
use crate::catalog::system::live::Encryption;
use crate::wire::input::InputBuffer;

/// A record with its header and the most that encryption adds (RFC 8446, section 5.2; 2,048 in TLS 1.2).
const RECORD_BYTES_MAX: usize = 5 + (16 << 10) + (2 << 10);

/// Plain bytes that are encrypted in one go.
pub(super) const CHUNK_BYTES_MAX: usize = 64 << 10;

/// Memory for what is to be sent that an idle connection keeps.
const SPARE_BYTES_MAX: usize = 1 << 10;

/// TLS of one connection. Belongs to no core: it moves with its session.
pub struct Tls {
    connection: UnbufferedServerConnection,
    acceptor: Arc<Acceptor>,
    /// Received and not decrypted.
    incoming: InputBuffer,
    /// Decrypted and not read, from `plain_start` on.
    plain: Vec<u8>,
    plain_start: usize,
    /// Encrypted and not sent.
    outgoing: Vec<u8>,
    /// The client has said that it sends nothing more.
    ended: bool,
    /// A write has begun and its end has not been seen.
    writing: bool,
    /// It has failed, and rustls is not asked again.
    failed: bool,
    encryption: Option<Arc<Encryption>>,
}

impl Tls {
    /// A connection whose handshake is still to come; `received` is what has come of it.
    pub fn new(acceptor: Arc<Acceptor>, received: &[u8]) -> Self {
        let connection = UnbufferedServerConnection::new(Arc::clone(&acceptor.config));
        let mut tls = Self {
            connection: connection.expect("the configuration is complete"),
            acceptor,
            incoming: InputBuffer::default(),
            plain: Vec::new(),
            plain_start: 0,
            outgoing: Vec::new(),
            ended: false,
            writing: false,
            failed: false,
            encryption: None,
        };
        tls.receive(received);
        tls
    }

    /// Room to receive records into.
    pub fn space(&mut self) -> &mut [u8] {
        self.incoming.space(RECORD_BYTES_MAX)
    }

    /// Takes in what has been received into [`space`](Self::space).
    pub fn received(&mut self, count: usize) {
        self.incoming.received(count);
    }

    /// Takes in records that somebody else has received. After the handshake they are decrypted at once; an error shows at the next read.
    pub fn receive(&mut self, mut records: &[u8]) {
        while !records.is_empty() {
            let space = self.space();
            let count = space.len().min(records.len());
            space[..count].copy_from_slice(&records[..count]);
            self.received(count);
            records = &records[count..];
        }
        if self.encryption.is_some() {
            let _shows_later = self.advance(&mut []);
        }
    }

    /// Goes on with the handshake as far as what has been received allows. `true` when it is over and has succeeded.
    ///
    /// Errors: it has failed; what the client is to be told of that is in [`outgoing`](Self::outgoing).
    pub fn shake_hands(&mut self) -> io::Result<bool> {
        self.advance(&mut [])?;
        if self.connection.is_handshaking() {
            return if self.ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) };
        }
        if self.encryption.is_none() {
            self.encryption = Some(Arc::new(self.describe()?));
        }
        Ok(true)
    }

    /// Decrypted bytes; none if more has to be received first, or if the client has [ended](Self::has_ended).
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let waiting = &self.plain[self.plain_start..];
        if waiting.is_empty() {
            return self.advance(buffer);
        }
        let count = waiting.len().min(buffer.len());
        buffer[..count].copy_from_slice(&waiting[..count]);
        self.plain_start += count;
        if self.plain_start == self.plain.len() {
            (self.plain, self.plain_start) = (Vec::new(), 0);
        }
        Ok(count)
    }

    /// Whether a read has something to say without more being received: decrypted bytes, the end, or a failure.
    pub fn has_plain(&self) -> bool {
        self.plain_start < self.plain.len() || self.ended || self.failed
    }

    /// Gives back the memory of what is neither being received nor sent.
    pub fn rest(&mut self) {
        self.incoming.rest();
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
    }

    /// Encrypts bytes, to be sent.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.len() <= CHUNK_BYTES_MAX, "what is encrypted in one go is bounded");
        self.advance(&mut [])?;
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(self.incoming.unread_mut());
        match state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                append(&mut self.outgoing, |room| traffic.encrypt(bytes, room).map_err(Room::of_encryption))
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Encrypts that nothing more will be sent.
    pub fn close(&mut self) -> io::Result<()> {
        self.advance(&mut [])?;
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(self.incoming.unread_mut());
        match state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                append(&mut self.outgoing, |room| traffic.queue_close_notify(room).map_err(Room::of_encryption))
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// What is to be sent. A write that is not [seen to its end](Self::sent) is the last.
    pub fn outgoing(&mut self) -> io::Result<&[u8]> {
        if self.writing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.writing = !self.outgoing.is_empty();
        Ok(&self.outgoing)
    }

    /// It has been sent.
    pub fn sent(&mut self) {
        self.writing = false;
        self.outgoing.clear();
        self.outgoing.shrink_to(SPARE_BYTES_MAX);
    }

    /// Whether the client has said that it sends nothing more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the client has named the protocol (ALPN). With another name than ours it does not come so far.
    pub fn named_protocol(&self) -> bool {
        self.connection.alpn_protocol() == Some(ALPN)
    }

    /// What was agreed on, and who the client's certificate is for. Known after the handshake.
    pub fn encryption(&self) -> &Arc<Encryption> {
        self.encryption.as_ref().expect("nobody asks before the handshake is over")
    }

    /// What channel binding binds to.
    pub fn end_point(&self) -> Option<&Arc<[u8]>> {
        self.acceptor.end_point.as_ref()
    }

    /// Whether certificates of clients can be checked.
    pub fn checks_clients(&self) -> bool {
        self.acceptor.checks_clients
    }

    /// Bytes of memory held for the client, besides what rustls needs.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.incoming.held_bytes() + self.plain.capacity() + self.outgoing.capacity()
    }

    /// Lets rustls work until it wants more input. What it decrypts goes into `buffer`, and what has no room there waits.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.process(buffer).map_err(|error| {
            self.failed = true;
            self.collect_alerts();
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    fn process(&mut self, buffer: &mut [u8]) -> Result<usize, rustls::Error> {
        let mut count = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(self.incoming.unread_mut());
            let more = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let (now, later) = record.payload.split_at(record.payload.len().min(buffer.len() - count));
                        buffer[count..count + now.len()].copy_from_slice(now);
                        count += now.len();
                        self.plain.extend_from_slice(later);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, |room| data.encode(room).map_err(Room::of_encoding))
                        .expect("a record that was made a moment ago is encoded once");
                    true
                }
                // It is as good as sent: nothing overtakes it.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    true
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => false,
                Ok(ConnectionState::Closed) => {
                    self.ended = true;
                    false
                }
                // Early data, which is not offered.
                Ok(_) => return Err(rustls::Error::General("an unexpected state".to_owned())),
                Err(error) => return Err(error),
            };
            self.incoming.consume(discard);
            if !more {
                return Ok(count);
            }
        }
    }

    /// After a failure: what the client is told of it.
    fn collect_alerts(&mut self) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(self.incoming.unread_mut());
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
            append(&mut self.outgoing, |room| data.encode(room).map_err(Room::of_encoding))
                .expect("a record that was made a moment ago is encoded once");
        }
    }

    /// What was agreed on.
    ///
    /// Errors: the client's certificate cannot be read.
    fn describe(&self) -> io::Result<Encryption> {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            other => panic!("{other:?} is not spoken here"),
        };
        let suite = self.connection.negotiated_cipher_suite().expect("a handshake that is over has chosen");
        let (cipher, bits) = cipher_name(suite.suite());
        let client = match self.connection.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(certificate) => Some(
                client_certificate(certificate)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the client's certificate cannot be read"))?,
            ),
        };
        Ok(Encryption { version, cipher, bits, client })
    }
}

impl fmt::Debug for Tls {
    // Neither keys nor what clients say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("encryption", &self.encryption).finish_non_exhaustive()
    }
}

/// Why something could not be written into a piece of memory.
enum Room {
    /// So much is needed.
    Wanted(usize),
    Never,
}

impl Room {
    fn of_encryption(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Room::Wanted(required_size),
            EncryptError::EncryptExhausted => Room::Never,
        }
    }

    fn of_encoding(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Room::Wanted(required_size),
            EncodeError::AlreadyEncoded => Room::Never,
        }
    }
}

/// Appends what `write` writes, which says how much room it needs if there is too little.
fn append(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, Room>) -> io::Result<()> {
    let start = out.len();
    for _ in 0..2 {
        match write(&mut out[start..]) {
            Ok(count) => {
                out.truncate(start + count);
                return Ok(());
            }
            Err(Room::Wanted(size)) => out.resize(start + size, 0),
            Err(Room::Never) => break,
        }
    }
    out.truncate(start);
    Err(io::ErrorKind::BrokenPipe.into())
}

/// The name by which OpenSSL, and so PostgreSQL, knows a cipher suite, and the bits of its key.
fn cipher_name(suite: CipherSuite) -> (&'static str, i32) {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => ("TLS_AES_256_GCM_SHA384", 256),
        CipherSuite::TLS13_AES_128_GCM_SHA256 => ("TLS_AES_128_GCM_SHA256", 128),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => ("TLS_CHACHA20_POLY1305_SHA256", 256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => ("ECDHE-ECDSA-AES256-GCM-SHA384", 256),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => ("ECDHE-ECDSA-AES128-GCM-SHA256", 128),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => ("ECDHE-ECDSA-CHACHA20-POLY1305", 256),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => ("ECDHE-RSA-AES256-GCM-SHA384", 256),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => ("ECDHE-RSA-AES128-GCM-SHA256", 128),
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => ("ECDHE-RSA-CHACHA20-POLY1305", 256),
        other => panic!("{other:?} is not among the provider's suites"),
    }
}
