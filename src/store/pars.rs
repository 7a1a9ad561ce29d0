//! What is written down of a pre-authenticated request: before OCI is asked for it, so that none can be made that
//! nobody knows of, and until it is known to be gone.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rows::as_user_id;
use crate::account::Millis;
use crate::types::UserId;

/// PARs that one user may have; a list of them is one page.
pub const MAX_PARS: usize = 1000;

/// The gateway's own name of a PAR: 32 hex digits, random. OCI's holds the object's real name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ParId(Arc<str>);

impl ParId {
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string().into())
    }

    pub fn parse(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ParRecord {
    #[serde(with = "as_user_id")]
    pub user: UserId,
    /// The user's, when the PAR was made: a later user of the same id has another.
    pub generation: Millis,
    /// The bucket that it was made in, where.
    pub place: String,
    /// The object's real name.
    pub object: String,
    /// Whether it writes, and so passes by the quota.
    pub writes: bool,
    /// What OCI calls it; nothing until OCI is known to have made it.
    pub oci_id: Option<String>,
    pub expires_at: Millis,
    /// When it is to be looked at: it has expired then, or should not be there.
    pub due: Millis,
}
