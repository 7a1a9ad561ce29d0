//! An object by the platform's own URI. The path in it is one of the real bucket; it is mapped back, by the caller's
//! own scopes, to the bucket and key that the caller would have named on S3. What has no such name does not exist.

use super::Visit;
use crate::body::unread::Unread;
use crate::error::{Code, Error, Result};
use crate::gateway::answer::Answer;
use crate::gateway::settle::Record;
use crate::gateway::{Gateway, presigned};
use crate::s3::operation::{self, Operation, Target, client_key};
use crate::s3::query::Query;
use crate::sigv4::verify::VerifiedPayload;
use crate::types::Caller;

impl Gateway {
    pub(super) async fn object_by_uri(
        &self,
        query: Query<'_>,
        visit: &Visit<'_>,
        payload: VerifiedPayload,
        body: &mut Unread,
        record: &mut Record,
    ) -> Result<Answer> {
        let caller = record.caller.clone().expect("who was let in is known");
        let missing = || Error::new(Code::InvalidArgument).say("Expected ?uri=, the URI of an object.");
        let target = self.locate(&caller, query.get("uri").ok_or_else(missing)?)?;
        record.bucket.clone_from(&target.bucket);
        record.key.clone_from(&target.key);
        let headers = presigned::headers(&visit.parts.headers, &query)?;
        let request = operation::Request::new(&visit.parts.method, target, query, false)?;
        match request.operation {
            Operation::GetObject | Operation::HeadObject | Operation::DeleteObject => {}
            _ => {
                return Err(
                    Error::new(Code::InvalidArgument).say("Only whole objects can be asked for here.")
                );
            }
        }
        record.operation = Some(request.operation);
        let ask = self.ask(&request, &headers, &caller, visit, record).await?;
        self.dispatch(ask, payload, body, record).await
    }

    /// The caller's own names of what the platform calls so.
    pub(super) fn locate(&self, caller: &Caller, uri: &str) -> Result<Target> {
        let off = || Error::new(Code::NotImplemented).say("URIs are turned off here.");
        let path = self.uri_scheme.as_ref().ok_or_else(off)?.path_of(uri)?;
        for name in &self.bucket_names {
            let Some(bucket) = self.buckets.get(name) else { continue };
            if let Some(key) = bucket.key_of(caller, &path).filter(|key| !key.is_empty()) {
                return Ok(Target { bucket: Some(name.clone()), key: Some(client_key(key.to_owned())?) });
            }
        }
        Err(Code::NoSuchKey.into())
    }
}
