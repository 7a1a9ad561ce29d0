//! The keys of one issuer at one time. In: a JWK set, a public key in PEM, or a secret. Out: a `KeySet`, each key held
//! to the algorithms of its own kind: a public key never checks an HMAC, and a set never brings a secret. What a
//! set holds beyond signature keys is passed over, for issuers publish such.
//!
//! Follows <https://www.rfc-editor.org/rfc/rfc7517> and <https://www.rfc-editor.org/rfc/rfc7518>.

use anyhow::Context as _;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};

use super::token::Token;
use crate::types::Secret;

/// An issuer has a few, and one more while it rotates.
const MAX_KEYS: usize = 50;

type ReadPem = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    /// Where the set says so.
    only: Option<KeyAlgorithm>,
    verifying: DecodingKey,
}

impl KeySet {
    /// A set without keys is one: the issuer has taken them all back.
    pub(super) fn from_jwks(json: &[u8]) -> anyhow::Result<Self> {
        let set: JwkSet = serde_json::from_slice(json).context("no JWK set")?;
        anyhow::ensure!(set.keys.len() <= MAX_KEYS, "more than {MAX_KEYS} keys");
        Ok(Self(set.keys.iter().filter_map(Key::from_jwk).collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `PUBLIC KEY`, or RSA's own `RSA PUBLIC KEY`.
    pub(super) fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let public = std::str::from_utf8(pem).is_ok_and(|text| text.contains("PUBLIC KEY-----"));
        anyhow::ensure!(public, "no public key in PEM");
        let kinds: [(_, ReadPem); 3] = [
            (RSA, DecodingKey::from_rsa_pem),
            (&[Algorithm::ES256, Algorithm::ES384][..], DecodingKey::from_ec_pem),
            (&[Algorithm::EdDSA][..], DecodingKey::from_ed_pem),
        ];
        let mut keys = kinds.iter().filter_map(|(algorithms, read)| Some((*algorithms, read(pem).ok()?)));
        let (algorithms, verifying) = keys.next().context("no RSA, EC or Ed25519 key in PEM")?;
        Ok(Self(vec![Key { id: None, algorithms, only: None, verifying }]))
    }

    pub(super) fn from_secret(secret: &Secret) -> Self {
        let verifying = DecodingKey::from_secret(secret.expose().as_bytes());
        Self(vec![Key { id: None, algorithms: &[Algorithm::HS256], only: None, verifying }])
    }

    /// Whether a key of that id is here. Who names none, or has keys without names, is content with what there is.
    pub(super) fn knows(&self, key_id: Option<&str>) -> bool {
        self.0.iter().any(|key| key.is_called(key_id))
    }

    /// Whether one of these keys signed the token.
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        let able =
            self.0.iter().filter(|key| key.is_called(token.key_id.as_deref()) && key.does(token.algorithm));
        able.into_iter().any(|key| {
            crypto::verify(token.signature, token.message.as_bytes(), &key.verifying, token.algorithm)
                .unwrap_or(false)
        })
    }
}

impl Key {
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify));
        let algorithms: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                &[Algorithm::ES256]
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
                &[Algorithm::ES384]
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            // Other curves, secrets, and what a later version of the crate may know of.
            _ => return None,
        };
        let verifying = signs.then(|| DecodingKey::from_jwk(jwk).ok())??;
        Some(Self { id: common.key_id.clone(), algorithms, only: common.key_algorithm, verifying })
    }

    fn is_called(&self, key_id: Option<&str>) -> bool {
        match (key_id, self.id.as_deref()) {
            (Some(wanted), Some(id)) => wanted == id,
            (None, _) | (_, None) => true,
        }
    }

    fn does(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm) && self.only.is_none_or(|only| only == algorithm.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn set(keys: &str) -> anyhow::Result<usize> {
        KeySet::from_jwks(format!("{{\"keys\":[{keys}]}}").as_bytes()).map(|set| set.0.len())
    }

    #[test]
    fn only_public_keys_for_signatures_count() {
        let good = format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{X}\"}}");
        assert_eq!(set(&good).expect("one"), 1);
        for passed_over in [
            format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{X}\",\"use\":\"enc\"}}"),
            format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{X}\",\"key_ops\":[\"sign\"]}}"),
            format!("{{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"{X}\",\"y\":\"{X}\"}}"),
            "{\"kty\":\"oct\",\"k\":\"AAAA\"}".to_owned(),
            "{\"kty\":\"something-new\"}".to_owned(),
        ] {
            assert_eq!(set(&format!("{good},{passed_over}")).expect("one is left"), 1, "{passed_over}");
            assert_eq!(set(&passed_over).expect("a set"), 0, "{passed_over}");
        }
        assert_eq!(set("").expect("a set"), 0);
        for bad in ["", "<html>", "{}", "[]", "{\"keys\":null}"] {
            assert!(KeySet::from_jwks(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(set(&vec![good.as_str(); MAX_KEYS].join(",")).expect("so many"), MAX_KEYS);
        assert!(set(&vec![good.as_str(); MAX_KEYS + 1].join(",")).is_err());
    }

    #[test]
    fn a_file_holds_a_public_key() {
        let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                       -----END PUBLIC KEY-----\n";
        assert_eq!(KeySet::from_pem(ed25519.as_bytes()).expect("a key").0[0].algorithms, [Algorithm::EdDSA]);
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                       -----END PRIVATE KEY-----\n";
        for bad in [private, "", "no PEM", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(KeySet::from_pem(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
