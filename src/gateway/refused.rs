//! What becomes of an error: an answer in the caller's language, and where authentication or authorisation made it, a
//! line in the audit log and an explanation for the operator. The client hears no more than AWS says.

use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use super::Gateway;
use super::answer::{Answer, Content};
use super::settle::Record;
use crate::config::{self, Access, BucketKind};
use crate::error::{Blame, Code, Error};
use crate::refusals::{Refusal, Signature, Stage};
use crate::s3::operation::Operation;
use crate::s3::query::Query;
use crate::s3::xml;
use crate::sigv4::scope::format_iso;
use crate::sigv4::verify::{Claim, Head, claimed};
use crate::types::{Caller, UserId, WayIn};

/// What a room has against a request.
pub(super) struct Why<'a> {
    pub(super) stage: Stage,
    pub(super) code: &'static str,
    /// As the client is told.
    pub(super) message: &'a str,
    pub(super) cause: Option<String>,
}

impl Gateway {
    pub(super) fn refuse(
        &self,
        error: &Error,
        parts: &Parts,
        now: SystemTime,
        record: &mut Record,
    ) -> Answer {
        if let Some(stage) = record.stage.filter(|_| is_refusal(error)) {
            let cause = error.cause().map(ToString::to_string);
            let why = Why { stage, code: error.code.as_str(), message: error.message(), cause };
            self.explain(why, parts, now, record);
        }
        let mut answer =
            if self.is_api(parts) { self.api_error(error, record) } else { s3_error(error, parts, record) };
        if parts.method == Method::HEAD {
            // No body to say the code in.
            answer.content = Content::Empty;
            answer.headers.remove(header::CONTENT_TYPE);
            answer.headers.insert("x-amz-error-code", HeaderValue::from_static(error.code.as_str()));
        }
        record.refused(error, answer.status);
        answer
    }

    /// Keeps what an operator may ask about, and tells the audit log.
    pub(super) fn explain(&self, why: Why<'_>, parts: &Parts, now: SystemTime, record: &Record) {
        let Why { stage, code, message, cause } = why;
        let query = Query::parse(parts.uri.query().unwrap_or("")).unwrap_or_default();
        let head = Head {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: &query,
            headers: &parts.headers,
        };
        let claim = claimed(head).ok();
        let tried = claim.as_ref().map(|claim| match claim {
            Claim::Signature(presented) => presented.place.way(),
            Claim::Bearer(_) => WayIn::Jwt,
        });
        let presented = match &claim {
            Some(Claim::Signature(presented)) => Some(presented),
            Some(Claim::Bearer(_)) | None => None,
        };
        let way = record.caller.as_ref().map(|caller| caller.way);
        let refusal = Refusal {
            request_id: record.id.to_string(),
            at: format_iso(now),
            stage,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            operation: record.operation.map(Operation::name),
            bucket: record.bucket.as_ref().map(ToString::to_string),
            key: record.key.as_ref().map(|key| key.as_str().to_owned()),
            auth: way.or(tried).map(WayIn::label),
            user: record.caller.as_ref().map(|caller| caller.user.to_string()),
            code,
            message: message.to_owned(),
            cause,
            rule: (stage == Stage::Authorisation).then(|| self.rule(record)),
            signature: presented.map(|presented| Signature::new(presented.explain(head), now)),
        };
        tracing::info!(
            target: "audit",
            request_id = refusal.request_id,
            ?stage,
            user = refusal.user,
            auth = refusal.auth,
            operation = refusal.operation,
            bucket = refusal.bucket,
            code = refusal.code,
            remote = %record.remote,
            "refused"
        );
        self.instruments.refusals.keep(record.id, refusal, now);
    }

    /// What the configuration says of the bucket that was asked for.
    fn rule(&self, record: &Record) -> String {
        let asked = record.operation.map_or_else(
            || "a request".to_owned(),
            |operation| format!("{} ({:?})", operation.name(), operation.access()),
        );
        let Some(bucket) = record.bucket.as_ref().and_then(|name| self.buckets.get(name)) else {
            return format!("{asked} of a bucket that is not configured");
        };
        let user = record.caller.as_ref().map(|caller| &caller.user);
        let parts: Vec<String> = bucket.parts().iter().map(|part| described(part, user)).collect();
        format!("{asked} of a bucket with {}", parts.join("; or "))
    }
}

fn described(bucket: &config::Bucket, user: Option<&UserId>) -> String {
    let scope = match &bucket.kind {
        BucketKind::User { prefix } => match user {
            Some(user) => format!("prefix = \"{}\"", prefix.render(user)),
            None => "a prefix for each user".to_owned(),
        },
        BucketKind::Job { prefix } => format!("prefix = \"{prefix}\", scope = \"job\""),
        BucketKind::PlatformView => "view = \"platform\"".to_owned(),
    };
    let access = match bucket.access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    };
    format!("{scope}, access = \"{access}\"")
}

/// Callers with a bearer token are told of their limits in JSON, on every surface.
fn is_quota(error: &Error) -> bool {
    error.details().iter().any(|(element, _)| *element == Error::QUOTA)
}

/// Load and faults say nothing of the caller.
fn is_refusal(error: &Error) -> bool {
    error.code.blame() == Blame::Client && error.code != Code::SlowDown
}

fn s3_error(error: &Error, parts: &Parts, record: &Record) -> Answer {
    let mut answer = if is_quota(error) && record.caller.as_ref().is_some_and(Caller::is_bearer) {
        let json = HeaderValue::from_static("application/json");
        Answer::document(error.status(), error.to_json()).header(header::CONTENT_TYPE, json)
    } else {
        let document = xml::write_error(error, parts.uri.path(), record.id.as_str());
        Answer::document(error.status(), document)
    };
    if let Some(seconds) = error.retry_after_secs() {
        answer.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.status() == StatusCode::UNAUTHORIZED {
        answer.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}
