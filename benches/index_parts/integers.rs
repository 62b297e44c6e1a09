//! Integer keys: every workload on every set for every peer.
//!
//! All peers are loaded at once and take turns at reading, so that whatever else the machine does hits all of them.

use std::collections::BTreeMap;

use omendb::index::LearnedIndex;

use super::Options;
use super::clock::{mops, now_ns, process_mops};
use super::figures::{self, Figures};
use super::memory::{held, settle, touch};
use super::peers::{Blart, Peer, Skip, value_of};
use super::sets::{NAMES, Random, integers};

/// Look-ups a measurement makes.
const PROBES: usize = 1_000_000;
/// Inserts that are timed one by one.
const TIMED_INSERTS: usize = 200_000;
/// Rounds in which peers read by turns.
const ROUNDS: usize = 3;

/// Bytes a key that a run needs at most: all peers at once.
const BYTES_PER_KEY: usize = 256;

/// Runs the sets that are wanted.
pub fn run(options: &Options) {
    for name in NAMES.into_iter().filter(|name| options.wants(name)) {
        let keys = integers(name, options.keys);
        println!("\n{} keys; Mops of thread CPU time, bytes a key, microseconds of one insert", keys.len());
        let work = &Work::new(keys);
        touch(work.keys.len() * BYTES_PER_KEY);
        let mut all = [
            Figures::of("omendb"),
            Figures::of("BTreeMap"),
            Figures::of("blart"),
            Figures::of("indexset"),
            Figures::of("skiplist"),
            Figures::of("sorted"),
            Figures::of("pgm_index"),
        ];
        let [ours, btree, blart, indexset, skip, sorted, pgm] = &mut all;
        read(work, ours, btree, (!options.quick).then_some([blart, indexset, skip]));
        write::<LearnedIndex<u64, u64>>(work, ours);
        write::<BTreeMap<u64, u64>>(work, btree);
        if options.quick {
            figures::print(name, &all[..2], options.raw);
            continue;
        }
        write::<Blart>(work, blart);
        write::<indexset::BTreeMap<u64, u64>>(work, indexset);
        write::<Skip>(work, skip);
        arrays(work, sorted, pgm);
        figures::print(name, &all, options.raw);
    }
}

struct Work {
    keys: Vec<u64>,
    /// Keys that are there, at random.
    probes: Vec<u64>,
    /// Keys that are there, a few of them most of the time.
    skewed: Vec<u64>,
    /// Mostly not there.
    absent: Vec<u64>,
    shuffled: Vec<u64>,
}

impl Work {
    fn new(keys: Vec<u64>) -> Self {
        let random = &mut Random(7);
        let probes = (0..PROBES).map(|_| keys[random.below(keys.len())]).collect();
        let skewed = (0..PROBES).map(|_| keys[(keys.len() as f64).powf(random.unit()) as usize % keys.len()]).collect();
        let absent = (0..PROBES).map(|_| keys[random.below(keys.len())].wrapping_add(1)).collect();
        let mut shuffled = keys.clone();
        random.shuffle(&mut shuffled);
        Self { keys, probes, skewed, absent, shuffled }
    }
}

fn read(work: &Work, ours: &mut Figures, btree: &mut Figures, others: Option<[&mut Figures; 3]>) {
    let index = load::<LearnedIndex<u64, u64>>(work, ours);
    let map = load::<BTreeMap<u64, u64>>(work, btree);
    let mut others = others.map(|[blart, indexset, skip]| {
        let maps = (load::<Blart>(work, blart), load::<indexset::BTreeMap<u64, u64>>(work, indexset), load::<Skip>(work, skip));
        ([blart, indexset, skip], maps)
    });
    for round in 0..ROUNDS {
        read_once(&index, work, ours);
        read_once(&map, work, btree);
        // The others do not decide a goal of ratios, and take long.
        if let (Some(([a, b, c], (blart, indexset, skip))), true) = (&mut others, round % 2 == 0) {
            read_once(blart, work, a);
            read_once(indexset, work, b);
            read_once(skip, work, c);
        }
    }
    let stats = index.stats();
    ours.add("hits", 100.0 * stats.hits as f64 / (stats.hits + stats.misses).max(1) as f64);
}

fn load<P: Peer>(work: &Work, figures: &mut Figures) -> P {
    settle();
    let before = held();
    let mut loaded = None;
    figures.add(
        "load",
        process_mops(work.keys.len(), || {
            loaded = Some(P::load(&work.keys));
            0
        }),
    );
    figures.add("bytes_load", (held() - before) as f64 / work.keys.len() as f64);
    loaded.expect("just loaded")
}

fn read_once<P: Peer>(map: &P, work: &Work, figures: &mut Figures) {
    let look_up = |probes: &[u64]| {
        mops(probes.len(), || probes.iter().fold(0_u64, |sum, key| sum.wrapping_add(map.get(*key).unwrap_or(1))))
    };
    figures.add("get", look_up(&work.probes));
    figures.add("zipf", look_up(&work.skewed));
    figures.add("absent", look_up(&work.absent));
    figures.add("dependent", dependent(map, &work.probes[..PROBES / 4]));
    if P::BATCHES {
        figures.add("batch", mops(PROBES, || work.probes.chunks(64).fold(0, |sum, keys| sum ^ map.get_batch(keys))));
    }
    let scans = &work.probes[..PROBES / 10];
    figures.add("scan100", mops(scans.len(), || scans.iter().fold(0_u64, |sum, key| sum.wrapping_add(map.scan(*key, 100)))));
    figures.add("full", mops(work.keys.len(), || map.sum()));
}

/// Each key depends on the value before.
fn dependent<P: Peer>(map: &P, probes: &[u64]) -> f64 {
    mops(probes.len(), || {
        let mut last = 0;
        for key in probes {
            let value = map.get(*key ^ (last & 1));
            last = value.map_or(0, |value| (value ^ *key ^ 0x5555) & 1);
        }
        last
    })
}

fn write<P: Peer>(work: &Work, figures: &mut Figures) {
    settle();
    let keys = &work.keys;
    let before = held();
    let half = keys.len() / 2;
    let mut sorted = work.shuffled[..half].to_vec();
    sorted.sort_unstable();
    let mut map = P::load(&sorted);
    drop(sorted);
    let rest = &work.shuffled[half..];
    let (plain, timed) = rest.split_at(rest.len().saturating_sub(TIMED_INSERTS));
    figures.add(
        "insert",
        mops(plain.len(), || {
            plain.iter().for_each(|key| map.insert(*key, value_of(*key)));
            0
        }),
    );
    one_by_one(&mut map, timed, figures);
    figures.add("bytes_insert", (held() - before) as f64 / keys.len() as f64);
    let mixed = mops(PROBES, || {
        work.probes.chunks_exact(2).fold(0_u64, |sum, pair| {
            map.insert(pair[0].wrapping_add(3), 1);
            sum.wrapping_add(map.get(pair[1]).unwrap_or(1))
        })
    });
    figures.add("mixed", mixed);
    let victims = &work.shuffled[..keys.len() / 2];
    figures.add("delete", mops(victims.len(), || victims.iter().map(|key| u64::from(map.remove(*key))).sum()));
    let longest = map.longest_change_us();
    drop(map);

    settle();
    let before = held();
    let mut map = P::load(&keys[..1]);
    let append = mops(keys.len(), || {
        keys[1..].iter().for_each(|key| map.insert(*key, value_of(*key)));
        0
    });
    figures.add("append", append);
    figures.add("bytes_append", (held() - before) as f64 / keys.len() as f64);
    if let Some((first, second)) = longest.zip(map.longest_change_us()) {
        figures.add("longest", first.max(second));
    }
}

fn one_by_one<P: Peer>(map: &mut P, keys: &[u64], figures: &mut Figures) {
    let mut times: Vec<u64> = keys
        .iter()
        .map(|key| {
            let began = now_ns();
            map.insert(*key, value_of(*key));
            now_ns() - began
        })
        .collect();
    times.sort_unstable();
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        figures.add(name, times[((times.len() - 1) as f64 * part) as usize] as f64 / 1e3);
    }
}

fn arrays(work: &Work, sorted: &mut Figures, pgm: &mut Figures) {
    let (keys, probes) = (&work.keys, &work.probes);
    let learned = pgm_index::PGMIndex::new(keys.clone(), 64);
    for _ in 0..ROUNDS {
        sorted.add("get", mops(PROBES, || probes.iter().map(|key| keys.partition_point(|probe| probe < key) as u64).sum()));
        pgm.add("get", mops(PROBES, || probes.iter().map(|key| learned.get(*key).unwrap_or(0) as u64).sum()));
    }
}
