//! `/api/v1` shares the front door with S3: the same callers, authenticated by the same verifier, told of in the same
//! record. What the calls answer is not known here; whoever knows is given to the gateway (`JsonApi`).

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Response;
use http::request::Parts;

use super::answer::{Answer, Content};
use super::settle::Record;
use super::{Access, Gateway, Peer};
use crate::error::Error;
use crate::s3::query::Query;
use crate::sigv4::verify::Head;
use crate::types::Caller;
use std::time::SystemTime;

/// Where its calls live; no bucket can be named so.
const PREFIX: &str = "/api/";

/// A call of a caller who is known.
pub struct ApiCall<'a> {
    pub parts: &'a Parts,
    pub query: &'a Query<'a>,
    pub caller: &'a Caller,
    pub now: SystemTime,
}

pub trait JsonApi: Send + Sync {
    fn answer<'a>(&'a self, call: ApiCall<'a>) -> BoxFuture<'a, Response<Bytes>>;
    /// What somebody is told who could not be let in.
    fn unauthenticated(&self, error: &Error) -> Response<Bytes>;
    fn refused(&self, error: &Error) -> Response<Bytes>;
}

impl Gateway {
    /// The routes exist only where Host names no bucket.
    pub(super) fn is_api(&self, parts: &Parts) -> bool {
        parts.uri.path().starts_with(PREFIX) && self.host_bucket(parts).is_none()
    }

    pub(super) async fn serve_api(
        &self,
        parts: &Parts,
        peer: Peer,
        now: SystemTime,
        record: &mut Record,
    ) -> Answer {
        let answered = async {
            let query =
                Query::parse(parts.uri.query().unwrap_or("")).map_err(|error| self.api.refused(&error))?;
            let head = Head {
                method: parts.method.as_str(),
                raw_path: parts.uri.path(),
                query: &query,
                headers: &parts.headers,
            };
            self.let_in(head, peer, now, record).await.map_err(|error| self.api.unauthenticated(&error))?;
            self.standing(record, Access::Read).await.map_err(|error| self.api.refused(&error))?;
            let caller = record.caller.as_ref().expect("who was let in is known");
            // A user who is seen for the first time is counted before anything is said of them.
            if let Err(error) = self.ledger.count_at_first_sight(&caller.user).await {
                tracing::debug!(user = %caller.user, %error, "not counted yet");
            }
            Ok(self.api.answer(ApiCall { parts, query: &query, caller, now }).await)
        };
        let response = answered.await.unwrap_or_else(|refusal| refusal);
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, content: Content::Document(body) }
    }
}
