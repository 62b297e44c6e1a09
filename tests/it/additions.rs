//! Updates that only add to a row others add to as well: who goes on without waiting, who has to wait, and what is seen.

use crate::server::Server;
use crate::server::raw::{Client, query};

/// Clients in transactions that have added 1, 10, 100 … to row 1 of `c` after one that held it for itself, and so did not wait for
/// each other.
fn adders(server: &Server, count: usize) -> Vec<Client> {
    let mut observer = server.connect();
    observer.run("CREATE TABLE c (id int PRIMARY KEY, n int, m int); INSERT INTO c VALUES (1, 0, 0), (2, 0, 0)");
    let mut first = server.connect();
    first.run("BEGIN; UPDATE c SET m = n WHERE id = 1");
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for (client, power) in clients.iter_mut().zip(0..) {
        client.run("BEGIN");
        client.send(&query(&format!("UPDATE c SET n = n + {} WHERE id = 1", 10_i32.pow(power))));
    }
    server.wait_for_waiters(&mut observer, count);
    first.run("COMMIT");
    for client in &mut clients {
        assert_eq!(client.until_ready(), ["C UPDATE 1", "Z T"]);
    }
    clients
}

#[track_caller]
fn waits(server: &Server, client: &mut Client, observer: &mut Client, sql: &str) {
    client.send(&query(sql));
    server.wait_for_waiters(observer, 1);
}

#[test]
fn who_only_adds_waits_for_nobody_who_does() {
    let server = Server::start(&[]);
    let mut clients = adders(&server, 3);
    let mut observer = server.connect();
    assert_eq!(observer.column("SELECT n FROM c WHERE id = 1"), ["0"], "nobody has committed");
    clients[2].run("COMMIT");
    assert_eq!(observer.column("SELECT n FROM c WHERE id = 1"), ["100"]);
    clients[0].run("ROLLBACK");
    clients[1].run("INSERT INTO c VALUES (3, 0, 0)");
    clients[1].run("UPDATE c SET n = n - 5 WHERE id = 1");
    clients[1].run("COMMIT");
    assert_eq!(observer.column("SELECT n, m FROM c ORDER BY id"), ["105|0", "0|0", "0|0"]);
    assert!(server.metric("omendb_additions_put_off_total") >= 4.0);
}

#[test]
fn who_looks_has_the_row_for_itself() {
    let server = Server::start(&[]);
    let mut clients = adders(&server, 3);
    let mut observer = server.connect();
    let (looking, others) = clients.split_first_mut().expect("there are three");
    waits(&server, looking, &mut observer, "SELECT n FROM c WHERE id = 1");
    others[0].run("ROLLBACK");
    others[1].run("COMMIT");
    assert_eq!(looking.until_ready(), ["T n:23", "D 101", "C SELECT 1", "Z T"], "its own and the other's");
    waits(&server, &mut others[0], &mut observer, "UPDATE c SET n = n + 1000 WHERE id = 1");
    looking.run("UPDATE c SET m = n WHERE id = 1; COMMIT");
    assert_eq!(others[0].until_ready(), ["C UPDATE 1", "Z I"]);
    assert_eq!(observer.column("SELECT n, m FROM c WHERE id = 1"), ["1101|101"]);
}

#[test]
fn a_row_that_is_not_there_is_something_to_see() {
    let server = Server::start(&[]);
    let mut clients = adders(&server, 2);
    let mut observer = server.connect();
    let [a, b] = &mut clients[..] else { panic!("there are two") };
    // Both would insert the row that they have not found.
    waits(&server, a, &mut observer, "UPDATE c SET n = n + 1 WHERE id = 7");
    b.run("INSERT INTO c VALUES (7, 0, 0)");
    b.run("COMMIT");
    assert_eq!(a.until_ready(), ["C UPDATE 1", "Z T"], "the one who was waited for has inserted it");
    a.run("COMMIT");
    assert_eq!(observer.column("SELECT n FROM c ORDER BY id"), ["11", "0", "1"]);
}

#[test]
fn savepoints_and_prepared_transactions_take_additions_with_them() {
    let server = Server::start(&["--max-prepared-transactions", "4"]);
    let mut clients = adders(&server, 3);
    let mut observer = server.connect();
    let [a, b, c] = &mut clients[..] else { panic!("there are three") };
    a.run("SAVEPOINT s");
    a.run("UPDATE c SET n = n + 5000 WHERE id = 1");
    a.run("UPDATE c SET n = n + 6000 WHERE id = 2");
    a.run("ROLLBACK TO s");
    a.run("UPDATE c SET n = n + 2 WHERE id = 1");
    waits(&server, b, &mut observer, "PREPARE TRANSACTION 'two'");
    a.run("COMMIT");
    c.run("COMMIT");
    assert_eq!(b.until_ready(), ["C PREPARE TRANSACTION", "Z I"]);
    assert_eq!(observer.column("SELECT n FROM c ORDER BY id"), ["103", "0"]);
    let again = server.kill().start(&["--max-prepared-transactions", "4"]);
    let mut client = again.connect();
    client.run("COMMIT PREPARED 'two'");
    assert_eq!(client.column("SELECT n FROM c ORDER BY id"), ["113", "0"]);
}

#[test]
fn overflow_is_told_at_the_update() {
    let server = Server::start(&[]);
    let mut clients = adders(&server, 2);
    let mut observer = server.connect();
    let [a, b] = &mut clients[..] else { panic!("there are two") };
    // Too much to be put off: it waits for its turn, and then is an error like any other.
    waits(&server, a, &mut observer, "UPDATE c SET n = n + 2147483647 WHERE id = 1");
    b.run("COMMIT");
    let answer = a.until_ready();
    assert!(answer[0].contains("22003"), "{answer:?}");
    assert_eq!(observer.column("SELECT n FROM c WHERE id = 1"), ["10"]);
}

#[test]
fn who_has_a_row_changes_it_again_ahead_of_those_who_wait() {
    let server = Server::start(&[]);
    let (mut a, mut b, mut observer) = (server.connect(), server.connect(), server.connect());
    a.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1)");
    a.run("BEGIN; UPDATE t SET n = n * 2 WHERE id = 1");
    waits(&server, &mut b, &mut observer, "UPDATE t SET n = n * 10 WHERE id = 1");
    a.expect_query("UPDATE t SET n = n + 1 WHERE id = 1", &["C UPDATE 1", "Z T"]);
    a.expect_query("DELETE FROM t WHERE id = 1 AND n = 7", &["C DELETE 0", "Z T"]);
    a.expect_query("COMMIT", &["C COMMIT", "Z I"]);
    assert_eq!(b.until_ready(), ["C UPDATE 1", "Z I"]);
    assert_eq!(observer.column("SELECT n FROM t"), ["30"]);
}
