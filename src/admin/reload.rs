//! `POST /api/v1/admin/reload`: the configuration is read again, as `SIGHUP` does it. Out: the sections that changed and
//! what their operator should know; or every problem, and the configuration that was in force still is.

use futures_util::future::BoxFuture;
use http::StatusCode;
use serde::Serialize;

use super::answer::{self, Problem, Result};
use super::{Admin, audit};

/// Puts another configuration in the place of the one in force: whole, or not at all.
pub trait Reload: Send + Sync {
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, NotReloaded>>;
}

/// A configuration that is in force now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reloaded {
    /// The sections in which it differs from the one before.
    pub changed: Vec<&'static str>,
    pub warnings: Vec<String>,
}

/// Why the one before still is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReloaded {
    /// Every problem, one a line.
    #[error("{0}")]
    Refused(String),
    #[error(
        "this gateway has no configuration that could be read again, as under `bucketwarden dev`; restart it"
    )]
    NoSource,
    #[error("the gateway is on its way out")]
    Ending,
}

pub(super) async fn start(admin: &Admin) -> Result {
    match admin.reloader.reload().await {
        Ok(reloaded) => {
            let detail = format!("changed: {}", reloaded.changed.join(", "));
            Ok(audit::detail(answer::json(StatusCode::OK, &reloaded), detail))
        }
        Err(refused) => {
            let status = match refused {
                NotReloaded::Refused(_) => StatusCode::CONFLICT,
                NotReloaded::NoSource => StatusCode::NOT_IMPLEMENTED,
                NotReloaded::Ending => StatusCode::SERVICE_UNAVAILABLE,
            };
            Err(Problem::new(status, refused.to_string()))
        }
    }
}
