//! Operators: logical, comparison, arithmetic, and comparisons of rows.

use sqlparser::ast::{BinaryOperator as Binary, Expr as Ast, Spanned, UnaryOperator as Unary};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::expr::{Place, position};
use crate::sql::binder::names::at;
use crate::sql::binder::{Binder, Typed};
use crate::sql::expr::Expr;
use crate::sql::function::resolve::{self, Failure};
use crate::types::{Datum, SqlType};

/// PostgreSQL's symbol for an operator, or `None` for one it has not.
pub(crate) fn symbol(op: &Binary) -> Option<String> {
    let symbol = match op {
        Binary::Plus => "+",
        Binary::Minus => "-",
        Binary::Multiply => "*",
        Binary::Divide => "/",
        Binary::Modulo => "%",
        Binary::StringConcat => "||",
        Binary::Gt => ">",
        Binary::Lt => "<",
        Binary::GtEq => ">=",
        Binary::LtEq => "<=",
        Binary::Eq => "=",
        Binary::NotEq => "<>",
        Binary::BitwiseOr => "|",
        Binary::BitwiseAnd => "&",
        Binary::PGBitwiseXor => "#",
        Binary::PGBitwiseShiftLeft => "<<",
        Binary::PGBitwiseShiftRight => ">>",
        // `^`, whatever sqlparser calls it.
        Binary::PGExp | Binary::BitwiseXor => "^",
        Binary::PGRegexMatch => "~",
        Binary::PGRegexIMatch => "~*",
        Binary::PGRegexNotMatch => "!~",
        Binary::PGRegexNotIMatch => "!~*",
        Binary::PGLikeMatch => "~~",
        Binary::PGILikeMatch => "~~*",
        Binary::PGNotLikeMatch => "!~~",
        Binary::PGNotILikeMatch => "!~~*",
        Binary::PGStartsWith => "^@",
        Binary::PGOverlap => "&&",
        Binary::AtArrow => "@>",
        Binary::ArrowAt => "<@",
        Binary::Custom(symbol) => return Some(symbol.clone()),
        Binary::PGCustomBinaryOperator(parts) => {
            return match &parts[..] {
                [symbol] => Some(symbol.clone()),
                [schema, symbol] if schema.eq_ignore_ascii_case("pg_catalog") => Some(symbol.clone()),
                _ => None,
            };
        }
        other => return Some(other.to_string()),
    };
    Some(symbol.to_owned())
}

impl Binder<'_> {
    /// A binary operator.
    pub fn binary(&self, whole: &Ast, left: &Ast, op: &Binary, right: &Ast, place: Place<'_>) -> SqlResult<Typed> {
        match op {
            Binary::And | Binary::Or => return self.logical(whole, *op == Binary::And, place),
            _ => {}
        }
        if let (Ast::Tuple(left), Ast::Tuple(right)) = (unnest(left), unnest(right)) {
            return self.row_comparison(left, op, right, place);
        }
        let Some(symbol) = symbol(op) else {
            return Err(at(
                SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {op}")),
                position(whole),
            ));
        };
        let start = self.expr(left, place)?.at(position(left));
        let end = self.expr(right, place)?.at(position(right));
        let place_of = || crate::sql::parser::position_of(left.span());
        Ok(self.binary_operator(&symbol, start, end, place_of())?.at(place_of()))
    }

    /// AND and OR: a chain becomes one flat list, bound in the order written.
    fn logical(&self, whole: &Ast, and: bool, place: Place<'_>) -> SqlResult<Typed> {
        let (wanted, name) = if and { (Binary::And, "AND") } else { (Binary::Or, "OR") };
        let (mut terms, mut next) = (Vec::new(), whole);
        while let Ast::BinaryOp { left, op, right } = next
            && *op == wanted
        {
            terms.push(&**right);
            next = left;
        }
        terms.push(next);
        let mut bound = Vec::with_capacity(terms.len());
        for term in terms.into_iter().rev() {
            match self.condition(term, place, name)? {
                Expr::And(inner) if and => bound.extend(inner),
                Expr::Or(inner) if !and => bound.extend(inner),
                other => bound.push(other),
            }
        }
        let expr = if and { Expr::And(bound) } else { Expr::Or(bound) };
        Ok(Typed::plain(expr, SqlType::Bool).at(position(whole)))
    }

    /// Resolves and applies a binary operator to bound sides.
    pub fn binary_operator(&self, symbol: &str, left: Typed, right: Typed, place: Option<u32>) -> SqlResult<Typed> {
        let symbol = if symbol == "!=" { "<>" } else { symbol };
        let types = [left.ty.ty, right.ty.ty];
        let resolved = resolve::operator(symbol, &types).map_err(|failure| at(operator_error(symbol, &types, failure), place))?;
        self.call(resolved, vec![left, right])
    }

    /// A prefix operator.
    pub fn unary(&self, op: Unary, operand: &Ast, place: Place<'_>) -> SqlResult<Typed> {
        let symbol = match op {
            Unary::Not => {
                let value = self.condition(operand, place, "NOT")?;
                return Ok(Typed::plain(Expr::Not(Box::new(value)), SqlType::Bool).at(position(operand)));
            }
            Unary::Minus => "-",
            Unary::Plus => "+",
            Unary::BitwiseNot => "~",
            Unary::PGAbs => "@",
            Unary::PGSquareRoot => "|/",
            Unary::PGCubeRoot => "||/",
            other => return Err(at(SqlError::unsupported(format!("the operator {other}")), position(operand))),
        };
        let value = self.expr(operand, place)?.at(position(operand));
        if let (Unary::Minus, Some(folded)) = (op, negated_constant(&value)) {
            return Ok(folded);
        }
        let types = [value.ty.ty];
        let resolved =
            resolve::operator(symbol, &types).map_err(|failure| at(operator_error(symbol, &types, failure), value.position))?;
        self.call(resolved, vec![value])
    }

    /// `(a, b) = (c, d)`: equality of all, or difference of any; the ordering of rows goes column by column.
    fn row_comparison(&self, left: &[Ast], op: &Binary, right: &[Ast], place: Place<'_>) -> SqlResult<Typed> {
        if left.len() != right.len() {
            let error = SqlError::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions");
            return Err(at(error, left.first().and_then(position)));
        }
        let left = self.exprs(left, place)?;
        let right = self.exprs(right, place)?;
        let Some(symbol) = symbol(op) else { return Err(SqlError::unsupported(format!("{op} of rows"))) };
        self.compare_rows(&symbol, left, right)
    }

    /// Compares rows of bound values.
    pub fn compare_rows(&self, symbol: &str, left: Vec<Typed>, right: Vec<Typed>) -> SqlResult<Typed> {
        let bools = |exprs: Vec<Typed>| exprs.into_iter().map(|value| value.expr).collect::<Vec<_>>();
        let pairwise = |symbol: &str| -> SqlResult<Vec<Typed>> {
            let pairs = left.iter().cloned().zip(right.iter().cloned());
            pairs.map(|(a, b)| self.binary_operator(symbol, a, b, None)).collect()
        };
        let expr = match symbol {
            "=" => conjunction(bools(pairwise("=")?)),
            "<>" => disjunction(bools(pairwise("<>")?)),
            "<" | "<=" | ">" | ">=" => {
                // (a, b) < (c, d)  is  a < c or (a = c and b < d); the last column keeps the operator as written.
                let strict = &symbol[..1];
                let mut expr: Option<Expr> = None;
                for (a, b) in left.into_iter().zip(right).rev() {
                    let op = if expr.is_none() { symbol } else { strict };
                    let less = self.binary_operator(op, a.clone(), b.clone(), None)?.expr;
                    expr = Some(match expr {
                        None => less,
                        Some(rest) => {
                            let equal = self.binary_operator("=", a, b, None)?.expr;
                            disjunction(vec![less, conjunction(vec![equal, rest])])
                        }
                    });
                }
                expr.expect("a row has at least one column")
            }
            _ => return Err(SqlError::unsupported(format!("the operator {symbol} on rows"))),
        };
        Ok(Typed::plain(expr, SqlType::Bool))
    }
}

/// AND of some conditions, without a wrapper around one.
pub(crate) fn conjunction(mut terms: Vec<Expr>) -> Expr {
    if terms.len() == 1 { terms.pop().expect("one term") } else { Expr::And(terms) }
}

/// OR of some conditions.
pub(crate) fn disjunction(mut terms: Vec<Expr>) -> Expr {
    if terms.len() == 1 { terms.pop().expect("one term") } else { Expr::Or(terms) }
}

/// Without the parentheses around it.
pub(crate) fn unnest(mut expr: &Ast) -> &Ast {
    while let Ast::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// A negative number is a constant, not an operator applied to one: it can be a key or a bound as it stands.
fn negated_constant(value: &Typed) -> Option<Typed> {
    let datum = match &value.expr {
        Expr::Const(Datum::Int4(number), _) => Datum::Int4(number.checked_neg()?),
        Expr::Const(Datum::Int8(number), _) => Datum::Int8(number.checked_neg()?),
        _ => return None,
    };
    Some(Typed { expr: Expr::Const(datum, value.ty.ty), ..value.clone() })
}

/// 42883 or 42725 for an operator.
pub(crate) fn operator_error(symbol: &str, types: &[SqlType], failure: Failure) -> SqlError {
    let shown = match types {
        [operand] => format!("{symbol} {}", operand.name()),
        [left, right] => format!("{} {symbol} {}", left.name(), right.name()),
        _ => symbol.to_owned(),
    };
    match failure {
        Failure::NoMatch => SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {shown}"))
            .hint("No operator matches the given name and argument types. You might need to add explicit type casts."),
        Failure::Ambiguous => SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: {shown}"))
            .hint("Could not choose a best candidate operator. You might need to add explicit type casts."),
    }
}
