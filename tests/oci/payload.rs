//! The body of a request: which form its head announces, and whether it is what was announced. In: the head, the whole
//! body. Out: the bytes that are meant.

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::chunked;
use super::headers::DIGESTS;
use super::operation::Operation;
use super::refusal::Refusal;
use super::sigv4::{Chain, UNSIGNED};
use super::text::{base64, hex, md5, sha256};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Unsigned,
    /// Of this SHA-256, in hex.
    Hashed(String),
    Chunked {
        is_signed: bool,
        has_trailer: bool,
    },
}

/// The form that `x-amz-content-sha256` and Content-Encoding announce.
pub(super) fn form(
    operation: Operation,
    payload: &str,
    headers: &HeaderMap,
    takes_chunked: bool,
) -> Result<Form, Refusal> {
    let encoding = headers.get("content-encoding").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_chunked = encoding.split(',').any(|token| token.trim().eq_ignore_ascii_case("aws-chunked"));
    if is_chunked || payload.starts_with("STREAMING-") {
        let fits = matches!(operation, Operation::PutObject | Operation::UploadPart);
        let form = match payload {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Form::Chunked { is_signed: true, has_trailer: false },
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                Form::Chunked { is_signed: true, has_trailer: true }
            }
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Form::Chunked { is_signed: false, has_trailer: true },
            _ => return Err(no_chunks()),
        };
        return if takes_chunked && fits { Ok(form) } else { Err(no_chunks()) };
    }
    let is_hex = payload.len() == 64 && payload.bytes().all(|byte| byte.is_ascii_hexdigit());
    match payload {
        UNSIGNED => Ok(Form::Unsigned),
        _ if is_hex => Ok(Form::Hashed(payload.to_ascii_lowercase())),
        _ => Err(Refusal::invalid_argument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.",
        )),
    }
}

fn no_chunks() -> Refusal {
    Refusal::new(501, "NotImplemented", "AWS chunked encoding not supported.")
}

/// A body says how long it is; aws-chunked also what it holds.
pub(super) fn demand_length(method: &Method, headers: &HeaderMap, form: &Form) -> Result<(), Refusal> {
    let missing = |name: &str| {
        Err(Refusal::new(411, "MissingContentLength", format!("You must provide the {name} HTTP header.")))
    };
    if matches!(form, Form::Chunked { .. }) {
        let decoded = headers.contains_key("x-amz-decoded-content-length");
        return if decoded { Ok(()) } else { missing("x-amz-decoded-content-length") };
    }
    let has_body = matches!(*method, Method::PUT | Method::POST) || headers.contains_key("transfer-encoding");
    if has_body && !headers.contains_key("content-length") { missing("Content-Length") } else { Ok(()) }
}

/// The bytes that are meant, found to be what every digest of the head says.
pub(super) fn opened(form: &Form, headers: &HeaderMap, chain: Chain, body: Bytes) -> Result<Bytes, Refusal> {
    let bytes = match form {
        Form::Unsigned => body,
        Form::Hashed(expected) if hex(sha256(&body)) == *expected => body,
        Form::Hashed(_) => {
            let text = "The provided 'x-amz-content-sha256' header does not match what was computed.";
            return Err(Refusal::new(400, "XAmzContentSHA256Mismatch", text));
        }
        Form::Chunked { is_signed, has_trailer } => {
            chunked::decode(headers, is_signed.then_some(chain), *has_trailer, &body)?.into()
        }
    };
    if let Some(given) = headers.get("content-md5") {
        let (given, computed) = (given.to_str().unwrap_or_default(), base64(md5(&bytes)));
        if given != computed {
            return Err(bad_digest(format!(
                "The computed MD5 of the request body ({computed}) does not match the Content-MD5 header ({given})"
            )));
        }
    }
    for name in DIGESTS {
        if let Some(given) = headers.get(name) {
            check_digest(name, given.to_str().unwrap_or_default(), &bytes)?;
        }
    }
    Ok(bytes)
}

/// The value of a checksum header, wherever it stood.
pub(super) fn check_digest(name: &str, given: &str, bytes: &[u8]) -> Result<(), Refusal> {
    let crc = |algorithm| crc_fast::checksum(algorithm, bytes).to_be_bytes();
    let computed = match name {
        "x-amz-checksum-crc32" => base64(&crc(crc_fast::CrcAlgorithm::Crc32IsoHdlc)[4..]),
        "x-amz-checksum-crc32c" => base64(&crc(crc_fast::CrcAlgorithm::Crc32Iscsi)[4..]),
        "x-amz-checksum-crc64nvme" => base64(crc(crc_fast::CrcAlgorithm::Crc64Nvme)),
        "x-amz-checksum-sha256" => base64(sha256(bytes)),
        _ => return Err(Refusal::header(name)),
    };
    if given == computed {
        Ok(())
    } else {
        Err(bad_digest(format!("The {name} you specified did not match the calculated checksum.")))
    }
}

fn bad_digest(text: String) -> Refusal {
    Refusal::new(400, "BadDigest", text)
}
