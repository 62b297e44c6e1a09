//! Function calls, and the constructs of the grammar that are calls in disguise (EXTRACT, SUBSTRING … FROM, COALESCE …).

use sqlparser::ast::{
    self, CeilFloorKind, DateTimeField, Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments, TrimWhereField,
};

use crate::error::{SqlError, SqlResult, SqlState};
use crate::sql::binder::expr::{Place, position};
use crate::sql::binder::names::{at, qualified};
use crate::sql::binder::{Binder, Typed, plain, types};
use crate::sql::expr::Expr;
use crate::sql::function::resolve::{self, Failure};
use crate::sql::function::{aggregate, table};
use crate::types::{Datum, SqlType};

impl Binder<'_> {
    /// Everything that ends in a function call.
    pub fn special_call(&self, expr: &Ast, place: Place<'_>) -> SqlResult<Typed> {
        let start = position(expr);
        match expr {
            Ast::Function(function) => self.function(function, place),
            Ast::Extract { field, expr, .. } => {
                let value = self.expr(expr, place)?;
                let field = Typed::plain(Expr::Const(Datum::Text(field_name(field).into()), SqlType::Text), SqlType::Text);
                self.function_call("extract", vec![field, value], start)
            }
            Ast::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.function_call("ceil", self.exprs(std::slice::from_ref(&**expr), place)?, start)
            }
            Ast::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.function_call("floor", self.exprs(std::slice::from_ref(&**expr), place)?, start)
            }
            Ast::Position { expr, r#in } => {
                let args = vec![self.expr(r#in, place)?, self.expr(expr, place)?];
                self.function_call("position", args, start)
            }
            Ast::Substring { expr, substring_from, substring_for, special: _, shorthand } => {
                let mut args = vec![self.expr(expr, place)?];
                match (substring_from, substring_for) {
                    (Some(from), _) => args.push(self.expr(from, place)?),
                    (None, Some(_)) => args.push(Typed::plain(Expr::Const(Datum::Int4(1), SqlType::Int4), SqlType::Int4)),
                    (None, None) => {}
                }
                if let Some(length) = substring_for {
                    args.push(self.expr(length, place)?);
                }
                self.function_call(if *shorthand { "substr" } else { "substring" }, args, start)
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut args = vec![self.expr(expr, place)?];
                for characters in trim_what.iter().map(|what| &**what).chain(trim_characters.iter().flatten()) {
                    args.push(self.expr(characters, place)?);
                }
                self.function_call(name, args, start)
            }
            Ast::AtTimeZone { timestamp, time_zone } => {
                let (value, zone) = (self.expr(timestamp, place)?, self.expr(time_zone, place)?);
                self.function_call("timezone", vec![zone, value], start)
            }
            other => Err(at(SqlError::unsupported(format!("the expression {other}")), start)),
        }
    }

    /// CURRENT_USER and its kin, which are written without parentheses.
    pub fn keyword_function(&self, name: &str, position: Option<u32>) -> SqlResult<Option<Typed>> {
        let function = match name {
            "current_timestamp" => "now",
            "current_date" | "localtimestamp" | "current_user" | "session_user" | "current_schema" => name,
            "user" | "current_role" => "current_user",
            "current_catalog" => "current_database",
            "current_time" | "localtime" => return Err(at(SqlError::unsupported(name.to_uppercase()), position)),
            _ => return Ok(None),
        };
        self.function_call(function, Vec::new(), position).map(Some)
    }

    fn function(&self, call: &ast::Function, place: Place<'_>) -> SqlResult<Typed> {
        let ast::Function {
            name,
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args,
            within_group,
            filter,
            null_treatment,
            over,
        } = call
        else {
            return Err(SqlError::unsupported("this form of function call"));
        };
        let (schema, name, start) = qualified(name)?;
        let list = match args {
            FunctionArguments::None => match self.keyword_function(&name, start)? {
                Some(bound) => return Ok(bound),
                None => {
                    return Err(at(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{name}\"")), start));
                }
            },
            FunctionArguments::Subquery(query) if name == "array" && schema.is_none() => {
                return self.array_subquery(query, place);
            }
            FunctionArguments::Subquery(query) => {
                let value = self.scalar_subquery(query, place)?;
                return self.function_call(&name, vec![value], start);
            }
            FunctionArguments::List(list) => list,
        };
        if over.is_some() {
            return Err(at(SqlError::unsupported("a window function"), start));
        }
        if !within_group.is_empty() || null_treatment.is_some() {
            return Err(at(SqlError::unsupported("WITHIN GROUP or IGNORE NULLS"), start));
        }
        if schema.as_deref().is_some_and(|schema| schema != "pg_catalog") {
            let args = self.plain_args(list, &name, start, place)?;
            let shown = format!("{}.{name}", schema.unwrap_or_default());
            return Err(at(function_error(&shown, &args, Failure::NoMatch), start));
        }
        if aggregate::is_aggregate(&name) {
            return self.aggregate(&name, list, filter.as_deref(), place, start);
        }
        if filter.is_some() {
            let message = format!("FILTER specified, but {name} is not an aggregate function");
            return Err(at(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message), start));
        }
        let args = self.plain_args(list, &name, start, place)?;
        // These are keywords of the grammar in PostgreSQL, so they have no schema.
        match (schema.is_none(), name.as_str()) {
            (true, "coalesce") => self.coalesce(args),
            (true, "nullif") => self.nullif(args, start),
            (true, "greatest" | "least") => self.greatest_least(&name, args),
            (true, "grouping") => Err(at(SqlError::unsupported("GROUPING"), start)),
            _ if table::is_table_function(&name) => self.set_returning(&name, args, place, start),
            _ => self.function_call(&name, args, start),
        }
    }

    /// Positional arguments without DISTINCT or other decorations.
    fn plain_args(
        &self,
        list: &ast::FunctionArgumentList,
        name: &str,
        start: Option<u32>,
        place: Place<'_>,
    ) -> SqlResult<Vec<Typed>> {
        if list.duplicate_treatment.is_some() {
            let message = format!("DISTINCT specified, but {name} is not an aggregate function");
            return Err(at(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message), start));
        }
        if !list.clauses.is_empty() {
            let message = format!("ORDER BY specified, but {name} is not an aggregate function");
            return Err(at(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message), start));
        }
        list.args.iter().map(|arg| self.argument(arg, start, place)).collect()
    }

    /// One positional argument.
    pub fn argument(&self, arg: &FunctionArg, start: Option<u32>, place: Place<'_>) -> SqlResult<Typed> {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(self.expr(expr, place)?.at(position(expr))),
            FunctionArg::Unnamed(_) => Err(at(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"*\""), start)),
            FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => {
                Err(at(SqlError::unsupported("a named function argument"), start))
            }
        }
    }

    /// Calls a function by name: resolution, then casts of the arguments. A type's name with one argument is a cast.
    pub fn function_call(&self, name: &str, args: Vec<Typed>, start: Option<u32>) -> SqlResult<Typed> {
        let arg_types: Vec<SqlType> = args.iter().map(|arg| arg.ty.ty).collect();
        match resolve::function(name, &arg_types) {
            Ok(resolved) => Ok(Typed { position: start, ..self.call(resolved, args)? }),
            Err(failure) => match (types::by_name(name, true), &args[..]) {
                (Some(to), [arg]) if failure == Failure::NoMatch => {
                    let arg = arg.clone();
                    self.try_coerce(arg, plain(to), crate::types::CastContext::Explicit)?
                        .ok_or_else(|| at(function_error(name, &args, failure), start))
                }
                _ => Err(at(function_error(name, &args, failure), start)),
            },
        }
    }

    fn coalesce(&self, args: Vec<Typed>) -> SqlResult<Typed> {
        if args.is_empty() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \")\""));
        }
        let (values, ty) = self.unify(args, "COALESCE")?;
        Ok(Typed::new(Expr::Coalesce(values.into_iter().map(|value| value.expr).collect(), ty.ty), ty))
    }

    /// `NULLIF(a, b)` is `CASE WHEN a = b THEN NULL ELSE a END` with a of its own type.
    fn nullif(&self, args: Vec<Typed>, start: Option<u32>) -> SqlResult<Typed> {
        let [left, right]: [Typed; 2] =
            args.try_into().map_err(|args: Vec<Typed>| at(function_error("nullif", &args, Failure::NoMatch), start))?;
        let test = self.binary_operator("=", left.clone(), right, start)?;
        let value = self.settle(left)?;
        let ty = value.ty;
        let null = Expr::Const(Datum::Null, ty.ty);
        Ok(Typed::new(Expr::Case { branches: vec![(test.expr, null)], otherwise: Some(Box::new(value.expr)), ty: ty.ty }, ty))
    }

    fn greatest_least(&self, name: &str, args: Vec<Typed>) -> SqlResult<Typed> {
        let (values, ty) = self.unify(args, &name.to_uppercase())?;
        let mut bound = self.function_call(name, values, None)?;
        bound.ty = ty;
        Ok(bound)
    }

    /// A set-returning function in a select list: its place is taken by a reference to a FunctionScan.
    fn set_returning(&self, name: &str, args: Vec<Typed>, place: Place<'_>, start: Option<u32>) -> SqlResult<Typed> {
        let (function, args, ty) = self.table_function(name, args, start)?;
        let Some(collector) = place.collector.filter(|_| !place.in_aggregate) else {
            let message = format!("set-returning functions are not allowed in {}", place.clause.name());
            return Err(at(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message), start));
        };
        collector.borrow_mut().add_set_returning(function, args, ty, start)
    }

    /// Resolves a table function and casts its arguments.
    pub fn table_function(
        &self,
        name: &str,
        args: Vec<Typed>,
        start: Option<u32>,
    ) -> SqlResult<(crate::sql::function::TableFunctionRef, Vec<Expr>, SqlType)> {
        let arg_types: Vec<SqlType> = args.iter().map(|arg| arg.ty.ty).collect();
        let (function, signature) =
            table::resolve(name, &arg_types).map_err(|failure| at(function_error(name, &args, failure), start))?;
        let args = args
            .into_iter()
            .zip(&signature.args)
            .map(|(arg, &to)| Ok(self.coerce_implicit(arg, to)?.expr))
            .collect::<SqlResult<Vec<_>>>()?;
        Ok((function, args, signature.result))
    }
}

fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(ident) => ident.value.to_ascii_lowercase(),
        DateTimeField::Week(None) => "week".to_owned(),
        other => other.to_string().to_ascii_lowercase(),
    }
}

/// 42883 or 42725 for a function.
pub(crate) fn function_error(name: &str, args: &[Typed], failure: Failure) -> SqlError {
    let types: Vec<&str> = args.iter().map(|arg| arg.ty.ty.name()).collect();
    let shown = format!("{name}({})", types.join(", "));
    match failure {
        Failure::NoMatch => SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {shown} does not exist"))
            .hint("No function matches the given name and argument types. You might need to add explicit type casts."),
        Failure::Ambiguous => SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("function {shown} is not unique"))
            .hint("Could not choose a best candidate function. You might need to add explicit type casts."),
    }
}
