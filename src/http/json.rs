//! Values as JSON, as PostgreSQL's `to_json` has them: numbers and booleans as such, arrays as arrays, everything else as its text.
//! Numbers that JSON has no way to write (NaN, Infinity) are strings.

use crate::error::SqlError;
use crate::types::{Datum, SessionFormat, SqlType, write_text};
use serde_json::{Value, json};

/// Appends a value.
pub fn write_value(value: &Datum, ty: SqlType, format: &SessionFormat, out: &mut Vec<u8>) {
    match value {
        Datum::Null => out.extend(b"null"),
        Datum::Bool(flag) => out.extend(if *flag { &b"true"[..] } else { b"false" }),
        Datum::Array(items) => {
            let element = if let SqlType::Array(element) = ty { element.scalar() } else { SqlType::Text };
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item, element, format, out);
            }
            out.push(b']');
        }
        Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) | Datum::Float4(_) | Datum::Float8(_) | Datum::Numeric(_) => {
            let start = out.len();
            write_text(value, ty, format, out);
            // Of what PostgreSQL writes for numbers, these alone are none for JSON.
            if out[start..].iter().any(|byte| matches!(byte, b'N' | b'I')) {
                out.insert(start, b'"');
                out.push(b'"');
            }
        }
        Datum::Oid(oid) if ty == SqlType::Oid => out.extend(oid.0.to_string().bytes()),
        _ => {
            let mut text = Vec::new();
            write_text(value, ty, format, &mut text);
            write_string(&String::from_utf8_lossy(&text), out);
        }
    }
}

/// Appends a string with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a vector takes every byte, and a string is JSON");
}

/// An error as answers have it.
pub fn error_value(error: &SqlError) -> Value {
    let fields = error.fields();
    json!({ "error": {
        "sqlstate": error.code().as_str(),
        "message": error.message(),
        "detail": fields.detail,
        "hint": fields.hint,
        "position": fields.position,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ElementType;

    fn text(value: &Datum, ty: SqlType) -> String {
        let mut out = Vec::new();
        write_value(value, ty, &SessionFormat::default(), &mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn values_are_json() {
        let numbers = Datum::Array([Datum::Int4(1), Datum::Null].into());
        for (value, ty, expected) in [
            (Datum::Null, SqlType::Int4, "null"),
            (Datum::Bool(true), SqlType::Bool, "true"),
            (Datum::Int8(-5), SqlType::Int8, "-5"),
            (Datum::Float8(1e300), SqlType::Float8, "1e+300"),
            (Datum::Float8(f64::NEG_INFINITY), SqlType::Float8, "\"-Infinity\""),
            (Datum::Float4(f32::NAN), SqlType::Float4, "\"NaN\""),
            (Datum::text("a\"\n\u{1}é"), SqlType::Text, "\"a\\\"\\n\\u0001é\""),
            (Datum::bytea(&[1, 255]), SqlType::Bytea, "\"\\\\x01ff\""),
            (Datum::Date(0), SqlType::Date, "\"2000-01-01\""),
            (numbers, SqlType::Array(ElementType::Int4), "[1,null]"),
        ] {
            let found = text(&value, ty);
            assert_eq!(found, expected);
            serde_json::from_str::<Value>(&found).expect("it is JSON");
        }
    }
}
