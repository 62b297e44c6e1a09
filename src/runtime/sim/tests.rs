//! The simulator itself: determinism, time, and what its disk may and may not do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use crate::runtime::fs::{self, BLOCK, File, IoBuf, OpenMode};
use crate::runtime::{JoinError, QueueClass, now, random_u64, sleep, spawn, spawn_joinable, timeout, yield_now};

use super::*;

const BLOCK_BYTES: u64 = BLOCK as u64;

/// A little of everything: tasks that wake each other, timers, files, random numbers.
async fn busy_main(core: CoreId) {
    let handles: Vec<_> = (0..5u64)
        .map(|task| {
            spawn_joinable(QueueClass::Interactive, async move {
                for _ in 0..20 {
                    sleep(Duration::from_micros(random_u64() % 300)).await;
                    yield_now().await;
                }
                task
            })
        })
        .collect();
    let file = File::open(format!("file{core}"), OpenMode::CREATE).await.expect("create");
    for block in 0..5 {
        file.write_at(&IoBuf::padded(&random_u64().to_le_bytes()), block * BLOCK_BYTES).await.expect("write");
    }
    file.sync_data().await.expect("sync");
    for (task, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await, Ok(task as u64));
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let trace = |seed| Sim::new(seed).run(3, busy_main).expect_completed().trace;
    let traces: BTreeSet<u64> = (0..20).map(trace).collect();
    assert_eq!(traces.len(), 20, "every seed gives its own schedule");
    assert!((0..20).all(|seed| traces.contains(&trace(seed))), "and always the same one");
}

#[test]
fn crashes_are_replayed_by_the_seed() {
    let run = |seed| {
        let mut sim = Sim::new(seed);
        sim.config.crash_one_in = Some(100);
        let run = sim.run(2, busy_main).expect_completed_or_crashed();
        (run.end, run.steps, run.trace, sim.with_disk(|disk| disk.contents("file0")))
    };
    let crashed = (0..50).filter(|seed| run(*seed).0 == End::Crashed).count();
    assert!(crashed > 25, "{crashed} of 50 crashed");
    for seed in 0..50 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn time_is_virtual() {
    let begin = std::time::Instant::now();
    let run = Sim::new(1).run(1, |_| async {
        let before = now();
        sleep(Duration::from_secs(3600)).await;
        assert!(before.elapsed() >= Duration::from_secs(3600));
        assert!(timeout(Duration::from_secs(60), std::future::pending::<()>()).await.is_err());
    });
    assert!(run.expect_completed().took >= Duration::from_secs(3660));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_lost_wake_up_is_a_deadlock_a_spinning_task_a_step_limit_and_a_panic_a_panic() {
    let mut sim = Sim::new(1);
    sim.config.steps_max = 10_000;
    assert_eq!(sim.run(2, |_| std::future::pending()).end, End::Deadlock);
    let spin = |_| async {
        loop {
            yield_now().await;
        }
    };
    assert_eq!(sim.run(1, spin).end, End::StepLimit);
    let panics = |_| async { panic!("on purpose") };
    assert_eq!(sim.run(1, panics).end, End::Panicked("on purpose".to_owned()));
    sim.config.survive_panics = true;
    let run = sim.run(1, |_| async {
        let handle = spawn_joinable(QueueClass::Log, async { panic!("survived") });
        let outcome: Result<(), JoinError> = handle.await;
        assert_eq!(outcome, Err(JoinError::Panicked("survived".to_owned())));
    });
    assert_eq!(run.expect_completed().panics.len(), 1);
}

#[test]
fn every_destructor_runs_on_its_core() {
    struct OnCore(CoreId);
    impl Drop for OnCore {
        fn drop(&mut self) {
            assert_eq!(crate::runtime::current_core(), self.0);
            // Timers and wakers must be usable while a machine is torn down.
            spawn(QueueClass::Background, async {});
        }
    }
    let run = Sim::new(7).run(3, |core| async move {
        spawn(QueueClass::Background, async move {
            let _guard = OnCore(core);
            sleep(Duration::from_secs(1000)).await;
        });
        sleep(Duration::from_millis(1)).await;
    });
    run.expect_completed();
}

/// Writes `before` as two blocks and syncs, overwrites with `after` without syncing, and crashes: what is left.
fn crash_over_two_blocks(seed: u64, before: u8, after: u8) -> Vec<u8> {
    let mut sim = Sim::new(seed);
    let run = sim.run(1, move |_| async move {
        let file = File::open("data", OpenMode::CREATE).await.expect("create");
        fs::sync_dir("").await.expect("sync the directory");
        let mut block = IoBuf::zeroed(BLOCK);
        block.as_mut_slice().fill(before);
        file.write_at(&block, 0).await.expect("write");
        file.write_at(&block, BLOCK_BYTES).await.expect("write");
        file.sync_data().await.expect("sync");
        block.as_mut_slice().fill(after);
        file.write_at(&block, 0).await.expect("write");
        file.write_at(&block, BLOCK_BYTES).await.expect("write");
        crash_now();
        yield_now().await;
    });
    assert_eq!(run.end, End::Crashed);
    sim.with_disk(|disk| disk.contents("data")).expect("the name was synced")
}

#[test]
fn unsynced_writes_are_kept_lost_torn_and_reordered_and_nothing_else() {
    let (mut kept, mut lost, mut torn, mut reordered) = (0, 0, 0, 0);
    for seed in 0..200 {
        let contents = crash_over_two_blocks(seed, 1, 2);
        assert_eq!(contents.len(), 2 * BLOCK);
        let mut whole = Vec::new();
        for block in contents.chunks(BLOCK) {
            for sector in block.chunks(512) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are atomic");
                assert!(matches!(sector[0], 1 | 2), "only old or new bytes");
            }
            whole.push(block.iter().all(|byte| *byte == block[0]).then_some(block[0]));
        }
        match whole[..] {
            [Some(2), Some(2)] => kept += 1,
            [Some(1), Some(1)] => lost += 1,
            [Some(1), Some(2)] => reordered += 1,
            _ => torn += usize::from(whole.contains(&None)),
        }
    }
    for (what, count) in [("kept", kept), ("lost", lost), ("torn", torn), ("reordered", reordered)] {
        assert!(count > 5, "{count} of 200 crashes {what} the writes");
    }
}

#[test]
fn names_are_durable_after_a_directory_sync_and_by_luck_before() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let mut sim = Sim::new(seed);
        sim.run(1, |_| async {
            fs::create_dir_all("data").await.expect("create the directory");
            fs::write_file_atomically("data/manifest", b"old").await.expect("write");
            File::open("data/unsynced", OpenMode::CREATE).await.expect("create");
            let file = File::open("data/next", OpenMode::CREATE).await.expect("create");
            file.write_at(&IoBuf::padded(b"new"), 0).await.expect("write");
            file.truncate(3).await.expect("truncate");
            file.sync_data().await.expect("sync");
            fs::rename("data/next", "data/manifest").await.expect("rename");
            crash_now();
            yield_now().await;
        });
        match sim.with_disk(|disk| disk.contents("data/manifest")).expect("never gone").as_slice() {
            b"old" => old += 1,
            b"new" => new += 1,
            other => panic!("seed {seed}: neither old nor new but {other:?}"),
        }
    }
    assert!(old > 10 && new > 10, "{old} crashes kept the old name, {new} the new one");
}

/// The smallest log there is: block n holds n + 1; acknowledged after the sync.
async fn append_forever(acknowledged: Rc<Cell<u64>>, failed: Rc<Cell<bool>>) -> io::Result<()> {
    let file = File::open("log", OpenMode::CREATE).await?;
    fs::sync_dir("").await?;
    for block in 0.. {
        let outcome = async {
            file.write_at(&IoBuf::padded(&(block + 1u64).to_le_bytes()), block * BLOCK_BYTES).await?;
            file.sync_data().await
        };
        if let Err(error) = outcome.await {
            failed.set(true);
            return Err(error);
        }
        acknowledged.set(block + 1);
    }
    Ok(())
}

fn recovered(contents: &[u8]) -> u64 {
    let mut blocks = 0;
    for block in contents.chunks(BLOCK) {
        if block.len() < 8 || block[..8] != (blocks + 1u64).to_le_bytes() {
            break;
        }
        blocks += 1;
    }
    blocks
}

#[test]
fn what_was_synced_survives_every_crash() {
    let mut acknowledged_total = 0;
    for seed in 0..200 {
        let mut sim = Sim::new(seed);
        sim.config.crash_one_in = Some(150);
        let acknowledged = Rc::new(Cell::new(0));
        let count = Rc::clone(&acknowledged);
        let run = sim.run(1, move |_| {
            let work = append_forever(Rc::clone(&count), Rc::new(Cell::new(false)));
            async move { work.await.expect("the disk has no faults") }
        });
        assert_eq!(run.end, End::Crashed);
        let contents = sim.with_disk(|disk| disk.contents("log")).unwrap_or_default();
        let (acknowledged, recovered) = (acknowledged.get(), recovered(&contents));
        assert!(recovered >= acknowledged, "seed {seed}: {acknowledged} acknowledged, {recovered} recovered");
        acknowledged_total += acknowledged;
    }
    assert!(acknowledged_total > 500, "only {acknowledged_total} appends in 200 runs");
}

#[test]
fn a_failed_sync_loses_data_that_reads_still_show() {
    let (mut failures, mut losses) = (0, 0);
    for seed in 0..100 {
        let mut sim = Sim::new(seed);
        sim.config.faults.sync_error_one_in = 4;
        let seen = Rc::new(RefCell::new(Vec::new()));
        let view = Rc::clone(&seen);
        let run = sim.run(1, move |_| {
            let view = Rc::clone(&view);
            async move {
                let failed = Rc::new(Cell::new(false));
                let error = append_forever(Rc::new(Cell::new(0)), Rc::clone(&failed)).await.expect_err("a sync fails");
                assert!(failed.get() && error.raw_os_error() == Some(libc::EIO));
                let file = File::open("log", OpenMode::READ).await.expect("open");
                *view.borrow_mut() = file.read_at(0, 1 << 20).await.expect("read");
                crash_now();
                yield_now().await;
            }
        });
        assert_eq!(run.end, End::Crashed);
        failures += 1;
        let contents = sim.with_disk(|disk| disk.contents("log")).unwrap_or_default();
        losses += usize::from(recovered(&contents) < recovered(&seen.borrow()));
    }
    assert!(losses > 10, "{losses} of {failures} failed syncs lost what reads showed before the crash");
}

#[test]
fn a_full_disk_and_a_failing_write_are_errors() {
    let mut sim = Sim::new(3);
    sim.config.faults.capacity = Some(4 * BLOCK_BYTES);
    let full = |_| async {
        let error = append_forever(Rc::new(Cell::new(0)), Rc::new(Cell::new(false))).await.expect_err("it fills up");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        fs::remove("log").await.expect("remove");
        let file = File::open("second", OpenMode::CREATE).await.expect("create");
        file.write_at(&IoBuf::zeroed(BLOCK), 0).await.expect("there is room again");
    };
    sim.run(1, full).expect_completed();

    let mut sim = Sim::new(4);
    sim.config.faults.write_error_one_in = 5;
    let failing = |_| async {
        let error = append_forever(Rc::new(Cell::new(0)), Rc::new(Cell::new(false))).await.expect_err("a write fails");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    };
    sim.run(1, failing).expect_completed();
}
