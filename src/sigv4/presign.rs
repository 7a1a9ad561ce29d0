//! Presigned URLs that the gateway makes for others to use. In: one method on one path of one host, an access key
//! with its session token, when and for how long. Out: the query that opens just that, which the gateway's own
//! verifier, and any other of S3, takes. Nothing but `host` is signed, so every HTTP client can use it.
//!
//! Follows <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};

use crate::s3::query::Query;
use crate::s3::uri;
use crate::sigv4::canonical::{Canonical, Form, string_to_sign};
use crate::sigv4::scope::format_amz_date;
use crate::sigv4::verify::{ALGORITHM, signing_key};
use crate::types::{AccessKeyId, Secret};

/// What a URL is for, and with whose key it is signed.
pub struct Presign<'a> {
    pub method: &'a str,
    pub host: &'a HeaderValue,
    /// As it goes on the wire, strictly encoded.
    pub raw_path: &'a str,
    pub region: &'a str,
    pub access_key_id: &'a AccessKeyId,
    pub secret: &'a Secret,
    pub token: &'a str,
    pub signed_at: SystemTime,
    /// Whole seconds count.
    pub expires_in: Duration,
}

impl Presign<'_> {
    /// The URL's query, signature included.
    pub fn query(&self) -> String {
        let amz_date = format_amz_date(self.signed_at);
        let scope = format!("{}/{}/s3/aws4_request", &amz_date[..8], self.region);
        let credential = format!("{}/{scope}", self.access_key_id.as_str());
        let expires = self.expires_in.as_secs().to_string();
        let mut raw = String::with_capacity(1024);
        for (name, value) in [
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &amz_date),
            ("X-Amz-Expires", &expires),
            ("X-Amz-Security-Token", self.token),
            ("X-Amz-SignedHeaders", "host"),
        ] {
            raw.push_str(name);
            raw.push('=');
            uri::push_query(&mut raw, value);
            raw.push('&');
        }
        let query = Query::parse(&raw).expect("the gateway encodes what it signs");
        let headers = HeaderMap::from_iter([(header::HOST, self.host.clone())]);
        let canonical = Canonical {
            method: self.method,
            raw_path: self.raw_path,
            query: &query,
            presigned: true,
            headers: &headers,
            signed_headers: "host",
            payload_hash: "UNSIGNED-PAYLOAD",
        };
        let request = canonical.request(Form::AsSent, Form::AsSent).expect("the form as sent always exists");
        let text = string_to_sign(&amz_date, &scope, &request);
        let key = signing_key(self.secret.expose(), self.signed_at, self.region);
        raw.push_str("X-Amz-Signature=");
        raw.push_str(&aws_sigv4::sign::v4::calculate_signature(key, &text));
        raw
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{
        PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
        UriPathNormalizationMode, sign,
    };

    use super::*;
    use crate::sigv4::scope::parse_amz_date;
    use crate::sigv4::verify::{Head, presented};

    const PATH: &str = "/models/a%20b/%C3%A9//x%2By";
    const TOKEN: &str = "a/token+with=all&that";

    fn query(method: &str) -> String {
        Presign {
            method,
            host: &HeaderValue::from_static("s3.example.com:8443"),
            raw_path: PATH,
            region: "eu-x",
            access_key_id: &AccessKeyId::parse("AKEXAMPLE").expect("an id"),
            secret: &Secret::new("secret".into()),
            token: TOKEN,
            signed_at: parse_amz_date("20260105T101112Z").expect("a date"),
            expires_in: Duration::from_hours(24),
        }
        .query()
    }

    #[test]
    fn signatures_are_those_of_the_aws_library() {
        let identity = Credentials::new("AKEXAMPLE", "secret", Some(TOKEN.into()), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_hours(24));
        let params = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-x")
            .name("s3")
            .time(parse_amz_date("20260105T101112Z").expect("a date"))
            .settings(settings)
            .build()
            .expect("complete")
            .into();
        let uri = format!("https://s3.example.com:8443{PATH}");
        let headers = [("host", "s3.example.com:8443")].into_iter();
        let request =
            SignableRequest::new("GET", uri, headers, SignableBody::UnsignedPayload).expect("signable");
        let (_, signature) = sign(request, &params).expect("signed").into_parts();
        let ours = query("GET");
        assert!(ours.ends_with(&format!("&X-Amz-Signature={signature}")), "{ours}");
    }

    #[test]
    fn the_gateway_would_let_it_in_for_that_method_only() {
        let raw = query("GET");
        let query = Query::parse(&raw).expect("a query");
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("s3.example.com:8443"))]);
        let verified = |method| {
            let head = Head { method, raw_path: PATH, query: &query, headers: &headers };
            let presented = presented(head).expect("well-formed");
            presented.verify(head, &presented.signing_key("secret")).is_ok()
        };
        assert!(verified("GET"));
        assert!(["HEAD", "PUT", "DELETE"].into_iter().all(|method| !verified(method)));
    }
}
