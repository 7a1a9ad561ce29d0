//! One signed request of the probe and its answer. Unlike the gateway's own calls these may say anything a
//! client could say to the upstream: every payload mode, wrong checksums, bodies without a length. What it
//! writes is noted before it is sent. Refusals that pass by themselves (throttling, a key that has not reached
//! every server) are counted and tried again, so that each question is answered about itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::{Answer, reason};
use super::bench::{Bench, Body, Identity};
use super::chunks::{self, Chunked};
use super::report::{Cut, Tried};
use crate::s3::uri;
use crate::upstream::document::read_whole;

/// How often a refusal that passes is tried again, and how long after the first time; twice that each time after.
const TRIES_AGAIN: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);
/// What a request on its way gets to come to its end once the run is to stop.
const GRACE: Duration = Duration::from_secs(3);
/// How long a body waits for `100 Continue`.
const GATE_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_ANSWER: usize = 1 << 20;

pub(super) struct Ask<'a> {
    bench: &'a Bench,
    identity: &'a Identity,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    /// The object that it is about.
    key: Option<String>,
    bytes: Bytes,
    payload: Payload,
    framing: Framing,
    /// Signed as if it were this much later, or earlier.
    ahead: i64,
}

/// What the signature says of the body.
enum Payload {
    Unsigned,
    Sha256([u8; 32]),
    Chunked(Chunked),
}

/// How the body goes on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    /// `Transfer-Encoding: chunked`, and no length anywhere.
    NoLength,
    /// The body waits for `100 Continue`.
    AskFirst,
}

impl<'a> Ask<'a> {
    pub(super) fn new(bench: &'a Bench, method: Method, path: String, key: Option<String>) -> Self {
        Self {
            bench,
            identity: bench.identity(),
            method,
            path,
            query: String::new(),
            headers: HeaderMap::new(),
            key,
            bytes: Bytes::new(),
            payload: Payload::Unsigned,
            framing: Framing::Length,
            ahead: 0,
        }
    }

    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        uri::push_query(&mut self.query, name);
        self.query.push('=');
        uri::push_query(&mut self.query, value);
        self
    }

    /// `value` may be any text that a header can hold.
    pub(super) fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        let value =
            HeaderValue::from_bytes(value.as_ref()).expect("the probe's values hold no control characters");
        self.headers.insert(name, value);
        self
    }

    pub(super) fn amz(self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.header(HeaderName::from_static(name), value)
    }

    pub(super) fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes = Bytes::copy_from_slice(bytes.as_ref());
        self
    }

    pub(super) fn sha256(mut self, hash: [u8; 32]) -> Self {
        self.payload = Payload::Sha256(hash);
        self
    }

    pub(super) fn chunked(mut self, chunked: Chunked) -> Self {
        self.payload = Payload::Chunked(chunked);
        self
    }

    pub(super) fn without_length(mut self) -> Self {
        self.framing = Framing::NoLength;
        self
    }

    pub(super) fn ask_first(mut self) -> Self {
        self.framing = Framing::AskFirst;
        self
    }

    pub(super) fn signed_by(mut self, identity: &'a Identity) -> Self {
        self.identity = identity;
        self
    }

    pub(super) fn signed_ahead(mut self, seconds: i64) -> Self {
        self.ahead = seconds;
        self
    }

    /// The answer, after refusals that passed.
    pub(super) async fn send(self) -> Tried<Answer> {
        let mut pause = PAUSE;
        for _ in 0..TRIES_AGAIN {
            let answer = self.once().await?;
            if !self.passes(&answer) {
                return Ok(answer);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause *= 2,
                () = self.bench.limits().stop.cancelled_owned() => return Err(Cut::Stopped),
            }
        }
        self.once().await
    }

    /// The answer, whatever it is.
    async fn once(&self) -> Tried<Answer> {
        let limits = self.bench.limits();
        if limits.stop.is_cancelled() {
            return Err(Cut::Stopped);
        }
        if Instant::now() >= limits.until {
            return Err(Cut::OutOfTime);
        }
        self.note_write(|litter, key| litter.keys.insert(key));
        let patience = self.bench.patience;
        let in_time = tokio::time::timeout(patience, self.exchange());
        let stopped = async {
            limits.stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let answer = tokio::select! {
            answer = in_time => match answer {
                Ok(answer) => answer,
                Err(_) => Err(Cut::Silent(format!("no answer within {} s", patience.as_secs_f32()))),
            },
            () = stopped => Err(Cut::Stopped),
        };
        match &answer {
            Ok(answer) => self.note_answer(answer),
            Err(_) => self.note_write(|litter, key| litter.unheard.insert(key)),
        }
        answer
    }

    async fn exchange(&self) -> Tried<Answer> {
        let (gate, opened) = watch::channel(self.framing != Framing::AskFirst);
        let mut request = self.request(opened);
        let continued = Arc::new(OnceLock::new());
        let sent = Instant::now();
        if self.framing == Framing::AskFirst {
            let (gate, continued) = (gate.clone(), continued.clone());
            hyper::ext::on_informational(&mut request, move |answer| {
                if answer.status() == StatusCode::CONTINUE {
                    continued.get_or_init(|| sent.elapsed());
                    gate.send_replace(true);
                }
            });
        }
        let mut answer = std::pin::pin!(self.bench.client.request(request));
        let response = if let Ok(answered) = tokio::time::timeout(GATE_TIMEOUT, &mut answer).await {
            answered
        } else {
            gate.send_replace(true);
            answer.await
        };
        let response = response.map_err(|error| Cut::Silent(reason(&error)))?;
        let (parts, body) = response.into_parts();
        let body = read_whole(body, MAX_ANSWER, self.bench.patience).await;
        let body =
            body.map_err(|error| Cut::Silent(format!("the answer broke off: {}", error.code.as_str())))?;
        let continued = continued.get().copied();
        Ok(Answer { status: parts.status, headers: parts.headers, body, continued })
    }

    fn request(&self, opened: watch::Receiver<bool>) -> Request<Body> {
        let mut headers = self.headers.clone();
        headers.insert(header::HOST, self.bench.host.clone());
        let identity = self.identity;
        let now = shifted(crate::now(), self.ahead);
        let payload = match &self.payload {
            Payload::Unsigned => HeaderValue::from_static("UNSIGNED-PAYLOAD"),
            Payload::Sha256(hash) => HeaderValue::from_str(&chunks::hex(hash)).expect("hex is ASCII"),
            Payload::Chunked(chunked) => {
                chunked.announce(self.bytes.len(), &mut headers);
                HeaderValue::from_static(chunked.mode())
            }
        };
        identity.signer.sign_payload(
            self.method.as_str(),
            &self.path,
            &self.query,
            &mut headers,
            payload,
            now,
        );
        let bytes = match &self.payload {
            Payload::Unsigned | Payload::Sha256(_) => self.bytes.clone(),
            Payload::Chunked(chunked) => chunked.encode(&self.bytes, &headers, identity, now),
        };
        let has_body = matches!(self.method, Method::PUT | Method::POST);
        if has_body && self.framing != Framing::NoLength {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        if self.framing == Framing::AskFirst {
            headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        let mut request = Request::new(match self.framing {
            Framing::Length => Full::new(bytes).boxed_unsync(),
            Framing::NoLength | Framing::AskFirst => gated(bytes, opened),
        });
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri();
        *request.headers_mut() = headers;
        request
    }

    fn uri(&self) -> Uri {
        let target =
            if self.query.is_empty() { self.path.clone() } else { [&self.path, "?", &self.query].concat() };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.bench.scheme.clone());
        parts.authority = Some(self.bench.authority.clone());
        parts.path_and_query = Some(
            PathAndQuery::from_maybe_shared(Bytes::from(target))
                .expect("strictly encoded text is a valid path"),
        );
        Uri::from_parts(parts).expect("scheme, authority and path are all there")
    }

    /// What may make an object: not a part, not a deletion.
    fn note_write(&self, note: impl FnOnce(&mut super::bench::Litter, String) -> bool) {
        if let Some(key) = self.key.clone().filter(|_| matches!(self.method, Method::PUT | Method::POST)) {
            note(&mut self.bench.litter(), key);
        }
    }

    fn note_answer(&self, answer: &Answer) {
        let mut seen = self.bench.seen();
        seen.answers += 1;
        seen.throttled += u32::from(answer.throttles());
        seen.key_unknown += u32::from(seen.key_accepted && answer.misses_key(&self.method));
        for (name, value) in &answer.headers {
            seen.headers
                .insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
        drop(seen);
        // Of writes, and of deletions, which make a marker.
        let writes = !matches!(self.method, Method::GET | Method::HEAD);
        let version = answer.header("x-amz-version-id").filter(|id| writes && *id != "null");
        if let Some((key, version)) = self.key.clone().zip(version) {
            self.bench.litter().versions.insert((key, version.to_owned()));
        }
    }

    fn passes(&self, answer: &Answer) -> bool {
        let misses_key = self.bench.seen().key_accepted && answer.misses_key(&self.method);
        answer.throttles() || answer.status == StatusCode::SERVICE_UNAVAILABLE || misses_key
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn shifted(time: std::time::SystemTime, seconds: i64) -> std::time::SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    shifted.unwrap_or(time)
}

/// A body that starts when it is told to and does not say how long it is.
fn gated(bytes: Bytes, mut opened: watch::Receiver<bool>) -> Body {
    let frame = async move {
        // A sender that is gone wants nothing any more either way.
        opened.wait_for(|open| *open).await.ok();
        Ok(Frame::data(bytes))
    };
    StreamBody::new(stream::once(frame)).boxed_unsync()
}
