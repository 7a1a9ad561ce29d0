//! Access keys and whose they are: first those of the configuration file, then those of the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::keyring::{Keyring, random_secret};
use crate::config;
use crate::error::Result;
use crate::store;
use crate::types::{AccessKeyId, Role, Secret, UserId};

/// One live access key.
pub(super) struct Credential {
    pub access_key_id: AccessKeyId,
    pub secret: Secret,
    /// Differs between any two secrets that ever stood under one key id in one directory: 0 for the file's.
    pub generation: u64,
    pub user: UserId,
    pub role: Role,
}

pub(super) struct Directory {
    /// The keys of the users whom the configuration manages.
    managed: HashMap<String, Arc<Credential>>,
    /// Those users: keys that the store has of them, from before, are none.
    managed_users: HashSet<UserId>,
    keyring: Arc<Keyring>,
    /// In the place of a key that there is not: to find that out takes what it takes to find a signature wrong.
    nobody: Credential,
}

impl Directory {
    pub(super) fn new(users: &[config::User], keyring: Arc<Keyring>) -> Result<Self> {
        let mut managed = HashMap::new();
        for user in users {
            for key in &user.access_keys {
                let credential = Credential {
                    access_key_id: key.id.clone(),
                    secret: key.secret.clone(),
                    generation: 0,
                    user: user.id.clone(),
                    role: user.role,
                };
                managed.insert(key.id.as_str().to_owned(), Arc::new(credential));
            }
        }
        let nobody = Credential {
            access_key_id: AccessKeyId::parse("nobody").expect("six letters"),
            secret: random_secret()?,
            // Of no other key, even one of this id.
            generation: u64::MAX,
            user: UserId::parse("nobody").expect("six letters"),
            role: Role::User,
        };
        let managed_users = users.iter().map(|user| user.id.clone()).collect();
        Ok(Self { managed, managed_users, keyring, nobody })
    }

    pub(super) async fn find(&self, access_key_id: &str) -> store::Result<Option<Arc<Credential>>> {
        if let Some(credential) = self.managed.get(access_key_id) {
            return Ok(Some(credential.clone()));
        }
        let found = self.keyring.find(access_key_id).await?;
        Ok(found.filter(|credential| !self.managed_users.contains(&credential.user)))
    }

    pub(super) fn nobody(&self) -> &Credential {
        &self.nobody
    }

    pub(super) fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }
}
