//! What an old snapshot keeps, and for how long.

use crate::server::Server;

#[test]
fn an_old_snapshot_keeps_what_it_sees_and_nothing_else() {
    let server = Server::start(&[]);
    let (mut old, mut client) = (server.connect(), server.connect());
    client.query("CREATE TABLE t (a int PRIMARY KEY, b int)");
    client.query("INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) AS i");
    old.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    old.expect_query("SELECT sum(b) FROM t", &["T sum:20", "D 0", "C SELECT 1", "Z T"]);
    for _ in 0..300 {
        client.query("UPDATE t SET b = b + 1 WHERE a = 7");
    }
    client.query("DELETE FROM t WHERE a > 90");
    let held = || server.metric("omendb_garbage_versions_held");
    let pruned = || server.metric("omendb_garbage_versions_pruned_total");
    server.wait_until("all but eleven versions go", || held() == 11.0 && pruned() >= 299.0);
    old.expect_query("SELECT count(*), sum(b) FROM t", &["T count:20 sum:20", "D 100|0", "C SELECT 1", "Z T"]);
    client.expect_query("SELECT count(*), sum(b) FROM t", &["T count:20 sum:20", "D 90|300", "C SELECT 1", "Z I"]);
    old.query("COMMIT");
    server.wait_until("those go with it", || held() == 0.0 && pruned() >= 310.0);
}

#[test]
fn a_snapshot_older_than_allowed_is_refused() {
    let server = Server::start(&["--old-snapshot-threshold", "1s"]);
    let (mut old, mut client) = (server.connect(), server.connect());
    client.query("CREATE TABLE t (a int PRIMARY KEY, b int)");
    client.query("INSERT INTO t VALUES (1, 0)");
    old.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    old.expect_query("SELECT b FROM t", &["T b:23", "D 0", "C SELECT 1", "Z T"]);
    client.query("UPDATE t SET b = 1");
    server.wait_until("it expires", || server.metric("omendb_snapshots_expired_total") > 0.0);
    for refused in ["SELECT b FROM t", "SELECT b FROM t WHERE a = 1", "UPDATE t SET b = b + 1 WHERE a = 1"] {
        old.query("ROLLBACK");
        old.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
        old.query("SELECT b FROM t");
        let before = server.metric("omendb_snapshots_expired_total");
        client.query("UPDATE t SET b = 1");
        server.wait_until("the next expires", || server.metric("omendb_snapshots_expired_total") > before);
        let answer = old.query(refused).join(" ");
        assert!(answer.contains("E 72000 snapshot too old"), "{refused}: {answer}");
    }
    old.query("ROLLBACK");
    old.expect_query("SELECT b FROM t", &["T b:23", "D 1", "C SELECT 1", "Z I"]);
}
