//! Values of every type, in both formats, there and back: through a client of our own, byte by byte as PostgreSQL 15 sends them,
//! and through tokio-postgres (in its blocking dress, `postgres`), which has a mind of its own about them.

use std::fmt::Debug;
use std::io::{Read, Write};

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, date, datetime};
use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use crate::server::Server;
use crate::server::raw;

/// Types, values as text, and in binary as PostgreSQL 15 sends them.
const VALUES: &[(&str, &str, &str)] = &[
    ("boolean", "t", "01"),
    ("boolean", "f", "00"),
    ("smallint", "-32768", "8000"),
    ("integer", "2147483647", "7fffffff"),
    ("bigint", "-9223372036854775808", "8000000000000000"),
    ("real", "1.5e-07", "34210fb0"),
    ("real", "NaN", "7fc00000"),
    ("double precision", "-0.1", "bfb999999999999a"),
    ("double precision", "Infinity", "7ff0000000000000"),
    ("double precision", "1e+300", "7e37e43c8800759c"),
    ("numeric", "0", "0000000000000000"),
    ("numeric", "-12345678901234567890.00012300", "000700044000000804d2162e23340d801ed2000108fc"),
    ("numeric", "NaN", "00000000c0000000"),
    ("numeric(10,3)", "1.500", "000200000000000300011388"),
    ("text", "", ""),
    ("text", "grüße, 世界", "6772c3bcc39f652c20e4b896e7958c"),
    ("varchar(5)", "abc", "616263"),
    ("char(5)", "ab   ", "6162202020"),
    ("bytea", "\\x", ""),
    ("bytea", "\\x00ff7f", "00ff7f"),
    ("date", "2024-02-29", "00002279"),
    ("date", "0001-01-01 BC", "fff4da8b"),
    ("date", "infinity", "7fffffff"),
    ("timestamp", "1999-12-31 23:59:59.999999", "ffffffffffffffff"),
    ("timestamp", "-infinity", "8000000000000000"),
    ("timestamptz", "2024-02-29 12:00:00.5+00", "0002b582c47fb120"),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"),
    ("oid", "4294967295", "ffffffff"),
    ("name", "postgres", "706f737467726573"),
    ("interval", "1 year 2 mons -3 days +04:05:06.000007", "000000036c8bc087fffffffd0000000e"),
    ("integer[]", "{1,NULL,-3}", "00000001000000010000001700000003000000010000000400000001ffffffff00000004fffffffd"),
    ("text[]", r#"{a,"b,c",NULL}"#, "0000000100000001000000190000000300000001000000016100000003622c63ffffffff"),
    ("date[]", "{}", "00000000000000000000043a"),
];

#[test]
fn values_come_as_postgresql_sends_them() {
    let mut server = Server::start(&[]);
    let mut client = server.connect();
    client.run("SET TimeZone = 'UTC'");
    for (ty, text, hex) in VALUES {
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let parse = raw::parse("", &format!("SELECT $1::{ty}"));
        for (input, code) in [(text.as_bytes(), 0), (&bytes, 1)] {
            let parameter = [&[0, 0, 0, 1, 0, code, 0, 1], &(input.len() as u32).to_be_bytes()[..], input].concat();
            let bind = |result: u8| raw::message(b'B', &[&parameter[..], &[0, 1, 0, result]].concat());
            let run = |result| [bind(result), raw::execute("", 0)].concat();
            let found = client.exchange(&[parse.clone(), run(0), run(1), raw::sync()]);
            let rows: Vec<&str> = found.iter().filter_map(|line| line.strip_prefix("D ")).collect();
            // A value that is text is printed as text.
            let binary = if rows.get(1).is_some_and(|row| row == hex) { hex } else { text };
            assert_eq!(rows, [*text, *binary], "{ty} {text} in format {code}: {found:?}");
        }
        let null = raw::message(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xff\0\x01\0\x01");
        let found = client.exchange(&[parse, null, raw::execute("", 0), raw::sync()]);
        assert_eq!(found, ["1", "2", "D ~", "C SELECT 1", "Z I"], "{ty}");
    }
    for (ty, bytes) in [("int4", &b"\0\0\x01"[..]), ("boolean", b"\x02\x00"), ("uuid", b"short"), ("float8", b""), ("date", b"1")]
    {
        let parse = raw::parse("", &format!("SELECT $1::{ty}"));
        let length = (bytes.len() as u32).to_be_bytes();
        let bind = raw::message(b'B', &[&[0, 0, 0, 1, 0, 1, 0, 1], &length[..], bytes, &[0, 0]].concat());
        let found = client.exchange(&[parse, bind, raw::execute("", 0), raw::sync()]);
        assert!(found[1].starts_with("E 22P03 ") || found[1].starts_with("E 08P01 "), "{ty}: {found:?}");
    }
    server.assert_unharmed();
}

fn connect(server: &Server) -> Client {
    let (host, port) = (server.address.ip().to_string(), server.address.port());
    Config::new().host(&host).port(port).user("tester").connect(NoTls).expect("the driver can connect")
}

/// A value through a table's column of a type and back, as parameter and result in the driver's format, NULL too, and as text.
#[track_caller]
fn round_trip<T: ToSql + FromSqlOwned + Sync + PartialEq + Debug>(client: &mut Client, ty: &str, values: &[(T, &str)]) {
    let table = format!("t_{}", ty.replace(' ', "_"));
    client.batch_execute(&format!("CREATE TABLE {table} (id int PRIMARY KEY, v {ty})")).expect("the type can be stored");
    let insert = client.prepare(&format!("INSERT INTO {table} VALUES ($1, $2)")).expect("an INSERT");
    let select = client.prepare(&format!("SELECT v, v::text FROM {table} WHERE id = $1")).expect("a SELECT");
    for (id, (value, text)) in (0i32..).zip(values) {
        client.execute(&insert, &[&id, value]).unwrap_or_else(|error| panic!("{ty} {value:?}: {error:?}"));
        let row = client.query_one(&select, &[&id]).unwrap_or_else(|error| panic!("{ty} {value:?}: {error:?}"));
        assert_eq!((&row.get::<_, T>(0), row.get::<_, &str>(1)), (value, *text), "{ty}");
        let messages = client.simple_query(&format!("SELECT v FROM {table} WHERE id = {id}")).expect("a simple query");
        let rows: Vec<_> =
            messages.iter().filter_map(|m| if let SimpleQueryMessage::Row(row) = m { row.get(0) } else { None }).collect();
        // A boolean's cast to text has more letters than its output.
        let output = if ty == "boolean" { &text[..1] } else { text };
        assert_eq!(rows, [output], "{ty}");
    }
    client.execute(&insert, &[&-1, &None::<T>]).expect("NULL can be stored");
    assert_eq!(client.query_one(&select, &[&-1]).expect("a row").get::<_, Option<T>>(0), None);
}

#[test]
fn another_client_reads_what_it_wrote() {
    let mut server = Server::start(&[]);
    let client = &mut connect(&server);
    client.batch_execute("SET TimeZone = 'UTC'").expect("SET");
    round_trip(client, "boolean", &[(true, "true"), (false, "false")]);
    round_trip(client, "smallint", &[(0i16, "0"), (i16::MIN, "-32768"), (i16::MAX, "32767")]);
    round_trip(client, "integer", &[(0i32, "0"), (i32::MIN, "-2147483648"), (i32::MAX, "2147483647")]);
    round_trip(client, "bigint", &[(0i64, "0"), (i64::MIN, "-9223372036854775808"), (i64::MAX, "9223372036854775807")]);
    round_trip(client, "real", &[(0.1f32, "0.1"), (f32::MAX, "3.4028235e+38"), (f32::NEG_INFINITY, "-Infinity")]);
    round_trip(client, "double precision", &[(-0.0f64, "-0"), (5e-324, "5e-324"), (f64::INFINITY, "Infinity")]);
    let long = "ß".repeat(5000);
    round_trip(client, "text", &[(String::new(), ""), ("a\t'b\"\\ €".to_owned(), "a\t'b\"\\ €"), (long.clone(), &long)]);
    round_trip(client, "bytea", &[(vec![], "\\x"), (vec![0u8, 1, 254, 255], "\\x0001feff")]);
    let leap: Date = date(2024, 2, 29);
    round_trip(client, "date", &[(leap, "2024-02-29"), (date(1, 1, 1), "0001-01-01"), (date(9999, 12, 31), "9999-12-31")]);
    let moment: DateTime = datetime(1999, 12, 31, 23, 59, 59, 999_999_000);
    round_trip(client, "timestamp", &[(moment, "1999-12-31 23:59:59.999999")]);
    let epoch = Timestamp::from_microsecond(1_709_208_000_000_001).expect("a time of our days");
    round_trip(
        client,
        "timestamptz",
        &[(Timestamp::UNIX_EPOCH, "1970-01-01 00:00:00+00"), (epoch, "2024-02-29 12:00:00.000001+00")],
    );
    let id: Uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".parse().expect("a UUID");
    round_trip(client, "uuid", &[(Uuid::nil(), "00000000-0000-0000-0000-000000000000"), (id, &id.to_string())]);
    // The driver has no type of its own for numeric.
    let row = client.query_one("SELECT (($1::text)::numeric / 3)::text", &[&"10.000"]).expect("a numeric");
    assert_eq!(row.get::<_, &str>(0), "3.3333333333333333");
    driven_as_drivers_do(client);
    server.assert_unharmed();
}

/// Transactions, savepoints, portals, COPY and errors, as the driver wraps them.
fn driven_as_drivers_do(client: &mut Client) {
    client.batch_execute("CREATE TABLE d (id int PRIMARY KEY, name text)").expect("a table");
    let mut writer = client.copy_in("COPY d FROM STDIN").expect("a COPY");
    (1..=500).for_each(|id| writeln!(writer, "{id}\tname {id}").expect("COPY takes data"));
    assert_eq!(writer.finish().expect("a COPY ends"), 500);
    let mut text = String::new();
    client.copy_out("COPY (SELECT id FROM d ORDER BY id) TO STDOUT").expect("a COPY").read_to_string(&mut text).expect("text");
    assert_eq!(text, (1..=500).map(|id| format!("{id}\n")).collect::<String>());

    let mut transaction = client.transaction().expect("BEGIN");
    let portal = transaction.bind("SELECT id FROM d ORDER BY id", &[]).expect("a portal");
    let counts: Vec<usize> = (0..4).map(|_| transaction.query_portal(&portal, 200).expect("rows").len()).collect();
    assert_eq!(counts, [200, 200, 100, 0]);
    let mut inner = transaction.savepoint("inner").expect("SAVEPOINT");
    let error = inner.execute("INSERT INTO d VALUES (1, 'again')", &[]).expect_err("a duplicate");
    assert_eq!(error.code().map(|code| code.code()), Some("23505"));
    inner.rollback().expect("ROLLBACK TO");
    transaction.execute("DELETE FROM d WHERE id > $1", &[&250]).expect("a DELETE");
    transaction.commit().expect("COMMIT");
    assert_eq!(client.query_one("SELECT count(*) FROM d", &[]).expect("a row").get::<_, i64>(0), 250);
}
