//! What the upstream's refusals mean to a client. Only codes that speak of the client's own request pass, in
//! the gateway's own words; whatever concerns the gateway's credentials, bucket or load becomes a 5xx of the
//! gateway, and no text of the upstream is ever repeated.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};

use super::call::Call;
use crate::dialect::{Dialect, Refusal};
use crate::error::{Blame, Code, Error, Result};
use crate::s3::xml::{self, UpstreamError};

/// The longest wait that an upstream's `Retry-After` may ask of a client.
const MAX_RETRY_AFTER: u64 = 60;

/// The most of an upstream's text that a log line repeats, in characters.
const MAX_QUOTED: usize = 200;

/// Codes about the gateway's own signature, key or bucket, which no client can mend.
const GATEWAYS_FAULT: &[&str] = &[
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "NoSuchBucket",
    "NotAuthenticated",
    "NotSignedUp",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "XAmzContentSHA256Mismatch",
];

/// A refusal of the upstream.
pub(super) struct Refused {
    /// As the client may see it.
    pub(super) error: Error,
    pub(super) status: StatusCode,
    pub(super) reason: Reason,
}

/// What a refusal says about the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// It sends too much. The call was not begun; the upstream may have said when to come again.
    Throttled { retry_after: Option<Duration> },
    /// The upstream does not know the key that the call was signed with.
    KeyMissed,
    /// Nothing: it is about the call.
    Call,
}

impl Refused {
    /// `document` is empty where there was none, as after HEAD.
    pub(super) fn read(
        dialect: Dialect,
        call: &Call,
        status: StatusCode,
        headers: &HeaderMap,
        document: &[u8],
    ) -> Self {
        let upstream = xml::parse_error(document);
        let named = upstream.as_ref().map_or("", |error| error.code.as_str());
        let message = upstream.as_ref().map_or("", |error| error.message.as_str());
        let refusal = Refusal { status: status.as_u16(), code: named, message };
        let unexplained = call.method == Method::HEAD && !super::headers::has_own_key(&call.headers);
        let (code, reason) = if dialect.throttles(refusal) {
            (Code::SlowDown, Reason::Throttled { retry_after: retry_after(headers) })
        } else if dialect.misses_key(refusal, unexplained) {
            (Code::ServiceUnavailable, Reason::KeyMissed)
        } else {
            (code(status, named), Reason::Call)
        };
        let (named_so, said) = (quoted(named), quoted(message));
        let error = Error::new(code).because(format!("upstream answered {status} {named_so}: {said}"));
        let error = match code {
            Code::SlowDown => error.retry_after(retry_after(headers).unwrap_or(Duration::from_secs(1))),
            _ => error,
        };
        Self { error, status, reason }
    }

    /// Whether the upstream has accepted the signature: it looked at what was asked, and refuses that.
    pub(super) fn shows_key_known(&self) -> bool {
        let about_access = matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        self.reason == Reason::Call && self.error.code.blame() == Blame::Client && !about_access
    }
}

/// An error that came with status 200, or for one key of many: its name is all there is.
pub fn translate_named(named: &str, message: &str) -> Error {
    let status = match named {
        // SDKs know from this code, not from the status, that they may try again.
        "InternalError" => {
            return Error::new(Code::InternalError).because(format!("upstream said: {}", quoted(message)));
        }
        "" => StatusCode::BAD_GATEWAY,
        "ServiceUnavailable" | "SlowDown" | "TooManyRequests" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    let (named_so, said) = (quoted(named), quoted(message));
    Error::new(code(status, named)).because(format!("upstream said {named_so}: {said}"))
}

/// An upstream's text as a log line may hold it: on that one line, and not for ever.
fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(MAX_QUOTED).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        quoted.push('…');
    }
    quoted
}

/// The result that an answer of status 200 holds, or the error.
pub fn embedded<T>(answer: xml::Answer<T>) -> Result<T> {
    match answer {
        xml::Answer::Done(result) => Ok(result),
        xml::Answer::Failed(UpstreamError { code, message }) => Err(translate_named(&code, &message)),
    }
}

fn code(status: StatusCode, named: &str) -> Code {
    if GATEWAYS_FAULT.contains(&named) {
        return Code::ServiceUnavailable;
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => return Code::SlowDown,
        StatusCode::GATEWAY_TIMEOUT => return Code::GatewayTimeout,
        StatusCode::NOT_IMPLEMENTED => return Code::NotImplemented,
        _ if status.is_server_error() || !status.is_client_error() => return Code::BadGateway,
        _ => {}
    }
    match Code::from_name(named) {
        Some(code) if code.blame() == Blame::Client => code,
        Some(_) | None => unnamed(status),
    }
}

/// A refusal whose code the table does not have, or an answer to HEAD, which has no body to name one.
fn unnamed(status: StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::ServiceUnavailable,
        403 => Code::AccessDenied,
        404 => Code::NoSuchKey,
        405 => Code::MethodNotAllowed,
        409 => Code::OperationAborted,
        412 => Code::PreconditionFailed,
        416 => Code::InvalidRange,
        _ => Code::InvalidRequest,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, MAX_RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::operation::Operation;

    fn call(method: Method) -> Call {
        Call::new(Operation::GetObject, method, "/b/k".into())
    }

    fn refused(status: StatusCode, headers: &HeaderMap, document: &[u8]) -> Error {
        Refused::read(Dialect::Oci, &call(Method::GET), status, headers, document).error
    }

    fn translated(status: u16, named: &str) -> Code {
        let body = format!("<Error><Message>secret host</Message><Code>{named}</Code></Error>");
        let status = StatusCode::from_u16(status).expect("a status");
        let error = refused(status, &HeaderMap::new(), body.as_bytes());
        assert!(!error.message().contains("secret host"));
        error.code
    }

    #[test]
    fn only_the_clients_own_errors_pass() {
        for (status, named, code) in [
            (404, "NoSuchKey", Code::NoSuchKey),
            (404, "NoSuchUpload", Code::NoSuchUpload),
            (412, "PreconditionFailed", Code::PreconditionFailed),
            (400, "EntityTooSmall", Code::EntityTooSmall),
            (404, "NoSuchBucket", Code::ServiceUnavailable),
            (403, "SignatureDoesNotMatch", Code::ServiceUnavailable),
            (403, "InvalidAccessKeyId", Code::ServiceUnavailable),
            (429, "TooManyRequests", Code::SlowDown),
            (503, "SlowDown", Code::SlowDown),
            (500, "InternalError", Code::BadGateway),
            (400, "SomethingNew", Code::InvalidRequest),
            (301, "PermanentRedirect", Code::BadGateway),
            (404, "", Code::NoSuchKey),
        ] {
            assert_eq!(translated(status, named), code, "{status} {named}");
        }
    }

    #[test]
    fn what_the_upstream_says_stays_on_its_line() {
        let forged = format!("x\n2026-01-01 ERROR all is lost\r\u{1b}[31m{}", "y".repeat(10_000));
        let body = format!("<Error><Code>{forged}</Code><Message>{forged}</Message></Error>");
        for error in [
            refused(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes()),
            translate_named(&forged, &forged),
            translate_named("InternalError", &forged),
        ] {
            let line = error.to_string();
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(line.contains("all is lost") && line.len() < 700, "{line:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_it_is_about() {
        let reason = |call: &Call, status: u16, document: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            let refused = Refused::read(Dialect::Oci, call, status, &HeaderMap::new(), document.as_bytes());
            (refused.reason, refused.error.code)
        };
        let oci = |message: &str, code: &str| {
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Message>{message}</Message><Code>{code}</Code></Error>"
            )
        };
        let throttled = Reason::Throttled { retry_after: None };
        let missing = oci(
            "The secret key required to complete authentication could not be found.",
            "SignatureDoesNotMatch",
        );
        for (method, status, document, expected) in [
            (Method::GET, 429, oci("rate-limit exceeded", "TooManyRequests"), (throttled, Code::SlowDown)),
            (Method::HEAD, 429, String::new(), (throttled, Code::SlowDown)),
            (Method::PUT, 403, missing, (Reason::KeyMissed, Code::ServiceUnavailable)),
            (Method::HEAD, 403, String::new(), (Reason::KeyMissed, Code::ServiceUnavailable)),
            (Method::GET, 404, oci("no such key", "NoSuchKey"), (Reason::Call, Code::NoSuchKey)),
        ] {
            assert_eq!(reason(&call(method.clone()), status, &document), expected, "{method} {status}");
        }
        let key = http::HeaderName::from_static("x-amz-server-side-encryption-customer-key");
        let with_own_key = call(Method::HEAD).header(key, http::HeaderValue::from_static("k"));
        assert_eq!(reason(&with_own_key, 403, ""), (Reason::Call, Code::AccessDenied));
    }

    #[test]
    fn slow_down_says_how_long() {
        let mut headers = HeaderMap::new();
        let throttled =
            |headers: &HeaderMap| refused(StatusCode::TOO_MANY_REQUESTS, headers, b"").retry_after_secs();
        assert_eq!(throttled(&headers), Some(1));
        headers.insert(header::RETRY_AFTER, "7".parse().expect("a value"));
        assert_eq!(throttled(&headers), Some(7));
        headers.insert(header::RETRY_AFTER, "86400".parse().expect("a value"));
        assert_eq!(throttled(&headers), Some(MAX_RETRY_AFTER));
    }
}
