//! Sequences chosen to hurt must stay within the stated constants of memory and structural change.

use crate::index::lanes::tests::at_each_level;
use crate::index::{IndexKey, KeyBytes, LearnedIndex};

/// Bytes a key of 16 that no sequence of integers may exceed, once there are enough keys to speak of.
const BYTES_PER_KEY_MAX: usize = 64;
/// Structural changes a thousand inserts may bring about at most.
const CHANGES_PER_MILLE_MAX: u64 = 250;
const KEYS: u64 = if cfg!(miri) { 2_000 } else { 60_000 };

fn mixed(i: u64) -> u64 {
    let z = (i ^ (i >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn stays_bounded(keys: impl Iterator<Item = u64> + Clone) {
    at_each_level(|| stays_bounded_at_level(keys.clone()));
}

fn stays_bounded_at_level(keys: impl Iterator<Item = u64>) {
    let mut index = LearnedIndex::<u64, u64>::new();
    for key in keys {
        index.insert(key, key);
    }
    index.check();
    let stats = index.stats();
    let changes = stats.splits + stats.retrains + stats.merges + stats.appends;
    assert!(changes * 1000 <= CHANGES_PER_MILLE_MAX * index.len() as u64, "{changes} changes for {} keys", index.len());
    assert!(index.bytes() <= BYTES_PER_KEY_MAX * index.len(), "{} bytes for {} keys", index.bytes(), index.len());
    let keys: Vec<u64> = index.iter().map(|(key, _)| key).collect();
    for key in &keys {
        assert_eq!(index.remove(key), Some(*key));
    }
    assert!(index.is_empty());
    assert_eq!(index.stats().blocks, 0, "memory is returned");
}

#[test]
fn ascending() {
    stays_bounded(0..KEYS);
}

#[test]
fn descending_from_the_end_of_the_domain() {
    stays_bounded((0..KEYS).map(|i| u64::MAX - i));
}

#[test]
fn alternating_extremes() {
    stays_bounded((0..KEYS).map(|i| if i % 2 == 0 { i } else { u64::MAX - i }));
}

#[test]
fn from_the_middle_outwards() {
    stays_bounded((0..KEYS).map(|i| if i % 2 == 0 { (1 << 63) + i * 977 } else { (1 << 63) - i * 977 }));
}

#[test]
fn dense_bursts_at_random_scales() {
    stays_bounded((0..KEYS).map(|i| (mixed(i / 200) >> (mixed(i / 200 + 7) % 50)).wrapping_add(i % 200)));
}

#[test]
fn one_key_a_doubling_around_random_bases() {
    stays_bounded((0..KEYS).map(|i| mixed(i / 64).wrapping_add(1 << (i % 64))));
}

#[test]
fn doublings_with_a_dense_burst_inside() {
    stays_bounded((0..KEYS).map(|i| mixed(i / 128).wrapping_add(if i % 128 < 64 { 1 << (i % 64) } else { i % 64 })));
}

/// Dense bursts far from each other make leaves of one or two blocks: the cheapest way to many nodes.
fn nodes_come_and_go<K: IndexKey>(count: u64, make: impl Fn(u64) -> K) {
    let mut index = LearnedIndex::<K, u64>::new();
    let key = |i: u64| mixed(i / 130).wrapping_add(i % 130);
    let mut numbers: Vec<u64> = (0..count).map(key).collect();
    numbers.iter().for_each(|number| _ = index.insert(make(*number), *number));
    index.check();
    let nodes = index.stats().inner_nodes;
    assert!(nodes > 1 || cfg!(miri));
    numbers.sort_unstable();
    numbers.dedup();
    // From both ends inwards, so that neighbours become small at once.
    while numbers.len() > 1000 {
        let (gone, kept) = numbers.split_at(numbers.len() / 8);
        let (kept, others_gone) = kept.split_at(kept.len() - gone.len());
        for number in gone.iter().chain(others_gone) {
            assert_eq!(index.remove(make(*number).view()), Some(*number));
        }
        numbers = kept.to_vec();
        index.check();
        assert!(index.iter().map(|(_, value)| value).eq(numbers.iter().copied()));
    }
    assert!(index.stats().inner_nodes <= nodes.div_ceil(2));
}

#[test]
fn nodes_of_integers_come_and_go() {
    at_each_level(|| nodes_come_and_go(KEYS * 5, |number| number));
}

#[test]
fn nodes_of_byte_strings_come_and_go() {
    at_each_level(|| nodes_come_and_go(KEYS * 2, |number| KeyBytes::from(&number.to_be_bytes()[..])));
}

/// Keys chosen to agree in their digests and in their marks are still told apart, and from others that agree but are not there.
#[test]
fn byte_strings_alike_in_digest_and_mark_are_told_apart() {
    let mut index = LearnedIndex::<KeyBytes, u64>::new();
    // Nothing is shared by all, so digests are of the first seven bytes.
    for key in [b"a".as_slice(), b"z"] {
        index.insert(KeyBytes::from(key), 0);
    }
    let alike = (0_u64..).map(|number| KeyBytes::from(format!("mmmmmmmmmmmm{number:08}").into_bytes()));
    let alike: Vec<KeyBytes> = alike.filter(|key| KeyBytes::mark(key.view()) == 7).take(80).collect();
    for (value, key) in alike.iter().enumerate().step_by(2) {
        index.insert(key.clone(), value as u64);
    }
    index.check();
    let mut values = [None; 80];
    index.get_batch_keys(&alike, &mut values);
    for (value, key) in alike.iter().enumerate() {
        let expected = value.is_multiple_of(2).then_some(value as u64);
        assert_eq!(index.get(key.view()), expected);
        assert_eq!(values[value], expected);
    }
}
