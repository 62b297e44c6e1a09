//! Figures of the whole process, read from `/proc/self` at a scrape by the control thread, never by a core.

use std::fs;

/// What the kernel says about this process. Fields it would not tell are `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFigures {
    /// User and system time in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Resident bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual bytes.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Limit of file descriptors.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Start, in seconds since 1970.
    pub start_time_s: Option<u64>,
}

/// Read them.
pub fn process_figures() -> ProcessFigures {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let mut figures = parse_stat(&stat, &system).unwrap_or_default();
    figures.open_fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
    figures.max_fds = parse_max_fds(&limits);
    figures
}

/// Clock ticks a second in `/proc/*/stat`: USER_HZ, which Linux has fixed at 100 for user space.
const TICKS_PER_SECOND: u64 = 100;

/// Bytes a page in `/proc/*/stat`.
const PAGE_BYTES: u64 = 4096;

/// Fields by number as in proc(5): 14 utime, 15 stime, 20 num_threads, 22 starttime, 23 vsize, 24 rss. The command name (field
/// 2) may hold spaces and parentheses, so counting starts after its last one.
fn parse_stat(stat: &str, system: &str) -> Option<ProcessFigures> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
    let boot_s = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok();
    let ticks_ns = 1_000_000_000 / TICKS_PER_SECOND;
    Some(ProcessFigures {
        cpu_ns: Some((field(14)? + field(15)?) * ticks_ns),
        threads: field(20),
        start_time_s: boot_s.zip(field(22)).map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages * PAGE_BYTES),
        open_fds: None,
        max_fds: None,
    })
}

fn parse_max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 3000 8192 3 18446744073709551615";
        let figures = parse_stat(stat, "cpu 1 2 3\nbtime 1000\n").expect("it is well formed");
        assert_eq!(figures.cpu_ns, Some(2_000_000_000));
        assert_eq!(figures.threads, Some(9));
        assert_eq!(figures.start_time_s, Some(1030));
        assert_eq!(figures.virtual_bytes, Some(8192));
        assert_eq!(figures.resident_bytes, Some(3 * 4096));
    }

    #[test]
    fn reads_this_process() {
        let figures = process_figures();
        assert!(figures.cpu_ns.is_some());
        assert!(figures.resident_bytes.expect("the kernel tells it") > 100_000);
        assert!(figures.threads.expect("the kernel tells it") >= 1);
        assert!(figures.open_fds.expect("the kernel tells it") >= 3);
    }
}
