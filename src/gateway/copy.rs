//! `CopyObject` and `UploadPartCopy`. The source is named in a header and read under the same rules as a GET; both
//! ends are mapped by the same scopes, so a copy can only ever go from one's own to one's own.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::admission::outcome;
use super::answer::Answer;
use super::keep_alive::Promise;
use super::settle::Record;
use super::{Ask, Gateway, multipart};
use crate::access::About;
use crate::account::Write;
use crate::error::{Code, Error, Result};
use crate::keymap::UpstreamTarget;
use crate::s3::operation::{Access, Operation, client_key};
use crate::s3::{query, uri, xml};
use crate::types::{BucketName, ClientKey};
use crate::upstream::{self, headers};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

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
        if is_part {
            call = multipart::name_part(call, &ask, &self.tokens)?;
        }
        let size = self.source_size(&ask, &source, &source_target).await?;
        let write = if is_part {
            let size = copied_range(ask.headers)?.map_or(size, |range| range.end() - range.start() + 1);
            let (number, upload_id) = multipart::part_named(&ask, &self.tokens)?;
            Write::Part { upload: self.ledger_upload(&ask, upload_id)?, number, size }
        } else {
            Write::Put { target: self.ledger_target(&ask)?, size }
        };
        let held = self.admit(&ask, write).await?;
        let uri = if is_part { HeaderMap::new() } else { self.platform_uri_header(&ask) };
        let early = uri.clone();
        let copied = if is_part { xml::Copied::Part } else { xml::Copied::Object };
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
            held.settle(outcome(&answered)).await?;
            let (kept, result) = answered?;
            Ok(Answer::xml(xml::write_copy_result(copied, &result)).headers(kept).headers(uri))
        };
        self.run_slow(operation, early, &ask, record).await
    }

    /// What a copy would add: the quota must know before the upstream does it.
    async fn source_size(&self, ask: &Ask<'_>, source: &Source, target: &UpstreamTarget) -> Result<u64> {
        let mut call = self
            .upstream
            .object_call(Operation::HeadObject, Method::HEAD, target)
            .headers(headers::of_copy_source(ask.headers));
        if let Some(version_id) = &source.version_id {
            call = call.query("versionId", version_id);
        }
        let response = self.upstream.send(call, ask.now).await?;
        let length = response.headers().get(header::CONTENT_LENGTH);
        length
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .ok_or_else(|| Error::new(Code::BadGateway).because("a HEAD without a length"))
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
        let answer = self.slow_operations.run(operation, record.permit.clone(), promise).await;
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
