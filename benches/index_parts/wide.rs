//! Keys wider than an integer, against the standard B-tree: uuids, URLs, composites.

use std::collections::BTreeMap;

use omendb::index::{IndexKey, KeyBytes, LearnedIndex};

use super::clock::mops;
use super::memory::held;
use super::sets::Random;

/// Runs all three kinds.
pub fn run(count: usize) {
    let random = &mut Random(99);
    println!("\nwide keys, {count} of each; Mops of thread CPU time: get, insert, delete, bytes a key");
    compare::<u128>("uuid", (0..count).map(|_| u128::from(random.next()) << 64 | u128::from(random.next())).collect());
    compare::<KeyBytes>("url", (0..count).map(|_| KeyBytes::from(url(random).into_bytes())).collect());
    let composite = |random: &mut Random| {
        let (customer, order) = (random.below(count / 20 + 1) as u64, random.below(1 << 20) as u64);
        KeyBytes::from([b"\x01".as_slice(), &customer.to_be_bytes(), b"\x01", &order.to_be_bytes()].concat())
    };
    compare::<KeyBytes>("composite", (0..count).map(|_| composite(random)).collect());
}

fn url(random: &mut Random) -> String {
    let (site, section, page) = (random.below(20_000), random.below(40), random.next());
    format!("https://www.site{site}.example.org/section{section}/{page:x}.html")
}

fn compare<K: IndexKey>(name: &str, mut keys: Vec<K>) {
    keys.sort();
    keys.dedup();
    let random = &mut Random(3);
    random.shuffle(&mut keys);
    let half = keys.len() / 2;
    let before = held();
    let mut map = BTreeMap::new();
    keys[..half].iter().for_each(|key| _ = map.insert(key.clone(), 1_u64));
    let insert = mops(half, || keys[half..].iter().filter(|key| map.insert((*key).clone(), 1).is_none()).count() as u64);
    let bytes = (held() - before) / keys.len();
    let probes: Vec<K> = (0..keys.len()).map(|_| keys[random.below(keys.len())].clone()).collect();
    let get = mops(probes.len(), || probes.iter().map(|key| map[key]).sum());
    let delete = mops(half, || keys[..half].iter().filter_map(|key| map.remove(key)).sum());
    println!("{name:10} BTreeMap {get:6.2} {insert:6.2} {delete:6.2} {bytes}");
    drop(map);
    let before = held();
    let mut map = LearnedIndex::new();
    keys[..half].iter().for_each(|key| _ = map.insert(key.clone(), 1_u64));
    let ours_insert = mops(half, || keys[half..].iter().filter(|key| map.insert((*key).clone(), 1).is_none()).count() as u64);
    let ours_bytes = (held() - before) / keys.len();
    let ours = mops(probes.len(), || probes.iter().map(|key| map.get(key.view()).expect("it is there")).sum());
    let longest = map.stats().structural_time_max;
    let ours_delete = mops(half, || keys[..half].iter().filter_map(|key| map.remove(key.view())).sum());
    println!("{name:10} omendb   {ours:6.2} {ours_insert:6.2} {ours_delete:6.2} {ours_bytes}; longest change {longest:?}");
    println!("{name:10} ratio    {:6.2} {:6.2} {:6.2}", ours / get, ours_insert / insert, ours_delete / delete);
}
