//! Hostile input: it may be refused, it must not panic or overflow the stack.

use super::support::{bind_with, summary};
use crate::error::SqlState;

#[test]
fn nesting_is_bounded() {
    let repeat = |text: &str, count: usize| text.repeat(count);
    for sql in [
        format!("select {}1{}", repeat("(", 10_000), repeat(")", 10_000)),
        format!("select {}1", repeat("-(", 5_000)),
        format!("select {} 1", repeat("not ", 50_000)),
        format!("select 1{}", repeat("+1", 50_000)),
        format!("select {}1{}", repeat("(select ", 5_000), repeat(")", 5_000)),
        format!("select {} 1 {}", repeat("case when true then ", 5_000), repeat("end ", 5_000)),
        format!("select '1'{}", repeat("::text", 20_000)),
        format!("select 1{}", repeat(" union select 1", 10_000)),
        format!("select * from {}t{}", repeat("(", 3_000), repeat(")", 3_000)),
        format!("select a{}", repeat("[1]", 20_000)),
        format!("select array{}1{}", repeat("[", 5_000), repeat("]", 5_000)),
        format!("{}select 1", repeat("explain ", 1_000)),
        format!("select * from t {}", repeat("join t using (a) ", 20_000)),
    ] {
        let error = bind_with(&sql, &[]).expect_err("too deep or not SQL");
        let allowed = [SqlState::STATEMENT_TOO_COMPLEX, SqlState::SYNTAX_ERROR];
        assert!(allowed.contains(&error.code()), "{}…: {error}", &sql[..40]);
    }
}

#[test]
fn long_conditions_are_fine() {
    let terms: Vec<String> = (0..2_000).map(|i| format!("a = {i}")).collect();
    let statement = bind_with(&format!("select 1 from t where {}", terms.join(" or ")), &[]);
    assert!(statement.is_ok(), "{:?}", statement.err());
    let items: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    assert!(bind_with(&format!("select 1 from t where a in ({})", items.join(", ")), &[]).is_ok());
}

const TOKENS: &[&str] = &[
    "select",
    "from",
    "where",
    "group by",
    "order by",
    "having",
    "limit",
    "t",
    "k",
    "a",
    "x",
    "y",
    "b",
    "c",
    "*",
    ",",
    "(",
    ")",
    "1",
    "2.5",
    "'s'",
    "null",
    "=",
    "<",
    "+",
    "-",
    "||",
    "and",
    "or",
    "not",
    "in",
    "is null",
    "between",
    "like",
    "case",
    "when",
    "then",
    "else",
    "end",
    "count(*)",
    "sum(",
    "insert into k",
    "values",
    "update k set",
    "delete from k",
    "join",
    "left join",
    "on",
    "using",
    "lateral",
    "exists",
    "any",
    "array[",
    "]",
    "::int",
    "::text",
    ".",
    ";",
    "$1",
    "$2",
    "as",
    "distinct",
    "union",
    "all",
    "with",
    "copy",
    "to stdout",
    "returning",
    "default",
    "explain",
    "generate_series(",
    "now()",
    "cast(",
    "for update",
    "begin",
    "set",
    "show",
    "vacuum",
    "create table q",
    "int",
    "primary key",
    "e'\\x'",
    "\"q",
    "--",
    "/*",
    "$$",
    "true",
    "interval",
    "date '2020-01-01'",
    "extract(year from",
    "substring(",
    "trim(",
    "is distinct from",
    "for",
    "no",
    "key",
    "fetch",
    "first",
    "row",
    "only",
    "on conflict",
    "do nothing",
    "excluded.x",
    "natural",
    "cross",
];

/// A small generator of its own, so that a seed means the same tokens for ever.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).expect("31 bits")
}

#[test]
fn random_tokens_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..6_000 {
        let mut sql = ["select", "insert into k", "update k set", "select a from t where", ""][next(&mut state) % 5].to_owned();
        for _ in 0..next(&mut state) % 24 {
            sql.push(' ');
            sql.push_str(TOKENS[next(&mut state) % TOKENS.len()]);
        }
        if let Ok(parsed) = crate::sql::parse(&sql)
            && parsed.len() == 1
        {
            summary(&sql, &[]);
        }
        crate::sql::cache::normalise(&sql);
    }
}

#[test]
fn random_characters_never_panic() {
    let mut state = 0x0123_4567_89ab_cdef;
    let alphabet: Vec<char> = "select '\"$1aä;()-/*.:+=<>\\\u{0}\u{1}\n\u{feff}eExXuU&[]%".chars().collect();
    for _ in 0..4_000 {
        let sql: String = (0..next(&mut state) % 40).map(|_| alphabet[next(&mut state) % alphabet.len()]).collect();
        drop(crate::sql::parse(&sql));
        crate::sql::cache::normalise(&sql);
    }
}
