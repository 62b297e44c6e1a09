//! VACUUM, ANALYZE, CHECKPOINT, BACKUP, TRUNCATE, EXPLAIN, PREPARE and its kin, DROP TABLE and ALTER TABLE.

use sqlparser::tokenizer::Token;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::parser::ast::{Body, MaintainedName, TableName};
use crate::sql::parser::cursor::Cursor;
use crate::sql::parser::{grant, parse_body, role, unsupported};
use crate::sql::utility::{ExplainFormat, ExplainOptions, TableLock, Utility};

/// Parses a statement that begins with `word`.
pub fn parse(cursor: &mut Cursor<'_>, word: &str) -> SqlResult<Body> {
    cursor.advance()?;
    let body = match word {
        "vacuum" => vacuum(cursor)?,
        "checkpoint" => Body::Ready(Utility::Checkpoint),
        "backup" => {
            cursor.expect("to")?;
            Body::Ready(Utility::Backup(cursor.string()?))
        }
        "truncate" => truncate(cursor)?,
        _ => analyze(cursor)?,
    };
    cursor.expect_end()?;
    Ok(body)
}

fn vacuum(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    let mut analyze = false;
    if cursor.accept_token(&Token::LParen) {
        loop {
            let (name, on) = boolean_option(cursor)?;
            match name.as_str() {
                "analyze" | "analyse" => analyze = on,
                // Off is what they are anyway.
                "full" | "freeze" | "disable_page_skipping" if !on => {}
                // VERBOSE only adds notices about pages that this storage has not.
                "verbose" | "skip_locked" if !on => {}
                "full"
                | "freeze"
                | "verbose"
                | "disable_page_skipping"
                | "skip_locked"
                | "index_cleanup"
                | "process_toast"
                | "truncate"
                | "parallel" => return Ok(drain(cursor, format!("VACUUM ({})", name.to_uppercase()))),
                _ => return Err(unknown_option("VACUUM", &name)),
            }
            if !cursor.accept_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    } else {
        for option in ["full", "freeze", "verbose"] {
            if cursor.accept(option) {
                return Ok(drain(cursor, format!("VACUUM {}", option.to_uppercase())));
            }
        }
        analyze = cursor.accept("analyze") || cursor.accept("analyse");
    }
    Ok(Body::Vacuum { tables: relations(cursor)?, vacuum: true, analyze, verbose: false })
}

fn analyze(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    let mut verbose = false;
    if cursor.accept_token(&Token::LParen) {
        loop {
            let position = cursor.position();
            let (name, on) = boolean_option(cursor)?;
            match name.as_str() {
                "verbose" => verbose = on,
                // Tables are looked at without a lock.
                "skip_locked" => {}
                _ => return Err(unknown_option("ANALYZE", &name).at(position)),
            }
            if !cursor.accept_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    } else {
        verbose = cursor.accept("verbose");
    }
    Ok(Body::Vacuum { tables: relations(cursor)?, vacuum: false, analyze: true, verbose })
}

fn unknown_option(command: &str, name: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, format!("unrecognized {command} option \"{name}\""))
}

fn drain(cursor: &mut Cursor<'_>, name: String) -> Body {
    while !cursor.at_end() {
        cursor.advance().expect("the end has not been reached");
    }
    Body::Unsupported(name)
}

/// `name [boolean]` of a parenthesised option list.
fn boolean_option(cursor: &mut Cursor<'_>) -> SqlResult<(String, bool)> {
    let name = cursor.identifier()?;
    let position = cursor.position();
    let value = match cursor.peek() {
        Some(Token::Comma | Token::RParen) => return Ok((name, true)),
        Some(Token::Number(number, _)) => number.clone(),
        Some(Token::SingleQuotedString(string)) => string.clone(),
        Some(Token::Word(word)) => word.value.clone(),
        _ => return Err(cursor.error()),
    };
    cursor.advance()?;
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Ok((name, true)),
        "false" | "off" | "0" => Ok((name, false)),
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("{name} requires a Boolean value")).at(position)),
    }
}

/// Tables to maintain, with the columns whose statistics are wanted.
fn relations(cursor: &mut Cursor<'_>) -> SqlResult<Vec<MaintainedName>> {
    let mut tables = Vec::new();
    while !cursor.at_end() {
        let table = cursor.table_name()?;
        let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
        tables.push(MaintainedName { table, columns });
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
        if cursor.at_end() {
            return Err(cursor.error());
        }
    }
    Ok(tables)
}

fn table_list(cursor: &mut Cursor<'_>) -> SqlResult<Vec<TableName>> {
    let mut tables = vec![cursor.table_name()?];
    while cursor.accept_token(&Token::Comma) {
        tables.push(cursor.table_name()?);
    }
    Ok(tables)
}

fn truncate(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    cursor.accept("table");
    let mut tables = vec![inheriting_table(cursor)?];
    while cursor.accept_token(&Token::Comma) {
        tables.push(inheriting_table(cursor)?);
    }
    // No sequences belong to tables and no foreign keys refer to them, so these change nothing.
    if !cursor.accept_all(&["restart", "identity"]) {
        cursor.accept_all(&["continue", "identity"]);
    }
    if !cursor.accept("cascade") {
        cursor.accept("restrict");
    }
    Ok(Body::Truncate(tables))
}

/// LOCK TABLE (PostgreSQL 15 documentation, LOCK).
pub fn lock(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    cursor.advance()?;
    cursor.accept("table");
    let mut tables = vec![inheriting_table(cursor)?];
    while cursor.accept_token(&Token::Comma) {
        tables.push(inheriting_table(cursor)?);
    }
    let mode = if cursor.accept("in") {
        let known = LOCK_MODES.iter().find(|(words, _)| cursor.accept_all(words));
        let (_, mode) = known.ok_or_else(|| cursor.error())?;
        *mode
    } else {
        TableLock::AccessExclusive
    };
    let no_wait = cursor.accept("nowait");
    cursor.expect_end()?;
    Ok(Body::Lock { tables, mode, no_wait })
}

/// Lock modes as they are written; where one begins like another, the longer comes first.
const LOCK_MODES: [(&[&str], TableLock); 8] = [
    (&["access", "share", "mode"], TableLock::AccessShare),
    (&["row", "share", "mode"], TableLock::RowShare),
    (&["row", "exclusive", "mode"], TableLock::RowExclusive),
    (&["share", "update", "exclusive", "mode"], TableLock::ShareUpdateExclusive),
    (&["share", "row", "exclusive", "mode"], TableLock::ShareRowExclusive),
    (&["share", "mode"], TableLock::Share),
    (&["exclusive", "mode"], TableLock::Exclusive),
    (&["access", "exclusive", "mode"], TableLock::AccessExclusive),
];

/// `[ONLY] name [*]`: there is no inheritance, so a table with its descendants is the table.
fn inheriting_table(cursor: &mut Cursor<'_>) -> SqlResult<TableName> {
    if cursor.accept("only") {
        return cursor.table_name();
    }
    let table = cursor.table_name()?;
    cursor.accept_token(&Token::Mul);
    Ok(table)
}

/// EXPLAIN.
pub fn explain(cursor: &mut Cursor<'_>, nesting: usize) -> SqlResult<Body> {
    cursor.advance()?;
    let mut options = ExplainOptions::default();
    if cursor.peek() == Some(&Token::LParen) && is_option_list(cursor) {
        cursor.advance()?;
        if let Some(refused) = explain_options(cursor, &mut options)? {
            return Ok(drain(cursor, refused));
        }
    } else {
        options.analyze = cursor.accept("analyze") || cursor.accept("analyse");
        if cursor.accept("verbose") {
            return Ok(drain(cursor, "EXPLAIN VERBOSE".to_owned()));
        }
    }
    let statement = parse_body(cursor, nesting + 1)?;
    match &statement {
        Body::Sql(_) | Body::Execute { .. } | Body::Unsupported(_) => {
            Ok(Body::Explain { statement: Box::new(statement), options })
        }
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "EXPLAIN takes SELECT, INSERT, UPDATE, DELETE, VALUES or EXECUTE")),
    }
}

/// Whether the parenthesis starts options and not a query.
fn is_option_list(cursor: &Cursor<'_>) -> bool {
    cursor.word_at(1).is_some_and(|word| !matches!(word.as_str(), "select" | "with" | "values" | "table"))
}

/// Reads the options; what is asked for but not supported is named.
fn explain_options(cursor: &mut Cursor<'_>, options: &mut ExplainOptions) -> SqlResult<Option<String>> {
    let (mut refused, mut needs_analyze) = (None, None);
    loop {
        let position = cursor.position();
        if cursor.accept("format") {
            match cursor.peek_word().unwrap_or_default().as_str() {
                "text" => options.format = ExplainFormat::Text,
                "json" => options.format = ExplainFormat::Json,
                format @ ("xml" | "yaml") => refused = Some(format!("EXPLAIN (FORMAT {})", format.to_uppercase())),
                other => {
                    let message = format!("unrecognized value for EXPLAIN option \"format\": \"{other}\"");
                    return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(position));
                }
            }
            cursor.advance()?;
        } else {
            let (name, on) = boolean_option(cursor)?;
            match name.as_str() {
                "analyze" | "analyse" => options.analyze = on,
                "costs" => options.costs = on,
                "timing" => {
                    options.timing = on;
                    needs_analyze = needs_analyze.or(on.then_some("TIMING"));
                }
                "summary" => options.summary = Some(on),
                "verbose" | "buffers" | "wal" | "settings" => {
                    if on {
                        needs_analyze = needs_analyze.or((name == "wal").then_some("WAL"));
                        refused = Some(format!("EXPLAIN ({})", name.to_uppercase()));
                    }
                }
                _ => return Err(unknown_option("EXPLAIN", &name).at(position)),
            }
        }
        if !cursor.accept_token(&Token::Comma) {
            cursor.expect_token(&Token::RParen)?;
            break;
        }
    }
    match needs_analyze.filter(|_| !options.analyze) {
        Some(option) => {
            let message = format!("EXPLAIN option {option} requires ANALYZE");
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
        None => Ok(refused),
    }
}

/// PREPARE, EXECUTE and DEALLOCATE.
pub fn prepared(cursor: &mut Cursor<'_>, word: &str) -> SqlResult<Body> {
    cursor.advance()?;
    match word {
        "prepare" => prepare(cursor),
        "execute" => {
            let name = cursor.identifier()?;
            if cursor.at_end() {
                return Ok(Body::Execute { name, args: Vec::new() });
            }
            cursor.expect_token(&Token::LParen)?;
            let close = cursor.closing_parenthesis()?;
            let mut inner = cursor.split_to(close);
            let args = inner.with_sqlparser(|parser| parser.parse_comma_separated(|parser| parser.parse_expr()))?;
            cursor.expect_token(&Token::RParen)?;
            cursor.expect_end()?;
            Ok(Body::Execute { name, args })
        }
        _ => {
            cursor.accept("prepare");
            let name = if cursor.accept("all") { None } else { Some(cursor.identifier()?) };
            cursor.expect_end()?;
            Ok(Body::Ready(Utility::Deallocate(name)))
        }
    }
}

fn prepare(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    let names_transaction = |token: &Token| {
        matches!(token, Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_))
    };
    if cursor.word_at(0).as_deref() == Some("transaction") && cursor.peek_at(1).is_some_and(names_transaction) {
        return super::transaction::prepare_transaction(cursor);
    }
    let name = cursor.identifier()?;
    let mut types = Vec::new();
    if cursor.accept_token(&Token::LParen) {
        let close = cursor.closing_parenthesis()?;
        let mut inner = cursor.split_to(close);
        let parsed = inner.with_sqlparser(|parser| parser.parse_comma_separated(|parser| parser.parse_data_type()))?;
        for data_type in &parsed {
            types.push(crate::sql::binder::types::resolve(data_type)?.ty);
        }
        cursor.expect_token(&Token::RParen)?;
    }
    cursor.expect("as")?;
    let text = cursor.rest_of_text().to_owned();
    match parse_body(cursor, 1)? {
        Body::Sql(_) => Ok(Body::Ready(Utility::Prepare { name, text, types })),
        Body::Unsupported(what) => Ok(Body::Unsupported(what)),
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "PREPARE takes SELECT, INSERT, UPDATE, DELETE or VALUES")),
    }
}

/// CREATE, DROP and ALTER.
pub fn ddl(cursor: &mut Cursor<'_>, verb: &str) -> SqlResult<Body> {
    let second = cursor.word_at(1).unwrap_or_default();
    match (verb, second.as_str()) {
        ("create", "table") => Ok(Body::Sql(cursor.sql_statement()?)),
        ("create", "temp" | "temporary" | "unlogged" | "local" | "global")
            if cursor.word_at(2).as_deref() == Some("table") || cursor.word_at(3).as_deref() == Some("table") =>
        {
            let kind = if second == "unlogged" { "CREATE UNLOGGED TABLE" } else { "CREATE TEMPORARY TABLE" };
            Ok(drain(cursor, kind.to_owned()))
        }
        (_, "role" | "group") => role::ddl(cursor, verb),
        (_, "user") if cursor.word_at(2).as_deref() != Some("mapping") => role::ddl(cursor, verb),
        ("drop", "table") => drop_table(cursor),
        ("drop", "owned") => grant::owned(cursor),
        ("alter", "default") => grant::defaults(cursor),
        ("alter", "table") => alter_table(cursor),
        _ => unsupported::ddl(cursor),
    }
}

/// The actions of ALTER TABLE about policies.
fn row_security(cursor: &mut Cursor<'_>) -> Option<&'static str> {
    const ACTIONS: [(&[&str], &str); 4] = [
        (&["enable", "row", "level", "security"], "ENABLE ROW LEVEL SECURITY"),
        (&["disable", "row", "level", "security"], "DISABLE ROW LEVEL SECURITY"),
        (&["no", "force", "row", "level", "security"], "NO FORCE ROW LEVEL SECURITY"),
        (&["force", "row", "level", "security"], "FORCE ROW LEVEL SECURITY"),
    ];
    ACTIONS.iter().find(|(words, _)| cursor.accept_all(words)).map(|(_, name)| *name)
}

fn drop_table(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    cursor.expect("drop")?;
    cursor.expect("table")?;
    let if_exists = cursor.accept_all(&["if", "exists"]);
    let tables = table_list(cursor)?;
    // Nothing can depend on a table yet, so CASCADE and RESTRICT are the same.
    if !cursor.accept("cascade") {
        cursor.accept("restrict");
    }
    cursor.expect_end()?;
    Ok(Body::DropTable { if_exists, tables })
}

fn alter_table(cursor: &mut Cursor<'_>) -> SqlResult<Body> {
    cursor.expect("alter")?;
    cursor.expect("table")?;
    let if_exists = cursor.accept_all(&["if", "exists"]);
    let table = inheriting_table(cursor)?;
    let action = cursor.peek_word().ok_or_else(|| cursor.error())?;
    let mut constraint = None;
    if cursor.accept_all(&["owner", "to"]) {
        let to = role::role_name(cursor)?;
        if cursor.peek() == Some(&Token::Comma) {
            return Ok(drain(cursor, "ALTER TABLE with several actions".to_owned()));
        }
        cursor.expect_end()?;
        return Ok(Body::ChangeOwner { table, if_exists, to });
    }
    if let Some(what) = row_security(cursor) {
        return Ok(drain(cursor, what.to_owned()));
    }
    if !cursor.accept("add") {
        return Ok(drain(cursor, format!("ALTER TABLE … {}", action.to_uppercase())));
    }
    if cursor.accept("constraint") {
        constraint = Some(cursor.identifier()?);
    }
    if !cursor.accept("primary") {
        let what = cursor.peek_word().filter(|word| matches!(word.as_str(), "check" | "unique" | "foreign" | "exclude"));
        let what = what.unwrap_or_else(|| "column".to_owned()).to_uppercase();
        return Ok(drain(cursor, format!("ALTER TABLE … ADD {what}")));
    }
    cursor.expect("key")?;
    if cursor.accept("using") {
        return Ok(drain(cursor, "ALTER TABLE … ADD PRIMARY KEY USING INDEX".to_owned()));
    }
    let columns = cursor.name_list()?;
    if let Some(clause) = cursor.peek_word() {
        return Ok(drain(cursor, format!("ALTER TABLE … ADD PRIMARY KEY … {}", clause.to_uppercase())));
    }
    if cursor.peek() == Some(&Token::Comma) {
        return Ok(drain(cursor, "ALTER TABLE with several actions".to_owned()));
    }
    cursor.expect_end()?;
    Ok(Body::AddPrimaryKey { table, if_exists, constraint, columns })
}
