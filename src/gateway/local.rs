//! What the gateway answers by itself: its buckets, their settings, which nobody can make, and the one ACL.

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::answer::Answer;
use super::settle::Record;
use super::{Ask, Gateway};
use crate::dialect::Answers;
use crate::error::{Code, Result};
use crate::s3::operation::{Absent, Setting};
use crate::s3::xml::{self, Owner};
use crate::types::Caller;
use crate::upstream;

/// Virtual buckets were never created; the time is the same for everyone, always.
const CREATED: &str = "1970-01-01T00:00:00.000Z";

pub(super) fn owner(caller: &Caller) -> Owner<'_> {
    Owner { id: caller.user.as_str(), name: caller.user.as_str() }
}

impl Gateway {
    pub(super) fn list_buckets(&self, caller: &Caller) -> Answer {
        let buckets = self.bucket_names.iter().map(|name| (name.as_str(), CREATED));
        Answer::xml(xml::write_buckets(owner(caller), buckets))
    }

    pub(super) fn head_bucket(&self) -> Answer {
        let region =
            HeaderValue::from_str(&self.region).expect("the configuration admits only printable regions");
        Answer::empty(StatusCode::OK).header(HeaderName::from_static("x-amz-bucket-region"), region)
    }

    pub(super) fn bucket_location(&self) -> Answer {
        Answer::xml(xml::write_location(&self.region))
    }

    /// What the upstream has; an upstream that does not know the question has no versions.
    pub(super) async fn bucket_versioning(&self, ask: &Ask<'_>, record: &mut Record) -> Result<Answer> {
        if self.upstream.dialect().answers(ask.request.operation) == Answers::Gateway {
            return Ok(Answer::xml(xml::write_versioning(None)));
        }
        let call = self.upstream.bucket_call(ask.request.operation, Method::GET).query("versioning", "");
        let status = match self.forward(call, ask, record).await {
            Ok(response) => xml::parse_versioning(&upstream::read_document(response).await?)?,
            Err(error) if matches!(error.code, Code::NotImplemented | Code::MethodNotAllowed) => None,
            Err(error) => return Err(error),
        };
        Ok(Answer::xml(xml::write_versioning(status)))
    }
}

pub(super) fn absent_setting(setting: Setting) -> Result<Answer> {
    match setting.absent() {
        Absent::Code(code) => Err(code.into()),
        Absent::Empty(root) => Ok(Answer::xml(xml::Writer::s3(root).finish(root))),
        Absent::Payer => {
            let mut document = xml::Writer::s3("RequestPaymentConfiguration");
            document.leaf("Payer", "BucketOwner");
            Ok(Answer::xml(document.finish("RequestPaymentConfiguration")))
        }
    }
}

pub(super) fn private_acl(caller: &Caller) -> Answer {
    Answer::xml(xml::write_acl(owner(caller)))
}

/// Everything is private already: to say so again is fine, to say anything else is not implemented.
pub(super) fn accept_private_acl(ask: &Ask<'_>, document: &str) -> Result<Answer> {
    let canned = ask.headers.contains_key("x-amz-acl");
    let private =
        if document.is_empty() { canned } else { xml::is_private_acl(document, ask.caller.user.as_str()) };
    if private { Ok(Answer::empty(StatusCode::OK)) } else { Err(Code::NotImplemented.into()) }
}
