//! Who there is: users, those who were removed, access keys, jobs. All of it lies under one hash tag (see `keys`), so
//! that a cluster keeps it in one place and each change is one script: a removal takes the user, their keys and their
//! jobs together, and nothing can be added to a user who is just going. It is little, and asked for seldom.
//!
//! A record is changed here and put in the place of the one that was read, if that is still there. A script whose
//! answer was lost may be sent again: it then finds its work done.

mod scripts;

use redis::Value;
use tokio::time::{Instant, timeout_at};

use super::load::STRANGE;
use super::script::{Call, READ, Script, bytes, integer, list, number};
use super::{Redis, keys, known, unreadable};
use crate::account::Millis;
use crate::metrics::StateOperation;
use crate::store::keys::{Added, Key, KeyRecord, MAX_KEYS, OwnedKey};
use crate::store::{
    Assigned, Known, MAX_JOBS, OwnedJob, PAGE, Result, Unavailable, UserChange, UserRecord, rows,
};
use crate::types::{AccessKeyId, JobId, UserId};
use scripts::{
    ADD_KEY, ASSIGN_JOB, NOTE_KEY_USE, REMOVE_JOB, REMOVE_KEY, REMOVE_USER, REPLACE, REPLACE_USER,
};

/// What a change to a record may take: no request waits for it, and others may be before it.
const CHANGE: std::time::Duration = std::time::Duration::from_secs(1);

/// Between what lies all that begins with this id and a space, in a sorted set of pairs.
pub(super) fn pairs_of(id: &str) -> [Vec<u8>; 2] {
    [format!("[{id} ").into_bytes(), format!("({id}!").into_bytes()]
}

impl Redis {
    pub async fn known(&self, user: &UserId) -> Result<Known> {
        let _timer = self.metrics.state(StateOperation::User);
        Ok(self.read_user(user).await?.known)
    }

    pub async fn change_user(
        &self,
        user: &UserId,
        change: &UserChange,
        now: Millis,
    ) -> Result<(UserRecord, bool)> {
        let _timer = self.metrics.state(StateOperation::User);
        let deadline = Instant::now() + CHANGE;
        let lane = user.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31) ^ usize::from(byte));
        let lane = &self.changing[lane % self.changing.len()];
        let _alone = timeout_at(deadline, lane.lock()).await.map_err(|_| Unavailable)?;
        while Instant::now() < deadline {
            let read = self.read_user(user).await?;
            let is_new = read.record.is_empty();
            if is_new {
                // First: a record that no list has would be lost from sight.
                self.list_user(user).await?;
            }
            let record = change.apply(read.known, now);
            if self.replace_user(user, read.record, read.next, &record).await? {
                return Ok((record, is_new));
            }
        }
        Err(Unavailable)
    }

    pub async fn create_user(
        &self,
        user: &UserId,
        first: &UserChange,
        generation: Millis,
        now: Millis,
    ) -> Result<Known> {
        let _timer = self.metrics.state(StateOperation::User);
        let deadline = Instant::now() + CHANGE;
        while Instant::now() < deadline {
            let read = self.read_user(user).await?;
            if matches!(read.known, Known::User(_)) || read.known.generation() != generation {
                return Ok(read.known);
            }
            self.list_user(user).await?;
            let record = first.apply(read.known, now);
            if self.replace_user(user, read.record, read.next, &record).await? {
                return Ok(Known::User(record));
            }
        }
        Err(Unavailable)
    }

    pub async fn remove_user(&self, user: &UserId, now: Millis) -> Result<bool> {
        let _timer = self.metrics.state(StateOperation::User);
        let deadline = Instant::now() + CHANGE;
        loop {
            let read = self.read_user(user).await?;
            let Known::User(record) = read.known else { return Ok(false) };
            let next = record.next_generation(now);
            let [first, last] = pairs_of(user.as_str());
            let arguments = vec![user.as_str().into(), read.record, number(next), first, last];
            let keys = [
                keys::RECORDS,
                keys::REMOVED,
                keys::KEYS,
                keys::KEYS_OF,
                keys::KEY_USES,
                keys::JOBS,
                keys::JOBS_OF,
            ];
            if self.done(&REMOVE_USER, keys.map(<[u8]>::to_vec).into(), arguments).await? == 1 {
                break;
            }
            if Instant::now() >= deadline {
                return Err(Unavailable);
            }
        }
        if self.account(user).await?.is_none() {
            self.command(redis::cmd("ZREM").arg(keys::USERS).arg(user.as_str())).await?;
            if self.account(user).await?.is_some() || self.known(user).await?.user().is_some() {
                // One was made meanwhile.
                self.list_user(user).await?;
            }
        }
        Ok(true)
    }

    pub async fn key(&self, id: &AccessKeyId) -> Result<Option<OwnedKey>> {
        let _timer = self.metrics.state(StateOperation::User);
        let Some(row) = self.field(keys::KEYS, id.as_str()).await? else { return Ok(None) };
        let record: KeyRecord = rows::from_json(&row).map_err(unreadable)?;
        // Read after it: whoever was removed meanwhile is gone, or another.
        let owner = self.read_user(&record.user).await?.known.user();
        Ok(OwnedKey::new(record, owner))
    }

    pub async fn keys_of(&self, user: &UserId) -> Result<Vec<Key>> {
        let _timer = self.metrics.state(StateOperation::User);
        let ids = self.owned(keys::KEYS_OF, user.as_str(), MAX_KEYS).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = Call::default();
        call.command("HMGET", keys::KEYS, ids.iter().map(String::as_str));
        call.command("HMGET", keys::KEY_USES, ids.iter().map(String::as_str));
        let answers = known(list(self.call(&READ, &call).await?))?;
        let [found, times] = known(answers.try_into().map_err(|_| STRANGE))?;
        let (found, times) = (known(list(found))?, known(list(times))?);
        let mut keys = Vec::new();
        for ((id, row), last) in ids.iter().zip(found).zip(times) {
            // One may have been revoked since they were listed.
            let Some(row) = known(bytes(row))? else { continue };
            let id = known(AccessKeyId::parse(id).ok_or(STRANGE))?;
            let record = rows::from_json(&row).map_err(unreadable)?;
            keys.push(Key { id, record, last_used_at: millis(last)? });
        }
        Ok(keys)
    }

    pub async fn add_key(&self, id: &AccessKeyId, record: &KeyRecord) -> Result<Added> {
        let _timer = self.metrics.state(StateOperation::User);
        let (user, deadline) = (&record.user, Instant::now() + CHANGE);
        let row = rows::to_json(record).map_err(unreadable)?;
        while Instant::now() < deadline {
            let read = self.read_user(user).await?;
            if read.known.user().is_none_or(|owner| owner.generation != record.generation) {
                return Ok(Added::NoSuchUser);
            }
            let [first, last] = pairs_of(user.as_str());
            let (id, most) = (id.as_str().into(), number(MAX_KEYS));
            let arguments = vec![user.as_str().into(), read.record, id, row.clone(), most, first, last];
            let keys = [keys::RECORDS, keys::KEYS, keys::KEYS_OF].map(<[u8]>::to_vec);
            match self.done(&ADD_KEY, keys.into(), arguments).await? {
                1 => return Ok(Added::Done),
                2 => return Ok(Added::TooMany),
                3 => return Err(Unavailable),
                // The user changed meanwhile.
                _ => {}
            }
        }
        Err(Unavailable)
    }

    pub async fn set_key(&self, user: &UserId, id: &AccessKeyId, enabled: bool) -> Result<Option<Key>> {
        let _timer = self.metrics.state(StateOperation::User);
        let deadline = Instant::now() + CHANGE;
        while Instant::now() < deadline {
            let Some(before) = self.field(keys::KEYS, id.as_str()).await? else { return Ok(None) };
            let mut record: KeyRecord = rows::from_json(&before).map_err(unreadable)?;
            if record.user != *user {
                return Ok(None);
            }
            record.enabled = enabled;
            let after = rows::to_json(&record).map_err(unreadable)?;
            let arguments = vec![id.as_str().into(), before, after];
            if self.done(&REPLACE, vec![keys::KEYS.to_vec()], arguments).await? == 1 {
                let last = self.command(redis::cmd("HGET").arg(keys::KEY_USES).arg(id.as_str())).await?;
                return Ok(Some(Key { id: id.clone(), record, last_used_at: millis(last)? }));
            }
        }
        Err(Unavailable)
    }

    pub async fn remove_key(&self, user: &UserId, id: &AccessKeyId) -> Result<bool> {
        let _timer = self.metrics.state(StateOperation::User);
        let keys = [keys::KEYS, keys::KEYS_OF, keys::KEY_USES].map(<[u8]>::to_vec);
        let arguments = vec![user.as_str().into(), id.as_str().into()];
        Ok(self.done(&REMOVE_KEY, keys.into(), arguments).await? == 1)
    }

    pub async fn note_key_use(&self, id: &AccessKeyId, at: Millis) -> Result<()> {
        let _timer = self.metrics.state(StateOperation::User);
        let keys = [keys::KEYS, keys::KEY_USES].map(<[u8]>::to_vec);
        self.done(&NOTE_KEY_USE, keys.into(), vec![id.as_str().into(), number(at)]).await?;
        Ok(())
    }

    pub async fn job_owner(&self, job: &JobId) -> Result<Option<UserId>> {
        let _timer = self.metrics.state(StateOperation::User);
        let owner = self.owned(keys::JOBS, job.as_str(), 1).await?.pop();
        owner.map(|owner| known(UserId::parse(&owner).ok_or(STRANGE))).transpose()
    }

    pub async fn jobs_of(&self, user: &UserId) -> Result<Vec<JobId>> {
        let _timer = self.metrics.state(StateOperation::User);
        let jobs = self.owned(keys::JOBS_OF, user.as_str(), MAX_JOBS).await?;
        jobs.iter().map(|job| known(JobId::parse(job).ok_or(STRANGE))).collect()
    }

    pub async fn jobs(&self, after: Option<&JobId>) -> Result<Vec<OwnedJob>> {
        let _timer = self.metrics.state(StateOperation::User);
        let first = after.map_or_else(|| "-".to_owned(), |after| format!("({after}!"));
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(keys::JOBS).arg(first).arg("+").arg("LIMIT").arg(0).arg(PAGE);
        let pairs = known(list(self.command(&mut command).await?))?;
        pairs.into_iter().map(|pair| owned_job(pair).ok_or(STRANGE)).map(known).collect()
    }

    pub async fn assign_job(&self, job: &JobId, user: &UserId) -> Result<Assigned> {
        let _timer = self.metrics.state(StateOperation::User);
        let keys = [keys::RECORDS, keys::REMOVED, keys::JOBS, keys::JOBS_OF].map(<[u8]>::to_vec);
        let mut arguments = vec![user.as_str().into(), job.as_str().into()];
        arguments.extend(pairs_of(job.as_str()));
        arguments.push(number(MAX_JOBS));
        arguments.extend(pairs_of(user.as_str()));
        match self.done(&ASSIGN_JOB, keys.into(), arguments).await? {
            0 => Ok(Assigned::Again),
            1 => Ok(Assigned::New),
            2 => Ok(Assigned::NoSuchUser),
            3 => Ok(Assigned::TooMany),
            _ => known(Err(STRANGE)),
        }
    }

    pub async fn remove_job(&self, job: &JobId) -> Result<bool> {
        let _timer = self.metrics.state(StateOperation::User);
        let keys = [keys::JOBS, keys::JOBS_OF].map(<[u8]>::to_vec);
        let [first, last] = pairs_of(job.as_str());
        Ok(self.done(&REMOVE_JOB, keys.into(), vec![job.as_str().into(), first, last]).await? == 1)
    }
}

/// A user as read, and the very bytes of it.
struct Read {
    known: Known,
    record: Vec<u8>,
    /// The generation that a removal left.
    next: Vec<u8>,
}

impl Redis {
    async fn read_user(&self, user: &UserId) -> Result<Read> {
        let mut call = Call::default();
        call.command("HGET", keys::RECORDS, [user.as_str()]);
        call.command("HGET", keys::REMOVED, [user.as_str()]);
        let answers = known(list(self.call(&READ, &call).await?))?;
        let [record, next] = known(answers.try_into().map_err(|_| STRANGE))?;
        let record = known(bytes(record))?.unwrap_or_default();
        let next_bytes = known(bytes(next.clone()))?.unwrap_or_default();
        let known = match (record.is_empty(), millis(next)?) {
            (false, _) => Known::User(rows::from_json(&record).map_err(unreadable)?),
            (true, Some(next)) => Known::Removed { next },
            (true, None) => Known::Nobody,
        };
        Ok(Read { known, record, next: next_bytes })
    }

    /// Whether record and generation were still as they were read.
    async fn replace_user(
        &self,
        user: &UserId,
        before: Vec<u8>,
        next: Vec<u8>,
        record: &UserRecord,
    ) -> Result<bool> {
        let after = rows::to_json(record).map_err(unreadable)?;
        let arguments = vec![user.as_str().into(), before, next, after];
        let keys = vec![keys::RECORDS.to_vec(), keys::REMOVED.to_vec()];
        Ok(self.done(&REPLACE_USER, keys, arguments).await? == 1)
    }

    async fn list_user(&self, user: &UserId) -> Result<()> {
        self.command(redis::cmd("ZADD").arg(keys::USERS).arg(0).arg(user.as_str())).await?;
        Ok(())
    }

    pub(super) async fn field(&self, key: &[u8], field: &str) -> Result<Option<Vec<u8>>> {
        known(bytes(self.command(redis::cmd("HGET").arg(key).arg(field)).await?))
    }

    /// The second halves of the pairs that begin with this id, in order.
    pub(super) async fn owned(&self, key: &[u8], id: &str, at_most: usize) -> Result<Vec<String>> {
        let [first, last] = pairs_of(id);
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(key).arg(first).arg(last).arg("LIMIT").arg(0).arg(at_most);
        let pairs = known(list(self.command(&mut command).await?))?;
        let half = |pair| Some(split(pair)?.1);
        pairs.into_iter().map(|pair| known(half(pair).ok_or(STRANGE))).collect()
    }

    pub(super) async fn done(
        &self,
        script: &Script,
        keys: Vec<Vec<u8>>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<i64> {
        known(integer(&self.call(script, &Call::new(keys, arguments)).await?))
    }
}

fn split(pair: Value) -> Option<(String, String)> {
    let pair: String = redis::from_redis_value(pair).ok()?;
    let (first, second) = pair.split_once(' ')?;
    Some((first.to_owned(), second.to_owned()))
}

fn owned_job(pair: Value) -> Option<OwnedJob> {
    let (job, owner) = split(pair)?;
    Some((JobId::parse(&job)?, UserId::parse(&owner)?))
}

fn millis(value: Value) -> Result<Option<Millis>> {
    let Some(text) = known(bytes(value))? else { return Ok(None) };
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    Ok(Some(known(number.ok_or(STRANGE))?))
}
