//! Pre-authenticated requests from their making to their end. In: a user's object, what may be done with it, and until
//! when. Out: a URL of OCI's own, and an id to delete it by. A PAR is written down before OCI is asked for it, with a
//! name by which OCI's is found again, and stays on record until OCI has none: no crash and no lost answer leaves one
//! that nobody knows of. Who was disabled or removed meanwhile gets none: whichever of the two was first, one of them
//! sees the other.
//!
//! No URL is ever logged.

mod sweep;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio_util::task::TaskTracker;

use crate::account::Millis;
use crate::admit::quota::millis;
use crate::admit::tiers::{Standing, Tiers};
use crate::error::{Code, Error, Result};
use crate::keymap::UpstreamTarget;
use crate::metrics::{Metrics, ParEnd};
use crate::store::{self, MAX_PARS, ParId, ParRecord, Store};
use crate::types::{Role, UserId};
use crate::upstream::native::{Access, Native, PATIENCE};

/// A PAR whose making is on record for longer than this was not made, or nobody was told of it.
const UNFINISHED: Duration = PATIENCE.saturating_mul(4);

#[derive(Clone)]
pub struct Pars(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    tiers: Arc<Tiers>,
    /// None without an OCI API key.
    native: Option<Native>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

/// A PAR that a user may have.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub user: UserId,
    pub generation: Millis,
    pub target: UpstreamTarget,
    pub access: Access,
    pub expires: SystemTime,
}

/// A PAR that was made. No `Debug`: the URL is a secret.
pub struct Made {
    pub id: ParId,
    pub url: String,
}

impl Pars {
    pub fn new(store: Arc<Store>, tiers: Arc<Tiers>, native: Option<Native>, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { store, tiers, native, metrics, tasks: TaskTracker::new() }))
    }

    /// The same, as another configuration has it. What is under way goes on with the one that it began with.
    #[must_use]
    pub fn renewed(&self, tiers: Arc<Tiers>, native: Option<Native>) -> Self {
        let Inner { store, metrics, tasks, .. } = &*self.0;
        let (store, metrics, tasks) = (store.clone(), metrics.clone(), tasks.clone());
        Self(Arc::new(Inner { store, tiers, native, metrics, tasks }))
    }

    /// The longest that a PAR may live, where there are any.
    pub fn max_expiry(&self) -> Result<Duration> {
        Ok(self.native()?.max_expiry())
    }

    /// Makes a PAR, or undoes what there is of it, whoever waits for it.
    pub async fn create(&self, wanted: Wanted) -> Result<Made> {
        let pars = self.clone();
        let making = self.0.tasks.spawn(async move { pars.make(wanted).await });
        making.await.unwrap_or_else(|panic| Err(Error::new(Code::InternalError).because(panic)))
    }

    /// Deletes a PAR of this user's. Another's, and one that never was, are not found alike.
    pub async fn delete(&self, user: &UserId, generation: Millis, id: &str) -> Result<()> {
        self.native()?;
        let unknown = || Error::new(Code::NoSuchKey).say("There is no such pre-authenticated request.");
        let id = ParId::parse(id).ok_or_else(unknown)?;
        let record = self.0.store.par(&id).await?;
        let is_theirs = |record: &ParRecord| record.user == *user && record.generation == generation;
        let record = record.filter(is_theirs).ok_or_else(unknown)?;
        self.end(&id, &record, ParEnd::Asked, crate::now()).await
    }

    /// Something about a user was changed: what they may have no more is deleted, from now on and whoever waits.
    pub fn review(&self, user: &UserId) {
        let (pars, user) = (self.clone(), user.clone());
        self.0.tasks.spawn(async move {
            if let Err(error) = pars.revoke(&user, crate::now()).await {
                tracing::warn!(%user, %error, "a user's pre-authenticated requests are left to the next sweep");
            }
        });
    }

    /// Waits for what goes on in the background.
    pub async fn finish(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn native(&self) -> Result<&Native> {
        self.0.native.as_ref().ok_or_else(|| {
            Error::new(Code::NotImplemented)
                .say("Pre-authenticated requests are not offered here. POST /api/v1/presign makes URLs.")
        })
    }

    async fn make(&self, wanted: Wanted) -> Result<Made> {
        let (native, store) = (self.native()?, &self.0.store);
        let Wanted { user, generation, target, access, expires } = wanted;
        let id = ParId::random();
        let pending = ParRecord {
            user,
            generation,
            place: native.place(),
            object: target.key.as_str().to_owned(),
            writes: access == Access::Write,
            oci_id: None,
            expires_at: millis(expires),
            due: millis(crate::now() + UNFINISHED),
        };
        if !store.add_par(&id, &pending).await? {
            let text = format!(
                "You have {MAX_PARS} pre-authenticated requests, and may have no more. Delete some, or let them expire."
            );
            return Err(Error::new(Code::InvalidRequest)
                .with_status(StatusCode::TOO_MANY_REQUESTS)
                .say(text));
        }
        let par = match native.create_par(&name(&id), &pending.object, access, expires).await {
            Ok(par) => par,
            Err(failure) => {
                if !failure.may_have_acted() {
                    // Otherwise it is looked for by its name, once it is due.
                    self.forget(&id, &pending).await;
                }
                return Err(failure.into());
            }
        };
        let live = ParRecord { oci_id: Some(par.id), due: pending.expires_at, ..pending.clone() };
        if let Err(refused) = self.confirm(&id, &pending, &live).await {
            if let Err(error) = self.end(&id, &live, ParEnd::Unfinished, crate::now()).await {
                tracing::debug!(par = %id, %error, "left to the next sweep");
            }
            return Err(refused);
        }
        Ok(Made { id, url: par.url })
    }

    /// Writes down that OCI has made it, unless it is not to stay: after this, who disables the user finds it, and who
    /// has done so before is seen here.
    async fn confirm(&self, id: &ParId, pending: &ParRecord, live: &ParRecord) -> Result<()> {
        if !self.0.store.replace_par(id, pending, live).await? {
            return Err(Error::new(Code::ServiceUnavailable).because("a sweep has given its making up"));
        }
        if !may_have(&self.standing(&live.user).await?, live) {
            let why = "the user was disabled or removed meanwhile, or is no service any more";
            return Err(Error::new(Code::AccessDenied).because(why));
        }
        Ok(())
    }

    /// Of a user, by the store's own word: what is remembered may be seconds old.
    async fn standing(&self, user: &UserId) -> store::Result<Standing> {
        let known = self.0.store.known(user).await?;
        Ok(self.0.tiers.rules().standing_of(user, &known))
    }

    /// OCI's API, if it can delete this one.
    fn native_of(&self, record: &ParRecord) -> Option<&Native> {
        self.0.native.as_ref().filter(|native| native.place() == record.place)
    }

    /// Deletes a PAR at OCI, and forgets it then.
    async fn end(&self, id: &ParId, record: &ParRecord, why: ParEnd, now: SystemTime) -> Result<()> {
        if let Err(error) = self.delete_at_oci(id, record, now).await {
            self.0.metrics.pars.ended(why, false);
            return Err(error);
        }
        // Another gateway may have been quicker, and has told of it.
        if self.0.store.remove_par(&record.user, id).await? {
            self.0.metrics.pars.ended(why, true);
            tracing::info!(
                target: "audit",
                user = %record.user,
                par = %id,
                reason = why.label(),
                "a pre-authenticated request was deleted"
            );
        }
        Ok(())
    }

    async fn delete_at_oci(&self, id: &ParId, record: &ParRecord, now: SystemTime) -> Result<()> {
        let Some(native) = self.native_of(record) else {
            if record.expires_at <= millis(now) {
                // It opens nothing any more, wherever it is.
                return Ok(());
            }
            let why = "it was made in another bucket, or with an API key that is not configured any more";
            return Err(Error::new(Code::ServiceUnavailable).because(why));
        };
        match &record.oci_id {
            Some(oci_id) => native.delete_par(oci_id).await?,
            None => {
                for oci_id in native.pars_named(&name(id), &record.object).await? {
                    native.delete_par(&oci_id).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes one off the record that OCI never made.
    async fn forget(&self, id: &ParId, record: &ParRecord) {
        if let Err(error) = self.0.store.remove_par(&record.user, id).await {
            tracing::debug!(par = %id, %error, "left to the next sweep");
        }
    }
}

/// Whether whoever stands like this may have it, or still have it.
fn may_have(standing: &Standing, record: &ParRecord) -> bool {
    let Standing { known, enabled, generation, role, .. } = standing;
    let may_write = *role == Role::Service || !record.writes;
    *known && *enabled && *generation == record.generation && may_write
}

/// What OCI's list calls it.
fn name(id: &ParId) -> String {
    format!("bucketwarden-{id}")
}
