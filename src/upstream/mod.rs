//! The one client of the real bucket. In: a `Call`, whose headers were chosen one by one, and a body. Out: the
//! upstream's answer if it is a success (or 304), else an error that a client may see. Calls are signed with
//! the gateway's key, sent over pooled HTTP/1.1 connections with an exact `Content-Length`, and bounded in
//! time. Redirects are not followed; nothing of the client's own head crosses but what the `Call` holds.
//!
//! Dropping the future or the answer's body closes the upstream connection at once.

mod body;
mod call;
mod concurrency;
mod connect;
mod delivery;
mod document;
mod errors;
mod failure;
pub mod headers;
mod keys;
pub mod native;
pub mod probe;
mod retry;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::body::upload::{GateState, Upload, UploadHandle};
use crate::config;
use crate::dialect::Dialect;
use crate::error::Result;
use crate::io;
use crate::keymap::UpstreamTarget;
use crate::metrics::Metrics;
use crate::s3::operation::Operation;
use crate::s3::uri;
use crate::sigv4::sign::Signer;
use crate::tls;
use body::{Slot, UpstreamBody};
pub use call::Call;
use concurrency::Concurrency;
use connect::Connector;
pub use delivery::is_after_a_lost_answer;
pub use document::read_document;
pub use errors::{embedded, translate_named};
use keys::Keys;
use retry::Budget;

/// Bodies larger than this ask first (`Expect: 100-continue`), so that a refusal is not lost under them.
const ASK_FIRST_ABOVE: u64 = 1 << 20;

/// Idle connections are dropped before a server's usual keep-alive runs out.
const POOL_IDLE: Duration = Duration::from_secs(20);

pub struct Upstream {
    config: config::Upstream,
    client: Client<Connector, UpstreamBody>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// `/` and the real bucket's name, encoded.
    bucket_path: String,
    keys: Arc<Keys>,
    concurrency: Arc<Concurrency>,
    metrics: Arc<Metrics>,
    budget: Arc<Budget>,
    /// This upstream let the gate time out or answered 417: it does not know `Expect`, and is not asked again
    /// until it is heard to say `100 Continue` after all.
    ignores_expect: Arc<AtomicBool>,
}

impl Upstream {
    pub fn new(config: &config::Upstream, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let endpoint = &config.endpoint;
        let authority = endpoint.authority().context("upstream.endpoint names no host")?.clone();
        Ok(Self {
            client: client(config)?,
            scheme: endpoint.scheme().context("upstream.endpoint has no scheme")?.clone(),
            host: HeaderValue::from_str(authority.as_str())?,
            authority,
            bucket_path: ["/", &uri::encode_query(&config.bucket)].concat(),
            keys: Arc::new(Keys::new(config)),
            concurrency: Arc::new(Concurrency::new(metrics.clone())),
            metrics,
            budget: Arc::new(Budget::new()),
            ignores_expect: Arc::default(),
            config: config.clone(),
        })
    }

    /// The upstream of another configuration, with the connections of this one, and what was learned of it, as far as
    /// they are about the same.
    pub fn renewed(&self, config: &config::Upstream) -> anyhow::Result<Self> {
        let mut renewed = Self::new(config, self.metrics.clone())?;
        let old = &self.config;
        if config.endpoint != old.endpoint {
            return Ok(renewed);
        }
        renewed.budget = self.budget.clone();
        renewed.ignores_expect = self.ignores_expect.clone();
        // The roots of a file may be others, although its name is the same.
        if (&config.ca_file, config.connect_timeout) == (&None, old.connect_timeout) && old.ca_file.is_none()
        {
            renewed.client = self.client.clone();
        }
        if config.bucket == old.bucket {
            self.concurrency.show_limit();
            renewed.concurrency = self.concurrency.clone();
        }
        let keys = |config: &config::Upstream| {
            let current = (config.access_key_id.clone(), config.secret_access_key.clone());
            (current, config.previous.clone(), config.region.clone())
        };
        if keys(config) == keys(old) {
            renewed.keys = self.keys.clone();
        }
        Ok(renewed)
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

    /// How it differs from other S3 services.
    pub fn dialect(&self) -> Dialect {
        self.config.dialect
    }

    /// Whether an upload of this length waits until the upstream wants it: where a refusal would be lost under a long
    /// body, and, while refusals are to be expected, for every body, for what was not sent can be sent again.
    pub fn gate(&self, length: u64) -> GateState {
        let asks = length > ASK_FIRST_ABOVE || self.concurrency.is_strained() || self.keys.is_troubled();
        if asks { GateState::Closed } else { GateState::Open }
    }

    /// The real bucket's name, for the places where it must not be seen.
    pub fn bucket(&self) -> &str {
        &self.config.bucket
    }

    /// How long an answer's body may be silent.
    pub fn idle_timeout(&self) -> Duration {
        self.config.idle_timeout
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

    /// Streams a client's body, which comes with its gate as `gate` says.
    pub async fn send_upload(
        &self,
        call: Call,
        upload: Upload<Incoming>,
        handle: &UploadHandle,
        now: SystemTime,
    ) -> Result<Response<Incoming>> {
        self.deliver(&call, UpstreamBody::Upload(Slot::new(upload)), Some(handle), now).await
    }

    fn request(
        &self,
        call: &Call,
        body: UpstreamBody,
        signer: &Signer,
        now: SystemTime,
    ) -> Request<UpstreamBody> {
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
        signer.sign(call.method.as_str(), &call.path, &call.query, &mut headers, now);
        if matches!(call.method, Method::PUT | Method::POST) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.length()));
        }
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are all there");
        *request.headers_mut() = headers;
        request
    }
}

fn client(config: &config::Upstream) -> anyhow::Result<Client<Connector, UpstreamBody>> {
    let tls = tls::client_config(config.ca_file.as_deref()).context("upstream TLS")?;
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .set_host(false)
        .http1_max_buf_size(io::LARGE)
        .build(Connector::new(tls, config.connect_timeout)))
}
