//! The mesh under load: every kind of message in every direction at once, few credits, random stalls. On real cores as
//! operating-system threads, and in the simulator over many seeds, with the same body.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use omendb::base::CoreId;
use omendb::mesh::{Fabric, Mesh, MeshConfig, MeshError, Origin, Replier};
use omendb::runtime::sim::Sim;
use omendb::runtime::{self, QueueClass, RuntimeConfig, random_u64, sleep, spawn, spawn_joinable, timeout, yield_now};

#[derive(Debug)]
enum Request {
    /// Answered at once with the value times three.
    Now(u64),
    /// Answered by a task after a while.
    Later(u64),
    /// Answered by a task that asks another core first.
    Onward(u64, CoreId),
    /// Given up.
    Drop,
    /// One-way: adds to the receiver's sum.
    Add(u64),
}

type StressMesh = Mesh<Request, u64>;

fn handle(mesh: &StressMesh, sum: &Cell<u64>, request: Request, replier: Replier<Request, u64>) {
    match request {
        Request::Now(value) => replier.reply(value * 3),
        Request::Later(value) => {
            let replier = if value.is_multiple_of(2) { replier.defer() } else { replier };
            spawn(QueueClass::Interactive, async move {
                for _ in 0..value % 4 {
                    yield_now().await;
                }
                replier.reply(value * 3);
            });
        }
        Request::Onward(value, core) => {
            let (mesh, replier) = (mesh.clone(), replier.defer());
            spawn(QueueClass::Interactive, async move {
                let answer = mesh.call(core, Request::Now(value)).await;
                replier.reply(answer.expect("an immediate call is answered"));
            });
        }
        Request::Drop => drop(replier),
        Request::Add(value) => sum.set(sum.get() + value),
    }
}

/// What the cores of one run share to know when all is done, and to compare at the end.
#[derive(Default)]
struct Totals {
    workers_left: AtomicUsize,
    sent: AtomicU64,
    received: AtomicU64,
}

/// One step of a worker; what it sent one-way.
async fn step(mesh: &StressMesh, cores: usize) -> u64 {
    let pick = || CoreId((random_u64() % cores as u64) as u16);
    let (to, value) = (pick(), random_u64() % 1000);
    match random_u64() % 16 {
        0..6 => assert_eq!(mesh.call(to, Request::Now(value)).await, Ok(value * 3)),
        6..8 => assert_eq!(mesh.call(to, Request::Later(value)).await, Ok(value * 3)),
        8 => assert_eq!(mesh.call(to, Request::Onward(value, pick())).await, Ok(value * 3)),
        9 => assert_eq!(mesh.call(to, Request::Drop).await, Err(MeshError::Abandoned)),
        10 => {
            let mut replies = Vec::new();
            for offset in 0..value % 3 {
                // No more than one credit a core and task at a time while waiting for the next: no circle of waiting.
                if let Ok(reply) = mesh.try_begin_call(pick(), Request::Now(offset)) {
                    replies.push((offset, reply));
                }
            }
            for (offset, reply) in replies {
                assert_eq!(reply.await, Ok(offset * 3));
            }
        }
        11 => {
            // A caller that gives up at any point leaves nothing behind.
            let limit = Duration::from_micros(value / 4);
            if let Ok(reply) = timeout(limit, mesh.call(to, Request::Later(value))).await {
                assert_eq!(reply, Ok(value * 3));
            }
        }
        12 => sleep(Duration::from_micros(value / 8)).await,
        13 => {
            mesh.nudge(to);
        }
        _ => {
            mesh.send(to, Request::Add(value)).await;
            return value;
        }
    }
    0
}

/// The main future of every core: serve, run the workers, stay until all cores' workers have ended and all is handled.
fn core_main(
    fabric: Fabric<Request, u64>,
    totals: Arc<Totals>,
    workers: usize,
    steps: usize,
    stall: fn(),
) -> impl Fn(CoreId) -> std::pin::Pin<Box<dyn Future<Output = ()>>> + Clone {
    move |core| {
        let (fabric, totals) = (fabric.clone(), Arc::clone(&totals));
        Box::pin(async move {
            let mesh = fabric.join(core);
            let cores = mesh.core_count();
            let sum = Rc::new(Cell::new(0));
            let (handler_mesh, handler_sum) = (mesh.clone(), Rc::clone(&sum));
            mesh.serve(move |from, request, replier| {
                assert!(matches!(from, Origin::Core(_)));
                stall();
                handle(&handler_mesh, &handler_sum, request, replier);
            });
            let handles: Vec<_> = (0..workers)
                .map(|_| {
                    let mesh = mesh.clone();
                    spawn_joinable(QueueClass::Interactive, async move {
                        let mut sent = 0;
                        for _ in 0..steps {
                            sent += step(&mesh, cores).await;
                            stall();
                        }
                        sent
                    })
                })
                .collect();
            for handle in handles {
                totals.sent.fetch_add(handle.await.expect("workers do not panic"), Ordering::Relaxed);
            }
            totals.workers_left.fetch_sub(1, Ordering::AcqRel);
            let quiet = || (0..cores).all(|core| mesh.outstanding(CoreId(core as u16)) == 0);
            while totals.workers_left.load(Ordering::Acquire) > 0 || !quiet() {
                sleep(Duration::from_millis(1)).await;
            }
            // Everybody's messages are handled when everybody's credits are back; wait for the slowest.
            sleep(Duration::from_millis(50)).await;
            totals.received.fetch_add(sum.get(), Ordering::Relaxed);
        })
    }
}

fn new_totals(cores: usize) -> Arc<Totals> {
    Arc::new(Totals { workers_left: AtomicUsize::new(cores), ..Totals::default() })
}

fn check(totals: &Totals) {
    let (sent, received) = (totals.sent.load(Ordering::Relaxed), totals.received.load(Ordering::Relaxed));
    assert!(sent > 0 && sent == received, "{sent} sent one-way, {received} received");
}

/// Now and then a core's thread is held up: mostly a little, seldom long.
fn stall_thread() {
    match random_u64() % 4000 {
        0 => std::thread::sleep(Duration::from_millis(2)),
        1..20 => std::thread::yield_now(),
        _ => {}
    }
}

fn stress_real_cores(cores: usize, credits: u32, spin: Duration, steps: usize) {
    let cpus = runtime::host::cpus();
    let config = RuntimeConfig { spin, ..RuntimeConfig::on_cpus((0..cores).map(|core| cpus[core % cpus.len()]).collect()) };
    let fabric = Fabric::new(cores, MeshConfig { credits, ..MeshConfig::default() });
    let totals = new_totals(cores);
    let (done, finished) = std::sync::mpsc::channel();
    let main = core_main(fabric, Arc::clone(&totals), 8, steps, stall_thread);
    std::thread::spawn(move || {
        let outcomes = runtime::start(&config, main).expect("the cores start").join();
        done.send(outcomes).expect("the test waits");
    });
    let outcomes = finished.recv_timeout(Duration::from_secs(120)).expect("no wake-up is lost and nothing deadlocks");
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    check(&totals);
}

#[test]
fn many_cores_as_threads_with_hardly_any_credits() {
    stress_real_cores(6, 1, Duration::ZERO, 400);
    stress_real_cores(4, 2, Duration::from_micros(50), 800);
}

#[test]
fn two_cores_flooding_each_other() {
    stress_real_cores(2, 4, Duration::ZERO, 4000);
    stress_real_cores(2, 64, Duration::from_micros(50), 4000);
}

/// One caller and nobody else, so that a lost wake-up is not made good by the next message. The caller's pauses sweep over
/// the moment at which the other core's poller looks at its rings for the last time and parks.
#[test]
fn a_lone_caller_never_misses_its_peer() {
    let cpus = runtime::host::cpus();
    let config = RuntimeConfig::on_cpus(vec![cpus[0], cpus[cpus.len() - 1]]);
    let linger = Duration::from_micros(30);
    let fabric: Fabric<u64, u64> = Fabric::new(2, MeshConfig { linger, ..MeshConfig::default() });
    let done = Arc::new(AtomicUsize::new(0));
    let main = move |core: CoreId| {
        let (fabric, done) = (fabric.clone(), Arc::clone(&done));
        async move {
            let mesh = fabric.join(core);
            mesh.serve(|_, value, replier| replier.reply(value + 1));
            if core.0 == 0 {
                for value in 0..60_000 {
                    let reply = timeout(Duration::from_secs(20), mesh.call(CoreId(1), value)).await;
                    assert_eq!(reply, Ok(Ok(value + 1)), "call {value} was lost");
                    for _ in 0..value % 256 {
                        std::hint::spin_loop();
                    }
                }
                done.store(1, Ordering::Release);
            }
            while core.0 == 1 && done.load(Ordering::Acquire) == 0 && mesh.stats().handled < 60_000 {
                sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let (ended, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut outcomes = runtime::start(&config, main).expect("the cores start").join();
        ended.send(outcomes.swap_remove(0)).expect("the test waits");
    });
    let outcome = finished.recv_timeout(Duration::from_secs(60)).expect("no wake-up is lost");
    assert_eq!(outcome, Ok(()));
}

#[test]
fn three_hundred_simulated_seeds() {
    for seed in 0..300 {
        let mut sim = Sim::new(seed);
        sim.config.steps_max = 2_000_000;
        let cores = 2 + (seed % 4) as usize;
        let credits = 1 + (sim.random_u64() % 5) as u32;
        let fabric = Fabric::new(cores, MeshConfig { credits, latency_sample: 4, ..MeshConfig::default() });
        let totals = new_totals(cores);
        sim.run(cores, core_main(fabric, Arc::clone(&totals), 3, 30, || {})).expect_completed();
        check(&totals);
    }
}
