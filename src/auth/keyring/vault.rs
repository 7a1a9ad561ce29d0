//! Secrets as they may be written down: sealed with AES-256-GCM under a key that is derived from the master key, and
//! bound to access key id, user and generation. A row that was copied to another key or another user, or outlived
//! its own, opens for nobody.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::account::Millis;
use crate::types::{AccessKeyId, Secret, UserId};

/// Tells a secret that another master key sealed from one that was forged.
const KEY_ID_BYTES: usize = 4;

pub(super) struct Vault {
    key_id: [u8; KEY_ID_BYTES],
    seal: RandomizedNonceKey,
}

/// Whose secret it is.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) id: &'a AccessKeyId,
    pub(super) user: &'a UserId,
    pub(super) generation: Millis,
}

/// Why a secret is not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Shut {
    #[error("it was sealed under another auth.master_key")]
    AnotherMasterKey,
    #[error("it is torn, or not this key's")]
    NotThis,
}

impl Vault {
    pub(super) fn new(master: &[u8]) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"bucketwarden access keys v1").extract(master);
        let derive = |purpose: &'static [u8]| {
            let mut key = [0; 32];
            root.expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|material| material.fill(&mut key))
                .expect("HKDF gives 32 bytes");
            key
        };
        Self {
            key_id: *derive(b"key id").first_chunk().expect("32 bytes hold 4"),
            seal: RandomizedNonceKey::new(&AES_256_GCM, &derive(b"seal")).expect("AES-256 takes 32 bytes"),
        }
    }

    pub(super) fn seal(&self, secret: &Secret, owner: Owner<'_>) -> String {
        let mut sealed = secret.expose().as_bytes().to_vec();
        let nonce = self.seal.seal_in_place_append_tag(self.bound_to(owner), &mut sealed);
        let nonce = nonce.expect("a secret is far shorter than what AES-GCM seals");
        STANDARD.encode([&self.key_id[..], nonce.as_ref(), &sealed].concat())
    }

    pub(super) fn open(&self, sealed: &str, owner: Owner<'_>) -> Result<Secret, Shut> {
        let mut bytes = STANDARD.decode(sealed).map_err(|_| Shut::NotThis)?;
        let (key_id, rest) = bytes.split_at_mut_checked(KEY_ID_BYTES).ok_or(Shut::NotThis)?;
        if *key_id != self.key_id {
            return Err(Shut::AnotherMasterKey);
        }
        let (nonce, sealed) = rest.split_at_mut_checked(NONCE_LEN).ok_or(Shut::NotThis)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Shut::NotThis)?;
        let opened = self.seal.open_in_place(nonce, self.bound_to(owner), sealed);
        let text = String::from_utf8(opened.map_err(|_| Shut::NotThis)?.to_vec());
        Ok(Secret::new(text.map_err(|_| Shut::NotThis)?))
    }

    /// Neither id can hold a space.
    fn bound_to(&self, owner: Owner<'_>) -> Aad<Vec<u8>> {
        let Owner { id, user, generation } = owner;
        let text = format!("{} {user} {generation}", id.as_str());
        Aad::from([&self.key_id[..], text.as_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AccessKeyId {
        AccessKeyId::parse(text).expect("an id")
    }

    fn user(text: &str) -> UserId {
        UserId::parse(text).expect("an id")
    }

    #[test]
    fn a_secret_opens_for_its_owner_under_its_master_key() {
        let (vault, key, alice) = (Vault::new(b"master"), id("BWKONE"), user("alice"));
        let owner = Owner { id: &key, user: &alice, generation: 7 };
        let secret = Secret::new("hunter2".to_owned());
        let sealed = vault.seal(&secret, owner);
        assert!(!sealed.contains("hunter2"));
        assert_ne!(vault.seal(&secret, owner), sealed, "a nonce is used once");
        assert_eq!(Vault::new(b"master").open(&sealed, owner), Ok(secret));
        assert_eq!(Vault::new(b"another").open(&sealed, owner), Err(Shut::AnotherMasterKey));
    }

    #[test]
    fn a_secret_opens_for_nobody_else() {
        let (vault, key, alice) = (Vault::new(b"master"), id("BWKONE"), user("alice"));
        let owner = Owner { id: &key, user: &alice, generation: 7 };
        let sealed = vault.seal(&Secret::new("hunter2".to_owned()), owner);
        let (other_key, bob) = (id("BWKTWO"), user("bob"));
        for other in [
            Owner { id: &other_key, ..owner },
            Owner { user: &bob, ..owner },
            Owner { generation: 8, ..owner },
            Owner { generation: 0, ..owner },
        ] {
            assert_eq!(vault.open(&sealed, other), Err(Shut::NotThis));
        }
        for bad in ["", "AAAA", &sealed[..sealed.len() - 4], &sealed.to_lowercase(), "not base64"] {
            assert!(vault.open(bad, owner).is_err(), "{bad}");
        }
    }
}
