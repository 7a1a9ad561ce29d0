//! The tokens of `bucketwarden dev`: a local issuer, whose secret is in the folder's `gateway.toml`, vouches for alice and
//! bob. It makes no users: whoever was removed stays removed. A folder without the issuer has no tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::config::{Config, JwtKeys};

const ISSUER: &str = "bucketwarden-dev";
const AUDIENCE: &str = "bucketwarden";
/// Counted from every start, as they are made anew then.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// The issuer, as `gateway.toml` names it.
pub(super) fn section(secret: &str) -> String {
    format!(
        "# Vouches for ALICE_TOKEN and BOB_TOKEN of dev.env.\n[[auth.jwt]]\nissuer = \"{ISSUER}\"\n\
         audience = \"{AUDIENCE}\"\nhs256_secret = \"{secret}\"\nauto_provision = false\n"
    )
}

/// A token of this user's, if the configuration still has the issuer.
pub(super) fn token(config: &Config, user: &str, now: SystemTime) -> anyhow::Result<Option<String>> {
    let ours = config.auth.jwt.iter().find(|issuer| issuer.issuer == ISSUER && issuer.audience == AUDIENCE);
    let Some(JwtKeys::Hs256(secret)) = ours.map(|issuer| &issuer.keys) else { return Ok(None) };
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "iat": issued.as_secs(),
        "exp": (issued + LIFETIME).as_secs(),
    });
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).map(Some).context("a token cannot be signed")
}
