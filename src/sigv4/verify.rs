//! Inbound checks. In: a request head as it came, what time it is, the rules. Out: first the `Claim`, the one
//! way in that the head uses; a signature is well-formed and in scope. Then, given the signing key of the presented
//! access key, or once a bearer's token was found true, a `VerifiedPayload`, which nothing else can make. Every
//! failure is an error; nothing falls through.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;

use crate::error::{Code, Error, Result};
use crate::s3::query::Query;
use crate::sigv4::Payload;
use crate::sigv4::canonical::{self, Canonical, Form};
use crate::sigv4::chunk::ChunkSigner;
use crate::sigv4::scope::{Credential, format_iso, parse_amz_date};
use crate::types::WayIn;

pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const SECURITY_TOKEN: &str = "x-amz-security-token";
/// A presigned URL lives at most seven days.
const MAX_EXPIRES: u64 = 7 * 24 * 60 * 60;

/// The head of a request, as it came off the wire.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub method: &'a str,
    pub raw_path: &'a str,
    pub query: &'a Query<'a>,
    pub headers: &'a HeaderMap,
}

/// What a client may sign for, and when.
pub struct Rules<'a> {
    pub regions: &'a [String],
    pub max_clock_skew: Duration,
    pub now: SystemTime,
}

/// What a caller shows to be let in.
#[derive(Debug)]
pub enum Claim<'a> {
    Signature(Presented<'a>),
    Bearer(Bearer<'a>),
}

impl<'a> Claim<'a> {
    /// What names the caller, if it is true: the same whenever they come.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Signature(presented) => presented.credential.access_key_id,
            Self::Bearer(bearer) => bearer.token,
        }
    }
}

/// Where a signature stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Header,
    /// Of a presigned URL.
    Query,
}

impl Place {
    /// The way in of whoever signs there with a lasting key.
    pub fn way(self) -> WayIn {
        match self {
            Self::Header => WayIn::SigV4Header,
            Self::Query => WayIn::SigV4Presigned,
        }
    }
}

/// A signature as presented: well-formed, not yet verified.
#[derive(Debug)]
pub struct Presented<'a> {
    pub place: Place,
    pub credential: Credential<'a>,
    pub(super) signed_headers: &'a str,
    signature: &'a str,
    pub(super) amz_date: Cow<'a, str>,
    pub(super) time: SystemTime,
    /// Only for presigned URLs.
    expires: Option<Duration>,
    /// Which temporary keys come with.
    pub session_token: Option<&'a str>,
}

/// A token as presented: any text.
pub struct Bearer<'a> {
    token: &'a str,
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

/// The payload mode of a request whose signature was verified.
pub struct VerifiedPayload(Payload);

impl VerifiedPayload {
    pub fn into_inner(self) -> Payload {
        self.0
    }
}

/// The signature of a request that cannot come with anything else.
pub fn presented(head: Head<'_>) -> Result<Presented<'_>> {
    match claimed(head)? {
        Claim::Signature(presented) => Ok(presented),
        Claim::Bearer(_) => Err(Code::InvalidToken.into()),
    }
}

/// Finds the one way in that a request uses. A request without any is `AccessDenied`: nothing is public.
pub fn claimed(head: Head<'_>) -> Result<Claim<'_>> {
    let mut authorizations = head.headers.get_all(header::AUTHORIZATION).iter();
    let authorization = authorizations.next();
    let query_v4 = head.query.has("X-Amz-Algorithm") || head.query.has("X-Amz-Signature");
    let query_v2 = head.query.has("AWSAccessKeyId") && head.query.has("Signature");
    if authorizations.next().is_some() || (authorization.is_some() && (query_v4 || query_v2)) {
        return Err(more_than_one_way());
    }
    match authorization {
        Some(value) => {
            let value = value.to_str().map_err(|_| unsupported_authorization())?.trim();
            let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
            if scheme.eq_ignore_ascii_case("Bearer") {
                return bearer(head, rest.trim()).map(Claim::Bearer);
            }
            from_header(head, scheme, rest).map(Claim::Signature)
        }
        None if query_v4 => from_query(head).map(Claim::Signature),
        None if query_v2 => Err(unsupported_mechanism()),
        None => Err(Code::AccessDenied.into()),
    }
}

fn more_than_one_way() -> Error {
    Error::new(Code::InvalidArgument).say(
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
         parameter or the Authorization header should be specified",
    )
}

/// A session token belongs to a signature.
fn bearer<'a>(head: Head<'a>, token: &'a str) -> Result<Bearer<'a>> {
    if head.headers.contains_key(SECURITY_TOKEN) || head.query.has("X-Amz-Security-Token") {
        return Err(more_than_one_way());
    }
    Ok(Bearer { token })
}

fn unsupported_mechanism() -> Error {
    Error::new(Code::InvalidRequest)
        .say("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

fn unsupported_authorization() -> Error {
    Error::new(Code::InvalidArgument).say("Unsupported Authorization Type")
}

fn from_header<'a>(head: Head<'a>, algorithm: &str, fields: &'a str) -> Result<Presented<'a>> {
    let malformed = || Error::new(Code::AuthorizationHeaderMalformed);
    match algorithm {
        ALGORITHM => {}
        "" => return Err(Code::AccessDenied.into()),
        "AWS" | "AWS4-ECDSA-P256-SHA256" => return Err(unsupported_mechanism()),
        _ => return Err(unsupported_authorization()),
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for field in fields.split(',').map(str::trim) {
        let (name, value) = field.split_once('=').ok_or_else(malformed)?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(malformed()),
        };
        if slot.replace(value).is_some() {
            return Err(malformed());
        }
    }
    let missing = |what| malformed().say(format!("The authorization header is malformed; missing {what}."));
    let credential = credential.ok_or_else(|| missing("Credential"))?;
    let credential = Credential::parse(credential).ok_or_else(|| {
        malformed().say(
            "The authorization header is malformed; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        )
    })?;
    let (amz_date, time) = header_time(head.headers)?;
    Ok(Presented {
        place: Place::Header,
        credential,
        signed_headers: signed_headers.filter(|s| !s.is_empty()).ok_or_else(|| missing("SignedHeaders"))?,
        signature: signature.ok_or_else(|| missing("Signature"))?,
        amz_date,
        time,
        expires: None,
        session_token: session_token(head, Place::Header)?,
    })
}

/// The one session token, which stands where the signature stands, and is covered by it there.
fn session_token(head: Head<'_>, place: Place) -> Result<Option<&str>> {
    let mut in_header = head.headers.get_all(SECURITY_TOKEN).iter().map(|value| value.to_str().ok());
    let in_query = head.query.iter().filter(|(name, _)| name.eq_ignore_ascii_case(SECURITY_TOKEN));
    let mut in_query = in_query.map(|(_, value)| Some(value));
    let (token, more, elsewhere) = match place {
        Place::Header => (in_header.next(), in_header.next(), in_query.next()),
        Place::Query => (in_query.next(), in_query.next(), in_header.next()),
    };
    match (token, more, elsewhere) {
        (None, None, None) => Ok(None),
        (Some(Some(token)), None, None) => Ok(Some(token)),
        (Some(_) | None, _, _) => Err(Error::new(Code::InvalidToken)
            .with_status(StatusCode::FORBIDDEN)
            .because("a session token that is none, or more than one, or not where the signature is")),
    }
}

/// `x-amz-date`, or else `Date` in HTTP's form.
fn header_time(headers: &HeaderMap) -> Result<(Cow<'_, str>, SystemTime)> {
    let no_date = || {
        Error::new(Code::AccessDenied).say("AWS authentication requires a valid Date or x-amz-date header")
    };
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if let Some(amz_date) = text("x-amz-date") {
        let time = parse_amz_date(amz_date).ok_or_else(no_date)?;
        return Ok((amz_date.into(), time));
    }
    let date = text("date").ok_or_else(no_date)?;
    let time = parse_amz_date(date).or_else(|| httpdate::parse_http_date(date).ok()).ok_or_else(no_date)?;
    Ok((super::scope::format_amz_date(time).into(), time))
}

fn from_query(head: Head<'_>) -> Result<Presented<'_>> {
    let bad = |text: &'static str| Error::new(Code::AuthorizationQueryParametersError).say(text);
    let get = |name: &'static str| {
        let mut values = head.query.iter().filter(|(n, _)| *n == name).map(|(_, value)| value);
        let value = values.next().filter(|value| !value.is_empty());
        match (value, values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(bad(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )),
        }
    };
    if get("X-Amz-Algorithm")? != ALGORITHM {
        return Err(bad("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let credential = Credential::parse(get("X-Amz-Credential")?).ok_or_else(|| {
        bad("Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
    })?;
    let amz_date = get("X-Amz-Date")?;
    let time = parse_amz_date(amz_date)
        .ok_or_else(|| bad("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    let expires = get("X-Amz-Expires")?;
    if expires.starts_with('-') || expires.bytes().all(|digit| digit == b'0') {
        return Err(bad("X-Amz-Expires must be at least 1 second"));
    }
    if !expires.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(bad("X-Amz-Expires should be a number"));
    }
    let expires = expires.parse().ok().filter(|&seconds: &u64| seconds <= MAX_EXPIRES).ok_or_else(|| {
        bad("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             604800 seconds")
    })?;
    Ok(Presented {
        place: Place::Query,
        credential,
        signed_headers: get("X-Amz-SignedHeaders")?,
        signature: get("X-Amz-Signature")?,
        amz_date: amz_date.into(),
        time,
        expires: Some(Duration::from_secs(expires)),
        session_token: session_token(head, Place::Query)?,
    })
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

impl<'a> Bearer<'a> {
    pub fn token(&self) -> &'a str {
        self.token
    }

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
