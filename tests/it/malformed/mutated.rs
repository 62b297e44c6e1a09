//! Valid conversations with bytes flipped, deleted, inserted, repeated and cut off, in the stream or within messages that stay
//! whole, and with messages left out, repeated and moved; sent in pieces of any length.
//!
//! Whatever comes of it: the server answers in whole messages, hangs up in time, and disturbs nobody else. `OMENDB_FUZZ_SEED`
//! replays a run, `OMENDB_FUZZ_ROUNDS` makes it longer.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::server::Server;
use crate::server::bystander::Bystander;
use crate::server::raw::*;

/// Conversations in an ordinary test run.
const ROUNDS: u64 = 1000;

/// A conversation from its first byte to its last; each does the same whenever it is held.
fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    // Nothing that a changed number makes long may hold up the test, and no lock may be waited for.
    let start = startup(&[("user", "fuzz"), ("options", "-c statement_timeout=5s -c lock_timeout=1s"), ("DateStyle", "ISO")]);
    let with = |messages: &[Vec<u8>]| [std::slice::from_ref(&start), messages, &[terminate()]].concat().concat();
    let simple = [
        query("SELECT 1, 'two', 3.5, NULL, true"),
        query("INSERT INTO fuzz VALUES (1, 'one') ON CONFLICT (id) DO UPDATE SET name = 'uno' RETURNING id"),
        query("SELECT name FROM fuzz WHERE id = 1"),
        query("BEGIN; UPDATE fuzz SET name = name || 'x' WHERE id < 3; SAVEPOINT a; SELECT 1 / 0; COMMIT"),
        query("ROLLBACK; SELECT sum(i), date '2024-02-29' + 1 FROM generate_series(1, 50) AS i GROUP BY i % 3"),
        query("SHOW TimeZone; SET application_name = 'fuzz'"),
    ];
    let extended = [
        parse("s", "SELECT name, $2::int8 FROM fuzz WHERE id = $1"),
        describe('S', "s"),
        bind("", "s", &[Some("1"), None]),
        describe('P', ""),
        execute("", 0),
        sync(),
        bind_formats("p", "s", &[Some("2"), Some("-5")], &[0, 1]),
        execute("p", 1),
        flush(),
        execute("p", 1),
        close('P', "p"),
        close('S', "s"),
        sync(),
        parse("", "INSERT INTO fuzz VALUES ($1, $2)"),
        bind("", "", &[Some("nonsense"), Some("x")]),
        execute("", 0),
        sync(),
    ];
    let select = |id: &str| [bind("", "one", &[Some(id)]), describe('P', ""), execute("", 0)].concat();
    let mut pipeline = vec![parse("one", "SELECT name FROM fuzz WHERE id = $1"), sync()];
    pipeline.extend((0..40).map(|id| select(&id.to_string())));
    pipeline.push(sync());
    pipeline.extend([select("3"), sync(), select("4"), sync(), query("SELECT name FROM fuzz WHERE id = 5")]);
    let copy_in = [
        query("BEGIN; DELETE FROM fuzz WHERE id >= 100"),
        query("COPY fuzz FROM STDIN"),
        copy_data(b"100\thundred\n101\t\\N\n1"),
        copy_data(b"02\ta\\tb\\\\c\n"),
        copy_done(),
        query("COPY fuzz (id, name) FROM STDIN WITH (FORMAT csv, HEADER)"),
        copy_data(b"id,name\n103,\"a \"\"quoted\"\" one\"\n104,\n"),
        copy_done(),
        query("COPY fuzz FROM STDIN"),
        message(b'f', b"changed my mind\0"),
        query("ROLLBACK"),
    ];
    let copy_out = [
        query("COPY fuzz TO STDOUT WITH (FORMAT csv, FORCE_QUOTE *)"),
        parse("", "COPY (SELECT id, name FROM fuzz ORDER BY id) TO STDOUT"),
        bind("", "", &[]),
        execute("", 0),
        sync(),
    ];
    vec![
        ("simple queries", with(&simple)),
        ("the extended protocol", with(&extended)),
        ("a pipeline", with(&pipeline)),
        ("COPY FROM", with(&copy_in)),
        ("COPY TO", with(&copy_out)),
        ("encryption requests", [packet(SSL, b""), packet(GSS, b""), with(&[query("SELECT 1")])].concat()),
        ("a cancel request", packet(CANCEL, b"\0\0\0\x01\x12\x34\x56\x78")),
    ]
}

/// Changes a conversation: its bytes, its messages, or the bytes within its messages.
fn mutate(conversation: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let mut messages = split(conversation);
    match rng.random_range(0..4) {
        0 => {}
        1 => change_order(&mut messages, rng),
        _ => {
            for _ in 0..rng.random_range(1..=3) {
                let at = rng.random_range(0..messages.len());
                change_body(&mut messages[at], rng);
            }
            return messages.concat();
        }
    }
    let mut bytes = messages.concat();
    change_bytes(&mut bytes, rng);
    bytes
}

/// The packets before startup, which have no type, and the messages behind it, all with their lengths.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut messages, mut started) = (Vec::new(), 0);
    while !bytes.is_empty() {
        let length: [u8; 4] = bytes[started..started + 4].try_into().expect("valid conversations have whole messages");
        let (message, rest) = bytes.split_at(started + u32::from_be_bytes(length) as usize);
        if message[4..].starts_with(&VERSION_3_0.to_be_bytes()) {
            started = 1;
        }
        messages.push(message.to_vec());
        bytes = rest;
    }
    messages
}

fn change_order(messages: &mut Vec<Vec<u8>>, rng: &mut SmallRng) {
    for _ in 0..rng.random_range(1..=4) {
        let (a, b) = (rng.random_range(0..messages.len()), rng.random_range(0..messages.len()));
        match rng.random_range(0..3) {
            0 if messages.len() > 1 => drop(messages.remove(a)),
            1 => messages.insert(a, messages[b].clone()),
            _ => messages.swap(a, b),
        }
    }
}

/// Changes what a message says; its length is right again afterwards.
fn change_body(message: &mut Vec<u8>, rng: &mut SmallRng) {
    let typed = usize::from(message[0] != 0);
    let mut body = message.split_off(typed + 4);
    change_bytes(&mut body, rng);
    message[typed..].copy_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.append(&mut body);
}

fn change_bytes(bytes: &mut Vec<u8>, rng: &mut SmallRng) {
    for _ in 0..rng.random_range(1..=6) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let end = (at + rng.random_range(1..=12)).min(bytes.len());
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes[at] = *b"\0\x01\x7f\x80\xff".get(rng.random_range(0..5)).expect("five bytes of interest"),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let inserted: Vec<u8> = (at..end).map(|_| rng.random()).collect();
                bytes.splice(at..at, inserted);
            }
            5 => {
                let repeated = bytes[at..end].to_vec();
                bytes.splice(at..at, repeated);
            }
            // Rarely early: most conversations are to get somewhere.
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
    }
}

/// Sends bytes in pieces, and reads whatever comes back to the end of the stream.
fn converse(server: &Server, bytes: &[u8], rng: &mut SmallRng) -> Vec<String> {
    let mut client = server.open();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = if rng.random_ratio(1, 4) { rest.len() } else { rng.random_range(1..=rest.len().min(200)) };
        let (piece, after) = rest.split_at(length);
        client.send(piece);
        rest = after;
    }
    client.finish();
    client.skip_refusals();
    client.rest_of_stream()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[test]
fn changed_conversations_harm_nobody_else() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.run("CREATE TABLE fuzz (id int PRIMARY KEY, name text)");
    client.run("INSERT INTO fuzz SELECT i, 'name ' || i FROM generate_series(1, 60) AS i");
    let conversations = conversations();
    for (name, bytes) in &conversations {
        let told = converse(&server, bytes, &mut SmallRng::seed_from_u64(0));
        let fatal = told.iter().any(|line| line.starts_with("E FATAL"));
        assert!(!fatal && (told.len() > 10 || name.contains("cancel")), "{name} is a valid conversation: {told:#?}");
    }
    let bystanders = [Bystander::start(&server, "one"), Bystander::start(&server, "two")];
    let seed = number("OMENDB_FUZZ_SEED").unwrap_or_else(rand::random);
    for round in 0..number("OMENDB_FUZZ_ROUNDS").unwrap_or(ROUNDS) {
        let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(round));
        let (name, bytes) = &conversations[rng.random_range(0..conversations.len())];
        // For whoever reads the output of a failed run: this alone replays what failed.
        println!("OMENDB_FUZZ_SEED={} OMENDB_FUZZ_ROUNDS=1: {name}", seed.wrapping_add(round));
        let bytes = mutate(bytes, &mut rng);
        converse(&server, &bytes, &mut rng);
    }
    bystanders.into_iter().for_each(Bystander::finish);
    server.assert_unharmed();
}
