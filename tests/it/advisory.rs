//! Advisory locks and `pg_sleep`, through the protocol.

use crate::server::{Server, raw};

#[test]
fn advisory_locks_last_as_long_as_they_should() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.expect_query("SELECT pg_advisory_lock(7)", &["T pg_advisory_lock:2278", "D ", "C SELECT 1", "Z I"]);
    a.expect_query("SELECT pg_try_advisory_lock(7) AS again", &["T again:16", "D t", "C SELECT 1", "Z I"]);
    assert_eq!(b.column("SELECT pg_try_advisory_lock(7)"), ["f"]);
    assert_eq!(b.column("SELECT pg_try_advisory_lock_shared(7) OR false"), ["f"]);
    assert_eq!(b.column("SELECT * FROM pg_try_advisory_lock(0, 7)"), ["t"], "two numbers are another lock");
    // Locked twice, unlocked twice; what is not held is said so.
    for (unlocked, free) in [("t", "f"), ("t", "t")] {
        assert_eq!(a.column("SELECT pg_advisory_unlock(7)"), [unlocked]);
        assert_eq!(b.column("SELECT pg_try_advisory_xact_lock(7)"), [free]);
    }
    let warning = "N WARNING 01000 you don't own a lock of type";
    let row = ["D f", "C SELECT 1", "Z I"];
    a.expect_query(
        "SELECT pg_advisory_unlock(7) x",
        &[&["T x:16"], &row[..1], &[&format!("{warning} ExclusiveLock")], &row[1..]].concat(),
    );
    a.expect_query(
        "SELECT pg_advisory_unlock_shared(7) x",
        &[&["T x:16"], &row[..1], &[&format!("{warning} ShareLock")], &row[1..]].concat(),
    );

    // Those of a transaction end with it, those taken after a savepoint with the rollback to it; those of the session stay.
    a.run("BEGIN; SELECT pg_advisory_xact_lock(1)");
    a.run("SAVEPOINT s; SELECT pg_advisory_xact_lock(2), 'x'; SELECT pg_advisory_lock(3)");
    assert_eq!(b.column("SELECT pg_try_advisory_xact_lock(2)"), ["f"]);
    a.run("ROLLBACK TO s");
    assert_eq!(b.column("SELECT pg_try_advisory_xact_lock(2)"), ["t"]);
    assert_eq!(b.column("SELECT pg_try_advisory_xact_lock(1)"), ["f"]);
    a.run("ROLLBACK");
    assert_eq!(b.column("SELECT pg_try_advisory_xact_lock(1)"), ["t"]);
    assert_eq!(b.column("SELECT pg_try_advisory_xact_lock_shared(3)"), ["f"], "a rollback does not end it");
    for end in ["SELECT pg_advisory_unlock_all()", "DISCARD ALL"] {
        a.run("SELECT pg_advisory_lock(3)");
        assert_eq!(b.column("SELECT pg_try_advisory_xact_lock(3)"), ["f"]);
        a.run(end);
        assert_eq!(b.column("SELECT pg_try_advisory_xact_lock(3)"), ["t"], "{end}");
    }
    a.run("SELECT pg_advisory_lock_shared(4)");
    assert_eq!(b.column("SELECT pg_try_advisory_xact_lock_shared(4)"), ["t"]);
    drop(a);
    b.run("SELECT pg_advisory_lock(4)");
    assert_eq!(b.column("SELECT pg_advisory_lock(NULL) IS NULL"), ["t"]);
}

#[test]
fn who_waits_for_an_advisory_lock_can_be_told_to_stop() {
    let server = Server::start(&[]);
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    a.run("SELECT pg_advisory_lock(1)");
    b.run("SET lock_timeout = '30ms'");
    b.expect_query(
        "SELECT pg_advisory_lock(1)",
        &["T pg_advisory_lock:2278", "E 55P03 canceling statement due to lock timeout", "Z I"],
    );
    b.run("SET lock_timeout = 0; SET statement_timeout = '30ms'");
    let refused = b.query("SELECT pg_advisory_lock(1)");
    assert_eq!(refused[1..], ["E 57014 canceling statement due to statement timeout", "Z I"]);
    // None of them is left in the queue: the next one gets it as soon as it is free.
    c.send(&raw::query("SELECT pg_advisory_lock(1)"));
    a.run("SELECT pg_advisory_unlock(1)");
    assert_eq!(c.until_ready()[1..], ["D ", "C SELECT 1", "Z I"]);
    assert_eq!(a.column("SELECT pg_try_advisory_lock(1)"), ["f"]);
}

#[test]
fn deadlocks_run_through_advisory_locks_and_rows() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    for client in [&mut a, &mut b] {
        client.run("SET deadlock_timeout = '10ms'");
    }
    // A lock of the session's, taken before the transaction that waits for the row.
    a.run("SELECT pg_advisory_lock(1)");
    a.run("BEGIN");
    b.run("BEGIN; UPDATE t SET a = a WHERE a = 1");
    b.send(&raw::query("SELECT pg_advisory_lock(1)"));
    a.send(&raw::query("UPDATE t SET a = a WHERE a = 1"));
    // The younger one gives way, which is b; its row lets a go on.
    let lines = b.until_ready().join("\n");
    assert!(lines.contains("E 40P01 deadlock detected") && lines.ends_with("Z E"), "{lines}");
    assert_eq!(a.until_ready(), ["C UPDATE 1", "Z T"]);
}

#[test]
fn actions_happen_once_or_are_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    client.expect_query("SELECT pg_sleep(0.01)", &["T pg_sleep:2278", "D ", "C SELECT 1", "Z I"]);
    client.expect_query("SELECT pg_sleep(-1) IS NULL AS x", &["T x:16", "D f", "C SELECT 1", "Z I"]);
    client.run("SELECT pg_sleep('NaN')");
    client.run("SET statement_timeout = '30ms'");
    let canceled = client.query("SELECT pg_sleep(3600)");
    assert_eq!(canceled[1..], ["E 57014 canceling statement due to statement timeout", "Z I"]);
    client.run("RESET statement_timeout");
    for refused in [
        "SELECT pg_advisory_lock(a) FROM t",
        "SELECT a FROM t WHERE pg_try_advisory_lock(a)",
        "SELECT CASE WHEN true THEN pg_try_advisory_lock(1) END",
        "SELECT coalesce(pg_try_advisory_lock(1), false)",
        "SELECT false AND pg_try_advisory_lock(1)",
        "SELECT * FROM t, pg_advisory_lock(t.a)",
        "SELECT a, (SELECT x FROM pg_try_advisory_lock(t.a) x) FROM t",
        "INSERT INTO t VALUES (3) RETURNING pg_advisory_lock(a)",
    ] {
        let lines = client.query(refused);
        assert!(lines[0].starts_with("E 0A000 ") && lines[0].contains("pg_"), "{refused}: {lines:?}");
    }
    assert_eq!(client.column("SELECT pg_advisory_unlock(1)"), ["f"], "nothing was locked on the way");
    // A subquery that depends on nothing is run once.
    client.run("SELECT a, (SELECT pg_try_advisory_lock(5)) FROM t");
    assert_eq!([client.column("SELECT pg_advisory_unlock(5)"), client.column("SELECT pg_advisory_unlock(5)")], [["t"], ["f"]]);
}

#[test]
fn sessions_end_each_others_statements_and_each_other() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    let pid = b.column("SELECT pg_backend_pid()").remove(0);
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| b.query("SELECT pg_sleep(3600)"));
        // A request that comes before the statement does not end it.
        server.wait_until("the sleep is cancelled", || {
            assert_eq!(a.column(&format!("SELECT pg_cancel_backend({pid})")), ["t"]);
            sleeping.is_finished()
        });
        let lines = sleeping.join().expect("a query is answered");
        assert_eq!(lines[1..], ["E 57014 canceling statement due to user request", "Z I"]);
    });
    b.expect_query("SELECT 1 AS x", &["T x:23", "D 1", "C SELECT 1", "Z I"]);
    assert_eq!(a.column("SELECT pg_cancel_backend(2000000000)"), ["f"]);
    let own = a.query("SELECT pg_cancel_backend(pg_backend_pid())");
    assert_eq!(own[own.len() - 2..], ["E 57014 canceling statement due to user request", "Z I"]);

    // A session that ends in a transaction undoes it.
    a.run("CREATE TABLE t (a int PRIMARY KEY)");
    b.run("BEGIN; INSERT INTO t VALUES (1)");
    assert_eq!(a.column(&format!("SELECT pg_terminate_backend({pid}, 0)")), ["t"]);
    let fatal = "E FATAL 57P01 terminating connection due to administrator command";
    assert_eq!(b.rest_of_stream(), [fatal]);
    a.run("INSERT INTO t VALUES (1)");
    let refused = a.query(&format!("SELECT pg_terminate_backend({pid}, 100)")).join("\n");
    assert!(refused.contains("E 0A000 pg_terminate_backend with a timeout"), "{refused}");
    a.send(&raw::query("INSERT INTO t VALUES (2); SELECT pg_terminate_backend(pg_backend_pid())"));
    assert_eq!(a.rest_of_stream().last().map(String::as_str), Some(fatal));
    assert_eq!(server.connect().column("SELECT a FROM t"), ["1"], "what it was doing is undone");
}
