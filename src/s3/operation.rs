//! Which S3 operation a request head asks for: method, path, query and the one header that matters
//! (`x-amz-copy-source`) in; one closed `Operation` with its bucket and key out, or the error that S3 gives.
//! An operation states what the rooms after it need: what it does to whom (`Access`), what body it takes
//! (`BodyKind`). Whatever is not in the table is `NotImplemented` and goes no further.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>.

use http::Method;

use crate::error::{Code, Error, Result};
use crate::s3::query::Query;
use crate::s3::uri;
use crate::types::{BucketName, ClientKey, KeyProblem};

/// Everything the gateway can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    ListBuckets,
    HeadBucket,
    CreateBucket,
    GetBucketLocation,
    GetBucketVersioning,
    GetBucketAcl,
    PutBucketAcl,
    /// A bucket setting that nobody can make here: S3's own "there is none".
    GetBucketSetting(Setting),
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    ListMultipartUploads,
    DeleteObjects,
    GetObject,
    HeadObject,
    PutObject,
    DeleteObject,
    CopyObject,
    GetObjectAcl,
    PutObjectAcl,
    GetObjectAttributes,
    RestoreObject,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
}

/// Bucket settings whose absence S3 has a way to say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Setting {
    Accelerate,
    Cors,
    Encryption,
    Lifecycle,
    Logging,
    Notification,
    ObjectLock,
    OwnershipControls,
    Policy,
    PolicyStatus,
    PublicAccessBlock,
    Replication,
    RequestPayment,
    Tagging,
    Website,
}

/// What an operation does, for authorisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Asks about buckets themselves; answered here.
    Bucket,
    /// Names of objects or uploads.
    List,
    /// An object's bytes or head.
    Read,
    /// Makes, replaces or removes objects or uploads.
    Write,
}

/// What an operation does with the request body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyKind {
    /// There should be none; what comes is not read.
    None,
    /// An object's bytes: streamed.
    Object,
    /// A small document, read whole up to this many bytes.
    Document(usize),
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Operation {
    /// Every operation, for metrics that are born at zero.
    pub const ALL: [Self; 28] = [
        Self::ListBuckets,
        Self::HeadBucket,
        Self::CreateBucket,
        Self::GetBucketLocation,
        Self::GetBucketVersioning,
        Self::GetBucketAcl,
        Self::PutBucketAcl,
        Self::GetBucketSetting(Setting::Policy),
        Self::ListObjects,
        Self::ListObjectsV2,
        Self::ListObjectVersions,
        Self::ListMultipartUploads,
        Self::DeleteObjects,
        Self::GetObject,
        Self::HeadObject,
        Self::PutObject,
        Self::DeleteObject,
        Self::CopyObject,
        Self::GetObjectAcl,
        Self::PutObjectAcl,
        Self::GetObjectAttributes,
        Self::RestoreObject,
        Self::CreateMultipartUpload,
        Self::UploadPart,
        Self::UploadPartCopy,
        Self::CompleteMultipartUpload,
        Self::AbortMultipartUpload,
        Self::ListParts,
    ];

    /// The operation's name in the API reference; all bucket settings share one.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::HeadBucket => "HeadBucket",
            Self::CreateBucket => "CreateBucket",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::GetBucketAcl => "GetBucketAcl",
            Self::PutBucketAcl => "PutBucketAcl",
            Self::GetBucketSetting(_) => "GetBucketSetting",
            Self::ListObjects => "ListObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListObjectVersions => "ListObjectVersions",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::DeleteObjects => "DeleteObjects",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::PutObject => "PutObject",
            Self::DeleteObject => "DeleteObject",
            Self::CopyObject => "CopyObject",
            Self::GetObjectAcl => "GetObjectAcl",
            Self::PutObjectAcl => "PutObjectAcl",
            Self::GetObjectAttributes => "GetObjectAttributes",
            Self::RestoreObject => "RestoreObject",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListParts => "ListParts",
        }
    }

    pub fn access(self) -> Access {
        match self {
            Self::ListBuckets
            | Self::HeadBucket
            | Self::CreateBucket
            | Self::GetBucketLocation
            | Self::GetBucketVersioning
            | Self::GetBucketAcl
            | Self::PutBucketAcl
            | Self::GetBucketSetting(_) => Access::Bucket,
            Self::ListObjects
            | Self::ListObjectsV2
            | Self::ListObjectVersions
            | Self::ListMultipartUploads => Access::List,
            Self::GetObject | Self::HeadObject | Self::GetObjectAcl | Self::GetObjectAttributes => {
                Access::Read
            }
            Self::DeleteObjects
            | Self::PutObject
            | Self::DeleteObject
            | Self::CopyObject
            | Self::PutObjectAcl
            | Self::RestoreObject
            | Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload
            | Self::AbortMultipartUpload
            | Self::ListParts => Access::Write,
        }
    }

    pub fn body(self) -> BodyKind {
        match self {
            Self::PutObject | Self::UploadPart => BodyKind::Object,
            Self::DeleteObjects | Self::CompleteMultipartUpload => BodyKind::Document(2 * MIB),
            Self::PutBucketAcl | Self::PutObjectAcl | Self::RestoreObject | Self::CreateBucket => {
                BodyKind::Document(64 * KIB)
            }
            Self::ListBuckets
            | Self::HeadBucket
            | Self::GetBucketLocation
            | Self::GetBucketVersioning
            | Self::GetBucketAcl
            | Self::GetBucketSetting(_)
            | Self::ListObjects
            | Self::ListObjectsV2
            | Self::ListObjectVersions
            | Self::ListMultipartUploads
            | Self::GetObject
            | Self::HeadObject
            | Self::DeleteObject
            | Self::CopyObject
            | Self::GetObjectAcl
            | Self::GetObjectAttributes
            | Self::CreateMultipartUpload
            | Self::UploadPartCopy
            | Self::AbortMultipartUpload
            | Self::ListParts => BodyKind::None,
        }
    }

    /// The upstream may take minutes: it gets `slow_operation_timeout`, and the client is kept alive.
    pub fn is_slow(self) -> bool {
        matches!(self, Self::CopyObject | Self::UploadPartCopy | Self::CompleteMultipartUpload)
    }
}

impl Setting {
    /// What S3 answers when there is none: an error code, or an empty document with this root.
    pub fn absent(self) -> Absent {
        match self {
            Self::Accelerate => Absent::Empty("AccelerateConfiguration"),
            Self::Logging => Absent::Empty("BucketLoggingStatus"),
            Self::Notification => Absent::Empty("NotificationConfiguration"),
            Self::RequestPayment => Absent::Payer,
            Self::Cors => Absent::Code(Code::NoSuchCORSConfiguration),
            Self::Encryption => Absent::Code(Code::ServerSideEncryptionConfigurationNotFoundError),
            Self::Lifecycle => Absent::Code(Code::NoSuchLifecycleConfiguration),
            Self::ObjectLock => Absent::Code(Code::ObjectLockConfigurationNotFoundError),
            Self::OwnershipControls => Absent::Code(Code::OwnershipControlsNotFoundError),
            Self::Policy | Self::PolicyStatus => Absent::Code(Code::NoSuchBucketPolicy),
            Self::PublicAccessBlock => Absent::Code(Code::NoSuchPublicAccessBlockConfiguration),
            Self::Replication => Absent::Code(Code::ReplicationConfigurationNotFoundError),
            Self::Tagging => Absent::Code(Code::NoSuchTagSet),
            Self::Website => Absent::Code(Code::NoSuchWebsiteConfiguration),
        }
    }
}

/// How S3 says "there is none".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    Code(Code),
    Empty(&'static str),
    /// `RequestPaymentConfiguration` always says who pays.
    Payer,
}

/// Where a request points, decoded once.
#[derive(Debug)]
pub struct Target {
    pub bucket: Option<BucketName>,
    pub key: Option<ClientKey>,
}

impl Target {
    /// `host_bucket` is the bucket that a virtual-hosted `Host` names, still unchecked.
    pub fn parse(raw_path: &str, host_bucket: Option<&str>) -> Result<Self> {
        let rest = raw_path.strip_prefix('/').ok_or(Code::InvalidURI)?;
        let (bucket, raw_key) = match host_bucket {
            Some(bucket) => (bucket.into(), rest),
            None if rest.is_empty() => {
                return Ok(Self { bucket: None, key: None });
            }
            None => {
                let (bucket, raw_key) = rest.split_once('/').unwrap_or((rest, ""));
                (uri::decode_path(bucket).map_err(|_| Code::InvalidURI)?, raw_key)
            }
        };
        if BucketName::RESERVED.contains(&&*bucket) {
            return Err(Code::NoSuchBucket.into());
        }
        let bucket = BucketName::parse(&bucket).ok_or(Code::InvalidBucketName)?;
        if raw_key.is_empty() {
            return Ok(Self { bucket: Some(bucket), key: None });
        }
        let key = uri::decode_path(raw_key).map_err(|_| Code::InvalidURI)?;
        Ok(Self { bucket: Some(bucket), key: Some(client_key(key.into_owned())?) })
    }
}

/// A decoded key, or S3's error for what is none.
pub fn client_key(text: String) -> Result<ClientKey> {
    ClientKey::new(text).map_err(|problem| match problem {
        KeyProblem::TooLong => Code::KeyTooLongError.into(),
        KeyProblem::Empty => Code::InvalidArgument.into(),
        KeyProblem::Nul => Error::new(Code::InvalidURI).say("A key cannot contain NUL."),
        KeyProblem::DotSegment => {
            Error::new(Code::InvalidURI).say("A key cannot contain a path segment `.` or `..`.")
        }
    })
}

/// A request head, parsed.
#[derive(Debug)]
pub struct Request<'a> {
    pub operation: Operation,
    pub target: Target,
    pub query: Query<'a>,
}

impl<'a> Request<'a> {
    pub fn new(method: &Method, target: Target, query: Query<'a>, copy: bool) -> Result<Self> {
        let operation = operation(method, &target, &query, copy)?;
        Ok(Self { operation, target, query })
    }

    /// The key, where the operation has one.
    pub fn key(&self) -> &ClientKey {
        self.target.key.as_ref().expect("operations on objects are parsed only with a key")
    }

    pub fn bucket(&self) -> &BucketName {
        self.target.bucket.as_ref().expect("operations on buckets are parsed only with a bucket")
    }
}

/// Query parameters that select another operation or another face of the resource. One that no rule below
/// takes is refused, so that `GET /b/k?torrent` is never a plain GET.
const SUBRESOURCES: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

fn operation(method: &Method, target: &Target, query: &Query<'_>, copy: bool) -> Result<Operation> {
    let mut subresources = query.iter().map(|(name, _)| name).filter(|name| SUBRESOURCES.contains(name));
    let sub = subresources.next();
    if subresources.any(|other| Some(other) != sub) {
        return Err(Error::new(Code::InvalidArgument).say("Conflicting query string parameters"));
    }
    match (&target.bucket, &target.key) {
        (None, _) => on_service(method, sub),
        (Some(_), None) => on_bucket(method, sub, query),
        (Some(_), Some(_)) => on_object(method, sub, query, copy),
    }
}

fn on_service(method: &Method, sub: Option<&str>) -> Result<Operation> {
    match (method.as_str(), sub) {
        ("GET", None) => Ok(Operation::ListBuckets),
        _ => Err(unknown(method)),
    }
}

fn on_bucket(method: &Method, sub: Option<&str>, query: &Query<'_>) -> Result<Operation> {
    Ok(match (method.as_str(), sub) {
        ("HEAD", None) => Operation::HeadBucket,
        ("PUT", None) => Operation::CreateBucket,
        ("GET", None) => match query.get("list-type") {
            None => Operation::ListObjects,
            Some("2") => Operation::ListObjectsV2,
            Some(_) => {
                return Err(Error::new(Code::InvalidArgument).say("Invalid List Type specified in Request"));
            }
        },
        ("GET", Some("location")) => Operation::GetBucketLocation,
        ("GET", Some("versioning")) => Operation::GetBucketVersioning,
        ("GET", Some("acl")) => Operation::GetBucketAcl,
        ("PUT", Some("acl")) => Operation::PutBucketAcl,
        ("GET", Some("versions")) => Operation::ListObjectVersions,
        ("GET", Some("uploads")) => Operation::ListMultipartUploads,
        ("POST", Some("delete")) => Operation::DeleteObjects,
        ("GET", Some(name)) => match setting(name) {
            Some(setting) => Operation::GetBucketSetting(setting),
            None => return Err(Code::NotImplemented.into()),
        },
        _ => return Err(unknown(method)),
    })
}

fn setting(subresource: &str) -> Option<Setting> {
    Some(match subresource {
        "accelerate" => Setting::Accelerate,
        "cors" => Setting::Cors,
        "encryption" => Setting::Encryption,
        "lifecycle" => Setting::Lifecycle,
        "logging" => Setting::Logging,
        "notification" => Setting::Notification,
        "object-lock" => Setting::ObjectLock,
        "ownershipControls" => Setting::OwnershipControls,
        "policy" => Setting::Policy,
        "policyStatus" => Setting::PolicyStatus,
        "publicAccessBlock" => Setting::PublicAccessBlock,
        "replication" => Setting::Replication,
        "requestPayment" => Setting::RequestPayment,
        "tagging" => Setting::Tagging,
        "website" => Setting::Website,
        _ => return None,
    })
}

fn on_object(method: &Method, sub: Option<&str>, query: &Query<'_>, copy: bool) -> Result<Operation> {
    if query.get("versionId") == Some("") {
        return Err(Error::new(Code::InvalidArgument).say("Version id cannot be the empty string"));
    }
    Ok(match (method.as_str(), sub) {
        ("GET", None) => Operation::GetObject,
        ("HEAD", None) => Operation::HeadObject,
        // A part number without an upload id would overwrite or delete the whole object for one part.
        ("PUT" | "DELETE", None) if query.has("partNumber") => {
            return Err(
                Error::new(Code::InvalidArgument).say("This operation does not accept a part number.")
            );
        }
        // Nor can a version be written: it would be the current object that changes.
        ("PUT", None) if query.has("versionId") => {
            return Err(Error::new(Code::InvalidArgument).say("This operation does not accept a version-id."));
        }
        ("PUT", None) if copy => Operation::CopyObject,
        ("PUT", None) => Operation::PutObject,
        ("DELETE", None) => Operation::DeleteObject,
        ("GET", Some("acl")) => Operation::GetObjectAcl,
        ("PUT", Some("acl")) => Operation::PutObjectAcl,
        ("GET", Some("attributes")) => Operation::GetObjectAttributes,
        ("POST", Some("restore")) => Operation::RestoreObject,
        ("POST", Some("uploads")) => Operation::CreateMultipartUpload,
        ("PUT", Some("uploadId")) if !query.has("partNumber") => {
            return Err(Error::new(Code::InvalidArgument).say("This operation needs a part number."));
        }
        ("PUT", Some("uploadId")) if copy => Operation::UploadPartCopy,
        ("PUT", Some("uploadId")) => Operation::UploadPart,
        ("POST", Some("uploadId")) => Operation::CompleteMultipartUpload,
        ("DELETE", Some("uploadId")) => Operation::AbortMultipartUpload,
        ("GET", Some("uploadId")) => Operation::ListParts,
        _ => return Err(unknown(method)),
    })
}

/// S3 knows five methods; what they do not cover here is not implemented.
fn unknown(method: &Method) -> Error {
    match method.as_str() {
        "GET" | "HEAD" | "PUT" | "POST" | "DELETE" => Code::NotImplemented.into(),
        "OPTIONS" => Code::AccessForbidden.into(),
        _ => Code::MethodNotAllowed.into(),
    }
}

#[cfg(test)]
mod tests;
