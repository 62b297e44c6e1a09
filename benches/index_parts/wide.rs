//! Keys wider than an integer, against the standard B-tree: uuids, URLs, composites.

use std::collections::BTreeMap;

use omendb::index::{IndexKey, KeyBytes, LearnedIndex};

use super::Options;
use super::clock::mops;
use super::figures::{self, Figures};
use super::memory::{held, settle};
use super::sets::Random;

/// Rounds in which the two look up by turns.
const ROUNDS: usize = 5;

/// Runs all three kinds, with a tenth of the keys.
pub fn run(options: &Options) {
    let random = &mut Random(99);
    let count = options.keys / 10;
    println!("\n{count} wide keys of each kind");
    let uuids = (0..count).map(|_| u128::from(random.next()) << 64 | u128::from(random.next())).collect();
    compare::<u128>("uuid", uuids, options);
    compare::<KeyBytes>("url", (0..count).map(|_| KeyBytes::from(url(random).into_bytes())).collect(), options);
    let composite = |random: &mut Random| {
        let (customer, order) = (random.below(count / 20 + 1) as u64, random.below(1 << 20) as u64);
        KeyBytes::from([b"\x01".as_slice(), &customer.to_be_bytes(), b"\x01", &order.to_be_bytes()].concat())
    };
    compare::<KeyBytes>("composite", (0..count).map(|_| composite(random)).collect(), options);
}

fn url(random: &mut Random) -> String {
    let (site, section, page) = (random.below(20_000), random.below(40), random.next());
    format!("https://www.site{site}.example.org/section{section}/{page:x}.html")
}

fn compare<K: IndexKey>(name: &str, mut keys: Vec<K>, options: &Options) {
    keys.sort();
    keys.dedup();
    let random = &mut Random(3);
    random.shuffle(&mut keys);
    let (first, second) = keys.split_at(keys.len() / 2);
    let mut all = [Figures::of("omendb"), Figures::of("BTreeMap")];
    let [ours, btree] = &mut all;

    settle();
    let before = held();
    let mut index = LearnedIndex::new();
    first.iter().for_each(|key| _ = index.insert(key.clone(), 1_u64));
    ours.add(
        "insert",
        mops(second.len(), || second.iter().filter(|key| index.insert((*key).clone(), 1).is_none()).count() as u64),
    );
    ours.add("bytes_insert", (held() - before) as f64 / keys.len() as f64);

    settle();
    let before = held();
    let mut map = BTreeMap::new();
    first.iter().for_each(|key| _ = map.insert(key.clone(), 1_u64));
    btree
        .add("insert", mops(second.len(), || second.iter().filter(|key| map.insert((*key).clone(), 1).is_none()).count() as u64));
    btree.add("bytes_insert", (held() - before) as f64 / keys.len() as f64);

    let probes: Vec<K> = (0..keys.len()).map(|_| keys[random.below(keys.len())].clone()).collect();
    for _ in 0..ROUNDS {
        ours.add("get", mops(probes.len(), || probes.iter().map(|key| index.get(key.view()).expect("it is there")).sum()));
        btree.add("get", mops(probes.len(), || probes.iter().map(|key| map[key]).sum()));
    }
    let stats = index.stats();
    ours.add("hits", 100.0 * stats.hits as f64 / (stats.hits + stats.misses).max(1) as f64);
    ours.add("delete", mops(first.len(), || first.iter().filter_map(|key| index.remove(key.view())).sum()));
    btree.add("delete", mops(first.len(), || first.iter().filter_map(|key| map.remove(key)).sum()));
    ours.add("longest", index.counts().structural_time_max.as_nanos() as f64 / 1e3);
    figures::print(name, &all, options.raw);
}
