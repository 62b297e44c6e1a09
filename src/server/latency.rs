//! `omendb latency` prints what a running server has timed: percentiles by core, kind of statement and stage, since the last reset or
//! interval by interval, and keeps the histograms of the intervals in the log format of HdrHistogram if asked to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::config::{Config, LatencyOptions};
use crate::server::client::{self, told};
use crate::server::offline::say;

/// The percentiles of the table.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99), ("p99.999", 99.999)];

/// What was timed: the core, `statement` or `stage`, and which.
type Timed = (i32, String, String);

/// Histograms of nanoseconds.
type Latencies = BTreeMap<Timed, Histogram<u64>>;

/// Prints the latencies of the server that `config` describes.
pub fn print(config: &Config, options: &LatencyOptions) -> Result<(), String> {
    let mut client = client::connect(config, "omendb latency")?;
    if options.reset {
        client.simple_query("SELECT omendb_reset_latency()").map_err(|error| told(&error))?;
    }
    let Some(interval) = options.interval else {
        say(&table(&fetch(&mut client)?));
        return Ok(());
    };
    let mut file = options.log.as_deref().map(create).transpose()?;
    let mut serializer = V2DeflateSerializer::new();
    let wrong = |error: &dyn std::fmt::Display| format!("the log cannot be written: {error}");
    let (begun, started) = (SystemTime::now(), Instant::now());
    let mut log = match &mut file {
        Some(file) => Some(
            IntervalLogWriterBuilder::new()
                .add_comment("[Latencies of OmenDB in nanoseconds, by core and statement or stage]")
                .with_start_time(begun)
                .with_max_value_divisor(1e6)
                .begin_log_with(file, &mut serializer)
                .map_err(|error| wrong(&error))?,
        ),
        None => None,
    };
    let (mut before, mut since) = (fetch(&mut client)?, started.elapsed());
    for number in 1.. {
        sleep((interval * number).saturating_sub(started.elapsed()));
        let (now, until) = (fetch(&mut client)?, started.elapsed());
        let of_interval = difference(&now, &before);
        if let Some(log) = &mut log {
            write(log, &of_interval, since, until - since).map_err(|error| wrong(&error))?;
        }
        say(&format!("{} s\n{}", until.as_secs(), table(&of_interval)));
        (before, since) = (now, until);
        if options.intervals == Some(u64::from(number)) {
            break;
        }
    }
    Ok(())
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn fetch(client: &mut postgres::Client) -> Result<Latencies, String> {
    let rows =
        client.query("SELECT core, kind, name, histogram FROM omendb_latency_histograms", &[]).map_err(|error| told(&error))?;
    let mut deserializer = Deserializer::new();
    let mut found = Latencies::new();
    for row in rows {
        let text: &str = row.get(3);
        let bytes = BASE64.decode(text).map_err(|error| format!("the server has sent no base64: {error}"))?;
        let histogram =
            deserializer.deserialize(&mut &bytes[..]).map_err(|error| format!("the server has sent no histogram: {error}"))?;
        found.insert((row.get(0), row.get(1), row.get(2)), histogram);
    }
    Ok(found)
}

/// What has come since. A server that was reset meanwhile has begun anew.
fn difference(now: &Latencies, before: &Latencies) -> Latencies {
    let since = |(timed, histogram): (&Timed, &Histogram<u64>)| {
        let mut histogram = histogram.clone();
        if let Some(before) = before.get(timed) {
            let whole = histogram.clone();
            if histogram.subtract(before).is_err() {
                histogram = whole;
            }
        }
        (!histogram.is_empty()).then(|| (timed.clone(), histogram))
    };
    now.iter().filter_map(since).collect()
}

fn write(
    log: &mut IntervalLogWriter<'_, '_, File, V2DeflateSerializer>,
    latencies: &Latencies,
    since: Duration,
    lasted: Duration,
) -> Result<(), String> {
    for ((core, kind, name), histogram) in latencies {
        let tag = format!("core{core}.{kind}.{name}");
        let tag = Tag::new(&tag).ok_or_else(|| format!("{tag} cannot be a tag"))?;
        log.write_histogram(histogram, since, lasted, Some(tag)).map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

/// A line for each core and thing that was timed, and one for all cores together.
fn table(latencies: &Latencies) -> String {
    let mut together: BTreeMap<(&str, &str), Histogram<u64>> = BTreeMap::new();
    for ((_, kind, name), histogram) in latencies {
        match together.get_mut(&(kind.as_str(), name.as_str())) {
            Some(sum) => sum.add(histogram).expect("a server's histograms have the same bounds"),
            None => drop(together.insert((kind, name), histogram.clone())),
        }
    }
    let mut text = format!("{:<9} {:<12} {:>5} {:>12}", "", "", "core", "count");
    for heading in ["mean"].into_iter().chain(PERCENTILES.iter().map(|(heading, _)| *heading)).chain(["max"]) {
        write!(text, " {heading:>10}").expect("a string takes everything");
    }
    text.push_str("  (microseconds)\n");
    for (&(kind, name), sum) in &together {
        line(&mut text, (kind, name), "all", sum);
        let cores = latencies.iter().filter(|((_, of_kind, of_name), _)| of_kind == kind && of_name == name);
        for ((core, _, _), histogram) in cores {
            line(&mut text, (kind, name), &core.to_string(), histogram);
        }
    }
    text
}

fn line(text: &mut String, (kind, name): (&str, &str), core: &str, histogram: &Histogram<u64>) {
    let mut add = |field: std::fmt::Arguments<'_>| text.write_fmt(field).expect("a string takes everything");
    add(format_args!("{kind:<9} {name:<12} {core:>5} {:>12}", histogram.len()));
    let percentiles = PERCENTILES.iter().map(|(_, percent)| histogram.value_at_percentile(*percent) as f64);
    for nanos in [histogram.mean()].into_iter().chain(percentiles).chain([histogram.max() as f64]) {
        add(format_args!(" {:>10.1}", nanos / 1e3));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(counts: &[(i32, u64)]) -> Latencies {
        let of_core = |&(core, count): &(i32, u64)| {
            let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000, 3).expect("the bounds are right");
            histogram.record_n(50_000, count).expect("it is within the bounds");
            ((core, "stage".to_owned(), "execute".to_owned()), histogram)
        };
        counts.iter().map(of_core).collect()
    }

    #[test]
    fn an_interval_is_what_has_come_since() {
        let of_interval = difference(&latencies(&[(0, 5), (1, 7)]), &latencies(&[(0, 2), (1, 7)]));
        assert_eq!(of_interval.values().map(Histogram::len).collect::<Vec<_>>(), [3]);
        let after_reset = difference(&latencies(&[(0, 1)]), &latencies(&[(0, 2)]));
        assert_eq!(after_reset.values().map(Histogram::len).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn the_table_has_all_cores_and_each() {
        let text = table(&latencies(&[(0, 5), (1, 7)]));
        let lines: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let heads: Vec<_> = lines.iter().map(|line| (line[2], line[3], line[5])).collect();
        assert_eq!(heads, [("all", "12", "50.0"), ("0", "5", "50.0"), ("1", "7", "50.0")]);
    }
}
