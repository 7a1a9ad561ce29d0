//! What nobody waits for: leases that have expired are looked into, leases of writes under way are renewed, and
//! uploads that were abandoned are ended, so that their bytes come back.

use std::time::Duration;

use tokio::sync::watch;

use super::Ledger;
use super::turns::Turns;
use crate::account::{Found, LeaseId, Outcome, Settled, Write};
use crate::admit::quota::{Admitted, millis};
use crate::error::Result;
use crate::keymap;
use crate::store::PAGE;
use crate::types::UserId;

/// Between two sweeps, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at who is due for a recount, at most.
const RECONCILE_LOOK: Duration = Duration::from_mins(10);
const ABANDONED_EVERY: Duration = Duration::from_hours(1);

impl Ledger {
    /// Sweeps for ever, as the ledger of the moment has it. Leases that a former process left behind come first.
    pub async fn sweep_for_ever(current: watch::Receiver<Self>) {
        let renewing = async {
            let mut turns = Turns::new(&current, |ledger| ledger.0.quota.lease() / 4);
            while let Some(ledger) = turns.next().await {
                if let Err(error) = ledger.0.quota.renew(crate::now()).await {
                    tracing::debug!(%error, "leases could not be renewed");
                }
            }
        };
        let sweeping = async {
            let mut orphans = true;
            let mut turns = Turns::new(&current, |ledger| (ledger.0.quota.lease() / 4).min(SWEEP_EVERY));
            while let Some(ledger) = turns.next().await {
                let swept = if orphans { ledger.take_over().await } else { ledger.sweep().await };
                match swept {
                    Ok(()) => orphans = false,
                    Err(error) => tracing::debug!(%error, "expired leases could not be looked into"),
                }
            }
        };
        let ending = async {
            let mut turns = Turns::new(&current, |ledger| ABANDONED_EVERY.min(ledger.0.abandoned_after));
            while let Some(ledger) = turns.next().await {
                if let Err(error) = ledger.end_abandoned().await {
                    tracing::debug!(%error, "abandoned uploads could not be ended");
                }
            }
        };
        let counting = async {
            let mut turns = Turns::new(&current, |ledger| RECONCILE_LOOK.min(ledger.0.reconcile_every));
            while let Some(ledger) = turns.next().await {
                if let Err(error) = ledger.recount_due().await {
                    tracing::debug!(%error, "users could not be recounted");
                }
            }
        };
        tokio::join!(renewing, sweeping, ending, counting);
    }

    /// Recounts, one after the other, whoever was not counted for `reconcile_interval`.
    async fn recount_due(&self) -> Result<()> {
        let mut after: Option<UserId> = None;
        loop {
            let users = self.store().users(after.as_ref()).await?;
            for user in &users {
                let due = millis(crate::now() - self.0.reconcile_every);
                let counted = self.store().account(user).await?.filter(|account| account.counted);
                // A user who was never counted is counted when they first write.
                if counted.is_some_and(|account| account.counted_at <= due)
                    && let Err(error) = self.recount(user, |_| {}).await
                {
                    tracing::warn!(%user, %error, "a user could not be recounted");
                }
            }
            match users.last() {
                Some(last) => after = Some(last.clone()),
                None => return Ok(()),
            }
        }
    }

    /// Looks into the leases that nobody holds any more. What the upstream may still be at is looked at again.
    async fn take_over(&self) -> Result<()> {
        for (user, lease) in self.store().orphaned().await? {
            self.look_into(&user, lease, true).await?;
        }
        self.sweep().await
    }

    async fn look_into(&self, user: &UserId, lease: LeaseId, orphaned: bool) -> Result<()> {
        let settled = self.0.quota.expire(user, lease, orphaned, crate::now()).await?;
        if let Err(error) = self.look(user, lease, settled).await {
            tracing::debug!(%user, %error, "an expired write could not be looked into yet");
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<()> {
        loop {
            let expired = self.store().expired(millis(crate::now())).await?;
            for (user, lease) in &expired {
                self.look_into(user, *lease, false).await?;
            }
            if expired.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Looks at what a settlement left open, and tells the account.
    pub(super) async fn look(&self, user: &UserId, lease: LeaseId, due: Settled) -> Result<()> {
        if due.objects.is_empty() && due.upload.is_none() {
            return Ok(());
        }
        let mut found = Found::default();
        for (target, stamp) in due.objects {
            let size = self.0.inventory.size(&keymap::listed(target.key), crate::now()).await?;
            found.objects.push((target.id, stamp, size));
        }
        if let Some(key) = due.upload {
            found.upload_is_gone = match self.store().upload(user, key).await? {
                Some(row) if row.open => {
                    let key = keymap::listed(row.target.key);
                    self.0.inventory.parts(&key, &row.upload_id, crate::now()).await?.is_none()
                }
                Some(_) | None => true,
            };
        }
        self.0.quota.resolve(user, lease, found, crate::now()).await?;
        Ok(())
    }

    async fn end_abandoned(&self) -> Result<()> {
        let mut after: Option<UserId> = None;
        loop {
            let users = self.store().users(after.as_ref()).await?;
            for user in &users {
                self.end_abandoned_of(user).await?;
            }
            match users.last() {
                Some(last) => after = Some(last.clone()),
                None => return Ok(()),
            }
        }
    }

    async fn end_abandoned_of(&self, user: &UserId) -> Result<()> {
        let oldest = millis(crate::now() - self.0.abandoned_after);
        for (key, row) in self.store().uploads(user).await? {
            if !row.open || row.begun_at > oldest {
                continue;
            }
            let upload = crate::account::Named { key, target: row.target, upload_id: row.upload_id };
            let write = Write::Abort { upload: upload.clone() };
            let limits = crate::account::Limits::default();
            let Admitted::Reserved(reservation) =
                self.0.quota.begin(user, write, limits, Duration::ZERO, crate::now()).await?
            else {
                continue;
            };
            let target = keymap::listed(upload.target.key);
            let outcome = match self.0.inventory.abort(&target, &upload.upload_id, crate::now()).await {
                Ok(_) => Outcome::Done,
                Err(error) => {
                    tracing::warn!(%user, %error, "an abandoned upload could not be ended");
                    Outcome::Unknown
                }
            };
            self.settle(reservation, outcome).await?;
        }
        Ok(())
    }
}
