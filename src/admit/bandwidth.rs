//! Whose streams share which bandwidth: one lane per user and direction, which `body::pace` knows how to use.
//! Users without a limit have none. A lane is kept while streams flow on it, and a twentieth of a second longer,
//! until it has filled up: then a new one would be no different, and it goes when the map would grow otherwise.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::UserLimits;
use crate::body::pace::{Lane, Pacer, Replicas};
use crate::config::Limit;
use crate::types::UserId;

/// Idle lanes are looked for when there are twice as many lanes as were in use then, and at least so many.
const LEAST_LANES: usize = 64;

pub(super) struct Bandwidth {
    upload: Direction,
    download: Direction,
}

struct Direction {
    lanes: Mutex<Lanes>,
    /// How many lanes there are, to be read without the lock.
    known: AtomicUsize,
    replicas: Replicas,
}

struct Lanes {
    by_user: HashMap<UserId, Arc<Lane>>,
    sweep_at: usize,
}

impl Bandwidth {
    pub(super) fn new(replicas: Replicas) -> Self {
        Self { upload: Direction::new(replicas.clone()), download: Direction::new(replicas) }
    }

    /// For a body that the user sends.
    pub(super) fn upload(&self, user: &UserId, limits: &UserLimits) -> Pacer {
        Pacer::new(self.upload.lane(user, limits.upload_rate))
    }

    /// For a body that the user is sent.
    pub(super) fn download(&self, user: &UserId, limits: &UserLimits) -> Pacer {
        Pacer::new(self.download.lane(user, limits.download_rate))
    }
}

impl Direction {
    fn new(replicas: Replicas) -> Self {
        let lanes = Lanes { by_user: HashMap::new(), sweep_at: LEAST_LANES };
        Self { lanes: Mutex::new(lanes), known: AtomicUsize::new(0), replicas }
    }

    fn lane(&self, user: &UserId, limit: Limit) -> Option<Arc<Lane>> {
        let limit = limit.at();
        if limit.is_none() && self.known.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut lanes = self.lanes();
        if let Some(lane) = lanes.by_user.get(user) {
            // Streams under way follow too, and go on without a limit if it was lifted.
            lane.set_limit(limit);
            return limit.map(|_| lane.clone());
        }
        limit?;
        if lanes.by_user.len() >= lanes.sweep_at {
            lanes.by_user.retain(|_, lane| !lane.is_idle());
            lanes.sweep_at = (lanes.by_user.len() * 2).max(LEAST_LANES);
        }
        let lane = Arc::new(Lane::new(limit, self.replicas.clone()));
        lanes.by_user.insert(user.clone(), lane.clone());
        self.known.store(lanes.by_user.len(), Ordering::Relaxed);
        Some(lane)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::kit::user;

    #[tokio::test(start_paused = true)]
    async fn a_user_has_one_lane_and_the_unlimited_have_none() {
        let lanes = Direction::new(Replicas::one());
        assert!(lanes.lane(&user("alice"), Limit::Unlimited).is_none());
        let lane = lanes.lane(&user("alice"), Limit::At(1 << 20)).unwrap();
        let again = lanes.lane(&user("alice"), Limit::At(1 << 10)).unwrap();
        assert!(Arc::ptr_eq(&lane, &again));
        assert!(!Arc::ptr_eq(&lane, &lanes.lane(&user("bob"), Limit::At(1)).unwrap()));
        assert!(lanes.lane(&user("alice"), Limit::Unlimited).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_lanes_go_and_those_in_use_stay() {
        let lanes = Direction::new(Replicas::one());
        let held: Vec<_> =
            (0..10).map(|i| lanes.lane(&user(&format!("held{i}")), Limit::At(100)).unwrap()).collect();
        for i in 0..10_000 {
            lanes.lane(&user(&format!("u{i}")), Limit::At(100)).unwrap();
            assert!(lanes.lanes().by_user.len() <= LEAST_LANES, "full and unused");
        }
        for (i, lane) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(lane, &lanes.lane(&user(&format!("held{i}")), Limit::At(100)).unwrap()));
        }
        assert_eq!(lanes.known.load(Ordering::Relaxed), lanes.lanes().by_user.len());
    }
}
