//! Random operation sequences, favouring structural changes, for every key type.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use crate::index::lanes::tests::at_each_level;
use crate::index::{Cursor, Entry, IndexKey, KeyBytes, LearnedIndex};

/// One step. Keys are drawn as numbers and turned into the key type under test.
#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    InsertRun { from: u64, stride: u64, count: u16 },
    Remove(u64),
    RemoveRange { from: u64, count: u16 },
    Get(u64),
    Update(u64),
    GetOrInsert(u64),
    EntryToggle(u64),
    Scan { from: u64, count: u16, included: bool },
    ScanBack { from: u64, count: u16, included: bool },
    Range { from: u64, to: u64 },
    Batch { from: u64, stride: u64, count: u8 },
    SplitAppend(u64),
    SplitKeepLow(u64),
    SplitRank(u64),
    PopFirst,
    PopLast,
    Reload,
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..5_000_u64,
        2 => any::<u64>(),
        1 => Just(0),
        1 => Just(u64::MAX),
        1 => (u64::MAX - 2_000)..=u64::MAX,
        1 => (0..64_u32).prop_map(|bit| 1 << bit),
        1 => (1 << 53)..((1 << 53) + 500_u64),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let stride = prop_oneof![Just(1_u64), Just(3), Just(1 << 20), Just(1 << 40), Just(u64::MAX - 1)];
    prop_oneof![
        6 => number().prop_map(Step::Insert),
        6 => (number(), stride.clone(), 1..1500_u16).prop_map(|(from, stride, count)| Step::InsertRun { from, stride, count }),
        3 => number().prop_map(Step::Remove),
        4 => (number(), 1..1500_u16).prop_map(|(from, count)| Step::RemoveRange { from, count }),
        4 => number().prop_map(Step::Get),
        1 => number().prop_map(Step::Update),
        2 => number().prop_map(Step::GetOrInsert),
        2 => number().prop_map(Step::EntryToggle),
        2 => (number(), 1..300_u16, any::<bool>()).prop_map(|(from, count, included)| Step::Scan { from, count, included }),
        2 => (number(), 1..300_u16, any::<bool>()).prop_map(|(from, count, included)| Step::ScanBack { from, count, included }),
        2 => (number(), number()).prop_map(|(from, to)| Step::Range { from, to }),
        1 => (number(), stride, any::<u8>()).prop_map(|(from, stride, count)| Step::Batch { from, stride, count }),
        1 => number().prop_map(Step::SplitAppend),
        1 => number().prop_map(Step::SplitKeepLow),
        1 => number().prop_map(Step::SplitRank),
        1 => Just(Step::PopFirst),
        1 => Just(Step::PopLast),
        1 => Just(Step::Reload),
    ]
}

/// Makes a key of the type under test; order need not be kept, distinctness neither.
trait TestKey: IndexKey {
    fn make(number: u64) -> Self;
}

impl TestKey for u64 {
    fn make(number: u64) -> Self {
        number
    }
}

impl TestKey for i64 {
    fn make(number: u64) -> Self {
        number as i64
    }
}

impl TestKey for u128 {
    fn make(number: u64) -> Self {
        match number % 3 {
            0 => u128::from(number),
            1 => u128::MAX - u128::from(number),
            _ => u128::from(number) << 61,
        }
    }
}

/// Strings with shared prefixes, of many lengths, some a prefix of others, some with trailing zero bytes.
impl TestKey for KeyBytes {
    fn make(number: u64) -> Self {
        let bytes = number.to_be_bytes();
        KeyBytes::from(match number % 7 {
            0 => bytes.to_vec(),
            1 => format!("https://www.example.org/{number}").into_bytes(),
            2 => format!("https://www.example.org/articles/of/the/day/{}", number / 49).into_bytes(),
            3 => vec![0; (number % 70) as usize],
            4 => bytes[..(number % 9) as usize].to_vec(),
            5 => [b"same-long-prefix-of-all-these-keys".as_slice(), &bytes].concat(),
            _ => bytes.repeat(5),
        })
    }
}

struct Pair<K: IndexKey> {
    index: LearnedIndex<K, u64>,
    model: BTreeMap<K, u64>,
    stamp: u64,
}

impl<K: TestKey> Pair<K> {
    fn insert(&mut self, key: K) {
        self.stamp += 1;
        assert_eq!(self.index.insert(key.clone(), self.stamp), self.model.insert(key, self.stamp));
    }

    fn scan(&self, mut cursor: Cursor<K>, count: usize, expected: impl Iterator<Item = (K, u64)>, forwards: bool) {
        let mut expected = expected.take(count);
        for _ in 0..count {
            let step = if forwards { cursor.next(&self.index) } else { cursor.prev(&self.index) };
            let step = step.map(|(key, value)| (K::from_view(K::ref_view(&key)), value));
            let done = step.is_none();
            assert_eq!(step, expected.next());
            if done {
                break;
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Insert(number) => self.insert(K::make(number)),
            Step::InsertRun { from, stride, count } => {
                for i in 0..u64::from(count) {
                    self.insert(K::make(from.wrapping_add(i.wrapping_mul(stride))));
                }
            }
            Step::Remove(number) => {
                let key = K::make(number);
                assert_eq!(self.index.remove(key.view()), self.model.remove(&key));
            }
            Step::RemoveRange { from, count } => {
                let keys: Vec<K> = self.model.range(K::make(from)..).take(count.into()).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    assert_eq!(self.index.remove(key.view()), self.model.remove(&key));
                    assert_eq!(self.index.remove(key.view()), None);
                }
            }
            Step::Get(number) => {
                let key = K::make(number);
                assert_eq!(self.index.get(key.view()), self.model.get(&key).copied());
                assert_eq!(self.index.contains_key(key.view()), self.model.contains_key(&key));
            }
            Step::Update(number) => {
                let key = K::make(number);
                match (self.index.get_mut(key.view()), self.model.get_mut(&key)) {
                    (Some(ours), Some(theirs)) => {
                        *ours = ours.wrapping_add(1);
                        *theirs = theirs.wrapping_add(1);
                    }
                    (None, None) => {}
                    (ours, theirs) => panic!("{ours:?} against {theirs:?}"),
                }
            }
            Step::GetOrInsert(number) => {
                let key = K::make(number);
                let known = self.model.contains_key(&key);
                let value = *self.model.entry(key.clone()).or_insert(number);
                assert_eq!(self.index.get_or_insert_with(key, || number), (&mut value.clone(), !known));
            }
            Step::EntryToggle(number) => self.toggle(K::make(number)),
            Step::Scan { .. } | Step::ScanBack { .. } | Step::Range { .. } | Step::Batch { .. } => self.read(step),
            _ => self.restructure(step),
        }
        assert_eq!(self.index.len(), self.model.len());
    }

    fn toggle(&mut self, key: K) {
        match self.index.entry(key.clone()) {
            Entry::Occupied(entry) => assert_eq!(Some(entry.remove()), self.model.remove(&key)),
            Entry::Vacant(entry) => {
                *entry.insert(7) = 8;
                assert_eq!(self.model.insert(key, 8), None);
            }
        }
    }

    fn read(&self, step: &Step) {
        match *step {
            Step::Scan { from, count, included } => {
                let key = K::make(from);
                let lower = if included { Bound::Included(key.view()) } else { Bound::Excluded(key.view()) };
                let owned = if included { Bound::Included(key.clone()) } else { Bound::Excluded(key.clone()) };
                let expected = self.model.range((owned, Bound::Unbounded)).map(|(key, value)| (key.clone(), *value));
                self.scan(Cursor::at_lower(lower), count.into(), expected, true);
            }
            Step::ScanBack { from, count, included } => {
                let key = K::make(from);
                let upper = if included { Bound::Included(key.view()) } else { Bound::Excluded(key.view()) };
                let owned = if included { Bound::Included(key.clone()) } else { Bound::Excluded(key.clone()) };
                let expected = self.model.range((Bound::Unbounded, owned)).rev().map(|(key, value)| (key.clone(), *value));
                self.scan(Cursor::at_upper(upper), count.into(), expected, false);
            }
            Step::Range { from, to } => {
                let (from, to) = (K::make(from), K::make(to));
                let ours = self.index.range(Bound::Included(from.view()), Bound::Excluded(to.view()));
                if from > to {
                    assert_eq!(ours.count(), 0);
                } else {
                    let theirs = self.model.range((Bound::Included(from.clone()), Bound::Excluded(to.clone())));
                    assert!(
                        ours.clone()
                            .map(|(key, value)| (K::from_view(K::ref_view(&key)), value))
                            .eq(theirs.clone().map(|(key, value)| (key.clone(), *value)))
                    );
                    assert!(ours.rev().map(|(_, value)| value).eq(theirs.rev().map(|(_, value)| *value)));
                }
            }
            Step::Batch { from, stride, count } => {
                let keys: Vec<K> = (0..u64::from(count)).map(|i| K::make(from.wrapping_add(i.wrapping_mul(stride)))).collect();
                let mut values = vec![None; keys.len()];
                self.index.get_batch_keys(&keys, &mut values);
                assert!(keys.iter().map(|key| self.model.get(key).copied()).eq(values));
            }
            _ => unreachable!("only reading steps come here"),
        }
    }

    fn restructure(&mut self, step: &Step) {
        match *step {
            Step::SplitAppend(number) => {
                let key = K::make(number);
                let high = self.index.split_off(key.view());
                assert_eq!(self.index.len() + high.len(), self.model.len());
                self.index.check();
                high.check();
                assert!(self.index.last().is_none_or(|(last, _)| K::ref_view(&last) < key.view()));
                assert!(high.first().is_none_or(|(first, _)| K::ref_view(&first) >= key.view()));
                self.index.append(high);
            }
            Step::SplitKeepLow(number) => {
                let key = K::make(number);
                let high = self.index.split_off(key.view());
                let model = self.model.split_off(&key);
                assert!(high.iter().map(|(_, value)| value).eq(model.values().copied()));
            }
            Step::SplitRank(number) => {
                let rank = (number % (self.model.len() as u64 + 1)) as usize;
                assert_eq!(self.index.nth(rank).map(|(_, value)| value), self.model.values().nth(rank).copied());
                let high = self.index.split_off_rank(rank);
                assert_eq!(self.index.len(), rank);
                self.index.append(high);
            }
            Step::PopFirst => assert_eq!(self.index.pop_first(), self.model.pop_first()),
            Step::PopLast => assert_eq!(self.index.pop_last(), self.model.pop_last()),
            Step::Reload => {
                self.index = LearnedIndex::bulk_load(self.model.iter().map(|(key, value)| (key.clone(), *value)));
            }
            _ => unreachable!("only structural steps come here"),
        }
    }

    fn check_all(&self) {
        self.index.check();
        assert!(
            self.index
                .iter()
                .map(|(key, value)| (K::from_view(K::ref_view(&key)), value))
                .eq(self.model.iter().map(|(key, value)| (key.clone(), *value)))
        );
        assert!(self.index.iter().rev().map(|(_, value)| value).eq(self.model.values().rev().copied()));
        assert_eq!(self.index.first().map(|(_, value)| value), self.model.values().next().copied());
        assert_eq!(self.index.last().map(|(_, value)| value), self.model.values().next_back().copied());
    }
}

/// At each level of the processor, with the same structure at the end.
fn agrees<K: TestKey>(steps: &[Step]) {
    let mut shapes = vec![];
    at_each_level(|| {
        let mut pair = Pair::<K> { index: LearnedIndex::new(), model: BTreeMap::new(), stamp: 0 };
        for step in steps {
            pair.apply(step);
        }
        pair.check_all();
        let stats = pair.index.stats();
        shapes.push((stats.inner_nodes, stats.leaves, stats.blocks, stats.splits, stats.merges, stats.retrains, stats.appends));
    });
    assert!(shapes.iter().all(|shape| *shape == shapes[0]), "{shapes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 128 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn u64_keys_agree_with_a_btree_map(steps in prop::collection::vec(step(), 1..60)) {
        agrees::<u64>(&steps);
    }

    #[test]
    fn i64_keys_agree_with_a_btree_map(steps in prop::collection::vec(step(), 1..60)) {
        agrees::<i64>(&steps);
    }

    #[test]
    fn u128_keys_agree_with_a_btree_map(steps in prop::collection::vec(step(), 1..60)) {
        agrees::<u128>(&steps);
    }

    #[test]
    fn byte_string_keys_agree_with_a_btree_map(steps in prop::collection::vec(step(), 1..60)) {
        agrees::<KeyBytes>(&steps);
    }
}

/// A cursor between whose steps the index changes must yield exactly the keys beyond its last one.
#[test]
fn a_cursor_survives_changes_between_its_steps() {
    let mut index: LearnedIndex<i64, u64> = (0..10_000).map(|i| (i * 2, i as u64)).collect();
    let mut cursor = Cursor::at_lower(Bound::Included(&1000));
    assert_eq!(cursor.next(&index), Some((1000, 500)));
    index.insert(1001, 1);
    assert_eq!(cursor.next(&index), Some((1001, 1)));
    index.remove(&1001);
    index.remove(&1002);
    assert_eq!(cursor.next(&index), Some((1004, 502)));
    assert_eq!(cursor.prev(&index), Some((1000, 500)));
    let high = index.split_off(&1003);
    assert_eq!(cursor.next(&index), None);
    index.append(high);
    assert_eq!(cursor.next(&index), Some((1004, 502)));
    index.clear();
    assert_eq!(cursor.next(&index), None);
    index.insert(5000, 3);
    assert_eq!(cursor.next(&index), Some((5000, 3)));
    assert_eq!(cursor.next(&index), None);
    index.insert(5001, 4);
    assert_eq!(cursor.next(&index), Some((5001, 4)));
}
