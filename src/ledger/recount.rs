//! The recount of one user: every page of the listing is taken into the account as it comes, writes in flight go on,
//! and what no page showed is forgotten at the end. See `account::recount` for why that is right.

use std::time::{Duration, SystemTime};

use super::Ledger;
use crate::account::{Counted, Recount, Reply, Step};
use crate::admit::quota::millis;
use crate::error::{Code, Error, Result};
use crate::keymap;
use crate::types::UserId;

/// A recount that took no step for this long has died with its gateway.
const STALE: Duration = Duration::from_mins(1);

/// How far a recount is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// So many objects and bytes were seen.
    Counting { objects: u64, bytes: u64 },
}

/// What a recount came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recounted {
    pub objects: u64,
    pub bytes: u64,
    /// Bytes that the account did not know of.
    pub found_bytes: u64,
    /// Bytes that it had and that are not there.
    pub missing_bytes: u64,
}

impl Ledger {
    /// Counts a user's objects and uploads from the bucket and sets the account right.
    pub async fn recount(&self, user: &UserId, tell: impl FnMut(Event) + Send) -> Result<Recounted> {
        // Of the life in which it began: a store that restarted meanwhile may have lost pages of it.
        let life = self.store().life();
        let stale = crate::now() - STALE;
        // What an earlier process was counting, nobody is counting now.
        let stale_before = if self.store().is_shared() { stale } else { stale.max(self.0.under_way.since) };
        let begun = self.recount_step(user, Recount::Begin { stale_before: millis(stale_before) }).await?;
        let Some(number) = begun.number else {
            return Err(Error::new(Code::OperationAborted).because("another gateway is counting this user"));
        };
        let counted = self.recount_as(number, life, user, tell).await;
        if counted.is_err()
            && let Err(error) = self.recount_step(user, Recount::GiveUp { number }).await
        {
            tracing::debug!(%user, %error, "a recount was not given up; it is over when it is stale");
        }
        counted
    }

    async fn recount_as(
        &self,
        number: u32,
        life: u64,
        user: &UserId,
        mut tell: impl FnMut(Event) + Send,
    ) -> Result<Recounted> {
        let mut counted = Recounted::default();
        for (_, scope) in &self.0.scopes {
            let prefix = scope.render(user);
            let mut token = None;
            loop {
                let page = self.0.inventory.objects(&prefix, token.as_deref(), crate::now()).await?;
                counted.objects += u64::try_from(page.entries.len()).expect("a length fits");
                counted.bytes += page.entries.iter().map(|(_, size)| size).sum::<u64>();
                let ids = self.0.quota.ids();
                let listed = page.entries.iter().map(|(key, size)| (ids.object(key), *size)).collect();
                self.took(&mut counted, user, Recount::Objects { number, listed }).await?;
                tell(Event::Counting { objects: counted.objects, bytes: counted.bytes });
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
            self.recount_uploads(user, &prefix, number, &mut counted).await?;
        }
        self.took(&mut counted, user, Recount::Listed { number }).await?;
        let mut after = None;
        loop {
            let (objects, next) = self.store().objects(user, after).await?;
            self.took(&mut counted, user, Recount::Forget { number, objects }).await?;
            after = next;
            if after.is_none() {
                break;
            }
        }
        self.took(&mut counted, user, Recount::ForgetUploads { number }).await?;
        self.took(&mut counted, user, Recount::End { number, life }).await?;
        let Recounted { found_bytes, missing_bytes, .. } = counted;
        self.0.metrics.ledger.drifted(found_bytes + missing_bytes);
        if found_bytes + missing_bytes > 0 {
            tracing::info!(%user, found_bytes, missing_bytes, "a recount set an account right");
        }
        Ok(counted)
    }

    async fn recount_uploads(
        &self,
        user: &UserId,
        prefix: &str,
        number: u32,
        counted: &mut Recounted,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = match self.0.inventory.uploads(prefix, after.as_ref(), crate::now()).await {
                Ok(page) => page,
                // An upstream that cannot list uploads has none that anybody could count.
                Err(error) if error.code == Code::NotImplemented => return Ok(()),
                Err(error) => return Err(error),
            };
            for upload in page.entries {
                let key = keymap::listed(upload.key);
                let Some(parts) = self.0.inventory.parts(&key, &upload.upload_id, crate::now()).await? else {
                    continue;
                };
                let ids = self.0.quota.ids();
                let named = ids.upload(ids.target(&key), &upload.upload_id);
                let begun_at = parse_time(&upload.initiated).map_or_else(|| millis(crate::now()), millis);
                self.took(counted, user, Recount::Upload { number, upload: named, begun_at, parts }).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// A step of a recount that must be the one under way.
    async fn took(&self, counted: &mut Recounted, user: &UserId, step: Recount) -> Result<()> {
        let step = self.recount_step(user, step).await?;
        if step.number.is_none() {
            return Err(Error::new(Code::OperationAborted).because("another recount of this user has begun"));
        }
        counted.found_bytes += step.found;
        counted.missing_bytes += step.missing;
        Ok(())
    }

    async fn recount_step(&self, user: &UserId, step: Recount) -> Result<Counted> {
        match self.store().step(user, Step::Recount(step), millis(crate::now())).await? {
            Reply::Recount(counted) => Ok(counted),
            _ => unreachable!("a recount is answered as one"),
        }
    }
}

fn parse_time(text: &str) -> Option<SystemTime> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    Some(time.into())
}
