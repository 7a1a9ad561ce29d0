//! One object: GET, HEAD, PUT (and `UploadPart`, which streams the same way), DELETE, attributes, ACL, restore.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admission::{Held, outcome, outcome_of_upload};
use super::answer::Answer;
use super::settle::Record;
use super::{Ask, Gateway, local, multipart};
use crate::account::{Outcome, Write};
use crate::body::checksum::Verified;
use crate::body::plan::UploadPlan;
use crate::body::small;
use crate::body::unread::Unread;
use crate::body::upload::{UploadHandle, upload};
use crate::error::{Code, Error, Result};
use crate::s3::operation::Operation;
use crate::s3::xml;
use crate::sigv4::verify::VerifiedPayload;
use crate::upstream::{Call, headers};

/// What a client may ask the answer's headers to be, and which header that is.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-content-type", header::CONTENT_TYPE),
    ("response-expires", header::EXPIRES),
];

impl Gateway {
    /// A call about the object that was asked for, with the headers that may cross.
    pub(super) fn object_call(&self, method: Method, ask: &Ask<'_>) -> Result<Call> {
        let target = ask.grant.target(ask.key())?;
        let headers = headers::to_upstream(self.upstream.dialect(), ask.request.operation, ask.headers)?;
        Ok(self.upstream.object_call(ask.request.operation, method, &target).headers(headers))
    }

    pub(super) async fn get_object(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let overrides = overrides(&ask)?;
        let is_head = ask.request.operation == Operation::HeadObject;
        let method = if is_head { Method::HEAD } else { Method::GET };
        let mut call = self.object_call(method, &ask)?;
        for name in ["versionId", "partNumber"] {
            if let Some(value) = ask.param(name) {
                call = call.query(name, value);
            }
        }
        let mut response = self.forward(call.clone(), &ask, record).await?;
        if is_of_another_version(&ask, &response) {
            let whole = call.without(&[header::RANGE, header::IF_RANGE]);
            response = self.forward(whole, &ask, record).await?;
        }
        let mut headers = headers::to_client(response.headers());
        headers.extend(self.platform_uri_header(&ask));
        if response.status() == StatusCode::NOT_MODIFIED {
            headers.remove(header::CONTENT_LENGTH);
            return Ok(Answer::empty(StatusCode::NOT_MODIFIED).headers(headers));
        }
        headers.extend(overrides);
        if is_head {
            return Ok(Answer::empty(response.status()).headers(headers));
        }
        refuse_unbounded(&response)?;
        Ok(Answer::upstream(response, headers))
    }

    pub(super) async fn upload(
        &self,
        ask: Ask<'_>,
        payload: VerifiedPayload,
        body: &mut Unread,
        record: &mut Record,
    ) -> Result<Answer> {
        let is_part = ask.request.operation == Operation::UploadPart;
        let mut call = self.object_call(Method::PUT, &ask)?;
        if is_part {
            call = multipart::name_part(call, &ask, &self.tokens)?;
        }
        let plan = UploadPlan::from_head(ask.headers, payload.into_inner())?;
        let size = plan.length();
        let write = if is_part {
            let (number, upload_id) = multipart::part_named(&ask, &self.tokens)?;
            Write::Part { upload: self.ledger_upload(&ask, upload_id)?, number, size }
        } else {
            Write::Put { target: self.ledger_target(&ask)?, size }
        };
        let held = self.admit(&ask, write).await?;
        let (response, verified) = self.stream_up(call, plan, body, held, &ask, record).await?;
        let mut headers = headers::to_client(response.headers());
        headers.remove(header::CONTENT_LENGTH);
        if let Some(verified) = verified {
            // One checksum, the client's own; an upstream may have computed another.
            headers::remove_checksums(&mut headers);
            headers.insert(verified.algorithm.header(), verified.header_value());
        }
        if !is_part {
            headers.extend(self.platform_uri_header(&ask));
        }
        Ok(Answer::empty(StatusCode::OK).headers(headers))
    }

    /// Streams a body to the upstream. What is empty has no tail to hold, so it is verified before the upstream
    /// hears of it.
    async fn stream_up(
        &self,
        call: Call,
        plan: UploadPlan,
        body: &mut Unread,
        held: Held,
        ask: &Ask<'_>,
        record: &mut Record,
    ) -> Result<(Response<Incoming>, Option<Verified>)> {
        let (upstream, now) = (self.upstream.clone(), ask.now);
        let started = Instant::now();
        if plan.is_empty() {
            let (empty, idle) = (body.take(), self.body_idle_timeout);
            let sending = async move {
                let answered = match small::verify_empty(empty, plan, idle).await {
                    Ok(verified) => upstream
                        .send_document(call, Bytes::new(), now)
                        .await
                        .map(|response| (response, verified)),
                    Err(fault) => Err(fault),
                };
                held.settle(outcome(&answered)).await?;
                answered
            };
            let answered = self.run_to_settlement(sending, record).await;
            if answered.is_ok() {
                body.was_read_whole();
            }
            self.note_upstream(started, &answered, record);
            return answered;
        }
        let gate = self.upstream.gate(plan.length());
        let pacer = self.admit.upload_pacer(&ask.caller.user, &ask.standing.limits);
        let (stream, handle) = upload(body.take(), plan, self.body_idle_timeout, gate);
        let stream = stream.paced(pacer);
        record.upload = Some(handle.clone());
        let gone = CancellationToken::new();
        let _client = gone.clone().drop_guard();
        let sending = async move {
            let answered = {
                let sending = upstream.send_upload(call, stream, &handle, now);
                tokio::select! {
                    answered = sending => answered.map(|response| (response, handle.verified())),
                    // Nobody waits any more, and the upstream has not all of it: it never will.
                    () = left_early(&gone, &handle) => Err(Code::IncompleteBody.into()),
                }
            };
            held.settle(outcome_of_upload(&answered, &handle)).await?;
            answered
        };
        let answered = self.run_to_settlement(sending, record).await;
        self.note_upstream(started, &answered, record);
        answered
    }

    pub(super) async fn delete_object(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let mut call = self.object_call(Method::DELETE, &ask)?;
        let version_id = ask.param("versionId");
        if let Some(version_id) = version_id {
            call = call.query("versionId", version_id);
        }
        let of_version = version_id.is_some();
        let unconditional = !of_version && !ask.headers.contains_key(header::IF_MATCH);
        let held = self.admit(&ask, Write::Delete { targets: vec![self.ledger_target(&ask)?] }).await?;
        let (upstream, now) = (self.upstream.clone(), ask.now);
        let started = Instant::now();
        let deleting = async move {
            let answered = match upstream.send(call, now).await {
                Ok(response) => Ok(headers::to_client(response.headers())),
                // S3 deletes what is not there with success; not every upstream does. A condition is another
                // matter.
                Err(error) if error.code == Code::NoSuchKey && unconditional => Ok(HeaderMap::new()),
                Err(error) => Err(error),
            };
            held.settle(match outcome(&answered) {
                // Another version may be the current one now, or the same as before.
                Outcome::Done if of_version => Outcome::Look,
                other => other,
            })
            .await?;
            answered
        };
        let answered = self.run_to_settlement(deleting, record).await;
        self.note_upstream(started, &answered, record);
        let headers = answered?;
        tracing::info!(
            target: "audit",
            request_id = %ask.request_id,
            user = %ask.caller.user,
            bucket = %ask.bucket(),
            key = %ask.key().as_str().escape_debug(),
            version_id,
            "an object was deleted"
        );
        Ok(Answer::empty(StatusCode::NO_CONTENT).headers(headers))
    }

    /// `GetObjectAttributes`, as far as a HEAD can tell: the parts of a multipart object it cannot.
    pub(super) async fn object_attributes(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let wanted = attributes_wanted(&ask)?;
        let wants = |name: &str| wanted.contains(&name);
        let response = self.head(&ask, record).await?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = text("etag").unwrap_or_default();
        if wants("ObjectParts") && etag.contains('-') {
            return Err(Code::NotImplemented.into());
        }
        let document = xml::write_object_attributes(&xml::ObjectAttributes {
            etag: wants("ETag").then(|| etag.to_owned()),
            checksums: Vec::new(),
            storage_class: wants("StorageClass")
                .then(|| text("x-amz-storage-class").unwrap_or("STANDARD").to_owned()),
            object_size: text("content-length")
                .filter(|_| wants("ObjectSize"))
                .and_then(|size| size.parse().ok()),
        });
        let mut headers = HeaderMap::new();
        for name in ["last-modified", "x-amz-version-id", "x-amz-delete-marker"] {
            headers.extend(
                response.headers().get(name).map(|value| (HeaderName::from_static(name), value.clone())),
            );
        }
        Ok(Answer::xml(document).headers(headers))
    }

    pub(super) async fn object_acl(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        self.head(&ask, record).await?;
        Ok(local::private_acl(ask.caller))
    }

    pub(super) async fn put_object_acl(
        &self,
        ask: Ask<'_>,
        document: &str,
        record: &mut Record,
    ) -> Result<Answer> {
        let accepted = local::accept_private_acl(&ask, document)?;
        self.head(&ask, record).await?;
        Ok(accepted)
    }

    pub(super) async fn restore_object(
        &self,
        ask: Ask<'_>,
        document: &str,
        record: &mut Record,
    ) -> Result<Answer> {
        let request = xml::write_restore(&xml::parse_restore(document)?);
        let mut call = self.object_call(Method::POST, &ask)?.query("restore", "");
        if let Some(version_id) = ask.param("versionId") {
            call = call.query("versionId", version_id);
        }
        let started = Instant::now();
        let answered = self.upstream.send_document(call, request.into(), ask.now).await;
        self.note_upstream(started, &answered, record);
        Ok(Answer::empty(answered?.status()))
    }

    /// The upstream's HEAD of the object that was asked for.
    pub(super) async fn head(&self, ask: &Ask<'_>, record: &mut Record) -> Result<Response<Incoming>> {
        let mut call = self.object_call(Method::HEAD, ask)?;
        if let Some(version_id) = ask.param("versionId") {
            call = call.query("versionId", version_id);
        }
        self.forward(call, ask, record).await
    }
}

/// Whether this is a part of an object that has changed since the client got the other parts: `If-Range` asks for
/// the whole then (RFC 9110 §13.1.5), and not every upstream knows that.
fn is_of_another_version(ask: &Ask<'_>, response: &Response<Incoming>) -> bool {
    let Some(known) = ask.headers.get(header::IF_RANGE) else {
        return false;
    };
    let is = |name: HeaderName| response.headers().get(name).is_some_and(|value| value == known);
    response.status() == StatusCode::PARTIAL_CONTENT && !is(header::ETAG) && !is(header::LAST_MODIFIED)
}

/// The client has left, and its body will never be whole.
async fn left_early(gone: &CancellationToken, upload: &UploadHandle) {
    gone.cancelled().await;
    if upload.is_complete() {
        std::future::pending::<()>().await;
    }
}

/// What `GetObjectAttributes` was asked for: at least one name, all of them known.
fn attributes_wanted<'a>(ask: &'a Ask<'_>) -> Result<Vec<&'a str>> {
    const KNOWN: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
    let lines = ask.headers.get_all("x-amz-object-attributes").iter();
    let names = lines.flat_map(|value| value.to_str().unwrap_or_default().split(',')).map(str::trim);
    let wanted: Vec<&str> = names.collect();
    if wanted.is_empty() || !wanted.iter().all(|name| KNOWN.contains(name)) {
        return Err(Error::new(Code::InvalidArgument)
            .say("Invalid attribute name specified.")
            .detail("ArgumentName", "x-amz-object-attributes"));
    }
    Ok(wanted)
}

/// `response-*` parameters as headers. The gateway sets them itself: not every upstream does.
fn overrides(ask: &Ask<'_>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (parameter, name) in OVERRIDES {
        let Some(value) = ask.param(parameter) else {
            continue;
        };
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            Error::new(Code::InvalidArgument)
                .say("A response header override holds a character that no header may.")
                .detail("ArgumentName", parameter)
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A body that ends when the connection does cannot be told from one that broke.
fn refuse_unbounded(response: &Response<Incoming>) -> Result<()> {
    let bounded = response.body().size_hint().exact().is_some()
        || response.headers().contains_key(header::TRANSFER_ENCODING);
    if bounded {
        return Ok(());
    }
    Err(Error::new(Code::BadGateway)
        .because("the upstream's answer has neither Content-Length nor a transfer coding"))
}
