//! Who is calling? In: a request head as it came, and the time. Out: the `Caller` and the `VerifiedPayload`,
//! or the refusal. Every way in ends in the same verifier; a signing key is derived once per access key, day
//! and region, and kept bound to the very secret it came from. An access key that there is not is verified against a
//! secret that nobody has: its refusal takes as long as any other.

mod credentials;
mod keyring;
pub mod session;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moka::sync::Cache;
use zeroize::Zeroizing;

use crate::account::Millis;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::sigv4::verify::{Head, Presented, Rules, VerifiedPayload};
use crate::types::{AccessKeyId, Caller};
use credentials::{Credential, Directory};
pub use keyring::{Keyring, NewKey, NoKey};

/// Signing keys kept at most: more than a day's keys of any tier of users in one process.
const MAX_SIGNING_KEYS: u64 = 10_000;

pub struct Authenticator {
    directory: Directory,
    regions: Vec<String>,
    max_clock_skew: Duration,
    signing_keys: Cache<SigningKeyOf, Arc<Zeroizing<[u8; 32]>>>,
}

/// What a signing key is derived from; the secret stands here by its generation in the directory.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SigningKeyOf {
    access_key_id: AccessKeyId,
    secret_generation: u64,
    date: [u8; 8],
    region: usize,
}

impl Authenticator {
    pub fn new(config: &Config, keyring: Arc<Keyring>) -> Self {
        Self {
            directory: Directory::new(&config.users, keyring),
            regions: config.auth.regions.clone(),
            max_clock_skew: config.auth.max_clock_skew,
            signing_keys: Cache::builder()
                .max_capacity(MAX_SIGNING_KEYS)
                .time_to_live(Duration::from_hours(24))
                .build(),
        }
    }

    /// Who a caller claims to be is in `presented`; whether it is true is found out here.
    pub async fn authenticate(
        &self,
        head: Head<'_>,
        presented: &Presented<'_>,
        now: SystemTime,
    ) -> Result<(Caller, VerifiedPayload)> {
        presented.check(&Rules { regions: &self.regions, max_clock_skew: self.max_clock_skew, now })?;
        if head.headers.contains_key("x-amz-security-token") || head.query.has("X-Amz-Security-Token") {
            return Err(Code::InvalidToken.into());
        }
        let access_key_id = presented.credential.access_key_id;
        let found = self.directory.find(access_key_id).await?;
        let credential = found.as_deref().unwrap_or(self.directory.nobody());
        let verified = presented.verify(head, &self.signing_key(presented, credential));
        if found.is_none() {
            return Err(Error::new(Code::InvalidAccessKeyId).detail("AWSAccessKeyId", access_key_id));
        }
        let payload = verified?;
        self.directory.keyring().note_use(&credential.access_key_id, millis(now));
        let caller = Caller {
            user: credential.user.clone(),
            role: credential.role,
            way: presented.way,
            jobs: Arc::default(),
            expires: None,
        };
        Ok((caller, payload))
    }

    fn signing_key(&self, presented: &Presented<'_>, credential: &Credential) -> Arc<Zeroizing<[u8; 32]>> {
        let derive = || Arc::new(Zeroizing::new(presented.signing_key(credential.secret.expose())));
        let region = self.regions.iter().position(|region| region == presented.credential.region);
        let date = <[u8; 8]>::try_from(presented.credential.date.as_bytes());
        let (Some(region), Ok(date)) = (region, date) else {
            return derive();
        };
        let key = SigningKeyOf {
            access_key_id: credential.access_key_id.clone(),
            secret_generation: credential.generation,
            date,
            region,
        };
        if let Some(signing_key) = self.signing_keys.get(&key) {
            return signing_key;
        }
        let signing_key = derive();
        self.signing_keys.insert(key, signing_key.clone());
        signing_key
    }
}

fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
