//! Temporary keys are handed out at the front door: `POST /`, where Host names no bucket, with an `Action`, as SDKs do it
//! by themselves with `AWS_ENDPOINT_URL_STS`. Nobody is let in by this. A call's own token says who asks, and is
//! treated like a signature: failures are charged to the address, and each user gets so many keys a minute. Before it is
//! read anybody may be at the other end: a form has places of its own and a time to be there.

use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderValue, Method, header};

use super::answer::Answer;
use super::refused::Why;
use super::settle::Record;
use super::{Access, Gateway, Peer, Stage};
use crate::auth::Life;
use crate::auth::jwt::Refusal;
use crate::auth::sts::{AssumeRole, Fault};
use crate::body::plan::UploadPlan;
use crate::body::small;
use crate::body::unread::Unread;
use crate::error::{Code, Error};
use crate::s3::query::Query;
use crate::sigv4::Payload;

const MOST_BYTES: usize = 64 * 1024;
/// How long a form may take in all.
const PATIENCE: Duration = Duration::from_secs(5);
const FORM: &str = "application/x-www-form-urlencoded";

impl Gateway {
    pub(super) fn is_sts(&self, parts: &Parts) -> bool {
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|text| {
            text.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
        });
        let has_action = || {
            parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")))
        };
        self.authenticator.mints()
            && parts.method == Method::POST
            && parts.uri.path() == "/"
            && self.host_bucket(parts).is_none()
            && (is_form || has_action())
    }

    pub(super) async fn serve_sts(
        &self,
        parts: &Parts,
        body: &mut Unread,
        peer: Peer,
        now: SystemTime,
        record: &mut Record,
    ) -> Answer {
        let fault = match self.assume_role(parts, body, peer, now, record).await {
            Ok(document) => {
                return Answer::xml(document)
                    .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            Err(fault) => fault,
        };
        tracing::debug!(request_id = %record.id, code = fault.code, "no temporary keys");
        let mut answer = Answer::document(fault.status, fault.document(record.id));
        if let Some(seconds) = fault.retry_after {
            answer.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }

    async fn assume_role(
        &self,
        parts: &Parts,
        body: &mut Unread,
        peer: Peer,
        now: SystemTime,
        record: &mut Record,
    ) -> Result<String, Fault> {
        // A form that is waited for takes no place among the requests.
        record.permit = None;
        self.admit.check_peer(peer.ip, None)?;
        let place = self.admit.enter_form(peer.ip)?;
        let malformed = |fault: Fault| {
            self.admit.peer_failed(peer.ip, None);
            fault
        };
        let form = self.read_form(parts, body, record).await.map_err(|error| malformed(error.into()))?;
        drop(place);
        record.permit = Some(self.admit.enter(self.max_in_flight)?);
        let in_query =
            Query::parse(parts.uri.query().unwrap_or("")).map_err(|error| malformed(error.into()))?;
        let in_form = Query::parse(&form).map_err(|error| malformed(error.into()))?;
        let call = AssumeRole::parse(&in_query, &in_form, self.authenticator.sts()).map_err(malformed)?;
        self.admit.check_peer(peer.ip, Some(call.token))?;
        let identity = self.authenticator.web_identity(call.token, now).await.inspect_err(|refusal| {
            tracing::debug!(request_id = %record.id, %refusal, "a web identity is refused");
            if *refusal != Refusal::Unreachable {
                self.admit.peer_failed(peer.ip, Some(call.token));
                self.instruments.metrics.auth_failure(Code::InvalidToken);
                let fault = Fault::from(*refusal);
                self.explain_fault(&fault, Some(refusal.to_string()), parts, now, record);
            }
        })?;
        self.admit.peer_succeeded(peer.ip, call.token);
        record.caller = Some(identity.caller());
        let life = Life::Vouched(identity.clone());
        let standing = self.recognise(life, Access::Write, now, record).await.map_err(|error| {
            let cause = error.cause().map(ToString::to_string);
            let fault = Fault::from(error);
            if fault.status.is_client_error() {
                self.explain_fault(&fault, cause, parts, now, record);
            }
            fault
        })?;
        self.make_room(&standing, record)?;
        self.admit.mint(&identity.user)?;
        let expires = now + call.duration;
        let session = self.authenticator.mint(&identity, standing.generation, expires)?;
        Ok(call.document(&identity, &session, expires, record.id))
    }

    fn explain_fault(
        &self,
        fault: &Fault,
        cause: Option<String>,
        parts: &Parts,
        now: SystemTime,
        record: &Record,
    ) {
        let (code, message) = (fault.code, fault.message());
        self.explain(Why { stage: Stage::Authentication, code, message, cause }, parts, now, record);
    }

    async fn read_form(
        &self,
        parts: &Parts,
        body: &mut Unread,
        record: &mut Record,
    ) -> Result<String, Error> {
        let plan = UploadPlan::for_small(&parts.headers, Payload::Unsigned)?;
        let form = small::read_small(body.take(), plan, MOST_BYTES, self.body_idle_timeout);
        let form = tokio::time::timeout(PATIENCE, form).await.map_err(|_| Code::RequestTimeout)??;
        body.was_read_whole();
        record.document_bytes = u64::try_from(form.len()).expect("a length fits");
        String::from_utf8(form.into()).map_err(|_| Code::InvalidArgument.into())
    }
}

/// What rooms that know nothing of STS have against a call.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.code {
            Code::InvalidToken => Self::rejected(),
            Code::SlowDown => Self::throttled(error.retry_after_secs()),
            _ if error.status().is_server_error() => Self::unavailable(),
            _ => Self::new("ValidationError", http::StatusCode::BAD_REQUEST, error.message().to_owned()),
        }
    }
}
