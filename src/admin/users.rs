//! `/api/v1/admin/users`: who there is, their tier, role and own limits. In: JSON documents that say what to
//! change. Out: users as the contract has them. The role and the enabling of a user of the configuration file
//! are the file's: changes to those answer 409.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{self, Answer, Problem, Result};
use super::people;
use super::{AT_ONCE, Admin, audit};
use crate::admit;
use crate::admit::tiers::{Managed, Rules};
use crate::api::keys::timestamp;
use crate::store::{UserChange, UserRecord};
use crate::types::{Role, UserId};

#[derive(Serialize)]
struct Shown {
    user_id: String,
    tier: String,
    role: Role,
    enabled: bool,
    /// Only what differs from the tier.
    limits: Map<String, Value>,
    /// Nothing is written down of a user whom only the file knows.
    created_at: Option<String>,
}

impl Shown {
    fn new(user: &UserId, rules: &Rules, record: Option<&UserRecord>) -> Self {
        let standing = rules.standing(user, record);
        Self {
            user_id: user.as_str().to_owned(),
            tier: standing.tier.to_string(),
            role: standing.role,
            enabled: standing.enabled,
            limits: record.map(|record| admit::to_json(&record.limits)).unwrap_or_default(),
            created_at: record.and_then(|record| timestamp(record.created_at)),
        }
    }
}

pub(super) async fn list(admin: &Admin, query: Option<&str>) -> Result {
    let wanted = people::wanted(query)?;
    let rules = admin.tiers.rules();
    let page = people::page(&admin.store, rules, &wanted).await?;
    let users: Vec<Option<Shown>> = stream::iter(page.users)
        .map(|user| async move {
            let record = admin.store.user(&user).await?;
            Ok::<_, Problem>(is_user(rules, &user, record.as_ref()))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let users: Vec<Shown> = users.into_iter().flatten().collect();
    Ok(answer::page("users", &users, page.next.as_ref().map(UserId::as_str)))
}

/// An account alone is no user: it outlives one who was removed.
fn is_user(rules: &Rules, user: &UserId, record: Option<&UserRecord>) -> Option<Shown> {
    (record.is_some() || rules.managed(user).is_some()).then(|| Shown::new(user, rules, record))
}

pub(super) async fn get(admin: &Admin, user: &UserId) -> Result {
    let record = admin.store.user(user).await?;
    let user =
        is_user(admin.tiers.rules(), user, record.as_ref()).ok_or_else(|| Problem::no_such_user(user))?;
    Ok(answer::json(StatusCode::OK, &user))
}

pub(super) async fn put(admin: &Admin, user: &UserId, document: &[u8]) -> Result {
    let rules = admin.tiers.rules();
    let change = parse(document, rules).map_err(Problem::bad)?;
    if let Some(text) = rules.managed(user).and_then(|managed| conflict(managed, &change)) {
        return Err(Problem::new(StatusCode::CONFLICT, text));
    }
    let changed = admin.store.change_user(user, &change, admin.now()).await;
    admin.forget(user);
    let (record, is_new) = changed?;
    let status = if is_new && rules.managed(user).is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok(audit::detail(answer::json(status, &Shown::new(user, rules, Some(&record))), format!("{change:?}")))
}

pub(super) async fn delete(admin: &Admin, user: &UserId) -> Result<Answer> {
    if admin.tiers.rules().managed(user).is_some() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("{user} is a user of the configuration file."),
        ));
    }
    let removed = admin.store.remove_user(user, admin.now()).await;
    admin.forget(user);
    if removed? { Ok(answer::no_content()) } else { Err(Problem::no_such_user(user)) }
}

/// What a document says is to change, or what was expected of it.
fn parse(document: &[u8], rules: &Rules) -> Result<UserChange, String> {
    let document = if document.is_empty() { b"{}" } else { document };
    let document: Map<String, Value> =
        serde_json::from_slice(document).map_err(|_| "Expected a JSON object.".to_owned())?;
    let mut change = UserChange::default();
    for (name, value) in document {
        match name.as_str() {
            "tier" => {
                let known = value.as_str().filter(|tier| rules.tier_names().any(|name| name == *tier));
                let names = || rules.tier_names().collect::<Vec<_>>().join(", ");
                let tier = known.ok_or_else(|| format!("tier: expected one of {}.", names()))?;
                change.tier = Some(tier.to_owned());
            }
            "role" => {
                change.role = Some(match value.as_str() {
                    Some("user") => Role::User,
                    Some("service") => Role::Service,
                    _ => return Err("role: expected \"user\" or \"service\".".to_owned()),
                });
            }
            "enabled" => {
                let enabled = value.as_bool();
                change.enabled = Some(enabled.ok_or("enabled: expected true or false.")?);
            }
            "limits" => {
                let Value::Object(limits) = value else {
                    return Err("limits: expected an object of limits by name.".to_owned());
                };
                change.limits = admit::from_json(&limits).map_err(|bad| bad.to_string())?;
            }
            _ => {
                let known = "tier, role, enabled and limits";
                return Err(format!("Unknown field {name:?}: expected {known}."));
            }
        }
    }
    Ok(change)
}

/// What a change would change that is the file's to say.
fn conflict(managed: &Managed, change: &UserChange) -> Option<String> {
    let role = change.role.is_some_and(|role| role != managed.role).then_some("role");
    let field = role.or((change.enabled == Some(false)).then_some("enabled"))?;
    Some(format!(
        "{field}: this user is managed by the configuration file; only tier and limits can be overridden."
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    pub(super) fn rules() -> Rules {
        let text = "[upstream]\ndialect = \"s3\"\nendpoint = \"http://127.0.0.1:1\"\nregion = \"us-east-1\"\n\
                    bucket = \"real\"\naccess_key_id = \"AKREAL\"\nsecret_access_key = \"a-secret-of-the-gateway\"\n\
                    [[users]]\nid = \"deputy\"\ntier = \"premium\"\nrole = \"service\"\n";
        Rules::new(&Config::from_toml(text, Path::new(".")).expect("a configuration").config)
    }

    #[test]
    fn documents_say_what_changes() {
        let parse = |text: &str| parse(text.as_bytes(), &rules());
        assert_eq!(parse(""), Ok(UserChange::default()));
        assert_eq!(parse("{}"), Ok(UserChange::default()));
        let text = r#"{"tier":"premium","role":"service","enabled":false,
                      "limits":{"max_storage":"1GiB","uploads_per_hour":7,"burst":null,"uploads_per_day":"unlimited"}}"#;
        let limits = [
            ("max_storage", Some(Some(1 << 30))),
            ("uploads_per_hour", Some(Some(7))),
            ("burst", None),
            ("uploads_per_day", Some(None)),
        ];
        let expected = UserChange {
            tier: Some("premium".into()),
            role: Some(Role::Service),
            enabled: Some(false),
            limits: limits.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        for (text, parts) in [
            ("[]", &["JSON object"][..]),
            ("{", &["JSON object"]),
            (r#"{"colour":"red"}"#, &["colour", "tier, role, enabled and limits"]),
            (r#"{"tier":"gold"}"#, &["tier", "default, premium"]),
            (r#"{"tier":null}"#, &["tier", "default, premium"]),
            (r#"{"role":"admin"}"#, &["role", "\"user\" or \"service\""]),
            (r#"{"enabled":"yes"}"#, &["enabled", "true or false"]),
            (r#"{"limits":[]}"#, &["limits", "object"]),
            (r#"{"limits":{"max_objects":1}}"#, &["max_objects", "max_storage", "uploads_per_day"]),
            (r#"{"limits":{"max_storage":"lots"}}"#, &["limits.max_storage", "10GiB", "unlimited", "null"]),
            (r#"{"limits":{"burst":0}}"#, &["limits.burst", "a whole number from 1"]),
        ] {
            let problem = parse(text.as_bytes(), &rules()).expect_err(text);
            assert!(parts.iter().all(|part| problem.contains(part)), "{text}: {problem}");
        }
    }

    #[test]
    fn what_the_file_says_stays() {
        let managed = rules().managed(&UserId::parse("deputy").expect("an id")).cloned().expect("managed");
        let conflict = |change| conflict(&managed, &change);
        let none = UserChange::default();
        assert_eq!(conflict(UserChange { tier: Some("default".into()), ..none.clone() }), None);
        assert_eq!(
            conflict(UserChange { role: Some(Role::Service), enabled: Some(true), ..none.clone() }),
            None
        );
        let role = conflict(UserChange { role: Some(Role::User), ..none.clone() });
        assert!(role.expect("a conflict").starts_with("role: "));
        let enabled = conflict(UserChange { enabled: Some(false), ..none });
        assert!(enabled.expect("a conflict").starts_with("enabled: "));
    }

    #[test]
    fn users_are_shown_as_the_contract_has_them() {
        let show = |id: &str, record: Option<&UserRecord>| {
            let user = UserId::parse(id).expect("an id");
            is_user(&rules(), &user, record).map(|user| serde_json::to_string(&user).expect("a document"))
        };
        let record = UserRecord {
            tier: None,
            role: None,
            enabled: true,
            limits: BTreeMap::from([("burst".to_owned(), None), ("max_storage".to_owned(), Some(1024))]),
            created_at: 1_764_064_800_123,
            generation: 0,
        };
        assert_eq!(show("nobody", None), None);
        assert_eq!(
            show("alice", Some(&record)).as_deref(),
            Some(
                "{\"user_id\":\"alice\",\"tier\":\"default\",\"role\":\"user\",\"enabled\":true,\
                 \"limits\":{\"burst\":\"unlimited\",\"max_storage\":1024},\"created_at\":\"2025-11-25T10:00:00Z\"}"
            )
        );
        assert_eq!(
            show("deputy", None).as_deref(),
            Some(
                "{\"user_id\":\"deputy\",\"tier\":\"premium\",\"role\":\"service\",\"enabled\":true,\
                 \"limits\":{},\"created_at\":null}"
            )
        );
    }
}
