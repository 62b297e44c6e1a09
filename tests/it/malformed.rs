//! Bytes that no client should send, at every stage of a connection: each is answered as the table says, harms nobody else, and
//! leaves the server as it was.
//!
//! SQLSTATEs are those of PostgreSQL 15: it was asked for those of a session; those before the startup are its source's. It differs
//! in three things:
//!
//! - Why it hangs up because of a length or a cancel request, it only logs; this server tells the client too.
//! - A body that cannot be decoded is an error to it, and the connection goes on; here it ends. PostgreSQL judges a Bind after
//!   it has found the statement.
//! - After any message that does not belong into a COPY it has lost its place, and ends the connection; here, if the message
//!   can be decoded, only the COPY ends.

mod mutated;

use crate::server::Server;
use crate::server::bystander::Bystander;
use crate::server::raw::{self, Client};

/// Bytes sent instead of a startup packet, and what comes back before the connection ends.
const BEFORE_STARTUP: &[(&str, &[u8], &str)] = &[
    ("nothing at all", b"", ""),
    ("half a length", b"\0\0", ""),
    ("half a packet", b"\0\0\0\x20\0\x03\0\0user", ""),
    ("length 0", b"\0\0\0\0\0\0\0\0", "F08P01"),
    ("length 3", b"\0\0\0\x03\0\x03\0\0", "F08P01"),
    ("a length without a code", b"\0\0\0\x04", "F08P01"),
    ("length 7", b"\0\0\0\x07\0\x03\0", "F08P01"),
    ("a negative length", b"\xff\xff\xff\xff\0\x03\0\0", "F08P01"),
    ("the lowest length", b"\x80\0\0\0\0\x03\0\0", "F08P01"),
    ("the highest length", b"\x7f\xff\xff\xff\0\x03\0\0", "F08P01"),
    ("a length over the limit", b"\0\0\x27\x11\0\x03\0\0", "F08P01"),
    ("protocol 0", b"\0\0\0\x10\0\0\0\0user\0ab\0\0", "F0A000"),
    ("protocol 1", b"\0\0\0\x10\0\x01\0\0user\0ab\0", "F0A000"),
    ("protocol 2", b"\0\0\0\x10\0\x02\0\0user\0ab\0", "F0A000"),
    ("protocol 4", b"\0\0\0\x10\0\x04\0\0user\0ab\0", "F0A000"),
    ("protocol 65535", b"\0\0\0\x10\xff\xff\xff\xffuser\0ab\0", "F0A000"),
    ("no parameters, no end", b"\0\0\0\x08\0\x03\0\0", "F08P01"),
    ("no parameters", b"\0\0\0\x09\0\x03\0\0\0", "F28000"),
    ("an unterminated name", b"\0\0\0\x0c\0\x03\0\0user", "F08P01"),
    ("a name without a value", b"\0\0\0\x0d\0\x03\0\0user\0", "F08P01"),
    ("an unterminated value", b"\0\0\0\x0f\0\x03\0\0user\0ab", "F08P01"),
    ("no end of the list", b"\0\0\0\x10\0\x03\0\0user\0ab\0", "F08P01"),
    ("an odd number of strings", b"\0\0\0\x1a\0\x03\0\0user\0ab\0database\0\0", "F08P01"),
    ("bytes behind the end", b"\0\0\0\x12\0\x03\0\0user\0ab\0\0x", "F08P01"),
    ("an empty user", b"\0\0\0\x0f\0\x03\0\0user\0\0\0", "F28000"),
    ("no user", b"\0\0\0\x15\0\x03\0\0database\0ab\0\0", "F28000"),
    ("a user that is not UTF-8", b"\0\0\0\x11\0\x03\0\0user\0a\xff\0\0", "F22021"),
    ("an unknown setting", b"\0\0\0\x15\0\x03\0\0user\0a\0no\0b\0\0", "F42704"),
    ("a bad value", b"\0\0\0\x22\0\x03\0\0user\0a\0lock_timeout\0NONE\0\0", "F22023"),
    ("bad options", b"\0\0\0\x1b\0\x03\0\0user\0a\0options\0-z\0\0", "F42601"),
    ("replication", b"\0\0\0\x21\0\x03\0\0user\0a\0replication\0true\0\0", "F0A000"),
    ("a cancel request without a key", b"\0\0\0\x08\x04\xd2\x16\x2e", "F08P01"),
    ("a cancel request with half a key", b"\0\0\0\x0e\x04\xd2\x16\x2e\0\0\0\x01\0\0", "F08P01"),
    ("a cancel request with an unknown key", b"\0\0\0\x10\x04\xd2\x16\x2e\x7f\xff\xff\xff\x12\x34\x56\x78", ""),
    ("a cancel request with a long unknown key", b"\0\0\0\x14\x04\xd2\x16\x2e\0\0\0\x01\x12\x34\x56\x78\0\0\0\0", ""),
    ("an SSL request with a body", b"\0\0\0\x09\x04\xd2\x16\x2fx", "F08P01"),
    ("SSL, and gone", b"\0\0\0\x08\x04\xd2\x16\x2f", "n"),
    ("SSL, then a ClientHello", b"\0\0\0\x08\x04\xd2\x16\x2f\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "n F08P01"),
    ("GSS, then garbage", b"\0\0\0\x08\x04\xd2\x16\x30\xde\xad\xbe\xef\xde\xad\xbe\xef", "n F08P01"),
    (
        "a third encryption request",
        b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\x04\xd2\x16\x2f",
        "n n F08P01",
    ),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "F08P01"),
    ("a TLS ClientHello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0\0\0\0\0\0\0", "F08P01"),
    ("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n", "F08P01"),
    ("a query before startup", b"Q\0\0\0\x0dSELECT 1\0", "F08P01"),
];

/// A message, and what comes of it in each stage: idle, while messages are dropped up to Sync, in COPY FROM STDIN, in a failed
/// transaction. `-` ends the connection, `+` goes on.
type InSession = (&'static str, &'static [u8], [&'static str; 4]);

/// Messages that cannot be cut or decoded end the connection, in whatever stage they are looked at.
const FATAL: [&str; 4] = ["F08P01 -", "F08P01 -", "F08P01 -", "F08P01 -"];

/// As above, for bodies: what is dropped is not decoded.
const BAD_BODY: [&str; 4] = ["F08P01 -", "+", "F08P01 -", "F08P01 -"];

/// A message that is only out of place in a COPY.
const ONLY_IN_COPY: &str = "E08P01 ZI +";

const IN_SESSION: &[InSession] = &[
    ("an unknown type", b"z\0\0\0\x04", FATAL),
    ("type 0", b"\0\0\0\0\x04", FATAL),
    ("type 255", b"\xff\0\0\0\x04", FATAL),
    ("a startup packet", b"\0\0\0\x08\0\x03\0\0", FATAL),
    ("a ClientHello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", FATAL),
    ("HTTP", b"GET / HTTP/1.1\r\n\r\n", FATAL),
    ("a server's message", b"Z\0\0\0\x05I", FATAL),
    ("length 0", b"Q\0\0\0\0", FATAL),
    ("length 3", b"Q\0\0\0\x03", FATAL),
    ("length -1", b"Q\xff\xff\xff\xff", FATAL),
    ("the lowest length", b"Q\x80\0\0\0", FATAL),
    ("a length over the limit", b"Q\x7f\xff\xff\xff", FATAL),
    ("a Sync longer than its kind may be", b"S\0\0\x27\x11", FATAL),
    ("a Describe longer than its kind may be", b"D\0\0\xff\xff", FATAL),
    ("Query without a terminator", b"Q\0\0\0\x0cSELECT 1", BAD_BODY),
    ("Query without anything", b"Q\0\0\0\x04", BAD_BODY),
    ("Query with bytes behind its end", b"Q\0\0\0\x0fSELECT 1\0xy", BAD_BODY),
    ("Query that is not UTF-8", b"Q\0\0\0\x0fSELECT '\xff'\0", ["E22021 ZI +", "+", "E22021 ZI +", "E22021 ZE +"]),
    ("Query that UTF-8 forbids", b"Q\0\0\0\x11SELECT '\xed\xa0\x80'\0", ["E22021 ZI +", "+", "E22021 ZI +", "E22021 ZE +"]),
    ("Query of nothing", b"Q\0\0\0\x05\0", ["I ZI +", "+", ONLY_IN_COPY, "I ZE +"]),
    ("Sync with a body", b"S\0\0\0\x05x", ["F08P01 -", "F08P01 -", "C ZI +", "F08P01 -"]),
    ("Flush with a body", b"H\0\0\0\x05x", ["F08P01 -", "+", "C ZI +", "F08P01 -"]),
    ("Terminate with a body", b"X\0\0\0\x05x", FATAL),
    ("Parse without a name", b"P\0\0\0\x04", BAD_BODY),
    ("Parse without a query", b"P\0\0\0\x06s\0", BAD_BODY),
    ("Parse with half a query", b"P\0\0\0\x0es\0SELECT 1", BAD_BODY),
    ("Parse without a count", b"P\0\0\0\x0fs\0SELECT 1\0", BAD_BODY),
    ("Parse with half a count", b"P\0\0\0\x10s\0SELECT 1\0\0", BAD_BODY),
    ("Parse with a type too few", b"P\0\0\0\x15s\0SELECT 1\0\0\x02\0\0\0\x17", BAD_BODY),
    ("Parse with half a type", b"P\0\0\0\x13s\0SELECT 1\0\0\x01\0\0", BAD_BODY),
    ("Parse with -1 types", b"P\0\0\0\x11s\0SELECT 1\0\xff\xff", BAD_BODY),
    ("Parse with bytes behind its end", b"P\0\0\0\x12s\0SELECT 1\0\0\0x", BAD_BODY),
    ("Parse of text that is not UTF-8", b"P\0\0\0\x0a\0\xff\xfe\0\0\0", ["E22021 +", "+", "E22021 ZI +", "E22021 +"]),
    ("Parse with an unknown type", b"P\0\0\0\x14\0SELECT 1\0\0\x01\x7f\xff\xff\xff", ["E42704 +", "+", ONLY_IN_COPY, "E42704 +"]),
    ("Bind without a portal", b"B\0\0\0\x04", BAD_BODY),
    ("Bind without a statement", b"B\0\0\0\x05\0", BAD_BODY),
    ("Bind without formats", b"B\0\0\0\x06\0\0", BAD_BODY),
    ("Bind with half a format", b"B\0\0\0\x09\0\0\0\x01\0", BAD_BODY),
    ("Bind with -1 formats", b"B\0\0\0\x0c\0\0\xff\xff\0\0\0\0", BAD_BODY),
    ("Bind without parameters", b"B\0\0\0\x08\0\0\0\0", BAD_BODY),
    ("Bind with -1 parameters", b"B\0\0\0\x0c\0\0\0\0\xff\xff\0\0", BAD_BODY),
    ("Bind with a parameter too few", b"B\0\0\0\x10\0\0\0\0\0\x02\xff\xff\xff\xff\0\0", BAD_BODY),
    ("Bind with half a length", b"B\0\0\0\x0c\0\0\0\0\0\x01\0\0", BAD_BODY),
    ("Bind with half a value", b"B\0\0\0\x10\0\0\0\0\0\x01\0\0\0\x09ab", BAD_BODY),
    ("Bind with a value beyond everything", b"B\0\0\0\x10\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0", BAD_BODY),
    ("Bind with a length of -2", b"B\0\0\0\x10\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0", BAD_BODY),
    ("Bind with more formats than values", b"B\0\0\0\x14\0\0\0\x02\0\0\0\0\0\x01\xff\xff\xff\xff\0\0", BAD_BODY),
    ("Bind without result formats", b"B\0\0\0\x0a\0\0\0\0\0\0", BAD_BODY),
    ("Bind with half a result format", b"B\0\0\0\x0d\0\0\0\0\0\0\0\x01\0", BAD_BODY),
    ("Bind with bytes behind its end", b"B\0\0\0\x0d\0\0\0\0\0\0\0\0x", BAD_BODY),
    ("Bind to an unknown statement", b"B\0\0\0\x10\0none\0\0\0\0\0\0\0", ["E26000 +", "+", ONLY_IN_COPY, "E26000 +"]),
    ("Describe of nothing", b"D\0\0\0\x04", BAD_BODY),
    ("Describe of an unknown kind", b"D\0\0\0\x06X\0", BAD_BODY),
    ("Describe without a terminator", b"D\0\0\0\x07Sab", BAD_BODY),
    ("Describe with bytes behind its end", b"D\0\0\0\x07S\0x", BAD_BODY),
    ("Describe of an unknown statement", b"D\0\0\0\x08Sno\0", ["E26000 +", "+", ONLY_IN_COPY, "E26000 +"]),
    ("Describe of an unknown portal", b"D\0\0\0\x08Pno\0", ["E34000 +", "+", ONLY_IN_COPY, "E34000 +"]),
    ("Execute without a portal", b"E\0\0\0\x04", BAD_BODY),
    ("Execute without a count", b"E\0\0\0\x05\0", BAD_BODY),
    ("Execute with half a count", b"E\0\0\0\x07\0\0\0", BAD_BODY),
    ("Execute with bytes behind its end", b"E\0\0\0\x0a\0\0\0\0\0\0", BAD_BODY),
    ("Execute of an unknown portal", b"E\0\0\0\x0bno\0\0\0\0\0", ["E34000 +", "+", ONLY_IN_COPY, "E34000 +"]),
    ("Close of nothing", b"C\0\0\0\x04", BAD_BODY),
    ("Close of an unknown kind", b"C\0\0\0\x06X\0", BAD_BODY),
    ("Close without a terminator", b"C\0\0\0\x06Pa", BAD_BODY),
    ("Close of what is not there", b"C\0\0\0\x08Sno\0", ["3 +", "+", ONLY_IN_COPY, "3 +"]),
    ("CopyDone with a body", b"c\0\0\0\x05x", BAD_BODY),
    ("CopyFail without a terminator", b"f\0\0\0\x07why", BAD_BODY),
    ("CopyData out of place", b"d\0\0\0\x081\t2\n", ["+", "+", "C ZI +", "+"]),
    ("CopyData of garbage", b"d\0\0\0\x08\xff\xfe\xfd\n", ["+", "+", "E22021 ZI +", "+"]),
    ("CopyData with too few columns", b"d\0\0\0\x061\n", ["+", "+", "E22P04 ZI +", "+"]),
    ("CopyDone out of place", b"c\0\0\0\x04", ["+", "+", "C ZI +", "+"]),
    ("CopyFail out of place", b"f\0\0\0\x08why\0", ["+", "+", "E57014 ZI +", "+"]),
    ("a password out of place", b"p\0\0\0\x0bsecret\0", ["F08P01 -", "+", ONLY_IN_COPY, "F08P01 -"]),
    ("a function call", b"F\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0", ["E0A000 ZI +", "+", ONLY_IN_COPY, "E0A000 ZE +"]),
];

/// Stages of a session: their names, how they are reached, what that is answered with, and what ends them.
struct Stage {
    name: &'static str,
    begin: Vec<u8>,
    begun: &'static str,
    /// Sent behind the bad bytes, all at once with them.
    end: Vec<u8>,
    ended: &'static str,
}

fn stages() -> [Stage; 4] {
    let probe = raw::query("SELECT 'still here'");
    let end = [raw::copy_done(), raw::sync(), probe.clone()].concat();
    let end_block = [raw::copy_done(), raw::sync(), raw::query("ROLLBACK"), probe].concat();
    let broken = [raw::parse("", "SELEC"), raw::flush()].concat();
    let failed = [raw::query("BEGIN"), raw::query("SELECT nothing")].concat();
    let ended = "ZI T D C ZI";
    [
        Stage { name: "idle", begin: Vec::new(), begun: "", end: end.clone(), ended },
        Stage { name: "skipping", begin: broken, begun: "E42601", end: end.clone(), ended },
        Stage { name: "copy", begin: raw::query("COPY target FROM STDIN"), begun: "G", end, ended },
        Stage { name: "failed", begin: failed, begun: "C ZT E42703 ZE", end: end_block, ended: "ZE C ZI T D C ZI" },
    ]
}

/// Lines as words: `F08P01` for a FATAL error, `E42601` for another, `ZI` for ReadyForQuery, the type for anything else.
fn words(lines: &[String]) -> String {
    let word = |line: &String| {
        let mut parts = line.split(' ');
        match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
            ("E", Some("FATAL"), Some(code)) => format!("F{code}"),
            ("E", Some(code), _) => format!("E{code}"),
            ("Z", Some(status), _) => format!("Z{status}"),
            (tag, ..) => tag.to_owned(),
        }
    };
    lines.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Sends bytes whole or one by one.
fn send(client: &mut Client, bytes: &[u8], whole: bool) {
    bytes.chunks(if whole { usize::MAX } else { 1 }).for_each(|piece| client.send(piece));
}

fn before_startup(server: &Server, bytes: &[u8], whole: bool) -> String {
    let mut client = server.open();
    send(&mut client, bytes, whole);
    client.finish();
    let mut found = Vec::new();
    // Encryption requests are answered with a byte each that is no message.
    let requests = bytes.windows(8).filter(|packet| [raw::SSL, raw::GSS].iter().any(|code| **packet == raw::packet(*code, b"")));
    for _ in requests.take(2) {
        found.extend(client.byte().map(|byte| char::from(byte).to_ascii_lowercase().to_string()));
    }
    found.extend(Some(words(&client.rest_of_stream())).filter(|words| !words.is_empty()));
    found.join(" ")
}

fn in_session(server: &Server, stage: &Stage, bytes: &[u8], whole: bool) -> String {
    let mut client = server.connect();
    client.send(&stage.begin);
    let expected = stage.begun.split_whitespace().count();
    let begun: Vec<String> = std::iter::from_fn(|| client.next()).take(expected).collect();
    assert_eq!(words(&begun), stage.begun, "{}: {begun:?}", stage.name);
    send(&mut client, &[bytes, &stage.end].concat(), whole);
    client.finish();
    let found = words(&client.rest_of_stream());
    match found.strip_suffix(stage.ended) {
        Some(before) => format!("{before}+"),
        None => format!("{found} -"),
    }
}

#[test]
fn messages_are_limited_as_configured() {
    let mut server = Server::start(&["--max-startup-size", "2KB", "--max-statement-size", "100KB"]);
    let start = |bytes: usize| {
        let empty = raw::startup(&[("user", "ann"), ("application_name", "")]).len();
        raw::startup(&[("user", "ann"), ("application_name", &"x".repeat(bytes - empty))])
    };
    // The type byte does not count.
    let query = |bytes: usize| raw::query(&format!("SELECT length('{}')", "x".repeat(bytes - "SELECT length('')".len() - 5)));
    let startup_max = 2 << 10;
    let statement_max = 100 << 10;
    for (bytes, expected) in [(start(startup_max), "R"), (start(startup_max + 1), "F08P01")] {
        let mut client = server.open();
        client.send(&bytes);
        assert_eq!(words(&[client.next().expect("an answer")]), expected);
    }
    for (bytes, expected) in [(query(statement_max), "T D C ZI"), (query(statement_max + 1), "F08P01")] {
        let mut client = server.connect();
        client.send(&bytes);
        client.finish();
        assert_eq!(words(&client.rest_of_stream()), expected);
    }
    server.assert_unharmed();
}

#[test]
fn malformed_bytes_harm_nobody_else() {
    let mut server = Server::start(&[]);
    server.connect().run("CREATE TABLE target (a int PRIMARY KEY, b int)");
    let bystanders = [Bystander::start(&server, "one"), Bystander::start(&server, "two")];
    let mut wrong = Vec::new();
    let mut check = |what: String, expected: &str, found: String| {
        if found != expected {
            wrong.push(format!("{what}: {expected:?} is expected, {found:?} comes"));
        }
    };
    for whole in [true, false] {
        for (name, bytes, expected) in BEFORE_STARTUP {
            check(format!("before startup, {name}"), expected, before_startup(&server, bytes, whole));
        }
        for (index, stage) in stages().iter().enumerate() {
            for (name, bytes, expected) in IN_SESSION {
                check(format!("{}, {name}", stage.name), expected[index], in_session(&server, stage, bytes, whole));
                server.connect().run("DELETE FROM target");
            }
        }
    }
    bystanders.into_iter().for_each(Bystander::finish);
    server.assert_unharmed();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
