//! What a core hands out when asked ([`CoreSnapshot`]) and what the snapshots of all cores are together ([`Merged`]).
//!
//! A snapshot is a flat list of samples, so a new metric needs no new field here. It is `Send`; it travels by message.

use std::borrow::Cow;
use std::collections::HashMap;

use super::cell::{LOG2_BUCKETS, Log2Distribution};
use super::distribution::Distribution;
use super::families::{Family, Kind};
use crate::base::CoreId;

/// The labels of a sample, without the core.
pub type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// A value with its name and labels.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The family it belongs to.
    pub family: &'static Family,
    /// Its labels, in the order of export; the core comes separately.
    pub labels: Labels,
    /// The value.
    pub value: SampleValue,
}

/// A value as recorded (see [`super::Unit`]).
#[derive(Clone, Debug)]
pub enum SampleValue {
    /// Of a counter.
    Counter(u64),
    /// Of a gauge.
    Gauge(i64),
    /// Of an HDR distribution with at least one value.
    Ladder {
        /// How many values lie on each step of the ladder of its unit (see [`bounds`](super::ladder::bounds)).
        steps: Box<[u64]>,
        /// The exact sum.
        sum: u64,
    },
    /// Of a power-of-two distribution.
    Log2 {
        /// Counts by power of two, as [`Log2Distribution::counts`].
        counts: Box<[u64; LOG2_BUCKETS]>,
        /// The exact sum.
        sum: u64,
    },
}

impl SampleValue {
    /// Add another core's value of the same sample.
    fn merge(&mut self, other: &SampleValue) {
        match (self, other) {
            (SampleValue::Counter(a), SampleValue::Counter(b)) => *a = a.wrapping_add(*b),
            (SampleValue::Gauge(a), SampleValue::Gauge(b)) => *a += *b,
            (SampleValue::Ladder { steps, sum }, SampleValue::Ladder { steps: other, sum: more }) => {
                add_each(steps, other);
                *sum = sum.wrapping_add(*more);
            }
            (SampleValue::Log2 { counts, sum }, SampleValue::Log2 { counts: other, sum: more }) => {
                add_each(&mut counts[..], &other[..]);
                *sum = sum.wrapping_add(*more);
            }
            (a, b) => panic!("samples of one family are of one kind, not {a:?} and {b:?}"),
        }
    }

    /// The number itself, or for a distribution the number of values recorded.
    fn total(&self) -> i64 {
        match self {
            SampleValue::Counter(n) => i64::try_from(*n).unwrap_or(i64::MAX),
            SampleValue::Gauge(n) => *n,
            SampleValue::Ladder { steps, .. } => i64::try_from(steps.iter().sum::<u64>()).unwrap_or(i64::MAX),
            SampleValue::Log2 { counts, .. } => i64::try_from(counts.iter().sum::<u64>()).unwrap_or(i64::MAX),
        }
    }
}

/// Adds the counts of another distribution of the same family, step by step.
pub(crate) fn add_each(counts: &mut [u64], others: &[u64]) {
    assert_eq!(counts.len(), others.len(), "distributions of one family have the same steps");
    for (count, other) in counts.iter_mut().zip(others) {
        *count += other;
    }
}

/// Everything one core had counted at some moment.
#[derive(Clone, Debug)]
pub struct CoreSnapshot {
    /// The core.
    pub core: CoreId,
    /// What it had counted.
    pub samples: Vec<Sample>,
}

impl CoreSnapshot {
    /// The sum over all labels of a counter or gauge, or the number of values of a distribution; 0 for an unknown name.
    pub fn total(&self, name: &str) -> i64 {
        self.samples.iter().filter(|sample| sample.family.name == name).map(|sample| sample.value.total()).sum()
    }

    /// The same for the samples that have the label `label` with `value`.
    pub fn total_where(&self, name: &str, label: &str, value: &str) -> i64 {
        let matches = |sample: &&Sample| {
            sample.family.name == name && sample.labels.iter().any(|(key, text)| *key == label && *text == value)
        };
        self.samples.iter().filter(matches).map(|sample| sample.value.total()).sum()
    }
}

/// Builds a [`CoreSnapshot`]; the groups push into it.
#[derive(Debug)]
pub struct Collector {
    core: CoreId,
    samples: Vec<Sample>,
}

impl Collector {
    /// An empty one for `core`.
    pub fn new(core: CoreId) -> Self {
        // Room for every family with its usual labels, so that a scrape allocates once.
        Self { core, samples: Vec::with_capacity(160) }
    }

    /// Push a counter's value.
    pub fn counter(&mut self, family: &'static Family, labels: Labels, value: u64) {
        assert_eq!(family.kind, Kind::Counter, "{} is a counter", family.name);
        self.samples.push(Sample { family, labels, value: SampleValue::Counter(value) });
    }

    /// Push a gauge's value.
    pub fn gauge(&mut self, family: &'static Family, labels: Labels, value: i64) {
        assert_eq!(family.kind, Kind::Gauge, "{} is a gauge", family.name);
        self.samples.push(Sample { family, labels, value: SampleValue::Gauge(value) });
    }

    /// Push what a distribution counts on the steps of its unit's ladder, unless it is empty.
    pub fn distribution(&mut self, family: &'static Family, labels: Labels, of: &Distribution) {
        assert_eq!(family.kind, Kind::Histogram, "{} is a histogram", family.name);
        if let Some(steps) = of.steps(family.unit) {
            self.samples.push(Sample { family, labels, value: SampleValue::Ladder { steps, sum: of.sum() } });
        }
    }

    /// Push a copy of a power-of-two distribution.
    pub fn log2(&mut self, family: &'static Family, labels: Labels, of: &Log2Distribution) {
        assert_eq!(family.kind, Kind::Histogram, "{} is a histogram", family.name);
        let value = SampleValue::Log2 { counts: Box::new(of.counts()), sum: of.sum() };
        self.samples.push(Sample { family, labels, value });
    }

    /// The snapshot.
    pub fn finish(self) -> CoreSnapshot {
        CoreSnapshot { core: self.core, samples: self.samples }
    }
}

/// The snapshots of all cores together: summed families summed, per-core families with a label `core`.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// The samples; those of one family are not necessarily adjacent.
    pub samples: Vec<Sample>,
}

/// Merge the snapshots of all cores.
pub fn merge(snapshots: &[CoreSnapshot]) -> Merged {
    let mut merged = Merged::default();
    let mut place_of: HashMap<(&'static str, Labels), usize> = HashMap::new();
    for snapshot in snapshots {
        for sample in &snapshot.samples {
            let mut labels = sample.labels.clone();
            if sample.family.per_core {
                labels.insert(0, ("core", Cow::Owned(snapshot.core.to_string())));
            }
            match place_of.get(&(sample.family.name, labels.clone())) {
                Some(&place) => merged.samples[place].value.merge(&sample.value),
                None => {
                    place_of.insert((sample.family.name, labels.clone()), merged.samples.len());
                    merged.samples.push(Sample { family: sample.family, labels, value: sample.value.clone() });
                }
            }
        }
    }
    merged
}
