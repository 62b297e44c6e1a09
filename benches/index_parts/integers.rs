//! Integer keys: every workload on every set for every peer.

use std::collections::BTreeMap;

use omendb::index::LearnedIndex;

use super::clock::{mops, now_ns};
use super::memory::held;
use super::peers::{Blart, Peer, Skip, value_of};
use super::sets::{NAMES, Random, integers};

/// Look-ups a measurement makes.
const PROBES: usize = 2_000_000;
/// Inserts that are timed one by one.
const TIMED_INSERTS: usize = 400_000;

/// Runs the sets whose names `sets` contains.
pub fn run(count: usize, sets: &str) {
    for name in NAMES {
        if sets == "all" || sets.contains(name) {
            let keys = integers(name, count);
            println!("\n{name}: {} keys; Mops of thread CPU time", keys.len());
            header();
            let work = &Work::new(keys);
            measure::<LearnedIndex<u64, u64>>(work);
            batched(work);
            measure::<BTreeMap<u64, u64>>(work);
            if !sets.contains("quick") {
                measure::<Blart>(work);
                measure::<indexset::BTreeMap<u64, u64>>(work);
                measure::<Skip>(work);
                sorted_array(work);
            }
        }
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

fn header() {
    println!(
        "{:9} {:>6} {:>6} {:>6} {:>6} {:>6} | {:>6} {:>6} {:>6} {:>6} | {:>6} {:>6} | {:>6} {:>6} {:>6} | {:>22}",
        "",
        "get",
        "zipf",
        "absent",
        "depend",
        "load",
        "insert",
        "append",
        "mixed",
        "delete",
        "scan100",
        "full",
        "B bulk",
        "B ins",
        "B app",
        "insert us p50/99/99.9/max"
    );
}

fn measure<P: Peer>(work: &Work) {
    let keys = &work.keys;
    let before = held();
    let mut loaded = None;
    let load = mops(keys.len(), || {
        loaded = Some(P::load(keys));
        0
    });
    let map = loaded.expect("just loaded");
    let bytes_bulk = (held() - before) as f64 / keys.len() as f64;
    let look_up = |probes: &[u64]| {
        mops(probes.len(), || probes.iter().fold(0_u64, |sum, key| sum.wrapping_add(map.get(*key).unwrap_or(1))))
    };
    let (get, zipf, absent) = (look_up(&work.probes), look_up(&work.skewed), look_up(&work.absent));
    let depend = dependent(&map, &work.probes);
    let scans = &work.probes[..PROBES / 10];
    let scan = mops(scans.len(), || scans.iter().fold(0_u64, |sum, key| sum.wrapping_add(map.scan(*key, 100))));
    let full = mops(keys.len(), || map.sum());
    drop(map);

    let before = held();
    let half = keys.len() / 2;
    let mut sorted = work.shuffled[..half].to_vec();
    sorted.sort_unstable();
    let mut map = P::load(&sorted);
    drop(sorted);
    let rest = &work.shuffled[half..];
    let (plain, timed) = rest.split_at(rest.len().saturating_sub(TIMED_INSERTS));
    let insert = mops(plain.len(), || {
        plain.iter().for_each(|key| map.insert(*key, value_of(*key)));
        0
    });
    let tails = one_by_one(&mut map, timed);
    let bytes_insert = (held() - before) as f64 / keys.len() as f64;
    let mixed = mops(PROBES, || {
        work.probes.chunks_exact(2).fold(0_u64, |sum, pair| {
            map.insert(pair[0].wrapping_add(3), 1);
            sum.wrapping_add(map.get(pair[1]).unwrap_or(1))
        })
    });
    let victims = &work.shuffled[..keys.len() / 2];
    let delete = mops(victims.len(), || victims.iter().map(|key| u64::from(map.remove(*key))).sum());
    drop(map);

    let before = held();
    let mut map = P::load(&keys[..1]);
    let append = mops(keys.len(), || {
        keys[1..].iter().for_each(|key| map.insert(*key, value_of(*key)));
        0
    });
    let bytes_append = (held() - before) as f64 / keys.len() as f64;
    println!(
        "{:9} {get:6.2} {zipf:6.2} {absent:6.2} {depend:6.2} {load:6.1} | {insert:6.2} {append:6.1} {mixed:6.2} {delete:6.2} | {scan:6.2} {full:6.0} | {bytes_bulk:6.1} {bytes_insert:6.1} {bytes_append:6.1} | {tails:>22}",
        P::NAME
    );
}

/// Each key depends on the value before.
fn dependent<P: Peer>(map: &P, probes: &[u64]) -> f64 {
    let probes = &probes[..PROBES / 4];
    mops(probes.len(), || {
        let mut last = 0;
        for key in probes {
            let value = map.get(*key ^ (last & 1));
            last = value.map_or(0, |value| (value ^ *key ^ 0x5555) & 1);
        }
        last
    })
}

fn one_by_one<P: Peer>(map: &mut P, keys: &[u64]) -> String {
    let mut times: Vec<u64> = keys
        .iter()
        .map(|key| {
            let began = now_ns();
            map.insert(*key, value_of(*key));
            now_ns() - began
        })
        .collect();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / 1e3;
    format!("{:.2}/{:.2}/{:.2}/{:.0}", at(0.5), at(0.99), at(0.999), at(1.0))
}

fn batched(work: &Work) {
    let index = <LearnedIndex<u64, u64> as Peer>::load(&work.keys);
    let mut values = [None; 64];
    let batch = mops(work.probes.len(), || {
        work.probes.chunks(64).fold(0_u64, |sum, keys| {
            index.get_batch(keys, &mut values[..keys.len()]);
            values.iter().fold(sum, |sum, value| sum.wrapping_add(value.unwrap_or(1)))
        })
    });
    let mut grown = <LearnedIndex<u64, u64> as Peer>::load(&work.keys[..1]);
    for key in &work.shuffled {
        grown.insert(*key, value_of(*key));
    }
    let (single, stats) = (index.stats(), grown.stats());
    let hits = single.hits as f64 / (single.hits + single.misses).max(1) as f64;
    println!(
        "  batch of 64 {batch:.1}; own count {:.1} B/key loaded, {:.1} grown; fill {} of 1000; {} leaves, {} blocks, inner {} KB; splits {} fits {} longest change {:?}; in predicted line {:.0} %",
        index.bytes() as f64 / index.len() as f64,
        grown.bytes() as f64 / grown.len() as f64,
        stats.leaf_fill_per_mille,
        stats.leaves,
        stats.blocks,
        stats.inner_bytes / 1024,
        stats.splits,
        stats.retrains,
        stats.structural_time_max,
        hits * 100.0,
    );
}

fn sorted_array(work: &Work) {
    let keys = &work.keys;
    let probes = &work.probes;
    let get = mops(probes.len(), || probes.iter().map(|key| keys.partition_point(|probe| probe < key) as u64).sum());
    println!("{:9} {get:6.2}", "sorted");
    let pgm = pgm_index::PGMIndex::new(keys.clone(), 64);
    let get = mops(probes.len(), || probes.iter().map(|key| pgm.get(*key).unwrap_or(0) as u64).sum());
    println!("{:9} {get:6.2}", "pgm_index");
}
