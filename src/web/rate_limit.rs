//! A rate limit on refused requests for each address. It refuses nothing itself: valid requests may
//! come from the same address through a proxy or NAT, and are recognised only after the work is
//! done. Nor does it delay answers, as that would hold connections of a proxy.
//!
//! At the callback, an address over the limit gets the same 403, but its connection is closed: each
//! forged request then costs a new connection, at the end of the queue. Its bodies are also the
//! first to be dropped when memory runs out. At the API, a wrong key is then answered 429 instead
//! of 401.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bounded_map::BoundedMap;

/// A wrong token in the configuration stays far below.
pub(super) const OF_PUSHES: Limit = Limit {
    burst: 1_000,
    refill: Duration::from_millis(100),
};
/// A dashboard with a wrong key sends several requests every few seconds.
pub(super) const OF_KEYS: Limit = Limit {
    burst: 100,
    refill: Duration::from_secs(1),
};
/// Addresses that are remembered, about 1 MB.
const CAPACITY: usize = 10_000;

/// The refusals that an address may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// At once.
    burst: u32,
    /// One more after each interval.
    pub(super) refill: Duration,
}

/// The reputation of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reputation {
    /// Too many of its recent requests were refused.
    OverLimit,
    /// It is within the limit.
    Good,
}

/// A token bucket for each address that was refused; a /64 network of IPv6 counts as one address.
pub(super) struct Refusals {
    buckets: Mutex<Buckets>,
}

struct Buckets {
    limit: Limit,
    /// When each will be full again, which tells how full it is now.
    full_at: BoundedMap<IpAddr, Instant>,
}

impl Refusals {
    pub(super) fn new(limit: Limit) -> Self {
        let buckets = Mutex::new(Buckets::new(limit));
        Self { buckets }
    }

    pub(super) fn reputation(&self, address: IpAddr) -> Reputation {
        self.buckets()
            .reputation_at(network(address), Instant::now())
    }

    /// Counts a refusal, and returns the reputation before it.
    pub(super) fn count(&self, address: IpAddr) -> Reputation {
        self.buckets().count_at(network(address), Instant::now())
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        // Nothing that holds the lock can panic half-way.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    fn new(limit: Limit) -> Self {
        Self {
            limit,
            full_at: BoundedMap::new(CAPACITY),
        }
    }

    fn reputation_at(&self, network: IpAddr, now: Instant) -> Reputation {
        let full_at = self.full_at.get(&network);
        let spent = full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if spent > self.limit.refill * (self.limit.burst - 1) {
            Reputation::OverLimit
        } else {
            Reputation::Good
        }
    }

    fn count_at(&mut self, network: IpAddr, now: Instant) -> Reputation {
        let reputation = self.reputation_at(network, now);
        let Limit { burst, refill } = self.limit;
        let full_at = self.full_at.get_or_insert(network, now);
        *full_at = ((*full_at).max(now) + refill).min(now + refill * burst);
        reputation
    }
}

/// The address or, for IPv6, the /64 network: a client there has 2^64 addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: u32 = OF_PUSHES.burst;
    const REFILL: Duration = OF_PUSHES.refill;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("it is an address")
    }

    #[test]
    fn an_address_is_over_the_limit_until_a_refusal_is_refilled() {
        let mut buckets = Buckets::new(OF_PUSHES);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(buckets.count_at(one, start), Reputation::Good);
        }
        // More refusals do not extend the time.
        for _ in 0..10 * BURST {
            assert_eq!(buckets.count_at(one, start), Reputation::OverLimit);
        }
        assert_eq!(buckets.reputation_at(other, start), Reputation::Good);
        let later = start + REFILL;
        assert_eq!(buckets.count_at(one, later), Reputation::Good);
        assert_eq!(buckets.count_at(one, later), Reputation::OverLimit);
        assert_eq!(buckets.reputation_at(one, later + REFILL), Reputation::Good);
    }

    #[test]
    fn a_slow_trickle_of_refusals_stays_below_the_limit() {
        let mut buckets = Buckets::new(OF_PUSHES);
        let one = address("192.0.2.1");
        let mut now = Instant::now();
        for _ in 0..3 * BURST {
            assert_eq!(buckets.count_at(one, now), Reputation::Good);
            now += REFILL;
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_itself() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
            ("2001:db8:1:3::", "2001:db8:1:3::"),
        ] {
            assert_eq!(network(address(text)), address(expected));
        }
    }
}
