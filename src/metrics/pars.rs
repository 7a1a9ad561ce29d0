//! Pre-authenticated requests: how many are on record, and what became of those that were to be deleted.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

const RESULTS: [&str; 2] = ["deleted", "failed"];

pub struct Pars {
    /// All that are on record, as the last sweep found them.
    pub recorded: IntGauge,
    deletions: IntCounterVec,
}

/// Why a PAR is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParEnd {
    Asked,
    Expired,
    /// Its user is disabled or gone.
    Revoked,
    /// It was never handed to anybody.
    Unfinished,
}

impl ParEnd {
    const ALL: [Self; 4] = [Self::Asked, Self::Expired, Self::Revoked, Self::Unfinished];

    pub fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unfinished => "unfinished",
        }
    }
}

impl Pars {
    pub(super) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let recorded = IntGauge::new("pars", "Pre-authenticated requests on record.")?;
        registry.register(Box::new(recorded.clone()))?;
        let deletions = IntCounterVec::new(
            Opts::new("par_deletions_total", "Pre-authenticated requests that were to be deleted."),
            &["reason", "result"],
        )?;
        registry.register(Box::new(deletions.clone()))?;
        for end in ParEnd::ALL {
            for result in RESULTS {
                deletions.with_label_values(&[end.label(), result]);
            }
        }
        Ok(Self { recorded, deletions })
    }

    pub fn ended(&self, end: ParEnd, deleted: bool) {
        self.deletions.with_label_values(&[end.label(), RESULTS[usize::from(!deleted)]]).inc();
    }
}
