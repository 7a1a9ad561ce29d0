//! What the upstream asks of the gateway: fewer calls at a time, another key.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Which of the gateway's own keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamKey {
    Current,
    /// The one being rotated out.
    Previous,
}

pub struct Upstream {
    /// Calls that may wait for the upstream at a time.
    pub concurrency_limit: IntGauge,
    missed_current: IntCounter,
    missed_previous: IntCounter,
}

impl Upstream {
    pub(super) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let concurrency_limit = IntGauge::new(
            "upstream_concurrency_limit",
            "Calls that may wait for the upstream at a time; less than usual while it throttles.",
        )?;
        registry.register(Box::new(concurrency_limit.clone()))?;
        let refusals = IntCounterVec::new(
            Opts::new(
                "upstream_key_refusals_total",
                "Calls that the upstream refused because it did not know the gateway's access key.",
            ),
            &["key"],
        )?;
        registry.register(Box::new(refusals.clone()))?;
        Ok(Self {
            concurrency_limit,
            missed_current: refusals.with_label_values(&["current"]),
            missed_previous: refusals.with_label_values(&["previous"]),
        })
    }

    pub fn key_missed(&self, key: UpstreamKey) {
        match key {
            UpstreamKey::Current => self.missed_current.inc(),
            UpstreamKey::Previous => self.missed_previous.inc(),
        }
    }
}
