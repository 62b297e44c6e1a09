//! PostgreSQL's protocol over TLS: logging in, client certificates, cancelling, large amounts, new certificates, and what is refused.

use std::io::{Read, Write};
use std::process::Command;

use postgres::NoTls;
use postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use rustls::version::{TLS12, TLS13};

use crate::server::Server;
use crate::server::raw::{CANCEL, SSL, packet, query, startup};
use crate::server::tls::{ALPN, Authority, Encrypted, PASSWORD, Tls};

const RULES: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";

/// What a session sees of its own encryption.
const OWN: &str = "SELECT ssl::text || ' ' || coalesce(version, '') || ' ' || coalesce(cipher, '') || ' ' || coalesce(bits::text, '') \
                   FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

fn text(client: &mut postgres::Client, sql: &str) -> String {
    client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
}

/// Code and message of a login that fails.
#[track_caller]
fn refused(outcome: Result<postgres::Client, postgres::Error>) -> (String, String) {
    let error = outcome.map(drop).expect_err("it is refused");
    let told = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    (told.code().code().to_owned(), told.message().to_owned())
}

fn told(code: &str, message: &str) -> (String, String) {
    (code.to_owned(), message.to_owned())
}

#[test]
fn clients_log_in_with_and_without_channel_binding() {
    let encrypted = Encrypted::start(RULES, &[]);
    for (version, cipher) in
        [(&TLS12, "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 256"), (&TLS13, "TLSv1.3 TLS_AES_256_GCM_SHA384 256")]
    {
        let tls = Tls { versions: &[version], ..encrypted.client() };
        for binding in [ChannelBinding::Disable, ChannelBinding::Prefer, ChannelBinding::Require] {
            for negotiation in [SslNegotiation::Postgres, SslNegotiation::Direct] {
                let mut config = encrypted.config("postgres", PASSWORD);
                config.channel_binding(binding).ssl_negotiation(negotiation);
                let mut client = config.connect(tls.connector()).unwrap_or_else(|error| panic!("{config:?}: {error}"));
                assert_eq!(text(&mut client, OWN), format!("true {cipher}"));
            }
        }
        assert_eq!(
            refused(encrypted.config("postgres", "wrong").connect(tls.connector())),
            told("28P01", "password authentication failed for user \"postgres\"")
        );
    }
    let mut clear = encrypted.config("postgres", PASSWORD);
    clear.ssl_mode(SslMode::Disable);
    let none = "no pg_hba.conf entry for host \"127.0.0.1\", user \"postgres\", database \"db\", no encryption";
    assert_eq!(refused(clear.connect(NoTls)), told("28000", none));
    assert_eq!(encrypted.server.metric("omendb_tls_handshakes_total"), 14.0);
    assert_eq!(encrypted.server.metric("omendb_tls_handshake_failures_total"), 0.0);
}

#[test]
fn rules_tell_encrypted_from_clear() {
    let encrypted = Encrypted::start("hostssl all all all scram-sha-256\nhostnossl all ann all trust\n", &[]);
    let mut root = encrypted.superuser();
    root.batch_execute("CREATE ROLE ann LOGIN PASSWORD 'hers'").expect("she is created");
    let mut ann = encrypted.config("ann", "").ssl_mode(SslMode::Disable).connect(NoTls).expect("in the clear she is trusted");
    assert_eq!(text(&mut ann, OWN), "false   ");
    assert_eq!(refused(encrypted.connect("ann", "not hers")).0, "28P01", "encrypted she is not");
    encrypted.connect("ann", "hers").expect("it is hers");
    // She sees that others are there, but not how.
    let others = "SELECT count(*) FILTER (WHERE ssl IS NULL) || ' of ' || count(*) FROM pg_stat_ssl";
    assert_eq!((text(&mut ann, others), text(&mut root, others)), ("1 of 2".to_owned(), "0 of 2".to_owned()));
}

#[test]
fn psql_verifies_the_server() {
    let encrypted = Encrypted::start(RULES, &[]);
    let connection = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user=postgres dbname=db sslmode=verify-full sslrootcert={} channel_binding=require",
        encrypted.server.address.port(),
        encrypted.path("ca.crt").display()
    );
    let mut command = Command::new("psql");
    command.args(["-X", "-At", "-d", &connection, "-c", "\\conninfo", "-c", OWN]);
    let Ok(output) = command.env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "20").output() else {
        eprintln!("there is no psql here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("SSL connection (protocol: TLSv1.3, cipher: TLS_AES_256_GCM_SHA384"), "{output:?}");
    assert!(text.contains("true TLSv1.3 TLS_AES_256_GCM_SHA384 256"), "{output:?}");
}

#[test]
fn certificates_of_clients_are_who_they_are() {
    let rules = "hostssl all ann all cert\n\
                 hostssl all bob all trust clientcert=verify-full\n\
                 hostssl all eve all scram-sha-256 clientcert=verify-ca\n\
                 hostssl all all all scram-sha-256\n";
    let encrypted = Encrypted::start(rules, &[]);
    let mut root = encrypted.superuser();
    root.batch_execute("CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE eve LOGIN PASSWORD 'hers'")
        .expect("they are created");
    let (ann, bob) = (encrypted.authority.issue("ann"), encrypted.authority.issue("bob"));
    let login = |identity, user: &str, password: &str| {
        let tls = Tls { identity, ..encrypted.client() };
        encrypted.config(user, password).connect(tls.connector())
    };
    let mut client = login(Some(&ann), "ann", "").expect("it is her certificate");
    let shown = "SELECT client_dn || ' ' || issuer_dn || ' ' || (client_serial > 0)::text FROM pg_stat_ssl \
                 WHERE pid = pg_backend_pid()";
    assert_eq!(text(&mut client, shown), "/CN=ann /O=Shop/CN=Test CA true");
    login(Some(&bob), "bob", "").expect("it is his");
    login(Some(&bob), "eve", "hers").expect("any will do, with her password");
    assert_eq!(refused(login(Some(&bob), "eve", "wrong")).0, "28P01");
    let none = told("28000", "connection requires a valid client certificate");
    for user in ["ann", "bob", "eve"] {
        assert_eq!(refused(login(None, user, "hers")), none, "{user}");
    }
    assert_eq!(refused(login(Some(&bob), "ann", "")), told("28000", "certificate authentication failed for user \"ann\""));
    assert_eq!(refused(login(Some(&ann), "bob", "")), told("28000", "\"trust\" authentication failed for user \"bob\""));
    assert!(encrypted.server.log().contains("provided user name (ann) and authenticated user name (bob) do not match"));
    // Who issues certificates to himself gets nowhere, whatever the rule: as in PostgreSQL, the handshake fails.
    let forged = Authority::new("Test CA").issue("ann");
    let error = login(Some(&forged), "postgres", PASSWORD).map(drop).expect_err("nobody knows that authority");
    assert!(error.as_db_error().is_none(), "{error}");
    encrypted.server.wait_until("the complaint", || encrypted.server.log().contains("could not accept an SSL connection"));
}

#[test]
fn what_came_in_the_clear_is_not_taken_for_encrypted() {
    let encrypted = Encrypted::start("host all all all trust\n", &[]);
    let mixed = [packet(SSL, b""), startup(&[("user", "postgres")])].concat();
    let mut client = encrypted.server.open();
    client.send(&mixed);
    assert_eq!(client.rest_of_stream(), ["E FATAL 08P01 received unencrypted data after SSL request"]);
    // Encrypted once is enough.
    let mut client = encrypted.client().open(encrypted.server.address).expect("it is encrypted");
    client.send(&packet(SSL, b""));
    let answer = client.rest_of_stream();
    assert!(answer.len() == 1 && answer[0].starts_with("E FATAL 08P01"), "{answer:?}");
}

#[test]
fn direct_tls_names_the_protocol() {
    let encrypted = Encrypted::start("hostssl all all all trust\n", &[]);
    let address = encrypted.server.address;
    let mut named = encrypted.client().open_directly(address).expect("it is named");
    named.send(&startup(&[("user", "postgres")]));
    assert_eq!(named.until_ready().last().map(String::as_str), Some("Z I"));
    let mut unnamed = Tls { alpn: &[], ..encrypted.client() }.open_directly(address).expect("the handshake itself succeeds");
    let told = "E FATAL 08P01 received direct SSL connection request without ALPN protocol negotiation extension";
    assert_eq!(unnamed.rest_of_stream(), [told]);
    for (alpn, ok) in [(&[&b"http/1.1"[..]][..], false), (&[b"h2", ALPN], true), (&[], true)] {
        let asked = Tls { alpn, ..encrypted.client() }.open(address);
        assert_eq!(asked.is_ok(), ok, "{alpn:?}: after an SSLRequest the name may be missing, but not be another's");
    }
    let other = Tls { alpn: &[b"http/1.1"], ..encrypted.client() }.open_directly(address).map(drop).expect_err("it is another's");
    assert!(other.to_string().contains("NoApplicationProtocol"), "{other}");
    // Where nothing is encrypted, a handshake is a startup packet of an impossible length, as in PostgreSQL 15.
    let server = Server::start(&[]);
    let mut clear = server.open();
    clear.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    assert_eq!(clear.rest_of_stream(), ["E FATAL 08P01 invalid length of startup packet"]);
}

#[test]
fn statements_are_cancelled_over_tls() {
    let encrypted = Encrypted::start("hostssl all all all trust\n", &[]);
    let address = encrypted.server.address;
    let mut root = encrypted.connect("postgres", "").expect("everybody is trusted");
    for directly in [false, true] {
        let open = || if directly { encrypted.client().open_directly(address) } else { encrypted.client().open(address) };
        let mut client = open().expect("it is encrypted");
        client.send(&startup(&[("user", "postgres")]));
        client.until_ready();
        client.send(&query("SELECT pg_sleep(3600)"));
        let sleeping = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        encrypted.server.wait_until("the sleep", || text(&mut root, sleeping) == "1");
        let mut cancelling = open().expect("it is encrypted");
        cancelling.send(&packet(CANCEL, &client.key));
        assert_eq!(cancelling.rest_of_stream(), Vec::<String>::new());
        let answer = client.until_ready();
        assert!(answer.iter().any(|line| line == "E 57014 canceling statement due to user request"), "{answer:?}");
    }
    root.cancel_token().cancel_query(encrypted.client().connector()).expect("the library can do it too");
}

#[test]
fn large_amounts_go_both_ways() {
    let encrypted = Encrypted::start("hostssl all all all trust\n", &[]);
    let mut client = encrypted.connect("postgres", "").expect("everybody is trusted");
    client.batch_execute("CREATE TABLE big (id int PRIMARY KEY, text text)").expect("it is created");
    let line = |id: usize| format!("{id}\t{}\n", (0..40).map(|word| format!("{:x}", id * 31 + word)).collect::<String>());
    let sent: String = (0..100_000).map(line).collect();
    assert!(sent.len() > 16 << 20);
    let mut copy = client.copy_in("COPY big FROM STDIN").expect("it begins");
    copy.write_all(sent.as_bytes()).expect("the server takes it");
    assert_eq!(copy.finish().expect("it ends"), 100_000);
    let mut received = String::new();
    let mut copy = client.copy_out("COPY (SELECT * FROM big ORDER BY id) TO STDOUT").expect("it begins");
    copy.read_to_string(&mut received).expect("the server gives it");
    drop(copy);
    assert!(received == sent, "{} bytes, not {}", received.len(), sent.len());
    assert_eq!(text(&mut client, "SELECT count(*)::text FROM big"), "100000");
}

#[test]
fn encrypted_sessions_follow_their_data() {
    let encrypted = Encrypted::start("hostssl all all all trust\n", &["--session-mobility", "hop"]);
    let mut client = encrypted.connect("postgres", "").expect("everybody is trusted");
    // Tables are dealt out over the cores.
    for table in 0..4 {
        let fill = format!("CREATE TABLE t{table} (id int PRIMARY KEY, v text); INSERT INTO t{table} VALUES (1, 'of {table}')");
        client.batch_execute(&fill).expect("it is filled");
    }
    let lookups: Vec<_> =
        (0..4).map(|table| client.prepare(&format!("SELECT v FROM t{table} WHERE id = $1")).expect("it is prepared")).collect();
    for _ in 0..100 {
        for (table, lookup) in lookups.iter().enumerate() {
            let row = client.query_one(lookup, &[&1]).expect("it is there");
            assert_eq!(row.get::<_, &str>(0), format!("of {table}"));
        }
    }
    assert!(encrypted.server.metric("omendb_session_hops_total") >= 100.0);
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let encrypted = Encrypted::start(RULES, &[]);
    let mut root = encrypted.superuser();
    let presented = || {
        let shown = encrypted.client().config();
        let mut stream = crate::server::raw::socket(encrypted.server.address);
        stream.write_all(&packet(SSL, b"")).expect("the server listens");
        stream.read_exact(&mut [0]).expect("it answers");
        let name = "localhost".try_into().expect("it is a name");
        let mut connection = rustls::ClientConnection::new(shown.into(), name).expect("it is complete");
        connection.complete_io(&mut stream).expect("the handshake succeeds");
        connection.peer_certificates().expect("the server shows one")[0].clone()
    };
    let reload = |root: &mut postgres::Client, said: &str| {
        let before = encrypted.server.log().matches(said).count();
        root.batch_execute("SELECT pg_reload_conf()").expect("it says yes");
        encrypted.server.wait_until(said, || encrypted.server.log().matches(said).count() > before);
    };
    let first = presented();
    let next = encrypted.authority.issue("localhost");
    encrypted.write_identity(&next);
    reload(&mut root, "the certificate was read again");
    assert!(presented() == next.certificate && presented() != first);
    assert_eq!(text(&mut root, "SELECT 'still here'"), "still here");
    encrypted.connect("postgres", PASSWORD).expect("channel binding binds to the new one");
    // One that cannot be used changes nothing.
    std::fs::write(encrypted.path("server.crt"), "nonsense").expect("it can be written");
    reload(&mut root, "the certificate stays as it was: ssl_cert_file: there is no certificate in it");
    assert_eq!(presented(), next.certificate);
    encrypted.write_identity(&next);
    std::fs::write(encrypted.path("server.key"), encrypted.authority.issue("x").key.serialize_pem()).expect("it can be written");
    reload(&mut root, "the certificate stays as it was: ssl_cert_file and ssl_key_file cannot be used together");
    assert_eq!(presented(), next.certificate);
    assert_eq!(text(&mut root, "SELECT 'still here'"), "still here");
}

#[test]
fn a_server_without_its_files_does_not_start() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory can be written to");
    let data = directory.path().join("data");
    let output = Command::new(env!("CARGO_BIN_EXE_omendb"))
        .args(["serve", "--listen", "127.0.0.1:0", "--http", "off", "--cores", "1", "--ssl", "on", "--data-dir"])
        .arg(&data)
        .output()
        .expect("the binary was built with this test");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("could not access private key file"), "{output:?}");
    assert!(text.contains(data.join("server.key").to_str().expect("the path is text")), "relative to the data directory: {text}");
}
