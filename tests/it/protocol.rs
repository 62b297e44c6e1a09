//! The protocol as clients speak it: start-up, cancel requests, portals, pipelines, and values in both formats, through a client
//! of our own and through tokio-postgres (in its blocking dress, `postgres`).
//!
//! Source: PostgreSQL 15 documentation, chapter 55; protocol 3.2 after the PostgreSQL 18 documentation.

use std::io::{Read, Write};
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, date};
use postgres::types::{FromSql, ToSql};
use postgres::{NoTls, SimpleQueryMessage};
use uuid::Uuid;

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
    let cases: [(&[(&str, &str)], &str, &str); 9] = [
        (&[("options", "-c statement_timeout=1234")], "statement_timeout", "1234ms"),
        (&[("options", "-cstatement_timeout=2min")], "statement_timeout", "2min"),
        (&[("options", "--lock-timeout=5s")], "lock_timeout", "5s"),
        (&[("options", "  -c   lock_timeout=7s  --statement_timeout=1s ")], "lock_timeout", "7s"),
        (&[("options", r"-c application_name=a\ b\\c")], "application_name", r"a b\c"),
        (&[("options", "-c application_name=one -c application_name=two")], "application_name", "two"),
        (&[("options", "-c application_name=one"), ("application_name", "named")], "application_name", "named"),
        (&[("options", ""), ("DateStyle", "SQL, DMY")], "datestyle", "SQL, DMY"),
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
        let lines = client.to_end();
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
    assert_eq!(client.to_end(), Vec::<String>::new(), "a cancel request is not answered");
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
    let mut lines = Vec::new();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| waiter.until_ready());
        // It may not have begun when the first request comes.
        server.wait_until("the end of a cancelled statement", || {
            cancel(&server, &holder_key_of(&reader_key(&wrong)));
            reader.is_finished()
        });
        lines = reader.join().expect("the answer is well formed");
    });
    assert_eq!(lines, [cancelled, "Z I"]);
    holder.run("COMMIT");
    assert_eq!(waiter.column("SELECT n FROM t ORDER BY id"), ["11", "1"]);
    server.assert_unharmed();
}
