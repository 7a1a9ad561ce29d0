//! Access keys and whose they are.

use std::collections::HashMap;

use crate::config;
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

/// The access keys of the users whom the configuration manages.
pub(super) struct Directory {
    by_access_key: HashMap<String, Credential>,
}

impl Directory {
    pub(super) fn new(users: &[config::User]) -> Self {
        let mut by_access_key = HashMap::new();
        for user in users {
            for key in &user.access_keys {
                let credential = Credential {
                    access_key_id: key.id.clone(),
                    secret: key.secret.clone(),
                    generation: 0,
                    user: user.id.clone(),
                    role: user.role,
                };
                by_access_key.insert(key.id.as_str().to_owned(), credential);
            }
        }
        Self { by_access_key }
    }

    pub(super) fn find(&self, access_key_id: &str) -> Option<&Credential> {
        self.by_access_key.get(access_key_id)
    }
}
