//! `/api/v1`, the front door for whoever speaks JSON. In: method, path and query of an authenticated caller.
//! Out: a small JSON document, or `{"error": "…"}` with one of the contract's statuses. Which calls there are is
//! a table. Nobody gets here unauthenticated: what a caller without credentials is told is made here too.

pub mod keys;
pub mod page;
pub mod quota;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use crate::account::Millis;
use crate::admit::quota::millis;
use crate::admit::tiers::Tiers;
use crate::auth::{Asker, Keyring};
use crate::config::RefusalStatus;
use crate::error::{Code, Error, Result};
use crate::gateway::{ApiCall, JsonApi};
use crate::s3::query::{self, Query};
use crate::store::Store;
use crate::types::{AccessKeyId, Caller, WayIn};
use page::{Page, PageId as _, Wanted};
use quota::Quota;
pub use usage::{Totals, Usage};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Quota,
    Check,
    Usage,
    ListKeys,
    CreateKey,
    DeleteKey,
}

/// `{}` stands for one segment.
const ROUTES: &[(Method, &str, Route)] = &[
    (Method::GET, "/api/v1/quota", Route::Quota),
    (Method::GET, "/api/v1/quota/check", Route::Check),
    (Method::GET, "/api/v1/usage", Route::Usage),
    (Method::GET, "/api/v1/keys", Route::ListKeys),
    (Method::POST, "/api/v1/keys", Route::CreateKey),
    (Method::DELETE, "/api/v1/keys/{}", Route::DeleteKey),
];

pub struct Api {
    store: Arc<Store>,
    tiers: Arc<Tiers>,
    keyring: Arc<Keyring>,
    usage: Arc<dyn Usage>,
    refusal_status: RefusalStatus,
}

/// A request whose caller is known.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a Query<'a>,
    pub caller: &'a Caller,
    pub asker: Asker<'a>,
    pub body: &'a [u8],
    pub now: Millis,
}

impl Api {
    pub fn new(
        store: Arc<Store>,
        tiers: Arc<Tiers>,
        keyring: Arc<Keyring>,
        usage: Arc<dyn Usage>,
        refusal_status: RefusalStatus,
    ) -> Self {
        Self { store, tiers, keyring, usage, refusal_status }
    }

    pub async fn answer(&self, call: Call<'_>) -> Response<Bytes> {
        self.serve(call).await.unwrap_or_else(|error| refused(&error))
    }

    async fn serve(&self, call: Call<'_>) -> Result<Response<Bytes>> {
        let user = &call.caller.user;
        let (route, segment) = route(call.method, call.path)?;
        match route {
            Route::Quota => json_response(&Quota::read(&self.store, &self.tiers, user, call.now).await?),
            Route::Check => {
                let size = size(call.query)?;
                quota::check(&self.store, &self.tiers, user, size, self.refusal_status, call.now).await?;
                json_response(&json!({ "allowed": true }))
            }
            Route::Usage => json_response(&self.usage.usage(user).await?.document(user)),
            Route::ListKeys => {
                may_have_keys(call.caller)?;
                let wanted = Wanted::parse(call.query)?;
                let (keys, next) = keys::list(&self.keyring, self.tiers.rules(), user, &wanted).await?;
                json_response(&Page { name: "keys", items: &keys, next: next.as_deref() })
            }
            Route::CreateKey => {
                may_have_keys(call.caller)?;
                let rules = self.tiers.rules();
                let made =
                    keys::create(&self.keyring, rules, user, Some(call.asker), call.body, call.now).await?;
                tracing::info!(target: "audit", who = %user, what = "create_key", on = %made.access_key_id);
                let mut response = json_response(&made)?;
                *response.status_mut() = StatusCode::CREATED;
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Ok(response)
            }
            Route::DeleteKey => {
                may_have_keys(call.caller)?;
                let id = AccessKeyId::parse(segment)
                    .ok_or_else(|| Error::new(Code::InvalidArgument).say(AccessKeyId::EXPECTED))?;
                keys::revoke(&self.keyring, self.tiers.rules(), user, &id).await?;
                tracing::info!(target: "audit", who = %user, what = "delete_key", on = id.as_str());
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
        }
    }
}

impl JsonApi for Api {
    fn answer<'a>(&'a self, call: ApiCall<'a>) -> BoxFuture<'a, Response<Bytes>> {
        let ApiCall { parts, query, caller, asker, body, now } = call;
        let (method, path, now) = (&parts.method, parts.uri.path(), millis(now));
        Box::pin(self.answer(Call { method, path, query, caller, asker, body, now }))
    }

    fn unauthenticated(&self, error: &Error) -> Response<Bytes> {
        unauthenticated(error)
    }

    fn refused(&self, error: &Error) -> Response<Bytes> {
        refused(error)
    }
}

/// The route, and the segment that a path has for `{}`.
fn route<'p>(method: &Method, path: &'p str) -> Result<(Route, &'p str)> {
    let segment = |pattern: &str| match pattern.strip_suffix("{}") {
        None => (pattern == path).then_some(""),
        Some(list) => path.strip_prefix(list).filter(|id| !id.is_empty() && !id.contains('/')),
    };
    let mut found = ROUTES.iter().filter(|(known, ..)| known == method);
    found.find_map(|(_, pattern, route)| Some((*route, segment(pattern)?))).ok_or_else(|| {
        Error::new(Code::NoSuchKey).say(format!("There is no {method} of this path in the API."))
    })
}

/// What outlives temporary keys is not theirs to make, nor to see or end; and a URL that was given away is not its
/// maker. A token is its user's own word, as a lasting key is.
fn may_have_keys(caller: &Caller) -> Result<()> {
    match caller.way {
        WayIn::SigV4Header | WayIn::Jwt => Ok(()),
        WayIn::Sts => {
            Err(Error::new(Code::AccessDenied).say("Access keys cannot be managed with temporary keys."))
        }
        WayIn::SigV4Presigned => {
            Err(Error::new(Code::AccessDenied).say("Access keys cannot be managed by a presigned URL."))
        }
    }
}

fn size(query: &Query<'_>) -> Result<u64> {
    query.get("size").and_then(query::number).ok_or_else(|| {
        Error::new(Code::InvalidArgument).say("Expected ?size=N, the size of an upload in bytes.")
    })
}

/// What a caller is told who could not be authenticated: whatever was wrong with the credentials is 401.
pub fn unauthenticated(error: &Error) -> Response<Bytes> {
    let status = match (error.code, status(error)) {
        (Code::ExpiredToken, _) | (_, StatusCode::FORBIDDEN) => StatusCode::UNAUTHORIZED,
        (_, other) => other,
    };
    let text = match error.code {
        Code::AccessDenied => "Credentials are missing, or not valid for this request.",
        _ => error.message(),
    };
    let mut response = json_text(status, json!({ "error": text }).to_string());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// An error as the API says it.
pub fn refused(error: &Error) -> Response<Bytes> {
    let mut response = json_text(status(error), error.to_json());
    if let Some(seconds) = error.retry_after_secs() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The few statuses of the API.
pub fn status(error: &Error) -> StatusCode {
    match error.status() {
        // S3 clients are slowed down with 503, all others with 429.
        StatusCode::SERVICE_UNAVAILABLE if error.code == Code::SlowDown && !error.has_own_status() => {
            StatusCode::TOO_MANY_REQUESTS
        }
        StatusCode::NOT_IMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
        other if other.is_server_error() => StatusCode::SERVICE_UNAVAILABLE,
        other => other,
    }
}

fn json_response(document: &impl Serialize) -> Result<Response<Bytes>> {
    let text =
        serde_json::to_string(document).map_err(|error| Error::new(Code::InternalError).because(error))?;
    Ok(json_text(StatusCode::OK, text))
}

fn json_text(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
