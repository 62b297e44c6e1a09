//! From a query string to syntax trees.
//!
//! The string is split into tokens once, whose spans become character positions. Statements are separated at semicolons.
//! Queries, DML and CREATE TABLE go to sqlparser with our dialect; the rest (transaction control, settings, maintenance, COPY,
//! EXPLAIN, the other DDL) has a grammar small enough that parsing it here, from the same tokens, is both exact and simpler
//! than telling which clauses of sqlparser's many dialects PostgreSQL would have refused.
//!
//! Invariants: nothing recursive runs on a statement before `depth` has bounded its tree; a statement this server cannot do is
//! parsed to [`ast::Body::Unsupported`] and never to something that drops a clause.

mod copy;
mod cursor;
mod depth;
mod dialect;
mod grant;
mod lexer;
mod maintenance;
mod rewrite;
mod role;
mod settings;
mod transaction;
mod unsupported;

pub(crate) mod ast;

use std::ops::Range;

use sqlparser::tokenizer::Token;

use crate::error::SqlResult;
use crate::sql::parser::ast::Body;
use crate::sql::parser::cursor::Cursor;

pub(crate) use crate::sql::parser::cursor::{fold, too_deep};
pub(crate) use crate::sql::parser::lexer::{position_of, syntax_error};
pub(crate) use crate::sql::parser::rewrite::lock_strength;

/// Trees deeper than this are parsed, bound and dropped on a stack of their own.
const SHALLOW: usize = 60;

/// Stack for deep trees: the parser's frames are a few KiB a level, and nesting is bounded by [`depth`].
const DEEP_STACK_BYTES: usize = 64 << 20;

/// One statement of a query string.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    /// Byte range of the statement in the query string, without the semicolon.
    pub range: Range<usize>,
    body: Option<Body>,
    deep: bool,
}

impl ParsedStatement {
    /// The syntax tree.
    pub(crate) fn body(&self) -> &Body {
        self.body.as_ref().expect("the body is only taken when the statement is dropped")
    }

    /// Runs `work` with enough stack to walk this statement's tree.
    pub(crate) fn with_stack<T>(&self, work: impl FnOnce() -> T) -> T {
        with_stack(self.deep, work)
    }

    /// Whether this is COMMIT, ROLLBACK (also to a savepoint) or PREPARE TRANSACTION: what a failed transaction still runs.
    pub fn ends_failed_transaction(&self) -> bool {
        matches!(self.body(), Body::Ready(utility) if utility.ends_failed_block())
    }
}

impl Drop for ParsedStatement {
    fn drop(&mut self) {
        if self.deep {
            let body = self.body.take();
            with_stack(true, || drop(body));
        }
    }
}

fn with_stack<T>(deep: bool, work: impl FnOnce() -> T) -> T {
    if deep { stacker::grow(DEEP_STACK_BYTES, work) } else { work() }
}

/// Parses a query string into its statements; an empty string has none.
///
/// Errors: 42601 with a position, 54001 for hostile nesting.
pub fn parse(text: &str) -> SqlResult<Vec<ParsedStatement>> {
    let lexed = lexer::lex(text)?;
    let mut statements = Vec::new();
    let mut start = 0;
    for end in 0..=lexed.tokens.len() {
        let boundary = end == lexed.tokens.len() || lexed.tokens[end].token == Token::SemiColon;
        if !boundary {
            continue;
        }
        if end > start {
            statements.push(parse_one(&lexed, start, end)?);
        }
        start = end + 1;
    }
    Ok(statements)
}

fn parse_one(lexed: &lexer::Lexed<'_>, start: usize, end: usize) -> SqlResult<ParsedStatement> {
    let tokens = &lexed.tokens[start..end];
    let (bound, nesting) = depth::depth_bound(tokens);
    if bound > depth::SYNTAX_DEPTH_MAX || nesting > depth::NESTING_MAX {
        return Err(too_deep());
    }
    let deep = bound > SHALLOW;
    let range = lexed.range(&tokens[0]).start..lexed.range(&tokens[tokens.len() - 1]).end;
    let body = with_stack(deep, || {
        let rewritten = rewrite::rewrite(lexed, start, end)?;
        match &rewritten {
            Some(lexed) => parse_body(&mut Cursor::new(lexed, 0, lexed.tokens.len()), 0),
            None => parse_body(&mut Cursor::new(lexed, start, end), 0),
        }
    })?;
    Ok(ParsedStatement { range, body: Some(body), deep })
}

/// Statements that contain statements (EXPLAIN, PREPARE) nest at most this deep.
const STATEMENT_NESTING_MAX: usize = 4;

fn parse_body(cursor: &mut Cursor<'_>, nesting: usize) -> SqlResult<Body> {
    if nesting > STATEMENT_NESTING_MAX {
        return Err(too_deep());
    }
    let Some(word) = cursor.peek_word() else {
        if cursor.peek() == Some(&Token::LParen) {
            return Ok(Body::Sql(cursor.sql_statement()?));
        }
        return Err(cursor.error());
    };
    match word.as_str() {
        "select" | "with" | "values" | "insert" | "update" | "delete" => Ok(Body::Sql(cursor.sql_statement()?)),
        "table" => table_statement(cursor),
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => {
            transaction::parse(cursor, &word)
        }
        "set" | "show" | "reset" | "discard" => settings::parse(cursor, &word),
        "lock" => maintenance::lock(cursor),
        "vacuum" | "analyze" | "analyse" | "checkpoint" | "backup" | "truncate" => maintenance::parse(cursor, &word),
        "explain" => maintenance::explain(cursor, nesting),
        "prepare" | "execute" | "deallocate" => maintenance::prepared(cursor, &word),
        "copy" => copy::parse(cursor),
        "grant" | "revoke" => role::grant(cursor, &word),
        "reassign" => grant::owned(cursor),
        "create" | "drop" | "alter" => maintenance::ddl(cursor, &word),
        _ => unsupported::parse(cursor),
    }
}

/// `TABLE name` behind what no rewriting looks at, such as `PREPARE name AS`.
fn table_statement(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    Ok(Body::Sql(Box::new(sqlparser::ast::Statement::Query(cursor.with_sqlparser(|parser| parser.parse_query())?))))
}

/// Parses one expression, such as a column's default; the text is this server's own output.
pub(crate) fn parse_expression(text: &str) -> SqlResult<sqlparser::ast::Expr> {
    let lexed = lexer::lex(text)?;
    let (bound, nesting) = depth::depth_bound(&lexed.tokens);
    if bound > SHALLOW || nesting > SHALLOW {
        return Err(too_deep());
    }
    Cursor::new(&lexed, 0, lexed.tokens.len()).with_sqlparser(|parser| parser.parse_expr())
}
