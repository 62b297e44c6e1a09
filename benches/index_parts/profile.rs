//! One workload of the index alone, again and again, for a profiler to look at: `scripts/index-profile` does.

use omendb::index::LearnedIndex;

use super::peers::{Peer, value_of};
use super::sets::{Random, integers};

/// Look-ups of one round.
const PROBES: usize = 1_000_000;
/// Rounds of look-ups.
const ROUNDS: usize = 20;

/// Runs `workload` on a set of keys.
#[inline(never)]
pub fn run(workload: &str, set: &str, count: usize) {
    let mut keys = integers(set, count);
    let random = &mut Random(7);
    if workload == "insert" {
        random.shuffle(&mut keys);
        let (mut sorted, rest) = (keys[..count / 2].to_vec(), &keys[count / 2..]);
        sorted.sort_unstable();
        let mut index = <LearnedIndex<u64, u64> as Peer>::load(&sorted);
        return profiled_inserts(&mut index, rest);
    }
    let probes: Vec<u64> = (0..PROBES).map(|_| keys[random.below(keys.len())]).collect();
    let index = <LearnedIndex<u64, u64> as Peer>::load(&keys);
    for _ in 0..ROUNDS {
        let sum = match workload {
            "dependent" => profiled_look_ups::<true>(&index, &probes),
            _ => profiled_look_ups::<false>(&index, &probes),
        };
        std::hint::black_box(sum);
    }
}

#[inline(never)]
fn profiled_look_ups<const DEPENDENT: bool>(index: &LearnedIndex<u64, u64>, probes: &[u64]) -> u64 {
    let mut last = 0;
    for key in probes {
        let key = if DEPENDENT { *key ^ (last & 1) } else { *key };
        let value = index.get(&key).map_or(0, |value| value ^ value_of(key));
        last = if DEPENDENT { value & 1 } else { last + value };
    }
    last
}

#[inline(never)]
fn profiled_inserts(index: &mut LearnedIndex<u64, u64>, keys: &[u64]) {
    keys.iter().for_each(|key| _ = index.insert(*key, value_of(*key)));
}
