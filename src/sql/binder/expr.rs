//! Scalar expressions.

use std::cell::RefCell;

use sqlparser::ast::{self, CastKind, Expr as Ast, Spanned, Value};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::aggregates::Collector;
use crate::sql::binder::names::{at, identifier};
use crate::sql::binder::scope::Scope;
use crate::sql::binder::{Binder, Typed, plain, types};
use crate::sql::expr::{BoolTest, Expr};
use crate::sql::parser::position_of;
use crate::types::{Datum, SqlType};

/// The clause an expression is in, for what is allowed there and how errors call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    Select,
    Where,
    Having,
    GroupBy,
    OrderBy,
    JoinOn,
    Limit,
    Values,
    Default,
    Update,
    Returning,
    From,
    Execute,
    OnConflict,
}

impl Clause {
    /// As errors name it.
    pub fn name(self) -> &'static str {
        match self {
            Clause::Select => "SELECT",
            Clause::Where => "WHERE",
            Clause::Having => "HAVING",
            Clause::GroupBy => "GROUP BY",
            Clause::OrderBy => "ORDER BY",
            Clause::JoinOn => "JOIN conditions",
            Clause::Limit => "LIMIT",
            Clause::Values => "VALUES",
            Clause::Default => "DEFAULT expressions",
            Clause::Update => "UPDATE",
            Clause::Returning => "RETURNING",
            Clause::From => "functions in FROM",
            Clause::Execute => "EXECUTE parameters",
            Clause::OnConflict => "ON CONFLICT",
        }
    }
}

/// Where an expression is bound.
#[derive(Clone, Copy)]
pub(crate) struct Place<'s> {
    /// Names.
    pub scope: &'s Scope<'s>,
    /// The clause.
    pub clause: Clause,
    /// Takes aggregates and set-returning functions, where they are allowed.
    pub collector: Option<&'s RefCell<Collector>>,
    /// Inside the arguments of an aggregate.
    pub in_aggregate: bool,
}

impl<'s> Place<'s> {
    /// A place where neither aggregates nor set-returning functions may stand.
    pub fn scalar(scope: &'s Scope<'s>, clause: Clause) -> Self {
        Self { scope, clause, collector: None, in_aggregate: false }
    }
}

/// The position of an expression: of its first token that knows one.
pub(crate) fn position(expr: &Ast) -> Option<u32> {
    position_of(expr.span())
}

impl Binder<'_> {
    /// Binds an expression.
    pub fn expr(&self, expr: &Ast, place: Place<'_>) -> SqlResult<Typed> {
        let _level = self.enter_expression()?;
        match expr {
            Ast::Nested(inner) => self.expr(inner, place),
            Ast::Value(value) => self.value(value),
            Ast::Identifier(ident) => self.column(std::slice::from_ref(ident), place),
            Ast::CompoundIdentifier(idents) => self.column(idents, place),
            Ast::BinaryOp { left, op, right } => self.binary(expr, left, op, right, place),
            Ast::UnaryOp { op, expr: operand } => self.unary(*op, operand, place),
            Ast::IsNull(inner) => self.null_test(inner, false, place),
            Ast::IsNotNull(inner) => self.null_test(inner, true, place),
            Ast::IsTrue(inner) => self.bool_test(inner, BoolTest::IsTrue, "IS TRUE", place),
            Ast::IsNotTrue(inner) => self.bool_test(inner, BoolTest::IsNotTrue, "IS NOT TRUE", place),
            Ast::IsFalse(inner) => self.bool_test(inner, BoolTest::IsFalse, "IS FALSE", place),
            Ast::IsNotFalse(inner) => self.bool_test(inner, BoolTest::IsNotFalse, "IS NOT FALSE", place),
            Ast::IsUnknown(inner) => self.bool_test(inner, BoolTest::IsUnknown, "IS UNKNOWN", place),
            Ast::IsNotUnknown(inner) => self.bool_test(inner, BoolTest::IsNotUnknown, "IS NOT UNKNOWN", place),
            Ast::Cast { .. } => self.cast(expr, place),
            Ast::TypedString(typed) => self.typed_string(typed),
            Ast::Interval(interval) => self.interval(interval),
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), place)
            }
            Ast::Array(array) => self.array(array, place),
            Ast::Collate { expr, collation } => self.collate(expr, collation, place),
            Ast::Exists { subquery, negated } => self.exists(subquery, *negated, place),
            Ast::Subquery(query) => self.scalar_subquery(query, place),
            Ast::InSubquery { expr, subquery, negated } => self.in_subquery(expr, subquery, *negated, place),
            Ast::Tuple(_) => Err(at(SqlError::unsupported("a row constructor here"), position(expr))),
            Ast::CompoundFieldAccess { root, access_chain } => self.subscript(root, access_chain, place),
            _ => match self.predicate(expr, place)? {
                Some(bound) => Ok(bound),
                None => self.special_call(expr, place),
            },
        }
    }

    /// Binds a condition.
    pub fn condition(&self, expr: &Ast, place: Place<'_>, name: &str) -> SqlResult<Expr> {
        let bound = self.expr(expr, place)?.at(position(expr));
        self.coerce_boolean(bound, name)
    }

    fn value(&self, value: &ast::ValueWithSpan) -> SqlResult<Typed> {
        let position = position_of(value.span);
        if let Some((index, ty)) = self.params.slot_at(position) {
            return Ok(Typed::plain(Expr::Param(index, ty), ty).at(position));
        }
        let text = match &value.value {
            Value::Number(digits, false) => return self.number(digits).map(|typed| typed.at(position)),
            Value::Boolean(value) => {
                return Ok(Typed::plain(Expr::Const(Datum::Bool(*value), SqlType::Bool), SqlType::Bool).at(position));
            }
            Value::Null => return Ok(Typed::plain(Expr::Const(Datum::Null, SqlType::Unknown), SqlType::Unknown).at(position)),
            Value::Placeholder(name) => return self.parameter(name, position),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) | Value::UnicodeStringLiteral(text) => text,
            Value::DollarQuotedString(text) => &text.value,
            other => return Err(at(SqlError::unsupported(format!("the literal {other}")), position)),
        };
        Ok(Typed::plain(Expr::Const(Datum::Text(text.as_str().into()), SqlType::Unknown), SqlType::Unknown).at(position))
    }

    /// A numeric constant: integer, bigint or numeric, by size (documentation 4.1.2.6).
    fn number(&self, digits: &str) -> SqlResult<Typed> {
        let (datum, ty) = match digits.parse::<i64>() {
            Ok(value) => match i32::try_from(value) {
                Ok(value) => (Datum::Int4(value), SqlType::Int4),
                Err(_) => (Datum::Int8(value), SqlType::Int8),
            },
            Err(_) => (crate::sql::values::input(digits, plain(SqlType::Numeric), self.context.session)?, SqlType::Numeric),
        };
        Ok(Typed::plain(Expr::Const(datum, ty), ty))
    }

    fn parameter(&self, name: &str, position: Option<u32>) -> SqlResult<Typed> {
        let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let Some(number) = number else {
            return Err(crate::sql::parser::syntax_error(Some(name), u64::from(position.unwrap_or(1))));
        };
        let (index, ty) = self.params.reference(number).map_err(|error| at(error, position))?;
        Ok(Typed::plain(Expr::Param(index, ty), ty).at(position))
    }

    fn column(&self, idents: &[ast::Ident], place: Place<'_>) -> SqlResult<Typed> {
        let position = super::names::position(&idents[0]);
        if let [ident] = idents
            && ident.quote_style.is_none()
            && let Some(bound) = self.keyword_function(&identifier(ident), position)?
        {
            return Ok(bound);
        }
        let parts: Vec<String> = idents.iter().map(identifier).collect();
        let found = match place.scope.resolve(&parts, position) {
            Ok(found) => found.at(position),
            Err(error) => {
                if let [name] = &parts[..]
                    && place.scope.relation(None, name).is_some()
                {
                    return Err(at(SqlError::unsupported("a whole-row reference"), position));
                }
                return Err(error);
            }
        };
        if let (Some(collector), Expr::Column(index, _), false) = (place.collector, &found.expr, place.in_aggregate) {
            collector.borrow_mut().note_column(*index, parts, position);
        }
        Ok(found)
    }

    fn null_test(&self, inner: &Ast, negated: bool, place: Place<'_>) -> SqlResult<Typed> {
        if let Ast::Tuple(_) = inner {
            return Err(at(SqlError::unsupported("IS NULL of a row"), position(inner)));
        }
        let value = self.settle(self.expr(inner, place)?)?;
        Ok(Typed::plain(Expr::IsNull(Box::new(value.expr), negated), SqlType::Bool).at(value.position))
    }

    fn bool_test(&self, inner: &Ast, test: BoolTest, name: &str, place: Place<'_>) -> SqlResult<Typed> {
        let value = self.condition(inner, place, name)?;
        Ok(Typed::plain(Expr::BoolTest(Box::new(value), test), SqlType::Bool).at(position(inner)))
    }

    fn cast(&self, expr: &Ast, place: Place<'_>) -> SqlResult<Typed> {
        let Ast::Cast { kind, expr: inner, data_type, format: None } = expr else {
            return Err(SqlError::unsupported("CAST with FORMAT"));
        };
        if matches!(kind, CastKind::TryCast | CastKind::SafeCast) {
            return Err(SqlError::unsupported("TRY_CAST"));
        }
        let start = position(expr);
        if types::is_regnamespace(data_type) {
            // There is no such type here; where it is cast to, the schema's name is what is wanted.
            let value = self.coerce_implicit(self.expr(inner, place)?.at(position(inner)), SqlType::Oid)?;
            return self.function_call("\0regnamespaceout", vec![value], start);
        }
        let to = types::resolve(data_type).map_err(|error| at(error, start))?;
        if let (Ast::Array(array), SqlType::Array(element)) = (&**inner, to.ty) {
            // The cast types the elements (documentation 4.2.12), which matters for an empty or unknown-only constructor.
            return self.array_of(array, element.scalar(), place);
        }
        let value = self.expr(inner, place)?.at(position(inner));
        self.coerce_explicit(value, to).map_err(|error| at(error, start))
    }

    fn typed_string(&self, typed: &ast::TypedString) -> SqlResult<Typed> {
        let to = types::resolve(&typed.data_type)?;
        let position = position_of(typed.value.span);
        let text = match &typed.value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text.as_str(),
            Value::DollarQuotedString(text) => text.value.as_str(),
            other => return Err(at(SqlError::unsupported(format!("the literal {other}")), position)),
        };
        let literal = Typed::plain(Expr::Const(Datum::Text(text.into()), SqlType::Unknown), SqlType::Unknown);
        self.coerce_explicit(literal.at(position), to)
    }

    fn interval(&self, interval: &ast::Interval) -> SqlResult<Typed> {
        let ast::Interval { value, leading_field, leading_precision: None, last_field: None, fractional_seconds_precision: None } =
            interval
        else {
            return Err(SqlError::unsupported("an interval with these fields"));
        };
        let Ast::Value(ast::ValueWithSpan { value: Value::SingleQuotedString(text), span }) = &**value else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "an interval constant is a string"));
        };
        // A bare number with a field means that many of it.
        let text = match leading_field {
            Some(field) => format!("{} {}", text.trim(), field.to_string().to_ascii_lowercase()),
            None => text.clone(),
        };
        let literal = Typed::plain(Expr::Const(Datum::Text(text.into()), SqlType::Unknown), SqlType::Unknown);
        self.coerce_explicit(literal.at(position_of(*span)), plain(SqlType::Interval))
    }

    fn case(
        &self,
        operand: Option<&Ast>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&Ast>,
        place: Place<'_>,
    ) -> SqlResult<Typed> {
        let operand = operand.map(|operand| self.expr(operand, place).and_then(|value| self.settle(value))).transpose()?;
        let (mut tests, mut results) = (Vec::with_capacity(conditions.len()), Vec::with_capacity(conditions.len() + 1));
        // PostgreSQL lets ELSE decide first where types tie.
        if let Some(otherwise) = otherwise {
            results.push(self.expr(otherwise, place)?.at(position(otherwise)));
        }
        for ast::CaseWhen { condition, result } in conditions {
            tests.push(match &operand {
                None => self.condition(condition, place, "CASE/WHEN")?,
                Some(operand) => {
                    let value = self.expr(condition, place)?;
                    let test = self.binary_operator("=", operand.clone(), value, position(condition))?;
                    self.coerce_boolean(test, "CASE/WHEN")?
                }
            });
            results.push(self.expr(result, place)?.at(position(result)));
        }
        let (mut results, ty) = self.unify(results, "CASE")?;
        let otherwise = otherwise.map(|_| Box::new(results.remove(0).expr));
        let branches = tests.into_iter().zip(results.into_iter().map(|result| result.expr)).collect();
        Ok(Typed::new(Expr::Case { branches, otherwise, ty: ty.ty }, ty))
    }

    fn array(&self, array: &ast::Array, place: Place<'_>) -> SqlResult<Typed> {
        let elements = self.exprs(&array.elem, place)?;
        if elements.is_empty() {
            let error = SqlError::new(SqlState::INDETERMINATE_DATATYPE, "cannot determine type of empty array");
            return Err(error.hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
        }
        let (elements, ty) = self.unify(elements, "ARRAY")?;
        self.array_value(elements, ty.ty)
    }

    fn array_of(&self, array: &ast::Array, element: SqlType, place: Place<'_>) -> SqlResult<Typed> {
        let elements = self.exprs(&array.elem, place)?;
        let elements =
            elements.into_iter().map(|value| self.coerce_explicit(value, plain(element))).collect::<SqlResult<Vec<_>>>()?;
        self.array_value(elements, element)
    }

    fn array_value(&self, elements: Vec<Typed>, ty: SqlType) -> SqlResult<Typed> {
        let Some(element) = types::element_of(ty) else {
            return Err(SqlError::unsupported(format!("an array of {}", ty.name())));
        };
        let array = SqlType::Array(element);
        Ok(Typed::plain(Expr::Array(elements.into_iter().map(|value| value.expr).collect(), array), array))
    }

    /// Several expressions.
    pub fn exprs(&self, exprs: &[Ast], place: Place<'_>) -> SqlResult<Vec<Typed>> {
        exprs.iter().map(|expr| Ok(self.expr(expr, place)?.at(position(expr)))).collect()
    }

    /// Text is compared by bytes, so the collations that mean just that may be named.
    fn collate(&self, expr: &Ast, collation: &ast::ObjectName, place: Place<'_>) -> SqlResult<Typed> {
        let (schema, name, position) = super::names::qualified(collation)?;
        if schema.as_deref().is_some_and(|schema| schema != "pg_catalog")
            || !matches!(name.as_str(), "default" | "C" | "POSIX" | "ucs_basic")
        {
            let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
            return Err(at(SqlError::new(SqlState::UNDEFINED_OBJECT, message), position));
        }
        let value = self.settle(self.expr(expr, place)?)?;
        use SqlType::{Bpchar, Name, Text, Varchar};
        if !matches!(value.ty.ty, Text | Varchar | Bpchar | Name) {
            let message = format!("collations are not supported by type {}", value.ty.ty.name());
            return Err(at(SqlError::new(SqlState::DATATYPE_MISMATCH, message), position));
        }
        Ok(value)
    }

    fn subscript(&self, root: &Ast, chain: &[ast::AccessExpr], place: Place<'_>) -> SqlResult<Typed> {
        let [ast::AccessExpr::Subscript(ast::Subscript::Index { index })] = chain else {
            return Err(at(SqlError::unsupported("this subscript or field selection"), position(root)));
        };
        let array = self.expr(root, place)?;
        let SqlType::Array(_) = array.ty.ty else {
            let message = format!("cannot subscript type {} because it does not support subscripting", array.ty.ty.name());
            return Err(at(SqlError::new(SqlState::DATATYPE_MISMATCH, message), position(root)));
        };
        let index = self.coerce_implicit(self.expr(index, place)?, SqlType::Int4)?;
        self.function_call("\0array_subscript", vec![array, index], position(root))
    }
}
