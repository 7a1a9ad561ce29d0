//! The store in one file (redb), which one process holds. In: steps and rows of `store`. Out: answers that are on disk.
//! Writes go through one thread, which commits many at a time (`writer`); reads take a snapshot, each on a
//! thread that may wait for the disk. Nothing here knows what the rows mean.
//!
//! `Unavailable` says that a write is not known to be on disk; in the worst case, a disk that failed after it had
//! written, it is found there later. A lease heals that, as it does a crash.
//!
//! An object's row takes 29 bytes: 20 are its key, 4 or 5 its value, 4 redb's own. The file grows in steps and keeps
//! room for later rows; with 100,000 objects of 64 users it has 45 to 67 bytes for each:
//! `cargo bench --bench ledger -- --bytes`.

mod file;
mod pars;
mod people;
mod tables;
mod writer;

use std::collections::BTreeSet;
use std::mem;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::rows;
use super::{Cursor, PAGE, Result};
use crate::account::{Account, LeaseId, Millis, ObjectId, Reply, Step, Upload, UploadKey};
use crate::metrics::{Metrics, StateOperation};
use crate::types::UserId;
use people::USERS;
use tables::{ACCOUNTS, FIRST_ID, LAST_ID, LEASES, NUMBERS, OBJECTS, Stop, UPLOADS};
use writer::Writer;

pub struct Embedded {
    writer: Writer,
    /// The leases that the file had when it was opened; taken once.
    orphaned: Mutex<Vec<(UserId, LeaseId)>>,
    metrics: Arc<Metrics>,
}

impl Embedded {
    pub fn open(path: &Path, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let db = file::open_or_create(path)?;
        let orphaned = leases(&db.begin_read()?, Millis::MAX, usize::MAX)?;
        let reopened = path.to_owned();
        let writer = Writer::start(db, Box::new(move || file::open_again(&reopened)), Arc::clone(&metrics))?;
        Ok(Self { writer, orphaned: Mutex::new(orphaned), metrics })
    }

    pub fn is_up(&self) -> bool {
        self.writer.is_up()
    }

    /// Always the same: what was answered is on disk.
    #[expect(clippy::unused_self, reason = "a shared store has several")]
    pub fn life(&self) -> u64 {
        0
    }

    pub async fn step(&self, user: &UserId, step: Step, now: Millis) -> Result<Reply> {
        let _timed = self.metrics.state(StateOperation::of(&step));
        let user = user.clone();
        self.writer.write(move |tables| tables.step(&user, step, now)).await
    }

    pub async fn expired(&self, now: Millis) -> Result<Vec<(UserId, LeaseId)>> {
        self.read(StateOperation::Other, move |tx| leases(tx, now, PAGE)).await
    }

    /// Once; later there are none: those that are there then may be held by this process.
    #[expect(clippy::unused_async, reason = "a shared store has to ask")]
    pub async fn orphaned(&self) -> Result<Vec<(UserId, LeaseId)>> {
        Ok(mem::take(&mut *self.orphaned.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub async fn upload(&self, user: &UserId, upload: UploadKey) -> Result<Option<Upload>> {
        let user = user.clone();
        self.read(StateOperation::Other, move |tx| {
            let Some((number, _)) = account(tx, &user)? else { return Ok(None) };
            let row = tx.open_table(UPLOADS)?.get((number, &upload.0))?;
            let row: Option<Upload> = row.map(|row| rows::from_json(row.value())).transpose()?;
            Ok(row.filter(|upload| upload.open))
        })
        .await
    }

    pub async fn uploads(&self, user: &UserId) -> Result<Vec<(UploadKey, Upload)>> {
        let user = user.clone();
        self.read(StateOperation::Other, move |tx| {
            let Some((number, _)) = account(tx, &user)? else { return Ok(Vec::new()) };
            let mut open = Vec::new();
            for row in tx.open_table(UPLOADS)?.range((number, &FIRST_ID)..=(number, &LAST_ID))? {
                let (key, row) = row?;
                let upload: Upload = rows::from_json(row.value())?;
                if upload.open {
                    open.push((UploadKey(*key.value().1), upload));
                }
            }
            Ok(open)
        })
        .await
    }

    pub async fn objects(
        &self,
        user: &UserId,
        after: Option<Cursor>,
    ) -> Result<(Vec<ObjectId>, Option<Cursor>)> {
        let user = user.clone();
        let page: Vec<_> = self
            .read(StateOperation::Other, move |tx| {
                let Some((number, _)) = account(tx, &user)? else { return Ok(Vec::new()) };
                let first = match &after {
                    Some(Cursor(id)) => Bound::Excluded((number, id)),
                    None => Bound::Included((number, &FIRST_ID)),
                };
                let objects = tx.open_table(OBJECTS)?;
                let range =
                    objects.range::<(u32, &[u8; 16])>((first, Bound::Included((number, &LAST_ID))))?;
                range.take(PAGE).map(|row| Ok(ObjectId(*row?.0.value().1))).collect()
            })
            .await?;
        let next = page.last().filter(|_| page.len() == PAGE).map(|ObjectId(id)| Cursor(*id));
        Ok((page, next))
    }

    pub async fn account(&self, user: &UserId) -> Result<Option<Account>> {
        let user = user.clone();
        self.read(StateOperation::Other, move |tx| Ok(account(tx, &user)?.map(|(_, account)| account))).await
    }

    pub async fn users(&self, after: Option<&UserId>) -> Result<Vec<UserId>> {
        let after = after.cloned();
        self.read(StateOperation::User, move |tx| {
            let mut users = BTreeSet::new();
            for table in [ACCOUNTS, USERS] {
                let first = after.as_ref().map_or(Bound::Unbounded, |user| Bound::Excluded(user.as_str()));
                for row in tx.open_table(table)?.range::<&str>((first, Bound::Unbounded))?.take(PAGE) {
                    users.insert(user_id(row?.0.value())?);
                }
            }
            Ok(users.into_iter().take(PAGE).collect())
        })
        .await
    }

    /// There is one. While the store is lost this is also who asks whether it is back.
    pub async fn beat(&self, _replica: &str, _now: Millis, _ttl: Duration) -> Result<usize> {
        if !self.is_up() {
            self.writer.write(|_| Ok(())).await?;
        }
        Ok(1)
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: StateOperation,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T> {
        let _timed = self.metrics.state(operation);
        self.writer.read(work).await
    }
}

fn account(tx: &ReadTransaction, user: &UserId) -> Result<Option<(u32, Account)>, Stop> {
    tables::find_account(&tx.open_table(ACCOUNTS)?, user)
}

/// Leases that have expired by then.
fn leases(tx: &ReadTransaction, by: Millis, at_most: usize) -> Result<Vec<(UserId, LeaseId)>, Stop> {
    let numbers = tx.open_table(NUMBERS)?;
    let mut found = Vec::new();
    for row in tx.open_table(LEASES)?.iter()? {
        let (key, lease) = row?;
        if found.len() == at_most {
            break;
        }
        if tables::expiry(lease.value())? <= by {
            let (number, id) = key.value();
            let user = numbers.get(number)?.ok_or_else(|| Stop::Row(format!("user {number} has no name")))?;
            found.push((user_id(user.value())?, LeaseId(*id)));
        }
    }
    Ok(found)
}

fn user_id(text: &str) -> Result<UserId, Stop> {
    UserId::parse(text).ok_or_else(|| Stop::Row(format!("`{text}` is no user id")))
}
