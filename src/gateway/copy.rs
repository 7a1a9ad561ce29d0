//! `CopyObject` and `UploadPartCopy`. The source is named in a header and read under the same rules as a GET; both
//! ends are mapped by the same scopes, so a copy can only ever go from one's own to one's own.

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::admission::outcome;
use super::answer::Answer;
use super::condition::{is_etag, lists};
use super::keep_alive::{self, Promise};
use super::settle::Record;
use super::{Ask, Gateway, multipart};
use crate::access::About;
use crate::account::{Outcome, Write};
use crate::error::{Code, Error, Result};
use crate::keymap::UpstreamTarget;
use crate::s3::operation::{Access, Operation, client_key};
use crate::s3::{query, uri, xml};
use crate::types::{BucketName, ClientKey};
use crate::upstream::{self, Call, headers};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const COPY_SOURCE_IF_MATCH: HeaderName = HeaderName::from_static("x-amz-copy-source-if-match");

/// How often a copy is begun whose source is overwritten meanwhile.
const MOST_TRIES: usize = 3;

/// What `x-amz-copy-source` names: `[/]bucket/key[?versionId=id]`, percent-encoded.
#[derive(PartialEq, Eq, Debug)]
struct Source {
    bucket: BucketName,
    key: ClientKey,
    version_id: Option<String>,
}

impl Source {
    fn parse(header: &HeaderValue) -> Result<Self> {
        let invalid = || {
            Error::new(Code::InvalidArgument)
                .say("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
                .detail("ArgumentName", "x-amz-copy-source")
        };
        let text = std::str::from_utf8(header.as_bytes()).map_err(|_| invalid())?;
        if text.trim_start_matches('/').starts_with("arn:") {
            return Err(Code::NotImplemented.into());
        }
        let (path, version_id) = match text.split_once("?versionId=") {
            Some((path, id)) => (path, Some(uri::decode_query(id).map_err(|_| invalid())?.into_owned())),
            None => (text, None),
        };
        // Some clients encode the slash between bucket and key too.
        let path = uri::decode_path(path).map_err(|_| Code::InvalidURI)?;
        let (bucket, key) = path.strip_prefix('/').unwrap_or(&path).split_once('/').ok_or_else(invalid)?;
        if key.is_empty() {
            return Err(invalid());
        }
        let bucket = BucketName::parse(bucket).ok_or(Code::InvalidBucketName)?;
        Ok(Self { bucket, key: client_key(key.to_owned())?, version_id })
    }
}

/// A copy's source as a HEAD has found it.
struct Found {
    size: u64,
    etag: Option<HeaderValue>,
}

impl Found {
    /// The tag, if a condition can name it (RFC 9110 §13.1.1).
    fn strong_etag(&self) -> Option<&HeaderValue> {
        self.etag.as_ref().filter(|etag| !etag.as_bytes().starts_with(b"W/"))
    }

    fn size_of(&self, range: &RangeInclusive<u64>) -> Result<u64> {
        if *range.end() >= self.size {
            return Err(Error::new(Code::InvalidArgument)
                .say(format!("Range specified is not valid for source object of size: {}", self.size))
                .detail("ArgumentName", "x-amz-copy-source-range"));
        }
        Ok(range.end() - range.start() + 1)
    }
}

/// Why a copy was not made that the client asked nothing special of.
#[derive(Debug)]
struct Overwritten;

impl fmt::Display for Overwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the copy's source was overwritten meanwhile")
    }
}

impl std::error::Error for Overwritten {}

fn overwritten() -> Error {
    Error::new(Code::SlowDown).retry_after(Duration::from_secs(1)).because(Overwritten)
}

/// Whether a copy was refused for a condition, which may be the gateway's own, and was certainly not made.
fn may_be_overwritten(error: &Error) -> bool {
    let refused = error.code == Code::PreconditionFailed
        || error.cause().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Overwritten>);
    refused && !error.is_after_a_lost_answer()
}

impl Gateway {
    pub(super) async fn copy(&self, ask: Ask<'_>, record: &mut Record) -> Result<Answer> {
        let mut headers = ask.headers.get_all(&COPY_SOURCE).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else {
            return Err(Code::InvalidArgument.into());
        };
        let source = Source::parse(header)?;
        let bucket = self.buckets.get(&source.bucket).ok_or(Code::NoSuchBucket)?;
        // A copy reads its source under the same rules as a GET.
        let about = About::Key(source.key.as_str());
        let source_target = self.grant(ask.caller, bucket, Access::Read, about).await?.target(&source.key)?;

        let is_part = ask.request.operation == Operation::UploadPartCopy;
        let mut call = self
            .object_call(Method::PUT, &ask)?
            .header(COPY_SOURCE, self.upstream.copy_source(&source_target, source.version_id.as_deref()))
            .slow();
        let mut range = None;
        if is_part {
            call = multipart::name_part(call, &ask, &self.tokens)?;
            range = copied_range(ask.headers)?;
        }
        let mut found = self.find_source(&ask, &source, &source_target).await?;
        for _ in 0..MOST_TRIES {
            let size = range.as_ref().map_or(Ok(found.size), |range| found.size_of(range))?;
            let answer = self.copy_found(&ask, call.clone(), &found, size, record).await;
            let error = match answer {
                Err(error) if may_be_overwritten(&error) => error,
                answer => return answer,
            };
            let before =
                std::mem::replace(&mut found, self.find_source(&ask, &source, &source_target).await?);
            if error.code == Code::PreconditionFailed && before.etag == found.etag {
                // What did not hold was a condition of the client's own.
                return Err(error);
            }
        }
        Err(overwritten())
    }

    /// Copies what a HEAD has found, or nothing.
    async fn copy_found(
        &self,
        ask: &Ask<'_>,
        mut call: Call,
        found: &Found,
        size: u64,
        record: &mut Record,
    ) -> Result<Answer> {
        let is_part = ask.request.operation == Operation::UploadPartCopy;
        if let Some(etag) = found.strong_etag() {
            // The quota is told of the object that the HEAD saw: none other may be copied.
            call = call.header(COPY_SOURCE_IF_MATCH, etag.clone());
        }
        let write = if is_part {
            let (number, upload_id) = multipart::part_named(ask, &self.tokens)?;
            Write::Part { upload: self.ledger_upload(ask, upload_id)?, number, size }
        } else {
            Write::Put { target: self.ledger_target(ask)?, size }
        };
        let held = self.admit(ask, write).await?;
        let uri = if is_part { HeaderMap::new() } else { self.platform_uri_header(ask) };
        let early = uri.clone();
        let copied = if is_part { xml::Copied::Part } else { xml::Copied::Object };
        let is_conditional = headers::is_conditional(ask.headers);
        let can_be_looked_at = !headers::has_own_key(ask.headers);
        let source_etag = found.etag.clone();
        let (upstream, now) = (self.upstream.clone(), ask.now);
        let operation = async move {
            let answered = async {
                let response = upstream.send_document(call, bytes::Bytes::new(), now).await?;
                let kept = headers::of_write(response.headers());
                let lost = upstream::is_after_a_lost_answer(&response);
                let document = upstream::read_document(response).await?;
                let result = upstream::embedded(xml::parse_copy_result(&document)?);
                Ok((kept, result.map_err(|error| if lost { error.after_a_lost_answer() } else { error })?))
            }
            .await;
            held.settle(match (&answered, outcome(&answered)) {
                // An upstream that does not know the condition may have copied something else since.
                (Ok((_, result)), _) if can_be_looked_at && !is_etag(source_etag.as_ref(), &result.etag) => {
                    Outcome::Look
                }
                (_, outcome) => outcome,
            })
            .await?;
            let (kept, result) = answered.map_err(|error| match error.code {
                Code::PreconditionFailed if !is_conditional && error.is_after_a_lost_answer() => {
                    overwritten().after_a_lost_answer()
                }
                Code::PreconditionFailed if !is_conditional => overwritten(),
                _ => error,
            })?;
            Ok(Answer::xml(xml::write_copy_result(copied, &result)).headers(kept).headers(uri))
        };
        self.run_slow(operation, early, ask, record).await
    }

    /// What a copy would add: the quota must know before the upstream does it. Judges the client's conditions too.
    async fn find_source(&self, ask: &Ask<'_>, source: &Source, target: &UpstreamTarget) -> Result<Found> {
        let mut call = self
            .upstream
            .object_call(Operation::HeadObject, Method::HEAD, target)
            .headers(headers::of_copy_source(ask.headers));
        if let Some(version_id) = &source.version_id {
            call = call.query("versionId", version_id);
        }
        let response = self.upstream.send(call, ask.now).await?;
        let etag = response.headers().get(header::ETAG).cloned();
        let wanted = ask.headers.get_all(COPY_SOURCE_IF_MATCH);
        let is_wanted = wanted.iter().any(|tags| lists(tags, etag.as_ref()));
        if response.status() == StatusCode::NOT_MODIFIED || (wanted.iter().next().is_some() && !is_wanted) {
            return Err(Code::PreconditionFailed.into());
        }
        let length = response.headers().get(header::CONTENT_LENGTH);
        let size = length
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .ok_or_else(|| Error::new(Code::BadGateway).because("a HEAD without a length"))?;
        Ok(Found { size, etag })
    }

    /// Runs a slow operation to its end, and answers early if it takes long.
    pub(super) async fn run_slow<F>(
        &self,
        operation: F,
        headers: HeaderMap,
        ask: &Ask<'_>,
        record: &mut Record,
    ) -> Result<Answer>
    where
        F: Future<Output = Result<Answer>> + Send + 'static,
    {
        let promise = Promise {
            headers,
            resource: ask.parts.uri.path().to_owned(),
            request_id: ask.request_id,
            late_failure: record.late_failure.clone(),
        };
        let started = Instant::now();
        let (limit, permit) = (self.slow_operation_timeout, record.permit.clone());
        let answer = keep_alive::run(operation, limit, &self.ledger, permit, promise).await;
        record.upstream = Some(started.elapsed());
        answer
    }
}

/// The bytes that `UploadPartCopy` takes of its source: `bytes=first-last`, both given.
fn copied_range(headers: &HeaderMap) -> Result<Option<RangeInclusive<u64>>> {
    let Some(value) = headers.get("x-amz-copy-source-range") else {
        return Ok(None);
    };
    let range = value.to_str().ok().and_then(|text| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (query::number::<u64>(first)?, query::number::<u64>(last)?);
        (first <= last).then_some(first..=last)
    });
    range.map(Some).ok_or_else(|| {
        Error::new(Code::InvalidArgument)
            .say("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
            .detail("ArgumentName", "x-amz-copy-source-range")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_part_copies() {
        let range = |text: &'static str| {
            let headers =
                [(HeaderName::from_static("x-amz-copy-source-range"), HeaderValue::from_static(text))];
            copied_range(&headers.into_iter().collect())
        };
        assert_eq!(range("bytes=5-9").expect("a range"), Some(5..=9));
        assert_eq!(copied_range(&HeaderMap::new()).expect("none"), None);
        for bad in ["bytes=5-", "bytes=-5", "bytes=9-5", "5-9", "bytes=a-b", "bytes=0-1,3-4"] {
            assert_eq!(range(bad).expect_err(bad).code, Code::InvalidArgument, "{bad}");
        }
    }

    fn parse(text: &str) -> Result<(String, String, Option<String>)> {
        let source = Source::parse(&HeaderValue::from_bytes(text.as_bytes()).expect("a value"))?;
        Ok((source.bucket.to_string(), source.key.as_str().to_owned(), source.version_id))
    }

    #[test]
    fn sources_as_clients_write_them() {
        for (text, key, version_id) in [
            ("datasets/a/b", "a/b", None),
            ("/datasets/a/b", "a/b", None),
            ("datasets/a%2Bb%20c%25", "a+b c%", None),
            ("datasets/a+b", "a+b", None),
            ("datasets%2Fa%2Fb", "a/b", None),
            ("datasets//a", "/a", None),
            ("datasets/é", "é", None),
            ("datasets/a?versionId=v%2F1", "a", Some("v/1")),
            ("datasets/a%3FversionId=1", "a?versionId=1", None),
        ] {
            let expected = ("datasets".to_owned(), key.to_owned(), version_id.map(str::to_owned));
            assert_eq!(parse(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for (text, code) in [
            ("", Code::InvalidArgument),
            ("/", Code::InvalidArgument),
            ("datasets", Code::InvalidArgument),
            ("datasets/", Code::InvalidArgument),
            ("/datasets/", Code::InvalidArgument),
            ("datasets/../../models/bob/x", Code::InvalidURI),
            ("datasets/%2e%2e/x", Code::InvalidURI),
            ("datasets/%zz", Code::InvalidURI),
            ("arn:aws:s3:us-east-1:1:accesspoint/ap/object/k", Code::NotImplemented),
            ("UPPER/x", Code::InvalidBucketName),
        ] {
            assert_eq!(parse(text).expect_err(text).code, code, "{text}");
        }
    }
}
