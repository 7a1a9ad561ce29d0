//! What is written down of an access key. Its secret stands here sealed, as `auth` made it: no store can read it.

use serde::{Deserialize, Serialize};

use super::UserRecord;
use super::rows::as_user_id;
use crate::account::Millis;
use crate::types::{AccessKeyId, UserId};

/// Keys that one user may have; a list of them is one page.
pub const MAX_KEYS: usize = 32;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRecord {
    #[serde(with = "as_user_id")]
    pub user: UserId,
    /// The user's, when the key was made: a later user of the same id has another.
    pub generation: Millis,
    /// The secret, sealed; text that means nothing without the master key.
    pub sealed: String,
    pub enabled: bool,
    pub created_at: Millis,
}

/// A key as lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    pub id: AccessKeyId,
    pub record: KeyRecord,
    /// Only now and then brought up to date.
    pub last_used_at: Option<Millis>,
}

/// A key and whose it is, as they stood at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedKey {
    pub record: KeyRecord,
    pub owner: UserRecord,
}

impl OwnedKey {
    /// Nothing if the user is gone, or is another one of the same id.
    pub(super) fn new(record: KeyRecord, owner: Option<UserRecord>) -> Option<Self> {
        let owner = owner.filter(|owner| owner.generation == record.generation)?;
        Some(Self { record, owner })
    }
}

/// What became of a key that was to be written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    Done,
    /// There is no user of this id and generation.
    NoSuchUser,
    /// The user has [`MAX_KEYS`].
    TooMany,
}
