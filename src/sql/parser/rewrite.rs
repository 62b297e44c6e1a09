//! Token rewrites for grammar that sqlparser lacks and that none of its hooks reaches.
//!
//! - `FOR NO KEY UPDATE` and `FOR KEY SHARE`: handed on as `FOR UPDATE` and `FOR SHARE` of a marker name in front of what
//!   follows OF. The marker holds a NUL, which no text from a client contains, so it cannot be forged.
//! - `FETCH FIRST ROW ONLY` without a count: the count 1 is written out.

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
    let needed = (0..tokens.len()).any(|at| lock_words(tokens, at).is_some() || bare_fetch(tokens, at));
    if !needed {
        return Ok(None);
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    let mut at = 0;
    while at < tokens.len() {
        if let Some((length, strength, marker)) = lock_words(tokens, at) {
            let span = tokens[at].span;
            out.push(tokens[at].clone());
            out.push(TokenWithSpan { token: Token::make_keyword(strength), span });
            out.push(TokenWithSpan { token: Token::make_keyword("OF"), span });
            let marker = Word { value: marker.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
            out.push(TokenWithSpan { token: Token::Word(marker), span });
            at += length;
            if is(tokens, at, "of") {
                out.push(TokenWithSpan { token: Token::Period, span });
                at += 1;
            }
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
