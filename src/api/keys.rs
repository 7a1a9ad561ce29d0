//! Access keys as documents, the same for their user (`/api/v1/keys`) and for the operator. In: the keyring, whose keys.
//! Out: the contract's shapes; a secret once, in the answer to the call that made it. Nobody chooses an id or a secret,
//! or makes a key for somebody else. The keys of a user of the configuration file are the file's to change.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::page::Wanted;
use crate::account::Millis;
use crate::admit::tiers::Rules;
use crate::auth::{Asker, Keyring, NewKey, NoKey};
use crate::error::{Code, Error, Result};
use crate::store::{Key, MAX_KEYS};
use crate::types::{AccessKeyId, Secret, UserId};

/// A key as lists show it. Nothing is written down of the keys of the configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Shown {
    pub access_key_id: String,
    enabled: bool,
    created_at: Option<String>,
    last_used_at: Option<String>,
}

/// A key as its maker sees it, once.
#[derive(Serialize)]
pub struct Made {
    pub access_key_id: String,
    #[serde(serialize_with = "exposed")]
    secret_access_key: Secret,
    created_at: Option<String>,
}

impl Shown {
    pub fn new(key: &Key) -> Self {
        Self {
            access_key_id: key.id.as_str().to_owned(),
            enabled: key.record.enabled,
            created_at: timestamp(key.record.created_at),
            last_used_at: key.last_used_at.and_then(timestamp),
        }
    }

    fn managed(id: &AccessKeyId) -> Self {
        Self { access_key_id: id.as_str().to_owned(), enabled: true, created_at: None, last_used_at: None }
    }
}

fn exposed<S: serde::Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(secret.expose())
}

pub fn timestamp(millis: Millis) -> Option<String> {
    let seconds = i64::try_from(millis / 1000).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

/// A page of a user's keys, and the last of them if there are more.
pub async fn list(
    keyring: &Keyring,
    rules: &Rules,
    user: &UserId,
    wanted: &Wanted<AccessKeyId>,
) -> Result<(Vec<Shown>, Option<String>)> {
    let mut keys: Vec<Shown> = match rules.managed(user) {
        Some(managed) => managed.access_keys.iter().map(Shown::managed).collect(),
        None => keyring.list(user).await?.iter().map(Shown::new).collect(),
    };
    keys.sort_by(|one, other| one.access_key_id.cmp(&other.access_key_id));
    if let Some(after) = &wanted.after {
        keys.retain(|key| key.access_key_id.as_str() > after.as_str());
    }
    let more = keys.len() > wanted.limit;
    keys.truncate(wanted.limit);
    let next = keys.last().filter(|_| more).map(|key| key.access_key_id.clone());
    Ok((keys, next))
}

pub async fn create(
    keyring: &Keyring,
    rules: &Rules,
    user: &UserId,
    asker: Option<Asker<'_>>,
    document: &[u8],
    now: Millis,
) -> Result<Made> {
    nothing_chosen(document)?;
    refuse_managed(rules, user)?;
    match keyring.create(user, asker, now).await? {
        Ok(NewKey { access_key_id, secret, created_at }) => Ok(Made {
            access_key_id: access_key_id.as_str().to_owned(),
            secret_access_key: secret,
            created_at: timestamp(created_at),
        }),
        Err(NoKey::NoSuchUser) => Err(Error::new(Code::NoSuchKey).say(format!("There is no user {user}."))),
        Err(NoKey::NotTheirs) => Err(Code::InvalidAccessKeyId.into()),
        Err(NoKey::TooMany) => {
            let text = format!("{user} has {MAX_KEYS} access keys, and may have no more. Revoke one first.");
            Err(Error::new(Code::OperationAborted).say(text))
        }
    }
}

pub async fn enable(
    keyring: &Keyring,
    rules: &Rules,
    user: &UserId,
    id: &AccessKeyId,
    enabled: bool,
) -> Result<Shown> {
    refuse_managed(rules, user)?;
    let key = keyring.enable(user, id, enabled).await?;
    key.as_ref().map(Shown::new).ok_or_else(|| no_such_key(user, id))
}

pub async fn revoke(keyring: &Keyring, rules: &Rules, user: &UserId, id: &AccessKeyId) -> Result<()> {
    refuse_managed(rules, user)?;
    if keyring.revoke(user, id).await? { Ok(()) } else { Err(no_such_key(user, id)) }
}

fn no_such_key(user: &UserId, id: &AccessKeyId) -> Error {
    Error::new(Code::NoSuchKey).say(format!("{user} has no access key {}.", id.as_str()))
}

fn refuse_managed(rules: &Rules, user: &UserId) -> Result<()> {
    if rules.managed(user).is_none() {
        return Ok(());
    }
    let text = format!("{user} is a user of the configuration file, which holds their access keys.");
    Err(Error::new(Code::OperationAborted).with_status(StatusCode::CONFLICT).say(text))
}

/// A new key is described by nothing.
fn nothing_chosen(document: &[u8]) -> Result<()> {
    let document = if document.trim_ascii().is_empty() { b"{}" } else { document };
    let document: Map<String, Value> = serde_json::from_slice(document)
        .map_err(|_| Error::new(Code::InvalidArgument).say("Expected no body, or an empty JSON object."))?;
    let Some(name) = document.keys().next() else { return Ok(()) };
    let text = format!("{name}: nothing of a new key can be chosen; its id and its secret are made here.");
    Err(Error::new(Code::AccessDenied).say(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l04_nothing_of_a_key_is_chosen_by_whoever_asks_for_it() {
        for fine in ["", " ", "{}", " {} \n"] {
            assert!(nothing_chosen(fine.as_bytes()).is_ok(), "{fine:?}");
        }
        for (document, expected) in [
            (r#"{"access_key_id":"AKIAMINE"}"#, Code::AccessDenied),
            (r#"{"secret_access_key":"mine"}"#, Code::AccessDenied),
            (r#"{"user_id":"bob"}"#, Code::AccessDenied),
            (r#"{"parent":"bob"}"#, Code::AccessDenied),
            ("[]", Code::InvalidArgument),
            ("{", Code::InvalidArgument),
        ] {
            let refused = nothing_chosen(document.as_bytes()).expect_err(document);
            assert_eq!(refused.code, expected, "{document}");
        }
    }

    #[test]
    fn a_secret_is_shown_to_its_maker_and_not_to_the_log() {
        let made = Made {
            access_key_id: "BWKONE".to_owned(),
            secret_access_key: Secret::new("hunter2".to_owned()),
            created_at: timestamp(1_764_064_800_123),
        };
        assert_eq!(
            serde_json::to_string(&made).expect("a document"),
            r#"{"access_key_id":"BWKONE","secret_access_key":"hunter2","created_at":"2025-11-25T10:00:00Z"}"#
        );
    }
}
