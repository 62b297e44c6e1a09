//! What ends a wait: the timeouts that a session sets, and the search for deadlocks.

use crate::server::{Server, raw};

const OK: &[&str] = &["C BEGIN", "Z T"];
const TOO_LONG: &str = "E FATAL 25P04 terminating connection due to transaction timeout";

#[test]
fn a_transaction_that_lasts_too_long_ends_its_session() {
    let server = Server::start(&[]);
    let mut a = server.connect();
    a.run("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 0), (2, 0)");
    a.expect_query("BEGIN", OK);
    a.run("UPDATE t SET b = 1 WHERE a = 1");

    // In a statement that waits, within a block and by itself; what the block has done is undone.
    let mut waiting = server.connect();
    waiting.run("SET transaction_timeout = '50ms'");
    waiting.send(&[raw::query("BEGIN; UPDATE t SET b = 7 WHERE a = 2"), raw::query("UPDATE t SET b = 7 WHERE a = 1")].concat());
    let lines = waiting.rest_of_stream();
    assert_eq!(lines, ["C BEGIN", "C UPDATE 1", "Z T", TOO_LONG]);
    let mut alone = server.connect();
    alone.run("SET transaction_timeout = '50ms'; SET statement_timeout = '1h'");
    alone.send(&raw::query("UPDATE t SET b = 7 WHERE a = 1"));
    assert_eq!(alone.rest_of_stream(), [TOO_LONG]);

    // Between statements, whether the block has failed or not.
    for statement in ["SELECT 1", "SELECT 1/0"] {
        let mut idle = server.connect();
        idle.run("SET transaction_timeout = '50ms'; SET idle_in_transaction_session_timeout = '1h'");
        idle.send(&raw::query("BEGIN"));
        idle.query(statement);
        idle.query(statement);
        assert_eq!(idle.rest_of_stream().last().map(String::as_str), Some(TOO_LONG), "{statement}");
    }

    // The shorter limit counts, and outside of transactions this one does not.
    let mut canceled = server.connect();
    canceled.run("SET transaction_timeout = '1h'; SET statement_timeout = '50ms'");
    let lines = canceled.query("UPDATE t SET b = 7 WHERE a = 1");
    assert_eq!(lines, ["E 57014 canceling statement due to statement timeout", "Z I"]);
    canceled.run("SET statement_timeout = 0; SET transaction_timeout = '50ms'");
    std::thread::sleep(std::time::Duration::from_millis(100));
    canceled.expect_query("SELECT b FROM t ORDER BY a", &["T b:23", "D 0", "D 0", "C SELECT 2", "Z I"]);
    a.expect_query("COMMIT", &["C COMMIT", "Z I"]);
}

#[test]
fn deadlocks_are_looked_for_when_the_waiters_say_so() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 0), (2, 0)");
    for (deadlock_timeout, lock_timeout, code) in [("10ms", "1h", "40P01"), ("1h", "100ms", "55P03")] {
        for (client, row) in [(&mut a, 1), (&mut b, 2)] {
            client.run(&format!("SET deadlock_timeout = '{deadlock_timeout}'; SET lock_timeout = '{lock_timeout}'"));
            client.expect_query("BEGIN", OK);
            client.run(&format!("UPDATE t SET b = b + 1 WHERE a = {row}"));
        }
        assert_eq!(a.column("SHOW deadlock_timeout"), [deadlock_timeout]);
        a.send(&raw::query("UPDATE t SET b = b + 1 WHERE a = 2"));
        b.send(&raw::query("UPDATE t SET b = b + 1 WHERE a = 1"));
        let answers = [a.until_ready(), b.until_ready()];
        let refused = answers.iter().filter(|lines| lines[0].starts_with(&format!("E {code} "))).count();
        assert!(refused >= 1, "{deadlock_timeout}: {answers:?}");
        assert!(code != "40P01" || refused == 1, "one gives way, the other goes on: {answers:?}");
        a.query("ROLLBACK");
        b.query("ROLLBACK");
    }
    let refused = a.query("SET deadlock_timeout = 0");
    assert!(refused[0].starts_with("E 22023 "), "{refused:?}");
}

#[test]
fn a_server_that_stops_is_a_statements_last_word() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE t (a int PRIMARY KEY)");
    a.run("BEGIN; INSERT INTO t VALUES (1)");
    b.send(&raw::query("INSERT INTO t VALUES (1)"));
    server.wait_until("the second insert waits", || server.metric("omendb_lock_waiters") == 1.0);
    server.interrupt();
    assert_eq!(b.rest_of_stream(), ["E FATAL 57P01 terminating connection due to administrator command"]);
}
