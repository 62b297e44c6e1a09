//! Functions about privileges and objects: PostgreSQL 15's answers for a superuser in a database of his own.

use super::support::{TestSession, catalog, check_value};
use crate::base::Oid;
use crate::catalog::acl::AclItem;
use crate::catalog::{Acl, BOOTSTRAP_ROLE, Catalog, Object, Privileges, RoleDef, TableDef};
use crate::error::SqlResult;
use crate::sql::plan::Statement;
use crate::sql::{BindContext, bind, cache};

#[test]
fn privileges_are_those_of_what_exists() {
    for (sql, expected) in [
        ("select has_table_privilege('t', 'select')", "t"),
        ("select has_table_privilege('t'::regclass, 'select, insert with grant option')", "t"),
        ("select has_table_privilege('omen', 't', 'SELECT')", "t"),
        ("select has_table_privilege('public', 't', 'select')", "f"),
        ("select has_table_privilege('nope', 'select')", "42P01: relation \"nope\" does not exist"),
        ("select has_table_privilege('nope.t', 'select')", "3F000: schema \"nope\" does not exist"),
        ("select has_table_privilege('nobody', 't', 'select')", "42704: role \"nobody\" does not exist"),
        ("select has_table_privilege('t', 'foo')", "22023: unrecognized privilege type: \"foo\""),
        ("select has_table_privilege('t', ' select ,, ')", "22023: unrecognized privilege type: \"\""),
        ("select has_table_privilege(99999999::oid, 'select')", "NULL"),
        ("select has_any_column_privilege('t', 'delete')", "22023: unrecognized privilege type: \"delete\""),
        ("select has_schema_privilege('public', 'create')", "t"),
        ("select has_schema_privilege('public', 'public', 'create')", "f"),
        ("select has_schema_privilege('public', 'pg_catalog', 'usage')", "t"),
        ("select has_schema_privilege('public', 'public', 'usage')", "t"),
        ("select has_schema_privilege('nope', 'usage')", "3F000: schema \"nope\" does not exist"),
        ("select has_schema_privilege(999999::oid, 'usage')", "NULL"),
        ("select has_database_privilege('omen', 'connect')", "t"),
        ("select has_database_privilege('public', 'omen', 'connect, temp')", "t"),
        ("select has_database_privilege('public', 5::oid, 'create')", "f"),
        ("select has_database_privilege(77::oid, 'create')", "NULL"),
        ("select has_table_privilege('public', 'pg_class', 'select')", "t"),
        ("select has_table_privilege('public', 'pg_authid', 'select')", "f"),
        ("select has_table_privilege('t', 'rule')", "f"),
        ("select has_database_privilege('nope', 'connect')", "3D000: database \"nope\" does not exist"),
        ("select has_tablespace_privilege('nope', 'create')", "42704: tablespace \"nope\" does not exist"),
        ("select has_type_privilege('nope', 'usage')", "42704: type \"nope\" does not exist"),
        ("select has_type_privilege('public', 'int4', 'usage')", "t"),
        ("select has_sequence_privilege('t', 'usage')", "42809: \"t\" is not a sequence"),
        ("select has_column_privilege('t', 'a', 'select')", "t"),
        ("select has_column_privilege('t', 'zz', 'select')", "42703: column \"zz\" of relation \"t\" does not exist"),
        ("select has_column_privilege('t', 99::smallint, 'select')", "NULL"),
        ("select has_column_privilege('t', 'ctid', 'select')", "t"),
        ("select pg_has_role('omen', 'member')", "t"),
        ("select pg_has_role('nobody', 'member')", "42704: role \"nobody\" does not exist"),
        ("select pg_has_role('omen', 'foo')", "22023: unrecognized privilege type: \"foo\""),
        ("select pg_has_role(123::oid, 10::oid, 'member')", "f"),
        ("select pg_get_serial_sequence('t', 'a')", "NULL"),
        ("select pg_get_serial_sequence('nope', 'a')", "42P01: relation \"nope\" does not exist"),
        ("select pg_get_serial_sequence('t', 'zz')", "42703: column \"zz\" of relation \"t\" does not exist"),
        ("select pg_relation_is_publishable(1::oid)", "NULL"),
        ("select pg_encoding_to_char(8) || pg_encoding_to_char(99)", "LATIN1"),
        ("select to_regclass('nope.t')::text", "NULL"),
    ] {
        check_value(sql, expected);
    }
}

/// A literal of type regclass was taken for a parameter of the plan that texts share. Parameters are read without the catalog,
/// so `SELECT 't'::regclass` found no table.
#[test]
fn a_table_named_by_a_literal_is_looked_up() {
    let (catalog, session) = (catalog(), TestSession::default());
    let context = BindContext { catalog: &catalog, param_types: &[], session: &session };
    for (sql, shared) in [("select 't'::regclass", false), ("select 'integer'::regtype", false), ("select 't'::text", true)] {
        let parsed = crate::sql::parse(sql).expect("it parses");
        let normalised = cache::normalise(sql).expect("it has a normal form");
        let prepared = cache::prepare(&parsed[0], &normalised, &context).expect("it binds");
        assert_eq!(matches!(prepared, cache::Prepared::Shared(_)), shared, "{sql}");
    }
}

/// A role that may read column `x` of `k`, give values to `x` and `y`, and change `y`; and everything with `t` but to delete.
const SOMEBODY: Oid = Oid(500);

fn with_somebody() -> Catalog {
    use Privileges as P;
    let mut catalog = catalog();
    catalog.put(Object::Role(Box::new(RoleDef::new(SOMEBODY, "somebody"))));
    let granted = |privileges| {
        Acl::new(vec![AclItem { grantee: SOMEBODY, grantor: BOOTSTRAP_ROLE, privileges, options: Privileges::NONE }])
    };
    let mut k = TableDef::clone(&catalog.tables[&Oid(150)]);
    k.acls.columns = [(0, granted(P::SELECT.with(P::INSERT))), (1, granted(P::INSERT.with(P::UPDATE)))].into();
    let mut t = TableDef::clone(&catalog.tables[&Oid(140)]);
    t.acls.table = Some(granted(P::SELECT.with(P::INSERT).with(P::UPDATE).with(P::TRUNCATE)));
    for table in [k, t] {
        catalog.put(Object::Table(Box::new(table)));
    }
    catalog
}

fn bound(catalog: &Catalog, sql: &str) -> SqlResult<Statement> {
    let session = TestSession::of(SOMEBODY);
    let parsed = crate::sql::parse(sql).expect("it parses");
    bind(&parsed[0], &BindContext { catalog, param_types: &[], session: &session })
}

#[test]
fn what_a_statement_does_with_each_column_is_asked_for() {
    let catalog = with_somebody();
    let refusal = |sql: &str| match bound(&catalog, sql) {
        Ok(statement) => statement.refusal.map_or("allowed".to_owned(), |refusal| refusal.message().to_owned()),
        Err(error) => error.message().to_owned(),
    };
    let (k, t, none) = ("permission denied for table k", "permission denied for table t", "allowed");
    for (sql, expected) in [
        ("select x from k", none),
        ("select count(*) from k", none),
        ("select 1 from k", none),
        ("select y from k", k),
        ("select * from k", k),
        ("select k.* from k", k),
        ("table k", k),
        ("select x from k where y = 1", k),
        ("select x from k order by z", k),
        ("select x from k group by x having max(y) > 1", k),
        ("select x from k a join k b using (x)", none),
        ("select a.x from k a join k b using (x, y)", k),
        ("select a.x from k a natural join k b", k),
        ("select a from t where a in (select x from k)", none),
        ("select a from t where exists (select from k where y = t.b)", k),
        ("select a from t, lateral (select z from k where k.x = t.a) q", k),
        ("select (select max(y) from k)", k),
        ("select x from (select * from k) q", k),
        ("with q as (select * from k) select 1", none),
        ("with q as (select * from k) select x from q", k),
        ("with p as (select * from k), q as (select * from p) select 1", none),
        ("with p as (select * from k), q as (select * from p) select 1 from q", k),
        ("select x from k for update", none),
        ("select a from t for update", none),
        ("select x from k union select y from k", k),
        ("insert into k (x, y) values (1, 2)", none),
        ("insert into k values (1, 2)", none),
        ("insert into k values (1, 2, 'x')", k),
        ("insert into k default values", none),
        ("insert into k (x, y) values (1, 2) returning x", none),
        ("insert into k (x, y) values (1, 2) returning y", k),
        ("insert into k (x, y) select a, b from t", none),
        ("insert into t (a) select y from k", k),
        ("insert into k (x, y) values (1, 2) on conflict do nothing", none),
        ("insert into k (x, y) values (1, 2) on conflict (x, y) do nothing", k),
        ("insert into k (x, y) values (1, 2) on conflict on constraint k_pkey do nothing", k),
        ("update k set y = 1", none),
        ("update k set y = 1 where x = 1", none),
        ("update k set y = y + 1", k),
        ("update k set x = 1", k),
        ("update k set y = t.b from t where t.a = x", none),
        ("update t set a = 1 from k where k.y = 1", k),
        ("delete from k", k),
        ("delete from t", t),
        ("truncate t", none),
        ("truncate k", k),
        ("copy k (x) to stdout", none),
        ("copy k to stdout", k),
        ("copy k (x, y) from stdin", none),
        ("copy k from stdin", k),
        ("copy (select y from k) to stdout", k),
        ("lock table t", none),
        ("lock table k in access share mode", k),
        ("explain select y from k", k),
        ("explain select x from k", none),
        ("drop table t", "must be owner of table t"),
        ("create table n (a int)", "permission denied for schema public"),
        ("create table public.n (a int)", "permission denied for schema public"),
        ("create table pg_catalog.n (a int)", "permission denied for schema pg_catalog"),
    ] {
        assert_eq!(refusal(sql), expected, "{sql}");
    }
}

/// Outer queries are refused before inner ones, whichever is written first.
#[test]
fn the_outermost_refusal_is_the_one_that_is_said() {
    let catalog = with_somebody();
    let message = |sql| bound(&catalog, sql).unwrap().refusal.map(|refusal| refusal.message().to_owned()).unwrap_or_default();
    let of = |table: &str| format!("permission denied for table {table}");
    assert_eq!(message("select (select max(bid) from pgbench_branches) from pgbench_tellers"), of("pgbench_tellers"));
    assert_eq!(message("insert into pgbench_history (tid) select x from k where y = 1"), of("pgbench_history"));
    assert_eq!(message("select 1 from pgbench_branches, pgbench_tellers"), of("pgbench_branches"));
}

#[test]
fn a_schema_that_may_not_be_used_hides_its_tables() {
    let mut catalog = with_somebody();
    let message = |catalog: &Catalog, sql| bound(catalog, sql).map(|_| ()).map_err(|error| error.message().to_owned());
    let public = catalog.schema_named("public").unwrap().clone();
    let closed = crate::catalog::SchemaDef { acl: Some(Acl::default()), ..crate::catalog::SchemaDef::clone(&public) };
    catalog.put(Object::Schema(closed));
    assert_eq!(message(&catalog, "select a from t"), Err("relation \"t\" does not exist".to_owned()));
    assert_eq!(message(&catalog, "select a from public.t"), Err("permission denied for schema public".to_owned()));
    assert_eq!(message(&catalog, "update public.t set a = 1"), Err("permission denied for schema public".to_owned()));
    assert_eq!(message(&catalog, "create table public.n (a int)"), Err("permission denied for schema public".to_owned()));
    assert_eq!(message(&catalog, "create table n (a int)"), Err("no schema has been selected to create in".to_owned()));
}
