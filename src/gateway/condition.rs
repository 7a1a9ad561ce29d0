//! A write that depends on what is there (`If-Match`), where nobody says that the upstream honours it. In: the request.
//! Out: nothing, or the refusal. The condition goes upstream all the same, and is atomic there if it is known; where it
//! is not, a client is still told of every change but one made between this look and its write.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>.

use http::{HeaderValue, Method, header};

use super::settle::Record;
use super::{Ask, Gateway};
use crate::dialect::{Condition, Honoured};
use crate::error::{Code, Result};
use crate::s3::operation::{Access, Operation};
use crate::upstream::headers;

impl Gateway {
    pub(super) async fn look_at_condition(&self, ask: &Ask<'_>, record: &mut Record) -> Result<()> {
        let Some(wanted) = ask.headers.get(header::IF_MATCH) else {
            return Ok(());
        };
        let dialect = self.upstream.dialect();
        let honoured = dialect.honours(Condition::IfMatch, wanted) == Honoured::Atomically;
        if ask.request.operation.access() != Access::Write || honoured {
            return Ok(());
        }
        let target = ask.grant.target(ask.key())?;
        let call = self
            .upstream
            .object_call(Operation::HeadObject, Method::HEAD, &target)
            .headers(headers::of_if_match(ask.headers));
        let response = self.forward(call, ask, record).await?;
        // An upstream that knows the condition of a HEAD has said so already.
        let etag = response.headers().get(header::ETAG);
        if ask.headers.get_all(header::IF_MATCH).iter().any(|tags| lists(tags, etag)) {
            Ok(())
        } else {
            Err(Code::PreconditionFailed.into())
        }
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
