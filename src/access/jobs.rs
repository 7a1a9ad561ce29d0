//! Whose job is it? In: a caller, and which jobs a request is about. Out: those of them that are the caller's: by
//! their token's word, which is as good as the token, or by the store's, kept for at most five seconds. Where it must
//! be asked and does not answer, neither yes nor no is said.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::store::{Result, Store};
use crate::types::{Caller, JobId, UserId};

/// How old an answer may be: a job assigned anew is seen after as long.
const FRESH: Duration = Duration::from_secs(5);
/// Owners kept at most, about 200 bytes each; and of users' lists, so many jobs in all.
const MAX_JOBS: u64 = 100_000;

/// Which of a caller's jobs matter to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    None,
    One(JobId),
    All,
}

impl Asked {
    /// What answers both.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (asked, Self::None) | (Self::None, asked) => asked,
            (Self::One(one), Self::One(other)) if one == other => Self::One(one),
            (Self::One(_) | Self::All, Self::One(_) | Self::All) => Self::All,
        }
    }
}

pub struct Jobs {
    store: Arc<Store>,
    owners: Cache<JobId, Option<UserId>>,
    lists: Cache<UserId, Arc<[JobId]>>,
}

impl Jobs {
    pub fn new(store: Arc<Store>) -> Self {
        let weight = |_: &UserId, jobs: &Arc<[JobId]>| u32::try_from(jobs.len() + 1).unwrap_or(u32::MAX);
        Self {
            store,
            owners: Cache::builder().max_capacity(MAX_JOBS).time_to_live(FRESH).build(),
            lists: Cache::builder().max_capacity(MAX_JOBS).weigher(weight).time_to_live(FRESH).build(),
        }
    }

    /// The jobs among those asked for that are the caller's, each once.
    pub async fn of(&self, caller: &Caller, asked: Asked) -> Result<Vec<JobId>> {
        match asked {
            Asked::None => Ok(Vec::new()),
            Asked::One(job) => {
                let is_own =
                    caller.jobs.contains(&job) || self.owner(&job).await?.as_ref() == Some(&caller.user);
                Ok(if is_own { vec![job] } else { Vec::new() })
            }
            Asked::All => {
                let stored = self.list(&caller.user).await?;
                let mut jobs: Vec<JobId> = stored.iter().chain(&*caller.jobs).cloned().collect();
                jobs.sort_unstable();
                jobs.dedup();
                Ok(jobs)
            }
        }
    }

    async fn owner(&self, job: &JobId) -> Result<Option<UserId>> {
        if let Some(known) = self.owners.get(job) {
            return Ok(known);
        }
        let owner = self.store.job_owner(job).await?;
        self.owners.insert(job.clone(), owner.clone());
        Ok(owner)
    }

    async fn list(&self, user: &UserId) -> Result<Arc<[JobId]>> {
        if let Some(known) = self.lists.get(user) {
            return Ok(known);
        }
        let jobs: Arc<[JobId]> = self.store.jobs_of(user).await?.into();
        self.lists.insert(user.clone(), jobs.clone());
        Ok(jobs)
    }
}
