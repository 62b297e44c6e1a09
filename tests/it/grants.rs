//! Privileges: that what is granted and revoked counts for plans made before, for every way in, and after a restart. What PostgreSQL
//! answers to each statement is compared by `scripts/privileges`.

use std::process::Command;

use crate::server::Server;
use crate::server::raw::{self, Client};

#[track_caller]
fn refused(client: &mut Client, sql: &str, expected: &str) {
    let answer = client.query(sql).join("\n");
    assert!(answer.contains(expected), "{sql}: {answer}");
}

fn prepared() -> Server {
    let server = Server::start(&["--scram-iterations", "1"]);
    let mut root = server.login("postgres");
    root.run("create role ann login; create role bob login; create role staff");
    root.run("create table t (a int primary key, b int); insert into t values (1, 10), (2, 20)");
    server
}

#[test]
fn a_revoke_counts_for_plans_made_before() {
    let server = prepared();
    let (mut root, mut ann) = (server.login("postgres"), server.login("ann"));
    let denied = "permission denied for table t";
    let point = |client: &mut Client| {
        client.exchange(&[raw::bind("", "point", &[Some("1")]), raw::execute("", 0), raw::sync()]).join("\n")
    };
    // Preparing is allowed to all; running is not.
    let answer = ann.exchange(&[raw::parse("point", "select b from t where a = $1"), raw::sync()]);
    assert!(!answer.join("\n").contains("E "), "{answer:?}");
    assert!(point(&mut ann).contains(denied));
    ann.run("prepare p as select count(*) from t");
    refused(&mut ann, "execute p", denied);
    for _ in 0..3 {
        root.run("grant select on t to ann");
        assert!(point(&mut ann).contains("D 10"));
        assert_eq!(ann.column("select b from t where a = 2"), ["20"]);
        assert_eq!(ann.column("select b from t where a = 1"), ["10"]);
        assert_eq!(ann.column("execute p"), ["2"]);
        root.run("revoke select on t from ann");
        assert!(point(&mut ann).contains(denied));
        refused(&mut ann, "select b from t where a = 1", denied);
        refused(&mut ann, "execute p", denied);
    }
    // Within a transaction that has begun, too.
    root.run("grant select on t to ann");
    ann.run("begin; select * from t");
    root.run("revoke select on t from ann");
    refused(&mut ann, "select * from t", denied);
    ann.run("rollback");
}

#[test]
fn a_plan_is_not_another_roles() {
    let server = prepared();
    let mut root = server.login("postgres");
    root.run("grant update (b) on t to bob; grant bob to ann");
    let denied = "permission denied for table t";
    root.exchange(&[raw::parse("point", "select b from t where a = $1"), raw::sync()]);
    let point = |client: &mut Client| {
        client.exchange(&[raw::bind("", "point", &[Some("1")]), raw::execute("", 0), raw::sync()]).join("\n")
    };
    root.exchange(&[raw::parse("lock", "lock table t in share mode"), raw::parse("why", "explain select a from t"), raw::sync()]);
    for _ in 0..3 {
        assert!(point(&mut root).contains("D 10"));
        assert_eq!(root.column("select b from t where a = 1"), ["10"]);
        root.run("set role bob");
        assert!(point(&mut root).contains(denied));
        refused(&mut root, "select b from t where a = 1", denied);
        root.run("update t set b = 10");
        root.run("begin");
        let answer = root.exchange(&[raw::bind("", "lock", &[]), raw::execute("", 0), raw::sync()]).join("\n");
        assert!(answer.contains(denied), "{answer}");
        root.run("rollback");
        let answer = root.exchange(&[raw::bind("", "why", &[]), raw::execute("", 0), raw::sync()]).join("\n");
        assert!(answer.contains(denied), "{answer}");
        root.run("reset role");
    }
}

#[test]
fn set_role_is_a_setting_of_the_transaction() {
    let server = prepared();
    let mut root = server.login("postgres");
    let who = "select current_user, session_user, current_setting('role')";
    let is = |client: &mut Client, expected: &str| assert_eq!(client.column(who), [expected]);
    is(&mut root, "postgres|postgres|none");
    let answer = root.query("set role ann");
    assert_eq!(answer, ["C SET", "S is_superuser=off", "Z I"]);
    is(&mut root, "ann|postgres|ann");
    root.run("begin; set local role bob; savepoint s; reset role");
    is(&mut root, "postgres|postgres|none");
    root.run("rollback to s");
    is(&mut root, "bob|postgres|bob");
    root.run("commit");
    is(&mut root, "ann|postgres|ann");
    let answer = root.query("set session authorization bob");
    assert_eq!(answer, ["C SET", "S session_authorization=bob", "Z I"]);
    is(&mut root, "bob|bob|none");
    refused(&mut root, "set role ann", "permission denied to set role \"ann\"");
    root.run("reset all");
    is(&mut root, "bob|bob|none");
    let answer = root.query("discard all");
    assert_eq!(answer, ["C DISCARD ALL", "S is_superuser=on", "S session_authorization=postgres", "Z I"]);
    is(&mut root, "postgres|postgres|none");
    root.run("begin; set session authorization ann; set role none; rollback");
    is(&mut root, "postgres|postgres|none");
    let mut ann = server.login("ann");
    refused(&mut ann, "set session authorization bob", "permission denied to set session authorization");
    refused(&mut ann, "set role staff", "permission denied to set role \"staff\"");
    root.run("grant staff to ann");
    ann.run("set role staff; set session authorization ann");
    is(&mut ann, "ann|ann|none");
    // A role that is gone has nothing but what everybody has.
    ann.run("set role staff");
    root.run("drop role staff");
    refused(&mut ann, "select current_user", "invalid role OID");
    refused(&mut ann, "select * from t", "permission denied for table t");
    ann.run("reset role");
    is(&mut ann, "ann|ann|none");
    let mut client = server.open();
    client.send(&raw::startup(&[("user", "postgres"), ("database", "db"), ("role", "bob")]));
    client.until_ready();
    is(&mut client, "bob|postgres|bob");
    client.run("set role ann; reset role");
    is(&mut client, "bob|postgres|bob");
}

#[test]
fn grants_commit_roll_back_and_survive() {
    let server = prepared();
    let mut root = server.login("postgres");
    root.run("begin; grant select on t to ann; alter default privileges grant select on tables to ann; rollback");
    let mut ann = server.login("ann");
    refused(&mut ann, "select * from t", "permission denied for table t");
    let lists = "select array_to_string(relacl, ' ') from pg_class where relname in ('t', 'u') order by relname";
    assert_eq!(root.column(lists), ["~"]);
    root.run("grant select (a), update (b) on t to ann with grant option; grant insert, delete on t to bob, public");
    root.run("alter default privileges in schema public grant select on tables to ann; create table u (x int)");
    root.run(
        "revoke usage on schema public from public; grant usage on schema public to ann; revoke temp on database db from public",
    );
    root.run("create role x; grant connect on database db to x; truncate t; alter table t owner to postgres");
    let shown = [
        lists,
        "select attname, array_to_string(attacl, ' ') from pg_attribute where attrelid = 't'::regclass and attacl is not null order by 1",
        "select array_to_string(nspacl, ' ') from pg_namespace where nspname = 'public'",
        "select array_to_string(datacl, ' ') from pg_database",
        "select defaclrole, defaclnamespace, defaclobjtype, array_to_string(defaclacl, ' ') from pg_default_acl",
    ];
    let expected = [
        vec!["postgres=arwdDxt/postgres bob=ad/postgres =ad/postgres", "postgres=arwdDxt/postgres ann=r/postgres"],
        vec!["a|ann=r*/postgres", "b|ann=w*/postgres"],
        vec!["pg_database_owner=UC/pg_database_owner ann=U/pg_database_owner"],
        vec!["=c/postgres postgres=CTc/postgres x=c/postgres"],
        vec!["10|2200|r|ann=r/postgres"],
    ];
    let as_expected = |root: &mut Client| {
        for (query, expected) in shown.iter().zip(&expected) {
            assert_eq!(root.column(query), *expected, "{query}");
        }
    };
    as_expected(&mut root);
    let server = server.kill().start(&["--scram-iterations", "1"]);
    let mut root = server.login("postgres");
    as_expected(&mut root);
    root.run("checkpoint");
    let server = server.kill().start(&["--scram-iterations", "1"]);
    let mut root = server.login("postgres");
    as_expected(&mut root);
    let mut ann = server.login("ann");
    ann.run("select a from t; update t set b = 1; select * from u");
    refused(&mut ann, "select b from t", "permission denied for table t");
    refused(&mut server.login("bob"), "select a from t", "relation \"t\" does not exist");
    refused(&mut root, "drop role ann", "2BP01 role \"ann\" cannot be dropped");
    root.run("drop owned by ann, bob, x; drop role ann, bob, x");
    assert_eq!(root.column("select count(*) from pg_default_acl"), ["0"]);
}

#[test]
fn who_may_not_connect_is_turned_away() {
    let server = prepared();
    let mut root = server.login("postgres");
    root.run("revoke connect on database db from public; grant connect on database db to bob");
    let mut client = server.open();
    client.send(&raw::startup(&[("user", "ann"), ("database", "db")]));
    let answer = client.rest_of_stream().join("\n");
    assert!(answer.contains("E FATAL 42501 permission denied for database \"db\""), "{answer}");
    server.login("bob");
    server.login("postgres");
    // Becoming a role is not connecting as it.
    root.run("set session authorization ann; select 1");
}

/// psql asks in its own way for what is granted.
#[test]
fn psql_shows_what_is_granted() {
    let server = prepared();
    server
        .login("postgres")
        .run("grant select on t to ann; grant update (b) on t to bob; alter default privileges grant all on tables to staff");
    let psql = |command: &str| {
        let mut psql = Command::new("psql");
        psql.args([
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-p",
            &server.address.port().to_string(),
            "-U",
            "postgres",
            "-d",
            "db",
            "-c",
            command,
        ]);
        psql.output()
            .map(|output| format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    if psql("select 1").is_err() {
        eprintln!("there is no psql here");
        return;
    }
    for (command, expected) in [
        ("\\dp", "public|t|table|postgres=arwdDxt/postgres\nann=r/postgres|b:\n  bob=w/postgres|"),
        ("\\z t", "ann=r/postgres"),
        ("\\dn+", "public|pg_database_owner|pg_database_owner=UC/pg_database_owner\n=U/pg_database_owner|"),
        ("\\l", "db|postgres|UTF8"),
        ("\\ddp", "postgres||table|"),
        ("\\ddp", "staff=arwdDxt/postgres"),
    ] {
        let shown = psql(command).expect("it ran before");
        assert!(shown.contains(expected) && !shown.contains("ERROR"), "{command}: {shown}");
    }
}
