//! Properties of rows, keys and parsers over random values and random bytes.

use proptest::prelude::*;

use super::compare::{compare_as, hash_datum};
use super::key::{KeyNulls, decode_key, encode_key};
use super::like::LikePattern;
use super::regexp::PosixRegex;
use super::{
    ColumnType, Datum, Interval, Numeric, RowLayout, SessionFormat, SqlType, from_binary, parse_text, write_binary, write_text,
};

const TYPES: &[SqlType] = &[
    SqlType::Bool,
    SqlType::Int2,
    SqlType::Int4,
    SqlType::Int8,
    SqlType::Float4,
    SqlType::Float8,
    SqlType::Numeric,
    SqlType::Text,
    SqlType::Bpchar,
    SqlType::Bytea,
    SqlType::Date,
    SqlType::Timestamp,
    SqlType::TimestampTz,
    SqlType::Uuid,
    SqlType::Char,
    SqlType::Oid,
    SqlType::Interval,
    SqlType::Array(super::ElementType::Text),
];

/// Values where the rules change, more often than chance would find them.
fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -300_i64..300, Just(i64::MIN), Just(i64::MAX), Just(i64::from(i32::MIN)), Just(i64::from(i32::MAX)),]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), (-3_i32..3).prop_map(f64::from), Just(f64::NAN), Just(-0.0), Just(f64::INFINITY)]
}

fn numeric() -> impl Strategy<Value = Numeric> {
    prop_oneof![
        8 => (any::<i128>(), 0_u32..40).prop_map(|(unscaled, scale)| Numeric::new(unscaled, scale)),
        8 => (-1000_i64..1000, 0_u32..4).prop_map(|(unscaled, scale)| Numeric::new(unscaled, scale)),
        1 => (any::<i64>(), 0_u32..400).prop_map(|(unscaled, scale)| Numeric::new(unscaled, scale)),
        1 => Just(Numeric::NaN),
        1 => Just(Numeric::Infinity),
        1 => Just(Numeric::NegInfinity),
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof!["[ab \u{1}ä]{0,6}", "\\PC{0,20}", "[a-c]{0,3} {0,3}"]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(0_u8..3, 0..6),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(254_u8.., 0..4)
    ]
}

fn value(ty: SqlType) -> BoxedStrategy<Datum> {
    match ty {
        SqlType::Bool => any::<bool>().prop_map(Datum::Bool).boxed(),
        SqlType::Int2 => integer().prop_map(|value| Datum::Int2(value as i16)).boxed(),
        SqlType::Int4 => integer().prop_map(|value| Datum::Int4(value as i32)).boxed(),
        SqlType::Int8 => integer().prop_map(Datum::Int8).boxed(),
        SqlType::Float4 => float().prop_map(|value| Datum::Float4(value as f32)).boxed(),
        SqlType::Float8 => float().prop_map(Datum::Float8).boxed(),
        SqlType::Numeric => numeric().prop_map(Datum::numeric).boxed(),
        SqlType::Text | SqlType::Bpchar => string().prop_map(|text| Datum::text(&text)).boxed(),
        SqlType::Bytea => bytes().prop_map(|bytes| Datum::bytea(&bytes)).boxed(),
        SqlType::Date => (-2_451_545_i32..2_145_031_949).prop_map(Datum::Date).boxed(),
        SqlType::Timestamp => (-211_813_488_000_000_000_i64..9_223_371_331_200_000_000).prop_map(Datum::Timestamp).boxed(),
        SqlType::TimestampTz => (-211_813_488_000_000_000_i64..9_223_371_331_200_000_000).prop_map(Datum::TimestampTz).boxed(),
        SqlType::Uuid => any::<[u8; 16]>().prop_map(Datum::Uuid).boxed(),
        SqlType::Char => any::<u8>().prop_map(Datum::Char).boxed(),
        SqlType::Oid => any::<u32>().prop_map(|oid| Datum::Oid(crate::base::Oid(oid))).boxed(),
        SqlType::Interval => (any::<i16>(), any::<i16>(), any::<i64>())
            .prop_map(|(months, days, micros)| {
                Datum::Interval(Interval { months: months.into(), days: days.into(), micros: micros / 1000 })
            })
            .boxed(),
        SqlType::Array(element) => {
            prop::collection::vec(nullable(element.scalar()), 0..4).prop_map(|items| Datum::Array(items.into())).boxed()
        }
        other => panic!("no values of {other}"),
    }
}

fn nullable(ty: SqlType) -> BoxedStrategy<Datum> {
    prop_oneof![1 => Just(Datum::Null), 6 => value(ty)].boxed()
}

fn any_type() -> impl Strategy<Value = SqlType> {
    prop::sample::select(TYPES)
}

/// Some types and rows of values of these types.
fn rows(count: usize) -> impl Strategy<Value = (Vec<SqlType>, Vec<Vec<Datum>>)> {
    prop::collection::vec(any_type(), 1..10).prop_flat_map(move |types| {
        let row: Vec<_> = types.iter().map(|ty| nullable(*ty)).collect();
        (Just(types), prop::collection::vec(row, count))
    })
}

/// Identity, unlike `compare`, which does not see a numeric's scale or the sign of −0.
fn same(a: &Datum, b: &Datum) -> bool {
    let nan = |datum: &Datum| datum.as_f64().is_some_and(f64::is_nan);
    format!("{a:?}") == format!("{b:?}") || (nan(a) && nan(b))
}

proptest! {
    #![proptest_config(ProptestConfig { ..ProptestConfig::default() })]

    #[test]
    fn rows_give_back_what_was_put_in((types, rows) in rows(1)) {
        let layout = RowLayout::new(&types.iter().map(|ty| ColumnType::new(*ty)).collect::<Vec<_>>());
        let mut bytes = vec![7; 3];
        layout.encode(&rows[0], &mut bytes).unwrap();
        let bytes = &bytes[3..];
        layout.check(bytes).unwrap();
        let view = layout.view(bytes);
        let format = SessionFormat::default();
        for (index, value) in rows[0].iter().enumerate() {
            prop_assert!(same(&view.get(index), value), "{:?} {:?}", view.get(index), value);
            prop_assert_eq!(view.is_null(index), value.is_null());
            let (mut direct, mut through) = (Vec::new(), Vec::new());
            prop_assert_eq!(view.write_text_column(index, &format, &mut direct), !value.is_null());
            write_text(value, types[index], &format, &mut through);
            prop_assert_eq!(&direct, &through);
            let (mut direct, mut through) = (Vec::new(), Vec::new());
            view.write_binary_column(index, &mut direct);
            write_binary(value, types[index], &mut through);
            prop_assert_eq!(direct, through);
        }
    }

    #[test]
    fn patching_a_column_is_encoding_the_changed_row((types, rows) in rows(2), at in any::<prop::sample::Index>()) {
        let layout = RowLayout::new(&types.iter().map(|ty| ColumnType::new(*ty)).collect::<Vec<_>>());
        let index = at.index(types.len());
        let mut changed = rows[0].clone();
        changed[index] = rows[1][index].clone();
        let (mut patched, mut expected) = (Vec::new(), Vec::new());
        layout.encode(&rows[0], &mut patched).unwrap();
        layout.encode(&changed, &mut expected).unwrap();
        if layout.patch(&mut patched, index, &changed[index]) {
            prop_assert_eq!(patched, expected);
        }
    }

    #[test]
    fn damaged_rows_are_refused_or_readable((types, rows) in rows(1), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0_usize..6) {
        let layout = RowLayout::new(&types.iter().map(|ty| ColumnType::new(*ty)).collect::<Vec<_>>());
        let mut bytes = Vec::new();
        layout.encode(&rows[0], &mut bytes).unwrap();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(3)));
        if layout.check(&bytes).is_ok() {
            let mut values = Vec::new();
            layout.view(&bytes).get_all(&mut values);
        }
    }

    #[test]
    fn keys_sort_as_values_do((types, rows) in rows(2), nulls in any::<bool>()) {
        let nulls = if nulls || rows.iter().flatten().any(Datum::is_null) { KeyNulls::Last } else { KeyNulls::Never };
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| {
            let mut key = Vec::new();
            encode_key(&types, row, nulls, &mut key);
            key
        }).collect();
        let order = types.iter().zip(rows[0].iter().zip(&rows[1]))
            .map(|(ty, (a, b))| compare_as(*ty, a, b))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal);
        prop_assert_eq!(keys[0].cmp(&keys[1]), order);
        let decoded = decode_key(&types, nulls, &keys[0]).unwrap();
        for ((ty, a), b) in types.iter().zip(&rows[0]).zip(&decoded) {
            prop_assert_eq!(compare_as(*ty, a, b), std::cmp::Ordering::Equal);
        }
    }

    #[test]
    fn single_columns_sort_hash_and_key_alike((ty, a, b) in any_type().prop_flat_map(|ty| (Just(ty), value(ty), value(ty)))) {
        let hash = |value: &Datum| {
            let mut state = std::hash::DefaultHasher::new();
            hash_datum(ty, value, &mut state);
            std::hash::Hasher::finish(&state)
        };
        let order = compare_as(ty, &a, &b);
        prop_assert_eq!(order.reverse(), compare_as(ty, &b, &a));
        prop_assert!(order.is_ne() || hash(&a) == hash(&b));
        let key = |value: &Datum| {
            let mut key = Vec::new();
            encode_key(&[ty], std::slice::from_ref(value), KeyNulls::Never, &mut key);
            key
        };
        prop_assert_eq!(key(&a).cmp(&key(&b)), order);
    }

    #[test]
    fn both_formats_read_back((ty, value) in any_type().prop_flat_map(|ty| (Just(ty), value(ty)))) {
        let format = SessionFormat::default();
        let mut binary = Vec::new();
        write_binary(&value, ty, &mut binary);
        if !format!("{value:?}").contains("\\0") {
            prop_assert!(same(&from_binary(ty, &binary).unwrap(), &value));
        }
        // "char" above ASCII and interval fractions of different signs have texts that do not read back the same.
        if !matches!(ty, SqlType::Char) {
            let mut text = Vec::new();
            write_text(&value, ty, &format, &mut text);
            let text = String::from_utf8(text).unwrap();
            let back = parse_text(ty, -1, &text, &format).unwrap();
            prop_assert!(same(&back, &value), "{} {:?} {:?}", text, back, value);
        }
    }

    #[test]
    fn no_bytes_panic_a_reader(ty in any_type(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = from_binary(ty, &bytes);
        let _ = decode_key(&[ty], KeyNulls::Last, &bytes);
        let _ = decode_key(&[ty], KeyNulls::Never, &bytes);
        let layout = RowLayout::new(&[ColumnType::new(ty), ColumnType::new(SqlType::Text)]);
        if layout.check(&bytes).is_ok() {
            layout.view(&bytes).get(0);
        }
    }

    #[test]
    fn no_text_panics_a_parser(ty in any_type(), text in prop_oneof!["\\PC{0,30}", "[-+0-9:. tTzZeE/,ajnfubcdp{}\"\\\\]{0,30}", "[0-9]{1,4}[-/.: ][0-9a-z]{1,3}[-/.: +][0-9:+a-z ]{0,20}"]) {
        let format = SessionFormat::default();
        if let Ok(value) = parse_text(ty, -1, &text, &format) {
            let mut out = Vec::new();
            write_text(&value, ty, &format, &mut out);
        }
        if let Ok(pattern) = LikePattern::new(&text, Some('\\'), false) {
            pattern.matches(&text);
        }
        if let Ok(regex) = PosixRegex::new(&text, "") {
            regex.replace(&text, "<\\1>", true);
            regex.split(&text);
        }
        let mut zoned = SessionFormat::default();
        let _ = zoned.set_time_zone(&text);
        let _ = zoned.set_date_style(&text);
    }
}
