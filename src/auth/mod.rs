//! Who is calling? In: a request head as it came, and the time. Out: who was let in (`Admitted`): the `Caller` and the
//! `VerifiedPayload`, and to which life of their user the credentials belong; or the refusal. Every way in ends in the
//! same verifier; a signing key is derived once per access key, day and region, and kept bound to the very secret
//! it came from. An access key that there is not is verified against a secret that nobody has: its refusal takes as
//! long as any other.

mod credentials;
pub mod jwt;
mod keyring;
pub mod session;
pub mod sts;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moka::sync::Cache;
use zeroize::Zeroizing;

use crate::account::Millis;
use crate::config::{self, Config};
use crate::error::{Code, Error, Result};
use crate::sigv4::verify::{Bearer, Claim, Head, Place, Presented, Rules, VerifiedPayload};
use crate::types::{AccessKeyId, Caller, JobId, Role, WayIn};
use credentials::{Credential, Directory};
use jwt::{Identity, Issuers, Refusal};
pub use keyring::{Asker, Keyring, NewKey, NoKey};
use session::{Origin, Purpose, Sessions};

/// Signing keys kept at most: more than a day's keys of any tier of users in one process.
const MAX_SIGNING_KEYS: u64 = 10_000;

pub struct Authenticator {
    directory: Directory,
    issuers: Issuers,
    sessions: Sessions,
    sts: config::Sts,
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

/// Somebody who is let in, if they still are who they were: that is for whoever knows the user to say.
pub struct Admitted {
    /// Their role is the least there is, unless the key's user has another.
    pub caller: Caller,
    pub payload: VerifiedPayload,
    pub proof: Proof,
}

/// What they have shown.
pub struct Proof {
    pub life: Life,
    /// What a session of theirs would stem from.
    pub origin: Origin,
}

/// Ids are used again: to which life of their user somebody's credentials belong.
#[derive(Debug)]
pub enum Life {
    /// The present one: the key was found under its user.
    Present,
    /// The one with this generation.
    Of(Millis),
    /// The one in which the token was issued, or that begins with it.
    Vouched(Identity),
}

impl Authenticator {
    pub fn new(config: &Config, keyring: Arc<Keyring>) -> anyhow::Result<Self> {
        Self::with(config, keyring, Issuers::new(&config.auth.jwt)?)
    }

    /// By another configuration. What issuers' URLs said of their keys goes on being known.
    pub fn renewed(&self, config: &Config) -> anyhow::Result<Self> {
        Self::with(config, self.directory.keyring().clone(), self.issuers.renewed(&config.auth.jwt)?)
    }

    fn with(config: &Config, keyring: Arc<Keyring>, issuers: Issuers) -> anyhow::Result<Self> {
        Ok(Self {
            directory: Directory::new(&config.users, keyring)?,
            issuers,
            sessions: Sessions::new(config.shared_secret()),
            sts: config.auth.sts.clone(),
            regions: config.auth.regions.clone(),
            max_clock_skew: config.auth.max_clock_skew,
            signing_keys: Cache::builder()
                .max_capacity(MAX_SIGNING_KEYS)
                .time_to_live(Duration::from_hours(24))
                .build(),
        })
    }

    /// Who a caller is said to be is in the claim; whether it is true is found out here.
    pub async fn authenticate(&self, head: Head<'_>, claim: &Claim<'_>, now: SystemTime) -> Result<Admitted> {
        match claim {
            Claim::Signature(presented) => {
                let rules = Rules { regions: &self.regions, max_clock_skew: self.max_clock_skew, now };
                presented.check(&rules)?;
                match presented.session_token {
                    None => self.by_key(head, presented, now).await,
                    Some(token) => self.by_session(head, presented, token, now).await,
                }
            }
            Claim::Bearer(bearer) => self.by_token(head, bearer, now).await,
        }
    }

    async fn by_key(&self, head: Head<'_>, presented: &Presented<'_>, now: SystemTime) -> Result<Admitted> {
        let access_key_id = presented.credential.access_key_id;
        let found = self.directory.find(access_key_id).await?;
        let credential = found.as_deref().unwrap_or(self.directory.nobody());
        let verified = presented.verify(head, &self.signing_key(presented, credential));
        if found.is_none() {
            return Err(unknown(access_key_id));
        }
        let payload = verified?;
        self.directory.keyring().note_use(&credential.access_key_id, millis(now));
        let caller = Caller {
            user: credential.user.clone(),
            role: credential.role,
            way: presented.place.way(),
            jobs: Arc::default(),
            expires: None,
        };
        let origin = Origin::AccessKey(access_key_id.to_owned());
        Ok(Admitted { caller, payload, proof: Proof { life: Life::Present, origin } })
    }

    /// A session is worth as much as what it was made of still is.
    async fn by_session(
        &self,
        head: Head<'_>,
        presented: &Presented<'_>,
        token: &str,
        now: SystemTime,
    ) -> Result<Admitted> {
        let (claims, secret) = self.sessions.open(token, presented.credential.access_key_id, now)?;
        let way = match (claims.purpose, presented.place) {
            (Purpose::Sts, _) if self.sts.enabled => WayIn::Sts,
            (Purpose::Presign, Place::Query) => WayIn::SigV4Presigned,
            (Purpose::Sts, _) | (Purpose::Presign, Place::Header) => {
                return Err(session::invalid("a session that may not be used so"));
            }
        };
        match &claims.origin {
            Origin::Issuer(issuer) if self.issuers.knows(issuer) => {}
            Origin::Issuer(_) => return Err(session::invalid("its issuer is not trusted any more")),
            Origin::AccessKey(id) => {
                let credential = self.directory.find(id).await?;
                if credential.is_none_or(|credential| credential.user != claims.user) {
                    return Err(unknown(presented.credential.access_key_id));
                }
            }
        }
        let payload = presented.verify(head, &presented.signing_key(secret.expose()))?;
        let expires = Some(claims.expires);
        let caller = Caller { user: claims.user, role: Role::User, way, jobs: claims.jobs, expires };
        let proof = Proof { life: Life::Of(claims.generation), origin: claims.origin };
        Ok(Admitted { caller, payload, proof })
    }

    async fn by_token(&self, head: Head<'_>, bearer: &Bearer<'_>, now: SystemTime) -> Result<Admitted> {
        let verified = self.issuers.verify(bearer.token(), jwt::MAX_BEARER, now).await;
        let identity = verified.map_err(|refusal| match refusal {
            Refusal::Invalid(_) | Refusal::Expired | Refusal::Claim(_) => {
                Error::new(Code::InvalidToken).because(refusal)
            }
            Refusal::Unreachable => Error::new(Code::ServiceUnavailable).because(refusal),
        })?;
        let payload = bearer.vouched_payload(head)?;
        let origin = Origin::Issuer(identity.issuer.clone());
        let caller = identity.caller();
        Ok(Admitted { caller, payload, proof: Proof { life: Life::Vouched(identity), origin } })
    }

    /// Whether there are temporary keys to be had.
    pub fn mints(&self) -> bool {
        self.sts.enabled
    }

    pub fn sts(&self) -> &config::Sts {
        &self.sts
    }

    /// Whom a token speaks of that is to be exchanged for temporary keys.
    pub async fn web_identity(&self, token: &str, now: SystemTime) -> Result<Identity, Refusal> {
        self.issuers.verify(token, sts::MAX_TOKEN, now).await
    }

    /// Temporary keys for a user whose token was found true, until `expires`.
    pub fn mint(
        &self,
        identity: &Identity,
        generation: Millis,
        expires: SystemTime,
    ) -> Result<session::Session> {
        self.sessions.mint(&session::Claims {
            user: identity.user.clone(),
            generation,
            purpose: Purpose::Sts,
            origin: Origin::Issuer(identity.issuer.clone()),
            jobs: identity.jobs.clone(),
            expires,
        })
    }

    /// Keys for one presigned URL of a caller's, which ends with what the caller had shown.
    pub fn presign(
        &self,
        caller: &Caller,
        generation: Millis,
        origin: Origin,
        jobs: Arc<[JobId]>,
        expires: SystemTime,
    ) -> Result<session::Session> {
        let user = caller.user.clone();
        let purpose = Purpose::Presign;
        self.sessions.mint(&session::Claims { user, generation, purpose, origin, jobs, expires })
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

fn unknown(access_key_id: &str) -> Error {
    Error::new(Code::InvalidAccessKeyId).detail("AWSAccessKeyId", access_key_id)
}

fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}
