//! What lies beside the code says what the code does: the sample configuration is the defaults, and every metric named in alerts
//! and documents exists.

use std::ffi::OsString;

use omendb::catalog::system;
use omendb::config::{Machine, SETTINGS, from_parts};
use omendb::metrics::families;

use crate::source;

fn read(path: &str) -> String {
    std::fs::read_to_string(source::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_sample_configuration_is_the_defaults() {
    let machine = Machine { cpus: vec![0, 1], memory_bytes: 1 << 34 };
    let path = source::root().join("tuning/omendb.toml");
    let with_file = vec![OsString::from("omendb"), OsString::from("--config"), path.into_os_string()];
    let sample = from_parts(with_file, Vec::new(), &machine).expect("the sample is valid");
    let defaults = from_parts(vec![OsString::from("omendb")], Vec::new(), &machine).expect("the defaults are valid");
    assert_eq!(sample.config, defaults.config);
    let text = read("tuning/omendb.toml");
    for setting in SETTINGS {
        assert!(text.lines().any(|line| line.starts_with(&format!("{} = ", setting.key))), "{} is in the sample", setting.key);
    }
}

/// Words like `omendb_x_y` in a text, without the endings that Prometheus adds to histograms.
fn metric_names(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("omendb_") && word.len() > "omendb_".len());
    let bare = |word: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_string()
    };
    ours.map(bare).collect()
}

#[test]
fn named_metrics_and_views_exist() {
    for path in ["tuning/alerts.yml", "tuning/grafana-dashboard.json", "README.md", "docs/architecture.md"] {
        for name in metric_names(&read(path)) {
            let is_metric = families::ALL.iter().any(|family| family.name == name);
            let is_view = system::by_name("pg_catalog", &name).is_some() || name == "omendb_reset_latency";
            assert!(is_metric || is_view, "{path} names {name}");
        }
    }
    assert_eq!(metric_names("rate(omendb_a_b_bucket[5m]) `omendb_c`"), ["omendb_a_b", "omendb_c"]);
    assert!(!metric_names(&read("tuning/alerts.yml")).is_empty());
}
