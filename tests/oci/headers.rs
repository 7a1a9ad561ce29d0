//! Which `x-amz-*` headers may arrive. Oracle does not say what becomes of one that it does not know; here it is
//! refused, so that a gateway which forwards it is found out.

use http::HeaderMap;

use super::operation::Operation;
use super::refusal::Refusal;

const KNOWN: &[&str] = &[
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
    "x-amz-date",
    "x-amz-metadata-directive",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-storage-class",
];

/// Digests of a body that OCI can verify.
pub(super) const DIGESTS: [&str; 2] = ["x-amz-checksum-crc32c", "x-amz-checksum-sha256"];

/// What belongs to aws-chunked.
const CHUNKED: &[&str] = &["x-amz-decoded-content-length", "x-amz-trailer"];

pub(super) fn check(operation: Operation, headers: &HeaderMap, is_chunked: bool) -> Result<(), Refusal> {
    if operation == Operation::DeleteObjects {
        demand_digest(headers)?;
    }
    let has_body =
        matches!(operation, Operation::PutObject | Operation::UploadPart | Operation::DeleteObjects);
    for (name, value) in headers {
        let name = name.as_str();
        let allowed = !name.starts_with("x-amz-")
            || name.starts_with("x-amz-meta-")
            || KNOWN.contains(&name)
            || (name == "x-amz-acl" && value == "private")
            || (has_body && DIGESTS.contains(&name))
            || (is_chunked && CHUNKED.contains(&name));
        if !allowed {
            return Err(Refusal::header(name));
        }
    }
    Ok(())
}

/// CRC32 alone, the default of Amazon's SDKs, does not do.
fn demand_digest(headers: &HeaderMap) -> Result<(), Refusal> {
    let enough =
        headers.contains_key("content-md5") || DIGESTS.iter().any(|name| headers.contains_key(*name));
    if enough {
        Ok(())
    } else {
        Err(Refusal::invalid_request(
            "Missing required header for this request: Content-MD5, x-amz-checksum-sha256 or x-amz-checksum-crc32c",
        ))
    }
}
