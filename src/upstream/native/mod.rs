//! OCI's own API, for what S3 has no word for. In: one call, a JSON document at most. Out: OCI's answer, read whole
//! under a cap, or why there is none. Calls are signed with an API key (`sign`), sent over the same TLS and within
//! the same time limits as those to the bucket, and sent again only where that cannot do a thing twice. Redirects
//! are not followed. What OCI says is for the log and reaches no client.
//! Follows <https://docs.oracle.com/en-us/iaas/Content/API/Concepts/usingapi.htm>.

mod par;
mod sign;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use super::POOL_IDLE;
use super::connect::Connector;
use super::document::read_whole;
use crate::config::{self, ApiKey};
use crate::error::{Code, Error, Result};
use crate::s3::uri;
use crate::tls;
pub use par::{Access, Par};
use sign::{Head, Signer};

/// All that one call may take, with its retries: whoever finds a call recorded and not answered knows after this
/// time that it is over.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Before a call is sent again.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A page of 100 PARs, each with a name of 1,024 bytes and an id that holds it again, is below this.
const MAX_ANSWER: usize = 1 << 20;

/// The most of OCI's text that a log line repeats, in characters.
const MAX_QUOTED: usize = 200;

pub struct Native {
    client: Client<Connector, Full<Bytes>>,
    /// Scheme and authority.
    origin: String,
    host: String,
    region: String,
    /// `/n/<namespace>/b/<bucket>`, encoded.
    bucket_path: String,
    signer: Signer,
    first_byte_timeout: Duration,
    max_expiry: Duration,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("OCI's native API cannot be reached: {0}")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// It may have done what it was asked.
    #[error("OCI's native API gave no usable answer: {0}")]
    Lost(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("OCI's native API answered {0}: {1}")]
    Refused(StatusCode, String),
}

/// The body of OCI's refusals.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

struct Answer {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Native {
    /// Nothing if the configuration has no API key.
    pub fn new(config: &config::Upstream) -> anyhow::Result<Option<Self>> {
        let Some(native) = &config.native else { return Ok(None) };
        let key =
            ApiKey::read(&native.key_file).map_err(anyhow::Error::msg).context("upstream.native.key_file")?;
        if key.fingerprint() != native.fingerprint {
            anyhow::bail!(
                "upstream.native.key_file has another fingerprint than upstream.native.fingerprint"
            );
        }
        let tls = tls::client_config(config.ca_file.as_deref()).context("upstream TLS")?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .set_host(false)
            .build(Connector::new(tls, config.connect_timeout));
        let host = native.endpoint.authority().context("upstream.native.endpoint names no host")?.to_string();
        let scheme = native.endpoint.scheme_str().context("upstream.native.endpoint has no scheme")?;
        let (namespace, bucket) = (uri::encode_query(&config.namespace), uri::encode_query(&config.bucket));
        Ok(Some(Self {
            client,
            origin: format!("{scheme}://{host}"),
            host,
            region: config.region.clone(),
            bucket_path: format!("/n/{namespace}/b/{bucket}"),
            signer: Signer::new(key, &native.tenancy, &native.user),
            first_byte_timeout: config.first_byte_timeout,
            max_expiry: native.max_expiry,
        }))
    }

    /// The longest that anything made here may live.
    pub fn max_expiry(&self) -> Duration {
        self.max_expiry
    }

    /// Which bucket, by whatever address it is reached: what was made elsewhere cannot be undone here.
    pub fn place(&self) -> String {
        [self.region.as_str(), &self.bucket_path].concat()
    }

    /// `target` is below the bucket, encoded, with its query.
    async fn call(&self, method: &Method, target: &str, body: Option<&Bytes>) -> Result<Answer, Failure> {
        let target = [self.bucket_path.as_str(), target].concat();
        let calling = async {
            for pause in PAUSES {
                match self.attempt(method, &target, body).await {
                    Err(failure) if failure.is_passing() && may_go_again(method, &failure) => {
                        tokio::time::sleep(pause).await;
                    }
                    answered => return answered,
                }
            }
            self.attempt(method, &target, body).await
        };
        let in_time = tokio::time::timeout(PATIENCE, calling).await;
        in_time.unwrap_or_else(|late| Err(Failure::Lost(late.into())))
    }

    async fn attempt(&self, method: &Method, target: &str, body: Option<&Bytes>) -> Result<Answer, Failure> {
        let date = httpdate::fmt_http_date(crate::now());
        let head = Head { method, target, host: &self.host, date: &date, body: body.map(AsRef::as_ref) };
        let mut request = Request::new(Full::new(body.cloned().unwrap_or_default()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri(target);
        *request.headers_mut() = self.signer.headers(head);
        let answering = tokio::time::timeout(self.first_byte_timeout, self.client.request(request)).await;
        let response = answering.map_err(|late| Failure::Lost(late.into()))?.map_err(|error| {
            if error.is_connect() { Failure::Unreachable(error) } else { Failure::Lost(error.into()) }
        })?;
        let (parts, body) = response.into_parts();
        let body = read_whole(body, MAX_ANSWER, self.first_byte_timeout).await;
        if parts.status.is_success() {
            let body = body.map_err(|error| Failure::Lost(error.into()))?;
            return Ok(Answer { headers: parts.headers, body });
        }
        // What cannot be read of it changes the text of a log line.
        let refusal = serde_json::from_slice::<Refusal>(&body.unwrap_or_default());
        let text =
            refusal.map_or_else(|_| String::new(), |Refusal { code, message }| format!("{code}, {message}"));
        Err(Failure::Refused(parts.status, text.chars().take(MAX_QUOTED).collect()))
    }

    fn uri(&self, target: &str) -> Uri {
        let target = PathAndQuery::try_from(target).expect("strictly encoded text is a valid path and query");
        let mut parts = self.origin.parse::<Uri>().expect("it was one when it was configured").into_parts();
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).expect("scheme, authority and path are all there")
    }
}

/// What makes something must not make it twice.
fn may_go_again(method: &Method, failure: &Failure) -> bool {
    *method != Method::POST || !failure.may_have_acted()
}

impl Failure {
    /// Whether OCI may have done all the same what it was asked.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Unreachable(_) => false,
            Self::Lost(_) => true,
            Self::Refused(status, _) => status.is_server_error(),
        }
    }

    /// Whether it may be otherwise in a moment.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Lost(_) => true,
            Self::Refused(status, _) => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match &failure {
            Failure::Refused(StatusCode::TOO_MANY_REQUESTS, _) => {
                Self::new(Code::SlowDown).retry_after(Duration::from_secs(1)).because(failure)
            }
            // A key or a policy that OCI does not accept is no fault of the client's either.
            Failure::Unreachable(_) | Failure::Lost(_) | Failure::Refused(..) => {
                let text = "The storage behind this gateway cannot do this now. Please try again.";
                Self::new(Code::ServiceUnavailable).say(text).because(failure)
            }
        }
    }
}
