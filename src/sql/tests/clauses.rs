//! No clause is accepted and dropped: it works, it is about something that does not exist here, or 0A000 names it.

use super::support::{bind_with, check, check_types, summary};

/// ONLY, `*`, OVERRIDING, MATERIALIZED and their kin mean the same as nothing: PostgreSQL 15 answers the same with and without
/// them where there is no inheritance, no identity column and no volatile function.
#[test]
fn clauses_without_effect_are_accepted() {
    for (with, without) in [
        ("select a from only t", "select a from t"),
        ("select a from only (t)", "select a from t"),
        ("select a from only (public.t) as z", "select a from public.t as z"),
        ("select a from t *", "select a from t"),
        ("select t.a from only t join only k on t.a = k.x * 1, only t y", "select t.a from t join k on t.a = k.x * 1, t y"),
        ("select 1 from (t * join only (k) on a = x)", "select 1 from (t join k on a = x)"),
        ("select (select count(*) from k *)", "select (select count(*) from k)"),
        ("update only t set a = b * 1", "update t set a = b * 1"),
        ("update t * set a = 1", "update t set a = 1"),
        ("delete from only t where a = 1", "delete from t where a = 1"),
        ("insert into k overriding user value values (1, 2, 'x')", "insert into k values (1, 2, 'x')"),
        ("insert into k (x, y) overriding system value select 1, 2", "insert into k (x, y) select 1, 2"),
        ("table k", "select * from k"),
        ("(table k) union all table only k", "(select * from k) union all select * from k"),
        ("table k order by x limit 1", "select * from k order by x limit 1"),
        ("with w as materialized (select a from t) select * from w", "with w as (select a from t) select * from w"),
        ("with w as not materialized (select a from t) select * from w", "with w as (select a from t) select * from w"),
        ("truncate only t, k *", "truncate t, k"),
        ("truncate t restart identity cascade", "truncate t"),
        ("drop table t cascade", "drop table t"),
        ("create table n (a int) tablespace pg_default", "create table n (a int)"),
        ("create table n (a int primary key not deferrable initially immediate)", "create table n (a int primary key)"),
    ] {
        let plain = summary(without, &[]);
        assert!(bind_with(without, &[]).is_ok(), "{without}: {plain}");
        assert_eq!(summary(with, &[]), plain, "{with}");
    }
}

/// What looks like such a clause and is something else.
#[test]
fn words_and_stars_elsewhere_stay() {
    check("select 1 as only, 2 as table", "project([1 2] values([])) → only integer, table integer");
    check_types("select a is distinct from a * 2 from t", "→ ?column? boolean");
    check_types("select substring('abc' from a * 2) from t", "→ substring text");
    check("select a from t order by a fetch first 1 row only", "limit(1 · sort(#0 scan(t full [0]))) → a integer");
    check("select \"only\".a from t \"only\"", "scan(t full [0]) → a integer");
}

#[test]
fn clauses_with_effect_are_named() {
    for (sql, what) in [
        ("select a from t tablesample bernoulli(10)", "TABLESAMPLE"),
        ("select a from t order by a fetch first 1 rows with ties", "FETCH … WITH TIES or PERCENT"),
        ("select a from t window w as (order by a)", "WINDOW"),
        ("select a from t qualify a = 1", "QUALIFY"),
        ("select a into n from t", "SELECT INTO"),
        ("update t set a = 1 limit 1", "UPDATE … LIMIT"),
        ("delete from t limit 1", "DELETE … LIMIT"),
        ("create unlogged table n (a int)", "CREATE UNLOGGED TABLE"),
        ("create temp table n (a int)", "CREATE TEMPORARY TABLE"),
        ("create table n (a int) on commit drop", "ON COMMIT"),
        ("create table n (a int) backup yes", "this clause of CREATE TABLE"),
        ("create table n (a int) row format delimited", "this clause of CREATE TABLE"),
        ("create table n (a int check (a > 1))", "CHECK"),
        ("create table n (a int unique)", "UNIQUE"),
        ("create table n (a int references t)", "REFERENCES (a foreign key)"),
        ("create table n (a int generated always as identity)", "GENERATED"),
        ("create table n (a text collate \"C\")", "COLLATE of a column"),
        ("create table n (a int primary key deferrable)", "a DEFERRABLE constraint"),
        (
            "with w as (select random() r) select a.r = b.r from w a, w b",
            "reading a WITH query that calls volatile functions more than once",
        ),
        (
            "with w as (select random() r) select (select r from w where a > 0) from t",
            "reading a WITH query that calls volatile functions more than once",
        ),
    ] {
        let bound = summary(sql, &[]);
        assert!(bound.starts_with("0A000") && bound.ends_with(&format!(": {what} is not supported")), "{sql}: {bound}");
    }
    check("create table n (a int) tablespace fast", "42704: tablespace \"fast\" does not exist");
    check("insert into k values row(1, 2, 'x')", "42601: syntax error at or near \"row\"");
}

/// Who decides about the rows of an UPDATE or DELETE: their owners, unless there is a FROM or a subquery about the row. FROM
/// leads to the rows by their key if it is known to be short.
#[test]
fn owners_decide_if_they_can() {
    check(
        "update k set z = (select 'a') where x in (select a from t)",
        "update(k full where oncescan(t full [0]) set 2=onceproject([a] values([])))",
    );
    check(
        "update k set z = (select c from t where a = x) where x = 1 and y = 2",
        "update(k scan(k points [1 2] [0, 1, 2, 3]) where and[=[#0 1] =[#1 2]] set 2=correlatedscan(t full where =[#0 ^1#0] [2]))",
    );
    check(
        "update k set z = v.z from (values (1, 2, 'a')) v(x, y, z) where k.x = v.x and k.y = v.y",
        "update(k project([#3 #4 #5 #6 #0 #1 #2] join(Inner lateral values([1 2 a]) scan(k points [^1#0 ^1#1::bigint] [0, 1, 2, 3]) on [])) where and[=[#0 #4] =[#1 #5]] set 2=#6)",
    );
    check(
        "delete from k using t where x = a and y > 5",
        "delete(k join(Inner scan(k full where >[#1 5] [0, 1, 2, 3]) scan(t full [0, 1, 2, 3, 4, 5, 6, 7, 8]) on [\"#0=#0\"]) where and[=[#0 #4] >[#1 5]])",
    );
    check(
        "delete from t where current_setting('x') = c",
        "delete(t filter(=[current_setting[x] #2] scan(t full [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])) where =[current_setting[x] #2])",
    );
}

/// As PostgreSQL 15 refuses them.
#[test]
fn options_of_explain() {
    check("explain (foo) select 1", "42601 @10: unrecognized EXPLAIN option \"foo\"");
    check("explain (format foo) select 1", "22023 @10: unrecognized value for EXPLAIN option \"format\": \"foo\"");
    check("explain (timing) select 1", "22023: EXPLAIN option TIMING requires ANALYZE");
    check("explain (wal, analyze off) select 1", "22023: EXPLAIN option WAL requires ANALYZE");
    check("explain (analyze 3) select 1", "42601 @18: analyze requires a Boolean value");
    check("explain (buffers) select 1", "0A000: EXPLAIN (BUFFERS) is not supported");
    let analyzed = summary("explain (analyze, buffers off, timing off, costs off, format json) delete from t", &[]);
    assert!(analyzed.contains("analyze: true") && analyzed.contains("format: Json"), "{analyzed}");
}
