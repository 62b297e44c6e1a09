//! pool = transaction: clients that share sessions, on the assembled server.

use crate::server::Server;
use crate::server::raw::{self, Client};

/// A server whose clients share this many sessions, all on one core.
fn pooled(size: &str, more: &[&str]) -> Server {
    Server::start(&[&["--cores", "1", "--pool", "transaction", "--pool-size", size], more].concat())
}

fn state(server: &Server, state: &str) -> f64 {
    server.metric(&format!("omendb_pool_clients{{state=\"{state}\"}}"))
}

#[test]
fn two_clients_alternate_over_one_session() {
    let mut server = pooled("1", &[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, i * 10 FROM generate_series(1, 100) AS i");
    for (client, text) in [(&mut ann, "SELECT n FROM t WHERE id = $1"), (&mut bob, "SELECT $1::int + n FROM t WHERE id = 2")] {
        client.send(&[raw::parse("s", text), raw::sync()].concat());
        assert_eq!(client.until_ready(), ["1", "Z I"]);
    }
    ann.run("SET TimeZone = 'Asia/Tokyo'; SET application_name = 'ann'");
    bob.run("PREPARE p(int) AS UPDATE t SET n = n + $1 WHERE id = 3");
    for round in 1..=20 {
        let ask = |client: &mut Client| {
            client.send(&[raw::bind("", "s", &[Some("7")]), raw::execute("", 0), raw::sync()].concat());
            client.until_ready()
        };
        assert_eq!(ask(&mut ann), ["2", "D 70", "C SELECT 1", "Z I"]);
        assert_eq!(ask(&mut bob), ["2", "D 27", "C SELECT 1", "Z I"]);
        // A transaction of several round trips keeps the session; the other waits for it.
        ann.run("BEGIN; UPDATE t SET n = n + 1 WHERE id = 1");
        bob.send(&raw::query("EXECUTE p(2)"));
        server.wait_until("the wait for a session", || state(&server, "waiting") == 1.0);
        assert_eq!(ann.column("SELECT n FROM t WHERE id = 1"), [(10 + round).to_string()]);
        ann.run("COMMIT");
        assert_eq!(bob.until_ready(), ["C UPDATE 1", "Z I"]);
        assert_eq!(bob.column("SELECT n FROM t WHERE id = 3"), [(30 + 2 * round).to_string()]);
        assert_eq!([ann.column("SHOW TimeZone"), bob.column("SHOW TimeZone")], [["Asia/Tokyo"], ["UTC"]]);
    }
    let shown = ann.column("SELECT application_name FROM pg_stat_activity ORDER BY pid");
    assert_eq!(shown, ["ann", ""], "each is there under its own name");
    assert_eq!(bob.column("SELECT sessions, sessions_limit, created, active, idle FROM omendb_pools"), ["1|1|1|1|1"]);
    server.assert_unharmed();
}

#[test]
fn what_is_a_clients_own_stays_its_own() {
    let server = pooled("2", &[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.run("CREATE ROLE carol LOGIN; CREATE TABLE secret (id int PRIMARY KEY); INSERT INTO secret VALUES (1)");
    // Advisory locks of a session.
    ann.run("SELECT pg_advisory_lock(7)");
    assert_eq!(bob.column("SELECT pg_try_advisory_lock(7)"), ["f"]);
    assert_eq!(ann.column("SELECT pg_try_advisory_lock(7)"), ["t"]);
    // Its number, its privileges, its cancel key.
    let pids = [&mut ann, &mut bob].map(|client| client.column("SELECT pg_backend_pid()").concat());
    assert_ne!(pids[0], pids[1]);
    let mut carol = server.open();
    carol.send(&raw::startup(&[("user", "carol")]));
    carol.until_ready();
    for _ in 0..3 {
        assert_eq!(ann.column("SELECT id FROM secret"), ["1"]);
        let refused = carol.query("SELECT id FROM secret");
        assert_eq!(refused, ["E 42501 permission denied for table secret", "Z I"]);
        assert_eq!(carol.column("SELECT current_user"), ["carol"]);
        assert_eq!(ann.column("SELECT pg_backend_pid()"), [pids[0].as_str()]);
    }
    // One that has put on another role shares its login's sessions, and none of its privileges.
    bob.run("SET ROLE carol");
    for _ in 0..3 {
        assert_eq!(bob.query("SELECT id FROM secret"), ["E 42501 permission denied for table secret", "Z I"]);
        assert_eq!(ann.column("SELECT id FROM secret"), ["1"]);
        assert_eq!(bob.column("SELECT current_user"), ["carol"]);
        assert_ne!(ann.column("SELECT current_user"), ["carol"]);
    }
    bob.run("RESET ROLE");
    assert_eq!(bob.column("SELECT id FROM secret"), ["1"]);
    bob.send(&raw::query("SELECT pg_sleep(3600)"));
    server.wait_until("the sleep", || {
        ann.column("SELECT wait_event FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)'").contains(&"PgSleep".to_owned())
    });
    server.open().send(&raw::packet(raw::CANCEL, &bob.key));
    assert!(bob.until_ready().contains(&"E 57014 canceling statement due to user request".to_owned()));
    // A client that goes away leaves nothing.
    drop(ann);
    server.wait_until("the lock", || bob.column("SELECT pg_try_advisory_lock(7)") == ["t"]);
}

#[test]
fn who_gets_no_session_in_time_is_refused() {
    let server = pooled("1", &["--acquire-timeout", "200ms"]);
    let (mut busy, mut late) = (server.connect(), server.connect());
    busy.run("BEGIN");
    late.send(&raw::query("SELECT 1"));
    assert_eq!(late.rest_of_stream(), ["E FATAL 53300 timed out waiting for a session of the pool"]);
    // Ending one that is in the middle of a transaction frees its session.
    let mut terminated = server.connect();
    busy.run("ROLLBACK");
    let pid = terminated.column("SELECT pg_backend_pid()").concat();
    terminated.run("BEGIN");
    drop(terminated);
    server.wait_until("a free session", || state(&server, "active") == 0.0);
    assert_eq!(busy.column(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}")), ["0"]);
}

#[test]
fn who_does_not_read_keeps_no_session() {
    let server = pooled("1", &["--acquire-timeout", "60s"]);
    let mut deaf = server.connect();
    // More than the kernel's buffers take.
    let lookup = raw::query("SELECT repeat('x', 30000)");
    deaf.send(&lookup.repeat(1_000));
    let mut other = server.connect();
    server.wait_until("a client that is not read", || state(&server, "active") == 0.0);
    for _ in 0..10 {
        assert_eq!(other.column("SELECT 1"), ["1"]);
    }
    let rows = (0..1_000).filter(|_| deaf.until_ready().len() == 4).count();
    assert_eq!(rows, 1_000, "nothing is lost when it reads on");
}

#[test]
fn pools_are_shown_to_clients_and_over_http() {
    let server = pooled("3", &[]);
    let mut client = server.connect();
    client.send(&[raw::parse("a", "SELECT 1"), raw::parse("b", "SELECT 2"), raw::sync()].concat());
    client.until_ready();
    let shown = client.query("SHOW POOLS");
    assert!(shown[0].starts_with("T core:23 starting:20 queued:20 waiting:20 active:20 idle:20 sessions:20"), "{shown:?}");
    assert!(shown[1].starts_with("D 0|0|0|0|1|0|1|3|1|0|0|0|~|~|~|0|0|"), "{shown:?}");
    let pools: serde_json::Value = serde_json::from_str(&server.http_body("/pools")).expect("it is JSON");
    let of_core = &pools["pools"][0];
    assert_eq!(
        (&of_core["idle"], &of_core["sessions_limit"], &of_core["prepared_statements"]),
        (&1.into(), &3.into(), &2.into())
    );
    drop(client);
    server.wait_until("an empty pool", || state(&server, "idle") == 0.0);
}

#[test]
fn many_clients_over_few_sessions_all_get_on() {
    const CLIENTS: usize = 40;
    let mut server = Server::start(&["--pool", "transaction", "--pool-size", "2"]);
    server
        .connect()
        .run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(0, 39) AS i");
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                let update = format!("UPDATE t SET n = n + $1 WHERE id = {number} RETURNING n");
                client.send(&[raw::parse("u", &update), raw::sync()].concat());
                assert_eq!(client.until_ready(), ["1", "Z I"]);
                client.run(&format!("SET my.number = '{number}'"));
                for round in 1..=10 {
                    client.run("BEGIN");
                    client.send(&[raw::bind("", "u", &[Some("1")]), raw::execute("", 0), raw::sync()].concat());
                    assert_eq!(client.until_ready(), ["2", &format!("D {round}"), "C UPDATE 1", "Z T"]);
                    assert_eq!(client.column("SHOW my.number"), [number.to_string()]);
                    client.run("COMMIT");
                }
            });
        }
    });
    assert_eq!(server.connect().column("SELECT sum(n) FROM t"), ["400"]);
    server.wait_until("an empty server", || server.metric("omendb_connections_active") == 0.0);
    assert!(server.metric("omendb_pool_sessions_created_total") <= 4.0);
    assert_eq!(server.metric("omendb_pool_prepared_statements"), 0.0);
    server.assert_unharmed();
}
