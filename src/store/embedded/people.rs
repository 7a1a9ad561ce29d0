//! The tables of who there is: users, those who were removed, access keys, jobs. What belongs to a user is indexed by
//! the user, so that a removal finds all of it; one transaction makes each change whole.

use std::ops::Bound;

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::tables::{Bytes, Done, Stop, unwritable};
use super::{Embedded, user_id};
use crate::account::Millis;
use crate::metrics::StateOperation;
use crate::store::keys::{Added, Key, KeyRecord, MAX_KEYS, OwnedKey};
use crate::store::{Assigned, Known, MAX_JOBS, OwnedJob, PAGE, Result, UserChange, UserRecord, rows};
use crate::types::{AccessKeyId, JobId, UserId};

pub(super) const USERS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("users");
/// Users who were removed, with the generation of whoever comes next.
const REMOVED: TableDefinition<'_, &str, Millis> = TableDefinition::new("removed");
const KEYS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("keys");
const KEYS_OF: TableDefinition<'_, Owned, ()> = TableDefinition::new("keys_of");
/// When a key was used last.
const KEY_USES: TableDefinition<'_, &str, Millis> = TableDefinition::new("key_uses");
/// By job: the owner.
const JOBS: TableDefinition<'_, &str, &str> = TableDefinition::new("jobs");
const JOBS_OF: TableDefinition<'_, Owned, ()> = TableDefinition::new("jobs_of");

/// A user, and what is theirs.
pub(super) type Owned = (&'static str, &'static str);

pub(super) struct People<'tx> {
    users: Table<'tx, &'static str, Bytes>,
    removed: Table<'tx, &'static str, Millis>,
    keys: Table<'tx, &'static str, Bytes>,
    keys_of: Table<'tx, Owned, ()>,
    key_uses: Table<'tx, &'static str, Millis>,
    jobs: Table<'tx, &'static str, &'static str>,
    jobs_of: Table<'tx, Owned, ()>,
}

impl<'tx> People<'tx> {
    pub(super) fn open(tx: &'tx WriteTransaction) -> Result<Self, redb::TableError> {
        Ok(Self {
            users: tx.open_table(USERS)?,
            removed: tx.open_table(REMOVED)?,
            keys: tx.open_table(KEYS)?,
            keys_of: tx.open_table(KEYS_OF)?,
            key_uses: tx.open_table(KEY_USES)?,
            jobs: tx.open_table(JOBS)?,
            jobs_of: tx.open_table(JOBS_OF)?,
        })
    }

    fn change_user(&mut self, user: &UserId, change: &UserChange, now: Millis) -> Done<(UserRecord, bool)> {
        let before = find_known(&self.users, &self.removed, user)?;
        let is_new = !matches!(before, Known::User(_));
        let record = change.apply(before, now);
        self.users.insert(user.as_str(), rows::to_json(&record).map_err(unwritable)?.as_slice())?;
        Ok((record, is_new))
    }

    fn create_user(
        &mut self,
        user: &UserId,
        first: &UserChange,
        generation: Millis,
        now: Millis,
    ) -> Done<Known> {
        let before = find_known(&self.users, &self.removed, user)?;
        if matches!(before, Known::User(_)) || before.generation() != generation {
            return Ok(before);
        }
        let record = first.apply(before, now);
        self.users.insert(user.as_str(), rows::to_json(&record).map_err(unwritable)?.as_slice())?;
        Ok(Known::User(record))
    }

    fn remove_user(&mut self, user: &UserId, now: Millis) -> Done<bool> {
        let Known::User(record) = find_known(&self.users, &self.removed, user)? else { return Ok(false) };
        for id in owned(&self.keys_of, user)? {
            self.keys_of.remove((user.as_str(), id.as_str()))?;
            self.keys.remove(id.as_str())?;
            self.key_uses.remove(id.as_str())?;
        }
        for job in owned(&self.jobs_of, user)? {
            self.jobs_of.remove((user.as_str(), job.as_str()))?;
            self.jobs.remove(job.as_str())?;
        }
        self.users.remove(user.as_str())?;
        self.removed.insert(user.as_str(), record.next_generation(now))?;
        Ok(true)
    }

    fn add_key(&mut self, id: &AccessKeyId, record: &KeyRecord) -> Done<Added> {
        let user = &record.user;
        let known = find_known(&self.users, &self.removed, user)?.user();
        if known.is_none_or(|owner| owner.generation != record.generation) {
            return Ok(Added::NoSuchUser);
        }
        if owned(&self.keys_of, user)?.len() >= MAX_KEYS {
            return Ok(Added::TooMany);
        }
        if self.keys.get(id.as_str())?.is_some() {
            return Err(Stop::Row("an access key of this id is there already".to_owned()));
        }
        self.keys.insert(id.as_str(), rows::to_json(record).map_err(unwritable)?.as_slice())?;
        self.keys_of.insert((user.as_str(), id.as_str()), ())?;
        Ok(Added::Done)
    }

    fn set_key(&mut self, user: &UserId, id: &AccessKeyId, enabled: bool) -> Done<Option<Key>> {
        let Some(mut key) = find_key(&self.keys, &self.key_uses, id.as_str())? else { return Ok(None) };
        if key.record.user != *user {
            return Ok(None);
        }
        key.record.enabled = enabled;
        self.keys.insert(id.as_str(), rows::to_json(&key.record).map_err(unwritable)?.as_slice())?;
        Ok(Some(key))
    }

    fn remove_key(&mut self, user: &UserId, id: &AccessKeyId) -> Done<bool> {
        let is_theirs = self.keys_of.remove((user.as_str(), id.as_str()))?.is_some();
        if is_theirs {
            self.keys.remove(id.as_str())?;
            self.key_uses.remove(id.as_str())?;
        }
        Ok(is_theirs)
    }

    fn note_key_use(&mut self, id: &AccessKeyId, at: Millis) -> Done {
        let last = self.key_uses.get(id.as_str())?.map_or(0, |last| last.value());
        if last < at && self.keys.get(id.as_str())?.is_some() {
            self.key_uses.insert(id.as_str(), at)?;
        }
        Ok(())
    }

    fn assign_job(&mut self, job: &JobId, user: &UserId) -> Done<Assigned> {
        if matches!(find_known(&self.users, &self.removed, user)?, Known::Removed { .. }) {
            return Ok(Assigned::NoSuchUser);
        }
        let before = self.jobs.get(job.as_str())?.map(|owner| user_id(owner.value())).transpose()?;
        if before.as_ref() == Some(user) {
            return Ok(Assigned::Again);
        }
        if owned(&self.jobs_of, user)?.len() >= MAX_JOBS {
            return Ok(Assigned::TooMany);
        }
        if let Some(before) = &before {
            self.jobs_of.remove((before.as_str(), job.as_str()))?;
        }
        self.jobs.insert(job.as_str(), user.as_str())?;
        self.jobs_of.insert((user.as_str(), job.as_str()), ())?;
        Ok(if before.is_some() { Assigned::Again } else { Assigned::New })
    }

    fn remove_job(&mut self, job: &JobId) -> Done<bool> {
        let Some(owner) = self.jobs.remove(job.as_str())?.map(|owner| owner.value().to_owned()) else {
            return Ok(false);
        };
        self.jobs_of.remove((owner.as_str(), job.as_str()))?;
        Ok(true)
    }
}

impl Embedded {
    pub async fn known(&self, user: &UserId) -> Result<Known> {
        let user = user.clone();
        self.read(StateOperation::User, move |tx| {
            find_known(&tx.open_table(USERS)?, &tx.open_table(REMOVED)?, &user)
        })
        .await
    }

    pub async fn change_user(
        &self,
        user: &UserId,
        change: &UserChange,
        now: Millis,
    ) -> Result<(UserRecord, bool)> {
        let (user, change) = (user.clone(), change.clone());
        self.change(move |people| people.change_user(&user, &change, now)).await
    }

    pub async fn create_user(
        &self,
        user: &UserId,
        first: &UserChange,
        generation: Millis,
        now: Millis,
    ) -> Result<Known> {
        let (user, first) = (user.clone(), first.clone());
        self.change(move |people| people.create_user(&user, &first, generation, now)).await
    }

    pub async fn remove_user(&self, user: &UserId, now: Millis) -> Result<bool> {
        let user = user.clone();
        self.change(move |people| people.remove_user(&user, now)).await
    }

    pub async fn key(&self, id: &AccessKeyId) -> Result<Option<OwnedKey>> {
        let id = id.clone();
        self.read(StateOperation::User, move |tx| {
            let row = tx.open_table(KEYS)?.get(id.as_str())?;
            let Some(row) = row else { return Ok(None) };
            let record: KeyRecord = rows::from_json(row.value())?;
            let owner = find_known(&tx.open_table(USERS)?, &tx.open_table(REMOVED)?, &record.user)?;
            Ok(OwnedKey::new(record, owner.user()))
        })
        .await
    }

    pub async fn keys_of(&self, user: &UserId) -> Result<Vec<Key>> {
        let user = user.clone();
        self.read(StateOperation::User, move |tx| {
            let (keys, last) = (tx.open_table(KEYS)?, tx.open_table(KEY_USES)?);
            let mut found = Vec::new();
            for id in owned(&tx.open_table(KEYS_OF)?, &user)? {
                found.extend(find_key(&keys, &last, &id)?);
            }
            Ok(found)
        })
        .await
    }

    pub async fn add_key(&self, id: &AccessKeyId, record: &KeyRecord) -> Result<Added> {
        let (id, record) = (id.clone(), record.clone());
        self.change(move |people| people.add_key(&id, &record)).await
    }

    pub async fn set_key(&self, user: &UserId, id: &AccessKeyId, enabled: bool) -> Result<Option<Key>> {
        let (user, id) = (user.clone(), id.clone());
        self.change(move |people| people.set_key(&user, &id, enabled)).await
    }

    pub async fn remove_key(&self, user: &UserId, id: &AccessKeyId) -> Result<bool> {
        let (user, id) = (user.clone(), id.clone());
        self.change(move |people| people.remove_key(&user, &id)).await
    }

    pub async fn note_key_use(&self, id: &AccessKeyId, at: Millis) -> Result<()> {
        let id = id.clone();
        self.change(move |people| people.note_key_use(&id, at)).await
    }

    pub async fn job_owner(&self, job: &JobId) -> Result<Option<UserId>> {
        let job = job.clone();
        self.read(StateOperation::User, move |tx| {
            tx.open_table(JOBS)?.get(job.as_str())?.map(|owner| user_id(owner.value())).transpose()
        })
        .await
    }

    pub async fn jobs_of(&self, user: &UserId) -> Result<Vec<JobId>> {
        let user = user.clone();
        self.read(StateOperation::User, move |tx| {
            owned(&tx.open_table(JOBS_OF)?, &user)?.iter().map(|job| job_id(job)).collect()
        })
        .await
    }

    pub async fn jobs(&self, after: Option<&JobId>) -> Result<Vec<OwnedJob>> {
        let after = after.cloned();
        self.read(StateOperation::User, move |tx| {
            let first = after.as_ref().map_or(Bound::Unbounded, |job| Bound::Excluded(job.as_str()));
            let jobs = tx.open_table(JOBS)?;
            let page = jobs.range::<&str>((first, Bound::Unbounded))?.take(PAGE);
            page.map(|row| {
                let (job, owner) = row?;
                Ok((job_id(job.value())?, user_id(owner.value())?))
            })
            .collect()
        })
        .await
    }

    pub async fn assign_job(&self, job: &JobId, user: &UserId) -> Result<Assigned> {
        let (job, user) = (job.clone(), user.clone());
        self.change(move |people| people.assign_job(&job, &user)).await
    }

    pub async fn remove_job(&self, job: &JobId) -> Result<bool> {
        let job = job.clone();
        self.change(move |people| people.remove_job(&job)).await
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut People<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let _timed = self.metrics.state(StateOperation::User);
        self.writer.write(move |tables| work(&mut tables.people)).await
    }
}

fn find_known(
    users: &impl ReadableTable<&'static str, Bytes>,
    removed: &impl ReadableTable<&'static str, Millis>,
    user: &UserId,
) -> Done<Known> {
    if let Some(row) = users.get(user.as_str())? {
        return Ok(Known::User(rows::from_json(row.value())?));
    }
    let next = removed.get(user.as_str())?;
    Ok(next.map_or(Known::Nobody, |next| Known::Removed { next: next.value() }))
}

fn find_key(
    keys: &impl ReadableTable<&'static str, Bytes>,
    uses: &impl ReadableTable<&'static str, Millis>,
    id: &str,
) -> Done<Option<Key>> {
    let Some(row) = keys.get(id)? else { return Ok(None) };
    let record = rows::from_json(row.value())?;
    let last_used_at = uses.get(id)?.map(|last| last.value());
    let id = AccessKeyId::parse(id).ok_or_else(|| Stop::Row(format!("`{id}` is no access key id")))?;
    Ok(Some(Key { id, record, last_used_at }))
}

/// What is a user's, in order.
pub(super) fn owned(index: &impl ReadableTable<Owned, ()>, user: &UserId) -> Done<Vec<String>> {
    let mut found = Vec::new();
    for row in index.range((user.as_str(), "")..)? {
        let (key, ()) = row.map(|(key, value)| (key, value.value()))?;
        let (owner, id) = key.value();
        if owner != user.as_str() {
            break;
        }
        found.push(id.to_owned());
    }
    Ok(found)
}

fn job_id(text: &str) -> Done<JobId> {
    JobId::parse(text).ok_or_else(|| Stop::Row(format!("`{text}` is no job id")))
}
