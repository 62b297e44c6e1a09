//! What happens at the limits: memory, connections, and data that a COPY cannot take.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::server::Server;
use crate::server::raw::{self, Client};

/// The least that can be configured.
const MEMORY_BYTES: usize = 64 << 20;
/// Letters in one row of the test.
const ROW_LETTERS: usize = 4000;
/// Rows that cannot all fit.
const ROWS_TOO_MANY: usize = 2 * MEMORY_BYTES / ROW_LETTERS;

/// The code of the first error in an answer.
fn code(lines: &[String]) -> Option<&str> {
    lines.iter().find_map(|line| line.strip_prefix("E ")).and_then(|error| error.split(' ').next())
}

fn fill(client: &mut Client, from: usize, rows: usize) -> Vec<String> {
    let last = from + rows - 1;
    client.query(&format!("INSERT INTO big SELECT i, repeat('x', {ROW_LETTERS}) FROM generate_series({from}, {last}) AS i"))
}

#[test]
fn at_the_memory_limit_what_is_stored_stays_readable() {
    let mut server = Server::start(&["--memory-limit", "64MB"]);
    let mut client = server.connect();
    client.run("CREATE TABLE big (id int PRIMARY KEY, letters text); CREATE TABLE small (id int PRIMARY KEY, n int)");
    client.run("INSERT INTO small SELECT i, 0 FROM generate_series(1, 100) AS i");

    // In batches first, then row by row: at the end not one more fits.
    let mut rows = 0;
    for batch in [500, 1] {
        let refused = loop {
            let answer = fill(&mut client, rows + 1, batch);
            if code(&answer).is_some() {
                break answer;
            }
            rows += batch;
            assert!(rows < ROWS_TOO_MANY, "{rows} rows are more than the limit allows");
        };
        assert_eq!(code(&refused), Some("53200"), "{refused:?}");
    }
    assert!(rows * ROW_LETTERS > MEMORY_BYTES / 4, "{rows} rows: the limit came too early");

    // All of it can be read, from any connection.
    for client in [&mut client, &mut server.connect(), &mut server.connect()] {
        let sums = format!("{rows}|{}", rows * ROW_LETTERS);
        assert_eq!(client.column("SELECT count(*), sum(length(letters)) FROM big"), [sums]);
        assert_eq!(client.column("SELECT left(letters, 2) FROM big WHERE id = 7"), ["xx"]);
        assert_eq!(client.column("SELECT sum(n) FROM small"), ["0"]);
    }
    // A transaction that cannot be finished is undone whole.
    let failed = client.query("BEGIN; UPDATE small SET n = 1; UPDATE big SET letters = letters || '.'; COMMIT");
    assert_eq!(code(&failed), Some("53200"), "{failed:?}");
    client.run("ROLLBACK");
    assert_eq!(client.column("SELECT sum(n) FROM small"), ["0"]);

    // Deleting is the way out, so it must be open.
    assert_eq!(client.query("DELETE FROM big WHERE id % 2 = 0"), [format!("C DELETE {}", rows / 2).as_str(), "Z I"]);
    let mut next = rows;
    server.wait_until("room after a DELETE", || {
        next += 100;
        client.run("VACUUM");
        code(&fill(&mut client, next, 100)).is_none()
    });
    // So is emptying a table.
    let fill_up =
        |client: &mut Client, from: usize| (0..ROWS_TOO_MANY).find(|row| code(&fill(client, from + row * 100, 100)).is_some());
    assert!(fill_up(&mut client, next + 1000).is_some(), "the limit is met again");
    client.run("TRUNCATE big");
    server.wait_until("room after a TRUNCATE", || code(&fill(&mut client, 1, rows / 2)).is_none());
    assert_eq!(client.column("SELECT count(*) FROM big"), [(rows / 2).to_string()]);
    server.assert_unharmed();
}

#[test]
fn at_the_connection_limit_clients_are_told_so() {
    let mut server = Server::start(&["--max-connections", "5", "--acquire-timeout", "off"]);
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for _ in 0..20 {
        let mut client = server.open();
        client.send(&raw::startup(&[("user", "tester")]));
        assert_eq!(client.rest_of_stream(), ["E FATAL 53300 sorry, too many clients already"]);
    }
    // A cancel request is let through: the one to be cancelled may be the reason.
    let (mut holder, mut waiter) = (clients.remove(0), clients.remove(0));
    holder.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    holder.run("BEGIN; SELECT id FROM t FOR UPDATE");
    waiter.send(&raw::query("SELECT id FROM t FOR UPDATE"));
    server.wait_until("a waiting SELECT", || server.metric("omendb_lock_waiters") == 1.0);
    let mut cancel = server.open();
    cancel.send(&raw::packet(raw::CANCEL, &waiter.key));
    assert_eq!(cancel.rest_of_stream(), Vec::<String>::new());
    assert_eq!(code(&waiter.until_ready()), Some("57014"));
    // A place that has become free is given away again.
    for _ in 0..3 {
        drop(clients.pop());
        server.wait_until("a free place", || {
            let mut client = server.open();
            client.send(&raw::startup(&[("user", "tester")]));
            let served = client.until_ready().last().is_some_and(|line| line == "Z I");
            if served {
                clients.push(client);
            }
            served
        });
    }
    clients.iter_mut().chain([&mut holder, &mut waiter]).for_each(|client| assert_eq!(client.column("SELECT 1"), ["1"]));
    assert!(server.metric("omendb_connections_refused_total") >= 20.0);
    drop((clients, holder, waiter));
    server.wait_until("an empty server", || server.metric("omendb_connections_active") == 0.0);
    server.assert_unharmed();
}

/// A row of the COPY tests.
type Row = (usize, Option<String>, Option<String>);

/// Rows with everything in them that the formats must protect.
fn rows(count: usize) -> Vec<Row> {
    let texts = [
        "plain",
        "",
        " spaces ",
        "tab\there",
        "line\nbreak",
        "carriage\rreturn",
        "back\\slash",
        "\\N",
        "\\.",
        "NULL",
        "comma, 'and'",
        "a \"quoted\" word",
        "\"",
        "grüße, 世界",
        "\u{8}\u{b}\u{c}",
        "\\t\\x41\\101",
    ];
    let text = |number: usize| texts.get(number % (texts.len() + 1)).map(|text| (*text).to_owned());
    (1..=count).map(|id| (id, text(id), text(id / 7))).collect()
}

fn text_line((id, a, b): &Row) -> String {
    let field = |value: &Option<String>| match value {
        None => "\\N".to_owned(),
        Some(text) => {
            let escapes = [
                ("\\", "\\\\"),
                ("\t", "\\t"),
                ("\n", "\\n"),
                ("\r", "\\r"),
                ("\u{8}", "\\b"),
                ("\u{b}", "\\v"),
                ("\u{c}", "\\f"),
            ];
            escapes.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to))
        }
    };
    format!("{id}\t{}\t{}\n", field(a), field(b))
}

fn csv_line((id, a, b): &Row) -> String {
    let field = |value: &Option<String>| match value {
        None => String::new(),
        Some(text) => format!("\"{}\"", text.replace('"', "\"\"")),
    };
    format!("{id},{},{}\n", field(a), field(b))
}

/// A COPY FROM STDIN of this data, cut into messages anywhere.
fn copy_in(client: &mut Client, statement: &str, data: &str) -> Vec<String> {
    let mut rng = SmallRng::seed_from_u64(data.len() as u64);
    client.send(&raw::query(statement));
    let mut rest = data.as_bytes();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rng.random_range(1..=3000).min(rest.len()));
        client.send(&raw::copy_data(piece));
        rest = after;
    }
    client.send(&raw::copy_done());
    client.until_ready()
}

/// The data of a COPY TO STDOUT.
fn copy_out(client: &mut Client, statement: &str) -> String {
    let lines = client.query(statement);
    assert_eq!(code(&lines), None, "{lines:?}");
    lines.iter().filter_map(|line| line.strip_prefix("d ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn copies_lose_nothing_and_keep_nothing_of_what_fails() {
    const COUNT: usize = 4000;
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    let rows = rows(COUNT);
    let text: String = rows.iter().map(text_line).collect();
    let csv: String = rows.iter().map(csv_line).collect();
    for (name, from, data) in [("as_text", "", &text), ("as_csv", "WITH (FORMAT csv)", &csv)] {
        client.run(&format!("CREATE TABLE {name} (id int PRIMARY KEY, a text, b text)"));
        let done = copy_in(&mut client, &format!("COPY {name} FROM STDIN {from}"), data);
        assert_eq!(done, ["G 0 [0, 0, 0]", &format!("C COPY {COUNT}"), "Z I"]);
        let sorted = format!("COPY (SELECT * FROM {name} ORDER BY id) TO STDOUT");
        assert_eq!(copy_out(&mut client, &sorted), text);
        assert_eq!(copy_out(&mut client, &format!("{sorted} WITH (FORMAT csv, FORCE_QUOTE (a, b))")), csv);
    }
    assert_eq!(
        client.column("SELECT count(*) FROM as_text JOIN as_csv USING (id) WHERE as_text.a IS NOT DISTINCT FROM as_csv.a"),
        [COUNT.to_string()]
    );

    client.run("CREATE TABLE strict (id int PRIMARY KEY, a text NOT NULL, b text); INSERT INTO strict VALUES (0, 'kept', NULL)");
    let good: String = (1..COUNT).map(|id| format!("{id}\ta\tb\n")).collect();
    let bad: [(&str, &str, &str); 7] = [
        ("oops\ta\tb\n", "22P02", "[COPY strict, line 4000, column id: \"oops\"]"),
        ("99999999999\ta\tb\n", "22003", "[COPY strict, line 4000, column id: \"99999999999\"]"),
        ("4000\ta\n", "22P04", "[COPY strict, line 4000: \"4000\ta\"]"),
        ("4000\ta\tb\tc\n", "22P04", "[COPY strict, line 4000: \"4000\ta\tb\tc\"]"),
        ("4000\t\\N\tb\n", "23502", "[COPY strict, line 4000: \"4000\t\\N\tb\"]"),
        ("0\tagain\tb\n", "23505", "[COPY strict, line 4000]"),
        ("17\tagain\tb\n", "23505", "[COPY strict, line 4000]"),
    ];
    for (line, state, context) in bad {
        let told = copy_in(&mut client, "COPY strict FROM STDIN", &format!("{good}{line}"));
        assert!(told.len() == 3 && code(&told) == Some(state) && told[1].ends_with(context), "{line:?}: {told:?}");
        assert_eq!(client.column("SELECT id FROM strict"), ["0"], "{line:?}");
    }
    let told =
        copy_in(&mut client, "COPY strict FROM STDIN (FORMAT csv)", &format!("{}4000,\"no end\n", good.replace('\t', ",")));
    assert!(code(&told) == Some("22P04") && told[1].contains("[COPY strict, line 4001: "), "{told:?}");

    // In a block, the error takes what came before it along; a client that goes away in the middle leaves nothing.
    client.run("BEGIN; INSERT INTO strict VALUES (-1, 'before', NULL)");
    let told = copy_in(&mut client, "COPY strict FROM STDIN", &format!("{good}oops\ta\tb\n"));
    assert_eq!((code(&told), told.last().map(String::as_str)), (Some("22P02"), Some("Z E")));
    client.run("COMMIT");
    let mut leaving = server.connect();
    leaving.send(&[raw::query("COPY strict FROM STDIN"), raw::copy_data(good.as_bytes())].concat());
    assert_eq!(leaving.until("G").len(), 1);
    drop(leaving);
    server.wait_until("the end of a connection", || server.metric("omendb_connections_active") == 1.0);
    assert_eq!(client.column("SELECT id FROM strict"), ["0"]);
    let done = copy_in(&mut client, "COPY strict FROM STDIN", &good);
    assert_eq!(done[1], format!("C COPY {}", COUNT - 1), "no lock and no row is left in the way");
    server.assert_unharmed();
}
