//! Damaged disks: bytes flipped in logs and checkpoints after a run, recovery until the corruption, and the run goes on.
//!
//! What is recovered must be a state that the bank was in: whole transfers only, on all cores alike, whatever was
//! acknowledged after it. From then on nothing more may go, and the next start needs no permission.

use std::cell::RefCell;
use std::rc::Rc;

use super::history::{self, History};
use super::machine::{BootOptions, Machine};
use crate::runtime::sim::{End, Sim};
use crate::wal::OnDamage;

/// Seeds of a run of the test.
const SEEDS: u64 = 120;

/// How often the test met what it is about.
#[derive(Debug, Default)]
struct Met {
    /// The damage cost nothing.
    harmless: u32,
    /// Acknowledged transfers were dropped.
    lost: u32,
    /// A damaged checkpoint was made good by the logs.
    rebuilt: u32,
    /// A damaged checkpoint left nothing whole.
    refused: u32,
    /// The machine crashed while it recovered from the damage.
    crashed: u32,
}

/// One boot; whether it ended in a crash.
fn boot(sim: &mut Sim, options: BootOptions, history: &Rc<RefCell<History>>) -> Result<bool, String> {
    let cores = 1 + (sim.random_u64() % 4) as usize;
    let problems = Rc::new(RefCell::new(Vec::new()));
    let machine = Machine::new(cores, options, history.clone(), problems.clone());
    let run = sim.run(cores, |core| machine.clone().core_main(core));
    crate::shard::engine::uninstall_all();
    if let Some(problem) = problems.borrow().first() {
        return Err(format!("{cores} cores: {problem}"));
    }
    match run.end {
        End::Completed => Ok(false),
        End::Crashed => Ok(true),
        other => Err(format!("{cores} cores: the run ended with {other:?} after {} polls", run.steps)),
    }
}

/// Flips one to three bytes of the logs or of the checkpoint. Whether the checkpoint was hit.
fn damage(sim: &Sim) -> bool {
    let paths = sim.with_disk(|disk| disk.paths());
    let of_kind = |kind: &str| paths.iter().filter(|path| path.extension().is_some_and(|end| end == kind)).collect::<Vec<_>>();
    let checkpoint = of_kind("data");
    let hits_checkpoint = !checkpoint.is_empty() && sim.random_u64().is_multiple_of(4);
    let files = if hits_checkpoint { checkpoint } else { of_kind("wal") };
    for _ in 0..=sim.random_u64() % 3 {
        let path = files[sim.random_u64() as usize % files.len()];
        let len = sim.with_disk(|disk| disk.contents(path)).expect("it is listed").len() as u64;
        // The beginning of a segment has records for certain.
        let area = if sim.random_u64().is_multiple_of(2) { len } else { len.min(30_000) };
        sim.with_disk(|disk| disk.corrupt(path, (sim.random_u64() % area) as usize));
    }
    hits_checkpoint
}

fn run_seed(seed: u64, met: &mut Met) -> Result<(), String> {
    let mut sim = Sim::new(seed);
    let history = Rc::new(RefCell::new(History::default()));
    let ordinary = BootOptions::random(&sim, false);
    boot(&mut sim, ordinary, &history)?;
    let hits_checkpoint = damage(&sim);
    let before = history.borrow().acknowledged.len();
    for attempt in 0.. {
        sim.config.crash_one_in = (attempt < 2 && sim.random_u64().is_multiple_of(2)).then(|| 200 + sim.random_u64() % 2_000);
        let mut options = BootOptions::random(&sim, false);
        options.on_damage = OnDamage::PassOver;
        match boot(&mut sim, options, &history) {
            Err(problem) if hits_checkpoint && problem.contains("restore it from a backup") => {
                met.refused += 1;
                return Ok(());
            }
            crashed => met.crashed += u32::from(crashed? && !history.borrow().accepted_losses),
        }
        if history.borrow().accepted_losses {
            break;
        }
    }
    let lost = history.borrow().lost;
    assert!(lost <= before);
    met.lost += u32::from(lost > 0);
    met.harmless += u32::from(lost == 0);
    met.rebuilt += u32::from(hits_checkpoint);
    sim.config.crash_one_in = None;
    let ordinary = BootOptions::random(&sim, true);
    boot(&mut sim, ordinary, &history).map(drop).map_err(|problem| format!("after the recovery: {problem}"))
}

#[test]
fn what_is_recovered_until_the_corruption_is_whole() {
    let mut met = Met::default();
    for seed in 1..=SEEDS {
        if let Err(problem) = run_seed(seed, &mut met) {
            panic!("seed {seed}: {problem}");
        }
    }
    let _ = history::take_totals();
    eprintln!("{met:?}");
    let counts = [met.harmless, met.lost, met.rebuilt, met.refused, met.crashed];
    assert!(counts.iter().all(|count| *count > 0), "what is rare has happened: {met:?}");
}
