//! Thread CPU time.

/// Nanoseconds of CPU this thread has used.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Million operations a second of `work`, which does `count`.
pub fn mops(count: usize, work: impl FnOnce() -> u64) -> f64 {
    let began = now_ns();
    std::hint::black_box(work());
    count as f64 * 1e3 / (now_ns() - began).max(1) as f64
}
