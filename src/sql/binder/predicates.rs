//! Predicates with a syntax of their own: BETWEEN, IN, LIKE, IS DISTINCT FROM, ANY and ALL.

use sqlparser::ast::{BinaryOperator, Expr as Ast, Value, ValueWithSpan};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::expr::{Place, position};
use crate::sql::binder::names::at;
use crate::sql::binder::operators::{conjunction, disjunction, operator_error, symbol, unnest};
use crate::sql::binder::{Binder, Typed, types};
use crate::sql::expr::Expr;
use crate::sql::function::coercion::common_type;
use crate::sql::function::resolve;
use crate::types::SqlType;

impl Binder<'_> {
    /// One of the predicates; `None` for any other expression.
    pub fn predicate(&self, expr: &Ast, place: Place<'_>) -> SqlResult<Option<Typed>> {
        let start = position(expr);
        let bound = match expr {
            Ast::Between { expr, negated, low, high } => self.between(expr, *negated, low, high, place)?,
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated, place)?,
            Ast::IsDistinctFrom(left, right) => self.distinct(left, right, false, place)?,
            Ast::IsNotDistinctFrom(left, right) => self.distinct(left, right, true, place)?,
            Ast::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~" } else { "~~" }, expr, pattern, escape_char.as_deref(), place)?
            }
            Ast::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "!~~*" } else { "~~*" }, expr, pattern, escape_char.as_deref(), place)?
            }
            Ast::SimilarTo { .. } => return Err(at(SqlError::unsupported("SIMILAR TO"), start)),
            Ast::AnyOp { left, compare_op, right, .. } => self.any_all(left, compare_op, right, false, place)?,
            Ast::AllOp { left, compare_op, right } => self.any_all(left, compare_op, right, true, place)?,
            _ => return Ok(None),
        };
        Ok(Some(bound.at(start)))
    }

    fn between(&self, value: &Ast, negated: bool, low: &Ast, high: &Ast, place: Place<'_>) -> SqlResult<Typed> {
        let start = position(value);
        let value = self.expr(value, place)?.at(start);
        let (low, high) = (self.expr(low, place)?, self.expr(high, place)?);
        let expr = if negated {
            let below = self.binary_operator("<", value.clone(), low, start)?.expr;
            disjunction(vec![below, self.binary_operator(">", value, high, start)?.expr])
        } else {
            let from = self.binary_operator(">=", value.clone(), low, start)?.expr;
            conjunction(vec![from, self.binary_operator("<=", value, high, start)?.expr])
        };
        Ok(Typed::plain(expr, SqlType::Bool))
    }

    /// IN over expressions: one list if they have a common type with the left side, else a chain of equalities.
    fn in_list(&self, value: &Ast, list: &[Ast], negated: bool, place: Place<'_>) -> SqlResult<Typed> {
        if let Ast::Tuple(row) = unnest(value) {
            return self.row_in_list(row, list, negated, place);
        }
        let start = position(value);
        let value = self.expr(value, place)?.at(start);
        let items = self.exprs(list, place)?;
        if items.is_empty() {
            return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \")\""), start));
        }
        let all = std::iter::once(value.ty.ty).chain(items.iter().map(|item| item.ty.ty));
        let comparable = common_type(all).ok().filter(|&ty| resolve::operator("=", &[ty, ty]).is_ok());
        if let Some(ty) = comparable {
            let value = self.coerce_implicit(value, ty)?;
            let items = items.into_iter().map(|item| Ok(self.coerce_implicit(item, ty)?.expr)).collect::<SqlResult<Vec<_>>>()?;
            return Ok(Typed::plain(Expr::InList(Box::new(value.expr), items, negated), SqlType::Bool));
        }
        let op = if negated { "<>" } else { "=" };
        let tests = items
            .into_iter()
            .map(|item| Ok(self.binary_operator(op, value.clone(), item, start)?.expr))
            .collect::<SqlResult<Vec<_>>>()?;
        Ok(Typed::plain(if negated { conjunction(tests) } else { disjunction(tests) }, SqlType::Bool))
    }

    fn row_in_list(&self, row: &[Ast], list: &[Ast], negated: bool, place: Place<'_>) -> SqlResult<Typed> {
        let left = self.exprs(row, place)?;
        let mut tests = Vec::with_capacity(list.len());
        for item in list {
            let Ast::Tuple(item) = unnest(item) else {
                return Err(at(SqlError::unsupported("IN of a row and something that is not a row"), position(item)));
            };
            if item.len() != left.len() {
                let error = SqlError::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions");
                return Err(at(error, item.first().and_then(position)));
            }
            tests.push(self.compare_rows("=", left.clone(), self.exprs(item, place)?)?.expr);
        }
        let any = disjunction(tests);
        Ok(Typed::plain(if negated { Expr::Not(Box::new(any)) } else { any }, SqlType::Bool))
    }

    /// The sides are cast as `=` would cast them.
    fn distinct(&self, left: &Ast, right: &Ast, not: bool, place: Place<'_>) -> SqlResult<Typed> {
        if matches!(unnest(left), Ast::Tuple(_)) {
            return Err(at(SqlError::unsupported("IS DISTINCT FROM of rows"), position(left)));
        }
        let start = position(left);
        let (left, right) = (self.expr(left, place)?.at(start), self.expr(right, place)?);
        let types = [left.ty.ty, right.ty.ty];
        let resolved = resolve::operator("=", &types).map_err(|failure| at(operator_error("=", &types, failure), start))?;
        let to = resolved.signature.args;
        let side = |value: Typed, to: SqlType| {
            let to = if to == SqlType::Unknown { SqlType::Text } else { to };
            self.coerce_implicit(value, to)
        };
        let (left, right) = (side(left, to[0])?, side(right, to[1])?);
        Ok(Typed::plain(Expr::Distinct(Box::new(left.expr), Box::new(right.expr), not), SqlType::Bool))
    }

    fn like(&self, op: &str, value: &Ast, pattern: &Ast, escape: Option<&Ast>, place: Place<'_>) -> SqlResult<Typed> {
        let start = position(value);
        let value = self.expr(value, place)?.at(start);
        let mut pattern = self.expr(pattern, place)?;
        let is_default = |escape: &Ast| matches!(escape, Ast::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) if text == "\\");
        if let Some(escape) = escape.filter(|escape| !is_default(escape)) {
            // LIKE … ESCAPE is the operator on a pattern rewritten to the default escape, as in PostgreSQL.
            let escape = self.expr(escape, place)?;
            pattern = self.function_call("like_escape", vec![pattern, escape], start)?;
        }
        self.binary_operator(op, value, pattern, start)
    }

    /// `value operator ANY / ALL (array or subquery)`.
    fn any_all(&self, left: &Ast, op: &BinaryOperator, right: &Ast, all: bool, place: Place<'_>) -> SqlResult<Typed> {
        let Some(symbol) = symbol(op) else { return Err(SqlError::unsupported(format!("{op} ANY"))) };
        let start = position(left);
        if let Ast::Subquery(query) = unnest(right) {
            return match (symbol.as_str(), all) {
                ("=", false) => self.in_subquery(left, query, false, place),
                ("<>", true) => self.in_subquery(left, query, true, place),
                _ => Err(at(SqlError::unsupported(format!("{symbol} {} (subquery)", if all { "ALL" } else { "ANY" })), start)),
            };
        }
        let value = self.expr(left, place)?.at(start);
        let array = self.expr(right, place)?.at(position(right));
        let element = match array.ty.ty {
            SqlType::Array(element) => element.scalar(),
            // An untyped right side takes the left side's type.
            SqlType::Unknown if !value.is_unknown() => value.ty.ty,
            SqlType::Unknown => SqlType::Text,
            other => {
                let message = format!("op ANY/ALL (array) requires array on right side, not {}", other.name());
                return Err(at(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message), array.position));
            }
        };
        let types_of = [value.ty.ty, element];
        let resolved =
            resolve::operator(&symbol, &types_of).map_err(|failure| at(operator_error(&symbol, &types_of, failure), start))?;
        if resolved.signature.result != SqlType::Bool {
            return Err(at(
                SqlError::new(SqlState::WRONG_OBJECT_TYPE, "op ANY/ALL (array) requires operator to yield boolean"),
                start,
            ));
        }
        let Some(element) = types::element_of(resolved.signature.args[1]) else {
            return Err(at(SqlError::unsupported(format!("an array of {}", element.name())), start));
        };
        let value = self.coerce_implicit(value, resolved.signature.args[0])?;
        let array = self.coerce_implicit(array, SqlType::Array(element))?;
        let expr = Expr::AnyAll { arg: Box::new(value.expr), function: resolved.function, array: Box::new(array.expr), all };
        Ok(Typed::plain(expr, SqlType::Bool))
    }
}
