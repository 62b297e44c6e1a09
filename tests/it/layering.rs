//! Which module may import which, and where the runtimes may be named. docs/architecture.md draws the same picture.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{self, SourceFile};

/// The layers from the bottom up. A module may import modules of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["error"],
    &["auth", "metrics", "types"],
    &["runtime"],
    &["config"],
    &["index", "mesh"],
    &["storage"],
    &["txn", "wal"],
    &["catalog", "checkpoint"],
    &["shard"],
    &["sql"],
    &["exec"],
    &["session"],
    &["wire"],
    &["http"],
    &["server"],
];

/// Modules that a lower layer rank would allow but that must not meet: the control plane sees the engine through its trait only,
/// and the engine takes its settings as arguments, so that it runs in a simulator without a command line.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("http", &["index", "mesh", "wal", "storage", "txn", "catalog", "checkpoint", "shard", "exec", "sql", "session", "wire"]),
    ("index", &["config"]),
    ("mesh", &["config"]),
    ("wal", &["config"]),
    ("storage", &["config"]),
    ("txn", &["config"]),
    ("checkpoint", &["config"]),
];

/// Crates that only some modules may name.
const CONFINED: &[(&str, &[&str])] = &[
    ("glommio", &["runtime"]),
    ("tokio", &["http"]),
    ("axum", &["http"]),
    ("prometheus", &["metrics"]),
    ("clap", &["config"]),
    ("toml", &["config"]),
    ("pgwire", &["wire"]),
    ("rustls", &["http", "wire"]),
];

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules of this crate that some code names after `crate::` or `omendb::`, braces included.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend(first_word(rest)),
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// The first words of the members of `{a::b, c::{d, e}, f}`, given without its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                heads.extend(first_word(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    return heads;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

/// Whether the code names a crate: as a path's first segment.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        let is_own_path = code[..at].ends_with("::") && !code[..at].ends_with(" ::");
        starts && !is_own_path && after.starts_with("::")
    })
}

fn violations(files: &[SourceFile]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let module = file.module();
        if module == "lib" || module == "main" {
            continue;
        }
        let path = file.path.display();
        let Some(own) = rank(&module) else {
            found.push(format!("{path}: the module {module} has no place in the layers"));
            continue;
        };
        let code = file.production_code();
        for other in imports(code) {
            let Some(theirs) = rank(&other) else { continue };
            let forbidden = FORBIDDEN.iter().any(|(name, never)| *name == module && never.contains(&other.as_str()));
            if other != module && (theirs >= own || forbidden) {
                found.push(format!("{path}: {module} must not import {other}"));
            }
        }
        for (name, homes) in CONFINED {
            if names_crate(code, name) && !homes.contains(&module.as_str()) {
                found.push(format!("{path}: only {} may name {name}", homes.join(", ")));
            }
        }
    }
    found
}

#[test]
fn modules_import_lower_layers_only() {
    let found = violations(&source::rust_files("src"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_layers_are_the_modules_of_the_crate() {
    let lib = std::fs::read_to_string(source::root().join("src/lib.rs")).expect("the library has a root");
    let declared: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|name| name.trim_end_matches(';')).collect();
    let mut layered: BTreeMap<&str, usize> = BTreeMap::new();
    for module in LAYERS.iter().copied().flatten() {
        *layered.entry(module).or_default() += 1;
    }
    assert!(layered.values().all(|&times| times == 1), "a module is in one layer");
    assert_eq!(declared, layered.into_keys().collect(), "declared in lib.rs, and in the layers");
}

#[test]
fn the_rules_catch_what_they_should() {
    let file =
        |path: &str, text: &str| SourceFile { path: path.into(), text: text.into(), code: source::code_of(text), is_test: false };
    for (path, text, expected) in [
        ("src/index/mod.rs", "use crate::storage::Tablet;", "index must not import storage"),
        ("src/index/mod.rs", "use crate::{base::CoreId, sql::{Plan, Bind}};", "index must not import sql"),
        ("src/wal/mod.rs", "fn f() { crate::txn::x() }", "wal must not import txn"),
        ("src/http/mod.rs", "use crate::shard::Shard;", "http must not import shard"),
        ("src/shard/mod.rs", "use glommio::Task;", "only runtime may name glommio"),
        ("src/exec/x.rs", "fn f() { ::tokio::spawn(g) }", "only http may name tokio"),
        ("src/novel/mod.rs", "", "no place in the layers"),
    ] {
        let found = violations(&[file(path, text)]);
        assert!(found.len() == 1 && found[0].contains(expected), "{path}: {text}: {found:?}");
    }
    for (path, text) in [
        ("src/wire/mod.rs", "use crate::session::Session; // glommio::x"),
        ("src/http/mod.rs", "use tokio::net; use crate::metrics;"),
        ("src/base.rs", "fn f() { x.tokio::<u8>() }"),
    ] {
        assert_eq!(violations(&[file(path, text)]), Vec::<String>::new(), "{path}: {text}");
    }
}
