#!/usr/bin/env python3
"""Fills conformance.tsv: asks a PostgreSQL 15 for the answer to every case below.

    src/types/testdata/cases.py "host=127.0.0.1 port=5432 user=postgres" > src/types/testdata/conformance.tsv

A line is: kind, arguments…, answer, tab-separated with \\t, \\n and \\\\ escaped. An answer is "=" and the text, "NULL", or "!",
the SQLSTATE and the message. "zone" lines set the session's time zone for what follows. Needs psql.
"""
import itertools
import subprocess
import sys

cases = []


def case(kind, *args):
    cases.append((kind, *args))


def inputs(ty, *texts):
    for text in texts:
        case("in", ty, text)


INTS = ["0", "1", "-1", "+7", " 42 ", "\t-5\n", "", " ", "-", "abc", "1.5", "1e3", "0x10", "1_000", "12 3", "--1", "٣",
        "32767", "32768", "-32768", "-32769", "2147483647", "2147483648", "-2147483648", "-2147483649",
        "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
        "99999999999999999999999", "0000000000000000000000000000012", "-00000000000000000000000000000"]
for ty in ["smallint", "integer", "bigint", "oid"]:
    inputs(ty, *INTS)
inputs("oid", "4294967295", "4294967296", "-1", "-2147483649")

FLOATS = ["0", "-0", "1", "1.5", "-2.25", "1e10", "1e14", "1e15", "1e16", "1e20", "123456789012345", "1234567890123456",
          "12345678901234567", "1e-4", "1e-5", "0.0001", "0.00001", "0.001", "NaN", "nan", "-NaN", "inf", "-inf", "Infinity",
          "-INFINITY", "+infinity", "infinit", "1e400", "-1e400", "1e-400", "1e39", "1e-50", "1e38", "3.4028235e38", "3.4028236e38",
          "1.7976931348623157e308", "1.7976931348623159e308", "5e-324", "2e-324", "1e-45", "1e-46", "0.1", "0.3", "1.1",
          "100000", "1000000", "999999", "1234567", "0.1e1", "1.", ".5", ".", "1e", "1e+", "1ee1", "", " ", " 1.5 ", "1.5x", "1,5",
          "33.3333333333", "16777217", "2.0000000001", "1e0", "1E5", "9007199254740993", "0.30000000000000004"]
for ty in ["real", "double precision"]:
    inputs(ty, *FLOATS)

NUMERICS = ["0", "-0", "0.00", "1", "-1", "1.10", "00012.500", " 3.14 ", "1e5", "1e-5", "1.5e3", "123.456e-2", "1E+2", ".5", "5.",
            ".", "", "-", "+.5e1", "NaN", "nan", "-nan", "inf", "-Infinity", "+inf", "infinityx", "1e", "e5", "1..2", "1 2", "1e5x",
            "123456789012345678901234567890.123456789012345678901234567890", "-99999999999999999999", "1e-20000", "1e131071",
            "1e131072", "1e200000", "0.0000000000000000000000000000000000000001", "0e500000", "1e99999999999"]
inputs("numeric", *[n for n in NUMERICS if n != "1e131071"])
for ty in ["numeric(5,2)", "numeric(3)", "numeric(2,-3)", "numeric(2,4)", "numeric(4,4)"]:
    for text in ["0", "1.005", "999.994", "999.995", "-999.995", "1000", "0.00994", "0.00995", "0.5", "123456", "99499", "99500", "NaN",
                 "inf", "0.99995", "0.99994", "1"]:
        case("in", ty, text)

inputs("boolean", "t", "f", "true", "false", "TRUE", "tr", "fa", "y", "n", "yes", "no", "on", "off", "of", "o", "1", "0", "10", "", " t ",
       "truee", "2", "yess", "null")
inputs("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
       "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
       "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11x", "", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
       " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11", "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
inputs("bytea", "\\x", "\\x00ff", "\\xDEADbeef", "\\x0", "\\x0g", "\\x 00 ff ", "\\x0 0", "abc", "a\\\\b", "a\\000b", "\\377", "\\400",
       "a\\b", "a\\", "", "ä", "\\xé0")
inputs('"char"', "", "a", "abc")
inputs("name", "x" * 70, "ä" * 40)
inputs("interval", "1 day", "1 year 2 months 3 days 04:05:06.789", "-1 day", "1 day ago", "P1Y2M3DT4H5M6.7S", "P1W", "PT0.5S", "1-2",
       "-1-2", "3 4:05:06", "04:05", "4:05:06.5", "1.5 days", "1.5 months", "1.5 years", "0.1 months", "2 weeks", "1 decade", "1 century",
       "1 h 2 m 3 s", "5", "-5.5", "1.2345678 s", "100000000 years", "200000000 years", "abc", "", "1 foo", "1 day 1 day", "P",
       "-1 year +3 days", "1 mon -1 day", "1 day -00:00:01", "-1 mons +1 day -01:00", "999999999 hours", "@ 1 minute", "1 year 1 year ago",
       "12:60:00", "1:2:3", "25:00:00", "3 days 25:00", "1us", "10 ms", "1 millennium", "0", "-0:01", "1 day 5")

DATES = ["2024-01-02", "20240102", "Jan 2 2024", "2 Jan 2024", "January 2, 2024", "2024-Jan-02", "02-Jan-2024", "Jan-02-2024",
         "1/2/2024", "1/2/24", "1/2/70", "1/2/69", "2024.012", "2024-1-2", "2024/01/02", "240102", "J2451187", "infinity", "-infinity",
         "epoch", "2024-02-29", "2023-02-29", "2024-13-01", "2024-00-01", "2024-01-00", "2024-01-32", "2024-04-31", "13/13/2024",
         "0001-01-01", "0000-01-01", "0001-01-01 BC", "4714-11-24 BC", "4714-11-23 BC", "4713-01-01 BC", "5874897-12-31", "5874898-01-01",
         "2024-01-02 AD", "99999-12-31", "294277-01-01", "", " ", "abc", "2024-01-02x", "2024", "2024-01", "01-02", "1999-01-08 04:05:06",
         "1999-01-08T04:05:06", "Mon Jan 1 2024", "January 32 2024", "Sept 5 2020", "2024-01-02 10:11:12+02",
         "99-Jan-08", "08-Jan-99", "Jan-08-99", "19990108", "990108", "  2024-01-02  ", "2024 Jan 2", "1 2 2024", "2024-366", "44-03-15 BC"]
inputs("date", *DATES)
STAMPS = ["2024-01-02 03:04:05", "2024-01-02T03:04:05", "2024-01-02 03:04:05.6", "2024-01-02 03:04:05.123456",
          "2024-01-02 03:04:05.1234567", "2024-01-02 03:04:05.1234565", "2024-01-02 03:04:05.9999999", "2024-01-02 03:04",
          "2024-01-02 3:4:5", "2024-01-02 24:00:00", "2024-01-02 24:00:01", "2024-01-02 23:59:60", "2024-01-02 23:60:00",
          "2024-01-02 25:00:00", "2024-01-02 03:04:05 PM", "2024-01-02 12:00 AM", "2024-01-02 12:00 pm", "2024-01-02 13:00 PM",
          "2024-01-02 03:04:05+02", "2024-01-02 03:04:05-0330", "2024-01-02 03:04:05+05:30", "2024-01-02 03:04:05Z",
          "2024-01-02 03:04:05 UTC", "2024-01-02 03:04:05 EST", "2024-07-02 03:04:05 America/New_York", "2024-01-02 03:04:05 Nowhere/City",
          "2024-01-02 03:04:05+16", "2024-01-02 03:04:05+15:59:59", "20240102T030405", "20240102 030405", "20240102030405",
          "Jan 2 03:04:05 2024", "Tue Jan 2 03:04:05 2024", "Tue Jan 2 03:04:05.5 2024 PST", "2024-01-02", "infinity", "-infinity", "epoch",
          "294276-12-31 23:59:59.999999", "294277-01-01 00:00:00", "4714-11-24 00:00:00 BC", "4714-11-23 23:59:59 BC", "", "x",
          "2024-01-02 03:04:05 foo", "2024-01-02 03:04:05.", "2024-01-02 :04", "0044-03-15 12:00:00 BC", "2024-13-02 03:04:05",
          "12024-01-02 03:04:05", "0099-01-02 03:04:05", "2024-01-02 03:04:05 BC", "1900-01-01 00:00:00", "1800-06-01 00:00:00",
          "2024-03-10 02:30:00", "2024-11-03 01:30:00", "2024-03-31 02:30:00", "2500-07-01 00:00:00", "100000-07-01 12:00:00",
          "2024-01-02 03:04:05+00", "2024-01-02 03:04:05 -08", "2024-01-02 03:04:05 +8:00", "2024-01-02 03:04:05-07:52:58"]
for zone in ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"]:
    case("zone", zone)
    inputs("timestamp with time zone", *STAMPS)
    if zone == "UTC":
        inputs("timestamp without time zone", *STAMPS)
case("zone", "UTC")

NUMBERS = {
    "smallint": ["0", "1", "-1", "7", "-32768", "32767"],
    "integer": ["0", "1", "-1", "7", "100000", "-2147483648", "2147483647"],
    "bigint": ["0", "1", "-1", "7", "-9223372036854775808", "9223372036854775807"],
    "real": ["0", "1.5", "-2.5", "1e38", "1e-38", "NaN", "Infinity"],
    "double precision": ["0", "1.5", "-2.5", "1e308", "1e-308", "NaN", "Infinity", "-Infinity"],
}
for left, right in itertools.product(["smallint", "integer", "bigint"], repeat=2):
    for op in ["+", "-", "*", "/"] + (["%", "&", "|", "#"] if left == right else []):
        for a, b in itertools.product(NUMBERS[left], NUMBERS[right]):
            if left == right or a in ("7", NUMBERS[left][-1]):
                case("op", left, a, op, right, b)
for left in ["smallint", "integer", "bigint"]:
    for op, a, b in itertools.product(["<<", ">>"], ["1", "-7", "32767"], ["0", "1", "15", "17", "31", "33", "63", "-1"]):
        case("op", left, a, op, "integer", b)
    for op, a in itertools.product(["-", "@", "~", "+"], NUMBERS[left]):
        case("unary", op, left, a)
for left, right in itertools.product(["real", "double precision"], repeat=2):
    for op, a, b in itertools.product(["+", "-", "*", "/"], NUMBERS[left], NUMBERS[right]):
        case("op", left, a, op, right, b)
for a, b in itertools.product(["0", "2", "-2", "0.5", "-8", "10", "NaN", "Infinity", "-Infinity", "1e200"],
                              ["0", "2", "-1", "0.5", "-3", "308", "NaN", "Infinity"]):
    case("op", "double precision", a, "^", "double precision", b)

DECIMALS = ["0", "1", "-1", "1.0", "3", "-7.25", "0.001", "100", "1e10", "1e-10", "123456789.987654321", "99999999999999999999",
            "0.00000000000000000001", "NaN", "Infinity", "-Infinity", "10000", "9999.9999", "6", "0.7"]
for op, a, b in itertools.product(["+", "-", "*", "/", "%"], DECIMALS, DECIMALS):
    case("op", "numeric", a, op, "numeric", b)
for a, b in itertools.product(["0", "1", "2", "-2", "0.5", "1.5", "10", "-0.1", "NaN", "Infinity", "-Infinity", "1.0000001", "123.456"],
                              ["0", "1", "2", "-1", "-3", "0.5", "10", "100", "-2.5", "3.7", "NaN", "Infinity", "-Infinity", "2.0", "1000.25"]):
    case("op", "numeric", a, "^", "numeric", b)
for function in ["sqrt", "ln", "exp", "ceil", "floor", "abs", "sign", "trim_scale", "round", "trunc"]:
    for a in DECIMALS + ["2", "0.5", "1.5", "2.5", "-0.5", "-1.5", "1.1", "0.9", "4", "1e50", "-5000", "17", "12.5"]:
        if function == "exp" and len(a) > 5 and "." not in a or function == "exp" and a in ("1e10", "123456789.987654321", "1e50"):
            continue
        case("numeric", function, a)
for a, n in itertools.product(["0", "1234.5678", "-1234.5678", "0.5", "-0.5", "55", "45", "1e10", "NaN", "999.995"],
                              ["0", "1", "2", "-1", "-2", "-4", "6"]):
    case("numeric2", "round", a, n)
    case("numeric2", "trunc", a, n)
for a in ["0", "1", "-1", "12345.678", "10000", "0.0001", "1e20", "-1e-20", "NaN", "Infinity", "-Infinity", "123456789012345678901234.5", "0.00", "99999999",
          "0.12345"]:
    case("send", "numeric", a)
for ty, texts in {"integer": ["-2"], "bigint": ["-2"], "smallint": ["-2"], "real": ["1.5"], "double precision": ["-0", "1.5"], "boolean": ["t"],
                  "text": ["äb"], "date": ["2024-01-02", "infinity", "0044-03-15 BC"], "timestamp without time zone": ["2024-01-02 03:04:05.5"],
                  "timestamp with time zone": ["2024-01-02 03:04:05.5+00"], "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
                  "bytea": ["\\x0001"], "interval": ["1 mon 2 days 00:00:03"], "integer[]": ["{}", "{1,NULL,3}"], "text[]": ['{a,"b c"}']}.items():
    for text in texts:
        case("send", ty, text)

NUMERIC_TYPES = ["smallint", "integer", "bigint", "real", "double precision", "numeric", "numeric(4,1)", "oid", "text", "character varying(3)",
                 "character(5)", "boolean", '"char"', "name"]
for source in ["smallint", "integer", "bigint"]:
    for a, to in itertools.product(["0", "1", "-1", "127", "128", "32767", "2147483647", "9223372036854775807"], NUMERIC_TYPES):
        if int(a) <= {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}[source] - 1:
            case("cast", source, a, to)
for a, to in itertools.product(["0", "0.5", "1.5", "2.5", "-0.5", "-2.5", "32767.5", "32767.4", "2147483647.5", "9223372036854775807", "NaN", "Infinity",
                                "1e-10", "0.1", "123456.789", "1e300", "-1e20"], NUMERIC_TYPES):
    for source in ["real", "double precision", "numeric"]:
        if not (source == "real" and a == "1e300"):
            case("cast", source, a, to)
for a, to in itertools.product(["t", "f"], NUMERIC_TYPES):
    case("cast", "boolean", a, to)
for a, to in itertools.product(["", "12", " 12 ", "abc", "abcdef", "true", "1.5", "äöüß", "ab   ", "2024-01-02"],
                               NUMERIC_TYPES + ["date", "bytea", "timestamp without time zone", "uuid", "character varying", "character(2)"]):
    for source in ["text", "character varying", "character(8)", "name", '"char"']:
        if source != '"char"' or (a and a.isascii()):  # a NUL or half a character has no text
            case("cast", source, a, to)
for zone in ["UTC", "America/New_York"]:
    case("zone", zone)
    for source, texts in {"date": ["2024-01-02", "infinity", "-infinity", "294277-01-01", "2024-03-10", "0044-03-15 BC"],
                          "timestamp without time zone": ["2024-01-02 03:04:05.123456", "infinity", "1999-12-31 23:59:59.5", "2024-03-10 02:30:00",
                                                          "2024-11-03 01:30:00", "1969-12-31 23:59:59.9999995"],
                          "timestamp with time zone": ["2024-01-02 03:04:05.123456+00", "-infinity", "2024-07-04 02:00:00+00"]}.items():
        for a, to in itertools.product(texts, ["date", "timestamp without time zone", "timestamp with time zone", "timestamp(0) without time zone",
                                               "timestamp(3) with time zone", "text", "character varying(4)", "integer"]):
            case("cast", source, a, to)
    SPANS = ["1 day", "1 month", "-1 month", "1 year -1 day", "00:00:00.5", "36:00:00", "1 mon 1 day 01:00:00", "24:00:00", "100000 years"]
    for source, texts in {"date": ["2024-01-31", "2024-02-29", "infinity", "2024-03-09"],
                          "timestamp without time zone": ["2024-01-31 12:30:00", "infinity", "2024-03-09 02:30:00"],
                          "timestamp with time zone": ["2024-01-31 12:30:00-05", "2024-03-09 02:30:00-05", "-infinity", "2024-11-02 01:30:00-04"]}.items():
        for a, b in itertools.product(texts, SPANS):
            case("op", source, a, "+", "interval", b)
            case("op", source, a, "-", "interval", b)
            if source != "date":
                case("op", "interval", b, "+", source, a)
    for field in ["microseconds", "milliseconds", "second", "minute", "hour", "day", "month", "quarter", "week", "year", "decade", "century", "millennium",
                  "julian", "isoyear", "dow", "isodow", "doy", "epoch", "timezone", "timezone_hour", "timezone_minute", "foo"]:
        for ty, text in [("date", "2024-12-30"), ("date", "0044-03-15 BC"), ("date", "infinity"), ("timestamp without time zone", "2024-01-02 03:04:05.678901"),
                         ("timestamp without time zone", "2000-12-31 23:59:59.5"), ("timestamp without time zone", "0044-03-15 01:02:03 BC"),
                         ("timestamp without time zone", "-infinity"), ("timestamp with time zone", "2024-07-02 03:04:05.678901+00"),
                         ("timestamp with time zone", "1900-01-01 03:04:05+00"), ("interval", "14 mons -3 days 04:05:06.789"), ("interval", "-123456:07:08")]:
            case("extract", field, ty, text)
            if ty != "date":
                case("date_part", field, ty, text)
                case("date_trunc", field, ty, text)
case("zone", "UTC")
for a, b in itertools.product(["2024-01-31", "infinity", "5874897-12-31", "4714-11-24 BC"], ["0", "1", "-1", "2147483647"]):
    case("op", "date", a, "+", "integer", b)
    case("op", "date", a, "-", "integer", b)
for a, b in itertools.product(["2024-01-31", "2023-12-31", "infinity", "5874897-12-31", "4714-11-24 BC"], repeat=2):
    case("op", "date", a, "-", "date", b)
MOMENTS = ["2024-03-01 00:00:00", "2024-01-31 12:00:00", "2023-12-31 23:59:59.5", "1957-06-13 00:00:00", "2024-02-29 06:00:00", "2025-02-28 05:00:00",
           "0044-03-15 00:00:00 BC", "infinity"]
for a, b in itertools.product(MOMENTS, repeat=2):
    case("op", "timestamp without time zone", a, "-", "timestamp without time zone", b)
    if "infinity" not in (a, b):  # PostgreSQL 15 answers with nonsense
        case("age", "timestamp without time zone", a, b)
for a, b in itertools.product(["1 mon", "1 day 02:00:00", "-1 year 3 days", "00:00:01.5", "178000000 years"], repeat=2):
    case("op", "interval", a, "+", "interval", b)
    case("op", "interval", a, "-", "interval", b)
    case("compare", "interval", a, "interval", b)
for a, b in itertools.product(["1 mon", "1 day 02:00:00", "-1 year 3 days", "00:00:01.5", "1 year 5 mons 17 days 03:04:05"],
                              ["0", "1", "-1", "0.5", "1.1", "3", "1e10", "0.3333333", "NaN"]):
    case("op", "interval", a, "*", "double precision", b)
    case("op", "interval", a, "/", "double precision", b)
for function in ["justify_hours", "justify_days", "justify_interval"]:
    for a in ["27:00:00", "35 days", "1 mon -1 day", "-1 mon 1 day -01:00:00", "1 mon -1 hour", "40 days -30:00:00"]:
        case("interval", function, a)
for zone, (ty, text) in itertools.product(["UTC", "America/New_York", "EST", "Nowhere/City", "asia/kolkata"],
                                          [("timestamp without time zone", "2024-07-01 12:00:00"), ("timestamp with time zone", "2024-01-01 12:00:00+00"),
                                           ("timestamp with time zone", "infinity")]):
    case("at_zone", zone, ty, text)
for ty, texts in {"numeric": ["0", "-0.0", "1.0", "1", "-1.5", "NaN", "Infinity", "-Infinity", "1e20", "0.5"],
                  "double precision": ["0", "-0", "1", "NaN", "Infinity", "-Infinity", "0.5"], "text": ["", "a", "B", "ab", "ä", "a "],
                  "character(4)": ["", "a", "a ", "ab", "B"], "boolean": ["t", "f"], "bytea": ["\\x", "\\x00", "\\x0001", "\\xff"],
                  "date": ["infinity", "-infinity", "2024-01-01", "0044-03-15 BC"], "integer[]": ["{}", "{1}", "{1,2}", "{1,NULL}", "{2}"],
                  "bigint": ["-1", "0", "9223372036854775807"]}.items():
    for a, b in itertools.product(texts, repeat=2):
        case("compare", ty, a, ty, b)
inputs("integer[]", "{}", "{1,2,3}", " { 1 , 2 } ", "{1,NULL,null}", "{1,,2}", "{1", "1", "{a}", "{1}x", "{}x", "{,}", "{1,}")
inputs("text[]", '{a,b}', '{"a b","c,d","e\\"f",""}', '{ a b , c }', '{NULL,"NULL",null}', '{a\\,b}', '{"a"x}', '{a"b"}', '{"a}', "{ä}", "{a\\ }")
for a, b, c in itertools.product(["", "hello", "äöüß"], ["-1", "0", "1", "3", "10", "2147483647"], ["0", "2", "-1", "2147483647"]):
    case("text", "substring", a, b, c)
for a, b in itertools.product(["", "hello", "äöüß", "a.b.c", ".."], ["-10", "-2", "-1", "0", "1", "2", "3", "10"]):
    case("text", "left", a, b)
    case("text", "right", a, b)
    case("text", "split_part", a, ".", b)
    case("text", "lpad", a, b, "xy")
    case("text", "rpad", a, b, "xy")
    case("text", "repeat", a, b)
for a, b in itertools.product(["", "hello", "äöüß", "Hello World_foo-bar", "  x  "], ["", "l", "ö", "lo", " "]):
    case("text", "strpos", a, b)
    case("text", "replace", a, b, "<>")
    case("text", "btrim", a, b)
    case("text", "ltrim", a, b)
    case("text", "rtrim", a, b)
    case("text", "translate", a, b, "q")
for a in ["", "hello", "äöüß", "Hello World_foo-bar", "ÄÖ éa"]:
    for function in ["upper", "lower", "initcap", "reverse", "length"]:
        case("text", function, a)
for a, b in itertools.product(["", "foobar", "foo bar baz", "Foo\nBar", "a1b22", "aaa"],
                              ["", "o+", "^foo", "(o)(b)", "[[:alpha:]]+", "\\d", "\\mbar\\M", "b*", "[", "(", "x{2", "a|ab", "[^]a]", "^Bar", "."]):
    case("text", "regexp_match", a, b)
    case("text", "regexp_replace", a, b, "<\\1\\&>")
    case("text", "regexp_replace_all", a, b, "#")
    case("text", "regexp_split_to_array", a, b)
    case("text", "regexp_like", a, b)


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def value(ty, text):
    return f"{quote(text)}::{ty}"


SEND = {"numeric": "numeric_send", "integer": "int4send", "bigint": "int8send", "smallint": "int2send", "real": "float4send",
        "double precision": "float8send", "boolean": "boolsend", "text": "textsend", "date": "date_send",
        "timestamp without time zone": "timestamp_send", "timestamp with time zone": "timestamptz_send", "uuid": "uuid_send",
        "bytea": "byteasend", "interval": "interval_send", "integer[]": "array_send", "text[]": "array_send"}


def text_call(function, args):
    quoted = [quote(arg) for arg in args]
    numbers = {"substring": [1, 2], "left": [1], "right": [1], "split_part": [2], "lpad": [1], "rpad": [1], "repeat": [1]}
    for index in numbers.get(function, []):
        quoted[index] = f"({args[index]})"
    if function == "regexp_replace_all":
        return f"regexp_replace({', '.join(quoted)}, 'g')"
    return f"{function}({', '.join(quoted)})"


def sql(kind, *args):
    match kind:
        case "in":
            return value(*args)
        case "op":
            return f"{value(args[0], args[1])} {args[2]} {value(args[3], args[4])}"
        case "unary":
            return f"{args[0]} ({value(args[1], args[2])})"
        case "numeric":
            return f"{args[0]}({value('numeric', args[1])})"
        case "numeric2":
            return f"{args[0]}({value('numeric', args[1])}, {args[2]})"
        case "interval":
            return f"{args[0]}({value('interval', args[1])})"
        case "send":
            return f"encode({SEND[args[0]]}({value(*args)}), 'hex')"
        case "cast":
            return f"({value(args[0], args[1])})::{args[2]}"
        case "extract":
            return f"extract({args[0]} from {value(args[1], args[2])})"
        case "date_part" | "date_trunc":
            return f"{kind}({quote(args[0])}, {value(args[1], args[2])})"
        case "age":
            return f"age({value(args[0], args[1])}, {value(args[0], args[2])})"
        case "at_zone":
            return f"timezone({quote(args[0])}, {value(args[1], args[2])})"
        case "compare":
            a, b = value(args[0], args[1]), value(args[2], args[3])
            return f"case when {a} < {b} then -1 when {a} = {b} then 0 else 1 end"
        case "text":
            return text_call(args[0], args[1:])
    raise ValueError(kind)


def escape(text):
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


SETUP = """
create function pg_temp.answer(q text) returns text language plpgsql as $$
declare is_null bool; result text; state text; message text;
begin
  execute 'select x is null, format(''%s'', x) from (select ' || q || ') as t(x)' into is_null, result;
  return case when is_null then 'NULL' else '=' || result end;
exception when others then
  get stacked diagnostics state = returned_sqlstate, message = message_text;
  return '!' || state || ' ' || message;
end $$;
"""


def main():
    script = [SETUP]
    for one in cases:
        if one[0] == "zone":
            script.append(f"set timezone = {quote(one[1])};")
        else:
            escaped = f"pg_temp.answer({quote(sql(*one))})"
            script.append(f"select replace(replace(replace({escaped}, '\\', '\\\\'), chr(9), '\\t'), chr(10), '\\n');")
    run = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", sys.argv[1]], input="\n".join(script), text=True,
                         capture_output=True, check=False)
    if run.returncode != 0:
        sys.exit(run.stderr)
    answers = iter(run.stdout.split("\n"))
    for one in cases:
        fields = [escape(field) for field in one]
        print("\t".join(fields if one[0] == "zone" else [*fields, next(answers)]))


main()
