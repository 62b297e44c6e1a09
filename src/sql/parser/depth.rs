//! An upper bound for the depth of the syntax tree, computed from tokens before anything recursive runs.
//!
//! Parentheses, CASE and unary operators nest; a chain `a + b + c …` becomes a tree as deep as it is long without any nesting
//! in the text. Along one path the tree is no deeper than the sum, over the open groups, of the operators seen in each since
//! its last comma.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Deeper trees are refused with 54001.
pub const SYNTAX_DEPTH_MAX: usize = 5_000;

/// Deepest nesting of parentheses and CASE that the recursive-descent parser is asked to follow.
pub const NESTING_MAX: usize = 400;

/// (bound on tree depth, nesting depth).
pub fn depth_bound(tokens: &[TokenWithSpan]) -> (usize, usize) {
    let mut groups: Vec<usize> = vec![0];
    let (mut current, mut deepest, mut nesting) = (0usize, 0usize, 0usize);
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => groups.push(0),
            Token::Word(word) if word.keyword == Keyword::CASE => groups.push(0),
            Token::RParen | Token::RBracket | Token::RBrace => close(&mut groups, &mut current),
            Token::Word(word) if word.keyword == Keyword::END && groups.len() > 1 => close(&mut groups, &mut current),
            Token::Comma | Token::SemiColon => {
                let top = groups.last_mut().expect("the outermost group is never closed");
                current -= std::mem::take(top);
            }
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) => {}
            Token::Word(word) if !is_operator_word(word.keyword) => {}
            _ => {
                *groups.last_mut().expect("the outermost group is never closed") += 1;
                current += 1;
            }
        }
        nesting = nesting.max(groups.len());
        deepest = deepest.max(current + groups.len());
    }
    (deepest, nesting)
}

fn close(groups: &mut Vec<usize>, current: &mut usize) {
    if groups.len() > 1 {
        *current -= groups.pop().expect("there is more than one group");
    }
    // What follows a closed group may apply to it as a whole, so the group's place in its parent counts as one step.
    *groups.last_mut().expect("the outermost group is never closed") += 1;
    *current += 1;
}

fn is_operator_word(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::JOIN
            | Keyword::UNION
            | Keyword::INTERSECT
            | Keyword::EXCEPT
            | Keyword::NOTNULL
            | Keyword::NOTHING
            | Keyword::INTERVAL
            | Keyword::PRIOR
            | Keyword::SELECT
            | Keyword::EXPLAIN
            | Keyword::PREPARE
    )
}
