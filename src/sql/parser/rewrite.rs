//! Token rewrites for grammar that sqlparser lacks and that none of its hooks reaches.
//!
//! - `FOR NO KEY UPDATE` and `FOR KEY SHARE`: handed on as `FOR UPDATE` and `FOR SHARE` of a marker name in front of what
//!   follows OF. The marker holds a NUL, which no text from a client contains, so it cannot be forged.
//! - `FETCH FIRST ROW ONLY` without a count: the count 1 is written out.
//! - `TABLE name` as a query: `SELECT * FROM name`.
//! - What is about things that do not exist here and so changes nothing is left out: ONLY and `*` of a relation (inheritance),
//!   OVERRIDING of INSERT (identity columns).

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::error::SqlResult;
use crate::sql::parser::lexer::Lexed;
use crate::txn::LockStrength;

const NO_KEY_UPDATE: &str = "\0no key update";
const KEY_SHARE: &str = "\0key share";

/// The strength that the first part of an OF name encodes, if it is a marker.
pub fn lock_strength(first: &str) -> Option<LockStrength> {
    match first {
        NO_KEY_UPDATE => Some(LockStrength::NoKeyUpdate),
        KEY_SHARE => Some(LockStrength::KeyShare),
        _ => None,
    }
}

/// The statement's tokens rewritten, or `None` if there is nothing to rewrite.
pub fn rewrite<'a>(lexed: &Lexed<'a>, start: usize, end: usize) -> SqlResult<Option<Lexed<'a>>> {
    let tokens = &lexed.tokens[start..end];
    let needed = |at| {
        lock_words(tokens, at).is_some()
            || bare_fetch(tokens, at)
            || overriding(tokens, at)
            || table_query(tokens, at)
            || inheritance(tokens, at).is_some()
    };
    if !(0..tokens.len()).any(needed) {
        return Ok(None);
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    let mut clauses = Clauses::default();
    // Where a parenthesis that is left out closes.
    let mut skipped = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let span = tokens[at].span;
        let put = |token: Token| TokenWithSpan { token, span };
        clauses.pass(tokens, at);
        if let Some((length, strength, marker)) = lock_words(tokens, at) {
            out.push(tokens[at].clone());
            out.push(put(Token::make_keyword(strength)));
            out.push(put(Token::make_keyword("OF")));
            let marker = Word { value: marker.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
            out.push(put(Token::Word(marker)));
            at += length;
            if is(tokens, at, "of") {
                out.push(put(Token::Period));
                at += 1;
            }
            continue;
        }
        if overriding(tokens, at) {
            at += 3;
            continue;
        }
        if table_query(tokens, at) {
            out.extend([put(Token::make_keyword("SELECT")), put(Token::Mul), put(Token::make_keyword("FROM"))]);
            at += 1;
            continue;
        }
        if let Some(parenthesis) = inheritance(tokens, at).filter(|_| clauses.in_relations()) {
            skipped.extend(parenthesis);
            at += 1 + usize::from(parenthesis.is_some());
            continue;
        }
        if skipped.contains(&at) {
            at += 1;
            continue;
        }
        out.push(tokens[at].clone());
        at += 1;
        if at >= 2 && bare_fetch(tokens, at - 2) {
            out.push(TokenWithSpan { token: Token::Number("1".to_owned(), false), span: tokens[at - 1].span });
        }
    }
    Ok(Some(lexed.with_tokens(out)))
}

/// What the tokens at one depth of parentheses belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clause {
    Other,
    /// What a FROM of its own follows: the head of a SELECT or DELETE, SET.
    BeforeFrom,
    /// A list of relations.
    Relations,
    /// A condition of a join in such a list.
    JoinCondition,
}

/// Tells where relations are named.
struct Clauses(Vec<Clause>);

impl Default for Clauses {
    fn default() -> Self {
        Self(vec![Clause::Other])
    }
}

impl Clauses {
    fn in_relations(&self) -> bool {
        self.0.last() == Some(&Clause::Relations)
    }

    fn pass(&mut self, tokens: &[TokenWithSpan], at: usize) {
        let depth = self.0.len();
        let Some(now) = self.0.last_mut() else { return };
        match &tokens[at].token {
            // A parenthesis in a list of relations may hold a join.
            Token::LParen => {
                let inside = if *now == Clause::Relations && relation_starts(tokens, at) { *now } else { Clause::Other };
                self.0.push(inside);
            }
            Token::RParen if depth > 1 => drop(self.0.pop()),
            Token::Comma if *now == Clause::JoinCondition => *now = Clause::Relations,
            Token::Word(word) if word.quote_style.is_none() => match word.value.to_ascii_lowercase().as_str() {
                "select" | "delete" | "set" => *now = Clause::BeforeFrom,
                "from" if *now == Clause::BeforeFrom && !(at > 0 && is(tokens, at - 1, "distinct")) => *now = Clause::Relations,
                "table" if table_query(tokens, at) => *now = Clause::Relations,
                "update" if at == 0 || !["for", "do", "key"].iter().any(|word| is(tokens, at - 1, word)) => {
                    *now = Clause::Relations;
                }
                "join" if *now == Clause::JoinCondition => *now = Clause::Relations,
                "on" if *now == Clause::Relations => *now = Clause::JoinCondition,
                "where" | "group" | "having" | "order" | "limit" | "offset" | "fetch" | "window" | "returning" | "union"
                | "except" | "intersect" | "for" | "values" => *now = Clause::Other,
                _ => {}
            },
            _ => {}
        }
    }
}

/// Whether a relation's name may begin at `at`, in a list of relations.
fn relation_starts(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return false };
    matches!(tokens[before].token, Token::Comma | Token::LParen)
        || ["from", "join", "update", "using", "table"].iter().any(|word| is(tokens, before, word))
}

/// ONLY in front of a relation, or `*` behind one: there is no inheritance, so a table with its descendants is the table. Given
/// a place in a list of relations; the answer holds the place where the parenthesis of `ONLY (name)` closes.
fn inheritance(tokens: &[TokenWithSpan], at: usize) -> Option<Option<usize>> {
    let name_part = |at: usize| matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(_)));
    let period = |at: usize| matches!(tokens.get(at).map(|token| &token.token), Some(Token::Period));
    if is(tokens, at, "only") && relation_starts(tokens, at) {
        if name_part(at + 1) {
            return Some(None);
        }
        let mut end = at + 3;
        while period(end) && name_part(end + 1) {
            end += 2;
        }
        let enclosed = tokens.get(at + 1)?.token == Token::LParen && name_part(at + 2) && tokens.get(end)?.token == Token::RParen;
        return enclosed.then_some(Some(end));
    }
    if tokens[at].token == Token::Mul && at > 0 && name_part(at - 1) {
        let mut start = at - 1;
        while start >= 2 && period(start - 1) && name_part(start - 2) {
            start -= 2;
        }
        return relation_starts(tokens, start).then_some(None);
    }
    None
}

/// `OVERRIDING SYSTEM|USER VALUE` of INSERT at `at`: it is about identity columns, and there are none.
fn overriding(tokens: &[TokenWithSpan], at: usize) -> bool {
    is(tokens, at, "overriding")
        && (is(tokens, at + 1, "user") || is(tokens, at + 1, "system"))
        && is(tokens, at + 2, "value")
        && tokens[..at].iter().enumerate().any(|(earlier, _)| is(tokens, earlier, "insert"))
}

/// `TABLE name` as a query at `at`.
fn table_query(tokens: &[TokenWithSpan], at: usize) -> bool {
    const BEFORE: [&str; 8] = ["union", "except", "intersect", "all", "distinct", "explain", "analyze", "verbose"];
    let begins = match at.checked_sub(1) {
        None => true,
        Some(before) => tokens[before].token == Token::LParen || BEFORE.iter().any(|word| is(tokens, before, word)),
    };
    begins && is(tokens, at, "table") && matches!(tokens.get(at + 1).map(|token| &token.token), Some(Token::Word(_)))
}

/// `FOR NO KEY UPDATE` or `FOR KEY SHARE` at `at`: how many tokens, the keyword to put, the marker.
fn lock_words(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, &'static str, &'static str)> {
    if !is(tokens, at, "for") {
        return None;
    }
    if is(tokens, at + 1, "no") && is(tokens, at + 2, "key") && is(tokens, at + 3, "update") {
        return Some((4, "UPDATE", NO_KEY_UPDATE));
    }
    if is(tokens, at + 1, "key") && is(tokens, at + 2, "share") { Some((3, "SHARE", KEY_SHARE)) } else { None }
}

/// `FETCH FIRST ROW|ROWS` (or NEXT) at `at`.
fn bare_fetch(tokens: &[TokenWithSpan], at: usize) -> bool {
    is(tokens, at, "fetch")
        && (is(tokens, at + 1, "first") || is(tokens, at + 1, "next"))
        && (is(tokens, at + 2, "row") || is(tokens, at + 2, "rows"))
}

fn is(tokens: &[TokenWithSpan], at: usize, expected: &str) -> bool {
    matches!(tokens.get(at).map(|token| &token.token), Some(Token::Word(word))
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}
