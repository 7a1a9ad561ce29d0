//! The shared store: accounts in Redis or Valkey, one server or a cluster, for any number of gateways. In: steps of
//! `account`; out, their replies, each within 250 ms or [`Unavailable`]. The arithmetic is done here, once; Redis
//! keeps rows. A batch of steps is one read, the steps in order, and one script that writes if the account is
//! still in the version that was read. Each version has a name of its own, so a write that is sent twice is
//! carried out once, and no write can meet an account that was lost and made anew.
//!
//! What Redis loses is never taken as zero use: without its row an account is not counted, and a new life of the
//! store (see `link`) makes recent writers suspect. `keys` lists what is stored.
//!
//! Memory, with Redis 7.0: 82 bytes an object, 940 a user without any, by
//! `cargo test --test store_contract memory_of -- --ignored --nocapture`.

mod address;
mod hints;
mod keys;
mod lane;
mod link;
mod load;
mod pars;
mod people;
mod save;
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use redis::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use self::address::Address;
use self::hints::Hints;
use self::keys::Keys;
use self::lane::Lanes;
use self::link::{DEADLINE, Link, Trouble};
use self::load::{Field, STRANGE, every};
use self::script::{Call, DROP_IDLE, MARK_ACTIVE, READ, bytes, integer, list, number};
use super::rows::{self, Unreadable};
use super::{Cursor, PAGE, Result, Unavailable};
use crate::account::{Account, LeaseId, Millis, ObjectId, Reply, Step, Upload, UploadKey};
use crate::metrics::{Metrics, StateOperation};
use crate::types::{Secret, UserId};

/// Questions about different users that are under way at once.
const AT_ONCE: usize = 64;
/// A user without leases is forgotten as active after this time: much longer than a mark is relied on.
const IDLE: Duration = Duration::from_mins(10);

pub struct Redis {
    link: Link,
    lanes: Lanes,
    hints: Hints,
    /// The life of the store in which every user was looked through for leases.
    swept: AtomicU64,
    /// Changes to records by user: those of one process do not get in each other's way.
    changing: [Mutex<()>; 64],
    metrics: Arc<Metrics>,
}

impl Redis {
    /// A Redis that does not answer yet is no error: the store is not up until it does.
    pub async fn open(url: &Secret, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Self>> {
        let link = Link::open(Address::parse(url)?, metrics.clone()).await;
        Ok(Arc::new(Self {
            link,
            lanes: Lanes::new(),
            hints: Hints::new(),
            swept: AtomicU64::new(0),
            changing: std::array::from_fn(|_| Mutex::default()),
            metrics,
        }))
    }

    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    pub fn life(&self) -> u64 {
        self.link.life()
    }

    pub async fn step(self: &Arc<Self>, user: &UserId, step: Step, now: Millis) -> Result<Reply> {
        let _timer = self.metrics.state(StateOperation::of(&step));
        self.queue(user, step, now).await
    }

    /// Looks through the users who wrote lately; through all of them once in each life of the store, whose marks may
    /// have been lost with the one before.
    pub async fn expired(&self, now: Millis) -> Result<Vec<(UserId, LeaseId)>> {
        let _timer = self.metrics.state(StateOperation::Other);
        let life = self.life();
        let every_user = self.swept.load(Ordering::Relaxed) != life;
        let mut walk = if every_user { Walk::Users(None) } else { Walk::Active(0) };
        let mut found = Vec::new();
        while let Some(users) = self.walk(&mut walk).await? {
            let asked = users.into_iter().map(|user| async move {
                let answer = self.leases_expired(&user, now).await;
                (user, answer)
            });
            let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
            let mut idle = Vec::new();
            while let Some((user, answer)) = answers.next().await {
                let (expired, left) = answer?;
                found.extend(expired.into_iter().map(|lease| (user.clone(), lease)));
                if left == 0 {
                    idle.push(user);
                }
            }
            self.drop_idle(&idle).await?;
            if found.len() >= PAGE {
                found.truncate(PAGE);
                return Ok(found);
            }
        }
        self.swept.store(life, Ordering::Relaxed);
        Ok(found)
    }

    #[expect(clippy::unused_async, reason = "the face of a store")]
    pub async fn orphaned(&self) -> Result<Vec<(UserId, LeaseId)>> {
        // Others may hold them; they expire.
        Ok(Vec::new())
    }

    pub async fn upload(&self, user: &UserId, upload: UploadKey) -> Result<Option<Upload>> {
        let keys = Keys::of(user);
        let row = known(bytes(self.command(redis::cmd("HGET").arg(keys.uploads).arg(&upload.0)).await?))?;
        let row: Option<Upload> = row.map(|row| rows::from_json(&row).map_err(unreadable)).transpose()?;
        Ok(row.filter(|row| row.open))
    }

    pub async fn uploads(&self, user: &UserId) -> Result<Vec<(UploadKey, Upload)>> {
        let keys = Keys::of(user);
        let (mut found, mut cursor) = (Vec::new(), 0);
        loop {
            let (next, some) = self.fields(&keys.uploads, cursor).await?;
            for (key, row) in some {
                let row: Upload = rows::from_json(&row).map_err(unreadable)?;
                if row.open {
                    found.push((UploadKey(key), row));
                }
            }
            if next == 0 {
                // A scan may tell one twice.
                found.sort_by_key(|(key, _)| *key);
                found.dedup_by_key(|(key, _)| *key);
                return Ok(found);
            }
            cursor = next;
        }
    }

    pub async fn objects(
        &self,
        user: &UserId,
        after: Option<Cursor>,
    ) -> Result<(Vec<ObjectId>, Option<Cursor>)> {
        let cursor = after.map_or(0, |Cursor(bytes)| u128::from_be_bytes(bytes));
        let cursor = cursor.try_into().map_err(|_| Unavailable)?;
        let (next, some) = self.fields(&Keys::of(user).objects, cursor).await?;
        let ids = some.into_iter().map(|(id, _)| ObjectId(id)).collect();
        Ok((ids, (next != 0).then(|| Cursor(u128::from(next).to_be_bytes()))))
    }

    pub async fn account(&self, user: &UserId) -> Result<Option<Account>> {
        let row = self.command(redis::cmd("HGET").arg(Keys::of(user).account).arg("account")).await?;
        known(bytes(row))?.map(|row| rows::from_json(&row).map_err(unreadable)).transpose()
    }

    pub async fn users(&self, after: Option<&UserId>) -> Result<Vec<UserId>> {
        self.ids_in_order(keys::USERS, after).await
    }

    pub async fn beat(&self, replica: &str, now: Millis, ttl: Duration) -> Result<usize> {
        let until = u128::from(now) + ttl.as_millis();
        let mut call = Call::default();
        call.command("ZADD", keys::REPLICAS, [number(until), replica.into()]);
        call.command("ZREMRANGEBYSCORE", keys::REPLICAS, [b"-inf".to_vec(), number(now)]);
        call.command("ZCARD", keys::REPLICAS, [[0; 0]; 0]);
        let answers = known(list(self.call(&READ, &call).await?))?;
        let alive = known(answers.last().ok_or(STRANGE).and_then(integer))?;
        usize::try_from(alive).map_err(|_| Unavailable)
    }
}

/// Where a walk over users is.
enum Walk {
    Users(Option<UserId>),
    Active(u64),
    Over,
}

impl Redis {
    async fn command(&self, command: &mut redis::Cmd) -> Result<Value> {
        self.link.command(command.clone(), Instant::now() + DEADLINE).await.map_err(no_answer)
    }

    async fn call(&self, script: &script::Script, call: &Call) -> Result<Value> {
        let (answer, _) = self.link.call(script, call, Instant::now() + DEADLINE).await.map_err(no_answer)?;
        Ok(answer)
    }

    /// Before a user's first write, and now and then: where to look for their leases.
    async fn mark(&self, user: &UserId, life: u64, born: &[u8], deadline: Instant) -> Result<(), Trouble> {
        if self.hints.is_marked(user, life, born) {
            return Ok(());
        }
        let mut add = redis::cmd("ZADD");
        add.arg(keys::USERS).arg(0).arg(user.as_str());
        let call = Call::new(vec![keys::ACTIVE.to_vec()], vec![user.as_str().into()]);
        tokio::try_join!(self.link.command(add, deadline), self.link.call(&MARK_ACTIVE, &call, deadline))?;
        self.hints.note_marked(user, life, born);
        Ok(())
    }

    /// The next users of a walk.
    async fn walk(&self, walk: &mut Walk) -> Result<Option<Vec<UserId>>> {
        match walk {
            Walk::Users(after) => {
                let users = self.users(after.as_ref()).await?;
                *walk = users.last().cloned().map_or(Walk::Over, |last| Walk::Users(Some(last)));
                Ok(Some(users))
            }
            Walk::Active(cursor) => {
                let mut command = redis::cmd("ZSCAN");
                command.arg(keys::ACTIVE).arg(*cursor).arg("COUNT").arg(PAGE);
                let (next, rows) = self.scan(command).await?;
                *walk = if next == 0 { Walk::Over } else { Walk::Active(next) };
                let ids = known(list(rows))?.into_iter().step_by(2);
                Ok(Some(ids.map(user_id).collect::<Result<_>>()?))
            }
            Walk::Over => Ok(None),
        }
    }

    async fn ids_in_order(&self, key: &[u8], after: Option<&UserId>) -> Result<Vec<UserId>> {
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(key).arg(from).arg("+").arg("LIMIT").arg(0).arg(PAGE);
        let ids = known(list(self.command(&mut command).await?))?;
        ids.into_iter().map(user_id).collect()
    }

    /// Leases of a user that have expired, and how many there are in all.
    async fn leases_expired(&self, user: &UserId, now: Millis) -> Result<(Vec<LeaseId>, i64)> {
        let keys = Keys::of(user);
        let mut call = Call::default();
        let most = [number("-inf"), number(now), number("LIMIT"), number(0), number(PAGE)];
        call.command("ZRANGEBYSCORE", &keys.expiry, most);
        call.command("ZCARD", &keys.expiry, [[0; 0]; 0]);
        let answers = known(list(self.call(&READ, &call).await?))?;
        let [expired, left] = known(answers.try_into().map_err(|_| STRANGE))?;
        let ids = known(list(expired))?.into_iter().map(lease_id).collect::<Result<_>>()?;
        Ok((ids, known(integer(&left))?))
    }

    async fn drop_idle(&self, users: &[UserId]) -> Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let mut arguments = vec![number(IDLE.as_millis())];
        arguments.extend(users.iter().map(|user| user.as_str().into()));
        self.call(&DROP_IDLE, &Call::new(vec![keys::ACTIVE.to_vec()], arguments)).await?;
        Ok(())
    }

    /// Some fields of a hash, and where to go on; 0 is the end.
    async fn fields(&self, key: &[u8], cursor: u64) -> Result<(u64, Vec<Field<16>>)> {
        let mut command = redis::cmd("HSCAN");
        command.arg(key).arg(cursor).arg("COUNT").arg(PAGE);
        let (next, rows) = self.scan(command).await?;
        Ok((next, known(every(rows))?))
    }

    async fn scan(&self, mut command: redis::Cmd) -> Result<(u64, Value)> {
        let answers = known(list(self.command(&mut command).await?))?;
        let [next, rows] = known(answers.try_into().map_err(|_| STRANGE))?;
        Ok((known(redis::from_redis_value(next).map_err(|_| STRANGE))?, rows))
    }
}

fn user_id(value: Value) -> Result<UserId> {
    let text: Option<String> = redis::from_redis_value(value).ok();
    known(text.and_then(|text| UserId::parse(&text)).ok_or(STRANGE))
}

fn lease_id(value: Value) -> Result<LeaseId> {
    let id = known(bytes(value))?.and_then(|id| id.try_into().ok());
    known(id.map(LeaseId).ok_or(STRANGE))
}

/// An answer of another kind than was asked for is none.
fn known<T>(answer: Result<T, Trouble>) -> Result<T> {
    answer.map_err(no_answer)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn no_answer(trouble: Trouble) -> Unavailable {
    // What the keeper of the link logs is not said again.
    if matches!(trouble, Trouble::Refused(_) | Trouble::Strange(_)) {
        warn!(%trouble, "the state store gave no answer");
    }
    Unavailable
}

fn unreadable(error: Unreadable) -> Unavailable {
    no_answer(error.into())
}
