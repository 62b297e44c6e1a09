//! The routes of SQL over HTTP: `POST /query`, `POST /login`.
//!
//! A browser sends what any page asks it to, also to a server on the loopback that trusts whoever comes from there. So a request must have
//! a JSON body by its content type, which a page of another origin may not send without asking first, and nobody answers that question; it
//! must come from this origin if it says from where; and on the loopback it must be addressed to it by an address or as `localhost`, so
//! that no name that somebody points there will do.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;

use super::arrow::{self, ArrowStream};
use super::json::{error_value, write_string, write_value};
use super::query::{Answer, Caller, Column, Credentials, Piece, read_batch};
use super::{Control, Peer};
use crate::auth::Secret;
use crate::error::{SqlError, SqlState};
use crate::types::{Datum, SessionFormat};

/// The largest answer as one JSON document; larger ones want a stream.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Document,
    Lines,
    Arrow,
}

/// The form that a client accepts, by what its Accept header names first.
fn form(headers: &HeaderMap) -> Form {
    let accepted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let known = accepted.filter_map(|offer| match offer.split(';').next().map(str::trim)? {
        "application/json" | "application/*" | "*/*" => Some(Form::Document),
        "application/x-ndjson" | "application/jsonl" => Some(Form::Lines),
        arrow::CONTENT_TYPE => Some(Form::Arrow),
        _ => None,
    });
    known.into_iter().next().unwrap_or(Form::Document)
}

/// `POST /query`.
pub(super) async fn query<C: Control>(
    State(control): State<Arc<C>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let batch = match may_ask(&peer, &headers).and_then(|()| is_json(&headers)).and_then(|()| read_batch(&body)) {
        Ok(batch) => batch,
        Err(error) => return refusal(&error),
    };
    let form = form(&headers);
    if form != Form::Document && batch.statements.len() > 1 {
        let message = "a stream has one statement's rows: ask for application/json";
        return refusal(&SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let answer = match control.query(caller(&peer, &headers), batch).await {
        Ok(answer) => answer,
        Err(error) => return refusal(&error),
    };
    match form {
        Form::Document => document(answer).await,
        Form::Lines => stream(answer, Lines::default()).await,
        Form::Arrow => stream(answer, Batches::default()).await,
    }
}

/// `POST /login`: a bearer token for whoever proves who it is.
pub(super) async fn login<C: Control>(
    State(control): State<Arc<C>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = may_ask(&peer, &headers) {
        return refusal(&error);
    }
    match control.login(caller(&peer, &headers)).await {
        Ok(login) => {
            let body = json!({ "token": login.token, "user": login.user, "expires_at": login.expires });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => refusal(&error),
    }
}

/// Who asks, by what it sends along.
pub(super) fn caller(peer: &Peer, headers: &HeaderMap) -> Caller {
    let credentials =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map_or(Credentials::None, credentials);
    Caller { address: peer.address, encrypted: peer.encrypted, credentials }
}

/// Reads an Authorization header. What cannot be read is an empty token, which nobody has.
fn credentials(value: &str) -> Credentials {
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = BASE64.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) {
            return Credentials::Password(user.to_owned(), Secret::new(password));
        }
    }
    let token = if scheme.eq_ignore_ascii_case("bearer") { rest.trim() } else { "" };
    Credentials::Token(token.to_owned())
}

/// 42501 for what a page of another origin, or a name that somebody points at this machine, may have sent.
fn may_ask(peer: &Peer, headers: &HeaderMap) -> Result<(), SqlError> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let refuse = |why: &str| Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, why));
    let host = text(header::HOST).unwrap_or_default();
    if let Some(origin) = text(header::ORIGIN)
        && origin.split_once("://").is_none_or(|(_, from)| from != host)
    {
        return refuse("the request comes from a page of another origin");
    }
    if peer.address.is_loopback() && !is_address_or_localhost(host) {
        return refuse("on the loopback, the Host header must be an address or localhost");
    }
    Ok(())
}

fn is_address_or_localhost(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn is_json(headers: &HeaderMap) -> Result<(), SqlError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the Content-Type must be application/json"))
}

/// An error as an answer, with the status that fits it.
pub(super) fn refusal(error: &SqlError) -> Response {
    let status = match &error.code().0 {
        b"28000" | b"28P01" => StatusCode::UNAUTHORIZED,
        b"42501" => StatusCode::FORBIDDEN,
        b"57014" | b"25P04" => StatusCode::GATEWAY_TIMEOUT,
        code => match &code[..2] {
            b"53" | b"57" | b"58" => StatusCode::SERVICE_UNAVAILABLE,
            b"23" | b"40" | b"55" => StatusCode::CONFLICT,
            b"54" => StatusCode::PAYLOAD_TOO_LARGE,
            b"XX" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        },
    };
    let mut response = (status, Json(error_value(error))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        // The console asks by itself; others may have to be told how.
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"OmenDB\", charset=\"UTF-8\""));
    }
    response
}

/// One statement's part of a document.
#[derive(Default)]
struct Part {
    columns: Arc<[Column]>,
    rows: Vec<u8>,
    count: usize,
}

impl Part {
    fn add(&mut self, rows: &[Vec<Datum>], format: &SessionFormat) {
        for row in rows {
            self.rows.extend(if self.count == 0 { &b"["[..] } else { b",[" });
            for (index, (value, column)) in row.iter().zip(&*self.columns).enumerate() {
                if index > 0 {
                    self.rows.push(b',');
                }
                write_value(value, column.ty, format, &mut self.rows);
            }
            self.rows.push(b']');
            self.count += 1;
        }
    }

    /// The part as an object.
    fn finish(&mut self, command: &str, notices: &[String]) -> Vec<u8> {
        let part = std::mem::take(self);
        let columns: Vec<_> =
            part.columns.iter().map(|column| json!({ "name": column.name, "type": column.ty.typname() })).collect();
        let affected: Option<u64> = command.rsplit(' ').next().and_then(|count| count.parse().ok());
        let mut out = format!("{{\"columns\":{},\"rows\":[", json!(columns)).into_bytes();
        out.extend(part.rows);
        let rest = json!({ "rows_affected": affected.unwrap_or(0), "command": command, "notices": notices }).to_string();
        out.extend(b"],");
        out.extend(&rest.as_bytes()[1..]);
        out
    }
}

/// The whole answer as one JSON document: that of a statement, or `{"results": […]}` of several.
async fn document(mut answer: Answer) -> Response {
    let format = SessionFormat::default();
    let (mut part, mut parts, mut bytes) = (Part::default(), Vec::new(), 0);
    loop {
        match answer.next().await {
            Piece::Columns(columns) => part.columns = columns,
            Piece::Rows(rows) => part.add(&rows, &format),
            Piece::Complete { command, notices } => {
                parts.push(part.finish(&command, &notices));
                bytes += parts.last().map_or(0, Vec::len);
            }
            Piece::Committed => break,
            Piece::Failed(error) => return refusal(&error),
        }
        if bytes + part.rows.len() > DOCUMENT_BYTES_MAX {
            let message = format!("the answer is larger than {DOCUMENT_BYTES_MAX} bytes: ask for application/x-ndjson");
            return refusal(&SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
    }
    let body = match &mut parts[..] {
        [one] => std::mem::take(one),
        several => {
            let mut body = b"{\"results\":[".to_vec();
            body.extend(several.join(&b','));
            body.extend(b"]}");
            body
        }
    };
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// How rows become the bytes of a stream.
trait Encoder: Send + 'static {
    const CONTENT_TYPE: &'static str;

    /// The columns come first, if there are any.
    fn columns(&mut self, columns: Arc<[Column]>) -> Result<Vec<u8>, SqlError>;

    fn rows(&mut self, rows: &[Vec<Datum>]) -> Result<Vec<u8>, SqlError>;

    /// The end of a stream that has succeeded.
    fn finish(self) -> Result<Vec<u8>, SqlError>;

    /// The end of one that has not; `None` if all that can be done is to break off.
    fn fail(&self, error: &SqlError) -> Option<Vec<u8>>;
}

/// A JSON object a row and line. An error is a last line with `error` alone.
#[derive(Default)]
struct Lines {
    columns: Arc<[Column]>,
    format: SessionFormat,
}

impl Encoder for Lines {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn columns(&mut self, columns: Arc<[Column]>) -> Result<Vec<u8>, SqlError> {
        self.columns = columns;
        Ok(Vec::new())
    }

    fn rows(&mut self, rows: &[Vec<Datum>]) -> Result<Vec<u8>, SqlError> {
        let mut out = Vec::new();
        for row in rows {
            let mut separator = b'{';
            for (value, column) in row.iter().zip(&*self.columns) {
                out.push(separator);
                write_string(&column.name, &mut out);
                out.push(b':');
                write_value(value, column.ty, &self.format, &mut out);
                separator = b',';
            }
            if row.is_empty() {
                out.push(b'{');
            }
            out.extend(b"}\n");
        }
        Ok(out)
    }

    fn finish(self) -> Result<Vec<u8>, SqlError> {
        Ok(Vec::new())
    }

    fn fail(&self, error: &SqlError) -> Option<Vec<u8>> {
        Some(format!("{}\n", error_value(error)).into_bytes())
    }
}

/// Arrow record batches.
#[derive(Default)]
struct Batches {
    stream: Option<ArrowStream>,
    format: SessionFormat,
}

impl Encoder for Batches {
    const CONTENT_TYPE: &'static str = arrow::CONTENT_TYPE;

    fn columns(&mut self, columns: Arc<[Column]>) -> Result<Vec<u8>, SqlError> {
        Ok(self.stream.insert(ArrowStream::new(columns)?).take())
    }

    fn rows(&mut self, rows: &[Vec<Datum>]) -> Result<Vec<u8>, SqlError> {
        let stream = self.stream.as_mut().expect("columns come before rows");
        stream.push(rows, &self.format)?;
        Ok(stream.take())
    }

    fn finish(self) -> Result<Vec<u8>, SqlError> {
        match self.stream {
            Some(stream) => stream.finish(),
            // A statement without columns is a stream without them.
            None => ArrowStream::new(Arc::from([]))?.finish(),
        }
    }

    fn fail(&self, _error: &SqlError) -> Option<Vec<u8>> {
        None
    }
}

/// Streams the rows of one statement. What fails before there is anything to send is an answer of its own.
async fn stream<E: Encoder>(mut answer: Answer, mut encoder: E) -> Response {
    let mut first = Vec::new();
    while first.is_empty() {
        let encoded = match answer.next().await {
            Piece::Columns(columns) => encoder.columns(columns),
            Piece::Rows(rows) => encoder.rows(&rows),
            Piece::Complete { .. } => Ok(Vec::new()),
            Piece::Committed => {
                return match encoder.finish() {
                    Ok(bytes) => ([(header::CONTENT_TYPE, E::CONTENT_TYPE)], bytes).into_response(),
                    Err(error) => refusal(&error),
                };
            }
            Piece::Failed(error) => Err(error),
        };
        match encoded {
            Ok(bytes) => first = bytes,
            Err(error) => return refusal(&error),
        }
    }
    // As many pieces wait here as in the answer itself.
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Broken>>(1);
    tokio::spawn(async move {
        let mut next = Ok(Some(first));
        loop {
            let sent = match next {
                Ok(Some(bytes)) if bytes.is_empty() => true,
                Ok(Some(bytes)) => sender.send(Ok(bytes.into())).await.is_ok(),
                Ok(None) => break,
                Err(error) => {
                    let last = encoder.fail(&error).map_or(Err(Broken(error)), |bytes| Ok(bytes.into()));
                    // Whether anybody still listens is no matter.
                    let _ = sender.send(last).await;
                    return;
                }
            };
            if !sent {
                return;
            }
            next = match answer.next().await {
                Piece::Columns(columns) => encoder.columns(columns).map(Some),
                Piece::Rows(rows) => encoder.rows(&rows).map(Some),
                Piece::Complete { .. } => Ok(Some(Vec::new())),
                Piece::Committed => Ok(None),
                Piece::Failed(error) => Err(error),
            };
        }
        let last = encoder.finish().map(Bytes::from).map_err(Broken);
        let _ = sender.send(last).await;
    });
    ([(header::CONTENT_TYPE, E::CONTENT_TYPE)], Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

/// Why a stream breaks off.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message())]
struct Broken(SqlError);

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_form_is_what_is_named_first() {
        for (accept, expected) in [
            ("*/*", Form::Document),
            ("text/html", Form::Document),
            ("application/x-ndjson, application/json", Form::Lines),
            ("application/vnd.apache.arrow.stream;q=1", Form::Arrow),
        ] {
            assert_eq!(form(&headers(&[("accept", accept)])), expected, "{accept}");
        }
        assert_eq!(form(&HeaderMap::new()), Form::Document);
    }

    #[test]
    fn pages_of_other_origins_and_names_pointed_here_are_refused() {
        let here = Peer { address: IpAddr::from([127, 0, 0, 1]), encrypted: false };
        let there = Peer { address: IpAddr::from([192, 0, 2, 1]), encrypted: true };
        let asked = |peer: &Peer, pairs: &[(&'static str, &'static str)]| may_ask(peer, &headers(pairs)).is_ok();
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "[::1]:9090"] {
            assert!(asked(&here, &[("host", host)]), "{host}");
        }
        assert!(!asked(&here, &[("host", "rebound.example:9090")]) && !asked(&here, &[]));
        assert!(asked(&there, &[("host", "db.example"), ("origin", "https://db.example")]));
        assert!(!asked(&there, &[("host", "db.example"), ("origin", "https://evil.example")]));
        assert!(!asked(&here, &[("host", "localhost:9090"), ("origin", "null")]));
    }

    #[test]
    fn credentials_are_read_or_nobodys() {
        let Credentials::Password(user, password) = credentials("Basic YWxpY2U6czpl") else { panic!("a user and a password") };
        assert_eq!((user.as_str(), password.expose()), ("alice", "s:e"));
        assert!(matches!(credentials("bearer abc"), Credentials::Token(token) if token == "abc"));
        for nonsense in ["", "Basic", "Basic !!!", "Digest x"] {
            assert!(matches!(credentials(nonsense), Credentials::Token(token) if token.is_empty()), "{nonsense}");
        }
    }
}
