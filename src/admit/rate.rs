//! How often a user may ask. In: whose request, and the user's limits. Out: nothing, or the refusal with the time
//! after which to come back. Each user has one bucket, of `burst` requests, refilled at `requests_per_second`; the
//! gateways that are alive share both evenly. A change of the limits or of the number of gateways begins a new,
//! full bucket.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;

use super::limits::UserLimits;
use crate::body::pace::Replicas;
use crate::config::Limit;
use crate::error::{Code, Error, Result};
use crate::metrics::{Metrics, Throttle};
use crate::types::UserId;

/// A bucket nobody has used for so long is forgotten: all but those of more than an hour's requests are full by
/// then, and a new one is full too.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// Users remembered at most, at about 300 bytes each. Beyond it the least asked for go first, and come back full.
const MOST_USERS: u64 = 1_000_000;
/// A bucket that takes longer to fill is as good as bottomless, and nanoseconds of it still fit 64 bits.
const MOST_FILLING: Duration = Duration::from_hours(365 * 24);

pub(super) struct RequestRate {
    users: Cache<UserId, Arc<Bucket>>,
    replicas: Replicas,
    metrics: Arc<Metrics>,
}

struct Bucket {
    per_second: NonZeroU32,
    burst: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, Clock>,
}

/// The runtime's clock, which tests can turn.
#[derive(Clone)]
struct Clock;

impl governor::clock::Clock for Clock {
    type Instant = std::time::Instant;

    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl RequestRate {
    pub(super) fn new(replicas: Replicas, metrics: Arc<Metrics>) -> Self {
        let users = Cache::builder().max_capacity(MOST_USERS).time_to_idle(FORGET_AFTER).build();
        Self { users, replicas, metrics }
    }

    /// Counts one request.
    pub(super) fn check(&self, user: &UserId, limits: &UserLimits) -> Result<()> {
        let Limit::At(per_second) = limits.requests_per_second else {
            return Ok(());
        };
        let share = |limit| {
            let share = u32::try_from(self.replicas.share(limit)).unwrap_or(u32::MAX);
            NonZeroU32::new(share).unwrap_or(NonZeroU32::MIN)
        };
        let per_second = share(per_second);
        let burst = limits.burst.at().map_or(NonZeroU32::MAX, share);
        let bucket = match self.users.get(user) {
            Some(bucket) if bucket.per_second == per_second && bucket.burst == burst => bucket,
            Some(_) | None => self.renew(user, per_second, burst),
        };
        bucket.limiter.check().map_err(|refused| {
            self.metrics.throttled(Throttle::RequestRate);
            let wait = refused.wait_time_from(Clock.now());
            Error::new(Code::SlowDown).retry_after(whole_seconds(wait))
        })
    }

    fn renew(&self, user: &UserId, per_second: NonZeroU32, burst: NonZeroU32) -> Arc<Bucket> {
        let entry = self.users.entry_by_ref(user).or_insert_with_if(
            || Arc::new(Bucket::new(per_second, burst)),
            // Requests that come at once must not each begin a bucket of their own.
            |old| old.per_second != per_second || old.burst != burst,
        );
        entry.into_value()
    }
}

impl Bucket {
    fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let most = u64::from(per_second.get()).saturating_mul(MOST_FILLING.as_secs());
        let deep = burst.min(u32::try_from(most).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX));
        let quota = Quota::per_second(per_second).allow_burst(deep);
        let limiter = RateLimiter::direct_with_clock(quota, Clock);
        Self { per_second, burst, limiter }
    }
}

/// `Retry-After` knows whole seconds: the next one, and at least one.
pub(super) fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::admit::kit::{gateways, limits, throttled, user};

    fn rate(replicas: Replicas) -> (RequestRate, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().unwrap());
        (RequestRate::new(replicas, metrics.clone()), metrics)
    }

    /// How many requests pass before one is refused, and when to come back.
    fn passes(rate: &RequestRate, name: &str, limits: &UserLimits) -> (u32, Option<u64>) {
        for passed in 0..10_000 {
            if let Err(refused) = rate.check(&user(name), limits) {
                assert_eq!(refused.code, Code::SlowDown);
                return (passed, refused.retry_after_secs());
            }
        }
        (10_000, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_so_many_a_second() {
        let (rate, metrics) = rate(Replicas::one());
        let limits = limits(&[("requests_per_second", Some(100)), ("burst", Some(200))]);
        assert_eq!(passes(&rate, "alice", &limits), (200, Some(1)));
        assert_eq!(throttled(&metrics, "request_rate"), 1);
        assert_eq!(passes(&rate, "bob", &limits).0, 200, "each user has an own bucket");
        advance(Duration::from_millis(9)).await;
        assert_eq!(passes(&rate, "alice", &limits).0, 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(passes(&rate, "alice", &limits).0, 1);
        advance(Duration::from_secs(1)).await;
        assert_eq!(passes(&rate, "alice", &limits).0, 100);
        advance(Duration::from_mins(1)).await;
        assert_eq!(passes(&rate, "alice", &limits).0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_when_one_would_pass() {
        for (seconds, per_second, burst) in [(1, 1, 1), (1, 3, 1), (1, 4_000_000_000, 1)] {
            let (rate, _) = rate(Replicas::one());
            let limits = limits(&[("requests_per_second", Some(per_second)), ("burst", Some(burst))]);
            assert_eq!(passes(&rate, "alice", &limits), (1, Some(seconds)), "{per_second}");
            advance(Duration::from_secs(seconds)).await;
            assert_eq!(passes(&rate, "alice", &limits).0, 1, "{per_second}");
        }
        assert_eq!(whole_seconds(Duration::ZERO).as_secs(), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)).as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn unlimited_is_never_refused_and_the_highest_burst_neither() {
        let (rate, _) = rate(Replicas::one());
        assert_eq!(passes(&rate, "a", &limits(&[("requests_per_second", None), ("burst", Some(1))])).1, None);
        assert!(rate.users.get(&user("a")).is_none(), "nothing is kept of it");
        for burst in [None, Some(u64::from(u32::MAX))] {
            let limits = limits(&[("requests_per_second", Some(1)), ("burst", burst)]);
            assert_eq!(passes(&rate, "b", &limits).1, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_holds_at_once() {
        let (rate, _) = rate(Replicas::one());
        let with = |burst| limits(&[("requests_per_second", Some(1)), ("burst", Some(burst))]);
        assert_eq!(passes(&rate, "alice", &with(10)).0, 10);
        assert_eq!(passes(&rate, "alice", &with(10)).0, 0);
        assert_eq!(passes(&rate, "alice", &with(3)).0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn gateways_share_the_rate_evenly() {
        let (live, replicas) = gateways(4);
        let (rate, _) = rate(replicas);
        let limits = limits(&[("requests_per_second", Some(10)), ("burst", Some(20))]);
        assert_eq!(passes(&rate, "alice", &limits).0, 5);
        advance(Duration::from_secs(1)).await;
        assert_eq!(passes(&rate, "alice", &limits).0, 2);
        live.send(100).unwrap();
        assert_eq!(passes(&rate, "alice", &limits), (1, Some(1)), "at least one a second");
        live.send(0).unwrap();
        assert_eq!(passes(&rate, "alice", &limits).0, 20, "this one lives, whoever counts");
    }
}
