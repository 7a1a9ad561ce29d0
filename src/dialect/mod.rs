//! What the S3 service behind the gateway speaks: the one place that says what OCI Object Storage does otherwise
//! than others. In: a name of the configuration, then questions that the rooms ask. Out: answers, as types; no
//! room looks at the name itself.
//!
//! The same in both dialects: path style, the region in the signature's scope, a plain body with `Content-Length`
//! and `UNSIGNED-PAYLOAD`, and of a client's headers only those that `upstream::headers` lists (no
//! `x-amz-sdk-checksum-algorithm`, no `x-amz-trailer`, no checksum, no ACL); SSE-C passes; an `ETag` is a text that
//! nobody computes with.
//!
//! Follows <https://docs.oracle.com/en-us/iaas/Content/Object/Tasks/s3compatibleapi.htm> and its page
//! `s3compatibleapi_topic-Amazon_S3_Compatibility_API_Support.htm`.

mod host;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use md5::{Digest as _, Md5};

use crate::s3::operation::Operation;
pub use host::{Face, OciHost, is_label};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// OCI Object Storage through its Amazon S3 Compatibility API.
    Oci,
    /// Any other S3 service.
    S3,
}

/// Who answers an operation that a caller may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answers {
    Upstream,
    /// Without a question to the upstream about it, or by way of a HEAD.
    Gateway,
    NotImplemented,
}

/// What a write may make depend on what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    IfMatch,
    IfNoneMatch,
}

/// What is known of an upstream and a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Honoured {
    /// It holds, whatever runs at the same time.
    Atomically,
    /// Nobody says so: the gateway looks before it sends it along.
    Perhaps,
    No,
}

/// What the refusal of a call says about the gateway's own access key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal<'a> {
    pub status: u16,
    /// Empty where the answer had no document, as to HEAD.
    pub code: &'a str,
    pub message: &'a str,
}

impl Dialect {
    pub const ALL: [Self; 2] = [Self::Oci, Self::S3];

    /// The name in `upstream.dialect`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::S3 => "s3",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The host that namespace and region, which are labels, stand for. Other services have no such rule.
    pub fn host(self, namespace: &str, region: &str) -> Option<String> {
        match self {
            Self::Oci => Some(format!("{namespace}.compat.objectstorage.{region}.oci.customer-oci.com")),
            Self::S3 => None,
        }
    }

    pub fn answers(self, operation: Operation) -> Answers {
        match operation {
            Operation::ListBuckets
            | Operation::HeadBucket
            | Operation::CreateBucket
            | Operation::GetBucketLocation
            | Operation::GetBucketAcl
            | Operation::PutBucketAcl
            | Operation::GetBucketSetting(_)
            | Operation::GetObjectAcl
            | Operation::PutObjectAcl
            | Operation::GetObjectAttributes => Answers::Gateway,
            // OCI's S3 face keeps versions and cannot tell of them: that is for its native API.
            Operation::GetBucketVersioning => match self {
                Self::Oci => Answers::Gateway,
                Self::S3 => Answers::Upstream,
            },
            Operation::ListObjectVersions => match self {
                Self::Oci => Answers::NotImplemented,
                Self::S3 => Answers::Upstream,
            },
            Operation::ListObjects
            | Operation::ListObjectsV2
            | Operation::ListMultipartUploads
            | Operation::DeleteObjects
            | Operation::GetObject
            | Operation::HeadObject
            | Operation::PutObject
            | Operation::DeleteObject
            | Operation::CopyObject
            | Operation::RestoreObject
            | Operation::CreateMultipartUpload
            | Operation::UploadPart
            | Operation::UploadPartCopy
            | Operation::CompleteMultipartUpload
            | Operation::AbortMultipartUpload
            | Operation::ListParts => Answers::Upstream,
        }
    }

    /// Whether the upstream makes a write depend on this. OCI documents neither; `PutObject` with
    /// `If-None-Match: *` is what Terraform's lock files have relied on there, the rest is known of its native API
    /// only.
    pub fn honours(self, write: Operation, condition: Condition, value: &HeaderValue) -> Honoured {
        match (self, condition) {
            (Self::S3, Condition::IfMatch | Condition::IfNoneMatch) => Honoured::Atomically,
            (Self::Oci, Condition::IfNoneMatch) if value != "*" => Honoured::No,
            (Self::Oci, Condition::IfNoneMatch) if write == Operation::PutObject => Honoured::Atomically,
            (Self::Oci, Condition::IfMatch | Condition::IfNoneMatch) => Honoured::Perhaps,
        }
    }

    /// Whether a storage class is worth saying. A bucket of OCI has a default tier, which `STANDARD`, that
    /// clients send without being asked, must not be held against; what else its S3 face takes is not documented.
    pub fn says_storage_class(self, class: &HeaderValue) -> bool {
        match self {
            Self::Oci => class != "STANDARD",
            Self::S3 => true,
        }
    }

    /// Whether a key, which holds no NUL, may be an object's name.
    pub fn can_name(self, key: &str) -> bool {
        match self {
            Self::Oci => !key.contains(['\n', '\r']),
            Self::S3 => true,
        }
    }

    /// The integrity header of a `DeleteObjects` document. OCI takes MD5, SHA256 or CRC32C, and refuses the CRC32
    /// that SDKs send; MD5 is what every service knows.
    pub fn delete_integrity(self, document: &[u8]) -> (HeaderName, HeaderValue) {
        match self {
            Self::Oci | Self::S3 => {
                let digest = STANDARD.encode(Md5::digest(document));
                let value = HeaderValue::from_str(&digest).expect("base64 is printable ASCII");
                (HeaderName::from_static("content-md5"), value)
            }
        }
    }

    /// Whether a refusal means that the upstream does not know the gateway's key. A new key of OCI's is known
    /// to some of its servers before others, for minutes, and even an old one is missed at times; it then says that
    /// the signature does not match, and of HEAD nothing at all. AWS says of a new key that it is invalid.
    ///
    /// `unexplained` is the answer to a HEAD that nothing of the client's can have made fail: the gateway's own policy
    /// lets it read whatever it is asked for, and of what is not there OCI says 404.
    pub fn misses_key(self, refusal: Refusal<'_>, unexplained: bool) -> bool {
        match (refusal.status, refusal.code, self) {
            (403, "InvalidAccessKeyId", _) | (401, "NotAuthenticated", Self::Oci) => true,
            (403, "SignatureDoesNotMatch", Self::Oci) => {
                refusal.message.contains("secret key") || refusal.message.is_empty()
            }
            (401 | 403, "", Self::Oci) => unexplained,
            _ => false,
        }
    }

    /// Whether a refusal asks for fewer calls. What was refused so was not begun.
    pub fn throttles(self, refusal: Refusal<'_>) -> bool {
        match (refusal.status, refusal.code) {
            (429, _) | (503, "SlowDown" | "TooManyRequests" | "RequestLimitExceeded") => true,
            // The code of an answer to HEAD is not told; AWS uses this status for little else.
            (503, "") => self == Self::S3,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<'a>(status: u16, code: &'a str, message: &'a str) -> Refusal<'a> {
        Refusal { status, code, message }
    }

    #[test]
    fn names_are_the_configurations() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::parse(dialect.name()), Some(dialect));
        }
        assert_eq!(Dialect::parse("aws"), None);
    }

    #[test]
    fn oci_is_not_asked_for_what_it_does_not_have() {
        use Operation::{GetBucketVersioning, ListObjectVersions};
        assert_eq!(Dialect::Oci.answers(ListObjectVersions), Answers::NotImplemented);
        assert_eq!(Dialect::Oci.answers(GetBucketVersioning), Answers::Gateway);
        for operation in [ListObjectVersions, GetBucketVersioning] {
            assert_eq!(Dialect::S3.answers(operation), Answers::Upstream);
        }
        let differs =
            |operation: &Operation| Dialect::Oci.answers(*operation) != Dialect::S3.answers(*operation);
        assert_eq!(Operation::ALL.iter().filter(|operation| differs(operation)).count(), 2);
    }

    #[test]
    fn a_missed_key_is_told_from_a_refusal() {
        let missing = "The secret key required to complete authentication could not be found. The region must be \
                       specified if this is not the home region for the tenancy.";
        let get = |dialect: Dialect, refusal| dialect.misses_key(refusal, false);
        assert!(get(Dialect::Oci, refusal(403, "SignatureDoesNotMatch", missing)));
        assert!(!get(Dialect::S3, refusal(403, "SignatureDoesNotMatch", missing)));
        let wrong = "The request signature we calculated does not match the signature you provided.";
        assert!(!get(Dialect::Oci, refusal(403, "SignatureDoesNotMatch", wrong)));
        for dialect in Dialect::ALL {
            assert!(get(dialect, refusal(403, "InvalidAccessKeyId", "")));
            assert!(!get(dialect, refusal(403, "AccessDenied", missing)));
            assert!(!get(dialect, refusal(403, "", "")));
            assert!(!get(dialect, refusal(404, "NoSuchKey", "")));
        }
        assert!(Dialect::Oci.misses_key(refusal(403, "", ""), true));
        assert!(!Dialect::S3.misses_key(refusal(403, "", ""), true));
    }

    #[test]
    fn throttling_is_told_from_trouble() {
        for dialect in Dialect::ALL {
            assert!(dialect.throttles(refusal(429, "TooManyRequests", "rate-limit exceeded")));
            assert!(dialect.throttles(refusal(429, "", "")));
            assert!(dialect.throttles(refusal(503, "SlowDown", "")));
            assert!(!dialect.throttles(refusal(503, "ServiceUnavailable", "")));
            assert!(!dialect.throttles(refusal(500, "InternalError", "")));
        }
    }

    #[test]
    fn a_list_of_deletes_carries_its_md5() {
        for dialect in Dialect::ALL {
            let (name, value) = dialect.delete_integrity(b"<Delete/>");
            assert_eq!(
                (name.as_str(), value.to_str().ok()),
                ("content-md5", Some("ePbrFwvNFIRnzBrIv+T8Ag=="))
            );
        }
    }

    #[test]
    fn conditions_and_classes_and_keys() {
        let value = HeaderValue::from_static;
        let honours = |write, condition, text| Dialect::Oci.honours(write, condition, &value(text));
        let (put, complete) = (Operation::PutObject, Operation::CompleteMultipartUpload);
        assert_eq!(honours(put, Condition::IfNoneMatch, "*"), Honoured::Atomically);
        assert_eq!(honours(complete, Condition::IfNoneMatch, "*"), Honoured::Perhaps);
        assert_eq!(honours(put, Condition::IfNoneMatch, "\"e\""), Honoured::No);
        assert_eq!(honours(put, Condition::IfMatch, "\"e\""), Honoured::Perhaps);
        assert!(!Dialect::Oci.says_storage_class(&value("STANDARD")));
        assert!(Dialect::Oci.says_storage_class(&value("InfrequentAccess")));
        assert!(Dialect::S3.says_storage_class(&value("STANDARD")));
        assert!(
            !Dialect::Oci.can_name("a\nb") && !Dialect::Oci.can_name("a\rb") && Dialect::Oci.can_name("a b")
        );
        assert!(Dialect::S3.can_name("a\nb"));
    }
}
