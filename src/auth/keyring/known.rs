//! What the store said of access keys, for a while. Keys that there are and ids that there are not lie apart: a flood of
//! made-up ids puts no user's key out. However many ask for an id at once, the store is asked once. While the store
//! is away, a key that it knew lately stays good (`GRACE`); what it did not know is not known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::OnceCell;

use crate::auth::credentials::Credential;
use crate::store::{GRACE, Result, Unavailable};
use crate::types::{AccessKeyId, UserId};

/// How old an answer may be. A change is promised to be seen everywhere within five seconds; one is for asking.
const FRESH: Duration = Duration::from_secs(4);
/// Keys kept at most, about 500 bytes each.
const MAX_KEYS: u64 = 50_000;
/// Ids kept at most that are no key's.
const MAX_UNKNOWN: u64 = 10_000;

/// A key, or that there is none.
type Found = Option<Arc<Credential>>;
type Pending = Arc<OnceCell<Found>>;

pub(super) struct Known {
    fresh: Cache<AccessKeyId, Arc<Credential>>,
    unknown: Cache<AccessKeyId, ()>,
    last: Cache<AccessKeyId, Arc<Credential>>,
    asking: Cache<AccessKeyId, Pending>,
    /// Counts what was changed here, so that an answer which a change overtook is not kept.
    changes: Mutex<u64>,
}

impl Known {
    pub(super) fn new() -> Self {
        let keys = || Cache::builder().max_capacity(MAX_KEYS).support_invalidation_closures();
        Self {
            fresh: keys().time_to_live(FRESH).build(),
            unknown: Cache::builder().max_capacity(MAX_UNKNOWN).time_to_live(FRESH).build(),
            last: keys().time_to_live(GRACE).build(),
            asking: Cache::builder().max_capacity(MAX_UNKNOWN).time_to_live(FRESH).build(),
            changes: Mutex::new(0),
        }
    }

    /// What is known without asking.
    pub(super) fn get(&self, id: &str) -> Option<Found> {
        match self.fresh.get(id) {
            Some(credential) => Some(Some(credential)),
            None => self.unknown.get(id).map(|()| None),
        }
    }

    pub(super) async fn ask(
        &self,
        id: &AccessKeyId,
        ask: impl AsyncFnOnce() -> Result<Found>,
    ) -> Result<Found> {
        let pending = self.asking.get_with_by_ref(id, Pending::default);
        let found = pending.get_or_try_init(async || {
            let before = *self.changes();
            let found = ask().await?;
            let changes = self.changes();
            if *changes == before {
                self.keep(id, &found);
            }
            self.asking.invalidate(id);
            Ok(found)
        });
        match found.await {
            Ok(found) => Ok(found.clone()),
            Err(unavailable @ Unavailable) => self.last.get(id).map(Some).ok_or(unavailable),
        }
    }

    fn keep(&self, id: &AccessKeyId, found: &Found) {
        if let Some(credential) = found {
            self.fresh.insert(id.clone(), credential.clone());
            self.last.insert(id.clone(), credential.clone());
        } else {
            self.unknown.insert(id.clone(), ());
            self.last.invalidate(id);
        }
    }

    /// Also what is being asked for just now: its answer goes to those who wait for it, and to nobody else. And what
    /// was true before a change is not true while the store is away: a key revoked stays out.
    pub(super) fn forget(&self, id: &AccessKeyId) {
        let mut changes = self.changes();
        *changes += 1;
        self.fresh.invalidate(id);
        self.unknown.invalidate(id);
        self.last.invalidate(id);
        self.asking.invalidate(id);
    }

    pub(super) fn forget_user(&self, user: &UserId) {
        let mut changes = self.changes();
        *changes += 1;
        for cache in [&self.fresh, &self.last] {
            let user = user.clone();
            let theirs = cache.invalidate_entries_if(move |_, credential| credential.user == user);
            theirs.expect("the cache was built to forget by what it holds");
        }
        // Whose these would be is not known.
        self.unknown.invalidate_all();
        self.asking.invalidate_all();
    }

    fn changes(&self) -> std::sync::MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
