//! The index beside its peers, in one table: throughput, ratio to the standard B-tree, bytes a key and tails.
//!
//! `cargo bench --bench index -- [keys] [set,…]` (10,000,000 keys and all sets by default). Keys are made from a seed. Times
//! are thread CPU time, so that other processes on the machine count as little as they can. Every peer sees the same keys
//! in the same order, and results are summed so that no work can be dropped.

mod index_parts;

use index_parts::{adversaries, integers, wide};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let keys = arguments.first().map_or(10_000_000, |keys| keys.parse().expect("the first argument is a number of keys"));
    let sets = arguments.get(1).map(String::as_str).unwrap_or("all");
    integers::run(keys, sets);
    if sets == "all" || sets.contains("wide") {
        wide::run(keys / 10);
    }
    if sets == "all" || sets.contains("adversaries") {
        adversaries::run();
    }
}

#[global_allocator]
static ALLOCATOR: index_parts::memory::Counting = index_parts::memory::Counting;
