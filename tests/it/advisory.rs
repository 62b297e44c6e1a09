//! Advisory locks over the assembled server. Keys 1 to 8 are on both of its cores.

use crate::server::Server;
use crate::server::raw::{CANCEL, Client, packet, query};

/// The answer to a query with one row and one column, or the error.
#[track_caller]
fn ask(client: &mut Client, sql: &str) -> String {
    let lines = client.query(sql);
    let said = lines.iter().find(|line| line.starts_with("D ") || line.starts_with("E "));
    said.unwrap_or_else(|| panic!("{sql}: {lines:?}")).clone()
}

/// Waits until as many sessions wait for locks as should.
#[track_caller]
fn wait_for_waiters(server: &Server, client: &mut Client, key: i64, shared_to_be_refused: bool) {
    server.wait_until("a waiter in the queue", || {
        // A shared request that nobody holds against is refused only by whoever waits for the lock exclusively.
        let free = ask(client, &format!("SELECT pg_try_advisory_xact_lock_shared({key})")) == "D t";
        free != shared_to_be_refused
    });
}

#[test]
fn levels_modes_and_counts() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    for key in ["1", "2", "3", "4", "5", "6", "7", "8", "0, 1", "-1, 2147483647"] {
        let sql = |function: &str| format!("SELECT {function}({key})");
        a.expect_query(&sql("pg_advisory_lock"), &["T pg_advisory_lock:2278", "D ", "C SELECT 1", "Z I"]);
        assert_eq!(ask(&mut a, &sql("pg_try_advisory_lock")), "D t");
        assert_eq!(ask(&mut b, &sql("pg_try_advisory_lock")), "D f");
        assert_eq!(ask(&mut b, &sql("pg_try_advisory_xact_lock_shared")), "D f");
        assert_eq!(ask(&mut a, &sql("pg_advisory_unlock")), "D t");
        assert_eq!(ask(&mut b, &sql("pg_try_advisory_lock_shared")), "D f", "it was taken twice");
        assert_eq!(ask(&mut a, &sql("pg_advisory_unlock")), "D t");
        a.expect_query(
            &sql("pg_advisory_unlock"),
            &[
                "T pg_advisory_unlock:16",
                "D f",
                "N WARNING 01000 you don't own a lock of type ExclusiveLock",
                "C SELECT 1",
                "Z I",
            ],
        );
        assert_eq!(ask(&mut b, &sql("pg_try_advisory_lock_shared")), "D t");
        assert_eq!(ask(&mut a, &sql("pg_try_advisory_lock_shared")), "D t");
        assert_eq!(ask(&mut a, &sql("pg_try_advisory_lock")), "D f", "the other one shares it");
        a.expect_query(
            &sql("pg_advisory_unlock"),
            &[
                "T pg_advisory_unlock:16",
                "D f",
                "N WARNING 01000 you don't own a lock of type ExclusiveLock",
                "C SELECT 1",
                "Z I",
            ],
        );
        assert_eq!(ask(&mut a, &sql("pg_advisory_unlock_shared")), "D t");
        a.expect_query(
            &sql("pg_advisory_unlock_shared"),
            &[
                "T pg_advisory_unlock_shared:16",
                "D f",
                "N WARNING 01000 you don't own a lock of type ShareLock",
                "C SELECT 1",
                "Z I",
            ],
        );
        a.expect_query("SELECT pg_advisory_unlock_all()", &["T pg_advisory_unlock_all:2278", "D ", "C SELECT 1", "Z I"]);
        assert_eq!(ask(&mut b, &sql("pg_advisory_unlock_shared")), "D t");
    }
    a.expect_query("SELECT pg_advisory_lock(NULL)", &["T pg_advisory_lock:2278", "D ~", "C SELECT 1", "Z I"]);
}

#[test]
fn a_transactions_locks_end_with_it_or_with_its_savepoint() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    let free = |b: &mut Client, key: i32| ask(b, &format!("SELECT pg_try_advisory_xact_lock({key})"));
    for key in 1..=4 {
        a.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({key}); SAVEPOINT s; SELECT pg_advisory_xact_lock({key} + 10)"));
        assert_eq!((free(&mut b, key), free(&mut b, key + 10)), ("D f".into(), "D f".into()));
        // What the transaction has is not the session's to give back.
        assert!(a.query(&format!("SELECT pg_advisory_unlock({key})")).contains(&"D f".to_owned()));
        a.run("SELECT pg_advisory_unlock_all(); ROLLBACK TO s");
        assert_eq!((free(&mut b, key), free(&mut b, key + 10)), ("D f".into(), "D t".into()));
        a.run(if key % 2 == 0 { "COMMIT" } else { "ROLLBACK" });
        assert_eq!(free(&mut b, key), "D t");
        // A session's outlive the transaction, whatever becomes of it.
        a.run(&format!("BEGIN; SELECT pg_advisory_lock({key}); ROLLBACK"));
        assert_eq!(free(&mut b, key), "D f");
    }
    a.expect_query("DISCARD ALL", &["C DISCARD ALL", "Z I"]);
    for key in 1..=4 {
        assert_eq!(free(&mut b, key), "D t");
        a.run(&format!("SELECT pg_advisory_lock({key})"));
    }
    drop(a);
    for key in 1..=4 {
        b.run(&format!("SELECT pg_advisory_lock({key})"));
    }
    b.expect_query(
        "BEGIN; SELECT pg_advisory_xact_lock(1); PREPARE TRANSACTION 'p'",
        &[
            "C BEGIN",
            "T pg_advisory_xact_lock:2278",
            "D ",
            "C SELECT 1",
            "E 0A000 PREPARE TRANSACTION of a transaction that has taken advisory locks is not supported",
            "Z I",
        ],
    );
}

#[test]
fn waits_are_in_turn_and_end_by_grant_cancel_and_timeout() {
    let mut server = Server::start(&[]);
    let (mut holder, mut prober) = (server.connect(), server.connect());
    for key in [1, 2, 3, 4] {
        let lock = format!("SELECT pg_advisory_xact_lock({key})");
        holder.run(&format!("SELECT pg_advisory_lock_shared({key})"));
        let (mut first, mut second) = (server.connect(), server.connect());
        first.send(&query(&lock));
        wait_for_waiters(&server, &mut prober, key, true);
        // Behind the one who waits, though the holder would share it.
        second.run("SET lock_timeout = '20ms'");
        second.expect_query(
            &format!("SELECT pg_advisory_lock_shared({key})"),
            &["T pg_advisory_lock_shared:2278", "E 55P03 canceling statement due to lock timeout", "Z I"],
        );
        server.open().send(&packet(CANCEL, &first.key));
        let canceled = first.until_ready();
        assert_eq!(canceled[1..], ["E 57014 canceling statement due to user request", "Z I"], "{canceled:?}");
        wait_for_waiters(&server, &mut prober, key, false);
        second.run(&format!("RESET lock_timeout; SELECT pg_advisory_lock_shared({key})"));
        first.send(&query(&lock));
        wait_for_waiters(&server, &mut prober, key, true);
        holder.run(&format!("SELECT pg_advisory_unlock_shared({key})"));
        // The end of a session gives its locks back as well.
        drop(second);
        assert_eq!(first.until_ready()[1..], ["D ", "C SELECT 1", "Z I"]);
    }
    server.wait_until("nothing that is left behind", || prober.column("SELECT count(*) FROM pg_locks") == ["0"]);
    server.assert_unharmed();
}

#[test]
fn cycles_through_rows_tables_and_sessions_are_broken() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 200) AS i");
    a.run("SET deadlock_timeout = '10ms'");
    b.run("SET deadlock_timeout = '1h'");
    for key in [1, 2, 3, 4] {
        for (other, wait) in [
            ("UPDATE t SET n = 1 WHERE id = 1", "UPDATE t SET n = 2 WHERE id = 1"),
            ("UPDATE t SET n = 1 WHERE id = 200", "UPDATE t SET n = 2 WHERE id = 200"),
            ("LOCK TABLE t", "SELECT count(*) FROM t"),
            ("SELECT pg_advisory_lock(99)", "SELECT pg_advisory_xact_lock(99)"),
        ] {
            // What `a` has belongs to its session: it was taken in a transaction that is long over.
            a.run(&format!("SELECT pg_advisory_lock({key}); BEGIN"));
            b.run(&format!("BEGIN; {other}"));
            b.send(&query(&format!("SELECT pg_advisory_xact_lock({key})")));
            let broken = a.query(wait);
            assert_eq!(broken[broken.len() - 2..], ["E 40P01 deadlock detected", "Z E"], "{wait}: {broken:?}");
            a.run("ROLLBACK; SELECT pg_advisory_unlock_all()");
            assert_eq!(b.until_ready()[1..], ["D ", "C SELECT 1", "Z T"]);
            b.run("ROLLBACK; SELECT pg_advisory_unlock_all()");
        }
    }
}

#[test]
fn functions_that_wait_are_called_where_and_as_often_as_evaluation_wants() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.run("CREATE TABLE job (id int PRIMARY KEY, note text); INSERT INTO job SELECT i, 'n' FROM generate_series(1, 2000) AS i");
    // Who is locked, by trying them all from another session.
    let locked = "SELECT i FROM generate_series(1, 12) AS i WHERE NOT pg_try_advisory_xact_lock(i) ORDER BY i";
    for (sql, expected) in [
        ("SELECT pg_advisory_lock(id) FROM job WHERE id BETWEEN 3 AND 5", "3 4 5"),
        // No more than are wanted.
        ("SELECT pg_advisory_lock(id) FROM job LIMIT 2", "1 2"),
        ("SELECT id FROM job WHERE pg_try_advisory_lock(id) LIMIT 3", "1 2 3"),
        ("SELECT note, pg_advisory_lock(id) FROM job WHERE id < 12 ORDER BY id % 5, id DESC LIMIT 2", "5 10"),
        ("SELECT pg_try_advisory_lock(id + 1) AS had, id FROM job WHERE id < 4 ORDER BY had LIMIT 1", "2 3 4"),
        ("SELECT id FROM job WHERE id IN (7, 3, 9) AND pg_try_advisory_lock(id) LIMIT 1", "3"),
        ("SELECT pg_advisory_lock(id) FROM (SELECT id FROM job ORDER BY id DESC OFFSET 1990 LIMIT 2) AS last", "9 10"),
        ("SELECT CASE WHEN id > 2 THEN pg_try_advisory_lock(id) END FROM job WHERE id < 5", "3 4"),
        ("SELECT pg_try_advisory_lock(1) AND NOT pg_try_advisory_lock(2) AND pg_try_advisory_lock(3)", "1 2"),
        ("SELECT COALESCE(pg_try_advisory_lock(NULL), pg_try_advisory_lock(4), pg_try_advisory_lock(5))", "4"),
        ("SELECT (SELECT pg_try_advisory_lock(job.id)) FROM job WHERE id IN (6, 8)", "6 8"),
        ("SELECT count(*) FROM (SELECT id, pg_advisory_lock(id) FROM job WHERE id < 3) AS locked", "1 2"),
        ("INSERT INTO job SELECT 5000, pg_try_advisory_lock(11)", "11"),
        ("WITH l AS (SELECT pg_try_advisory_lock(12) AS had) SELECT had FROM l", "12"),
    ] {
        a.run(sql);
        assert_eq!(b.column(locked).join(" "), expected, "{sql}");
        a.run("SELECT pg_advisory_unlock_all()");
    }
    // Where it cannot be waited for it is refused by name.
    for (sql, name) in [
        ("SELECT count(pg_try_advisory_lock(id)) FROM job", "pg_try_advisory_lock"),
        ("DELETE FROM job WHERE id = 1 RETURNING pg_advisory_lock(id)", "pg_advisory_lock"),
    ] {
        assert_eq!(ask(&mut a, sql), format!("E 0A000 {name} in this place is not supported"), "{sql}");
    }
}
