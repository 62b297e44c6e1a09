//! The index beside its peers, in one table a key set: throughput, ratio to each peer, bytes a key and tails.
//!
//! `cargo bench --bench index -- [keys] [set,…] [quick] [raw] [get|dependent|insert]` (10,000,000 keys, all sets and all peers by default;
//! `scripts/index-bench` runs it and writes docs/benchmarks.md). Keys are made from a seed. Times are thread CPU time (of a bulk load, that of all threads), so that
//! other processes on the machine count as little as they can. Every peer sees the same keys in the same order, and results
//! are summed so that no work can be dropped.

mod index_parts;

use index_parts::{Options, adversaries, integers, profile, wide};

fn main() {
    let mut options = Options { keys: 10_000_000, sets: "all".to_string(), quick: false, raw: false, profile: None };
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match argument.as_str() {
            "quick" => options.quick = true,
            "raw" => options.raw = true,
            "get" | "dependent" | "insert" => options.profile = Some(argument),
            other => match other.parse() {
                Ok(keys) => options.keys = keys,
                Err(_) => options.sets = argument,
            },
        }
    }
    if let Some(workload) = &options.profile {
        return profile::run(workload, &options.sets, options.keys);
    }
    integers::run(&options);
    if options.wants("wide") {
        wide::run(&options);
    }
    if options.wants("adversaries") {
        adversaries::run(&options);
    }
}

#[global_allocator]
static ALLOCATOR: index_parts::memory::Counting = index_parts::memory::Counting;
