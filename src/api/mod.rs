//! `/api/v1`, the front door for whoever speaks JSON. In: method, path and query of an authenticated caller.
//! Out: a small JSON document, or `{"error": "…"}` with one of the contract's statuses. Which calls there are is
//! a table. Nobody gets here unauthenticated: what a caller without credentials is told is made here too.

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
use crate::config::RefusalStatus;
use crate::error::{Code, Error, Result};
use crate::gateway::{ApiCall, JsonApi};
use crate::s3::query::{self, Query};
use crate::store::Store;
use crate::types::Caller;
use quota::Quota;
pub use usage::{Totals, Usage};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Quota,
    Check,
    Usage,
}

const ROUTES: &[(Method, &str, Route)] = &[
    (Method::GET, "/api/v1/quota", Route::Quota),
    (Method::GET, "/api/v1/quota/check", Route::Check),
    (Method::GET, "/api/v1/usage", Route::Usage),
];

pub struct Api {
    store: Arc<Store>,
    tiers: Arc<Tiers>,
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
    pub now: Millis,
}

impl Api {
    pub fn new(
        store: Arc<Store>,
        tiers: Arc<Tiers>,
        usage: Arc<dyn Usage>,
        refusal_status: RefusalStatus,
    ) -> Self {
        Self { store, tiers, usage, refusal_status }
    }

    pub async fn answer(&self, call: Call<'_>) -> Response<Bytes> {
        self.serve(call).await.unwrap_or_else(|error| refused(&error))
    }

    async fn serve(&self, call: Call<'_>) -> Result<Response<Bytes>> {
        let user = &call.caller.user;
        match route(call.method, call.path)? {
            Route::Quota => json_response(&Quota::read(&self.store, &self.tiers, user, call.now).await?),
            Route::Check => {
                let size = size(call.query)?;
                quota::check(&self.store, &self.tiers, user, size, self.refusal_status, call.now).await?;
                json_response(&json!({ "allowed": true }))
            }
            Route::Usage => json_response(&self.usage.usage(user).await?.document(user)),
        }
    }
}

impl JsonApi for Api {
    fn answer<'a>(&'a self, call: ApiCall<'a>) -> BoxFuture<'a, Response<Bytes>> {
        let ApiCall { parts, query, caller, now } = call;
        let (method, path, now) = (&parts.method, parts.uri.path(), millis(now));
        Box::pin(self.answer(Call { method, path, query, caller, now }))
    }

    fn unauthenticated(&self, error: &Error) -> Response<Bytes> {
        unauthenticated(error)
    }

    fn refused(&self, error: &Error) -> Response<Bytes> {
        refused(error)
    }
}

fn route(method: &Method, path: &str) -> Result<Route> {
    let found = ROUTES.iter().find(|(known, at, _)| known == method && *at == path);
    found.map(|(_, _, route)| *route).ok_or_else(|| {
        Error::new(Code::NoSuchKey).say(format!("There is no {method} of this path in the API."))
    })
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
fn status(error: &Error) -> StatusCode {
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
