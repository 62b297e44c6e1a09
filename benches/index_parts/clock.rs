//! CPU time: of the thread, and of the process where other threads work for it.

/// Nanoseconds of CPU this thread has used.
pub fn now_ns() -> u64 {
    read_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is ours.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Million operations a second of `work`, which does `count`.
pub fn mops(count: usize, work: impl FnOnce() -> u64) -> f64 {
    mops_by(libc::CLOCK_THREAD_CPUTIME_ID, count, work)
}

/// The same by the CPU time of all threads: bulk loading has the index's pool clear pages in one of its own.
pub fn process_mops(count: usize, work: impl FnOnce() -> u64) -> f64 {
    mops_by(libc::CLOCK_PROCESS_CPUTIME_ID, count, work)
}

fn mops_by(clock: libc::clockid_t, count: usize, work: impl FnOnce() -> u64) -> f64 {
    let began = read_ns(clock);
    std::hint::black_box(work());
    count as f64 * 1e3 / (read_ns(clock) - began).max(1) as f64
}
