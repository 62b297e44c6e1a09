//! The control plane over real sockets, with cores played by a small double.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::CoreId;
use crate::error::{SqlError, SqlState};
use crate::http::query::{Column, Credentials, Piece};
use crate::metrics::{CoreMetrics, FinishedStatement, QueryPath, QueryType};
use crate::types::{Datum, SqlType};

struct Double {
    status: ServerStatus,
    stuck: AtomicBool,
}

impl Control for Double {
    async fn gather(&self) -> Vec<CoreSnapshot> {
        if self.stuck.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let of_core = |core| {
            let metrics = CoreMetrics::new(CoreId(core), 2);
            metrics.finished(FinishedStatement::whole(QueryType::Select, QueryPath::PointLocal, 1_000, 1));
            metrics.snapshot()
        };
        vec![of_core(0), of_core(1)]
    }

    async fn pools(&self) -> Vec<(CoreId, PoolFigures)> {
        (0..2).map(|core| (CoreId(core), CoreMetrics::new(CoreId(core), 2).pool.figures())).collect()
    }

    async fn query(&self, _caller: Caller, batch: Batch) -> SqlResult<Answer> {
        let (answering, answer) = Answer::channel(|| {}, || {});
        tokio::spawn(async move {
            let columns = [Column { name: "n".to_owned(), ty: SqlType::Int4 }];
            for statement in batch.statements {
                if statement.sql == "break" {
                    return;
                }
                answering.send(Piece::Columns(columns.to_vec().into())).await;
                for number in 0..3 {
                    answering.send(Piece::Rows(vec![vec![Datum::Int4(number)]])).await;
                }
                if statement.sql == "fail" {
                    answering.send(Piece::Failed(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"))).await;
                    return;
                }
                answering.send(Piece::Complete { command: "SELECT 3".to_owned(), notices: Vec::new() }).await;
            }
            answering.send(Piece::Committed).await;
        });
        Ok(answer)
    }

    async fn login(&self, caller: Caller) -> SqlResult<Login> {
        match caller.credentials {
            Credentials::Password(user, password) if password.expose() == "right" => {
                Ok(Login { token: "t".to_owned(), user, expires: 1 })
            }
            _ => Err(SqlError::new(SqlState::INVALID_PASSWORD, "password authentication failed")),
        }
    }

    async fn may_look(&self, _caller: Caller) -> SqlResult<()> {
        Ok(())
    }

    fn log_lag_bytes(&self) -> u64 {
        7
    }

    fn figures(&self) -> ServerFigures {
        ServerFigures {
            version: "0",
            cores: 2,
            uptime_s: 1,
            connections_max: 10,
            memory_limit_bytes: 1,
            process: crate::metrics::process_figures(),
        }
    }

    fn status(&self) -> &ServerStatus {
        &self.status
    }
}

fn start() -> (HttpServer, Arc<Double>) {
    let control = Arc::new(Double { status: ServerStatus::new(2), stuck: AtomicBool::new(false) });
    control.status.set_phase(Phase::Serving);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    let server = HttpServer::start(listener, None, control.clone(), &[]).expect("it starts");
    (server, control)
}

/// The status code, the head and the body of one answer.
fn ask(server: &HttpServer, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    if let Err(error) = stream.write_all(request.as_bytes()) {
        // A request that is refused need not be read to its end.
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
    let mut answer = String::new();
    // A refused request may be reset instead of closed, after the answer.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, head.to_ascii_lowercase(), body.to_string())
}

fn get(server: &HttpServer, path: &str) -> (u16, String, String) {
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

#[test]
fn metrics_are_merged_over_the_cores() {
    let (server, _) = start();
    let (code, head, body) = get(&server, "/metrics");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("omendb_sql_queries_total{query_type=\"select\"} 2\n"), "{body}");
    assert!(body.contains("omendb_cores 2\n"), "{body}");
}

fn post(server: &HttpServer, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    let length = body.len();
    ask(
        server,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ),
    )
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn metrics_come_in_the_format_that_is_asked_for() {
    let (server, _) = start();
    for (accept, openmetrics) in [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", true),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.1", false),
        ("*/*", false),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        let (_, head, body) = ask(&server, &request);
        assert_eq!(head.contains("application/openmetrics-text"), openmetrics, "{accept}: {head}");
        assert_eq!(body.contains("# EOF"), openmetrics, "{accept}");
    }
}

#[test]
fn results_are_documents_or_streams() {
    let (server, _) = start();
    let (code, _, body) = post(&server, "/query", JSON, r#"{"sql": "x"}"#);
    let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!((code, &body["rows"], &body["rows_affected"]), (200, &serde_json::json!([[0], [1], [2]]), &3.into()));
    let (_, _, body) = post(&server, "/query", JSON, r#"{"statements": ["x", "y"]}"#);
    let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(body["results"].as_array().map(Vec::len), Some(2));
    let lines = format!("{JSON}Accept: application/x-ndjson\r\n");
    let (_, head, body) = post(&server, "/query", &lines, r#"{"sql": "x"}"#);
    assert!(
        head.contains("application/x-ndjson") && body.contains("{\"n\":0}\n") && body.contains("{\"n\":2}\n"),
        "{head} {body}"
    );
    let arrow = format!("{JSON}Accept: application/vnd.apache.arrow.stream\r\n");
    let (code, _, body) = post(&server, "/query", &arrow, r#"{"statements": ["x", "y"]}"#);
    assert!(code == 400 && body.contains("one statement"), "{body}");
}

#[test]
fn failures_are_told_wherever_they_come() {
    let (server, _) = start();
    let (code, _, body) = post(&server, "/query", JSON, r#"{"sql": "fail"}"#);
    let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!((code, &body["error"]["sqlstate"]), (400, &"22012".into()));
    let lines = format!("{JSON}Accept: application/x-ndjson\r\n");
    let (code, _, body) = post(&server, "/query", &lines, r#"{"sql": "fail"}"#);
    assert!(code == 200 && body.contains("22012"), "rows had gone out already: {body}");
    assert_eq!(post(&server, "/query", JSON, r#"{"sql": "break"}"#).0, 500);
    assert_eq!(post(&server, "/query", JSON, "{").0, 400);
    assert_eq!(post(&server, "/query", "", r#"{"sql": "x"}"#).0, 400, "a page could send it without asking");
    assert_eq!(post(&server, "/query", &format!("{JSON}Origin: http://evil\r\n"), r#"{"sql": "x"}"#).0, 403);
    let large = format!("{{\"sql\": \"{}\"}}", "x".repeat(5 << 20));
    let code = post(&server, "/query", JSON, &large).0;
    assert!(code == 413 || code == 0, "refused or cut off, not {code}");
}

#[test]
fn who_logs_in_has_a_token() {
    let (server, _) = start();
    let (code, head, _) = post(&server, "/login", "Authorization: Basic YTpi\r\n", "");
    assert!(code == 401 && head.contains("www-authenticate: bearer, basic"), "{head}");
    let (code, _, body) = post(&server, "/login", "Authorization: Basic YTpyaWdodA==\r\n", "");
    assert!(code == 200 && body.contains("\"token\":\"t\""), "{body}");
}

#[test]
fn the_description_of_the_routes_is_served_and_names_them() {
    let (server, _) = start();
    let (code, head, body) = get(&server, "/openapi.json");
    assert!(code == 200 && head.contains("content-security-policy: default-src 'self'"), "{head}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    let paths = body["paths"].as_object().expect("there are paths");
    for path in ["/metrics", "/pools", "/health", "/livez", "/readyz", "/query", "/login", "/openapi.json", "/"] {
        assert!(paths.contains_key(path), "{path} is described");
    }
}

/// What a client that believes this certificate alone is answered; the error of its handshake otherwise.
fn ask_encrypted(server: &HttpServer, believed: &rcgen::Certificate) -> std::io::Result<String> {
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    roots.add(believed.der().clone()).expect("a root");
    let config = tokio_rustls::rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut client = tokio_rustls::rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut socket = TcpStream::connect(server.address()).expect("it listens");
    let mut stream = tokio_rustls::rustls::Stream::new(&mut client, &mut socket);
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    // Some end a connection without saying goodbye.
    let _ = stream.read_to_string(&mut answer);
    Ok(answer)
}

#[test]
fn https_is_spoken_with_a_certificate_and_its_key_and_they_can_be_exchanged() {
    let [first, second] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let write = |path: &std::path::Path, text: String| std::fs::write(path, text).expect("it can be written");
    write(&cert, first.cert.pem());
    write(&key, first.signing_key.serialize_pem());
    for (cert, key) in [(&key, &key), (&cert, &cert), (&cert, &directory.path().join("none"))] {
        assert!(tls::Certified::open(cert, key).is_err(), "{} and {} are no pair", cert.display(), key.display());
    }
    let certified = Arc::new(tls::Certified::open(&cert, &key).expect("they belong together"));
    let control = Arc::new(Double { status: ServerStatus::new(2), stuck: AtomicBool::new(false) });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    let server = HttpServer::start(listener, Some(certified.clone()), control, &[]).expect("it starts");
    let alive = |believed| {
        ask_encrypted(&server, believed).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.contains("alive"))
    };
    assert!(alive(&first.cert) && !alive(&second.cert));
    // In the clear it says nothing.
    assert_eq!(get(&server, "/livez").0, 0);
    // A certificate whose key is not there yet changes nothing.
    write(&cert, second.cert.pem());
    certified.reload(&cert, &key);
    assert!(alive(&first.cert));
    write(&key, second.signing_key.serialize_pem());
    certified.reload(&cert, &key);
    assert!(alive(&second.cert) && !alive(&first.cert));
}

#[test]
fn health_follows_the_phase() {
    let (server, control) = start();
    for (phase, code) in
        [(Phase::Starting, 503), (Phase::Recovering, 503), (Phase::Serving, 200), (Phase::Stopping, 503), (Phase::Failed, 503)]
    {
        control.status.set_phase(phase);
        for path in ["/health", "/readyz"] {
            let (found, _, body) = get(&server, path);
            let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
            assert_eq!((found, body["status"].as_str()), (code, Some(phase.label())), "{path}");
        }
        assert_eq!(get(&server, "/livez").0, 200);
    }
    control.status.set_recovered(17, Duration::from_millis(250));
    let body: serde_json::Value = serde_json::from_str(&get(&server, "/health").2).expect("it is JSON");
    assert_eq!((&body["cores"], &body["version"]), (&2.into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(body["recovery"]["transactions_replayed"], 17);
}

#[test]
fn what_is_not_there_is_told_in_json() {
    let (server, _) = start();
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (expected, (code, head, body)) in [(404, get(&server, "/nowhere")), (405, ask(&server, post))] {
        assert_eq!(code, expected);
        assert!(head.contains("application/json"), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
        assert!(body["error"].is_string());
    }
}

#[test]
fn a_request_head_has_a_limit() {
    let (server, _) = start();
    let endless = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(4 * connection::HEAD_BYTES_MAX));
    let (code, _, _) = ask(&server, &endless);
    assert!(code == 431 || code == 0, "refused or cut off, not {code}");
    assert_eq!(get(&server, "/livez").0, 200, "others are served on");
}

#[test]
fn silent_clients_do_not_shut_others_out() {
    let (server, _) = start();
    let silent: Vec<TcpStream> =
        (1..connection::CONNECTIONS_MAX).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
    assert_eq!(get(&server, "/livez").0, 200);
    drop(silent);
}

#[test]
fn a_core_that_does_not_answer_fails_the_request() {
    let (server, control) = start();
    control.stuck.store(true, Ordering::Relaxed);
    let (code, _, body) = get(&server, "/metrics");
    assert_eq!(code, 503, "{body}");
    assert_eq!(get(&server, "/health").0, 200, "health needs no core");
}

#[test]
fn stopping_ends_the_thread_and_frees_the_port() {
    let (server, _) = start();
    let address = server.address();
    let idle = TcpStream::connect(address).expect("it listens");
    server.stop();
    drop(idle);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
