//! What users have and are refused. In: refusals and drift as they happen, and now and then the sums of a walk
//! over all users. Labels are tiers of the configuration; single users only where the operator asks for the
//! fullest few.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::account::Refusal;

pub struct Ledger {
    refusals: IntCounterVec,
    used: IntGaugeVec,
    reserved: IntGauge,
    users: IntGaugeVec,
    near_limit: IntGaugeVec,
    fullest: GaugeVec,
    /// Writes under way that this gateway holds.
    pub reservations: IntGauge,
    drift: IntCounter,
}

/// The sums of a walk over all users.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Usage {
    pub by_tier: BTreeMap<Arc<str>, TierUsage>,
    pub reserved: u64,
    /// The fullest users with their bytes, as many as the configuration asks for.
    pub fullest: Vec<(String, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TierUsage {
    pub users: u64,
    pub used: u64,
    /// Users who have used more than 90 % of what they may.
    pub near_limit: u64,
}

const LIMITS: [&str; 5] = ["file_size", "storage", "hourly", "daily", "open_uploads"];

fn limit(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::FileSize { .. } => LIMITS[0],
        Refusal::Storage { .. } => LIMITS[1],
        Refusal::Hourly { .. } => LIMITS[2],
        Refusal::Daily { .. } => LIMITS[3],
        Refusal::OpenUploads { .. } => LIMITS[4],
    }
}

impl Ledger {
    pub(super) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let by_tier = |name: &str, help: &str| -> anyhow::Result<IntGaugeVec> {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["tier"])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let gauge = |name: &str, help: &str| -> anyhow::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let refusals = IntCounterVec::new(
            Opts::new("quota_refusals_total", "Uploads refused for a limit of their user."),
            &["limit", "tier"],
        )?;
        registry.register(Box::new(refusals.clone()))?;
        let fullest = GaugeVec::new(
            Opts::new("user_storage_used_bytes", "Bytes stored by the fullest users."),
            &["user"],
        )?;
        registry.register(Box::new(fullest.clone()))?;
        let drift = IntCounter::new(
            "reconcile_drift_bytes_total",
            "Bytes by which recounts found the ledger to be off, either way.",
        )?;
        registry.register(Box::new(drift.clone()))?;
        Ok(Self {
            refusals,
            used: by_tier("storage_used_bytes", "Bytes stored.")?,
            reserved: gauge("storage_reserved_bytes", "Bytes that writes under way may still add.")?,
            users: by_tier("users", "Users.")?,
            near_limit: by_tier("users_near_limit", "Users above 90 % of their storage limit.")?,
            fullest,
            reservations: gauge("reservations", "Writes under way that hold a reservation.")?,
            drift,
        })
    }

    /// The tiers there are: their series begin at zero.
    pub fn know_tiers<'a>(&self, tiers: impl IntoIterator<Item = &'a str>) {
        for tier in tiers {
            for gauges in [&self.used, &self.users, &self.near_limit] {
                gauges.with_label_values(&[tier]);
            }
            for limit in LIMITS {
                self.refusals.with_label_values(&[limit, tier]);
            }
        }
    }

    /// A tier that is no more has no users. Who was refused in it, was.
    pub fn forget_tier(&self, tier: &str) {
        for gauges in [&self.used, &self.users, &self.near_limit] {
            // It is an error that it was not there.
            gauges.remove_label_values(&[tier]).ok();
        }
    }

    pub fn refused(&self, refusal: &Refusal, tier: &str) {
        self.refusals.with_label_values(&[limit(refusal), tier]).inc();
    }

    /// What a recount found missing or too much.
    pub fn drifted(&self, bytes: u64) {
        self.drift.inc_by(bytes);
    }

    /// Replaces the sums of the walk before.
    pub fn set(&self, usage: &Usage) {
        for (tier, sums) in &usage.by_tier {
            self.used.with_label_values(&[tier]).set(gauge_value(sums.used));
            self.users.with_label_values(&[tier]).set(gauge_value(sums.users));
            self.near_limit.with_label_values(&[tier]).set(gauge_value(sums.near_limit));
        }
        self.reserved.set(gauge_value(usage.reserved));
        self.fullest.reset();
        for (user, bytes) in &usage.fullest {
            self.fullest.with_label_values(&[user]).set(as_float(*bytes));
        }
    }
}

fn gauge_value(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge may round above 9 PB")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = String::from_utf8(metrics.text().expect("metrics")).expect("text");
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn series_are_born_at_zero_and_follow_the_walk() {
        let metrics = Metrics::new().expect("metrics");
        metrics.ledger.know_tiers(["default", "premium"]);
        for line in [
            "bucketwarden_quota_refusals_total{limit=\"open_uploads\",tier=\"premium\"} 0",
            "bucketwarden_storage_used_bytes{tier=\"default\"} 0",
            "bucketwarden_users_near_limit{tier=\"premium\"} 0",
            "bucketwarden_storage_reserved_bytes 0",
            "bucketwarden_reservations 0",
            "bucketwarden_reconcile_drift_bytes_total 0",
        ] {
            assert!(lines(&metrics).contains(&line.to_owned()), "{line}");
        }

        let sums = TierUsage { users: 3, used: 1 << 40, near_limit: 1 };
        metrics.ledger.set(&Usage {
            by_tier: BTreeMap::from([("default".into(), sums)]),
            reserved: 7,
            fullest: vec![("alice".into(), 1 << 39), ("bob".into(), 1)],
        });
        metrics.ledger.refused(&Refusal::FileSize { size: 2, max: 1 }, "default");
        metrics.ledger.drifted(5);
        for line in [
            "bucketwarden_quota_refusals_total{limit=\"file_size\",tier=\"default\"} 1",
            "bucketwarden_storage_used_bytes{tier=\"default\"} 1099511627776",
            "bucketwarden_users{tier=\"default\"} 3",
            "bucketwarden_storage_reserved_bytes 7",
            "bucketwarden_user_storage_used_bytes{user=\"alice\"} 549755813888",
            "bucketwarden_reconcile_drift_bytes_total 5",
        ] {
            assert!(lines(&metrics).contains(&line.to_owned()), "{line}");
        }
        metrics.ledger.set(&Usage::default());
        assert!(!lines(&metrics).iter().any(|line| line.contains("alice")), "who is no longer among them");
    }
}
