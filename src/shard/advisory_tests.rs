//! Advisory locks on simulated cores: sessions that take them at random, wait, give up half way and run into deadlocks. Whoever has a
//! lock has it alone, or shares it with those who share it; and in the end nothing is left behind.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::base::CoreId;
use crate::mesh::{Fabric, MeshConfig};
use crate::runtime::sim::Sim;
use crate::runtime::{self, QueueClass};
use crate::shard::{Engine, EngineError, EngineLimits, SessionLocks, Shared};
use crate::txn::{AdvisoryKey, AdvisoryLock, Isolation};

const CORES: usize = 3;
const SESSIONS: usize = 9;
const ROUNDS: usize = 30;

/// What sessions know that they have, by process id. They take it out before they give it back.
#[derive(Default)]
struct Held(RefCell<Vec<(i32, AdvisoryLock)>>);

impl Held {
    fn add(&self, pid: i32, lock: AdvisoryLock) {
        let mut held = self.0.borrow_mut();
        for (other, theirs) in held.iter().filter(|(other, theirs)| *other != pid && theirs.key == lock.key) {
            assert!(theirs.shared && lock.shared, "session {other} has {theirs:?}, and session {pid} was given {lock:?}");
        }
        held.push((pid, lock));
    }

    /// Takes out all of a session's, or its transaction's.
    fn remove(&self, pid: i32, transaction_only: bool) {
        self.0.borrow_mut().retain(|(other, lock)| *other != pid || (transaction_only && !lock.transaction));
    }

    /// Takes out one that the session has for itself.
    fn remove_one(&self, pid: i32) -> Option<AdvisoryLock> {
        let mut held = self.0.borrow_mut();
        let at = held.iter().position(|(other, lock)| *other == pid && !lock.transaction)?;
        Some(held.remove(at).1)
    }
}

fn below(count: u64) -> u64 {
    runtime::random_u64() % count
}

fn any_lock() -> AdvisoryLock {
    let key = if below(2) == 0 { AdvisoryKey::Big(below(3).cast_signed()) } else { AdvisoryKey::Pair(1, below(2) as i32) };
    AdvisoryLock { key, shared: below(2) == 0, transaction: below(2) == 0 }
}

/// How often each end of a wait came about.
#[derive(Default)]
struct Ends {
    taken: Cell<u32>,
    refused: Cell<u32>,
    dropped: Cell<u32>,
    timed_out: Cell<u32>,
    deadlocked: Cell<u32>,
}

fn count(counter: &Cell<u32>) {
    counter.set(counter.get() + 1);
}

async fn session(engine: Engine, pid: i32, held: Rc<Held>, ends: Rc<Ends>) {
    let locks = SessionLocks::new(pid);
    for _ in 0..ROUNDS {
        let mut txn = engine.begin(Isolation::ReadCommitted, false);
        txn.pid = pid;
        txn.deadlock_timeout_ms = 2;
        txn.lock_timeout_ms = if below(3) == 0 { 1 + below(4) as u32 } else { 0 };
        let mut failed = false;
        for _ in 0..1 + below(3) {
            let (lock, block) = (any_lock(), below(4) > 0);
            let patience = Duration::from_micros(if below(3) == 0 { below(400) } else { 10_000_000 });
            match runtime::timeout(patience, engine.advisory_lock(&mut txn, &locks, lock, block)).await {
                Ok(Ok(true)) => {
                    count(&ends.taken);
                    held.add(pid, lock);
                }
                Ok(Ok(false)) => {
                    assert!(!block, "who waits is not refused");
                    count(&ends.refused);
                }
                Ok(Err(EngineError::LockNotAvailable)) => {
                    count(&ends.timed_out);
                    failed = true;
                }
                Ok(Err(EngineError::Deadlock { .. })) => {
                    count(&ends.deadlocked);
                    failed = true;
                }
                Ok(Err(error)) => panic!("{error:?}"),
                Err(_) => {
                    count(&ends.dropped);
                    failed = true;
                }
            }
            if failed {
                break;
            }
            runtime::sleep(Duration::from_micros(below(200))).await;
        }
        held.remove(pid, true);
        if failed || below(3) == 0 {
            engine.abort(txn).await;
        } else {
            engine.commit(txn).await.expect("there is nothing to log");
        }
        if let Some(lock) = held.remove_one(pid) {
            assert!(engine.advisory_unlock(&locks, lock).await, "session {pid} has {lock:?}");
        }
        // A session that ran into something starts afresh, as one whose client reconnects.
        if failed || below(4) == 0 {
            held.remove(pid, false);
            engine.advisory_unlock_all(&locks).await;
        }
    }
    held.remove(pid, false);
}

#[test]
fn whoever_has_a_lock_has_it_alone_and_nothing_is_left_behind() {
    let ends = Rc::new(Ends::default());
    for seed in 1..=25 {
        let fabric = Rc::new(Fabric::new(CORES, MeshConfig::default()));
        let shared = Shared::new(CORES, EngineLimits::default());
        let (held, running) = (Rc::new(Held::default()), Rc::new(Cell::new(SESSIONS)));
        Sim::new(seed)
            .run(CORES, |core: CoreId| {
                let engine_of = (shared.clone(), fabric.clone());
                let (held, running, ends) = (held.clone(), running.clone(), ends.clone());
                async move {
                    let engine = Engine::install(engine_of.0, engine_of.1.join(core));
                    engine.serve();
                    for pid in (0..SESSIONS).filter(|pid| pid % CORES == core.index()) {
                        let (engine, held, running, ends) = (engine.clone(), held.clone(), running.clone(), ends.clone());
                        runtime::spawn(QueueClass::Interactive, async move {
                            session(engine, pid as i32 + 1, held, ends).await;
                            running.set(running.get() - 1);
                        });
                    }
                    while running.get() > 0 {
                        runtime::sleep(Duration::from_millis(1)).await;
                    }
                    // Time for what the last sessions have left to be given back.
                    runtime::sleep(Duration::from_millis(20)).await;
                    assert_eq!(engine.locks_here(), [], "on core {core}");
                    runtime::sleep(Duration::from_millis(1)).await;
                    Engine::uninstall();
                }
            })
            .expect_completed();
    }
    let Ends { taken, refused, dropped, timed_out, deadlocked } = &*ends;
    for (end, times) in
        [("taken", taken), ("refused", refused), ("dropped", dropped), ("timed out", timed_out), ("deadlocked", deadlocked)]
    {
        assert!(times.get() >= 20, "{end} only {} times", times.get());
    }
}
