//! The access keys of users whom the store knows. In: who a key is for, or the id that a request presents. Out: a key
//! with its secret, which is told once, when it is made; credentials, for the verifier; lists that hold no secret. At
//! rest a secret is sealed (`vault`). What the store said of a key is believed for a few seconds (`known`), so a
//! change made at another gateway is seen here by then; one made here is seen at once.

mod known;
mod vault;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::sync::Cache;

use super::credentials::Credential;
use super::session::Origin;
use crate::account::Millis;
use crate::error::{Code, Error};
use crate::store::{self, Added, Key, KeyRecord, OwnedKey, Store};
use crate::types::{AccessKeyId, Secret, UserId};
use known::Known;
use vault::{Owner, Vault};

/// What the ids of these keys begin with. Others are not asked for.
const PREFIX: &str = "BWK";
/// With the prefix as long as AWS's, 20 characters; 85 bits of chance.
const RANDOM_LETTERS: usize = 17;
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 40 characters, as AWS's; none of them needs quoting in a shell.
const SECRET_BYTES: usize = 30;
/// How exactly it is known when a key was used last.
const USE_NOTED_EVERY: Duration = Duration::from_mins(15);
/// Keys whose use was noted lately, at most; of others it is noted again.
const MAX_NOTED: u64 = 50_000;

pub struct Keyring {
    store: Arc<Store>,
    vault: Vault,
    known: Known,
    noted: Cache<AccessKeyId, ()>,
}

/// A key as its holder needs it, once.
pub struct NewKey {
    pub access_key_id: AccessKeyId,
    pub secret: Secret,
    pub created_at: Millis,
}

/// A user who asks for a key of their own, by what they have shown.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Their generation, as it was believed to be.
    pub generation: Millis,
    pub origin: &'a Origin,
}

/// Why a user gets no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoKey {
    NoSuchUser,
    /// What the asker has shown is worth nothing any more.
    NotTheirs,
    TooMany,
}

impl Keyring {
    /// Every gateway that shares the store must be given the same secret.
    pub fn new(store: Arc<Store>, shared_secret: &[u8]) -> Self {
        let noted = Cache::builder().max_capacity(MAX_NOTED).time_to_live(USE_NOTED_EVERY).build();
        Self { store, vault: Vault::new(shared_secret), known: Known::new(), noted }
    }

    /// A new key of a user whom the store knows. What an asker has shown is looked at once more, past everything that
    /// is only remembered: a key lasts, and must not come of one that was revoked a moment ago.
    pub async fn create(
        &self,
        user: &UserId,
        asker: Option<Asker<'_>>,
        now: Millis,
    ) -> Result<Result<NewKey, NoKey>, Error> {
        let Some(owner) = self.store.user(user).await? else { return Ok(Err(NoKey::NoSuchUser)) };
        if let Some(asker) = asker {
            let stands = match asker.origin {
                Origin::Issuer(_) => true,
                Origin::AccessKey(id) => self.is_live(user, id).await?,
            };
            if !(stands && owner.enabled && owner.generation == asker.generation) {
                return Ok(Err(NoKey::NotTheirs));
            }
        }
        let (access_key_id, secret) = (random_id()?, random_secret()?);
        let generation = owner.generation;
        let sealed = self.vault.seal(&secret, Owner { id: &access_key_id, user, generation });
        let record = KeyRecord { user: user.clone(), generation, sealed, enabled: true, created_at: now };
        Ok(match self.store.add_key(&access_key_id, &record).await? {
            Added::Done => Ok(NewKey { access_key_id, secret, created_at: now }),
            Added::NoSuchUser => Err(NoKey::NoSuchUser),
            Added::TooMany => Err(NoKey::TooMany),
        })
    }

    /// Whether it is a key of this user's that works, by the store's own word.
    async fn is_live(&self, user: &UserId, id: &str) -> store::Result<bool> {
        let Some(id) = ours(id) else { return Ok(false) };
        let key = self.store.key(&id).await?;
        Ok(key.is_some_and(|key| key.record.user == *user && key.record.enabled))
    }

    pub async fn list(&self, user: &UserId) -> store::Result<Vec<Key>> {
        self.store.keys_of(user).await
    }

    /// The key as it is then; nothing if it is none of this user's.
    pub async fn enable(&self, user: &UserId, id: &AccessKeyId, enabled: bool) -> store::Result<Option<Key>> {
        let changed = self.store.set_key(user, id, enabled).await;
        // Also if it is not known what became of it.
        self.known.forget(id);
        changed
    }

    /// Whether it was one of this user's.
    pub async fn revoke(&self, user: &UserId, id: &AccessKeyId) -> store::Result<bool> {
        let removed = self.store.remove_key(user, id).await;
        self.known.forget(id);
        removed
    }

    /// Something about this user was changed: whoever presents a key of theirs is looked up anew.
    pub fn forget_user(&self, user: &UserId) {
        self.known.forget_user(user);
    }

    /// The oldest key that works, with its secret: what `bucketwarden dev` prints of its users.
    pub async fn oldest(&self, user: &UserId) -> store::Result<Option<(AccessKeyId, Secret)>> {
        let mut keys = self.list(user).await?;
        keys.sort_by_key(|key| key.record.created_at);
        for key in keys {
            if let Some(credential) = self.find(key.id.as_str()).await? {
                return Ok(Some((key.id, credential.secret.clone())));
            }
        }
        Ok(None)
    }

    /// What an access key id stands for, if it is a key that is enabled, of a user who is.
    pub(super) async fn find(&self, id: &str) -> store::Result<Option<Arc<Credential>>> {
        if let Some(known) = self.known.get(id) {
            return Ok(known);
        }
        let Some(id) = ours(id) else { return Ok(None) };
        self.known
            .ask(&id, async || {
                let key = self.store.key(&id).await?;
                Ok(key.and_then(|key| self.credential(&id, &key)).map(Arc::new))
            })
            .await
    }

    fn credential(&self, id: &AccessKeyId, key: &OwnedKey) -> Option<Credential> {
        let OwnedKey { record, owner } = key;
        if !(record.enabled && owner.enabled) {
            return None;
        }
        let owned_by = Owner { id, user: &record.user, generation: record.generation };
        match self.vault.open(&record.sealed, owned_by) {
            Ok(secret) => Some(Credential {
                access_key_id: id.clone(),
                secret,
                generation: record.generation,
                user: record.user.clone(),
                role: owner.role.unwrap_or_default(),
            }),
            Err(shut) => {
                tracing::warn!(access_key_id = id.as_str(), user = %record.user, %shut, "an access key cannot be used");
                None
            }
        }
    }

    /// Says in the list of keys that this one was used, now and then, and not before the request goes on.
    pub(super) fn note_use(&self, id: &AccessKeyId, now: Millis) {
        if !id.as_str().starts_with(PREFIX) || self.noted.contains_key(id) {
            return;
        }
        self.noted.insert(id.clone(), ());
        let (store, id) = (self.store.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(unavailable) = store.note_key_use(&id, now).await {
                tracing::debug!(%unavailable, "the use of a key is not noted");
            }
        });
    }
}

/// An id that [`random_id`] may have made.
fn ours(text: &str) -> Option<AccessKeyId> {
    let letters = text.strip_prefix(PREFIX)?;
    let is_ours = letters.len() == RANDOM_LETTERS && letters.bytes().all(|letter| LETTERS.contains(&letter));
    is_ours.then(|| AccessKeyId::parse(text)).flatten()
}

fn random_id() -> Result<AccessKeyId, Error> {
    let letters = random::<RANDOM_LETTERS>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let id: String = PREFIX.chars().chain(letters).collect();
    Ok(AccessKeyId::parse(&id).expect("letters and digits make an access key id"))
}

pub(super) fn random_secret() -> Result<Secret, Error> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?)))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)
        .map_err(|_| Error::new(Code::InternalError).because("the system gives no random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
