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
use crate::s3::operation::{Access, Operation};
use crate::upstream::headers;

impl Gateway {
    pub(super) async fn look_at_condition(&self, ask: &Ask<'_>, record: &mut Record) -> Result<()> {
        let (dialect, write) = (self.upstream.dialect(), ask.request.operation);
        let is_uncertain = |condition, name: HeaderName| {
            let wanted = ask.headers.get(name);
            wanted.is_some_and(|wanted| dialect.honours(write, condition, wanted) == Honoured::Perhaps)
        };
        let replaces = is_uncertain(Condition::IfMatch, header::IF_MATCH);
        let creates = writes_whole(write) && is_uncertain(Condition::IfNoneMatch, header::IF_NONE_MATCH);
        if write.access() != Access::Write || !(replaces || creates) {
            return Ok(());
        }
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
}

/// Of the writes of a whole object, those that may be made to create it.
fn writes_whole(write: Operation) -> bool {
    matches!(write, Operation::CopyObject | Operation::CompleteMultipartUpload)
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
