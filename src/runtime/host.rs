//! What the machine offers: CPUs to pin to. Whether io_uring can work here is checked by `server::preflight`.

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
