//! Tables of data with what PostgreSQL 15 makes of it, and properties.

use proptest::prelude::*;

use crate::exec::copy::{CopyWriter, Fields, LineReader};
use crate::sql::plan::{CopyFormat, CopyOptions, OutputColumn};
use crate::types::{ColumnType, Datum, SessionFormat, SqlType};

fn options(format: CopyFormat) -> CopyOptions {
    let csv = format == CopyFormat::Csv;
    CopyOptions {
        format,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { String::new() } else { "\\N".into() },
        header: false,
        quote: b'"',
        escape: b'"',
        force_quote: Vec::new(),
        force_not_null: Vec::new(),
        force_null: Vec::new(),
        freeze: false,
    }
}

type Line = (u64, Vec<Option<Vec<u8>>>);

/// Lines with their numbers, up to the first error.
fn read(options: &CopyOptions, columns: &[usize], pieces: &[&[u8]]) -> (Vec<Line>, Option<String>) {
    let mut lines = Vec::new();
    let mut reader = LineReader::new(options);
    let mut fields = Fields::new(options, columns);
    for piece in pieces.iter().map(Some).chain([None]) {
        match piece {
            Some(piece) => reader.push(piece),
            None => reader.finish(),
        }
        loop {
            let range = match reader.next_line() {
                Ok(Some(range)) => range,
                Ok(None) => break,
                Err(error) => return (lines, Some(error.message().to_owned())),
            };
            let line = reader.bytes(range);
            if let Err(error) = fields.split(line) {
                return (lines, Some(error.message().to_owned()));
            }
            let values = (0..fields.len()).map(|index| fields.get(line, index).map(<[u8]>::to_vec)).collect();
            lines.push((reader.line_number(), values));
        }
    }
    (lines, None)
}

/// Checks data against lines written as `1:a|b`, NULL as `∅`, and an error.
fn check(options: &CopyOptions, data: &str, lines: &[&str], error: Option<&str>) {
    let (read, found) = read(options, &[0, 1, 2], &[data.as_bytes()]);
    let show = |(number, fields): &Line| {
        let fields = fields.iter().map(|field| field.as_ref().map_or("∅".into(), |bytes| String::from_utf8_lossy(bytes)));
        format!("{number}:{}", fields.collect::<Vec<_>>().join("|"))
    };
    assert_eq!(read.iter().map(show).collect::<Vec<_>>(), lines, "{data:?}");
    assert_eq!(found.as_deref(), error, "{data:?}");
}

#[test]
fn text() {
    let text = options(CopyFormat::Text);
    let check = |data, lines: &[&str], error| check(&text, data, lines, error);
    check("", &[], None);
    check("1\ta\n2\t\\N\n", &["1:1|a", "2:2|∅"], None);
    check("\n\t\n", &["1:", "2:|"], None);
    check("1\ta\\tb\\\\\\x41\\101\\n\\q\n", &["1:1|a\tb\\AA\nq"], None);
    check("a\\\tb\tc\n", &["1:a\tb|c"], None);
    check("a\\\nb\nc\n", &["1:a\nb", "2:c"], None);
    check("a\\\\\nb\n", &["1:a\\", "2:b"], None);
    check("1\tlast", &["1:1|last"], None);
    check("a\\", &["1:a"], None);
    check("\\N\\N\n", &["1:NN"], None);
    check("a\n\\.\nrubbish\n", &["1:a"], None);
    check("a\nb\\.\nrubbish\n", &["1:a", "2:b"], None);
    check("a\n\\.x\n", &["1:a"], Some("end-of-copy marker corrupt"));
    check("a\n\\.", &["1:a"], Some("end-of-copy marker corrupt"));
    check("a\r\n\\.\n", &["1:a"], Some("end-of-copy marker does not match previous newline style"));
    check("a\r\n\\.\r\n", &["1:a"], None);
    check("a\r\nb\r\n", &["1:a", "2:b"], None);
    check("a\rb\r", &["1:a", "2:b"], None);
    check("a\nb\rc\n", &["1:a"], Some("literal carriage return found in data"));
    check("a\rb\nc\r", &["1:a"], Some("literal newline found in data"));
    check("a\r\nb\nc\n", &["1:a"], Some("literal newline found in data"));
    check("a\r\nb\rc\r\n", &["1:a"], Some("literal carriage return found in data"));
}

#[test]
fn csv() {
    let csv = options(CopyFormat::Csv);
    let plain = |data, lines: &[&str], error| check(&csv, data, lines, error);
    plain("1,a\n2,\n3,\"\"\n", &["1:1|a", "2:2|∅", "3:3|"], None);
    plain("1,\"a \"\"q\"\", \nb\"\n2,\"c\nd\"\n", &["1:1|a \"q\", \nb", "3:2|c\nd"], None);
    plain("x\"y,z\"w,v\n", &["1:xy,zw|v"], None);
    plain("a\\,b\n", &["1:a\\|b"], None);
    plain("a\n\\.\nrubbish\n", &["1:a"], None);
    plain("a\n\\.x\nb\\.\n", &["1:a", "2:\\.x", "3:b\\."], None);
    plain("a\n\\.", &["1:a", "2:\\."], None);
    plain("a\n\\.\r\n", &["1:a"], Some("end-of-copy marker does not match previous newline style"));
    plain("1,\"open\n", &[], Some("unterminated CSV quoted field"));
    plain("a\nb\rc\n", &["1:a"], Some("unquoted carriage return found in data"));
    let backslash = CopyOptions { escape: b'\\', ..csv.clone() };
    check(&backslash, "\"a\\\"b\\\\\",c\\d\n\"e\\f\"\n", &["1:a\"b\\|c\\d", "2:e\\f"], None);
    let forced = CopyOptions { force_not_null: vec![0], force_null: vec![2], ..csv };
    check(&forced, ",,\"\"\n", &["1:|∅|∅"], None);
}

#[test]
fn forced_columns_are_those_of_the_table() {
    let csv = CopyOptions { force_not_null: vec![1], ..options(CopyFormat::Csv) };
    let (lines, _) = read(&csv, &[1, 0], &[b",\n"]);
    assert_eq!(lines, [(1, vec![Some(Vec::new()), None])], "column 1 comes first in the data");
}

fn write(options: &CopyOptions, names: &[&str], row: &[Option<&str>]) -> String {
    let ty = ColumnType { ty: SqlType::Text, typmod: -1 };
    let columns: Vec<_> = names.iter().map(|name| OutputColumn { name: (*name).to_owned(), ty, source: None }).collect();
    let row: Vec<Datum> = row.iter().map(|value| value.map_or(Datum::Null, |text| Datum::Text(text.into()))).collect();
    let mut writer = CopyWriter::new(options.clone(), &columns);
    let mut out = Vec::new();
    assert_eq!(writer.header(&mut out), options.header);
    writer.row(&row, &SessionFormat::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn output() {
    let text = options(CopyFormat::Text);
    assert_eq!(
        write(&text, &["a", "b"], &[Some("x\ty\\z\n\u{8}\u{c}\r\u{b}\u{1}"), None]),
        "x\\ty\\\\z\\n\\b\\f\\r\\v\u{1}\t\\N\n"
    );
    let bar = CopyOptions { delimiter: b'|', header: true, ..text };
    assert_eq!(write(&bar, &["a|", "b"], &[Some("x|y\tz"), Some("")]), "a\\||b\nx\\|y\\tz|\n");
    let csv = options(CopyFormat::Csv);
    assert_eq!(write(&csv, &["a", "b"], &[Some("x,\"y\"\n"), None]), "\"x,\"\"y\"\"\n\",\n");
    assert_eq!(write(&csv, &["a", "b"], &[Some(""), Some("\\.")]), "\"\",\\.\n");
    assert_eq!(write(&csv, &["a"], &[Some("\\.")]), "\"\\.\"\n");
    let forced = CopyOptions { force_quote: vec![1], escape: b'\\', header: true, ..csv };
    assert_eq!(write(&forced, &["a", "b"], &[Some("x\\"), Some("y\\\"")]), "a,b\nx\\,\"y\\\\\\\"\"\n");
}

fn any_format() -> impl Strategy<Value = CopyOptions> {
    (any::<bool>(), any::<bool>()).prop_map(|(csv, backslash)| {
        let base = options(if csv { CopyFormat::Csv } else { CopyFormat::Text });
        if csv && backslash { CopyOptions { escape: b'\\', ..base } } else { base }
    })
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        data in prop::collection::vec(prop::sample::select(b"ab\t\n\\N,\"\r1x.".to_vec()), 0..60),
        cuts in prop::collection::vec(0usize..60, 0..6),
        options in any_format(),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&data[from..cut]);
            from = cut;
        }
        pieces.push(&data[from..]);
        prop_assert_eq!(read(&options, &[0, 1], &pieces), read(&options, &[0, 1], &[&data]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..80), options in any_format()) {
        read(&options, &[0], &[&data]);
    }

    #[test]
    fn what_is_written_is_read(
        rows in prop::collection::vec(prop::collection::vec(prop::option::of("[a,\"\\\\\t\n\r.N|\u{b}é]{0,6}"), 2), 0..5),
        options in any_format(),
    ) {
        let mut data = String::new();
        for row in &rows {
            let row: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
            data += &write(&options, &["a", "b"], &row);
        }
        let (lines, error) = read(&options, &[0, 1], &[data.as_bytes()]);
        prop_assert_eq!(error, None);
        let read: Vec<Vec<Option<String>>> =
            lines.into_iter().map(|(_, row)| row.into_iter().map(|field| field.map(|bytes| String::from_utf8(bytes).unwrap())).collect()).collect();
        prop_assert_eq!(read, rows);
    }
}
