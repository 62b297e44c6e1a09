//! Sizes, durations and CPU lists as people write them.
//!
//! Units are PostgreSQL's (documentation, section 20.1.1): kB, MB, GB and TB are powers of 1024; us, ms, s, min, h, d. The
//! binary spellings (KiB, MiB, …) mean the same. Case does not matter.

use std::time::Duration;

/// A number and the unit behind it.
fn split(text: &str) -> Result<(u64, String), String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number = text[..digits].parse().map_err(|_| format!("\"{text}\" does not begin with a whole number"))?;
    Ok((number, text[digits..].trim().to_ascii_lowercase()))
}

/// A size in bytes; a bare number is bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "kb" | "kib" | "k" => 10,
        "mb" | "mib" | "m" => 20,
        "gb" | "gib" | "g" => 30,
        "tb" | "tib" | "t" => 40,
        _ => return Err(format!("\"{text}\" has no unit of size: use B, kB, MB, GB or TB")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("\"{text}\" is too large"))
}

/// A size in bytes, or a share of `whole` such as `60%`.
pub fn bytes_or_share(text: &str, whole: u64) -> Result<u64, String> {
    match text.trim().strip_suffix('%') {
        None => bytes(text),
        Some(percent) => match percent.trim().parse::<u64>() {
            Ok(percent) if (1..=100).contains(&percent) => Ok(whole / 100 * percent),
            _ => Err(format!("\"{text}\" is not a percentage from 1% to 100%")),
        },
    }
}

/// A duration; a bare number counts `bare` each.
pub fn duration(text: &str, bare: Duration) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let each = match unit.as_str() {
        "" => bare,
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "min" => Duration::from_secs(60),
        "h" => Duration::from_secs(60 * 60),
        "d" => Duration::from_secs(24 * 60 * 60),
        _ => return Err(format!("\"{text}\" has no unit of time: use us, ms, s, min, h or d")),
    };
    let factor = u32::try_from(number).map_err(|_| format!("\"{text}\" is too long"))?;
    each.checked_mul(factor).ok_or_else(|| format!("\"{text}\" is too long"))
}

/// The CPU of each core: `all`, a count (`2`), or a list of CPU numbers and ranges (`0,2` or `0-3` or, for one CPU, `1-1`).
///
/// A count beyond the CPUs there are wraps around: slow, but the way to try several cores on a small machine.
pub fn cores(text: &str, cpus: &[usize], cores_max: usize) -> Result<Vec<usize>, String> {
    assert!(!cpus.is_empty(), "a process runs on some CPU");
    let text = text.trim();
    let chosen = if text.eq_ignore_ascii_case("all") {
        cpus.to_vec()
    } else if let Ok(count) = text.parse::<usize>() {
        // Bounded before it is allocated.
        (0..count.min(cores_max + 1)).map(|core| cpus[core % cpus.len()]).collect()
    } else {
        cpu_list(text, cpus, cores_max)?
    };
    match chosen.len() {
        0 => Err("there must be at least one core".to_string()),
        count if count > cores_max => Err(format!("there can be at most {cores_max} cores")),
        _ => Ok(chosen),
    }
}

fn cpu_list(text: &str, cpus: &[usize], cores_max: usize) -> Result<Vec<usize>, String> {
    let malformed = || format!("\"{text}\" is not a number of cores, a list such as 0,1 or 0-3, or all");
    let mut chosen = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| malformed())?;
        let last: usize = last.trim().parse().map_err(|_| malformed())?;
        if first > last || last - first >= cores_max {
            return Err(malformed());
        }
        for cpu in first..=last {
            if !cpus.contains(&cpu) {
                return Err(format!("this process may not run on CPU {cpu}; it may on {}", join(cpus)));
            }
            if chosen.contains(&cpu) {
                return Err(format!("CPU {cpu} is there twice"));
            }
            chosen.push(cpu);
        }
    }
    Ok(chosen)
}

/// Numbers as text, comma-separated.
pub fn join(numbers: &[usize]) -> String {
    let texts: Vec<String> = numbers.iter().map(usize::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("17", Ok(17)),
            ("17 B", Ok(17)),
            ("2kB", Ok(2048)),
            ("3MiB", Ok(3 << 20)),
            (" 4 gb ", Ok(4 << 30)),
            ("1TB", Ok(1 << 40)),
            ("-1", Err("does not begin with a whole number")),
            ("", Err("does not begin with a whole number")),
            ("12parsec", Err("no unit of size")),
            ("99999999999TB", Err("too large")),
            ("99999999999999999999999", Err("does not begin with a whole number")),
        ] {
            check(text, bytes(text), expected);
        }
    }

    #[test]
    fn shares() {
        check("50%", bytes_or_share("50%", 1000), Ok(500));
        check("1MB", bytes_or_share("1MB", 1000), Ok(1 << 20));
        check("0%", bytes_or_share("0%", 1000), Err("percentage"));
        check("101%", bytes_or_share("101%", 1000), Err("percentage"));
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("50", Ok(Duration::from_secs(50))),
            ("50us", Ok(Duration::from_micros(50))),
            ("5min", Ok(Duration::from_secs(300))),
            ("1d", Ok(Duration::from_secs(86_400))),
            ("5 weeks", Err("no unit of time")),
            ("99999999999", Err("too long")),
        ] {
            check(text, duration(text, Duration::from_secs(1)), expected);
        }
    }

    #[test]
    fn core_lists() {
        for (text, expected) in [
            ("all", Ok(vec![0, 1, 4])),
            ("1", Ok(vec![0])),
            ("3", Ok(vec![0, 1, 4])),
            ("4", Ok(vec![0, 1, 4, 0])),
            ("4,0", Ok(vec![4, 0])),
            ("0-1", Ok(vec![0, 1])),
            ("1-1", Ok(vec![1])),
            ("0", Err("at least one core")),
            ("9", Err("at most 8 cores")),
            ("99999999999", Err("at most 8 cores")),
            ("0-4", Err("may not run on CPU 2")),
            ("1,1", Err("twice")),
            ("1-0", Err("not a number of cores")),
            ("", Err("not a number of cores")),
            ("two", Err("not a number of cores")),
            ("0-18446744073709551615", Err("not a number of cores")),
        ] {
            check(text, cores(text, &[0, 1, 4], 8), expected);
        }
    }

    fn check<T: PartialEq + std::fmt::Debug>(text: &str, found: Result<T, String>, expected: Result<T, &str>) {
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
            (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
        }
    }
}
