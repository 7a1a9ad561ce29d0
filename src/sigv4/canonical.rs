//! The canonical request and the string to sign, built from the bytes as they came. The path and the query
//! are tried in two forms by the verifier (`Form`): both are functions of the same decoded meaning, so
//! accepting either lets nothing be changed after signing.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>: S3's variant, in
//! which the path is encoded once and never normalised.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};
use sha2::{Digest, Sha256};

use crate::s3::query::Query;
use crate::s3::uri;

/// Whether path and query stand in the canonical request as sent, or decoded and strictly encoded again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Encoded,
    AsSent,
}

/// The parts of a request that a signature covers.
pub struct Canonical<'a> {
    pub method: &'a str,
    pub raw_path: &'a str,
    pub query: &'a Query<'a>,
    /// Leave `X-Amz-Signature` out of the query, as a presigned URL does.
    pub presigned: bool,
    pub headers: &'a HeaderMap,
    /// Lower-case names joined by `;`, as the client lists them.
    pub signed_headers: &'a str,
    pub payload_hash: &'a str,
}

impl Canonical<'_> {
    /// The canonical request. `None` where the path has no such form (it does not decode).
    pub fn request(&self, path: Form, query: Form) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(self.method.as_bytes());
        out.push(b'\n');
        match path {
            Form::AsSent => out.extend_from_slice(self.raw_path.as_bytes()),
            Form::Encoded => {
                let decoded = uri::decode_path(self.raw_path).ok()?;
                out.extend_from_slice(uri::encode_path(&decoded).as_bytes());
            }
        }
        out.push(b'\n');
        self.push_query(&mut out, query);
        out.push(b'\n');
        for name in self.signed_headers.split(';') {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            push_values(&mut out, self.headers, name);
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(self.signed_headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(self.payload_hash.as_bytes());
        Some(out)
    }

    fn push_query(&self, out: &mut Vec<u8>, form: Form) {
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = match form {
            Form::Encoded => self
                .query
                .iter()
                .map(|(name, value)| (uri::encode_query(name), uri::encode_query(value)))
                .collect(),
            Form::AsSent => self
                .query
                .raw()
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        };
        if self.presigned {
            pairs.retain(|(name, _)| name != "X-Amz-Signature");
        }
        pairs.sort_unstable();
        for (i, (name, value)) in pairs.iter().enumerate() {
            if i > 0 {
                out.push(b'&');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// All values of a header, trimmed, inner runs of spaces folded, joined by commas.
fn push_values(out: &mut Vec<u8>, headers: &HeaderMap, name: &str) {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return;
    };
    for (i, value) in headers.get_all(&name).iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let value = value.as_bytes().trim_ascii();
        if value.windows(2).any(|pair| pair == b"  ") {
            let mut last = 0;
            out.extend(value.iter().copied().filter(|&byte| {
                let keep = byte != b' ' || last != b' ';
                last = byte;
                keep
            }));
        } else {
            out.extend_from_slice(value);
        }
    }
}

/// `AWS4-HMAC-SHA256`, time, scope, hash of the canonical request.
pub fn string_to_sign(amz_date: &str, scope: &str, canonical_request: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    for line in ["AWS4-HMAC-SHA256", amz_date, scope] {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    push_hex(&mut out, &Sha256::digest(canonical_request));
    out
}

/// Lower-case hex, as every hash and signature in SigV4.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// The names of `x-amz-*` headers that arrived without being signed. `x-amz-content-sha256` may, since its
/// value stands in the canonical request anyway. `host` must be signed always.
pub fn unsigned_headers(headers: &HeaderMap, signed_headers: &str) -> Vec<String> {
    let signed = |name: &str| signed_headers.split(';').any(|listed| listed == name);
    let mut unsigned: Vec<String> = headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && *name != "x-amz-content-sha256" && !signed(name))
        .map(str::to_owned)
        .collect();
    if !signed(header::HOST.as_str()) {
        unsigned.push(header::HOST.as_str().to_owned());
    }
    unsigned.sort_unstable();
    unsigned
}
