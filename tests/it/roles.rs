//! Roles: what PostgreSQL 15 answers to each statement, who may do what, and what a restart leaves.

use crate::server::Server;
use crate::server::raw::{self, Client};

/// The first line of the answer: an error's or notice's code and message, or the command tag.
fn first(client: &mut Client, sql: &str) -> String {
    client.query(sql).swap_remove(0)
}

#[track_caller]
fn check(client: &mut Client, cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        let answer = first(client, sql);
        assert!(answer.contains(expected), "{sql}: {answer}");
    }
}

#[test]
fn statements_answer_as_postgresql_does() {
    let server = Server::start(&["--scram-iterations", "1"]);
    let mut client = server.login("postgres");
    check(
        &mut client,
        &[
            ("create role a", "C CREATE ROLE"),
            ("create role a", "role \"a\" already exists"),
            ("create role if not exists a", "syntax error at or near \"not\""),
            ("create user b password 'x' valid until '2030-01-01' connection limit 3", "C CREATE ROLE"),
            ("create group g", "C CREATE ROLE"),
            ("create role pg_x", "role name \"pg_x\" is reserved"),
            ("create role public", "role name \"public\" is reserved"),
            ("create role current_user", "CURRENT_USER cannot be used as a role name here"),
            ("create role c superuser nosuperuser", "conflicting or redundant options"),
            ("create role c foo", "unrecognized role option \"foo\""),
            ("create role c connection limit -2", "invalid connection limit: -2"),
            ("create role c valid until 'garbage'", "22007"),
            ("create role c password 'md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "an MD5 verifier as password is not supported"),
            ("create role c unencrypted password 'x'", "UNENCRYPTED PASSWORD is no longer supported"),
            ("create role e password ''", "empty string is not a valid password, clearing password"),
            ("create role d in role a role b admin g", "C CREATE ROLE"),
            ("create role d2 in role nosuch", "role \"nosuch\" does not exist"),
            ("grant a to b", "C GRANT ROLE"),
            ("grant a to b", "role \"b\" is already a member of role \"a\""),
            ("grant a to b with admin option", "C GRANT ROLE"),
            ("grant b to a", "0LP01"),
            ("grant a to a", "role \"a\" is a member of role \"a\""),
            ("grant a, g to d, b", "role \"d\" is already a member of role \"a\""),
            ("grant a to public", "role \"public\" does not exist"),
            ("revoke admin option for a from b", "C REVOKE ROLE"),
            ("revoke a from b", "C REVOKE ROLE"),
            ("revoke a from b", "role \"b\" is not a member of role \"a\""),
            ("alter role a rename to b", "role \"b\" already exists"),
            ("alter role postgres rename to x", "session user cannot be renamed"),
            ("alter role a rename to a2", "C ALTER ROLE"),
            ("alter user a2 with", "C ALTER ROLE"),
            ("alter role a2 login createdb noinherit", "C ALTER ROLE"),
            ("alter role a2 set search_path = x", "ALTER ROLE … SET is not supported"),
            ("alter role all login", "syntax error at or near \"login\""),
            ("alter role postgres nosuperuser", "permission denied to alter role"),
            ("alter group g add user e", "C ALTER ROLE"),
            ("alter group g drop user e", "C ALTER ROLE"),
            ("grant select on t to a2", "relation \"t\" does not exist"),
            ("drop role nosuch", "role \"nosuch\" does not exist"),
            ("drop role if exists nosuch", "role \"nosuch\" does not exist, skipping"),
            ("drop role postgres", "current user cannot be dropped"),
            ("drop user current_user", "cannot use special role specifier in DROP ROLE"),
            ("begin", "C BEGIN"),
            ("create role gone", "C CREATE ROLE"),
            ("rollback", "C ROLLBACK"),
            ("drop role gone", "role \"gone\" does not exist"),
            ("drop group g", "C DROP ROLE"),
        ],
    );
    let members = "select r.rolname, m.rolname, admin_option from pg_auth_members
                   join pg_roles r on r.oid = roleid join pg_roles m on m.oid = member order by 1";
    assert_eq!(client.column(members), ["a2|d|f", "d|b|f"]);
    let shown = "select rolpassword is null, rolcanlogin, rolconnlimit, rolvaliduntil from pg_authid where rolname = 'b'";
    assert_eq!(client.column(shown), ["f|t|3|2030-01-01 00:00:00+00"]);
    assert_eq!(client.column("select count(*) from pg_authid where rolpassword not like 'SCRAM-SHA-256$1:%'"), ["0"]);
}

#[test]
fn ordinary_roles_may_do_what_is_theirs() {
    let server = Server::start(&["--scram-iterations", "1"]);
    let mut root = server.login("postgres");
    root.run("create role plain login; create role maker login createrole; create role other; create role su superuser");
    root.run("create table t (a int primary key); insert into t values (1); analyze t; grant create on schema public to public");
    root.run("begin; insert into t values (3); prepare transaction 'roots'");
    let denied = [
        ("select * from t", "permission denied for table t"),
        ("insert into t values (2)", "permission denied for table t"),
        ("update t set a = 2", "permission denied for table t"),
        ("delete from t", "permission denied for table t"),
        ("copy t to stdout", "permission denied for table t"),
        ("truncate t", "permission denied for table t"),
        ("explain select * from t", "permission denied for table t"),
        ("drop table t", "must be owner of table t"),
        ("alter table t add primary key (a)", "must be owner of table t"),
        ("analyze t", "skipping \"t\" --- only table or database owner can analyze it"),
        ("checkpoint", "must be superuser"),
        ("select rolpassword from pg_authid", "permission denied for table pg_authid"),
        ("select passwd from pg_shadow", "permission denied for view pg_shadow"),
        ("select * from pg_statistic", "permission denied for table pg_statistic"),
        ("commit prepared 'roots'", "permission denied to finish prepared transaction"),
        ("create role x", "permission denied to create role"),
        ("drop role other", "permission denied to drop role"),
        ("alter role other login", "permission denied"),
        ("alter role su login", "must be superuser to alter superuser roles"),
        ("alter role plain valid until '2040-01-01'", "permission denied"),
        ("alter role plain password 'x' login", "permission denied"),
        ("grant other to plain", "must have admin option on role \"other\""),
        ("grant su to plain", "must be superuser to alter superusers"),
        ("alter role plain rename to x", "session user cannot be renamed"),
    ];
    let mut plain = server.login("plain");
    check(&mut plain, &denied);
    check(
        &mut plain,
        &[
            ("alter role plain password 'new'", "C ALTER ROLE"),
            ("alter role current_user password null", "C ALTER ROLE"),
            ("create table own (a int primary key)", "C CREATE TABLE"),
            ("insert into own values (7)", "C INSERT 0 1"),
            ("alter table own owner to other", "must be member of role \"other\""),
            ("alter table own owner to nosuch", "role \"nosuch\" does not exist"),
            ("alter table own owner to current_user", "C ALTER TABLE"),
            ("alter table t owner to plain", "must be owner of table t"),
        ],
    );
    assert_eq!(plain.column("select count(*) from pg_stats where tablename = 't'"), ["0"]);
    assert_eq!(root.column("select count(*) from pg_stats where tablename = 't'"), ["1"]);
    let asked = "select has_table_privilege('t', 'SELECT'), has_table_privilege('own', 'SELECT'),
                 pg_has_role('postgres', 'MEMBER'), current_setting('is_superuser')";
    assert_eq!(plain.column(asked), ["f|t|f|off"]);
    check(
        &mut server.login("maker"),
        &[
            ("create role x superuser", "must be superuser to create superusers"),
            ("create role x", "C CREATE ROLE"),
            ("drop role su", "must be superuser to drop superusers"),
            ("alter role x noreplication", "must be superuser to alter replication roles"),
            ("grant x to other granted by plain", "must be superuser to set grantor"),
            ("grant x to other", "C GRANT ROLE"),
        ],
    );
    check(
        &mut root,
        &[("drop role plain", "2BP01"), ("grant plain to other", "C GRANT ROLE"), ("alter role other login", "C ALTER ROLE")],
    );
    // A member has what its role has; without INHERIT it has not.
    let mut other = server.login("other");
    assert_eq!(other.column("select a from own"), ["7"]);
    root.run("alter role other noinherit");
    check(&mut other, &[("select a from own", "permission denied for table own")]);
    root.run("alter table own owner to maker; drop role plain");
    check(&mut root, &[("drop role maker", "2BP01")]);
    assert_eq!(root.column("select tableowner from pg_tables where tablename = 'own'"), ["maker"]);
    root.run("drop table own; drop role maker, other");
    check(&mut other, &[("select * from t", "permission denied for table t"), ("create role x", "permission denied")]);
}

#[test]
fn roles_survive_kills_and_the_superuser_is_made_once() {
    let server = Server::start(&["--superuser", "root", "--scram-iterations", "1"]);
    let mut client = server.login("root");
    client.run("create role a login password 'x'; create role b in role a; create table t (x int)");
    let stored = client.column("select rolname || rolpassword from pg_authid where rolname = 'a'");
    assert_eq!(client.column("select pg_get_userbyid(relowner) from pg_class where relname = 't'"), ["root"]);
    let server = server.kill().start(&["--superuser", "other"]);
    let mut client = server.login("root");
    assert_eq!(client.column("select rolname || rolpassword from pg_authid where rolname = 'a'"), stored);
    assert_eq!(client.column("select rolname from pg_roles where rolname not like 'pg%' order by 1"), ["a", "b", "root"]);
    check(&mut client, &[("create role b", "already exists"), ("drop role a", "C DROP ROLE")]);
    assert_eq!(client.column("select count(*) from pg_auth_members"), ["0"]);
}

#[test]
fn passwords_are_not_kept_or_logged() {
    let server = Server::start(&["--scram-iterations", "1", "--log-level", "trace"]);
    let mut client = server.login("postgres");
    client.run("create role a password 'open-sesame'");
    client.exchange(&[raw::parse("s", "alter role a password 'open-sesame'"), raw::sync()]);
    client.exchange(&[raw::bind("", "s", &[]), raw::execute("", 0), raw::sync()]);
    assert!(first(&mut client, "alter role a password 'open-sesame' login login").contains("redundant"));
    assert!(!server.log().contains("sesame"), "{}", server.log());
}

#[test]
fn sessions_are_signalled_and_seen_by_members_of_their_role() {
    let server = Server::start(&["--scram-iterations", "1"]);
    let mut root = server.login("postgres");
    root.run("create role staff login; create role ann login in role staff; create role bob login");
    let (mut ann, mut bob, mut staff) = (server.login("ann"), server.login("bob"), server.login("staff"));
    let pid = |client: &mut Client| client.column("select pg_backend_pid()").swap_remove(0);
    let (root_pid, staff_pid) = (pid(&mut root), pid(&mut staff));
    let of = |pid: &str| format!("select state, query from pg_stat_activity where pid = {pid}");
    staff.run("select 'mine'");

    for client in [&mut ann, &mut bob] {
        for (act, message) in [
            ("terminate", "must be a superuser to terminate superuser process"),
            ("cancel", "must be a superuser to cancel superuser query"),
        ] {
            let answer = client.query(&format!("select pg_{act}_backend({root_pid})")).join(" ");
            assert!(answer.contains("42501") && answer.contains(message), "{answer}");
        }
    }
    let answer = bob.query(&format!("select pg_terminate_backend({staff_pid})")).join(" ");
    let message = "must be a member of the role whose process is being terminated or member of pg_signal_backend";
    assert!(answer.contains("42501") && answer.contains(message), "{answer}");
    let answer = bob.query(&of(&staff_pid));
    assert!(answer.iter().any(|line| line == "D ~|<insufficient privilege>"), "{answer:?}");
    for client in [&mut ann, &mut root] {
        let answer = client.query(&of(&staff_pid));
        assert!(answer.iter().any(|line| line == "D idle|select 'mine'"), "{answer:?}");
    }
    assert_eq!(ann.column(&format!("select pg_terminate_backend({staff_pid})")), ["t"]);
}
