//! The one client of the real bucket. In: a `Call`, whose headers were chosen one by one, and a body. Out: the
//! upstream's answer if it is a success (or 304), else an error that a client may see. Calls are signed with
//! the gateway's key, sent over pooled HTTP/1.1 connections with an exact `Content-Length`, and bounded in
//! time. Redirects are not followed; nothing of the client's own head crosses but what the `Call` holds.
//!
//! Dropping the future or the answer's body closes the upstream connection at once.

mod body;
mod call;
mod connect;
mod errors;
pub mod headers;
pub mod native;
pub mod probe;
mod retry;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::body::upload::{Upload, UploadHandle};
use crate::config;
use crate::error::{Code, Error, Result};
use crate::io;
use crate::keymap::UpstreamTarget;
use crate::metrics::Metrics;
use crate::s3::operation::Operation;
use crate::s3::uri;
use crate::sigv4::sign::Signer;
use crate::tls;
use body::{Slot, UpstreamBody};
pub use call::Call;
use connect::Connector;
pub use errors::{embedded, translate_named};
use retry::{Budget, MAX_RETRIES};

/// Bodies larger than this ask first (`Expect: 100-continue`), so that a refusal is not lost under them.
pub const ASK_FIRST_ABOVE: u64 = 1 << 20;

/// Idle connections are dropped before a server's usual keep-alive runs out.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// An error document longer than this is no S3 error.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// A page of 1,000 keys of 1,024 bytes, each percent-encoded, is 3 MiB; with every other element, below this.
const MAX_DOCUMENT: usize = 8 << 20;

/// How long the upstream may pause within a document. A slow copy sends white space more often than this.
const DOCUMENT_PATIENCE: Duration = Duration::from_mins(1);

pub struct Upstream {
    client: Client<Connector, UpstreamBody>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// `/` and the real bucket's name, encoded.
    bucket_path: String,
    bucket: String,
    signer: Signer,
    first_byte_timeout: Duration,
    slow_operation_timeout: Duration,
    idle_timeout: Duration,
    metrics: Arc<Metrics>,
    budget: Budget,
    /// This upstream let the gate time out or answered 417: it does not know `Expect`, and is not asked again
    /// until it is heard to say `100 Continue` after all.
    ignores_expect: Arc<AtomicBool>,
}

/// What went wrong with one try.
enum Failure {
    /// No connection, or one that broke before anything of the body was taken.
    Transport(ClientError),
    TimedOut,
    /// The upstream's refusal, as the client may see it, and its status.
    Refused(Error, StatusCode),
    /// The upstream does not want to be asked, and has got nothing of the body.
    ExpectRefused(Error),
    /// The client's own fault, found in its body.
    Client(Error),
}

impl Upstream {
    pub fn new(config: &config::Upstream, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let tls = tls::client_config(config.ca_file.as_deref()).context("upstream TLS")?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .set_host(false)
            .http1_max_buf_size(io::LARGE)
            .build(Connector::new(tls, config.connect_timeout));
        let endpoint = &config.endpoint;
        let authority = endpoint.authority().context("upstream.endpoint names no host")?.clone();
        Ok(Self {
            client,
            scheme: endpoint.scheme().context("upstream.endpoint has no scheme")?.clone(),
            host: HeaderValue::from_str(authority.as_str())?,
            authority,
            bucket_path: ["/", &uri::encode_query(&config.bucket)].concat(),
            bucket: config.bucket.clone(),
            signer: Signer::new(
                config.access_key_id.clone(),
                config.secret_access_key.clone(),
                config.region.clone(),
            ),
            first_byte_timeout: config.first_byte_timeout,
            slow_operation_timeout: config.slow_operation_timeout,
            idle_timeout: config.idle_timeout,
            metrics,
            budget: Budget::new(),
            ignores_expect: Arc::default(),
        })
    }

    /// A call about the bucket as a whole: listings, batch deletes.
    pub fn bucket_call(&self, operation: Operation, method: Method) -> Call {
        Call::new(operation, method, self.bucket_path.clone())
    }

    /// A call about one object.
    pub fn object_call(&self, operation: Operation, method: Method, target: &UpstreamTarget) -> Call {
        let mut path = String::with_capacity(self.bucket_path.len() + target.key.as_str().len() + 16);
        path.push_str(&self.bucket_path);
        path.push('/');
        uri::push_path(&mut path, target.key.as_str());
        Call::new(operation, method, path)
    }

    /// The value of `x-amz-copy-source` for an object of the real bucket.
    pub fn copy_source(&self, source: &UpstreamTarget, version_id: Option<&str>) -> HeaderValue {
        let mut text = String::with_capacity(self.bucket_path.len() + source.key.as_str().len() + 16);
        text.push_str(&self.bucket_path);
        text.push('/');
        uri::push_path(&mut text, source.key.as_str());
        if let Some(version_id) = version_id {
            text.push_str("?versionId=");
            uri::push_query(&mut text, version_id);
        }
        HeaderValue::from_str(&text).expect("percent-encoded text is printable ASCII")
    }

    /// The real bucket's name, for the places where it must not be seen.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// How long an answer's body may be silent.
    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Sends a call without a body.
    pub async fn send(&self, call: Call, now: SystemTime) -> Result<Response<Incoming>> {
        self.deliver(&call, UpstreamBody::Empty, None, now).await
    }

    /// Sends a document that the gateway wrote.
    pub async fn send_document(
        &self,
        call: Call,
        document: Bytes,
        now: SystemTime,
    ) -> Result<Response<Incoming>> {
        self.deliver(&call, UpstreamBody::Document(document), None, now).await
    }

    /// Streams a client's body. An upload above [`ASK_FIRST_ABOVE`] comes with its gate closed.
    pub async fn send_upload(
        &self,
        call: Call,
        upload: Upload<Incoming>,
        handle: &UploadHandle,
        now: SystemTime,
    ) -> Result<Response<Incoming>> {
        self.deliver(&call, UpstreamBody::Upload(Slot::new(upload)), Some(handle), now).await
    }

    async fn deliver(
        &self,
        call: &Call,
        body: UpstreamBody,
        upload: Option<&UploadHandle>,
        now: SystemTime,
    ) -> Result<Response<Incoming>> {
        self.budget.deposit();
        let mut retries = 0;
        let mut may_ask = true;
        let mut lost = false;
        loop {
            let failure = match self.attempt(call, body.again(), upload, may_ask, now).await {
                Ok(mut response) => {
                    if lost {
                        response.extensions_mut().insert(AfterALostAnswer);
                    }
                    return Ok(response);
                }
                Err(Failure::ExpectRefused(_)) if may_ask => {
                    may_ask = false;
                    continue;
                }
                Err(failure) => failure,
            };
            let again =
                retries < MAX_RETRIES && may_retry(&failure, call, &body, upload) && self.budget.withdraw();
            if !again {
                let error = failure.into_error();
                return Err(if lost { error.after_a_lost_answer() } else { error });
            }
            lost |= failure.may_have_acted(&body);
            tokio::time::sleep(retry::pause(retries)).await;
            retries += 1;
        }
    }

    async fn attempt(
        &self,
        call: &Call,
        body: UpstreamBody,
        upload: Option<&UploadHandle>,
        may_ask: bool,
        now: SystemTime,
    ) -> Result<Response<Incoming>, Failure> {
        let ask_first = may_ask
            && upload.is_some()
            && body.length() > ASK_FIRST_ABOVE
            && !self.ignores_expect.load(Ordering::Relaxed);
        let mut request = self.request(call, body, now);
        if let Some(handle) = upload {
            if ask_first {
                request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
                let (gate, ignores_expect) = (handle.clone(), self.ignores_expect.clone());
                hyper::ext::on_informational(&mut request, move |answer| {
                    if answer.status() == StatusCode::CONTINUE {
                        // However late: it does know.
                        ignores_expect.store(false, Ordering::Relaxed);
                        gate.open_gate();
                    }
                });
            } else {
                handle.open_gate();
            }
        }
        let limit = if call.slow { self.slow_operation_timeout } else { self.first_byte_timeout };
        let answer = self.client.request(request);
        let answered = match upload {
            None => tokio::time::timeout(limit, answer).await.map_err(|_| Failure::TimedOut)?,
            Some(handle) => {
                let watch = watch::Watch::new(handle, limit, self.idle_timeout, &self.ignores_expect);
                watch.until(answer).await.ok_or(Failure::TimedOut)?
            }
        };
        match answered {
            Ok(response) => self.judge(call, response, upload).await,
            Err(error) => Err(match upload.and_then(UploadHandle::failure) {
                Some(fault) => Failure::Client(fault),
                None => Failure::Transport(error),
            }),
        }
    }

    fn request(&self, call: &Call, body: UpstreamBody, now: SystemTime) -> Request<UpstreamBody> {
        let path_and_query = if call.query.is_empty() {
            PathAndQuery::try_from(call.path.as_str())
        } else {
            PathAndQuery::from_maybe_shared(Bytes::from([&call.path, "?", &call.query].concat()))
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path_and_query.expect("strictly encoded text is a valid path and query"));
        let mut headers = call.headers.clone();
        headers.insert(header::HOST, self.host.clone());
        self.signer.sign(call.method.as_str(), &call.path, &call.query, &mut headers, now);
        if matches!(call.method, Method::PUT | Method::POST) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.length()));
        }
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are all there");
        *request.headers_mut() = headers;
        request
    }

    /// Takes a success as it is; reads a refusal, and lets go of an upload that the upstream did not wait for.
    async fn judge(
        &self,
        call: &Call,
        response: Response<Incoming>,
        upload: Option<&UploadHandle>,
    ) -> Result<Response<Incoming>, Failure> {
        let status = response.status();
        self.metrics.upstream_response(call.operation, status.as_u16());
        let early = upload.is_some_and(|handle| !handle.is_complete());
        let unchanged =
            status == StatusCode::NOT_MODIFIED && matches!(call.method, Method::GET | Method::HEAD);
        if (status.is_success() && !early) || unchanged {
            return Ok(response);
        }
        if status == StatusCode::EXPECTATION_FAILED && upload.is_some_and(|handle| !handle.gate_is_open()) {
            tracing::info!("the upstream refuses Expect: 100-continue; it is not asked again");
            self.ignores_expect.store(true, Ordering::Relaxed);
            return Err(Failure::ExpectRefused(errors::translate(status, response.headers(), b"")));
        }
        let (parts, body) = response.into_parts();
        let patience = Duration::from_secs(5).min(self.idle_timeout);
        // What cannot be read of it changes the answer's text, not its meaning.
        let document = read_whole(body, MAX_ERROR_BODY, patience).await.unwrap_or_default();
        if let Some(handle) = upload {
            // Only now: stopping the upload closes the connection that the refusal comes on.
            handle.abort();
            if let Some(fault) = handle.failure() {
                return Err(Failure::Client(fault));
            }
        }
        Err(Failure::Refused(errors::translate(status, &parts.headers, &document), status))
    }
}

/// Marks a success that came after a try whose answer was lost.
#[derive(Clone, Copy)]
struct AfterALostAnswer;

/// Whether an earlier try of the call may have been carried out: what this answer refuses in its document may be done.
pub fn is_after_a_lost_answer(response: &Response<Incoming>) -> bool {
    response.extensions().get::<AfterALostAnswer>().is_some()
}

/// Reads an XML answer whole.
pub async fn read_document(response: Response<Incoming>) -> Result<String> {
    let document = read_whole(response.into_body(), MAX_DOCUMENT, DOCUMENT_PATIENCE).await?;
    String::from_utf8(document).map_err(|error| Error::new(Code::BadGateway).because(error))
}

/// At most `cap` bytes, none of them more than `patience` after the one before.
async fn read_whole(body: Incoming, cap: usize, patience: Duration) -> Result<Vec<u8>> {
    let mut body = http_body_util::Limited::new(body, cap);
    let mut whole = Vec::new();
    loop {
        let frame = tokio::time::timeout(patience, body.frame()).await.map_err(|_| Code::GatewayTimeout)?;
        match frame {
            Some(Ok(frame)) => whole.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Some(Err(error)) => return Err(Error::new(Code::BadGateway).because(error)),
            None => return Ok(whole),
        }
    }
}

impl Failure {
    /// Whether the upstream may have done all the same what it was asked. Of an upload that may go again it has got
    /// nothing.
    fn may_have_acted(&self, body: &UpstreamBody) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Transport(error) => !error.is_connect() && !matches!(body, UpstreamBody::Upload(_)),
            Self::Refused(_, status) => matches!(status.as_u16(), 500 | 502 | 504),
            Self::ExpectRefused(_) | Self::Client(_) => false,
        }
    }

    fn into_error(self) -> Error {
        match self {
            Self::Refused(error, _) | Self::ExpectRefused(error) | Self::Client(error) => error,
            Self::TimedOut => Error::new(Code::GatewayTimeout),
            Self::Transport(error) if error.is_connect() => {
                Error::new(Code::ServiceUnavailable).because(error)
            }
            Self::Transport(error) => Error::new(Code::BadGateway).because(error),
        }
    }
}

/// Without a body, an idempotent call may go again whatever became of it; with one, only if nothing of the
/// body was taken and the upstream gave no answer. A write that the upstream answered, with whatever failure, is
/// left to the client: it may have been minutes in the making.
fn may_retry(failure: &Failure, call: &Call, body: &UpstreamBody, upload: Option<&UploadHandle>) -> bool {
    let untouched = upload.is_some_and(|handle| handle.received() == 0 && handle.failure().is_none());
    match failure {
        Failure::Client(_) | Failure::TimedOut | Failure::ExpectRefused(_) => false,
        Failure::Transport(error) => match body {
            UpstreamBody::Upload(_) => untouched,
            UpstreamBody::Empty | UpstreamBody::Document(_) => {
                error.is_connect() || (call.is_idempotent() && body.length() == 0)
            }
        },
        Failure::Refused(_, status) => {
            let passing = matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504);
            passing && call.is_idempotent() && call.method != Method::PUT && body.length() == 0
        }
    }
}
