//! Logging in: by password, by rule, and not at all. Clients are libpq (psql), the `postgres` crate, the `scram` crate over raw
//! messages, and messages that no client sends.

use std::fs;
use std::process::Command;

use postgres::{Config, NoTls};
use scram::ScramClient;
use tempfile::TempDir;

use crate::server::Server;
use crate::server::raw::{self, Client, message, startup};

const SUPERUSER: &str = "correct horse";

/// A server whose superuser has a password.
struct Guarded {
    server: Server,
    directory: TempDir,
}

impl Guarded {
    fn start(rules: Option<&str>) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's directory can be written to");
        let at = |name: &str| directory.path().join(name).to_str().expect("the path is text").to_owned();
        fs::write(at("password"), format!("{SUPERUSER}\n")).expect("it can be written");
        let password = at("password");
        let mut flags = vec!["--superuser-password-file", &password, "--scram-iterations", "64", "--log-level", "debug"];
        let file = at("hba.conf");
        if let Some(rules) = rules {
            fs::write(&file, rules).expect("it can be written");
            flags.extend(["--hba-file", &file]);
        }
        Self { server: Server::start(&flags), directory }
    }

    fn write_rules(&self, rules: &str) {
        fs::write(self.directory.path().join("hba.conf"), rules).expect("it can be written");
    }

    fn config(&self, user: &str, password: &str) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.server.address.port()).user(user).password(password).dbname("db");
        config
    }

    fn superuser(&self) -> postgres::Client {
        self.config("postgres", SUPERUSER).connect(NoTls).expect("the password is right")
    }

    /// Code and message of a login that fails.
    fn refused(&self, user: &str, password: &str) -> (String, String) {
        let error = self.config(user, password).connect(NoTls).map(drop).expect_err(user);
        let told = error.as_db_error().unwrap_or_else(|| panic!("{user}: {error}"));
        assert_eq!(told.severity(), "FATAL");
        (told.code().code().to_owned(), told.message().to_owned())
    }

    /// A connection that has been asked to prove that it is `user`.
    fn asked(&self, user: &str) -> Client {
        let mut client = self.server.open();
        client.send(&startup(&[("user", user), ("database", "db")]));
        assert_eq!(client.next().as_deref(), Some("R 10 SCRAM-SHA-256"));
        client
    }
}

fn sasl_initial(mechanism: &str, data: &str) -> Vec<u8> {
    message(b'p', &[mechanism.as_bytes(), b"\0", &(data.len() as u32).to_be_bytes(), data.as_bytes()].concat())
}

fn sasl(data: &str) -> Vec<u8> {
    message(b'p', data.as_bytes())
}

#[test]
fn a_password_is_asked_for_and_is_enough() {
    let guarded = Guarded::start(None);
    let mut root = guarded.superuser();
    let row = root.query_one("select current_user::text, current_setting('is_superuser')", &[]).expect("it is answered");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("postgres", "on"));
    // RFC 7677's verifier of `pencil`, and a password that SASLprep changes.
    root.batch_execute(
        "create role pencil login password 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=';
         create role prepared login password U&'\\2168';
         create role nologin password 'secret-1';
         create role bare login;
         create role past login password 'secret-2' valid until '2001-01-01';
         create role future login password 'secret-3' valid until 'infinity';
         create role one login password 'secret-4' connection limit 1",
    )
    .expect("roles are created");
    for (user, password) in [("pencil", "pencil"), ("prepared", "\u{2168}"), ("prepared", "IX"), ("future", "secret-3")] {
        guarded.config(user, password).connect(NoTls).unwrap_or_else(|error| panic!("{user}: {error}"));
    }
    // Nobody can tell which of these there are.
    let wrong = [
        ("postgres", "x"),
        ("nobody", "x"),
        ("bare", ""),
        ("bare", "x"),
        ("past", "secret-2"),
        ("nologin", "x"),
        ("future", "x"),
    ];
    for (user, password) in wrong.iter().filter(|(_, password)| !password.is_empty()) {
        let message = format!("password authentication failed for user \"{user}\"");
        assert_eq!(guarded.refused(user, password), ("28P01".to_owned(), message));
    }
    let refused = guarded.refused("nologin", "secret-1");
    assert_eq!(refused, ("28000".to_owned(), "role \"nologin\" is not permitted to log in".to_owned()));
    let _first = guarded.config("one", "secret-4").connect(NoTls).expect("one session is allowed");
    let refused = guarded.refused("one", "secret-4");
    assert_eq!(refused, ("53300".to_owned(), "too many connections for role \"one\"".to_owned()));
    root.batch_execute("alter role pencil password 'other-secret'").expect("it is altered");
    assert_eq!(guarded.refused("pencil", "pencil").0, "28P01");
    guarded.config("pencil", "other-secret").connect(NoTls).expect("the new one counts");
    assert_eq!(guarded.server.metric("omendb_login_failures_total"), 7.0);
    assert!(!guarded.server.log().contains("secret"), "{}", guarded.server.log());
}

#[test]
fn libpq_logs_in() {
    let guarded = Guarded::start(None);
    let port = guarded.server.address.port().to_string();
    let psql = |password: &str, sql: &str| {
        let mut command = Command::new("psql");
        command.args(["-X", "-At", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", "db", "-c", sql]);
        command.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "20").output()
    };
    let Ok(output) = psql(SUPERUSER, "\\du") else {
        eprintln!("there is no psql here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("postgres|Superuser, Create role, Create DB, Replication, Bypass RLS"), "{output:?}");
    let output = psql("wrong", "select 1").expect("it ran before");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("FATAL:  password authentication failed for user \"postgres\""), "{text}");
}

/// The exchange of the `scram` crate's client: what came last.
fn scram_login(client: &mut Client, user: &str, password: &str) -> String {
    let data = |line: Option<String>, code: &str| line.expect("an answer").strip_prefix(code).expect(code).trim().to_owned();
    let (scram, first) = ScramClient::new(user, password, None).client_first();
    client.send(&sasl_initial("SCRAM-SHA-256", &first));
    let scram = scram.handle_server_first(&data(client.next(), "R 11")).expect("the challenge is right");
    let (scram, last) = scram.client_final();
    client.send(&sasl(&last));
    let answer = client.next().expect("an answer");
    match answer.strip_prefix("R 12 ") {
        Some(proof) => {
            scram.handle_server_final(proof).expect("the server knows the verifier");
            client.until_ready().last().cloned().expect("a greeting")
        }
        None => answer,
    }
}

#[test]
fn another_implementation_agrees() {
    let guarded = Guarded::start(None);
    assert_eq!(scram_login(&mut guarded.asked("postgres"), "postgres", SUPERUSER), "Z I");
    let refused = "E FATAL 28P01 password authentication failed for user \"postgres\"";
    assert_eq!(scram_login(&mut guarded.asked("postgres"), "postgres", "no"), refused);
}

#[test]
fn messages_that_no_client_sends() {
    let guarded = Guarded::start(None);
    let first = "n,,n=,r=abc";
    let malformed = "E FATAL 08P01 malformed SCRAM message";
    for (bytes, told) in [
        (raw::query("select 1"), "E FATAL 08P01 expected SASL response, got message type 81"),
        (b"\xff\0\0\0\x04".to_vec(), "E FATAL 08P01 expected SASL response, got message type 255"),
        (sasl_initial("SCRAM-SHA-1", first), "E FATAL 08P01 client selected an invalid SASL authentication mechanism"),
        (sasl_initial("SCRAM-SHA-256", ""), malformed),
        (sasl_initial("SCRAM-SHA-256", "n,,n=,"), malformed),
        (sasl_initial("SCRAM-SHA-256", "p=tls-unique,,n=,r=a"), malformed),
        (sasl("SCRAM-SHA-256\0\0\0\0\x0an,,"), "E FATAL 08P01 insufficient data left in message"),
        (sasl("x"), "E FATAL 08P01 invalid string in message"),
        (message(b'p', &[b'x'; 1025]), "E FATAL 08P01 invalid message length"),
        (b"p\x7f\xff\xff\xff".to_vec(), "E FATAL 08P01"),
        (b"p\0\0\0\x03".to_vec(), "E FATAL 08P01"),
    ] {
        let mut client = guarded.asked("postgres");
        client.send(&bytes);
        let answer = client.rest_of_stream();
        assert!(answer.len() == 1 && answer[0].starts_with(told), "{bytes:?}: {answer:?}");
    }
    let challenge = |user: &str| {
        let mut client = guarded.asked(user);
        client.send(&sasl_initial("SCRAM-SHA-256", first));
        let challenge = client.next().expect("a challenge");
        (client, challenge)
    };
    let salt = |challenge: &str| challenge.split(",s=").nth(1).expect("a salt").to_owned();
    let ((_, known), (_, unknown), (_, again), (_, other)) =
        (challenge("postgres"), challenge("x"), challenge("x"), challenge("y"));
    assert_eq!(salt(&unknown), salt(&again), "asking twice tells nothing");
    assert!(unknown != again && salt(&unknown) != salt(&other) && salt(&known).len() == salt(&unknown).len());
    // What one connection has answered is worth nothing on another.
    let mut client = guarded.asked("postgres");
    let (scram, _) = ScramClient::new("postgres", SUPERUSER, None).client_first();
    client.send(&sasl_initial("SCRAM-SHA-256", first));
    let line = client.next().expect("a challenge");
    assert!(scram.handle_server_first(line.strip_prefix("R 11 ").expect("data")).is_err(), "it is another's nonce");
    client.send(&sasl("c=biws,r=abcdef,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    assert_eq!(client.rest_of_stream(), ["E FATAL 08P01 invalid SCRAM response"]);
}

#[test]
fn rules_decide_and_can_be_changed() {
    let guarded = Guarded::start(Some(
        "host db postgres 127.0.0.1/32 scram-sha-256\n\
         host all +staff 127.0.0.1/32 trust\n\
         host all evil all reject\n",
    ));
    let mut root = guarded.superuser();
    root.batch_execute("create role staff; create role ann login in role staff; create role evil login")
        .expect("they are created");
    guarded.config("ann", "").connect(NoTls).expect("members of staff are trusted");
    let told = |how: &str, user: &str| {
        ("28000".to_owned(), format!("{how} host \"127.0.0.1\", user \"{user}\", database \"db\", no encryption"))
    };
    assert_eq!(guarded.refused("bob", "x"), told("no pg_hba.conf entry for", "bob"));
    assert_eq!(guarded.refused("evil", "x"), told("pg_hba.conf rejects connection for", "evil"));
    guarded.write_rules("local all all trust\nhost all all all nonsense\n");
    root.batch_execute("select pg_reload_conf()").expect("it says yes");
    guarded
        .server
        .wait_until("the complaint", || guarded.server.log().contains("hba.conf:2: invalid authentication method \"nonsense\""));
    guarded.config("ann", "").connect(NoTls).expect("the old rules are in force");
    guarded.write_rules("host all all all trust\n");
    root.batch_execute("select pg_reload_conf()").expect("it says yes");
    guarded.server.wait_until("the new rules", || guarded.server.log().contains("is in force"));
    guarded.config("evil", "").connect(NoTls).expect("everybody is trusted now");
    assert_eq!(guarded.refused("bob", ""), ("28000".to_owned(), "role \"bob\" does not exist".to_owned()));
    let error = guarded.config("ann", "").connect(NoTls).expect("she is trusted").batch_execute("select pg_reload_conf()");
    assert_eq!(error.expect_err("she is no superuser").code().map(|code| code.code()), Some("42501"));
}

#[test]
fn who_fails_too_often_has_to_wait() {
    let guarded = Guarded::start(None);
    let mut answers = (0..30).map(|_| guarded.refused("postgres", "guess"));
    let stopped = answers.find(|(code, _)| code != "28P01");
    assert_eq!(stopped, Some(("28000".to_owned(), "too many failed logins from \"127.0.0.1\"".to_owned())));
    assert!(guarded.server.metric("omendb_login_failures_total") >= 20.0);
}

#[test]
fn passwords_and_rules_survive_kills() {
    let guarded = Guarded::start(None);
    guarded.superuser().batch_execute("alter role postgres password 'changed'").expect("it is altered");
    let Guarded { server, directory } = guarded;
    let password = directory.path().join("password");
    let server = server.kill().start(&["--superuser-password-file", password.to_str().expect("the path is text")]);
    let guarded = Guarded { server, directory };
    guarded.config("postgres", "changed").connect(NoTls).expect("the password is the newest");
    assert_eq!(guarded.refused("postgres", SUPERUSER).0, "28P01");
    assert!(guarded.server.log().contains("has a password already"), "{}", guarded.server.log());
}
