//! The OpenMetrics text format, which the `prometheus` crate has no encoder for.
//!
//! It differs from Prometheus' text in that a counter's family has no `_total`, which its samples have, that numbers of `le` are always
//! floats, and that the page has an end that says that nothing is missing.
//!
//! Source: the OpenMetrics specification 1.0.0, "Text format".

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

/// The families as a page.
pub(super) fn page(families: &[MetricFamily]) -> String {
    let mut out = String::with_capacity(64 * 1024);
    for family in families {
        // A counter's samples carry the suffix; the registry of names sees to it that all have it.
        let name = family.name();
        let base = name.strip_suffix("_total").unwrap_or(name);
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        line(&mut out, format_args!("# HELP {base} {}", escaped(family.help())));
        line(&mut out, format_args!("# TYPE {base} {kind}"));
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match family.get_field_type() {
                MetricType::COUNTER => sample(&mut out, name, "", labels, None, metric.get_counter().get_value()),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    for bucket in histogram.get_bucket() {
                        let (bound, count) = (bucket.upper_bound(), bucket.cumulative_count());
                        sample(&mut out, name, "_bucket", labels, Some(bound), count as f64);
                    }
                    sample(&mut out, name, "_bucket", labels, Some(f64::INFINITY), histogram.get_sample_count() as f64);
                    sample(&mut out, name, "_sum", labels, None, histogram.get_sample_sum());
                    sample(&mut out, name, "_count", labels, None, histogram.get_sample_count() as f64);
                }
                _ => sample(&mut out, name, "", labels, None, metric.get_gauge().get_value()),
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes everything");
}

fn sample(out: &mut String, name: &str, suffix: &str, labels: &[LabelPair], bound: Option<f64>, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    let mut separator = '{';
    for label in labels {
        write!(out, "{separator}{}=\"{}\"", label.name(), escaped(label.value())).expect("a string takes everything");
        separator = ',';
    }
    if let Some(bound) = bound {
        write!(out, "{separator}le=\"").expect("a string takes everything");
        if bound.is_infinite() {
            out.push_str("+Inf")
        } else {
            write!(out, "{bound:?}").expect("a string takes everything")
        }
        out.push('"');
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    line(out, format_args!(" {value}"));
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}
