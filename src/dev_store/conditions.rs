//! Conditional requests: RFC 9110 §13.2.2 for reads, S3's rules for writes.
//! In: headers and the object as it is. Out: go on, "not modified", or the error; whether a range counts. Pure.

use http::HeaderMap;
use time::OffsetDateTime;

use super::meta::Object;
use crate::error::{Code, Error, Result};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Go,
    NotModified,
}

/// The four conditions of a read under their header names.
pub(super) struct Names {
    matches: &'static str,
    none_match: &'static str,
    modified: &'static str,
    unmodified: &'static str,
}

pub(super) const PLAIN: Names = Names {
    matches: "if-match",
    none_match: "if-none-match",
    modified: "if-modified-since",
    unmodified: "if-unmodified-since",
};

pub(super) const COPY_SOURCE: Names = Names {
    matches: "x-amz-copy-source-if-match",
    none_match: "x-amz-copy-source-if-none-match",
    modified: "x-amz-copy-source-if-modified-since",
    unmodified: "x-amz-copy-source-if-unmodified-since",
};

/// Entity tags win over dates: a date counts only where its tag condition is absent.
pub(super) fn read(headers: &HeaderMap, names: &Names, etag: &str, modified: i64) -> Result<Verdict> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text(names.matches) {
        Some(tags) if !lists(tags, etag) => return Err(Code::PreconditionFailed.into()),
        Some(_) => {}
        None => {
            if text(names.unmodified).and_then(seconds).is_some_and(|limit| modified > limit) {
                return Err(Code::PreconditionFailed.into());
            }
        }
    }
    let unchanged = match text(names.none_match) {
        Some(tags) => lists(tags, etag),
        None => text(names.modified).and_then(seconds).is_some_and(|since| modified <= since),
    };
    Ok(if unchanged { Verdict::NotModified } else { Verdict::Go })
}

/// Whether `If-Range` lets a `Range` count: it names this very object, by entity tag or by date (RFC 9110 §13.1.5:
/// a weak tag never does, and a date must be the one of `Last-Modified`, not merely a later one).
pub(super) fn range_counts(headers: &HeaderMap, etag: &str, modified: i64) -> bool {
    let Some(named) = headers.get("if-range") else {
        return true;
    };
    let Ok(named) = named.to_str() else {
        return false;
    };
    named.trim_matches('"') == etag || seconds(named) == Some(modified)
}

/// A copy has no "not modified": its source must be as the client wants it.
pub(super) fn copy_source(headers: &HeaderMap, etag: &str, modified: i64) -> Result<()> {
    match read(headers, &COPY_SOURCE, etag, modified)? {
        Verdict::Go => Ok(()),
        Verdict::NotModified => Err(Code::PreconditionFailed.into()),
    }
}

/// `If-Match` and `If-None-Match: *` of PutObject and `CompleteMultipartUpload`, against what is there now.
pub(super) fn write(headers: &HeaderMap, existing: Option<&Object>) -> Result<()> {
    if let Some(tags) = headers.get("if-none-match") {
        if tags.as_bytes() != b"*" {
            return Err(Code::NotImplemented.into());
        }
        if existing.is_some() {
            return Err(Code::PreconditionFailed.into());
        }
    }
    matching(headers, existing)
}

/// `If-Match` alone, as `DeleteObject` takes it.
pub(super) fn matching(headers: &HeaderMap, existing: Option<&Object>) -> Result<()> {
    let Some(tags) = headers.get("if-match") else {
        return Ok(());
    };
    let tags = tags.to_str().map_err(|_| Error::new(Code::InvalidArgument))?;
    match existing {
        None => Err(Code::NoSuchKey.into()),
        Some(object) if !lists(tags, &object.etag) => Err(Code::PreconditionFailed.into()),
        Some(_) => Ok(()),
    }
}

/// Whether a list of entity tags (or `*`) holds this one; quotes may be missing, as S3's clients leave them out.
pub(super) fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == etag
    })
}

fn seconds(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    Some(OffsetDateTime::from(time).unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'text> = &'text [(&'static str, &'text str)];

    const OLD: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
    const NEW: &str = "Fri, 01 Jan 2038 00:00:00 GMT";

    #[test]
    fn tags_win_over_dates() {
        use Verdict::{Go, NotModified};
        let (m, n, since, until) = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since");
        let failed = Err(Code::PreconditionFailed);
        let cases: [(Pairs<'_>, Result<Verdict, Code>); 17] = [
            (&[], Ok(Go)),
            (&[(m, "\"e\"")], Ok(Go)),
            (&[(m, "e")], Ok(Go)),
            (&[(m, "*")], Ok(Go)),
            (&[(m, "\"x\", \"e\"")], Ok(Go)),
            (&[(m, "\"x\"")], failed),
            (&[(m, "\"e\""), (until, OLD)], Ok(Go)),
            (&[(m, "\"x\""), (until, NEW)], failed),
            (&[(until, OLD)], failed),
            (&[(until, NEW)], Ok(Go)),
            (&[(n, "\"e\"")], Ok(NotModified)),
            (&[(n, "W/\"e\"")], Ok(NotModified)),
            (&[(n, "*")], Ok(NotModified)),
            (&[(n, "\"x\""), (since, NEW)], Ok(Go)),
            (&[(since, NEW)], Ok(NotModified)),
            (&[(since, OLD)], Ok(Go)),
            (&[(since, "not a date")], Ok(Go)),
        ];
        for (pairs, expected) in cases {
            let headers: HeaderMap =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            let verdict = read(&headers, &PLAIN, "e", 1_500_000_000).map_err(|error| error.code);
            assert_eq!(verdict, expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_range_counts_for_the_object_that_was_named() {
        let named = |value: &str| {
            let headers = HeaderMap::from_iter([(http::header::IF_RANGE, value.parse().unwrap())]);
            range_counts(&headers, "e", 946_684_800)
        };
        assert!(range_counts(&HeaderMap::new(), "e", 0));
        for same in ["\"e\"", "e", OLD, "Saturday, 01-Jan-00 00:00:00 GMT"] {
            assert!(named(same), "{same}");
        }
        let later = "Sat, 01 Jan 2000 00:00:01 GMT";
        for other in
            ["\"x\"", "W/\"e\"", "*", "\"x\", \"e\"", NEW, later, "2000-01-01T00:00:00Z", "946684800", ""]
        {
            assert!(!named(other), "{other}");
        }
    }

    #[test]
    fn a_copy_has_no_304() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-copy-source-if-none-match", "\"e\"".parse().unwrap());
        assert_eq!(copy_source(&headers, "e", 0).map_err(|error| error.code), Err(Code::PreconditionFailed));
        assert!(copy_source(&headers, "x", 0).is_ok());
    }
}
