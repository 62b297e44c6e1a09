//! `pg_sleep`, and sessions that end what others do: `pg_cancel_backend`, `pg_terminate_backend`.

use crate::server::Server;
use crate::server::raw::{CANCEL, Client, packet, query};

const TERMINATED: &str = "E FATAL 57P01 terminating connection due to administrator command";

fn pid(client: &mut Client) -> String {
    client.column("SELECT pg_backend_pid()").concat()
}

/// Sends a client to sleep, and waits until nothing but the sleep is left of what it has sent: the lock tells.
#[track_caller]
fn sleeps(server: &Server, observer: &mut Client, client: &mut Client, key: u32) {
    client.send(&query(&format!("SELECT pg_advisory_lock({key}); SELECT pg_sleep(3600)")));
    let free = format!("SELECT pg_try_advisory_xact_lock({key})");
    server.wait_until("the lock before the sleep", || observer.column(&free) == ["f"]);
}

/// The end of an answer.
fn end(lines: &[String], count: usize) -> &[String] {
    &lines[lines.len().saturating_sub(count)..]
}

#[test]
fn sleep_ends_by_itself_by_timeout_and_by_cancel() {
    let server = Server::start(&[]);
    let (mut client, mut observer) = (server.connect(), server.connect());
    let slept = "SELECT clock_timestamp() - now() >= '30 milliseconds' AS slept";
    client.run("BEGIN; SELECT pg_sleep(0.03)");
    client.expect_query(slept, &["T slept:16", "D t", "C SELECT 1", "Z T"]);
    client.run("COMMIT");
    let both =
        "SELECT b - a < '20 milliseconds' FROM (SELECT clock_timestamp() AS a, pg_sleep(0.02), clock_timestamp() AS b) AS s";
    assert_eq!(client.column(both), ["f"], "what the clock said before stays what it was");
    client.expect_query("SELECT pg_sleep(-1), pg_sleep('NaN')", &["T pg_sleep:2278 pg_sleep:2278", "D |", "C SELECT 1", "Z I"]);
    client.run("SET statement_timeout = '10ms'");
    let timed_out = client.query("SELECT pg_sleep('Infinity')");
    assert_eq!(timed_out[1..], ["E 57014 canceling statement due to statement timeout", "Z I"]);
    client.run("RESET statement_timeout");
    sleeps(&server, &mut observer, &mut client, 1);
    server.open().send(&packet(CANCEL, &client.key));
    assert_eq!(end(&client.until_ready(), 2), ["E 57014 canceling statement due to user request", "Z I"]);
}

#[test]
fn sessions_end_what_others_do_and_what_they_do_themselves() {
    let mut server = Server::start(&[]);
    let (mut a, mut b, mut idle) = (server.connect(), server.connect(), server.connect());
    let (own, other, third) = (pid(&mut a), pid(&mut b), pid(&mut idle));
    b.run("CREATE TABLE t (id int PRIMARY KEY); BEGIN; INSERT INTO t VALUES (1)");
    sleeps(&server, &mut a, &mut b, 1);
    let cancel = format!("SELECT pg_cancel_backend({other})");
    a.expect_query(&cancel, &["T pg_cancel_backend:16", "D t", "C SELECT 1", "Z I"]);
    assert_eq!(end(&b.until_ready(), 2), ["E 57014 canceling statement due to user request", "Z E"]);
    // Between statements there is nothing to cancel.
    a.run(&cancel);
    b.expect_query("ROLLBACK", &["C ROLLBACK", "Z I"]);
    sleeps(&server, &mut a, &mut b, 2);
    let terminate = format!("SELECT pg_terminate_backend({other}), pg_terminate_backend({third}, 30000)");
    a.expect_query(&terminate, &["T pg_terminate_backend:16 pg_terminate_backend:16", "D t|t", "C SELECT 1", "Z I"]);
    assert_eq!(end(&b.rest_of_stream(), 2), ["T pg_sleep:2278", TERMINATED]);
    assert_eq!(idle.rest_of_stream(), [TERMINATED]);
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        let answer = a.query(&format!("SELECT {function}(2147483647)"));
        let warning = "N WARNING 01000 PID 2147483647 is not a PostgreSQL backend process";
        assert_eq!(answer[1..], ["D f", warning, "C SELECT 1", "Z I"]);
    }
    let negative = a.query(&format!("SELECT pg_terminate_backend({own}, -1)"));
    assert_eq!(negative[1..], ["E 22003 \"timeout\" must not be negative", "Z I"]);
    let canceled = a.query("SELECT pg_cancel_backend(pg_backend_pid())");
    assert_eq!(canceled[1..], ["E 57014 canceling statement due to user request", "Z I"]);
    a.send(&query("SELECT pg_terminate_backend(pg_backend_pid()); SELECT 1"));
    assert_eq!(a.rest_of_stream()[1..], [TERMINATED]);
    server.assert_unharmed();
}
