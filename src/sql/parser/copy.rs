//! COPY, in the syntax of today, of 8.x (`WITH CSV HEADER`) and of 7.x (`USING DELIMITERS` is gone since then, as in
//! PostgreSQL's own documentation of compatibility).

use sqlparser::tokenizer::Token;

use crate::error::SqlResult;
use crate::sql::parser::ast::{Body, CopyAst, CopyObject, CopyValue};
use crate::sql::parser::cursor::Cursor;

/// Parses a COPY statement.
pub fn parse(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    cursor.expect("copy")?;
    let mut options = Vec::new();
    if cursor.word_at(0).as_deref() == Some("binary") && cursor.word_at(1).is_some() {
        options.push(("format".to_owned(), CopyValue::Text("binary".to_owned()), cursor.position()));
        cursor.advance()?;
    }
    let object = if cursor.accept_token(&Token::LParen) {
        let close = cursor.closing_parenthesis()?;
        let query = cursor.split_to(close).sql_statement()?;
        cursor.expect_token(&Token::RParen)?;
        CopyObject::Query(query)
    } else {
        let table = cursor.table_name()?;
        let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
        CopyObject::Table(table, columns)
    };
    let to = cursor.accept("to");
    if !to {
        if matches!(object, CopyObject::Query(_)) {
            return Err(cursor.error());
        }
        cursor.expect("from")?;
    }
    if cursor.accept("program") {
        cursor.string()?;
        return Ok(Body::Unsupported(format!("COPY … {} PROGRAM", if to { "TO" } else { "FROM" })));
    }
    // As in PostgreSQL, STDIN and STDOUT both mean the connection.
    if !cursor.accept("stdin") && !cursor.accept("stdout") {
        cursor.string()?;
        return Ok(Body::Unsupported("COPY of a file on the server".to_owned()));
    }
    let with = cursor.accept("with");
    if cursor.accept_token(&Token::LParen) {
        new_options(cursor, &mut options)?;
    } else if with || !cursor.at_end() {
        old_options(cursor, &mut options)?;
    }
    if cursor.accept("where") {
        return Ok(Body::Unsupported("COPY FROM … WHERE".to_owned()));
    }
    cursor.expect_end()?;
    Ok(Body::Copy(Box::new(CopyAst { object, to, options })))
}

/// `(name [value], …)`, the parenthesis read.
fn new_options(cursor: &mut Cursor<'_>, options: &mut Vec<(String, CopyValue, u32)>) -> SqlResult<()> {
    loop {
        let position = cursor.position();
        let name = cursor.identifier()?;
        let value = match cursor.peek() {
            Some(Token::Comma | Token::RParen) => CopyValue::None,
            Some(Token::Mul) => {
                cursor.advance()?;
                CopyValue::Star
            }
            Some(Token::LParen) => CopyValue::Columns(cursor.name_list()?),
            Some(Token::Number(number, _)) => {
                cursor.advance()?;
                CopyValue::Text(number.clone())
            }
            Some(Token::Word(_)) => CopyValue::Text(cursor.identifier()?),
            _ => CopyValue::Text(cursor.string()?),
        };
        options.push((name, value, position));
        if !cursor.accept_token(&Token::Comma) {
            return cursor.expect_token(&Token::RParen);
        }
    }
}

/// The options of PostgreSQL before 9.0.
fn old_options(cursor: &mut Cursor<'_>, options: &mut Vec<(String, CopyValue, u32)>) -> SqlResult<()> {
    while !cursor.at_end() && cursor.peek_word().as_deref() != Some("where") {
        let position = cursor.position();
        let word = cursor.peek_word().ok_or_else(|| cursor.error())?;
        let option = match word.as_str() {
            "csv" | "binary" => {
                cursor.advance()?;
                ("format".to_owned(), CopyValue::Text(word))
            }
            "header" | "freeze" => {
                cursor.advance()?;
                (word, CopyValue::None)
            }
            "delimiter" | "null" | "quote" | "escape" | "encoding" => {
                cursor.advance()?;
                cursor.accept("as");
                (word, CopyValue::Text(cursor.string()?))
            }
            "force" => {
                cursor.advance()?;
                force(cursor)?
            }
            _ => return Err(cursor.error()),
        };
        options.push((option.0, option.1, position));
    }
    Ok(())
}

fn force(cursor: &mut Cursor<'_>) -> SqlResult<(String, CopyValue)> {
    let name = if cursor.accept("quote") {
        if cursor.accept_token(&Token::Mul) {
            return Ok(("force_quote".to_owned(), CopyValue::Star));
        }
        "force_quote"
    } else if cursor.accept_all(&["not", "null"]) {
        "force_not_null"
    } else {
        cursor.expect("null")?;
        "force_null"
    };
    let mut columns = Vec::new();
    loop {
        let position = cursor.position();
        columns.push((cursor.identifier()?, position));
        if !cursor.accept_token(&Token::Comma) {
            return Ok((name.to_owned(), CopyValue::Columns(columns)));
        }
    }
}
