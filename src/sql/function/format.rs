//! Functions that turn values of any type into text, and array functions.

use crate::error::{SqlError, SqlResult};
use crate::sql::context::EvalContext;
use crate::sql::function::kinds::*;
use crate::sql::function::{Entry, Function, Implementation, strings};
use crate::sql::values::output;
use crate::types::{Datum, SqlType};

fn internal() -> SqlError {
    SqlError::internal("an array or text function was called with values of other types than it was resolved for")
}

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    Entry::function("concat", &[ANY], TEXT, Implementation::Typed(concat)).variadic().lax().stable().add(functions);
    Entry::function("concat_ws", &[TEXT, ANY], TEXT, Implementation::Typed(concat_ws)).variadic().lax().stable().add(functions);
    Entry::function("quote_literal", &[TEXT], TEXT, Implementation::Typed(quote_literal)).add(functions);
    Entry::function("quote_literal", &[ELEMENT], TEXT, Implementation::Typed(quote_literal)).stable().add(functions);
    Entry::function("quote_nullable", &[ELEMENT], TEXT, Implementation::Typed(quote_nullable)).lax().stable().add(functions);
    arrays(functions);
}

fn concat(args: &[Datum], types: &[SqlType], context: &EvalContext<'_>) -> SqlResult<Datum> {
    let given = args.iter().zip(types).filter(|(arg, _)| !arg.is_null());
    Ok(Datum::Text(given.map(|(arg, &ty)| output(arg, ty, context.session)).collect::<String>().into()))
}

fn concat_ws(args: &[Datum], types: &[SqlType], context: &EvalContext<'_>) -> SqlResult<Datum> {
    let Some(separator) = args[0].as_str() else { return Ok(Datum::Null) };
    let given = args.iter().zip(types).skip(1).filter(|(arg, _)| !arg.is_null());
    let parts: Vec<String> = given.map(|(arg, &ty)| output(arg, ty, context.session)).collect();
    Ok(Datum::Text(parts.join(separator).into()))
}

fn quote_literal(args: &[Datum], types: &[SqlType], context: &EvalContext<'_>) -> SqlResult<Datum> {
    Ok(Datum::Text(strings::quote_literal(&output(&args[0], types[0], context.session)).into()))
}

fn quote_nullable(args: &[Datum], types: &[SqlType], context: &EvalContext<'_>) -> SqlResult<Datum> {
    if args[0].is_null() { Ok(Datum::text("NULL")) } else { quote_literal(args, types, context) }
}

fn arrays(functions: &mut Vec<Function>) {
    Entry::function("array_length", &[ARRAY, INT4], INT4, Implementation::Values(array_length)).add(functions);
    Entry::function("array_upper", &[ARRAY, INT4], INT4, Implementation::Values(array_length)).add(functions);
    let lower = Implementation::Values(|args| Ok(if array_length(args)?.is_null() { Datum::Null } else { Datum::Int4(1) }));
    Entry::function("array_lower", &[ARRAY, INT4], INT4, lower).add(functions);
    let cardinality = Implementation::Unary(|array| length(array).map(Datum::Int4));
    Entry::function("cardinality", &[ARRAY], INT4, cardinality).add(functions);
    Entry::function("array_position", &[ARRAY, ELEMENT], INT4, Implementation::Values(array_position)).lax().add(functions);
    Entry::function("array_to_string", &[ARRAY, TEXT], TEXT, Implementation::Typed(array_to_string)).stable().add(functions);
    Entry::function("array_to_string", &[ARRAY, TEXT, TEXT], TEXT, Implementation::Typed(array_to_string))
        .lax()
        .stable()
        .add(functions);
    Entry::function("\0array_subscript", &[ARRAY, INT4], ELEMENT, Implementation::Values(subscript)).add(functions);
}

fn items(array: &Datum) -> SqlResult<&[Datum]> {
    match array {
        Datum::Array(items) => Ok(items),
        _ => Err(internal()),
    }
}

fn length(array: &Datum) -> SqlResult<i32> {
    i32::try_from(items(array)?.len()).map_err(|_| internal())
}

/// The length in dimension 1; an empty array has no dimensions.
fn array_length(args: &[Datum]) -> SqlResult<Datum> {
    match (length(&args[0])?, &args[1]) {
        (length @ 1.., Datum::Int4(1)) => Ok(Datum::Int4(length)),
        _ => Ok(Datum::Null),
    }
}

fn array_position(args: &[Datum]) -> SqlResult<Datum> {
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    let wanted = &args[1];
    let same = |item: &Datum| item.is_null() == wanted.is_null() && crate::types::compare(item, wanted).is_eq();
    match items(&args[0])?.iter().position(same) {
        Some(index) => i32::try_from(index + 1).map(Datum::Int4).map_err(|_| internal()),
        None => Ok(Datum::Null),
    }
}

fn array_to_string(args: &[Datum], types: &[SqlType], context: &EvalContext<'_>) -> SqlResult<Datum> {
    if args[0].is_null() || args[1].is_null() {
        return Ok(Datum::Null);
    }
    let element = types[0].element().ok_or_else(internal)?;
    let nulls = args.get(2).and_then(Datum::as_str);
    let parts = items(&args[0])?
        .iter()
        .filter_map(|item| if item.is_null() { nulls.map(str::to_owned) } else { Some(output(item, element, context.session)) });
    let parts: Vec<String> = parts.collect();
    Ok(Datum::Text(parts.join(args[1].as_str().ok_or_else(internal)?).into()))
}

fn subscript(args: &[Datum]) -> SqlResult<Datum> {
    let Datum::Int4(index) = args[1] else { return Err(internal()) };
    let index = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
    Ok(index.and_then(|index| items(&args[0]).ok()?.get(index)).cloned().unwrap_or(Datum::Null))
}
