//! Clients that share sessions: nothing of one is seen by another, and everything of one stays its own.

use std::rc::Rc;
use std::time::Duration;

use super::client::*;
use crate::auth::hba::Origin;
use crate::runtime::sim::Sim;
use crate::runtime::{QueueClass, random_u64, sleep, spawn, spawn_joinable};
use crate::session::pool::Pool;
use crate::wire::connection::{Admission, serve};
use crate::wire::stream::{ByteStream, MemoryStream, memory_stream};

fn pooled(size: usize) -> Server {
    let server = Server::default();
    Server { pool: Some(Pool::new(size, None, server.fake.core_metrics().clone())), ..server }
}

#[test]
fn two_clients_take_turns_on_one_session() {
    let server = pooled(1);
    let (mut ann, mut bob) = (server.session(), server.session());
    ann.query("CREATE TABLE t (a int primary key, b int); INSERT INTO t VALUES (1, 10), (2, 20)");
    // The same names for different things.
    expect(
        &ann.exchange(&[parse("s", "SELECT b FROM t WHERE a = $1"), describe('S', "s"), sync()]),
        &["1", "t 23", "T b:23", "Z I"],
    );
    expect(&bob.exchange(&[parse("s", "SELECT 'bob'"), sync()]), &["1", "Z I"]);
    expect(&ann.query("PREPARE p AS SELECT 'of ann'"), &["C PREPARE", "Z I"]);
    expect(&bob.query("EXECUTE p"), &["E 26000 prepared statement \"p\" does not exist", "Z I"]);
    for _ in 0..3 {
        expect(&ann.exchange(&[bind("", "s", &[Some("2")]), execute("", 0), sync()]), &["2", "D 20", "C SELECT 1", "Z I"]);
        expect(&bob.exchange(&[bind("", "s", &[]), execute("", 0), sync()]), &["2", "D bob", "C SELECT 1", "Z I"]);
        expect(&ann.query("EXECUTE p"), &["T ?column?:25", "D of ann", "C SELECT 1", "Z I"]);
    }
    // Settings of a session, and of a transaction.
    ann.query("SET search_path = elsewhere; SET my.own = 'ann''s'");
    expect(&bob.query("SHOW search_path"), &["T search_path:25", "D \"$user\", public", "C SHOW", "Z I"]);
    expect(&bob.query("SHOW my.own"), &["E 42704 unrecognized configuration parameter \"my.own\"", "Z I"]);
    expect(&bob.query("SELECT b FROM t WHERE a = 1"), &["T b:23", "D 10", "C SELECT 1", "Z I"]);
    expect(&ann.query("SELECT b FROM t WHERE a = 1"), &["E 42P01 relation \"t\" does not exist", "Z I"]);
    expect(&ann.query("SHOW my.own"), &["T my.own:25", "D ann's", "C SHOW", "Z I"]);
    ann.query("RESET search_path");
    // The unnamed statement lives until the next one.
    expect(&ann.exchange(&[parse("", "SELECT 'unnamed'"), sync()]), &["1", "Z I"]);
    expect(&bob.exchange(&[bind("", "", &[]), sync()]), &["E 26000 unnamed prepared statement does not exist", "Z I"]);
    expect(&ann.exchange(&[bind("", "", &[]), execute("", 0), sync()]), &["2", "D unnamed", "C SELECT 1", "Z I"]);
    expect(&ann.query("DEALLOCATE s"), &["C DEALLOCATE", "Z I"]);
    expect(&ann.exchange(&[bind("", "s", &[]), sync()]), &["E 26000 prepared statement \"s\" does not exist", "Z I"]);
    expect(&bob.query("DISCARD ALL"), &["C DISCARD ALL", "Z I"]);
    expect(&bob.exchange(&[bind("", "s", &[]), sync()]), &["E 26000 prepared statement \"s\" does not exist", "Z I"]);
}

#[test]
fn a_transaction_keeps_its_session_and_others_are_refused_or_wait() {
    let server = pooled(1);
    let (mut ann, mut bob) = (server.session(), server.session());
    ann.query("CREATE TABLE t (a int primary key)");
    for begin in [vec![query("BEGIN")], vec![parse("", "INSERT INTO t VALUES (1)"), bind("", "", &[]), execute("", 0)]] {
        ann.exchange(&begin);
        let mut third = server.session();
        expect(&third.query("SELECT 1"), &["E FATAL 53300 timed out waiting for a session of the pool"]);
        assert!(third.is_closed());
        ann.exchange(&[query("ROLLBACK"), sync()]);
    }
    expect(&bob.query("SELECT 1"), &["T ?column?:23", "D 1", "C SELECT 1", "Z I"]);
    // A failed block is one as well.
    expect(&bob.query("BEGIN; SELECT 1/0"), &["C BEGIN", "T ?column?:23", "E 22012 division by zero", "Z E"]);
    expect(&ann.query("SELECT 1"), &["E FATAL 53300 timed out waiting for a session of the pool"]);
    drop(bob);
    let mut last = server.session();
    expect(&last.query("SELECT 1"), &["T ?column?:23", "D 1", "C SELECT 1", "Z I"]);
}

#[test]
fn preparing_waits_for_nobody() {
    let server = pooled(1);
    let (mut holder, mut ann) = (server.session(), server.session());
    holder.query("CREATE TABLE t (a int primary key); INSERT INTO t VALUES (1)");
    holder.query("BEGIN");
    expect(
        &ann.exchange(&[parse("s", "SELECT a FROM t WHERE a = $1"), describe('S', "s"), sync()]),
        &["1", "t 23", "T a:23", "Z I"],
    );
    // Half prepared, it keeps the guest's place, and has to wait with the rest.
    expect(&ann.exchange(&[parse("", "SELECT a FROM t"), message(b'H', b"")]), &["1"]);
    holder.query("COMMIT");
    expect(&ann.exchange(&[bind("", "", &[]), execute("", 0), sync()]), &["2", "D 1", "C SELECT 1", "Z I"]);
    expect(&ann.exchange(&[bind("", "s", &[Some("1")]), execute("", 0), sync()]), &["2", "D 1", "C SELECT 1", "Z I"]);
    holder.query("BEGIN");
    expect(
        &ann.exchange(&[parse("", "SELECT 1"), bind("", "", &[])]),
        &["E FATAL 53300 timed out waiting for a session of the pool"],
    );
}

#[test]
fn goodbyes_and_halves_of_messages_need_no_session() {
    let server = pooled(1);
    let (mut holder, mut slow, mut leaving) = (server.session(), server.session(), server.session());
    holder.query("BEGIN");
    let message = query("SELECT 42");
    slow.send(&message[..message.len() - 1]);
    expect(&slow.talk(), &[]);
    leaving.send(&message_of_goodbye());
    expect(&leaving.talk(), &[]);
    assert!(leaving.is_closed() && !slow.is_closed());
    holder.query("COMMIT");
    slow.send(&message[message.len() - 1..]);
    expect(&slow.talk(), &["T ?column?:23", "D 42", "C SELECT 1", "Z I"]);
}

fn message_of_goodbye() -> Vec<u8> {
    message(b'X', b"")
}

#[test]
fn statements_are_planned_again_when_their_tables_change() {
    let server = pooled(1);
    let (mut ann, mut bob) = (server.session(), server.session());
    ann.query("CREATE TABLE t (a int primary key, b int); INSERT INTO t VALUES (1, 10)");
    ann.exchange(&[parse("s", "SELECT * FROM t"), parse("n", "SELECT count(a) FROM t WHERE a = $1"), sync()]);
    bob.query("DROP TABLE t; CREATE TABLE t (a int primary key, c text); INSERT INTO t VALUES (2, 'x')");
    expect(&ann.exchange(&[bind("", "s", &[]), sync()]), &["E 0A000 cached plan must not change result type", "Z I"]);
    bob.query("DROP TABLE t");
    expect(&ann.exchange(&[bind("", "s", &[]), sync()]), &["E 42P01 relation \"t\" does not exist", "Z I"]);
}

#[test]
fn figures_follow_clients_and_sessions() {
    let server = pooled(2);
    let of = |name: &str| server.fake.core_metrics().snapshot().total(name);
    let mut ann = server.session();
    ann.exchange(&[parse("a", "SELECT 1"), parse("b", "SELECT 2"), sync()]);
    assert_eq!((of("omendb_pool_clients"), of("omendb_pool_prepared_statements"), of("omendb_pool_sessions")), (1, 2, 1));
    ann.query("BEGIN");
    assert_eq!((of("omendb_pool_prepared_statements"), of("omendb_pool_sessions")), (0, 1));
    drop(ann);
    assert_eq!((of("omendb_pool_clients"), of("omendb_pool_prepared_statements"), of("omendb_pool_sessions")), (0, 0, 0));
}

/// A client of a server in the simulator.
struct Caller {
    stream: MemoryStream,
    received: Vec<u8>,
}

impl Caller {
    async fn ask(&mut self, messages: &[u8]) -> Vec<String> {
        self.stream.write_all(messages).await.expect("the server is there");
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.starts_with('Z')) {
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).await.expect("the server is there");
            assert!(count > 0, "the server has ended the connection after {lines:?}");
            self.received.extend_from_slice(&chunk[..count]);
            lines.extend(print(&mut self.received));
        }
        lines
    }
}

/// Many clients in transactions of several round trips over few sessions: each finds what is its own, and all are served.
#[test]
fn many_clients_share_few_sessions() {
    const CLIENTS: u64 = 12;
    for seed in 0..20 {
        Sim::new(seed)
            .run(1, |_| async {
                let server = Rc::new(Server::default());
                let mut services = server.services.clone();
                // Some fall asleep between two statements.
                services.linger = Some(Duration::from_millis(2));
                let pool = Pool::new(2, Some(Duration::from_secs(60)), server.fake.core_metrics().clone());
                let mut tasks = Vec::new();
                for number in 0..CLIENTS {
                    let (stream, served) = memory_stream();
                    let (fake, services, pool) = (server.fake.clone(), services.clone(), Rc::clone(&pool));
                    spawn(QueueClass::Interactive, async move {
                        serve(served, fake, &services, Admission::From(Origin::Local), Some(pool)).await;
                    });
                    tasks.push(spawn_joinable(QueueClass::Interactive, async move {
                        let mut caller = Caller { stream, received: Vec::new() };
                        caller.ask(&startup("user\0ann\0database\0shop\0")).await;
                        let text = format!("SELECT {number}");
                        caller.ask(&[parse("s", &text), sync()].concat()).await;
                        caller.ask(&query(&format!("SET my.number = '{number}'"))).await;
                        for _ in 0..8 {
                            sleep(Duration::from_micros(random_u64() % 5_000)).await;
                            assert_eq!(caller.ask(&query("BEGIN")).await, ["C BEGIN", "Z T"]);
                            sleep(Duration::from_micros(random_u64() % 3_000)).await;
                            let bound = caller.ask(&[bind("", "s", &[]), execute("", 0), sync()].concat()).await;
                            assert_eq!(bound, ["2", &format!("D {number}"), "C SELECT 1", "Z T"]);
                            assert_eq!(caller.ask(&query("COMMIT")).await, ["C COMMIT", "Z I"]);
                            let shown = caller.ask(&query("SHOW my.number")).await;
                            assert_eq!(shown[1], format!("D {number}"));
                        }
                    }));
                }
                for task in tasks {
                    task.await.expect("nobody panics");
                }
                sleep(Duration::from_secs(1)).await;
                let total = |name: &str| server.fake.core_metrics().snapshot().total(name);
                assert_eq!((total("omendb_pool_clients"), total("omendb_pool_prepared_statements")), (0, 0));
                assert!(total("omendb_pool_sessions_created_total") <= 2);
                assert!(server.services.registry.is_empty());
            })
            .expect_completed();
    }
}
