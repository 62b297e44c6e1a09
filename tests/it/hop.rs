//! Sessions that follow their data to other cores (`session_mobility = hop`): transfers that must not lose a penny, and requests
//! that arrive while their session is between two cores.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::server::Server;
use crate::server::raw::{self, Client};

const CLIENTS: u64 = 4;
const ROUNDS: usize = 60;
/// Tables are dealt out over the cores; with several of them every session has data elsewhere.
const TABLES: i32 = 4;
const ACCOUNTS: i32 = 20;
const BALANCE: i32 = 1000;

/// What a request is answered with, up to ReadyForQuery.
type Exchange = (Vec<u8>, Vec<String>);

fn strings(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_string()).collect()
}

/// A lookup by the key alone, which a session may hop for: in a prepared statement or as a text.
fn lookup(rng: &mut SmallRng, prepared: bool) -> Exchange {
    let (table, id) = (rng.random_range(0..TABLES), rng.random_range(0..ACCOUNTS));
    let row = format!("D {id} of {table}");
    if prepared {
        let request =
            [raw::bind("", &format!("s{table}"), &[Some(&id.to_string())]), raw::describe('P', ""), raw::execute("", 0)];
        return ([request.concat(), raw::sync()].concat(), strings(&["2", "T label:25", &row, "C SELECT 1", "Z I"]));
    }
    let text = format!("SELECT label FROM accounts{table} WHERE id = {id}");
    (raw::query(&text), strings(&["T label:25", &row, "C SELECT 1", "Z I"]))
}

/// A transfer between two accounts, each in any table. They are locked in one order, so that nobody waits in a circle.
fn transfer(rng: &mut SmallRng) -> Vec<Exchange> {
    let mut accounts: Vec<(i32, i32)> = (0..TABLES).flat_map(|table| (0..ACCOUNTS).map(move |id| (table, id))).collect();
    accounts.shuffle(rng);
    let amount = rng.random_range(1..=100);
    let mut changes = [(accounts[0], amount), (accounts[1], -amount)];
    changes.sort();
    let update = |((table, id), amount): ((i32, i32), i32)| {
        raw::query(&format!("UPDATE accounts{table} SET balance = balance + {amount} WHERE id = {id}"))
    };
    let end = if rng.random_ratio(1, 5) { "ROLLBACK" } else { "COMMIT" };
    vec![
        (raw::query("BEGIN"), strings(&["C BEGIN", "Z T"])),
        (update(changes[0]), strings(&["C UPDATE 1", "Z T"])),
        (update(changes[1]), strings(&["C UPDATE 1", "Z T"])),
        (raw::query(end), strings(&[&format!("C {end}"), "Z I"])),
    ]
}

/// A burst of requests, sent without waiting for answers, then all of these.
fn burst(client: &mut Client, rng: &mut SmallRng) {
    let mut exchanges = Vec::new();
    for _ in 0..rng.random_range(1..=6) {
        match rng.random_range(0..3) {
            0 => exchanges.push(lookup(rng, true)),
            1 => exchanges.push(lookup(rng, false)),
            _ => exchanges.extend(transfer(rng)),
        }
    }
    for (request, _) in &exchanges {
        // A request of its own lets the session hop; one that is cut arrives on both sides of it.
        if rng.random_ratio(1, 3) {
            let (head, tail) = request.split_at(rng.random_range(0..request.len()));
            client.send(head);
            client.send(tail);
        } else {
            client.send(request);
        }
        if rng.random() {
            std::thread::yield_now();
        }
    }
    for (request, expected) in &exchanges {
        let found = client.until_ready();
        assert_eq!(&found, expected, "{:?}", String::from_utf8_lossy(request));
    }
}

#[test]
fn sessions_that_hop_lose_nothing() {
    let mut server = Server::start(&["--session-mobility", "hop"]);
    let mut client = server.connect();
    for table in 0..TABLES {
        client.run(&format!("CREATE TABLE accounts{table} (id int PRIMARY KEY, balance int, label text)"));
        let ids = format!("generate_series(0, {}) AS i", ACCOUNTS - 1);
        client.run(&format!("INSERT INTO accounts{table} SELECT i, {BALANCE}, i || ' of {table}' FROM {ids}"));
    }
    let sum = |client: &mut Client| -> i32 {
        let sums = (0..TABLES).flat_map(|table| client.column(&format!("SELECT sum(balance) FROM accounts{table}")));
        sums.map(|sum| sum.parse::<i32>().expect("a sum")).collect::<Vec<_>>().iter().sum()
    };
    let seed: u64 = rand::random();
    println!("seed {seed}");
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(number));
                let mut client = server.connect();
                for table in 0..TABLES {
                    let text = format!("SELECT label FROM accounts{table} WHERE id = $1");
                    client.exchange(&[raw::parse(&format!("s{table}"), &text), raw::sync()]);
                }
                (0..ROUNDS).for_each(|_| burst(&mut client, &mut rng));
            });
        }
    });
    assert_eq!(sum(&mut client), TABLES * ACCOUNTS * BALANCE);
    let hops = server.metric("omendb_session_hops_total");
    assert!(hops >= CLIENTS as f64, "sessions hopped {hops} times only");
    // A session that has hopped can still be cancelled.
    client.run("BEGIN; UPDATE accounts0 SET balance = 0 WHERE id = 1");
    let mut waiter = server.connect();
    for table in 0..TABLES {
        waiter.run(&format!("SELECT label FROM accounts{table} WHERE id = 1"));
    }
    waiter.send(&raw::query("UPDATE accounts0 SET balance = 1 WHERE id = 1"));
    server.wait_until("a waiting UPDATE", || server.metric("omendb_lock_waiters") == 1.0);
    let mut cancel = server.open();
    cancel.send(&raw::packet(raw::CANCEL, &waiter.key));
    assert_eq!(waiter.until_ready(), ["E 57014 canceling statement due to user request", "Z I"]);
    drop((client, waiter, cancel));
    server.wait_until("an empty server", || server.metric("omendb_connections_active") == 0.0);
    server.assert_unharmed();
}
