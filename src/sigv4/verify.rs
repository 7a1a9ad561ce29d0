//! Inbound checks. In: a `Claim`, the head that it came with, what time it is, the rules. Out: given the signing key of
//! the presented access key, or once a bearer's token was found true, a `VerifiedPayload`, which nothing else can
//! make. Every failure is an error; nothing falls through.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use subtle::ConstantTimeEq;

use crate::error::{Code, Error, Result};
use crate::sigv4::Payload;
use crate::sigv4::canonical::{self, Canonical, Form};
use crate::sigv4::chunk::ChunkSigner;
pub use crate::sigv4::claim::{ALGORITHM, Bearer, Claim, Head, Place, Presented, claimed, presented};
use crate::sigv4::scope::{Credential, format_iso};

const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What a client may sign for, and when.
pub struct Rules<'a> {
    pub regions: &'a [String],
    pub max_clock_skew: Duration,
    pub now: SystemTime,
}

/// The payload mode of a request whose signature was verified.
pub struct VerifiedPayload(Payload);

impl VerifiedPayload {
    pub fn into_inner(self) -> Payload {
        self.0
    }
}

impl Presented<'_> {
    /// Scope, time and shape: what can be refused before any key is looked up.
    pub fn check(&self, rules: &Rules<'_>) -> Result<()> {
        self.check_scope(rules)?;
        self.check_signed_headers()?;
        self.check_time(rules)
    }

    /// Every header is signed once. A name given a thousand times would make a canonical request of a thousand
    /// times its value, before anything is known of the caller.
    pub(super) fn check_signed_headers(&self) -> Result<()> {
        let names = || self.signed_headers.split(';');
        let ascending = names().zip(names().skip(1)).all(|(name, next)| name < next);
        let distinct = ascending || {
            let mut sorted: Vec<&str> = names().collect();
            sorted.sort_unstable();
            sorted.windows(2).all(|pair| pair[0] != pair[1])
        };
        if distinct && names().all(|name| !name.is_empty()) {
            return Ok(());
        }
        Err(Error::new(self.malformed()).say("SignedHeaders must name each signed header once."))
    }

    fn malformed(&self) -> Code {
        match self.place {
            Place::Header => Code::AuthorizationHeaderMalformed,
            Place::Query => Code::AuthorizationQueryParametersError,
        }
    }

    fn check_scope(&self, rules: &Rules<'_>) -> Result<()> {
        let place = match self.place {
            Place::Header => "The authorization header is malformed",
            Place::Query => "Error parsing the X-Amz-Credential parameter",
        };
        let bad = |what: String| Err(Error::new(self.malformed()).say(format!("{place}; {what}")));
        let Credential { date, region, service, terminal, .. } = self.credential;
        if terminal != "aws4_request" {
            return bad("the Credential is mal-formed; expecting \"aws4_request\".".into());
        }
        if service != "s3" {
            return bad("incorrect service. This endpoint belongs to \"s3\".".into());
        }
        if !rules.regions.iter().any(|allowed| allowed == region) {
            let expected = rules.regions.first().map_or("us-east-1", String::as_str);
            let wrong = bad(format!("the region is wrong; expecting '{expected}'"));
            return wrong.map_err(|error: Error| error.detail("Region", expected));
        }
        if self.amz_date.get(..8) != Some(date) {
            return bad(format!(
                "Invalid credential date \"{date}\". This date is not the same as X-Amz-Date."
            ));
        }
        Ok(())
    }

    fn check_time(&self, rules: &Rules<'_>) -> Result<()> {
        let Some(expires) = self.expires else {
            let skew = match rules.now.duration_since(self.time) {
                Ok(behind) => behind,
                Err(ahead) => ahead.duration(),
            };
            if skew <= rules.max_clock_skew {
                return Ok(());
            }
            return Err(Error::new(Code::RequestTimeTooSkewed)
                .detail("RequestTime", self.amz_date.as_ref())
                .detail("ServerTime", format_iso(rules.now))
                .detail("MaxAllowedSkewMilliseconds", rules.max_clock_skew.as_millis().to_string()));
        };
        if self.time > rules.now + rules.max_clock_skew {
            return Err(Error::new(Code::AccessDenied).say("Request is not valid yet"));
        }
        if rules.now > self.time + expires {
            return Err(Error::new(Code::AccessDenied)
                .say("Request has expired")
                .detail("X-Amz-Expires", expires.as_secs().to_string())
                .detail("Expires", format_iso(self.time + expires))
                .detail("ServerTime", format_iso(rules.now)));
        }
        Ok(())
    }

    /// Whether the holder of `signing_key` signed this head; and what the head says of the body.
    pub fn verify(&self, head: Head<'_>, signing_key: &[u8; 32]) -> Result<VerifiedPayload> {
        let unsigned = canonical::unsigned_headers(head.headers, self.signed_headers);
        if !unsigned.is_empty() {
            return Err(Error::new(Code::AccessDenied)
                .say("There were headers present in the request which were not signed")
                .detail("HeadersNotSigned", unsigned.join(", ")));
        }
        let claimed = self.claimed_hash(head)?;
        if !self.signature_matches(head, self.signed_hash(head, claimed), signing_key) {
            return Err(Error::new(Code::SignatureDoesNotMatch)
                .detail("AWSAccessKeyId", self.credential.access_key_id)
                .detail("SignatureProvided", self.signature));
        }
        self.payload(claimed, signing_key).map(VerifiedPayload)
    }

    /// What the request says its body is: in a header, or in the query of a presigned URL. A hash that the URL was
    /// made with cannot be taken back by a header that nobody signed.
    pub(super) fn claimed_hash<'h>(&self, head: Head<'h>) -> Result<&'h str> {
        let header = hash_header(head.headers)?;
        let mut pinned =
            head.query.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-amz-content-sha256"));
        let pinned = match (self.place, pinned.next(), pinned.next()) {
            (Place::Header, _, _) | (Place::Query, None, _) => None,
            (Place::Query, Some((_, value)), None) => Some(value),
            (Place::Query, Some(_), Some(_)) => return Err(invalid_hash()),
        };
        match (header, pinned, self.place) {
            (Some(header), Some(pinned), _) if header != pinned => Err(invalid_hash()),
            (Some(claimed), _, _) | (None, Some(claimed), _) => Ok(claimed),
            (None, None, Place::Query) => Ok(UNSIGNED_PAYLOAD),
            (None, None, Place::Header) => Err(Error::new(Code::InvalidRequest)
                .say("Missing required header for this request: x-amz-content-sha256")),
        }
    }

    /// What stands for the body in the canonical request. A presigned URL was made before there was a header
    /// to claim anything, unless it signs that header.
    pub(super) fn signed_hash<'h>(&self, head: Head<'h>, claimed: &'h str) -> &'h str {
        match self.place {
            Place::Header => claimed,
            Place::Query if self.signed_headers.split(';').any(|h| h == "x-amz-content-sha256") => claimed,
            Place::Query => head.query.get("X-Amz-Content-Sha256").unwrap_or(UNSIGNED_PAYLOAD),
        }
    }

    pub(super) fn signature_matches(
        &self,
        head: Head<'_>,
        payload_hash: &str,
        signing_key: &[u8; 32],
    ) -> bool {
        let canonical = Canonical {
            method: head.method,
            raw_path: head.raw_path,
            query: head.query,
            presigned: self.place == Place::Query,
            headers: head.headers,
            signed_headers: self.signed_headers,
            payload_hash,
        };
        let matches = |request: &[u8]| {
            let text = canonical::string_to_sign(&self.amz_date, self.credential.scope, request);
            let expected = aws_sigv4::sign::v4::calculate_signature(signing_key, &text);
            bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes()))
        };
        // Almost every client signs the first form; the others cost only a request that would be refused.
        let forms = [
            (Form::Encoded, Form::Encoded),
            (Form::AsSent, Form::Encoded),
            (Form::AsSent, Form::AsSent),
            (Form::Encoded, Form::AsSent),
        ];
        let mut tried: [Option<Vec<u8>>; 4] = [None, None, None, None];
        for (i, (path, query)) in forms.into_iter().enumerate() {
            let Some(request) = canonical.request(path, query) else {
                continue;
            };
            if tried[..i].iter().flatten().any(|earlier| *earlier == request) {
                continue;
            }
            if matches(&request) {
                return true;
            }
            tried[i] = Some(request);
        }
        false
    }

    fn payload(&self, claimed: &str, signing_key: &[u8; 32]) -> Result<Payload> {
        let signer = || ChunkSigner::new(*signing_key, &self.amz_date, self.credential.scope, self.signature);
        payload(claimed, || Ok(signer()))
    }
}

impl Bearer<'_> {
    /// For `auth` alone, once it has found the token true: what the head says of the body. It need not say anything.
    pub fn vouched_payload(&self, head: Head<'_>) -> Result<VerifiedPayload> {
        let nobody_signs = || {
            Error::new(Code::InvalidRequest)
                .say("A bearer token signs no chunks: send STREAMING-UNSIGNED-PAYLOAD-TRAILER instead.")
        };
        let claimed = hash_header(head.headers)?.unwrap_or(UNSIGNED_PAYLOAD);
        payload(claimed, || Err(nobody_signs())).map(VerifiedPayload)
    }
}

/// The body that a head claims; `signer` is for bodies that come in signed chunks.
fn payload(claimed: &str, signer: impl Fn() -> Result<ChunkSigner>) -> Result<Payload> {
    match claimed {
        UNSIGNED_PAYLOAD => Ok(Payload::Unsigned),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => {
            Ok(Payload::SignedChunks { signer: signer()?, trailer: false })
        }
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            Ok(Payload::SignedChunks { signer: signer()?, trailer: true })
        }
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Payload::UnsignedChunks),
        _ => parse_sha256(claimed).map(Payload::Sha256).ok_or_else(invalid_hash),
    }
}

fn hash_header(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all("x-amz-content-sha256").iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map(Some).map_err(|_| invalid_hash()),
        (Some(_), Some(_)) => Err(invalid_hash()),
        (None, _) => Ok(None),
    }
}

fn invalid_hash() -> Error {
    Error::new(Code::InvalidArgument)
        .say("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a valid sha256 value, or a supported STREAMING value.")
}

/// 64 hex digits.
fn parse_sha256(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// The key that signs for one secret, day, region and service `s3`.
pub fn signing_key(secret: &str, date: SystemTime, region: &str) -> [u8; 32] {
    let key = aws_sigv4::sign::v4::generate_signing_key(secret, date, region, "s3");
    key.as_ref().try_into().expect("HMAC-SHA256 gives 32 bytes")
}

impl Presented<'_> {
    /// The signing key that would verify this, from the presented access key's secret.
    pub fn signing_key(&self, secret: &str) -> [u8; 32] {
        signing_key(secret, self.time, self.credential.region)
    }
}
