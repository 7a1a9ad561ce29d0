//! `/api/v1` shares the front door with S3: the same callers, authenticated by the same verifier, told of in the same
//! record. What the calls answer is not known here; whoever knows is given to the gateway (`JsonApi`).

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Method, Response};

use super::answer::{Answer, Content};
use super::settle::Record;
use super::{Access, Gateway, Peer, Stage, Visit, platform, presigned};
use crate::auth::{Asker, Proof};
use crate::body::unread::Unread;
use crate::error::{Error, Result};
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
    /// What they have shown of themselves.
    pub asker: Asker<'a>,
    /// A small document, verified.
    pub body: &'a [u8],
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
        body: &mut Unread,
        peer: Peer,
        now: SystemTime,
        record: &mut Record,
    ) -> Result<Answer> {
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let head = Head {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: &query,
            headers: &parts.headers,
        };
        let call = platform::Call::find(&parts.method, parts.uri.path());
        record.stage = Some(Stage::Authentication);
        let (payload, Proof { life, origin }) = self.let_in(head, peer, now, record).await?;
        let access = call.map_or(Access::Read, |call| call.access(&parts.method));
        let standing = self.recognise(life, access, now, record).await?;
        record.stage = None;
        self.make_room(&standing, record)?;
        let is_presigned = presigned::is_presigned(&query);
        let visit = Visit { parts, standing, origin, is_presigned, peer, now };
        if let Some(call) = call {
            return self.serve_platform(call, query, &visit, payload, body, record).await;
        }
        let caller = record.caller.as_ref().expect("who was let in is known");
        // A user who is seen for the first time is counted before anything is said of them.
        if let Err(error) = self.ledger.count_at_first_sight(&caller.user).await {
            tracing::debug!(user = %caller.user, %error, "not counted yet");
        }
        let caller = caller.clone();
        let document = match parts.method {
            Method::POST => self.read_body(&visit, payload, body, record).await?,
            _ => Bytes::new(),
        };
        let asker = Asker { generation: visit.standing.generation, origin: &visit.origin };
        let call = ApiCall { parts, query: &query, caller: &caller, asker, body: &document, now };
        Ok(whole(self.api.answer(call).await))
    }

    /// What a caller of the API is told who is refused.
    pub(super) fn api_error(&self, error: &Error, record: &Record) -> Answer {
        whole(match (&record.caller, record.stage) {
            (None, _) | (_, Some(Stage::Authentication)) => self.api.unauthenticated(error),
            (Some(_), Some(Stage::Authorisation) | None) => self.api.refused(error),
        })
    }
}

fn whole(response: Response<Bytes>) -> Answer {
    let (parts, body) = response.into_parts();
    Answer { status: parts.status, headers: parts.headers, content: Content::Document(body) }
}
