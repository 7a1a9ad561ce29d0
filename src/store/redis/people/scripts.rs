//! The changes to who there is, each one script. Scripts find what belongs to a user, or a job's owner, in sorted sets of
//! pairs: whatever lies between the two ends that `pairs_of` gives.

use std::sync::LazyLock;

use crate::store::redis::script::Script;

/// KEYS: a hash. ARGV: a field, its value as it was read, empty if there was none, and as it is to be.
pub(super) static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local is = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if is == ARGV[3] then return 1 end
if is ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1",
    )
});

/// KEYS: records, removed users. ARGV: a user, record and generation as they were read, the record as it is to be.
pub(super) static REPLACE_USER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local is = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if is == ARGV[4] then return 1 end
if is ~= ARGV[2] or (redis.call('HGET', KEYS[2], ARGV[1]) or '') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
return 1",
    )
});

/// KEYS: records, removed users, keys, their users, their uses, jobs, their users. ARGV: a user, the record as it was
/// read, the next generation, and between what the user's own lies.
pub(super) static REMOVE_USER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[3] then return 1 end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
for _, owned in ipairs(redis.call('ZRANGEBYLEX', KEYS[4], ARGV[4], ARGV[5])) do
  local key = string.sub(owned, #ARGV[1] + 2)
  redis.call('HDEL', KEYS[3], key)
  redis.call('HDEL', KEYS[5], key)
  redis.call('ZREM', KEYS[4], owned)
end
for _, owned in ipairs(redis.call('ZRANGEBYLEX', KEYS[7], ARGV[4], ARGV[5])) do
  redis.call('ZREM', KEYS[6], string.sub(owned, #ARGV[1] + 2) .. ' ' .. ARGV[1])
  redis.call('ZREM', KEYS[7], owned)
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[1], ARGV[1])
return 1",
    )
});

/// KEYS: records, keys, their users. ARGV: a user, the record as it was read, a key, its row, how many keys a user may
/// have, and between what the user's own lie.
pub(super) static ADD_KEY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('HGET', KEYS[2], ARGV[3]) == ARGV[4] then return 1 end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if redis.call('ZLEXCOUNT', KEYS[3], ARGV[6], ARGV[7]) >= tonumber(ARGV[5]) then return 2 end
if redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[4]) == 0 then return 3 end
redis.call('ZADD', KEYS[3], 0, ARGV[1] .. ' ' .. ARGV[3])
return 1",
    )
});

/// KEYS: keys, their users, their uses. ARGV: a user, a key.
pub(super) static REMOVE_KEY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('ZREM', KEYS[2], ARGV[1] .. ' ' .. ARGV[2]) == 0 then return 0 end
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[2])
return 1",
    )
});

/// KEYS: keys, their uses. ARGV: a key, when it was used.
pub(super) static NOTE_KEY_USE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local last = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
if last < tonumber(ARGV[2]) and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
return 1",
    )
});

/// KEYS: records, removed users, jobs, their users. ARGV: a user, a job, between what the job's owner lies, how many
/// jobs a user may have, between what the user's lie.
pub(super) static ASSIGN_JOB: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 2 end
local owned = ARGV[2] .. ' ' .. ARGV[1]
local before = redis.call('ZRANGEBYLEX', KEYS[3], ARGV[3], ARGV[4])[1]
if before == owned then return 0 end
if redis.call('ZLEXCOUNT', KEYS[4], ARGV[6], ARGV[7]) >= tonumber(ARGV[5]) then return 3 end
if before then
  redis.call('ZREM', KEYS[3], before)
  redis.call('ZREM', KEYS[4], string.sub(before, #ARGV[2] + 2) .. ' ' .. ARGV[2])
end
redis.call('ZADD', KEYS[3], 0, owned)
redis.call('ZADD', KEYS[4], 0, ARGV[1] .. ' ' .. ARGV[2])
return before and 0 or 1",
    )
});

/// KEYS: jobs, their users. ARGV: a job, and between what its owner lies.
pub(super) static REMOVE_JOB: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local owned = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3])[1]
if not owned then return 0 end
redis.call('ZREM', KEYS[1], owned)
redis.call('ZREM', KEYS[2], string.sub(owned, #ARGV[1] + 2) .. ' ' .. ARGV[1])
return 1",
    )
});
