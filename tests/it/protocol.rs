//! The protocol as clients speak it: start-up, cancel requests, portals and pipelines.
//!
//! Source: PostgreSQL 15 documentation, chapter 55; protocol 3.2 after the PostgreSQL 18 documentation.

use crate::server::Server;
use crate::server::raw::{self, Client};

/// The greeting of a connection that starts with this packet.
#[track_caller]
fn greeting(server: &Server, startup: &[u8]) -> (Client, Vec<String>) {
    let mut client = server.open();
    client.send(startup);
    let lines = client.until_ready();
    assert_eq!(lines.last().map(String::as_str), Some("Z I"), "{lines:?}");
    (client, lines)
}

#[test]
fn connections_start_in_every_way_that_is_allowed() {
    let mut server = Server::start(&[]);
    versions_are_negotiated(&server);
    options_become_settings(&server);
    encryption_is_declined(&server);
    server.assert_unharmed();
}

/// What a client asks for that is newer than the server is answered with what there is, and never with more than was asked.
fn versions_are_negotiated(server: &Server) {
    const V: u32 = raw::VERSION_3_0;
    let user = ("user", "tester");
    type Negotiation<'a> = (u32, &'a [(&'a str, &'a str)], Option<&'a str>);
    let cases: [Negotiation<'_>; 7] = [
        (V, &[user], None),
        (V + 1, &[user], None),
        (V + 2, &[user], None),
        (V + 3, &[user], Some("v 196610")),
        (V + 99, &[user], Some("v 196610")),
        (V, &[user, ("_pq_.one", "1"), ("_pq_.two", "")], Some("v 196608 _pq_.one _pq_.two")),
        (V + 99, &[("_pq_.one", "1"), user], Some("v 196610 _pq_.one")),
    ];
    for (version, pairs, negotiated) in cases {
        let (mut client, lines) = greeting(server, &raw::startup_version(version, pairs));
        let found = lines.first().filter(|line| line.starts_with('v')).map(String::as_str);
        assert_eq!(found, negotiated, "{version:x} {pairs:?}");
        assert!((8..=260).contains(&client.key.len()), "a process id and 4 to 256 bytes of secret");
        assert!(lines.contains(&"R 0".to_owned()), "{lines:?}");
        client.expect_query("SELECT 1", &["T ?column?:23", "D 1", "C SELECT 1", "Z I"]);
    }
}

fn options_become_settings(server: &Server) {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 9] = [
        (&[("options", "-c statement_timeout=1234")], "statement_timeout", "1234ms"),
        (&[("options", "-cstatement_timeout=2min")], "statement_timeout", "2min"),
        (&[("options", "--lock-timeout=5s")], "lock_timeout", "5s"),
        (&[("options", "  -c   lock_timeout=7s  --statement_timeout=1s ")], "lock_timeout", "7s"),
        (&[("options", r"-c application_name=a\ b\\c")], "application_name", r"a b\c"),
        (&[("options", "-c application_name=one -c application_name=two")], "application_name", "two"),
        (&[("options", "-c application_name=one"), ("application_name", "named")], "application_name", "named"),
        (&[("options", ""), ("DateStyle", "ISO, DMY")], "datestyle", "ISO, DMY"),
        (&[("TimeZone", "Europe/Berlin")], "timezone", "Europe/Berlin"),
    ];
    for (pairs, setting, value) in cases {
        let pairs = [&[("user", "tester")], pairs].concat();
        let (mut client, _) = greeting(server, &raw::startup(&pairs));
        assert_eq!(client.column(&format!("SHOW {setting}")), [value], "{pairs:?}");
    }
    let (_, lines) = greeting(server, &raw::startup(&[("user", "tester"), ("options", r"-c application_name=a\ b")]));
    assert!(lines.contains(&"S application_name=a b".to_owned()), "{lines:?}");
    for (options, code) in [("-c", "42601"), ("-c x", "42601"), ("nonsense", "42601"), ("-c no_such_setting=1", "42704")] {
        let mut client = server.open();
        client.send(&raw::startup(&[("user", "tester"), ("options", options)]));
        let lines = client.rest_of_stream();
        assert!(lines.len() == 1 && lines[0].starts_with(&format!("E FATAL {code} ")), "{options:?}: {lines:?}");
    }
}

fn encryption_is_declined(server: &Server) {
    for codes in [&[raw::SSL][..], &[raw::GSS], &[raw::GSS, raw::SSL], &[raw::SSL, raw::GSS]] {
        let mut client = server.open();
        for code in codes {
            client.send(&raw::packet(*code, b""));
            assert_eq!(client.byte(), Some(b'N'));
        }
        client.send(&raw::startup(&[("user", "tester")]));
        assert_eq!(client.until_ready().last().map(String::as_str), Some("Z I"));
        client.expect_query("SELECT 1", &["T ?column?:23", "D 1", "C SELECT 1", "Z I"]);
    }
}

/// Sends a cancel request; when this returns, the server has dealt with it.
fn cancel(server: &Server, key: &[u8]) {
    let mut client = server.open();
    client.send(&raw::packet(raw::CANCEL, key));
    assert_eq!(client.rest_of_stream(), Vec::<String>::new(), "a cancel request is not answered");
}

#[test]
fn cancel_requests_end_statements_of_their_key_only() {
    let mut server = Server::start(&[]);
    let (mut holder, mut waiter) = (server.connect(), server.connect());
    holder.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0), (2, 0)");
    let waiting = |server: &Server| server.metric("omendb_lock_waiters") == 1.0;

    // A wrong key: the statement waits on, and ends as it should.
    holder.run("BEGIN; UPDATE t SET n = 1 WHERE id = 1");
    waiter.send(&raw::query("UPDATE t SET n = n + 10 WHERE id = 1"));
    server.wait_until("a waiting UPDATE", || waiting(&server));
    let mut wrong = waiter.key.clone();
    *wrong.last_mut().expect("a key has bytes") ^= 1;
    cancel(&server, &wrong);
    cancel(&server, &[&waiter.key[..], &[0; 28]].concat());
    cancel(&server, &holder.key);
    holder.run("COMMIT");
    assert_eq!(waiter.until_ready(), ["C UPDATE 1", "Z I"]);
    assert_eq!(holder.column("SELECT n FROM t WHERE id = 1"), ["11"]);

    // The right one: the statement ends, the connection goes on, and nothing of the statement stays.
    holder.run("BEGIN; UPDATE t SET n = 1 WHERE id = 2");
    let cancelled = "E 57014 canceling statement due to user request";
    waiter.send(&raw::query("UPDATE t SET n = n + 10"));
    server.wait_until("a waiting UPDATE", || waiting(&server));
    cancel(&server, &waiter.key);
    assert_eq!(waiter.until_ready(), [cancelled, "Z I"]);
    // Between statements there is nothing to end.
    cancel(&server, &waiter.key);
    assert_eq!(waiter.column("SELECT n FROM t WHERE id = 1"), ["11"]);
    // In a pipeline, what follows up to Sync goes too.
    let update = [raw::parse("", "UPDATE t SET n = 5 WHERE id = 2"), raw::bind("", "", &[]), raw::execute("", 0)].concat();
    waiter.send(&[update.clone(), update, raw::sync()].concat());
    server.wait_until("a waiting UPDATE", || waiting(&server));
    cancel(&server, &waiter.key);
    assert_eq!(waiter.until_ready(), ["1", "2", cancelled, "Z I"]);
    // A long computation, which waits for nobody.
    waiter.send(&raw::query("SELECT count(*) FROM generate_series(1, 1000000000000) AS i"));
    let key = waiter.key.clone();
    let lines = std::thread::scope(|scope| {
        let answer = scope.spawn(|| waiter.until_ready());
        // A request that comes before the statement has begun has nothing to end.
        server.wait_until("the end of a cancelled computation", || {
            cancel(&server, &key);
            answer.is_finished()
        });
        answer.join().expect("the answer is well formed")
    });
    assert_eq!(lines, ["T count:20", cancelled, "Z I"]);
    holder.run("COMMIT");
    assert_eq!(waiter.column("SELECT n FROM t ORDER BY id"), ["11", "1"]);
    server.assert_unharmed();
}

#[test]
fn portals_and_pipelines_keep_to_the_protocol() {
    let mut server = Server::start(&[]);
    server.connect().run("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')");
    portals_give_rows_as_they_are_asked(&mut server.connect());
    statements_and_portals_are_described(&mut server.connect());
    answers_come_at_flush(&mut server.connect());
    errors_in_pipelines_undo_them(&mut server.connect());
    server.assert_unharmed();
}

fn portals_give_rows_as_they_are_asked(client: &mut Client) {
    let open = [raw::parse("", "SELECT id FROM t ORDER BY id"), raw::bind("p", "", &[])].concat();
    let two = raw::execute("p", 2);
    let found = client.exchange(&[open.clone(), two.clone(), two.clone(), two.clone(), raw::sync()]);
    assert_eq!(found, ["1", "2", "D 1", "D 2", "s", "D 3", "C SELECT 1", "C SELECT 0", "Z I"]);
    // Exactly as many rows as there are: the portal cannot know yet that it is at its end.
    let found = client.exchange(&[open.clone(), raw::execute("p", 3), raw::execute("p", 0), raw::sync()]);
    assert_eq!(found, ["1", "2", "D 1", "D 2", "D 3", "s", "C SELECT 0", "Z I"]);
    // Outside a block a portal ends with Sync, inside with the block.
    let found = client.exchange(&[open.clone(), two.clone(), raw::sync(), two.clone(), raw::sync()]);
    assert_eq!(found, ["1", "2", "D 1", "D 2", "s", "Z I"]);
    assert_eq!(client.until_ready(), ["E 34000 portal \"p\" does not exist", "Z I"]);
    client.run("BEGIN");
    assert_eq!(client.exchange(&[open.clone(), two.clone(), raw::sync()]), ["1", "2", "D 1", "D 2", "s", "Z T"]);
    assert_eq!(client.exchange(&[raw::execute("p", 1), raw::sync()]), ["D 3", "s", "Z T"]);
    assert_eq!(client.exchange(&[open, raw::sync()]), ["1", "E 42P03 cursor \"p\" already exists", "Z E"]);
    client.run("ROLLBACK");
    assert_eq!(client.exchange(&[two, raw::sync()]), ["E 34000 portal \"p\" does not exist", "Z I"]);
    // What is not a query is done once.
    let update = [raw::parse("", "UPDATE t SET name = name"), raw::bind("u", "", &[])].concat();
    let found = client.exchange(&[update, raw::execute("u", 1), raw::execute("u", 0), raw::sync()]);
    assert_eq!(found[..3], ["1", "2", "C UPDATE 3"]);
    assert!(found[3].starts_with("E 55000 "), "{found:?}");
}

fn statements_and_portals_are_described(client: &mut Client) {
    let text = "SELECT id, name FROM t WHERE id = $1 AND name <> $2";
    let found = client.exchange(&[
        raw::parse("s", text),
        raw::describe('S', "s"),
        raw::bind_formats("p", "s", &[Some("1"), Some("")], &[1, 0]),
        raw::describe('P', "p"),
        raw::execute("p", 0),
        raw::parse("n", "DELETE FROM t WHERE false"),
        raw::describe('S', "n"),
        raw::parse("e", " -- nothing"),
        raw::describe('S', "e"),
        raw::bind("", "e", &[]),
        raw::execute("", 0),
        raw::sync(),
    ]);
    let described = ["1", "t 23 25", "T id:23 name:25", "2", "T id:23b name:25", "D 00000001|a", "C SELECT 1"];
    assert_eq!(found, [&described[..], &["1", "t ", "n", "1", "t ", "n", "2", "I", "Z I"]].concat());
    let found = client.exchange(&[raw::close('S', "s"), raw::describe('S', "s"), raw::sync()]);
    assert_eq!(found, ["3", "E 26000 prepared statement \"s\" does not exist", "Z I"]);
}

/// Flush brings what there is to say, and does not end the transaction.
fn answers_come_at_flush(client: &mut Client) {
    client.send(&[raw::parse("", "INSERT INTO t VALUES (4, 'd') RETURNING id"), raw::flush()].concat());
    assert_eq!(client.until("1"), ["1"]);
    client.send(&[raw::bind("", "", &[]), raw::describe('P', ""), raw::flush()].concat());
    assert_eq!(client.until("T"), ["2", "T id:23"]);
    client.send(&[raw::execute("", 0), raw::flush()].concat());
    assert_eq!(client.until("C"), ["D 4", "C INSERT 0 1"]);
    // An error is told without a Flush, and everything since the last Sync is undone.
    client.send(&raw::parse("", "SELECT nothing"));
    assert_eq!(client.until("E"), ["E 42703 column \"nothing\" does not exist"]);
    client.send(&[raw::flush(), raw::query("SELECT 'dropped'"), raw::sync()].concat());
    assert_eq!(client.until_ready(), ["Z I"]);
    assert_eq!(client.column("SELECT count(*) FROM t"), ["3"]);
}

fn errors_in_pipelines_undo_them(client: &mut Client) {
    let insert = |id: &str| [raw::bind("", "i", &[Some(id)]), raw::execute("", 0)].concat();
    client.exchange(&[raw::parse("i", "INSERT INTO t VALUES ($1, 'new')"), raw::sync()]);
    let pipeline = [insert("10"), insert("1"), insert("11"), raw::sync(), insert("12"), raw::sync()].concat();
    client.send(&pipeline);
    let duplicate = "E 23505 duplicate key value violates unique constraint \"t_pkey\"";
    assert_eq!(client.until_ready(), ["2", "C INSERT 0 1", "2", duplicate, "Z I"]);
    assert_eq!(client.until_ready(), ["2", "C INSERT 0 1", "Z I"]);
    assert_eq!(client.column("SELECT id FROM t WHERE id > 3 ORDER BY id"), ["12"]);
    // Within a block the error takes the block with it, and Sync does not end that.
    client.run("BEGIN");
    assert_eq!(client.exchange(&[insert("13"), insert("1"), raw::sync()]), ["2", "C INSERT 0 1", "2", duplicate, "Z E"]);
    let aborted = "E 25P02 current transaction is aborted, commands ignored until end of transaction block";
    assert_eq!(client.exchange(&[insert("14"), raw::sync()]), [aborted, "Z E"]);
    client.expect_query("COMMIT", &["C ROLLBACK", "Z I"]);
    // Several statements in one query string are one transaction, too.
    client.query("INSERT INTO t VALUES (15, 'x'); INSERT INTO t VALUES (1, 'x'); INSERT INTO t VALUES (16, 'x')");
    assert_eq!(client.column("SELECT id FROM t WHERE id > 3 ORDER BY id"), ["12"]);
}
