//! Where the accounts meet the bucket. In: writes that ask to be admitted, and what became of them. Out:
//! reservations, settled durably before a client hears of it; and in the background the truth: users are counted
//! at first sight and now and then, expired leases are looked into, abandoned uploads are ended.
//!
//! A write whose store is lost is refused; reads never ask here.

mod inventory;
pub mod pars;
mod recount;
mod sweep;
mod turns;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::IntGauge;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::account::{Limits, Outcome, Refusal, Settled, Write};
use crate::admit::quota::{Admitted, Quota, Reservation};
use crate::config::{self, BucketKind, PrefixTemplate};
use crate::error::{Code, Error, Result};
use crate::metrics::Metrics;
use crate::s3::xml::Page;
use crate::store::Store;
use crate::types::{BucketName, UpstreamKey, UserId};
use crate::upstream::Upstream;
use inventory::Inventory;
pub use recount::{Event, Recounted};

/// How long a write waits for the count of a user who is seen for the first time; one page is usually all.
const FIRST_SIGHT: Duration = Duration::from_secs(2);

/// Cheap to clone, and to make anew: what is under way is known to all that were made of one.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    quota: Quota,
    inventory: Inventory,
    /// The buckets that count, and where a user's part of them lies.
    scopes: Vec<(BucketName, PrefixTemplate)>,
    metrics: Arc<Metrics>,
    abandoned_after: Duration,
    reconcile_every: Duration,
    /// What a slow operation may take, also when its gateway is gone.
    slow: Duration,
    under_way: Arc<UnderWay>,
    _in_use: InUse,
}

/// Counts a configuration in use, until dropped: whatever goes on under one has its ledger.
struct InUse(IntGauge);

impl InUse {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.dec();
    }
}

struct UnderWay {
    since: SystemTime,
    /// Users being counted here; the receiver hears of the end.
    counting: Mutex<HashMap<UserId, watch::Receiver<bool>>>,
    tasks: TaskTracker,
}

impl Ledger {
    pub fn new(
        quota: Quota,
        upstream: Arc<Upstream>,
        config: &config::Config,
        metrics: Arc<Metrics>,
    ) -> Self {
        let under_way =
            UnderWay { since: crate::now(), counting: Mutex::default(), tasks: TaskTracker::new() };
        Self::with(quota, upstream, config, metrics, Arc::new(under_way))
    }

    /// The same ledger, as another configuration has it. Writes go on with the one they began with.
    #[must_use]
    pub fn renewed(&self, upstream: Arc<Upstream>, config: &config::Config) -> Self {
        let Inner { quota, metrics, under_way, .. } = &*self.0;
        let quota = quota.renewed(config.quota.reservation_lease);
        Self::with(quota, upstream, config, metrics.clone(), under_way.clone())
    }

    fn with(
        quota: Quota,
        upstream: Arc<Upstream>,
        config: &config::Config,
        metrics: Arc<Metrics>,
        under_way: Arc<UnderWay>,
    ) -> Self {
        let counted = config.buckets.iter().filter(|bucket| bucket.counts_towards_quota);
        let scopes = counted.filter_map(|bucket| match &bucket.kind {
            BucketKind::User { prefix } => Some((bucket.name.clone(), prefix.clone())),
            BucketKind::Job { .. } | BucketKind::PlatformView => None,
        });
        Self(Arc::new(Inner {
            quota,
            inventory: Inventory::new(upstream),
            scopes: scopes.collect(),
            abandoned_after: config.quota.abandoned_upload_age,
            reconcile_every: config.quota.reconcile_interval,
            slow: config.upstream.slow_operation_timeout,
            under_way,
            _in_use: InUse::new(&metrics.config_generations),
            metrics,
        }))
    }

    pub fn quota(&self) -> &Quota {
        &self.0.quota
    }

    pub fn store(&self) -> &Arc<Store> {
        self.0.quota.store()
    }

    /// Reserves what a write needs, or says why not. A user seen for the first time is counted before.
    pub async fn admit(
        &self,
        user: &UserId,
        write: Write,
        limits: Limits,
        slow: bool,
    ) -> Result<Result<Reservation, Refusal>> {
        let may_take = if slow { self.0.slow } else { Duration::ZERO };
        for _ in 0..2 {
            match self.0.quota.begin(user, write.clone(), limits, may_take, crate::now()).await? {
                Admitted::Reserved(reservation) => return Ok(Ok(reservation)),
                Admitted::Refused(refusal) => return Ok(Err(refusal)),
                Admitted::NotCounted => self.wait_for_count(user).await?,
            }
        }
        Err(still_counting())
    }

    /// Counts a user who was never counted, if that takes no longer than a moment.
    pub async fn count_at_first_sight(&self, user: &UserId) -> Result<()> {
        match self.store().account(user).await? {
            Some(account) if account.counted => Ok(()),
            Some(_) | None => self.wait_for_count(user).await,
        }
    }

    /// A page of what lies under a real prefix: keys and sizes, and how to go on.
    pub async fn list(
        &self,
        prefix: &UpstreamKey,
        token: Option<&str>,
    ) -> Result<Page<(String, u64), String>> {
        self.0.inventory.objects(prefix.as_str(), token, crate::now()).await
    }

    /// What the bucket itself says of a user, bucket by bucket: bytes and objects.
    pub async fn measure(&self, user: &UserId) -> Result<Vec<(BucketName, u64, u64)>> {
        let mut sums = Vec::new();
        for (bucket, scope) in &self.0.scopes {
            let (mut bytes, mut objects, mut token) = (0, 0, None);
            loop {
                let prefix = scope.render(user);
                let page = self.0.inventory.objects(&prefix, token.as_deref(), crate::now()).await?;
                objects += u64::try_from(page.entries.len()).expect("a length fits");
                bytes += page.entries.iter().map(|(_, size)| size).sum::<u64>();
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
            sums.push((bucket.clone(), bytes, objects));
        }
        Ok(sums)
    }

    /// Settles a write, durably, and has looked at what the answer left open.
    pub async fn settle(&self, reservation: Reservation, outcome: Outcome) -> Result<()> {
        let settled = reservation.settle(outcome, crate::now()).await?;
        let (user, lease) = (reservation.user().clone(), reservation.lease());
        drop(reservation);
        if settled.lost {
            tracing::warn!(%user, "a write outlived its lease; its user is counted anew");
            self.recount_in_background(&user);
        } else if settled != Settled::default() {
            let ledger = self.clone();
            self.0.under_way.tasks.spawn(async move {
                if let Err(error) = ledger.look(&user, lease, settled).await {
                    // The lease is still there: whoever sweeps looks again.
                    tracing::debug!(%user, %error, "a write could not be looked into yet");
                }
            });
        }
        Ok(())
    }

    /// Runs what must come to its end, a write to its settlement, whoever waits for it.
    pub fn detach<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.under_way.tasks.spawn(work)
    }

    /// Waits for what goes on without its client.
    pub async fn finish(&self) {
        self.0.under_way.tasks.close();
        self.0.under_way.tasks.wait().await;
    }

    async fn wait_for_count(&self, user: &UserId) -> Result<()> {
        let mut done = self.recount_in_background(user);
        let counted = done.wait_for(|done| *done);
        match tokio::time::timeout(FIRST_SIGHT, counted).await {
            Ok(Ok(_)) => Ok(()),
            // It goes on; or it failed, and the next write begins another.
            Ok(Err(_)) | Err(_) => Err(still_counting()),
        }
    }

    /// Starts a count of a user, or joins the one under way here.
    fn recount_in_background(&self, user: &UserId) -> watch::Receiver<bool> {
        let mut counting = self.0.under_way.counting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = counting.get(user) {
            return under_way.clone();
        }
        let (tell, done) = watch::channel(false);
        counting.insert(user.clone(), done.clone());
        let (ledger, user) = (self.clone(), user.clone());
        self.0.under_way.tasks.spawn(async move {
            match ledger.recount(&user, |_| {}).await {
                Ok(_) => drop(tell.send(true)),
                Err(error) => tracing::warn!(%user, %error, "a user could not be counted"),
            }
            ledger.0.under_way.counting.lock().unwrap_or_else(PoisonError::into_inner).remove(&user);
        });
        done
    }
}

fn still_counting() -> Error {
    Error::new(Code::SlowDown)
        .retry_after(Duration::from_secs(1))
        .because("the user's objects are being counted")
}
