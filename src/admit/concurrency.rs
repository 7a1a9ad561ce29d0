//! How many requests run at a time: of everybody, and of each user. In: a request that begins, then whose it is.
//! Out: a `Permit`, which rides in the answer's body, and in whatever of the request outlives it; both places are
//! free when the last of them goes. A user has an entry while the user has a request, no longer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::body::pace::Replicas;
use crate::config::Limit;
use crate::error::{Code, Error, Result};
use crate::metrics::{Metrics, Throttle};
use crate::types::UserId;

/// A place is free when some request has ended, which is soon.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Concurrency {
    places: Arc<Places>,
    replicas: Replicas,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Places {
    total: AtomicUsize,
    by_user: Mutex<HashMap<UserId, u64>>,
}

/// A request's place among all, and among its user's once it is known whose it is. Copies are of the same place.
#[derive(Clone)]
pub struct Permit(Arc<Place>);

struct Place {
    places: Arc<Places>,
    user: OnceLock<UserId>,
}

impl Concurrency {
    pub(super) fn new(replicas: Replicas, metrics: Arc<Metrics>) -> Self {
        Self { places: Arc::default(), replicas, metrics }
    }

    /// A place among all requests, of which there may be so many.
    pub(super) fn enter(&self, most: Limit<usize>) -> Result<Permit> {
        // Counted first, so that two cannot take the last place; the permit gives it back either way.
        let before = self.places.total.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(Arc::new(Place { places: self.places.clone(), user: OnceLock::new() }));
        if most.allows(&before.saturating_add(1)) { Ok(permit) } else { Err(self.refuse(Throttle::InFlight)) }
    }

    /// A place among the user's requests; `most` is what the user may have at all gateways together.
    pub(super) fn admit(&self, permit: &Permit, user: &UserId, most: Limit) -> Result<()> {
        let most = most.at().map_or(u64::MAX, |most| self.replicas.share(most));
        let mut by_user = self.places.by_user();
        match by_user.get_mut(user) {
            Some(running) if *running >= most => {
                drop(by_user);
                return Err(self.refuse(Throttle::Concurrency));
            }
            Some(running) => *running += 1,
            // The share is at least one.
            None => drop(by_user.insert(user.clone(), 1)),
        }
        drop(by_user);
        permit.0.user.set(user.clone()).expect("a request is one user's, and is admitted once");
        Ok(())
    }

    fn refuse(&self, throttle: Throttle) -> Error {
        self.metrics.throttled(throttle);
        Error::new(Code::SlowDown).retry_after(RETRY_AFTER)
    }
}

impl Places {
    fn by_user(&self) -> MutexGuard<'_, HashMap<UserId, u64>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.total.fetch_sub(1, Ordering::Relaxed);
        let Some(user) = self.user.get() else { return };
        let mut by_user = self.places.by_user();
        if let Some(running) = by_user.get_mut(user) {
            *running -= 1;
            if *running == 0 {
                by_user.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::kit::{gateways, throttled, user};

    #[test]
    fn a_user_has_so_many_requests_and_leaves_nothing_behind() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let all = Concurrency::new(Replicas::one(), metrics.clone());
        let enter = |name| {
            let permit = all.enter(Limit::At(5))?;
            all.admit(&permit, &user(name), Limit::At(2)).map(|()| permit)
        };
        let first = enter("alice").unwrap();
        let second = enter("alice").unwrap();
        let refused = enter("alice").map(drop).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_secs()), (Code::SlowDown, Some(1)));
        assert_eq!(throttled(&metrics, "concurrency"), 1);
        let others = [enter("bob").unwrap(), enter("bob").unwrap(), enter("carol").unwrap()];
        assert_eq!(enter("dave").map(drop).unwrap_err().code, Code::SlowDown);
        assert_eq!(throttled(&metrics, "in_flight"), 1);
        let copy = first.clone();
        drop(first);
        assert!(enter("alice").is_err(), "something of the first goes on");
        drop(copy);
        let third = enter("alice").unwrap();
        drop((second, third, others));
        assert!(all.places.by_user().is_empty());
        assert_eq!(all.places.total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn gateways_share_what_a_user_may_have() {
        let (live, replicas) = gateways(3);
        let metrics = Arc::new(Metrics::new().unwrap());
        let all = Concurrency::new(replicas, metrics);
        let admitted = |most| {
            let mut permits = Vec::new();
            while permits.len() < 100 {
                let permit = all.enter(Limit::Unlimited).unwrap();
                if all.admit(&permit, &user("alice"), most).is_err() {
                    break;
                }
                permits.push(permit);
            }
            permits.len()
        };
        assert_eq!(admitted(Limit::At(64)), 21);
        assert_eq!(admitted(Limit::At(2)), 1, "at least one");
        assert_eq!(admitted(Limit::Unlimited), 100);
        live.send(1).unwrap();
        assert_eq!(admitted(Limit::At(64)), 64);
    }
}
