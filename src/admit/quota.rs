//! The quota's part of admission: what a write may add is reserved in the user's account before a byte of it is
//! asked for, and settled on what became of it. In: a write, named by its real key. Out: a `Reservation`, or the
//! refusal. A reservation that is dropped unsettled keeps its bytes until its lease expires and somebody looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hkdf, hmac};

use crate::account::{
    Begun, Found, LeaseId, Limits, Millis, Named, ObjectId, Outcome, Refusal, Reply, Settled, Step, Target,
    UploadKey, Write,
};
use crate::metrics::Metrics;
use crate::store::{self, Store};
use crate::types::{UpstreamKey, UserId};

/// How objects and uploads are named in the ledger: by 128 bits of a keyed hash, so that its rows are small and
/// tell nobody what users call their files.
pub struct Ids(hmac::Key);

impl Ids {
    /// From a secret that all replicas share.
    pub fn new(secret: &[u8]) -> Self {
        let mut key = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"bucketwarden ledger v1")
            .extract(secret)
            .expand(&[b"ids"], hkdf::HKDF_SHA256)
            .and_then(|material| material.fill(&mut key))
            .expect("HKDF gives 32 bytes");
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    pub fn object(&self, key: &str) -> ObjectId {
        ObjectId(self.hash(&[key]))
    }

    pub fn target(&self, key: &UpstreamKey) -> Target {
        Target { id: self.object(key.as_str()), key: key.as_str().to_owned() }
    }

    pub fn upload(&self, target: Target, upload_id: &str) -> Named {
        let key = UploadKey(self.hash(&[&target.key, upload_id]));
        Named { key, target, upload_id: upload_id.to_owned() }
    }

    fn hash(&self, parts: &[&str]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            // Lengths first: no two different lists of parts give the same bytes.
            context.update(&u64::try_from(part.len()).expect("a length fits").to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        tag.as_ref()[..16].try_into().expect("SHA-256 is longer")
    }
}

/// How a begin ended.
pub enum Admitted {
    Reserved(Reservation),
    Refused(Refusal),
    /// A recount comes first.
    NotCounted,
}

/// Bytes and a place that are held for one write.
pub struct Reservation {
    quota: Quota,
    user: UserId,
    lease: LeaseId,
}

#[derive(Clone)]
pub struct Quota(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    ids: Arc<Ids>,
    lease: Duration,
    metrics: Arc<Metrics>,
    /// Leases of writes that this process has under way.
    live: Arc<Mutex<HashMap<UserId, Vec<LeaseId>>>>,
}

impl Quota {
    pub fn new(store: Arc<Store>, ids: Ids, lease: Duration, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { store, ids: Arc::new(ids), lease, metrics, live: Arc::default() }))
    }

    /// The same quota with another lease. Both know, and renew, all writes under way.
    #[must_use]
    pub fn renewed(&self, lease: Duration) -> Self {
        let Inner { store, ids, lease: _, metrics, live } = &*self.0;
        let (store, ids, metrics, live) = (store.clone(), ids.clone(), metrics.clone(), live.clone());
        Self(Arc::new(Inner { store, ids, lease, metrics, live }))
    }

    pub fn ids(&self) -> &Ids {
        &self.0.ids
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.0.store
    }

    /// How long a lease lives without being renewed.
    pub fn lease(&self) -> Duration {
        self.0.lease
    }

    /// `may_take`: how long the upstream may go on with it on its own, if that is longer than a lease.
    pub async fn begin(
        &self,
        user: &UserId,
        write: Write,
        limits: Limits,
        may_take: Duration,
        now: SystemTime,
    ) -> store::Result<Admitted> {
        let lease = LeaseId(*uuid::Uuid::now_v7().as_bytes());
        let now = millis(now);
        let expires_at = after(now, self.0.lease.max(may_take));
        let step = Step::Begin { lease, write, limits, expires_at, life: self.0.store.life() };
        // Known as live before the store knows it: no moment in which it could be taken for dead.
        let reservation = Reservation::hold(self.clone(), user.clone(), lease);
        match self.0.store.step(user, step, now).await? {
            Reply::Begun(Begun::Admitted) => Ok(Admitted::Reserved(reservation)),
            Reply::Begun(Begun::Refused(refusal)) => Ok(Admitted::Refused(refusal)),
            Reply::Begun(Begun::NotCounted) => Ok(Admitted::NotCounted),
            _ => unreachable!("a begin is answered as one"),
        }
    }

    /// Tells the account what a look showed. `false`: something was written meanwhile, look again later.
    pub async fn resolve(
        &self,
        user: &UserId,
        lease: LeaseId,
        found: Found,
        now: SystemTime,
    ) -> store::Result<bool> {
        match self.0.store.step(user, Step::Resolve { lease, found }, millis(now)).await? {
            Reply::Resolved(resolved) => Ok(resolved),
            _ => unreachable!("a resolve is answered as one"),
        }
    }

    /// Takes over a lease that has expired, or whose owner is known to be dead.
    pub async fn expire(
        &self,
        user: &UserId,
        lease: LeaseId,
        orphaned: bool,
        now: SystemTime,
    ) -> store::Result<Settled> {
        let now = millis(now);
        let step = Step::Expire { lease, orphaned, look_at: self.expiry(now) };
        match self.0.store.step(user, step, now).await? {
            Reply::Settled(settled) => Ok(settled),
            _ => unreachable!("an expiry is answered as a settlement"),
        }
    }

    /// Renews the leases of all writes under way here. To be called several times in a lease's life.
    pub async fn renew(&self, now: SystemTime) -> store::Result<()> {
        let now = millis(now);
        let live: Vec<(UserId, Vec<LeaseId>)> =
            self.live().iter().map(|(user, leases)| (user.clone(), leases.clone())).collect();
        // One account that cannot be read does not cost the others their leases.
        let mut renewed = Ok(());
        for (user, leases) in live {
            let step = Step::Renew { leases, expires_at: self.expiry(now) };
            renewed = self.0.store.step(&user, step, now).await.and(renewed);
        }
        renewed.map(drop)
    }

    fn expiry(&self, now: Millis) -> Millis {
        after(now, self.0.lease)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<UserId, Vec<LeaseId>>> {
        // Nothing panics under this lock; and if it did, the map would still be whole.
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    fn hold(quota: Quota, user: UserId, lease: LeaseId) -> Self {
        quota.live().entry(user.clone()).or_default().push(lease);
        quota.0.metrics.ledger.reservations.inc();
        Self { quota, user, lease }
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Settles the write, durably. What must be looked at afterwards comes back.
    pub async fn settle(&self, outcome: Outcome, now: SystemTime) -> store::Result<Settled> {
        let now = millis(now);
        let look_at = self.quota.expiry(now);
        let step = Step::Settle { lease: self.lease, outcome, look_at };
        match self.quota.0.store.step(&self.user, step, now).await? {
            Reply::Settled(settled) => Ok(settled),
            _ => unreachable!("a settlement is answered as one"),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.quota.0.metrics.ledger.reservations.dec();
        let mut live = self.quota.live();
        if let Some(leases) = live.get_mut(&self.user) {
            leases.retain(|lease| *lease != self.lease);
            if leases.is_empty() {
                live.remove(&self.user);
            }
        }
    }
}

fn after(now: Millis, span: Duration) -> Millis {
    now + u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 2)
}

pub fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
