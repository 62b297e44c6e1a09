//! What comes before the first statement: encryption requests, cancel requests, version negotiation, startup parameters.
//!
//! A packet is taken apart here to the last byte before pgwire is asked to decode it: its decoders take any body for granted.
//!
//! Source: PostgreSQL 15 documentation, 55.2.1 "Start-up" and 55.7; protocol 3.2 after the PostgreSQL 18 documentation;
//! option strings after `pg_split_opts` and `process_postgres_switches`.

use bytes::BytesMut;
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey, Startup};
use pgwire::messages::{DecodeContext, Message, ProtocolVersion};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::session::interrupt::CancelKey;
use crate::session::response::Response;
use crate::wire::encode::Encoder;
use crate::wire::message::client_text;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_ENCRYPTION_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The newest minor version of protocol 3 that is spoken here.
const MINOR_MAX: u16 = 2;

/// Names of the protocol itself, not of the server: options of a future protocol.
const PROTOCOL_OPTION_PREFIX: &str = "_pq_.";

/// A packet of the startup phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupPacket {
    /// SSLRequest.
    Ssl,
    /// GSSENCRequest.
    GssEncryption,
    /// CancelRequest; `None` for a key that this server never gave out.
    Cancel(Option<CancelKey>),
    /// StartupMessage.
    Startup(StartupRequest),
}

/// A StartupMessage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupRequest {
    /// The user.
    pub user: String,
    /// The database; by default the user's name.
    pub database: String,
    /// Settings in the order in which they are to be applied: those of `options`, then those given by name.
    pub settings: Vec<(String, String)>,
    /// The minor version asked for.
    minor: u16,
    /// Protocol options asked for, none of which is supported.
    protocol_options: Vec<String>,
}

/// Decodes the body of a startup-phase packet (what follows its length; at least 4 bytes).
///
/// Errors: those that PostgreSQL answers with FATAL.
pub fn decode(body: &[u8]) -> SqlResult<StartupPacket> {
    let (code, payload) = body.split_first_chunk::<4>().ok_or_else(invalid_layout)?;
    match u32::from_be_bytes(*code) {
        SSL_REQUEST if payload.is_empty() => Ok(StartupPacket::Ssl),
        GSS_ENCRYPTION_REQUEST if payload.is_empty() => Ok(StartupPacket::GssEncryption),
        CANCEL_REQUEST => cancel(payload).map(StartupPacket::Cancel),
        SSL_REQUEST | GSS_ENCRYPTION_REQUEST => Err(invalid_layout()),
        version => startup(version, body, payload).map(StartupPacket::Startup),
    }
}

fn invalid_layout() -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, "invalid startup packet layout: expected terminator as last byte")
}

fn cancel(payload: &[u8]) -> SqlResult<Option<CancelKey>> {
    let invalid = || SqlError::new(SqlState::PROTOCOL_VIOLATION, "invalid length of cancel request packet");
    let (pid, secret) = payload.split_first_chunk::<4>().ok_or_else(invalid)?;
    if !(4..=256).contains(&secret.len()) {
        return Err(invalid());
    }
    let secret: Option<[u8; 4]> = secret.try_into().ok();
    Ok(secret.map(|secret| CancelKey { pid: i32::from_be_bytes(*pid), secret: u32::from_be_bytes(secret) }))
}

fn startup(version: u32, body: &[u8], payload: &[u8]) -> SqlResult<StartupRequest> {
    let (major, minor) = (version >> 16, (version & 0xFFFF) as u16);
    if major != 3 {
        let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR_MAX}");
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    check_pairs(payload)?;
    let mut packet = BytesMut::from(body);
    let length = body.len() + 4;
    let decoded = Startup::decode_body(&mut packet, length, &DecodeContext::new(ProtocolVersion::PROTOCOL3_2))
        .map_err(|_refused| invalid_layout())?;
    let mut request = StartupRequest {
        user: String::new(),
        database: String::new(),
        settings: Vec::new(),
        minor,
        protocol_options: Vec::new(),
    };
    let mut named = Vec::new();
    for (name, value) in decoded.parameters {
        match name.as_str() {
            "user" => request.user = value,
            "database" => request.database = value,
            "options" => request.settings = split_options(&value)?,
            "replication" => refuse_replication(&value)?,
            _ if name.starts_with(PROTOCOL_OPTION_PREFIX) => request.protocol_options.push(name),
            _ => named.push((name, value)),
        }
    }
    request.settings.append(&mut named);
    if request.user.is_empty() {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message));
    }
    if request.database.is_empty() {
        request.database.clone_from(&request.user);
    }
    Ok(request)
}

/// Names and values in pairs of terminated strings, none of the names empty, then one NUL and nothing more; all of it UTF-8.
fn check_pairs(mut rest: &[u8]) -> SqlResult<()> {
    loop {
        let end = memchr::memchr(0, rest).ok_or_else(invalid_layout)?;
        if end == 0 {
            return if rest.len() == 1 { Ok(()) } else { Err(invalid_layout()) };
        }
        client_text(&rest[..end])?;
        rest = &rest[end + 1..];
        let end = memchr::memchr(0, rest).ok_or_else(invalid_layout)?;
        client_text(&rest[..end])?;
        rest = &rest[end + 1..];
    }
}

fn refuse_replication(value: &str) -> SqlResult<()> {
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" => Ok(()),
        _ => Err(SqlError::unsupported("replication")),
    }
}

/// The settings of an `options` parameter: `-c name=value`, `-cname=value`, `--name=value`.
fn split_options(options: &str) -> SqlResult<Vec<(String, String)>> {
    let mut words = split_words(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = if let Some(long) = word.strip_prefix("--") {
            long.to_owned()
        } else if word == "-c" {
            words.next().ok_or_else(|| invalid_argument(&word))?
        } else if let Some(short) = word.strip_prefix("-c") {
            short.to_owned()
        } else {
            return Err(invalid_argument(&word));
        };
        let (name, value) = assignment.split_once('=').ok_or_else(|| {
            let message = format!("{} requires a value", if word.starts_with("--") { &word } else { "-c" });
            SqlError::new(SqlState::SYNTAX_ERROR, message)
        })?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn invalid_argument(word: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, format!("invalid command-line argument for server process: {word}"))
}

/// Words separated by white space; a backslash takes the next character as it is.
fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut in_word) = (Vec::new(), String::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_ascii_whitespace() => {
                if in_word {
                    words.push(std::mem::take(&mut word));
                }
                in_word = false;
                continue;
            }
            c => word.push(c),
        }
        in_word = true;
    }
    if in_word {
        words.push(word);
    }
    words
}

impl StartupRequest {
    /// Tells the client, if it asked for more than this server has, what it gets.
    pub fn negotiate(&self, out: &mut Encoder) {
        if self.minor > MINOR_MAX || !self.protocol_options.is_empty() {
            // Never more than the client has asked for: it could not go on with that.
            let newest = 3 << 16 | i32::from(self.minor.min(MINOR_MAX));
            out.message(&NegotiateProtocolVersion::new(newest, self.protocol_options.clone()));
        }
    }
}

/// The client is let in: AuthenticationOk, the parameters it is to know, the key to cancel with.
pub fn welcome<'a>(out: &mut Encoder, parameters: impl Iterator<Item = (&'a str, String)>, key: CancelKey) {
    out.message(&Authentication::Ok);
    for (name, value) in parameters {
        out.response(Response::Parameter(name, &value));
    }
    out.message(&BackendKeyData::new(key.pid, SecretKey::I32(key.secret.cast_signed())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u32, pairs: &str) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        body.extend_from_slice(pairs.as_bytes());
        body
    }

    fn started(pairs: &str) -> SqlResult<StartupRequest> {
        match decode(&packet(3 << 16, pairs))? {
            StartupPacket::Startup(request) => Ok(request),
            other => panic!("a startup packet, not {other:?}"),
        }
    }

    #[test]
    fn parameters_are_told_apart() {
        let request = started("user\0ann\0options\0-c a.b=1 --work-mem=2\\ 3 -cx=y\0application_name\0psql\0\0").unwrap();
        assert_eq!((request.user.as_str(), request.database.as_str()), ("ann", "ann"));
        let settings: Vec<_> = request.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(settings, [("a.b", "1"), ("work_mem", "2 3"), ("x", "y"), ("application_name", "psql")]);
        assert_eq!(started("user\0ann\0database\0shop\0\0").unwrap().database, "shop");
    }

    #[test]
    fn requests_before_startup_are_recognised() {
        assert_eq!(decode(&SSL_REQUEST.to_be_bytes()), Ok(StartupPacket::Ssl));
        assert_eq!(decode(&GSS_ENCRYPTION_REQUEST.to_be_bytes()), Ok(StartupPacket::GssEncryption));
        let mut cancel = CANCEL_REQUEST.to_be_bytes().to_vec();
        cancel.extend_from_slice(b"\0\0\0\x07\xff\0\0\x01");
        let key = CancelKey { pid: 7, secret: 0xff00_0001 };
        assert_eq!(decode(&cancel), Ok(StartupPacket::Cancel(Some(key))));
        cancel.push(0);
        assert_eq!(decode(&cancel), Ok(StartupPacket::Cancel(None)));
        cancel.truncate(9);
        assert_eq!(decode(&cancel).unwrap_err().code(), SqlState::PROTOCOL_VIOLATION);
    }

    #[test]
    fn malformed_packets_are_refused() {
        let protocol = SqlState::PROTOCOL_VIOLATION;
        for (body, code) in [
            (packet(3 << 16, ""), protocol),
            (packet(3 << 16, "user\0ann\0"), protocol),
            (packet(3 << 16, "user\0ann"), protocol),
            (packet(3 << 16, "user\0"), protocol),
            (packet(3 << 16, "user\0\0\0x"), protocol),
            (packet(3 << 16, "\0"), SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
            (packet(3 << 16, "user\0\0\0"), SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
            (packet(2 << 16, "user\0ann\0\0"), SqlState::FEATURE_NOT_SUPPORTED),
            (packet(SSL_REQUEST, "x"), protocol),
            (packet(3 << 16, "user\0ann\0replication\0true\0\0"), SqlState::FEATURE_NOT_SUPPORTED),
            (packet(3 << 16, "user\0ann\0options\0-x\0\0"), SqlState::SYNTAX_ERROR),
            (packet(3 << 16, "user\0ann\0options\0-c\0\0"), SqlState::SYNTAX_ERROR),
            (packet(3 << 16, "user\0ann\0options\0-c a\0\0"), SqlState::SYNTAX_ERROR),
        ] {
            assert_eq!(decode(&body).unwrap_err().code(), code, "{:?}", String::from_utf8_lossy(&body));
        }
        let mut body = packet(3 << 16, "user\0");
        body.extend_from_slice(b"\xff\0\0");
        assert_eq!(decode(&body).unwrap_err().code(), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
    }

    #[test]
    fn newer_minor_versions_and_options_are_negotiated() {
        for (version, pairs, negotiated) in [
            (3 << 16, "user\0a\0\0", &b""[..]),
            (3 << 16 | 2, "user\0a\0\0", b""),
            (3 << 16 | 9999, "user\0a\0\0", b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"),
            (3 << 16, "user\0a\0_pq_.x\0y\0\0", b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0"),
        ] {
            let Ok(StartupPacket::Startup(request)) = decode(&packet(version, pairs)) else { panic!("a startup packet") };
            let mut out = Encoder::default();
            request.negotiate(&mut out);
            assert_eq!(out.bytes(), negotiated);
        }
    }

    #[test]
    fn a_client_is_welcomed() {
        let mut out = Encoder::default();
        let key = CancelKey { pid: 1, secret: 0x8000_0000 };
        welcome(&mut out, [("TimeZone", "UTC".to_owned())].into_iter(), key);
        let expected = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x11TimeZone\0UTC\0K\0\0\0\x0c\0\0\0\x01\x80\0\0\0";
        assert_eq!(out.bytes(), expected);
    }
}
