//! Random operation sequences on the learned index, compared with a `BTreeMap`, and held to the bounds of docs/index.md.
#![no_main]

use std::collections::BTreeMap;
use std::ops::Bound;

use libfuzzer_sys::fuzz_target;
use omendb::index::{Cursor, Entry, IndexKey, KeyBytes, LearnedIndex};

/// Bytes an integer key and its value may take, of the most that there were at a time, and those of an index with few keys.
const BYTES_PER_KEY_MAX: usize = 64;
const BYTES_MIN: usize = 16 << 10;
/// Where an index was cut and joined again, a block and a leaf may stay nearly empty until their keys go.
const BYTES_PER_CUT_MAX: usize = 8 << 10;
/// Structural changes that an operation on one key may bring about on average, in thousandths, and a few besides.
const CHANGES_PER_MILLE_MAX: u64 = 250;
const CHANGES_MIN: u64 = 64;

/// Nine bytes an operation: what to do, and a key or a stride.
fn run<K: IndexKey>(data: &[u8], make: impl Fn(u64) -> K) {
    let mut index = LearnedIndex::<K, u64>::new();
    let mut model = BTreeMap::new();
    let (mut most, mut changed, mut cuts) = (0, 0, 0);
    for (stamp, operation) in data.chunks_exact(9).enumerate() {
        let stamp = stamp as u64;
        let number = u64::from_le_bytes(operation[1..9].try_into().expect("eight of nine bytes"));
        let key = make(number);
        match operation[0] % 10 {
            0 => assert_eq!(index.insert(key.clone(), stamp), model.insert(key, stamp)),
            1 => assert_eq!(index.remove(key.view()), model.remove(&key)),
            2 => {
                for i in 0..200 {
                    let key = make(number.wrapping_add(i << (operation[0] / 10)));
                    assert_eq!(index.insert(key.clone(), stamp), model.insert(key, stamp));
                }
            }
            3 => {
                let keys: Vec<K> = model.range(key..).take(200).map(|(key, _)| key.clone()).collect();
                keys.iter().for_each(|key| assert_eq!(index.remove(key.view()), model.remove(key)));
            }
            4 => assert_eq!(index.get(key.view()), model.get(&key).copied()),
            5 => match index.entry(key.clone()) {
                Entry::Occupied(entry) => assert_eq!(Some(entry.remove()), model.remove(&key)),
                Entry::Vacant(entry) => {
                    *entry.insert(stamp) += 1;
                    assert_eq!(model.insert(key, stamp + 1), None);
                }
            },
            6 => {
                let mut cursor = Cursor::at_lower(Bound::Excluded(key.view()));
                for (_, expected) in model.range((Bound::Excluded(key.clone()), Bound::Unbounded)).take(150) {
                    assert_eq!(cursor.next(&index).map(|(_, value)| value), Some(*expected));
                }
                let mut cursor = Cursor::at_upper(Bound::Included(key.view()));
                for (_, expected) in model.range(..=key).rev().take(150) {
                    assert_eq!(cursor.prev(&index).map(|(_, value)| value), Some(*expected));
                }
            }
            7 => {
                let ours = index.range(Bound::Included(key.view()), Bound::Unbounded);
                assert!(
                    ours.clone()
                        .take(150)
                        .map(|(_, value)| value)
                        .eq(model.range(key.clone()..).take(150).map(|(_, value)| *value))
                );
                assert!(
                    ours.rev().take(150).map(|(_, value)| value).eq(model.range(key..).rev().take(150).map(|(_, value)| *value))
                );
            }
            8 => {
                let keys: Vec<K> = (0..100).map(|i| make(number.wrapping_add(i << (operation[0] / 10)))).collect();
                let mut values = [None; 100];
                index.get_batch_keys(&keys, &mut values);
                assert!(keys.iter().map(|key| model.get(key).copied()).eq(values));
            }
            _ => {
                let high = index.split_off(key.view());
                index.append(high);
                cuts += 1;
            }
        }
        most = most.max(model.len());
        changed += if matches!(operation[0] % 10, 2 | 3) { 200 } else { 1 };
    }
    index.check();
    if K::EXACT {
        let stats = index.stats();
        let changes = stats.splits + stats.retrains + stats.merges + stats.appends;
        assert!(changes <= CHANGES_MIN + changed * CHANGES_PER_MILLE_MAX / 1000, "{changes} changes by {changed} operations");
        let size = size_of::<(K, u64)>() / 16;
        let allowed = BYTES_MIN + cuts * BYTES_PER_CUT_MAX + size * BYTES_PER_KEY_MAX * most;
        assert!(index.bytes() <= allowed, "{} bytes for {most} keys", index.bytes());
    }
    assert!(index.iter().map(|(_, value)| value).eq(model.values().copied()));
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 3 {
        0 => run(data, |number| number),
        1 => run(data, |number| u128::from(number) << (number % 65)),
        _ => run(data, |number| KeyBytes::from(&number.to_be_bytes().repeat(3)[..(number % 24) as usize + 1])),
    }
});
