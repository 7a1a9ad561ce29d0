//! When a failed request may be sent again: at most twice, after a random pause, and only while retries stay
//! a tenth of all requests, so that a sick upstream is not beaten while it is down.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub(super) const MAX_RETRIES: u32 = 2;

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

/// Full jitter: anything up to 50 ms before the first retry, up to 200 ms before the second.
pub(super) fn pause(attempt: u32) -> Duration {
    let ceiling = Duration::from_millis(50) * 4_u32.saturating_pow(attempt.min(4));
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
        assert!(
            (0..100).all(|_| pause(0) < Duration::from_millis(50) && pause(1) < Duration::from_millis(200))
        );
        assert_ne!((pause(1), pause(1)), (pause(1), pause(1)));
    }
}
