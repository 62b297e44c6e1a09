//! What goes on, as `pg_locks` and `pg_stat_activity` show it.

use crate::server::raw::{Client, query, startup};
use crate::server::{Server, raw};

/// A session with its process id.
struct Session {
    client: Client,
    pid: String,
}

fn session(server: &Server) -> Session {
    let mut client = server.connect();
    let pid = client.column("SELECT pg_backend_pid()").concat();
    Session { client, pid }
}

/// The rows of a query, in which sessions, `#` and their process id, are named by letters.
fn rows(observer: &mut Client, sessions: &[&Session], sql: &str) -> Vec<String> {
    let letters = "abcdefgh";
    let name = |value: &str| match sessions.iter().position(|session| value.strip_prefix('#') == Some(&session.pid)) {
        Some(at) => letters[at..=at].to_owned(),
        None => value.to_owned(),
    };
    observer.column(sql).iter().map(|row| row.split('|').map(name).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn columns_are_postgresqls() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    // xid is shown as oid, and inet as text.
    let locks = "T locktype:25 database:26 relation:26 page:23 tuple:21 virtualxid:25 transactionid:26 classid:26 objid:26 \
                 objsubid:21 virtualtransaction:25 pid:23 mode:25 granted:16 fastpath:16 waitstart:1184";
    client.expect_query("SELECT * FROM pg_locks LIMIT 0", &[locks, "C SELECT 0", "Z I"]);
    let activity = "T datid:26 datname:19 pid:23 leader_pid:23 usesysid:26 usename:19 application_name:25 client_addr:25 \
                    client_hostname:25 client_port:23 backend_start:1184 xact_start:1184 query_start:1184 state_change:1184 \
                    wait_event_type:25 wait_event:25 state:25 backend_xid:26 backend_xmin:26 query_id:20 query:25 backend_type:25";
    client.expect_query("SELECT * FROM pg_stat_activity LIMIT 0", &[activity, "C SELECT 0", "Z I"]);
}

#[test]
fn waits_for_rows_are_shown_on_either_core() {
    let server = Server::start(&[]);
    let mut observer = server.connect();
    observer.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 200) AS i");
    for id in [1, 200] {
        let (mut a, mut b, mut c) = (session(&server), session(&server), session(&server));
        // No addition, which would go on with others of its kind.
        let update = format!("UPDATE t SET n = n * 2 WHERE id = {id}");
        a.client.run(&format!("BEGIN; {update}"));
        b.client.send(&query(&format!("BEGIN; {update}")));
        server.wait_for_waiters(&mut observer, 1);
        c.client.send(&query(&update));
        server.wait_for_waiters(&mut observer, 2);
        let all = [&a, &b, &c];
        let locks = "SELECT '#' || pid, locktype, relation::regclass, mode, granted, waitstart <= clock_timestamp() FROM pg_locks \
                     WHERE locktype <> 'virtualxid' ORDER BY pid, locktype, granted";
        assert_eq!(
            rows(&mut observer, &all, locks),
            [
                "a relation t RowExclusiveLock t ~",
                "a transactionid ~ ExclusiveLock t ~",
                "b relation t RowExclusiveLock t ~",
                "b transactionid ~ ShareLock f t",
                "b tuple t ExclusiveLock t ~",
                "c relation t RowExclusiveLock t ~",
                "c tuple t ExclusiveLock f t",
            ],
        );
        let blocked = "SELECT '#' || w.pid, '#' || h.pid FROM pg_locks w JOIN pg_locks h ON w.transactionid = h.transactionid \
                       WHERE NOT w.granted AND h.granted";
        assert_eq!(rows(&mut observer, &all, blocked), ["b a"]);
        let of = |session: &Session| {
            format!(
                "SELECT wait_event_type, wait_event, state, backend_xid IS NULL, query FROM pg_stat_activity WHERE pid = {}",
                session.pid
            )
        };
        assert_eq!(observer.column(&of(&a)), [format!("Client|ClientRead|idle in transaction|f|BEGIN; {update}")]);
        assert_eq!(observer.column(&of(&b)), [format!("Lock|transactionid|active|t|BEGIN; {update}")]);
        assert_eq!(observer.column(&of(&c)), [format!("Lock|tuple|active|t|{update}")]);
        a.client.run("COMMIT");
        assert_eq!(b.client.until_ready().last().map(String::as_str), Some("Z T"));
        b.client.run("COMMIT");
        assert_eq!(c.client.until_ready(), ["C UPDATE 1", "Z I"]);
        let left = "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid()";
        assert_eq!(observer.column(left), ["0"], "what a transaction had, its end has given back");
    }
}

#[test]
fn table_and_advisory_locks_are_shown_once() {
    let server = Server::start(&["--cores", "2", "--max-prepared-transactions", "4"]);
    let mut observer = server.connect();
    observer.run("CREATE TABLE t (id int PRIMARY KEY)");
    let (mut a, mut b, mut c) = (session(&server), session(&server), session(&server));
    a.client
        .run("BEGIN; LOCK TABLE t; SELECT pg_advisory_lock(-2), pg_advisory_xact_lock(1, -1), pg_advisory_lock_shared(1, -1)");
    b.client.send(&query("SELECT count(*) FROM t"));
    c.client.send(&query("SELECT pg_advisory_xact_lock_shared(-2)"));
    server.wait_for_waiters(&mut observer, 2);
    let all = [&a, &b, &c];
    let locks = "SELECT '#' || pid, locktype, database, relation::regclass, classid, objid, objsubid, mode, granted FROM pg_locks \
                 WHERE locktype <> 'virtualxid' ORDER BY pid, locktype, classid, objid, mode";
    assert_eq!(
        rows(&mut observer, &all, locks),
        [
            "a advisory 5 ~ 1 4294967295 2 ExclusiveLock t",
            "a advisory 5 ~ 1 4294967295 2 ShareLock t",
            "a advisory 5 ~ 4294967295 4294967294 1 ExclusiveLock t",
            "a relation 5 t ~ ~ ~ AccessExclusiveLock t",
            "b relation 5 t ~ ~ ~ AccessShareLock f",
            "c advisory 5 ~ 4294967295 4294967294 1 ShareLock f",
        ],
    );
    let own = "SELECT '#' || pid, count(*), count(DISTINCT virtualxid), max(virtualxid) = max(virtualtransaction) FROM pg_locks \
               WHERE virtualxid IS NOT NULL GROUP BY pid ORDER BY pid";
    assert_eq!(rows(&mut observer, &all, own), ["a 1 1 t", "b 1 1 t", "c 1 1 t"]);
    let waits = "SELECT '#' || pid, wait_event_type, wait_event FROM pg_stat_activity WHERE state = 'active' AND wait_event IS NOT NULL ORDER BY pid";
    assert_eq!(rows(&mut observer, &all, waits), ["b Lock relation", "c Lock advisory"]);
    a.client.run("ROLLBACK; SELECT pg_advisory_unlock_all()");
    assert_eq!(b.client.until_ready(), ["T count:20", "D 0", "C SELECT 1", "Z I"]);
    assert_eq!(c.client.until_ready()[1..], ["D ", "C SELECT 1", "Z I"]);
    a.client.run("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'p'");
    let prepared = "SELECT l.pid, l.locktype, l.mode FROM pg_locks l JOIN pg_prepared_xacts p \
                    ON l.virtualtransaction = '-1/' || p.transaction ORDER BY 2";
    assert_eq!(rows(&mut observer, &[], prepared), ["~ relation RowExclusiveLock", "~ transactionid ExclusiveLock"]);
    a.client.run("ROLLBACK PREPARED 'p'");
}

#[test]
fn sessions_say_what_they_do() {
    let server = Server::start(&[]);
    let mut observer = server.connect();
    let mut client = server.open();
    client.send(&startup(&[("user", "tester"), ("database", "shop"), ("application_name", "till")]));
    client.until_ready();
    let mut shown =
        |columns: &str| observer.column(&format!("SELECT {columns} FROM pg_stat_activity WHERE datname = 'shop'")).join(";");
    let who = "datname, usename, application_name, client_addr, client_port > 1024, backend_type, backend_start <= now()";
    assert_eq!(shown(who), "shop|tester|till|127.0.0.1|t|client backend|t");
    let doing = "state, wait_event_type, wait_event, xact_start IS NULL, query_start IS NULL, query";
    assert_eq!(shown(doing), "idle|Client|ClientRead|t|t|");
    client.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    client.run("SET application_name = 'safe'");
    assert_eq!(shown("application_name"), "safe");
    // Lookups by key are answered before anybody can see them run.
    for _ in 0..3 {
        client.run("SELECT id FROM t WHERE id = 2");
    }
    assert_eq!(shown(doing), "idle|Client|ClientRead|t|f|SELECT id FROM t WHERE id = 2");
    client.run("BEGIN");
    assert_eq!(shown(doing), "idle in transaction|Client|ClientRead|f|f|BEGIN");
    client.exchange(&[raw::parse("", "SELECT count(*) FROM t"), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()]);
    assert_eq!(shown(doing), "idle in transaction|Client|ClientRead|f|f|SELECT count(*) FROM t");
    client.query("SELECT 1/0");
    assert_eq!(shown(doing), "idle in transaction (aborted)|Client|ClientRead|f|f|SELECT 1/0");
    client.run("ROLLBACK");
    client.send(&query("SELECT pg_sleep(3600) -- for an hour"));
    let (started, mut state) = (std::time::Instant::now(), String::new());
    while !state.starts_with("active|Timeout") {
        assert!(started.elapsed() < crate::server::WAIT, "it does not sleep: {state}");
        state = shown(doing);
    }
    assert_eq!(state, "active|Timeout|PgSleep|f|f|SELECT pg_sleep(3600) -- for an hour");
    assert_eq!(shown("pg_terminate_backend(pid, 30000)"), "t");
    assert_eq!(shown("pid"), "", "who has gone is not there");
    let own = "SELECT state, wait_event, query FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    assert_eq!(observer.column(own), [format!("active|~|{own}")]);
}
