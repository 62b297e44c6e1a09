//! Every function of this module against answers taken from PostgreSQL 15 (`testdata/cases.py` asks, `testdata/conformance.tsv`
//! has the answers).

use std::collections::BTreeMap;

use super::{BinaryOp, CastContext, ColumnType, Datum, Numeric, SessionFormat, SqlType, UnaryOp};
use super::{arith, cast, cast_context, compare, datetime, parse_text, regexp::PosixRegex, string, write_binary, write_text};
use crate::error::{SqlError, SqlResult};

const CASES: &str = include_str!("testdata/conformance.tsv");

fn unescape(field: &str) -> String {
    let mut out = String::new();
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some(other) => other,
                None => panic!("a lone backslash in {field:?}"),
            }),
            _ => out.push(c),
        }
    }
    out
}

/// A type as the cases write it, with its modifier.
fn column_type(name: &str) -> ColumnType {
    let Some((base, rest)) = name.split_once('(') else { return ColumnType::new(SqlType::from_name(name).expect(name)) };
    let (numbers, tail) = rest.split_once(')').expect("a closing parenthesis");
    let numbers: Vec<i16> = numbers.split(',').map(|number| number.parse().expect("a number")).collect();
    let length = numbers[0].unsigned_abs();
    match format!("{base}{tail}").as_str() {
        "numeric" => ColumnType::numeric(length, numbers.get(1).copied().unwrap_or(0)),
        "character varying" => ColumnType::varchar(u32::from(length)),
        "character" => ColumnType::bpchar(u32::from(length)),
        other => ColumnType { ty: SqlType::from_name(other).expect(other), typmod: i32::from(length) },
    }
}

fn binary_op(symbol: &str) -> BinaryOp {
    match symbol {
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "%" => BinaryOp::Mod,
        "^" => BinaryOp::Pow,
        "&" => BinaryOp::BitAnd,
        "|" => BinaryOp::BitOr,
        "#" => BinaryOp::BitXor,
        "<<" => BinaryOp::ShiftLeft,
        ">>" => BinaryOp::ShiftRight,
        other => panic!("operator {other}"),
    }
}

fn unary_op(symbol: &str) -> UnaryOp {
    match symbol {
        "+" => UnaryOp::Plus,
        "-" => UnaryOp::Minus,
        "~" => UnaryOp::BitNot,
        "@" => UnaryOp::Abs,
        other => panic!("operator {other}"),
    }
}

struct Session(SessionFormat);

impl Session {
    fn value(&self, ty: &str, text: &str) -> SqlResult<Datum> {
        let to = column_type(ty);
        // A quoted literal with a type is an explicit cast: long strings are cut.
        let value = parse_text(to.ty, -1, text, &self.0)?;
        cast::coerce_to_typmod(value, to, CastContext::Explicit)
    }

    fn print(&self, value: &Datum, ty: SqlType) -> String {
        let mut out = Vec::new();
        write_text(value, ty, &self.0, &mut out);
        let out = String::from_utf8(out).expect("output is UTF-8");
        if value.is_null() { "NULL".to_owned() } else { format!("={out}") }
    }

    fn printed(&self, result: SqlResult<(Datum, SqlType)>) -> String {
        match result {
            Ok((value, ty)) => self.print(&value, ty),
            Err(error) => format!("!{} {}", error.code().as_str(), error.message()),
        }
    }

    fn run(&self, kind: &str, args: &[&str]) -> SqlResult<(Datum, SqlType)> {
        let session = &self.0;
        Ok(match (kind, args) {
            ("in", [ty, text]) => (self.value(ty, text)?, column_type(ty).ty),
            ("op", [left, a, op, right, b]) => {
                let op = binary_op(op);
                let (left_ty, right_ty) = (column_type(left).ty, column_type(right).ty);
                let ty = arith::binary_result_type(op, left_ty, right_ty).expect("PostgreSQL has the operator");
                (arith::binary(op, &self.value(left, a)?, &self.value(right, b)?, session)?, ty)
            }
            ("unary", [op, ty, a]) => {
                let op = unary_op(op);
                let result = arith::unary_result_type(op, column_type(ty).ty).expect("PostgreSQL has the operator");
                (arith::unary(op, &self.value(ty, a)?)?, result)
            }
            ("numeric", [function, a]) => (Datum::numeric(numeric_function(function, &Numeric::parse(a)?)?), SqlType::Numeric),
            ("numeric2", [function, a, n]) => {
                let (a, n) = (Numeric::parse(a)?, n.parse().expect("a number"));
                (Datum::numeric(if *function == "round" { a.round(n)? } else { a.trunc(n)? }), SqlType::Numeric)
            }
            ("interval", [function, a]) => {
                let Datum::Interval(span) = self.value("interval", a)? else { panic!("an interval") };
                let result = match *function {
                    "justify_hours" => datetime::justify_hours(span)?,
                    "justify_days" => datetime::justify_days(span)?,
                    _ => datetime::justify_interval(span)?,
                };
                (Datum::Interval(result), SqlType::Interval)
            }
            ("send", [ty, text]) => {
                let (mut out, ty_of) = (Vec::new(), column_type(ty).ty);
                let value = self.value(ty, text)?;
                write_binary(&value, ty_of, &mut out);
                let back = super::from_binary(ty_of, &out)?;
                assert_eq!(self.print(&back, ty_of), self.print(&value, ty_of), "reads back what it wrote");
                (Datum::text(&out.iter().map(|byte| format!("{byte:02x}")).collect::<String>()), SqlType::Text)
            }
            ("cast", [from, text, to]) => {
                let (from_ty, to) = (column_type(from).ty, column_type(to));
                let value = self.value(from, text)?;
                if cast_context(from_ty, to.ty).is_none() {
                    return Err(no_cast(from_ty, to.ty));
                }
                (cast(value, from_ty, to, CastContext::Explicit, session)?, to.ty)
            }
            ("extract", [field, ty, text]) => (datetime::extract(field, &self.value(ty, text)?, session)?, SqlType::Numeric),
            ("date_part", [field, ty, text]) => (datetime::date_part(field, &self.value(ty, text)?, session)?, SqlType::Float8),
            ("date_trunc", [field, ty, text]) => {
                (datetime::date_trunc(field, &self.value(ty, text)?, session)?, column_type(ty).ty)
            }
            ("age", [ty, a, b]) => (datetime::age(&self.value(ty, a)?, &self.value(ty, b)?, session)?, SqlType::Interval),
            ("at_zone", [zone, ty, text]) => (datetime::at_time_zone(zone, &self.value(ty, text)?)?, column_type(ty).ty),
            ("compare", [left, a, right, b]) => {
                self.comparison(column_type(left).ty, self.value(left, a)?, self.value(right, b)?)
            }
            ("text", [function, args @ ..]) => text_function(function, args)?,
            other => panic!("unknown case {other:?}"),
        })
    }

    /// The order, and with it that equal values hash and key alike and keys sort as values do.
    fn comparison(&self, ty: SqlType, a: Datum, b: Datum) -> (Datum, SqlType) {
        let order = compare::compare_as(ty, &a, &b);
        let hash = |value: &Datum| {
            let mut state = std::hash::DefaultHasher::new();
            compare::hash_datum(ty, value, &mut state);
            std::hash::Hasher::finish(&state)
        };
        assert!(order.is_ne() || hash(&a) == hash(&b), "equal values hash alike: {a:?}, {b:?}");
        let key = |value: &Datum| {
            let mut out = Vec::new();
            super::key::encode_key_column(ty, value, super::key::KeyNulls::Never, &mut out);
            out
        };
        assert_eq!(key(&a).cmp(&key(&b)), order, "keys sort as values do: {a:?}, {b:?}");
        (Datum::Int4(order as i32), SqlType::Int4)
    }
}

fn no_cast(from: SqlType, to: SqlType) -> SqlError {
    SqlError::new(crate::error::SqlState::CANNOT_COERCE, format!("cannot cast type {} to {}", from.name(), to.name()))
}

fn numeric_function(name: &str, a: &Numeric) -> SqlResult<Numeric> {
    match name {
        "sqrt" => a.sqrt(),
        "ln" => a.ln(),
        "exp" => a.exp(),
        "ceil" => a.ceil(),
        "floor" => a.floor(),
        "abs" => Ok(a.abs()),
        "sign" => Ok(a.signum().map_or(Numeric::NaN, |sign| Numeric::from(i64::from(sign)))),
        "trim_scale" => Ok(a.trim_scale()),
        "round" => a.round(0),
        "trunc" => a.trunc(0),
        other => panic!("function {other}"),
    }
}

fn text_function(name: &str, args: &[&str]) -> SqlResult<(Datum, SqlType)> {
    let number = |index: usize| args[index].parse::<i32>().expect("a number");
    let text = |text: &str| (Datum::text(text), SqlType::Text);
    let integer = |value: i32| (Datum::Int4(value), SqlType::Int4);
    let strings = |items: Vec<Option<String>>| {
        let items: Vec<Datum> = items.iter().map(|item| item.as_deref().map_or(Datum::Null, Datum::text)).collect();
        (Datum::Array(items.into()), SqlType::Text.array_of().expect("text has arrays"))
    };
    let regex = |index: usize| PosixRegex::new(args[index], "");
    let a = args[0];
    Ok(match name {
        "substring" => text(string::substring(a, number(1), Some(number(2)))?),
        "left" => text(string::left(a, number(1))),
        "right" => text(string::right(a, number(1))),
        "split_part" => text(string::split_part(a, args[1], number(2))?),
        "lpad" => text(&string::pad_start(a, number(1), args[2])?),
        "rpad" => text(&string::pad_end(a, number(1), args[2])?),
        "repeat" => text(&string::repeat(a, number(1))?),
        "strpos" => integer(string::position(a, args[1])),
        "replace" => text(&string::replace(a, args[1], args[2])?),
        "btrim" => text(string::trim(a, args[1])),
        "ltrim" => text(string::trim_start(a, args[1])),
        "rtrim" => text(string::trim_end(a, args[1])),
        "translate" => text(&string::translate(a, args[1], args[2])),
        "upper" => text(&string::upper(a)),
        "lower" => text(&string::lower(a)),
        "initcap" => text(&string::initcap(a)),
        "reverse" => text(&string::reverse(a)),
        "length" => integer(string::char_length(a)),
        "regexp_match" => regex(1)?.groups(a).map_or((Datum::Null, SqlType::Text), strings),
        "regexp_replace" => text(&regex(1)?.replace(a, args[2], false)),
        "regexp_replace_all" => text(&regex(1)?.replace(a, args[2], true)),
        "regexp_split_to_array" => strings(regex(1)?.split(a).into_iter().map(Some).collect()),
        "regexp_like" => (Datum::Bool(regex(1)?.is_match(a)), SqlType::Bool),
        other => panic!("function {other}"),
    })
}

#[test]
fn answers_are_those_of_postgresql() {
    let mut session = Session(SessionFormat::default());
    let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut checked = 0;
    for line in CASES.lines() {
        let fields: Vec<String> = line.split('\t').map(unescape).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        if fields[0] == "zone" {
            session.0.set_time_zone(fields[1]).expect("a zone of the database");
            continue;
        }
        let [kind, args @ .., expected] = &fields[..] else { panic!("a short line: {line}") };
        let answer = session.printed(session.run(kind, args));
        checked += 1;
        if answer != *expected {
            failures.entry((*kind).to_owned()).or_default().push(format!("{line}\n    here: {answer}"));
        }
    }
    assert!(checked > 5000, "the cases are there");
    let report: Vec<String> = failures.values().flatten().cloned().collect();
    assert!(report.is_empty(), "{} of {checked} answers differ:\n{}", report.len(), report.join("\n"));
}
