//! Bytes that no client should send, at every stage of a connection.

use proptest::prelude::*;

use super::client::*;

/// Bytes to send, and the SQLSTATE with which the connection ends.
const MALFORMED: &[(&[u8], &str)] = &[
    (b"z\0\0\0\x04", "08P01"),
    (b"Q\0\0\0\x03", "08P01"),
    (b"Q\xff\xff\xff\xff", "08P01"),
    (b"Q\0\0\0\x08abcd", "08P01"),
    (b"S\0\0\0\x05x", "08P01"),
    (b"P\0\0\0\x08abcd", "08P01"),
    (b"B\0\0\0\x08abcd", "08P01"),
    (b"B\0\0\0\x0a\0\0\0\0\xff\xff", "08P01"),
    (b"D\0\0\0\x06Xa", "08P01"),
    (b"C\0\0\0\x05S", "08P01"),
    (b"E\0\0\0\x06\0\0", "08P01"),
    (b"p\0\0\0\x09hello", "08P01"),
    (b"\x16\x03\x01\x02\0\x01\0", "08P01"),
];

#[test]
fn malformed_messages_close_their_connection_only() {
    let server = Server::default();
    let mut other = server.session();
    for (bytes, code) in MALFORMED {
        let mut client = server.session();
        client.send(bytes);
        let told = client.talk();
        assert!(told.starts_with(&format!("E FATAL {code}")), "{bytes:?}: {told}");
        assert!(client.is_closed(), "{bytes:?}");
    }
    expect(&other.query("SELECT 1"), &["T ?column?:23", "D 1", "C SELECT 1", "Z I"]);
}

#[test]
fn malformed_messages_end_a_copy_and_a_skip_too() {
    let server = Server::default();
    server.session().query("CREATE TABLE t (a int primary key, b int)");
    for (bytes, code) in MALFORMED {
        if bytes.starts_with(b"Q\0\0\0\x08") || bytes.starts_with(b"S") {
            continue;
        }
        let mut client = server.session();
        client.send(&query("COPY t FROM STDIN"));
        client.send(bytes);
        let told = client.talk();
        assert!(told.contains(code), "{bytes:?}: {told}");
    }
}

#[test]
fn malformed_startup_packets_close_their_connection_only() {
    let server = Server::default();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\0\0\0\x07",
        b"\0\0\0\x08\0\0\0\0",
        b"\0\0\0\x09\0\x03\0\0x",
        b"\0\0\0\x0a\0\x03\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
    ] {
        let mut client = server.connect();
        client.send(bytes);
        let told = client.talk();
        assert!(told.starts_with("E FATAL "), "{bytes:?}: {told}");
        assert!(client.is_closed(), "{bytes:?}");
    }
    let mut client = server.connect();
    for _ in 0..3 {
        client.send(&packet(80_877_103, b""));
    }
    assert!(client.raw().starts_with(b"NNE"));
    assert!(client.is_closed());
}

#[test]
fn text_that_is_not_utf8_fails_its_statement_only() {
    let server = Server::default();
    let mut client = server.session();
    let told = "E 22021 invalid byte sequence for encoding \"UTF8\": 0xff";
    client.send(&message(b'Q', b"SELECT '\xff'\0"));
    expect(&client.talk(), &[told, "Z I"]);
    expect(&client.exchange(&[message(b'P', b"\0SELECT '\xff'\0\0\0"), sync()]), &[told, "Z I"]);
    client.exchange(&[parse("s", "SELECT $1::text"), sync()]);
    let bad = message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x01\xff\0\0");
    expect(&client.exchange(&[bad, sync()]), &[told, "Z I"]);
    expect(
        &client.exchange(&[message(b'F', b"\0\0\0\0\0\0\0\0\0\0"), sync()]),
        &["E 0A000 the function call protocol is not supported", "Z I", "Z I"],
    );
}

/// A conversation that uses every message.
fn sample() -> Vec<u8> {
    [
        startup("user\0ann\0"),
        query("CREATE TABLE t (a int primary key, b int)"),
        query("INSERT INTO t VALUES (1, 2), (2, 3)"),
        parse("s", "SELECT b FROM t WHERE a = $1"),
        describe('S', "s"),
        bind("", "s", &[Some("1")]),
        describe('P', ""),
        execute("", 0),
        bind_formats("p", "s", &[Some("2")], &[1]),
        execute("p", 1),
        close('P', "p"),
        message(b'H', b""),
        sync(),
        query("COPY t FROM STDIN"),
        message(b'd', b"7\t8\n"),
        message(b'c', b""),
        query("BEGIN; SAVEPOINT a; SELECT 1; COMMIT"),
        message(b'X', b""),
    ]
    .concat()
}

#[test]
fn the_sample_conversation_works() {
    let server = Server::default();
    let mut client = server.connect();
    client.send(&sample());
    let told = client.talk();
    assert!(!told.contains("\nE "), "{told}");
    assert!(client.is_closed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is changed in a conversation, and however it is cut, the server neither panics nor hangs.
    #[test]
    fn changed_bytes_are_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        chunk in 1usize..200,
    ) {
        let mut bytes = sample();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let server = Server::default();
        let mut client = server.connect();
        for piece in bytes.chunks(chunk) {
            client.send(piece);
        }
        client.raw();
    }

    /// Nor do bytes that mean nothing at all.
    #[test]
    fn random_bytes_are_survived(started in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let server = Server::default();
        let mut client = if started { server.session() } else { server.connect() };
        client.send(&bytes);
        client.raw();
    }
}
