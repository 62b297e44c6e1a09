//! The server's side of a SCRAM-SHA-256 exchange, as a state machine that bytes go into and bytes come out of.
//!
//! Over TLS it can be bound to the connection (SCRAM-SHA-256-PLUS, RFC 5929's `tls-server-end-point`): then the proof covers the hash of
//! the server's certificate, and is worth nothing to somebody in the middle who has shown the client another one.
//!
//! Source: RFC 5802 and 7677; PostgreSQL 15 documentation, 55.3 "SASL Authentication"; errors as PostgreSQL words them. As there,
//! the user name inside the messages is not looked at: that of the startup packet counts.
//!
//! Invariants: a user that is unknown, has no password, or one that has expired ([`Account::mock`]) goes through the same
//! exchange, with the same work, as one whose password is wrong, and fails at the same place; its salt follows from its name and
//! a secret of the server, so that asking twice tells nothing either. A message is taken once: after its end, or an error, the
//! exchange answers nothing more.

mod reader;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq;

use crate::auth::random_bytes;
use crate::auth::verifier::{KEY_BYTES, Key, SALT_BYTES, Verifier, hash, hmac};

use crate::error::{SqlError, SqlResult, SqlState};
use reader::Reader;

/// The mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The name of the mechanism that is bound to the connection.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// What it is bound to: the only type of channel binding there is, as in PostgreSQL.
const BINDING_TYPE: &[u8] = b"tls-server-end-point";

/// The longest message of an exchange that is read (PostgreSQL's limit).
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// Bytes of a client's text that an error repeats (PostgreSQL's number).
const SHOWN_BYTES_MAX: usize = 30;

/// Random bytes of a server's nonce (PostgreSQL's number).
const NONCE_BYTES: usize = 18;

/// Whom an exchange is about.
#[derive(Clone, Debug)]
pub struct Account {
    verifier: Verifier,
    /// There is nothing to log in with: the exchange is for show.
    mock: bool,
}

impl Account {
    /// A user with a password.
    pub fn real(verifier: Verifier) -> Self {
        Self { verifier, mock: false }
    }

    /// Any other user. `iterations` are those of new verifiers.
    pub fn mock(user: &str, secret: &[u8], iterations: u32) -> Self {
        let salt = hmac(secret, &[user.as_bytes()])[..SALT_BYTES].into();
        Self { verifier: Verifier { iterations, salt, stored_key: [0; KEY_BYTES], server_key: [0; KEY_BYTES] }, mock: true }
    }

    /// Whether this is the password, which was sent as such. It takes as long for a user that there is not.
    pub fn is_password(&self, password: &str) -> bool {
        let given = Verifier::derive(password, &self.verifier.salt, self.verifier.iterations);
        bool::from(given.stored_key.ct_eq(&self.verifier.stored_key)) & !self.mock
    }
}

/// What the server does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// AuthenticationSASLContinue with this.
    Continue(Vec<u8>),
    /// AuthenticationSASLFinal with this: the client has proved that it knows the password.
    Accepted(Vec<u8>),
    /// It has not.
    Refused,
}

#[derive(Debug)]
enum State {
    /// Nothing has come yet; with the mechanism once that is chosen.
    Start,
    Challenged(Challenge),
    Over,
}

/// What the final message is checked against.
#[derive(Debug)]
struct Challenge {
    /// What the client has to repeat: what it has said of channel binding and, if it is bound, what to.
    header: Vec<u8>,
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    nonce: Vec<u8>,
}

/// An exchange.
#[derive(Debug)]
pub struct Exchange {
    account: Account,
    server_nonce: String,
    /// The hash of the server's certificate, where the exchange can be bound to it.
    end_point: Option<Arc<[u8]>>,
    /// The client has chosen that.
    bound: bool,
    state: State,
}

impl Exchange {
    /// A new one.
    pub fn new(account: Account) -> Self {
        Self::with_nonce(account, BASE64.encode(random_bytes::<NONCE_BYTES>()))
    }

    /// A new one whose nonce is known, for tests.
    pub fn with_nonce(account: Account, server_nonce: String) -> Self {
        Self { account, server_nonce, end_point: None, bound: false, state: State::Start }
    }

    /// The same over TLS, where the server's certificate has this hash.
    pub fn over(self, end_point: Arc<[u8]>) -> Self {
        Self { end_point: Some(end_point), ..self }
    }

    /// What the client can choose from; what the server would rather have comes first.
    pub fn mechanisms(&self) -> impl Iterator<Item = &'static str> {
        self.end_point.iter().map(|_| MECHANISM_PLUS).chain([MECHANISM])
    }

    /// Takes the body of the client's first message, a SASLInitialResponse: mechanism and, perhaps, the first data.
    pub fn begin(&mut self, body: &[u8]) -> SqlResult<Reply> {
        let end = body.iter().position(|byte| *byte == 0).ok_or_else(|| violation("invalid string in message"))?;
        let Some(chosen) = self.mechanisms().find(|name| &body[..end] == name.as_bytes()) else {
            return Err(self.end(violation("client selected an invalid SASL authentication mechanism")));
        };
        self.bound = chosen == MECHANISM_PLUS;
        let insufficient = || violation("insufficient data left in message");
        let (length, data) = body[end + 1..].split_first_chunk::<4>().ok_or_else(insufficient)?;
        match i32::from_be_bytes(*length) {
            -1 if data.is_empty() => Ok(Reply::Continue(Vec::new())),
            -1 => Err(self.end(violation("invalid message format"))),
            length => match usize::try_from(length).ok().map(|length| length.cmp(&data.len())) {
                Some(std::cmp::Ordering::Equal) => self.respond(data),
                Some(std::cmp::Ordering::Less) => Err(self.end(violation("invalid message format"))),
                _ => Err(self.end(insufficient())),
            },
        }
    }

    /// Takes data of the client.
    pub fn respond(&mut self, data: &[u8]) -> SqlResult<Reply> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if data.is_empty() {
            return Err(malformed("The message is empty."));
        }
        if data.contains(&0) {
            return Err(malformed("Message length does not match input length."));
        }
        match state {
            State::Start => {
                let challenge = self.challenge(data)?;
                let reply = challenge.server_first.clone();
                self.state = State::Challenged(challenge);
                Ok(Reply::Continue(reply))
            }
            State::Challenged(challenge) => self.conclude(&challenge, data),
            State::Over => Err(violation("unexpected SASL response")),
        }
    }

    fn end(&mut self, error: SqlError) -> SqlError {
        self.state = State::Over;
        error
    }

    /// The answer to client-first-message.
    fn challenge(&self, data: &[u8]) -> SqlResult<Challenge> {
        let mut message = Reader::new(data);
        self.binding(&mut message)?;
        if message.peek() == Some(b'a') {
            return Err(unsupported("client uses authorization identity, but it is not supported"));
        }
        if !message.accept(b',') {
            return Err(malformed(format!("Unexpected attribute \"{}\" in client-first-message.", shown(message.peek()))));
        }
        let mut header = data[..message.position()].to_vec();
        header.extend_from_slice(self.end_point.as_deref().filter(|_| self.bound).unwrap_or_default());
        let bare = message.rest().to_vec();
        if message.peek() == Some(b'm') {
            return Err(unsupported("client requires an unsupported SCRAM extension"));
        }
        message.value(b'n')?;
        let client_nonce = message.value(b'r')?;
        if !client_nonce.iter().all(u8::is_ascii_graphic) {
            return Err(violation("non-printable characters in SCRAM nonce"));
        }
        while !message.rest().is_empty() {
            message.any()?;
        }
        let nonce = [client_nonce, self.server_nonce.as_bytes()].concat();
        let Verifier { salt, iterations, .. } = &self.account.verifier;
        let mut server_first = b"r=".to_vec();
        server_first.extend_from_slice(&nonce);
        server_first.extend_from_slice(format!(",s={},i={iterations}", BASE64.encode(salt)).as_bytes());
        Ok(Challenge { header, client_first_bare: bare, server_first, nonce })
    }

    /// What a client says of channel binding (gs2-cbind-flag): that it is not able to (`n`), that it is but believes that the server is
    /// not (`y`), or how it does it (`p`). Whoever takes `SCRAM-SHA-256-PLUS` out of the server's offer on its way makes an able client
    /// say `y` to an able server.
    fn binding(&self, message: &mut Reader<'_>) -> SqlResult<()> {
        match (message.peek(), self.bound) {
            (Some(b'n' | b'y'), true) => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                ));
            }
            (Some(b'y'), false) if self.end_point.is_some() => {
                let error =
                    SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "SCRAM channel binding negotiation error");
                return Err(error.detail(
                    "The client supports SCRAM channel binding but thinks the server does not.  \
                     However, this server does support channel binding.",
                ));
            }
            (Some(b'n' | b'y'), false) => message.next(),
            (Some(b'p'), false) => {
                return Err(malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                ));
            }
            (Some(b'p'), true) => {
                let kind = message.value(b'p')?;
                return if kind == BINDING_TYPE {
                    Ok(())
                } else {
                    let kind: String = kind
                        .iter()
                        .take(SHOWN_BYTES_MAX)
                        .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' })
                        .collect();
                    Err(violation(&format!("unsupported SCRAM channel-binding type \"{kind}\"")))
                };
            }
            (other, _) => return Err(malformed(format!("Unexpected channel-binding flag \"{}\".", shown(other)))),
        };
        if message.accept(b',') {
            return Ok(());
        }
        Err(malformed(format!("Comma expected, but found character \"{}\".", shown(message.peek()))))
    }

    /// The answer to client-final-message.
    fn conclude(&self, challenge: &Challenge, data: &[u8]) -> SqlResult<Reply> {
        let mut message = Reader::new(data);
        if message.value(b'c')? != BASE64.encode(&challenge.header).as_bytes() {
            return Err(match self.bound {
                true => SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "SCRAM channel binding check failed"),
                false => violation("unexpected SCRAM channel-binding attribute in client-final-message"),
            });
        }
        let nonce = message.value(b'r')?;
        let (without_proof, proof) = loop {
            // What the proof covers ends before the comma in front of it.
            let covered = message.position() - 1;
            let (attribute, value) = message.any()?;
            if attribute == b'p' {
                break (&data[..covered], value);
            }
        };
        let proof: Option<Key> = BASE64.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let proof = proof.ok_or_else(|| malformed("Malformed proof in client-final-message."))?;
        if !message.rest().is_empty() || data.ends_with(b",") {
            return Err(malformed("Garbage found at the end of client-final-message."));
        }
        if nonce != challenge.nonce {
            return Err(violation("invalid SCRAM response").detail("Nonce does not match."));
        }
        let message: [&[u8]; 5] = [&challenge.client_first_bare, b",", &challenge.server_first, b",", without_proof];
        let Verifier { stored_key, server_key, .. } = &self.account.verifier;
        let mut client_key = hmac(stored_key, &message);
        client_key.iter_mut().zip(proof).for_each(|(byte, proof)| *byte ^= proof);
        let signature = hmac(server_key, &message);
        let proved = hash(&client_key).ct_eq(stored_key);
        if !bool::from(proved) || self.account.mock {
            return Ok(Reply::Refused);
        }
        Ok(Reply::Accepted(format!("v={}", BASE64.encode(signature)).into_bytes()))
    }
}

fn violation(message: &str) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

fn unsupported(message: &str) -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
}

pub(super) fn malformed(detail: impl Into<String>) -> SqlError {
    violation("malformed SCRAM message").detail(detail)
}

/// A byte for people to read.
pub(super) fn shown(byte: Option<u8>) -> String {
    let byte = byte.unwrap_or(0);
    if byte.is_ascii_graphic() { format!("'{}'", char::from(byte)) } else { format!("0x{byte:02x}") }
}

#[cfg(test)]
mod tests;
