//! What is asked of Redis: a few commands on the keys of one user, carried out as one by a script. In: commands by
//! key; out, their answers in the same order. All keys of a call have one hash tag, so that a cluster finds
//! them in one place.
//!
//! `READ` just carries out what it is told. `WRITE` does so only if the account is in the version that the
//! writer has seen, and gives it the version that the writer chose. That version is noted under the writer's own name for
//! a while too: a writer whose answer was lost asks again and hears the same answer, whoever wrote since.

use std::sync::LazyLock;

use redis::{Cmd, Value};
use sha1::{Digest, Sha1};

use super::link::Trouble;

/// Values that one command takes at most: Lua's stack ends at about 8,000.
pub(super) const CHUNK: usize = 1000;

/// Carries out the commands in ARGV: each its name, the place of its key in KEYS, how many arguments, and these.
pub(super) static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local out, i = {}, 1
while i <= #ARGV do
  local n = tonumber(ARGV[i + 2])
  out[#out + 1] = redis.call(ARGV[i], KEYS[tonumber(ARGV[i + 1])], unpack(ARGV, i + 3, i + 2 + n))
  i = i + 3 + n
end
return out",
    )
});

/// KEYS: the account, the writer's note, others. ARGV: the version seen, the new one, then commands as above.
pub(super) static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local seen = redis.call('HGET', KEYS[1], 'version') or ''
if seen ~= ARGV[1] then
  return redis.call('GET', KEYS[2]) == ARGV[2] and 1 or 0
end
local i = 3
while i <= #ARGV do
  local n = tonumber(ARGV[i + 2])
  redis.call(ARGV[i], KEYS[tonumber(ARGV[i + 1])], unpack(ARGV, i + 3, i + 2 + n))
  i = i + 3 + n
end
redis.call('HSET', KEYS[1], 'version', ARGV[2])
redis.call('SET', KEYS[2], ARGV[2], 'PX', 5000)
return 1",
    )
});

/// KEYS: the active users. ARGV: one of them. Time is the server's, the same for whoever asks.
pub(super) static MARK_ACTIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local t = redis.call('TIME')
return redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1])",
    )
});

/// KEYS: the active users. ARGV: milliseconds that must have passed since they were marked, then users.
pub(super) static DROP_IDLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local t = redis.call('TIME')
local before = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[1]
for i = 2, #ARGV do
  local marked = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if marked and tonumber(marked) < before then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return 1",
    )
});

pub(super) struct Script {
    text: &'static str,
    sha1: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        let sha1 = Sha1::digest(text).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        Self { text, sha1 }
    }

    /// The call by the script's digest, for a server that knows it; and with its text, for one that does not.
    pub(super) fn calls(&self, call: &Call) -> [Cmd; 2] {
        [("EVALSHA", self.sha1.as_str()), ("EVAL", self.text)].map(|(name, script)| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(call.keys.len());
            for part in call.keys.iter().chain(&call.arguments) {
                command.arg(part.as_slice());
            }
            command
        })
    }
}

/// Keys and arguments of one call.
#[derive(Debug, Default)]
pub(super) struct Call {
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
    commands: usize,
}

impl Call {
    /// A call on these keys, in this order, whose arguments begin so.
    pub(super) fn new(keys: Vec<Vec<u8>>, arguments: Vec<Vec<u8>>) -> Self {
        Self { keys, arguments, commands: 0 }
    }

    pub(super) fn command<A: Into<Vec<u8>>>(
        &mut self,
        name: &str,
        key: &[u8],
        arguments: impl IntoIterator<Item = A>,
    ) {
        let place = self.keys.iter().position(|known| known == key).unwrap_or_else(|| {
            self.keys.push(key.to_vec());
            self.keys.len() - 1
        });
        let mut arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
        self.arguments.extend([number(name), number(place + 1), number(arguments.len())]);
        self.arguments.append(&mut arguments);
        self.commands += 1;
    }

    pub(super) fn commands(&self) -> usize {
        self.commands
    }
}

/// As Redis wants a number: as text.
#[expect(clippy::needless_pass_by_value, reason = "numbers and the like")]
pub(super) fn number(number: impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}

// Answers as what they should be.

pub(super) fn list(value: Value) -> Result<Vec<Value>, Trouble> {
    if let Value::Array(values) = value { Ok(values) } else { Err(Trouble::Strange("no list")) }
}

/// Bytes, or that there are none.
pub(super) fn bytes(value: Value) -> Result<Option<Vec<u8>>, Trouble> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        _ => Err(Trouble::Strange("no bytes")),
    }
}

pub(super) fn integer(value: &Value) -> Result<i64, Trouble> {
    if let Value::Int(number) = value { Ok(*number) } else { Err(Trouble::Strange("no number")) }
}
