//! Who is let in, who waits for it, and how the server lets go of clients: the queue for places, idle sessions, clients that have gone, and
//! the drain before a stop.

use std::time::{Duration, Instant};

use crate::server::Server;
use crate::server::raw::{self, Client};

const ADMIN: &str = "E FATAL 57P01 terminating connection due to administrator command";

/// A client that has asked to come in.
fn knock(server: &Server, user: &str) -> Client {
    let mut client = server.open();
    client.send(&raw::startup(&[("user", user)]));
    client
}

/// A server with a role that is no superuser.
fn with_ann(flags: &[&str]) -> Server {
    let server = Server::start(flags);
    server.connect().run("CREATE ROLE ann LOGIN");
    server.wait_until("an empty server", || server.metric("omendb_connections_active") == 0.0);
    server
}

fn queued(server: &Server, clients: f64) {
    server.wait_until("the queue", || server.metric("omendb_pool_clients{state=\"queued\"}") == clients);
}

#[test]
fn who_finds_no_place_waits_for_it_in_the_order_of_arrival() {
    let mut server = with_ann(&["--max-connections", "4", "--superuser-reserved-connections", "1", "--acquire-timeout", "60s"]);
    let mut admin = server.connect();
    let mut inside: Vec<Client> = (0..2).map(|_| knock(&server, "ann")).collect();
    inside.iter_mut().for_each(|client| assert_eq!(client.until_ready().last().map(String::as_str), Some("Z I")));
    let mut waiting: Vec<Client> = (1..=4)
        .map(|number| {
            let client = knock(&server, "ann");
            queued(&server, f64::from(number));
            client
        })
        .collect();
    // The last place is for superusers, who do not wait behind others.
    let mut other = server.connect();
    assert_eq!(other.column("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ann'"), ["2"]);
    drop(other);
    assert_eq!(admin.column("SELECT sum(queued) FROM omendb_pools"), ["4"]);
    // One that has gone leaves the queue; the others come in one by one, each as soon as there is a place.
    drop(waiting.remove(1));
    queued(&server, 3.0);
    for mut next in waiting {
        drop(inside.pop());
        let greeting = next.until_ready();
        assert_eq!(greeting.last().map(String::as_str), Some("Z I"), "{greeting:?}");
        inside.insert(0, next);
    }
    let waits = admin.column("SELECT sum(place_waits)::text || ' ' || sum(place_timeouts) FROM omendb_pools");
    assert_eq!(waits, ["3 0"]);
    drop((inside, admin));
    server.assert_unharmed();
}

#[test]
fn who_has_waited_for_too_long_is_refused() {
    let mut server = with_ann(&["--max-connections", "2", "--superuser-reserved-connections", "1", "--acquire-timeout", "300ms"]);
    let mut held = knock(&server, "ann");
    held.until_ready();
    let started = Instant::now();
    let mut late = knock(&server, "ann");
    let reserved = "E FATAL 53300 remaining connection slots are reserved for non-replication superuser connections";
    assert_eq!(late.rest_of_stream().last().map(String::as_str), Some(reserved));
    assert!(started.elapsed() >= Duration::from_millis(300));
    let mut admin = server.connect();
    let mut other = knock(&server, "root");
    assert_eq!(other.rest_of_stream().last().map(String::as_str), Some("E FATAL 53300 sorry, too many clients already"));
    assert_eq!(admin.column("SELECT sum(place_timeouts) FROM omendb_pools"), ["2"]);
    drop((held, admin));
    server.assert_unharmed();
}

#[test]
fn the_queue_has_an_end() {
    let flags = ["--max-connections", "2", "--superuser-reserved-connections", "1", "--max-queued-connections", "1"];
    let mut server = with_ann(&flags);
    let mut held = knock(&server, "ann");
    held.until_ready();
    let waiting = knock(&server, "ann");
    queued(&server, 1.0);
    let refused = knock(&server, "ann").rest_of_stream();
    assert!(refused.last().is_some_and(|line| line.starts_with("E FATAL 53300 ")), "{refused:?}");
    drop((waiting, held));
    server.assert_unharmed();
}

#[test]
fn who_does_not_log_in_has_to_go_for_others() {
    let mut server = Server::start(&["--max-starting-connections", "3"]);
    let mut silent: Vec<Client> = (0..3).map(|_| server.open()).collect();
    server.wait_until("three that say nothing", || server.metric("omendb_pool_clients{state=\"starting\"}") == 3.0);
    let mut client = server.connect();
    assert_eq!(client.column("SELECT 1"), ["1"]);
    assert_eq!(silent[0].rest_of_stream(), ["E FATAL 53300 sorry, too many clients already"]);
    let mut last = silent.remove(2);
    last.send(&raw::startup(&[("user", "tester")]));
    assert_eq!(last.until_ready().last().map(String::as_str), Some("Z I"));
    server.assert_unharmed();
}

#[test]
fn idle_sessions_end_but_not_those_of_superusers() {
    let server = with_ann(&["--idle-timeout", "700ms"]);
    let (mut idle, mut own, mut admin) = (knock(&server, "ann"), knock(&server, "ann"), server.connect());
    idle.until_ready();
    own.until_ready();
    assert_eq!(idle.column("SHOW idle_session_timeout"), ["700ms"]);
    assert_eq!(admin.column("SHOW idle_session_timeout"), ["0"]);
    own.run("SET idle_session_timeout = 0");
    let mut blocked = knock(&server, "ann");
    blocked.until_ready();
    blocked.run("BEGIN");
    let started = Instant::now();
    let told = "E FATAL 57P05 terminating connection due to idle-session timeout";
    assert_eq!(idle.rest_of_stream(), [told]);
    std::thread::sleep(Duration::from_millis(1500).saturating_sub(started.elapsed()));
    for client in [&mut own, &mut admin, &mut blocked] {
        assert_eq!(client.column("SELECT 1"), ["1"], "it said otherwise, may do so, or is in a transaction");
    }
    // One that has fallen asleep, and so gave its buffers back, goes on where it was.
    blocked.run("COMMIT");
    assert_eq!(blocked.rest_of_stream(), [told]);
}

#[test]
fn statements_of_clients_that_have_gone_are_ended() {
    let server = Server::start(&["--client-connection-check-interval", "50ms"]);
    let (mut gone, mut observer) = (server.connect(), server.connect());
    assert_eq!(observer.column("SHOW client_connection_check_interval"), ["50ms"]);
    gone.send(&raw::query("SELECT pg_sleep(3600)"));
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND pid <> pg_backend_pid()";
    server.wait_until("the sleep", || observer.column(sleeping) == ["1"]);
    drop(gone);
    server.wait_until("the end of the sleep", || observer.column(sleeping) == ["0"]);
}

#[test]
fn a_drain_lets_transactions_finish_and_nobody_in() {
    let mut server = Server::start(&["--drain-timeout", "60s"]);
    let (mut idle, mut busy, mut pipelined) = (server.connect(), server.connect(), server.connect());
    busy.run("CREATE TABLE t (id int PRIMARY KEY)");
    busy.run("BEGIN; INSERT INTO t VALUES (1)");
    let begun = [raw::parse("", "INSERT INTO t VALUES (2)"), raw::bind("", "", &[]), raw::execute("", 0), raw::flush()];
    pipelined.send(&begun.concat());
    assert_eq!(pipelined.until("C").last().map(String::as_str), Some("C INSERT 0 1"));
    server.signal(libc::SIGTERM);
    assert_eq!(idle.rest_of_stream(), [ADMIN]);
    assert_eq!(knock(&server, "tester").rest_of_stream(), ["E FATAL 57P03 the database system is shutting down"]);
    assert_eq!(server.http_status("/readyz"), 503);
    assert_eq!(server.http_status("/livez"), 200);
    busy.run("INSERT INTO t VALUES (3)");
    busy.run("COMMIT");
    assert_eq!(busy.rest_of_stream(), [ADMIN]);
    pipelined.send(&raw::sync());
    assert_eq!(pipelined.rest_of_stream(), ["Z I", ADMIN]);
    assert!(server.wait_for_end().success());
    let server = server.kill().start(&[]);
    assert_eq!(server.connect().column("SELECT sum(id) FROM t"), ["6"]);
}

#[test]
fn a_drain_ends_and_a_second_signal_ends_it() {
    let signals: [&[i32]; 2] = [&[libc::SIGTERM], &[libc::SIGTERM, libc::SIGINT]];
    for (timeout, signals) in ["300ms", "1h"].into_iter().zip(signals) {
        let mut server = Server::start(&["--drain-timeout", timeout]);
        let mut busy = server.connect();
        busy.run("BEGIN");
        for signal in signals {
            server.signal(*signal);
            // Two signals of which nobody has heard the first would be one.
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(busy.rest_of_stream(), [ADMIN]);
        assert!(server.wait_for_end().success());
    }
}

#[test]
fn a_client_sees_what_the_server_was_started_with() {
    let mut server =
        Server::start(&["--max-connections", "7", "--superuser-reserved-connections", "2", "--authentication-timeout", "90s"]);
    let mut client = server.connect();
    for (name, value) in
        [("max_connections", "7"), ("superuser_reserved_connections", "2"), ("authentication_timeout", "90s"), ("ssl", "off")]
    {
        assert_eq!(client.column(&format!("SHOW {name}")), [value], "{name}");
    }
    assert_eq!(client.column("SHOW port"), [server.address.port().to_string()]);
    client.expect_query("SET max_connections = 8", &["E 55P02 parameter \"max_connections\" cannot be changed", "Z I"]);
    client.run("DISCARD ALL");
    assert_eq!(client.column("SHOW max_connections"), ["7"]);
    server.assert_unharmed();
}
