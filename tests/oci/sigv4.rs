//! SigV4 as OCI verifies it, in the header and in the query, for path-style requests. In: a request head. Out: who
//! claims to have signed it, and whether they did. Also signs what goes to the store. Only HMAC and key derivation
//! are borrowed, from Amazon's own library. Follows "Signature Calculations for the Authorization Header".

use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::HeaderMap;
use http::request::Parts;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::refusal::Refusal;
use super::text::{hex, query_pairs, sha256, uri_decode, uri_encode};

pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const MAX_SKEW: Duration = Duration::from_mins(15);
const MAX_EXPIRY: u64 = 7 * 24 * 60 * 60;

/// What a request says of its signature.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    pub(super) access_key: String,
    pub(super) region: String,
    /// `x-amz-content-sha256`, or what stands for it in a presigned URL.
    pub(super) payload: String,
    pub(super) stamp: String,
    time: SystemTime,
    signed: Vec<String>,
    signature: String,
    /// Of a presigned URL.
    expires: Option<Duration>,
}

/// A key made for one day, region and service, and what is signed with it.
pub(super) struct Chain {
    key: Box<dyn AsRef<[u8]> + Send + Sync>,
    pub(super) stamp: String,
    pub(super) scope: String,
    /// The last signature: the seed of a chunk's.
    pub(super) signature: String,
}

impl Chain {
    pub(super) fn sign(&self, text: &str) -> String {
        calculate_signature((*self.key).as_ref(), text.as_bytes())
    }
}

/// The access key that a head names, however wrong the rest of it.
pub(super) fn claimed_key(head: &Parts) -> Option<String> {
    let header = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let credential = if let Some(text) = header {
        text.split_once("Credential=")?.1.to_owned()
    } else {
        let pairs = query_pairs(head.uri.query()?)?;
        pairs.into_iter().find(|(name, _)| name == "X-Amz-Credential")?.1
    };
    Some(credential.split_once('/')?.0.to_owned())
}

pub(super) fn presented(head: &Parts) -> Result<Presented, Refusal> {
    match head.headers.get("authorization") {
        Some(value) => in_header(head, value.to_str().unwrap_or_default()),
        None => in_query(head),
    }
}

fn in_header(head: &Parts, authorization: &str) -> Result<Presented, Refusal> {
    let malformed = || {
        Refusal::new(400, "AuthorizationHeaderMalformed", "The authorization header you provided is invalid.")
    };
    let Some(fields) = authorization.strip_prefix(ALGORITHM) else {
        return Err(Refusal::invalid_request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    };
    let field = |name: &str| {
        let mut named = fields.split(',').filter_map(|field| field.trim().split_once('='));
        named.find(|(own, _)| *own == name).map(|(_, value)| value.to_owned()).ok_or_else(malformed)
    };
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let Some(payload) = header("x-amz-content-sha256") else {
        return Err(Refusal::invalid_request(
            "Missing required header for this request: x-amz-content-sha256",
        ));
    };
    let stamp = header("x-amz-date").ok_or_else(malformed)?;
    let claim = Claim {
        credential: field("Credential")?,
        signed: field("SignedHeaders")?,
        signature: field("Signature")?,
        stamp: stamp.to_owned(),
        payload: payload.to_owned(),
        expires: None,
    };
    claim.read().ok_or_else(malformed)
}

fn in_query(head: &Parts) -> Result<Presented, Refusal> {
    let pairs = query_pairs(head.uri.query().unwrap_or_default()).unwrap_or_default();
    let value = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    if value("X-Amz-Signature").is_none() {
        return Err(Refusal::new(403, "AccessDenied", "Access Denied"));
    }
    let malformed = || {
        let text = "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                    X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
        Refusal::new(400, "AuthorizationQueryParametersError", text)
    };
    let needed = |name: &str| value(name).ok_or_else(malformed);
    if needed("X-Amz-Algorithm")? != ALGORITHM {
        return Err(malformed());
    }
    let expires = needed("X-Amz-Expires")?.parse().ok().filter(|seconds| (1..=MAX_EXPIRY).contains(seconds));
    let payload = head.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
    let claim = Claim {
        credential: needed("X-Amz-Credential")?,
        signed: needed("X-Amz-SignedHeaders")?,
        signature: needed("X-Amz-Signature")?,
        stamp: needed("X-Amz-Date")?,
        payload: payload.unwrap_or(UNSIGNED).to_owned(),
        expires: Some(Duration::from_secs(expires.ok_or_else(malformed)?)),
    };
    claim.read().ok_or_else(malformed)
}

struct Claim {
    credential: String,
    signed: String,
    signature: String,
    stamp: String,
    payload: String,
    expires: Option<Duration>,
}

impl Claim {
    fn read(self) -> Option<Presented> {
        let parts: Vec<&str> = self.credential.split('/').collect();
        let [access_key, day, region, "s3", "aws4_request"] = parts[..] else { return None };
        let time = PrimitiveDateTime::parse(&self.stamp, STAMP).ok()?.assume_utc();
        let fits = self.stamp.starts_with(day) && day.len() == 8 && !access_key.is_empty();
        fits.then(|| Presented {
            access_key: access_key.to_owned(),
            region: region.to_owned(),
            payload: self.payload,
            stamp: self.stamp.clone(),
            time: time.into(),
            signed: self.signed.split(';').map(str::to_owned).collect(),
            signature: self.signature,
            expires: self.expires,
        })
    }
}

impl Presented {
    /// Signed with this secret, in time, and over everything that must be signed.
    pub(super) fn verify(&self, head: &Parts, secret: &str, now: SystemTime) -> Result<Chain, Refusal> {
        let denied = |text: &str| Refusal::new(403, "AccessDenied", text);
        let unsigned = |name: &str| !self.signed.iter().any(|signed| signed == name);
        let must =
            |name: &str| name == "host" || (name.starts_with("x-amz-") && name != "x-amz-content-sha256");
        if unsigned("host") || head.headers.keys().any(|name| must(name.as_str()) && unsigned(name.as_str()))
        {
            return Err(denied("There were headers present in the request which were not signed"));
        }
        let chain = chain(secret, self.time, &self.region);
        let canonical = canonical_request(head, &self.signed, &self.payload)
            .ok_or_else(|| Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI."))?;
        let signature = chain.sign(&to_sign(&chain, &canonical));
        if signature != self.signature {
            let text = "The request signature we calculated does not match the signature you provided. \
                        Check your key and signing method.";
            return Err(Refusal::new(403, "SignatureDoesNotMatch", text));
        }
        let apart = now.duration_since(self.time).unwrap_or_else(|early| early.duration());
        match self.expires {
            Some(expires) if now > self.time + expires => Err(denied("Request has expired")),
            None if apart > MAX_SKEW => {
                let text = "The difference between the request time and the current time is too large.";
                Err(Refusal::new(403, "RequestTimeTooSkewed", text))
            }
            _ => Ok(Chain { signature, ..chain }),
        }
    }
}

/// Signs a head in place, payload unsigned; `host` is there already.
pub(super) fn sign(head: &mut Parts, access_key: &str, secret: &str, region: &str, now: SystemTime) {
    let chain = chain(secret, now, region);
    let value = |text: &str| text.parse().expect("a header's value");
    head.headers.insert("x-amz-date", value(&chain.stamp));
    head.headers.insert("x-amz-content-sha256", value(UNSIGNED));
    let mut signed: Vec<String> = head.headers.keys().map(ToString::to_string).collect();
    signed.sort_unstable();
    let canonical = canonical_request(head, &signed, UNSIGNED).expect("a path of this side's own making");
    let signature = chain.sign(&to_sign(&chain, &canonical));
    let (scope, signed) = (&chain.scope, signed.join(";"));
    let text =
        format!("{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}");
    head.headers.insert("authorization", value(&text));
}

fn chain(secret: &str, time: SystemTime, region: &str) -> Chain {
    let stamp = OffsetDateTime::from(time).format(STAMP).expect("a time formats");
    let scope = format!("{}/{region}/s3/aws4_request", &stamp[..8]);
    let key = Box::new(generate_signing_key(secret, time, region, "s3"));
    Chain { key, stamp, scope, signature: String::new() }
}

fn to_sign(chain: &Chain, canonical: &[u8]) -> String {
    format!("{ALGORITHM}\n{}\n{}\n{}", chain.stamp, chain.scope, hex(sha256(canonical)))
}

/// Path and query are decoded and encoded anew, so that it is what they mean that is signed.
fn canonical_request(head: &Parts, signed: &[String], payload: &str) -> Option<Vec<u8>> {
    let path = uri_encode(uri_decode(head.uri.path())?, true);
    let mut pairs: Vec<(String, String)> = query_pairs(head.uri.query().unwrap_or_default())?
        .into_iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (uri_encode(name, false), uri_encode(value, false)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = format!("{}\n{path}\n{}\n", head.method, pairs.join("&")).into_bytes();
    for name in signed {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(&canonical_value(&head.headers, name));
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{}\n{payload}", signed.join(";")).as_bytes());
    Some(text)
}

/// The values of a header, joined by commas, trimmed, runs of spaces as one.
fn canonical_value(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let values = headers.get_all(name).iter().map(|value| {
        let words = value.as_bytes().split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(&b' ')
    });
    values.collect::<Vec<_>>().join(&b',')
}
