//! What this process wrote lately, so that the next step of the same write needs one read and not two. Hints name
//! rows to load and nothing else: one that is stale costs a read and cannot make a step wrong.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::account::{Lease, LeaseId, Millis, UploadKey};
use crate::types::UserId;

/// Bytes.
const LEASES: u64 = 8 << 20;
const UPLOADS: u64 = 10_000;
const USERS: u64 = 100_000;
/// How long a user who was marked as active passes for marked.
pub(super) const MARKED_FOR: Duration = Duration::from_mins(1);

pub(super) struct Hints {
    leases: Cache<LeaseId, Arc<Lease>>,
    places: Cache<UploadKey, Millis>,
    /// In which life of the store, and for which birth of the account.
    marked: Cache<UserId, (u64, Vec<u8>)>,
}

impl Hints {
    pub(super) fn new() -> Self {
        Self {
            leases: Cache::builder()
                .max_capacity(LEASES)
                .weigher(|_, lease: &Arc<Lease>| weight(lease))
                .build(),
            places: Cache::new(UPLOADS),
            marked: Cache::builder().max_capacity(USERS).time_to_live(MARKED_FOR).build(),
        }
    }

    pub(super) fn lease(&self, id: &LeaseId) -> Option<Arc<Lease>> {
        self.leases.get(id)
    }

    pub(super) fn note_lease(&self, id: LeaseId, lease: Option<&Lease>) {
        match lease {
            Some(lease) => self.leases.insert(id, Arc::new(lease.clone())),
            None => self.leases.invalidate(&id),
        }
    }

    pub(super) fn place(&self, upload: &UploadKey) -> Option<Millis> {
        self.places.get(upload)
    }

    pub(super) fn note_place(&self, upload: UploadKey, place: Option<Millis>) {
        match place {
            Some(place) => self.places.insert(upload, place),
            None => self.places.invalidate(&upload),
        }
    }

    /// Whether the user was marked as active a short while ago, and the mark still stands for this account.
    pub(super) fn is_marked(&self, user: &UserId, life: u64, born: &[u8]) -> bool {
        self.marked.get(user).is_some_and(|mark| mark.0 == life && mark.1 == born)
    }

    pub(super) fn note_marked(&self, user: &UserId, life: u64, born: &[u8]) {
        self.marked.insert(user.clone(), (life, born.to_vec()));
    }
}

fn weight(lease: &Lease) -> u32 {
    let bytes = lease.targets().map(|target| 64 + target.key.len()).sum::<usize>() + 256;
    bytes.try_into().unwrap_or(u32::MAX)
}
