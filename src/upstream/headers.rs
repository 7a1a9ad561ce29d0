//! Which headers may cross, each way, and which a client may not send at all. Allow-lists: what is not named
//! here does not pass. `x-amz-meta-*` passes within S3's size; `aws-chunked` is taken off Content-Encoding.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::body::plan::stored_content_encoding;
use crate::dialect::{Condition, Dialect, Honoured};
use crate::error::{Code, Error, Result};
use crate::s3::operation::{Access, Operation};

/// User metadata: names without the prefix plus values, in bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
const MAX_METADATA: usize = 2 * 1024;
const METADATA: &str = "x-amz-meta-";
const STORAGE_CLASS: &str = "x-amz-storage-class";

const CONDITIONS: &[&str] = &["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
const SSE_C: &[&str] = &[
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
];
const SOURCE_SSE_C: &[&str] = &[
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
];
const SOURCE_CONDITIONS: &[&str] = &[
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
];
const CHECKSUMS: &[&str] = &[
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
];
/// What describes an object and is stored with it.
const STORED: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    STORAGE_CLASS,
];

/// What of a client's head goes upstream with this operation.
pub fn to_upstream(dialect: Dialect, operation: Operation, client: &HeaderMap) -> Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(16);
    for list in crossing(operation) {
        copy(list, client, &mut headers);
    }
    if stores_metadata(operation) {
        copy_metadata(client, &mut headers)?;
        if let Some(encoding) = headers.remove(header::CONTENT_ENCODING) {
            headers.extend(stored_content_encoding(&encoding).map(|kept| (header::CONTENT_ENCODING, kept)));
        }
        if headers.get(STORAGE_CLASS).is_some_and(|class| !dialect.says_storage_class(class)) {
            headers.remove(STORAGE_CLASS);
        }
    }
    Ok(headers)
}

fn crossing(operation: Operation) -> &'static [&'static [&'static str]] {
    match operation {
        Operation::GetObject | Operation::HeadObject => &[&["range", "if-range"], CONDITIONS, SSE_C],
        Operation::PutObject => &[STORED, &["if-match", "if-none-match"], SSE_C],
        Operation::CreateMultipartUpload => &[STORED, SSE_C],
        Operation::CopyObject => &[
            STORED,
            &["x-amz-metadata-directive", "if-match", "if-none-match"],
            SOURCE_CONDITIONS,
            SSE_C,
            SOURCE_SSE_C,
        ],
        Operation::UploadPartCopy => &[&["x-amz-copy-source-range"], SOURCE_CONDITIONS, SSE_C, SOURCE_SSE_C],
        Operation::CompleteMultipartUpload => &[&["if-match", "if-none-match"], SSE_C],
        Operation::DeleteObject => &[&["if-match"]],
        Operation::GetObjectAttributes | Operation::UploadPart | Operation::ListParts => &[SSE_C],
        Operation::ListBuckets
        | Operation::HeadBucket
        | Operation::CreateBucket
        | Operation::GetBucketLocation
        | Operation::GetBucketVersioning
        | Operation::GetBucketAcl
        | Operation::PutBucketAcl
        | Operation::GetBucketSetting(_)
        | Operation::ListObjects
        | Operation::ListObjectsV2
        | Operation::ListObjectVersions
        | Operation::ListMultipartUploads
        | Operation::DeleteObjects
        | Operation::GetObjectAcl
        | Operation::PutObjectAcl
        | Operation::RestoreObject
        | Operation::AbortMultipartUpload => &[],
    }
}

fn stores_metadata(operation: Operation) -> bool {
    matches!(operation, Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload)
}

fn copy(names: &'static [&'static str], from: &HeaderMap, to: &mut HeaderMap) {
    for &name in names {
        let mut values = from.get_all(name).iter();
        let Some(first) = values.next() else { continue };
        // Several lines of one header mean what one line with commas means (RFC 9110 §5.3).
        let value = values
            .fold(first.as_bytes().to_vec(), |joined, next| [&joined, &b", "[..], next.as_bytes()].concat());
        let value = HeaderValue::from_bytes(&value).expect("joined values are a value");
        to.insert(HeaderName::from_static(name), value);
    }
}

fn copy_metadata(from: &HeaderMap, to: &mut HeaderMap) -> Result<()> {
    let mut size = 0;
    for (name, value) in from {
        let Some(short) = name.as_str().strip_prefix(METADATA) else {
            continue;
        };
        size += short.len() + value.len();
        if size > MAX_METADATA {
            return Err(Error::new(Code::MetadataTooLarge).detail("MaxSizeAllowed", MAX_METADATA.to_string()));
        }
        match to.entry(name) {
            header::Entry::Vacant(entry) => drop(entry.insert(value.clone())),
            header::Entry::Occupied(mut entry) => {
                let joined = [entry.get().as_bytes(), b",", value.as_bytes()].concat();
                entry.insert(HeaderValue::from_bytes(&joined).expect("joined values are a value"));
            }
        }
    }
    Ok(())
}

/// Headers that change what an operation means in a way the gateway does not do: better refused than ignored.
pub fn refuse_unimplemented(dialect: Dialect, operation: Operation, client: &HeaderMap) -> Result<()> {
    let text = |name: &str| client.get(name).map(|value| value.to_str().unwrap_or_default());
    let refused = |name: &str| {
        Err(Error::new(Code::NotImplemented)
            .say("A header you provided implies functionality that is not implemented.")
            .detail("Header", name))
    };
    for name in client.keys().map(HeaderName::as_str) {
        let unimplemented = match name {
            "if-none-match" if operation.access() == Access::Write => client
                .get_all(name)
                .iter()
                .any(|value| dialect.honours(operation, Condition::IfNoneMatch, value) == Honoured::No),
            "x-amz-acl" => !matches!(text(name), Some("private" | "bucket-owner-full-control")),
            "x-amz-server-side-encryption" => text(name) != Some("AES256"),
            "x-amz-tagging-directive" => text(name) == Some("REPLACE"),
            "x-amz-tagging"
            | "x-amz-website-redirect-location"
            | "x-amz-bypass-governance-retention"
            | "x-amz-mfa"
            | "x-amz-write-offset-bytes"
            | "x-amz-expected-bucket-owner"
            | "x-amz-source-expected-bucket-owner" => true,
            _ => {
                name.starts_with("x-amz-grant-")
                    || name.starts_with("x-amz-if-match-")
                    || name.starts_with("x-amz-object-lock-")
                    || name.starts_with("x-amz-server-side-encryption-aws-kms-")
                    || name.starts_with("x-amz-server-side-encryption-context")
                    || name.starts_with("x-amz-server-side-encryption-bucket-key-")
            }
        };
        if unimplemented {
            return refused(name);
        }
    }
    let directive = text("x-amz-metadata-directive");
    if operation == Operation::CopyObject && !matches!(directive, None | Some("COPY" | "REPLACE")) {
        return Err(Error::new(Code::InvalidArgument).say("Unknown metadata directive."));
    }
    Ok(())
}

/// What of the upstream's head a client may see with an object or with a write's answer.
pub fn to_client(upstream: &HeaderMap) -> HeaderMap {
    const VISIBLE: &[&str] = &[
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "expires",
        "last-modified",
        "x-amz-archive-status",
        "x-amz-copy-source-version-id",
        "x-amz-delete-marker",
        "x-amz-expiration",
        "x-amz-missing-meta",
        "x-amz-mp-parts-count",
        "x-amz-restore",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-storage-class",
        "x-amz-version-id",
    ];
    let mut headers = HeaderMap::with_capacity(16);
    for (name, value) in upstream {
        let text = name.as_str();
        if VISIBLE.binary_search(&text).is_ok() || text.starts_with(METADATA) || CHECKSUMS.contains(&text) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// What a HEAD of a copy's source needs of a client's head: its key, where it is encrypted with one, and what the
/// client wants it to be like.
pub fn of_copy_source(client: &HeaderMap) -> HeaderMap {
    let mut of_sources = HeaderMap::new();
    copy(SOURCE_SSE_C, client, &mut of_sources);
    copy(SOURCE_CONDITIONS, client, &mut of_sources);
    let mut headers = HeaderMap::new();
    let names = SSE_C.iter().zip(SOURCE_SSE_C).chain(CONDITIONS.iter().zip(SOURCE_CONDITIONS));
    for (name, of_source) in names {
        headers.extend(of_sources.remove(*of_source).map(|value| (HeaderName::from_static(name), value)));
    }
    headers
}

/// What a HEAD needs of a write's head to tell whether its `If-Match` holds.
pub fn of_if_match(client: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    copy(&["if-match"], client, &mut headers);
    copy(SSE_C, client, &mut headers);
    headers
}

/// Whether a write's head makes it depend on what is there.
pub fn is_conditional(client: &HeaderMap) -> bool {
    CONDITIONS.iter().chain(SOURCE_CONDITIONS).any(|name| client.contains_key(*name))
}

/// Whether what is written is encrypted with a key of the client's, without which nobody can look at it.
pub fn has_own_key(client: &HeaderMap) -> bool {
    SSE_C.iter().any(|name| client.contains_key(*name))
}

/// Takes out every checksum of content.
pub fn remove_checksums(headers: &mut HeaderMap) {
    for name in CHECKSUMS {
        headers.remove(*name);
    }
}

/// What of it stands beside an XML result, which says the rest itself.
pub fn of_write(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = to_client(upstream);
    for name in ["content-encoding", "content-length", "content-type", "etag", "last-modified"] {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_what_is_listed_crosses() {
        let client = headers(&[
            ("authorization", "AWS4-HMAC-SHA256 x"),
            ("cookie", "c"),
            ("x-amz-date", "d"),
            ("x-amz-security-token", "t"),
            ("connection", "keep-alive"),
            ("te", "trailers"),
            ("x-forwarded-for", "1.2.3.4"),
            ("opc-meta-a", "b"),
            ("x-minio-extract", "true"),
            ("x-amz-acl", "private"),
            ("x-amz-server-side-encryption", "AES256"),
            ("content-type", "text/csv"),
            ("content-encoding", "aws-chunked, gzip"),
            ("x-amz-meta-a", "é"),
            ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ]);
        let crossed = to_upstream(Dialect::S3, Operation::PutObject, &client).expect("allowed");
        let expected =
            headers(&[("content-type", "text/csv"), ("content-encoding", "gzip"), ("x-amz-meta-a", "é")]);
        assert_eq!(crossed, expected);
        assert!(to_upstream(Dialect::S3, Operation::DeleteObject, &client).expect("allowed").is_empty());
    }

    #[test]
    fn what_is_not_implemented_is_refused() {
        for (name, value) in [
            ("x-amz-acl", "public-read"),
            ("x-amz-grant-read", "id=1"),
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-tagging", "a=b"),
            ("x-amz-object-lock-mode", "GOVERNANCE"),
            ("x-amz-website-redirect-location", "/x"),
        ] {
            let error = refuse_unimplemented(Dialect::S3, Operation::PutObject, &headers(&[(name, value)]))
                .expect_err(name);
            assert_eq!(error.code, Code::NotImplemented, "{name}");
        }
    }

    #[test]
    fn oci_is_not_sent_what_it_does_not_take() {
        let put = |pair| to_upstream(Dialect::Oci, Operation::PutObject, &headers(&[pair])).expect("allowed");
        assert!(put(("x-amz-storage-class", "STANDARD")).is_empty());
        assert_eq!(put(("x-amz-storage-class", "Archive")).len(), 1);
        assert_eq!(put(("if-none-match", "*")).len(), 1);
        let refuse = |dialect, operation| {
            refuse_unimplemented(dialect, operation, &headers(&[("if-none-match", "\"e\"")]))
        };
        assert!(refuse(Dialect::Oci, Operation::PutObject).is_err());
        assert!(refuse(Dialect::S3, Operation::PutObject).is_ok());
        assert!(refuse(Dialect::Oci, Operation::GetObject).is_ok());
    }

    #[test]
    fn metadata_has_a_limit_and_keeps_its_bytes() {
        let fits = "v".repeat(MAX_METADATA - 1);
        let put = |value: &str| {
            to_upstream(Dialect::S3, Operation::PutObject, &headers(&[("x-amz-meta-k", value)]))
        };
        assert!(put(&fits).is_ok());
        assert_eq!(put(&format!("{fits}v")).expect_err("too large").code, Code::MetadataTooLarge);
        let twice = to_upstream(Dialect::S3, Operation::PutObject, &{
            let mut map = HeaderMap::new();
            map.append("x-amz-meta-k", HeaderValue::from_static("a"));
            map.append("x-amz-meta-k", HeaderValue::from_static("b"));
            map
        });
        assert_eq!(twice.expect("allowed"), headers(&[("x-amz-meta-k", "a,b")]));
    }

    #[test]
    fn the_upstreams_own_headers_stay_behind() {
        let upstream = headers(&[
            ("server", "x"),
            ("opc-request-id", "iad-1:x"),
            ("x-amz-request-id", "u"),
            ("x-amz-id-2", "h"),
            ("x-amz-bucket-region", "r"),
            ("access-control-allow-origin", "*"),
            ("location", "https://real"),
            ("etag", "\"e\""),
            ("x-amz-meta-a", "b"),
        ]);
        assert_eq!(to_client(&upstream), headers(&[("etag", "\"e\""), ("x-amz-meta-a", "b")]));
    }
}
