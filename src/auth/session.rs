//! Sessions: access keys that nobody stores. In: whose session it is, what for, and until when. Out: an access key id,
//! its secret, and a token that holds the claims, sealed (AES-256-GCM) and bound to that one access key id. The secret
//! is derived from the access key id; so any gateway with the same master key opens what another one minted. What
//! a session does not know is whether its user still is who they were: whoever opens one compares the generation.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::account::Millis;
use crate::error::{Code, Error, Result};
use crate::types::{AccessKeyId, JobId, Secret, UserId};

/// What the access key ids of sessions begin with, as AWS's begin with `ASIA`.
pub const PREFIX: &str = "BWT";
/// 130 bits of chance in an access key id: two sessions never share one.
const RANDOM_LETTERS: usize = 26;
/// As long as AWS's secrets: 30 bytes are 40 characters of base64.
const SECRET_BYTES: usize = 30;
/// Names the key that sealed a token, so that a token of another master key is told from a forged one in the log.
const KEY_ID_BYTES: usize = 4;
/// A token grew from a JWT of at most 16 KiB, and is carried in a head of at most 32 KiB.
const MAX_TOKEN: usize = 24 * 1024;

/// What a session was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Purpose {
    /// Temporary keys, which their user holds and signs with.
    Sts,
    /// One presigned URL: the secret never left the gateway.
    Presign,
}

/// What the session's user had shown when it was made. It ends with that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// A token of this issuer.
    Issuer(String),
    /// A signature with this access key.
    AccessKey(String),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    pub user: UserId,
    /// The user's when the session was made.
    pub generation: Millis,
    pub purpose: Purpose,
    pub origin: Origin,
    /// Jobs that the user's token said are theirs.
    pub jobs: Arc<[JobId]>,
    /// In whole seconds; what is finer is cut off.
    pub expires: SystemTime,
}

/// Keys as their holder needs them.
#[derive(Clone, Debug)]
pub struct Session {
    pub access_key_id: AccessKeyId,
    pub secret: Secret,
    pub token: Secret,
}

pub struct Sessions {
    key_id: [u8; KEY_ID_BYTES],
    seal: RandomizedNonceKey,
    secrets: hmac::Key,
}

/// The claims inside a token.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    #[serde(rename = "u", borrow)]
    user: &'a str,
    #[serde(rename = "g")]
    generation: Millis,
    #[serde(rename = "p")]
    purpose: Purpose,
    #[serde(rename = "o")]
    origin: Origin,
    #[serde(rename = "j", default, skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<&'a str>,
    #[serde(rename = "e")]
    expires: u64,
}

impl Sessions {
    /// All keys are derived from one secret that all replicas share.
    pub fn new(master: &[u8]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"bucketwarden sessions v1").extract(master);
        let derive = |purpose: &'static [u8], key: &mut [u8; 32]| {
            root.expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|material| material.fill(key))
                .expect("HKDF gives 32 bytes");
        };
        let (mut seal, mut secrets, mut key_id) = ([0; 32], [0; 32], [0; 32]);
        derive(b"seal", &mut seal);
        derive(b"secrets", &mut secrets);
        derive(b"key id", &mut key_id);
        Self {
            key_id: *key_id.first_chunk().expect("32 bytes hold 4"),
            seal: RandomizedNonceKey::new(&AES_256_GCM, &seal).expect("AES-256 takes 32 bytes"),
            secrets: hmac::Key::new(hmac::HMAC_SHA256, &secrets),
        }
    }

    pub fn mint(&self, claims: &Claims) -> Result<Session> {
        let access_key_id = random_access_key_id()?;
        let sealed = Sealed {
            user: claims.user.as_str(),
            generation: claims.generation,
            purpose: claims.purpose,
            origin: claims.origin.clone(),
            jobs: claims.jobs.iter().map(JobId::as_str).collect(),
            expires: seconds(claims.expires),
        };
        let internal =
            |cause: Box<dyn std::error::Error + Send + Sync>| Error::new(Code::InternalError).because(cause);
        let mut sealed = serde_json::to_vec(&sealed).map_err(|error| internal(error.into()))?;
        let nonce = self
            .seal
            .seal_in_place_append_tag(self.bound_to(&access_key_id), &mut sealed)
            .map_err(|_| internal("a session could not be sealed".into()))?;
        let token = URL_SAFE_NO_PAD.encode([&self.key_id[..], nonce.as_ref(), &sealed].concat());
        if token.len() > MAX_TOKEN {
            return Err(Error::new(Code::InvalidRequest).say("The token names too many jobs for a session."));
        }
        let secret = self.secret_of(&access_key_id);
        Ok(Session { access_key_id, secret, token: Secret::new(token) })
    }

    /// The claims of a token that was presented with an access key id, and the secret that goes with that. A token
    /// that this gateway's key did not seal for that very id is `InvalidToken`; one that has ended, `ExpiredToken`.
    pub fn open(&self, token: &str, access_key_id: &str, now: SystemTime) -> Result<(Claims, Secret)> {
        let access_key_id = AccessKeyId::parse(access_key_id).ok_or_else(|| invalid("no access key id"))?;
        let claims = self.unseal(token, &access_key_id).map_err(invalid)?;
        if now >= claims.expires {
            return Err(Code::ExpiredToken.into());
        }
        Ok((claims, self.secret_of(&access_key_id)))
    }

    fn unseal(&self, token: &str, access_key_id: &AccessKeyId) -> Result<Claims, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("too long for a session token");
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| "not base64")?;
        let (key_id, rest) = bytes.split_at_mut_checked(KEY_ID_BYTES).ok_or("too short")?;
        if *key_id != self.key_id {
            return Err("sealed with another master key");
        }
        let (nonce, sealed) = rest.split_at_mut_checked(NONCE_LEN).ok_or("too short")?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| "no nonce")?;
        let opened = self
            .seal
            .open_in_place(nonce, self.bound_to(access_key_id), sealed)
            .map_err(|_| "forged, or of another access key")?;
        let unreadable = "sealed by a version that writes other claims";
        let sealed: Sealed<'_> = serde_json::from_slice(opened).map_err(|_| unreadable)?;
        Ok(Claims {
            user: UserId::parse(sealed.user).ok_or(unreadable)?,
            generation: sealed.generation,
            purpose: sealed.purpose,
            origin: sealed.origin,
            jobs: sealed.jobs.into_iter().map(JobId::parse).collect::<Option<_>>().ok_or(unreadable)?,
            expires: UNIX_EPOCH.checked_add(Duration::from_secs(sealed.expires)).ok_or(unreadable)?,
        })
    }

    fn bound_to(&self, access_key_id: &AccessKeyId) -> Aad<Vec<u8>> {
        Aad::from([&self.key_id[..], access_key_id.as_str().as_bytes()].concat())
    }

    fn secret_of(&self, access_key_id: &AccessKeyId) -> Secret {
        let mac = hmac::sign(&self.secrets, access_key_id.as_str().as_bytes());
        Secret::new(STANDARD.encode(&mac.as_ref()[..SECRET_BYTES]))
    }
}

/// S3 answers 403 for a session token; 401 is for bearers.
pub(super) fn invalid(cause: &'static str) -> Error {
    Error::new(Code::InvalidToken).with_status(http::StatusCode::FORBIDDEN).because(cause)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn random_access_key_id() -> Result<AccessKeyId> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0; RANDOM_LETTERS];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::new(Code::InternalError).because("the system gives no random numbers"))?;
    let letters = bytes.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let id: String = PREFIX.chars().chain(letters).collect();
    Ok(AccessKeyId::parse(&id).expect("letters and digits make an access key id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn claims() -> Claims {
        Claims {
            user: UserId::parse("alice").expect("an id"),
            generation: 7,
            purpose: Purpose::Sts,
            origin: Origin::Issuer("https://login.example.com/".to_owned()),
            jobs: ["job1", "job10"].into_iter().filter_map(JobId::parse).collect(),
            expires: at(2_000),
        }
    }

    fn refusal(sessions: &Sessions, token: &str, id: &str, now: u64) -> (Code, u16) {
        let error = sessions.open(token, id, at(now)).expect_err("a refusal");
        (error.code, error.status().as_u16())
    }

    #[test]
    fn another_gateway_opens_what_one_has_minted() {
        let session = Sessions::new(b"master").mint(&claims()).expect("a session");
        let other = Sessions::new(b"master");
        let (opened, secret) = other
            .open(session.token.expose(), session.access_key_id.as_str(), at(1_999))
            .expect("the same master key");
        assert_eq!((opened, secret), (claims(), session.secret));
        assert!(session.access_key_id.as_str().starts_with(PREFIX));
        let next = other.mint(&claims()).expect("a session");
        assert_ne!(next.access_key_id, session.access_key_id);
    }

    #[test]
    fn a_session_ends() {
        let sessions = Sessions::new(b"master");
        let session = sessions.mint(&claims()).expect("a session");
        let id = session.access_key_id.as_str();
        assert_eq!(refusal(&sessions, session.token.expose(), id, 2_000), (Code::ExpiredToken, 400));
    }

    #[test]
    fn a_token_is_worth_nothing_with_another_key_or_changed() {
        let sessions = Sessions::new(b"master");
        let [session, other] = [0; 2].map(|_| sessions.mint(&claims()).expect("a session"));
        let (token, id) = (session.token.expose(), session.access_key_id.as_str());
        let invalid = (Code::InvalidToken, 403);
        assert_eq!(refusal(&sessions, token, other.access_key_id.as_str(), 0), invalid);
        assert_eq!(refusal(&sessions, token, "AKIDOFALICE", 0), invalid);
        assert_eq!(refusal(&Sessions::new(b"another"), token, id, 0), invalid);
        let flipped: Vec<String> = (0..token.len())
            .map(|at| {
                let mut bytes = token.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                String::from_utf8(bytes).expect("ASCII")
            })
            .collect();
        for bad in flipped.iter().map(String::as_str).chain(["", "AAAA", &token[1..], "not base64!", "é"]) {
            assert_eq!(refusal(&sessions, bad, id, 0), invalid, "{bad}");
        }
        assert_eq!(refusal(&sessions, &"A".repeat(MAX_TOKEN + 1), id, 0), invalid);
    }

    #[test]
    fn a_token_tells_its_holder_nothing() {
        let session = Sessions::new(b"master").mint(&claims()).expect("a session");
        let bytes = URL_SAFE_NO_PAD.decode(session.token.expose()).expect("base64");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("alice") && !text.contains("job1") && !text.contains("login"));
        assert!(!format!("{session:?}").contains(session.token.expose()));
    }
}
