//! Bearer tokens. In: a JWT, and the time. Out: the `Identity` that its issuer vouches for, or a `Refusal`. A token's
//! issuer and audience choose one entry of `[[auth.jwt]]`; that entry's keys, and those alone, say whether the
//! signature is true, each by the algorithms of its own kind. Nothing in a token leads to a file or an address.
//!
//! Follows <https://www.rfc-editor.org/rfc/rfc7519> and <https://www.rfc-editor.org/rfc/rfc8725>.

mod claims;
mod keys;
mod ring;
mod source;
mod token;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::account::Millis;
use crate::config::{JwtIssuer, JwtKeys};
use crate::types::{Caller, JobId, Role, UserId, WayIn};
use keys::KeySet;
use ring::{Reader, Ring};
use source::{Remote, Source};
use token::Token;

/// The longest token in a request's head.
pub const MAX_BEARER: usize = 16 * 1024;

/// Whom a valid token speaks of, and what it says of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub user: UserId,
    pub jobs: Arc<[JobId]>,
    pub tier: Option<String>,
    /// Says to which life of a user the token belongs.
    pub issued: Option<SystemTime>,
    pub expires: SystemTime,
    pub issuer: String,
    pub audience: String,
    /// Its issuer's word is enough for a user whom nobody knows.
    pub auto_provision: bool,
}

impl Identity {
    pub fn caller(&self) -> Caller {
        Caller {
            user: self.user.clone(),
            role: Role::User,
            way: WayIn::Jwt,
            jobs: self.jobs.clone(),
            expires: Some(self.expires),
        }
    }

    /// Whether the token belongs to a user who began to be at `generation`. Times in tokens are in seconds: one of the
    /// second of a removal is taken for an earlier one, and a new one is to be had a second later. A token without a
    /// time is of the first life.
    pub fn is_of(&self, generation: Millis) -> bool {
        let issued = self.issued.and_then(|issued| issued.duration_since(UNIX_EPOCH).ok());
        generation == 0 || issued.is_some_and(|issued| issued.as_millis() >= u128::from(generation))
    }
}

/// Why a token opens nothing. The texts are for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no valid token: {0}")]
    Invalid(&'static str),
    #[error("the token has expired")]
    Expired,
    /// The issuer did sign it, and it is not for here.
    #[error("the token is not accepted: {0}")]
    Claim(&'static str),
    #[error("the issuer's keys are not to be had")]
    Unreachable,
}

pub struct Issuers(Vec<Issuer>);

struct Issuer {
    config: JwtIssuer,
    ring: Ring,
}

impl Issuers {
    /// Keys are read when a token asks for them, files like URLs: both may change.
    pub fn new(issuers: &[JwtIssuer]) -> anyhow::Result<Self> {
        Self(Vec::new()).renewed(issuers)
    }

    /// By another configuration. What a URL said of an issuer's keys stays known; files are read again, since whoever
    /// changed one asks for that.
    pub fn renewed(&self, issuers: &[JwtIssuer]) -> anyhow::Result<Self> {
        let open = |config: &JwtIssuer| {
            if let Some(ring) = self.ring_of(config) {
                return Ok(Issuer { config: config.clone(), ring });
            }
            let read = |source: Source| -> anyhow::Result<Ring> {
                source.check()?;
                Ok(Ring::Read(Reader::new(config.issuer.clone(), source)))
            };
            let ring = match &config.keys {
                JwtKeys::JwksUrl(url) => read(Source::Url(Box::new(Remote::new(url.clone())?))),
                JwtKeys::JwksFile(path) => read(Source::JwksFile(path.clone())),
                JwtKeys::PublicKeyFile(path) => read(Source::PublicKeyFile(path.clone())),
                JwtKeys::Hs256(secret) => Ok(Ring::Fixed(Arc::new(KeySet::from_secret(secret)))),
            };
            let ring =
                ring.with_context(|| format!("[[auth.jwt]] issuer = \"{}\": its keys", config.issuer))?;
            Ok(Issuer { config: config.clone(), ring })
        };
        issuers.iter().map(open).collect::<anyhow::Result<_>>().map(Self)
    }

    /// What is known of the keys at an issuer's URL.
    fn ring_of(&self, config: &JwtIssuer) -> Option<Ring> {
        let same = |known: &&Issuer| known.config.issuer == config.issuer && known.config.keys == config.keys;
        matches!(config.keys, JwtKeys::JwksUrl(_))
            .then(|| self.0.iter().find(same))?
            .map(|known| known.ring.clone())
    }

    pub async fn verify(&self, token: &str, longest: usize, now: SystemTime) -> Result<Identity, Refusal> {
        let token = Token::parse(token, longest)?;
        let issuer = self.issuer_of(&token).ok_or(Refusal::Invalid("nobody here knows its issuer"))?;
        let keys = issuer.ring.keys(token.key_id.as_deref()).await?;
        if !keys.verifies(&token) {
            return Err(Refusal::Invalid("no key of its issuer made its signature"));
        }
        if !token.is_for(&issuer.config.audience) {
            return Err(Refusal::Claim("aud names another audience"));
        }
        claims::identity(&issuer.config, &token.claims, now)
    }

    /// Whether the configuration still has the issuer.
    pub fn knows(&self, issuer: &str) -> bool {
        self.0.iter().any(|known| known.config.issuer == issuer)
    }

    /// The entry of the token's issuer and audience; if it is for none, any of its issuer's, which will say so.
    fn issuer_of(&self, token: &Token<'_>) -> Option<&Issuer> {
        let named = token.issuer()?;
        let of_issuer = || self.0.iter().filter(|issuer| issuer.config.issuer == named);
        of_issuer().find(|issuer| token.is_for(&issuer.config.audience)).or_else(|| of_issuer().next())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_from_before_a_removal_is_not_of_the_next_life() {
        let identity = |issued: Option<u64>| Identity {
            user: UserId::parse("alice").expect("an id"),
            jobs: Arc::default(),
            tier: None,
            issued: issued.map(|millis| UNIX_EPOCH + Duration::from_millis(millis)),
            expires: UNIX_EPOCH,
            issuer: String::new(),
            audience: String::new(),
            auto_provision: true,
        };
        // Removed at 7.3 s.
        let next = 7_301;
        for before in [Some(6_000), Some(7_000), Some(7_300), None] {
            assert!(!identity(before).is_of(next), "{before:?}");
            assert!(identity(before).is_of(0), "{before:?}");
        }
        assert!(identity(Some(7_301)).is_of(next) && identity(Some(8_000)).is_of(next));
    }
}
