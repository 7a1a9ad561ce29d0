//! What is written down of a user besides the account: tier, role, whether enabled, and own limits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::Millis;
use crate::types::Role;

/// A limit by the name that `[tiers]` gives it.
pub type LimitName = String;

/// A user's record. Fields that nobody has set fall back: to the configuration's user of the same id, then to
/// the default tier.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserRecord {
    pub tier: Option<String>,
    pub role: Option<Role>,
    pub enabled: bool,
    /// Only what differs from the tier; `None` is unlimited.
    pub limits: BTreeMap<LimitName, Option<u64>>,
    pub created_at: Millis,
    /// Tells this user from an earlier one of the same id: 0, or later than the removal of that one. What was sealed
    /// or issued for another generation is not theirs.
    #[serde(default)]
    pub generation: Millis,
}

/// What the store knows of a user's id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    Nobody,
    /// There was a user, who was removed and has not come back. The next one of the id gets this generation: what is
    /// older than that is not theirs.
    Removed {
        next: Millis,
    },
    User(UserRecord),
}

impl Known {
    pub fn user(self) -> Option<UserRecord> {
        match self {
            Self::User(record) => Some(record),
            Self::Nobody | Self::Removed { .. } => None,
        }
    }

    /// The generation of whoever is, or comes next.
    pub fn generation(&self) -> Millis {
        match self {
            Self::Nobody => 0,
            Self::Removed { next } => *next,
            Self::User(record) => record.generation,
        }
    }
}

impl UserRecord {
    /// What comes after this one, if it is removed now: later than anything that was made for it.
    pub(super) fn next_generation(&self, now: Millis) -> Millis {
        self.generation.max(now).saturating_add(1)
    }
}

/// What to change; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserChange {
    pub tier: Option<String>,
    pub role: Option<Role>,
    pub enabled: Option<bool>,
    /// By name: a new value (`Some(None)` is unlimited), or `None` to fall back to the tier.
    pub limits: BTreeMap<LimitName, Option<Option<u64>>>,
}

impl UserChange {
    /// The record after the change; a new one if there was none, of the generation whose turn it is.
    pub fn apply(&self, known: Known, now: Millis) -> UserRecord {
        let generation = known.generation();
        let mut record = known.user().unwrap_or(UserRecord {
            tier: None,
            role: None,
            enabled: true,
            limits: BTreeMap::new(),
            created_at: now,
            generation,
        });
        if self.tier.is_some() {
            record.tier.clone_from(&self.tier);
        }
        record.role = self.role.or(record.role);
        record.enabled = self.enabled.unwrap_or(record.enabled);
        for (name, value) in &self.limits {
            match value {
                Some(limit) => drop(record.limits.insert(name.clone(), *limit)),
                None => drop(record.limits.remove(name)),
            }
        }
        record
    }
}
