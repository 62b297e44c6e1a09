//! The client at the other end of a stream: receives into the input buffer, sends from the output buffer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::runtime;
use crate::session::interrupt::Interrupt;
use crate::session::response::{Client, CopyInput, Failure, Gone, Response, RowShape, Severity};
use crate::types::{Datum, RowView, SessionFormat};
use crate::wire::encode::Encoder;
use crate::wire::framer::{Cut, cut};
use crate::wire::input::InputBuffer;
use crate::wire::message::{DecodeError, Frontend, decode};
use crate::wire::stream::ByteStream;

/// How long a client may take to receive why its connection ends.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// A connected client.
pub struct Peer<S> {
    /// The transport.
    pub stream: S,
    /// What it has sent.
    pub input: InputBuffer,
    /// What it is to be sent.
    pub output: Encoder,
    /// The longest message it may send.
    pub message_bytes_max: usize,
    /// Bytes received since last counted.
    pub received_bytes: u64,
    /// Bytes sent since last counted.
    pub sent_bytes: u64,
    /// Set once there is a session: who is to be ended must not be waited for.
    pub interrupt: Option<Arc<Interrupt>>,
    /// Bytes of the COPY message handed out last.
    lent: usize,
}

impl<S: ByteStream> Peer<S> {
    /// A client that has just connected, or come over from another core with what it had sent.
    pub fn new(stream: S, input: InputBuffer, message_bytes_max: usize) -> Self {
        Self {
            stream,
            input,
            output: Encoder::default(),
            message_bytes_max,
            received_bytes: 0,
            sent_bytes: 0,
            interrupt: None,
            lent: 0,
        }
    }

    /// Receives something more. `wanted`: the length of the message that has begun.
    pub async fn receive(&mut self, wanted: usize) -> Result<(), Gone> {
        let space = self.input.space(wanted);
        match self.stream.read(space).await {
            Ok(0) | Err(_) => Err(Gone),
            Ok(count) => {
                self.input.received(count);
                self.received_bytes += count as u64;
                Ok(())
            }
        }
    }

    /// Gives back the memory of what is not being received or sent: nothing may come for long.
    pub fn rest(&mut self) {
        self.input.rest();
        if self.output.is_empty() {
            self.output = Encoder::default();
        }
        self.stream.rest();
    }

    /// Says why the connection ends. That nobody may be there to read it is no matter.
    pub async fn farewell(&mut self, error: &SqlError) {
        self.output.response(Response::Message(Severity::Fatal, error));
        if self.flush().await.is_ok() {
            let _nobody_there = runtime::timeout(FAREWELL_MAX, self.stream.flush()).await;
        }
    }

    /// Takes leave on the transport's own terms.
    pub async fn close(&mut self) {
        if self.stream.tls().is_some() {
            let _nobody_there = runtime::timeout(FAREWELL_MAX, self.stream.close()).await;
        }
    }

    /// The next piece of COPY data, by its length in the input buffer; `None` when the data ends.
    async fn next_copy_piece(&mut self) -> Result<Option<usize>, Failure> {
        loop {
            let (tag, total) = match cut(self.input.unread(), self.message_bytes_max) {
                Ok(Cut::Whole(frame)) => (frame.tag, frame.total_bytes()),
                Ok(Cut::Partial(wanted)) => {
                    if !self.output.is_empty() {
                        self.flush().await?;
                    }
                    self.receive(wanted).await?;
                    continue;
                }
                Err(error) => {
                    self.farewell(&error.into()).await;
                    return Err(Failure::Gone);
                }
            };
            match tag {
                b'd' => return Ok(Some(total)),
                // PostgreSQL ignores both for clients that send them out of habit.
                b'S' | b'H' => self.input.consume(total),
                _ => {
                    let ended = self.end_of_copy();
                    self.input.consume(total);
                    return match ended {
                        Ok(outcome) => outcome.map(|()| None).map_err(Failure::from),
                        Err(fatal) => {
                            self.farewell(&fatal).await;
                            Err(Failure::Gone)
                        }
                    };
                }
            }
        }
    }

    /// What a message other than data means for a COPY: its end, its failure, or (outside) the end of the connection.
    fn end_of_copy(&self) -> Result<SqlResult<()>, SqlError> {
        let Ok(Cut::Whole(frame)) = cut(self.input.unread(), self.message_bytes_max) else {
            panic!("the frame has been cut before");
        };
        match decode(frame) {
            Ok(Frontend::CopyDone) => Ok(Ok(())),
            Ok(Frontend::CopyFail(reason)) => {
                Ok(Err(SqlError::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {reason}"))))
            }
            Ok(_) => {
                let message = format!("unexpected message type 0x{:02X} during COPY from stdin", frame.tag);
                Ok(Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message)))
            }
            Err(DecodeError::Encoding(error)) => Ok(Err(error)),
            Err(malformed @ DecodeError::Malformed(_)) => Err(malformed.into()),
        }
    }
}

impl<S: ByteStream> Client for Peer<S> {
    #[inline]
    fn send(&mut self, response: Response<'_>) {
        self.output.response(response);
    }

    #[inline]
    fn send_row(&mut self, shape: &RowShape, values: &[Datum], format: &SessionFormat) -> SqlResult<()> {
        self.output.row(shape, values, format)
    }

    #[inline]
    fn send_stored(&mut self, shape: &RowShape, columns: &[usize], row: RowView<'_>, format: &SessionFormat) -> SqlResult<()> {
        self.output.stored(shape, columns, row, format)
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.output.is_full()
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = {
            let interrupt = self.interrupt.as_deref();
            let mut write = pin!(self.stream.write_all(self.output.bytes()));
            let mut ended = pin!(async {
                match interrupt {
                    Some(interrupt) => interrupt.terminated().await,
                    None => std::future::pending().await,
                }
            });
            // A client that does not read what it is sent cannot hold up the end of the server.
            poll_fn(|cx| {
                if let Poll::Ready(written) = write.as_mut().poll(cx) {
                    return Poll::Ready(written.map_err(|_broken| Gone));
                }
                ended.as_mut().poll(cx).map(|()| Err(Gone))
            })
            .await
        };
        self.sent_bytes += self.output.bytes().len() as u64;
        self.output.clear();
        written
    }

    async fn copy_input(&mut self) -> Result<CopyInput<'_>, Failure> {
        let lent = std::mem::take(&mut self.lent);
        self.input.consume(lent);
        match self.next_copy_piece().await? {
            Some(total) => {
                self.lent = total;
                Ok(CopyInput::Data(&self.input.unread()[crate::wire::framer::HEADER_BYTES..total]))
            }
            None => Ok(CopyInput::Done),
        }
    }
}

impl<S> Peer<S> {
    /// A COPY has ended early: the piece handed out last has been used.
    pub fn take_back(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        self.input.consume(lent);
    }
}
