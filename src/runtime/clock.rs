//! The machine's monotonic clock, in nanoseconds since it was first looked at.
//!
//! A statement looks at it several times, and the kernel's clock waits for all that is still under way in the processor before it reads
//! the counter that it is made of. So where the kernel itself trusts that counter (the TSC: it has checked that it runs at one rate, and
//! alike on all CPUs), it is read here without that. How long a tick is, is measured once, against the kernel's clock: over a few
//! milliseconds, to some ten parts in a million, which is less than a network's time corrects clocks by.
//!
//! The crate quanta does the same, but takes up to 200 ms to measure and lets a thread that is interrupted at the wrong moment decide.

use std::sync::OnceLock;

/// Nanoseconds since the first call in this process. Comparable across cores.
#[inline]
pub(super) fn nanos() -> u64 {
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    match CLOCK.get_or_init(Clock::new) {
        #[cfg(target_arch = "x86_64")]
        Clock::Counter(scale) => scale.nanos(ticks()),
        Clock::Kernel { start } => kernel_nanos().saturating_sub(*start),
    }
}

#[derive(Debug)]
enum Clock {
    /// The processor's counter.
    #[cfg(target_arch = "x86_64")]
    Counter(Scale),
    Kernel {
        start: u64,
    },
}

impl Clock {
    fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(scale) = Scale::measure() {
            return Self::Counter(scale);
        }
        Self::Kernel { start: kernel_nanos() }
    }
}

/// The kernel's clock. Without the checks and conversions of `std::time::Instant`, which cost more than the clock; and through libc,
/// because rustix looks for the kernel's vDSO in a way that tools like valgrind do not survive.
#[inline]
#[allow(unsafe_code)]
fn kernel_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the pointer is to a timespec of ours.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    debug_assert_eq!(outcome, 0, "every Linux has this clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The processor's counter.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code)]
fn ticks() -> u64 {
    // SAFETY: every x86-64 has the instruction, and a kernel whose clock it is lets programs use it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
pub(super) use counter::Scale;

#[cfg(target_arch = "x86_64")]
mod counter {
    use std::time::Duration;

    use super::{kernel_nanos, ticks};

    /// What the kernel takes its time from.
    const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

    /// How long the counter is compared with the kernel's clock.
    const MEASURED: Duration = Duration::from_millis(4);

    /// Looks at both clocks of which the least interrupted one counts.
    const LOOKS: usize = 16;

    /// Between two looks at the kernel's clock, with one at the counter in between: more than this and something is in the way, such as
    /// a hypervisor that is asked for every one.
    const LOOK_NANOS_MAX: u64 = 1_000;

    /// A tick is a fraction of a nanosecond, in units of 2⁻³².
    const UNIT_BITS: u32 = 32;

    /// How the counter becomes nanoseconds.
    #[derive(Debug)]
    pub(in crate::runtime) struct Scale {
        /// Ticks when the clock began.
        start: u64,
        /// Nanoseconds a tick, in units of 2⁻³².
        tick: u64,
    }

    impl Scale {
        /// One that begins at so many ticks, each of so many nanoseconds in units of 2⁻³².
        pub(in crate::runtime) fn new(start: u64, tick: u64) -> Self {
            Self { start, tick }
        }

        /// Measures how long a tick is. `None` if the kernel does not go by this counter, or it cannot be measured.
        pub(in crate::runtime) fn measure() -> Option<Self> {
            let source = std::fs::read_to_string(CLOCK_SOURCE).ok()?;
            if source.trim() != "tsc" {
                return None;
            }
            let (start_nanos, start) = look()?;
            std::thread::sleep(MEASURED);
            let (nanos, ticks) = look()?;
            let (nanos, ticks) = (nanos.checked_sub(start_nanos)?, ticks.checked_sub(start)?);
            let tick = u64::try_from((u128::from(nanos) << UNIT_BITS).checked_div(u128::from(ticks))?).ok()?;
            // Below 100 MHz the counter would be coarser than what is measured with it; none is above 16 GHz.
            let plausible = (1 << UNIT_BITS) / 16..10 << UNIT_BITS;
            plausible.contains(&tick).then(|| Self::new(start, tick))
        }

        /// Nanoseconds from the start to a reading of the counter. Those of a CPU that is a few ticks behind are not before the start.
        #[inline]
        pub(in crate::runtime) fn nanos(&self, ticks: u64) -> u64 {
            ((u128::from(ticks.saturating_sub(self.start)) * u128::from(self.tick)) >> UNIT_BITS) as u64
        }
    }

    /// The kernel's clock and the counter at the same moment.
    fn look() -> Option<(u64, u64)> {
        let looks = (0..LOOKS).map(|_| {
            let before = kernel_nanos();
            let ticks = ticks();
            let taken = kernel_nanos() - before;
            (taken, before + taken / 2, ticks)
        });
        let (taken, nanos, ticks) = looks.min()?;
        (taken <= LOOK_NANOS_MAX).then_some((nanos, ticks))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_as_fast_as_the_kernels_clock() {
        let look = || {
            let before = kernel_nanos();
            (before, nanos(), kernel_nanos())
        };
        // The first call measures.
        nanos();
        let (before, first, after) = look();
        std::thread::sleep(Duration::from_millis(20));
        let (second_before, second, second_after) = look();
        let passed = second - first;
        // However long a thread is interrupted between two looks: it lies between what is surely within and what surely is not.
        let (least, most) = (second_before - after, second_after - before);
        assert!(passed >= least - least / 1_000 && passed <= most + most / 1_000, "{passed} ns of {least} to {most}");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn years_of_ticks_become_nanoseconds_and_an_earlier_reading_is_the_start() {
        // Of 2 GHz.
        let now = 5_000;
        let scale = Scale::new(now, 1 << 31);
        let year_ns = 365 * 24 * 3600 * 1_000_000_000_u64;
        assert_eq!(scale.nanos(now + 10 * 2 * year_ns), 10 * year_ns);
        assert_eq!(scale.nanos(now + 3), 1);
        assert_eq!(scale.nanos(0), 0);
    }
}
