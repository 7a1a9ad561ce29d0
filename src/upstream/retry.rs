//! When a failed call is sent again, after a random pause. After an answer that was lost or says trouble: at most twice,
//! and only while such retries stay a tenth of all calls, so that a sick upstream is not beaten while it is down. What
//! the upstream refused to begin, because it throttles or missed the key, goes again a little more often: the limit on
//! concurrency holds for each try, and a key that is never known is not tried in vain for long.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::keys::Key;
use crate::error::Error;

const MAX_FAILED: u32 = 2;
const MAX_THROTTLED: u32 = 4;
const MAX_MISSED: u32 = 3;
/// An upstream that wants a longer pause is waited for by the client.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What one retry costs, in deposits.
const COST: i64 = 10;
/// What an idle gateway may spend at once: 50 retries.
const RESERVE: i64 = 50 * COST;

/// Every request deposits one unit, every retry takes ten.
pub(super) struct Budget(AtomicI64);

impl Budget {
    pub(super) fn new() -> Self {
        Self(AtomicI64::new(RESERVE))
    }

    pub(super) fn deposit(&self) {
        // A lost race overshoots by one unit; the bound needs no more.
        if self.0.load(Ordering::Relaxed) < RESERVE {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn withdraw(&self) -> bool {
        self.0
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |units| (units >= COST).then(|| units - COST))
            .is_ok()
    }
}

/// The tries of one call so far, and how the next one is made.
pub(super) struct Tries<'a> {
    pub(super) key: &'a Key,
    /// Whether an upload may ask before it is sent.
    pub(super) may_ask: bool,
    failed: u32,
    throttled: u32,
    missed: u32,
    /// An earlier try may have been carried out.
    lost: bool,
}

impl<'a> Tries<'a> {
    pub(super) fn new(key: &'a Key) -> Self {
        Self { key, may_ask: true, failed: 0, throttled: 0, missed: 0, lost: false }
    }

    /// The pause after a failure that allows another try, if the budget does.
    pub(super) fn after_failure(&mut self, budget: &Budget) -> Option<Duration> {
        if self.failed == MAX_FAILED || !budget.withdraw() {
            return None;
        }
        self.failed += 1;
        Some(up_to(Duration::from_millis(50), 4, self.failed))
    }

    pub(super) fn after_throttle(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let asked = retry_after.unwrap_or_default();
        if self.throttled == MAX_THROTTLED || asked > LONGEST_PAUSE {
            return None;
        }
        self.throttled += 1;
        Some(asked + up_to(Duration::from_millis(100), 2, self.throttled))
    }

    /// After a refusal of the key: the other one at once, if there is one, and then a fresh try.
    pub(super) fn after_miss(&mut self, other: Option<&'a Key>) -> Option<Duration> {
        let is_first = self.missed == 0;
        if self.missed == MAX_MISSED || (self.key.is_lost() && (other.is_none() || !is_first)) {
            return None;
        }
        self.missed += 1;
        let pause = up_to(Duration::from_millis(50), 4, self.missed);
        let Some(other) = other else { return Some(pause) };
        self.key = other;
        Some(if is_first { Duration::ZERO } else { pause })
    }

    pub(super) fn may_have_acted(&mut self, may: bool) {
        self.lost |= may;
    }

    pub(super) fn is_after_a_lost_answer(&self) -> bool {
        self.lost
    }

    /// An error as the end of all these tries.
    pub(super) fn end(&self, error: Error) -> Error {
        if self.lost { error.after_a_lost_answer() } else { error }
    }
}

/// Full jitter: anything up to a ceiling, which grows by a factor with each try.
fn up_to(first: Duration, factor: u32, tries: u32) -> Duration {
    let ceiling = first * factor.saturating_pow(tries.saturating_sub(1).min(4));
    let random: u64 = uuid::Uuid::new_v4().as_u64_pair().0;
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random % nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_tenth_of_requests() {
        let budget = Budget::new();
        while budget.withdraw() {}
        for _ in 0..100 {
            budget.deposit();
        }
        assert_eq!(std::iter::from_fn(|| budget.withdraw().then_some(())).count(), 10);
    }

    #[test]
    fn pauses_are_short_and_differ() {
        let pause = |tries| up_to(Duration::from_millis(50), 4, tries);
        assert!(
            (0..100).all(|_| pause(1) < Duration::from_millis(50) && pause(2) < Duration::from_millis(200))
        );
        assert_ne!((pause(1), pause(2)), (pause(1), pause(2)));
    }
}
