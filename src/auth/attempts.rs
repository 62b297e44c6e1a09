//! Failed logins by address: whoever has failed often has to wait before the next one is looked at.
//!
//! An address may fail [`FAILURES_MAX`] times in a row; it earns one back every [`RECOVERY`]. Addresses of IPv6 count by their
//! network of 64 bits, which one machine can have all of. What is remembered is bounded: at the limit, addresses that have
//! recovered go first, then the one that has failed least.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Failures in a row.
pub const FAILURES_MAX: u32 = 20;

/// How long it takes until one is forgotten.
pub const RECOVERY: Duration = Duration::from_secs(3);

/// Addresses remembered.
const ADDRESSES_MAX: usize = 4096;

/// Failures of addresses: when each will have recovered from all of its own. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Attempts {
    recovered: HashMap<IpAddr, Duration>,
}

impl Attempts {
    /// Whether an address may try.
    pub fn may_try(&self, address: IpAddr, now: Duration) -> bool {
        let recovered = self.recovered.get(&key(address)).copied().unwrap_or_default();
        recovered.saturating_sub(now) <= RECOVERY * (FAILURES_MAX - 1)
    }

    /// An address has failed.
    pub fn failed(&mut self, address: IpAddr, now: Duration) {
        let address = key(address);
        if self.recovered.len() >= ADDRESSES_MAX && !self.recovered.contains_key(&address) {
            self.recovered.retain(|_, recovered| *recovered > now);
            if self.recovered.len() >= ADDRESSES_MAX {
                let least = self.recovered.iter().min_by_key(|(_, recovered)| **recovered).map(|(address, _)| *address);
                least.map(|least| self.recovered.remove(&least));
            }
        }
        let recovered = self.recovered.entry(address).or_default();
        *recovered = (*recovered).max(now) + RECOVERY;
        assert!(self.recovered.len() <= ADDRESSES_MAX, "what is remembered is bounded");
    }

    /// An address has succeeded: what it did wrong before was a mistake.
    pub fn succeeded(&mut self, address: IpAddr) {
        self.recovered.remove(&key(address));
    }
}

fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_often_waits() {
        let mut attempts = Attempts::default();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let now = Duration::from_secs(1000);
        for _ in 0..FAILURES_MAX {
            assert!(attempts.may_try(address, now));
            attempts.failed(address, now);
        }
        assert!(!attempts.may_try(address, now) && !attempts.may_try(address, now + RECOVERY - Duration::from_millis(1)));
        assert!(attempts.may_try("10.0.0.2".parse().unwrap(), now), "others need not");
        assert!(attempts.may_try(address, now + RECOVERY));
        attempts.failed(address, now + RECOVERY);
        assert!(!attempts.may_try(address, now + RECOVERY));
        attempts.succeeded("::ffff:10.0.0.1".parse().unwrap());
        assert!(attempts.may_try(address, now));
    }

    #[test]
    fn networks_count_as_one_and_there_is_a_bound() {
        let mut attempts = Attempts::default();
        for host in 0..u128::from(FAILURES_MAX) {
            attempts.failed(Ipv6Addr::from_bits(0xfd00 << 112 | host).into(), Duration::ZERO);
        }
        assert!(!attempts.may_try("fd00::ffff".parse().unwrap(), Duration::ZERO));
        for host in 0..10 * ADDRESSES_MAX as u32 {
            attempts.failed(IpAddr::V4(host.into()), Duration::ZERO);
        }
        assert_eq!(attempts.recovered.len(), ADDRESSES_MAX);
        assert!(!attempts.may_try("fd00::1".parse().unwrap(), Duration::ZERO), "the worst is remembered");
        attempts.failed("1.2.3.4".parse().unwrap(), RECOVERY * (FAILURES_MAX + 1));
        assert_eq!(attempts.recovered.len(), 1, "those that have recovered are forgotten");
    }
}
