//! The control plane over real sockets, with cores played by a small double.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::base::CoreId;
use crate::metrics::{CoreMetrics, QueryType};

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
            metrics.sql.finished(QueryType::Select, 1_000, 1);
            metrics.snapshot()
        };
        vec![of_core(0), of_core(1)]
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
    let server = HttpServer::start(listener, control.clone(), &[]).expect("it starts");
    (server, control)
}

/// The status code, the head and the body of one answer.
fn ask(server: &HttpServer, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
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
