//! What a crossing between cores costs: an echo server on two cores, in which half of the requests need the other core.
//!
//! `local` never crosses. `call` asks the other core through the mesh and answers from here. `hop` sends the connection
//! itself to the other core, which answers and keeps it; `hop, runs` is the same when requests for one core come in runs of
//! eight, as those of a transaction may. Server CPU is that of the core threads alone (their schedstat).
//!
//! `cargo bench --bench crossing`; about a second a line (OMENDB_BENCH_MILLIS).

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use omendb::base::CoreId;
use omendb::mesh::{Fabric, Mesh, MeshConfig};
use omendb::runtime::net::{Listener, Socket, Stream};
use omendb::runtime::{self, QueueClass, RuntimeConfig, sleep, spawn};

const MESSAGE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Local,
    Call,
    Hop,
    HopRuns,
}

enum Request {
    /// A new connection to serve.
    Adopt(Socket),
    /// A connection with the request that made it move.
    Hop(Socket, [u8; MESSAGE]),
    /// A request to answer.
    Work([u8; MESSAGE]),
}

type BenchMesh = Mesh<Request, [u8; MESSAGE]>;

/// Stands for a point read: a little work on the message.
fn work(mut message: [u8; MESSAGE]) -> [u8; MESSAGE] {
    for byte in &mut message[1..] {
        *byte = byte.wrapping_add(1);
    }
    message
}

/// Serves a connection until it ends or moves away.
async fn serve(mut stream: Stream, mesh: BenchMesh, mode: Mode, first: Option<[u8; MESSAGE]>) {
    if let Some(message) = first
        && stream.write_all(&work(message)).await.is_err()
    {
        return;
    }
    let mut message = [0; MESSAGE];
    loop {
        let mut len = 0;
        while len < MESSAGE {
            match stream.read(&mut message[len..]).await {
                Ok(0) | Err(_) => return,
                Ok(more) => len += more,
            }
        }
        let owner = CoreId(u16::from(message[0]));
        let answer = if owner == mesh.core() || mode == Mode::Local {
            work(message)
        } else if mode == Mode::Call {
            mesh.call(owner, Request::Work(message)).await.expect("the other core answers")
        } else {
            // The client sends nothing before it has its answer.
            let Ok((socket, _nothing)) = stream.into_socket().await else { return };
            mesh.send(owner, Request::Hop(socket, message)).await;
            return;
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn core_main(
    core: CoreId,
    mode: Mode,
    fabric: Fabric<Request, [u8; MESSAGE]>,
    started: mpsc::Sender<SocketAddr>,
    stop: Arc<AtomicBool>,
) -> omendb::mesh::MeshStats {
    let mesh: BenchMesh = fabric.join(core);
    let serving = mesh.clone();
    mesh.serve(move |_, request, replier| {
        let (socket, first) = match request {
            Request::Work(message) => return replier.reply(work(message)),
            Request::Adopt(socket) => (socket, None),
            Request::Hop(socket, message) => (socket, Some(message)),
        };
        let stream = Stream::from_socket(socket).expect("register");
        spawn(QueueClass::Interactive, serve(stream, serving.clone(), mode, first));
    });
    if core.0 == 0 {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().expect("an address")).expect("bind");
        started.send(listener.local_address().expect("bound").expect("TCP")).expect("the bench waits");
        let mesh = mesh.clone();
        spawn(QueueClass::Interactive, async move {
            let mut next = 0;
            while let Ok(socket) = listener.accept().await {
                next = 1 - next;
                mesh.send(CoreId(next), Request::Adopt(socket)).await;
            }
        });
    }
    while !stop.load(Ordering::Acquire) {
        sleep(Duration::from_millis(5)).await;
    }
    sleep(Duration::from_millis(20)).await;
    mesh.stats()
}

/// One client's requests: how many, and the latencies in nanoseconds.
fn client(address: SocketAddr, mode: Mode, number: u64, end: Instant) -> Vec<u64> {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket option");
    let (mut random, mut latencies, mut owner) = (number * 7 + 1, Vec::new(), 0);
    let mut message = [0; MESSAGE];
    while Instant::now() < end {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if mode != Mode::HopRuns || latencies.len().is_multiple_of(8) {
            owner = (random >> 40) as u8 % 2;
        }
        message[0] = owner;
        let begin = Instant::now();
        stream.write_all(&message).expect("send");
        stream.read_exact(&mut message).expect("an answer");
        latencies.push(u64::try_from(begin.elapsed().as_nanos()).expect("short"));
    }
    latencies
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// CPU time of the core threads so far, in nanoseconds.
fn core_cpu_nanos() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("procfs").map(|entry| entry.expect("an entry").path());
    let cores = tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with("core-")));
    cores
        .filter_map(|task| fs::read_to_string(task.join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

fn measure(mode: Mode, spin: Duration, clients: u64, long: Duration) {
    let cpus = runtime::host::cpus();
    let config = RuntimeConfig { spin, ..RuntimeConfig::on_cpus(vec![cpus[0], cpus[cpus.len() - 1]]) };
    let linger = setting("OMENDB_BENCH_LINGER_US").map_or(MeshConfig::default().linger, Duration::from_micros);
    let fabric = Fabric::new(2, MeshConfig { linger, ..MeshConfig::default() });
    let stop = Arc::new(AtomicBool::new(false));
    let (started, ready) = mpsc::channel();
    let shared = Arc::clone(&stop);
    let cores = runtime::start(&config, move |core| core_main(core, mode, fabric.clone(), started.clone(), Arc::clone(&shared)))
        .expect("the cores start");
    let address = ready.recv().expect("the listener binds");
    // Warm up, then measure.
    client(address, mode, 99, Instant::now() + Duration::from_millis(50));
    let cpu_before = core_cpu_nanos();
    let begin = Instant::now();
    let end = begin + long;
    let mut latencies: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(address, mode, number, end))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    });
    let (elapsed, cpu) = (begin.elapsed(), core_cpu_nanos() - cpu_before);
    stop.store(true, Ordering::Release);
    let stats: Vec<_> = cores.join().into_iter().map(|outcome| outcome.expect("a core")).collect();
    latencies.sort_unstable();
    let at = |quantile: usize| latencies[latencies.len() * quantile / 1000] as f64 / 1e3;
    println!(
        "{mode:<8} {:>4} us {clients:>3} clients {:>8.0} /s {:>7.2} us CPU {:>8.1} us median {:>8.1} us p99 \
         {:>5.1} % of pushes woke",
        spin.as_micros(),
        latencies.len() as f64 / elapsed.as_secs_f64(),
        cpu as f64 / 1e3 / latencies.len() as f64,
        at(500),
        at(990),
        {
            let woke: u64 = stats.iter().map(|stats| stats.wakes_sent).sum();
            let quiet: u64 = stats.iter().map(|stats| stats.wakes_suppressed).sum();
            100.0 * woke as f64 / (woke + quiet).max(1) as f64
        },
        mode = format!("{mode:?}").to_lowercase(),
    );
}

fn main() {
    let millis = setting("OMENDB_BENCH_MILLIS").unwrap_or(1000);
    for clients in [1, 16] {
        for spin in [0, 50] {
            for mode in [Mode::Local, Mode::Call, Mode::Hop, Mode::HopRuns] {
                measure(mode, Duration::from_micros(spin), clients, Duration::from_millis(millis));
            }
        }
    }
}
