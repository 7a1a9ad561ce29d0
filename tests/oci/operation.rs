//! Which operation a request is, among those that OCI's table of supported operations names; by method, place and the
//! parameters of the query. A parameter that its operation does not have makes it another operation, which OCI lacks.

use http::Method;

use super::refusal::Refusal;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    GetLocation,
    ListObjects,
    ListUploads,
    DeleteObjects,
    GetObject,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    RestoreObject,
    InitiateUpload,
    UploadPart,
    CopyPart,
    CompleteUpload,
    AbortUpload,
    ListParts,
}

/// What a request names, and how.
pub(super) struct Named<'a> {
    pub(super) method: &'a Method,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    /// Without those of a presigned URL's signature.
    pub(super) parameters: &'a [(String, String)],
    pub(super) has_copy_source: bool,
}

const LISTING: &[&str] = &[
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "list-type",
    "marker",
    "max-keys",
    "prefix",
    "start-after",
];
const UPLOADS: &[&str] =
    &["delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker", "uploads"];
const READ: &[&str] = &[
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "versionId",
];
const PARTS: &[&str] = &["encoding-type", "max-parts", "part-number-marker", "uploadId"];

impl Named<'_> {
    pub(super) fn operation(&self) -> Result<Operation, Refusal> {
        let has = |name: &str| self.parameters.iter().any(|(own, _)| own == name);
        let only = |allowed: &[&str]| self.parameters.iter().all(|(own, _)| allowed.contains(&own.as_str()));
        let is = |method: &Method| self.method == method;
        let found = if self.bucket.is_empty() {
            (is(&Method::GET) && only(&[])).then_some(Operation::ListBuckets)
        } else if self.key.is_empty() {
            match *self.method {
                Method::PUT if only(&[]) => Some(Operation::CreateBucket),
                Method::HEAD if only(&[]) => Some(Operation::HeadBucket),
                Method::GET if has("location") && only(&["location"]) => Some(Operation::GetLocation),
                Method::GET if has("uploads") && only(UPLOADS) => Some(Operation::ListUploads),
                Method::GET if only(LISTING) => Some(Operation::ListObjects),
                Method::POST if has("delete") && only(&["delete"]) => Some(Operation::DeleteObjects),
                _ => None,
            }
        } else if has("tagging") {
            let verb = if is(&Method::GET) {
                "Get"
            } else if is(&Method::PUT) {
                "Put"
            } else {
                "Delete"
            };
            let text = format!("S3 {verb} Object tagging operation is not supported.");
            return Err(Refusal::new(501, "NotImplemented", text));
        } else {
            let part = has("partNumber") && has("uploadId") && only(&["partNumber", "uploadId"]);
            let upload = has("uploadId") && only(&["uploadId"]);
            match *self.method {
                Method::GET if has("uploadId") && only(PARTS) => Some(Operation::ListParts),
                Method::GET if only(READ) => Some(Operation::GetObject),
                Method::HEAD if only(READ) => Some(Operation::HeadObject),
                Method::PUT if part && self.has_copy_source => Some(Operation::CopyPart),
                Method::PUT if part => Some(Operation::UploadPart),
                Method::PUT if only(&[]) && self.has_copy_source => Some(Operation::CopyObject),
                Method::PUT if only(&[]) => Some(Operation::PutObject),
                Method::POST if has("uploads") && only(&["uploads"]) => Some(Operation::InitiateUpload),
                Method::POST if upload => Some(Operation::CompleteUpload),
                Method::POST if has("restore") && only(&["restore", "versionId"]) => {
                    Some(Operation::RestoreObject)
                }
                Method::DELETE if upload => Some(Operation::AbortUpload),
                Method::DELETE if only(&["versionId"]) => Some(Operation::DeleteObject),
                _ => None,
            }
        };
        found.ok_or_else(Refusal::not_implemented)
    }
}
