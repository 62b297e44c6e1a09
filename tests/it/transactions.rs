//! Transactions of several connections against each other, and what a restart finds of them.

use crate::server::Server;

const OK: &[&str] = &["C BEGIN", "Z T"];

#[test]
fn serializable_refuses_write_skew() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.query("CREATE TABLE duty (who text PRIMARY KEY, here bool); INSERT INTO duty VALUES ('a', true), ('b', true)");
    // By its name, and by default.
    b.run("SET default_transaction_isolation = 'serializable'");
    for (client, begin) in [(&mut a, "BEGIN ISOLATION LEVEL SERIALIZABLE"), (&mut b, "BEGIN")] {
        client.expect_query(begin, OK);
        assert_eq!(client.column("SHOW transaction_isolation"), ["serializable"]);
        client.expect_query("SELECT count(*) FROM duty WHERE here", &["T count:20", "D 2", "C SELECT 1", "Z T"]);
    }
    a.expect_query("UPDATE duty SET here = false WHERE who = 'a'", &["C UPDATE 1", "Z T"]);
    b.expect_query("UPDATE duty SET here = false WHERE who = 'b'", &["C UPDATE 1", "Z T"]);
    a.expect_query("COMMIT", &["C COMMIT", "Z I"]);
    let refused = b.query("COMMIT").join("\n");
    assert!(refused.contains("40001") && refused.contains("could not serialize access"), "{refused}");
    b.expect_query("SELECT count(*) FROM duty WHERE here", &["T count:20", "D 1", "C SELECT 1", "Z I"]);
    assert!(server.metric("omendb_serialization_failures_total") == 1.0);
    // A transaction that only reads is never refused.
    b.expect_query("BEGIN ISOLATION LEVEL SERIALIZABLE", OK);
    b.query("SELECT * FROM duty");
    a.expect_query("UPDATE duty SET here = true", &["C UPDATE 2", "Z I"]);
    b.expect_query("SELECT count(*) FROM duty WHERE here", &["T count:20", "D 1", "C SELECT 1", "Z T"]);
    b.expect_query("COMMIT", &["C COMMIT", "Z I"]);
}

#[test]
fn tables_are_locked_in_modes() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.query("CREATE TABLE t (a int PRIMARY KEY)");
    let outside = a.query("LOCK TABLE t").join("\n");
    assert!(outside.contains("25P01"), "{outside}");
    a.expect_query("BEGIN", OK);
    b.expect_query("BEGIN", OK);
    a.expect_query("LOCK TABLE t IN SHARE MODE", &["C LOCK TABLE", "Z T"]);
    b.expect_query("LOCK ONLY t IN SHARE MODE NOWAIT", &["C LOCK TABLE", "Z T"]);
    let refused = b.query("LOCK t IN ROW EXCLUSIVE MODE NOWAIT").join("\n");
    assert!(refused.contains("55P03") && refused.contains("could not obtain lock on relation \"t\""), "{refused}");
    b.query("ROLLBACK");
    // Now alone with it.
    a.expect_query("INSERT INTO t VALUES (1)", &["C INSERT 0 1", "Z T"]);
    a.expect_query("COMMIT", &["C COMMIT", "Z I"]);
    b.expect_query("SELECT * FROM t", &["T a:23", "D 1", "C SELECT 1", "Z I"]);
}

#[test]
fn a_kill_keeps_what_was_acknowledged_and_nothing_else() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.query("CREATE TABLE t (a int PRIMARY KEY, b text)");
    a.expect_query("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 500) AS i", &["C INSERT 0 500", "Z I"]);
    b.expect_query("BEGIN", OK);
    b.expect_query("UPDATE t SET b = 'lost'", &["C UPDATE 500", "Z T"]);
    b.expect_query("INSERT INTO t VALUES (1000, 'lost')", &["C INSERT 0 1", "Z T"]);
    drop((a, b));
    let server = server.kill().start(&["--cores", "1"]);
    let mut client = server.connect();
    client
        .expect_query("SELECT count(*), min(b), max(b) FROM t", &["T count:20 min:25 max:25", "D 500|x|x", "C SELECT 1", "Z I"]);
}

#[test]
fn a_row_that_fits_no_log_record_is_refused() {
    // Segments of 4 MB take records of about one.
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.query("CREATE TABLE t (a int PRIMARY KEY, b text)");
    client.expect_query("INSERT INTO t VALUES (1, repeat('x', 900000))", &["C INSERT 0 1", "Z I"]);
    let refused = client.query("INSERT INTO t VALUES (2, repeat('x', 1100000))").join("\n");
    assert!(refused.contains("54000") && refused.contains("row is too big"), "{refused}");
    // Many that fit make a transaction of several records.
    client
        .expect_query("INSERT INTO t SELECT i, repeat('y', 300000) FROM generate_series(10, 19) AS i", &["C INSERT 0 10", "Z I"]);
    drop(client);
    let server = server.kill().start(&[]);
    let mut client = server.connect();
    client.expect_query("SELECT count(*), sum(length(b)) FROM t", &["T count:20 sum:20", "D 11|3900000", "C SELECT 1", "Z I"]);
}

#[test]
fn a_unix_socket_is_another_way_in() {
    let directory = tempfile::tempdir().expect("a directory with a short path");
    let server = Server::start(&["--unix-socket-dir", directory.path().to_str().expect("a path of text")]);
    let socket = directory.path().join(format!(".s.PGSQL.{}", server.address.port()));
    let mut config = postgres::Config::new();
    config.host_path(directory.path()).port(server.address.port()).user("tester");
    let mut client = config.connect(postgres::NoTls).expect("the socket is served");
    assert_eq!(client.query_one("SELECT 6 * 7", &[]).expect("a row").get::<_, i32>(0), 42);
    drop((client, server));
    assert!(socket.exists(), "a killed server cannot remove its socket; the next one replaces it");
}
