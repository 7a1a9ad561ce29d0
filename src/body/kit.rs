//! For tests: heads, wires and bodies that behave as told.

use std::collections::VecDeque;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http_body::{Body, Frame};
use sha2::{Digest, Sha256};
use tokio::time::{Sleep, sleep};

use super::checksum::Algorithm;
use crate::sigv4::Payload;
use crate::sigv4::chunk::ChunkSigner;

pub(super) const IDLE: Duration = Duration::from_secs(30);
pub(super) const CRC32: &str = "x-amz-checksum-crc32";

pub(super) fn signer() -> ChunkSigner {
    ChunkSigner::new([7; 32], "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", &"0".repeat(64))
}

pub(super) fn signed_chunks(trailer: bool) -> Payload {
    Payload::SignedChunks { signer: signer(), trailer }
}

pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
    };
    pairs.iter().map(pair).collect()
}

pub(super) fn crc32(payload: &[u8]) -> String {
    BASE64.encode(&crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, payload).to_be_bytes()[4..])
}

pub(super) fn sha256(payload: &[u8]) -> [u8; 32] {
    Sha256::digest(payload).into()
}

/// What a correct client with `signer()` sends. The last, empty chunk is added.
pub(super) fn signed(chunks: &[Vec<u8>], trailer_mode: bool, trailer: Option<(&str, &str)>) -> Vec<u8> {
    let mut signer = signer();
    let mut wire = Vec::new();
    for chunk in chunks.iter().map(Vec::as_slice).chain([&[][..]]) {
        let signature = signer.sign_chunk(&sha256(chunk));
        wire.extend(format!("{:x};chunk-signature=", chunk.len()).bytes());
        wire.extend(signature);
        wire.extend(b"\r\n");
        if !chunk.is_empty() {
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
    }
    let mut lines = String::new();
    if let Some((name, value)) = trailer {
        writeln!(lines, "{name}:{value}").unwrap();
        wire.extend(format!("{name}:{value}\r\n").bytes());
    }
    if trailer_mode && trailer.is_some() {
        wire.extend(b"x-amz-trailer-signature:");
        wire.extend(signer.sign_trailer(&sha256(lines.as_bytes())));
        wire.extend(b"\r\n");
    }
    wire.extend(b"\r\n");
    wire
}

/// The same without signatures.
pub(super) fn unsigned(chunks: &[Vec<u8>], trailer: Option<(&str, &str)>) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in chunks {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire.extend(b"0\r\n");
    if let Some((name, value)) = trailer {
        wire.extend(format!("{name}:{value}\r\n").bytes());
    }
    wire.extend(b"\r\n");
    wire
}

/// Cuts at the given places, which may repeat and lie beyond the end.
pub(super) fn cut(wire: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut cuts: Vec<usize> = cuts.iter().map(|at| at % (wire.len() + 1)).chain([0, wire.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| Bytes::copy_from_slice(&wire[pair[0]..pair[1]])).collect()
}

/// The values of every algorithm for `123456789`, from the catalogues of CRCs and from `sha1sum` and `sha256sum`.
pub(super) const CHECK_VALUES: [(Algorithm, &str); 5] = [
    (Algorithm::Crc32, "y/Q5Jg=="),
    (Algorithm::Crc32c, "4waSgw=="),
    (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
    (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
    (Algorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
];

/// A body that follows a script; one that runs out of script has ended.
pub(super) struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
}

pub(super) enum Step {
    Data(Bytes),
    Wait(Duration),
    Fail,
    Stall,
}

impl Script {
    pub(super) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), sleep: None }
    }

    pub(super) fn of(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self::new(pieces.into_iter().map(Step::Data))
    }

    pub(super) fn bytes(bytes: &[u8]) -> Self {
        Self::of([Bytes::copy_from_slice(bytes)])
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Fail) => Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into()))),
            Some(Step::Stall) => {
                self.steps.push_front(Step::Stall);
                Poll::Pending
            }
            Some(Step::Wait(time)) => {
                self.sleep = Some(Box::pin(sleep(time)));
                self.poll_frame(cx)
            }
        }
    }
}
