//! A reader of tokens for the statements that are parsed here.

use sqlparser::ast as sqlast;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::parser::ast::TableName;
use crate::sql::parser::depth::NESTING_MAX;
use crate::sql::parser::dialect::OmenDialect;
use crate::sql::parser::lexer::{Lexed, syntax_error};

/// A position within one statement's tokens.
pub struct Cursor<'a> {
    lexed: &'a Lexed<'a>,
    /// Index of the next token in `lexed.tokens`.
    next: usize,
    /// One past the statement's last token.
    end: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor over tokens `start..end`.
    pub fn new(lexed: &'a Lexed<'a>, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= lexed.tokens.len(), "a statement's tokens lie within the text's");
        Self { lexed, next: start, end }
    }

    /// The next token.
    pub fn peek(&self) -> Option<&'a Token> {
        self.peek_at(0)
    }

    /// The token `ahead` places on.
    pub fn peek_at(&self, ahead: usize) -> Option<&'a Token> {
        if self.next + ahead < self.end { Some(&self.lexed.tokens[self.next + ahead].token) } else { None }
    }

    /// Whether all tokens are read.
    pub fn at_end(&self) -> bool {
        self.next >= self.end
    }

    /// Position of the next token, or just past the statement's end.
    pub fn position(&self) -> u32 {
        let position = if self.at_end() { self.end_position() } else { self.lexed.tokens[self.next].span.start.column };
        u32::try_from(position).unwrap_or(u32::MAX)
    }

    fn end_position(&self) -> u64 {
        if self.end == 0 { 1 } else { self.lexed.tokens[self.end - 1].span.end.column }
    }

    /// The next token if it is an unquoted word, in lower case.
    pub fn peek_word(&self) -> Option<String> {
        self.word_at(0)
    }

    /// The word `ahead` places on.
    pub fn word_at(&self, ahead: usize) -> Option<String> {
        match self.peek_at(ahead) {
            Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
            _ => None,
        }
    }

    /// Reads the word `expected` (lower case) if it comes next.
    pub fn accept(&mut self, expected: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected));
        self.next += usize::from(found);
        found
    }

    /// Reads all of `words` if they come next.
    pub fn accept_all(&mut self, words: &[&str]) -> bool {
        let start = self.next;
        if words.iter().all(|word| self.accept(word)) {
            return true;
        }
        self.next = start;
        false
    }

    /// Reads `token` if it comes next.
    pub fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    /// Reads the word `expected` or fails.
    pub fn expect(&mut self, expected: &str) -> SqlResult<()> {
        if self.accept(expected) { Ok(()) } else { Err(self.error()) }
    }

    /// Reads `token` or fails.
    pub fn expect_token(&mut self, token: &Token) -> SqlResult<()> {
        if self.accept_token(token) { Ok(()) } else { Err(self.error()) }
    }

    /// The next token, read.
    pub fn advance(&mut self) -> SqlResult<&'a Token> {
        match self.peek() {
            Some(token) => {
                self.next += 1;
                Ok(token)
            }
            None => Err(self.error()),
        }
    }

    /// Fails unless everything is read.
    pub fn expect_end(&self) -> SqlResult<()> {
        if self.at_end() { Ok(()) } else { Err(self.error()) }
    }

    /// The syntax error at the next token.
    pub fn error(&self) -> SqlError {
        if self.at_end() {
            return syntax_error(None, self.end_position());
        }
        let token = &self.lexed.tokens[self.next];
        syntax_error(Some(&self.lexed.text[self.lexed.range(token)]), token.span.start.column)
    }

    /// The word read last, as written.
    pub fn previous_word(&self) -> &'a str {
        assert!(self.next > 0, "something has been read");
        &self.lexed.text[self.lexed.range(&self.lexed.tokens[self.next - 1])]
    }

    /// The syntax error at the token read last.
    pub fn error_at_previous(&self) -> SqlError {
        syntax_error(Some(self.previous_word()), self.lexed.tokens[self.next - 1].span.start.column)
    }

    /// Whether the word `wanted` comes before the word `end`, or before the statement's end.
    pub fn is_ahead(&self, wanted: &str, end: &str) -> bool {
        let words = (self.next..self.end).filter_map(|index| match &self.lexed.tokens[index].token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
            _ => None,
        });
        words.take_while(|word| word != end).any(|word| word == wanted)
    }

    /// Passes over what is left.
    pub fn skip_rest(&mut self) {
        self.next = self.end;
    }

    /// An identifier, folded to lower case unless quoted.
    pub fn identifier(&mut self) -> SqlResult<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.next += 1;
                Ok(fold(&word.value, word.quote_style.is_some()))
            }
            _ => Err(self.error()),
        }
    }

    /// A possibly qualified table name; a database name in front is 0A000 unless… it never names another database here.
    pub fn table_name(&mut self) -> SqlResult<TableName> {
        let position = self.position();
        let mut parts = vec![self.identifier()?];
        while self.accept_token(&Token::Period) {
            parts.push(self.identifier()?);
        }
        let name = parts.pop().expect("at least one part was read");
        let schema = parts.pop();
        if !parts.is_empty() {
            return Err(SqlError::unsupported("a reference to another database").at(position));
        }
        Ok(TableName { schema, name, position })
    }

    /// A list of names, each with its position, in parentheses.
    pub fn name_list(&mut self) -> SqlResult<Vec<(String, u32)>> {
        self.expect_token(&Token::LParen)?;
        let mut names = Vec::new();
        loop {
            let position = self.position();
            names.push((self.identifier()?, position));
            if !self.accept_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    /// A string constant.
    pub fn string(&mut self) -> SqlResult<String> {
        match self.peek() {
            Some(
                Token::SingleQuotedString(string) | Token::EscapedStringLiteral(string) | Token::UnicodeStringLiteral(string),
            ) => {
                self.next += 1;
                Ok(string.clone())
            }
            Some(Token::DollarQuotedString(string)) => {
                self.next += 1;
                Ok(string.value.clone())
            }
            _ => Err(self.error()),
        }
    }

    /// The statement's text from the next token to its end.
    pub fn rest_of_text(&self) -> &'a str {
        if self.at_end() {
            return "";
        }
        let start = self.lexed.range(&self.lexed.tokens[self.next]).start;
        let end = self.lexed.range(&self.lexed.tokens[self.end - 1]).end;
        &self.lexed.text[start..end]
    }

    /// The index of the parenthesis that closes the one read just before.
    pub fn closing_parenthesis(&self) -> SqlResult<usize> {
        let mut depth = 1;
        for index in self.next..self.end {
            match self.lexed.tokens[index].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(index);
            }
        }
        Err(syntax_error(None, self.end_position()))
    }

    /// A cursor over the tokens up to `index`; this one continues there.
    pub fn split_to(&mut self, index: usize) -> Cursor<'a> {
        let inner = Cursor::new(self.lexed, self.next, index);
        self.next = index;
        inner
    }

    /// The rest of the tokens for sqlparser, with `parse` applied to them; all must be read.
    pub fn with_sqlparser<T>(&mut self, parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>) -> SqlResult<T> {
        let tokens: Vec<TokenWithSpan> = self.lexed.tokens[self.next..self.end].to_vec();
        let dialect = OmenDialect;
        let mut parser = Parser::new(&dialect).with_recursion_limit(NESTING_MAX * 2).with_tokens_with_locations(tokens);
        let result = parse(&mut parser).and_then(|value| {
            let next = parser.peek_token();
            if next.token == Token::EOF { Ok(value) } else { parser.expected("end of statement", next) }
        });
        match result {
            Ok(value) => {
                self.next = self.end;
                Ok(value)
            }
            Err(error) => Err(self.translate_error(error)),
        }
    }

    /// The rest as one SQL statement.
    pub fn sql_statement(&mut self) -> SqlResult<Box<sqlast::Statement>> {
        self.with_sqlparser(|parser| parser.parse_statement()).map(Box::new)
    }

    /// PostgreSQL's error for sqlparser's: only the place is taken from it.
    fn translate_error(&self, error: ParserError) -> SqlError {
        let message = match error {
            ParserError::RecursionLimitExceeded => return too_deep(),
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        };
        let column = message.rsplit_once("Column: ").and_then(|(_, column)| column.trim().parse::<u64>().ok());
        let Some(column) = column.filter(|&column| column > 0) else {
            return syntax_error(None, self.end_position());
        };
        let token = self.lexed.tokens[self.next..self.end].iter().find(|token| token.span.start.column == column);
        match token {
            Some(token) => syntax_error(Some(&self.lexed.text[self.lexed.range(token)]), column),
            None => syntax_error(None, self.end_position()),
        }
    }
}

/// 54001, PostgreSQL's answer to a statement nested too deeply.
pub fn too_deep() -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .hint("The statement nests expressions or subqueries too deeply.")
}

/// Case folding and truncation of identifiers (PostgreSQL 15 documentation 4.1.1: 63 bytes).
pub fn fold(identifier: &str, quoted: bool) -> String {
    let mut folded = if quoted { identifier.to_owned() } else { identifier.to_ascii_lowercase() };
    if folded.len() > 63 {
        let mut end = 63;
        while !folded.is_char_boundary(end) {
            end -= 1;
        }
        folded.truncate(end);
    }
    folded
}
