//! A write that depends on what is there (`If-Match`, and `If-None-Match: *` of a copy or a completion), where nobody
//! says that the upstream honours it. In: the request. Out: nothing, or the refusal. The condition goes upstream all the
//! same, and is atomic there if it is known; where it is not, a client is still told of every change but one made
//! between this look and its write.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.

use http::{HeaderName, HeaderValue, Method, header};

use super::settle::Record;
use super::{Ask, Gateway};
use crate::dialect::{Condition, Honoured};
use crate::error::{Code, Result};
use crate::s3::operation::Operation;
use crate::upstream::headers;

impl Gateway {
    /// Whether the write depends on what is there, and nobody says that the upstream sees to it.
    pub(super) fn is_uncertain(&self, ask: &Ask<'_>) -> bool {
        self.replaces(ask) || self.creates(ask)
    }

    /// Looks whether the condition of such a write holds.
    pub(super) async fn look_at_condition(&self, ask: &Ask<'_>, record: &mut Record) -> Result<()> {
        let (replaces, creates) = (self.replaces(ask), self.creates(ask));
        let target = ask.grant.target(ask.key())?;
        let call = self
            .upstream
            .object_call(Operation::HeadObject, Method::HEAD, &target)
            .headers(headers::of_if_match(ask.headers));
        let response = match self.forward(call, ask, record).await {
            Err(error) if error.code == Code::NoSuchKey && !replaces => return Ok(()),
            answered => answered?,
        };
        // An upstream that knows the condition of a HEAD has said so already.
        let etag = response.headers().get(header::ETAG);
        if !creates && ask.headers.get_all(header::IF_MATCH).iter().any(|tags| lists(tags, etag)) {
            Ok(())
        } else {
            Err(Code::PreconditionFailed.into())
        }
    }

    /// Only what writes or removes a whole object can be held to the one that is there.
    fn replaces(&self, ask: &Ask<'_>) -> bool {
        let of_whole = matches!(
            ask.request.operation,
            Operation::PutObject
                | Operation::CopyObject
                | Operation::CompleteMultipartUpload
                | Operation::DeleteObject
        );
        of_whole && self.may_be_honoured(ask, Condition::IfMatch, &header::IF_MATCH)
    }

    /// Of `PutObject` it is known.
    fn creates(&self, ask: &Ask<'_>) -> bool {
        let writes_whole =
            matches!(ask.request.operation, Operation::CopyObject | Operation::CompleteMultipartUpload);
        writes_whole && self.may_be_honoured(ask, Condition::IfNoneMatch, &header::IF_NONE_MATCH)
    }

    fn may_be_honoured(&self, ask: &Ask<'_>, condition: Condition, name: &HeaderName) -> bool {
        let (dialect, write) = (self.upstream.dialect(), ask.request.operation);
        let wanted = ask.headers.get(name);
        wanted.is_some_and(|wanted| dialect.honours(write, condition, wanted) == Honoured::Perhaps)
    }
}

/// Whether a list of entity tags (or `*`) holds this one.
pub(super) fn lists(tags: &HeaderValue, etag: Option<&HeaderValue>) -> bool {
    let tags = tags.to_str().unwrap_or_default();
    tags.split(',').map(str::trim).any(|tag| tag == "*" || is_etag(etag, tag))
}

/// Quotes may be missing: S3's clients leave them out, and so do servers in documents.
pub(super) fn is_etag(etag: Option<&HeaderValue>, tag: &str) -> bool {
    let etag = etag.and_then(|etag| etag.to_str().ok());
    etag.is_some_and(|etag| etag.trim_matches('"') == tag.trim_matches('"'))
}
