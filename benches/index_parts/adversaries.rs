//! Sequences chosen to hurt: what they cost a key, and the longest single change.

use omendb::index::LearnedIndex;

use super::Options;
use super::clock::mops;
use super::figures::{self, Figures};
use super::sets::Random;

const KEYS: usize = 1_000_000;

/// Runs every adversary.
pub fn run(options: &Options) {
    println!("\n{KEYS} keys of each adversary");
    let random = &mut Random(5);
    let check = |name: &str, keys: Vec<u64>| {
        let mut index = LearnedIndex::new();
        let speed = mops(keys.len(), || keys.iter().filter_map(|key| index.insert(*key, 1_u64)).sum());
        let mut ours = Figures::of("omendb");
        ours.add("insert", speed);
        ours.add("bytes_insert", index.bytes() as f64 / index.len() as f64);
        ours.add("longest", index.counts().structural_time_max.as_nanos() as f64 / 1e3);
        figures::print(name, &[ours], options.raw);
    };
    check("descending", (0..KEYS as u64).rev().collect());
    check("alternating extremes", (0..KEYS as u64).map(|i| if i % 2 == 0 { i } else { u64::MAX - i }).collect());
    check("inside out", (0..KEYS as u64).map(|i| if i % 2 == 0 { (1 << 63) + i * 977 } else { (1 << 63) - i * 977 }).collect());
    check("bursts at random", {
        let mut keys = Vec::new();
        while keys.len() < KEYS {
            let start = random.next() >> random.below(50);
            keys.extend((0..200).map(|i| start.wrapping_add(i)));
        }
        keys
    });
    check("doublings everywhere", (0..KEYS).map(|_| (random.next() >> 40 << 40) ^ (1_u64 << random.below(64))).collect());
    check("nested bursts", {
        let mut keys = Vec::new();
        while keys.len() < KEYS {
            let base = random.next();
            keys.extend((0..64).map(|i| base.wrapping_add(1_u64 << (i % 64))));
            keys.extend((0..64).map(|i| base.wrapping_add(i)));
        }
        keys
    });
}
