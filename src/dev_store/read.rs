//! `GetObject` and `HeadObject`. In: the request's head. Out: the whole answer, its body streaming from blobs.
//! Both are made here and not by the `s3s` crate, because it answers 400 to a `Range` that S3 ignores, rewrites
//! metadata and dates, and has no answer for 304.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use s3s::{Body, S3Response};

use super::blobs::{BlobBody, Pinned, Reader, Segment};
use super::checksum::Checksum;
use super::conditions::{self, Verdict};
use super::meta::{Content, LAYOUTS, LayoutPart, OBJECTS, Object, blocking, find_layout, find_object, now};
use super::{Store, headers, intake};
use crate::error::{Code, Error, Result};

/// Query names of a plain read; any other name makes it another operation.
const QUERY: [&str; 9] = [
    "partNumber",
    "versionId",
    "x-id",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];

pub(super) fn is_plain_query(name: &str) -> bool {
    QUERY.contains(&name) || name.to_ascii_lowercase().starts_with("x-amz-")
}

/// An object as one consistent read found it.
pub(super) struct Sight {
    pub(super) object: Object,
    pub(super) parts: Option<Vec<LayoutPart>>,
    /// Its blobs stay readable while this lives.
    pub(super) pinned: Option<Pinned>,
}

impl Sight {
    pub(super) fn segments(&self, range: &Range<u64>) -> VecDeque<Segment> {
        match (self.object.content, &self.parts) {
            (Content::Blob(blob), _) => {
                VecDeque::from([Segment { blob, start: range.start, len: range.end - range.start }])
            }
            (Content::Parts(_), parts) => {
                let mut at = 0;
                let mut segments = VecDeque::new();
                for part in parts.iter().flatten() {
                    let (start, end) = (range.start.max(at), range.end.min(at + part.size));
                    if start < end {
                        segments.push_back(Segment { blob: part.blob, start: start - at, len: end - start });
                    }
                    at += part.size;
                }
                segments
            }
        }
    }

    pub(super) fn reader(&mut self, store: &Store, range: &Range<u64>) -> Reader {
        Reader::new(Arc::clone(&store.blobs), self.segments(range), self.pinned.take())
    }
}

/// Finds an object; `None` if there is none. Blocks.
pub(super) fn find(store: &Store, key: &str) -> Result<Option<Sight>> {
    store.meta.read(|tx| {
        let Some(object) = find_object(&tx.open_table(OBJECTS)?, key)? else {
            return Ok(None);
        };
        let parts = find_layout(&tx.open_table(LAYOUTS)?, &object)?;
        Ok(Some(Sight { object, parts, pinned: None }))
    })
}

/// Finds an object and keeps its blobs from being deleted. Blocks.
pub(super) fn find_pinned(store: &Store, key: &str) -> Result<Option<Sight>> {
    loop {
        let Some(mut sight) = find(store, key)? else {
            return Ok(None);
        };
        let ids = match (sight.object.content, &sight.parts) {
            (Content::Blob(blob), _) => vec![blob],
            (Content::Parts(_), parts) => parts.iter().flatten().map(|part| part.blob).collect(),
        };
        sight.pinned = Some(store.blobs.pin(ids));
        // Blobs are doomed after the commit that forgets them, so a row that is still there after
        // the pin was set proves that the pin came in time.
        let again = store.meta.read(|tx| find_object(&tx.open_table(OBJECTS)?, key))?;
        if again.is_some_and(|again| again.content == sight.object.content) {
            return Ok(Some(sight));
        }
    }
}

pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) key: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
}

impl Ask {
    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Which bytes are asked for.
struct Slice {
    range: Range<u64>,
    partial: bool,
    parts_count: Option<usize>,
    checksum: Option<Checksum>,
}

pub(super) async fn answer(store: Arc<Store>, ask: Ask) -> Result<S3Response<Body>> {
    blocking(move || read(&store, &ask)).await
}

fn read(store: &Store, ask: &Ask) -> Result<S3Response<Body>> {
    check_version(ask.query("versionId"))?;
    let with_body = ask.method != Method::HEAD;
    let found = if with_body { find_pinned(store, &ask.key)? } else { find(store, &ask.key)? };
    let mut sight = found.ok_or(Code::NoSuchKey)?;
    let object = &sight.object;
    headers::demand_key(object.attributes.sse_c.as_ref(), headers::sse_c(&ask.headers, "x-amz-")?.as_ref())?;
    if with_body && object.attributes.archived() && object.restored_until.is_none_or(|until| until < now()) {
        return Err(Code::InvalidObjectState.into());
    }
    let verdict = conditions::read(&ask.headers, &conditions::PLAIN, &object.etag, object.modified)?;
    if verdict == Verdict::NotModified {
        return Ok(not_modified(object));
    }
    let slice = slice(ask, &sight)?;
    let mut answer_headers = headers::describe(object);
    override_headers(ask, &mut answer_headers)?;
    if slice.partial {
        let (first, end) = (slice.range.start, slice.range.end);
        let text = format!("bytes {first}-{}/{}", end.saturating_sub(1), object.size);
        headers::set(&mut answer_headers, "content-range", &text);
    }
    if let Some(count) = slice.parts_count {
        headers::set(&mut answer_headers, "x-amz-mp-parts-count", &count.to_string());
    }
    if ask.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED")) {
        headers::set_checksum(&mut answer_headers, slice.checksum.as_ref());
    }
    let len = slice.range.end - slice.range.start;
    headers::set(&mut answer_headers, "content-length", &len.to_string());
    let body = if with_body && len > 0 {
        let mut reader = sight.reader(store, &slice.range);
        let first = reader.next_piece().map_err(intake::disk)?;
        Body::http_body(BlobBody::new(len, first, reader))
    } else {
        Body::empty()
    };
    let mut response = S3Response::with_headers(body, answer_headers);
    response.status = Some(if slice.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    Ok(response)
}

/// There are no versions here but the one that S3 calls `null`.
pub(super) fn check_version(id: Option<&str>) -> Result<()> {
    match id {
        None | Some("null" | "") => Ok(()),
        Some(_) => Err(Code::NoSuchVersion.into()),
    }
}

fn not_modified(object: &Object) -> S3Response<Body> {
    let all = headers::describe(object);
    let mut kept = HeaderMap::new();
    for name in ["etag", "last-modified", "cache-control", "expires"] {
        if let Some(value) = all.get(name) {
            kept.insert(name, value.clone());
        }
    }
    let mut response = S3Response::with_headers(Body::empty(), kept);
    response.status = Some(StatusCode::NOT_MODIFIED);
    response
}

fn override_headers(ask: &Ask, answer: &mut HeaderMap) -> Result<()> {
    for (name, value) in &ask.query {
        if let Some(name) = name.strip_prefix("response-") {
            let name = HeaderName::try_from(name).map_err(intake::disk)?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|error| Error::new(Code::InvalidArgument).because(error))?;
            answer.insert(name, value);
        }
    }
    Ok(())
}

fn slice(ask: &Ask, sight: &Sight) -> Result<Slice> {
    let size = sight.object.size;
    let counts = conditions::range_counts(&ask.headers, &sight.object.etag, sight.object.modified);
    let range = ask.header("range").filter(|_| counts);
    if let Some(number) = ask.query("partNumber") {
        if range.is_some() {
            let text = "Cannot specify both Range header and partNumber query parameter";
            return Err(Error::new(Code::InvalidRequest).say(text));
        }
        return part_slice(number, sight);
    }
    match range.and_then(parse_range) {
        Some(asked) => {
            let range = asked.within(size).ok_or(Code::InvalidRange)?;
            Ok(Slice { range, partial: true, parts_count: None, checksum: None })
        }
        None => Ok(Slice {
            range: 0..size,
            partial: false,
            parts_count: None,
            checksum: sight.object.checksum.clone(),
        }),
    }
}

fn part_slice(number: &str, sight: &Sight) -> Result<Slice> {
    let number: usize =
        number.parse().ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
            Error::new(Code::InvalidArgument)
                .say("Part number must be an integer between 1 and 10000, inclusive")
        })?;
    let object = &sight.object;
    let Some(parts) = &sight.parts else {
        if number > 1 {
            return Err(Code::InvalidPartNumber.into());
        }
        let checksum = object.checksum.clone();
        return Ok(Slice { range: 0..object.size, partial: object.size > 0, parts_count: None, checksum });
    };
    let part = parts.get(number - 1).ok_or(Code::InvalidPartNumber)?;
    let start: u64 = parts[..number - 1].iter().map(|part| part.size).sum();
    Ok(Slice {
        range: start..start + part.size,
        partial: part.size > 0,
        parts_count: Some(parts.len()),
        checksum: part.checksum.clone(),
    })
}

/// A range as it was asked for, before the size is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl Asked {
    pub(super) fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first) => first..size,
            Self::Between(first, last) => first..last.saturating_add(1).min(size),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// `None` for what is no single byte range: S3 then sends everything.
pub(super) fn parse_range(text: &str) -> Option<Asked> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    match (first, last) {
        ("", count) => number(count).map(Asked::Last),
        (first, "") => number(first).map(Asked::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::Between(first, last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let within = |text| parse_range(text).map(|asked| asked.within(10));
        assert_eq!(within("bytes=0-0"), Some(Some(0..1)));
        assert_eq!(within("bytes=3-"), Some(Some(3..10)));
        assert_eq!(within("bytes=3-99"), Some(Some(3..10)));
        assert_eq!(within("bytes=-3"), Some(Some(7..10)));
        assert_eq!(within("bytes=-99"), Some(Some(0..10)));
        assert_eq!(within("bytes=9-18446744073709551615"), Some(Some(9..10)));
        for unsatisfiable in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(within(unsatisfiable), Some(None), "{unsatisfiable}");
        }
        for ignored in
            ["", "bytes", "bytes=", "bytes=a-b", "bytes=5-4", "bytes=0-1,3-4", "items=0-1", "bytes=+1-2"]
        {
            assert_eq!(within(ignored), None, "{ignored}");
        }
    }
}
