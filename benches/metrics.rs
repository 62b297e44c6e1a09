//! What recording costs a core: it happens several times a statement, so it has to stay in single nanoseconds.

use criterion::{Criterion, criterion_group, criterion_main};
use omendb::base::CoreId;
use omendb::metrics::{CoreMetrics, QueryPath, QueryType};

fn recording(c: &mut Criterion) {
    let metrics = CoreMetrics::new(CoreId(0), 2);
    let mut duration_ns = 10_000;
    c.bench_function("a counter", |b| b.iter(|| metrics.sql.took_path(QueryPath::PointLocal)));
    c.bench_function("a power of two", |b| b.iter(|| metrics.index.prediction_error.record(std::hint::black_box(3))));
    c.bench_function("a finished statement", |b| {
        b.iter(|| {
            // Durations vary, so that the histogram's lines are not all in the first-level cache.
            duration_ns = (duration_ns * 1_103_515_245 + 12_345) % 5_000_000;
            metrics.sql.finished(QueryType::Select, duration_ns, 1);
        });
    });
    c.bench_function("a snapshot", |b| b.iter(|| metrics.snapshot()));
}

criterion_group!(benches, recording);
criterion_main!(benches);
