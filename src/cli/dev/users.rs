//! alice and bob of `bucketwarden dev`. They live in the state store, so that admin API and commands can change them,
//! and are made at the first start, with a key each. A user who was removed since stays removed; one whose keys are all
//! revoked gets a new one. A folder of an earlier release has them in its `gateway.toml`, and they stay there.

use crate::account::Millis;
use crate::app::Bound;
use crate::config::{Config, Tier};
use crate::store::{Known, UserChange};
use crate::types::{AccessKeyId, Secret, UserId};

/// Their tiers too.
const USERS: [(&str, &str); 2] = [("alice", Tier::DEFAULT), ("bob", Tier::PREMIUM)];

/// What a client signs with.
pub(super) type Key = (AccessKeyId, Secret);

pub(super) struct Users {
    /// Nothing if there is no key that works.
    pub(super) alice: Option<Key>,
    pub(super) bob: Option<Key>,
}

impl Users {
    pub(super) async fn ready(config: &Config, bound: &Bound, now: Millis) -> anyhow::Result<Self> {
        let [alice, bob] = USERS.map(|(user, tier)| (UserId::parse(user).expect("a plain word"), tier));
        Ok(Self {
            alice: key(config, bound, &alice.0, alice.1, now).await?,
            bob: key(config, bound, &bob.0, bob.1, now).await?,
        })
    }
}

async fn key(
    config: &Config,
    bound: &Bound,
    user: &UserId,
    tier: &str,
    now: Millis,
) -> anyhow::Result<Option<Key>> {
    if let Some(managed) = config.users.iter().find(|managed| managed.id == *user) {
        return Ok(managed.access_keys.first().map(|key| (key.id.clone(), key.secret.clone())));
    }
    let (store, keyring) = (bound.store(), bound.keyring());
    match store.known(user).await? {
        Known::User(_) => {}
        Known::Removed { .. } => return Ok(None),
        Known::Nobody => {
            let change = UserChange { tier: Some(tier.to_owned()), ..UserChange::default() };
            store.change_user(user, &change, now).await?;
        }
    }
    if !keyring.list(user).await?.is_empty() {
        return Ok(keyring.oldest(user).await?);
    }
    let made = keyring.create(user, None, now).await?;
    Ok(made.ok().map(|made| (made.access_key_id, made.secret)))
}
