//! House rules that a reader should not have to check by eye.

use crate::source::{self, SourceFile};

/// A file has one role and is usually under 500 lines; past this it has certainly found a second one.
const LINES_MAX: usize = 600;

/// A function fits a screen; past this it certainly does not.
const FUNCTION_LINES_MAX: usize = 110;

/// Not in any code, tests included.
const NEVER: &[&str] =
    &["todo!", "unimplemented!", "dbg!", "#[ignore", "#![allow(dead_code)", "#[allow(dead_code)", "#![allow(missing_docs)"];

/// Not in code that runs in production.
const NOT_IN_PRODUCTION: &[&str] = &[".unwrap()", ".unwrap_unchecked()", "std::process::exit", "process::abort"];

/// Where the program itself decides to end.
const MAY_EXIT: &[&str] = &["src/main.rs", "src/server/"];

/// Not in any text: marks of unfinished work.
const MARKS: &[&str] = &["TODO", "FIXME", "XXX:", "HACK"];

fn violations(file: &SourceFile) -> Vec<String> {
    let mut found = Vec::new();
    let path = file.path.display().to_string();
    let mut refuse = |line: usize, what: String| found.push(format!("{path}:{line}: {what}"));
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        refuse(lines, format!("{lines} lines, more than {LINES_MAX}: split it by role"));
    }
    if file.path.starts_with("src") && path != "src/main.rs" && !file.text.starts_with("//!") {
        refuse(1, "no //! header that says what the file is for".to_string());
    }
    for (number, line) in file.code.lines().enumerate() {
        for word in NEVER.iter().filter(|word| line.contains(**word)) {
            refuse(number + 1, format!("{word} has no place here"));
        }
    }
    let may_exit = MAY_EXIT.iter().any(|prefix| path.starts_with(prefix));
    for (number, line) in file.production_code().lines().enumerate() {
        for word in NOT_IN_PRODUCTION.iter().filter(|word| line.contains(**word) && !(may_exit && word.contains("process"))) {
            refuse(number + 1, format!("{word} outside tests: expect(\"why this cannot happen\") or an error"));
        }
    }
    for (number, line) in file.text.lines().enumerate() {
        // This file has to name them.
        for mark in MARKS.iter().filter(|mark| line.contains(**mark) && !path.ends_with("it/tidy.rs")) {
            refuse(number + 1, format!("{mark}: finish it or leave it out"));
        }
    }
    for (number, length) in long_functions(&file.code) {
        refuse(number, format!("a function of {length} lines, more than {FUNCTION_LINES_MAX}"));
    }
    found
}

/// Line numbers and lengths of functions longer than the limit. Formatted code closes a function with a brace at the
/// indentation of its first line; a declaration without a body ends with a semicolon first.
fn long_functions(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
        let indent = &line[..line.len() - line.trim_start().len()];
        let ends = |candidate: &str| {
            let at_indent = candidate.strip_prefix(indent).filter(|rest| !rest.starts_with(' '));
            at_indent
                .is_some_and(|rest| rest.trim_end() == "}" || rest.trim_end().ends_with(';') || rest.trim_end().ends_with("{}"))
        };
        let length = lines[number..].iter().position(|candidate| ends(candidate)).map_or(1, |last| last + 1);
        if length > FUNCTION_LINES_MAX {
            found.push((number + 1, length));
        }
    }
    found
}

fn begins_function(line: &str) -> bool {
    let head = line.split('(').next().unwrap_or_default();
    head.split_whitespace().any(|word| word == "fn")
}

#[test]
fn the_tree_keeps_the_house_rules() {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches"] {
        if source::root().join(folder).is_dir() {
            found.extend(source::rust_files(folder).iter().flat_map(violations));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_catch_what_they_should() {
    let check = |path: &str, text: &str, expected: Option<&str>| {
        let file =
            SourceFile { path: path.into(), text: text.into(), code: source::code_of(text), is_test: !path.starts_with("src") };
        let found = violations(&file);
        match expected {
            None => assert_eq!(found, Vec::<String>::new(), "{path}: {text}"),
            Some(what) => assert!(found.len() == 1 && found[0].contains(what), "{path}: {text}: {found:?}"),
        }
    };
    check("src/a/b.rs", "//! x\nfn f() { g().expect(\"because\") }\n", None);
    check("src/a/b.rs", "fn f() {}\n", Some("header"));
    check("src/a/b.rs", "//! x\nfn f() { g().unwrap() }\n", Some(".unwrap()"));
    check("src/a/b.rs", "//! x\n#[cfg(test)]\nmod tests {\n    fn f() { g().unwrap() }\n}\n", None);
    check("tests/it/b.rs", "fn f() { g().unwrap() }\n", None);
    check("tests/it/b.rs", "#[test]\n#[ignore]\nfn f() {}\n", Some("#[ignore"));
    check("src/a/b.rs", &format!("//! x\nfn f() {{ {}!() }}\n", "todo"), Some("todo!"));
    check("src/a/b.rs", &format!("//! x\n// {}: later\n", "FIXME"), Some("FIXME"));
    check("src/a/b.rs", &format!("//! x\n{}", "// y\n".repeat(LINES_MAX)), Some("split it"));
    check("src/a/b.rs", "//! x\nfn f() { std::process::exit(1) }\n", Some("process::exit"));
    check("src/server/b.rs", "//! x\nfn f() { std::process::exit(1) }\n", None);
    let long = format!("//! x\nimpl A {{\n    fn f() {{\n{}    }}\n}}\n", "        g();\n".repeat(FUNCTION_LINES_MAX));
    check("src/a/b.rs", &long, Some("a function of"));
}
