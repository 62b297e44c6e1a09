//! Everything before the first query.

use super::client::*;
use crate::error::{SqlError, SqlState};
use crate::session::interrupt::Interruption;
use crate::wire::connection::Admission;

#[test]
fn encryption_is_declined_and_the_client_goes_on() {
    let server = Server::default();
    let mut client = server.connect();
    client.send(&packet(80_877_103, b""));
    assert_eq!(client.raw(), b"N");
    client.send(&packet(80_877_104, b""));
    assert_eq!(client.raw(), b"N");
    client.send(&startup("user\0ann\0application_name\0test\0options\0-c statement_timeout=5s\0"));
    let greeting = client.talk();
    for line in [
        "R",
        "S application_name=test",
        "S client_encoding=UTF8",
        "S DateStyle=ISO, MDY",
        "S default_transaction_read_only=off",
        "S in_hot_standby=off",
        "S integer_datetimes=on",
        "S IntervalStyle=postgres",
        "S is_superuser=on",
        "S server_encoding=UTF8",
        "S session_authorization=ann",
        "S standard_conforming_strings=on",
        "S TimeZone=UTC",
        "K",
        "Z I",
    ] {
        assert!(greeting.lines().any(|found| found == line), "{line} in {greeting}");
    }
    assert!(greeting.contains("S server_version=15."), "{greeting}");
    assert!(client.query("SHOW statement_timeout").contains("D 5s"));
}

#[test]
fn who_may_not_come_in_is_told_why() {
    let server = Server::default();
    let mut client =
        server.connect_with(Admission::Refuse(SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")));
    client.send(&startup("user\0ann\0"));
    expect(&client.talk(), &["E FATAL 53300 sorry, too many clients already"]);
    assert!(client.is_closed());

    for (pairs, told) in [
        ("", "E FATAL 28000 no PostgreSQL user name specified in startup packet"),
        ("user\0ann\0client_encoding\0LATIN1\0", "E FATAL 0A000 client_encoding LATIN1 is not supported"),
        ("user\0ann\0no_such\0x\0", "E FATAL 42704 unrecognized configuration parameter \"no_such\""),
    ] {
        let mut client = server.connect();
        client.send(&startup(pairs));
        expect(&client.talk(), &[told]);
        assert!(client.is_closed());
    }
}

#[test]
fn a_newer_protocol_is_negotiated_down() {
    let server = Server::default();
    let mut client = server.connect();
    client.send(&packet(3 << 16 | 99, b"user\0ann\0_pq_.new\0x\0\0"));
    assert!(client.talk().starts_with("v\nR\n"));
}

#[test]
fn a_cancel_request_reaches_its_session_only() {
    let server = Server::default();
    server.session().query("CREATE TABLE forever (a int primary key)");
    let (mut first, mut second) = (server.connect(), server.session());
    first.send(&startup("user\0ann\0"));
    let greeting = first.raw();
    let key = greeting.windows(5).position(|at| at == b"K\0\0\0\x0c").expect("BackendKeyData");
    let key = greeting[key + 5..key + 13].to_vec();
    first.send(&query("SELECT * FROM forever"));
    second.send(&query("SELECT * FROM forever"));
    assert_eq!(first.talk(), "");

    let mut canceller = server.connect();
    canceller.send(&packet(80_877_102, &key));
    assert_eq!(canceller.raw(), b"");
    assert!(canceller.is_closed());
    expect(&first.talk(), &["T a:23", "E 57014 canceling statement due to user request", "Z I"]);
    assert_eq!(second.talk(), "");
    expect(&first.query("SHOW server_version_num"), &["T server_version_num:25", "D 150008", "C SHOW", "Z I"]);
}

#[test]
fn a_shutdown_ends_idle_and_busy_sessions() {
    let server = Server::default();
    server.session().query("CREATE TABLE forever (a int primary key)");
    let (mut idle, mut busy) = (server.session(), server.session());
    busy.send(&query("SELECT * FROM forever"));
    assert_eq!(busy.talk(), "");
    server.services.registry.terminate_all();
    let told = "E FATAL 57P01 terminating connection due to administrator command";
    expect(&idle.talk(), &[told]);
    assert!(busy.talk().ends_with(told));
    assert!(idle.is_closed() && busy.is_closed());
    assert_eq!(server.services.registry.len(), 0);
    assert_eq!(crate::session::interrupted(Interruption::Terminate).code(), SqlState::ADMIN_SHUTDOWN);
}
