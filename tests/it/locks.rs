//! Waits for locks that a client steers: timeouts, deadlocks and who gives way in them.

use crate::server::Server;
use crate::server::raw::{Client, query};

const TIMEOUT: &str = "E FATAL 25P04 terminating connection due to transaction timeout";

/// A table whose rows 1 and 200 are on different cores of two.
fn table(client: &mut Client) {
    client.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 200) AS i");
}

#[test]
fn transaction_timeout_ends_the_session_idle_or_at_work() {
    let mut server = Server::start(&[]);
    let (mut holder, mut idle, mut waiting) = (server.connect(), server.connect(), server.connect());
    table(&mut holder);
    holder.run("BEGIN; UPDATE t SET n = 1 WHERE id = 1");
    idle.run("SET transaction_timeout = '40ms'");
    idle.expect_query("SHOW transaction_timeout", &["T transaction_timeout:25", "D 40ms", "C SHOW", "Z I"]);
    idle.run("BEGIN");
    assert_eq!(idle.rest_of_stream(), [TIMEOUT]);
    // Of two timeouts of the same length, the one that ends the session counts; and nothing is said besides.
    waiting.run("SET statement_timeout = '40ms'; SET transaction_timeout = '40ms'");
    waiting.send(&query("UPDATE t SET n = 2 WHERE id = 1"));
    assert_eq!(waiting.rest_of_stream(), [TIMEOUT]);
    // Set within a transaction, it counts from there; what a transaction is set to locally ends with it.
    holder.run("SET LOCAL transaction_timeout = '1h'; COMMIT");
    holder.expect_query("SHOW transaction_timeout", &["T transaction_timeout:25", "D 0", "C SHOW", "Z I"]);
    holder.run("BEGIN; SELECT n FROM t; SET transaction_timeout = '40ms'");
    assert_eq!(holder.rest_of_stream(), [TIMEOUT]);
    server.assert_unharmed();
}

#[test]
fn a_short_statement_timeout_comes_before_that_of_the_transaction() {
    let server = Server::start(&[]);
    let (mut holder, mut waiting) = (server.connect(), server.connect());
    table(&mut holder);
    holder.run("BEGIN; UPDATE t SET n = 1 WHERE id = 1");
    waiting.run("SET statement_timeout = '20ms'; SET transaction_timeout = '1h'; BEGIN");
    waiting.expect_query("UPDATE t SET n = 2 WHERE id = 1", &["E 57014 canceling statement due to statement timeout", "Z E"]);
}

#[test]
fn the_one_with_the_shortest_deadlock_timeout_gives_way() {
    let server = Server::start(&[]);
    let (mut first, mut second) = (server.connect(), server.connect());
    table(&mut first);
    first.expect_query("SHOW deadlock_timeout", &["T deadlock_timeout:25", "D 1s", "C SHOW", "Z I"]);
    first.expect_query(
        "SET deadlock_timeout = 0",
        &["E 22023 0 ms is outside the valid range for parameter \"deadlock_timeout\" (1 .. 2147483647)", "Z I"],
    );
    for (impatient, patient) in [(0, 1), (1, 0)] {
        let clients = [&mut first, &mut second];
        clients[impatient].run("SET deadlock_timeout = '10ms'; BEGIN");
        clients[patient].run("SET deadlock_timeout = '1h'; BEGIN");
        clients[0].run("UPDATE t SET n = n + 1 WHERE id = 1");
        clients[1].run("UPDATE t SET n = n + 1 WHERE id = 200");
        clients[0].send(&query("UPDATE t SET n = n + 1 WHERE id = 200"));
        clients[1].send(&query("UPDATE t SET n = n + 1 WHERE id = 1"));
        assert_eq!(clients[impatient].until_ready(), ["E 40P01 deadlock detected", "Z E"]);
        assert_eq!(clients[patient].until_ready(), ["C UPDATE 1", "Z T"]);
        clients[patient].run("COMMIT");
        clients[impatient].run("ROLLBACK");
    }
}

#[test]
fn several_who_wait_for_one_table_get_it_one_after_the_other() {
    let server = Server::start(&[]);
    let mut holder = server.connect();
    table(&mut holder);
    holder.run("BEGIN; LOCK TABLE t");
    let mut waiting: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.run("BEGIN");
        client.send(&query("LOCK TABLE t; COMMIT"));
    }
    holder.run("COMMIT");
    for client in &mut waiting {
        assert_eq!(client.until_ready(), ["C LOCK TABLE", "C COMMIT", "Z I"]);
    }
}
