//! Checkpoint and manifest decoders on arbitrary bytes.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use omendb::checkpoint::{Manifest, decode_block};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::decode(bytes, Path::new("MANIFEST")) {
        let again = Manifest::decode(&manifest.encode(), Path::new("MANIFEST")).expect("encoded just now");
        assert_eq!(manifest, again);
    }
    if let Ok(block) = decode_block(bytes, 0) {
        assert!(block.entries().count() > 0);
    }
});
