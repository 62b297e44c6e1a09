//! SQL over HTTP: what a client asks, what the server answers, and the check of who it is. The rest of the server carries it out
//! ([`Control::query`](super::Control::query)).
//!
//! A request is one statement or several; several are one transaction. Results arrive in pieces through a short channel, so that neither
//! side holds more than a few of them; whoever stops listening ends the statements, and nothing of an uncommitted transaction stays.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::auth::Secret;
use crate::error::{SqlError, SqlState};
use crate::types::{Datum, SqlType};

/// Pieces of a result that may wait for the client.
const PIECES_WAITING: usize = 4;

/// How long the statements of a request may take when it does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// The longest that a request may ask for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(540);

/// Statements of one request.
pub const STATEMENTS_MAX: usize = 1_000;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// From where.
    pub address: IpAddr,
    /// Encrypted.
    pub encrypted: bool,
    /// What it proves itself with.
    pub credentials: Credentials,
}

/// What a client proves itself with.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A user and a password.
    Password(String, Secret),
    /// A bearer token.
    Token(String),
}

/// A token for somebody who has proved who it is.
#[derive(Clone, Debug)]
pub struct Login {
    /// The token.
    pub token: String,
    /// Its user.
    pub user: String,
    /// When it ends, in Unix seconds.
    pub expires: u64,
}

/// A statement and the values of its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// Values of `$1`, `$2` …
    pub params: Vec<Value>,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// One statement, or the statements of one transaction.
    pub statements: Vec<Statement>,
    /// How long they may take.
    pub timeout: Duration,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
}

/// A piece of an answer. Each statement has its columns, if it has any, then its rows, then its end; the last piece of all is
/// `Committed` or `Failed`.
#[derive(Debug)]
pub enum Piece {
    /// The columns of the statement's rows.
    Columns(Arc<[Column]>),
    /// Some of its rows.
    Rows(Vec<Vec<Datum>>),
    /// The end of a statement.
    Complete {
        /// Its command tag.
        command: String,
        /// What it had to say besides.
        notices: Vec<String>,
    },
    /// All have succeeded and are kept.
    Committed,
    /// One has failed, and nothing is kept.
    Failed(SqlError),
}

/// The server's end of an answer. Works in any executor.
#[derive(Clone, Debug)]
pub struct Answering(mpsc::Sender<Piece>);

impl Answering {
    /// Waits for room and sends a piece. False: nobody listens any more.
    pub async fn send(&self, piece: Piece) -> bool {
        self.0.send(piece).await.is_ok()
    }
}

/// The client's end of an answer. Dropped before its end, it ends what runs.
pub struct Answer {
    pieces: mpsc::Receiver<Piece>,
    on_taken: Box<dyn Fn() + Send + Sync>,
    on_drop: Box<dyn Fn() + Send + Sync>,
}

impl Answer {
    /// Both ends. `on_taken` is called when there is room again, `on_drop` when nobody listens any more.
    pub fn channel(
        on_taken: impl Fn() + Send + Sync + 'static,
        on_drop: impl Fn() + Send + Sync + 'static,
    ) -> (Answering, Answer) {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        (Answering(sender), Answer { pieces, on_taken: Box::new(on_taken), on_drop: Box::new(on_drop) })
    }

    /// The next piece. An answer that breaks off has failed.
    pub async fn next(&mut self) -> Piece {
        let piece = self.pieces.recv().await;
        (self.on_taken)();
        piece.unwrap_or_else(|| Piece::Failed(SqlError::internal("the statement was given up")))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}

/// Runs what takes its time, such as deriving a key from a password, where nobody waits for it.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SqlError> {
    tokio::task::spawn_blocking(work).await.map_err(|_panic| SqlError::internal("it was given up"))
}

/// Reads a request's body: `{"sql": …, "params": […]}`, or `{"statements": [{"sql": …, "params": […]}, …]}`; `"timeout_ms"` besides.
///
/// Errors: 22023 with what is wrong.
pub fn read_batch(body: &[u8]) -> Result<Batch, SqlError> {
    let wrong = |what: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what);
    let body: Value = serde_json::from_slice(body).map_err(|error| wrong(format!("the body is not JSON: {error}")))?;
    let Value::Object(mut fields) = body else { return Err(wrong("the body must be a JSON object".to_owned())) };
    let timeout = match fields.remove("timeout_ms") {
        None | Some(Value::Null) => TIMEOUT_DEFAULT,
        Some(given) => match given.as_u64().map(Duration::from_millis) {
            Some(timeout) if !timeout.is_zero() && timeout <= TIMEOUT_MAX => timeout,
            _ => return Err(wrong(format!("\"timeout_ms\" must be a number from 1 to {}", TIMEOUT_MAX.as_millis()))),
        },
    };
    let statements = match fields.remove("statements") {
        Some(Value::Array(statements)) => {
            statements.into_iter().map(|one| match one {
                Value::Object(mut fields) => read_statement(&mut fields),
                Value::String(sql) => Ok(Statement { sql, params: Vec::new() }),
                _ => Err(wrong("each of \"statements\" must be an object with \"sql\", or a string".to_owned())),
            })
        }
        .collect::<Result<Vec<_>, _>>()?,
        Some(_) => return Err(wrong("\"statements\" must be an array".to_owned())),
        None => vec![read_statement(&mut fields)?],
    };
    if let Some(unknown) = fields.keys().next() {
        return Err(wrong(format!("there is no field \"{unknown}\"")));
    }
    if statements.is_empty() || statements.len() > STATEMENTS_MAX {
        return Err(wrong(format!("a request has 1 to {STATEMENTS_MAX} statements")));
    }
    Ok(Batch { statements, timeout })
}

fn read_statement(fields: &mut serde_json::Map<String, Value>) -> Result<Statement, SqlError> {
    let wrong = |what: &str| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what);
    let Some(Value::String(sql)) = fields.remove("sql") else { return Err(wrong("\"sql\" must be a string")) };
    let params = match fields.remove("params") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(params)) => params,
        Some(_) => return Err(wrong("\"params\" must be an array")),
    };
    Ok(Statement { sql, params })
}

/// A JSON value as the text of a parameter; `None` for NULL. For an array type an array becomes PostgreSQL's `{…}`, and whatever else is
/// an array or an object its JSON.
pub fn parameter_text(value: &Value, ty: SqlType) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) if ty.is_array() => {
            let items: Vec<String> = items
                .iter()
                .map(|item| match item {
                    Value::Null => "NULL".to_owned(),
                    Value::String(text) => quoted(text),
                    other => quoted(&other.to_string()),
                })
                .collect();
            format!("{{{}}}", items.join(","))
        }
        Value::Array(_) | Value::Object(_) => value.to_string(),
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::ElementType;

    #[test]
    fn requests_are_one_statement_or_several() {
        let read = |body: Value| read_batch(body.to_string().as_bytes());
        let one = read(json!({ "sql": "SELECT $1", "params": [1] })).expect("it is right");
        assert_eq!(one.statements, [Statement { sql: "SELECT $1".into(), params: vec![json!(1)] }]);
        assert_eq!(one.timeout, TIMEOUT_DEFAULT);
        let two = read(json!({ "statements": ["SELECT 1", { "sql": "SELECT 2" }], "timeout_ms": 5 })).expect("it is right");
        assert_eq!((two.statements.len(), two.timeout), (2, Duration::from_millis(5)));
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told() {
        for (body, expected) in [
            ("", "not JSON"),
            ("[]", "must be a JSON object"),
            ("{}", "\"sql\" must be a string"),
            (r#"{"sql": 1}"#, "\"sql\" must be a string"),
            (r#"{"sql": "", "params": {}}"#, "\"params\" must be an array"),
            (r#"{"sql": "", "parms": []}"#, "no field \"parms\""),
            (r#"{"statements": []}"#, "1 to 1000 statements"),
            (r#"{"statements": [1]}"#, "must be an object"),
            (r#"{"sql": "", "timeout_ms": 0}"#, "timeout_ms"),
        ] {
            let error = read_batch(body.as_bytes()).expect_err(body);
            assert!(error.message().contains(expected), "{body}: {}", error.message());
        }
    }

    #[test]
    fn values_become_the_text_of_their_type() {
        let text = |value| parameter_text(&value, SqlType::Text);
        assert_eq!(text(json!(null)), None);
        assert_eq!(text(json!(1.5)).as_deref(), Some("1.5"));
        assert_eq!(text(json!(true)).as_deref(), Some("true"));
        assert_eq!(text(json!({ "a": [1] })).as_deref(), Some("{\"a\":[1]}"));
        let array = parameter_text(&json!([1, null, "a\"b\\", "NULL"]), SqlType::Array(ElementType::Text));
        assert_eq!(array.as_deref(), Some(r#"{"1",NULL,"a\"b\\","NULL"}"#));
    }
}
