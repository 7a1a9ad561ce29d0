//! Who may come in, and what the `s3s` crate gets to see. In: a request. Out: the same, signed right by the
//! one key of this store: its head laid aside for `service`, its body checked against the hash that was
//! signed, and of the headers only those left that `s3s` needs to tell operations apart.
//!
//! `s3s` could verify and parse too, but not as S3 does: in signed headers it folds every Unicode space and
//! drops what is not UTF-8, where S3 folds U+0020 alone; it refuses an `Expires` that is no date and text
//! that is not ASCII, which S3 keeps as they come; and it takes every POST of `multipart/form-data` for a
//! form upload. A gateway signs in the header and sends its bodies plain; other ways are 501.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use s3s::dto::StreamingBlob;
use s3s::{Body, HttpRequest};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
use crate::s3::query::Query;
use crate::sigv4::Payload;
use crate::sigv4::verify::{self, Place, Rules, presented};
use crate::types::Secret;

const MAX_CLOCK_SKEW: Duration = Duration::from_mins(15);

/// What `s3s` needs: it routes by the source of a copy, and takes no XML without a length.
const FOR_S3S: [HeaderName; 2] = [header::CONTENT_LENGTH, HeaderName::from_static("x-amz-copy-source")];

pub(super) struct Auth {
    access_key_id: String,
    secret: Secret,
    regions: [String; 1],
}

/// The headers of a request whose signature was right, as they came. Only `Auth::admit` makes one.
#[derive(Clone)]
pub(super) struct Admitted(HeaderMap);

impl Admitted {
    pub(super) fn headers(request: &http::Extensions) -> Result<&HeaderMap> {
        let admitted = request.get().map(|Self(headers)| headers);
        admitted.ok_or_else(|| Error::new(Code::AccessDenied))
    }
}

impl Auth {
    pub(super) fn new(access_key_id: String, secret: Secret, region: String) -> Self {
        Self { access_key_id, secret, regions: [region] }
    }

    pub(super) fn admit(&self, request: HttpRequest, now: SystemTime) -> Result<HttpRequest> {
        let (mut parts, body) = request.into_parts();
        let body = match self.verify(&parts, now)? {
            Payload::Unsigned => body,
            Payload::Sha256(hash) => hashed(body, hash),
            Payload::SignedChunks { .. } | Payload::UnsignedChunks => return Err(not_done("aws-chunked")),
        };
        let headers = std::mem::take(&mut parts.headers);
        let seen = headers.iter().filter(|(name, _)| FOR_S3S.contains(name));
        parts.headers.extend(seen.map(|(name, value)| (name.clone(), value.clone())));
        parts.extensions.insert(Admitted(headers));
        Ok(HttpRequest::from_parts(parts, body))
    }

    fn verify(&self, parts: &Parts, now: SystemTime) -> Result<Payload> {
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let head = verify::Head {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: &query,
            headers: &parts.headers,
        };
        let presented = presented(head)?;
        presented.check(&Rules { regions: &self.regions, max_clock_skew: MAX_CLOCK_SKEW, now })?;
        if presented.credential.access_key_id != self.access_key_id {
            return Err(Code::InvalidAccessKeyId.into());
        }
        let payload = presented.verify(head, &presented.signing_key(self.secret.expose()))?;
        match presented.place {
            Place::Header => Ok(payload.into_inner()),
            Place::Query => Err(not_done("a presigned URL")),
        }
    }
}

fn not_done(what: &str) -> Error {
    Error::new(Code::NotImplemented).say(format!("This store is for a gateway, which never sends {what}."))
}

/// The body, which ends in an error unless it has this hash.
fn hashed(body: Body, expected: [u8; 32]) -> Body {
    let pieces = stream::try_unfold((body, Sha256::new()), move |(mut body, mut hasher)| async move {
        match body.next().await {
            Some(Ok(piece)) => {
                hasher.update(&piece);
                Ok(Some((piece, (body, hasher))))
            }
            Some(Err(error)) => Err(Error::new(Code::IncompleteBody).because(error)),
            None if <[u8; 32]>::from(hasher.finalize()) == expected => Ok(None),
            None => Err(Error::new(Code::XAmzContentSHA256Mismatch)),
        }
    });
    StreamingBlob::wrap(pieces).into()
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
        SigningSettings, UriPathNormalizationMode, sign,
    };

    use super::*;
    use crate::sigv4::scope::parse_amz_date;

    const PATH: &str = "/real/a%20b/%C3%A9//x%2By";

    fn now() -> SystemTime {
        parse_amz_date("20260105T101112Z").unwrap()
    }

    /// A request as the library of AWS signs it.
    fn signed(
        claimed: SignableBody<'_>,
        location: SignatureLocation,
        headers: &[(&str, &str)],
    ) -> HttpRequest {
        let identity = Credentials::new("AK", "SK", None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.expires_in = (location == SignatureLocation::QueryParams).then_some(Duration::from_mins(1));
        settings.signature_location = location;
        let params = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(now())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = [&[("host", "store")], headers].concat();
        let mut request = http::Request::put(format!("http://store{PATH}"));
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(b"body".to_vec())).unwrap();
        let signable =
            SignableRequest::new("PUT", request.uri().to_string(), headers.into_iter(), claimed).unwrap();
        sign(signable, &params).unwrap().into_parts().0.apply_to_request_http1x(&mut request);
        request
    }

    fn admit(request: HttpRequest, now: SystemTime) -> Result<HttpRequest, Code> {
        let auth = Auth::new("AK".into(), Secret::new("SK".into()), "us-east-1".into());
        auth.admit(request, now).map_err(|error| error.code)
    }

    #[test]
    fn the_head_is_laid_aside() {
        let sent = [
            ("x-amz-copy-source", "real/k"),
            ("expires", "0"),
            ("content-type", "multipart/form-data"),
            ("x-amz-meta-a", "two  spaces"),
        ];
        let request = signed(SignableBody::UnsignedPayload, SignatureLocation::Headers, &sent);
        let whole = request.headers().clone();
        let admitted = admit(request, now()).unwrap();
        let seen: Vec<_> = admitted.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(seen, ["x-amz-copy-source"]);
        assert_eq!(Admitted::headers(admitted.extensions()).unwrap(), &whole);
        assert!(Admitted::headers(&http::Extensions::new()).is_err());
    }

    #[tokio::test]
    async fn a_signed_hash_is_that_of_the_body() {
        for (bytes, expected) in [(&b"body"[..], None), (b"else", Some(Code::XAmzContentSHA256Mismatch))] {
            let request = signed(SignableBody::Bytes(bytes), SignatureLocation::Headers, &[]);
            let mut body = admit(request, now()).unwrap().into_body();
            let mut failed = None;
            while let Some(piece) = body.next().await {
                failed = piece.err().map(|error| error.downcast::<Error>().unwrap().code);
            }
            assert_eq!(failed, expected);
        }
    }

    #[test]
    fn old_requests_and_other_ways_are_refused() {
        let plain = || signed(SignableBody::UnsignedPayload, SignatureLocation::Headers, &[]);
        let at = |time: SystemTime| admit(plain(), time).map(|_| ());
        assert_eq!(at(now() + MAX_CLOCK_SKEW), Ok(()));
        for time in [now() + MAX_CLOCK_SKEW * 2, now() - MAX_CLOCK_SKEW * 2] {
            assert_eq!(at(time), Err(Code::RequestTimeTooSkewed));
        }
        let presigned = signed(SignableBody::UnsignedPayload, SignatureLocation::QueryParams, &[]);
        assert_eq!(admit(presigned, now()).err(), Some(Code::NotImplemented));
        let chunked = signed(SignableBody::StreamingUnsignedPayloadTrailer, SignatureLocation::Headers, &[]);
        assert_eq!(admit(chunked, now()).err(), Some(Code::NotImplemented));
    }
}
