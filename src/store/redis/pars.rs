//! Pre-authenticated requests: by id, by user and by when they are due, all under the hash tag of who there is (see
//! `keys`), so that each change is one script. A script whose answer was lost may be sent again: it then finds its
//! work done.

use std::sync::LazyLock;

use super::load::STRANGE;
use super::people::pairs_of;
use super::script::{Call, READ, Script, bytes, list, number};
use super::{Redis, keys, known, unreadable, user_id};
use crate::account::Millis;
use crate::metrics::StateOperation;
use crate::store::{MAX_PARS, PAGE, ParId, ParRecord, Result, Unavailable, rows};
use crate::types::UserId;

/// KEYS: PARs, their users, when they are due. ARGV: a user, a PAR, its row, when it is due, how many a user may have,
/// and between what the user's own lie.
static ADD_PAR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('HGET', KEYS[1], ARGV[2]) == ARGV[3] then return 1 end
if redis.call('ZLEXCOUNT', KEYS[2], ARGV[6], ARGV[7]) >= tonumber(ARGV[5]) then return 0 end
if redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) == 0 then return 2 end
redis.call('ZADD', KEYS[2], 0, ARGV[1] .. ' ' .. ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[2])
return 1",
    )
});

/// KEYS: PARs, when they are due. ARGV: a PAR, its row as it was read and as it is to be, when it is due.
static REPLACE_PAR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local is = redis.call('HGET', KEYS[1], ARGV[1])
if is == ARGV[3] then return 1 end
if is ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
return 1",
    )
});

/// KEYS: PARs, their users, when they are due. ARGV: a user, a PAR.
static REMOVE_PAR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"redis.call('ZREM', KEYS[2], ARGV[1] .. ' ' .. ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
return redis.call('HDEL', KEYS[1], ARGV[2])",
    )
});

/// KEYS: the pairs of users and PARs. ARGV: where to begin, how many users at most.
static OWNERS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local users, from = {}, ARGV[1]
while #users < tonumber(ARGV[2]) do
  local pair = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 1)[1]
  if not pair then break end
  local user = string.match(pair, '^%S+')
  users[#users + 1] = user
  from = '(' .. user .. '!'
end
return users",
    )
});

impl Redis {
    pub async fn par(&self, id: &ParId) -> Result<Option<ParRecord>> {
        let _timer = self.metrics.state(StateOperation::Other);
        let row = self.field(keys::PARS, id.as_str()).await?;
        row.map(|row| rows::from_json(&row).map_err(unreadable)).transpose()
    }

    pub async fn pars_of(&self, user: &UserId) -> Result<Vec<(ParId, ParRecord)>> {
        let _timer = self.metrics.state(StateOperation::Other);
        let ids = self.owned(keys::PARS_OF, user.as_str(), MAX_PARS).await?;
        self.pars_by_id(ids).await
    }

    pub async fn pars_due(&self, now: Millis) -> Result<Vec<(ParId, ParRecord)>> {
        let _timer = self.metrics.state(StateOperation::Other);
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(keys::PARS_DUE).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(PAGE);
        let ids = known(list(self.command(&mut command).await?))?;
        let text = |id| known(redis::from_redis_value::<String>(id).map_err(|_| STRANGE));
        let ids = ids.into_iter().map(text).collect::<Result<_>>()?;
        self.pars_by_id(ids).await
    }

    pub async fn par_owners(&self, after: Option<&UserId>) -> Result<Vec<UserId>> {
        let _timer = self.metrics.state(StateOperation::Other);
        let first = after.map_or_else(|| "-".to_owned(), |user| format!("({user}!"));
        let call = Call::new(vec![keys::PARS_OF.to_vec()], vec![first.into_bytes(), number(PAGE)]);
        let users = known(list(self.call(&OWNERS, &call).await?))?;
        users.into_iter().map(user_id).collect()
    }

    pub async fn add_par(&self, id: &ParId, record: &ParRecord) -> Result<bool> {
        let _timer = self.metrics.state(StateOperation::Other);
        let row = rows::to_json(record).map_err(unreadable)?;
        let [first, last] = pairs_of(record.user.as_str());
        let (user, id) = (record.user.as_str().into(), id.as_str().into());
        let arguments = vec![user, id, row, number(record.due), number(MAX_PARS), first, last];
        match self.done(&ADD_PAR, every_key(), arguments).await? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unavailable),
        }
    }

    pub async fn replace_par(&self, id: &ParId, before: &ParRecord, after: &ParRecord) -> Result<bool> {
        let _timer = self.metrics.state(StateOperation::Other);
        let row = |record| rows::to_json(record).map_err(unreadable);
        let arguments = vec![id.as_str().into(), row(before)?, row(after)?, number(after.due)];
        let keys = vec![keys::PARS.to_vec(), keys::PARS_DUE.to_vec()];
        Ok(self.done(&REPLACE_PAR, keys, arguments).await? == 1)
    }

    pub async fn remove_par(&self, user: &UserId, id: &ParId) -> Result<bool> {
        let _timer = self.metrics.state(StateOperation::Other);
        let arguments = vec![user.as_str().into(), id.as_str().into()];
        Ok(self.done(&REMOVE_PAR, every_key(), arguments).await? == 1)
    }

    async fn pars_by_id(&self, ids: Vec<String>) -> Result<Vec<(ParId, ParRecord)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = Call::default();
        call.command("HMGET", keys::PARS, ids.iter().map(String::as_str));
        let answers = known(list(self.call(&READ, &call).await?))?;
        let [found] = known(answers.try_into().map_err(|_| STRANGE))?;
        let mut pars = Vec::new();
        for (id, row) in ids.iter().zip(known(list(found))?) {
            // One may have been removed since they were listed.
            let Some(row) = known(bytes(row))? else { continue };
            let id = known(ParId::parse(id).ok_or(STRANGE))?;
            pars.push((id, rows::from_json(&row).map_err(unreadable)?));
        }
        Ok(pars)
    }
}

fn every_key() -> Vec<Vec<u8>> {
    [keys::PARS, keys::PARS_OF, keys::PARS_DUE].map(<[u8]>::to_vec).into()
}
