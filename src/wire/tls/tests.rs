//! Records against rustls' own client, without sockets.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::*;
use crate::config::TlsVersion;

struct Identity {
    acceptor: Arc<Acceptor>,
    roots: Arc<RootCertStore>,
}

fn identity(minimum: TlsVersion) -> Identity {
    let key = KeyPair::generate().expect("a key");
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).expect("a name").self_signed(&key).expect("a certificate");
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let pem = Pem { certificate: chain.as_bytes(), key: key.as_bytes(), authorities: None };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("it is a certificate");
    Identity { acceptor: Arc::new(Acceptor::new(pem, minimum).expect("they belong together")), roots: Arc::new(roots) }
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| identity(TlsVersion::Tls12));

fn client_of(identity: &Identity, version: &'static SupportedProtocolVersion, alpn: &[&[u8]]) -> ClientConnection {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("the version is spoken")
        .with_root_certificates(Arc::clone(&identity.roots))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name")).expect("a connection")
}

/// Records of the client that wait to be sent.
fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records).expect("memory takes every byte");
    }
    records
}

/// Gives the client what the server has to send; what it means.
fn hear(client: &mut ClientConnection, server: &mut Tls) -> Result<Vec<u8>, rustls::Error> {
    let records = server.outgoing().expect("nothing was given up").to_vec();
    server.sent();
    let (mut rest, mut heard) = (&records[..], Vec::new());
    while !rest.is_empty() {
        client.read_tls(&mut rest).expect("memory can be read");
        let state = client.process_new_packets()?;
        let start = heard.len();
        heard.resize(start + state.plaintext_bytes_to_read(), 0);
        client.reader().read_exact(&mut heard[start..]).expect("so much is there");
    }
    Ok(heard)
}

fn shake_hands(client: &mut ClientConnection, server: &mut Tls) {
    for _ in 0..4 {
        server.receive(&said(client));
        let over = server.shake_hands().expect("both want it");
        hear(client, server).expect("both want it");
        if over {
            assert!(!client.is_handshaking());
            return;
        }
    }
    panic!("a handshake has at most four flights");
}

fn connected(version: &'static SupportedProtocolVersion) -> (ClientConnection, Tls) {
    let mut client = client_of(&IDENTITY, version, &[ALPN_NAME]);
    let mut server = Tls::new(Arc::clone(&IDENTITY.acceptor), &[]);
    shake_hands(&mut client, &mut server);
    (client, server)
}

const ALPN_NAME: &[u8] = super::acceptor::ALPN;

#[test]
fn bytes_go_both_ways_in_any_pieces() {
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let (mut client, mut server) = connected(version);
        assert_eq!(server.encryption().version, name);
        assert!(server.encryption().bits >= 128 && server.named_protocol() && server.encryption().client.is_none());
        let sent: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let mut rest = &sent[..];
        let mut received = Vec::new();
        while !rest.is_empty() || client.wants_write() {
            let count = client.writer().write(&rest[..rest.len().min(30_000)]).expect("there is room");
            rest = &rest[count..];
            for piece in said(&mut client).chunks(777) {
                server.receive(piece);
                let mut buffer = [0; 1000];
                loop {
                    match server.read(&mut buffer).expect("the records are good") {
                        0 => break,
                        count => received.extend_from_slice(&buffer[..count]),
                    }
                }
            }
            assert!(server.held_bytes() <= 80 << 10, "{} bytes are held", server.held_bytes());
        }
        assert_eq!(received, sent);
        for chunk in sent.chunks(64 << 10) {
            server.write(chunk).expect("it is encrypted");
            assert_eq!(hear(&mut client, &mut server).expect("the records are good"), chunk);
        }
        server.sent();
        assert!(server.held_bytes() <= 36 << 10, "an idle connection keeps two records: {}", server.held_bytes());
        client.send_close_notify();
        server.receive(&said(&mut client));
        assert_eq!(server.read(&mut [0; 10]).expect("it is an end, no error"), 0);
        assert!(server.has_ended());
        server.write(b"goodbye").expect("this side is open");
        server.close().expect("once");
        assert_eq!(hear(&mut client, &mut server).expect("the records are good"), b"goodbye");
    }
}

#[test]
fn what_comes_with_the_handshake_is_not_lost() {
    let mut client = client_of(&IDENTITY, &TLS13, &[]);
    let mut server = Tls::new(Arc::clone(&IDENTITY.acceptor), &said(&mut client));
    assert!(!server.shake_hands().expect("it goes on"));
    hear(&mut client, &mut server).expect("both want it");
    client.writer().write_all(b"startup").expect("there is room");
    server.receive(&said(&mut client));
    assert!(server.shake_hands().expect("both want it"));
    let mut buffer = [0; 4];
    assert_eq!(server.read(&mut buffer).expect("it is there"), 4);
    assert_eq!(server.read(&mut buffer).expect("and the rest"), 3);
    assert!(!server.named_protocol(), "the client has named none");
}

#[test]
fn new_keys_and_no_new_handshakes() {
    let (mut client, mut server) = connected(&TLS13);
    for _ in 0..3 {
        client.refresh_traffic_keys().expect("it is TLS 1.3");
        client.writer().write_all(b"x").expect("there is room");
        server.receive(&said(&mut client));
        assert_eq!(server.read(&mut [0; 8]).expect("new keys are fine"), 1);
        server.write(b"y").expect("and answered with new ones");
        assert_eq!(hear(&mut client, &mut server).expect("in the right order"), b"y");
    }
    // A second ClientHello: in the clear it is no good record in either version.
    for version in [&TLS12, &TLS13] {
        let (_client, mut server) = connected(version);
        server.receive(&said(&mut client_of(&IDENTITY, version, &[])));
        assert!(server.read(&mut [0; 8]).is_err());
        assert!(!server.outgoing().expect("nothing was given up").is_empty(), "the client is told");
        assert!(server.read(&mut [0; 8]).is_err() && server.write(b"x").is_err(), "it does not go on");
    }
}

#[test]
fn garbage_ends_the_handshake_with_an_alert() {
    for garbage in
        [&b"\x16\x03\x01\xff\xff"[..], b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\0\x04\x01\0\0\0", &[0; 40], &[0xff; 40]]
    {
        let mut server = Tls::new(Arc::clone(&IDENTITY.acceptor), garbage);
        let error = server.shake_hands().expect_err("it is no handshake");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        let alert = server.outgoing().expect("nothing was given up").to_vec();
        assert!(alert.is_empty() || alert[0] == 0x15, "{alert:?}");
        assert!(server.shake_hands().is_err() && server.write(b"x").is_err(), "it does not go on");
    }
    // The beginning of a handshake takes no more memory than has come.
    let mut server = Tls::new(Arc::clone(&IDENTITY.acceptor), b"\x16\x03\x01\x40\x00\x01\x00\x40\x00");
    assert!(!server.shake_hands().expect("more may come"));
    assert!(server.held_bytes() <= 32 << 10);
}

#[test]
fn a_handshake_message_is_bounded() {
    // A message of 16 MB in whole records.
    let mut record = vec![0x16, 0x03, 0x01, 0x40, 0x00];
    record.extend([0x01, 0xff, 0xff, 0xff]);
    record.resize(5 + (16 << 10), 0);
    let mut server = Tls::new(Arc::clone(&IDENTITY.acceptor), &[]);
    let refused = (0..10).find(|_| {
        server.receive(&record);
        server.shake_hands().is_err()
    });
    assert!(refused.is_some_and(|round| round < 8), "{refused:?}");
    assert!(server.held_bytes() <= 256 << 10, "{} bytes are held", server.held_bytes());
}

#[test]
fn versions_and_protocols_are_chosen() {
    let strict = identity(TlsVersion::Tls13);
    let mut old = client_of(&strict, &TLS12, &[]);
    let mut server = Tls::new(Arc::clone(&strict.acceptor), &said(&mut old));
    assert!(server.shake_hands().is_err(), "TLS 1.2 is not spoken");
    assert!(hear(&mut old, &mut server).is_err(), "the client is told");
    let mut other = client_of(&IDENTITY, &TLS13, &[b"http/1.1"]);
    let mut server = Tls::new(Arc::clone(&IDENTITY.acceptor), &said(&mut other));
    assert!(server.shake_hands().is_err(), "another protocol is none");
    let alert = hear(&mut other, &mut server).expect_err("the client is told");
    assert!(alert.to_string().contains("NoApplicationProtocol"), "{alert}");
}

#[test]
fn a_write_that_was_given_up_is_the_last() {
    let (_client, mut server) = connected(&TLS13);
    server.write(b"one").expect("it is encrypted");
    assert!(!server.outgoing().expect("nothing was given up").is_empty());
    // Whoever was to send it is gone.
    server.write(b"two").expect("it is encrypted");
    assert!(server.outgoing().is_err());
}

/// Bytes from a seed.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

#[test]
fn changed_beginnings_and_records_are_refused() {
    for seed in 0..400 {
        let mut noise = Noise(seed);
        let version = if seed % 2 == 0 { &TLS12 } else { &TLS13 };
        let (mut client, mut server) = match seed % 4 {
            0 | 1 => (client_of(&IDENTITY, version, &[]), Tls::new(Arc::clone(&IDENTITY.acceptor), &[])),
            _ => connected(version),
        };
        let before_login = client.is_handshaking();
        if !before_login {
            client.writer().write_all(b"what the client says").expect("there is room");
        }
        let mut bytes = said(&mut client);
        for _ in 0..=noise.below(4) {
            let at = noise.below(bytes.len());
            bytes[at] ^= noise.byte() | 1;
        }
        let mut refused = false;
        for piece in bytes.chunks(1 + noise.below(bytes.len())) {
            server.receive(piece);
            let outcome = if before_login { server.shake_hands().map(usize::from) } else { server.read(&mut [0; 64]) };
            refused |= outcome.is_err();
            // A ClientHello may be changed and still be one; but nobody is let through with it.
            assert!(!matches!(outcome, Ok(1..)), "seed {seed}: {outcome:?}");
            if server.outgoing().is_ok() {
                server.sent();
            }
        }
        assert!(server.held_bytes() <= 80 << 10, "seed {seed}");
        if refused {
            assert!(server.write(b"x").is_err() && server.read(&mut [0; 8]).is_err(), "seed {seed}: it does not go on");
        }
    }
}
