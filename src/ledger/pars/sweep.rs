//! The end of pre-authenticated requests that nobody deletes: those that have expired, those whose making was cut
//! short, and those of users who are disabled, gone, or another one of the same id, or who may write past the quota no
//! more. In: the record. Out: deletions, at OCI and then on the record, again and again while OCI is away. Gateways that
//! share a store may all do this at once: what is deleted twice is deleted.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Pars, may_have};
use crate::admit::quota::millis;
use crate::error::Result;
use crate::ledger::turns::Turns;
use crate::metrics::ParEnd;
use crate::store::{PAGE, ParId, ParRecord};
use crate::types::UserId;

const EVERY: Duration = Duration::from_mins(1);
/// One that could not be deleted is tried again after this, when others have had their turn.
const AGAIN: Duration = Duration::from_mins(5);
/// Deletions under way at a time. If all of so many fail that could be done here, OCI is away.
const AT_ONCE: usize = 8;

impl Pars {
    /// Sweeps for ever, as the configuration of the moment has it.
    pub async fn sweep_for_ever(current: watch::Receiver<Self>) {
        let mut turns = Turns::new(&current, |_| EVERY);
        while let Some(pars) = turns.next().await {
            if let Err(error) = pars.sweep(crate::now()).await {
                tracing::debug!(%error, "pre-authenticated requests could not be swept");
            }
        }
    }

    /// Looks through all users who have some, then deletes what is due.
    pub async fn sweep(&self, now: SystemTime) -> Result<()> {
        let mut recorded = 0;
        let mut after: Option<UserId> = None;
        loop {
            let owners = self.0.store.par_owners(after.as_ref()).await?;
            for owner in &owners {
                recorded += self.make_revoked_due(owner, now).await?;
            }
            if owners.len() < PAGE {
                break;
            }
            after = owners.last().cloned();
        }
        self.0.metrics.pars.recorded.set(i64::try_from(recorded).unwrap_or(i64::MAX));
        self.delete_due(now).await
    }

    /// Deletes what a user has and may not have.
    pub(super) async fn revoke(&self, user: &UserId, now: SystemTime) -> Result<()> {
        let standing = self.standing(user).await?;
        let mut pars = self.0.store.pars_of(user).await?;
        // Whoever is making one at this moment sees that its user may not have it. What cannot be deleted here is for
        // the sweep to tell of.
        pars.retain(|(_, record)| {
            record.oci_id.is_some() && !may_have(&standing, record) && self.native_of(record).is_some()
        });
        let mut deletions = Vec::new();
        for (id, record) in &pars {
            deletions.push(self.end(id, record, ParEnd::Revoked, now));
        }
        while_oci_answers(deletions).await
    }

    /// How many a user has in all.
    async fn make_revoked_due(&self, owner: &UserId, now: SystemTime) -> Result<usize> {
        let standing = self.standing(owner).await?;
        let pars = self.0.store.pars_of(owner).await?;
        for (id, record) in &pars {
            // One that is due soon may have had its turn, and the others shall have theirs.
            if !may_have(&standing, record) && record.due > millis(now + AGAIN) {
                self.move_to(id, record, now).await?;
            }
        }
        Ok(pars.len())
    }

    async fn delete_due(&self, now: SystemTime) -> Result<()> {
        loop {
            let due = self.0.store.pars_due(millis(now)).await?;
            let mut deletions = Vec::new();
            for (id, record) in &due {
                deletions.push(self.end_or_put_off(id, record, now));
            }
            while_oci_answers(deletions).await?;
            if due.len() < PAGE {
                return Ok(());
            }
        }
    }

    async fn end_or_put_off(&self, id: &ParId, record: &ParRecord, now: SystemTime) -> Result<()> {
        let why = match &record.oci_id {
            None => ParEnd::Unfinished,
            Some(_) if record.expires_at <= millis(now) => ParEnd::Expired,
            Some(_) => ParEnd::Revoked,
        };
        let ended = self.end(id, record, why, now).await;
        if let Err(error) = &ended {
            tracing::warn!(user = %record.user, par = %id, %error, "a pre-authenticated request could not be deleted yet");
            self.move_to(id, record, now + AGAIN).await?;
            if self.native_of(record).is_none() {
                // That says nothing of the others.
                return Ok(());
            }
        }
        ended
    }

    async fn move_to(&self, id: &ParId, record: &ParRecord, due: SystemTime) -> Result<()> {
        let moved = ParRecord { due: millis(due), ..record.clone() };
        // Unless another gateway was quicker.
        self.0.store.replace_par(id, record, &moved).await?;
        Ok(())
    }
}

/// Some at a time, until all of so many fail.
async fn while_oci_answers(deletions: Vec<impl Future<Output = Result<()>>>) -> Result<()> {
    let mut deletions = deletions.into_iter();
    loop {
        let some: Vec<_> = deletions.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return Ok(());
        }
        let ended = join_all(some).await;
        if ended.iter().all(Result::is_err) {
            return ended.into_iter().collect();
        }
    }
}
