//! A request body on its way to disk. In: the stream, and what the headers promise about it. Out: a blob
//! that is complete and matches every promise (length, Content-MD5, checksum), with its MD5 and checksum;
//! or an error and no blob. Never holds more than two batches of the body.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use md5::{Digest, Md5};
use s3s::dto::StreamingBlob;

use super::blobs::{Blobs, NewBlob};
use super::checksum::{self, Algorithm, Checksum, Hasher};
use super::meta::blocking;
use crate::error::{Code, Error, Result};

/// What goes to disk in one trip.
const BATCH: usize = 512 << 10;
/// S3's limit for one PutObject or `UploadPart`.
const MAX_BODY: u64 = 5 << 30;

/// What the headers promise about a body.
pub(super) struct Promise {
    length: u64,
    md5: Option<[u8; 16]>,
    stated: Option<(Algorithm, String)>,
    compute: Option<Algorithm>,
}

impl Promise {
    /// `compute` is an algorithm to compute even if the client sends no value.
    pub(super) fn new(headers: &HeaderMap, compute: Option<Algorithm>) -> Result<Self> {
        let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let length: u64 = length.ok_or(Code::MissingContentLength)?;
        if length > MAX_BODY {
            return Err(Code::EntityTooLarge.into());
        }
        let md5 = match headers.get("content-md5") {
            Some(value) => {
                let digest = STANDARD.decode(value.as_bytes()).ok().and_then(|digest| digest.try_into().ok());
                Some(digest.ok_or(Code::InvalidDigest)?)
            }
            None => None,
        };
        let stated = checksum::stated(headers)?;
        if headers.contains_key("x-amz-trailer") {
            return Err(Error::new(Code::MalformedTrailerError).because("a plain body has no trailer"));
        }
        let compute = stated.as_ref().map(|(algorithm, _)| *algorithm).or(compute);
        Ok(Self { length, md5, stated, compute })
    }

    /// The algorithm whose value the client sends.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        self.stated.as_ref().map(|(algorithm, _)| *algorithm)
    }
}

pub(super) struct Received {
    pub(super) blob: NewBlob,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) checksum: Option<Checksum>,
}

/// A blob being written and the digests over it. Blocks.
pub(super) struct Sink {
    blob: NewBlob,
    size: u64,
    md5: Md5,
    hasher: Option<Hasher>,
}

impl Sink {
    pub(super) fn new(blobs: &Arc<Blobs>, compute: Option<Algorithm>) -> Result<Self> {
        let blob = blobs.create().map_err(disk)?;
        Ok(Self { blob, size: 0, md5: Md5::new(), hasher: compute.map(Hasher::new) })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.blob.write(piece).map_err(disk)?;
        self.md5.update(piece);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece);
        }
        self.size += u64::try_from(piece.len()).map_err(disk)?;
        Ok(())
    }

    pub(super) fn finish(self) -> (Received, [u8; 16]) {
        let md5: [u8; 16] = self.md5.finalize().into();
        let checksum = self.hasher.map(Hasher::finish);
        (Received { blob: self.blob, size: self.size, etag: hex(&md5), checksum }, md5)
    }
}

pub(super) fn disk(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Code::InternalError).because(error)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).expect("half a byte is one hex digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(super) async fn receive(
    blobs: &Arc<Blobs>,
    body: Option<StreamingBlob>,
    promise: Promise,
) -> Result<Received> {
    let mut batch = Vec::new();
    let mut batched = 0;
    let mut total = 0_u64;
    let (of_sink, compute) = (Arc::clone(blobs), promise.compute);
    let mut sink: Option<Sink> = None;
    let mut writing: Option<tokio::task::JoinHandle<Result<Sink>>> = None;
    if let Some(mut body) = body {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(broken_body)?;
            total += u64::try_from(piece.len()).map_err(disk)?;
            if total > promise.length {
                return Err(Code::IncompleteBody.into());
            }
            batched += piece.len();
            batch.push(piece);
            if batched >= BATCH {
                // One batch is written while the next one arrives.
                if let Some(written) = writing.take() {
                    sink = Some(written.await.map_err(disk)??);
                }
                let (blobs, sink, batch) = (Arc::clone(&of_sink), sink.take(), std::mem::take(&mut batch));
                writing =
                    Some(tokio::task::spawn_blocking(move || write_batch(&blobs, sink, compute, &batch)));
                batched = 0;
            }
        }
    }
    if total != promise.length {
        return Err(Code::IncompleteBody.into());
    }
    if let Some(written) = writing.take() {
        sink = Some(written.await.map_err(disk)??);
    }
    blocking(move || {
        let (received, md5) = write_batch(&of_sink, sink, compute, &batch)?.finish();
        check(&promise, &received, md5)?;
        Ok(received)
    })
    .await
}

fn write_batch(
    blobs: &Arc<Blobs>,
    sink: Option<Sink>,
    compute: Option<Algorithm>,
    batch: &[Bytes],
) -> Result<Sink> {
    let mut sink = match sink {
        Some(sink) => sink,
        None => Sink::new(blobs, compute)?,
    };
    for piece in batch {
        sink.write(piece)?;
    }
    Ok(sink)
}

fn check(promise: &Promise, received: &Received, md5: [u8; 16]) -> Result<()> {
    if promise.md5.is_some_and(|promised| promised != md5) {
        return Err(Code::BadDigest.into());
    }
    if let Some((algorithm, value)) = &promise.stated {
        let matches =
            received.checksum.as_ref().is_some_and(|sum| sum.algorithm == *algorithm && sum.value == *value);
        if !matches {
            let text =
                format!("The {} you specified did not match the calculated checksum.", algorithm.name());
            return Err(Error::new(Code::BadDigest).say(text));
        }
    }
    Ok(())
}

/// `auth` says what is wrong with a body; anything else is a connection that broke.
pub(super) fn broken_body(error: s3s::StdError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => Error::new(Code::IncompleteBody).because(error),
    }
}
