//! What comes in over HTTP besides HTTP itself: bodies of queries, and bearer tokens.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use omendb::auth::TokenKey;
use omendb::http::query::{STATEMENTS_MAX, parameter_text, read_batch};
use omendb::types::{ElementType, SqlType};

static KEY: LazyLock<TokenKey> = LazyLock::new(|| TokenKey::derive(b"the fuzzer does not know it"));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = read_batch(bytes) {
        assert!((1..=STATEMENTS_MAX).contains(&batch.statements.len()));
        for value in batch.statements.iter().flat_map(|statement| &statement.params) {
            for ty in [SqlType::Text, SqlType::Array(ElementType::Text)] {
                assert_eq!(parameter_text(value, ty).is_none(), value.is_null());
            }
        }
    }
    if let Ok(token) = std::str::from_utf8(bytes) {
        assert_eq!(KEY.verify(token, 0, |_| Some(Vec::new())), None, "a token was guessed");
    }
});
