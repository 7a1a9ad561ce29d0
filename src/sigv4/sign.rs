//! Outbound signatures: the gateway's own key, on requests that the gateway built. The body goes as
//! `UNSIGNED-PAYLOAD`: TLS protects it, and hashing it would cost more than proxying it.
//! The signature covers `host`, `content-md5`, `content-type` and every `x-amz-*` header.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};

use crate::s3::query::Query;
use crate::sigv4::canonical::{Canonical, Form, string_to_sign};
use crate::sigv4::scope::format_amz_date;
use crate::sigv4::verify::{ALGORITHM, signing_key};
use crate::types::Secret;

/// Signs for one access key and region; the day's signing key and the second's date are kept.
pub struct Signer {
    access_key_id: String,
    secret: Secret,
    region: String,
    current: Mutex<Option<Moment>>,
}

/// What changes with the clock only.
#[derive(Clone)]
struct Moment {
    second: u64,
    amz_date: HeaderValue,
    scope: String,
    signing_key: [u8; 32],
}

const DAY: u64 = 24 * 60 * 60;

impl Signer {
    pub fn new(access_key_id: String, secret: Secret, region: String) -> Self {
        Self { access_key_id, secret, region, current: Mutex::new(None) }
    }

    /// The same key for another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self::new(self.access_key_id.clone(), self.secret.clone(), region.to_owned())
    }

    /// Adds `x-amz-date`, `x-amz-content-sha256` and `Authorization` to headers that already hold `host`.
    /// `raw_path` and `raw_query` are the bytes that go on the wire, strictly encoded.
    pub fn sign(
        &self,
        method: &str,
        raw_path: &str,
        raw_query: &str,
        headers: &mut HeaderMap,
        now: SystemTime,
    ) {
        let unsigned = HeaderValue::from_static("UNSIGNED-PAYLOAD");
        self.sign_payload(method, raw_path, raw_query, headers, unsigned, now);
    }

    /// As [`Signer::sign`], with what else `x-amz-content-sha256` can say of the body: a hash, a streaming mode.
    pub fn sign_payload(
        &self,
        method: &str,
        raw_path: &str,
        raw_query: &str,
        headers: &mut HeaderMap,
        payload: HeaderValue,
        now: SystemTime,
    ) {
        let moment = self.moment(now);
        headers.insert("x-amz-date", moment.amz_date.clone());
        let payload_hash = payload.to_str().expect("a payload hash is ASCII").to_owned();
        headers.insert("x-amz-content-sha256", payload);
        let mut names: Vec<&str> =
            headers.keys().map(http::HeaderName::as_str).filter(|name| is_signed(name)).collect();
        names.sort_unstable();
        let signed_headers = names.join(";");
        let query = Query::parse(raw_query).expect("the gateway encodes what it sends");
        let canonical = Canonical {
            method,
            raw_path,
            query: &query,
            presigned: false,
            headers,
            signed_headers: &signed_headers,
            payload_hash: &payload_hash,
        };
        let request = canonical.request(Form::AsSent, Form::AsSent).expect("the form as sent always exists");
        let amz_date = moment.amz_date.to_str().expect("made of digits");
        let text = string_to_sign(amz_date, &moment.scope, &request);
        let signature = aws_sigv4::sign::v4::calculate_signature(moment.signing_key, &text);
        let authorization = [
            ALGORITHM,
            " Credential=",
            &self.access_key_id,
            "/",
            &moment.scope,
            ", SignedHeaders=",
            &signed_headers,
            ", Signature=",
            &signature,
        ]
        .concat();
        let mut value =
            HeaderValue::from_str(&authorization).expect("access keys and scopes are printable ASCII");
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }

    fn moment(&self, now: SystemTime) -> Moment {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let mut current = self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*current {
            Some(moment) if moment.second == second => return moment.clone(),
            _ => {}
        }
        let amz_date = format_amz_date(now);
        let same_day = current.as_ref().filter(|moment| moment.second / DAY == second / DAY);
        let moment = Moment {
            second,
            scope: format!("{}/{}/s3/aws4_request", &amz_date[..8], self.region),
            signing_key: same_day.map_or_else(
                || signing_key(self.secret.expose(), now, &self.region),
                |moment| moment.signing_key,
            ),
            amz_date: HeaderValue::from_str(&amz_date).expect("made of digits"),
        };
        *current = Some(moment.clone());
        moment
    }
}

fn is_signed(name: &str) -> bool {
    name == "host" || name == "content-md5" || name == "content-type" || name.starts_with("x-amz-")
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    };

    use super::*;
    use crate::sigv4::scope::parse_amz_date;
    use crate::sigv4::verify::{Head, presented};

    const PATH: &str = "/real/datasets/alice/a%20b/%C3%A9//x%2By";
    const QUERY: &str = "list-type=2&prefix=a%2Fb&delete=";

    fn signer() -> Signer {
        Signer::new("AKEXAMPLE".into(), Secret::new("secret".into()), "eu-x".into())
    }

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:9000"));
        headers.insert("content-type", HeaderValue::from_static("text/csv"));
        headers.insert("x-amz-meta-a", HeaderValue::from_static("b  c"));
        headers.insert("range", HeaderValue::from_static("bytes=0-1"));
        headers
    }

    fn signed(now: SystemTime) -> HeaderMap {
        let mut headers = headers();
        signer().sign("PUT", PATH, QUERY, &mut headers, now);
        headers
    }

    fn now() -> SystemTime {
        parse_amz_date("20260105T101112Z").expect("a date")
    }

    #[test]
    fn signatures_are_those_of_the_aws_library() {
        let identity = Credentials::new("AKEXAMPLE", "secret", None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-x")
            .name("s3")
            .time(now())
            .settings(settings)
            .build()
            .expect("complete")
            .into();
        let headers = headers();
        let theirs = headers
            .iter()
            .filter(|(name, _)| *name != "range")
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")));
        let uri = format!("http://127.0.0.1:9000{PATH}?{QUERY}");
        let request =
            SignableRequest::new("PUT", uri, theirs, SignableBody::UnsignedPayload).expect("signable");
        let (_, signature) = sign(request, &params).expect("signed").into_parts();
        let ours = signed(now());
        let authorization = ours["authorization"].to_str().expect("text");
        assert!(authorization.ends_with(&format!("Signature={signature}")), "{authorization}");
    }

    #[test]
    fn the_gateway_would_let_itself_in() {
        let headers = signed(now());
        let query = Query::parse(QUERY).expect("valid");
        let head = Head { method: "PUT", raw_path: PATH, query: &query, headers: &headers };
        let presented = presented(head).expect("well-formed");
        assert!(presented.verify(head, &presented.signing_key("secret")).is_ok());
        assert!(presented.verify(head, &presented.signing_key("other")).is_err());
    }

    #[test]
    fn the_date_moves_with_the_clock_and_midnight_changes_the_key() {
        let signer = signer();
        let sign_at = |time: SystemTime| {
            let mut headers = headers();
            signer.sign("PUT", PATH, QUERY, &mut headers, time);
            headers
        };
        let before = parse_amz_date("20260105T235959Z").expect("a date");
        for time in [before, before + Duration::from_secs(1), before] {
            assert_eq!(sign_at(time), signed(time));
        }
    }
}
