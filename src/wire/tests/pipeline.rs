//! Point lookups in pipelines: answered in order, read together, wherever their keys are.

use super::client::*;
use crate::session::Session;
use crate::session::testing::Fake;
use crate::wire::connection::Exit;

fn with_table(server: &Server) {
    let mut client = server.session();
    client.query("CREATE TABLE t (a int primary key, b int)");
    let rows: Vec<String> = (0..60).map(|i| format!("({i}, {})", i * 10)).collect();
    client.query(&format!("INSERT INTO t VALUES {}", rows.join(", ")));
}

fn select(a: &str) -> Vec<u8> {
    [bind("", "s", &[Some(a)]), describe('P', ""), execute("", 0)].concat()
}

fn prepared(server: &Server) -> Conversation<'_> {
    let mut client = server.session();
    client.exchange(&[parse("s", "SELECT b FROM t WHERE a = $1"), sync()]);
    client
}

#[test]
fn fifty_selects_are_one_batch() {
    let server = Server::default();
    with_table(&server);
    let mut client = prepared(&server);
    let mut messages: Vec<Vec<u8>> = (0..50).map(|i| select(&i.to_string())).collect();
    messages.push(sync());
    let mut expected: Vec<String> =
        (0..50).flat_map(|i| ["2".to_owned(), "T b:23".to_owned(), format!("D {}", i * 10), "C SELECT 1".to_owned()]).collect();
    expected.push("Z I".to_owned());
    let found = client.exchange(&messages);
    assert_eq!(found, expected.join("\n"));
    assert_eq!(server.fake.batches(), [49], "the first key is here, the second is not, the rest waits with it");
}

#[test]
fn what_is_here_is_answered_at_once() {
    let server = Server::default();
    with_table(&server);
    let mut client = prepared(&server);
    let mut messages: Vec<Vec<u8>> = (0..20).map(|i| select(&(2 * i).to_string())).collect();
    messages.push(sync());
    assert_eq!(client.exchange(&messages).lines().filter(|line| line.starts_with("D ")).count(), 20);
    assert!(server.fake.batches().is_empty());
    assert_eq!(server.fake.commits(), 2, "a lookup needs no transaction");
}

#[test]
fn syncs_and_known_texts_wait_with_the_lookups() {
    let server = Server::default();
    with_table(&server);
    let mut client = server.session();
    let text = "SELECT b FROM t WHERE a = $1";
    let unnamed = |a: &'static str| [parse("", text), bind("", "", &[Some(a)]), describe('P', ""), execute("", 0)].concat();
    client.exchange(&[unnamed("0"), sync()]);
    let found =
        client.exchange(&[unnamed("1"), unnamed("2"), sync(), unnamed("3"), sync(), query("SELECT b FROM t WHERE a = 5")]);
    let one = |b: &str| format!("1\n2\nT b:23\nD {b}\nC SELECT 1");
    let expected = [one("10"), one("20"), "Z I".to_owned(), one("30"), "Z I".to_owned()].join("\n");
    assert!(found.starts_with(&expected), "{found}");
    assert!(found.ends_with("T b:23\nD 50\nC SELECT 1\nZ I"), "{found}");
    assert_eq!(server.fake.batches()[0], 3);
}

#[test]
fn odd_lookups_take_the_ordinary_way() {
    let server = Server::default();
    with_table(&server);
    let mut client = prepared(&server);
    expect(&client.exchange(&[bind("", "s", &[None]), execute("", 0), sync()]), &["2", "C SELECT 0", "Z I"]);
    let found = client.exchange(&[select("1"), select("x"), select("2"), sync(), select("2"), sync()]);
    expect(
        &found,
        &[
            "2",
            "T b:23",
            "D 10",
            "C SELECT 1",
            "E 22P02 invalid input syntax for type integer: \"x\"",
            "Z I",
            "2",
            "T b:23",
            "D 20",
            "C SELECT 1",
            "Z I",
        ],
    );
    // The unnamed portal of a lookup is there afterwards, and finished.
    expect(
        &client.exchange(&[select("2"), execute("", 0), describe('P', ""), sync(), describe('P', ""), sync()]),
        &["2", "T b:23", "D 20", "C SELECT 1", "C SELECT 0", "T b:23", "Z I", "E 34000 portal \"\" does not exist", "Z I"],
    );
}

#[test]
fn lookups_see_what_their_transaction_has_written() {
    let server = Server::default();
    with_table(&server);
    let mut client = prepared(&server);
    let update = [parse("u", "UPDATE t SET b = 7 WHERE a = $1"), bind("", "u", &[Some("3")]), execute("", 0)].concat();
    expect(
        &client.exchange(&[update, select("3"), sync()]),
        &["1", "2", "C UPDATE 1", "2", "T b:23", "D 7", "C SELECT 1", "Z I"],
    );
    assert!(server.fake.batches().is_empty(), "with a transaction open, lookups belong to it");
}

#[test]
fn a_batch_that_fails_is_void_up_to_sync() {
    let server = Server::default();
    with_table(&server);
    let mut client = prepared(&server);
    server.fake.fail_reads();
    let found = client.exchange(&[select("1"), select("2"), sync(), select("3"), sync()]);
    expect(&found, &["E XX000 reads fail in this test", "Z I", "2", "T b:23", "D 30", "C SELECT 1", "Z I"]);
}

#[test]
fn a_lone_lookup_hops_to_its_data() {
    let mut server = Server::default();
    with_table(&server);
    server.services.hop = true;
    let mut client = prepared(&server);
    client.send(&[select("2"), sync(), select("1"), sync()].concat());
    expect(&client.talk(), &["2", "T b:23", "D 20", "C SELECT 1", "Z I"]);
    let Some(Exit::Hop { core, moving }) = client.exit() else { panic!("the session moves") };
    assert_eq!(core.0, 1);
    assert_eq!(moving.input, [select("1"), sync()].concat());
}

#[test]
fn sessions_may_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Session<Fake>>();
}
