//! Access keys and whose they are: first those of the configuration file, then those of the store.

use std::collections::HashMap;
use std::sync::Arc;

use super::keyring::Keyring;
use crate::config;
use crate::store;
use crate::types::{AccessKeyId, Role, Secret, UserId};

/// One live access key.
pub(super) struct Credential {
    pub access_key_id: AccessKeyId,
    pub secret: Secret,
    /// Differs between any two secrets that ever stood under one key id in this process.
    pub generation: u64,
    pub user: UserId,
    pub role: Role,
}

pub(super) struct Directory {
    /// The keys of the users whom the configuration manages.
    managed: HashMap<String, Arc<Credential>>,
    keyring: Arc<Keyring>,
    /// In the place of a key that there is not: to find that out takes what it takes to find a signature wrong.
    nobody: Credential,
}

impl Directory {
    pub(super) fn new(users: &[config::User], keyring: Arc<Keyring>) -> Self {
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
            secret: Secret::new("nobody knows it, for nobody has it".to_owned()),
            generation: 0,
            user: UserId::parse("nobody").expect("six letters"),
            role: Role::User,
        };
        Self { managed, keyring, nobody }
    }

    pub(super) async fn find(&self, access_key_id: &str) -> store::Result<Option<Arc<Credential>>> {
        match self.managed.get(access_key_id) {
            Some(credential) => Ok(Some(credential.clone())),
            None => self.keyring.find(access_key_id).await,
        }
    }

    pub(super) fn nobody(&self) -> &Credential {
        &self.nobody
    }

    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}
