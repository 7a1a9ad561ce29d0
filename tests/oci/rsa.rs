//! The signature of OCI's own API, version 1 (draft-cavage-http-signatures-08). In: a request with its body. Out: whether
//! a key that is known here signed all that must be signed. Follows Oracle's "Request Signatures".

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::request::Parts;

use super::NativeKey;
use super::text::{base64, sha256};

const MAX_SKEW: Duration = Duration::from_mins(5);
const HEAD: [&str; 2] = ["(request-target)", "host"];
const BODY: [&str; 3] = ["content-length", "content-type", "x-content-sha256"];

/// Or what is wrong, for whoever debugs a test: OCI itself does not tell.
pub(super) fn verify(head: &Parts, body: &[u8], keys: &[NativeKey], now: SystemTime) -> Result<(), String> {
    let authorization = header(head, "authorization").ok_or("no Authorization")?;
    let fields = authorization.strip_prefix("Signature ").ok_or("another scheme than Signature")?;
    let field = |name: &str| {
        let mut pairs = fields.split("\",").filter_map(|pair| pair.trim().split_once("=\""));
        let found = pairs.find(|(own, _)| *own == name).map(|(_, value)| value.trim_end_matches('"'));
        found.ok_or_else(|| format!("no {name} in Authorization"))
    };
    if field("version")? != "1" || field("algorithm")? != "rsa-sha256" {
        return Err("another version or algorithm".into());
    }
    let signed: Vec<&str> = field("headers")?.split(' ').collect();
    check_signed(&head.method, &signed)?;
    check_date(head, &signed, now)?;
    if has_body(&head.method) {
        let length = header(head, "content-length").and_then(|text| text.parse().ok());
        if length != Some(body.len()) || header(head, "x-content-sha256") != Some(&base64(sha256(body))) {
            return Err("another body than content-length and x-content-sha256 say".into());
        }
    }
    let key_id = field("keyId")?;
    let key = keys.iter().find(|key| key.key_id == key_id).ok_or("an unknown keyId")?;
    let signature = STANDARD.decode(field("signature")?).map_err(|_| "a signature that is no base64")?;
    let text = signing_string(head, &signed)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.public_key_der)
        .verify(text.as_bytes(), &signature)
        .map_err(|_| format!("a signature that is not of this string:\n{text}"))
}

fn has_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT)
}

fn check_signed(method: &Method, signed: &[&str]) -> Result<(), String> {
    let body = if has_body(method) { &BODY[..] } else { &[] };
    let missing = HEAD.iter().chain(body).find(|name| !signed.contains(name));
    match missing {
        Some(name) => Err(format!("{name} is not signed")),
        None if signed.contains(&"date") || signed.contains(&"x-date") => Ok(()),
        None => Err("neither date nor x-date is signed".into()),
    }
}

fn check_date(head: &Parts, signed: &[&str], now: SystemTime) -> Result<(), String> {
    let name = if signed.contains(&"x-date") { "x-date" } else { "date" };
    let date = header(head, name).and_then(|text| httpdate::parse_http_date(text).ok());
    let date = date.ok_or_else(|| format!("no {name} in the form of HTTP"))?;
    let apart = now.duration_since(date).unwrap_or_else(|early| early.duration());
    if apart > MAX_SKEW { Err(format!("{name} is {} s away", apart.as_secs())) } else { Ok(()) }
}

/// One line for each header, in the order that `headers` gives, the target exactly as it was sent.
fn signing_string(head: &Parts, signed: &[&str]) -> Result<String, String> {
    let lines = signed.iter().map(|name| {
        if *name == "(request-target)" {
            let target = head.uri.path_and_query().map_or("", |target| target.as_str());
            return Ok(format!("{name}: {} {target}", head.method.as_str().to_ascii_lowercase()));
        }
        let value = header(head, name).ok_or_else(|| format!("{name} is signed, but was not sent"))?;
        Ok(format!("{name}: {value}"))
    });
    Ok(lines.collect::<Result<Vec<_>, String>>()?.join("\n"))
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}
