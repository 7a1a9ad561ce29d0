//! `[[users]]`: the users whom the file manages. In: the entries and the tiers. Out: users whose ids differ
//! and whose access key ids differ across all of them.

use std::collections::{BTreeMap, HashSet};

use super::model::{AccessKey, Tier, User};
use super::rules;
use super::section::Section;
use crate::types::{AccessKeyId, Role, UserId};

pub(super) fn read(root: &Section, tiers: &BTreeMap<String, Tier>) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    let mut key_ids = HashSet::new();
    for s in root.sections("users").unwrap_or_default() {
        let expected = "a user id: 1 to 64 of A-Z, a-z, 0-9, . _ and -, the first a letter or digit";
        let id = s.required("id", expected, |value| UserId::parse(value.text()?));
        let names = tiers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let tier = s.or("tier", &format!("one of {names}"), Tier::DEFAULT.to_owned(), |value| {
            value.text().filter(|tier| tiers.contains_key(*tier)).map(str::to_owned)
        });
        let role = s.or("role", "\"user\" or \"service\"", Role::User, |value| match value.text()? {
            "user" => Some(Role::User),
            "service" => Some(Role::Service),
            _ => None,
        });
        let access_keys = access_keys(&s, &mut key_ids);
        let Some(id) = id else { continue };
        if users.iter().any(|other| other.id == id) {
            s.problem("id", "expected each user id once");
        }
        users.push(User { id, tier, role, access_keys });
    }
    users
}

fn access_keys(s: &Section, seen: &mut HashSet<AccessKeyId>) -> Vec<AccessKey> {
    let mut keys = Vec::new();
    for s in s.sections("access_keys").unwrap_or_default() {
        let expected = "an access key id: 3 to 128 printable characters without space, /, comma or =";
        let id = s.required("id", expected, |value| AccessKeyId::parse(value.text()?));
        if !s.says_secret("secret") {
            s.missing("secret", "the access key's secret, or secret_file");
        }
        let secret = s.secret("secret", rules::user_secret);
        let Some(id) = id else { continue };
        if !seen.insert(id.clone()) {
            s.problem("id", "expected each access key id once among all users");
        }
        if let Some(secret) = secret {
            keys.push(AccessKey { id, secret });
        }
    }
    keys
}
