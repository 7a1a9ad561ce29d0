//! The names of what Redis holds. Of a user, all under one hash tag:
//!
//! | key | holds |
//! |---|---|
//! | `bw:{alice}` | a hash: `account` (JSON), `version`, `born` (the first version) |
//! | `bw:{alice}:objects`, `:holds`, `:uploads`, `:leases` | hashes by id (16 bytes) |
//! | `bw:{alice}:parts:<upload>` | a hash by part number (2 bytes) |
//! | `bw:{alice}:expiry` | leases by expiry |
//! | `bw:{alice}:hour`, `:day` | places in the windows by time, each `<milliseconds>:<uploads>` |
//! | `bw:{alice}:by:<writer>` | the last version that this writer made, for some seconds |
//!
//! Of all: `bw:epoch`; `bw:users`, ids in order; `bw:active`, users by their last writes; `bw:replicas`, gateways by
//! when they are taken for dead. Who there is, in the slot of `bw:records`:
//!
//! | key | holds |
//! |---|---|
//! | `bw:records` | a hash of users' records (JSON) |
//! | `{bw:records}:removed` | a hash: by user who was removed, the generation of the next |
//! | `{bw:records}:keys`, `:key-uses` | hashes by access key id: the key (JSON), when it was used last |
//! | `{bw:records}:keys-of` | pairs `<user> <access key id>`, in order |
//! | `{bw:records}:jobs`, `:jobs-of` | pairs `<job> <user>` and `<user> <job>`, in order |
//! | `{bw:records}:pars` | a hash by id of pre-authenticated requests (JSON) |
//! | `{bw:records}:pars-of`, `:pars-due` | pairs `<user> <id>`, in order; ids by when they are to be looked at |

use crate::account::UploadKey;
use crate::types::UserId;

pub(super) const USERS: &[u8] = b"bw:users";
pub(super) const RECORDS: &[u8] = b"bw:records";
pub(super) const REMOVED: &[u8] = b"{bw:records}:removed";
pub(super) const KEYS: &[u8] = b"{bw:records}:keys";
pub(super) const KEYS_OF: &[u8] = b"{bw:records}:keys-of";
pub(super) const KEY_USES: &[u8] = b"{bw:records}:key-uses";
pub(super) const JOBS: &[u8] = b"{bw:records}:jobs";
pub(super) const JOBS_OF: &[u8] = b"{bw:records}:jobs-of";
pub(super) const PARS: &[u8] = b"{bw:records}:pars";
pub(super) const PARS_OF: &[u8] = b"{bw:records}:pars-of";
pub(super) const PARS_DUE: &[u8] = b"{bw:records}:pars-due";
pub(super) const ACTIVE: &[u8] = b"bw:active";
pub(super) const REPLICAS: &[u8] = b"bw:replicas";

/// One user's keys.
pub(super) struct Keys {
    pub(super) account: Vec<u8>,
    pub(super) objects: Vec<u8>,
    pub(super) holds: Vec<u8>,
    pub(super) uploads: Vec<u8>,
    pub(super) leases: Vec<u8>,
    pub(super) expiry: Vec<u8>,
    pub(super) hour: Vec<u8>,
    pub(super) day: Vec<u8>,
}

impl Keys {
    pub(super) fn of(user: &UserId) -> Self {
        let key = |kind: &str| format!("bw:{{{user}}}{kind}").into_bytes();
        Self {
            account: key(""),
            objects: key(":objects"),
            holds: key(":holds"),
            uploads: key(":uploads"),
            leases: key(":leases"),
            expiry: key(":expiry"),
            hour: key(":hour"),
            day: key(":day"),
        }
    }

    pub(super) fn parts(&self, upload: &UploadKey) -> Vec<u8> {
        [self.account.as_slice(), format!(":parts:{:032x}", u128::from_be_bytes(upload.0)).as_bytes()]
            .concat()
    }

    pub(super) fn by(&self, writer: &str) -> Vec<u8> {
        [self.account.as_slice(), b":by:", writer.as_bytes()].concat()
    }
}
