//! Transaction control (PostgreSQL 15 documentation, BEGIN, SET TRANSACTION, SAVEPOINT and their kin).

use sqlparser::tokenizer::Token;

use crate::error::SqlResult;
use crate::sql::parser::ast::Body;
use crate::sql::parser::cursor::Cursor;
use crate::sql::utility::{Isolation, TransactionModes, Utility};

/// Parses a statement that begins with `word`.
pub fn parse(cursor: &mut Cursor<'_>, word: &str) -> SqlResult<Body> {
    cursor.advance()?;
    let utility = match word {
        "begin" => {
            noise(cursor);
            Utility::Begin(modes(cursor)?, false)
        }
        "start" => {
            cursor.expect("transaction")?;
            Utility::Begin(modes(cursor)?, true)
        }
        "commit" if cursor.accept("prepared") => Utility::CommitPrepared(cursor.string()?),
        "commit" | "end" => {
            noise(cursor);
            Utility::Commit { chain: chain(cursor)? }
        }
        "rollback" if cursor.accept("prepared") => Utility::RollbackPrepared(cursor.string()?),
        "rollback" | "abort" => return rollback(cursor),
        "savepoint" => Utility::Savepoint(cursor.identifier()?),
        _ => {
            cursor.accept("savepoint");
            Utility::Release(cursor.identifier()?)
        }
    };
    cursor.expect_end()?;
    Ok(Body::Ready(utility))
}

fn rollback(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    noise(cursor);
    let utility = if cursor.accept("to") {
        cursor.accept("savepoint");
        Utility::RollbackTo(cursor.identifier()?)
    } else {
        Utility::Rollback { chain: chain(cursor)? }
    };
    cursor.expect_end()?;
    Ok(Body::Ready(utility))
}

/// The rest of PREPARE TRANSACTION, from TRANSACTION on.
pub fn prepare_transaction(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    cursor.expect("transaction")?;
    let gid = cursor.string()?;
    cursor.expect_end()?;
    Ok(Body::Ready(Utility::PrepareTransaction(gid)))
}

fn noise(cursor: &mut Cursor<'_>) {
    if !cursor.accept("work") {
        cursor.accept("transaction");
    }
}

fn chain(cursor: &mut Cursor<'_>) -> SqlResult<bool> {
    if !cursor.accept("and") {
        return Ok(false);
    }
    let no = cursor.accept("no");
    cursor.expect("chain")?;
    Ok(!no)
}

/// Transaction modes up to the end of the statement; commas between them are optional. The last of a kind wins, as in
/// PostgreSQL.
pub fn modes(cursor: &mut Cursor<'_>) -> SqlResult<TransactionModes> {
    let mut modes = TransactionModes::default();
    while !cursor.at_end() {
        if cursor.accept("isolation") {
            cursor.expect("level")?;
            modes.isolation = Some(isolation(cursor)?);
        } else if cursor.accept("read") {
            modes.read_only = Some(if cursor.accept("only") {
                true
            } else {
                cursor.expect("write")?;
                false
            });
        } else if cursor.accept("deferrable") {
            modes.deferrable = Some(true);
        } else if cursor.accept("not") {
            cursor.expect("deferrable")?;
            modes.deferrable = Some(false);
        } else {
            return Err(cursor.error());
        }
        if cursor.accept_token(&Token::Comma) && cursor.at_end() {
            return Err(cursor.error());
        }
    }
    Ok(modes)
}

fn isolation(cursor: &mut Cursor<'_>) -> SqlResult<Isolation> {
    if cursor.accept("serializable") {
        Ok(Isolation::Serializable)
    } else if cursor.accept("repeatable") {
        cursor.expect("read")?;
        Ok(Isolation::RepeatableRead)
    } else {
        cursor.expect("read")?;
        if !cursor.accept("uncommitted") {
            cursor.expect("committed")?;
        }
        Ok(Isolation::ReadCommitted)
    }
}
