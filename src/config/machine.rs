//! What the machine offers: the CPUs this process may run on and the memory it may use.

use std::fs;

use crate::runtime::host;

/// The machine, as far as defaults and limits of settings depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Numbers of the CPUs this process may run on, ascending.
    pub cpus: Vec<usize>,
    /// Memory this process may use.
    pub memory_bytes: u64,
}

/// Assumed when the kernel does not tell: small enough not to be killed for.
const MEMORY_BYTES_ASSUMED: u64 = 1 << 30;

impl Machine {
    /// This machine, within the process's CPU affinity and control group.
    pub fn this() -> Self {
        let mut cpus = host::cpus();
        if cpus.is_empty() {
            cpus.push(0);
        }
        let installed = fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_meminfo(&text));
        let allowed = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
        let memory_bytes = installed.into_iter().chain(allowed).min().unwrap_or(MEMORY_BYTES_ASSUMED);
        Self { cpus, memory_bytes }
    }
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_total_of_meminfo() {
        assert_eq!(parse_meminfo("MemTotal:       24000 kB\nMemFree: 1 kB\n"), Some(24_000 * 1024));
        assert_eq!(parse_meminfo("nothing"), None);
    }

    #[test]
    fn this_machine_has_a_cpu_and_memory() {
        let machine = Machine::this();
        assert!(!machine.cpus.is_empty());
        assert!(machine.memory_bytes >= 64 << 20);
    }
}
