//! The calls of `/api/v1` that are about objects: S3 operations under other addresses. In: a caller who was let in,
//! and a path that names one of these calls. Out: the answer, or an error for the API to word. Each builds the
//! request that an S3 client would have sent and walks it down the same corridor, by the same rules.

mod objects;
mod par;
mod presign;
mod recursive;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use super::answer::Answer;
use super::settle::Record;
use super::{Access, Gateway, Peer};
use crate::admit::tiers::Standing;
use crate::auth::session::Origin;
use crate::body::plan::UploadPlan;
use crate::body::small;
use crate::body::unread::Unread;
use crate::error::Result;
use crate::s3::query::Query;
use crate::sigv4::verify::VerifiedPayload;

/// The largest document that any of these calls takes.
const MAX_BODY: usize = 64 * 1024;

/// What is asked for, by the path alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call<'p> {
    /// An object by its URI: GET, HEAD or DELETE.
    Object,
    /// Everything of one dataset or model.
    DeleteAll {
        bucket: &'static str,
        raw_id: &'p str,
    },
    Presign,
    CreatePar,
    DeletePar {
        id: &'p str,
    },
}

impl<'p> Call<'p> {
    pub(super) fn find(method: &Method, path: &'p str) -> Option<Self> {
        let path = path.strip_prefix("/api/v1/")?;
        let (family, rest) = path.split_once('/').map_or((path, None), |(family, rest)| (family, Some(rest)));
        let one_segment = rest.filter(|rest| !rest.is_empty() && !rest.contains('/'));
        match (method.as_str(), family, rest, one_segment) {
            ("GET" | "HEAD" | "DELETE", "objects", None, _) => Some(Self::Object),
            ("DELETE", "datasets", _, Some(raw_id)) => Some(Self::DeleteAll { bucket: "datasets", raw_id }),
            ("DELETE", "models", _, Some(raw_id)) => Some(Self::DeleteAll { bucket: "models", raw_id }),
            ("POST", "presign", None, _) => Some(Self::Presign),
            ("POST", "par", None, _) => Some(Self::CreatePar),
            ("DELETE", "par", _, Some(id)) => Some(Self::DeletePar { id }),
            _ => None,
        }
    }

    /// While the state store is away, only what reads goes on.
    pub(super) fn access(self, method: &Method) -> Access {
        match self {
            Self::Object if *method != Method::DELETE => Access::Read,
            // A URL is made for the user as they stand now.
            Self::Object
            | Self::DeleteAll { .. }
            | Self::Presign
            | Self::CreatePar
            | Self::DeletePar { .. } => Access::Write,
        }
    }
}

/// A request whose caller was let in, on its way to its operation.
pub(super) struct Visit<'a> {
    pub parts: &'a Parts,
    pub standing: Arc<Standing>,
    /// What a session of the caller's stems from.
    pub origin: Origin,
    /// They hold a URL, and not the keys that it was signed with.
    pub is_presigned: bool,
    pub peer: Peer,
    pub now: SystemTime,
}

impl Gateway {
    pub(super) async fn serve_platform(
        &self,
        call: Call<'_>,
        query: Query<'_>,
        visit: &Visit<'_>,
        payload: VerifiedPayload,
        body: &mut Unread,
        record: &mut Record,
    ) -> Result<Answer> {
        match call {
            Call::Object => self.object_by_uri(query, visit, payload, body, record).await,
            Call::DeleteAll { bucket, raw_id } => {
                self.delete_all(bucket, raw_id, &query, visit, record).await
            }
            Call::Presign => {
                let document = self.read_body(visit, payload, body, record).await?;
                self.presign(&document, visit, record).await
            }
            Call::CreatePar => {
                let document = self.read_body(visit, payload, body, record).await?;
                self.create_par(&document, visit, record).await
            }
            Call::DeletePar { id } => self.delete_par(id, visit, record).await,
        }
    }

    /// A small document, whole and verified.
    pub(in crate::gateway) async fn read_body(
        &self,
        visit: &Visit<'_>,
        payload: VerifiedPayload,
        body: &mut Unread,
        record: &mut Record,
    ) -> Result<Bytes> {
        let plan = UploadPlan::for_small(&visit.parts.headers, payload.into_inner())?;
        let document = small::read_small(body.take(), plan, MAX_BODY, self.body_idle_timeout).await?;
        body.was_read_whole();
        record.document_bytes = u64::try_from(document.len()).expect("a length fits");
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_calls() {
        let find = |method: &str, path| Call::find(&method.parse().expect("a method"), path);
        let dataset = |raw_id| Some(Call::DeleteAll { bucket: "datasets", raw_id });
        for method in ["GET", "HEAD", "DELETE"] {
            assert_eq!(find(method, "/api/v1/objects"), Some(Call::Object));
        }
        assert_eq!(find("DELETE", "/api/v1/datasets/ds-1"), dataset("ds-1"));
        assert_eq!(find("DELETE", "/api/v1/datasets/a%2Fb"), dataset("a%2Fb"));
        assert_eq!(find("POST", "/api/v1/par"), Some(Call::CreatePar));
        assert_eq!(find("DELETE", "/api/v1/par/1"), Some(Call::DeletePar { id: "1" }));
        assert_eq!(find("POST", "/api/v1/presign"), Some(Call::Presign));
        for (method, path) in [
            ("PUT", "/api/v1/objects"),
            ("GET", "/api/v1/objects/"),
            ("GET", "/api/v1/objects/x"),
            ("GET", "/api/v1/datasets/ds1"),
            ("DELETE", "/api/v1/datasets"),
            ("DELETE", "/api/v1/datasets/"),
            ("DELETE", "/api/v1/datasets/a/b"),
            ("DELETE", "/api/v1/logs/job1"),
            ("DELETE", "/api/v2/datasets/ds1"),
            ("POST", "/api/v1/presign/"),
            ("GET", "/api/v1/quota"),
        ] {
            assert_eq!(find(method, path), None, "{method} {path}");
        }
    }
}
