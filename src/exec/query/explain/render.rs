//! The shown plan as text, in PostgreSQL's layout, or as JSON.

use std::fmt::Write;
use std::time::Duration;

use super::{Estimate, Shown, Times};
use crate::exec::query::profile::Measure;
use crate::sql::utility::ExplainOptions;

/// One line each.
pub fn text(shown: &Shown, options: &ExplainOptions, times: Times) -> Vec<String> {
    let mut lines = Vec::new();
    text_of(shown, 0, options, &mut lines);
    for (name, time) in [("Planning Time", times.planning), ("Execution Time", times.execution)] {
        lines.extend(time.map(|time| format!("{name}: {} ms", millis(time, 1))));
    }
    lines
}

fn text_of(shown: &Shown, depth: usize, options: &ExplainOptions, lines: &mut Vec<String>) {
    let actual = shown.measure.map_or(String::new(), |measure| format!(" ({})", actual(&measure, options)));
    // Two spaces, as where PostgreSQL has the costs too.
    let Estimate { rows, width } = shown.estimate;
    let expected = if options.costs { format!("  (rows={rows:.0} width={width:.0})") } else { String::new() };
    let title = &shown.title;
    lines.push(match depth {
        0 => format!("{title}{expected}{actual}"),
        _ => format!("{}->  {title}{expected}{actual}", " ".repeat(depth * 6 - 4)),
    });
    let indent = " ".repeat(depth * 6 + 2);
    lines.extend(shown.properties.iter().map(|(name, value)| format!("{indent}{name}: {value}")));
    lines
        .extend(shown.removed.filter(|removed| *removed > 0).map(|removed| format!("{indent}Rows Removed by Filter: {removed}")));
    shown.inputs.iter().for_each(|input| text_of(input, depth + 1, options, lines));
}

/// Averages over the loops, as PostgreSQL gives them.
fn actual(measure: &Measure, options: &ExplainOptions) -> String {
    if measure.loops == 0 {
        return "never executed".to_owned();
    }
    let time = match options.timing {
        true => format!("time={}..{} ", millis(measure.startup, measure.loops), millis(measure.total, measure.loops)),
        false => String::new(),
    };
    format!("actual {time}rows={} loops={}", average(measure), measure.loops)
}

/// Rows a loop, rounded.
fn average(measure: &Measure) -> u64 {
    let loops = measure.loops.max(1);
    (measure.rows + loops / 2) / loops
}

fn millis(time: Duration, loops: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    let millis = time.as_secs_f64() * 1e3 / loops.max(1) as f64;
    format!("{millis:.3}")
}

/// An array of one object.
pub fn json(shown: &Shown, options: &ExplainOptions, times: Times) -> String {
    let mut out = "[\n  {\n    \"Plan\": ".to_owned();
    object(shown, None, 4, options, &mut out);
    let time =
        |name: &str, time: Option<Duration>| time.map_or(String::new(), |time| format!(",\n    \"{name}\": {}", millis(time, 1)));
    out += &time("Planning Time", times.planning);
    if options.analyze {
        out += ",\n    \"Triggers\": [\n    ]";
    }
    out += &time("Execution Time", times.execution);
    out += "\n  }\n]";
    out
}

/// An operator, with its braces; what follows them is on a line that `indent` spaces begin.
fn object(shown: &Shown, relationship: Option<&str>, indent: usize, options: &ExplainOptions, out: &mut String) {
    let mut fields: Vec<(&str, String)> = vec![("Node Type", quoted(shown.node_type))];
    let first_fact = |(name, _): &&(&str, String)| *name == "Operation";
    let facts = || shown.facts.iter().map(|(name, value)| (*name, quoted(value)));
    fields.extend(shown.facts.iter().find(first_fact).map(|(name, value)| (*name, quoted(value))));
    fields.extend(relationship.map(|relationship| ("Parent Relationship", quoted(relationship))));
    fields.extend([("Parallel Aware", "false".to_owned()), ("Async Capable", "false".to_owned())]);
    fields.extend(facts().filter(|(name, _)| *name != "Operation"));
    if options.costs {
        fields.push(("Plan Rows", format!("{:.0}", shown.estimate.rows)));
        fields.push(("Plan Width", format!("{:.0}", shown.estimate.width)));
    }
    if let Some(measure) = &shown.measure {
        if options.timing {
            fields.push(("Actual Startup Time", millis(measure.startup, measure.loops)));
            fields.push(("Actual Total Time", millis(measure.total, measure.loops)));
        }
        fields.push(("Actual Rows", average(measure).to_string()));
        fields.push(("Actual Loops", measure.loops.to_string()));
    }
    fields.extend(shown.properties.iter().map(|(name, value)| {
        let list = || value.split(", ").map(quoted).collect::<Vec<_>>().join(", ");
        (*name, if *name == "Sort Key" { format!("[{}]", list()) } else { quoted(value) })
    }));
    fields.extend(shown.removed.map(|removed| ("Rows Removed by Filter", removed.to_string())));
    let pad = " ".repeat(indent);
    let lines: Vec<String> = fields.into_iter().map(|(name, value)| format!("{pad}  \"{name}\": {value}")).collect();
    let _ = write!(out, "{{\n{}", lines.join(",\n"));
    if !shown.inputs.is_empty() {
        let _ = write!(out, ",\n{pad}  \"Plans\": [");
        for (i, input) in shown.inputs.iter().enumerate() {
            let relationship = if i == 0 { "Outer" } else { "Inner" };
            let _ = write!(out, "{}\n{pad}    ", if i == 0 { "" } else { "," });
            object(input, Some(relationship), indent + 4, options, out);
        }
        let _ = write!(out, "\n{pad}  ]");
    }
    let _ = write!(out, "\n{pad}}}");
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for ch in text.chars() {
        match ch {
            '"' | '\\' => out.extend(['\\', ch]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ch if u32::from(ch) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(ch));
            }
            ch => out.push(ch),
        }
    }
    out.push('"');
    out
}
