//! Channel binding: SCRAM messages over TLS that no honest client sends, and somebody in the middle with a certificate of his own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use postgres::config::{ChannelBinding, SslMode};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::server::raw::{Client, SSL, message, packet, socket, startup};
use crate::server::tls::{Encrypted, Issued, PASSWORD};

const RULES: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";

const PLUS: &str = "SCRAM-SHA-256-PLUS";

fn initial(mechanism: &str, data: &str) -> Vec<u8> {
    message(b'p', &[mechanism.as_bytes(), b"\0", &(data.len() as u32).to_be_bytes(), data.as_bytes()].concat())
}

/// A connection over TLS that has been asked to prove that it is the superuser.
fn asked(encrypted: &Encrypted) -> Client {
    let mut client = encrypted.client().open(encrypted.server.address).expect("it is encrypted");
    client.send(&startup(&[("user", "postgres"), ("database", "db")]));
    assert_eq!(client.next().as_deref(), Some("R 10 SCRAM-SHA-256-PLUS SCRAM-SHA-256"));
    client
}

#[test]
fn messages_that_no_honest_client_sends() {
    let encrypted = Encrypted::start(RULES, &[]);
    let malformed = "E FATAL 08P01 malformed SCRAM message";
    let header = "p=tls-server-end-point,,";
    for (mechanism, data, told) in [
        ("SCRAM-SHA-256", "y,,n=,r=abc".to_owned(), "E FATAL 28000 SCRAM channel binding negotiation error"),
        ("SCRAM-SHA-256", format!("{header}n=,r=abc"), malformed),
        (PLUS, "n,,n=,r=abc".to_owned(), malformed),
        (PLUS, "y,,n=,r=abc".to_owned(), malformed),
        (PLUS, "p=tls-unique,,n=,r=abc".to_owned(), "E FATAL 08P01 unsupported SCRAM channel-binding type \"tls-unique\""),
        (PLUS, header[..10].to_owned(), "E FATAL 08P01 unsupported SCRAM channel-binding type \"tls-serv\""),
        (PLUS, format!("{header}n=,"), malformed),
        (
            "SCRAM-SHA-512-PLUS",
            format!("{header}n=,r=a"),
            "E FATAL 08P01 client selected an invalid SASL authentication mechanism",
        ),
    ] {
        let mut client = asked(&encrypted);
        client.send(&initial(mechanism, &data));
        assert_eq!(client.rest_of_stream(), [told], "{mechanism} {data}");
    }
    // A proof that binds to nothing, after the client has said that it would bind.
    let mut client = asked(&encrypted);
    client.send(&initial(PLUS, &format!("{header}n=,r=abc")));
    let challenge = client.next().expect("a challenge");
    let nonce = challenge.strip_prefix("R 11 r=").and_then(|rest| rest.split(',').next()).expect("a nonce").to_owned();
    client.send(&message(b'p', format!("c=cD10bHMtc2VydmVyLWVuZC1wb2ludCws,r={nonce},p=AAAA").as_bytes()));
    assert_eq!(client.rest_of_stream(), ["E FATAL 28000 SCRAM channel binding check failed"]);
    // In the clear the mechanism is not there to be chosen.
    std::fs::write(encrypted.path("hba.conf"), "host all all 127.0.0.1/32 scram-sha-256\n").expect("it can be written");
    encrypted.superuser().batch_execute("SELECT pg_reload_conf()").expect("it says yes");
    encrypted.server.wait_until("the rules", || encrypted.server.log().contains("hba.conf was read again"));
    let mut client = encrypted.server.open();
    client.send(&startup(&[("user", "postgres"), ("database", "db")]));
    assert_eq!(client.next().as_deref(), Some("R 10 SCRAM-SHA-256"));
    client.send(&initial(PLUS, &format!("{header}n=,r=abc")));
    assert_eq!(client.rest_of_stream(), ["E FATAL 08P01 client selected an invalid SASL authentication mechanism"]);
}

/// Somebody between a client and the server, who answers the client with a certificate of his own and changes what the server says.
struct Middleman {
    address: SocketAddr,
    thread: JoinHandle<Vec<u8>>,
}

impl Middleman {
    /// `told` is what he makes of each answer of the server. He ends with the connection, and gives what the client has said.
    fn start(encrypted: &Encrypted, shown: &Issued, told: fn(Vec<u8>) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions are spoken")
            .with_no_client_auth()
            .with_single_cert(vec![shown.certificate.clone()], PrivatePkcs8KeyDer::from(shown.key.serialize_der()).into())
            .expect("they belong together");
        let (server, upstream) = (encrypted.server.address, Arc::new(encrypted.client().config()));
        let thread = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("the client comes");
            client.read_exact(&mut [0; 8]).expect("it asks for encryption");
            client.write_all(b"S").expect("it listens");
            let mut client = StreamOwned::new(ServerConnection::new(Arc::new(config)).expect("it is complete"), client);
            let mut server = socket(server);
            server.write_all(&packet(SSL, b"")).expect("it listens");
            server.read_exact(&mut [0]).expect("it encrypts");
            let name = "localhost".try_into().expect("it is a name");
            let mut server = StreamOwned::new(ClientConnection::new(upstream, name).expect("it is complete"), server);
            forward(&mut client, &mut server, told)
        });
        Self { address, thread }
    }
}

/// They speak in turns until the client is let in or turned away.
fn forward(client: &mut (impl Read + Write), server: &mut (impl Read + Write), told: fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let (mut said, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = client.read(&mut chunk).unwrap_or(0);
        if count == 0 {
            return said;
        }
        said.extend_from_slice(&chunk[..count]);
        server.write_all(&chunk[..count]).expect("the server listens");
        let count = server.read(&mut chunk).unwrap_or(0);
        if count == 0 || client.write_all(&told(chunk[..count].to_vec())).is_err() {
            return said;
        }
    }
}

/// Takes the bound mechanism out of the server's offer.
fn without_plus(answer: Vec<u8>) -> Vec<u8> {
    let name = b"SCRAM-SHA-256-PLUS\0";
    match answer.windows(name.len()).position(|window| window == name) {
        None => answer,
        Some(at) => message(b'R', &[&answer[5..at], &answer[at + name.len()..]].concat()),
    }
}

#[test]
fn somebody_in_the_middle_is_noticed() {
    let encrypted = Encrypted::start(RULES, &[]);
    // The client believes him: he has a certificate of the same authority for the same name.
    let shown = encrypted.authority.issue("localhost");
    let login = |binding, told| {
        let middle = Middleman::start(&encrypted, &shown, told);
        let mut config = postgres::Config::new();
        config.host("localhost").hostaddr(middle.address.ip()).port(middle.address.port()).user("postgres").password(PASSWORD);
        config.dbname("db").channel_binding(binding).ssl_mode(SslMode::Require);
        let outcome = config.connect(encrypted.client().connector()).map(drop);
        let said = middle.thread.join().expect("he was there");
        let told = outcome.err().map(|error| match error.as_db_error() {
            Some(told) => format!("{} {}", told.code().code(), told.message()),
            None => error.to_string(),
        });
        (told, said)
    };
    let (told, _) = login(ChannelBinding::Require, |answer| answer);
    assert_eq!(told.as_deref(), Some("28000 SCRAM channel binding check failed"));
    let (told, said) = login(ChannelBinding::Prefer, without_plus);
    assert_eq!(told.as_deref(), Some("28000 SCRAM channel binding negotiation error"));
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("y,,n="), "the client has told the server what it was offered: {said}");
    let (told, said) = login(ChannelBinding::Require, without_plus);
    let said = String::from_utf8_lossy(&said);
    assert!(told.is_some() && !said.contains("n=,"), "the client itself has turned away: {told:?} {said}");
    // Who does not bind does not notice: that is what it is for.
    let (told, said) = login(ChannelBinding::Disable, |answer| answer);
    assert_eq!(told, None);
    // What he has heard then is worth nothing afterwards.
    let mut again = encrypted.client().open(encrypted.server.address).expect("it is encrypted");
    again.send(&said);
    let answer = again.rest_of_stream();
    assert_eq!(answer.last().map(String::as_str), Some("E FATAL 08P01 invalid SCRAM response"), "{answer:?}");
}
