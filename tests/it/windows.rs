//! What an operator sees: metrics, latencies by stage, slow statements, and SQL over HTTP, on the assembled server.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::server::{Server, command};

/// Status, head and body of an answer over HTTP.
fn ask(server: &Server, head: &str, body: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.http()).expect("it listens");
    let length = body.len();
    let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("there is a head") + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("there is a status");
    (code, head, answer[end..].to_vec())
}

fn query_as(server: &Server, headers: &str, body: &Value) -> (u16, Value) {
    let head = format!("POST /query HTTP/1.1\r\nContent-Type: application/json{headers}");
    let (code, _, body) = ask(server, &head, &body.to_string());
    (code, serde_json::from_slice(&body).expect("the answer is JSON"))
}

fn query(server: &Server, body: &Value) -> (u16, Value) {
    query_as(server, "", body)
}

#[test]
fn sql_over_http_is_sql() {
    let server = Server::start(&[]);
    let (code, made) =
        query(&server, &json!({ "sql": "CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz, n numeric)" }));
    assert_eq!((code, &made["command"]), (200, &json!("CREATE TABLE")));
    let insert =
        json!({ "sql": "INSERT INTO t VALUES ($1, $2, $3, $4) RETURNING id", "params": [1, "a", "2026-01-02T03:04:05Z", 1.5] });
    let (code, inserted) = query(&server, &insert);
    assert_eq!((code, &inserted["rows"], &inserted["rows_affected"]), (200, &json!([[1]]), &json!(1)), "{inserted}");
    let (_, found) = query(&server, &json!({ "sql": "SELECT * FROM t WHERE id = ANY($1)", "params": [[1, 2]] }));
    assert_eq!(found["rows"], json!([[1, "a", "2026-01-02 03:04:05+00", 1.5]]), "{found}");
    assert_eq!(found["columns"][3], json!({ "name": "n", "type": "numeric" }));
    let (code, again) = query(&server, &insert);
    assert_eq!((code, &again["error"]["sqlstate"]), (409, &json!("23505")));
    let (code, wrong) = query(&server, &json!({ "sql": "SELECT nothing" }));
    assert_eq!((code, &wrong["error"]["sqlstate"], &wrong["error"]["position"]), (400, &json!("42703"), &json!(8)));
    let (code, few) = query(&server, &json!({ "sql": "SELECT $1::int" }));
    assert_eq!((code, &few["error"]["sqlstate"]), (400, &json!("22023")), "{few}");
    let (code, copied) = query(&server, &json!({ "sql": "COPY t TO STDOUT" }));
    assert_eq!((code, &copied["error"]["sqlstate"]), (400, &json!("0A000")));
    let (code, slept) = query(&server, &json!({ "sql": "SELECT pg_sleep(60)", "timeout_ms": 50 }));
    assert_eq!((code, &slept["error"]["sqlstate"]), (504, &json!("57014")));
    assert_eq!(server.metric("omendb_connections_active"), 0.0, "each request has ended its session");
}

#[test]
fn several_statements_are_one_transaction() {
    let server = Server::start(&[]);
    let made = json!({ "statements": [
        "CREATE TABLE t (id int PRIMARY KEY)",
        { "sql": "INSERT INTO t VALUES ($1)", "params": [1] },
        "SELECT count(*) FROM t",
    ] });
    let (code, answer) = query(&server, &made);
    assert_eq!((code, &answer["results"][2]["rows"]), (200, &json!([[1]])), "{answer}");
    let (code, failed) = query(&server, &json!({ "statements": ["INSERT INTO t VALUES (2)", "SELECT 1 / 0"] }));
    assert_eq!((code, &failed["error"]["sqlstate"]), (400, &json!("22012")));
    let (_, answer) = query(&server, &json!({ "sql": "SELECT id FROM t" }));
    assert_eq!(answer["rows"], json!([[1]]), "nothing of the failed one is kept");
}

#[test]
fn large_results_are_streamed_and_can_be_left() {
    let server = Server::start(&[]);
    let lines = "POST /query HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/x-ndjson";
    let (code, head, body) = ask(&server, lines, r#"{"sql": "SELECT i AS n FROM generate_series(1, 100000) AS i"}"#);
    assert!(code == 200 && head.contains("chunked"), "{head}");
    let body = String::from_utf8(body).expect("it is text");
    assert_eq!(body.matches("{\"n\":").count(), 100_000);
    assert!(body.contains("{\"n\":100000}\n"));
    // Whoever goes away in the middle leaves nothing behind.
    let mut stream = TcpStream::connect(server.http()).expect("it listens");
    let body = r#"{"sql": "SELECT i, repeat('x', 1000) FROM generate_series(1, 10000000) AS i"}"#;
    write!(stream, "{lines}\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("it reads");
    let mut some = [0; 10_000];
    stream.read_exact(&mut some).expect("rows come before the end of the statement");
    drop(stream);
    server.wait_until("the statement ends", || server.metric("omendb_connections_active") == 0.0);
}

#[test]
fn who_asks_over_http_is_asked_for_a_password_where_hba_says_so() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    admin.run(
        "CREATE ROLE alice LOGIN PASSWORD 'wonder'; CREATE ROLE bob LOGIN PASSWORD 'builder'; ALTER ROLE postgres PASSWORD 'x'",
    );
    server.write_rules("host all all 127.0.0.1/32 scram-sha-256\n");
    let one = json!({ "sql": "SELECT current_user" });
    assert_eq!(query(&server, &one).0, 401);
    // alice:wonder, alice:wrong
    let (code, answer) = query_as(&server, "\r\nAuthorization: Basic YWxpY2U6d29uZGVy", &one);
    assert_eq!((code, &answer["rows"]), (200, &json!([["alice"]])), "{answer}");
    let (code, answer) = query_as(&server, "\r\nAuthorization: Basic YWxpY2U6d3Jvbmc=", &one);
    assert_eq!((code, &answer["error"]["sqlstate"]), (401, &json!("28P01")));
    let (code, _, body) = ask(&server, "POST /login HTTP/1.1\r\nAuthorization: Basic YWxpY2U6d29uZGVy", "");
    let login: Value = serde_json::from_slice(&body).expect("it is JSON");
    assert_eq!((code, &login["user"]), (200, &json!("alice")));
    let bearer = format!("\r\nAuthorization: Bearer {}", login["token"].as_str().expect("a token is text"));
    assert_eq!(query_as(&server, &bearer, &one).0, 200);
    admin.run("ALTER ROLE alice PASSWORD 'other'");
    assert_eq!(query_as(&server, &bearer, &one).0, 401, "another password ends the tokens of the old one");
}

#[test]
fn latencies_are_told_by_core_and_stage_and_start_over() {
    let server = Server::start(&["--log-min-duration-ms", "30"]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY, n int)");
    client.run("SELECT omendb_reset_latency()");
    client.run("INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) AS i");
    client.run("SELECT pg_sleep(0.05)");
    let count =
        |client: &mut crate::server::raw::Client, sql: &str| client.column(sql).concat().parse::<i64>().expect("a number");
    let selects =
        "SELECT sum(count) FROM omendb_core_latency WHERE query_type = 'select' AND p50_us <= p99_us AND p99_us <= max_us";
    assert!(count(&mut client, selects) >= 1);
    for stage in ["parse", "plan", "queue", "execute", "send", "log_wait"] {
        let sql = format!("SELECT coalesce(sum(count), 0) FROM omendb_stage_latency WHERE stage = '{stage}'");
        assert!(count(&mut client, &sql) >= 1, "{stage} has been timed");
    }
    let slow = "SELECT (execute_us >= 50000 AND duration_us >= execute_us AND send_us > 0)::text || ' ' || query \
                FROM omendb_slow_statements WHERE query LIKE '%pg_sleep(0.05)'";
    assert_eq!(client.column(slow), ["true SELECT pg_sleep(0.05)"]);
    // On a busy machine others may have been slow as well.
    let (_, row) = query(
        &server,
        &json!({ "sql": "SELECT sum(value) >= 1 FROM omendb_metrics WHERE name = 'omendb_slow_statements_total'" }),
    );
    assert_eq!(row["rows"], json!([[true]]), "{row}");
    server.wait_until("the slow statement is logged", || server.log().contains("slow statement"));
    client.run("SELECT omendb_reset_latency()");
    assert_eq!(client.column("SELECT query FROM omendb_slow_statements WHERE query LIKE '%pg_sleep(0.05)'"), [""; 0]);
}

#[test]
fn waits_for_locks_are_told_apart() {
    let server = Server::start(&[]);
    let (mut holder, mut waiter, mut observer) = (server.connect(), server.connect(), server.connect());
    observer.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 200) AS i");
    for id in [1, 200] {
        let update = format!("UPDATE t SET n = n * 2 WHERE id = {id}");
        holder.run(&format!("BEGIN; {update}"));
        waiter.send(&crate::server::raw::query(&update));
        server.wait_for_waiters(&mut observer, 1);
        std::thread::sleep(std::time::Duration::from_millis(30));
        holder.run("COMMIT");
        waiter.until_ready();
        let told = format!(
            "SELECT (lock_wait_us >= 30000 AND execute_us < lock_wait_us)::text FROM omendb_slow_statements \
             WHERE query LIKE '%id = {id}' AND lock_wait_us > 0"
        );
        assert_eq!(observer.column(&told), ["true"], "the wait of row {id} was its statement's, wherever the row is");
    }
}

#[test]
fn tablets_and_the_picture_of_an_index_are_told() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT i FROM generate_series(1, 20000) AS i");
    client
        .run("CREATE TABLE names (name text PRIMARY KEY); INSERT INTO names SELECT 'n' || i FROM generate_series(1, 1000) AS i");
    let told = client.column("SELECT relname, sum(rows), min(depth) >= 1 FROM omendb_tablets GROUP BY relname ORDER BY relname");
    assert_eq!(told, ["names|1000|t", "t|20000|t"]);
    let points = "SELECT relname, count(*) > 100, bool_and(position >= 0 AND predicted >= 0) FROM omendb_index_curve \
                  GROUP BY relname ORDER BY relname";
    assert_eq!(client.column(points), ["names|t|t", "t|t|t"]);
}

#[test]
fn the_program_prints_and_logs_latencies() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("latency.hlog");
    let mut run = command();
    run.args(["latency", "--interval", "1", "--intervals", "2", "--log"])
        .arg(&log)
        .arg("--listen")
        .arg(server.address.to_string());
    let running = std::thread::spawn(move || run.output().expect("it runs"));
    while !running.is_finished() {
        client.run("SELECT 1");
    }
    let output = running.join().expect("it does not panic");
    let printed = String::from_utf8(output.stdout).expect("it prints text");
    assert!(output.status.success() && printed.contains("p99.999"), "{printed}");
    let text = std::fs::read_to_string(&log).expect("it was written");
    assert!(text.contains("Tag=core") && text.contains(".stage.execute,") && text.contains("HISTFAAA"), "{text}");
}

#[test]
fn the_audit_log_has_who_comes_and_what_changes_without_passwords() {
    let server = Server::start(&["--audit-log", "on", "--log-level", "info"]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (id int PRIMARY KEY)");
    client.run("CREATE ROLE carol LOGIN PASSWORD 'opensesame'");
    drop(client);
    server.wait_until("the goodbye is logged", || server.log().contains("logout"));
    let log = server.log();
    assert!(log.contains("event=\"login\"") && log.contains("CREATE TABLE t (id int PRIMARY KEY)"), "{log}");
    assert!(log.contains("CREATE ROLE") && !log.contains("opensesame"), "{log}");
}

#[test]
fn what_is_granted_counts_over_http_too() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    admin.run("CREATE ROLE alice LOGIN; CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2)");
    // alice:
    let as_alice = |sql: &str| query_as(&server, "\r\nAuthorization: Basic YWxpY2U6", &json!({ "sql": sql }));
    let refused = |sql: &str| {
        let (code, answer) = as_alice(sql);
        assert_eq!((code, &answer["error"]["sqlstate"]), (403, &json!("42501")), "{sql}: {answer}");
    };
    refused("SELECT a FROM t");
    refused("CREATE TABLE u (a int)");
    admin.run("GRANT SELECT (a) ON t TO alice");
    assert_eq!(as_alice("SELECT a FROM t").1["rows"], json!([[1]]));
    refused("SELECT b FROM t");
    admin.run("REVOKE SELECT (a) ON t FROM alice");
    refused("SELECT a FROM t");
    assert_eq!(as_alice("SELECT 1").0, 200);
    admin.run("REVOKE CONNECT ON DATABASE tester FROM PUBLIC");
    refused("SELECT 1");
}
