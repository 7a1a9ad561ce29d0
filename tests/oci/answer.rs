//! What the store answered, as OCI would have: its errors, its headers, and entity tags of multipart objects that
//! nobody can compute. Oracle does not say how it makes those; its native ones are UUIDs, and so are these.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use quick_xml::escape::unescape;

use super::operation::Operation;
use super::refusal::Refusal;
use super::serve::{Response, full, whole};
use super::text::element;

/// Headers of the store that OCI does not send.
const NOT_OCIS: &[&str] = &[
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-error-code",
    "x-amz-error-message",
    "x-amz-bucket-region",
    "server",
];

/// The headers of requests that name entity tags.
const CONDITIONS: [&str; 4] =
    ["if-match", "if-none-match", "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match"];

/// Entity tags of multipart objects: as told to clients, and as the store has them.
#[derive(Default)]
pub(super) struct Tags(Mutex<HashMap<String, String>>);

impl Tags {
    /// `text` with every tag that the store computed from parts replaced.
    fn disguise(&self, text: &str) -> String {
        let is_part = |token: &str| {
            token.split_once('-').is_some_and(|(md5, count)| {
                md5.len() == 32
                    && md5.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && count.parse::<u16>().is_ok()
            })
        };
        let mut out = String::with_capacity(text.len());
        for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            let token = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            if is_part(token) {
                out.push_str(&self.told(token));
                out.push_str(&piece[token.len()..]);
            } else {
                out.push_str(piece);
            }
        }
        out
    }

    fn told(&self, tag: &str) -> String {
        let backwards: String = tag[..32].chars().rev().collect();
        let groups =
            [&backwards[..8], &backwards[8..12], &backwards[12..16], &backwards[16..20], &backwards[20..]];
        let told = groups.join("-");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(told.clone(), tag.to_owned());
        told
    }

    /// Conditions that name a told tag name the store's.
    pub(super) fn reveal(&self, headers: &mut HeaderMap) {
        let tags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in CONDITIONS {
            let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { continue };
            let revealed = tags.iter().fold(value.to_owned(), |text, (told, tag)| text.replace(told, tag));
            headers.insert(name, revealed.parse().expect("a tag is a value"));
        }
    }
}

/// What OCI makes of the store's answer.
pub(super) async fn dressed(
    operation: Operation,
    tags: &Tags,
    answer: http::Response<Incoming>,
) -> Result<Response, Refusal> {
    let (mut head, body) = answer.into_parts();
    for name in NOT_OCIS {
        head.headers.remove(*name);
    }
    if let Some(etag) = head.headers.get("etag").and_then(|value| value.to_str().ok()) {
        let told = tags.disguise(etag);
        head.headers.insert("etag", told.parse().expect("a tag is a value"));
    }
    let is_error = head.status.is_client_error() || head.status.is_server_error();
    let is_object = matches!(operation, Operation::GetObject | Operation::HeadObject);
    if !is_error && is_object {
        return Ok(http::Response::from_parts(head, body.boxed()));
    }
    let bytes = whole(body).await.expect("the store ends what it begins");
    let text = String::from_utf8(bytes.to_vec()).expect("the store writes XML in UTF-8");
    if is_error {
        let part = |name: &str| unescape(element(&text, name)?).ok().map(std::borrow::Cow::into_owned);
        let code = part("Code").unwrap_or_default();
        return Err(Refusal {
            status: head.status.as_u16(),
            code,
            message: part("Message").unwrap_or_default(),
        });
    }
    let told = Bytes::from(tags.disguise(&text));
    if head.headers.contains_key("content-length") {
        head.headers.insert("content-length", told.len().into());
    }
    Ok(http::Response::from_parts(head, full(told)))
}

/// What every answer of OCI's S3 face carries.
pub(super) fn sign_off(headers: &mut HeaderMap) {
    let id = request_id();
    headers.insert("opc-request-id", id.clone());
    headers.insert("x-amz-request-id", id);
    let exposed = headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>().join(",");
    headers.insert("access-control-expose-headers", exposed.parse().expect("names are a value"));
    for (name, value) in [
        ("x-api-id", "s3-compatible"),
        ("opc-client-info", "stand-in"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST,PUT,GET,HEAD,DELETE,OPTIONS"),
        ("access-control-allow-credentials", "true"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// `<region key>-1:` and some 60 characters of base64.
pub(super) fn request_id() -> HeaderValue {
    let random: Vec<u8> = (0..3).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
    let id = format!("phx-1:{}", URL_SAFE_NO_PAD.encode(random));
    HeaderValue::from_str(&id).expect("base64 is a value")
}
