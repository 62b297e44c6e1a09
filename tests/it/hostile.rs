//! Clients that want no answer: those that never finish what they begin, those that send what means nothing, and those that do not read.
//! Memory stays bounded, and others notice nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::server::bystander::Bystander;
use crate::server::raw::{self, SSL, packet, query, socket, startup};
use crate::server::tls::{Encrypted, PASSWORD};
use crate::server::{Server, WAIT};

const RULES: &str = "host all tester 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// What hostile clients may cost the server, all together.
const BYTES_MAX: u64 = 48 << 20;

fn start(flags: &[&str]) -> Encrypted {
    let encrypted = Encrypted::start(RULES, flags);
    encrypted
        .superuser()
        .batch_execute("CREATE ROLE tester LOGIN; GRANT CREATE ON SCHEMA public TO tester")
        .expect("it is created");
    encrypted
}

/// The beginning of a handshake that means it.
fn client_hello(encrypted: &Encrypted) -> Vec<u8> {
    let name = "localhost".try_into().expect("it is a name");
    let mut connection = rustls::ClientConnection::new(encrypted.client().config().into(), name).expect("it is complete");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("memory takes every byte");
    bytes
}

/// A connection that has asked for TLS.
fn asked(address: SocketAddr) -> TcpStream {
    let mut stream = socket(address);
    stream.write_all(&packet(SSL, b"")).expect("the server listens");
    let mut answer = [0];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"S");
    stream
}

/// Whether the server has ended a connection; what it has said is dropped.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut chunk = [0; 4096];
    stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout can be set");
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }
}

#[test]
fn who_never_finishes_is_cut_off() {
    let mut encrypted = start(&["--authentication-timeout", "3s", "--max-connections", "300"]);
    let address = encrypted.server.address;
    let bystanders = [Bystander::start(&encrypted.server, "one"), Bystander::start(&encrypted.server, "two")];
    let before = encrypted.server.resident_bytes();
    let (hello, startup) = (client_hello(&encrypted), startup(&[("user", "postgres"), ("database", "db")]));
    // Each with what it still has to say, a byte at a time.
    let mut clients: Vec<(TcpStream, &[u8])> = Vec::new();
    for _ in 0..40 {
        clients.push((socket(address), &startup));
        clients.push((socket(address), &[]));
        clients.push((socket(address), &hello));
        clients.push((asked(address), &hello));
        let mut silent = socket(address);
        // It is asked for a proof, and gives none.
        silent.write_all(&startup).expect("the server listens");
        clients.push((silent, &[]));
    }
    let held = encrypted.server.resident_bytes().saturating_sub(before);
    assert!(held < BYTES_MAX, "{held} bytes for {} connections", clients.len());
    let started = std::time::Instant::now();
    while !clients.is_empty() {
        assert!(started.elapsed() < WAIT, "{} are not cut off", clients.len());
        std::thread::sleep(Duration::from_millis(50));
        clients.retain_mut(|(stream, rest)| {
            if let Some((byte, more)) = rest.split_first().filter(|(_, more)| !more.is_empty()) {
                // A server that has hung up is seen below.
                let _gone = stream.write_all(&[*byte]);
                *rest = more;
            }
            !has_ended(stream)
        });
    }
    assert!(started.elapsed() > Duration::from_secs(1), "they had their time");
    bystanders.into_iter().for_each(Bystander::finish);
    encrypted.server.assert_unharmed();
}

#[test]
fn oversized_and_meaningless_beginnings_cost_nothing() {
    let mut encrypted = start(&["--max-connections", "300"]);
    let address = encrypted.server.address;
    let bystanders = [Bystander::start(&encrypted.server, "one"), Bystander::start(&encrypted.server, "two")];
    let before = encrypted.server.resident_bytes();
    for length in [10_001u32, 1 << 20, 0x7fff_ffff, 0xffff_ffff, 7, 0] {
        let mut client = encrypted.server.open();
        client.send(&[&length.to_be_bytes()[..], b"\0\x03\0\0user\0postgres\0"].concat());
        assert_eq!(client.rest_of_stream(), ["E FATAL 08P01 invalid length of startup packet"], "{length}");
        let mut client = encrypted.client().open(address).expect("it is encrypted");
        client.send(&[&length.to_be_bytes()[..], b"\0\x03\0\0user\0postgres\0"].concat());
        assert_eq!(client.rest_of_stream(), ["E FATAL 08P01 invalid length of startup packet"], "{length}, encrypted");
    }
    let hello = client_hello(&encrypted);
    let mut rng = SmallRng::seed_from_u64(7);
    for round in 0..300 {
        let mut stream = if round % 2 == 0 { asked(address) } else { socket(address) };
        let mut bytes = hello.clone();
        match round % 5 {
            // Records of any length with anything in them.
            0 => {
                bytes = vec![0x16, 0x03, 0x01, rng.random(), rng.random()];
                bytes.extend((0..rng.random_range(0..20_000)).map(|_| rng.random::<u8>()));
            }
            1 => bytes.truncate(rng.random_range(1..hello.len())),
            2 => (0..rng.random_range(1..8)).for_each(|_| {
                let at = rng.random_range(1..bytes.len());
                bytes[at] = rng.random();
            }),
            3 => bytes = [hello.clone(), hello.clone()].concat(),
            _ => bytes[1..].iter_mut().for_each(|byte| *byte = rng.random()),
        }
        // A server that has hung up already is as good as one that hangs up now.
        let _gone = stream.write_all(&bytes);
        let _ended = stream.shutdown(std::net::Shutdown::Write);
        encrypted.server.wait_until("the end of garbage", || has_ended(&mut stream));
    }
    let held = encrypted.server.resident_bytes().saturating_sub(before);
    assert!(held < BYTES_MAX, "{held} bytes more than before");
    assert!(encrypted.server.metric("omendb_tls_handshake_failures_total") >= 250.0);
    bystanders.into_iter().for_each(Bystander::finish);
    encrypted.server.assert_unharmed();
}

#[test]
fn who_does_not_read_holds_up_nobody() {
    let mut encrypted = start(&[]);
    let address = encrypted.server.address;
    let mut root = encrypted.superuser();
    let bystanders = [Bystander::start(&encrypted.server, "one"), Bystander::start(&encrypted.server, "two")];
    let before = encrypted.server.resident_bytes();
    let open = |secure: bool| {
        let mut client =
            if secure { encrypted.client().open(address).expect("it is encrypted") } else { encrypted.server.open() };
        client.send(&startup(&[("user", "tester"), ("application_name", "deaf")]));
        client.until_ready();
        client
    };
    let mut deaf: Vec<raw::Client> = (0..8).map(|number| open(number % 2 == 0)).collect();
    for (number, client) in deaf.iter_mut().enumerate() {
        if number < 4 {
            client.send(&query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"));
        } else {
            // Many small ones: as many as the sockets between take.
            client.send(&query("SELECT repeat('y', 10000)").repeat(500));
        }
    }
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deaf'";
    std::thread::sleep(Duration::from_millis(500));
    let held = encrypted.server.resident_bytes().saturating_sub(before);
    assert!(held < BYTES_MAX, "{held} bytes for clients that do not read");
    assert_eq!(root.query_one(busy, &[]).expect("it answers").get::<_, i64>(0), 8);
    root.batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'deaf'").expect("it may");
    encrypted.server.wait_until("their end", || root.query_one(busy, &[]).expect("it answers").get::<_, i64>(0) == 0);
    bystanders.into_iter().for_each(Bystander::finish);
    encrypted.server.assert_unharmed();
}

#[test]
fn renegotiation_is_refused() {
    let mut encrypted = start(&[]);
    let bystander = Bystander::start(&encrypted.server, "one");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-starttls", "postgres", "-tls1_2", "-connect", &encrypted.server.address.to_string()]);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        eprintln!("there is no openssl here");
        return;
    };
    // A line with nothing but an R asks it to renegotiate.
    child.stdin.take().expect("it is piped").write_all(b"R\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("RENEGOTIATING") && text.contains("no renegotiation"), "{text}");
    bystander.finish();
    encrypted.server.assert_unharmed();
}

#[test]
fn secrets_are_not_told() {
    let flags = ["--log-level", "trace", "--audit-log", "on", "--log-min-duration-ms", "1"];
    let encrypted = Encrypted::start(RULES, &flags);
    let mut root = encrypted.superuser();
    root.batch_execute(
        "CREATE ROLE ann LOGIN PASSWORD 'hush-created'; ALTER ROLE ann PASSWORD 'hush-altered'; SELECT pg_sleep(0.01);
         CREATE ROLE bob LOGIN PASSWORD 'hush-bob' VALID UNTIL '2001-01-01'",
    )
    .expect("they are created");
    root.batch_execute("ALTER ROLE nobody PASSWORD 'hush-nobody'").expect_err("there is no such role");
    root.batch_execute("ALTER ROLE ann PASSWORD 'hush-syntax' BOGUS").expect_err("it is no syntax");
    encrypted.connect("ann", "hush-altered").expect("it is hers");
    for user in ["ann", "bob", "nobody"] {
        encrypted.connect(user, "hush-wrong").map(drop).expect_err(user);
    }
    let verifier: String = root.query_one("SELECT rolpassword FROM pg_authid WHERE rolname = 'ann'", &[]).expect("it may").get(0);
    let key = std::fs::read_to_string(encrypted.path("server.key")).expect("it is there");
    let keys = verifier.rsplit('$').next().expect("it has parts").split(':').map(str::to_owned);
    let lines = key.lines().filter(|line| !line.contains("PRIVATE KEY")).map(str::to_owned);
    let secrets: Vec<String> = ["hush-", PASSWORD].map(str::to_owned).into_iter().chain(keys).chain(lines).collect();
    let slow = "SELECT coalesce(string_agg(query, ' '), '') FROM omendb_slow_statements";
    let activity = "SELECT coalesce(string_agg(query, ' '), '') FROM pg_stat_activity";
    let mut shown = |sql: &str| root.query_one(sql, &[]).expect("it answers").get::<_, String>(0);
    let told = [encrypted.server.log(), encrypted.server.metrics(), shown(slow), shown(activity)];
    assert!(told[0].contains("login_failed") && told[1].contains("omendb_login_failures_total"));
    for secret in &secrets {
        let found = told.iter().find_map(|text| text.lines().find(|line| line.contains(secret)));
        assert_eq!(found, None, "{secret}");
    }
}

#[test]
fn a_server_in_the_clear_knows_hostile_clients_too() {
    let mut server = Server::start(&["--authentication-timeout", "1s", "--max-connections", "300"]);
    let bystander = Bystander::start(&server, "one");
    let mut silent: Vec<TcpStream> = (0..100).map(|_| socket(server.address)).collect();
    server.wait_until("their end", || {
        silent.retain_mut(|stream| !has_ended(stream));
        silent.is_empty()
    });
    bystander.finish();
    server.assert_unharmed();
}
