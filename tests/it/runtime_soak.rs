//! The runtime alone under what a server does to it: accepting, echoing, crossing cores, timers, files and a background
//! hog, in bursts with idle gaps between, spinning and parked. Nothing may hang.
//!
//! The story behind it: with glommio's latency-sensitive task queues the same workload hung within seconds in half of the
//! runs (see `runtime::QueueClass`). `OMENDB_SOAK_SECONDS` makes it longer than its few seconds a round.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use omendb::base::CoreId;
use omendb::mesh::{Fabric, Mesh, MeshConfig};
use omendb::runtime::fs::{BLOCK, File, IoBuf, OpenMode};
use omendb::runtime::net::{Listener, Socket, Stream};
use omendb::runtime::{self, QueueClass, RuntimeConfig, now, random_u64, should_yield, sleep, spawn, yield_now};

/// How long an answer may take on a machine that has other things to do, before it counts as lost.
const STALL: Duration = Duration::from_secs(10);
/// A sync waits for the disk, which other processes use too.
const SYNC_STALL: Duration = Duration::from_secs(10);
const CLIENTS: usize = 12;

enum Request {
    Adopt(Socket),
    Echo(u64),
}

type SoakMesh = Mesh<Request, u64>;

#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    /// The clients have gone. On a busy machine the exchange that one is in when it is told to stop takes its time.
    deserted: AtomicBool,
    echoes: AtomicU64,
    timers: AtomicU64,
    syncs: AtomicU64,
    hogged: AtomicU64,
}

impl Progress {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

async fn echo(mut stream: Stream, mesh: SoakMesh) {
    let mut buffer = [0; 4096];
    let mut waiting = Vec::new();
    let other = CoreId((mesh.core().0 + 1) % mesh.core_count() as u16);
    while let Ok(len) = stream.read(&mut buffer).await {
        if len == 0 {
            return;
        }
        waiting.extend_from_slice(&buffer[..len]);
        let whole = waiting.len() / 8 * 8;
        let mut answers = Vec::with_capacity(whole);
        for word in waiting[..whole].chunks_exact(8) {
            let value = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            let answer = if value.is_multiple_of(2) {
                mesh.call(other, Request::Echo(value)).await.expect("the other core answers")
            } else {
                value + 1
            };
            answers.extend_from_slice(&answer.to_le_bytes());
        }
        waiting.drain(..whole);
        if stream.write_all(&answers).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: Listener, mesh: SoakMesh) {
    let mut next = 0;
    loop {
        match listener.accept().await {
            Ok(socket) => {
                next = (next + 1) % mesh.core_count() as u16;
                mesh.send(CoreId(next), Request::Adopt(socket)).await;
            }
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn run_timers(progress: Arc<Progress>) {
    while !progress.stopped() {
        let duration = Duration::from_micros(random_u64() % 20_000);
        let begin = now();
        sleep(duration).await;
        let late = begin.elapsed() - duration;
        assert!(late < STALL, "a timer of {duration:?} was {late:?} late");
        progress.timers.fetch_add(1, Ordering::Relaxed);
    }
}

async fn run_files(path: PathBuf, progress: Arc<Progress>) {
    let file = File::open(&path, OpenMode::CREATE).await.expect("create");
    file.preallocate_zeroed(64 * BLOCK as u64).await.expect("preallocate");
    while !progress.stopped() {
        let begin = now();
        let position = random_u64() % 64 * BLOCK as u64;
        let block = IoBuf::padded(&random_u64().to_le_bytes());
        file.write_at(&block, position).await.expect("write");
        file.sync_data().await.expect("sync");
        assert!(begin.elapsed() < SYNC_STALL, "a sync took {:?}", begin.elapsed());
        assert_eq!(file.read_at(position, 8).await.expect("read"), block.as_slice()[..8]);
        progress.syncs.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(random_u64() % 20)).await;
    }
}

/// Work that never waits for anything: bursts of pure computing.
async fn hog(progress: Arc<Progress>) {
    while !progress.stopped() {
        let end = now() + Duration::from_millis(30);
        while now() < end {
            if should_yield() {
                yield_now().await;
            }
            progress.hogged.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

fn connect(address: SocketAddr, unix: &PathBuf, number: usize) -> Box<dyn Connection> {
    if number.is_multiple_of(4) {
        let stream = UnixStream::connect(unix).expect("connect");
        stream.set_read_timeout(Some(STALL)).expect("a socket option");
        Box::new(stream)
    } else {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(STALL)).expect("a socket option");
        Box::new(stream)
    }
}

/// One client: bursts of pipelined requests, idle gaps, a new connection now and then. The longest wait for an answer.
fn client(address: SocketAddr, unix: &PathBuf, number: usize, progress: &Progress) -> Duration {
    let mut random = number as u64 + 1;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let mut longest = Duration::ZERO;
    let mut connection = connect(address, unix, number);
    while !progress.stopped() {
        for _ in 0..next() % 100 {
            let words: Vec<u64> = (0..1 + next() % 4).map(|_| next()).collect();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let begin = Instant::now();
            connection.write_all(&bytes).expect("send");
            let mut answer = vec![0; bytes.len()];
            connection.read_exact(&mut answer).expect("no answer: the server hangs");
            longest = longest.max(begin.elapsed());
            for (word, answer) in words.iter().zip(answer.chunks_exact(8)) {
                assert_eq!(u64::from_le_bytes(answer.try_into().expect("eight bytes")), word + 1);
            }
            progress.echoes.fetch_add(1, Ordering::Relaxed);
        }
        match next() % 8 {
            0 => connection = connect(address, unix, number + next() as usize % 2),
            1..3 => {}
            _ => std::thread::sleep(Duration::from_micros(next() % 60_000)),
        }
    }
    longest
}

async fn core_main(
    core: CoreId,
    fabric: Fabric<Request, u64>,
    directory: PathBuf,
    started: mpsc::Sender<SocketAddr>,
    progress: Arc<Progress>,
) {
    let mesh: SoakMesh = fabric.join(core);
    let serving = mesh.clone();
    mesh.serve(move |_, request, replier| match request {
        Request::Adopt(socket) => {
            let stream = Stream::from_socket(socket).expect("register");
            spawn(QueueClass::Interactive, echo(stream, serving.clone()));
        }
        Request::Echo(value) => replier.reply(value + 1),
    });
    let tasks = [
        runtime::spawn_joinable(QueueClass::Interactive, run_timers(Arc::clone(&progress))),
        runtime::spawn_joinable(QueueClass::Log, run_files(directory.join(format!("log{core}")), Arc::clone(&progress))),
        runtime::spawn_joinable(QueueClass::Background, hog(Arc::clone(&progress))),
    ];
    if core.0 == 0 {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().expect("an address")).expect("bind");
        let address = listener.local_address().expect("bound").expect("TCP");
        spawn(QueueClass::Interactive, accept(listener, mesh.clone()));
        let unix = Listener::bind_unix(directory.join("socket")).expect("bind");
        spawn(QueueClass::Interactive, accept(unix, mesh.clone()));
        started.send(address).expect("the test waits");
    }
    for task in tasks {
        task.await.expect("nothing stalls");
    }
    while !progress.deserted.load(Ordering::Acquire) {
        sleep(Duration::from_millis(10)).await;
    }
    // The other core may still need answers.
    sleep(Duration::from_millis(200)).await;
}

fn soak(spin: Duration, long: Duration) {
    let cpus = runtime::host::cpus();
    let config = RuntimeConfig { spin, ..RuntimeConfig::on_cpus(vec![cpus[0], cpus[cpus.len() - 1]]) };
    let directory = tempfile::tempdir().expect("a scratch directory");
    let fabric = Fabric::new(2, MeshConfig { credits: 64, ..MeshConfig::default() });
    let progress = Arc::new(Progress::default());
    let (started, ready) = mpsc::channel();
    let (path, shared) = (directory.path().to_owned(), Arc::clone(&progress));
    let cores =
        runtime::start(&config, move |core| core_main(core, fabric.clone(), path.clone(), started.clone(), Arc::clone(&shared)))
            .expect("the cores start");
    let address = ready.recv_timeout(Duration::from_secs(20)).expect("the listener binds");
    let unix = directory.path().join("socket");
    let longest = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (progress, unix) = (&progress, &unix);
                scope.spawn(move || client(address, unix, number, progress))
            })
            .collect();
        std::thread::sleep(long);
        progress.stop.store(true, Ordering::Release);
        clients.into_iter().map(|client| client.join().expect("no client stalls")).max()
    });
    progress.deserted.store(true, Ordering::Release);
    let outcomes = cores.join();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "spin {spin:?}: {} echoes, longest {longest:?}, {} timers, {} syncs, hog {}",
        count(&progress.echoes),
        count(&progress.timers),
        count(&progress.syncs),
        count(&progress.hogged)
    );
    for counter in [&progress.echoes, &progress.timers, &progress.syncs, &progress.hogged] {
        assert!(count(counter) > 10, "everybody makes progress");
    }
}

#[test]
fn nothing_hangs() {
    let seconds = std::env::var("OMENDB_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(16u64);
    let rounds = [0, 50, 0, 200];
    for spin in rounds {
        soak(Duration::from_micros(spin), Duration::from_secs(seconds) / rounds.len() as u32);
    }
}
