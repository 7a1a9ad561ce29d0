//! How many temporary keys a user gets: sixty in any minute, shared among the gateways that are alive. Their number costs
//! no state, as nobody stores them; the limit keeps a leaked token from filling the world with keys.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use super::rate::whole_seconds;
use crate::body::pace::Replicas;
use crate::error::{Code, Error, Result};
use crate::types::UserId;

const A_MINUTE: Duration = Duration::from_mins(1);
const MOST: u64 = 60;
/// Users remembered at most, at 1 KiB or less.
const MOST_USERS: u64 = 50_000;

pub(super) struct Mints {
    /// When each of the last minute was made.
    users: Cache<UserId, Arc<Mutex<VecDeque<Instant>>>>,
    replicas: Replicas,
}

impl Mints {
    pub(super) fn new(replicas: Replicas) -> Self {
        let users = Cache::builder().max_capacity(MOST_USERS).time_to_idle(A_MINUTE).build();
        Self { users, replicas }
    }

    pub(super) fn check(&self, user: &UserId) -> Result<()> {
        let mints = self.users.get_with_by_ref(user, Arc::default);
        let mut mints = mints.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while mints.front().is_some_and(|oldest| now.duration_since(*oldest) >= A_MINUTE) {
            mints.pop_front();
        }
        let most = usize::try_from(self.replicas.share(MOST)).unwrap_or(usize::MAX);
        match mints.front() {
            Some(oldest) if mints.len() >= most => {
                let wait = A_MINUTE.saturating_sub(now.duration_since(*oldest));
                Err(Error::new(Code::SlowDown).retry_after(whole_seconds(wait)))
            }
            Some(_) | None => {
                mints.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::admit::kit::{gateways, user};

    /// How many are made before one is refused, and when to come back.
    fn made(mints: &Mints, name: &str) -> (u32, Option<u64>) {
        let mut made = 0;
        loop {
            match mints.check(&user(name)) {
                Ok(()) => made += 1,
                Err(refused) => return (made, refused.retry_after_secs()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sixty_in_any_minute_for_each() {
        let mints = Mints::new(Replicas::one());
        assert!(mints.check(&user("alice")).is_ok());
        advance(Duration::from_secs(30)).await;
        assert_eq!(made(&mints, "alice"), (59, Some(30)));
        assert_eq!(made(&mints, "bob").0, 60);
        advance(Duration::from_secs(30)).await;
        assert_eq!(made(&mints, "alice"), (1, Some(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn gateways_share_them() {
        let (live, replicas) = gateways(4);
        let mints = Mints::new(replicas);
        assert_eq!(made(&mints, "alice").0, 15);
        live.send(1).expect("somebody listens");
        assert_eq!(made(&mints, "alice").0, 45);
    }
}
