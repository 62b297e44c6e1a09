//! What recording costs a core: it happens several times a statement, so it has to stay in single nanoseconds. And what a scrape costs: the
//! core that is asked, and the thread that makes a page of what all have answered.

use criterion::{Criterion, criterion_group, criterion_main};
use omendb::base::CoreId;
use omendb::metrics::export::{ServerFigures, openmetrics_text, prometheus_text};
use omendb::metrics::{CoreMetrics, FinishedStatement, QueryPath, QueryType, Stage, process_figures};

fn recording(c: &mut Criterion) {
    let metrics = CoreMetrics::new(CoreId(0), 2);
    let mut duration_ns = 10_000;
    c.bench_function("a counter", |b| b.iter(|| metrics.connections.opened.inc()));
    c.bench_function("a power of two", |b| b.iter(|| metrics.index.prediction_error.record(std::hint::black_box(3))));
    c.bench_function("a finished statement", |b| {
        b.iter(|| {
            // Durations vary, so that the histogram's lines are not all in the first-level cache.
            duration_ns = (duration_ns * 1_103_515_245 + 12_345) % 5_000_000;
            let whole = FinishedStatement::whole(QueryType::Select, QueryPath::PointLocal, duration_ns, 1);
            metrics.finished(FinishedStatement { stages: [duration_ns / 4; Stage::COUNT], ..whole });
        });
    });
}

/// Samples of a page that is large.
const SAMPLES: usize = 10_000;

/// A core that has been asked for everything there is, among so many.
fn busy(core: usize, cores: usize) -> CoreMetrics {
    let metrics = CoreMetrics::new(CoreId(core as u16), cores);
    for duration_ns in (0..100_000_u64).map(|i| i * i % 50_000_000) {
        for query_type in QueryType::ALL {
            let whole = FinishedStatement::whole(*query_type, QueryPath::PointLocal, duration_ns, duration_ns % 100);
            metrics.finished(FinishedStatement { stages: [duration_ns; Stage::COUNT], ..whole });
        }
        metrics.wal.flushed(duration_ns % 20, 4_096, duration_ns);
        metrics.txn.lock_wait_ns.record(duration_ns);
        for peer in (0..cores).filter(|peer| *peer != core) {
            metrics.mesh.peer(CoreId(peer as u16)).round_trip_ns.record(duration_ns);
        }
    }
    metrics
}

fn scraping(c: &mut Criterion) {
    let server = ServerFigures {
        version: "0",
        cores: 1,
        uptime_s: 1,
        connections_max: 100,
        memory_limit_bytes: 1 << 30,
        process: process_figures(),
    };
    let samples = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
    let pages = (1..).map(|cores| {
        let cores: Vec<CoreMetrics> = (0..cores).map(|core| busy(core, cores)).collect();
        let snapshots: Vec<_> = cores.iter().map(CoreMetrics::snapshot).collect();
        let found = samples(&prometheus_text(&snapshots, &server));
        (cores, snapshots, found)
    });
    let (cores, snapshots, found) = pages.into_iter().find(|(.., found)| *found >= SAMPLES).expect("each core adds some");
    c.bench_function("a core's part of a scrape", |b| b.iter(|| cores[0].snapshot()));
    c.bench_function(&format!("a page of {found} samples"), |b| b.iter(|| prometheus_text(&snapshots, &server)));
    c.bench_function(&format!("the same in OpenMetrics: {found} samples"), |b| b.iter(|| openmetrics_text(&snapshots, &server)));
}

criterion_group!(benches, recording, scraping);
criterion_main!(benches);
