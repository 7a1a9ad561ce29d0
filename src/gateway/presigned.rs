//! Headers that a presigned URL carries in its query. SDKs move `x-amz-*` headers there when they sign, and S3
//! takes them for headers; so they are checked, refused and stored as such. The signature covers them.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Code, Error, Result};
use crate::s3::query::Query;

/// SDKs also move there what they compute of the body when they sign; but a presigned URL is made before there
/// is a body, and the checksum that the JavaScript SDK writes is that of none. S3 does not look at them, and no
/// more does this: a checksum counts in a header or trailer.
const OF_A_BODY_THAT_IS_NOT_THERE: [&str; 6] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-sdk-checksum-algorithm",
];

/// Parameters of the signature itself.
const OF_THE_SIGNATURE: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// Whether the signature came in the query, as that of a URL does.
pub(super) fn is_presigned(query: &Query<'_>) -> bool {
    query.has("X-Amz-Signature")
}

/// The headers of a request with those in its query. A request that is signed in a header has none there.
pub(super) fn headers<'h>(headers: &'h HeaderMap, query: &Query<'_>) -> Result<Cow<'h, HeaderMap>> {
    let mut merged = Cow::Borrowed(headers);
    if !is_presigned(query) {
        return Ok(merged);
    }
    for (parameter, value) in query.iter() {
        let name = parameter.to_ascii_lowercase();
        let ignored =
            OF_THE_SIGNATURE.contains(&name.as_str()) || OF_A_BODY_THAT_IS_NOT_THERE.contains(&name.as_str());
        if !name.starts_with("x-amz-") || ignored {
            continue;
        }
        let refused = |text: &'static str| {
            Error::new(Code::InvalidArgument).say(text).detail("ArgumentName", parameter)
        };
        let name =
            HeaderName::try_from(&name).map_err(|_| refused("A query parameter is no header name."))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| refused("A query parameter holds a character that no header may."))?;
        if merged.contains_key(&name) {
            return Err(refused("A header is given both in the query and as a header."));
        }
        merged.to_mut().insert(name, value);
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(query: &str, headers: &HeaderMap) -> Result<HeaderMap> {
        let query = Query::parse(query).expect("a query");
        super::headers(headers, &query).map(Cow::into_owned)
    }

    #[test]
    fn hoisted_headers_come_back() {
        let signed = "X-Amz-Signature=s&X-Amz-Date=d&x-amz-meta-a=b%20c&X-Amz-Acl=private&x-id=PutObject";
        let merged = merge(signed, &HeaderMap::new()).expect("fine");
        assert_eq!(merged.len(), 2);
        assert_eq!(merged["x-amz-meta-a"], "b c");
        assert_eq!(merged["x-amz-acl"], "private");
    }

    #[test]
    fn a_checksum_in_the_query_is_of_no_body() {
        let url = "X-Amz-Signature=s&x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32\
                   &x-amz-checksum-algorithm=CRC32";
        let merged = merge(url, &HeaderMap::new()).expect("fine");
        assert_eq!(merged.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-amz-checksum-algorithm"]);
    }

    #[test]
    fn only_a_signed_query_speaks_for_headers() {
        assert!(merge("x-amz-acl=public-read", &HeaderMap::new()).expect("fine").is_empty());
    }

    #[test]
    fn two_words_on_one_matter_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-acl", HeaderValue::from_static("private"));
        let refused = |query: &str, headers: &HeaderMap| merge(query, headers).expect_err(query).code;
        assert_eq!(refused("X-Amz-Signature=s&x-amz-acl=private", &headers), Code::InvalidArgument);
        let twice = "X-Amz-Signature=s&x-amz-meta-a=1&x-amz-meta-a=2";
        assert_eq!(refused(twice, &HeaderMap::new()), Code::InvalidArgument);
        assert_eq!(
            refused("X-Amz-Signature=s&x-amz-meta-a=b%0d%0ac", &HeaderMap::new()),
            Code::InvalidArgument
        );
    }
}
