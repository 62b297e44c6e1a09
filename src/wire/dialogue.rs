//! The messages of a session after startup, as they come.
//!
//! All complete messages of the input buffer are looked at before anything is written or waited for. [`Dialogue::scan`] is
//! that look: an ordinary function that answers what can be answered at once, puts point lookups together, and returns only
//! for what has to wait ([`Step`]).
//!
//! After an error in an extended-protocol message everything up to the next Sync is dropped, whatever it is.

use crate::base::CoreId;
use crate::error::{SqlError, SqlState};
use crate::session::backend::Backend;
use crate::session::response::{Client, Response};
use crate::session::{BindRequest, PointLookup, Session};
use crate::wire::framer::{Cut, Frame, cut};
use crate::wire::input::InputBuffer;
use crate::wire::message::{Bind, DecodeError, Frontend, Parse, Target, decode};
use crate::wire::peer::Peer;
use crate::wire::stream::ByteStream;

/// Describe of the unnamed portal, whole.
const DESCRIBE_UNNAMED: &[u8] = b"D\0\0\0\x06P\0";

/// Execute of the unnamed portal without a row limit, whole.
const EXECUTE_UNNAMED: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";

/// Sync, whole.
const SYNC: &[u8] = b"S\0\0\0\x04";

/// What has to be waited for before the next message is looked at.
#[derive(Debug)]
pub enum Step {
    /// More input: a message of so many bytes has begun.
    Receive(usize),
    /// The output buffer is full.
    Write,
    /// Lookups that wait.
    Points,
    /// A query string.
    Query(String),
    /// Execute: portal and row limit.
    Execute(String, i32),
    /// Sync.
    Sync,
    /// Flush.
    Flush,
    /// An extended-protocol message has failed.
    Failed(SqlError),
    /// A message outside the extended protocol has failed; ReadyForQuery follows.
    FailedQuery(SqlError),
    /// The connection cannot go on.
    Fatal(SqlError),
    /// Terminate.
    Terminate,
    /// The session is better off on another core.
    Hop(CoreId),
}

/// Where a dialogue has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dialogue {
    /// Everything up to Sync is dropped.
    pub skipping: bool,
    /// Sessions follow their data.
    pub hop: bool,
}

/// Whether a message has been dealt with.
enum Taken {
    /// Yes; go on behind it.
    Yes,
    /// No, this has to be waited for first; the message stays.
    Later(Step),
    /// Yes, but for this.
    Then(Step),
}

impl Dialogue {
    /// Looks at complete messages until one has to be waited for.
    pub fn scan<B: Backend, S: ByteStream>(
        &mut self,
        session: &mut Session<B>,
        backend: &B,
        input: &mut InputBuffer,
        client: &mut Peer<S>,
    ) -> Step {
        loop {
            if client.output.is_due() {
                return Step::Write;
            }
            let buffer = input.unread();
            let frame = match cut(buffer, client.message_bytes_max) {
                Ok(Cut::Whole(frame)) => frame,
                Ok(Cut::Partial(wanted)) => return Step::Receive(wanted),
                Err(error) => return Step::Fatal(error.into()),
            };
            let mut length = frame.total_bytes();
            if self.skipping && !matches!(frame.tag, b'S' | b'X') {
                input.consume(length);
                continue;
            }
            let taken = match self.point(session, backend, client, frame, &buffer[length..]) {
                Some((taken, more)) => {
                    length += more;
                    taken
                }
                None if session.has_points() => Taken::Later(Step::Points),
                None => self.message(session, backend, client, frame),
            };
            match taken {
                Taken::Yes => input.consume(length),
                Taken::Later(step) => return step,
                Taken::Then(step) => {
                    input.consume(length);
                    return step;
                }
            }
        }
    }

    /// Point lookups and what may stand between them. Answers how many bytes of what `follows` belong to it too; `None` if
    /// the message is to be taken the ordinary way.
    #[inline]
    fn point<B: Backend, S: ByteStream>(
        &self,
        session: &mut Session<B>,
        backend: &B,
        client: &mut Peer<S>,
        frame: Frame<'_>,
        follows: &[u8],
    ) -> Option<(Taken, usize)> {
        match frame.tag {
            b'B' => {
                let describe = follows.starts_with(DESCRIBE_UNNAMED);
                let described = if describe { DESCRIBE_UNNAMED.len() } else { 0 };
                if !follows[described..].starts_with(EXECUTE_UNNAMED) {
                    return None;
                }
                let more = described + EXECUTE_UNNAMED.len();
                let Ok(Frontend::Bind(bind)) = decode(frame) else { return None };
                let lookup = session.lookup(backend, &bind_request(&bind), describe)?;
                let lone = &follows[more..] == SYNC;
                Some((self.answer(session, backend, client, lookup, lone), more))
            }
            b'Q' => {
                let Ok(Frontend::Query(text)) = decode(frame) else { return None };
                if !is_select(text) || !session.is_quiet() {
                    return None;
                }
                let lookup = session.lookup_text(backend, text)?;
                session.forget_unnamed();
                let taken = match self.answer(session, backend, client, lookup, follows.is_empty()) {
                    Taken::Yes if session.has_points() => {
                        let queued = session.queue_ready();
                        assert!(queued, "a quiet session has nothing to end");
                        Taken::Yes
                    }
                    Taken::Yes => {
                        session.ready_now(client);
                        Taken::Yes
                    }
                    Taken::Then(Step::Failed(error)) => Taken::Then(Step::FailedQuery(error)),
                    other => other,
                };
                Some((taken, 0))
            }
            b'P' if session.has_points() => {
                let Ok(Frontend::Parse(parse)) = decode(frame) else { return None };
                (parse.types.is_empty() && session.queue_parse(backend, parse.name, parse.query)).then_some((Taken::Yes, 0))
            }
            b'S' if session.has_points() && frame.body.is_empty() => session.queue_ready().then_some((Taken::Yes, 0)),
            _ => None,
        }
    }

    #[inline]
    fn answer<B: Backend, S: ByteStream>(
        &self,
        session: &mut Session<B>,
        backend: &B,
        client: &mut Peer<S>,
        lookup: PointLookup,
        lone: bool,
    ) -> Taken {
        match session.answer_now(backend, client, lookup) {
            Ok(Ok(())) => Taken::Yes,
            Ok(Err(error)) => Taken::Then(Step::Failed(error)),
            Err(lookup) => {
                let owner = lookup.owner();
                if self.hop && lone && owner != backend.core() && !session.has_points() {
                    return Taken::Later(Step::Hop(owner));
                }
                if session.points_full() {
                    return Taken::Later(Step::Points);
                }
                session.queue(lookup);
                Taken::Yes
            }
        }
    }

    /// Any other message.
    fn message<B: Backend, S: ByteStream>(
        &mut self,
        session: &mut Session<B>,
        backend: &B,
        client: &mut Peer<S>,
        frame: Frame<'_>,
    ) -> Taken {
        let message = match decode(frame) {
            Ok(message) => message,
            Err(malformed @ DecodeError::Malformed(_)) => return Taken::Then(Step::Fatal(malformed.into())),
            Err(DecodeError::Encoding(error)) => {
                let extended = matches!(frame.tag, b'P' | b'B' | b'D' | b'E' | b'C');
                return Taken::Then(if extended { Step::Failed(error) } else { Step::FailedQuery(error) });
            }
        };
        let outcome = match message {
            Frontend::Parse(Parse { name, query, types }) => {
                session.parse(backend, name, query, types.iter()).map(|()| client.send(Response::ParseComplete))
            }
            Frontend::Bind(bind) => session.bind(backend, &bind_request(&bind)).map(|()| client.send(Response::BindComplete)),
            Frontend::Describe(Target::Statement(name)) => session.describe_statement(backend, client, name),
            Frontend::Describe(Target::Portal(name)) => session.describe_portal(client, name),
            Frontend::Close(target) => {
                match target {
                    Target::Statement(name) => session.close_statement(name),
                    Target::Portal(name) => session.close_portal(name),
                }
                client.send(Response::CloseComplete);
                Ok(())
            }
            Frontend::Execute(execute) => return Taken::Then(Step::Execute(execute.portal.to_owned(), execute.rows_max)),
            Frontend::Query(text) => return Taken::Then(Step::Query(text.to_owned())),
            Frontend::Sync => {
                self.skipping = false;
                return Taken::Then(Step::Sync);
            }
            Frontend::Flush => return Taken::Then(Step::Flush),
            // What is left of a COPY that has failed.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => Ok(()),
            Frontend::FunctionCall => return Taken::Then(Step::FailedQuery(SqlError::unsupported("the function call protocol"))),
            Frontend::Password(_) => {
                let message = "unexpected authentication message";
                return Taken::Then(Step::Fatal(SqlError::new(SqlState::PROTOCOL_VIOLATION, message)));
            }
            Frontend::Terminate => return Taken::Then(Step::Terminate),
        };
        match outcome {
            Ok(()) => Taken::Yes,
            Err(error) => Taken::Then(Step::Failed(error)),
        }
    }
}

fn bind_request<'a>(bind: &Bind<'a>) -> BindRequest<'a, impl ExactSizeIterator<Item = Option<&'a [u8]>> + Clone + use<'a>> {
    BindRequest {
        portal: bind.portal,
        statement: bind.statement,
        param_formats: bind.param_formats,
        params: bind.params.iter(),
        result_formats: bind.result_formats,
    }
}

/// Whether a text is worth looking up among point lookups.
fn is_select(text: &str) -> bool {
    text.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"))
}
