//! What the machine offers: CPUs to pin to, and whether io_uring can work here.

use std::fs;

/// The CPUs this process may use, in order (`core_affinity`: the process's affinity mask).
pub fn cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|cpu| cpu.id).collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

/// Pins the calling thread (of the control plane) to a CPU; false if the system refuses.
pub fn pin_current_thread(cpu: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

/// The oldest kernel that has every io_uring operation in use.
const KERNEL_MIN: (u32, u32) = (5, 11);
/// glommio refuses to start below this memlock limit, in bytes, because ring memory counts against it.
const MEMLOCK_MIN: u64 = 512 << 10;

/// What keeps the server from running here, each with a sentence that says what to do. Empty: all is well.
///
/// `connections` is how many the configuration allows; every one needs an open file.
pub fn problems(connections: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if let Some(version) = parse_kernel(&release)
        && version < KERNEL_MIN
    {
        problems.push(format!(
            "the kernel is {}.{}, but io_uring as used here needs {}.{} or later: boot a newer kernel",
            version.0, version.1, KERNEL_MIN.0, KERNEL_MIN.1
        ));
    }
    match fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default().trim() {
        "2" => problems.push("io_uring is disabled on this machine: run `sysctl kernel.io_uring_disabled=0` as root".to_owned()),
        "1" => problems.push(
            "io_uring is reserved for privileged processes here: run `sysctl kernel.io_uring_disabled=0` as root, or add \
             this user to the group of kernel.io_uring_group"
                .to_owned(),
        ),
        _ => {}
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = soft_limit(&limits, "Max locked memory")
        && limit < MEMLOCK_MIN
    {
        problems.push(format!(
            "the limit on locked memory is {limit} bytes, but the rings need {MEMLOCK_MIN}: raise it with `ulimit -l` or \
             LimitMEMLOCK= in the service file"
        ));
    }
    let files_needed = connections + 256;
    if let Some(limit) = soft_limit(&limits, "Max open files")
        && limit < files_needed
    {
        problems.push(format!(
            "the limit on open files is {limit}, but {connections} connections and the data files need {files_needed}: \
             raise it with `ulimit -n` or LimitNOFILE= in the service file, or allow fewer connections"
        ));
    }
    problems
}

fn parse_kernel(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The soft limit of a line of /proc/self/limits; `None` if unlimited or absent.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_parsed() {
        for (release, version) in
            [("6.18.44-generic", Some((6, 18))), ("5.4.0-150", Some((5, 4))), ("6.1\n", Some((6, 1))), ("", None)]
        {
            assert_eq!(parse_kernel(release), version, "{release}");
        }
    }

    #[test]
    fn limits_are_parsed() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max locked memory         8388608              8388608              bytes\n\
                      Max open files            unlimited            unlimited            files\n";
        assert_eq!(soft_limit(limits, "Max locked memory"), Some(8_388_608));
        assert_eq!(soft_limit(limits, "Max open files"), None);
        assert_eq!(soft_limit(limits, "Max nothing"), None);
    }

    #[test]
    fn an_absurd_number_of_connections_is_a_problem() {
        assert!(problems(u64::MAX / 2).iter().any(|problem| problem.contains("open files")));
    }
}
