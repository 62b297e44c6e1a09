//! From merged snapshots to Prometheus text.

mod openmetrics;

use std::collections::HashMap;

use prometheus::proto::{Bucket, Counter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::cell::LOG2_BUCKETS;
use super::families::{self, Family, Kind, Unit};
use super::ladder;
use super::process::ProcessFigures;
use super::snapshot::{CoreSnapshot, Merged, Sample, SampleValue, merge};

/// What the page says beside the cores' own figures.
#[derive(Clone, Debug)]
pub struct ServerFigures {
    /// The server's version.
    pub version: &'static str,
    /// Cores it runs on.
    pub cores: usize,
    /// Seconds since start.
    pub uptime_s: u64,
    /// Client connections that are let in at once.
    pub connections_max: usize,
    /// Memory for data from which writes are refused.
    pub memory_limit_bytes: usize,
    /// Of the process.
    pub process: ProcessFigures,
}

/// The content type of [`prometheus_text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The content type of [`openmetrics_text`].
pub const OPENMETRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole page.
pub fn prometheus_text(snapshots: &[CoreSnapshot], server: &ServerFigures) -> String {
    let families = metric_families(&everything(snapshots, server));
    let mut page = Vec::with_capacity(64 * 1024);
    TextEncoder::new().encode(&families, &mut page).expect("families are never empty and a vector takes every byte");
    String::from_utf8(page).expect("names, labels and numbers are UTF-8")
}

/// The same page in the OpenMetrics format.
pub fn openmetrics_text(snapshots: &[CoreSnapshot], server: &ServerFigures) -> String {
    openmetrics::page(&metric_families(&everything(snapshots, server)))
}

/// What all cores and the server itself have to tell.
pub fn everything(snapshots: &[CoreSnapshot], server: &ServerFigures) -> Merged {
    let mut merged = merge(snapshots);
    push_server_figures(&mut merged, server);
    merged
}

/// The merged samples as Prometheus families, in the order of [`families::ALL`], samples ordered by label.
pub fn metric_families(merged: &Merged) -> Vec<MetricFamily> {
    let mut found = Vec::new();
    let mut by_family: HashMap<&str, Vec<&Sample>> = HashMap::new();
    for sample in &merged.samples {
        by_family.entry(sample.family.name).or_default().push(sample);
    }
    for &family in families::ALL {
        let Some(mut samples) = by_family.remove(family.name) else { continue };
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut out = MetricFamily::default();
        out.set_name(family.name.to_string());
        out.set_help(family.help.to_string());
        out.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        out.set_metric(samples.into_iter().map(metric).collect());
        found.push(out);
    }
    found
}

fn metric(sample: &Sample) -> Metric {
    let mut out = Metric::default();
    out.set_label(sample.labels.iter().map(|(name, value)| label(name, value)).collect());
    let unit = sample.family.unit;
    match &sample.value {
        SampleValue::Counter(n) => {
            let mut counter = Counter::default();
            counter.set_value(unit.exported(*n as f64));
            out.set_counter(counter);
        }
        SampleValue::Gauge(n) => {
            let mut gauge = Gauge::default();
            gauge.set_value(unit.exported(*n as f64));
            out.set_gauge(gauge);
        }
        SampleValue::Ladder { steps, sum } => out.set_histogram(of_ladder(unit, steps, *sum)),
        SampleValue::Log2 { counts, sum } => out.set_histogram(of_log2(unit, counts, *sum)),
    }
    out
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_string());
    pair.set_value(value.to_string());
    pair
}

fn of_ladder(unit: Unit, steps: &[u64], sum: u64) -> ProtoHistogram {
    let mut below = 0;
    let buckets = ladder::bounds(unit).iter().zip(steps).map(|(bound, count)| {
        below += count;
        bucket(unit.exported(*bound as f64), below)
    });
    finish(buckets.collect(), steps.iter().sum(), unit.exported(sum as f64))
}

fn of_log2(unit: Unit, counts: &[u64; LOG2_BUCKETS], sum: u64) -> ProtoHistogram {
    let mut below = 0;
    let mut buckets = Vec::with_capacity(LOG2_BUCKETS);
    for (number, count) in counts.iter().enumerate().take(LOG2_BUCKETS - 1) {
        below += count;
        buckets.push(bucket(unit.exported(((1_u64 << number) - 1) as f64), below));
    }
    finish(buckets, counts.iter().sum(), unit.exported(sum as f64))
}

fn bucket(upper_bound: f64, cumulative_count: u64) -> Bucket {
    let mut bucket = Bucket::default();
    bucket.set_upper_bound(upper_bound);
    bucket.set_cumulative_count(cumulative_count);
    bucket
}

fn finish(buckets: Vec<Bucket>, count: u64, sum: f64) -> ProtoHistogram {
    let mut out = ProtoHistogram::default();
    out.set_bucket(buckets);
    out.set_sample_count(count);
    out.set_sample_sum(sum);
    out
}

fn push_server_figures(merged: &mut Merged, server: &ServerFigures) {
    let mut gauge = |family: &'static Family, labels, value: Option<u64>| {
        if let Some(value) = value {
            let value = SampleValue::Gauge(i64::try_from(value).unwrap_or(i64::MAX));
            merged.samples.push(Sample { family, labels, value });
        }
    };
    gauge(&families::BUILD_INFO, vec![("version", server.version.into())], Some(1));
    gauge(&families::CORES, Vec::new(), Some(server.cores as u64));
    gauge(&families::UPTIME, Vec::new(), Some(server.uptime_s));
    gauge(&families::CONNECTIONS_LIMIT, Vec::new(), Some(server.connections_max as u64));
    gauge(&families::MEMORY_LIMIT, Vec::new(), Some(server.memory_limit_bytes as u64));
    let process = &server.process;
    gauge(&families::PROCESS_RSS, Vec::new(), process.resident_bytes);
    gauge(&families::PROCESS_VSIZE, Vec::new(), process.virtual_bytes);
    gauge(&families::PROCESS_FDS, Vec::new(), process.open_fds);
    gauge(&families::PROCESS_FDS_MAX, Vec::new(), process.max_fds);
    gauge(&families::PROCESS_THREADS, Vec::new(), process.threads);
    gauge(&families::PROCESS_START, Vec::new(), process.start_time_s);
    if let Some(cpu_ns) = process.cpu_ns {
        let value = SampleValue::Counter(cpu_ns);
        merged.samples.push(Sample { family: &families::PROCESS_CPU, labels: Vec::new(), value });
    }
}
