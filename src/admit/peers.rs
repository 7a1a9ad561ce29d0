//! Callers who do not say who they are, or say it wrongly. Such a request is charged to its address; an address
//! that has failed too often is refused before any signature is computed, until some time has passed. What
//! succeeds costs nothing.
//!
//! Many people may share an address. So a key that was right lately from an address has its own allowance there:
//! its failures are charged to that first, and it goes on while others fail beside it. Who knows a neighbour's key
//! id and misuses it can use up that allowance and no more: other keys, and other addresses, are not touched.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use super::rate::whole_seconds;
use crate::error::{Code, Error, Result};
use crate::metrics::{Metrics, Throttle};

/// Failures at a time that nobody is blamed for: a fleet of clients that starts with an old key fails so often
/// before somebody looks.
const BURST: u64 = 100;
/// Failures a second that go on being answered: more than people or misconfigured tools make, and well under a
/// thousandth of a core.
const PER_SECOND: u64 = 20;
const NANOS_PER_FAILURE: u64 = 1_000_000_000 / PER_SECOND;

/// Addresses remembered at most, and keys seen to be right from some address, at 200 bytes each or less. Beyond
/// it those that fail, or are used, least go first.
const MOST_ADDRESSES: u64 = 50_000;
const MOST_KEYS: u64 = 50_000;
/// An allowance is whole again after five seconds without a failure.
const FORGET_ADDRESS_AFTER: Duration = Duration::from_mins(1);
/// A client that was right this morning is still taken for the one it was.
const FORGET_KEY_AFTER: Duration = Duration::from_hours(12);

pub(super) struct Peers {
    start: Instant,
    addresses: Cache<IpAddr, Arc<Allowance>>,
    /// By a keyed hash of address and access key id: nobody can aim at another's, and nothing is allocated.
    keys: Cache<u64, Arc<Allowance>>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

/// When all failures so far will be forgiven, in nanoseconds since the start.
#[derive(Default)]
struct Allowance(AtomicU64);

impl Peers {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            start: Instant::now(),
            addresses: Cache::builder()
                .max_capacity(MOST_ADDRESSES)
                .time_to_idle(FORGET_ADDRESS_AFTER)
                .build(),
            keys: Cache::builder().max_capacity(MOST_KEYS).time_to_idle(FORGET_KEY_AFTER).build(),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// Whether a request may be verified that claims to come from the owner of `access_key_id`.
    pub(super) fn check(&self, ip: IpAddr, access_key_id: Option<&str>) -> Result<()> {
        let network = network(ip);
        let now = self.now();
        let Some(wait) = self.addresses.get(&network).and_then(|allowance| allowance.used_up(now)) else {
            return Ok(());
        };
        let known = access_key_id.and_then(|id| self.keys.get(&self.key(network, id)));
        if known.is_some_and(|allowance| allowance.used_up(now).is_none()) {
            return Ok(());
        }
        self.metrics.throttled(Throttle::FailingPeer);
        Err(Error::new(Code::SlowDown).retry_after(whole_seconds(wait)))
    }

    /// Nobody was let in.
    pub(super) fn failed(&self, ip: IpAddr, access_key_id: Option<&str>) {
        let network = network(ip);
        let now = self.now();
        let known = access_key_id.and_then(|id| self.keys.get(&self.key(network, id)));
        match known.filter(|allowance| allowance.used_up(now).is_none()) {
            Some(allowance) => allowance.charge(now),
            None => self.addresses.get_with(network, Arc::default).charge(now),
        }
    }

    /// The key was right.
    pub(super) fn succeeded(&self, ip: IpAddr, access_key_id: &str) {
        // Looking keeps it from being forgotten.
        let key = self.key(network(ip), access_key_id);
        if self.keys.get(&key).is_none() {
            self.keys.get_with(key, Arc::default);
        }
    }

    fn key(&self, network: IpAddr, access_key_id: &str) -> u64 {
        self.hasher.hash_one((network, access_key_id))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Allowance {
    fn used_up(&self, now: u64) -> Option<Duration> {
        let one_is_free_at = self.0.load(Ordering::Relaxed).saturating_sub((BURST - 1) * NANOS_PER_FAILURE);
        one_is_free_at.checked_sub(now).filter(|wait| *wait > 0).map(Duration::from_nanos)
    }

    fn charge(&self, now: u64) {
        // However many fail at the same moment, what comes next is decided one failure later.
        let most = now.saturating_add(BURST * NANOS_PER_FAILURE);
        let charged = |until: u64| Some(until.max(now).saturating_add(NANOS_PER_FAILURE).min(most));
        let (Ok(_) | Err(_)) = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }
}

/// What one customer of a provider has: an IPv4 address, or an IPv6 network of 64 bits.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::admit::kit::throttled;

    const KEY: &str = "ALICEKEY0001EXAMPLE0";

    fn peers() -> (Peers, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().unwrap());
        (Peers::new(metrics.clone()), metrics)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many requests of a caller who is always wrong are verified before one is refused.
    fn verified(peers: &Peers, from: &str, key: Option<&str>) -> u64 {
        for verified in 0..1000 {
            if peers.check(ip(from), key).is_err() {
                return verified;
            }
            peers.failed(ip(from), key);
        }
        1000
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_may_fail_so_often_and_then_so_many_times_a_second() {
        let (peers, metrics) = peers();
        assert_eq!(verified(&peers, "192.0.2.1", None), BURST);
        assert_eq!(throttled(&metrics, "failing_peer"), 1);
        let refused = peers.check(ip("192.0.2.1"), Some(KEY)).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_secs()), (Code::SlowDown, Some(1)));
        assert!(peers.check(ip("192.0.2.2"), None).is_ok(), "others are not touched");
        assert!(peers.check(ip("::ffff:192.0.2.1"), None).is_err(), "the same address, written otherwise");
        advance(Duration::from_millis(50)).await;
        assert_eq!(verified(&peers, "192.0.2.1", None), 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(verified(&peers, "192.0.2.1", None), PER_SECOND);
        advance(Duration::from_secs(5)).await;
        assert_eq!(verified(&peers, "192.0.2.1", None), BURST);
    }

    #[tokio::test(start_paused = true)]
    async fn many_failures_at_once_delay_no_longer_than_one() {
        let (peers, _) = peers();
        for _ in 0..10 * BURST {
            peers.failed(ip("192.0.2.1"), None);
        }
        advance(Duration::from_millis(51)).await;
        assert!(peers.check(ip("192.0.2.1"), None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_customer_is_one_network() {
        let (peers, _) = peers();
        for host in 0..BURST {
            peers.failed(ip(&format!("2001:db8:0:1::{host:x}")), None);
        }
        assert!(peers.check(ip("2001:db8:0:1:ffff::1"), None).is_err());
        assert!(peers.check(ip("2001:db8:0:2::1"), None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn success_costs_nothing_and_a_good_key_goes_on_beside_a_failing_one() {
        let (peers, _) = peers();
        let nat = ip("192.0.2.1");
        for _ in 0..10 * BURST {
            assert!(peers.check(nat, Some(KEY)).is_ok());
            peers.succeeded(nat, KEY);
        }
        assert_eq!(verified(&peers, "192.0.2.1", Some("GUESSEDKEY")), BURST);
        assert!(peers.check(nat, None).is_err());
        assert!(peers.check(nat, Some("OTHERKEY")).is_err());
        assert!(peers.check(nat, Some(KEY)).is_ok());

        // Its own failures are charged to itself, until its allowance is used up too.
        assert_eq!(verified(&peers, "192.0.2.1", Some(KEY)), BURST);
        assert!(peers.check(ip("192.0.2.2"), Some(KEY)).is_ok(), "not from elsewhere");
        advance(Duration::from_secs(6)).await;

        // Alone at its address, a known key has both allowances.
        assert_eq!(verified(&peers, "192.0.2.1", Some(KEY)), 2 * BURST);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let (peers, _) = peers();
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..100_000 {
            // xorshift: any addresses will do, if they differ.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let from = Ipv6Addr::from_bits(u128::from(state) << 64).into();
            peers.failed(from, None);
            peers.succeeded(from, KEY);
        }
        peers.addresses.run_pending_tasks();
        peers.keys.run_pending_tasks();
        assert!(peers.addresses.entry_count() <= MOST_ADDRESSES);
        assert!(peers.keys.entry_count() <= MOST_KEYS);
    }
}
