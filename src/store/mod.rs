//! State that outlives a request: the users' accounts, and the users themselves. In: steps of `account`, which a
//! store takes whole or not at all, durably before it answers; and plain rows. Two stores: `embedded` keeps them
//! in one file, which one process holds; `redis` shares them between gateways. This floor alone talks to disk
//! or to Redis; what the rows mean is `account`'s business.

mod embedded;
mod jobs;
mod keys;
mod pars;
mod redis;
mod rows;
mod users;

use std::sync::Arc;
use std::time::Duration;

pub use jobs::{Assigned, MAX_JOBS, OwnedJob};
pub use keys::{Added, Key, KeyRecord, MAX_KEYS, OwnedKey};
pub use pars::{MAX_PARS, ParId, ParRecord};
pub use users::{Known, LimitName, UserChange, UserRecord};

use self::redis::Redis;
use crate::account::{Account, LeaseId, Millis, ObjectId, Reply, Step, Upload, UploadKey};
use crate::config;
use crate::error::{Code, Error};
use crate::metrics::Metrics;
use crate::types::{AccessKeyId, JobId, UserId};
use embedded::Embedded;

/// The store does not answer, or not in time. Writes are refused then; reads go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the state store is not available")]
pub struct Unavailable;

impl From<Unavailable> for Error {
    fn from(unavailable: Unavailable) -> Self {
        Self::new(Code::ServiceUnavailable)
            .say("The state store is not available. Please try again.")
            .because(unavailable)
    }
}

/// How long what the store said last is true while it is away. Uploads need the store anyway; nobody can change there
/// who may do what meanwhile, unless this gateway alone is cut off.
pub const GRACE: Duration = Duration::from_mins(15);

pub type Result<T, E = Unavailable> = std::result::Result<T, E>;

/// Rows of one page of anything here.
pub const PAGE: usize = 1000;

/// Where a walk over a user's objects goes on; what it says is the store's own business.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor([u8; 16]);

pub enum Store {
    Embedded(Embedded),
    Redis(Arc<Redis>),
}

macro_rules! either {
    ($store:expr, $it:ident => $call:expr) => {
        match $store {
            Store::Embedded($it) => $call,
            Store::Redis($it) => $call,
        }
    };
}

impl Store {
    /// Opens the store that the configuration names. A torn or foreign file, or one that another process holds,
    /// is an error; a Redis that does not answer yet is not.
    pub async fn open(config: &config::State, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        Ok(match config {
            config::State::Redb(path) => Self::Embedded(Embedded::open(path, metrics)?),
            config::State::Redis(url) => Self::Redis(Redis::open(url, metrics).await?),
        })
    }

    /// Which one it is, for `/readyz` and the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "redb",
            Self::Redis(_) => "redis",
        }
    }

    /// Whether other gateways may hold it too.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// Whether it answered last time it was asked.
    pub fn is_up(&self) -> bool {
        either!(self, store => store.is_up())
    }

    /// Which life the store is in: changes when it may have lost what was written last.
    pub fn life(&self) -> u64 {
        either!(self, store => store.life())
    }

    /// Takes one step on a user's account: whole, durable, and alone.
    pub async fn step(&self, user: &UserId, step: Step, now: Millis) -> Result<Reply> {
        either!(self, store => store.step(user, step, now).await)
    }

    /// Leases that have expired, of all users, at most [`PAGE`].
    pub async fn expired(&self, now: Millis) -> Result<Vec<(UserId, LeaseId)>> {
        either!(self, store => store.expired(now).await)
    }

    /// Leases that nobody can hold any more, because this process has just taken the store over: for the embedded
    /// store all that the file had when it was opened, told once; none for a shared one, whose leases expire.
    pub async fn orphaned(&self) -> Result<Vec<(UserId, LeaseId)>> {
        either!(self, store => store.orphaned().await)
    }

    pub async fn upload(&self, user: &UserId, upload: UploadKey) -> Result<Option<Upload>> {
        either!(self, store => store.upload(user, upload).await)
    }

    /// A user's open multipart uploads.
    pub async fn uploads(&self, user: &UserId) -> Result<Vec<(UploadKey, Upload)>> {
        either!(self, store => store.uploads(user).await)
    }

    /// Object rows of a user: about [`PAGE`] of them, and where the next ones are, if there are more. Rows that stay
    /// there all the while come at least once; a page may be empty, and a row may come twice.
    pub async fn objects(
        &self,
        user: &UserId,
        after: Option<Cursor>,
    ) -> Result<(Vec<ObjectId>, Option<Cursor>)> {
        either!(self, store => store.objects(user, after).await)
    }

    /// The account's row as it stands, without dropping what has left the windows.
    pub async fn account(&self, user: &UserId) -> Result<Option<Account>> {
        either!(self, store => store.account(user).await)
    }

    /// Users who have an account or a record, in the order of their ids, at most [`PAGE`] after the one given.
    pub async fn users(&self, after: Option<&UserId>) -> Result<Vec<UserId>> {
        either!(self, store => store.users(after).await)
    }

    /// The record of a user who is there.
    pub async fn user(&self, user: &UserId) -> Result<Option<UserRecord>> {
        Ok(self.known(user).await?.user())
    }

    /// Whether a user is there, was removed, or never was.
    pub async fn known(&self, user: &UserId) -> Result<Known> {
        either!(self, store => store.known(user).await)
    }

    /// Applies a change to a user's record, which is made if there is none (`true`). Changes to one record never
    /// undo each other.
    pub async fn change_user(
        &self,
        user: &UserId,
        change: &UserChange,
        now: Millis,
    ) -> Result<(UserRecord, bool)> {
        either!(self, store => store.change_user(user, change, now).await)
    }

    /// Makes a record, if there is none and whoever comes next would be of this generation. What is there then.
    pub async fn create_user(
        &self,
        user: &UserId,
        first: &UserChange,
        generation: Millis,
        now: Millis,
    ) -> Result<Known> {
        either!(self, store => store.create_user(user, first, generation, now).await)
    }

    /// Removes the record with all keys and jobs; the account stays, for it is the bucket's, and so do PARs, until
    /// OCI has none of them. Whether there was one.
    /// It stays known that there was: a later user of the id is of a later generation.
    pub async fn remove_user(&self, user: &UserId, now: Millis) -> Result<bool> {
        either!(self, store => store.remove_user(user, now).await)
    }

    /// A key of a user who is there.
    pub async fn key(&self, id: &AccessKeyId) -> Result<Option<OwnedKey>> {
        either!(self, store => store.key(id).await)
    }

    /// A user's keys, in the order of their ids.
    pub async fn keys_of(&self, user: &UserId) -> Result<Vec<Key>> {
        either!(self, store => store.keys_of(user).await)
    }

    /// Writes a new key down, if its user is there. Its id must be new too.
    pub async fn add_key(&self, id: &AccessKeyId, record: &KeyRecord) -> Result<Added> {
        either!(self, store => store.add_key(id, record).await)
    }

    /// Enables or disables a key of this user; nothing if they have none of the id.
    pub async fn set_key(&self, user: &UserId, id: &AccessKeyId, enabled: bool) -> Result<Option<Key>> {
        either!(self, store => store.set_key(user, id, enabled).await)
    }

    /// Removes a key of this user. Whether there was one.
    pub async fn remove_key(&self, user: &UserId, id: &AccessKeyId) -> Result<bool> {
        either!(self, store => store.remove_key(user, id).await)
    }

    /// Notes when a key was used last, if it is there still.
    pub async fn note_key_use(&self, id: &AccessKeyId, at: Millis) -> Result<()> {
        either!(self, store => store.note_key_use(id, at).await)
    }

    pub async fn job_owner(&self, job: &JobId) -> Result<Option<UserId>> {
        either!(self, store => store.job_owner(job).await)
    }

    /// A user's jobs, in order.
    pub async fn jobs_of(&self, user: &UserId) -> Result<Vec<JobId>> {
        either!(self, store => store.jobs_of(user).await)
    }

    /// All jobs in order, at most [`PAGE`] after the one given.
    pub async fn jobs(&self, after: Option<&JobId>) -> Result<Vec<OwnedJob>> {
        either!(self, store => store.jobs(after).await)
    }

    /// Gives a job to a user, and takes it from whose it was. A user who was never seen may have jobs already.
    pub async fn assign_job(&self, job: &JobId, user: &UserId) -> Result<Assigned> {
        either!(self, store => store.assign_job(job, user).await)
    }

    /// Makes a job nobody's. Whether it was somebody's.
    pub async fn remove_job(&self, job: &JobId) -> Result<bool> {
        either!(self, store => store.remove_job(job).await)
    }

    pub async fn par(&self, id: &ParId) -> Result<Option<ParRecord>> {
        either!(self, store => store.par(id).await)
    }

    /// A user's PARs, whichever life of the user's they are of.
    pub async fn pars_of(&self, user: &UserId) -> Result<Vec<(ParId, ParRecord)>> {
        either!(self, store => store.pars_of(user).await)
    }

    /// PARs that are due, those that have been for longest first, at most [`PAGE`].
    pub async fn pars_due(&self, now: Millis) -> Result<Vec<(ParId, ParRecord)>> {
        either!(self, store => store.pars_due(now).await)
    }

    /// Users who have PARs, in the order of their ids, at most [`PAGE`] after the one given.
    pub async fn par_owners(&self, after: Option<&UserId>) -> Result<Vec<UserId>> {
        either!(self, store => store.par_owners(after).await)
    }

    /// Writes a PAR down, unless its user has [`MAX_PARS`]. Its id must be new.
    pub async fn add_par(&self, id: &ParId, record: &ParRecord) -> Result<bool> {
        either!(self, store => store.add_par(id, record).await)
    }

    /// Puts a PAR's row in the place of the one that was read, if that is still there; whether it was.
    pub async fn replace_par(&self, id: &ParId, before: &ParRecord, after: &ParRecord) -> Result<bool> {
        either!(self, store => store.replace_par(id, before, after).await)
    }

    /// Forgets a PAR of this user. Whether there was one.
    pub async fn remove_par(&self, user: &UserId, id: &ParId) -> Result<bool> {
        either!(self, store => store.remove_par(user, id).await)
    }

    /// Says that this gateway lives, for as long as `ttl`; answers how many do.
    pub async fn beat(&self, replica: &str, now: Millis, ttl: Duration) -> Result<usize> {
        either!(self, store => store.beat(replica, now, ttl).await)
    }
}
