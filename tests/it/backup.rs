//! `omendb backup` of a server that is being written to, and `omendb restore`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use crate::server::Server;

const ACCOUNTS: i64 = 40;
const OPENING: i64 = 100;

/// Transfers between two accounts and notes their number, until told to stop.
fn transfer(server: &Server, worker: i64, acknowledged: &AtomicI64, stopping: &AtomicBool) {
    let mut client = server.connect();
    let mut number = worker * 1_000_000;
    while !stopping.load(Ordering::SeqCst) {
        number += 1;
        // Far apart, on different cores.
        let (from, to) = (number % ACCOUNTS, (number * 7 + 3) % ACCOUNTS);
        let far = |account: i64| account * (1 << 40);
        client.query(&format!(
            "BEGIN; UPDATE accounts SET balance = balance - 1 WHERE id = {}; UPDATE accounts SET balance = balance + 1 WHERE id = {}; \
             INSERT INTO transfers VALUES ({number}); COMMIT",
            far(from.min(to)),
            far(to.max(from))
        ));
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

fn count(server: &Server, sql: &str) -> i64 {
    let answer = server.connect().query(sql);
    let row = answer.iter().find_map(|line| line.strip_prefix("D ")).expect("a row");
    row.parse().expect("a number")
}

#[test]
fn a_backup_under_load_is_whole() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.query("CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL)");
    client.query("CREATE TABLE transfers (number bigint PRIMARY KEY)");
    client.query(&format!(
        "INSERT INTO accounts SELECT i * (1::bigint << 40), {OPENING} FROM generate_series(0, {}) AS i",
        ACCOUNTS - 1
    ));
    let place = tempfile::tempdir().expect("a temporary directory");
    let backup = place.path().join("backup");
    let (acknowledged, stopping) = (AtomicI64::new(0), AtomicBool::new(false));
    let before = thread::scope(|scope| {
        for worker in 1..=3 {
            let (server, acknowledged, stopping) = (&server, &acknowledged, &stopping);
            scope.spawn(move || transfer(server, worker, acknowledged, stopping));
        }
        server.wait_until("transfers", || acknowledged.load(Ordering::SeqCst) > 50);
        let before = acknowledged.load(Ordering::SeqCst);
        let (done, printed) = server.backup(&backup);
        let further = acknowledged.load(Ordering::SeqCst);
        server.wait_until("transfers after the backup", || acknowledged.load(Ordering::SeqCst) > further + 10);
        stopping.store(true, Ordering::SeqCst);
        assert!(done && printed.contains("the backup is complete"), "{printed}");
        before
    });
    let after = acknowledged.load(Ordering::SeqCst);
    // Twice into the same place: what is there stays.
    let (done, printed) = server.backup(&backup);
    assert!(!done && printed.contains("exists but is not empty"), "{printed}");

    let remains = server.kill();
    let restored = place.path().join("restored");
    let (done, printed) = remains.run_on(&restored, &["restore", backup.to_str().expect("UTF-8")]);
    assert!(done && printed.contains("no damage found") && printed.contains("restored into"), "{printed}");
    let (done, printed) = remains.run_on(&restored, &["restore", backup.to_str().expect("UTF-8")]);
    assert!(!done && printed.contains("is not empty"), "{printed}");
    let (sound, printed) = remains.run_on(&restored, &["check"]);
    assert!(sound, "{printed}");
    let server = remains.start_on(&restored, &["--cores", "1"]);
    assert_eq!(count(&server, "SELECT sum(balance) FROM accounts"), ACCOUNTS * OPENING);
    let kept = count(&server, "SELECT count(*) FROM transfers");
    assert!(kept >= before && kept <= after, "{before} were acknowledged before the backup, {after} in all, it has {kept}");
    // It goes on like any other, and can be backed up itself.
    server.connect().expect_query("INSERT INTO transfers VALUES (0)", &["C INSERT 0 1", "Z I"]);
    let second = place.path().join("second");
    let (done, printed) = server.backup(&second);
    assert!(done, "{printed}");
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let server = Server::start(&[]);
    server.connect().query("CREATE TABLE t (a int PRIMARY KEY, b text)");
    server.connect().query("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 1000) AS i");
    let place = tempfile::tempdir().expect("a temporary directory");
    let backup = place.path().join("backup");
    let (done, printed) = server.backup(&backup);
    assert!(done, "{printed}");
    let data = std::fs::read_dir(backup.join("checkpoint")).expect("the checkpoint");
    let largest = data.map(|entry| entry.expect("an entry").path()).max_by_key(|path| path.metadata().expect("a file").len());
    crate::server::flip_byte(&largest.expect("a file of the checkpoint"), 6000);
    let remains = server.kill();
    let restored = place.path().join("restored");
    let (done, printed) = remains.run_on(&restored, &["restore", backup.to_str().expect("UTF-8")]);
    assert!(!done && printed.contains("is corrupt at offset"), "{printed}");
    assert!(!restored.exists(), "nothing was restored");
}

#[test]
fn backup_is_for_superusers_and_absolute_paths() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.expect_query("BACKUP TO 'somewhere'", &["E 42602 relative path not allowed for BACKUP", "Z I"]);
    client.query("BEGIN");
    client.expect_query("BACKUP TO '/somewhere'", &["E 25001 BACKUP cannot run inside a transaction block", "Z E"]);
    client.query("ROLLBACK");
    client.query("CREATE ROLE other LOGIN");
    let user = format!("host={} port={} user=other dbname=postgres", server.address.ip(), server.address.port());
    let mut other = postgres::Client::connect(&user, postgres::NoTls).expect("whoever is trusted may connect");
    let refused = other.batch_execute("BACKUP TO '/somewhere'").expect_err("no superuser");
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
}
