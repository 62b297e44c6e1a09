//! The mesh between real cores: semantics, one case at a time. Load and chaos are in `tests/it/mesh_stress.rs`.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::base::CoreId;
use crate::runtime::{self, QueueClass, RuntimeConfig, spawn, spawn_joinable, timeout};

use super::*;

type TestMesh = Mesh<u64, u64>;

const PANIC: u64 = 1;
const DROP: u64 = 2;
const LATER: u64 = 3;
const HOLD: u64 = 4;
const DEFER: u64 = 5;
const RELEASE: u64 = 6;

fn serve_test_handler(mesh: &TestMesh, one_way: Rc<Cell<u64>>) {
    let held = std::cell::RefCell::new(Vec::new());
    mesh.serve(move |_, request, replier| match request {
        PANIC => panic!("on purpose"),
        DROP => drop(replier),
        LATER => spawn(QueueClass::Interactive, async move {
            runtime::sleep(Duration::from_millis(2)).await;
            replier.reply(30);
        }),
        HOLD => held.borrow_mut().push(replier),
        DEFER => held.borrow_mut().push(replier.defer()),
        RELEASE => {
            let waiting = held.borrow_mut().split_off(0);
            replier.reply(waiting.len() as u64);
            for (index, replier) in waiting.into_iter().enumerate() {
                // Every third is dropped: that too is an answer.
                if index % 3 < 2 {
                    replier.reply(index as u64);
                }
            }
        }
        value if replier.is_one_way() => one_way.set(one_way.get() + value),
        value => replier.reply(value * 10),
    });
}

/// Ends the second core even if the first one fails.
struct SetOnDrop(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

/// Runs `body` on the first of two cores, the second serving meanwhile; every core gets the test handler.
fn on_two_cores<F: Future<Output = ()> + 'static>(
    credits: u32,
    body: impl Fn(TestMesh, Rc<Cell<u64>>) -> F + Clone + Send + 'static,
) {
    let cpus = runtime::host::cpus();
    let config = RuntimeConfig::on_cpus(vec![cpus[0], cpus[cpus.len() - 1]]);
    let fabric = Fabric::new(2, MeshConfig { credits, latency_sample: 1, ..MeshConfig::default() });
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let main = move |core: CoreId| {
        let (fabric, body, done) = (fabric.clone(), body.clone(), done.clone());
        async move {
            let mesh = fabric.join(core);
            let one_way = Rc::new(Cell::new(0));
            serve_test_handler(&mesh, Rc::clone(&one_way));
            if core.0 == 0 {
                let _done = SetOnDrop(done);
                timeout(Duration::from_secs(20), body(mesh, one_way)).await.expect("the body ends in time");
            } else {
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    runtime::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    };
    let outcomes = runtime::start(&config, main).expect("the cores start").join();
    assert_eq!(outcomes, vec![Ok(()), Ok(())]);
}

const PEER: CoreId = CoreId(1);

#[test]
fn calls_are_answered_at_once_later_or_with_an_error() {
    on_two_cores(8, |mesh, _| async move {
        assert_eq!(mesh.call(PEER, 12).await, Ok(120));
        assert_eq!(mesh.call(PEER, LATER).await, Ok(30));
        assert_eq!(mesh.call(PEER, DROP).await, Err(MeshError::Abandoned));
        assert_eq!(mesh.call(PEER, PANIC).await, Err(MeshError::Abandoned));
        assert_eq!(mesh.call(PEER, 13).await, Ok(130), "the poller survives a handler's panic");
        assert_eq!(mesh.call(mesh.core(), 14).await, Ok(140), "a core may call itself");
        let replies = [mesh.begin_call(PEER, LATER).await, mesh.begin_call(PEER, 15).await];
        let [later, soon] = replies;
        assert_eq!((soon.await, later.await), (Ok(150), Ok(30)));
        assert_eq!(mesh.outstanding(PEER), 0);
    });
}

#[test]
fn credits_bound_what_is_outstanding_and_come_back() {
    on_two_cores(2, |mesh, _| async move {
        let first = mesh.begin_call(PEER, HOLD).await;
        let second = mesh.begin_call(PEER, LATER).await;
        assert_eq!(mesh.outstanding(PEER), 2);
        assert!(mesh.try_begin_call(PEER, 9).is_err());
        assert!(mesh.try_send(PEER, 9).is_err());
        // Waits for the credit of `second`; the one that gives up waiting first must not swallow it.
        let impatient = timeout(Duration::ZERO, mesh.call(PEER, 9)).await;
        assert!(impatient.is_err());
        assert_eq!(mesh.call(PEER, 9).await, Ok(90));
        assert_eq!(second.await, Ok(30));
        assert_eq!(mesh.outstanding(PEER), 1, "the held call keeps its credit");
        // A caller that goes away keeps the credit in use until the answer comes.
        drop(first);
        assert_eq!(mesh.outstanding(PEER), 1);
        assert!(mesh.stats().credit_waits >= 2);
    });
}

#[test]
fn deferred_calls_hold_no_credit_and_are_answered_late() {
    on_two_cores(2, |mesh, _| async move {
        let waiting: Vec<_> = (0..30)
            .map(|_| {
                let mesh = mesh.clone();
                spawn_joinable(QueueClass::Interactive, async move { mesh.call(PEER, DEFER).await })
            })
            .collect();
        while mesh.stats().calls < 30 {
            runtime::yield_now().await;
        }
        drop(mesh.begin_call(PEER, DEFER).await);
        // Thirty-one requests wait at the peer, and yet there is a credit for the one that they wait for.
        assert_eq!(mesh.call(PEER, RELEASE).await, Ok(31));
        for (index, handle) in waiting.into_iter().enumerate() {
            let expected = if index % 3 < 2 { Ok(index as u64) } else { Err(MeshError::Abandoned) };
            assert_eq!(handle.await, Ok(expected));
        }
        assert_eq!(mesh.call(PEER, 13).await, Ok(130));
    });
}

#[test]
fn one_way_messages_give_their_credits_back() {
    on_two_cores(4, |mesh, one_way| async move {
        let me = mesh.core();
        for _ in 0..100 {
            mesh.send(me, 10).await;
            mesh.send(PEER, 10).await;
        }
        // Same rings, same order: when the call is answered, everything before it is handled.
        assert_eq!(mesh.call(me, 15).await, Ok(150));
        assert_eq!(mesh.call(PEER, 15).await, Ok(150));
        assert_eq!(one_way.get(), 1000);
        while mesh.outstanding(PEER) + mesh.outstanding(me) > 0 {
            runtime::yield_now().await;
        }
    });
}

#[test]
fn a_nudge_runs_the_pass_hooks() {
    on_two_cores(4, |mesh, _| async move {
        let passes = Rc::new(Cell::new(0));
        let count = Rc::clone(&passes);
        mesh.add_pass_hook(move || count.set(count.get() + 1));
        runtime::sleep(Duration::from_millis(5)).await;
        for _ in 0..10 {
            let before = passes.get();
            mesh.nudge(mesh.core());
            let woken = timeout(Duration::from_secs(5), async {
                while passes.get() == before {
                    runtime::yield_now().await;
                }
            });
            woken.await.expect("the hook runs");
        }
    });
}

#[test]
fn sampled_calls_report_their_latency() {
    on_two_cores(4, |mesh, _| async move {
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        mesh.set_latency_hook(move |_| count.set(count.get() + 1));
        for _ in 0..10 {
            mesh.call(PEER, 15).await.expect("answered");
        }
        assert_eq!(seen.get(), 10);
    });
}

#[test]
fn other_threads_ask_through_the_control_handle() {
    let fabric: Fabric<u64, u64> = Fabric::new(1, MeshConfig::default());
    let control = fabric.control();
    let config = RuntimeConfig::on_cpus(vec![runtime::host::cpus()[0]]);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let cores = runtime::start(&config, move |core| {
        let (fabric, stopped) = (fabric.clone(), std::sync::Arc::clone(&stopped));
        async move {
            let mesh = fabric.join(core);
            serve_test_handler(&mesh, Rc::new(Cell::new(0)));
            let watching = spawn_joinable(QueueClass::Background, async move {
                while !stopped.load(std::sync::atomic::Ordering::Acquire) {
                    runtime::sleep(Duration::from_millis(5)).await;
                }
            });
            watching.await.expect("only sleeps");
        }
    })
    .expect("the core starts");
    let limit = Duration::from_secs(20);
    let ask = |request| control.submit(CoreId(0), request).and_then(|reply| reply.wait(limit));
    for request in 10..200 {
        assert_eq!(ask(request), Ok(request * 10));
    }
    assert_eq!(ask(PANIC), Err(ControlError::Abandoned));
    let held = control.submit(CoreId(0), HOLD).expect("there is room");
    assert_eq!(held.wait(Duration::from_millis(20)), Err(ControlError::TimedOut));
    let awaited = control.submit(CoreId(0), LATER).expect("there is room");
    assert_eq!(futures_lite::future::block_on(awaited), Ok(30));
    stop.store(true, std::sync::atomic::Ordering::Release);
    assert_eq!(cores.join(), vec![Ok(())]);
}
