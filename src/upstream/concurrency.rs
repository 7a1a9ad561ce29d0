//! How many calls may wait for the upstream's answer at a time. In: calls that begin, and whether they were throttled.
//! Out: a place for each, after a wait if there is none, or 503 `SlowDown` if the wait is long. The limit follows the
//! upstream as a TCP sender follows its path: each answer adds a little, each throttled call takes a part away, once
//! for all calls that were under way together (additive increase, multiplicative decrease, RFC 5681 §3.1).
//!
//! A call keeps its place until it is answered, but not while it waits for its client's body, and no longer than a
//! second: slow clients and slow operations must not keep all others out.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::body::upload::UploadHandle;
use crate::error::{Code, Error, Result};
use crate::metrics::Metrics;

/// More than a gateway has use for, and the limit of one whose upstream does not throttle.
const MOST: usize = 4096;
const LEAST: usize = 4;
/// What stays of the calls under way when one of them is throttled.
const CUT: f64 = 0.7;
const LONGEST_HOLD: Duration = Duration::from_secs(1);
/// How often an upload is looked at, whether it waits for its client.
const GLANCE: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long one that throttled is taken for one that may do it again.
const MEMORY: Duration = Duration::from_mins(1);

pub(super) struct Concurrency {
    places: Semaphore,
    most: usize,
    /// Places to be taken away as they become free.
    owed: AtomicUsize,
    /// How often the limit was cut.
    cuts: AtomicU64,
    /// Fewer places than there could be.
    is_limited: AtomicBool,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

struct State {
    /// The part after the point is what answers have added to the next place.
    limit: f64,
    last_cut: Option<Instant>,
}

/// A place for one call that waits for its answer.
pub(super) struct Place<'a> {
    concurrency: &'a Concurrency,
    permit: Option<SemaphorePermit<'a>>,
    /// Cuts that were made before the call began.
    cuts: u64,
}

impl Concurrency {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_most(MOST, metrics)
    }

    fn with_most(most: usize, metrics: Arc<Metrics>) -> Self {
        let concurrency = Self {
            places: Semaphore::new(most),
            most,
            owed: AtomicUsize::new(0),
            cuts: AtomicU64::new(0),
            is_limited: AtomicBool::new(false),
            state: Mutex::new(State { limit: as_share(most), last_cut: None }),
            metrics,
        };
        concurrency.show(most);
        concurrency
    }

    pub(super) async fn enter(&self) -> Result<Place<'_>> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout(LONGEST_WAIT, self.places.acquire())
                .await
                .map_err(|_| {
                    Error::new(Code::SlowDown)
                        .retry_after(Duration::from_secs(1))
                        .because("the upstream throttles, and every place of its limit is taken")
                })?
                .expect("the semaphore is never closed"),
        };
        Ok(Place { concurrency: self, permit: Some(permit), cuts: self.cuts.load(Ordering::Relaxed) })
    }

    /// Whether the upstream throttled a call in the last minute.
    pub(super) fn is_strained(&self) -> bool {
        self.state().last_cut.is_some_and(|at| at.elapsed() < MEMORY)
    }

    /// Tells the gauge again, where another limit has told it meanwhile.
    pub(super) fn show_limit(&self) {
        self.show(self.state().places());
    }

    fn answered(&self) {
        if !self.is_limited.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let before = state.places();
        // A limit that nobody comes near says nothing about the upstream. The call itself has left its place.
        if (self.under_way(before) + 1) * 2 < before {
            return;
        }
        state.limit = (state.limit + 1.0 / state.limit).min(as_share(self.most));
        let now = state.places();
        self.grow(now - before);
        self.is_limited.store(now < self.most, Ordering::Relaxed);
        self.show(now);
    }

    fn throttled(&self, cuts_before: u64) {
        let mut state = self.state();
        if self.cuts.load(Ordering::Relaxed) != cuts_before {
            return; // Of this load, another call has told already.
        }
        let before = state.places();
        let under_way = as_share(self.under_way(before) + 1).min(state.limit);
        state.limit = (under_way * CUT).max(as_share(LEAST)).min(state.limit);
        state.last_cut = Some(Instant::now());
        let now = state.places();
        let taken = self.places.forget_permits(before - now);
        self.owed.fetch_add(before - now - taken, Ordering::Relaxed);
        self.cuts.fetch_add(1, Ordering::Relaxed);
        self.is_limited.store(now < self.most, Ordering::Relaxed);
        self.show(now);
        tracing::warn!(limit = now, "the upstream throttles; fewer calls go to it at a time");
    }

    fn grow(&self, places: usize) {
        for _ in 0..places {
            if !self.repay() {
                self.places.add_permits(1);
            }
        }
    }

    /// Whether a place was owed, which is none now.
    fn repay(&self) -> bool {
        self.owed.try_update(Ordering::Relaxed, Ordering::Relaxed, |owed| owed.checked_sub(1)).is_ok()
    }

    /// Calls that have a place, of this many places.
    fn under_way(&self, places: usize) -> usize {
        (places + self.owed.load(Ordering::Relaxed)).saturating_sub(self.places.available_permits())
    }

    fn show(&self, limit: usize) {
        self.metrics.upstream.concurrency_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and MOST"
    )]
    fn places(&self) -> usize {
        self.limit as usize
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "at most MOST")]
fn as_share(places: usize) -> f64 {
    places as f64
}

impl Place<'_> {
    /// Waits for the answer, and gives the place to the next call then, or before if that takes long or is up to the
    /// client.
    pub(super) async fn hold<F: Future>(&mut self, answer: F, upload: Option<&UploadHandle>) -> F::Output {
        let mut answer = pin!(answer);
        let until = Instant::now() + LONGEST_HOLD;
        let glance = upload.map_or(LONGEST_HOLD, |_| GLANCE);
        while Instant::now() < until && !upload.is_some_and(UploadHandle::waits_for_client) {
            if let Ok(answered) = tokio::time::timeout(glance, &mut answer).await {
                self.leave();
                return answered;
            }
        }
        self.leave();
        answer.await
    }

    /// The upstream's answer, whatever it is but that it throttles.
    pub(super) fn answered(self) {
        self.concurrency.answered();
    }

    pub(super) fn throttled(self) {
        self.concurrency.throttled(self.cuts);
    }

    fn leave(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.concurrency.repay()
        {
            permit.forget();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concurrency(most: usize) -> Concurrency {
        Concurrency::with_most(most, Arc::new(Metrics::new().expect("metrics")))
    }

    fn limit(concurrency: &Concurrency) -> usize {
        let shown = concurrency.metrics.upstream.concurrency_limit.get();
        let places = concurrency.state().places();
        assert_eq!(i64::try_from(places).expect("small"), shown);
        places
    }

    async fn enter(concurrency: &Concurrency, calls: usize) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        for _ in 0..calls {
            places.push(concurrency.enter().await.expect("a place"));
        }
        places
    }

    #[tokio::test]
    async fn one_cut_for_all_that_were_under_way_together() {
        let concurrency = concurrency(100);
        for place in enter(&concurrency, 40).await {
            place.throttled();
        }
        assert_eq!(limit(&concurrency), 28);
        assert_eq!(concurrency.places.available_permits(), 28);
        assert!(concurrency.is_strained());
        enter(&concurrency, 20).await.pop().expect("twenty").throttled();
        assert_eq!(limit(&concurrency), 14, "what came after the cut counts anew");
    }

    #[tokio::test]
    async fn a_place_that_is_taken_goes_when_its_call_ends() {
        let concurrency = concurrency(10);
        let mut places = enter(&concurrency, 10).await;
        places.pop().expect("ten").throttled();
        assert_eq!(limit(&concurrency), 7);
        assert_eq!(concurrency.places.available_permits(), 0);
        drop(places);
        assert_eq!(concurrency.places.available_permits(), 7);
    }

    #[tokio::test]
    async fn it_never_falls_below_the_least_and_grows_back() {
        let concurrency = concurrency(8);
        for _ in 0..20 {
            enter(&concurrency, 1).await.pop().expect("one").throttled();
        }
        assert_eq!(limit(&concurrency), LEAST);
        for _ in 0..100 {
            let mut places = enter(&concurrency, LEAST).await;
            places.pop().expect("one").answered();
        }
        assert_eq!(limit(&concurrency), 8);
        assert_eq!(concurrency.places.available_permits(), 8);
        assert!(!concurrency.is_limited.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn idle_answers_add_nothing() {
        let concurrency = concurrency(100);
        enter(&concurrency, 50).await.pop().expect("fifty").throttled();
        let before = limit(&concurrency);
        for _ in 0..1000 {
            enter(&concurrency, 1).await.pop().expect("one").answered();
        }
        assert_eq!(limit(&concurrency), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_does_not_keep_others_out() {
        let concurrency = concurrency(1);
        let mut place = concurrency.enter().await.expect("a place");
        let slow = place.hold(tokio::time::sleep(Duration::from_mins(5)), None);
        let other = async {
            let began = Instant::now();
            drop(concurrency.enter().await.expect("a place"));
            began.elapsed()
        };
        let (waited, ()) = tokio::join!(other, slow);
        assert!(waited >= LONGEST_HOLD && waited < LONGEST_HOLD * 2, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_slow_down() {
        let concurrency = concurrency(1);
        let _place = concurrency.enter().await.expect("a place");
        let refused = concurrency.enter().await.err().expect("no place");
        assert_eq!((refused.code, refused.retry_after_secs()), (Code::SlowDown, Some(1)));
    }
}
