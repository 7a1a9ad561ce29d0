//! What is known of one request, gathered on its way, told once: when the last byte of the answer was handed
//! over, when it failed, or when the client went away, whichever comes first. The record rides in the
//! answer's body; dropping it anywhere earlier tells too. Metrics and the access log hang on it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use prometheus::IntGauge;

use crate::access_log::{AccessLog, Entry};
use crate::admit::Permit;
use crate::body::download::{End, Outcome};
use crate::body::pace::Pacer;
use crate::body::upload::UploadHandle;
use crate::error::{Blame, Code, Error};
use crate::metrics::{Ended, Metrics};
use crate::refusals::{Refusals, Stage};
use crate::s3::operation::Operation;
use crate::types::{BucketName, Caller, ClientKey, RequestId};

/// Where records go.
#[derive(Clone)]
pub struct Instruments {
    pub metrics: Arc<Metrics>,
    pub access_log: AccessLog,
    /// Why the last refused requests were.
    pub refusals: Arc<Refusals>,
    /// The drain's time is over: what ends early from now on was cut by the gateway.
    given_up: Arc<AtomicBool>,
}

impl Instruments {
    pub fn new(metrics: Arc<Metrics>, access_log: AccessLog) -> Self {
        Self { metrics, access_log, refusals: Arc::default(), given_up: Arc::default() }
    }

    /// The same with another access log.
    #[must_use]
    pub fn with_access_log(&self, access_log: AccessLog) -> Self {
        Self { access_log, ..self.clone() }
    }

    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// The status that stands for a client that did not wait for an answer; nginx's number for it.
const CLIENT_GONE: u16 = 499;
/// The code that says so, also of an answer that was under way.
const GONE: &str = "ClientGone";

pub struct Record {
    instruments: Instruments,
    _in_flight: InFlight,
    pub id: RequestId,
    started: Instant,
    pub remote: IpAddr,
    user_agent: Option<HeaderValue>,
    pub caller: Option<Caller>,
    pub operation: Option<Operation>,
    pub bucket: Option<BucketName>,
    pub key: Option<ClientKey>,
    /// The room that judges the request, as long as one does.
    pub stage: Option<Stage>,
    /// The places that the request takes; given back when it has ended.
    pub permit: Option<Permit>,
    /// For the answer's body.
    pub download_pacer: Pacer,
    /// Tells what the client has sent of an object.
    pub upload: Option<UploadHandle>,
    /// Bytes of a body that is no upload.
    pub document_bytes: u64,
    pub upstream: Option<Duration>,
    /// The code of a failure that came after the head had said 200.
    pub late_failure: Arc<OnceLock<Code>>,
    first_byte: Option<Duration>,
    status: u16,
    code: Option<&'static str>,
    sent: u64,
}

/// One more request in flight, until dropped.
struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Record {
    pub fn open(instruments: Instruments, remote: IpAddr, user_agent: Option<HeaderValue>) -> Self {
        let gauge = instruments.metrics.in_flight_requests.clone();
        gauge.inc();
        Self {
            instruments,
            _in_flight: InFlight(gauge),
            id: RequestId::new(),
            started: Instant::now(),
            remote,
            user_agent,
            caller: None,
            operation: None,
            bucket: None,
            key: None,
            stage: None,
            permit: None,
            download_pacer: Pacer::default(),
            upload: None,
            document_bytes: 0,
            upstream: None,
            late_failure: Arc::default(),
            first_byte: None,
            status: CLIENT_GONE,
            code: Some(GONE),
            sent: 0,
        }
    }

    /// The head of the answer is on its way.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.code = None;
        self.first_byte = Some(self.started.elapsed());
    }

    pub fn refused(&mut self, error: &Error, status: StatusCode) {
        self.answered(status);
        self.code = Some(error.code.as_str());
        match error.code.blame() {
            Blame::Client => tracing::debug!(request_id = %self.id, %error, "refused"),
            Blame::Gateway => tracing::error!(request_id = %self.id, %error, "failed"),
            Blame::Upstream => tracing::warn!(request_id = %self.id, %error, "the upstream failed"),
        }
    }

    /// Of a request that ended early, says that the gateway, not the client, put an end to it.
    fn blame_the_drain(&mut self) {
        if self.code == Some(GONE) && self.instruments.given_up.load(Ordering::Relaxed) {
            self.code = Some("Drained");
            if self.status == CLIENT_GONE {
                self.status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
            }
        }
    }

    fn tell(&self) {
        let duration = self.started.elapsed();
        let received = self.upload.as_ref().map_or(self.document_bytes, UploadHandle::received);
        let auth = self.caller.as_ref().map(|caller| caller.way.label());
        self.instruments.metrics.request(&Ended {
            operation: self.operation,
            status: self.status,
            auth,
            duration,
            first_byte: self.first_byte,
            upstream: self.upstream,
            received,
            sent: self.sent,
        });
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let entry = Entry {
            request_id: self.id.as_str(),
            user: self.caller.as_ref().map(|caller| caller.user.as_str()),
            auth,
            operation: self.operation.map(Operation::name),
            bucket: self.bucket.as_ref().map(BucketName::as_str),
            key: self.key.as_ref().map(ClientKey::as_str),
            status: self.status,
            code: self.code,
            bytes_in: received,
            bytes_out: self.sent,
            duration_ms: millis(duration),
            ttfb_ms: self.first_byte.map(millis),
            upstream_ms: self.upstream.map(millis),
            remote: self.remote,
            user_agent: self.user_agent.as_ref().and_then(|value| std::str::from_utf8(value.as_bytes()).ok()),
        };
        self.instruments.access_log.write(&entry);
    }
}

impl End for Record {
    fn end(mut self, outcome: Outcome, bytes: u64) {
        self.sent = bytes;
        self.code = match outcome {
            Outcome::Complete => self.late_failure.get().map(|code| code.as_str()).or(self.code),
            Outcome::Failed => Some("UpstreamBroke"),
            Outcome::Dropped => Some(GONE),
        };
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.blame_the_drain();
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_drain_cuts_is_not_blamed_on_the_client() {
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let instruments = Instruments::new(metrics, AccessLog::off());
        let cut = |answered: bool| {
            let mut record = Record::open(instruments.clone(), IpAddr::from([127, 0, 0, 1]), None);
            if answered {
                record.answered(StatusCode::OK);
            }
            record.blame_the_drain();
            (record.status, record.code)
        };
        assert_eq!(cut(false), (499, Some("ClientGone")));
        instruments.give_up();
        assert_eq!(cut(false), (503, Some("Drained")));
        assert_eq!(cut(true), (200, None));
    }
}
