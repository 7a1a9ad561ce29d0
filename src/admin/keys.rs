//! `/api/v1/admin/users/{user_id}/keys`: the access keys of a user, as `api::keys` has them for the user.

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::answer::{self, Problem, Result};
use super::{Admin, audit, people};
use crate::api;
use crate::types::{AccessKeyId, UserId};

pub(super) async fn list(admin: &Admin, user: &UserId, query: Option<&str>) -> Result {
    let wanted = people::wanted(query)?;
    must_exist(admin, user).await?;
    let (keys, next) = api::keys::list(&admin.keyring, admin.tiers.rules(), user, &wanted).await?;
    Ok(answer::page("keys", &keys, next.as_deref()))
}

pub(super) async fn create(admin: &Admin, user: &UserId, document: &[u8]) -> Result {
    must_exist(admin, user).await?;
    let rules = admin.tiers.rules();
    let made = api::keys::create(&admin.keyring, rules, user, None, document, admin.now()).await?;
    let mut answer = answer::json(StatusCode::CREATED, &made);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(audit::detail(answer, made.access_key_id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: bool,
}

pub(super) async fn set(admin: &Admin, user: &UserId, id: &AccessKeyId, document: &[u8]) -> Result {
    let change: Change = serde_json::from_slice(document)
        .map_err(|_| Problem::bad("Expected {\"enabled\": true} or {\"enabled\": false}."))?;
    let rules = admin.tiers.rules();
    let key = api::keys::enable(&admin.keyring, rules, user, id, change.enabled).await?;
    Ok(audit::detail(answer::json(StatusCode::OK, &key), format!("enabled: {}", change.enabled)))
}

pub(super) async fn delete(admin: &Admin, user: &UserId, id: &AccessKeyId) -> Result {
    api::keys::revoke(&admin.keyring, admin.tiers.rules(), user, id).await?;
    Ok(answer::no_content())
}

/// A user of the file or of the store: what is left of one who was removed is none.
pub(super) async fn must_exist(admin: &Admin, user: &UserId) -> Result<()> {
    if admin.tiers.rules().managed(user).is_some() || admin.store.user(user).await?.is_some() {
        return Ok(());
    }
    Err(Problem::no_such_user(user))
}
