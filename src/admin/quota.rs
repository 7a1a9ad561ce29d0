//! `/api/v1/admin/quota`: what users have and may, as they see it themselves.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;

use super::answer::{self, Problem, Result};
use super::people;
use super::{AT_ONCE, Admin};
use crate::api::quota::Quota;
use crate::store;
use crate::types::UserId;

pub(super) async fn list(admin: &Admin, query: Option<&str>) -> Result {
    let wanted = people::wanted(query)?;
    let page = people::page(&admin.store, admin.tiers.rules(), &wanted).await?;
    let now = admin.now();
    let quotas: Vec<Quota> = stream::iter(page.users)
        .map(|user| async move { Quota::read(&admin.store, &admin.tiers, &user, now).await })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(answer::page("users", &quotas, page.next.as_ref().map(UserId::as_str)))
}

pub(super) async fn get(admin: &Admin, user: &UserId) -> Result {
    if !exists(admin, user).await? {
        return Err(Problem::no_such_user(user));
    }
    let quota = Quota::read(&admin.store, &admin.tiers, user, admin.now()).await?;
    Ok(answer::json(StatusCode::OK, &quota))
}

/// Whether anything is known of a user; what one who was removed has stored, still is.
pub(super) async fn exists(admin: &Admin, user: &UserId) -> store::Result<bool> {
    Ok(admin.tiers.rules().managed(user).is_some()
        || admin.store.user(user).await?.is_some()
        || admin.store.account(user).await?.is_some())
}
