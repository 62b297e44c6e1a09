//! What each core counts and times, as SQL shows it: metrics, latencies, slow statements, tablets and their indexes.

use std::collections::HashMap;

use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::privileges::{reads_column, shows_table};
use super::{Rows, SystemContext};
use crate::base::{CoreId, StorageId};
use crate::catalog::{SchemaDef, TableDef};
use crate::metrics::export;
use crate::metrics::{
    CoreLatencies, CoreSnapshot, Kind, Latency, PoolFigure, PoolFigures, SampleValue, SlowStatement, Stage, Timed, add_each,
    families, ladder,
};
use crate::storage::{CurvePoint, Key, TabletFigures};
use crate::types::Datum;

/// Points of a tablet's curve.
pub const CURVE_POINTS: usize = 200;
/// Bytes of a key that are shown.
const KEY_BYTES_MAX: usize = 32;
/// The percentiles of the views, and their columns.
const PERCENTILES: [(f64, &str); 6] =
    [(50.0, "p50_us"), (90.0, "p90_us"), (99.0, "p99_us"), (99.9, "p999_us"), (99.99, "p9999_us"), (99.999, "p99999_us")];

/// What a core is asked to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Everything that is exported.
    Metrics,
    /// Clients and the sessions they share.
    Pools,
    /// Latencies and slow statements since the last reset.
    Latencies,
    /// Its tablets.
    Tablets,
    /// Where their keys are, and where the models expect them.
    Curves,
    /// Nothing; it is to forget the latencies.
    ResetLatencies,
}

/// What a core tells. What it was not asked for is empty.
#[derive(Clone, Debug)]
pub struct CoreFigures {
    /// The core.
    pub core: CoreId,
    /// Everything that is exported.
    pub metrics: Option<CoreSnapshot>,
    /// Clients and the sessions they share.
    pub pool: Option<PoolFigures>,
    /// Latencies and slow statements.
    pub latencies: Option<CoreLatencies>,
    /// Tablets, with their curves if those were asked for.
    pub tablets: Vec<(TabletFigures, Vec<CurvePoint>)>,
}

/// What has to be asked of the cores for a table.
pub fn look(table: &str) -> Option<Look> {
    match table {
        "omendb_metrics" | "omendb_latency_buckets" => Some(Look::Metrics),
        "omendb_pools" => Some(Look::Pools),
        "omendb_core_latency" | "omendb_stage_latency" | "omendb_latency_histograms" | "omendb_slow_statements" => {
            Some(Look::Latencies)
        }
        "omendb_tablets" => Some(Look::Tablets),
        "omendb_index_curve" => Some(Look::Curves),
        _ => None,
    }
}

/// Fills a table of this module; no rows for any other.
pub(super) fn fill(table: &str, context: &SystemContext<'_>, rows: &mut Rows) {
    match table {
        "omendb_metrics" => metrics(context, rows),
        "omendb_latency_buckets" => buckets(context, rows),
        "omendb_pools" => pools(context, rows),
        "omendb_core_latency" => latencies(context, |of| matches!(of, Timed::Statement(_)), "query_type", rows),
        "omendb_stage_latency" => latencies(context, |of| matches!(of, Timed::Stage(_)), "stage", rows),
        "omendb_latency_histograms" => histograms(context, rows),
        "omendb_slow_statements" => slow_statements(context, rows),
        "omendb_tablets" => tablets(context, rows),
        "omendb_index_curve" => curves(context, rows),
        _ => {}
    }
}

fn core(core: CoreId) -> (&'static str, Datum) {
    ("core", Datum::Int4(i32::from(core.0)))
}

fn count(count: impl TryInto<i64>) -> Datum {
    Datum::Int8(count.try_into().unwrap_or(i64::MAX))
}

fn micros(nanos: f64) -> Datum {
    Datum::Float8(nanos / 1e3)
}

fn metrics(context: &SystemContext<'_>, rows: &mut Rows) {
    let snapshots: Vec<CoreSnapshot> = context.cores.iter().filter_map(|core| core.metrics.clone()).collect();
    let Some(server) = context.server else { return };
    for sample in export::everything(&snapshots, server).samples {
        let kind = match sample.family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let (of_core, others): (Vec<_>, Vec<_>) = sample.labels.iter().partition(|(name, _)| *name == "core");
        let labels: Vec<String> = others.iter().map(|(name, text)| format!("{name}=\"{text}\"")).collect();
        let core = of_core.first().and_then(|(_, number)| number.parse().ok()).map_or(Datum::Null, Datum::Int4);
        let mut add = |suffix: &str, value: f64| {
            rows.add([
                ("name", Datum::text(&format!("{}{suffix}", sample.family.name))),
                ("labels", Datum::text(&labels.join(","))),
                ("core", core.clone()),
                ("kind", Datum::text(kind)),
                ("value", Datum::Float8(value)),
            ]);
        };
        let unit = sample.family.unit;
        match &sample.value {
            SampleValue::Counter(value) => add("", unit.exported(*value as f64)),
            SampleValue::Gauge(value) => add("", unit.exported(*value as f64)),
            SampleValue::Ladder { steps, sum } => {
                add("_count", steps.iter().sum::<u64>() as f64);
                add("_sum", unit.exported(*sum as f64));
            }
            SampleValue::Log2 { counts, sum } => {
                add("_count", counts.iter().sum::<u64>() as f64);
                add("_sum", unit.exported(*sum as f64));
            }
        }
    }
}

/// Clients and the sessions they share, core by core.
fn pools(context: &SystemContext<'_>, rows: &mut Rows) {
    for (of_core, pool) in context.cores.iter().filter_map(|of_core| Some((of_core.core, of_core.pool.as_ref()?))) {
        let figures = pool.iter().map(|&(name, figure)| {
            let value = match figure {
                PoolFigure::Count(count) => Datum::Int8(count),
                PoolFigure::Milliseconds(time) => time.map_or(Datum::Null, Datum::Float8),
            };
            (name, value)
        });
        rows.add([core(of_core)].into_iter().chain(figures));
    }
}

/// Statements of all kinds by how long they took.
fn buckets(context: &SystemContext<'_>, rows: &mut Rows) {
    let bounds = ladder::bounds(families::SQL_DURATION.unit);
    for snapshot in context.cores.iter().filter_map(|core| core.metrics.as_ref()) {
        let mut together = vec![0; bounds.len() + 1];
        for sample in snapshot.samples.iter().filter(|sample| *sample.family == families::SQL_DURATION) {
            let SampleValue::Ladder { steps, .. } = &sample.value else { continue };
            add_each(&mut together, steps);
        }
        let upper_ns = bounds.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
        for (upper_ns, on_step) in upper_ns.zip(together).filter(|(_, on_step)| *on_step > 0) {
            rows.add([core(snapshot.core), ("upper_us", micros(upper_ns)), ("count", count(on_step))]);
        }
    }
}

fn of_cores<'a>(context: &'a SystemContext<'_>) -> impl Iterator<Item = &'a CoreLatencies> {
    context.cores.iter().filter_map(|core| core.latencies.as_ref())
}

fn latencies(context: &SystemContext<'_>, wanted: impl Fn(Timed) -> bool, what: &'static str, rows: &mut Rows) {
    for of_core in of_cores(context) {
        for Latency { of, histogram } in of_core.latencies.iter().filter(|latency| wanted(latency.of)) {
            let figures = [
                core(of_core.core),
                (what, Datum::text(of.label())),
                ("count", count(histogram.len())),
                ("mean_us", micros(histogram.mean())),
                ("min_us", micros(histogram.min() as f64)),
                ("max_us", micros(histogram.max() as f64)),
            ];
            let percentile = |(percent, column)| (column, micros(histogram.value_at_percentile(percent) as f64));
            rows.add(figures.into_iter().chain(PERCENTILES.map(percentile)));
        }
    }
}

/// Each histogram whole, as HdrHistogram's logs have it: V2, compressed, base64.
fn histograms(context: &SystemContext<'_>, rows: &mut Rows) {
    let mut serializer = V2DeflateSerializer::new();
    for of_core in of_cores(context) {
        for Latency { of, histogram } in &of_core.latencies {
            let mut bytes = Vec::new();
            serializer.serialize(histogram, &mut bytes).expect("a vector takes every byte");
            rows.add([
                core(of_core.core),
                ("kind", Datum::text(of.kind())),
                ("name", Datum::text(of.label())),
                ("histogram", Datum::text(&BASE64.encode(bytes))),
            ]);
        }
    }
}

fn slow_statements(context: &SystemContext<'_>, rows: &mut Rows) {
    let mut all: Vec<(CoreId, &SlowStatement)> =
        of_cores(context).flat_map(|core| core.slowest.iter().map(|statement| (core.core, statement))).collect();
    all.sort_by_key(|(_, statement)| std::cmp::Reverse(statement.duration_ns));
    for (of_core, statement) in all {
        let own = context.catalog.has_privileges_of(context.role, statement.role);
        let query = if own { &statement.query } else { "<insufficient privilege>" };
        let columns = ["receive_us", "queue_us", "parse_us", "plan_us", "execute_us", "lock_wait_us", "log_wait_us", "send_us"];
        const { assert!(Stage::COUNT == 8, "there is a column for each stage, in their order") };
        let stages = columns.into_iter().zip(statement.stages.iter().map(|nanos| micros(*nanos as f64)));
        let whole = [
            core(of_core),
            ("pid", Datum::Int4(statement.pid)),
            ("usename", Datum::text(&statement.user)),
            ("finished_at", Datum::TimestampTz(statement.finished_micros)),
            ("duration_us", micros(statement.duration_ns as f64)),
            ("rows", count(statement.rows)),
            ("query", Datum::text(query)),
        ];
        rows.add(whole.into_iter().chain(stages));
    }
}

/// The tables by where their rows are.
fn by_storage<'a>(context: &SystemContext<'a>) -> HashMap<StorageId, (&'a SchemaDef, &'a TableDef)> {
    super::relations::user_tables(context).map(|(schema, table)| (table.storage, (schema, table))).collect()
}

/// A key as text: a number, or the beginning of its memcomparable bytes.
fn key_text(key: &Key) -> String {
    match key {
        Key::Int(number) => number.to_string(),
        Key::Bytes(bytes) => {
            let shown = &bytes[..bytes.len().min(KEY_BYTES_MAX)];
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{hex}{}", if shown.len() < bytes.len() { "…" } else { "" })
        }
    }
}

/// A key as a number that keeps the order, to draw it: of byte strings the first eight bytes.
fn key_number(key: &Key) -> f64 {
    match key {
        Key::Int(number) => *number as f64,
        Key::Bytes(bytes) => {
            let mut first = [0; 8];
            let known = bytes.len().min(8);
            first[..known].copy_from_slice(&bytes[..known]);
            u64::from_be_bytes(first) as f64
        }
    }
}

fn tablets(context: &SystemContext<'_>, rows: &mut Rows) {
    let tables = by_storage(context);
    let end = |key: &Option<Key>| key.as_ref().map_or(Datum::Null, |key| Datum::text(&key_text(key)));
    for of_core in context.cores {
        for (tablet, _) in &of_core.tablets {
            let Some((schema, table)) = tables.get(&tablet.storage) else { continue };
            let index = &tablet.index;
            let examined: u64 = index.prediction_error_positions.iter().sum();
            // By the upper end of the bucket: 0, 1, 2, 4, 8 …
            let upper = |bucket: usize| if bucket == 0 { 0 } else { 1_u64 << (bucket - 1) };
            let errors: u64 = index.prediction_error_positions.iter().enumerate().map(|(bucket, n)| upper(bucket) * n).sum();
            let own = table.primary_key.as_ref().map_or(Datum::Null, |key| Datum::text(&key.name));
            rows.add([
                core(of_core.core),
                ("schemaname", Datum::text(&schema.name)),
                ("relname", Datum::text(&table.name)),
                ("indexname", own),
                ("tablet", count(tablet.id.0)),
                ("lower_key", end(&tablet.lower)),
                ("upper_key", end(&tablet.upper)),
                ("rows", count(tablet.keys)),
                ("versions", count(tablet.versions)),
                ("index_bytes", count(tablet.index_bytes)),
                ("row_bytes", count(tablet.heap_bytes)),
                ("lookups", count(index.hits + index.misses)),
                ("depth", Datum::Int4(i32::try_from(index.depth).unwrap_or(i32::MAX))),
                ("leaves", count(index.leaves)),
                ("inner_nodes", count(index.inner_nodes)),
                ("fill", Datum::Float8(index.leaf_fill_per_mille as f64 / 1e3)),
                ("mean_error", if examined == 0 { Datum::Null } else { Datum::Float8(errors as f64 / examined as f64) }),
                ("hits", count(index.hits)),
                ("misses", count(index.misses)),
                ("structural_changes", count(index.splits + index.merges + index.retrains + index.appends)),
            ]);
        }
    }
}

fn curves(context: &SystemContext<'_>, rows: &mut Rows) {
    let tables = by_storage(context);
    for of_core in context.cores {
        for (tablet, curve) in &of_core.tablets {
            let Some((schema, table)) = tables.get(&tablet.storage) else { continue };
            // Keys are values of rows.
            let mut key = table.primary_key.iter().flat_map(|key| &key.columns);
            if !shows_table(table, context) || !key.all(|column| reads_column(table, *column, context)) {
                continue;
            }
            let own = table.primary_key.as_ref().map_or(Datum::Null, |key| Datum::text(&key.name));
            for point in curve {
                rows.add([
                    core(of_core.core),
                    ("schemaname", Datum::text(&schema.name)),
                    ("relname", Datum::text(&table.name)),
                    ("indexname", own.clone()),
                    ("tablet", count(tablet.id.0)),
                    ("key", Datum::Float8(key_number(&point.key))),
                    ("key_text", Datum::text(&key_text(&point.key))),
                    ("position", count(point.position)),
                    ("predicted", Datum::Float8(point.predicted as f64)),
                ]);
            }
        }
    }
}
