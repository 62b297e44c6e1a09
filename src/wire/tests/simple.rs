//! The simple query protocol: results, transaction blocks, settings, COPY.

use super::client::*;

fn with_table(server: &Server) {
    let mut client = server.session();
    client.query("CREATE TABLE t (a int primary key, b int)");
    expect(&client.query("INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)"), &["C INSERT 0 3", "Z I"]);
}

#[test]
fn queries_are_answered() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    expect(&client.query("SELECT a, b FROM t WHERE b > 10"), &["T a:23 b:23", "D 2|20", "D 3|30", "C SELECT 2", "Z I"]);
    expect(&client.query(""), &["I", "Z I"]);
    expect(&client.query(" ; "), &["I", "Z I"]);
    expect(
        &client.query("SELECT 1; SELECT 2"),
        &["T ?column?:23", "D 1", "C SELECT 1", "T ?column?:23", "D 2", "C SELECT 1", "Z I"],
    );
    expect(&client.query("SELECT b FROM t WHERE a = 2"), &["T b:23", "D 20", "C SELECT 1", "Z I"]);
    expect(&client.query("SELECT b FROM t WHERE a = 4"), &["T b:23", "C SELECT 0", "Z I"]);
    expect(&client.query("SELECT b FROM t WHERE a = 3"), &["T b:23", "D 30", "C SELECT 1", "Z I"]);
    assert_eq!(server.fake.batches(), [1], "the odd key is on the other core, and the plan is known by then");
    expect(&client.query("SELEC 1"), &["E 42601 syntax error at or near \"SELEC\"", "Z I"]);
    expect(&client.query("SELECT * FROM missing"), &["E 42P01 relation \"missing\" does not exist", "Z I"]);
}

#[test]
fn blocks_live_and_fail_as_in_postgres() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    expect(&client.query("BEGIN"), &["C BEGIN", "Z T"]);
    expect(&client.query("BEGIN"), &["N WARNING 25001 there is already a transaction in progress", "C BEGIN", "Z T"]);
    expect(&client.query("INSERT INTO t VALUES (4, 40)"), &["C INSERT 0 1", "Z T"]);
    expect(&client.query("SELECT 1/0"), &["T ?column?:23", "E 22012 division by zero", "Z E"]);
    let ignored = "E 25P02 current transaction is aborted, commands ignored until end of transaction block";
    expect(&client.query("SELECT 1"), &[ignored, "Z E"]);
    expect(&client.query("BEGIN"), &[ignored, "Z E"]);
    expect(&client.query("COMMIT"), &["C ROLLBACK", "Z I"]);
    expect(&client.query("SELECT b FROM t WHERE a = 4"), &["T b:23", "C SELECT 0", "Z I"]);
    expect(&client.query("COMMIT"), &["N WARNING 25P01 there is no transaction in progress", "C COMMIT", "Z I"]);
    expect(&client.query("SAVEPOINT s"), &["E 25P01 SAVEPOINT can only be used in transaction blocks", "Z I"]);
    expect(&client.query("ROLLBACK AND CHAIN"), &["E 25P01 ROLLBACK AND CHAIN can only be used in transaction blocks", "Z I"]);

    client.query("START TRANSACTION READ ONLY");
    expect(&client.query("INSERT INTO t VALUES (5, 1)"), &["E 25006 cannot execute INSERT in a read-only transaction", "Z E"]);
    expect(&client.query("ROLLBACK AND CHAIN"), &["C ROLLBACK", "Z T"]);
    expect(&client.query("SHOW transaction_read_only"), &["T transaction_read_only:25", "D on", "C SHOW", "Z T"]);
    expect(&client.query("END"), &["C COMMIT", "Z I"]);
}

#[test]
fn savepoints_undo_rows_settings_and_failures() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    client.query("BEGIN");
    client.query("SAVEPOINT a");
    client.query("INSERT INTO t VALUES (4, 40)");
    client.query("SET statement_timeout = '1s'");
    expect(&client.query("INSERT INTO t VALUES (1, 1)"), &["E 23505 duplicate key", "Z E"]);
    expect(&client.query("RELEASE a"), &[ignored(), "Z E"]);
    expect(&client.query("ROLLBACK TO b"), &["E 3B001 savepoint \"b\" does not exist", "Z E"]);
    expect(&client.query("ROLLBACK TO a"), &["C ROLLBACK", "Z T"]);
    expect(&client.query("SHOW statement_timeout"), &["T statement_timeout:25", "D 0", "C SHOW", "Z T"]);
    expect(&client.query("SELECT count FROM (SELECT a AS count FROM t WHERE a = 4) x"), &["T count:23", "C SELECT 0", "Z T"]);
    expect(&client.query("RELEASE a"), &["C RELEASE", "Z T"]);
    expect(&client.query("COMMIT"), &["C COMMIT", "Z I"]);
}

fn ignored() -> &'static str {
    "E 25P02 current transaction is aborted, commands ignored until end of transaction block"
}

#[test]
fn a_string_of_statements_is_one_transaction() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    expect(
        &client.query("INSERT INTO t VALUES (7, 1); INSERT INTO t VALUES (7, 2)"),
        &["C INSERT 0 1", "E 23505 duplicate key", "Z I"],
    );
    expect(&client.query("SELECT b FROM t WHERE a = 7"), &["T b:23", "C SELECT 0", "Z I"]);
    expect(
        &client.query("INSERT INTO t VALUES (8, 1); BEGIN; INSERT INTO t VALUES (9, 1)"),
        &["C INSERT 0 1", "C BEGIN", "C INSERT 0 1", "Z T"],
    );
    client.query("ROLLBACK");
    expect(&client.query("SELECT a FROM t WHERE a > 6"), &["T a:23", "C SELECT 0", "Z I"]);
}

#[test]
fn a_commit_that_fails_is_no_commit() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    client.query("BEGIN");
    client.query("INSERT INTO t VALUES (4, 40)");
    server.fake.fail_commit();
    expect(&client.query("COMMIT"), &["E 40001 could not serialize access", "Z I"]);
    server.fake.fail_commit();
    expect(&client.query("INSERT INTO t VALUES (4, 40)"), &["E 40001 could not serialize access", "Z I"]);
    expect(&client.query("SELECT b FROM t WHERE a = 4"), &["T b:23", "C SELECT 0", "Z I"]);
}

#[test]
fn settings_are_set_shown_reported_and_undone() {
    let server = Server::default();
    let mut client = server.session();
    expect(&client.query("SET application_name = 'x'"), &["C SET", "S application_name=x", "Z I"]);
    client.query("BEGIN");
    expect(&client.query("SET LOCAL application_name = 'y'"), &["C SET", "S application_name=y", "Z T"]);
    expect(&client.query("COMMIT"), &["C COMMIT", "S application_name=x", "Z I"]);
    expect(
        &client.query("SET LOCAL work_mem = '1MB'"),
        &["N WARNING 25P01 SET LOCAL can only be used in transaction blocks", "C SET", "Z I"],
    );
    expect(&client.query("SHOW work_mem"), &["T work_mem:25", "D 4MB", "C SHOW", "Z I"]);
    expect(&client.query("SET nothing = 1"), &["E 42704 unrecognized configuration parameter \"nothing\"", "Z I"]);
    expect(&client.query("SHOW nothing"), &["E 42704 unrecognized configuration parameter \"nothing\"", "Z I"]);
    expect(&client.query("SET enable_seqscan = off"), &["E 0A000 parameter \"enable_seqscan\" is not supported", "Z I"]);
    client.query("SET client_min_messages = error");
    expect(&client.query("COMMIT"), &["C COMMIT", "Z I"]);
    assert!(client.query("SHOW ALL").lines().filter(|line| line.starts_with("D ")).count() > 40);
    client.query("BEGIN");
    expect(&client.query("DISCARD ALL"), &["E 25001 DISCARD ALL cannot run inside a transaction block", "Z E"]);
    client.query("ROLLBACK");
    expect(&client.query("DISCARD ALL"), &["C DISCARD ALL", "S application_name=", "Z I"]);
    client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    client.query("SELECT 1");
    let late = "E 25001 SET TRANSACTION ISOLATION LEVEL must be called before any query";
    expect(&client.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), &[late, "Z E"]);
}

#[test]
fn statements_are_prepared_in_sql() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    expect(&client.query("PREPARE p (int) AS SELECT b FROM t WHERE a = $1"), &["C PREPARE", "Z I"]);
    expect(&client.query("EXECUTE p (2)"), &["T b:23", "D 20", "C SELECT 1", "Z I"]);
    expect(&client.query("EXECUTE p"), &["E 42601 wrong number of parameters for prepared statement \"p\"", "Z I"]);
    expect(&client.query("PREPARE p AS SELECT 1"), &["E 42P05 prepared statement \"p\" already exists", "Z I"]);
    expect(&client.query("DEALLOCATE p"), &["C DEALLOCATE", "Z I"]);
    expect(&client.query("EXECUTE p (2)"), &["E 26000 prepared statement \"p\" does not exist", "Z I"]);
}

#[test]
fn copy_goes_both_ways_and_survives_errors() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    expect(&client.query("COPY t FROM STDIN"), &["G"]);
    client.send(&[message(b'd', b"4\t40\n5"), message(b'd', b"\t50\n"), message(b'c', b"")].concat());
    expect(&client.talk(), &["C COPY 2", "Z I"]);

    // Sent in one go: what the server drops after the error must not be taken for queries.
    let copy = [query("COPY t FROM STDIN"), message(b'd', b"6\tx\n"), message(b'd', b"7\t1\n"), message(b'c', b"")].concat();
    client.send(&copy);
    client.send(&query("SELECT 1"));
    expect(
        &client.talk(),
        &["G", "E 22P02 invalid input syntax for type integer: \"x\"", "Z I", "T ?column?:23", "D 1", "C SELECT 1", "Z I"],
    );
    client.send(&[query("COPY t FROM STDIN"), message(b'd', b"6\t60\n"), message(b'f', b"no more\0")].concat());
    expect(&client.talk(), &["G", "E 57014 COPY from stdin failed: no more", "Z I"]);
    client.send(&[query("COPY t FROM STDIN"), query("SELECT 1")].concat());
    expect(&client.talk(), &["G", "E 08P01 unexpected message type 0x51 during COPY from stdin", "Z I"]);

    let out = client.query("COPY t TO STDOUT");
    assert!(out.starts_with("H\nd "), "{out}");
    assert!(out.ends_with("c\nC COPY 5\nZ I"), "{out}");
}

#[test]
fn large_results_wait_for_the_client() {
    let server = Server::default();
    let mut client = server.session();
    let answer = client.query("SELECT * FROM generate_series(1, 60000)");
    assert_eq!(answer.lines().filter(|line| line.starts_with("D ")).count(), 60_000);
    assert!(answer.ends_with("C SELECT 60000\nZ I"));
}
