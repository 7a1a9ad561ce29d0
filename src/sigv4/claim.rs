//! What a request shows to be let in. In: its head, as it came. Out: the `Claim`, the one way in that the head uses: a
//! signature, well-formed, or a bearer's token; or why it is none. Nothing is verified here, and nothing falls through:
//! two ways at once are refused, and so is a way that nobody knows.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html> and
//! <https://www.rfc-editor.org/rfc/rfc6750>.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use crate::error::{Code, Error, Result};
use crate::s3::query::Query;
use crate::sigv4::scope::{Credential, format_amz_date, parse_amz_date};
use crate::types::WayIn;

pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
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
    pub(super) signature: &'a str,
    pub(super) amz_date: Cow<'a, str>,
    pub(super) time: SystemTime,
    /// Only for presigned URLs.
    pub(super) expires: Option<Duration>,
    /// Which temporary keys come with.
    pub session_token: Option<&'a str>,
}

/// A token as presented: any text.
pub struct Bearer<'a> {
    token: &'a str,
}

impl<'a> Bearer<'a> {
    pub fn token(&self) -> &'a str {
        self.token
    }
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
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
    Ok((format_amz_date(time).into(), time))
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
