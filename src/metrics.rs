//! Every metric, typed, with labels from closed sets; series are born at zero. Nothing here can name a key, an
//! access key or a peer. Names and labels are the contract's; the text format is Prometheus 0.0.4.

mod ledger;
mod pars;
mod upstream;

use std::collections::HashMap;
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::account::Step;
use crate::error::Code;
use crate::s3::operation::Operation;
use crate::types::WayIn;
pub use ledger::{Ledger, TierUsage, Usage};
pub use pars::{ParEnd, Pars};
pub use upstream::{Upstream, UpstreamKey};

/// Stands for an operation where a request was refused before it had one.
pub const NO_OPERATION: &str = "None";
/// Stands for a way in where nobody was authenticated.
pub const NO_AUTH: &str = "none";

const RELOADED: &str = "success";
const NOT_RELOADED: &str = "failure";

pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    upstream_responses: IntCounterVec,
    auth_failures: IntCounterVec,
    by_operation: HashMap<&'static str, OperationSeries>,
    pub in_flight_requests: IntGauge,
    pub connections: IntGauge,
    throttled: IntCounterVec,
    pub tls_reload_failures: IntCounter,
    config_reloads: IntCounterVec,
    pub config_generations: IntGauge,
    pub ledger: Ledger,
    pub pars: Pars,
    pub upstream: Upstream,
    state: HashMap<StateOperation, Histogram>,
    pub state_available: IntGauge,
    /// Of the embedded store: many steps share one.
    pub state_commits: IntCounter,
}

struct OperationSeries {
    duration: Histogram,
    first_byte: Histogram,
    upstream: Histogram,
    received: IntCounter,
    sent: IntCounter,
}

/// Seconds: from a cached HEAD to a multi-hour download.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
];

/// Seconds of the state store: from a read in memory to a disk that hardly answers.
const STATE_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Why a caller was not let in: the codes that the verifier gives.
const AUTH_CODES: [Code; 11] = [
    Code::AccessDenied,
    Code::AuthorizationHeaderMalformed,
    Code::AuthorizationQueryParametersError,
    Code::ExpiredToken,
    Code::InvalidAccessKeyId,
    Code::InvalidArgument,
    Code::InvalidRequest,
    Code::InvalidToken,
    Code::InvalidURI,
    Code::RequestTimeTooSkewed,
    Code::SignatureDoesNotMatch,
];

/// What can make a request wait or fail for load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Throttle {
    InFlight,
    Connections,
    ConnectionsPerPeer,
    Upstream,
    /// Requests of one user at a time.
    Concurrency,
    RequestRate,
    /// An address that keeps failing to say who it is.
    FailingPeer,
}

impl Throttle {
    const ALL: [Self; 7] = [
        Self::InFlight,
        Self::Connections,
        Self::ConnectionsPerPeer,
        Self::Upstream,
        Self::Concurrency,
        Self::RequestRate,
        Self::FailingPeer,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Connections => "connections",
            Self::ConnectionsPerPeer => "connections_per_peer",
            Self::Upstream => "upstream",
            Self::Concurrency => "concurrency",
            Self::RequestRate => "request_rate",
            Self::FailingPeer => "failing_peer",
        }
    }
}

/// What is asked of the state store: the steps of an account, and the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StateOperation {
    Begin,
    Settle,
    Resolve,
    Renew,
    Expire,
    Recount,
    Usage,
    /// Users' records.
    User,
    Other,
}

impl StateOperation {
    const ALL: [Self; 9] = [
        Self::Begin,
        Self::Settle,
        Self::Resolve,
        Self::Renew,
        Self::Expire,
        Self::Recount,
        Self::Usage,
        Self::User,
        Self::Other,
    ];

    pub fn of(step: &Step) -> Self {
        match step {
            Step::Begin { .. } => Self::Begin,
            Step::Settle { .. } => Self::Settle,
            Step::Resolve { .. } => Self::Resolve,
            Step::Renew { .. } => Self::Renew,
            Step::Expire { .. } => Self::Expire,
            Step::Recount(_) => Self::Recount,
            Step::Usage | Step::Check { .. } => Self::Usage,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Settle => "settle",
            Self::Resolve => "resolve",
            Self::Renew => "renew",
            Self::Expire => "expire",
            Self::Recount => "recount",
            Self::Usage => "usage",
            Self::User => "user",
            Self::Other => "other",
        }
    }
}

impl Metrics {
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new_custom(Some("bucketwarden".into()), None)?;
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let histograms_of = |name: &str, help: &str, buckets: &[f64]| -> prometheus::Result<HistogramVec> {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histograms = HistogramVec::new(options, &["operation"])?;
            registry.register(Box::new(histograms.clone()))?;
            Ok(histograms)
        };
        let histograms = |name: &str, help: &str| histograms_of(name, help, SECONDS);
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let requests = counters(
            "requests_total",
            "Requests answered, by final status.",
            &["operation", "status", "auth"],
        )?;
        let durations =
            histograms("request_duration_seconds", "From the head of a request to the end of its answer.")?;
        let first_bytes = histograms(
            "time_to_first_byte_seconds",
            "From the head of a request to the head of its answer.",
        )?;
        let upstream =
            histograms("upstream_duration_seconds", "Waiting for the head of the upstream's answer.")?;
        let upstream_responses =
            counters("upstream_responses_total", "Answers of the upstream.", &["operation", "status"])?;
        let received =
            counters("received_bytes_total", "Payload bytes received from clients.", &["operation"])?;
        let sent = counters("sent_bytes_total", "Body bytes sent to clients.", &["operation"])?;
        let auth_failures = counters("auth_failures_total", "Callers who were not let in.", &["reason"])?;
        let throttled =
            counters("throttled_total", "Requests or connections turned away for load.", &["limit"])?;
        let in_flight_requests = gauge("in_flight_requests", "Requests between head and end of answer.")?;
        let connections = gauge("connections", "Open client connections.")?;
        let tls_reload_failures = IntCounter::new(
            "tls_reload_failures_total",
            "Certificate changes that could not be taken over.",
        )?;
        registry.register(Box::new(tls_reload_failures.clone()))?;
        let config_reloads =
            counters("config_reloads_total", "Times the configuration was read again.", &["result"])?;
        for result in [RELOADED, NOT_RELOADED] {
            config_reloads.with_label_values(&[result]);
        }
        let config_generations = gauge(
            "config_generations",
            "Configurations in use: more than one while something from before a reload goes on.",
        )?;
        let ledger = Ledger::register(&registry)?;
        let pars = Pars::register(&registry)?;
        let upstream_state = Upstream::register(&registry)?;
        let state_durations = histograms_of(
            "state_duration_seconds",
            "From a request to the state store to its durable answer.",
            STATE_SECONDS,
        )?;
        let state_available = gauge("state_available", "Whether the state store answered last time.")?;
        let state_commits =
            IntCounter::new("state_commits_total", "Commits of the embedded store; many steps share one.")?;
        registry.register(Box::new(state_commits.clone()))?;
        let state = StateOperation::ALL
            .map(|operation| (operation, state_durations.with_label_values(&[operation.label()])));
        register_build_info(&registry)?;
        register_process(&registry)?;
        for code in AUTH_CODES {
            auth_failures.with_label_values(&[code.as_str()]);
        }
        for throttle in Throttle::ALL {
            throttled.with_label_values(&[throttle.label()]);
        }
        for operation in Operation::ALL {
            requests.with_label_values(&[operation.name(), "200", WayIn::SigV4Header.label()]);
            upstream_responses.with_label_values(&[operation.name(), "200"]);
        }
        let names = Operation::ALL.iter().map(|operation| operation.name()).chain([NO_OPERATION]);
        let by_operation = names
            .map(|name| {
                let series = OperationSeries {
                    duration: durations.with_label_values(&[name]),
                    first_byte: first_bytes.with_label_values(&[name]),
                    upstream: upstream.with_label_values(&[name]),
                    received: received.with_label_values(&[name]),
                    sent: sent.with_label_values(&[name]),
                };
                (name, series)
            })
            .collect();
        Ok(Self {
            registry,
            requests,
            upstream_responses,
            auth_failures,
            by_operation,
            in_flight_requests,
            connections,
            throttled,
            tls_reload_failures,
            config_reloads,
            config_generations,
            ledger,
            pars,
            upstream: upstream_state,
            state: state.into(),
            state_available,
            state_commits,
        })
    }

    /// A request that has ended.
    pub fn request(&self, ended: &Ended) {
        let operation = ended.operation.map_or(NO_OPERATION, Operation::name);
        let auth = ended.auth.unwrap_or(NO_AUTH);
        self.requests.with_label_values(&[operation, status_label(ended.status), auth]).inc();
        let Some(series) = self.by_operation.get(operation) else {
            return;
        };
        series.duration.observe(ended.duration.as_secs_f64());
        if let Some(first_byte) = ended.first_byte {
            series.first_byte.observe(first_byte.as_secs_f64());
        }
        if let Some(upstream) = ended.upstream {
            series.upstream.observe(upstream.as_secs_f64());
        }
        series.received.inc_by(ended.received);
        series.sent.inc_by(ended.sent);
    }

    pub fn upstream_response(&self, operation: Operation, status: u16) {
        self.upstream_responses.with_label_values(&[operation.name(), status_label(status)]).inc();
    }

    pub fn auth_failure(&self, code: Code) {
        let reason = if AUTH_CODES.contains(&code) { code.as_str() } else { "Other" };
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    pub fn config_reload(&self, succeeded: bool) {
        self.config_reloads.with_label_values(&[if succeeded { RELOADED } else { NOT_RELOADED }]).inc();
    }

    pub fn throttled(&self, throttle: Throttle) {
        self.throttled.with_label_values(&[throttle.label()]).inc();
    }

    /// Times a request to the state store until it is dropped.
    pub fn state(&self, operation: StateOperation) -> Option<HistogramTimer> {
        self.state.get(&operation).map(Histogram::start_timer)
    }

    /// The exposition text.
    pub fn text(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        TextEncoder::new().encode(&prometheus::gather(), &mut text)?;
        Ok(text)
    }
}

/// What `Metrics::request` wants to know of a request.
pub struct Ended {
    pub operation: Option<Operation>,
    pub status: u16,
    pub auth: Option<&'static str>,
    pub duration: Duration,
    pub first_byte: Option<Duration>,
    pub upstream: Option<Duration>,
    pub received: u64,
    pub sent: u64,
}

/// Statuses that the gateway or an S3 upstream gives; whatever else comes is one label.
fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        204 => "204",
        206 => "206",
        304 => "304",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        411 => "411",
        412 => "412",
        416 => "416",
        417 => "417",
        429 => "429",
        499 => "499",
        500 => "500",
        501 => "501",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => "other",
    }
}

fn register_build_info(registry: &Registry) -> anyhow::Result<()> {
    let info = IntGaugeVec::new(Opts::new("build_info", "Always 1."), &["version", "commit"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), crate::COMMIT]).set(1);
    registry.register(Box::new(info))?;
    Ok(())
}

/// `process_*` come under their usual names, from the default registry.
fn register_process(_registry: &Registry) -> anyhow::Result<()> {
    let collector = prometheus::process_collector::ProcessCollector::for_self();
    match prometheus::register(Box::new(collector)) {
        // One process, one collector, however many gateways run in it.
        Ok(()) | Err(prometheus::Error::AlreadyReg) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
