//! What request headers say about an object, and the headers an object is answered with.
//! In: a request's `HeaderMap`. Out: `Attributes` to keep; or the error for what this store does not do.
//! Values are kept byte for byte, whatever they say: an `Expires` need be no date, metadata no UTF-8.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::meta::{Attributes, Object};
use crate::body::plan::stored_content_encoding;
use crate::error::{Code, Error, Result};

const KEPT: [HeaderName; 6] = [
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::EXPIRES,
];
const REDIRECT: &str = "x-amz-website-redirect-location";
const META: &str = "x-amz-meta-";
const MAX_META_BYTES: usize = 2048;
const DEFAULT_TYPE: &str = "binary/octet-stream";

const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

const NOT_DONE: [&str; 9] = [
    "x-amz-tagging",
    "x-amz-write-offset-bytes",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-retain-until-date",
];

/// A header's value. Rows hold what is UTF-8 as text, and of anything else the bytes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn of(value: &HeaderValue) -> Self {
        let bytes = value.as_bytes();
        std::str::from_utf8(bytes)
            .map_or_else(|_| Self::Bytes(bytes.to_vec()), |text| Self::Text(text.into()))
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// What a write says about the object it makes.
pub(super) fn attributes(headers: &HeaderMap) -> Result<Attributes> {
    refuse_what_is_not_done(headers)?;
    let mut kept = Vec::new();
    let mut meta_bytes = 0;
    for (name, value) in headers {
        let is_meta = name.as_str().starts_with(META);
        if !is_meta && !KEPT.contains(name) && name.as_str() != REDIRECT {
            continue;
        }
        let stored = if *name == header::CONTENT_ENCODING {
            stored_content_encoding(value)
        } else {
            Some(value.clone())
        };
        let Some(value) = stored.filter(|value| is_meta || !value.is_empty()) else {
            continue;
        };
        if is_meta {
            meta_bytes += name.as_str().len() - META.len() + value.len();
        }
        kept.push((name.as_str().to_owned(), Value::of(&value)));
    }
    if meta_bytes > MAX_META_BYTES {
        return Err(Code::MetadataTooLarge.into());
    }
    Ok(Attributes { headers: kept, storage_class: storage_class(headers)?, sse_c: sse_c(headers, "x-amz-")? })
}

pub(super) fn refuse_what_is_not_done(headers: &HeaderMap) -> Result<()> {
    let is = |name: &str, allowed: &[&str]| {
        headers
            .get(name)
            .is_none_or(|value| allowed.iter().any(|allowed| value.as_bytes() == allowed.as_bytes()))
    };
    let plain = is("x-amz-acl", &["private", "bucket-owner-full-control"])
        && is("x-amz-server-side-encryption", &["AES256"])
        && NOT_DONE.iter().all(|name| !headers.contains_key(*name));
    if plain { Ok(()) } else { Err(Code::NotImplemented.into()) }
}

fn storage_class(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(class) = headers.get("x-amz-storage-class") else {
        return Ok(None);
    };
    let known = STORAGE_CLASSES.into_iter().find(|known| class.as_bytes() == known.as_bytes());
    let class = known.ok_or(Code::InvalidStorageClass)?;
    Ok((class != "STANDARD").then(|| class.to_owned()))
}

/// The customer's key of a request, as the MD5 that stands for it; `prefix` tells a copy's source from its target.
pub(super) fn sse_c(headers: &HeaderMap, prefix: &str) -> Result<Option<String>> {
    let part = |name: &str| headers.get(format!("{prefix}server-side-encryption-customer-{name}"));
    let refuse = |text: &'static str| Err(Error::new(Code::InvalidArgument).say(text));
    match (part("algorithm"), part("key"), part("key-md5")) {
        (None, None, None) => Ok(None),
        (Some(algorithm), Some(key), Some(digest)) => {
            if algorithm.as_bytes() != b"AES256" {
                return refuse(
                    "The encryption request that you specified is not valid. The valid value is AES256.",
                );
            }
            let Some(key) = STANDARD.decode(key.as_bytes()).ok().filter(|key| key.len() == 32) else {
                return refuse("The secret key was invalid for the specified algorithm.");
            };
            let of_key = STANDARD.encode(Md5::digest(key));
            if digest.as_bytes() != of_key.as_bytes() {
                return refuse(
                    "The calculated MD5 hash of the key did not match the hash that was provided.",
                );
            }
            Ok(Some(of_key))
        }
        _ => refuse(
            "Requests specifying Server Side Encryption with Customer provided keys must provide the algorithm, the key and its MD5.",
        ),
    }
}

/// Reading what a customer's key protects takes that key.
pub(super) fn demand_key(stored: Option<&String>, given: Option<&String>) -> Result<()> {
    match (stored, given) {
        (None, None) => Ok(()),
        (Some(stored), Some(given)) if stored == given => Ok(()),
        (Some(_), Some(_)) => Err(Code::AccessDenied.into()),
        (Some(_), None) => Err(Error::new(Code::InvalidRequest).say(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
        )),
        (None, Some(_)) => {
            Err(Error::new(Code::InvalidRequest).say("The encryption parameters are not applicable to this object."))
        }
    }
}

/// `CompleteMultipartUpload` may repeat the key of its upload, but need not.
pub(super) fn demand_key_if_sent(stored: &Attributes, request: &HeaderMap) -> Result<()> {
    match sse_c(request, "x-amz-")? {
        Some(given) => demand_key(stored.sse_c.as_ref(), Some(&given)),
        None => Ok(()),
    }
}

/// Writes headers of an answer; a value that no header can hold is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

pub(super) fn set_etag(headers: &mut HeaderMap, etag: &str) {
    set(headers, "etag", &format!("\"{etag}\""));
}

pub(super) fn set_sse_c(headers: &mut HeaderMap, key_md5: Option<&String>) {
    if let Some(key_md5) = key_md5 {
        set(headers, "x-amz-server-side-encryption-customer-algorithm", "AES256");
        set(headers, "x-amz-server-side-encryption-customer-key-md5", key_md5);
    }
}

pub(super) fn set_checksum(headers: &mut HeaderMap, checksum: Option<&Checksum>) {
    if let Some(sum) = checksum {
        set(headers, sum.algorithm.header(), &sum.value);
        set(headers, "x-amz-checksum-type", sum.kind.name());
    }
}

/// What a GET or HEAD says about an object, whatever the range.
pub(super) fn describe(object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    set(&mut headers, "content-type", DEFAULT_TYPE);
    for (name, value) in &object.attributes.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
        {
            // `content-type` replaces the default; of a repeated name every value counts.
            if name == header::CONTENT_TYPE {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
    }
    set(&mut headers, "accept-ranges", "bytes");
    set(&mut headers, "last-modified", &http_date(object.modified));
    set_etag(&mut headers, &object.etag);
    set_sse_c(&mut headers, object.attributes.sse_c.as_ref());
    if let Some(class) = &object.attributes.storage_class {
        set(&mut headers, "x-amz-storage-class", class);
    }
    if let Some(until) = object.restored_until {
        let text = format!("ongoing-request=\"false\", expiry-date=\"{}\"", http_date(until));
        set(&mut headers, "x-amz-restore", &text);
    }
    headers
}

pub(super) fn http_date(seconds: i64) -> String {
    let since = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
}
