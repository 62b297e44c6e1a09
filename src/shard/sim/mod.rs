//! The simulator's engine test: random transactions over several simulated cores, crashes at any await, restarts on another
//! number of cores, and a model that knows what must be there.
//!
//! Every failure names its seed; `OMENDB_SIM_SEED=<seed>` replays it alone, `OMENDB_SIM_SEEDS=<count>` says how many to run.

mod damage;
mod duty;
mod history;
pub(crate) mod lists;
mod machine;
pub(crate) mod sabotage;
mod two_phase;
mod workload;

use std::cell::RefCell;
use std::rc::Rc;

use crate::runtime::sim::{End, Sim};
pub(crate) use crate::shard::engine::uninstall_all;
use history::History;
use sabotage::Sabotage;

/// Seeds of an ordinary run of the test.
const SEEDS_DEFAULT: u64 = 1000;
/// Parts the seeds are divided into.
const PARTS: u64 = 4;
/// Boots of one seed: each but the last is likely to end in a crash.
const BOOTS: u32 = 4;

/// Runs one seed through its boots; an error says what was found wrong.
fn run_seed(seed: u64, sabotage: Option<Sabotage>) -> Result<(), String> {
    let _active = sabotage::activate(sabotage);
    let mut sim = Sim::new(seed);
    if sabotage.is_some() {
        // A planted bug may make everybody wait for ever; no sound run takes so long.
        sim.config.steps_max = 2_000_000;
    }
    let history = Rc::new(RefCell::new(History::default()));
    for boot in 0..BOOTS {
        let last = boot + 1 == BOOTS;
        sim.config.crash_one_in = (!last).then(|| 500 + sim.random_u64() % 20_000);
        sim.config.process_crash_one_in = 3;
        let cores = 1 + (sim.random_u64() % 4) as usize;
        let options = machine::BootOptions::random(&sim, last);
        let problems = Rc::new(RefCell::new(Vec::new()));
        let machine = machine::Machine::new(cores, options, history.clone(), problems.clone());
        let run = sim.run(cores, |core| machine.clone().core_main(core));
        crate::shard::engine::uninstall_all();
        if let Some(problem) = problems.borrow().first() {
            return Err(format!("boot {boot}, {cores} cores: {problem}"));
        }
        match run.end {
            End::Completed => {}
            // What was under way may or may not be there: the next boot checks.
            End::Crashed if !last => {}
            other => return Err(format!("boot {boot}, {cores} cores: the run ended with {other:?} after {} polls", run.steps)),
        }
    }
    Ok(())
}

/// The seeds of one part of the test: parts run as processes of their own, side by side.
fn seeds(part: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("OMENDB_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("OMENDB_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT)).filter(|seed| seed % PARTS == part).collect(),
    }
}

/// Acknowledged transactions survive, and nothing is torn.
fn check_part(part: u64) {
    let mut sum = history::Totals::default();
    for seed in seeds(part) {
        if let Err(problem) = run_seed(seed, None) {
            panic!("seed {seed}: {problem}\nreplay: OMENDB_SIM_SEED={seed} cargo nextest run --lib shard::sim");
        }
        let totals = history::take_totals();
        sum.add(&totals);
    }
    eprintln!("{sum:?}");
    assert!(sum.commits > 0, "the workload commits");
    let rare: [&[u64]; 3] = [
        &[sum.large, sum.deadlocks, sum.put_off, sum.disk_full, sum.disk_failures],
        &[sum.changes.0, sum.changes.1, sum.decided.0, sum.decided.1, sum.found_prepared],
        &[sum.lists.0, sum.lists.1],
    ];
    assert!(sum.commits < 5000 || rare.concat().iter().all(|count| *count > 0), "what is rare has happened: {sum:?}");
}

#[test]
fn transactions_survive_crashes_part_1() {
    check_part(0);
}

#[test]
fn transactions_survive_crashes_part_2() {
    check_part(1);
}

#[test]
fn transactions_survive_crashes_part_3() {
    check_part(2);
}

#[test]
fn transactions_survive_crashes_part_4() {
    check_part(3);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut sim = Sim::new(seed);
        let machine = machine::Machine::new(3, machine::BootOptions::random(&sim, true), Rc::default(), Rc::default());
        let run = sim.run(3, |core| machine.clone().core_main(core));
        crate::shard::engine::uninstall_all();
        (run.end, run.steps, run.trace)
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7).2, trace(8).2);
}

/// Each planted bug is found within so many seeds.
fn is_caught(sabotage: Sabotage, seeds: u64) {
    is_caught_among(sabotage, 1..=seeds);
}

fn is_caught_among(sabotage: Sabotage, seeds: std::ops::RangeInclusive<u64>) {
    let found = seeds.clone().find_map(|seed| run_seed(seed, Some(sabotage)).err().map(|problem| (seed, problem)));
    let _ = history::take_totals();
    let (seed, problem) = found.unwrap_or_else(|| panic!("{sabotage:?} was not noticed in the seeds {seeds:?}"));
    eprintln!("{sabotage:?} caught by seed {seed}: {problem}");
}

#[test]
fn acknowledging_before_the_flush_is_caught() {
    is_caught(Sabotage::AcknowledgeBeforeFlush, 200);
}

#[test]
fn skipping_a_participant_is_caught() {
    is_caught(Sabotage::SkipParticipant, 200);
}

#[test]
fn telling_of_what_is_not_durable_is_caught() {
    is_caught(Sabotage::TellOfUndurable, 200);
}

#[test]
fn keeping_what_was_never_synced_is_caught() {
    is_caught(Sabotage::KeepUnsynced, 200);
}

#[test]
fn cutting_one_timestamp_too_far_is_caught() {
    is_caught(Sabotage::CutOffByOne, 200);
}

#[test]
fn committing_without_validation_is_caught() {
    is_caught(Sabotage::SkipValidation, 200);
}

#[test]
fn ignoring_guards_is_caught() {
    is_caught(Sabotage::SkipGuard, 200);
}

#[test]
fn updating_a_stale_version_is_caught() {
    is_caught(Sabotage::StaleUpdate, 200);
}

#[test]
fn forgetting_prepared_transactions_in_a_checkpoint_is_caught() {
    is_caught(Sabotage::CheckpointForgetsPrepared, 200);
}

#[test]
fn bringing_a_prepared_transaction_back_in_part_is_caught() {
    is_caught(Sabotage::ForgottenIntents, 200);
}

#[test]
fn losing_a_waiter_is_caught() {
    is_caught(Sabotage::LostWaiter, 200);
}

#[test]
fn forgetting_a_savepoint_is_caught() {
    is_caught(Sabotage::ForgottenSavepoint, 200);
}

#[test]
fn moving_tablets_under_a_checkpoint_is_caught() {
    // It takes a move at the worst moment, which few seeds have: the search begins not far from one.
    is_caught_among(Sabotage::CheckpointDuringMoves, 550..=1550);
}

#[test]
fn losing_an_addition_is_caught() {
    is_caught(Sabotage::LostAddition, 200);
}

#[test]
fn looking_without_having_the_row_is_caught() {
    is_caught(Sabotage::LookWithoutTurn, 200);
}

#[test]
fn looking_behind_a_lock_is_caught() {
    is_caught(Sabotage::LookBehindLock, 200);
}

#[test]
fn collecting_too_early_is_caught() {
    is_caught(Sabotage::EarlyCollection, 200);
}

#[test]
fn forgetting_to_hold_back_visibility_is_caught() {
    is_caught(Sabotage::NoUndecidedBound, 200);
}
