//! Two-phase commit: PREPARE TRANSACTION, its decision from elsewhere, and kills in between.

use crate::server::Server;
use crate::server::raw::Client;

/// What is prepared, without when.
const LISTED: &str = "SELECT gid, owner, database, prepared <= now() AS past FROM pg_prepared_xacts ORDER BY gid";

fn answer(client: &mut Client, sql: &str) -> String {
    client.query(sql).join("\n")
}

#[track_caller]
fn refused(client: &mut Client, sql: &str, code: &str, message: &str) {
    let answer = answer(client, sql);
    assert!(answer.contains(code) && answer.contains(message), "{sql}: {answer}");
}

/// Sums over both ends of a table that is spread over the cores.
#[track_caller]
fn expect_rows(client: &mut Client, rows: &str) {
    client.expect_query("SELECT count(*), sum(b) FROM t", &["T count:20 sum:20", &format!("D {rows}"), "C SELECT 1", "Z I"]);
}

#[test]
fn any_session_decides_what_one_has_prepared() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t SELECT i, 1 FROM generate_series(1, 100) AS i");
    a.run("BEGIN; UPDATE t SET b = 2 WHERE a <= 10; DELETE FROM t WHERE a = 100; INSERT INTO t VALUES (200, 7)");
    a.expect_query("PREPARE TRANSACTION 'one'", &["C PREPARE TRANSACTION", "Z I"]);
    a.run("BEGIN; SELECT * FROM t WHERE a = 50 FOR UPDATE");
    a.expect_query("PREPARE TRANSACTION 'two'", &["C PREPARE TRANSACTION", "Z I"]);
    drop(a);
    // Unseen, and in the way of writers: of rows, of locked rows, of a key that would be there twice.
    expect_rows(&mut b, "100|100");
    b.run("SET lock_timeout = '20ms'");
    for sql in ["UPDATE t SET b = 3 WHERE a = 10", "DELETE FROM t WHERE a = 50", "INSERT INTO t VALUES (200, 1)", "DROP TABLE t"]
    {
        refused(&mut b, sql, "55P03", "lock timeout");
    }
    b.expect_query("SELECT a FROM t WHERE a = 50 FOR UPDATE SKIP LOCKED", &["T a:23", "C SELECT 0", "Z I"]);
    b.expect_query(
        LISTED,
        &["T gid:25 owner:19 database:19 past:16", "D one|tester|tester|t", "D two|tester|tester|t", "C SELECT 2", "Z I"],
    );
    b.expect_query("COMMIT PREPARED 'one'", &["C COMMIT PREPARED", "Z I"]);
    expect_rows(&mut b, "100|116");
    b.expect_query("UPDATE t SET b = 3 WHERE a = 10", &["C UPDATE 1", "Z I"]);
    b.expect_query("ROLLBACK PREPARED 'two'", &["C ROLLBACK PREPARED", "Z I"]);
    b.expect_query("DELETE FROM t WHERE a = 50", &["C DELETE 1", "Z I"]);
    b.expect_query("SELECT count(*) FROM pg_prepared_xacts", &["T count:20", "D 0", "C SELECT 1", "Z I"]);
    b.expect_query("DROP TABLE t", &["C DROP TABLE", "Z I"]);
}

#[test]
fn what_is_prepared_survives_kills_on_any_number_of_cores() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (a int PRIMARY KEY, b int); CREATE TABLE keyless (v text); CREATE TABLE held (v text)");
    client.run("INSERT INTO t SELECT i, 1 FROM generate_series(1, 3000) AS i");
    // Before the checkpoint, and of more than one piece; then after it.
    client.run(
        "BEGIN; UPDATE t SET b = 2 WHERE a <= 2000; INSERT INTO keyless SELECT repeat('k', 100) FROM generate_series(1, 300)",
    );
    client.expect_query("PREPARE TRANSACTION 'early'", &["C PREPARE TRANSACTION", "Z I"]);
    client.run("BEGIN; UPDATE t SET b = 5 WHERE a = 2500");
    client.expect_query("PREPARE TRANSACTION 'undone'", &["C PREPARE TRANSACTION", "Z I"]);
    client.run("CHECKPOINT");
    client.run("BEGIN; LOCK TABLE held IN SHARE MODE; DELETE FROM t WHERE a > 2990; SELECT a FROM t WHERE a = 2600 FOR SHARE");
    client.expect_query("PREPARE TRANSACTION 'late'", &["C PREPARE TRANSACTION", "Z I"]);
    for cores in ["1", "3", "2"] {
        server = server.kill().start(&["--cores", cores]);
        let mut client = server.connect();
        expect_rows(&mut client, "3000|3000");
        client.run("SET lock_timeout = '20ms'");
        for sql in [
            "UPDATE t SET b = 9 WHERE a = 2000",
            "UPDATE t SET b = 9 WHERE a = 2500",
            "UPDATE t SET b = 9 WHERE a = 2600",
            "UPDATE t SET b = 9 WHERE a = 3000",
            "INSERT INTO held VALUES ('locked out')",
        ] {
            refused(&mut client, sql, "55P03", "lock timeout");
        }
        client.expect_query("SELECT a FROM t WHERE a = 2600 FOR SHARE", &["T a:23", "D 2600", "C SELECT 1", "Z I"]);
        client.expect_query("SELECT count(*) FROM pg_prepared_xacts", &["T count:20", "D 3", "C SELECT 1", "Z I"]);
        assert!(server.metric("omendb_prepared_transactions") == 3.0);
    }
    let mut client = server.connect();
    client.expect_query("COMMIT PREPARED 'late'", &["C COMMIT PREPARED", "Z I"]);
    client.expect_query("INSERT INTO keyless VALUES ('of this start')", &["C INSERT 0 1", "Z I"]);
    client.expect_query("INSERT INTO held VALUES ('let in')", &["C INSERT 0 1", "Z I"]);
    client.expect_query("ROLLBACK PREPARED 'undone'", &["C ROLLBACK PREPARED", "Z I"]);
    let mut server = server.kill().start(&["--cores", "1"]);
    server.connect().expect_query("COMMIT PREPARED 'early'", &["C COMMIT PREPARED", "Z I"]);
    server = server.kill().start(&[]);
    let mut client = server.connect();
    expect_rows(&mut client, "2990|4990");
    client.expect_query(
        "SELECT count(*), count(DISTINCT v) FROM keyless",
        &["T count:20 count:20", "D 301|2", "C SELECT 1", "Z I"],
    );
    refused(&mut client, "COMMIT PREPARED 'early'", "42704", "prepared transaction with identifier \"early\" does not exist");
    refused(&mut client, "ROLLBACK PREPARED 'undone'", "42704", "does not exist");
    client.expect_query("UPDATE t SET b = 9 WHERE a >= 2500", &["C UPDATE 491", "Z I"]);
    server.assert_unharmed();
}

#[test]
fn refusals_are_those_of_postgresql() {
    let server = Server::start(&["--max-prepared-transactions", "2"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.run("CREATE TABLE t (a int PRIMARY KEY, b int)");
    let outside = answer(&mut client, "PREPARE TRANSACTION 'x'");
    assert!(outside.contains("25P01") && outside.ends_with("C ROLLBACK\nZ I"), "{outside}");
    for name in ["COMMIT PREPARED", "ROLLBACK PREPARED"] {
        client.run("BEGIN");
        refused(&mut client, &format!("{name} 'x'"), "25001", &format!("{name} cannot run inside a transaction block"));
        client.run("ROLLBACK");
    }
    client.run("BEGIN; INSERT INTO t VALUES (1, 1)");
    client.query("SELECT 1 / 0");
    client.expect_query("PREPARE TRANSACTION 'failed'", &["C ROLLBACK", "Z I"]);
    client.run("BEGIN; INSERT INTO t VALUES (1, 1)");
    client.expect_query("PREPARE TRANSACTION ''", &["C PREPARE TRANSACTION", "Z I"]);
    // A refused one is rolled back.
    for (gid, code, message) in [
        ("", "42710", "transaction identifier \"\" is already in use".to_owned()),
        (&"g".repeat(200), "22023", format!("transaction identifier \"{}\" is too long", "g".repeat(200))),
    ] {
        client.run("BEGIN; INSERT INTO t VALUES (2, 2)");
        refused(&mut client, &format!("PREPARE TRANSACTION '{gid}'"), code, &message);
        other.expect_query("INSERT INTO t VALUES (2, 2)", &["C INSERT 0 1", "Z I"]);
        other.run("DELETE FROM t WHERE a = 2");
    }
    client.run("BEGIN READ ONLY");
    client.expect_query("PREPARE TRANSACTION 'nothing done'", &["C PREPARE TRANSACTION", "Z I"]);
    client.run("BEGIN");
    refused(&mut client, "PREPARE TRANSACTION 'third'", "53200", "maximum number of prepared transactions reached");
    client.expect_query("COMMIT PREPARED 'nothing done'", &["C COMMIT PREPARED", "Z I"]);
    client.run("BEGIN; CREATE TABLE u (a int)");
    refused(&mut client, "PREPARE TRANSACTION 'ddl'", "0A000", "DDL");
    client.run("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM t");
    refused(&mut client, "PREPARE TRANSACTION 'strict'", "0A000", "SERIALIZABLE");
    // What a savepoint has undone is not prepared.
    client.run("BEGIN; SAVEPOINT s; INSERT INTO t VALUES (3, 3); ROLLBACK TO s; INSERT INTO t VALUES (4, 4)");
    client.expect_query("PREPARE TRANSACTION 'savepoint'", &["C PREPARE TRANSACTION", "Z I"]);
    other.expect_query("INSERT INTO t VALUES (3, 0)", &["C INSERT 0 1", "Z I"]);
    client.expect_query("COMMIT PREPARED 'savepoint'", &["C COMMIT PREPARED", "Z I"]);
    client.expect_query("ROLLBACK PREPARED ''", &["C ROLLBACK PREPARED", "Z I"]);
    client.expect_query("SELECT a, b FROM t ORDER BY a", &["T a:23 b:23", "D 3|0", "D 4|4", "C SELECT 2", "Z I"]);
    for sql in ["PREPARE TRANSACTION x", "COMMIT PREPARED", "PREPARE TRANSACTION"] {
        refused(&mut client, sql, "42601", "syntax error");
    }
    drop((client, other));
    let server = server.kill().start(&["--max-prepared-transactions", "0"]);
    let mut client = server.connect();
    client.run("BEGIN");
    refused(&mut client, "PREPARE TRANSACTION 'off'", "55000", "prepared transactions are disabled");
}

#[test]
fn offline_tools_know_prepared_transactions() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("CREATE TABLE t (a int PRIMARY KEY, b int)");
    for gid in ["in the checkpoint", "decided"] {
        client.run(&format!("BEGIN; INSERT INTO t VALUES (length('{gid}'), 1)"));
        client.run(&format!("PREPARE TRANSACTION '{gid}'"));
    }
    client.run("CHECKPOINT");
    client.run("COMMIT PREPARED 'decided'; BEGIN; INSERT INTO t VALUES (1, 1), (2, 2)");
    client.run("PREPARE TRANSACTION 'in the log'");
    drop(client);
    let remains = server.kill();
    let (sound, printed) = remains.run(&["check"]);
    for wanted in ["\"in the checkpoint\" of tester, with 1 writes", "\"in the log\" of tester, with 2 writes", "no damage found"]
    {
        assert!(sound && printed.contains(wanted), "\"{wanted}\" is in:\n{printed}");
    }
    assert!(!printed.contains("\"decided\""), "{printed}");
    let (sound, printed) = remains.run(&["wal", "inspect", "--writes"]);
    for wanted in ["prepared transaction 3 piece 0: row of", "prepared transaction 2 piece 0: deleted"] {
        assert!(sound && printed.contains(wanted), "\"{wanted}\" is in:\n{printed}");
    }
}
