//! What a signature was checked against, for whoever has to find out why it was wrong. In: a head and what it
//! presented. Out: texts for an operator, never what would let anybody in: no signature, neither presented nor
//! expected, and of the canonical request only values that are no secret. The string to sign holds the hash of the
//! canonical request as it was, so that it can be compared with the client's.

use std::borrow::Cow;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::s3::query::Query;
use crate::s3::uri;
use crate::sigv4::canonical::{self, Canonical, Form, string_to_sign};
use crate::sigv4::scope::Credential;
use crate::sigv4::verify::{Head, Place, Presented};

/// Stands in the place of a value that is not shown.
pub const MASK: &str = "(masked)";

/// A signature as the gateway saw it.
pub struct Explanation<'a> {
    pub credential: Credential<'a>,
    /// When the client says it signed.
    pub time: SystemTime,
    /// Absent where no canonical request may be made of what was presented.
    pub canonical: Option<Canonicalised>,
    /// Headers that had to be signed and were not.
    pub unsigned_headers: Vec<String>,
}

pub struct Canonicalised {
    /// With secrets masked.
    pub request: String,
    /// Of the request as it was.
    pub string_to_sign: String,
}

impl<'a> Presented<'a> {
    pub fn explain(&self, head: Head<'_>) -> Explanation<'a> {
        // A list that names one header many times would make a text as many times as long.
        let canonical = self.check_signed_headers().is_ok().then(|| self.canonicalised(head));
        Explanation {
            credential: self.credential,
            time: self.time,
            canonical,
            unsigned_headers: canonical::unsigned_headers(head.headers, self.signed_headers),
        }
    }

    fn canonicalised(&self, head: Head<'_>) -> Canonicalised {
        let claimed = self.claimed_hash(head).unwrap_or("");
        let seen = Canonical {
            method: head.method,
            raw_path: head.raw_path,
            query: head.query,
            presigned: self.place == Place::Query,
            headers: head.headers,
            signed_headers: self.signed_headers,
            payload_hash: self.signed_hash(head, claimed),
        };
        let raw_query = masked_query(head.query);
        // What was parsed once with as many pairs parses again.
        let query = Query::parse(&raw_query).unwrap_or_default();
        let shown = Canonical { query: &query, headers: &masked_headers(head.headers), ..seen };
        let string_to_sign = string_to_sign(&self.amz_date, self.credential.scope, &text(&seen));
        Canonicalised {
            request: String::from_utf8_lossy(&text(&shown)).into_owned(),
            string_to_sign: String::from_utf8_lossy(&string_to_sign).into_owned(),
        }
    }
}

/// The form that AWS documents, or the path as it came where it has no other.
fn text(canonical: &Canonical<'_>) -> Vec<u8> {
    let documented = canonical.request(Form::Encoded, Form::Encoded);
    documented.or_else(|| canonical.request(Form::AsSent, Form::Encoded)).unwrap_or_default()
}

fn masked_query(query: &Query<'_>) -> String {
    let mut raw = String::with_capacity(query.raw().len());
    for (name, value) in query.iter() {
        uri::push_query(&mut raw, name);
        raw.push('=');
        uri::push_query(&mut raw, if is_secret(name) { MASK } else { value });
        raw.push('&');
    }
    raw
}

/// Every name stays; values only of headers that are known to hold none.
fn masked_headers(headers: &HeaderMap) -> HeaderMap {
    let show = |name: &HeaderName| is_plain_header(name.as_str()) && !is_secret(name.as_str());
    headers
        .iter()
        .map(|(name, value)| {
            let value = if show(name) { value.clone() } else { HeaderValue::from_static(MASK) };
            (name.clone(), value)
        })
        .collect()
}

fn is_plain_header(name: &str) -> bool {
    const PLAIN: [&str; 6] = ["host", "date", "range", "expect", "user-agent", "cache-control"];
    const FAMILIES: [&str; 6] = ["x-amz-", "content-", "if-", "accept", "amz-sdk-", "transfer-"];
    PLAIN.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Whether a header or parameter of that name may hold what lets somebody in or opens an object.
fn is_secret(name: &str) -> bool {
    const MARKS: [&str; 7] =
        ["token", "signature", "secret", "password", "authorization", "cookie", "customer-key"];
    let name = name.to_ascii_lowercase();
    name != "continuation-token" && MARKS.iter().any(|mark| name.contains(mark))
}

/// A text as it may be kept: at most so many bytes of it, and how much is missing.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(most)];
    format!("{kept}… ({} bytes more)", text.len() - kept.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::verify::presented;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn authorization(signed: &str) -> HeaderValue {
        let text = format!(
            "AWS4-HMAC-SHA256 Credential=AK/20260105/eu-x/s3/aws4_request, SignedHeaders={signed}, Signature=5ec4e7"
        );
        HeaderValue::from_str(&text).expect("a value")
    }

    #[test]
    fn everything_is_shown_but_what_lets_somebody_in() {
        let mut headers = headers(&[
            ("host", "s3.example.com"),
            ("x-amz-date", "20260105T101112Z"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-security-token", "t0ken"),
            ("x-amz-server-side-encryption-customer-key", "ssec"),
            ("x-amz-acl", "private"),
            ("x-api", "unheard-of"),
        ]);
        let signed = "authorization;host;x-amz-content-sha256;x-amz-date;x-amz-security-token;\
                      x-amz-server-side-encryption-customer-key;x-api";
        headers.insert("authorization", authorization(signed));
        let raw = "prefix=a%2Fb&continuation-token=c&access_token=jw7&Signature=5ec4e7";
        let query = Query::parse(raw).expect("a query");
        let head = Head { method: "GET", raw_path: "/b/k%20k", query: &query, headers: &headers };
        let explained = presented(head).expect("well-formed").explain(head);
        let canonical = explained.canonical.expect("a canonical request");
        for secret in ["t0ken", "ssec", "jw7", "5ec4e7", "unheard-of"] {
            assert!(!canonical.request.contains(secret), "{secret}: {}", canonical.request);
        }
        for shown in ["GET\n/b/k%20k\n", "prefix=a%2Fb", "continuation-token=c", "host:s3.example.com\n"] {
            assert!(canonical.request.contains(shown), "{shown}: {}", canonical.request);
        }
        assert_eq!(explained.unsigned_headers, ["x-amz-acl"]);
        assert!(
            canonical
                .string_to_sign
                .starts_with("AWS4-HMAC-SHA256\n20260105T101112Z\n20260105/eu-x/s3/aws4_request\n")
        );
        assert_eq!(canonical.string_to_sign.lines().last().map(str::len), Some(64));
    }

    #[test]
    fn the_hash_is_of_the_request_as_it_was() {
        let hash = |token: &'static str| {
            let mut headers = headers(&[("host", "h"), ("x-amz-date", "20260105T101112Z")]);
            headers.insert("x-amz-security-token", HeaderValue::from_static(token));
            headers.insert("authorization", authorization("host;x-amz-date;x-amz-security-token"));
            let query = Query::default();
            let head = Head { method: "GET", raw_path: "/", query: &query, headers: &headers };
            let canonical = presented(head).expect("well-formed").explain(head).canonical.expect("one");
            (canonical.request, canonical.string_to_sign)
        };
        assert_eq!(hash("one").0, hash("other").0);
        assert_ne!(hash("one").1, hash("other").1);
    }

    #[test]
    fn a_header_named_a_thousand_times_is_not_written_a_thousand_times() {
        let mut headers = headers(&[("host", "h"), ("x-amz-date", "20260105T101112Z")]);
        headers.insert("authorization", authorization(&"host;".repeat(1000)));
        let query = Query::default();
        let head = Head { method: "GET", raw_path: "/", query: &query, headers: &headers };
        assert!(presented(head).expect("well-formed").explain(head).canonical.is_none());
    }

    #[test]
    fn a_cut_says_so_and_keeps_characters_whole() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc… (1 bytes more)");
        assert_eq!(cut("éé", 3), "é… (2 bytes more)");
    }
}
