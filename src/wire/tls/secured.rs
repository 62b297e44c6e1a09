//! A stream that may be encrypted. One that is not costs a look at whether it is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::acceptor::Acceptor;
use super::records::{CHUNK_BYTES_MAX, Tls};
use crate::runtime;
use crate::wire::stream::ByteStream;

/// A stream with its TLS, if it has any.
#[derive(Debug)]
pub struct Secured<S> {
    stream: S,
    tls: Option<Box<Tls>>,
}

impl<S> Secured<S> {
    /// A stream in the clear, for now.
    pub fn clear(stream: S) -> Self {
        Self { stream, tls: None }
    }

    /// A stream again after its parts have moved.
    pub fn from_parts(stream: S, tls: Option<Box<Tls>>) -> Self {
        Self { stream, tls }
    }

    /// Its parts, to be moved.
    pub fn into_parts(self) -> (S, Option<Box<Tls>>) {
        (self.stream, self.tls)
    }
}

impl<S: ByteStream> Secured<S> {
    /// Encrypts from now on. `received` is what has come of the handshake already.
    ///
    /// Errors: the handshake has failed, and the client was told so.
    pub async fn accept(&mut self, acceptor: Arc<Acceptor>, received: &[u8]) -> io::Result<()> {
        assert!(self.tls.is_none(), "a stream is encrypted once");
        let mut tls = Box::new(Tls::new(acceptor, received));
        loop {
            let (outcome, worked) = runtime::run_blocking(move || (tls.shake_hands(), tls)).await;
            tls = worked;
            let sent = send(&mut self.stream, &mut tls).await;
            if outcome? {
                sent?;
                self.stream.flush().await?;
                self.tls = Some(tls);
                return Ok(());
            }
            sent?;
            match self.stream.read(tls.space()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => tls.received(count),
            }
        }
    }
}

impl<S: ByteStream> ByteStream for Secured<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(buffer).await,
            Some(tls) => read(&mut self.stream, tls, buffer).await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.stream.write_all(bytes).await };
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            tls.write(chunk)?;
            send(&mut self.stream, tls).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    async fn readable(&mut self) -> io::Result<()> {
        match &self.tls {
            Some(tls) if tls.has_plain() => Ok(()),
            _ => self.stream.readable().await,
        }
    }

    fn rest(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.rest();
        }
        self.stream.rest();
    }

    fn absence(&self) -> Option<Box<dyn Fn() -> bool>> {
        self.stream.absence()
    }

    async fn close(&mut self) {
        if let Some(tls) = &mut self.tls
            && tls.close().is_ok()
        {
            let _nobody_there = send(&mut self.stream, tls).await;
            let _nobody_there = self.stream.flush().await;
        }
        self.stream.close().await;
    }

    fn client(&self) -> Option<SocketAddr> {
        self.stream.client()
    }

    fn tls(&self) -> Option<&Tls> {
        self.tls.as_deref()
    }
}

/// Cancel-safe: what has been decrypted is in `buffer` before anything is waited for.
async fn read<S: ByteStream>(stream: &mut S, tls: &mut Tls, buffer: &mut [u8]) -> io::Result<usize> {
    assert!(!buffer.is_empty(), "a read into no space would look like the end of the stream");
    loop {
        let outcome = tls.read(buffer);
        if !matches!(outcome, Ok(1..)) {
            // An alert, or the answer to new keys: the client may wait for it.
            send(stream, tls).await?;
        }
        match outcome? {
            0 if tls.has_ended() => return Ok(0),
            0 => {}
            count => return Ok(count),
        }
        match stream.read(tls.space()).await? {
            0 => return Ok(0),
            count => tls.received(count),
        }
    }
}

async fn send<S: ByteStream>(stream: &mut S, tls: &mut Tls) -> io::Result<()> {
    let outgoing = tls.outgoing()?;
    if !outgoing.is_empty() {
        stream.write_all(outgoing).await?;
        tls.sent();
    }
    Ok(())
}
