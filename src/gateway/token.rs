//! Opaque tokens that clients carry back: continuation tokens, which are sealed, since an upstream's may spell
//! real keys; and upload ids, which get a seal of authenticity, so that an id is worth nothing to another
//! user, in another bucket or under another key. Nothing is stored: any replica with the same master key reads
//! them. Both are bound to a context, and a token that fails is just unknown.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::types::{BucketName, UserId};

/// Half of SHA-256 is plenty against guessing online, and keeps ids short.
const MAC_BYTES: usize = 16;

pub(super) struct Tokens {
    seal: RandomizedNonceKey,
    mac: hmac::Key,
}

/// To whom and what a token belongs.
pub(super) struct Context(Vec<u8>);

impl Context {
    pub(super) fn new(user: &UserId, bucket: &BucketName, parts: &[&str]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        for part in [user.as_str(), bucket.as_str()].iter().chain(parts) {
            // Lengths first: no two different lists of parts give the same bytes.
            bytes.extend_from_slice(&u64::try_from(part.len()).expect("a length fits").to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self(bytes)
    }
}

impl Tokens {
    /// Both keys are derived from one secret that all replicas share.
    pub(super) fn new(secret: &[u8]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"bucketwarden tokens v1").extract(secret);
        let derive = |purpose: &'static [u8]| {
            let mut key = [0; 32];
            root.expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|material| material.fill(&mut key))
                .expect("HKDF gives 32 bytes");
            key
        };
        Self {
            seal: RandomizedNonceKey::new(&AES_256_GCM, &derive(b"seal")).expect("AES-256 takes 32 bytes"),
            mac: hmac::Key::new(hmac::HMAC_SHA256, &derive(b"mac")),
        }
    }

    /// Hides a text from the client and binds it to its context.
    pub(super) fn seal(&self, text: &str, context: &Context) -> String {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self
            .seal
            .seal_in_place_append_tag(Aad::from(&context.0), &mut sealed)
            .expect("a token is far below AES-GCM's limits");
        let mut token = nonce.as_ref().to_vec();
        token.append(&mut sealed);
        URL_SAFE_NO_PAD.encode(token)
    }

    pub(super) fn open(&self, token: &str, context: &Context) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.seal.open_in_place(nonce, Aad::from(&context.0), sealed).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }

    /// The client's form of an upstream's upload id: the id itself, a dot, and what binds it. It is the same
    /// every time, as clients compare ids.
    pub(super) fn mark(&self, id: &str, context: &Context) -> String {
        let mac = self.mac_of(id, context);
        [id, ".", &URL_SAFE_NO_PAD.encode(&mac.as_ref()[..MAC_BYTES])].concat()
    }

    pub(super) fn unmark<'t>(&self, token: &'t str, context: &Context) -> Option<&'t str> {
        let (id, mac) = token.rsplit_once('.')?;
        let presented = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let expected = self.mac_of(id, context);
        let equal =
            aws_lc_rs::constant_time::verify_slices_are_equal(&presented, &expected.as_ref()[..MAC_BYTES]);
        equal.is_ok().then_some(id)
    }

    fn mac_of(&self, id: &str, context: &Context) -> hmac::Tag {
        let mut mac = hmac::Context::with_key(&self.mac);
        mac.update(&context.0);
        mac.update(id.as_bytes());
        mac.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(user: &str, parts: &[&str]) -> Context {
        let bucket = BucketName::parse("datasets").expect("name");
        Context::new(&UserId::parse(user).expect("id"), &bucket, parts)
    }

    #[test]
    fn contexts_do_not_run_into_each_other() {
        assert_ne!(context("u", &["ab", "c"]).0, context("u", &["a", "bc"]).0);
    }

    #[test]
    fn sealed_tokens_open_for_their_context_only() {
        let tokens = Tokens::new(b"secret");
        let token = tokens.seal("datasets/alice/k", &context("alice", &["p"]));
        assert_eq!(tokens.open(&token, &context("alice", &["p"])).as_deref(), Some("datasets/alice/k"));
        assert_eq!(tokens.open(&token, &context("bob", &["p"])), None);
        assert_eq!(tokens.open(&token, &context("alice", &["q"])), None);
        assert_eq!(Tokens::new(b"other").open(&token, &context("alice", &["p"])), None);
        for bad in ["", "x", "AAAA", &token[1..], &format!("{token}A")] {
            assert_eq!(tokens.open(bad, &context("alice", &["p"])), None, "{bad}");
        }
        assert!(!String::from_utf8_lossy(&URL_SAFE_NO_PAD.decode(&token).expect("base64")).contains("alice"));
    }

    #[test]
    fn upload_ids_are_stable_and_worth_nothing_elsewhere() {
        let tokens = Tokens::new(b"secret");
        let id = tokens.mark("up.load", &context("alice", &["k"]));
        assert_eq!(id, tokens.mark("up.load", &context("alice", &["k"])));
        assert_eq!(tokens.unmark(&id, &context("alice", &["k"])), Some("up.load"));
        assert_eq!(tokens.unmark(&id, &context("bob", &["k"])), None);
        assert_eq!(tokens.unmark(&id, &context("alice", &["l"])), None);
        for bad in ["", ".", "up.load", "up.load.", "up.loae.AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(tokens.unmark(bad, &context("alice", &["k"])), None, "{bad}");
        }
    }
}
