//! Casts: giving unknown literals and parameters their type, and converting the rest.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::names::at;
use crate::sql::binder::{Binder, Typed, plain};
use crate::sql::expr::Expr;
use crate::sql::function::coercion::{binary_coercible, can_coerce, common_type};
use crate::sql::function::{Function, resolve};
use crate::types::{CastContext, ColumnType, Datum, SqlType};

impl Binder<'_> {
    /// Casts to a type, or answers `None` if the context does not allow the cast.
    pub fn try_coerce(&self, value: Typed, to: ColumnType, context: CastContext) -> SqlResult<Option<Typed>> {
        let position = value.position;
        if value.ty == to && !value.is_unknown() {
            return Ok(Some(value));
        }
        if value.is_unknown() {
            return self.coerce_unknown(value, to, context).map(Some);
        }
        let from = value.ty.ty;
        if !can_coerce(from, to.ty, context) {
            return Ok(None);
        }
        let same_bytes = binary_coercible(from, to.ty);
        if same_bytes && from == to.ty && to.typmod == -1 {
            return Ok(Some(Typed { ty: value.ty, ..value }));
        }
        Ok(Some(Typed { expr: self.cast_expr(value.expr, value.ty.ty, to, context)?, ty: to, position }))
    }

    /// A cast between two known types. The reg* types are names of catalog objects, so functions look them up.
    fn cast_expr(&self, arg: Expr, from: SqlType, to: ColumnType, context: CastContext) -> SqlResult<Expr> {
        use SqlType::{Bpchar, Char, Name, Oid, Regclass, Regproc, Regtype, Text, Varchar};
        let to_text = matches!(to.ty, Text | Varchar | Bpchar | Name);
        let from_text = matches!(from, Text | Varchar | Bpchar | Name | Char);
        let function = match (from, to.ty) {
            (Regclass, _) if to_text => "regclassout",
            (Regtype, _) if to_text => "regtypeout",
            (Regproc, _) if to_text => "regprocout",
            (_, Regclass) if from_text => "regclassin",
            (_, Regtype) if from_text => "regtypein",
            (_, Regproc) if from_text => return Err(SqlError::unsupported("type regproc")),
            (Oid | Regclass | Regtype | Regproc, Oid | Regclass | Regtype | Regproc) => return Ok(arg),
            _ => return Ok(Expr::Cast { arg: Box::new(arg), from, to, context }),
        };
        let found = resolve::function(function, &[if from_text { Text } else { from }])
            .map_err(|_| SqlError::internal(format!("{function} is missing from the function table")))?;
        Ok(Expr::Call { function: found.function, args: vec![arg], ty: found.signature.result })
    }

    /// Types a literal or parameter.
    fn coerce_unknown(&self, value: Typed, to: ColumnType, context: CastContext) -> SqlResult<Typed> {
        let position = value.position;
        match value.expr {
            Expr::Const(Datum::Null, _) => Ok(Typed { expr: Expr::Const(Datum::Null, to.ty), ty: to, position }),
            Expr::Const(Datum::Text(text), _) => {
                let datum = self.literal(&text, to, context).map_err(|error| at(error, position))?;
                Ok(Typed { expr: Expr::Const(datum, to.ty), ty: to, position })
            }
            Expr::Param(index, _) => {
                let decided = self.params.decide(index, to.ty);
                let param = Typed { expr: Expr::Param(index, decided), ty: plain(decided), position };
                if decided == to.ty && to.typmod == -1 {
                    return Ok(Typed { ty: to, ..param });
                }
                let message = || cannot_cast(decided, to.ty, position);
                self.try_coerce(param, to, context)?.ok_or_else(message)
            }
            // A subquery's or CASE's output that nothing typed is text by now; only this shape remains.
            expr => Ok(Typed { expr: self.cast_expr(expr, SqlType::Text, to, CastContext::Explicit)?, ty: to, position }),
        }
    }

    fn literal(&self, text: &str, to: ColumnType, context: CastContext) -> SqlResult<Datum> {
        match to.ty {
            SqlType::Unknown => Ok(Datum::Text(text.into())),
            SqlType::Regclass => {
                crate::sql::function::regclass_in(text, self.context.catalog, self.context.session).map(Datum::Oid)
            }
            SqlType::Regtype => crate::sql::function::regtype_in(text).map(Datum::Oid),
            SqlType::Regproc => Err(SqlError::unsupported("type regproc")),
            SqlType::Void | SqlType::Record => Err(cannot_cast(SqlType::Unknown, to.ty, None)),
            _ => {
                // The modifier applies as it does to a cast from a value: an explicit one truncates, an assignment refuses.
                let datum = crate::sql::values::input(text, plain(to.ty), self.context.session)?;
                if to.typmod == -1 {
                    return Ok(datum);
                }
                crate::sql::values::cast(&datum, to.ty, to, context, self.context.session)
            }
        }
    }

    /// A cast written by the user: 42846 if there is none.
    pub fn coerce_explicit(&self, value: Typed, to: ColumnType) -> SqlResult<Typed> {
        let (from, position) = (value.ty.ty, value.position);
        self.try_coerce(value, to, CastContext::Explicit)?.ok_or_else(|| cannot_cast(from, to.ty, position))
    }

    /// A cast that the operators, functions and types around it ask for.
    pub fn coerce_implicit(&self, value: Typed, to: SqlType) -> SqlResult<Typed> {
        let (from, position) = (value.ty.ty, value.position);
        self.try_coerce(value, plain(to), CastContext::Implicit)?.ok_or_else(|| cannot_cast(from, to, position))
    }

    /// A value stored into a column: 42804 if its type does not fit.
    pub fn coerce_assignment(&self, value: Typed, to: ColumnType, column: &str) -> SqlResult<Typed> {
        let (from, position) = (value.ty.ty, value.position);
        let coerced = self.try_coerce(value, to, CastContext::Assignment)?;
        coerced.ok_or_else(|| {
            let message = format!("column \"{column}\" is of type {} but expression is of type {}", to.ty.name(), from.name());
            let error = SqlError::new(SqlState::DATATYPE_MISMATCH, message);
            at(error.hint("You will need to rewrite or cast the expression."), position)
        })
    }

    /// A condition: boolean, or 42804 naming the clause.
    pub fn coerce_boolean(&self, value: Typed, clause: &str) -> SqlResult<Expr> {
        let (from, position) = (value.ty.ty, value.position);
        let coerced = self.try_coerce(value, plain(SqlType::Bool), CastContext::Implicit)?;
        match coerced {
            Some(value) => Ok(value.expr),
            None => {
                let message = format!("argument of {clause} must be type boolean, not type {}", from.name());
                Err(at(SqlError::new(SqlState::DATATYPE_MISMATCH, message), position))
            }
        }
    }

    /// What is left without a type becomes text.
    pub fn settle(&self, value: Typed) -> SqlResult<Typed> {
        if value.is_unknown() { self.coerce_implicit(value, SqlType::Text) } else { Ok(value) }
    }

    /// Casts several values to their common type (documentation 10.5); `what` names the construct in the error.
    pub fn unify(&self, values: Vec<Typed>, what: &str) -> SqlResult<(Vec<Typed>, ColumnType)> {
        let chosen = common_type(values.iter().map(|value| value.ty.ty)).map_err(|(a, b)| {
            let message = format!("{what} types {} and {} cannot be matched", a.name(), b.name());
            let place = values.iter().find(|value| value.ty.ty == b).and_then(|value| value.position);
            at(SqlError::new(SqlState::DATATYPE_MISMATCH, message), place)
        })?;
        let typmod = values.first().map_or(-1, |first| first.ty.typmod);
        let same = values.iter().all(|value| value.ty.ty == chosen && value.ty.typmod == typmod);
        let to = ColumnType { ty: chosen, typmod: if same { typmod } else { -1 } };
        let values = values.into_iter().map(|value| self.coerce_implicit(value, chosen)).collect::<SqlResult<Vec<_>>>()?;
        Ok((values, to))
    }

    /// Casts arguments to a resolved signature and builds the call.
    pub fn call(&self, resolved: resolve::Resolved, args: Vec<Typed>) -> SqlResult<Typed> {
        let position = args.first().and_then(|arg| arg.position);
        let function: &Function = resolved.function.get();
        debug_assert_eq!(args.len(), resolved.signature.args.len(), "{} is called with its arguments", function.name);
        let args = args
            .into_iter()
            .zip(&resolved.signature.args)
            .map(|(arg, &to)| {
                let to = if to == SqlType::Unknown { SqlType::Text } else { to };
                self.coerce_implicit(arg, to).map(|arg| arg.expr)
            })
            .collect::<SqlResult<Vec<_>>>()?;
        let ty = resolved.signature.result;
        Ok(Typed { expr: Expr::Call { function: resolved.function, args, ty }, ty: plain(ty), position })
    }
}

/// 42846
pub fn cannot_cast(from: SqlType, to: SqlType, position: Option<u32>) -> SqlError {
    let message = format!("cannot cast type {} to {}", from.name(), to.name());
    at(SqlError::new(SqlState::CANNOT_COERCE, message), position)
}
