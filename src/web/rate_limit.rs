//! The limit on refused requests for each address. It refuses nothing itself: others may come from the same address,
//! through a proxy or a NAT, and what is authentic shows only after the work is done. Nor does it make anybody wait: an
//! answer that is held back holds a connection of the proxy, too.
//!
//! At the callback, an address over the limit gets the same 403, but its connection is closed with it: each forged
//! request then pays for a connection, and stands at the end of the queue for it. And its bodies are the first to give
//! way. At the API, a key that is not right is then no longer answered 401 but 429.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A wrong token of our own stays far below.
pub(super) const OF_PUSHES: Limit = Limit {
    burst: 1_000,
    refill: Duration::from_millis(100),
};
/// A dashboard with a wrong key asks for a page of things every few seconds.
pub(super) const OF_KEYS: Limit = Limit {
    burst: 100,
    refill: Duration::from_secs(1),
};
/// How many addresses are remembered; the oldest is forgotten first. About 1 MB when full.
const CAPACITY: usize = 10_000;

/// How often an address may be refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// How many refusals it has at once.
    burst: u32,
    /// After how long it has one more.
    pub(super) refill: Duration,
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reputation {
    /// It was refused too often of late.
    OverLimit,
    /// It may be anybody.
    Good,
}

/// A token bucket for each address that was refused; those of an IPv6 network of 64 bits are one.
pub(super) struct Refusals {
    buckets: Mutex<Buckets>,
}

struct Buckets {
    limit: Limit,
    /// When each will be full again, which says how full it is now.
    full_at: HashMap<IpAddr, Instant>,
    order: VecDeque<IpAddr>,
}

impl Refusals {
    pub(super) fn new(limit: Limit) -> Self {
        let buckets = Mutex::new(Buckets::new(limit));
        Self { buckets }
    }

    /// How the address stands now.
    pub(super) fn reputation(&self, address: IpAddr) -> Reputation {
        self.buckets()
            .reputation_at(network(address), Instant::now())
    }

    /// Counts a refusal, and says how the address stood before.
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
            full_at: HashMap::new(),
            order: VecDeque::new(),
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
        if !self.full_at.contains_key(&network) {
            if self.order.len() == CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.full_at.remove(&oldest);
            }
            self.order.push_back(network);
        }
        let Limit { burst, refill } = self.limit;
        let full_at = self.full_at.entry(network).or_insert(now);
        *full_at = ((*full_at).max(now) + refill).min(now + refill * burst);
        reputation
    }
}

/// What one client is taken for: its address, or its network, as an IPv6 client has 2^64 addresses of its own.
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
        // However many more, they are not held against it for longer.
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

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let mut buckets = Buckets::new(OF_PUSHES);
        let now = Instant::now();
        let first = address("192.0.2.1");
        for _ in 0..=BURST {
            buckets.count_at(first, now);
        }
        for number in 1..u32::try_from(CAPACITY).expect("it is small") {
            buckets.count_at(std::net::Ipv4Addr::from_bits(number).into(), now);
        }
        assert_eq!(buckets.reputation_at(first, now), Reputation::OverLimit);
        buckets.count_at(address("192.0.2.2"), now);
        assert_eq!(buckets.full_at.len(), CAPACITY);
        assert_eq!(buckets.order.len(), CAPACITY);
        assert_eq!(buckets.reputation_at(first, now), Reputation::Good);
    }
}
