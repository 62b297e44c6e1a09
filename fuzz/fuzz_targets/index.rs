//! Random operation sequences on the learned index, compared with a `BTreeMap`.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use omendb::index::{KeyBytes, LearnedIndex};

/// Nine bytes an operation: what to do, and a key or a stride.
fn run<K: omendb::index::IndexKey>(data: &[u8], make: impl Fn(u64) -> K) {
    let mut index = LearnedIndex::<K, u64>::new();
    let mut model = BTreeMap::new();
    for (stamp, operation) in data.chunks_exact(9).enumerate() {
        let stamp = stamp as u64;
        let number = u64::from_le_bytes(operation[1..9].try_into().expect("eight of nine bytes"));
        let key = make(number);
        match operation[0] % 6 {
            0 => assert_eq!(index.insert(key.clone(), stamp), model.insert(key, stamp)),
            1 => assert_eq!(index.remove(key.view()), model.remove(&key)),
            2 => {
                for i in 0..200 {
                    let key = make(number.wrapping_add(i << (operation[0] / 6)));
                    assert_eq!(index.insert(key.clone(), stamp), model.insert(key, stamp));
                }
            }
            3 => {
                let keys: Vec<K> = model.range(key..).take(200).map(|(key, _)| key.clone()).collect();
                keys.iter().for_each(|key| assert_eq!(index.remove(key.view()), model.remove(key)));
            }
            4 => assert_eq!(index.get(key.view()), model.get(&key).copied()),
            _ => {
                let high = index.split_off(key.view());
                index.append(high);
            }
        }
    }
    index.check();
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
