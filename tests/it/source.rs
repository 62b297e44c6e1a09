//! Reads the crate's own source for the tests that police it.
//!
//! [`code_of`] blanks comments and literals, so that a rule about code is not broken by a word in a sentence. It is a lexer of
//! the few tokens that can hide text (comments, strings, raw strings, characters), not a parser.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub struct SourceFile {
    /// Path from the root of the repository.
    pub path: PathBuf,
    /// As it is on disk.
    pub text: String,
    /// The text with comments and literals blanked, line by line as on disk.
    pub code: String,
    /// Whether it is compiled for tests only.
    pub is_test: bool,
}

impl SourceFile {
    /// The first folder or file below `src`, without extension: the module it belongs to.
    pub fn module(&self) -> String {
        let mut parts = self.path.components().skip(1).map(|part| part.as_os_str().to_string_lossy());
        let first = parts.next().expect("a source file lies below src");
        first.trim_end_matches(".rs").to_string()
    }

    /// The code outside test modules: all of it in other files than tests up to `#[cfg(test)] mod … {`.
    pub fn production_code(&self) -> &str {
        if self.is_test {
            return "";
        }
        let end = test_module_start(&self.code).unwrap_or(self.code.len());
        &self.code[..end]
    }
}

/// Where an inline test module begins; house style puts it last in its file.
fn test_module_start(code: &str) -> Option<usize> {
    code.match_indices("#[cfg(test)]").map(|(at, _)| at).find(|&at| {
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        let declaration = rest.split(['{', ';']).next().unwrap_or_default();
        declaration.trim_start().starts_with("mod ") && rest[declaration.len()..].starts_with('{')
    })
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder` of the repository.
pub fn rust_files(folder: &str) -> Vec<SourceFile> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    let mut files: Vec<SourceFile> = paths.iter().map(|path| read(path)).collect();
    let test_stems: Vec<PathBuf> = files.iter().flat_map(declared_test_modules).collect();
    for file in &mut files {
        let stem = file.path.with_extension("");
        let below = test_stems.iter().any(|test| stem.starts_with(test));
        file.is_test = below || !file.path.starts_with("src");
    }
    files
}

fn read(path: &Path) -> SourceFile {
    let text = fs::read_to_string(path).expect("a source file is readable UTF-8");
    let path = path.strip_prefix(root()).expect("it was found below the root").to_path_buf();
    SourceFile { code: code_of(&text), path, text, is_test: false }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// The paths (without extension) of modules that a file declares under `#[cfg(test)]`.
fn declared_test_modules(file: &SourceFile) -> Vec<PathBuf> {
    let name = file.path.file_stem().expect("a file has a name").to_string_lossy();
    let folder = match name.as_ref() {
        "mod" | "lib" | "main" => file.path.parent().expect("a file is in a folder").to_path_buf(),
        _ => file.path.with_extension(""),
    };
    let pieces = file.code.split("#[cfg(test)]").skip(1);
    let declared = pieces.filter_map(|rest| {
        let declaration = rest.split([';', '{']).next()?.trim();
        declaration.rsplit_once("mod ").map(|(_, name)| folder.join(name.trim()))
    });
    declared.collect()
}

/// The text with comments, strings and characters replaced by blanks; lines stay where they are.
pub fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = hidden_end(bytes, at);
        match end {
            Some(end) => {
                assert!(end > at && end <= bytes.len(), "a token has a length");
                out.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
                at = end;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).expect("characters outside ASCII stand whole in code or are blanked whole")
}

/// If a comment or literal starts here, where it ends.
fn hidden_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest[0] {
        b'/' if rest.starts_with(b"//") => Some(at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())),
        b'/' if rest.starts_with(b"/*") => Some(at + block_comment_length(rest)),
        b'"' => Some(at + quoted_length(rest)),
        b'r' | b'b' | b'c' if !in_word => raw_string_length(rest).map(|length| at + length),
        b'\'' => character_length(rest).map(|length| at + length),
        _ => None,
    }
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`.
fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let prefix = rest.iter().take(2).position(|&byte| byte == b'r')? + 1;
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = prefix + hashes + 1;
    let end = rest[body..].windows(closing.len()).position(|window| window == closing);
    Some(end.map_or(rest.len(), |end| body + end + closing.len()))
}

/// A character literal, not a lifetime.
fn character_length(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|&byte| byte == b'\'')?;
        return Some(end + 4);
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let first = match text {
        Ok(text) => text.chars().next()?,
        Err(error) => std::str::from_utf8(&rest[1..1 + error.valid_up_to()]).ok()?.chars().next()?,
    };
    (rest.get(1 + first.len_utf8()) == Some(&b'\'')).then_some(first.len_utf8() + 2)
}

#[test]
fn words_in_comments_and_literals_are_not_code() {
    for (text, code) in [
        ("a // todo!()\nb", "a b"),
        ("a /* x /* y */ z */ b", "a b"),
        (r#"f("a\"b", c)"#, "f( , c)"),
        (r##"f(r#"a"b"#, c)"##, "f( , c)"),
        ("f(b\"x\", 'y', b'\\n', '\\'', 'ä')", "f(b , , b , , )"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
    ] {
        let found = code_of(text);
        let words: Vec<&str> = found.split_whitespace().collect();
        assert_eq!(words.join(" "), code, "{text}");
        assert_eq!(
            (found.len(), found.lines().count()),
            (text.len(), text.lines().count()),
            "{text}: everything stays in its place"
        );
    }
}

#[test]
fn test_modules_are_not_production() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod inline {\n fn c() {}\n}\n";
    let file = SourceFile { path: "src/x/mod.rs".into(), text: text.into(), code: code_of(text), is_test: false };
    assert!(file.production_code().contains("fn b") && !file.production_code().contains("fn c"));
    assert_eq!(declared_test_modules(&file), [PathBuf::from("src/x/tests"), PathBuf::from("src/x/inline")]);
    assert_eq!(file.module(), "x");
}
