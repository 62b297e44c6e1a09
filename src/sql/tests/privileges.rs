//! Functions about privileges and objects: PostgreSQL 15's answers for a superuser in a database of his own.

use super::support::{TestSession, catalog, check_value};
use crate::sql::{BindContext, cache};

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
        ("select has_schema_privilege('public', 'public', 'create')", "t"),
        ("select has_schema_privilege('public', 'public', 'usage')", "t"),
        ("select has_schema_privilege('nope', 'usage')", "3F000: schema \"nope\" does not exist"),
        ("select has_schema_privilege(999999::oid, 'usage')", "NULL"),
        ("select has_database_privilege('omen', 'connect')", "t"),
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
