//! What comes before authentication on an encrypted connection: handshakes, and records behind one. The first byte chooses, the second says
//! in what pieces the rest comes.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use omendb::config::TlsVersion;
use omendb::wire::tls::{Acceptor, Pem, Tls};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

static IDENTITY: LazyLock<(Arc<Acceptor>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let pem = Pem { certificate: chain.as_bytes(), key: key.as_bytes(), authorities: Some(chain.as_bytes()) };
    let acceptor = Acceptor::new(pem, TlsVersion::Tls12).expect("they belong together");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("it is a certificate");
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has both")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(acceptor), Arc::new(client))
});

fn client() -> ClientConnection {
    ClientConnection::new(IDENTITY.1.clone(), "localhost".try_into().expect("a name")).expect("a connection")
}

fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records).expect("memory takes every byte");
    }
    records
}

/// Feeds a handshake. Nobody gets through one whose bytes were made up.
fn handshake(bytes: &[u8], piece: usize) {
    let mut server = Tls::new(IDENTITY.0.clone(), &[]);
    for piece in bytes.chunks(piece) {
        server.receive(piece);
        match server.shake_hands() {
            Ok(over) => assert!(!over, "a handshake was guessed"),
            Err(_) => {
                assert!(server.shake_hands().is_err() && server.read(&mut [0; 16]).is_err(), "it does not go on");
                server.outgoing().expect("an alert, or nothing");
                return;
            }
        }
        server.outgoing().expect("nothing was given up");
        server.sent();
    }
}

/// Feeds records after a handshake. Nothing is read that was not encrypted by the client.
fn records(bytes: &[u8], piece: usize) {
    let (mut client, mut server) = (client(), Tls::new(IDENTITY.0.clone(), &[]));
    loop {
        server.receive(&said(&mut client));
        let over = server.shake_hands().expect("both want it");
        let mut answer = server.outgoing().expect("nothing was given up");
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("memory can be read");
            client.process_new_packets().expect("both want it");
        }
        server.sent();
        if over {
            break;
        }
    }
    for piece in bytes.chunks(piece) {
        server.receive(piece);
        match server.read(&mut [0; 64]) {
            Ok(count) => assert_eq!(count, 0, "a record was guessed"),
            Err(_) => return assert!(server.write(b"x").is_err(), "it does not go on"),
        }
    }
    server.write(b"goodbye").expect("this side is open");
}

fuzz_target!(|bytes: &[u8]| {
    let [stage, piece, rest @ ..] = bytes else { return };
    let piece = usize::from(*piece) * 16 + 1;
    match stage % 3 {
        0 => handshake(rest, piece),
        1 => records(rest, piece),
        _ => {
            // A beginning that means it, with some of its bytes changed: three bytes a change.
            let mut hello = said(&mut client());
            for change in rest.chunks_exact(3) {
                let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % hello.len();
                hello[at] ^= change[2];
            }
            handshake(&hello, piece);
        }
    }
});
