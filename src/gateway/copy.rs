//! `CopyObject` and `UploadPartCopy`. The source is named in a header and read under the same rules as a GET; both
//! ends are mapped by the same scopes, so a copy can only ever go from one's own to one's own.

use std::future::Future;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::answer::Answer;
use super::keep_alive::Promise;
use super::settle::Record;
use super::{Ask, Gateway, multipart};
use crate::access;
use crate::error::{Code, Error, Result};
use crate::s3::operation::{Operation, client_key};
use crate::s3::{uri, xml};
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
        let source_target = access::authorise_source(ask.caller, bucket)?.target(&source.key)?;

        let is_part = ask.request.operation == Operation::UploadPartCopy;
        let mut call = self
            .object_call(Method::PUT, &ask)?
            .header(COPY_SOURCE, self.upstream.copy_source(&source_target, source.version_id.as_deref()))
            .slow();
        if is_part {
            call = multipart::name_part(call, &ask, &self.tokens)?;
        }
        let uri = if is_part { HeaderMap::new() } else { self.platform_uri_header(&ask) };
        let early = uri.clone();
        let copied = if is_part { xml::Copied::Part } else { xml::Copied::Object };
        let (upstream, now) = (self.upstream.clone(), ask.now);
        let operation = async move {
            let response = upstream.send_document(call, bytes::Bytes::new(), now).await?;
            let kept = headers::of_write(response.headers());
            let document = upstream::read_document(response).await?;
            let result = upstream::embedded(xml::parse_copy_result(&document)?)?;
            Ok(Answer::xml(xml::write_copy_result(copied, &result)).headers(kept).headers(uri))
        };
        self.run_slow(operation, early, &ask, record).await
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
        let answer = self.slow_operations.run(operation, promise).await;
        record.upstream = Some(started.elapsed());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
